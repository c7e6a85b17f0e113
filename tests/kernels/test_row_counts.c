/* Every number of rows that come together gives each row the portable set's bits, and writes nothing else. */
#include "base/size.h"
#include "essaim/kernels.h"
#include "kernels/random_inputs.h"
#include "kernels/vectors.h"
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

enum { OUTPUTS_MAX = 37, SUM_ROWS_MAX = 72, MATRICES = 2, UNWRITTEN = 0xa5 };

/* Under an emulator: every remainder of the kernels' tiles, then one number of rows in each later tile, and
 * the last ones. */
static size_t following(size_t count)
{
#ifdef ES_TESTS_EMULATED
    return count < 80 || count >= ES_PRODUCT_ROWS_MAX - 3 ? count + 1
                                                          : es_size_min(count + 67, ES_PRODUCT_ROWS_MAX - 3);
#else
    return count + 1;
#endif
}

static es_matrix random_matrix(es_format format, const float *scales)
{
    size_t block = es_format_describe(format)->block_cols, cols = block * (1 + test_next() % (600 / block));
    return test_matrix(format, 1 + test_next() % OUTPUTS_MAX, cols, scales);
}

static void check_counts(const es_kernels *set, es_format format)
{
    uint64_t case_seed = test_seed;
    float scales[TEST_SCALES];
    test_scales(scales);
    es_matrix m = random_matrix(format, scales);
    es_rows x = test_rows(ES_PRODUCT_ROWS_MAX, m.cols);
    const es_q8_block *rows[ES_PRODUCT_ROWS_MAX];
    size_t blocks = es_rows_blocks(m.cols), row_bytes = m.rows * sizeof(float);
    for (size_t t = 0; t < ES_PRODUCT_ROWS_MAX; t++) rows[t] = x.blocks + t * blocks;
    uint8_t *want = malloc(ES_PRODUCT_ROWS_MAX * row_bytes),
            *got = malloc((ES_PRODUCT_ROWS_MAX + 1) * row_bytes);
    uint8_t untouched[OUTPUTS_MAX * sizeof(float)];
    memset(untouched, UNWRITTEN, sizeof untouched);
    es_product(es_kernels_ref(), &m, 0, m.rows, 0, m.cols, &x, NULL, (float *)(void *)want, m.rows);
    for (size_t count = 1; count <= ES_PRODUCT_ROWS_MAX; count = following(count)) {
        size_t first = test_next() % (ES_PRODUCT_ROWS_MAX + 1 - count);
        memset(got, UNWRITTEN, (count + 1) * row_bytes);
        set->product[format](&m, 0, m.rows, 0, m.cols, rows + first, count, (float *)(void *)got, m.rows);
        if (memcmp(got, want + first * row_bytes, count * row_bytes) != 0 ||
            memcmp(got + count * row_bytes, untouched, row_bytes) != 0)
            fail_msg("%s: %s, %zu x %zu, %zu rows from %zu: the product differs from ref, seed %llu",
                     set->name, es_format_describe(format)->name, m.rows, m.cols, count, first,
                     (unsigned long long)case_seed);
    }
    free(want);
    free(got);
    test_rows_free(&x);
    free((void *)(uintptr_t)m.data);
}

static void every_number_of_rows_has_the_same_products(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 6364136223846793005u;
    for (size_t s = 1; s < count; s++)
        for (int i = 0; i < MATRICES * ES_FORMAT_COUNT; i++)
            check_counts(sets[s], (es_format)(i % ES_FORMAT_COUNT));
}

/* Some of the rows cannot be counted on their quantum. */
static void check_sum_counts(const es_kernels *set, es_format format)
{
    uint64_t case_seed = test_seed;
    float scales[TEST_SCALES];
    test_scales(scales);
    es_matrix m = random_matrix(format, scales);
    es_rows x = test_rows(SUM_ROWS_MAX, m.cols);
    size_t n = es_size_min(m.rows, ES_UNIT_ROWS);
    es_addend want[SUM_ROWS_MAX], got[SUM_ROWS_MAX];
    int64_t begun[SUM_ROWS_MAX][ES_UNIT_ROWS], sum[2][SUM_ROWS_MAX][ES_UNIT_ROWS];
    for (size_t t = 0; t < SUM_ROWS_MAX; t++) {
        for (size_t i = 0; i < ES_UNIT_ROWS; i++) begun[t][i] = (int32_t)test_next();
        float weight = test_next() % 8 == 0 ? 0 : test_float(4);
        int quantum = test_next() % 3 == 0 ? (int)(test_next() % 100) - 80 : es_rows_quantum(&x, t);
        want[t] = (es_addend){x.blocks + t * es_rows_blocks(m.cols), weight, quantum, sum[0][t], false};
    }
    memcpy(sum[0], begun, sizeof begun);
    memcpy(got, want, sizeof got);
    es_kernels_ref()->product_sum(&m, 0, n, want, SUM_ROWS_MAX);
    for (size_t count = 1; count <= SUM_ROWS_MAX; count++) {
        memcpy(sum[1], begun, sizeof begun);
        for (size_t t = 0; t < SUM_ROWS_MAX; t++) {
            got[t].sum = sum[1][t];
            got[t].failed = false;
        }
        set->product_sum(&m, 0, n, got, count);
        for (size_t t = 0; t < SUM_ROWS_MAX; t++) {
            bool done = t < count, failed = done && want[t].failed;
            const int64_t *right = done ? sum[0][t] : begun[t];
            if (got[t].failed != failed || (!failed && memcmp(sum[1][t], right, sizeof begun[t]) != 0))
                fail_msg("%s: %s, %zu x %zu, row %zu of %zu: the sum differs from ref, seed %llu", set->name,
                         es_format_describe(format)->name, m.rows, m.cols, t, count,
                         (unsigned long long)case_seed);
        }
    }
    test_rows_free(&x);
    free((void *)(uintptr_t)m.data);
}

static void every_number_of_rows_has_the_same_sums(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 1442695040888963407u;
    for (size_t s = 1; s < count; s++)
        for (int format = 0; format < ES_FORMAT_COUNT; format++) check_sum_counts(sets[s], (es_format)format);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_rows_has_the_same_products),
        cmocka_unit_test(every_number_of_rows_has_the_same_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
