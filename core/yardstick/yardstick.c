/* What this machine can do at best. */
#include "yardstick/yardstick.h"

#include "base/clock.h"
#include "base/pages.h"
#include "base/size.h"
#include "essaim/panels.h"

#include <stdatomic.h>
#include <stdlib.h>
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
static const size_t COLUMNS = 7168; /* of a matrix, DeepSeek's width */

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

/* Written, so that it has memory of its own. */
static void zero_item(void *job, size_t item, size_t thread)
{
    (void)thread;
    memset(((reading *)job)->fill + item * ITEM_BYTES, 0, ITEM_BYTES);
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

/* Over and over for a tenth of a second. */
static double read_for_a_while(reading *r, es_pool *pool)
{
    size_t rounds = 0;
    uint64_t start_ns = es_clock_now_ns(), took_ns;
    do {
        es_pool_run(pool, r->bytes / ITEM_BYTES, read_item, r);
        rounds++;
        took_ns = es_clock_now_ns() - start_ns;
    } while (took_ns < READ_NS);
    return (double)r->bytes * (double)rounds * 1e9 / (double)took_ns;
}

size_t es_yardstick_bytes(void)
{
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = cache > 0 ? (size_t)cache * CACHES : 0;
    return es_size_align(es_size_min(es_size_max(bytes, BYTES_MIN), BYTES_MAX), ITEM_BYTES);
}

bool es_yardstick_read_often(const es_kernels *kernels, es_pool *pool, size_t count, double *ret_speeds)
{
    size_t bytes = es_yardstick_bytes();
    reading r = {.kernels = kernels, .fill = es_pages_take(bytes), .bytes = bytes};
    if (r.fill == NULL) return false;
    r.from = r.fill;
    es_pool_run(pool, bytes / ITEM_BYTES, fill_item, &r);
    for (size_t i = 0; i < count; i++) ret_speeds[i] = read_for_a_while(&r, pool);
    es_pages_give(r.fill, bytes);
    return true;
}

uint64_t es_yardstick_read(const es_kernels *kernels, es_pool *pool)
{
    double speed;
    return es_yardstick_read_often(kernels, pool, 1, &speed) ? (uint64_t)speed : 0;
}

typedef struct multiplying {
    const es_kernels *kernels;
    es_matrix matrix;
    const es_q8_block *row; /* [COLUMNS / ES_ROW_BLOCK] */
    float *out;             /* [threads][ES_UNIT_ROWS] */
} multiplying;

static void multiply_item(void *job, size_t item, size_t thread)
{
    multiplying *m = job;
    m->kernels->product[m->matrix.format](&m->matrix, item * ES_UNIT_ROWS, ES_UNIT_ROWS, 0, COLUMNS, &m->row,
                                          1, m->out + thread * ES_UNIT_ROWS, ES_UNIT_ROWS);
}

/* A matrix of zeros that fills bytes at data; its speed is that of any other. */
static es_matrix zeros_of(es_format format, const uint8_t *data, size_t bytes, const float *scales)
{
    size_t panel = 0;
    bool fits = es_panels_bytes(format, ES_PANEL_ROWS, COLUMNS, &panel);
    ES_ASSERT(fits && panel > 0);
    size_t units = bytes / panel / (ES_UNIT_ROWS / ES_PANEL_ROWS);
    return (es_matrix){.format = format,
                       .layout = ES_LAYOUT_PANELS,
                       .rows = units * ES_UNIT_ROWS,
                       .cols = COLUMNS,
                       .data = data,
                       .row_bytes = panel,
                       .scales = scales};
}

static double multiply_for_a_while(multiplying *m, es_pool *pool)
{
    size_t rounds = 0, units = m->matrix.rows / ES_UNIT_ROWS, panels = m->matrix.rows / ES_PANEL_ROWS;
    double bytes = (double)panels * (double)m->matrix.row_bytes;
    uint64_t start_ns = es_clock_now_ns(), took_ns;
    do {
        es_pool_run(pool, units, multiply_item, m);
        rounds++;
        took_ns = es_clock_now_ns() - start_ns;
    } while (took_ns < READ_NS);
    return bytes * (double)rounds * 1e9 / (double)took_ns;
}

bool es_yardstick_products(const es_kernels *kernels, es_pool *pool, const es_format *formats, size_t count,
                           double *ret_speeds)
{
    size_t bytes = es_yardstick_bytes();
    reading fill = {.kernels = kernels, .fill = es_pages_take(bytes), .bytes = bytes};
    es_q8_block *row = calloc(COLUMNS / ES_ROW_BLOCK, sizeof *row);
    float *out = calloc(es_pool_threads(pool) * ES_UNIT_ROWS, sizeof *out);
    float *scales =
        calloc(COLUMNS / ES_SCALE_BLOCK, sizeof *scales); /* one row of the grid for all: stride 0 */
    bool good = fill.fill != NULL && row != NULL && out != NULL && scales != NULL;
    if (good) es_pool_run(pool, bytes / ITEM_BYTES, zero_item, &fill);
    for (size_t i = 0; i < count && good; i++) {
        multiplying m = {kernels, zeros_of(formats[i], fill.fill, bytes, scales), row, out};
        ret_speeds[i] = multiply_for_a_while(&m, pool);
    }
    free(row);
    free(out);
    free(scales);
    if (fill.fill != NULL) es_pages_give(fill.fill, bytes);
    return good;
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
