/* The one table of weight formats. */
#include "essaim/model.h"

static const es_format_info INFO[ES_FORMAT_COUNT] = {
    [ES_FORMAT_F32] = {"f32", 1, 4},       [ES_FORMAT_F16] = {"f16", 1, 2},
    [ES_FORMAT_BF16] = {"bf16", 1, 2},     [ES_FORMAT_FP8] = {"fp8", 1, 1},
    [ES_FORMAT_Q8_0] = {"q8_0", 32, 34},   [ES_FORMAT_Q4_0] = {"q4_0", 32, 18},
    [ES_FORMAT_Q5_0] = {"q5_0", 32, 22},   [ES_FORMAT_Q5_1] = {"q5_1", 32, 24},
    [ES_FORMAT_Q4_K] = {"q4_k", 256, 144}, [ES_FORMAT_Q5_K] = {"q5_k", 256, 176},
    [ES_FORMAT_Q6_K] = {"q6_k", 256, 210}, [ES_FORMAT_IQ4_NL] = {"iq4_nl", 32, 18},
};

const es_format_info *es_format_describe(es_format format)
{
    ES_ASSERT((unsigned)format < ES_FORMAT_COUNT);
    return &INFO[format];
}

size_t es_format_row_bytes(es_format format, size_t cols)
{
    const es_format_info *info = es_format_describe(format);
    ES_ASSERT(cols % info->block_cols == 0);
    return cols / info->block_cols * info->block_bytes;
}
