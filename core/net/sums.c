/* Exact sums on the wire, byte by byte so that the machine's own order does not matter; compilers make plain
 * moves of it. */
#include "net/sums.h"

#include "essaim/status.h"

size_t es_sums_width(const int64_t *sum, size_t count)
{
    uint64_t high = 0; /* every bit that differs from the sign, of any value */
    for (size_t i = 0; i < count; i++) high |= (uint64_t)(sum[i] ^ (sum[i] >> 63));
    if (high < (UINT64_C(1) << 23)) return 3;
    if (high < (UINT64_C(1) << 31)) return 4;
    return 8;
}

bool es_sums_width_valid(size_t width)
{
    return width == 3 || width == 4 || width == 8;
}

void es_sums_pack(const int64_t *sum, size_t count, size_t width, uint8_t *out)
{
    ES_ASSERT(es_sums_width_valid(width));
    for (size_t i = 0; i < count; i++, out += width) {
        uint64_t v = (uint64_t)sum[i];
        for (size_t b = 0; b < width; b++) out[b] = (uint8_t)(v >> (8 * b));
    }
}

static int64_t load_3(const uint8_t *p)
{
    uint32_t v = ((uint32_t)p[0] << 8) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 24);
    return (int32_t)v >> 8;
}

static int64_t load_4(const uint8_t *p)
{
    return (int32_t)((uint32_t)p[0] | ((uint32_t)p[1] << 8) | ((uint32_t)p[2] << 16) |
                     ((uint32_t)p[3] << 24));
}

static int64_t load_8(const uint8_t *p)
{
    uint64_t v = 0;
    for (size_t b = 0; b < 8; b++) v |= (uint64_t)p[b] << (8 * b);
    return (int64_t)v;
}

bool es_sums_within_limit(const uint8_t *bytes, size_t count, size_t width)
{
    bool within = true;
    for (size_t i = 0; width == 8 && i < count; i++) {
        int64_t v = load_8(bytes + 8 * i);
        within &= v >= -(INT64_C(1) << ES_SUM_LIMIT_LOG2) && v <= (INT64_C(1) << ES_SUM_LIMIT_LOG2);
    }
    return within;
}

void es_sums_add(const uint8_t *bytes, size_t count, size_t width, int64_t *sum)
{
    ES_ASSERT(es_sums_width_valid(width));
    if (width == 3)
        for (size_t i = 0; i < count; i++) sum[i] += load_3(bytes + 3 * i);
    else if (width == 4)
        for (size_t i = 0; i < count; i++) sum[i] += load_4(bytes + 4 * i);
    else
        for (size_t i = 0; i < count; i++) sum[i] += load_8(bytes + 8 * i);
}
