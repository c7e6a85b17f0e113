/* What the engine's tests share. */
#include "engine_fixture.h"

#include "base/clock.h"
#include "base/pool.h"
#include "base/size.h"
#include "experts/local_backend.h"
#include "with_cmocka.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 240000 };

/* The local experts, with a switch that makes steps fail and a gate that holds them. */
typedef struct gated_backend {
    es_expert_backend base;
    es_expert_backend *local;
    atomic_int failures;
    pthread_mutex_t gate;
} gated_backend;

static es_model *model;
static const es_kernels *kernels;
static es_pool *pool;
static es_forward *forward;
static gated_backend backend;

static es_status start(es_expert_backend *base, size_t layer, const es_expert_batch *batch, es_err *err)
{
    gated_backend *b = (gated_backend *)base;
    pthread_mutex_lock(&b->gate);
    pthread_mutex_unlock(&b->gate);
    if (atomic_load(&b->failures) > 0) {
        atomic_fetch_sub(&b->failures, 1);
        return es_err_set(err, ES_UNAVAILABLE, "layer %zu: node n3: connection lost", layer);
    }
    return b->local->start(b->local, layer, batch, err);
}

static es_status finish(es_expert_backend *base, int64_t *sum, es_err *err)
{
    gated_backend *b = (gated_backend *)base;
    return b->local->finish(b->local, sum, err);
}

int fixture_open(void **state)
{
    (void)state;
    es_err err;
    const es_model_parts parts = {.backbone = true, .all_experts = true};
    pthread_mutex_init(&backend.gate, NULL);
    backend.base = (es_expert_backend){.start = start, .finish = finish};
    es_status status = es_kernels_select(NULL, &kernels, &err);
    if (status == ES_OK)
        status = es_model_open(ESSAIM_SOURCE_DIR "/models/tiny-r1", &parts, NULL, NULL, &model, &err);
    if (status == ES_OK) status = es_pool_create(2, &pool, &err);
    if (status == ES_OK) {
        const es_expert_engine_options experts = {
            .kernels = kernels, .pool = pool, .hidden = model->shape.hidden, .rows_max = FIXTURE_STEP};
        status = es_local_backend_create(model, &experts, &backend.local, &err);
    }
    if (status == ES_OK) {
        const es_forward_options options = {.model = model,
                                            .kernels = kernels,
                                            .pool = pool,
                                            .backend = &backend.base,
                                            .rows_max = FIXTURE_STEP};
        status = es_forward_create(&options, &forward, &err);
    }
    if (status == ES_OK) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}

int fixture_close(void **state)
{
    (void)state;
    es_forward_destroy(&forward);
    backend.local->destroy(&backend.local);
    es_pool_destroy(&pool);
    es_model_close(&model);
    pthread_mutex_destroy(&backend.gate);
    return 0;
}

const es_model *fixture_model(void)
{
    return model;
}

size_t fixture_vocab(void)
{
    return model->shape.vocab;
}

es_engine *fixture_engine(engine_size size)
{
    es_engine *engine;
    es_err err;
    const es_engine_options options = {
        .forward = forward,
        .model = model,
        .kernels = kernels,
        .kv_pages = size.pages != 0 ? size.pages : 256,
        .context = FIXTURE_CONTEXT,
        .step_rows = FIXTURE_STEP,
        .chunk_rows = size.chunk != 0 ? size.chunk : 32,
        .running_max = size.answers != 0 ? size.answers : 32,
        .queue_max = size.queue != 0 ? size.queue : 128,
        .queue_key_max = size.queue_key,
    };
    assert_int_equal(es_engine_create(&options, &engine, &err), ES_OK);
    return engine;
}

void fixture_fail_steps(int count)
{
    atomic_store(&backend.failures, count);
}

void fixture_hold(void)
{
    pthread_mutex_lock(&backend.gate);
}

void fixture_release(void)
{
    pthread_mutex_unlock(&backend.gate);
}

void ask_make(ask *a, uint32_t seed, size_t count, size_t most)
{
    *a = (ask){0};
    uint32_t state = seed * 2654435761u + 12345u;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        a->prompt[i] = 10 + (state >> 8) % 400u;
    }
    a->options = (es_request_options){.prompt = a->prompt,
                                      .prompt_count = count,
                                      .max_tokens = most,
                                      .sampling = es_sampling_default(),
                                      .wants_logprobs = true,
                                      .top_logprobs = TOP};
}

void ask_submit(ask *a, es_engine *engine)
{
    es_err err;
    a->options.prompt = a->prompt;
    es_status status = es_engine_submit(engine, &a->options, &a->request, &err);
    if (status != ES_OK) fprintf(stderr, "%s\n", err.text);
    assert_int_equal(status, ES_OK);
}

static void take(ask *a, const es_event *event)
{
    assert_true(a->count < ANSWER_MAX);
    a->token[a->count] = event->token;
    a->logprob[a->count] = event->logprob;
    a->step[a->count] = event->step;
    assert_true(event->top_count <= TOP);
    memcpy(a->top[a->count], event->top, event->top_count * sizeof *event->top);
    a->count++;
}

void ask_finish(ask *a)
{
    es_event event = {0};
    do {
        bool came = es_request_wait(a->request, WAIT_MS, &event);
        assert_true(came);
        if (event.kind == ES_EVENT_TOKEN) take(a, &event);
        if (a->cancel_after > 0 && a->count == a->cancel_after) es_request_cancel(a->request);
    } while (event.kind == ES_EVENT_TOKEN);
    a->failed = event.kind == ES_EVENT_FAILED;
    if (a->failed) a->err = *event.err;
    a->outcome = event.outcome;
    a->end_step = event.step;
    es_request_close(&a->request);
}

es_engine_stats fixture_stats(es_engine *engine)
{
    es_engine_stats stats;
    es_engine_get_stats(engine, &stats);
    return stats;
}

void fixture_expect_no_pages(es_engine *engine)
{
    uint64_t deadline_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    do {
        assert_true(es_clock_now_ns() < deadline_ns);
        es_engine_clear_cache(engine);
        sched_yield();
    } while (es_engine_open_requests(engine) > 0 || fixture_stats(engine).kv_pages_used > 0);
}

void ask_alone(ask *a, es_engine *engine)
{
    fixture_expect_no_pages(engine);
    ask_submit(a, engine);
    ask_finish(a);
    assert_int_equal(a->outcome.cached_tokens, 0);
}

void ask_compare(const ask *a, const ask *alone, bool prefix)
{
    size_t count = prefix ? es_size_min(a->count, alone->count) : alone->count;
    assert_false(a->failed);
    if (!prefix) assert_int_equal(a->count, alone->count);
    assert_memory_equal(a->token, alone->token, count * sizeof *a->token);
    assert_memory_equal(a->logprob, alone->logprob, count * sizeof *a->logprob);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < TOP; k++) {
            assert_int_equal(a->top[i][k].token, alone->top[i][k].token);
            assert_memory_equal(&a->top[i][k].logprob, &alone->top[i][k].logprob, sizeof(double));
        }
}
