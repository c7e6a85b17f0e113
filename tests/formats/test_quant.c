/* Integer formats: blocks decode to what an independent decoder says, and encoded rows stay near what they
 * were. */
#include "essaim/kernels.h"
#include "essaim/quant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "with_cmocka.h"

enum { LINE_BYTES_MAX = 8192, COLS = 4096 };

static es_format format_called(const char *name)
{
    for (int f = 0; f < ES_FORMAT_COUNT; f++)
        if (strcmp(es_format_describe((es_format)f)->name, name) == 0) return (es_format)f;
    fail_msg("no format %s", name);
    return ES_FORMAT_COUNT;
}

static void test_blocks_decode_as_their_definition_says(void **state)
{
    (void)state;
    FILE *file = fopen(ESSAIM_SOURCE_DIR "/tests/formats/vectors/quant.txt", "r");
    assert_non_null(file);
    static char line[LINE_BYTES_MAX], name[16], hex[1024], values[4096];
    size_t seen[ES_FORMAT_COUNT] = {0};
    while (fgets(line, sizeof line, file) != NULL) {
        assert_int_equal(sscanf(line, "%15s %1023s %4095s", name, hex, values), 3);
        es_format format = format_called(name);
        const es_format_info *info = es_format_describe(format);
        uint8_t block[256];
        assert_int_equal(strlen(hex), 2 * info->block_bytes);
        assert_int_equal(strlen(values), 8 * info->block_cols);
        for (size_t i = 0; i < info->block_bytes; i++)
            assert_int_equal(sscanf(hex + 2 * i, "%2hhx", &block[i]), 1);
        float decoded[ES_QUANT_COLS_MAX], part[7];
        es_quant_decode(format, block, 0, info->block_cols, decoded);
        for (size_t i = 0; i < info->block_cols; i++) {
            uint32_t bits, is;
            assert_int_equal(sscanf(values + 8 * i, "%8x", &bits), 1);
            memcpy(&is, &decoded[i], sizeof is);
            /* The sign of a zero is nobody's business. */
            if (is != bits && (is | bits) << 1 != 0)
                fail_msg("%s: column %zu is %08x, not %08x", name, i, is, bits);
        }
        es_quant_decode(format, block, 13, 7, part);
        assert_memory_equal(part, decoded + 13, sizeof part);
        seen[format]++;
    }
    fclose(file);
    for (int f = ES_FORMAT_FLOAT_COUNT; f < ES_FORMAT_COUNT; f++) assert_true(seen[f] >= 4);
}

/* The sum that exact arithmetic keeps in an integer stays below 2^24 for any bytes. */
static void test_sums_of_codes_stay_exact(void **state)
{
    (void)state;
    srand(5);
    for (int f = ES_FORMAT_FLOAT_COUNT; f < ES_FORMAT_COUNT; f++)
        for (int round = 0; round < 200; round++) {
            uint8_t bytes[256];
            for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = round == 0 ? 0x80 : (uint8_t)(rand() >> 7);
            es_quant_block block;
            es_quant_split((es_format)f, bytes, &block);
            for (size_t first = 0; first < block.cols; first += 32) {
                long most = 0;
                for (size_t i = first; i < first + 32; i++)
                    most += labs((long)block.scale[i / block.sub_cols] * block.code[i]) * 127;
                assert_true(most <= 16646144);
            }
        }
}

static float gauss(void)
{
    double u = (rand() + 0.5) / (RAND_MAX + 1.0), v = (rand() + 0.5) / (RAND_MAX + 1.0);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

/* The root of the mean square of what encoding loses, relative to the row's own. */
static double loss(es_format format, const float *row, size_t cols)
{
    uint8_t *bytes = malloc(es_format_row_bytes(format, cols));
    float *back = malloc(cols * sizeof *back);
    assert_true(bytes != NULL && back != NULL);
    assert_true(es_kernels_ref()->encode(format, row, cols, bytes));
    assert_int_equal(es_quant_check(format, bytes, cols / es_format_describe(format)->block_cols),
                     cols / es_format_describe(format)->block_cols);
    es_quant_decode(format, bytes, 0, cols, back);
    double lost = 0, all = 0;
    for (size_t i = 0; i < cols; i++) {
        lost += pow((double)back[i] - (double)row[i], 2);
        all += pow((double)row[i], 2);
    }
    free(bytes);
    free(back);
    return all > 0 ? sqrt(lost / all) : sqrt(lost);
}

static void test_encoded_rows_stay_near(void **state)
{
    (void)state;
    /* What the reference quantiser of these formats loses on the same kind of row. */
    static const struct {
        es_format format;
        double limit;
    } LIMITS[] = {{ES_FORMAT_Q8_0, 0.0056},
                  {ES_FORMAT_Q5_0, 0.0427},
                  {ES_FORMAT_Q4_K, 0.0713},
                  {ES_FORMAT_Q6_K, 0.0178}};
    srand(9);
    static float row[64 * COLS];
    for (size_t i = 0; i < 64 * COLS; i++) row[i] = 0.02f * gauss();
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++) {
        assert_true(es_quant_encodes(LIMITS[i].format));
        double is = loss(LIMITS[i].format, row, 64 * COLS);
        if (is > LIMITS[i].limit) fail_msg("%s loses %f", es_format_describe(LIMITS[i].format)->name, is);
    }
}

