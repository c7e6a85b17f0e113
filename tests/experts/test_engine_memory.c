/* An engine takes its memory when it is made, and none for a batch. The linker sends every call that takes
 * memory through here (tests/experts/CMakeLists.txt). */
#include "base/pool.h"
#include "essaim/experts.h"
#include "kernels/vectors.h"
#include "with_cmocka.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HIDDEN = 512, WIDTH = 768, EXPERTS = 3, ROWS = 130, PAIRS = 2, THREADS = 3 };

static atomic_size_t taken;

#define COUNTED(result, name, parameters, arguments)                                                         \
    result __real_##name parameters;                                                                         \
    result __wrap_##name parameters;                                                                         \
    result __wrap_##name parameters                                                                          \
    {                                                                                                        \
        taken++;                                                                                             \
        return __real_##name arguments;                                                                      \
    }
COUNTED(void *, malloc, (size_t size), (size))
COUNTED(void *, calloc, (size_t count, size_t size), (count, size))
COUNTED(void *, realloc, (void *old, size_t size), (old, size))
COUNTED(void *, aligned_alloc, (size_t alignment, size_t size), (alignment, size))
COUNTED(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
        (at, size, protection, flags, fd, offset))

/* All zero: what is computed does not matter here. */
static es_matrix zeros(es_format format, size_t rows, size_t cols)
{
    static const float SCALES[HIDDEN];
    size_t row_bytes = es_format_row_bytes(format, cols);
    uint8_t *codes = calloc(rows, row_bytes);
    es_matrix file = {.format = format,
                      .rows = rows,
                      .cols = cols,
                      .data = codes,
                      .row_bytes = row_bytes,
                      .scales = SCALES,
                      .scale_stride = WIDTH / 128};
    es_matrix panels = test_panels(&file);
    free(codes);
    return panels;
}

/* Batches of one row and of many, each row for two experts. */
static void run_batches(es_expert_engine *engine, const es_ffn *ffns, es_row_format format)
{
    static const size_t COUNTS[] = {1, 4, ROWS};
    static uint32_t first[ROWS + 1], expert[ROWS * PAIRS];
    static float weight[ROWS * PAIRS];
    static int64_t sum[ROWS * HIDDEN];
    static float data[ROWS * HIDDEN];
    for (size_t p = 0; p < ROWS * PAIRS; p++) {
        expert[p] = (uint32_t)(p % EXPERTS);
        weight[p] = 1;
        first[p / PAIRS + 1] = (uint32_t)(p + 1);
    }
    for (size_t i = 0; i < sizeof COUNTS / sizeof COUNTS[0]; i++) {
        es_err err;
        es_rows rows = {format, COUNTS[i], HIDDEN, es_rows_row_bytes(format, HIDDEN), (uint8_t *)data, NULL};
        const es_expert_batch batch = {&rows, first, expert, weight};
        if (es_expert_engine_run(engine, ffns, EXPERTS, &batch, sum, &err) != ES_OK) fail_msg("%s", err.text);
    }
}

static void check(es_format weights, es_row_format rows)
{
    es_err err;
    const es_kernels *kernels;
    es_pool *pool;
    es_expert_engine *engine;
    es_ffn ffns[EXPERTS];
    for (size_t e = 0; e < EXPERTS; e++)
        ffns[e] = (es_ffn){zeros(weights, WIDTH, HIDDEN), zeros(weights, WIDTH, HIDDEN),
                           zeros(weights, HIDDEN, WIDTH)};
    assert_int_equal(es_kernels_select(NULL, &kernels, &err), ES_OK);
    assert_int_equal(es_pool_create(THREADS, &pool, &err), ES_OK);
    size_t before = taken;
    const es_expert_engine_options options = {kernels, pool, rows, HIDDEN, WIDTH, ROWS, PAIRS};
    assert_int_equal(es_expert_engine_create(&options, &engine, &err), ES_OK);
    assert_true(taken > before); /* what is counted is what the engine takes */
    before = taken;
    run_batches(engine, ffns, rows);
    size_t more = taken - before;
    if (more > 0) fail_msg("%s: %zu calls took memory", es_format_describe(weights)->name, more);
    es_expert_engine_destroy(&engine);
    es_pool_destroy(&pool);
    for (size_t e = 0; e < EXPERTS; e++) {
        free((void *)(uintptr_t)ffns[e].gate.data);
        free((void *)(uintptr_t)ffns[e].up.data);
        free((void *)(uintptr_t)ffns[e].down.data);
    }
}

static void batches_take_no_memory(void **state)
{
    (void)state;
    const char *core;
    es_err err;
    assert_int_equal(es_blas_start(&core, &err), ES_OK);
    for (int format = 0; format < ES_FORMAT_COUNT; format++) check((es_format)format, ES_ROWS_Q8);
    check(ES_FORMAT_FP8, ES_ROWS_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(batches_take_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
