/* How fast this machine reads memory: what most of an expert node's time is. */
#ifndef ES_EXPERT_NODE_READ_TEST_H
#define ES_EXPERT_NODE_READ_TEST_H

#include "base/pool.h"
#include "essaim/kernels.h"

#include <stdint.h>

/* Bytes a second that all threads of pool together read, in about a tenth of a second; 0 when memory is
 * short. */
uint64_t es_read_test(const es_kernels *kernels, es_pool *pool);

#endif
