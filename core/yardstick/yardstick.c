/* What this machine can do at best. */
#include "yardstick/yardstick.h"

#include "base/clock.h"
#include "base/pages.h"
#include "base/size.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum {
    BYTES_MIN = 64 << 20, /* more than any cache holds, as far as the system tells */
    BYTES_MAX = 1 << 30,
    ITEM_BYTES = 1 << 20, /* that a thread reads at a time */
    CACHES = 3,
    PEAK_ROUNDS = 200000, /* about a tenth of a millisecond */
    PEAK_ITEMS = 16       /* of them for each thread */
};

static const uint64_t READ_NS = 100000000;

typedef struct reading {
    const es_kernels *kernels;
    uint8_t *fill; /* NULL: only read */
    const uint8_t *from;
    size_t bytes;
    _Atomic uint64_t sum; /* so that nothing is read in vain */
} reading;

static void fill_item(void *job, size_t item, size_t thread)
{
    (void)thread;
    memset(((reading *)job)->fill + item * ITEM_BYTES, 0x55, ITEM_BYTES);
}

static void read_item(void *job, size_t item, size_t thread)
{
    reading *r = job;
    (void)thread;
    size_t first = item * ITEM_BYTES, bytes = es_size_min(ITEM_BYTES, r->bytes - first) / 4096 * 4096;
    atomic_fetch_add(&r->sum, r->kernels->read_bytes(r->from + first, bytes));
}

double es_yardstick_read_s(const es_kernels *kernels, es_pool *pool, const uint8_t *from, size_t bytes)
{
    reading r = {.kernels = kernels, .from = from, .bytes = bytes};
    uint64_t start_ns = es_clock_now_ns();
    es_pool_run(pool, es_size_ceil_div(bytes, ITEM_BYTES), read_item, &r);
    return (double)(es_clock_now_ns() - start_ns) * 1e-9;
}

uint64_t es_yardstick_read(const es_kernels *kernels, es_pool *pool)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = cache > 0 ? (size_t)cache * CACHES : 0, rounds = 0;
    bytes = es_size_align(es_size_min(es_size_max(bytes, BYTES_MIN), BYTES_MAX), ITEM_BYTES);
    reading r = {.kernels = kernels, .fill = es_pages_take(bytes), .bytes = bytes};
    if (r.fill == NULL) return 0;
    r.from = r.fill;
    es_pool_run(pool, bytes / ITEM_BYTES, fill_item, &r);
    uint64_t start_ns = es_clock_now_ns(), took_ns;
    do {
        es_pool_run(pool, bytes / ITEM_BYTES, read_item, &r);
        rounds++;
        took_ns = es_clock_now_ns() - start_ns;
    } while (took_ns < READ_NS);
    es_pages_give(r.fill, bytes);
    return (uint64_t)((double)bytes * (double)rounds * 1e9 / (double)took_ns);
}

typedef struct peak {
    uint64_t (*ops)(size_t rounds);
    _Atomic uint64_t done;
} peak;

static void peak_item(void *job, size_t item, size_t thread)
{
    (void)item;
    (void)thread;
    peak *p = job;
    atomic_fetch_add(&p->done, p->ops(PEAK_ROUNDS));
}

static double measure_peak(uint64_t (*ops)(size_t rounds), es_pool *pool)
{
    peak p = {.ops = ops};
    uint64_t start_ns = es_clock_now_ns();
    es_pool_run(pool, PEAK_ITEMS * es_pool_threads(pool), peak_item, &p);
    return (double)atomic_load(&p.done) / ((double)(es_clock_now_ns() - start_ns) * 1e-9);
}

double es_yardstick_integer_ops(const es_kernels *kernels, es_pool *pool)
{
    return measure_peak(kernels->integer_ops, pool);
}

double es_yardstick_float_ops(const es_kernels *kernels, es_pool *pool)
{
    return measure_peak(kernels->float_ops, pool);
}
