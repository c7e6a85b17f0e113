/* What binding by either source's names has in common. */
#include "weights/binder.h"

#include "base/f16.h"
#include "base/size.h"
#include "essaim/panels.h"
#include "essaim/quant.h"

#include <stdio.h>

es_status es_binder_no_memory(const es_binder *b, const char *what)
{
    return es_err_set(b->err, ES_NO_MEMORY, "%s: %s", es_checkpoint_source(b->checkpoint), what);
}

/* "[129280, 7168]" */
static const char *shape_text(const size_t *shape, size_t dims, char out[static 128])
{
    size_t at = (size_t)snprintf(out, 128, "[");
    for (size_t i = 0; i < dims && at < 100; i++)
        at += (size_t)snprintf(out + at, 128 - at, "%s%zu", i > 0 ? ", " : "", shape[i]);
    snprintf(out + at, 128 - at, "]");
    return out;
}

/* The types that the source may have, listed. */
static const char *types_of(const es_binder *b, char out[static ES_GGUF_TYPES_BYTES])
{
    if (es_checkpoint_gguf(b->checkpoint) != NULL) return es_gguf_types(out);
    return "F8_E4M3, BF16, F16, F32";
}

es_status es_binder_find(const es_binder *b, const char *name, const size_t *wanted, size_t dims,
                         const es_tensor **ret_tensor)
{
    const es_tensor *tensor = es_checkpoint_find(b->checkpoint, name);
    if (tensor == NULL)
        return es_err_set(b->err, ES_NOT_FOUND, "%s: %s: missing", es_checkpoint_source(b->checkpoint), name);
    if (tensor->dims != dims || memcmp(tensor->shape, wanted, dims * sizeof wanted[0]) != 0) {
        char is[128], should[128];
        return es_err_set(b->err, ES_CORRUPT, "%s: %s: shape is %s, but %s makes it %s", tensor->file, name,
                          shape_text(tensor->shape, tensor->dims, is), b->config,
                          shape_text(wanted, dims, should));
    }
    if (tensor->dtype == ES_DTYPE_OTHER) {
        char types[ES_GGUF_TYPES_BYTES];
        return es_err_set(b->err, ES_UNSUPPORTED, "%s: %s: type %s is not supported, but %s are",
                          tensor->file, name, tensor->dtype_name, types_of(b, types));
    }
    *ret_tensor = tensor;
    return ES_OK;
}

/* Finds a matrix, or a vector where cols is 0. */
static es_status find(const es_binder *b, const char *name, size_t rows, size_t cols,
                      const es_tensor **ret_tensor)
{
    const size_t wanted[] = {rows, cols};
    return es_binder_find(b, name, wanted, cols == 0 ? 1 : 2, ret_tensor);
}

static const es_format_info *info_of(const es_tensor *tensor)
{
    return es_format_describe(es_dtype_format(tensor->dtype));
}

void es_binder_remember(const es_binder *b, const es_tensor *tensor, size_t row_first, size_t row_count)
{
    size_t blocks = tensor->shape[tensor->dims - 1] / info_of(tensor)->block_cols;
    const es_bound_piece piece = {tensor, row_first * blocks, row_count * blocks};
    es_bound_piece *last = b->bound->count == 0 ? NULL : &b->bound->pieces[b->bound->count - 1];
    if (last != NULL && last->tensor == tensor && last->first + last->count == piece.first) {
        last->count += piece.count;
        return;
    }
    ES_ASSERT(b->bound->pieces != NULL && b->bound->count < b->bound->capacity);
    b->bound->pieces[b->bound->count++] = piece;
}

es_matrix es_binder_view(const es_tensor *tensor, size_t row_first, size_t row_count, size_t cols)
{
    es_format format = es_dtype_format(tensor->dtype);
    size_t row_bytes = es_format_row_bytes(format, cols);
    return (es_matrix){
        .format = format,
        .rows = row_count,
        .cols = cols,
        .data = tensor->data + row_first * row_bytes,
        .row_bytes = row_bytes,
    };
}

