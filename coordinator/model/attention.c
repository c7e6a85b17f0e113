/* Latent attention in its absorbed form: queries meet the cached latents themselves. */
#include "base/size.h"
#include "model/workspace.h"

#include <math.h>
#include <string.h>

typedef struct layer_job {
    es_forward *forward;
    const es_attention *weights;
    size_t layer;
    const es_forward_row *rows;
    size_t first, count;          /* the rows whose heads are being computed */
    size_t item_rows, item_heads; /* of them, how many an item of attention has */
    atomic_size_t first_bad;      /* lowest row that is not finite, or SIZE_MAX: es_lowest_note */
} layer_job;

enum { ITEMS_PER_THREAD = 4 };

/* One row's KV entry: the latent normed, the key rotated, both rounded into the cache. */
static void entry_item(void *arg, size_t row, size_t thread)
{
    (void)thread;
    layer_job *job = arg;
    es_forward *f = job->forward;
    const es_shape *s = f->shape;
    const es_kernels *k = f->compute.kernels;
    float *entry = f->work.kv + row * es_shape_kv_width(s);
    k->rmsnorm(entry, job->weights->kv_a_norm, s->rms_eps, s->kv_lora, entry);
    k->rotate(entry + s->kv_lora, f->work.cos + row * (s->rope / 2), f->work.sin + row * (s->rope / 2),
              s->rope / 2);
    const es_forward_row *r = &job->rows[row];
    if (!es_kv_put(r->kv, k, job->layer, r->position, entry)) es_lowest_note(&job->first_bad, row);
}

/* Rows of q's head, or of its gathered latents, times the head's matrix; noted when not finite. The rows are
 * made in the thread's own scratch. */
static void multiply_rows(layer_job *job, size_t thread, const es_matrix *w, const float *x, size_t x_stride,
                          float *out, size_t out_stride)
{
    const es_compute *c = &job->forward->compute;
    size_t row_bytes = es_rows_row_bytes(c->row_format, w->cols);
    uint8_t *bytes = (uint8_t *)es_compute_own_scratch(c, thread);
    es_q8_block *blocks = (es_q8_block *)(void *)(bytes + job->count * row_bytes);
    es_rows rows = {c->row_format, job->count, w->cols, row_bytes, bytes, blocks};
    for (size_t r = 0; r < job->count; r++) {
        bool finite = es_compute_row(c, x + r * x_stride, w->cols, bytes + r * row_bytes);
        if (!finite) {
            es_lowest_note(&job->first_bad, job->first + r);
            memset(bytes + r * row_bytes, 0, row_bytes);
        }
        if (c->row_format == ES_ROWS_Q8) es_rows_make_blocks(&rows, r);
    }
    es_product(c->kernels, w, 0, w->rows, 0, w->cols, &rows, es_compute_product_scratch(c, thread), out,
               out_stride);
}

/* One head of all rows: absorb the query, and rotate what stays beside it. */
static void absorb_item(void *arg, size_t head, size_t thread)
{
    layer_job *job = arg;
    es_forward *f = job->forward;
    const es_shape *s = f->shape;
    size_t width = es_shape_kv_width(s), head_width = s->nope + s->rope, pairs = s->rope / 2;
    const float *q = f->work.q + (job->first * s->heads + head) * head_width;
    float *absorbed = f->work.absorbed + head * width;
    multiply_rows(job, thread, &job->weights->k_absorb[head], q, s->heads * head_width, absorbed,
                  s->heads * width);
    for (size_t r = 0; r < job->count; r++) {
        float *rope = absorbed + r * s->heads * width + s->kv_lora;
        memcpy(rope, q + r * s->heads * head_width + s->nope, s->rope * sizeof *q);
        size_t at = (job->first + r) * pairs;
        f->compute.kernels->rotate(rope, f->work.cos + at, f->work.sin + at, pairs);
    }
}

/* The tile's entries as floats: its own memory, or the thread's. */
static const float *tile_entries(const layer_job *job, const es_kv *kv, size_t tile, size_t count,
                                 float *space)
{
    const void *entries = es_kv_tile(kv, job->layer, tile);
    if (es_kv_get_format(kv) == ES_KV_F32) return entries;
    const es_forward *f = job->forward;
    f->compute.kernels->widen_f16(entries, count * es_shape_kv_width(f->shape), space);
    return space;
}

