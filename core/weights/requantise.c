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

typedef struct job {
    es_requantiser *q;
    const es_matrix *from;
    es_format to;
    size_t row_first, row_bytes;
} job;

/* The first element of a row (of its blocks, where it has them) that is no number; their count when all are.
 */
static size_t first_bad(const es_matrix *from, size_t row)
{
    size_t count = from->cols / es_format_describe(from->format)->block_cols;
    return es_check_finite((es_dtype)(from->format + 1), from->data + row * from->row_bytes, count);
}

enum { SUMS = 8 };

/* Squares of a row and of what it lost. */
static void add_squares(const float *row, const float *again, size_t cols, double *ret_sums)
{
    double square[SUMS] = {0}, lost[SUMS] = {0};
    for (size_t c = 0; c < cols; c += SUMS)
        for (size_t i = 0; i < SUMS && c + i < cols; i++) {
            double value = (double)row[c + i], miss = value - (double)again[c + i];
            square[i] += value * value;
            lost[i] += miss * miss;
        }
    ret_sums[0] = ret_sums[1] = 0;
    for (size_t i = 0; i < SUMS; i++) {
        ret_sums[0] += square[i];
        ret_sums[1] += lost[i];
    }
}

/* sums of a row that cannot be encoded: a negative one. */
static void encode_row(void *context, size_t item, size_t thread)
{
    const job *j = context;
    size_t cols = j->from->cols, row = j->row_first + item;
    float *wide = j->q->wide + 2 * cols * thread, *again = wide + cols;
    uint8_t *out = j->q->rows + item * j->row_bytes;
    double *sums = j->q->sums + 2 * item;
    sums[0] = -1;
    if (first_bad(j->from, row) < cols) return;
    es_matrix_widen_row(j->from, row, 0, cols, wide);
    bool good =
        j->to == ES_FORMAT_F16 ? encode_f16(wide, cols, out) : j->q->kernels->encode(j->to, wide, cols, out);
    if (!good) return;
    const es_matrix made = {.format = j->to, .rows = 1, .cols = cols, .data = out, .row_bytes = j->row_bytes};
    es_matrix_widen_row(&made, 0, 0, cols, again);
    add_squares(wide, again, cols, sums);
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
    size_t block = es_format_describe(from->format)->block_cols;
    for (size_t r = row_first; r < row_first + row_count; r++) {
        size_t bad = first_bad(from, r);
        if (bad * block < from->cols)
            return es_err_set(err, ES_NUMERIC, "[%zu, %zu] is NaN or infinite", r, bad * block);
    }
    return ES_OK;
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
