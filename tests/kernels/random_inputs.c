/* Random matrices and rows, with the values at which kernels differ when they are wrong. */
#include "kernels/random_inputs.h"

#include "kernels/vectors.h"
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

uint64_t test_seed;

/* xorshift: the same numbers on every machine. */
uint32_t test_next(void)
{
    test_seed ^= test_seed << 13;
    test_seed ^= test_seed >> 7;
    test_seed ^= test_seed << 17;
    return (uint32_t)(test_seed >> 16);
}

float test_float(unsigned limit)
{
    uint32_t bits = (test_next() & 0x807fffffu) | ((127u - limit + test_next() % (2 * limit)) << 23);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void test_floats(float *out, size_t n, unsigned limit)
{
    for (size_t i = 0; i < n; i++) out[i] = test_float(limit);
}

void test_scales(float ret_scales[TEST_SCALES])
{
    test_floats(ret_scales, TEST_SCALES, 12);
    for (size_t i = 0; i < TEST_SCALES; i++)
        if (test_next() % 8 == 0) ret_scales[i] *= test_next() % 2 == 0 ? 0x1p-135f : 0x1p100f;
}

/* What a matrix's numbers are: half of them are of a usual size. */
typedef enum kind { USUAL, USUAL_TOO, ANY, TINY, KINDS } kind;

/* A finite f16 code; TINY: subnormal, or zero. */
static uint16_t next_f16(kind size)
{
    uint16_t code = (uint16_t)test_next();
    if (size == TINY) return test_next() % 4 == 0 ? code & 0x8000 : code & 0x83ff;
    if (size != ANY) return (uint16_t)((code & 0x83ff) | (8 + test_next() % 6) << 10);
    return (code & 0x7c00) == 0x7c00 ? (uint16_t)(code & 0xbfff) : code;
}

static float next_wide(kind size)
{
    float value = test_float(size == ANY ? 120 : 20);
    if (size == TINY) value = test_next() % 4 == 0 ? 0 : value * 0x1p-130f;
    return value;
}

static void fill_float_codes(es_format format, uint8_t *codes, size_t count)
{
    kind size = test_next() % KINDS;
    for (size_t i = 0; i < count; i++) {
        uint32_t word = test_next();
        uint16_t f16 = next_f16(size == USUAL ? ANY : size);
        float wide = next_wide(size);
        switch (format) {
        case ES_FORMAT_F32:
            memcpy(codes + 4 * i, &wide, 4);
            break;
        case ES_FORMAT_F16:
            memcpy(codes + 2 * i, &f16, 2);
            break;
        case ES_FORMAT_BF16:
            memcpy(codes + 2 * i, (const uint8_t *)&wide + 2, 2);
            break;
        default:
            codes[i] = (uint8_t)((word & 0x7fu) == 0x7fu ? 1 : word);
        }
    }
}

/* Any byte is a code or an integer scale; D and M must be finite. */
static void fill_blocks(es_format format, uint8_t *blocks, size_t bytes)
{
    size_t block = es_format_describe(format)->block_bytes;
    kind size = test_next() % KINDS;
    for (size_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)test_next();
    bool two = format == ES_FORMAT_Q5_1 || format == ES_FORMAT_Q4_K || format == ES_FORMAT_Q5_K;
    for (size_t at = 0; at < bytes; at += block)
        for (size_t k = 0; k < (two ? 2 : 1); k++) {
            uint16_t code = next_f16(size);
            memcpy(blocks + at + (format == ES_FORMAT_Q6_K ? 208 : 2 * k), &code, 2);
        }
    /* Codes and scales at their ends. */
    if (test_next() % 4 == 0 && format != ES_FORMAT_Q6_K)
        for (size_t at = 0; at < bytes; at += block)
            memset(blocks + at + 4, test_next() % 2 == 0 ? 0xff : 0, block - 4);
    if (test_next() % 4 == 0 && format == ES_FORMAT_Q6_K)
        for (size_t at = 0; at < bytes; at += block)
            memset(blocks + at, test_next() % 2 == 0 ? 0xff : 0x80, 208);
}

es_matrix test_matrix(es_format format, size_t rows, size_t cols, const float *scales)
{
    size_t bytes = rows * es_format_row_bytes(format, cols);
    uint8_t *codes = malloc(bytes);
    es_matrix m = {.format = format, .rows = rows, .cols = cols, .data = codes, .row_bytes = bytes / rows};
    if (format < ES_FORMAT_FLOAT_COUNT)
        fill_float_codes(format, codes, rows * cols);
    else
        fill_blocks(format, codes, bytes);
    if (format == ES_FORMAT_FP8) {
        m.scales = scales;
        m.scale_stride = TEST_SCALE_STRIDE;
        m.row_phase = test_next() % 128;
        m.col_phase = test_next() % 3 == 0 ? test_next() % 128 : test_next() % 4 * 32;
    }
    es_matrix panels = test_panels(&m);
    free(codes);
    return panels;
}

es_rows test_rows(size_t count, size_t cols)
{
    es_rows x = {ES_ROWS_Q8, count, cols, es_rows_row_bytes(ES_ROWS_Q8, cols), NULL, NULL};
    x.data = calloc(count, x.row_bytes);
    float *row = malloc(cols * sizeof *row);
    for (size_t t = 0; t < count; t++) {
        test_floats(row, cols, 6);
        static const float FACTORS[] = {0, 0x1p-98f, 0x1p-128f, 0x1p110f};
        float factor = test_next() % 3 == 0 ? FACTORS[test_next() % 4] : 1;
        for (size_t i = 0; i < cols; i++) row[i] *= factor;
        for (size_t i = 0; i < cols && test_next() % 4 == 0; i++) row[i] = row[i] < 0 ? -1 : 1;
        uint8_t *at = x.data + t * x.row_bytes;
        assert_true(
            es_kernels_ref()->quantise(row, cols, (int8_t *)at, (float *)(void *)(at + (cols + 3) / 4 * 4)));
    }
    free(row);
    test_blocks(&x);
    return x;
}
