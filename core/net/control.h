/* Control messages: hello, statistics, what a node is to hold; each one frame. They have a socket of their
 * own and never wait behind payloads. */
#ifndef ES_NET_CONTROL_H
#define ES_NET_CONTROL_H

#include "essaim/kernels.h"
#include "essaim/placement.h"
#include "net/endpoint.h"
#include "net/keys.h"
#include "net/wire.h"

enum {
    ES_NAME_MAX = 63, /* a node's or coordinator's name */
    ES_CONTROL_FRAME_MAX = 768 * 1024,
    ES_FINGERPRINT_TEXT_MAX = 2 * ES_FINGERPRINT_BYTES + 1,
    ES_PROBE_FILL_MAX = 512 * 1024, /* either way */
    ES_PROBE_TEXT_MAX = 31,         /* a version, a kernel set */
    ES_CONTENT_SUM_BYTES = 32,      /* BLAKE2b-256 of an expert's bytes, as a shard's manifest states it */
    ES_EXPERT_PARTS = 3,            /* gate, up, down */
    ES_SUMS_MAX = 8192,             /* in one message */
    ES_PEERS_MAX = 1024,
};

/* 1 to ES_NAME_MAX letters, digits, '.', '_' and '-': safe in logs, metrics and file names. */
bool es_name_valid(const char *name);

typedef enum es_control_kind {
    ES_CONTROL_HELLO,
    ES_CONTROL_STATS,
    ES_CONTROL_LOAD,    /* hold these units too */
    ES_CONTROL_DROP,    /* hold these no longer */
    ES_CONTROL_DRAIN,   /* finish what was asked, take no more */
    ES_CONTROL_STATE,   /* how far is it? The answer to all that change it, too */
    ES_CONTROL_MEMBERS, /* who else is there, and who is no longer to be trusted */
    ES_CONTROL_PROBE,   /* how far away are you, and who? */
    ES_CONTROL_COUNT
} es_control_kind;

/* "I hold this model and will send rows of this format." */
typedef struct es_hello {
    char name[ES_NAME_MAX + 1];
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    es_row_format row_format;
} es_hello;

/* Units that a placement gives to a node, or takes from it. */
typedef struct es_units_change {
    uint64_t epoch;        /* of that placement */
    const es_units *units; /* [unit_count], at most ES_UNITS_MAX */
    size_t unit_count;
    const uint8_t *sums; /* [sum_count][ES_CONTENT_SUM_BYTES] of every expert of units, in their order */
    size_t sum_count; /* 0: not stated, and then what is not at hand cannot be fetched; at most ES_SUMS_MAX:
                         a larger change is sent in several */
    const uint8_t *formats; /* [sum_count][ES_EXPERT_PARTS] es_format of each matrix, which sums do not cover;
                               NULL: not stated, and then nothing can be fetched either */
} es_units_change;

/* Bytes to carry there, and how many are wanted back; both at most ES_PROBE_FILL_MAX. */
typedef struct es_probe {
    size_t fill_bytes, want_bytes;
} es_probe;

/* One of the others. */
typedef struct es_peer {
    char name[ES_NAME_MAX + 1];
    char shards[ES_ENDPOINT_TEXT_MAX]; /* where it gives the experts that it has on its disks; "": nowhere */
    char key[ES_KEY_TEXT_BYTES];       /* its public key; "": it is on this machine and has none */
} es_peer;

/* All of them, each time. */
typedef struct es_members {
    const es_peer *peers; /* [peer_count], at most ES_PEERS_MAX */
    size_t peer_count;
    const char (*revoked)[ES_KEY_TEXT_BYTES]; /* [revoked_count], at most ES_ALLOWED_MAX */
    size_t revoked_count;
} es_members;

typedef struct es_control_request {
    uint64_t coordinator, request; /* request comes back in the reply */
    es_control_kind kind;
    es_hello hello;         /* kind ES_CONTROL_HELLO */
    es_units_change change; /* kinds ES_CONTROL_LOAD and ES_CONTROL_DROP */
    es_probe probe;         /* kind ES_CONTROL_PROBE */
    es_members members;     /* kind ES_CONTROL_MEMBERS */
} es_control_request;

/* A node computes in all of them what it holds, but that one that drains takes no new requests. The value is
 * the wire's: append only. */
typedef enum es_node_phase {
    ES_NODE_READY,
    ES_NODE_LOADING, /* does not hold all it was told to */
    ES_NODE_DRAINING,
    ES_NODE_PHASE_COUNT
} es_node_phase;

