/* Machines as a planner sees them: memory, bandwidth, arithmetic, network. */
#ifndef ES_PLANNER_MACHINE_H
#define ES_PLANNER_MACHINE_H

#include "essaim/model.h"
#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

enum { ES_MACHINES_MAX = 256, ES_MACHINE_NAME_MAX = 63 };

typedef enum es_machine_role { ES_ROLE_ANY, ES_ROLE_COORDINATOR, ES_ROLE_EXPERTS } es_machine_role;

/* One process's machine. Those that name one host share its memory, bandwidth and arithmetic, and reach each
 * other without its network card. */
typedef struct es_machine {
    char name[ES_MACHINE_NAME_MAX + 1], host[ES_MACHINE_NAME_MAX + 1];
    char rack[ES_MACHINE_NAME_MAX + 1]; /* "": a failure domain of its own */
    es_machine_role role;
    uint64_t memory_bytes;
    uint64_t experts_bytes;  /* the most that experts may take of it; 0: what is left */
    double read_bytes_per_s; /* memory, all cores */
    double int_ops_per_s,
        float_ops_per_s; /* int8 and binary32 multiply-adds of registers, each two operations */
    size_t cores;
    double nic_bytes_per_s;
    double round_trip_s;                    /* of a small message to another machine */
    double read_share[ES_FORMAT_COUNT];     /* of read_bytes_per_s, what its kernels reach at one row; 0: not
                                               measured */
    double multiply_share[ES_FORMAT_COUNT]; /* of int_ops_per_s (integer formats) or float_ops_per_s, at many
                                               rows; 0: not measured */
    double attend_share;                    /* of float_ops_per_s: attention over a cache; 0: not measured */
    double encrypt_bytes_per_s;             /* CURVE's cipher on one core; 0: not measured */
} es_machine;

/* Reads {"machines": [{…}, …]}, or one such object, as `essaim doctor --save` writes it: name, memory_gb
 * (10^9 bytes), read_gb_per_s and cores are required; int8_gop_per_s, float_gflop_per_s, nic_gbit_per_s (1),
 * round_trip_us (150), attend_share, encrypt_gb_per_s, read_shares and multiply_shares ({"q4_k": 0.85, …}),
 * experts_gb (what is left of memory_gb), rack, host (its own), role ("any", "coordinator", "experts") and
 * count (1: so many alike, named name-1, name-2, …) may be left out; keys that are not known are errors
 * unless they begin with "_". Adds to machines [room], *count of them so far. ES_INVALID names the line, the
 * machine and the key. */
es_status es_machines_read(const char *path, es_machine *machines, size_t room, size_t *count, es_err *err);

/* The same of text in memory; file is what errors call it. */
es_status es_machines_parse(const char *file, const char *text, size_t bytes, es_machine *machines,
                            size_t room, size_t *count, es_err *err);

/* What a process takes beside weights and cache, and the share of its weights that it takes beside them. */
extern const double ES_PROCESS_BYTES, ES_SCRATCH_SHARE;

/* Bytes of experts that one of alike processes may hold when others have taken_bytes of its host's memory;
 * below 0 when there is none. */
double es_machine_room(const es_machine *machine, double taken_bytes, size_t alike);

#endif
