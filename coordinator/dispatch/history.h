/* What a node's past calls say of the next one: when it should have answered, and how long its share takes.
 */
#ifndef ES_DISPATCH_HISTORY_H
#define ES_DISPATCH_HISTORY_H

#include <stddef.h>
#include <stdint.h>

/* A call's cost: experts whose weights are read, and a little for each row of each. */
static inline double es_history_cost(double experts, double pairs)
{
    return experts + pairs / 16;
}

enum { ES_HISTORY_BUCKETS = 20, ES_HISTORY_KEPT = 64 };

/* Round trips of calls of like cost: a power of two apart. */
typedef struct es_history_bucket {
    uint32_t us[ES_HISTORY_KEPT]; /* the last ones */
    uint32_t count;               /* all ever */
    uint32_t p95_us;              /* of those kept, as of late */
} es_history_bucket;

/* Caller's storage, start with all zero. */
typedef struct es_history {
    es_history_bucket bucket[ES_HISTORY_BUCKETS];
    uint64_t last_ns; /* when the last call was added; 0: none yet */
    double rtt_ns;    /* of small messages, beside the computing */
    double byte_ns;   /* a byte of large ones, beside rtt */
    double cost_ns;   /* computing, for cost 1 */
} es_history;

/* A call that was answered: bytes both ways, from sending to having the reply, and the time it took there. */
void es_history_add(es_history *history, double cost, size_t bytes, uint64_t latency_ns, uint64_t compute_ns,
                    uint64_t now_ns);

/* The 95th percentile of calls of such a cost; 0 when too few are known. Costs that were not seen yet are
 * guessed from the nearest that were, never shorter than a cheaper one's. */
uint64_t es_history_p95_ns(const es_history *history, double cost);

#endif
