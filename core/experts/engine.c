/* The engine of feed-forwards. Two pool runs a batch: (expert, 32 intermediate rows) makes h, requantised at
 * once; then 32 hidden outputs gather every expert's down product into the rows' integer sums. A unit of work
 * owns what it writes. */
#include "base/arena.h"
#include "base/pool.h"
#include "base/size.h"
#include "essaim/experts.h"
#include "essaim/panels.h"
#include "experts/group.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    TILE_ROWS = 64, /* rows that are computed together */
    CACHE_LINE = 64,
    PREFETCH_BYTES = 8192, /* of a panel, ahead of a product */
    PREFETCH_GROUPS = 8,   /* experts whose down products are asked for ahead: what decoding one row needs */
    ADDENDS_MAX = 1 << 17, /* of 2^45 each: a row's sum stays below 2^62 */
};

/* One thread's own. */
typedef struct scratch {
    uint8_t *rows;    /* f32: [TILE_ROWS] input rows gathered side by side */
    float *gate, *up; /* [TILE_ROWS][ES_UNIT_ROWS]; the down product uses gate */
    float *product;   /* f32: what es_product asks for */
} scratch;

/* One thread's units of the phase being run: the first in the low half, the end in the high one. Its owner
 * takes from the front, so that it reads weights in the order they stand; who has none left takes from the
 * back. */
typedef struct share {
    _Alignas(CACHE_LINE) atomic_uint_fast64_t units;
} share;

/* One unit of a phase. */
typedef void unit_fn(es_expert_engine *engine, size_t unit, size_t thread);

/* Up to TILE_ROWS rows that meet one matrix: q8's blocks one by one, f32's rows side by side. */
typedef struct tile {
    size_t count;
    const es_q8_block *blocks[TILE_ROWS];
    es_rows rows;
} tile;

struct es_expert_engine {
    es_expert_engine_options options;
    es_arena *arena;
    scratch *scratches; /* [threads] */
    share *shares;      /* [threads] */
    unit_fn *unit;      /* of the phase being run */
    es_pair *pairs, *spare;
    es_group *groups;
    es_q8_block *blocks; /* q8: [rows_max] rows' blocks, for batches that come without */
    uint8_t
        *h; /* [pairs] rows of up to intermediate_max, in the order of pairs: q8's blocks or f32's values */
    int *quantum; /* [rows] */

    /* The batch being run. */
    const es_ffn *ffns;
    es_rows rows;
    size_t pair_count, group_count;
    size_t h_row_bytes;
    int64_t *sum;
    atomic_size_t failed_pair; /* lowest index in the batch, SIZE_MAX: none */
};

static bool take_scratch(es_expert_engine *engine, size_t threads)
{
    const es_expert_engine_options *o = &engine->options;
    size_t outputs = (size_t)TILE_ROWS * ES_UNIT_ROWS;
    size_t product = es_product_scratch_floats(es_size_max(o->hidden, o->intermediate_max));
    bool f32 = o->row_format == ES_ROWS_F32;
    engine->scratches = es_arena_take(engine->arena, threads, sizeof(scratch));
    engine->shares = es_arena_take(engine->arena, threads, sizeof(share));
    if (engine->scratches == NULL || engine->shares == NULL) return false;
    for (size_t i = 0; i < threads; i++) {
        scratch *s = &engine->scratches[i];
        s->gate = es_arena_take(engine->arena, outputs, sizeof(float));
        s->up = es_arena_take(engine->arena, outputs, sizeof(float));
        s->rows = f32 ? es_arena_take(engine->arena, TILE_ROWS, o->hidden * sizeof(float)) : NULL;
        s->product = f32 ? es_arena_take(engine->arena, product, sizeof(float)) : NULL;
        if (s->gate == NULL || s->up == NULL || (f32 && (s->rows == NULL || s->product == NULL)))
            return false;
    }
    return true;
}

/* Bytes of one row of h: an odd number of cache lines, so that rows do not meet in the same sets of a cache.
 */
