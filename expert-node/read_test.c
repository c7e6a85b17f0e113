/* How fast this machine reads memory. */
#include "read_test.h"

#include "base/clock.h"
#include "base/pages.h"
#include "base/size.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* More than any cache holds, as far as the system tells. */
enum { BYTES_MIN = 64 << 20, BYTES_MAX = 1 << 30, ITEM_BYTES = 1 << 20, CACHES = 3 };

static const uint64_t TEST_NS = 100000000;

typedef struct test {
    const es_kernels *kernels;
    uint8_t *bytes;
    _Atomic uint64_t sum; /* so that nothing is read in vain */
} test;

static void fill(void *job, size_t item, size_t thread)
{
    (void)thread;
    memset(((test *)job)->bytes + item * ITEM_BYTES, 0x55, ITEM_BYTES);
}

static void read_item(void *job, size_t item, size_t thread)
{
    test *t = job;
    (void)thread;
    atomic_fetch_add(&t->sum, t->kernels->read_bytes(t->bytes + item * ITEM_BYTES, ITEM_BYTES));
}

uint64_t es_read_test(const es_kernels *kernels, es_pool *pool)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = cache > 0 ? (size_t)cache * CACHES : 0;
    bytes = es_size_align(es_size_min(es_size_max(bytes, BYTES_MIN), BYTES_MAX), ITEM_BYTES);
    test t = {.kernels = kernels, .bytes = es_pages_take(bytes)};
    if (t.bytes == NULL) return 0;
    size_t items = bytes / ITEM_BYTES, rounds = 0;
    es_pool_run(pool, items, fill, &t);
    uint64_t start_ns = es_clock_now_ns(), took_ns;
    do {
        es_pool_run(pool, items, read_item, &t);
        rounds++;
        took_ns = es_clock_now_ns() - start_ns;
    } while (took_ns < TEST_NS);
    es_pages_give(t.bytes, bytes);
    return (uint64_t)((double)bytes * (double)rounds * 1e9 / (double)took_ns);
}
