/* What a node's past calls say of the next one. */
#include "dispatch/history.h"

#include "essaim/status.h"

#include <math.h>
#include <string.h>

enum { ENOUGH = 8, REFRESH = 8, SMALL_BYTES = 64 * 1024, COST_BELOW_1 = 3 };

static const double NEW = 0.2; /* weight of the latest call in a running mean */
static const double MUCH_LONGER = 3;

static size_t bucket_of(double cost)
{
    int power = cost > 0 ? ilogb(cost) + COST_BELOW_1 : 0;
    return power < 0 ? 0 : power >= ES_HISTORY_BUCKETS ? ES_HISTORY_BUCKETS - 1 : (size_t)power;
}

static void refresh_p95(es_history_bucket *b)
{
    uint32_t sorted[ES_HISTORY_KEPT];
    size_t count = b->count < ES_HISTORY_KEPT ? b->count : ES_HISTORY_KEPT;
    ES_ASSERT(count > 0);
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && sorted[at - 1] > b->us[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = b->us[i];
    }
    b->p95_us = sorted[(count * 95 - 1) / 100];
}

/* One call that took much longer than usual says little; several do. */
static void blend(double *mean, double value)
{
    if (*mean > 0 && value > MUCH_LONGER * *mean) value = MUCH_LONGER * *mean;
    *mean = *mean == 0 ? value : *mean + NEW * (value - *mean);
}

void es_history_add(es_history *h, double cost, size_t bytes, uint64_t latency_ns, uint64_t compute_ns,
                    uint64_t now_ns)
{
    es_history_bucket *b = &h->bucket[bucket_of(cost)];
    uint64_t us = latency_ns / 1000;
    b->us[b->count % ES_HISTORY_KEPT] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
    b->count++;
    if (b->count <= ENOUGH || b->count % REFRESH == 0) refresh_p95(b);

    double beside = latency_ns > compute_ns ? (double)(latency_ns - compute_ns) : 1;
    if (bytes < SMALL_BYTES) {
        if (beside < h->rtt_ns)
            h->rtt_ns = beside; /* a delay that went away is forgotten at once */
        else
            blend(&h->rtt_ns, beside);
    } else {
        blend(&h->byte_ns, beside > h->rtt_ns ? (beside - h->rtt_ns) / (double)bytes : 0);
    }
    if (cost > 0) blend(&h->cost_ns, (double)compute_ns / cost);
    h->last_ns = now_ns;
}

uint64_t es_history_p95_ns(const es_history *h, double cost)
{
    size_t wanted = bucket_of(cost);
    for (size_t away = 0; away < ES_HISTORY_BUCKETS; away++) {
        if (wanted + away < ES_HISTORY_BUCKETS && h->bucket[wanted + away].count >= ENOUGH)
            return (uint64_t)h->bucket[wanted + away].p95_us * 1000;
        if (wanted >= away && h->bucket[wanted - away].count >= ENOUGH)
            return ((uint64_t)h->bucket[wanted - away].p95_us * 1000) << away;
    }
    return 0;
}