static void test_odd_rows_are_encoded_too(void **state)
{
    (void)state;
    static float row[512];
    for (int f = 0; f < ES_FORMAT_COUNT; f++) {
        es_format format = (es_format)f;
        if (!es_quant_encodes(format)) continue;
        memset(row, 0, sizeof row);
        assert_true(loss(format, row, 512) == 0);
        for (size_t i = 0; i < 512; i++) row[i] = -3.0f;
        assert_true(loss(format, row, 512) < 0.01);
        for (size_t i = 0; i < 512; i++) row[i] = i % 32 == 5 ? 100.0f : 1e-30f;
        assert_true(loss(format, row, 512) < 0.01);
        for (size_t i = 0; i < 512; i++) row[i] = 1e-42f * (float)i;
        assert_true(loss(format, row, 512) <= 1.0);
        for (size_t i = 0; i < 512; i++) row[i] = 1e5f * (float)(i % 7);
        assert_true(loss(format, row, 512) < 0.15);
        uint8_t bytes[1024];
        static const float BAD[] = {NAN, INFINITY, -INFINITY, 1e30f};
        for (size_t i = 0; i < 4; i++) {
            row[300] = BAD[i];
            assert_false(es_kernels_ref()->encode(format, row, 512, bytes));
        }
    }
}

static void test_scales_that_are_no_numbers_are_found(void **state)
{
    (void)state;
    for (int f = ES_FORMAT_FLOAT_COUNT; f < ES_FORMAT_COUNT; f++) {
        size_t bytes = es_format_describe((es_format)f)->block_bytes;
        static uint8_t blocks[8 * 256];
        memset(blocks, 0, sizeof blocks);
        assert_int_equal(es_quant_check((es_format)f, blocks, 8), 8);
        size_t d_at = f == ES_FORMAT_Q6_K ? 208 : 0;
        blocks[5 * bytes + d_at + 1] = 0x7c;
        assert_int_equal(es_quant_check((es_format)f, blocks, 8), 5);
        if (f != ES_FORMAT_Q5_1 && f != ES_FORMAT_Q4_K && f != ES_FORMAT_Q5_K) continue;
        blocks[3 * bytes + 3] = 0xfe;
        assert_int_equal(es_quant_check((es_format)f, blocks, 8), 3);
    }
}

static void test_short_rows_fall_back(void **state)
{
    (void)state;
    assert_int_equal(es_quant_fallback(ES_FORMAT_Q4_K, 7168), ES_FORMAT_Q4_K);
    assert_int_equal(es_quant_fallback(ES_FORMAT_Q4_K, 128), ES_FORMAT_Q5_0);
    assert_int_equal(es_quant_fallback(ES_FORMAT_Q5_K, 128), ES_FORMAT_Q5_1);
    assert_int_equal(es_quant_fallback(ES_FORMAT_Q6_K, 160), ES_FORMAT_Q8_0);
    assert_int_equal(es_quant_fallback(ES_FORMAT_Q6_K, 100), ES_FORMAT_F16);
    assert_int_equal(es_quant_fallback(ES_FORMAT_Q8_0, 33), ES_FORMAT_F16);
    assert_int_equal(es_quant_fallback(ES_FORMAT_BF16, 33), ES_FORMAT_BF16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_decode_as_their_definition_says),
        cmocka_unit_test(test_sums_of_codes_stay_exact),
        cmocka_unit_test(test_encoded_rows_stay_near),
        cmocka_unit_test(test_odd_rows_are_encoded_too),
        cmocka_unit_test(test_scales_that_are_no_numbers_are_found),
        cmocka_unit_test(test_short_rows_fall_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
