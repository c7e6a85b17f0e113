/* Sixteen floats side by side in four registers, for the walks of kernels/wide. Every operation is each
 * lane's own, or the tree that docs/arithmetic.md defines. */
#ifndef ES_KERNELS_NEON_WIDE_H
#define ES_KERNELS_NEON_WIDE_H

#include "kernels/neon/vector.h"
#include "kernels/wide/tail.h"

typedef struct wide {
    float32x4_t v[4];
} wide;

/* What fits the registers when entries are added to queries. */
enum { WIDE_ADD_QUERIES = 4, WIDE_ADD_BLOCKS = 1 };

static inline VECTOR_INLINE wide wide_of(float x)
{
    return (wide){{vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x), vdupq_n_f32(x)}};
}

static inline VECTOR_INLINE wide wide_load(const float *from)
{
    return (wide){{vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
}

static inline VECTOR_INLINE wide wide_load_f16(const uint16_t *codes)
{
    const uint8_t *from = (const uint8_t *)codes;
    return (wide){{load_f16(from), load_f16(from + 8), load_f16(from + 16), load_f16(from + 24)}};
}

static inline VECTOR_INLINE void wide_store(float *to, wide v)
{
    for (int i = 0; i < 4; i++) vst1q_f32(to + 4 * i, v.v[i]);
}

static inline VECTOR_INLINE wide wide_fma(wide a, wide b, wide c)
{
    for (int i = 0; i < 4; i++) c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
}

static inline VECTOR_INLINE wide wide_add(wide a, wide b)
{
    for (int i = 0; i < 4; i++) a.v[i] = vaddq_f32(a.v[i], b.v[i]);
    return a;
}

static inline VECTOR_INLINE wide wide_mul(wide a, wide b)
{
    for (int i = 0; i < 4; i++) a.v[i] = vmulq_f32(a.v[i], b.v[i]);
    return a;
}

/* a > b ? a : b, so that a NaN in a is passed over. */
static inline VECTOR_INLINE wide wide_max(wide a, wide b)
{
    for (int i = 0; i < 4; i++) b.v[i] = vbslq_f32(vcgtq_f32(a.v[i], b.v[i]), a.v[i], b.v[i]);
    return b;
}

static inline VECTOR_INLINE wide wide_abs(wide v)
{
    for (int i = 0; i < 4; i++) v.v[i] = vabsq_f32(v.v[i]);
    return v;
}

/* The largest lane; none is NaN. */
static inline VECTOR_INLINE float wide_highest(wide v)
{
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.v[0], v.v[1]), vmaxq_f32(v.v[2], v.v[3])));
}

/* Whether every lane's magnitude is below infinity. */
static inline VECTOR_INLINE bool wide_is_finite(wide v)
{
    uint32x4_t below = vdupq_n_u32(UINT32_MAX);
    for (int i = 0; i < 4; i++) below = vandq_u32(below, vcaltq_f32(v.v[i], vdupq_n_f32(INFINITY)));
    return vminvq_u32(below) == UINT32_MAX;
}

/* To the nearest integers, ties to even; no magnitude is above 127.5. */
static inline VECTOR_INLINE void wide_store_codes(int8_t *to, wide v)
{
    int16x4_t words[4];
    for (int i = 0; i < 4; i++) words[i] = vmovn_s32(vcvtnq_s32_f32(v.v[i]));
    int8x8_t low = vmovn_s16(vcombine_s16(words[0], words[1]));
    int8x8_t high = vmovn_s16(vcombine_s16(words[2], words[3]));
    vst1q_s8(to, vcombine_s8(low, high));
}

/* The sum's last steps: halves of 8, 4, 2 and 1. */
static inline VECTOR_INLINE float wide_tree(wide v)
{
    float32x4_t four = vaddq_f32(vaddq_f32(v.v[0], v.v[2]), vaddq_f32(v.v[1], v.v[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(vpadd_f32(two, two), 0);
}

/* out[i][k] = the 16-lane sum of a[i] and b[k], n values each. */
static inline VECTOR_INLINE void wide_dots(const float *const a[WIDE_DOTS], const float *const b[WIDE_DOTS],
                                           size_t n, float out[WIDE_DOTS][WIDE_DOTS])
{
    for (int i = 0; i < WIDE_DOTS; i++) {
        wide sum[WIDE_DOTS] = {wide_of(0), wide_of(0), wide_of(0), wide_of(0)};
        size_t at = 0;
        for (; at + WIDE_LANES <= n; at += WIDE_LANES) {
            wide x = wide_load(a[i] + at);
            for (int k = 0; k < WIDE_DOTS; k++) sum[k] = wide_fma(x, wide_load(b[k] + at), sum[k]);
        }
        if (at < n) {
            /* 0 * -0 is -0, and adding that changes nothing. */
            float x[WIDE_LANES], y[WIDE_LANES];
            wide_pad(a[i] + at, n - at, 0.0f, x);
            for (int k = 0; k < WIDE_DOTS; k++) {
                wide_pad(b[k] + at, n - at, -0.0f, y);
                sum[k] = wide_fma(wide_load(x), wide_load(y), sum[k]);
            }
        }
        for (int k = 0; k < WIDE_DOTS; k++) out[i][k] = wide_tree(sum[k]);
    }
}

#endif