/* Heads [head, head + heads) of rows [first, end), all of one sequence: a tile is widened once for all. */
static void attend_sequence(const layer_job *job, size_t first, size_t end, size_t head, size_t heads,
                            float *space, es_attend_state (*states)[ES_ATTEND_QUERIES_MAX])
{
    const es_forward *f = job->forward;
    const es_shape *s = f->shape;
    size_t width = es_shape_kv_width(s);
    size_t positions = (size_t)job->rows[end - 1].position + 1;
    for (size_t begin = 0; begin < positions; begin += ES_KV_TILE) {
        size_t held = es_size_min(ES_KV_TILE, positions - begin);
        const float *entries = tile_entries(job, job->rows[first].kv, begin / ES_KV_TILE, held, space);
        for (size_t r = first; r < end; r++) {
            size_t seen = (size_t)job->rows[r].position + 1;
            if (seen <= begin) continue;
            size_t at = (r - job->first) * s->heads + head;
            f->compute.kernels->attend_tile(
                f->work.absorbed + at * width, heads, entries, es_size_min(held, seen - begin), width,
                s->kv_lora, f->attention_scale, states[r - first], f->work.gathered + at * s->kv_lora);
        }
    }
}

/* Some heads of some rows: attend over their tiles. */
static void attend_item(void *arg, size_t item, size_t thread)
{
    layer_job *job = arg;
    es_forward *f = job->forward;
    const es_shape *s = f->shape;
    size_t head_groups = es_size_ceil_div(s->heads, job->item_heads);
    size_t head = item % head_groups * job->item_heads;
    size_t heads = es_size_min(job->item_heads, s->heads - head);
    size_t first = job->first + item / head_groups * job->item_rows;
    size_t end = es_size_min(first + job->item_rows, job->first + job->count);
    float *space = es_compute_own_scratch(&f->compute, thread);

    es_attend_state states[ES_ATTEND_QUERIES_MAX][ES_ATTEND_QUERIES_MAX];
    for (size_t r = first; r < end; r++) {
        float *gathered = f->work.gathered + ((r - job->first) * s->heads + head) * s->kv_lora;
        memset(gathered, 0, heads * s->kv_lora * sizeof *gathered);
        for (size_t h = 0; h < heads; h++) states[r - first][h] = (es_attend_state){-INFINITY, 0.0f};
    }
    for (size_t r = first, next; r < end; r = next) {
        for (next = r + 1; next < end && job->rows[next].kv == job->rows[r].kv;) next++;
        attend_sequence(job, r, next, head, heads, space, states + (r - first));
    }
    for (size_t r = first; r < end; r++)
        for (size_t h = 0; h < heads; h++) {
            float *gathered = f->work.gathered + ((r - job->first) * s->heads + head + h) * s->kv_lora;
            for (size_t i = 0; i < s->kv_lora; i++) gathered[i] /= states[r - first][h].sum;
        }
}

/* One head of all rows: the gathered latents become the head's values. */
static void values_item(void *arg, size_t head, size_t thread)
{
    layer_job *job = arg;
    es_forward *f = job->forward;
    const es_shape *s = f->shape;
    multiply_rows(job, thread, &job->weights->v_up[head], f->work.gathered + head * s->kv_lora,
                  s->heads * s->kv_lora, f->work.heads_out + (job->first * s->heads + head) * s->v,
                  s->heads * s->v);
}

/* How rows and heads are shared out: enough items for all threads, and in each as many queries as make up for
 * widening a tile, heads before rows because they meet it together. */
static void share_out(layer_job *job)
{
    size_t threads = es_pool_threads(job->forward->compute.pool), heads = job->forward->shape->heads;
    size_t queries = es_size_ceil_div(job->count * heads, threads * ITEMS_PER_THREAD);
    queries = es_size_min(es_size_align(queries, 4), ES_ATTEND_QUERIES_MAX);
    job->item_heads = es_size_min(heads, queries);
    job->item_rows = queries / job->item_heads;
}

