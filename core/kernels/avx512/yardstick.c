/* What this instruction set can do at most: four streams of loads with prefetch; multiply-adds on twelve
 * registers. */
#include "kernels/avx512/vector.h"
#include "kernels/ref/set.h"

enum { STREAMS = 4, CHAINS = 12, AHEAD = 4096 };

/* Twelve steps on registers of their own: an array would be kept in memory. */
#define TWELVE(step)                                                                                         \
    step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)

uint64_t KERNEL(read_bytes)(const uint8_t *bytes, size_t n)
{
    __m512i sum[STREAMS];
    size_t part = n / STREAMS;
    for (int k = 0; k < STREAMS; k++) sum[k] = _mm512_setzero_si512();
    for (size_t at = 0; at < part; at += 64)
        for (size_t k = 0; k < STREAMS; k++) {
            const uint8_t *from = bytes + k * part + at;
            _mm_prefetch((const char *)(from + AHEAD), _MM_HINT_T0);
            sum[k] = _mm512_xor_si512(sum[k], load_512(from));
        }
    for (int k = 1; k < STREAMS; k++) sum[0] = _mm512_xor_si512(sum[0], sum[k]);
    return (uint64_t)_mm512_reduce_or_epi64(sum[0]);
}

uint64_t KERNEL(integer_ops)(size_t rounds)
{
    __m512i w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(2);
    for (size_t round = 0; round < rounds; round++) {
#define STEP(k) "vpdpbusd %1, %0, %%zmm" #k "\n\t"
        __asm__ volatile(TWELVE(STEP)
                         :
                         : "v"(w), "v"(x)
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                           "xmm10", "xmm11");
#undef STEP
    }
    return (uint64_t)rounds * CHAINS * 64 * 2;
}

uint64_t KERNEL(float_ops)(size_t rounds)
{
    __m512 factor = _mm512_set1_ps(0.5f);
    for (size_t round = 0; round < rounds; round++) {
#define STEP(k) "vfmadd213ps %0, %0, %%zmm" #k "\n\t"
        __asm__ volatile(TWELVE(STEP)
                         :
                         : "v"(factor)
                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                           "xmm10", "xmm11");
#undef STEP
    }
    return (uint64_t)rounds * CHAINS * 16 * 2;
}
