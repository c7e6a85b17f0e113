/* The forward pass's memory for one step, taken once. */
#include "model/workspace.h"

#include "base/size.h"

static size_t widest_input(const es_shape *s)
{
    size_t widest = es_size_max(s->hidden, s->heads * s->v);
    widest = es_size_max(widest, es_size_max(s->q_lora, s->kv_lora));
    return es_size_max(widest, s->nope);
}

/* What an item of attention holds: the rows of either input of a head's products, or a tile's entries. */
static size_t attention_floats(const es_shape *s, es_row_format format, size_t rows)
{
    size_t cols = es_size_max(s->nope, s->kv_lora);
    size_t row_bytes = es_rows_row_bytes(format, cols) + es_rows_blocks(cols) * sizeof(es_q8_block);
    return es_size_max(rows * row_bytes / sizeof(float), ES_KV_TILE * es_shape_kv_width(s));
}

es_status es_workspace_create(es_forward *f, es_err *err)
{
    const es_shape *s = f->shape;
    es_workspace *w = &f->work;
    size_t rows = f->options.rows_max, attention_rows = es_size_min(rows, ES_ATTENTION_ROWS_MAX);
    es_row_format format = f->options.row_format;
    es_status status =
        es_compute_init(&f->compute, f->options.kernels, f->options.pool, format, widest_input(s), rows,
                        attention_floats(s, format, attention_rows), f->arena, err);
    if (status != ES_OK) return status;

    const struct {
        void *place; /* address of the field */
        size_t rows;
        size_t bytes; /* a row */
    } pieces[] = {
        {&w->x, rows, s->hidden * sizeof *w->x},
        {&w->normed, rows, s->hidden * sizeof *w->normed},
        {&w->q_low, rows, s->q_lora * sizeof *w->q_low},
        {&w->q, rows, s->heads * (s->nope + s->rope) * sizeof *w->q},
        {&w->kv, rows, es_shape_kv_width(s) * sizeof *w->kv},
        {&w->absorbed, attention_rows, s->heads * es_shape_kv_width(s) * sizeof *w->absorbed},
        {&w->gathered, attention_rows, s->heads * s->kv_lora * sizeof *w->gathered},
        {&w->heads_out, rows, s->heads * s->v * sizeof *w->heads_out},
        {&w->block_out, rows, s->hidden * sizeof *w->block_out},
        {&w->row_bytes, rows, es_rows_row_bytes(format, widest_input(s))},
        {&w->cos, rows, s->rope / 2 * sizeof *w->cos},
        {&w->sin, rows, s->rope / 2 * sizeof *w->sin},
        {&w->router_z, rows, s->experts * sizeof *w->router_z},
        {&w->pair_expert, rows, s->experts_per_token * sizeof *w->pair_expert},
        {&w->pair_weight, rows, s->experts_per_token * sizeof *w->pair_weight},
        {&w->single_expert, rows, sizeof *w->single_expert},
        {&w->single_weight, rows, sizeof *w->single_weight},
        {&w->sum, rows, s->hidden * sizeof *w->sum},
        {&w->pair_first, rows, 2 * sizeof *w->pair_first},
        {&w->single_first, rows, 2 * sizeof *w->single_first},
    };
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        void *piece = es_arena_take(f->arena, pieces[i].rows, pieces[i].bytes);
        if (piece == NULL)
            return es_err_set(err, ES_NO_MEMORY, "workspace: %zu rows of %zu bytes", pieces[i].rows,
                              pieces[i].bytes);
        *(void **)pieces[i].place = piece;
    }
    for (size_t r = 0; r < rows; r++) {
        w->single_first[r + 1] = (uint32_t)(r + 1);
        w->single_weight[r] = 1.0f;
    }
    return ES_OK;
}
