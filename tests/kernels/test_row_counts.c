/* Every number of rows that come together gives each row the portable set's bits, and writes nothing else. */
#include "base/size.h"
#include "essaim/kernels.h"
#include "kernels/random_inputs.h"
#include "kernels/vectors.h"
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

enum { OUTPUTS_MAX = 37, SUM_ROWS_MAX = 72, UNWRITTEN = 0xa5 };
#ifdef ES_TESTS_SLOW
enum { MATRICES = 1 };
#else
enum { MATRICES = 2 }; /* of each format */
#endif

/* Under an emulator or sanitizers: every remainder of the kernels' tiles, then one number of rows in each
 * later tile, and the last ones. */
static size_t following(size_t count)
{
#ifdef ES_TESTS_SLOW
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

static void check_counts(const es_kernels *set, const es_matrix *m, const es_q8_block *const *rows,
                         const uint8_t *want, uint8_t *got, uint64_t case_seed)
{
    size_t row_bytes = m->rows * sizeof(float);
    uint8_t untouched[OUTPUTS_MAX * sizeof(float)];
    memset(untouched, UNWRITTEN, sizeof untouched);
    for (size_t count = 1; count <= ES_PRODUCT_ROWS_MAX; count = following(count)) {
        size_t first = test_next() % (ES_PRODUCT_ROWS_MAX + 1 - count);
        memset(got, UNWRITTEN, (count + 1) * row_bytes);
        set->product[m->format](m, 0, m->rows, 0, m->cols, rows + first, count, (float *)(void *)got,
                                m->rows);
        if (memcmp(got, want + first * row_bytes, count * row_bytes) != 0 ||
            memcmp(got + count * row_bytes, untouched, row_bytes) != 0)
            fail_msg("%s: %s, %zu x %zu, %zu rows from %zu: the product differs from ref, seed %llu",
                     set->name, es_format_describe(m->format)->name, m->rows, m->cols, count, first,
                     (unsigned long long)case_seed);
    }
}

static void every_number_of_rows_has_the_same_products(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t set_count = vector_sets(sets);
    test_seed = 6364136223846793005u;
    for (int i = 0; i < MATRICES * ES_FORMAT_COUNT; i++) {
        uint64_t case_seed = test_seed;
        float scales[TEST_SCALES];
        test_scales(scales);
        es_matrix m = random_matrix((es_format)(i % ES_FORMAT_COUNT), scales);
        es_rows x = test_rows(ES_PRODUCT_ROWS_MAX, m.cols);
        const es_q8_block *rows[ES_PRODUCT_ROWS_MAX];
        size_t blocks = es_rows_blocks(m.cols), row_bytes = m.rows * sizeof(float);
        for (size_t t = 0; t < ES_PRODUCT_ROWS_MAX; t++) rows[t] = x.blocks + t * blocks;
        uint8_t *want = malloc(ES_PRODUCT_ROWS_MAX * row_bytes),
                *got = malloc((ES_PRODUCT_ROWS_MAX + 1) * row_bytes);
        es_product(sets[0], &m, 0, m.rows, 0, m.cols, &x, NULL, (float *)(void *)want, m.rows);
        for (size_t s = 1; s < set_count; s++) check_counts(sets[s], &m, rows, want, got, case_seed);
        free(want);
        free(got);
        test_rows_free(&x);
        free((void *)(uintptr_t)m.data);
    }
}

/* Sums of SUM_ROWS_MAX rows: as they begin, as the portable set leaves them, and another's. */
typedef struct sums {
    es_addend rows[SUM_ROWS_MAX];
    int64_t sum[SUM_ROWS_MAX][ES_UNIT_ROWS];
} sums;

static void begin_sums(sums *to, const sums *from)
{
    *to = *from;
    for (size_t t = 0; t < SUM_ROWS_MAX; t++) to->rows[t].sum = to->sum[t];
}

static void check_sum_counts(const es_kernels *set, const es_matrix *m, const sums *begun, const sums *want,
                             uint64_t case_seed)
{
    sums got;
    for (size_t count = 1; count <= SUM_ROWS_MAX; count++) {
        begin_sums(&got, begun);
        set->product_sum(m, 0, es_size_min(m->rows, ES_UNIT_ROWS), got.rows, count);
        for (size_t t = 0; t < SUM_ROWS_MAX; t++) {
            const sums *right = t < count ? want : begun;
            bool failed = right->rows[t].failed;
            if (got.rows[t].failed != failed ||
                (!failed && memcmp(got.sum[t], right->sum[t], sizeof right->sum[t]) != 0))
                fail_msg("%s: %s, %zu x %zu, row %zu of %zu: the sum differs from ref, seed %llu", set->name,
                         es_format_describe(m->format)->name, m->rows, m->cols, t, count,
                         (unsigned long long)case_seed);
        }
    }
}

/* Some of the rows cannot be counted on their quantum. */
static void every_number_of_rows_has_the_same_sums(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t set_count = vector_sets(sets);
    sums begun, want;
    test_seed = 1442695040888963407u;
    for (int i = 0; i < MATRICES * ES_FORMAT_COUNT; i++) {
        uint64_t case_seed = test_seed;
        float scales[TEST_SCALES];
        test_scales(scales);
        es_matrix m = random_matrix((es_format)(i % ES_FORMAT_COUNT), scales);
        es_rows x = test_rows(SUM_ROWS_MAX, m.cols);
        for (size_t t = 0; t < SUM_ROWS_MAX; t++) {
            for (size_t k = 0; k < ES_UNIT_ROWS; k++) begun.sum[t][k] = (int32_t)test_next();
            float weight = test_next() % 8 == 0 ? 0 : test_float(4);
            int quantum = test_next() % 3 == 0 ? (int)(test_next() % 100) - 80 : es_rows_quantum(&x, t);
            begun.rows[t] = (es_addend){x.blocks + t * es_rows_blocks(m.cols), weight, quantum, NULL, false};
        }
        begin_sums(&want, &begun);
        sets[0]->product_sum(&m, 0, es_size_min(m.rows, ES_UNIT_ROWS), want.rows, SUM_ROWS_MAX);
        for (size_t s = 1; s < set_count; s++) check_sum_counts(sets[s], &m, &begun, &want, case_seed);
        test_rows_free(&x);
        free((void *)(uintptr_t)m.data);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_rows_has_the_same_products),
        cmocka_unit_test(every_number_of_rows_has_the_same_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
