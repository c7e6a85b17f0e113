/* NUMA nodes: which processors share a memory of their own. A program that stays on one node's processors
 * gets its memory there too, as the kernel places what it touches first. */
#ifndef ES_BASE_NUMA_H
#define ES_BASE_NUMA_H

#include "base/machine.h"

#include <stddef.h>

enum { ES_NUMA_NODES_MAX = 256, ES_NUMA_PROCESSORS_MAX = 4096 };

typedef struct es_numa_node {
    unsigned number;
    size_t processor_count; /* 0: memory alone */
    bool processor[ES_NUMA_PROCESSORS_MAX];
} es_numa_node;

/* Reads a list as /sys writes it, "0-3,8-11", into ret_node's processors. False when it is none. */
bool es_numa_parse_processors(const char *list, es_numa_node *ret_node);

/* Reads path's folder nodeN. ES_NOT_FOUND when there is no such node, ES_CORRUPT names the file. */
es_status es_numa_read(const char *path, unsigned number, es_numa_node *ret_node, es_err *err);

/* The numbers of path's nodes that have processors this thread may use, ascending, at most ES_NUMA_NODES_MAX.
 */
size_t es_numa_list(const char *path, unsigned ret_numbers[ES_NUMA_NODES_MAX]);

/* Keeps this thread, and those that it will start, on the processors of path's node as far as it may use them
 * now. ES_INVALID, where that is none of them, names the nodes of which it may. */
es_status es_numa_stay_on(const char *path, unsigned number, es_err *err);

#endif
