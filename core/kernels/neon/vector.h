/* Small words that the NEON kernels are written in. */
#ifndef ES_KERNELS_NEON_VECTOR_H
#define ES_KERNELS_NEON_VECTOR_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VECTOR_INLINE __attribute__((always_inline))

/* Four f16 codes as floats. */
static inline VECTOR_INLINE float32x4_t load_f16(const uint8_t *codes)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(codes)));
}

/* Four bytes as integers. */
static inline VECTOR_INLINE int32x4_t load_bytes(const uint8_t *bytes, bool is_signed)
{
    uint32_t four;
    memcpy(&four, bytes, sizeof four);
    uint8x8_t v = vreinterpret_u8_u32(vdup_n_u32(four));
    if (is_signed) return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(v))));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(v))));
}

/* Every byte shifted left by a constant, right where it is negative. */
static inline VECTOR_INLINE uint8x16_t shift_bytes(uint8x16_t v, int left)
{
    return left >= 0 ? v << left : v >> -left;
}

/* Writes the first n of 16 lanes. */
static inline VECTOR_INLINE void store_lanes(float *out, const float32x4_t *v, size_t n)
{
    float lanes[16];
    for (size_t i = 0; i < 4; i++) vst1q_f32(lanes + 4 * i, v[i]);
    memcpy(out, lanes, (n < 16 ? n : 16) * sizeof *out);
}

static inline VECTOR_INLINE void prefetch(const uint8_t *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at);
}

#endif
