/* Floats to integer weight blocks. Scales are searched, not computed: see encode_search.h. */
#include "base/size.h"
#include "essaim/quant.h"
#include "kernels/ref/encode_search.h"
#include "kernels/ref/set.h"

static const scheme Q5_0 = {32, 1, -16, 15, 1, 1, false}, Q4_K = {32, 8, 0, 15, 0, 63, true},
                    Q6_K = {16, 16, -32, 31, -128, 127, false};

/* The codes of sub-block after sub-block, from 0. */
static void take_codes(const scheme *f, const choice *c, uint8_t *out)
{
    for (size_t i = 0; i < f->sub_cols; i++) {
        lane_masks code[PARTS];
        for (size_t p = 0; p < PARTS; p++)
            code[p] = __builtin_convertvector(c->code[p][i] - f->code_low, lane_masks);
        for (size_t j = 0; j < SUBS; j++) out[j * f->sub_cols + i] = (uint8_t)code[j / LANES][j % LANES];
    }
}

static void put_half(uint8_t *at, float rounded)
{
    uint16_t code = es_f16_of_float(rounded);
    memcpy(at, &code, sizeof code);
}

/* One block whose first sub-block is the choice's first-th; code is its own. */
static void put_q5_0(const choice *c, size_t first, const uint8_t *code, uint8_t *out)
{
    put_half(out, c->d[first]);
    memset(out + 2, 0, 4);
    for (size_t i = 0; i < 32; i++) out[2 + i / 8] |= (uint8_t)((code[i] >> 4) << (i % 8));
    for (size_t i = 0; i < 16; i++) out[6 + i] = (uint8_t)((code[i] & 15u) | (code[16 + i] & 15u) << 4);
}

static void put_q4_k(const choice *c, size_t first, const uint8_t *code, uint8_t *out)
{
    put_half(out, c->d[first]);
    put_half(out + 2, c->m[first]);
    for (size_t j = 0; j < 4; j++) {
        unsigned a = (unsigned)c->a[first + j], m = (unsigned)c->min[first + j];
        unsigned a_last = (unsigned)c->a[first + 4 + j], m_last = (unsigned)c->min[first + 4 + j];
        out[4 + j] = (uint8_t)(a | (a_last >> 4) << 6);
        out[8 + j] = (uint8_t)(m | (m_last >> 4) << 6);
        out[12 + j] = (uint8_t)((a_last & 15u) | (m_last & 15u) << 4);
    }
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < 32; i++)
            out[16 + 32 * k + i] = (uint8_t)(code[64 * k + i] | code[64 * k + 32 + i] << 4);
}

static void put_q6_k(const choice *c, size_t first, const uint8_t *code, uint8_t *out)
{
    uint8_t *low = out, *high = out + 128;
    for (size_t half = 0; half < 2; half++, code += 128, low += 64, high += 32)
        for (size_t i = 0; i < 32; i++) {
            low[i] = (uint8_t)((code[i] & 15u) | (code[64 + i] & 15u) << 4);
            low[32 + i] = (uint8_t)((code[32 + i] & 15u) | (code[96 + i] & 15u) << 4);
            high[i] = (uint8_t)(code[i] >> 4 | (code[32 + i] >> 4) << 2 | (code[64 + i] >> 4) << 4 |
                                (code[96 + i] >> 4) << 6);
        }
    for (size_t j = 0; j < 16; j++) out[192 + j] = (uint8_t)(int8_t)c->a[first + j];
    put_half(out + 208, c->d[first]);
}

typedef void put_fn(const choice *c, size_t first, const uint8_t *code, uint8_t *out);

static bool encode_searched(const scheme *f, put_fn *put, size_t block_bytes, const float *row, size_t cols,
                            uint8_t *out)
{
    choice c;
    uint8_t code[SUBS * SUB_COLS_MAX];
    for (size_t done = 0; done < cols; done += SUBS * f->sub_cols) {
        size_t count = es_size_min(SUBS, (cols - done) / f->sub_cols);
        if (!search(f, row + done, count, &c)) return false;
        take_codes(f, &c, code);
        for (size_t j = 0; j < count; j += f->subs, out += block_bytes)
            put(&c, j, code + j * f->sub_cols, out);
    }
    return true;
}

static bool encode_q8_0(const float *x, uint8_t *out)
{
    float max = 0.0f, d;
    for (size_t i = 0; i < 32; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    if (!to_half(max / 127.0f, &d)) return false;
    put_half(out, d);
    for (size_t i = 0; i < 32; i++) {
        float code = d > 0.0f ? x[i] / d : 0.0f;
        code = code < -127.0f ? -127.0f : code;
        code = code > 127.0f ? 127.0f : code;
        out[2 + i] = (uint8_t)(int8_t)(code + 0x1.8p23f - 0x1.8p23f);
    }
    return true;
}

bool KERNEL(encode)(es_format format, const float *row, size_t cols, uint8_t *out)
{
    ES_ASSERT(es_quant_encodes(format));
    const es_format_info *info = es_format_describe(format);
    ES_ASSERT(cols % info->block_cols == 0);
    int unfit = 0;
    for (size_t c = 0; c < cols; c++) unfit |= !(fabsf(row[c]) < 0x1p40f);
    if (unfit) return false;
    switch (format) {
    case ES_FORMAT_Q5_0:
        return encode_searched(&Q5_0, put_q5_0, info->block_bytes, row, cols, out);
    case ES_FORMAT_Q4_K:
        return encode_searched(&Q4_K, put_q4_k, info->block_bytes, row, cols, out);
    case ES_FORMAT_Q6_K:
        return encode_searched(&Q6_K, put_q6_k, info->block_bytes, row, cols, out);
    default:
        for (size_t c = 0; c < cols; c += 32, out += info->block_bytes)
            if (!encode_q8_0(row + c, out)) return false;
        return true;
    }
}