/* Copies the scales of an FP8 matrix to where floats may stand. */
static es_status bind_scales(const es_binder *b, const char *matrix_name, es_matrix *to)
{
    char name[ES_BINDER_NAME_BYTES + 16];
    snprintf(name, sizeof name, "%s_scale_inv", matrix_name);
    size_t rows = es_size_ceil_div(to->rows, ES_SCALE_BLOCK),
           cols = es_size_ceil_div(to->cols, ES_SCALE_BLOCK);
    const es_tensor *tensor;
    es_status status = find(b, name, rows, cols, &tensor);
    if (status != ES_OK) return status;
    if (tensor->dtype != ES_DTYPE_F32)
        return es_err_set(b->err, ES_UNSUPPORTED, "%s: %s: type %s: scales are F32", tensor->file, name,
                          tensor->dtype_name);
    float *scales = es_arena_take(b->arena, rows * cols, sizeof *scales);
    if (scales == NULL) return es_binder_no_memory(b, name);
    memcpy(scales, tensor->data, rows * cols * sizeof *scales);
    for (size_t i = 0; i < rows * cols; i++)
        if (!isfinite(448.0f * scales[i]))
            return es_err_set(b->err, ES_NUMERIC, "%s: %s: [%zu, %zu] is %g: not a scale", tensor->file, name,
                              i / cols, i % cols, (double)scales[i]);
    to->scales = scales;
    to->scale_stride = cols;
    return ES_OK;
}

es_status es_binder_rows(const es_binder *b, const char *prefix, const es_matrix_item *item)
{
    char name[ES_BINDER_NAME_BYTES];
    snprintf(name, sizeof name, "%s%s.weight", prefix, item->name);
    const es_tensor *tensor;
    es_status status = find(b, name, item->rows, item->cols, &tensor);
    if (status != ES_OK) return status;
    *item->to = es_binder_view(tensor, 0, item->rows, item->cols);
    es_binder_remember(b, tensor, 0, item->rows);
    return tensor->dtype == ES_DTYPE_F8_E4M3 ? bind_scales(b, name, item->to) : ES_OK;
}

es_status es_binder_to_panels(const es_binder *b, es_matrix *w)
{
    size_t bytes, panels = es_size_ceil_div(w->rows, ES_PANEL_ROWS);
    if (b->keep_rows) return ES_OK;
    if (!es_panels_bytes(w->format, w->rows, w->cols, &bytes)) return es_binder_no_memory(b, "panels");
    uint8_t *data = es_arena_take(b->arena, bytes, 1);
    if (data == NULL) return es_binder_no_memory(b, "panels");
    es_panels_fill(w, 0, panels, data);
    w->layout = ES_LAYOUT_PANELS;
    w->data = data;
    w->row_bytes = bytes / panels;
    return ES_OK;
}

es_status es_binder_matrices(const es_binder *b, const char *prefix, const es_matrix_item *items,
                             size_t count)
{
    es_status status = ES_OK;
    for (size_t i = 0; i < count && status == ES_OK; i++) {
        status = es_binder_rows(b, prefix, &items[i]);
        if (status == ES_OK) status = es_binder_to_panels(b, items[i].to);
    }
    return status;
}

static void widen(const es_tensor *tensor, float *out)
{
    size_t count = (size_t)tensor->elements;
    if (tensor->dtype == ES_DTYPE_F32) {
        memcpy(out, tensor->data, count * sizeof *out);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t code;
        memcpy(&code, tensor->data + 2 * i, sizeof code);
        out[i] =
            tensor->dtype == ES_DTYPE_BF16 ? es_bits_to_float((uint32_t)code << 16) : es_f16_to_float(code);
    }
}

