/* Panels: their sizes, and filling them in parts. What the bytes mean is checked by tests/kernels against the
 * oracle. */
#include "essaim/panels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_panels_take_hardly_more_than_files(void **state)
{
    (void)state;
    for (int f = 0; f < ES_FORMAT_COUNT; f++) {
        es_format format = (es_format)f;
        size_t bytes, file = 2048 * es_format_row_bytes(format, 7168);
        assert_true(es_panels_bytes(format, 2048, 7168, &bytes));
        assert_true(bytes >= file && (double)bytes <= 1.03 * (double)file);
        for (size_t blocks = 1; blocks < 20; blocks++) {
            size_t cols = blocks * es_format_describe(format)->block_cols;
            assert_true(es_panels_bytes(format, 16, cols, &bytes));
            assert_true(bytes % ES_PANEL_ALIGNMENT == 0 && bytes >= 16 * es_format_row_bytes(format, cols));
            size_t three;
            assert_true(es_panels_bytes(format, 33, cols, &three));
            assert_int_equal(three, 3 * bytes);
        }
    }
}

static void test_sizes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    size_t bytes;
    for (int f = 0; f < ES_FORMAT_COUNT; f++) {
        assert_false(es_panels_bytes((es_format)f, 16, SIZE_MAX / 256 * 256, &bytes));
        assert_false(es_panels_bytes((es_format)f, SIZE_MAX, 1 << 20, &bytes));
    }
}

static void test_panels_may_be_filled_in_parts(void **state)
{
    (void)state;
    enum { ROWS = 75, PANELS = 5 };
    for (int f = 0; f < ES_FORMAT_COUNT; f++) {
        es_format format = (es_format)f;
        size_t cols = 3 * es_format_describe(format)->block_cols, row = es_format_row_bytes(format, cols),
               bytes;
        uint8_t *codes = malloc(ROWS * row);
        for (size_t i = 0; i < ROWS * row; i++) codes[i] = (uint8_t)(i * 7 + i / 256 + 1);
        es_matrix m = {.format = format, .rows = ROWS, .cols = cols, .data = codes, .row_bytes = row};
        assert_true(es_panels_bytes(format, ROWS, cols, &bytes));
        uint8_t *whole = aligned_alloc(64, bytes), *parts = aligned_alloc(64, bytes);
        memset(whole, 0xee, bytes);
        memset(parts, 0xdd, bytes);
        es_panels_fill(&m, 0, PANELS, whole);
        es_panels_fill(&m, 3, 2, parts + bytes / PANELS * 3);
        es_panels_fill(&m, 0, 3, parts);
        assert_memory_equal(whole, parts, bytes);
        free(codes);
        free(whole);
        free(parts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_panels_take_hardly_more_than_files),
        cmocka_unit_test(test_sizes_that_do_not_fit_are_refused),
        cmocka_unit_test(test_panels_may_be_filled_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
