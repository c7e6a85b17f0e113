/* Sets against the portable one on random inputs far larger than the vectors, and how a set is chosen. */
#include "base/size.h"
#include "essaim/kernels.h"
#include "essaim/quant.h"
#include "kernels/random_inputs.h"
#include "kernels/vectors.h"
#include "with_cmocka.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const es_kernels *best_set(void)
{
    const es_kernels *kernels;
    assert_int_equal(es_kernels_select(NULL, &kernels, NULL), ES_OK);
    return kernels;
}

static void check_same(const void *a, const void *b, size_t bytes, const char *what, uint64_t case_seed)
{
    if (memcmp(a, b, bytes) != 0)
        fail_msg("%s differs from ref, seed %llu", what, (unsigned long long)case_seed);
}

/* A matrix of odd size, parts of it, and every number of rows that a tile may have. */
static void check_product(const es_kernels *set, es_format format, size_t count)
{
    uint64_t case_seed = test_seed;
    char what[80];
    size_t block = es_format_describe(format)->block_cols, step = format < ES_FORMAT_FLOAT_COUNT ? 32 : 256;
    size_t rows = 1 + test_next() % 70, cols = block * (1 + test_next() % (1100 / block));
    float scales[TEST_SCALES];
    test_scales(scales);
    es_matrix m = test_matrix(format, rows, cols, scales);
    es_rows x = test_rows(count, cols);
    float *a = calloc(count * rows, sizeof *a), *b = calloc(count * rows, sizeof *b);
    for (int i = 0; i < 3; i++) {
        size_t first = i == 0 ? 0 : test_next() % rows / 16 * 16,
               n = i == 0 ? rows : 1 + test_next() % (rows - first);
        size_t col = i == 0 ? 0 : test_next() % cols / step * step, end = col + (1 + test_next() % 8) * step;
        end = i == 0 || end > cols ? cols : end;
        es_product(es_kernels_ref(), &m, first, n, col, end - col, &x, NULL, a, rows);
        es_product(set, &m, first, n, col, end - col, &x, NULL, b, rows);
        snprintf(what, sizeof what, "%s: %s, %zu x %zu, %zu rows: the product", set->name,
                 es_format_describe(format)->name, rows, cols, count);
        check_same(a, b, count * rows * sizeof *a, what, case_seed);
    }
    free((void *)(uintptr_t)m.data);
    test_rows_free(&x);
    free(a);
    free(b);
}

static void products_agree(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 88172645463325252u;
    for (size_t s = 1; s < count; s++)
        for (int format = 0; format < ES_FORMAT_COUNT; format++)
            for (size_t rows = 1; rows <= 20; rows++)
                check_product(sets[s], (es_format)format,
                              rows <= 17   ? rows
                              : rows == 18 ? 33
                              : rows == 19 ? 64
                                           : 71);
}

/* A row's result is the same alone and among others. */
static void other_rows_do_not_matter(void **state)
{
    (void)state;
    enum { OUTPUTS = 40, COLS = 512, ROWS = 37 };
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 2463534242u;
    for (size_t s = 0; s < count; s++)
        for (int format = 0; format < ES_FORMAT_COUNT; format++) {
            float scales[TEST_SCALES], *all = calloc((size_t)ROWS * OUTPUTS, sizeof *all), one[OUTPUTS];
            test_scales(scales);
            es_matrix m = test_matrix((es_format)format, OUTPUTS, COLS, scales);
            es_rows x = test_rows(ROWS, COLS);
            es_product(sets[s], &m, 0, OUTPUTS, 0, COLS, &x, NULL, all, OUTPUTS);
            for (size_t t = 0; t < ROWS; t++) {
                es_rows single = x;
                single.count = 1;
                single.blocks += t * es_rows_blocks(COLS);
                es_product(sets[s], &m, 0, OUTPUTS, 0, COLS, &single, NULL, one, OUTPUTS);
                check_same(one, all + t * OUTPUTS, sizeof one, "a row alone", test_seed);
            }
            free((void *)(uintptr_t)m.data);
            test_rows_free(&x);
            free(all);
        }
}