/* "loading", "ready", "draining". */
const char *es_node_phase_name(es_node_phase phase);

enum { ES_NODE_FAILURE_MAX = 512 };

typedef struct es_node_state {
    es_node_phase phase;
    uint64_t epoch;                                      /* the highest that changed it; 0: as it started */
    uint64_t wanted_bytes, mapped_bytes, verified_bytes; /* of what it was told to hold; mapped is in use */
    uint64_t memory_bytes, memory_free_bytes;            /* that weights may take, and what is left of it */
    uint64_t fetched_bytes;                              /* from other machines, since it started */
    uint64_t fetch_experts;                              /* still to be fetched */
    char failure[ES_NODE_FAILURE_MAX]; /* why loading stopped before all was there; "": it did not */
} es_node_state;

typedef struct es_hello_reply {
    char name[ES_NAME_MAX + 1];
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    uint32_t data_port; /* on the host that hello was sent to */
    uint64_t epoch;
    const es_units *units; /* [unit_count], at most ES_UNITS_MAX */
    size_t unit_count;
    uint32_t threads;
    uint32_t rows_max; /* in one request */
    bool row_formats[ES_ROWS_COUNT];
    es_node_state state;
    uint64_t read_bytes_per_s; /* of memory, all threads, measured when it started; 0: not measured */
    uint32_t numa_nodes;
    uint32_t shard_port; /* on the same host: where it gives the experts on its disks; 0: nowhere */
} es_hello_reply;

typedef struct es_node_stats {
    uint64_t calls, rows, pairs, bytes_in, bytes_out;
    uint64_t errors[ES_STATUS_COUNT]; /* answers that were errors, by status */
    uint64_t malformed;               /* messages dropped without an answer */
    uint64_t unsent;                  /* answers whose asker was gone or did not read */
    uint64_t refused; /* at all sockets: handshakes that failed, messages of peers whose key was revoked
                         meanwhile */
    uint64_t uptime_ns, compute_ns;
} es_node_stats;

/* A machine's figures; 0 is not known. */
typedef struct es_probe_machine {
    uint64_t memory_bytes;
    uint32_t cores;
    double read_bytes_per_s, int_ops_per_s, float_ops_per_s, nic_bytes_per_s;
} es_probe_machine;

/* Who answers a probe. */
typedef struct es_probe_reply {
    char name[ES_NAME_MAX + 1];
    char version[ES_PROBE_TEXT_MAX + 1], kernels[ES_PROBE_TEXT_MAX + 1];
    bool has_model;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES]; /* has_model */
    uint64_t clock_ns;                         /* of its wall clock, since 1970 */
    size_t fill_bytes;
    es_probe_machine machine;
} es_probe_reply;

typedef struct es_control_reply {
    uint64_t request;
    es_status status;
    const char *text; /* never NULL; "" unless status is an error */
    es_control_kind kind;
    es_hello_reply hello; /* status ES_OK and kind ES_CONTROL_HELLO */
    es_node_stats stats;  /* status ES_OK and kind ES_CONTROL_STATS */
    es_node_state state;  /* status ES_OK and kind ES_CONTROL_STATE */
    es_probe_reply probe; /* status ES_OK and kind ES_CONTROL_PROBE */
} es_control_reply;

/* The memory control messages are decoded into; larger than what data headers need. One thread's own. */
typedef struct es_control_memory es_control_memory;
es_status es_control_memory_create(es_control_memory **ret_memory, es_err *err);
void es_control_memory_destroy(es_control_memory **memory);

/* Writes a message into out [ES_CONTROL_FRAME_MAX]. Units are laid out in memory; ES_NO_MEMORY when a reply's
 * are too many. */
size_t es_control_request_pack(es_control_memory *memory, const es_control_request *request, uint8_t *out);
es_status es_control_reply_pack(es_control_memory *memory, const es_control_reply *reply, uint8_t *out,
                                size_t *ret_bytes, es_err *err);

/* Decode and check, as es_wire_request_unpack does: after an error request (and coordinator) tell who asked,
 * 0 when not known. */
es_status es_control_request_unpack(es_control_memory *memory, const uint8_t *bytes, size_t count,
                                    es_control_request *ret_request, es_err *err);
es_status es_control_reply_unpack(es_control_memory *memory, const uint8_t *bytes, size_t count,
                                  es_control_reply *ret_reply, es_err *err);

/* A fingerprint in hexadecimal, for people. */
void es_fingerprint_format(const uint8_t fingerprint[ES_FINGERPRINT_BYTES],
                           char ret_text[ES_FINGERPRINT_TEXT_MAX]);

#endif