static size_t h_bytes(es_row_format format, size_t intermediate)
{
    size_t bytes = format == ES_ROWS_F32 ? intermediate * sizeof(float)
                                         : es_rows_blocks(intermediate) * sizeof(es_q8_block);
    return (es_size_ceil_div(bytes, CACHE_LINE) | 1) * CACHE_LINE;
}

static bool take_memory(es_expert_engine *engine)
{
    const es_expert_engine_options *o = &engine->options;
    size_t pairs = o->rows_max * o->pairs_per_row_max;
    bool q8 = o->row_format == ES_ROWS_Q8;
    engine->arena = es_arena_create();
    if (engine->arena == NULL) return false;
    engine->pairs = es_arena_take(engine->arena, pairs, sizeof *engine->pairs);
    engine->spare = es_arena_take(engine->arena, pairs, sizeof *engine->spare);
    engine->groups = es_arena_take(engine->arena, pairs, sizeof *engine->groups);
    engine->h = es_arena_take(engine->arena, pairs, h_bytes(o->row_format, o->intermediate_max));
    engine->quantum = es_arena_take(engine->arena, o->rows_max, sizeof *engine->quantum);
    if (q8)
        engine->blocks =
            es_arena_take(engine->arena, o->rows_max, es_rows_blocks(o->hidden) * sizeof *engine->blocks);
    return engine->pairs != NULL && engine->spare != NULL && engine->groups != NULL && engine->h != NULL &&
           engine->quantum != NULL && (!q8 || engine->blocks != NULL) &&
           take_scratch(engine, es_pool_threads(o->pool));
}

es_status es_expert_engine_create(const es_expert_engine_options *options, es_expert_engine **ret_engine,
                                  es_err *err)
{
    *ret_engine = NULL;
    const es_expert_engine_options *o = options;
    if (o->rows_max == 0 || o->rows_max > ES_STEP_ROWS_MAX)
        return es_err_set(err, ES_INVALID, "expert engine: rows_max: %zu is not 1 to %d", o->rows_max,
                          ES_STEP_ROWS_MAX);
    if (o->pairs_per_row_max == 0 || o->pairs_per_row_max > ES_PAIRS_PER_ROW_MAX)
        return es_err_set(err, ES_INVALID, "expert engine: pairs_per_row_max: %zu is not 1 to %d",
                          o->pairs_per_row_max, ES_PAIRS_PER_ROW_MAX);
    size_t chunks = es_size_ceil_div(o->intermediate_max, ES_CHUNK_COLUMNS);
    if (chunks == 0 || chunks > ADDENDS_MAX / ES_PAIRS_PER_ROW_MAX)
        return es_err_set(err, ES_INVALID, "expert engine: intermediate_max: %zu is not 1 to %d",
                          o->intermediate_max, ADDENDS_MAX / ES_PAIRS_PER_ROW_MAX * ES_CHUNK_COLUMNS);
    if (o->hidden == 0 || o->hidden > 1 << 24)
        return es_err_set(err, ES_INVALID, "expert engine: hidden: %zu is not 1 to %d", o->hidden, 1 << 24);
    es_expert_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) return es_err_set(err, ES_NO_MEMORY, "expert engine");
    engine->options = *options;
    if (!take_memory(engine)) {
        es_expert_engine_destroy(&engine);
        return es_err_set(err, ES_NO_MEMORY, "expert engine: scratch for %zu rows of %zu pairs", o->rows_max,
                          o->pairs_per_row_max);
    }
    *ret_engine = engine;
    return ES_OK;
}

void es_expert_engine_destroy(es_expert_engine **engine_at)
{
    es_expert_engine *engine = *engine_at;
    if (engine == NULL) return;
    es_arena_destroy(&engine->arena);
    free(engine);
    *engine_at = NULL;
}

static void note_failure(es_expert_engine *engine, size_t pair)
{
    size_t lowest = atomic_load_explicit(&engine->failed_pair, memory_order_relaxed);
    while (pair < lowest && !atomic_compare_exchange_weak(&engine->failed_pair, &lowest, pair)) continue;
}