/* Down products of count rows of which some cannot be counted on their quantum. */
static void check_product_sum(const es_kernels *set, es_format format, size_t count)
{
    enum { ROWS_MAX = 71 };
    uint64_t case_seed = test_seed;
    char what[80];
    size_t block = es_format_describe(format)->block_cols;
    size_t rows = 1 + test_next() % 70, cols = block * (1 + test_next() % (1100 / block));
    size_t first = test_next() % rows / 16 * 16,
           n = rows - first < ES_UNIT_ROWS ? rows - first : ES_UNIT_ROWS;
    float scales[TEST_SCALES];
    test_scales(scales);
    es_matrix m = test_matrix(format, rows, cols, scales);
    es_rows x = test_rows(count, cols);
    es_addend a[ROWS_MAX], b[ROWS_MAX];
    int64_t sum_a[ROWS_MAX][ES_UNIT_ROWS], sum_b[ROWS_MAX][ES_UNIT_ROWS];
    for (size_t t = 0; t < count; t++) {
        for (size_t i = 0; i < ES_UNIT_ROWS; i++) sum_a[t][i] = sum_b[t][i] = (int32_t)test_next();
        float weight = test_next() % 8 == 0 ? 0 : test_float(4);
        int quantum = test_next() % 3 == 0 ? (int)(test_next() % 100) - 80 : es_rows_quantum(&x, t);
        a[t] = (es_addend){x.blocks + t * es_rows_blocks(cols), weight, quantum, sum_a[t], false};
        b[t] = a[t];
        b[t].sum = sum_b[t];
    }
    es_kernels_ref()->product_sum(&m, first, n, a, count);
    set->product_sum(&m, first, n, b, count);
    snprintf(what, sizeof what, "%s: %s, %zu x %zu, %zu rows: the sum", set->name,
             es_format_describe(format)->name, rows, cols, count);
    for (size_t t = 0; t < count; t++) {
        check_same(&a[t].failed, &b[t].failed, sizeof a[t].failed, what, case_seed);
        if (!a[t].failed) check_same(sum_a[t], sum_b[t], sizeof sum_a[t], what, case_seed);
    }
    free((void *)(uintptr_t)m.data);
    test_rows_free(&x);
}

static void sums_of_products_agree(void **state)
{
    (void)state;
    static const size_t COUNTS[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 33, 64, 71};
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 1181783497276652981u;
    for (size_t s = 1; s < count; s++)
        for (int format = 0; format < ES_FORMAT_COUNT; format++)
            for (size_t i = 0; i < sizeof COUNTS / sizeof COUNTS[0]; i++)
                check_product_sum(sets[s], (es_format)format, COUNTS[i]);
}

/* 2^45 itself counts; the next float does not. */
static void an_addend_at_the_limit_counts(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    uint8_t codes[34] = {0};
    uint16_t one = 0x3c00;
    memcpy(codes, &one, sizeof one);
    codes[2] = 1;
    es_matrix file = {
        .format = ES_FORMAT_Q8_0, .rows = 1, .cols = 32, .data = codes, .row_bytes = sizeof codes};
    es_matrix m = test_panels(&file);
    es_q8_block block = {.q = {1}, .d = 1};
    es_q8_block_sum(&block);
    for (size_t s = 0; s < count; s++)
        for (int above = 0; above < 2; above++) {
            int64_t sum = 5;
            float weight = above == 0 ? 0x1p45f : nextafterf(0x1p45f, INFINITY);
            es_addend row = {&block, weight, 0, &sum, false};
            sets[s]->product_sum(&m, 0, 1, &row, 1);
            assert_int_equal(row.failed, above);
            if (above == 0) assert_true(sum == 5 + (INT64_C(1) << 45));
        }
    free((void *)(uintptr_t)m.data);
}

/* What every vector kernel makes of x and y [n], in places that are all written. */
enum { VECTOR_N = 1037, VECTOR_FLOATS = 5 };

typedef struct vector_results {
    float sum, floats[VECTOR_FLOATS][VECTOR_N], d[40];
    int8_t q[VECTOR_N];
    int64_t fixed[VECTOR_N];
    uint16_t codes[VECTOR_N];
    float back[VECTOR_N], converted[VECTOR_N];
    bool finite, fits, added;
} vector_results;

static void compute_vectors(const es_kernels *k, const float *x, const float *y, size_t n, vector_results *r)
{
    memset(r, 0, sizeof *r);
    r->finite = k->quantise(x, n, r->q, r->d);
    r->sum = k->sum(x, n);
    k->rmsnorm(y, x, 1e-6f, n, r->floats[0]);
    k->exp(x, n, r->floats[1]);
    k->sigmoid(x, n, r->floats[2]);
    k->swiglu(y, x, n, r->floats[3]);
    memcpy(r->floats[4], y, n * sizeof *y);
    k->rotate(r->floats[4], x, x + VECTOR_N / 2, n / 2);
    r->fits = k->to_f16(y, n, r->codes);
    k->widen_f16(r->codes, n, r->back);
    r->added = k->accumulate(y, n, y[0], -20, r->fixed);
    k->fixed_to_float(r->fixed, n, -20, r->converted);
}

