/* What the swarm's tests share: real expert nodes on loopback, the reference in this process, and batches
 * from a seed. */
#ifndef DISPATCH_FIXTURE_H
#define DISPATCH_FIXTURE_H

#include "base/pool.h"
#include "base/process.h"
#include "dispatch/swarm.h"
#include "essaim/expert_backend.h"
#include "net/channel.h"

enum { NODES_MAX = 8, BATCH_ROWS_MAX = 64, BATCH_PAIRS = 4, FIRST_MOE_LAYER = 1, LAYERS = 4 };

typedef struct nodes {
    es_process *process[NODES_MAX];
    char control[NODES_MAX][ES_ENDPOINT_TEXT_MAX], data[NODES_MAX][ES_ENDPOINT_TEXT_MAX];
    char listed[NODES_MAX][2 * ES_ENDPOINT_TEXT_MAX]; /* control, and ",KEY" where the test adds it */
    const char *list[NODES_MAX];
    size_t count;
} nodes;

/* Starts one more node, named n1, n2, …, with this part and more arguments (NULL-ended, or NULL); fails the
 * test when it does not get ready. */
void nodes_add(nodes *n, const char *part, const char *const *more);

/* Kills a node, if it still lives, and starts it again at the same control endpoint. */
void nodes_restart(nodes *n, size_t at, const char *part);

/* Starts count nodes that share all experts. */
void nodes_start(nodes *n, size_t count);

/* Stops them all. True when each ended by itself within its grace. */
void nodes_stop(nodes *n);

/* The model of nodes and reference from here on; tiny-r1 before, and again with NULL. Borrowed. */
void use_model(const char *path);
const char *tiny_r1(void);
const char *node_program(void);

/* tiny-r1 with all experts in this process. */
typedef struct reference {
    es_model *model;
    const es_kernels *kernels;
    es_pool *pool;
} reference;

void reference_open(reference *r);
void reference_close(reference *r);

/* Rows, experts and weights drawn from seed; every third row has but one pair. */
typedef struct batch {
    es_expert_batch batch;
    es_rows rows;
    uint8_t *row_bytes;
    uint32_t first[BATCH_ROWS_MAX + 1], expert[BATCH_ROWS_MAX * BATCH_PAIRS];
    float weight[BATCH_ROWS_MAX * BATCH_PAIRS];
} batch;

void batch_fill(batch *b, const reference *r, es_row_format format, size_t rows, unsigned seed);
void batch_free(batch *b);

/* The batch's sums [rows][hidden] from the local backend; the caller's to free. */
int64_t *reference_sums(const reference *r, size_t layer, const batch *b);

/* Options for tiny-r1 on these nodes. */
es_swarm_options swarm_options(const reference *r, const nodes *n);

/* The swarm, or the test fails with the error's text. */
es_swarm *swarm_open(const es_swarm_options *options);

/* start and finish give the very bytes of the reference. */
void assert_swarm_equals(es_swarm *swarm, const reference *r, size_t layer, const batch *b);

#endif
