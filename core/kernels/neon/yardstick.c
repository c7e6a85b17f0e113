/* What this instruction set can do at most: four streams of loads; multiply-adds on sixteen registers. */
#include "kernels/neon/vector.h"
#include "kernels/ref/set.h"

enum { STREAMS = 4, CHAINS = 16, LINE = 64 };

/* Sixteen steps on registers of their own: an array would be kept in memory. */
#define SIXTEEN(step)                                                                                        \
    step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)        \
        step(12) step(13) step(14) step(15)
#define SIXTEEN_NAMES                                                                                        \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15"

uint64_t KERNEL(read_bytes)(const uint8_t *bytes, size_t n)
{
    uint8x16_t sum[STREAMS];
    size_t part = n / STREAMS;
    for (int k = 0; k < STREAMS; k++) sum[k] = vdupq_n_u8(0);
    for (size_t at = 0; at < part; at += LINE)
        for (size_t k = 0; k < STREAMS; k++)
            for (size_t i = 0; i < LINE; i += 16)
                sum[k] = veorq_u8(sum[k], vld1q_u8(bytes + k * part + at + i));
    for (int k = 1; k < STREAMS; k++) sum[0] = veorq_u8(sum[0], sum[k]);
    return vaddvq_u64(vreinterpretq_u64_u8(sum[0]));
}

uint64_t KERNEL(integer_ops)(size_t rounds)
{
    int8x16_t factor = vdupq_n_s8(3);
    for (size_t round = 0; round < rounds; round++) {
#define STEP(k) "sdot v" #k ".4s, %0.16b, %0.16b\n\t"
        __asm__ volatile(SIXTEEN(STEP) : : "w"(factor) : SIXTEEN_NAMES);
#undef STEP
    }
    return (uint64_t)rounds * CHAINS * 16 * 2;
}

uint64_t KERNEL(float_ops)(size_t rounds)
{
    float32x4_t factor = vdupq_n_f32(0.5f);
    for (size_t round = 0; round < rounds; round++) {
#define STEP(k) "fmla v" #k ".4s, %0.4s, %0.4s\n\t"
        __asm__ volatile(SIXTEEN(STEP) : : "w"(factor) : SIXTEEN_NAMES);
#undef STEP
    }
    return (uint64_t)rounds * CHAINS * 4 * 2;
}
