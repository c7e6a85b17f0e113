/* Floats to integer weight blocks. Scales are searched, not computed: codes are chosen for a few candidates,
 * scales are fitted to the codes by weighted least squares, and the candidate with the least weighted error
 * stays. Large weights weigh more. */
#include "essaim/quant.h"
#include "kernels/ref/set.h"

#include "base/f16.h"
#include "base/size.h"

enum { SUB_MAX = 32, K_COLS = 256, SCALE_STEPS = 9, REFINEMENTS = 2 };

/* To the nearest integer, ties to even; |x| <= 2^22. */
static float nearest(float x)
{
    return x + 0x1.8p23f - 0x1.8p23f;
}

static float clamp(float x, float low, float high)
{
    return x < low ? low : (x > high ? high : x);
}

/* What an f16 field will hold; false when it cannot. */
static bool to_half(float x, float *ret_rounded)
{
    if (!(fabsf(x) < 65520.0f)) return false;
    *ret_rounded = es_f16_to_float(es_f16_of_float(x));
    return true;
}

static void put_half(uint8_t *at, float rounded)
{
    uint16_t code = es_f16_of_float(rounded);
    memcpy(at, &code, sizeof code);
}

/* rms + |x|: errors of large weights count more, those of small ones still count. */
static void weigh(const float *x, size_t n, float *w)
{
    float sum = 0.0f;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    float rms = sqrtf(sum / (float)n);
    for (size_t i = 0; i < n; i++) w[i] = rms + fabsf(x[i]);
}

/* Codes low to high for the values scale * code - offset; returns the weighted error. scale 0: every code is
 * 0. */
static float choose(const float *x, const float *w, size_t n, float scale, float offset, float low,
                    float high, float *code)
{
    float inverse = scale != 0.0f ? 1.0f / scale : 0.0f, error = 0.0f;
    if (!isfinite(inverse)) inverse = 0.0f;
    for (size_t i = 0; i < n; i++) {
        code[i] = nearest(clamp((x[i] + offset) * inverse, low, high));
        float miss = x[i] + offset - scale * code[i];
        error += w[i] * miss * miss;
    }
    return error;
}

/* The scale with which codes -limit to limit - 1 come nearest to x; its sign is free. */
static float fit_scale(const float *x, const float *w, size_t n, float limit)
{
    float extreme = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    float best = 0.0f, best_gain = 0.0f;
    for (int step = -SCALE_STEPS; extreme != 0.0f && step <= SCALE_STEPS; step++) {
        float inverse = -(limit + 0.1f * (float)step) / extreme, xc = 0.0f, cc = 0.0f;
        if (!isfinite(inverse)) break;
        for (size_t i = 0; i < n; i++) {
            float code = nearest(clamp(x[i] * inverse, -limit, limit - 1.0f));
            xc += w[i] * x[i] * code;
            cc += w[i] * code * code;
        }
        /* The fitted scale is xc / cc; it takes xc^2 / cc off the error. */
        if (!(cc > 0.0f) || !(xc * (xc / cc) > best_gain)) continue;
        best_gain = xc * (xc / cc);
        best = xc / cc;
    }
    return best;
}

/* Scale s and offset t, neither below 0, of values s * code - t with codes 0 to 15. */
typedef struct affine {
    float s, t;
} affine;

/* Sums of a fit of u * p - v * q to x. */
typedef struct sums {
    float pp, pq, qq, xp, xq;
} sums;

static void gather(sums *g, float w, float x, float p, float q)
{
    g->pp += w * p * p;
    g->pq += w * p * q;
    g->qq += w * q * q;
    g->xp += w * x * p;
    g->xq += w * x * q;
}

/* The u and v that fit best; both stay at or above 0. False when the sums do not tell. */
static bool solve(const sums *g, affine *ret)
{
    float det = g->pp * g->qq - g->pq * g->pq;
    if (!(g->pp > 0.0f)) return false;
    *ret = (affine){g->xp / g->pp, 0.0f};
    if (det > 1e-6f * g->pp * g->qq) {
        float t = (g->pq * g->xp - g->pp * g->xq) / det;
        if (t > 0.0f) *ret = (affine){(g->xp * g->qq - g->xq * g->pq) / det, t};
    }
    return ret->s >= 0.0f && isfinite(ret->s) && isfinite(ret->t);
}

