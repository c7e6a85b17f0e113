/* How rows of activations lie in memory and on the wire, and the quantum their sums are added on. */
#include "base/size.h"
#include "essaim/kernels.h"

#include <math.h>
#include <string.h>

enum { COLS_MAX = 1 << 24, QUANTUM_BELOW_Q8 = 24, QUANTUM_BELOW_F32 = 36 };

size_t es_rows_row_bytes(es_row_format format, size_t cols)
{
    ES_ASSERT(cols <= COLS_MAX);
    if (format == ES_ROWS_F32) return cols * sizeof(float);
    return es_size_align(cols, 4) + es_size_ceil_div(cols, ES_ROW_BLOCK) * sizeof(float);
}

size_t es_rows_blocks(size_t cols)
{
    return es_size_ceil_div(cols, ES_ROW_BLOCK);
}

void es_rows_make_blocks(const es_rows *rows, size_t row)
{
    const int8_t *q = es_rows_q(rows, row);
    const float *d = es_rows_d(rows, row);
    size_t blocks = es_rows_blocks(rows->cols);
    for (size_t b = 0; b < blocks; b++) {
        size_t n = es_size_min(ES_ROW_BLOCK, rows->cols - b * ES_ROW_BLOCK);
        es_q8_block *block = &rows->blocks[row * blocks + b];
        if (n < ES_ROW_BLOCK) memset(block->q, 0, sizeof block->q);
        if (n < ES_ROW_BLOCK)
            memcpy(block->q, q + b * ES_ROW_BLOCK, n);
        else
            memcpy(block->q, q + b * ES_ROW_BLOCK, sizeof block->q);
        block->d = d[b];
        es_q8_block_sum(block);
    }
}

/* The sum of 16 codes, in four lanes of 16 bits of which none overflows. */
static int32_t sum_16(const int8_t *q)
{
    const uint64_t even = 0x00ff00ff00ff00ffu, sign = 0x8080808080808080u;
    uint64_t word[2];
    memcpy(word, q, sizeof word);
    uint64_t lanes = 0;
    for (size_t i = 0; i < 2; i++) lanes += ((word[i] ^ sign) & even) + ((word[i] ^ sign) >> 8 & even);
    return (int32_t)(lanes * 0x0001000100010001u >> 48) - 16 * 128;
}

void es_q8_block_sum(es_q8_block *block)
{
    int32_t first = sum_16(block->q), second = sum_16(block->q + ES_ROW_BLOCK / 2);
    block->s = block->d * (float)(first + second);
    block->bias32 = -128 * (first + second);
    block->bias16 = -128 * first;
}

const int8_t *es_rows_q(const es_rows *rows, size_t row)
{
    return (const int8_t *)(rows->data + row * rows->row_bytes);
}

const float *es_rows_d(const es_rows *rows, size_t row)
{
    return (const float *)(const void *)(rows->data + row * rows->row_bytes + es_size_align(rows->cols, 4));
}

const float *es_rows_x(const es_rows *rows, size_t row)
{
    return (const float *)(const void *)(rows->data + row * rows->row_bytes);
}

/* The largest value; NaN, which the products find, is passed over. */
static float largest(const float *value, size_t n, bool magnitude)
{
    float max = 0;
    for (size_t i = 0; i < n; i++) {
        float v = magnitude ? fabsf(value[i]) : value[i];
        if (v > max) max = v;
    }
    return max;
}

int es_rows_quantum(const es_rows *rows, size_t row)
{
    bool q8 = rows->format == ES_ROWS_Q8;
    size_t count = q8 ? es_size_ceil_div(rows->cols, ES_ROW_BLOCK) : rows->cols;
    float max = largest(q8 ? es_rows_d(rows, row) : es_rows_x(rows, row), count, !q8);
    if (max == 0 || !isfinite(max)) return 0;
    return q8 ? ilogb(127.0 * (double)max) - QUANTUM_BELOW_Q8 : ilogb((double)max) - QUANTUM_BELOW_F32;
}