/* The input rows of count <= TILE_ROWS pairs; f32 rows are copied where the batch has them apart. */
static void input_tile(const es_expert_engine *engine, const es_pair *pairs, size_t count, uint8_t *gathered,
                       tile *ret_tile)
{
    const es_rows *rows = &engine->rows;
    ret_tile->count = count;
    if (rows->format == ES_ROWS_Q8) {
        size_t stride = es_rows_blocks(rows->cols);
        for (size_t t = 0; t < count; t++) ret_tile->blocks[t] = rows->blocks + pairs[t].row * stride;
        return;
    }
    size_t bytes = rows->cols * sizeof(float), together = 1;
    ret_tile->rows = (es_rows){rows->format, count, rows->cols, bytes, gathered, NULL};
    while (together < count && pairs[together].row == pairs[0].row + together) together++;
    if (together == count) {
        ret_tile->rows.data = rows->data + pairs[0].row * rows->row_bytes;
        ret_tile->rows.row_bytes = rows->row_bytes;
        return;
    }
    for (size_t t = 0; t < count; t++)
        memcpy(gathered + t * bytes, rows->data + pairs[t].row * rows->row_bytes, bytes);
}

/* As es_product over all columns, out [x->count][n]. */
static void multiply(const es_expert_engine *engine, const es_matrix *w, size_t first, size_t n,
                     const tile *x, float *scratch_floats, float *out)
{
    const es_kernels *kernels = engine->options.kernels;
    if (engine->rows.format == ES_ROWS_Q8)
        kernels->product[w->format](w, first, n, 0, w->cols, x->blocks, x->count, out, n);
    else
        es_product(kernels, w, first, n, 0, w->cols, &x->rows, scratch_floats, out, n);
}

/* Puts intermediate values [first, first + n) of a pair into its h row; first is a multiple of 32, n <= 32.
 */
static bool store_h(const es_expert_engine *engine, uint8_t *row, size_t first, const float *value, size_t n)
{
    if (engine->rows.format == ES_ROWS_F32) {
        memcpy(row + first * sizeof *value, value, n * sizeof *value);
        return true;
    }
    es_q8_block *block = (es_q8_block *)(void *)row + first / ES_ROW_BLOCK;
    memset(block->q, 0, sizeof block->q);
    bool good = engine->options.kernels->quantise(value, n, block->q, &block->d);
    if (good) es_q8_block_sum(block);
    return good;
}

/* The group that owns a work item of the first phase. */
static const es_group *find_group(const es_expert_engine *engine, size_t item)
{
    size_t low = 0, high = engine->group_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (engine->groups[middle].item_first <= item)
            low = middle;
        else
            high = middle;
    }
    return &engine->groups[low];
}

/* Asks for the beginning of two panels: kernels ask for what follows. */
static void prefetch_panels(const es_matrix *w, size_t row)
{
    size_t panels = es_size_ceil_div(w->rows, ES_PANEL_ROWS), first = row / ES_PANEL_ROWS;
    for (size_t p = first; p < panels && p < first + 2; p++) {
        const uint8_t *panel = w->data + p * w->row_bytes;
        for (size_t at = 0; at < es_size_min(w->row_bytes, PREFETCH_BYTES); at += CACHE_LINE)
            __builtin_prefetch(panel + at, 0, 2);
    }
}

