/* The forward pass: the spine that a token walks along. */
#include "model/forward.h"

#include "base/size.h"
#include "model/workspace.h"

#include <stdlib.h>
#include <string.h>

es_status es_forward_create(const es_forward_options *options, es_forward **ret_forward, es_err *err)
{
    *ret_forward = NULL;
    ES_ASSERT(options->rows_max >= 1 && options->rows_max <= ES_STEP_ROWS_MAX &&
              options->model->has_backbone);
    es_forward *f = calloc(1, sizeof *f);
    if (f == NULL) return es_err_set(err, ES_NO_MEMORY, "forward pass");
    f->options = *options;
    f->shape = &options->model->shape;
    f->arena = es_arena_create();
    f->attention_scale = es_attention_scale(f->shape);
    es_rotary_init(f->shape, &f->rotary);
    es_expert_engine_options engine = {
        .kernels = options->kernels,
        .pool = options->pool,
        .row_format = options->row_format,
        .hidden = f->shape->hidden,
        .intermediate_max = es_size_max(f->shape->dense_intermediate,
                                        f->shape->shared_experts * f->shape->expert_intermediate),
        .rows_max = options->rows_max,
        .pairs_per_row_max = 1,
    };
    es_status status =
        f->arena == NULL ? es_err_set(err, ES_NO_MEMORY, "forward pass") : es_workspace_create(f, err);
    if (status == ES_OK) status = es_heat_init(&f->heat, f->shape, f->arena, err);
    if (status == ES_OK) status = es_expert_engine_create(&engine, &f->engine, err);
    if (status != ES_OK) {
        es_forward_destroy(&f);
        return status;
    }
    *ret_forward = f;
    return ES_OK;
}

void es_forward_destroy(es_forward **forward)
{
    es_forward *f = *forward;
    if (f == NULL) return;
    es_expert_engine_destroy(&f->engine);
    es_arena_destroy(&f->arena);
    free(f);
    *forward = NULL;
}

void es_forward_read_heat(es_forward *f, uint64_t now_ns, float *ret_counts)
{
    size_t count = f->heat.layers * f->heat.experts;
    if (count == 0) return;
    es_heat_fold(&f->heat, now_ns);
    memcpy(ret_counts, f->heat.counts, count * sizeof *ret_counts);
}

static es_status embed(es_forward *f, const es_forward_row *rows, size_t count, es_err *err)
{
    const es_shape *s = f->shape;
    for (size_t r = 0; r < count; r++) {
        if (rows[r].token >= s->vocab)
            return es_err_set(err, ES_INVALID, "token %u is not below the vocabulary of %zu",
                              (unsigned)rows[r].token, s->vocab);
        es_matrix_widen_row(&f->options.model->embedding, rows[r].token, 0, s->hidden,
                            f->work.x + r * s->hidden);
        size_t pairs = s->rope / 2;
        es_rotary_at(&f->rotary, rows[r].position, f->work.cos + r * pairs, f->work.sin + r * pairs);
    }
    return ES_OK;
}

es_status es_forward_not_finite(const es_forward_row *row, const char *what, es_err *err)
{
    return es_err_set(err, ES_NUMERIC, "position %u: %s is not finite", (unsigned)row->position, what);
}

/* The index-th of the rows that want logits. */
static const es_forward_row *wanted_row(const es_forward_row *rows, size_t index)
{
    for (;; rows++)
        if (rows->wants_logits && index-- == 0) return rows;
}

/* Norm and head for the rows that want logits. */
static es_status make_logits(es_forward *f, const es_forward_row *rows, size_t count, float *ret_logits,
                             es_err *err)
{
    const es_shape *s = f->shape;
    es_workspace *w = &f->work;
    size_t wanted = 0;
    for (size_t r = 0; r < count; r++) {
        if (!rows[r].wants_logits) continue;
        memmove(w->normed + wanted * s->hidden, w->x + r * s->hidden, s->hidden * sizeof *w->x);
        wanted++;
    }
    if (wanted == 0) return ES_OK;
    es_compute_rmsnorm(&f->compute, w->normed, s->hidden, f->options.model->final_norm, s->rms_eps, s->hidden,
                       wanted, w->normed, s->hidden);
    es_rows input = {.data = w->row_bytes};
    size_t bad = es_compute_rows(&f->compute, w->normed, s->hidden, wanted, s->hidden, &input);
    if (bad < wanted) return es_forward_not_finite(wanted_row(rows, bad), "the normed input", err);
    es_compute_matmul(&f->compute, &f->options.model->head, &input, ret_logits, s->vocab);
    bad = es_compute_check(&f->compute, ret_logits, wanted, s->vocab);
    if (bad < wanted) return es_forward_not_finite(wanted_row(rows, bad), "a logit", err);
    return ES_OK;
}

es_status es_forward_run(es_forward *f, const es_forward_row *rows, size_t count, float *ret_logits,
                         es_err *err)
{
    ES_ASSERT(count >= 1 && count <= f->options.rows_max);
    es_trace *trace = f->options.trace;
    uint64_t start_ns = es_trace_now(trace);
    es_status status = embed(f, rows, count, err);
    start_ns = es_trace_mark(trace, ES_STAGE_EMBED, 0, start_ns);
    for (size_t layer = 0; layer < f->shape->layers && status == ES_OK; layer++) {
        status = es_attention_forward(f, layer, rows, count, err);
        es_trace_mark(trace, ES_STAGE_ATTENTION, layer, start_ns);
        if (status == ES_OK) status = es_ffn_forward(f, layer, rows, count, err);
        start_ns = es_trace_now(trace);
    }
    if (status != ES_OK) return status;
    status = make_logits(f, rows, count, ret_logits, err);
    es_trace_mark(trace, ES_STAGE_HEAD, 0, start_ns);
    if (status != ES_OK) es_err_prefix(err, "head");
    return status;
}
