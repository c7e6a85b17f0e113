/* The serving engine: its making and its end, its thread's loop, and what others ask of it. */
#include "sched/engine.h"

#include "base/clock.h"
#include "base/fpmode.h"
#include "base/size.h"
#include "sched/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* How long the thread sleeps at most: with requests that cannot be computed on now, whose deadlines it
 * watches, and with none. */
enum { TICK_MS = 100, IDLE_MS = 1000, RETRY_MAX_S = 60 };

static const uint64_t HEAT_NS = 1000000000;

/* From others to the engine: new requests. */
static void take_requests(es_engine *e, es_request *first)
{
    es_request *r = first;
    while (r != NULL || es_queue_pop(e->inbox, &r)) {
        r->next = e->requests;
        e->requests = r;
        uint64_t arrival = ++e->arrivals;
        for (size_t i = 0; i < r->choices; i++) r->sequence[i].arrival = arrival;
        es_answer_queue(e, &r->sequence[0]);
        r = NULL;
    }
}

/* Ends the answers whose bits are set and that are not over. */
static void finish(es_engine *e, es_request *r, unsigned choices, es_finish how)
{
    for (size_t i = 0; i < r->choices; i++)
        if ((choices >> i & 1) != 0 && r->sequence[i].state != ES_SEQUENCE_OVER)
            es_answer_finish(e, &r->sequence[i], how);
}

/* Ends what was cancelled or is late, and lets go of what is over. */
static void sweep(es_engine *e)
{
    uint64_t now = es_clock_now_ns();
    for (es_request **at = &e->requests; *at != NULL;) {
        es_request *r = *at;
        finish(e, r, atomic_load(&r->stopped), ES_FINISH_STOP);
        if (atomic_load(&r->cancelled)) finish(e, r, UINT_MAX, ES_FINISH_CANCELLED);
        if (r->live > 0 && r->deadline_ns != 0 && now >= r->deadline_ns) {
            es_err err;
            es_err_set(&err, ES_TIMEOUT, "the request's deadline passed");
            es_answer_fail(e, r, &err);
        }
        if (r->live > 0) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        es_request_release(r);
        e->closed++;
    }
}

/* Heat changes slowly and is large: brought up to date once in a while. */
static void publish_heat(es_engine *e)
{
    uint64_t now = es_clock_now_ns();
    if (now - e->heat_read_ns < HEAT_NS) return;
    e->heat_read_ns = now;
    es_forward_read_heat(e->options.forward, now, e->heat);
    if (e->options.heat != NULL) e->options.heat(e->options.heat_context, e->heat);
}

/* Who finds no request open any more finds them all counted. */
static void publish(es_engine *e)
{
    e->stats.running = e->running_count;
    e->stats.kv_pages_used = e->stats.kv_pages - es_kv_pool_free_pages(e->pool);
    e->stats.kv_pages_idle = es_prefix_cache_idle_pages(e->cache);
    pthread_mutex_lock(&e->board_lock);
    e->board = e->stats;
    e->request_seconds = e->spent_seconds;
    e->node_count = e->options.swarm != NULL ? es_swarm_node_count(e->options.swarm) : 0;
    for (size_t i = 0; i < e->node_count; i++) e->nodes[i] = es_swarm_node(e->options.swarm, i);
    publish_heat(e);
    pthread_mutex_unlock(&e->board_lock);
    atomic_fetch_sub(&e->open, e->closed);
    e->closed = 0;
}

static void fail_all(es_engine *e)
{
    es_err err;
    es_err_set(&err, ES_UNAVAILABLE, "the engine stops");
    take_requests(e, NULL);
    for (es_request *r = e->requests; r != NULL; r = r->next)
        if (r->live > 0) es_answer_fail(e, r, &err);
    sweep(e);
}