static affine fit_affine(const float *x, const float *w, size_t n, float code_max)
{
    float low = 0.0f, high = x[0], code[SUB_MAX];
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    affine best = {0.0f, -low};
    if (!(high > low)) return best;
    best.s = (high - low) / code_max;
    float best_error = choose(x, w, n, best.s, best.t, 0.0f, code_max, code);
    for (int step = -SCALE_STEPS; step <= SCALE_STEPS; step++) {
        choose(x, w, n, (high - low) / (code_max + 0.1f * (float)step), -low, 0.0f, code_max, code);
        sums g = {0};
        for (size_t i = 0; i < n; i++) gather(&g, w[i], x[i], code[i], 1.0f);
        affine fit;
        if (!solve(&g, &fit)) continue;
        float error = choose(x, w, n, fit.s, fit.t, 0.0f, code_max, code);
        if (!(error < best_error)) continue;
        best_error = error;
        best = fit;
    }
    return best;
}

static bool encode_q8_0(const float *x, uint8_t *out)
{
    float max = 0.0f, d;
    for (size_t i = 0; i < 32; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
    if (!to_half(max / 127.0f, &d)) return false;
    put_half(out, d);
    for (size_t i = 0; i < 32; i++) {
        float code = d > 0.0f ? nearest(clamp(x[i] / d, -127.0f, 127.0f)) : 0.0f;
        out[2 + i] = (uint8_t)(int8_t)code;
    }
    return true;
}

static bool encode_q5_0(const float *x, uint8_t *out)
{
    float w[32], code[32], d;
    weigh(x, 32, w);
    if (!to_half(fit_scale(x, w, 32, 16.0f), &d)) return false;
    choose(x, w, 32, d, 0.0f, -16.0f, 15.0f, code);
    put_half(out, d);
    memset(out + 2, 0, 20);
    for (size_t i = 0; i < 32; i++) {
        unsigned bits = (unsigned)((int)code[i] + 16);
        out[2 + i / 8] |= (uint8_t)((bits >> 4) << (i % 8));
        out[6 + i % 16] |= (uint8_t)((bits & 15u) << (i / 16 * 4));
    }
    return true;
}

/* A K block under construction: D, M and each sub-block's a and m, and the codes that go with them. */
typedef struct k_block {
    size_t sub_cols;
    float code_low, code_high, scale_low, scale_high; /* ranges of codes and of a; m is 0 to 63 */
    bool has_mins;
    float d, m;
    float scale[ES_QUANT_SUBBLOCKS_MAX], min[ES_QUANT_SUBBLOCKS_MAX];
    float code[K_COLS];
    float error;
} k_block;

/* Codes and error of sub-block j with a and m. */
static float try_scales(const k_block *b, const float *x, const float *w, size_t j, float a, float m,
                        float *code)
{
    size_t first = j * b->sub_cols;
    return choose(x + first, w + first, b->sub_cols, b->d * a, b->m * m, b->code_low, b->code_high, code);
}

/* For D and M as they are: around the wanted scales and offsets of each sub-block, the integers that fit
 * best. */
static void choose_scales(k_block *b, const float *x, const float *w, const affine *wanted)
{
    b->error = 0.0f;
    for (size_t j = 0; j < K_COLS / b->sub_cols; j++) {
        float a = b->d != 0.0f ? nearest(clamp(wanted[j].s / b->d, b->scale_low, b->scale_high)) : 0.0f;
        float m = b->m != 0.0f ? nearest(clamp(wanted[j].t / b->m, 0.0f, 63.0f)) : 0.0f;
        float best = INFINITY, code[SUB_MAX];
        for (int k = 0; k < (b->has_mins ? 9 : 3); k++) {
            int step_a = k % 3 - 1, step_m = k / 3 - 1;
            float try_a = clamp(a + (float)step_a, b->scale_low, b->scale_high);
            float try_m = b->has_mins ? clamp(m + (float)step_m, 0.0f, 63.0f) : 0.0f;
            float error = try_scales(b, x, w, j, try_a, try_m, code);
            if (!(error < best)) continue;
            best = error;
            b->scale[j] = try_a;
            b->min[j] = try_m;
            memcpy(b->code + j * b->sub_cols, code, b->sub_cols * sizeof *code);
        }
        b->error += best;
    }
}

/* D and M that fit the integers as they are; false when none can be told or stored. */
static bool fit_super(const k_block *b, const float *x, const float *w, float *ret_d, float *ret_m)
{
    sums g = {0};
    for (size_t i = 0; i < K_COLS; i++) {
        size_t j = i / b->sub_cols;
        gather(&g, w[i], x[i], b->scale[j] * b->code[i], b->min[j]);
    }
    affine fit;
    if (!b->has_mins) {
        if (!(g.pp > 0.0f)) return false;
        fit = (affine){g.xp / g.pp, 0.0f};
    } else if (!solve(&g, &fit)) {
        return false;
    }
    return to_half(fit.s, ret_d) && to_half(fit.t, ret_m);
}

/* Chooses everything in b but its ranges. False when x does not fit the format. */
static bool fit_block(k_block *b, const float *x)
{
    float w[K_COLS], scale = 0.0f, offset = 0.0f;
    affine wanted[ES_QUANT_SUBBLOCKS_MAX];
    for (size_t j = 0; j < K_COLS / b->sub_cols; j++) {
        size_t first = j * b->sub_cols;
        weigh(x + first, b->sub_cols, w + first);
        wanted[j] = b->has_mins ? fit_affine(x + first, w + first, b->sub_cols, b->code_high)
                                : (affine){fit_scale(x + first, w + first, b->sub_cols, -b->code_low), 0.0f};
        if (fabsf(wanted[j].s) > fabsf(scale)) scale = wanted[j].s;
        if (wanted[j].t > offset) offset = wanted[j].t;
    }
    float limit = b->has_mins ? b->scale_high : b->scale_low;
    if (!to_half(scale / limit, &b->d) || !to_half(offset / 63.0f, &b->m)) return false;
    choose_scales(b, x, w, wanted);
    for (int i = 0; i < REFINEMENTS; i++) {
        k_block next = *b;
        if (!fit_super(b, x, w, &next.d, &next.m)) break;
        choose_scales(&next, x, w, wanted);
        if (!(next.error < b->error)) break;
        *b = next;
    }
    return true;
}

static bool encode_q4_k(const float *x, uint8_t *out)
{
    k_block b = {.sub_cols = 32, .code_high = 15.0f, .scale_high = 63.0f, .has_mins = true};
    if (!fit_block(&b, x)) return false;
    put_half(out, b.d);
    put_half(out + 2, b.m);
    uint8_t *packed = out + 4, *codes = out + 16;
    for (size_t j = 0; j < 4; j++) {
        unsigned a = (unsigned)b.scale[j], m = (unsigned)b.min[j];
        unsigned a_last = (unsigned)b.scale[4 + j], m_last = (unsigned)b.min[4 + j];
        packed[j] = (uint8_t)(a | (a_last >> 4) << 6);
        packed[4 + j] = (uint8_t)(m | (m_last >> 4) << 6);
        packed[8 + j] = (uint8_t)((a_last & 15u) | (m_last & 15u) << 4);
    }
    memset(codes, 0, 128);
    for (size_t i = 0; i < K_COLS; i++)
        codes[i / 64 * 32 + i % 32] |= (uint8_t)((unsigned)b.code[i] << (i % 64 / 32 * 4));
    return true;
}

static bool encode_q6_k(const float *x, uint8_t *out)
{
    k_block b = {
        .sub_cols = 16, .code_low = -32.0f, .code_high = 31.0f, .scale_low = -128.0f, .scale_high = 127.0f};
    if (!fit_block(&b, x)) return false;
    uint8_t *low = out, *high = out + 128;
    memset(out, 0, 192);
    for (size_t i = 0; i < K_COLS; i++) {
        unsigned bits = (unsigned)((int)b.code[i] + 32);
        size_t half = i / 128, quarter = i % 128 / 32, at = i % 32;
        low[half * 64 + quarter % 2 * 32 + at] |= (uint8_t)((bits & 15u) << (quarter / 2 * 4));
        high[half * 32 + at] |= (uint8_t)((bits >> 4) << (quarter * 2));
    }
    for (size_t j = 0; j < 16; j++) out[192 + j] = (uint8_t)(int8_t)b.scale[j];
    put_half(out + 208, b.d);
    return true;
}

typedef bool encode_fn(const float *x, uint8_t *out);

static encode_fn *const ENCODERS[ES_FORMAT_COUNT] = {
    [ES_FORMAT_Q8_0] = encode_q8_0,
    [ES_FORMAT_Q5_0] = encode_q5_0,
    [ES_FORMAT_Q4_K] = encode_q4_k,
    [ES_FORMAT_Q6_K] = encode_q6_k,
};

bool KERNEL(encode)(es_format format, const float *row, size_t cols, uint8_t *out)
{
    ES_ASSERT(es_quant_encodes(format));
    const es_format_info *info = es_format_describe(format);
    ES_ASSERT(cols % info->block_cols == 0);
    for (size_t c = 0; c < cols; c++)
        if (!(fabsf(row[c]) < 0x1p40f)) return false;
    for (size_t c = 0; c < cols; c += info->block_cols, out += info->block_bytes)
        if (!ENCODERS[format](row + c, out)) return false;
    return true;
}