/* All heads of all rows, as many rows at a time as the workspace has room for. */
static void attend_heads(layer_job *job, size_t count)
{
    es_pool *pool = job->forward->compute.pool;
    size_t heads = job->forward->shape->heads;
    for (job->first = 0; job->first < count; job->first += job->count) {
        job->count = es_size_min(ES_ATTENTION_ROWS_MAX, count - job->first);
        share_out(job);
        es_pool_run(pool, heads, absorb_item, job);
        size_t items =
            es_size_ceil_div(heads, job->item_heads) * es_size_ceil_div(job->count, job->item_rows);
        es_pool_run(pool, items, attend_item, job);
        es_pool_run(pool, heads, values_item, job);
    }
}

/* All rows' queries, before rotation, from the normed input. */
static es_status make_queries(es_forward *f, const es_attention *a, const es_rows *input,
                              const es_forward_row *rows, es_err *err)
{
    const es_shape *s = f->shape;
    size_t q_width = s->heads * (s->nope + s->rope), count = input->count;
    if (s->q_lora == 0) {
        es_compute_matmul(&f->compute, &a->q, input, f->work.q, q_width);
        return ES_OK;
    }
    es_compute_matmul(&f->compute, &a->q_a, input, f->work.q_low, s->q_lora);
    es_compute_rmsnorm(&f->compute, f->work.q_low, s->q_lora, a->q_a_norm, s->rms_eps, s->q_lora, count,
                       f->work.q_low, s->q_lora);
    es_rows low = {.data = f->work.row_bytes};
    size_t bad = es_compute_rows(&f->compute, f->work.q_low, s->q_lora, count, s->q_lora, &low);
    if (bad < count) return es_forward_not_finite(&rows[bad], "the low-rank query", err);
    es_compute_matmul(&f->compute, &a->q_b, &low, f->work.q, q_width);
    return ES_OK;
}

static es_status bad_entry(const es_forward_row *row, es_err *err)
{
    if (es_kv_get_format(row->kv) == ES_KV_F32) return es_forward_not_finite(row, "the KV entry", err);
    return es_err_set(err, ES_NUMERIC, "position %u: the KV entry is not finite or beyond f16's range",
                      (unsigned)row->position);
}

static es_status attend(es_forward *f, size_t layer, const es_forward_row *rows, size_t count, es_err *err)
{
    const es_shape *s = f->shape;
    const es_attention *a = &f->options.model->layers[layer].attention;
    es_workspace *w = &f->work;
    layer_job job = {.forward = f, .weights = a, .layer = layer, .rows = rows, .first_bad = SIZE_MAX};

    es_compute_rmsnorm(&f->compute, w->x, s->hidden, f->options.model->layers[layer].attention_norm,
                       s->rms_eps, s->hidden, count, w->normed, s->hidden);
    es_rows input = {.data = w->row_bytes};
    size_t bad = es_compute_rows(&f->compute, w->normed, s->hidden, count, s->hidden, &input);
    if (bad < count) return es_forward_not_finite(&rows[bad], "the normed input", err);

    es_compute_matmul(&f->compute, &a->kv_a, &input, w->kv, es_shape_kv_width(s));
    es_status status = make_queries(f, a, &input, rows, err);
    if (status != ES_OK) return status;
    es_pool_run(f->compute.pool, count, entry_item, &job);
    bad = atomic_load(&job.first_bad);
    if (bad < count) return bad_entry(&rows[bad], err);
    attend_heads(&job, count);
    bad = atomic_load(&job.first_bad);
    if (bad < count) return es_forward_not_finite(&rows[bad], "a head's query or latent", err);

    es_rows heads = {.data = w->row_bytes};
    bad = es_compute_rows(&f->compute, w->heads_out, s->heads * s->v, count, s->heads * s->v, &heads);
    if (bad < count) return es_forward_not_finite(&rows[bad], "the heads' output", err);
    es_compute_matmul(&f->compute, &a->o, &heads, w->block_out, s->hidden);
    for (size_t i = 0; i < count * s->hidden; i++) w->x[i] += w->block_out[i];
    return ES_OK;
}

es_status es_attention_forward(es_forward *f, size_t layer, const es_forward_row *rows, size_t count,
                               es_err *err)
{
    es_status status = attend(f, layer, rows, count, err);
    if (status != ES_OK) es_err_prefix(err, "layer %zu: attention", layer);
    return status;
}