static void *engine_main(void *arg)
{
    es_engine *e = arg;
    es_fpmode_set();
    while (!atomic_load(&e->stopping)) {
        take_requests(e, NULL);
        sweep(e);
        if (atomic_exchange(&e->clear_cache, false)) {
            es_prefix_cache_clear(e->cache);
            es_kv_pool_trim(e->pool);
        }
        bool computed = es_step_run(e);
        sweep(e);
        uint64_t tick_ms = e->requests != NULL ? TICK_MS : IDLE_MS;
        if (!computed && e->options.swarm != NULL)
            tick_ms = es_size_min(tick_ms, es_swarm_tend(e->options.swarm));
        publish(e);
        if (computed) continue;
        es_request *r = NULL;
        if (es_queue_pop_wait(e->inbox, es_clock_now_ns() + tick_ms * 1000000u, &r)) take_requests(e, r);
    }
    es_queue_close(e->inbox);
    fail_all(e);
    publish(e);
    return NULL;
}

static es_status make_parts(es_engine *e, es_err *err)
{
    const es_engine_options *o = &e->options;
    size_t vocab = o->model->shape.vocab, logits = 0;
    bool fits = es_size_mul(o->running_max, vocab, &logits);
    e->running = calloc(o->running_max, sizeof(es_sequence *));
    e->stepped = calloc(o->running_max, sizeof(es_sequence *));
    e->stepped_rows = calloc(o->running_max, sizeof *e->stepped_rows);
    e->named = calloc(o->running_max, sizeof *e->named);
    e->rows = calloc(o->step_rows, sizeof *e->rows);
    e->logits = fits ? calloc(logits, sizeof *e->logits) : NULL;
    e->mask = calloc(es_size_ceil_div(vocab, 64), sizeof *e->mask);
    e->item = calloc(1, sizeof(es_event) + ES_TOP_LOGPROBS_MAX * sizeof(es_logprob));
    e->nodes = calloc(o->swarm != NULL ? ES_SWARM_NODES_MAX : 1, sizeof *e->nodes);
    e->heat = calloc(es_size_max(o->model->shape.layers * o->model->shape.experts, 1), sizeof *e->heat);
    if (e->heat == NULL || e->running == NULL || e->stepped == NULL || e->stepped_rows == NULL ||
        e->named == NULL || e->rows == NULL || e->logits == NULL || e->mask == NULL || e->item == NULL ||
        e->nodes == NULL)
        return es_err_set(err, ES_NO_MEMORY, "engine: %zu answers at once", o->running_max);
    es_status status = es_kv_pool_create(&o->model->shape, o->kv_format, o->kv_pages, &e->pool, err);
    if (status == ES_OK) status = es_prefix_cache_create(e->pool, &e->cache, err);
    if (status == ES_OK) status = es_sampler_create(o->kernels, vocab, &e->sampler, err);
    if (status == ES_OK) status = es_shares_create(o->running_max + o->queue_max, &e->shares, err);
    if (status == ES_OK)
        status = es_queue_create(sizeof(es_request *), o->queue_max, NULL, NULL, &e->inbox, err);
    if (status == ES_OK)
        status = es_places_create(o->queue_max, o->queue_key_max > 0 ? o->queue_key_max : o->queue_max,
                                  &e->places, err);
    return status;
}

es_status es_engine_create(const es_engine_options *options, es_engine **ret_engine, es_err *err)
{
    *ret_engine = NULL;
    const es_engine_options *o = options;
    ES_ASSERT(o->kv_pages >= 2 && o->chunk_rows >= 1 && o->running_max >= 1 && o->queue_max >= 1 &&
              o->running_max <= o->step_rows && o->step_rows <= ES_STEP_ROWS_MAX);
    es_engine *e = calloc(1, sizeof *e);
    if (e == NULL) return es_err_set(err, ES_NO_MEMORY, "engine");
    e->options = *o;
    /* One page is spare, so that a last sequence's shared page can be copied when all others are its own. */
    e->context = es_size_min(o->context, (o->kv_pages - 1) * ES_KV_TILE);
    pthread_mutex_init(&e->board_lock, NULL);
    es_engine_stats_init(&e->stats);
    e->stats.kv_pages = o->kv_pages;
    e->stats.kv_page_bytes = es_kv_page_bytes(&o->model->shape, o->kv_format);
    es_status status = make_parts(e, err);
    if (status == ES_OK) {
        publish(e);
        e->started = pthread_create(&e->thread, NULL, engine_main, e) == 0;
        if (!e->started) status = es_err_set(err, ES_NO_MEMORY, "engine: its thread");
    }
    if (status != ES_OK) {
        es_engine_destroy(&e);
        return status;
    }
    *ret_engine = e;
    return ES_OK;
}

