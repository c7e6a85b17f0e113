/* Rows of weights in another format. */
#include "weights/requantise.h"

#include "base/f16.h"
#include "base/size.h"
#include "essaim/quant.h"
#include "weights/check.h"

#include <stdlib.h>

es_format es_requantise_target(es_format format, es_weight_kind weight, const es_matrix *from)
{
    if (weight == ES_WEIGHT_SMALL || weight == ES_WEIGHT_EMBEDDING) return from->format;
    if (weight == ES_WEIGHT_HEAD && format == ES_FORMAT_Q4_K) format = ES_FORMAT_Q6_K;
    return es_quant_fallback(format, from->cols);
}

static float e4m3(uint8_t code)
{
    int exponent = code >> 3 & 15, fraction = code & 7;
    if (exponent == 15 && fraction == 7) return NAN;
    float value = exponent == 0 ? ldexpf((float)fraction, -9) : ldexpf((float)(8 + fraction), exponent - 10);
    return (code & 0x80) != 0 ? -value : value;
}

static void widen_fp8(const es_matrix *w, size_t r, float *out)
{
    float value[256];
    for (size_t i = 0; i < 256; i++) value[i] = e4m3((uint8_t)i);
    const uint8_t *row = w->data + r * w->row_bytes;
    const float *scales = w->scales + (w->row_phase + r) / ES_SCALE_BLOCK * w->scale_stride;
    for (size_t c = 0; c < w->cols; c++) out[c] = value[row[c]] * scales[(w->col_phase + c) / ES_SCALE_BLOCK];
}

/* Infinite and NaN f16 codes come out as such. */
static float widen_f16(uint16_t code)
{
    return (code & 0x7c00u) == 0x7c00u ? NAN : es_f16_to_float(code);
}

static void widen_row(const es_matrix *w, size_t r, float *out)
{
    const uint8_t *row = w->data + r * w->row_bytes;
    if (w->format == ES_FORMAT_FP8) {
        widen_fp8(w, r, out);
    } else if (w->format == ES_FORMAT_F32) {
        memcpy(out, row, w->cols * sizeof *out);
    } else {
        for (size_t c = 0; c < w->cols; c++) {
            uint16_t code;
            memcpy(&code, row + 2 * c, sizeof code);
            out[c] = w->format == ES_FORMAT_BF16 ? es_bits_to_float((uint32_t)code << 16) : widen_f16(code);
        }
    }
}

static bool encode_f16(const float *row, size_t cols, uint8_t *out)
{
    bool good = true;
    for (size_t c = 0; c < cols; c++) {
        good = good && fabsf(row[c]) < 65520.0f;
        uint16_t code = good ? es_f16_of_float(row[c]) : 0;
        memcpy(out + 2 * c, &code, sizeof code);
    }
    return good;
}

static void decode_row(es_format format, const uint8_t *row, size_t cols, float *out)
{
    if (format != ES_FORMAT_F16) {
        es_quant_decode(format, row, 0, cols, out);
        return;
    }
    const es_matrix w = {.format = format, .rows = 1, .cols = cols, .data = row, .row_bytes = 2 * cols};
    widen_row(&w, 0, out);
}

typedef struct job {
    es_requantiser *q;
    const es_matrix *from;
    es_format to;
    size_t row_first, row_bytes;
} job;

/* sums of a row that cannot be encoded: a negative one. */
static void encode_row(void *context, size_t item, size_t thread)
{
    const job *j = context;
    size_t cols = j->from->cols;
    float *wide = j->q->wide + 2 * cols * thread, *again = wide + cols;
    uint8_t *out = j->q->rows + item * j->row_bytes;
    double *sums = j->q->sums + 2 * item;
    widen_row(j->from, j->row_first + item, wide);
    bool good =
        j->to == ES_FORMAT_F16 ? encode_f16(wide, cols, out) : j->q->kernels->encode(j->to, wide, cols, out);
    sums[0] = good ? 0 : -1;
    sums[1] = 0;
    if (!good) return;
    decode_row(j->to, out, cols, again);
    for (size_t c = 0; c < cols; c++) {
        double value = (double)wide[c], miss = value - (double)again[c];
        sums[0] += value * value;
        sums[1] += miss * miss;
    }
}

static bool grow(void **at, size_t *bytes, size_t wanted)
{
    if (wanted <= *bytes) return true;
    free(*at);
    *at = malloc(wanted);
    *bytes = *at == NULL ? 0 : wanted;
    return *at != NULL;
}

static es_status check_rows(const es_matrix *from, size_t row_first, size_t row_count, es_err *err)
{
    const es_format_info *info = es_format_describe(from->format);
    size_t blocks = from->cols / info->block_cols;
    size_t bad = es_check_finite((es_dtype)(from->format + 1), from->data + row_first * from->row_bytes,
                                 row_count * blocks);
    if (bad == row_count * blocks) return ES_OK;
    return es_err_set(err, ES_NUMERIC, "[%zu, %zu] is NaN or infinite", row_first + bad / blocks,
                      bad % blocks * info->block_cols);
}

static es_status add_sums(es_requantiser *q, const job *j, es_weight_kind weight, size_t row_count,
                          es_err *err)
{
    es_weight_error *error = &q->errors[weight];
    for (size_t r = 0; r < row_count; r++) {
        if (q->sums[2 * r] < 0)
            return es_err_set(err, ES_NUMERIC, "row %zu: NaN, infinite or beyond what %s holds",
                              j->row_first + r, es_format_describe(j->to)->name);
        error->square_sum += q->sums[2 * r];
        error->error_square_sum += q->sums[2 * r + 1];
    }
    error->weights += row_count * j->from->cols;
    return ES_OK;
}

es_status es_requantise_rows(es_requantiser *q, const es_matrix *from, es_weight_kind weight, es_format to,
                             size_t row_first, size_t row_count, const uint8_t **ret_rows, es_err *err)
{
    *ret_rows = from->data + row_first * from->row_bytes;
    if (to == from->format) return check_rows(from, row_first, row_count, err);
    if (es_format_is_quant(from->format))
        return es_err_set(err, ES_UNSUPPORTED, "%s already: such a model is cut as-is",
                          es_format_describe(from->format)->name);
    const job j = {q, from, to, row_first, es_format_row_bytes(to, from->cols)};
    if (!grow((void **)&q->wide, &q->wide_bytes, es_pool_threads(q->pool) * 2 * from->cols * sizeof(float)) ||
        !grow((void **)&q->rows, &q->rows_bytes, row_count * j.row_bytes) ||
        !grow((void **)&q->sums, &q->sums_bytes, row_count * 2 * sizeof(double)))
        return es_err_set(err, ES_NO_MEMORY, "rows");
    es_pool_run(q->pool, row_count, encode_row, (void *)(uintptr_t)&j);
    *ret_rows = q->rows;
    return add_sums(q, &j, weight, row_count, err);
}

void es_requantiser_fini(es_requantiser *q)
{
    free(q->wide);
    free(q->rows);
    free(q->sums);
    q->wide = NULL;
    q->rows = NULL;
    q->sums = NULL;
}
