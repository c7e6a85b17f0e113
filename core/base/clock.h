/* Time that only goes forward, and deadlines made of it. */
#ifndef ES_BASE_CLOCK_H
#define ES_BASE_CLOCK_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t es_clock_now_ns(void);

/* Nanoseconds since 1970 of the wall clock: for people and other machines, never for deadlines. */
uint64_t es_clock_wall_ns(void);

/* Milliseconds until deadline_ns (an es_clock_now_ns value), rounded up, 0 when it has passed, at most an
 * hour. */
int es_clock_left_ms(uint64_t deadline_ns);

#endif
