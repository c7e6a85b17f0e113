/* Integer weight blocks taken apart into the terms of exact arithmetic: one rule for their value. */
#include "essaim/quant.h"

#include "base/f16.h"
#include "base/size.h"
#include "formats/file_blocks.h"

/* Sub-blocks, what a code stands above its c, and where in a block the f16 numbers are: D, then M where it
 * has one. */
typedef struct layout {
    uint8_t sub_cols, bias;
    bool has_mins;
    uint8_t halves, half_at[2];
} layout;

static const layout LAYOUTS[ES_FORMAT_COUNT] = {
    [ES_FORMAT_Q8_0] = {32, 128, false, 1, {0}},  [ES_FORMAT_Q4_0] = {32, 8, false, 1, {0}},
    [ES_FORMAT_Q5_0] = {32, 16, false, 1, {0}},   [ES_FORMAT_Q5_1] = {32, 0, true, 2, {0, 2}},
    [ES_FORMAT_Q4_K] = {32, 0, true, 2, {0, 2}},  [ES_FORMAT_Q5_K] = {32, 0, true, 2, {0, 2}},
    [ES_FORMAT_Q6_K] = {16, 32, false, 1, {208}}, [ES_FORMAT_IQ4_NL] = {32, 0, false, 1, {0}},
};

static const int8_t IQ4_NL_VALUES[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                         1,    13,   25,  38,  53,  69,  89,  113};

/* Scales and mins of the K formats; the others have one of each, 1. */
static void fill_scales(es_format format, const es_file_block *from, es_quant_block *to)
{
    bool is_k = to->cols == ES_QUANT_COLS_MAX;
    for (size_t j = 0; j < to->cols / to->sub_cols; j++) {
        to->scale[j] = format == ES_FORMAT_Q6_K ? (int8_t)from->a[j] : is_k ? from->a[j] : 1;
        to->min[j] = !to->has_mins ? 0 : is_k ? from->mins[j] : 1;
    }
}

void es_quant_split(es_format format, const uint8_t *block, es_quant_block *ret_block)
{
    ES_ASSERT(es_format_is_quant(format));
    const layout *l = &LAYOUTS[format];
    es_file_block raw;
    ret_block->cols = es_format_describe(format)->block_cols;
    ret_block->sub_cols = l->sub_cols;
    ret_block->has_mins = l->has_mins;
    es_file_block_read(format, block, ret_block->cols / 32, &raw);
    ret_block->d = es_f16_to_float(raw.d[0]);
    ret_block->m = l->has_mins ? es_f16_to_float(raw.m[0]) : 0.0f;
    /* The file's m is added, the definition's M is taken away. */
    if (format == ES_FORMAT_Q5_1) ret_block->m = -ret_block->m;
    fill_scales(format, &raw, ret_block);
    if (format == ES_FORMAT_IQ4_NL) {
        for (size_t i = 0; i < ret_block->cols; i++) ret_block->code[i] = IQ4_NL_VALUES[raw.code[i]];
        return;
    }
    for (size_t i = 0; i < ret_block->cols; i++) ret_block->code[i] = (int8_t)(raw.code[i] - l->bias);
}

/* Columns [first, end) of one sub-block. d * scale has at most 19 significant bits, times a code at most 24,
 * m * min at most 17: only the subtraction rounds. */
static void decode_sub_block(const es_quant_block *b, size_t first, size_t end, float *out)
{
    size_t j = first / b->sub_cols;
    float scale = b->d * (float)b->scale[j], offset = b->has_mins ? b->m * (float)b->min[j] : 0;
    for (size_t i = first; i < end; i++) out[i - first] = scale * (float)b->code[i] - offset;
}

void es_quant_decode(es_format format, const uint8_t *row, size_t col_first, size_t col_count, float *out)
{
    const es_format_info *info = es_format_describe(format);
    es_quant_block block;
    for (size_t c = col_first; c < col_first + col_count;) {
        size_t index = c / info->block_cols;
        size_t start = index * info->block_cols;
        size_t end = es_size_min(start + info->block_cols, col_first + col_count);
        es_quant_split(format, row + index * info->block_bytes, &block);
        while (c < end) {
            size_t first = c - start;
            size_t last = es_size_min((first / block.sub_cols + 1) * block.sub_cols, end - start);
            decode_sub_block(&block, first, last, out + (c - col_first));
            c += last - first;
        }
    }
}

size_t es_quant_check(es_format format, const uint8_t *blocks, size_t count)
{
    ES_ASSERT(es_format_is_quant(format));
    const layout *l = &LAYOUTS[format];
    size_t bytes = es_format_describe(format)->block_bytes;
    for (size_t i = 0; i < count; i++)
        for (size_t h = 0; h < l->halves; h++) {
            uint16_t code;
            memcpy(&code, blocks + i * bytes + l->half_at[h], sizeof code);
            if ((code & 0x7c00u) == 0x7c00u) return i;
        }
    return count;
}

bool es_quant_encodes(es_format format)
{
    return format == ES_FORMAT_Q8_0 || format == ES_FORMAT_Q5_0 || format == ES_FORMAT_Q4_K ||
           format == ES_FORMAT_Q6_K;
}

es_format es_quant_fallback(es_format format, size_t cols)
{
    static const struct {
        es_format of, to;
    } SMALLER[] = {
        {ES_FORMAT_Q4_K, ES_FORMAT_Q5_0}, {ES_FORMAT_Q5_K, ES_FORMAT_Q5_1}, {ES_FORMAT_Q6_K, ES_FORMAT_Q8_0}};
    for (size_t i = 0; i < sizeof SMALLER / sizeof SMALLER[0]; i++)
        if (format == SMALLER[i].of && cols % es_format_describe(format)->block_cols != 0)
            format = SMALLER[i].to;
    return cols % es_format_describe(format)->block_cols == 0 ? format : ES_FORMAT_F16;
}