static void vectors_agree(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    static vector_results want, got;
    test_seed = 362436069;
    for (int round = 0; round < 200; round++) {
        uint64_t s = test_seed;
        size_t n = 1 + test_next() % VECTOR_N;
        float x[VECTOR_N], y[VECTOR_N];
        test_floats(x, VECTOR_N, 1 + test_next() % 120);
        test_floats(y, VECTOR_N, 8);
        /* Blocks whose d is 0, and a value that is not finite at the end or within. */
        for (size_t i = 0; i < n && round % 7 == 0; i++) x[i] *= i % 64 < 32 ? 0x1p-140f : 1;
        if (round % 10 == 0) x[test_next() % n] = round % 20 == 0 ? NAN : -INFINITY;
        compute_vectors(sets[0], x, y, n, &want);
        assert_int_equal(want.finite, round % 10 != 0);
        for (size_t k = 1; k < count; k++) {
            compute_vectors(sets[k], x, y, n, &got);
            assert_int_equal(want.finite, got.finite);
            assert_int_equal(want.fits, got.fits);
            assert_int_equal(want.added, got.added);
            if (round % 10 == 0) continue; /* which NaN comes out of it is not defined */
            check_same(&want.sum, &got.sum, sizeof want.sum, "sum", s);
            check_same(want.floats, got.floats, sizeof want.floats, "rmsnorm to rotate", s);
            check_same(want.q, got.q, sizeof want.q, "q", s);
            check_same(want.d, got.d, sizeof want.d, "d", s);
            check_same(want.codes, got.codes, sizeof want.codes, "to_f16", s);
            check_same(want.back, got.back, sizeof want.back, "widen_f16", s);
            check_same(want.fixed, got.fixed, sizeof want.fixed, "accumulate", s);
            check_same(want.converted, got.converted, sizeof want.converted, "fixed_to_float", s);
        }
    }
}

/* Any number of vectors on either side, and products that round to -0: lanes that a tail leaves alone keep
 * it. */
static void dot_products_agree(void **state)
{
    (void)state;
    enum { N = 83, A = 9, B = 11, STRIDE = 13 };
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 2463534242;
    for (int round = 0; round < 300; round++) {
        uint64_t s = test_seed;
        size_t n = 1 + test_next() % N, a_count = 1 + test_next() % A, b_count = 1 + test_next() % B;
        float a[A * N], b[B * N], want[A * STRIDE] = {0}, got[A * STRIDE];
        test_floats(a, A * N, 1 + test_next() % 60);
        test_floats(b, B * N, 1 + test_next() % 60);
        for (size_t i = 0; i < A * N && round % 5 == 0; i++) a[i] = -fabsf(a[i]) * 0x1p-90f;
        for (size_t i = 0; i < B * N && round % 5 == 0; i++) b[i] = fabsf(b[i]) * 0x1p-90f;
        sets[0]->dots(a, N, a_count, b, N, b_count, n, want, STRIDE);
        for (size_t k = 1; k < count; k++) {
            memset(got, 0, sizeof got);
            sets[k]->dots(a, N, a_count, b, N, b_count, n, got, STRIDE);
            check_same(want, got, sizeof want, "dots", s);
        }
    }
}

/* Odd widths, and any number of queries: a query's bits are those it has alone. */
static void attention_agrees(void **state)
{
    (void)state;
    enum { WIDTH = 177, LATENT = 150, QUERIES = 11 };
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t sets_count = vector_sets(sets);
    test_seed = 521288629;
    for (int round = 0; round < 60; round++) {
        uint64_t s = test_seed;
        size_t width = 1 + test_next() % WIDTH, latent = 1 + test_next() % es_size_min(width, LATENT);
        size_t queries = 1 + test_next() % QUERIES;
        float q[QUERIES * WIDTH], out[2][QUERIES * LATENT] = {{0}};
        static float entries[ES_KV_TILE * WIDTH];
        es_attend_state states[2][QUERIES];
        for (size_t k = 1; k < sets_count; k++) {
            memset(out, 0, sizeof out);
            for (size_t i = 0; i < QUERIES; i++)
                states[0][i] = states[1][i] = (es_attend_state){-INFINITY, 0};
            test_floats(q, QUERIES * WIDTH, 3);
            for (int tile = 0; tile < 3; tile++) {
                size_t count = 1 + test_next() % ES_KV_TILE;
                test_floats(entries, ES_KV_TILE * WIDTH, 3);
                for (size_t i = 0; i < queries; i++)
                    sets[0]->attend_tile(q + i * width, 1, entries, count, width, latent, 0.125f,
                                         &states[0][i], out[0] + i * latent);
                sets[k]->attend_tile(q, queries, entries, count, width, latent, 0.125f, states[1], out[1]);
                check_same(states[0], states[1], sizeof states[0], "attention's state", s);
                check_same(out[0], out[1], sizeof out[0], "attention's values", s);
            }
        }
    }
}