/* One expert's 32 intermediate rows, for all its pairs. */
static void compute_h(es_expert_engine *engine, size_t item, size_t thread)
{
    const es_kernels *kernels = engine->options.kernels;
    scratch *s = &engine->scratches[thread];
    tile x;
    const es_group *group = find_group(engine, item);
    const es_ffn *ffn = &engine->ffns[group->expert];
    size_t first = (item - group->item_first) * ES_UNIT_ROWS;
    size_t n = es_size_min(ES_UNIT_ROWS, ffn->gate.rows - first);
    for (size_t done = 0; done < group->count; done += TILE_ROWS) {
        const es_pair *pairs = engine->pairs + group->first + done;
        size_t count = es_size_min(TILE_ROWS, group->count - done);
        input_tile(engine, pairs, count, s->rows, &x);
        multiply(engine, &ffn->gate, first, n, &x, s->product, s->gate);
        multiply(engine, &ffn->up, first, n, &x, s->product, s->up);
        kernels->swiglu(s->gate, s->up, count * n, s->gate);
        for (size_t t = 0; t < count; t++) {
            uint8_t *row = engine->h + (group->first + done + t) * engine->h_row_bytes;
            if (!store_h(engine, row, first, s->gate + t * n, n)) note_failure(engine, pairs[t].pair);
        }
    }
    if (first + n == ffn->gate.rows && group + 1 < engine->groups + engine->group_count) {
        prefetch_panels(&engine->ffns[group[1].expert].gate, 0);
        prefetch_panels(&engine->ffns[group[1].expert].up, 0);
    }
}

/* The share of count <= TILE_ROWS pairs from first_pair on in hidden outputs [first, first + n). */
static void add_tile_q8(es_expert_engine *engine, const es_matrix *down, size_t first_pair, size_t count,
                        size_t first, size_t n)
{
    const es_pair *pairs = engine->pairs + first_pair;
    es_addend rows[TILE_ROWS];
    for (size_t t = 0; t < count; t++)
        rows[t] = (es_addend){
            .x = (const es_q8_block *)(const void *)(engine->h + (first_pair + t) * engine->h_row_bytes),
            .weight = pairs[t].weight,
            .quantum = engine->quantum[pairs[t].row],
            .sum = engine->sum + pairs[t].row * engine->options.hidden + first};
    engine->options.kernels->product_sum(down, first, n, rows, count);
    for (size_t t = 0; t < count; t++)
        if (rows[t].failed) note_failure(engine, pairs[t].pair);
}

/* The same for f32 rows. */
static void add_tile_f32(es_expert_engine *engine, const es_matrix *down, size_t first_pair, size_t count,
                         size_t first, size_t n, scratch *s)
{
    const es_kernels *kernels = engine->options.kernels;
    const es_pair *pairs = engine->pairs + first_pair;
    const es_rows h = {engine->rows.format,
                       count,
                       down->cols,
                       engine->h_row_bytes,
                       engine->h + first_pair * engine->h_row_bytes,
                       NULL};
    for (size_t c = 0; c < down->cols; c += ES_CHUNK_COLUMNS) {
        size_t cols = es_size_min(ES_CHUNK_COLUMNS, down->cols - c);
        es_product(kernels, down, first, n, c, cols, &h, s->product, s->gate, n);
        for (size_t t = 0; t < count; t++)
            if (!kernels->accumulate(s->gate + t * n, n, pairs[t].weight, engine->quantum[pairs[t].row],
                                     engine->sum + pairs[t].row * engine->options.hidden + first))
                note_failure(engine, pairs[t].pair);
    }
}

/* 32 hidden outputs of every row: this unit of work alone writes these columns of the sums. */
static void compute_sums(es_expert_engine *engine, size_t item, size_t thread)
{
    size_t first = item * ES_UNIT_ROWS;
    size_t n = es_size_min(ES_UNIT_ROWS, engine->options.hidden - first);
    for (size_t g = 0; g < engine->group_count; g++) {
        const es_group *group = &engine->groups[g];
        const es_matrix *down = &engine->ffns[group->expert].down;
        for (size_t done = 0; done < group->count; done += TILE_ROWS) {
            size_t count = es_size_min(TILE_ROWS, group->count - done);
            if (engine->rows.format == ES_ROWS_Q8)
                add_tile_q8(engine, down, group->first + done, count, first, n);
            else
                add_tile_f32(engine, down, group->first + done, count, first, n, &engine->scratches[thread]);
        }
    }
}

