/* What the machine has, as the kernel tells it. */
#ifndef ES_BASE_MACHINE_H
#define ES_BASE_MACHINE_H

#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

#define ES_MEMINFO_PATH "/proc/meminfo"
#define ES_NUMA_PATH "/sys/devices/system/node"

typedef struct es_machine_memory {
    uint64_t total_bytes;
    uint64_t available_bytes; /* what can be taken without swapping; the page cache counts as available */
} es_machine_memory;

/* The beginning of a small file of /proc or /sys, which state no size. ES_NOT_FOUND when it is not there. */
es_status es_machine_read_text(const char *path, char *ret_text, size_t text_bytes, es_err *err);

/* Reads a meminfo file. ES_CORRUPT when a line that is needed is not there. */
es_status es_machine_memory_read(const char *meminfo, es_machine_memory *ret_memory, es_err *err);

/* How many folders node0, node1, … path has; 1 when none can be read. */
size_t es_machine_numa_nodes(const char *path);

/* "24G", "512M", "1.5T", "4096": bytes, in units of 1024. ES_INVALID quotes what is none. */
es_status es_machine_parse_bytes(const char *text, uint64_t *ret_bytes, es_err *err);

#endif
