/* What the engine and the nodes have done in the last seconds. */
#include "http/samples.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { RING = ES_SAMPLES_WINDOW_S + 1 };

typedef struct sample {
    uint64_t at_ns;
    uint64_t decode_tokens, prefill_tokens;
    es_swarm_node_info *node; /* [node_count] */
    size_t node_count, node_room;
} sample;

struct es_http_samples {
    pthread_mutex_t lock;
    sample ring[RING];
    size_t newest, count;
};

es_status es_http_samples_create(es_http_samples **ret_samples, es_err *err)
{
    es_http_samples *s = calloc(1, sizeof *s);
    *ret_samples = s;
    if (s == NULL) return es_err_set(err, ES_NO_MEMORY, "samples");
    pthread_mutex_init(&s->lock, NULL);
    return ES_OK;
}

void es_http_samples_destroy(es_http_samples **samples)
{
    es_http_samples *s = *samples;
    if (s == NULL) return;
    for (size_t i = 0; i < RING; i++) free(s->ring[i].node);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *samples = NULL;
}

/* Without memory for the nodes the sample has none. */
static void read_nodes(sample *at, es_engine *engine)
{
    size_t count = es_engine_get_nodes(engine, NULL, 0);
    if (count > at->node_room) {
        free(at->node);
        at->node = calloc(count, sizeof *at->node);
        at->node_room = at->node != NULL ? count : 0;
    }
    at->node_count = es_engine_get_nodes(engine, at->node, at->node_room);
    if (at->node_count > at->node_room) at->node_count = at->node_room;
}

void es_http_samples_take(es_http_samples *s, es_engine *engine)
{
    es_engine_stats stats;
    es_engine_get_stats(engine, &stats);
    pthread_mutex_lock(&s->lock);
    s->newest = (s->newest + 1) % RING;
    if (s->count < RING) s->count++;
    sample *at = &s->ring[s->newest];
    at->at_ns = es_clock_now_ns();
    at->decode_tokens = stats.decode_tokens;
    at->prefill_tokens = stats.prefill_tokens;
    read_nodes(at, engine);
    pthread_mutex_unlock(&s->lock);
}

/* The oldest sample of the window, NULL while there is one only. Under the lock. */
static const sample *oldest(const es_http_samples *s)
{
    return s->count < 2 ? NULL : &s->ring[(s->newest + RING - (s->count - 1)) % RING];
}

es_engine_rates es_http_samples_engine(es_http_samples *s)
{
    es_engine_rates rates = {0};
    pthread_mutex_lock(&s->lock);
    const sample *then = oldest(s), *now = &s->ring[s->newest];
    if (then != NULL) {
        double seconds = (double)(now->at_ns - then->at_ns) * 1e-9;
        rates.decode_tokens = (double)(now->decode_tokens - then->decode_tokens) / seconds;
        rates.prefill_tokens = (double)(now->prefill_tokens - then->prefill_tokens) / seconds;
    }
    pthread_mutex_unlock(&s->lock);
    return rates;
}

static const es_swarm_node_info *find_node(const sample *at, const char *endpoint)
{
    for (size_t i = 0; at != NULL && i < at->node_count; i++)
        if (strcmp(at->node[i].endpoint, endpoint) == 0) return &at->node[i];
    return NULL;
}

double es_histogram_quantile(const double *bound, size_t count, const uint64_t *bucket, double share)
{
    uint64_t total = 0, below = 0;
    for (size_t i = 0; i <= count; i++) total += bucket[i];
    double wanted = share * (double)total;
    if (total == 0) return 0.0;
    for (size_t i = 0; i < count; i++) {
        if ((double)(below + bucket[i]) >= wanted && bucket[i] > 0) {
            double low = i > 0 ? bound[i - 1] : 0.0;
            return low + (bound[i] - low) * (wanted - (double)below) / (double)bucket[i];
        }
        below += bucket[i];
    }
    return bound[count - 1];
}

static es_node_rates node_rates(const es_swarm_node_info *then, const es_swarm_node_info *now, double seconds)
{
    uint64_t bucket[ES_SWARM_LATENCY_BOUNDS + 1];
    for (size_t i = 0; i <= ES_SWARM_LATENCY_BOUNDS; i++)
        bucket[i] = now->latency_bucket[i] - then->latency_bucket[i];
    double busy = (double)(now->compute_ns - then->compute_ns) * 1e-9 / seconds;
    return (es_node_rates){
        .calls = (double)(now->calls - then->calls) / seconds,
        .busy = busy < 1.0 ? busy : 1.0,
        .bytes_in = (double)(now->bytes_in - then->bytes_in) / seconds,
        .bytes_out = (double)(now->bytes_out - then->bytes_out) / seconds,
        .p50_ms = 1e3 * es_histogram_quantile(ES_SWARM_LATENCY_BOUND, ES_SWARM_LATENCY_BOUNDS, bucket, 0.5),
        .p99_ms = 1e3 * es_histogram_quantile(ES_SWARM_LATENCY_BOUND, ES_SWARM_LATENCY_BOUNDS, bucket, 0.99),
    };
}

es_node_rates es_http_samples_node(es_http_samples *s, const char *endpoint)
{
    es_node_rates rates = {0};
    pthread_mutex_lock(&s->lock);
    const sample *first = oldest(s), *last = &s->ring[s->newest];
    const es_swarm_node_info *then = find_node(first, endpoint), *now = find_node(last, endpoint);
    /* A node that came back counts from zero again. */
    if (then != NULL && now != NULL && now->calls >= then->calls)
        rates = node_rates(then, now, (double)(last->at_ns - first->at_ns) * 1e-9);
    pthread_mutex_unlock(&s->lock);
    return rates;
}
