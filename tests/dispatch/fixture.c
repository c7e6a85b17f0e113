/* Real expert nodes on loopback, the reference in this process, and batches from a seed. */
#include "dispatch/fixture.h"

#include "base/clock.h"
#include "experts/local_backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 32, GRACE_MS = 20000 };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

static const char *model;

void use_model(const char *path)
{
    model = path;
}

static const char *model_path(void)
{
    return model != NULL ? model : tiny_r1();
}

const char *tiny_r1(void)
{
    return ESSAIM_SOURCE_DIR "/models/tiny-r1";
}

const char *node_program(void)
{
    return ESSAIM_NODE_PROGRAM;
}

static void read_word(const char *line, const char *key, char out[ES_ENDPOINT_TEXT_MAX])
{
    const char *at = strstr(line, key);
    assert_non_null(at);
    at += strlen(key);
    snprintf(out, ES_ENDPOINT_TEXT_MAX, "%.*s", (int)strcspn(at, " "), at);
}

/* Starts a node as number at; listen: where. */
static void start_node(nodes *n, size_t at, const char *listen, const char *part, const char *const *more)
{
    size_t args = 0;
    char name[16];
    snprintf(name, sizeof name, "n%zu", at + 1);
    const char *argv[ARGS_MAX] = {node_program(), "--model", model_path(), "--part",    part, "--listen",
                                  listen,         "--name",  name,         "--threads", "1",  "--log-level",
                                  "error",        NULL};
    while (argv[args] != NULL) args++;
    for (; more != NULL && *more != NULL; more++) argv[args++] = *more;
    es_process_options options = {.argv = argv, .ready = true};
    char line[ES_PROCESS_LINE_MAX];
    MUST(es_process_start(&options, &n->process[at], &must_err));
    MUST(es_process_wait_ready(n->process[at], es_clock_now_ns() + 60000000000u, -1, line, &must_err));
    read_word(line, "control=", n->control[at]);
    read_word(line, "data=", n->data[at]);
}

void nodes_add(nodes *n, const char *part, const char *const *more)
{
    assert_true(n->count < NODES_MAX);
    size_t at = n->count;
    start_node(n, at, "127.0.0.1:0", part, more);
    memcpy(n->listed[at], n->control[at], sizeof n->control[at]);
    n->list[at] = n->listed[at];
    n->count++;
}

void nodes_restart(nodes *n, size_t at, const char *part)
{
    char listen[ES_ENDPOINT_TEXT_MAX];
    snprintf(listen, sizeof listen, "%s", n->control[at] + strlen("tcp://"));
    es_process_stop(&n->process[at], 0);
    start_node(n, at, listen, part, NULL);
}

void nodes_start(nodes *n, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char part[48];
        snprintf(part, sizeof part, "%zu/%zu", i + 1, count);
        nodes_add(n, part, NULL);
    }
}

void nodes_stop(nodes *n)
{
    es_process_group group = {.count = 0};
    for (size_t i = 0; i < n->count; i++)
        if (n->process[i] != NULL) MUST(es_process_group_add(&group, &n->process[i], &must_err));
    es_process_group_stop(&group, GRACE_MS);
    n->count = 0;
}

void reference_open(reference *r)
{
    es_model_parts parts = {.all_experts = true};
    MUST(es_model_open(model_path(), &parts, NULL, NULL, &r->model, &must_err));
    MUST(es_kernels_select(NULL, &r->kernels, &must_err));
    MUST(es_pool_create(1, &r->pool, &must_err));
}

void reference_close(reference *r)
{
    es_pool_destroy(&r->pool);
    es_model_close(&r->model);
}

static unsigned draw(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static float draw_float(unsigned *state)
{
    return (float)draw(state) / (float)(1u << 23) - 1.0f;
}

void batch_fill(batch *b, const reference *r, es_row_format format, size_t rows, unsigned seed)
{
    size_t cols = r->model->shape.hidden;
    assert_true(rows <= BATCH_ROWS_MAX);
    b->rows = (es_rows){
        .format = format, .count = rows, .cols = cols, .row_bytes = es_rows_row_bytes(format, cols)};
    b->rows.data = b->row_bytes = calloc(rows, b->rows.row_bytes);
    float *x = calloc(cols, sizeof *x);
    size_t pairs = 0;
    b->first[0] = 0;
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < cols; c++) x[c] = draw_float(&seed) * ldexpf(1.0f, (int)(draw(&seed) % 8));
        uint8_t *at = b->row_bytes + row * b->rows.row_bytes;
        if (format == ES_ROWS_F32)
            memcpy(at, x, cols * sizeof *x);
        else
            assert_true(
                r->kernels->quantise(x, cols, (int8_t *)at, (float *)(void *)(at + (cols + 3) / 4 * 4)));
        size_t most =
            r->model->shape.experts_per_token < BATCH_PAIRS ? r->model->shape.experts_per_token : BATCH_PAIRS;
        size_t own = row % 3 == 2 ? 1 : most;
        for (size_t p = 0; p < own; p++, pairs++) {
            b->expert[pairs] = draw(&seed) % (unsigned)r->model->shape.experts;
            b->weight[pairs] = draw_float(&seed);
        }
        b->first[row + 1] = (uint32_t)pairs;
    }
    free(x);
    b->batch = (es_expert_batch){&b->rows, b->first, b->expert, b->weight};
}

void batch_free(batch *b)
{
    free(b->row_bytes);
}

int64_t *reference_sums(const reference *r, size_t layer, const batch *b)
{
    const char *core;
    if (b->rows.format == ES_ROWS_F32) MUST(es_blas_start(&core, &must_err));
    es_expert_engine_options options = {.kernels = r->kernels,
                                        .pool = r->pool,
                                        .row_format = b->rows.format,
                                        .hidden = r->model->shape.hidden,
                                        .rows_max = BATCH_ROWS_MAX};
    es_expert_backend *backend;
    int64_t *sum = calloc(b->rows.count * r->model->shape.hidden, sizeof *sum);
    MUST(es_local_backend_create(r->model, &options, &backend, &must_err));
    MUST(backend->start(backend, layer, &b->batch, &must_err));
    MUST(backend->finish(backend, sum, &must_err));
    backend->destroy(&backend);
    return sum;
}

es_swarm_options swarm_options(const reference *r, const nodes *n)
{
    return (es_swarm_options){.nodes = n->list,
                              .node_count = n->count,
                              .name = "test",
                              .shape = &r->model->shape,
                              .fingerprint = r->model->fingerprint,
                              .row_format = ES_ROWS_Q8,
                              .rows_max = BATCH_ROWS_MAX,
                              .hello_deadline_ms = 30000};
}

es_swarm *swarm_open(const es_swarm_options *options)
{
    es_swarm *swarm;
    MUST(es_swarm_create(options, &swarm, &must_err));
    return swarm;
}

void assert_swarm_equals(es_swarm *swarm, const reference *r, size_t layer, const batch *b)
{
    size_t count = b->rows.count * r->model->shape.hidden;
    int64_t *expected = reference_sums(r, layer, b), *sum = calloc(count, sizeof *sum);
    es_expert_backend *backend = es_swarm_backend(swarm);
    MUST(backend->start(backend, layer, &b->batch, &must_err));
    MUST(backend->finish(backend, sum, &must_err));
    assert_memory_equal(sum, expected, count * sizeof *sum);
    free(expected);
    free(sum);
}
