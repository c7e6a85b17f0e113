/* Exact sums on the wire: int64 values in the fewest bytes that hold them all. */
#ifndef ES_NET_SUMS_H
#define ES_NET_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A node's sum of one value is at most 64 addends of 2^45; what is larger was not computed honestly. */
enum { ES_SUM_LIMIT_LOG2 = 52 };

/* The smallest of 3, 4 and 8 bytes that holds every one of sum [count] in two's complement; 3 when count is
 * 0. */
size_t es_sums_width(const int64_t *sum, size_t count);

/* True for 3, 4 and 8. */
bool es_sums_width_valid(size_t width);

/* out [count * width] = sum [count], little-endian two's complement; width holds them all. */
void es_sums_pack(const int64_t *sum, size_t count, size_t width, uint8_t *out);

/* False when one of count values in bytes lies beyond +-2^ES_SUM_LIMIT_LOG2: they are not to be added. With
 * the limit kept, a thousand nodes' sums cannot overflow. */
bool es_sums_within_limit(const uint8_t *bytes, size_t count, size_t width);

/* sum[i] += bytes' value i; all within the limit. */
void es_sums_add(const uint8_t *bytes, size_t count, size_t width, int64_t *sum);

#endif