/* Takes a unit from the front or the back of a share; false when none is left. */
static bool take_unit(share *from, bool front, size_t *ret_unit)
{
    uint_fast64_t units = atomic_load_explicit(&from->units, memory_order_relaxed), rest;
    size_t first, end;
    do {
        first = (size_t)(units & UINT32_MAX);
        end = (size_t)(units >> 32);
        if (first == end) return false;
        rest = front ? units + 1 : units - (UINT64_C(1) << 32);
    } while (!atomic_compare_exchange_weak_explicit(&from->units, &units, rest, memory_order_relaxed,
                                                    memory_order_relaxed));
    *ret_unit = front ? first : end - 1;
    return true;
}

static void run_share(void *job, size_t item, size_t thread)
{
    (void)item;
    es_expert_engine *engine = job;
    size_t threads = es_pool_threads(engine->options.pool), unit;
    while (take_unit(&engine->shares[thread], true, &unit)) engine->unit(engine, unit, thread);
    for (size_t i = 1; i < threads; i++)
        while (take_unit(&engine->shares[(thread + i) % threads], false, &unit))
            engine->unit(engine, unit, thread);
    /* While others finish: what this thread reads first of each expert in the next phase. */
    size_t first = es_size_ceil_div(engine->options.hidden, ES_UNIT_ROWS) * thread / threads * ES_UNIT_ROWS;
    size_t groups = engine->unit == compute_h ? es_size_min(engine->group_count, PREFETCH_GROUPS) : 0;
    for (size_t g = 0; g < groups; g++) prefetch_panels(&engine->ffns[engine->groups[g].expert].down, first);
}

/* Runs a phase: each thread goes through neighbouring units of its own, then helps the others. */
static void run_units(es_expert_engine *engine, size_t units, unit_fn *unit)
{
    size_t threads = es_pool_threads(engine->options.pool);
    for (size_t i = 0; i < threads; i++)
        atomic_store_explicit(&engine->shares[i].units,
                              units * i / threads | (uint_fast64_t)(units * (i + 1) / threads) << 32,
                              memory_order_relaxed);
    engine->unit = unit;
    es_pool_run(engine->options.pool, threads, run_share, engine);
}

static es_status check_rows(const es_expert_engine *engine, const es_rows *rows, es_err *err)
{
    const es_expert_engine_options *o = &engine->options;
    if (rows->format != o->row_format) return es_err_set(err, ES_INVALID, "batch: rows have another format");
    if (rows->cols != o->hidden)
        return es_err_set(err, ES_INVALID, "batch: rows have %zu columns, not %zu", rows->cols, o->hidden);
    if (rows->count > o->rows_max)
        return es_err_set(err, ES_INVALID, "batch: %zu rows are more than %zu", rows->count, o->rows_max);
    if (rows->row_bytes < es_rows_row_bytes(rows->format, rows->cols) || rows->row_bytes % sizeof(float) != 0)
        return es_err_set(err, ES_INVALID, "batch: rows of %zu bytes", rows->row_bytes);
    return ES_OK;
}

/* The expert is held and of this engine's size. */
static es_status check_expert(const es_expert_engine *engine, const es_ffn *ffns, size_t ffn_count,
                              uint32_t expert, es_err *err)
{
    if (expert >= ffn_count)
        return es_err_set(err, ES_INVALID, "expert %" PRIu32 ": there are only %zu", expert, ffn_count);
    const es_ffn *ffn = &ffns[expert];
    if (ffn->gate.data == NULL || ffn->up.data == NULL || ffn->down.data == NULL)
        return es_err_set(err, ES_NOT_HERE, "expert %" PRIu32 ": not held here", expert);
    size_t hidden = engine->options.hidden, width = ffn->gate.rows;
    bool fits = width > 0 && width <= engine->options.intermediate_max && ffn->up.rows == width &&
                ffn->down.cols == width && ffn->gate.cols == hidden && ffn->up.cols == hidden &&
                ffn->down.rows == hidden;
    if (!fits)
        return es_err_set(err, ES_INVALID, "expert %" PRIu32 ": its matrices are not of this engine's size",
                          expert);
    return ES_OK;
}