static es_status bind_vector(const es_binder *b, const char *prefix, const es_vector_item *item)
{
    char name[ES_BINDER_NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", prefix, item->name);
    const es_tensor *tensor;
    es_status status = find(b, name, item->rows, item->cols, &tensor);
    if (status != ES_OK) return status;
    if (tensor->dtype == ES_DTYPE_F8_E4M3 || es_format_is_quant(es_dtype_format(tensor->dtype)))
        return es_err_set(b->err, ES_UNSUPPORTED,
                          "%s: %s: type %s is not supported here, but F32, F16, BF16 are", tensor->file, name,
                          tensor->dtype_name);
    float *values = es_arena_take(b->arena, (size_t)tensor->elements, sizeof *values);
    if (values == NULL) return es_binder_no_memory(b, name);
    widen(tensor, values);
    *item->to = values;
    es_binder_remember(b, tensor, 0, item->cols == 0 ? 1 : item->rows);
    return ES_OK;
}

es_status es_binder_vectors(const es_binder *b, const char *prefix, const es_vector_item *items, size_t count)
{
    es_status status = ES_OK;
    for (size_t i = 0; i < count && status == ES_OK; i++) status = bind_vector(b, prefix, &items[i]);
    return status;
}

/* Rows [row_first, row_first + row_count) of w, as a matrix. */
static es_matrix rows_of(const es_matrix *w, size_t row_first, size_t row_count)
{
    es_matrix part = *w;
    part.rows = row_count;
    part.data += row_first * w->row_bytes;
    size_t row = w->row_phase + row_first;
    if (w->scales != NULL) {
        part.scales += row / ES_SCALE_BLOCK * w->scale_stride;
        part.row_phase = row % ES_SCALE_BLOCK;
    }
    return part;
}

/* Copies w [rows][cols], elements of element_bytes, to out [cols][rows]. */
static void transpose(const es_matrix *w, size_t element_bytes, uint8_t *out)
{
    for (size_t r = 0; r < w->rows; r++)
        for (size_t c = 0; c < w->cols; c++)
            memcpy(out + (c * w->rows + r) * element_bytes, w->data + r * w->row_bytes + c * element_bytes,
                   element_bytes);
}

/* w's scale grid, transposed, in the arena; NULL when memory is short. w's phases are 0. */
static const float *transpose_scales(const es_binder *b, const es_matrix *w)
{
    size_t rows = es_size_ceil_div(w->rows, ES_SCALE_BLOCK), cols = w->scale_stride;
    float *out = es_arena_take(b->arena, rows * cols, sizeof *out);
    for (size_t r = 0; out != NULL && r < rows; r++)
        for (size_t c = 0; c < cols; c++) out[c * rows + r] = w->scales[r * w->scale_stride + c];
    return out;
}

/* Rows of blocks as f32 weights, transposed: out [cols][rows]. scratch [cols]. */
static void transpose_decoded(const es_matrix *w, float *scratch, float *out)
{
    for (size_t r = 0; r < w->rows; r++) {
        es_quant_decode(w->format, w->data + r * w->row_bytes, 0, w->cols, scratch);
        for (size_t c = 0; c < w->cols; c++) out[c * w->rows + r] = scratch[c];
    }
}

es_status es_binder_split_kv_b(const es_binder *b, const es_matrix *kv_b, es_attention *to)
{
    const es_shape *s = b->shape;
    bool is_quant = es_format_is_quant(kv_b->format);
    es_format format = is_quant ? ES_FORMAT_F32 : kv_b->format;
    size_t element_bytes = es_format_row_bytes(format, 1), part_bytes = s->kv_lora * s->nope * element_bytes;
    es_matrix *keys = es_arena_take(b->arena, s->heads, sizeof *keys);
    es_matrix *values = es_arena_take(b->arena, s->heads, sizeof *values);
    uint8_t *data =
        es_arena_take(b->arena, b->keep_rows ? s->heads : 1, part_bytes); /* of a key part in rows */
    float *scratch = is_quant ? es_arena_take(b->arena, s->kv_lora, sizeof *scratch) : NULL;
    const float *scales = kv_b->scales == NULL ? NULL : transpose_scales(b, kv_b);
    if (keys == NULL || values == NULL || data == NULL || (is_quant && scratch == NULL) ||
        (kv_b->scales != NULL && scales == NULL))
        return es_binder_no_memory(b, "per-head parts of kv_b_proj");
    for (size_t h = 0; h < s->heads; h++) {
        size_t row = h * (s->nope + s->v);
        const es_matrix key = rows_of(kv_b, row, s->nope);
        if (is_quant)
            transpose_decoded(&key, scratch, (float *)(void *)data);
        else
            transpose(&key, element_bytes, data);
        keys[h] = (es_matrix){
            .format = format,
            .rows = s->kv_lora,
            .cols = s->nope,
            .data = data,
            .row_bytes = s->nope * element_bytes,
        };
        if (scales != NULL) {
            keys[h].scales = scales + row / ES_SCALE_BLOCK;
            keys[h].scale_stride = es_size_ceil_div(kv_b->rows, ES_SCALE_BLOCK);
            keys[h].col_phase = row % ES_SCALE_BLOCK;
        }
        values[h] = rows_of(kv_b, row + s->nope, s->v);
        es_status status = es_binder_to_panels(b, &keys[h]);
        if (status == ES_OK) status = es_binder_to_panels(b, &values[h]);
        if (status != ES_OK) return status;
        if (b->keep_rows) data += part_bytes;
    }
    to->k_absorb = keys;
    to->v_up = values;
    return ES_OK;
}
