/* The feed-forward half of a layer: route, send, compute the shared expert meanwhile, add up in fixed point.
 */
#include "base/size.h"
#include "model/router.h"
#include "model/workspace.h"

#include <string.h>

enum { ROUTER_EXPERTS = 16, ROUTER_ROWS = 16 };

typedef struct router_job {
    es_forward *forward;
    const float *router;
    size_t count;
} router_job;

/* The products of some experts with some rows. */
static void router_item(void *arg, size_t item, size_t thread)
{
    (void)thread;
    const router_job *job = arg;
    es_forward *f = job->forward;
    const es_shape *s = f->shape;
    size_t panels = es_size_ceil_div(s->experts, ROUTER_EXPERTS);
    size_t row = item / panels * ROUTER_ROWS, expert = item % panels * ROUTER_EXPERTS;
    f->compute.kernels->dots(f->work.normed + row * s->hidden, s->hidden,
                             es_size_min(ROUTER_ROWS, job->count - row), job->router + expert * s->hidden,
                             s->hidden, es_size_min(ROUTER_EXPERTS, s->experts - expert), s->hidden,
                             f->work.router_z + row * s->experts + expert, s->experts);
}

static es_status route(es_forward *f, size_t layer_index, const es_layer *layer, const es_forward_row *rows,
                       size_t count, es_err *err)
{
    const es_shape *s = f->shape;
    es_workspace *w = &f->work;
    router_job job = {f, layer->router, count};
    size_t items = es_size_ceil_div(count, ROUTER_ROWS) * es_size_ceil_div(s->experts, ROUTER_EXPERTS);
    es_pool_run(f->compute.pool, items, router_item, &job);
    w->pair_first[0] = 0;
    for (size_t r = 0; r < count; r++) {
        size_t first = r * s->experts_per_token;
        if (!es_router_choose(f->compute.kernels, s, w->router_z + r * s->experts, layer->router_bias,
                              w->pair_expert + first, w->pair_weight + first))
            return es_forward_not_finite(&rows[r], "a router score", err);
        w->pair_first[r + 1] = (uint32_t)(first + s->experts_per_token);
    }
    es_heat_count(&f->heat, layer_index, w->pair_expert, count * s->experts_per_token);
    return ES_OK;
}

/* The shared expert or the dense feed-forward: every row, weight 1. */
static es_status run_own(es_forward *f, const es_layer *layer, const es_rows *input, es_err *err)
{
    es_workspace *w = &f->work;
    es_expert_batch batch = {input, w->single_first, w->single_expert, w->single_weight};
    return es_expert_engine_run(f->engine, &layer->ffn, 1, &batch, w->sum, err);
}

/* The backend's errors name their layer; ours are given it here. */
static es_status at_layer(es_status status, size_t layer, es_err *err)
{
    if (status != ES_OK) es_err_prefix(err, "layer %zu", layer);
    return status;
}

static es_status run_moe(es_forward *f, size_t layer_index, const es_layer *layer, const es_forward_row *rows,
                         const es_rows *input, uint64_t start_ns, es_err *err)
{
    es_workspace *w = &f->work;
    es_trace *trace = f->options.trace;
    es_status status = route(f, layer_index, layer, rows, input->count, err);
    start_ns = es_trace_mark(trace, ES_STAGE_ROUTER, layer_index, start_ns);
    if (status != ES_OK) return at_layer(status, layer_index, err);
    es_expert_batch batch = {input, w->pair_first, w->pair_expert, w->pair_weight};
    es_expert_backend *backend = f->options.backend;
    status = backend->start(backend, layer_index, &batch, err);
    start_ns = es_trace_mark(trace, ES_STAGE_DISPATCH, layer_index, start_ns);
    if (status != ES_OK) return status;
    if (layer->ffn.gate.data != NULL) {
        status = run_own(f, layer, input, err);
        start_ns = es_trace_mark(trace, ES_STAGE_SHARED, layer_index, start_ns);
        if (status != ES_OK) {
            es_err_prefix(err, "shared expert");
            return at_layer(status, layer_index, err);
        }
    }
    status = backend->finish(backend, w->sum, err);
    es_trace_mark(trace, ES_STAGE_WAIT, layer_index, start_ns);
    return status;
}

es_status es_ffn_forward(es_forward *f, size_t layer_index, const es_forward_row *rows, size_t count,
                         es_err *err)
{
    const es_shape *s = f->shape;
    const es_layer *layer = &f->options.model->layers[layer_index];
    es_workspace *w = &f->work;
    es_trace *trace = f->options.trace;
    uint64_t start_ns = es_trace_now(trace);
    es_compute_rmsnorm(&f->compute, w->x, s->hidden, layer->ffn_norm, s->rms_eps, s->hidden, count, w->normed,
                       s->hidden);
    es_rows input = {.data = w->row_bytes};
    size_t bad = es_compute_rows(&f->compute, w->normed, s->hidden, count, s->hidden, &input);
    if (bad < count)
        return at_layer(es_forward_not_finite(&rows[bad], "the feed-forward's normed input", err),
                        layer_index, err);

    memset(w->sum, 0, count * s->hidden * sizeof *w->sum);
    es_status status = layer->is_moe ? run_moe(f, layer_index, layer, rows, &input, start_ns, err)
                                     : at_layer(run_own(f, layer, &input, err), layer_index, err);
    if (!layer->is_moe) es_trace_mark(trace, ES_STAGE_DENSE, layer_index, start_ns);
    if (status != ES_OK) return status;
    start_ns = es_trace_now(trace);

    for (size_t r = 0; r < count; r++) {
        float *out = w->block_out + r * s->hidden;
        f->compute.kernels->fixed_to_float(w->sum + r * s->hidden, s->hidden, es_rows_quantum(&input, r),
                                           out);
        for (size_t i = 0; i < s->hidden; i++) w->x[r * s->hidden + i] += out[i];
    }
    es_trace_mark(trace, ES_STAGE_COMBINE, layer_index, start_ns);
    return ES_OK;
}