/* Checks the batch's pairs and takes them into the engine. */
static es_status take_pairs(es_expert_engine *engine, const es_expert_batch *batch, size_t ffn_count,
                            es_err *err)
{
    const uint32_t *first = batch->pair_first;
    if (first[0] != 0) return es_err_set(err, ES_INVALID, "batch: pair_first begins at %" PRIu32, first[0]);
    engine->pair_count = 0;
    for (size_t r = 0; r < batch->rows->count; r++) {
        if (first[r + 1] < first[r] || first[r + 1] - first[r] > engine->options.pairs_per_row_max)
            return es_err_set(err, ES_INVALID,
                              "batch: row %zu: pairs %" PRIu32 " to %" PRIu32 ", at most %zu", r, first[r],
                              first[r + 1], engine->options.pairs_per_row_max);
        for (uint32_t p = first[r]; p < first[r + 1]; p++) {
            es_status status = check_expert(engine, engine->ffns, ffn_count, batch->expert[p], err);
            if (status != ES_OK) return status;
            engine->pairs[engine->pair_count++] = (es_pair){
                .expert = batch->expert[p], .row = (uint32_t)r, .pair = p, .weight = batch->weight[p]};
        }
        engine->quantum[r] = es_rows_quantum(batch->rows, r);
    }
    return ES_OK;
}

static es_status report_failure(const es_expert_engine *engine, const es_expert_batch *batch, es_err *err)
{
    size_t pair = atomic_load(&engine->failed_pair);
    if (pair == SIZE_MAX) return ES_OK;
    size_t row = 0;
    while (batch->pair_first[row + 1] <= pair) row++;
    return es_err_set(err, ES_NUMERIC, "expert %" PRIu32 ": row %zu: a value is not finite or too large",
                      batch->expert[pair], row);
}

static void make_blocks(void *job, size_t item, size_t thread)
{
    (void)thread;
    const es_expert_engine *engine = job;
    es_rows_make_blocks(&engine->rows, item);
}

es_status es_expert_engine_run(es_expert_engine *engine, const es_ffn *ffns, size_t ffn_count,
                               const es_expert_batch *batch, int64_t *sum, es_err *err)
{
    es_status status = check_rows(engine, batch->rows, err);
    if (status != ES_OK) return status;
    engine->ffns = ffns;
    engine->rows = *batch->rows;
    engine->sum = sum;
    status = take_pairs(engine, batch, ffn_count, err);
    if (status != ES_OK) return status;
    if (engine->rows.format == ES_ROWS_Q8 && engine->rows.blocks == NULL) {
        engine->rows.blocks = engine->blocks;
        es_pool_run(engine->options.pool, engine->rows.count, make_blocks, engine);
    }
    es_pairs_sort(engine->pairs, engine->spare, engine->pair_count);
    engine->group_count = es_pairs_group(engine->pairs, engine->pair_count, engine->groups);
    size_t items = 0, widest = 0;
    for (size_t g = 0; g < engine->group_count; g++) {
        size_t width = ffns[engine->groups[g].expert].gate.rows;
        engine->groups[g].item_first = items;
        items += es_size_ceil_div(width, ES_UNIT_ROWS);
        widest = es_size_max(widest, width);
    }
    engine->h_row_bytes = h_bytes(engine->options.row_format, widest);
    atomic_store(&engine->failed_pair, SIZE_MAX);
    run_units(engine, items, compute_h);
    status = report_failure(engine, batch, err);
    if (status != ES_OK || items == 0) return status;
    run_units(engine, es_size_ceil_div(engine->options.hidden, ES_UNIT_ROWS), compute_sums);
    return report_failure(engine, batch, err);
}

size_t es_expert_engine_failed_pair(const es_expert_engine *engine)
{
    return atomic_load(&engine->failed_pair);
}
