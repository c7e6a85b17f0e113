/* Values side by side, as many as a vector register of this set holds. Every operation is each lane's own, so
 * that its result is the same in any set. */
#ifndef ES_KERNELS_REF_LANES_H
#define ES_KERNELS_REF_LANES_H

#include <stdint.h>
#include <string.h>

typedef float lanes __attribute__((vector_size(__BIGGEST_ALIGNMENT__)));
typedef int32_t lane_masks __attribute__((vector_size(__BIGGEST_ALIGNMENT__)));

enum { LANES = sizeof(lanes) / sizeof(float) };

static inline lanes lanes_of(float value)
{
    return value - (lanes){0};
}

static inline lanes lanes_load(const float *from)
{
    lanes v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void lanes_store(float *to, lanes v)
{
    memcpy(to, &v, sizeof v);
}

/* a where the mask is set, else b. */
static inline lanes lanes_select(lane_masks mask, lanes a, lanes b)
{
    return (lanes)((mask & (lane_masks)a) | (~mask & (lane_masks)b));
}

static inline lanes lanes_min(lanes a, lanes b)
{
    for (int i = 0; i < LANES; i++) a[i] = a[i] < b[i] ? a[i] : b[i];
    return a;
}

static inline lanes lanes_max(lanes a, lanes b)
{
    for (int i = 0; i < LANES; i++) a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

static inline lanes lanes_abs(lanes v)
{
    return (lanes)((lane_masks)v & INT32_MAX);
}

/* To the nearest integer, ties to even; |v| <= 2^22. */
static inline lanes lanes_nearest(lanes v)
{
    return v + 0x1.8p23f - 0x1.8p23f;
}

#endif
