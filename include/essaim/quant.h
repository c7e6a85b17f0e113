/* Integer weight formats: blocks as GGUF files store them, taken apart into the terms of docs/arithmetic.md,
 * to floats and back. Block layouts: ggml's, as gguf files of version 3 hold them. */
#ifndef ESSAIM_QUANT_H
#define ESSAIM_QUANT_H

#include "essaim/model.h"

enum {
    ES_QUANT_COLS_MAX = 256,     /* the longest super-block */
    ES_QUANT_SUBBLOCKS_MAX = 16, /* sub-blocks in one */
};

/* One super-block of one row. Its column i, in sub-block j = i / sub_cols, is worth d * scale[j] * code[i] -
 * m * min[j]: that real number, rounded to binary32 once. */
typedef struct es_quant_block {
    size_t cols;     /* 32 or 256 */
    size_t sub_cols; /* 16 or 32 */
    bool has_mins;   /* else m and min are 0 */
    float d, m;      /* finite when the file's codes are */
    int16_t scale[ES_QUANT_SUBBLOCKS_MAX];
    uint8_t min[ES_QUANT_SUBBLOCKS_MAX];
    int8_t code[ES_QUANT_COLS_MAX];
} es_quant_block;

/* True for the formats of blocks of integer codes. */
static inline bool es_format_is_quant(es_format format)
{
    return format >= ES_FORMAT_FLOAT_COUNT && format < ES_FORMAT_COUNT;
}

/* Takes one stored block (es_format_info's block_bytes, any alignment) apart. */
void es_quant_split(es_format format, const uint8_t *block, es_quant_block *ret_block);

/* Columns [col_first, col_first + col_count) of a stored row to floats. */
void es_quant_decode(es_format format, const uint8_t *row, size_t col_first, size_t col_count, float *out);

/* The index of the first of count blocks whose D or M is NaN or infinite, or count when there is none. */
size_t es_quant_check(es_format format, const uint8_t *blocks, size_t count);

/* True for the formats that kernels encode: q8_0, q5_0, q4_k, q6_k. */
bool es_quant_encodes(es_format format);

/* What stands in for format where rows have cols columns: format itself when its block divides them; else the
 * smaller block that quantisers agree on (q4_k: q5_0, q5_k: q5_1, q6_k: q8_0); f16 when not even 32 divides
 * them. */
es_format es_quant_fallback(es_format format, size_t cols);

#endif