/* Blocks made from floats are the same whichever set makes them: shards do not depend on the machine. */
static void encoders_agree(void **state)
{
    (void)state;
    enum { COLS = 256 * 5 };
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    test_seed = 1442695040888963407u;
    for (int round = 0; round < 400; round++) {
        uint64_t s = test_seed;
        float row[COLS];
        uint8_t a[4 * COLS], b[4 * COLS];
        test_floats(row, COLS, 1 + test_next() % (round % 4 == 0 ? 120 : 6));
        for (size_t i = 0; i < COLS && round % 5 == 0; i++) row[i] = test_next() % 7 == 0 ? row[i] : 0;
        for (size_t i = 0; i < COLS && round % 7 == 0; i++)
            row[i] = fabsf(row[i]) * (round % 2 == 0 ? 1 : -1);
        for (size_t i = 0; i < COLS && round % 11 == 0; i++) row[i] *= 0x1p-130f;
        for (int f = ES_FORMAT_FLOAT_COUNT; f < ES_FORMAT_COUNT; f++) {
            es_format format = (es_format)f;
            if (!es_quant_encodes(format)) continue;
            const es_format_info *info = es_format_describe(format);
            size_t cols = info->block_cols * (1 + test_next() % (COLS / info->block_cols));
            bool fits = sets[0]->encode(format, row, cols, a);
            for (size_t k = 1; k < count; k++) {
                assert_int_equal(sets[k]->encode(format, row, cols, b), fits);
                if (fits) check_same(a, b, es_format_row_bytes(format, cols), info->name, s);
            }
        }
    }
}

static void sets_are_chosen_by_name(void **state)
{
    (void)state;
    const es_kernels *kernels;
    es_err err;
    assert_int_equal(es_kernels_select("ref", &kernels, &err), ES_OK);
    assert_ptr_equal(kernels, es_kernels_ref());
    assert_string_equal(kernels->name, "ref");
    assert_int_equal(es_kernels_select("auto", &kernels, &err), ES_OK);
    assert_ptr_equal(kernels, best_set());
    assert_int_equal(es_kernels_select("quantum", &kernels, &err), ES_UNSUPPORTED);
    assert_non_null(strstr(err.text, "\"quantum\""));
    assert_non_null(strstr(err.text, "auto, ref"));
}

/* Where an emulator runs these tests, its processor has a set beside the portable one: that it is tested at
 * all is part of the test. */
static void the_set_that_this_build_is_for_is_there(void **state)
{
    (void)state;
#ifdef ES_TESTS_WANT_SET
    assert_string_equal(best_set()->name, ES_TESTS_WANT_SET);
#else
    assert_non_null(best_set());
#endif
}

static void a_norm_beyond_binary32_gives_no_number(void **state)
{
    (void)state;
    const float x[4] = {1.0f, 3e19f, -3e19f, 2.0f}, weight[4] = {1, 1, 1, 1};
    float out[4];
    best_set()->rmsnorm(x, weight, 1e-6f, 4, out);
    for (size_t i = 0; i < 4; i++) assert_true(isnan(out[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_set_that_this_build_is_for_is_there),
        cmocka_unit_test(a_norm_beyond_binary32_gives_no_number),
        cmocka_unit_test(products_agree),
        cmocka_unit_test(other_rows_do_not_matter),
        cmocka_unit_test(sums_of_products_agree),
        cmocka_unit_test(an_addend_at_the_limit_counts),
        cmocka_unit_test(vectors_agree),
        cmocka_unit_test(dot_products_agree),
        cmocka_unit_test(attention_agrees),
        cmocka_unit_test(encoders_agree),
        cmocka_unit_test(sets_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
