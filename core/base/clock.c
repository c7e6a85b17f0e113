/* Time that only goes forward. */
#include "base/clock.h"

#include <time.h>

uint64_t es_clock_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t es_clock_wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int es_clock_left_ms(uint64_t deadline_ns)
{
    uint64_t now = es_clock_now_ns();
    if (deadline_ns <= now) return 0;
    uint64_t left = (deadline_ns - now + 999999u) / 1000000u;
    return left > 3600000u ? 3600000 : (int)left;
}