void es_engine_stop(es_engine *e)
{
    atomic_store(&e->draining, true);
    atomic_store(&e->stopping, true);
    if (!e->started) return;
    if (e->options.swarm != NULL) es_swarm_interrupt(e->options.swarm);
    es_queue_poke(e->inbox);
    pthread_join(e->thread, NULL);
    e->started = false;
}

void es_engine_destroy(es_engine **engine)
{
    es_engine *e = *engine;
    if (e == NULL) return;
    es_engine_stop(e);
    es_prefix_cache_destroy(&e->cache);
    es_kv_pool_destroy(&e->pool);
    es_sampler_destroy(&e->sampler);
    es_shares_destroy(&e->shares);
    es_queue_destroy(&e->inbox);
    es_places_destroy(&e->places);
    pthread_mutex_destroy(&e->board_lock);
    free(e->running);
    free(e->stepped);
    free(e->stepped_rows);
    free(e->named);
    free(e->rows);
    free(e->logits);
    free(e->mask);
    free(e->item);
    free(e->nodes);
    free(e->heat);
    free(e);
    *engine = NULL;
}

es_trace *es_engine_trace(const es_engine *engine)
{
    return engine->options.trace;
}

size_t es_engine_context(const es_engine *engine)
{
    return engine->context;
}

es_status es_engine_submit(es_engine *e, const es_request_options *options, es_request **ret_request,
                           es_err *err)
{
    *ret_request = NULL;
    es_request *request;
    if (atomic_load(&e->draining)) return es_err_set(err, ES_UNAVAILABLE, "no more requests are taken");
    es_status status = es_request_create(e, options, &request, err);
    if (status != ES_OK) return status;
    status = es_places_take(e->places, options->key, err);
    if (status != ES_OK) {
        es_request_release(request);
        es_request_release(request);
        atomic_fetch_add(&e->refused, 1);
        return status;
    }
    request->queued = true;
    atomic_fetch_add(&e->open, 1);
    if (!es_queue_push(e->inbox, &request)) {
        es_places_give(e->places, options->key);
        atomic_fetch_sub(&e->open, 1);
        es_request_release(request);
        es_request_release(request);
        return es_err_set(err, ES_UNAVAILABLE, "no more requests are taken");
    }
    *ret_request = request;
    return ES_OK;
}

unsigned es_engine_retry_after_s(es_engine *e)
{
    pthread_mutex_lock(&e->board_lock);
    double request_seconds = e->request_seconds;
    pthread_mutex_unlock(&e->board_lock);
    double seconds = request_seconds * (double)es_places_count(e->places) / (double)e->options.running_max;
    return seconds >= RETRY_MAX_S ? RETRY_MAX_S : 1 + (unsigned)seconds;
}

void es_engine_drain(es_engine *e)
{
    atomic_store(&e->draining, true);
}

size_t es_engine_open_requests(es_engine *e)
{
    return atomic_load(&e->open);
}

void es_engine_clear_cache(es_engine *e)
{
    atomic_store(&e->clear_cache, true);
    es_queue_poke(e->inbox);
}

void es_engine_get_stats(es_engine *e, es_engine_stats *ret_stats)
{
    pthread_mutex_lock(&e->board_lock);
    *ret_stats = e->board;
    pthread_mutex_unlock(&e->board_lock);
    ret_stats->refused = atomic_load(&e->refused);
    ret_stats->queued = es_places_count(e->places);
}

size_t es_engine_get_nodes(es_engine *e, es_swarm_node_info *ret_nodes, size_t room)
{
    pthread_mutex_lock(&e->board_lock);
    size_t count = e->node_count;
    for (size_t i = 0; i < es_size_min(room, count); i++) ret_nodes[i] = e->nodes[i];
    pthread_mutex_unlock(&e->board_lock);
    return count;
}

void es_engine_get_heat(es_engine *e, float *ret_counts)
{
    const es_shape *s = &e->options.model->shape;
    pthread_mutex_lock(&e->board_lock);
    memcpy(ret_counts, e->heat, s->layers * s->experts * sizeof *ret_counts);
    pthread_mutex_unlock(&e->board_lock);
}
