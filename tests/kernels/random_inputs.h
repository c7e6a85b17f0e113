/* Random matrices and rows for tests that hold one kernel set against another: the same on every machine. */
#ifndef ES_TESTS_KERNELS_RANDOM_INPUTS_H
#define ES_TESTS_KERNELS_RANDOM_INPUTS_H

#include "essaim/kernels.h"

/* xorshift's state: what a failure prints, and what makes it again. */
extern uint64_t test_seed;
uint32_t test_next(void);

/* Finite values of exponents up to 2^limit below or above 1. */
float test_float(unsigned limit);
void test_floats(float *out, size_t n, unsigned limit);

enum {
    TEST_SCALE_STRIDE = 20,
    TEST_SCALES = 2 * TEST_SCALE_STRIDE
}; /* enough for 128 + 70 rows, 2432 columns */

/* Fills a grid of FP8 scales, some of them subnormal or huge. */
void test_scales(float ret_scales[TEST_SCALES]);

/* In panels (free data): codes of any size, ordinary ones, zeros, subnormal numbers and huge ones. */
es_matrix test_matrix(es_format format, size_t rows, size_t cols, const float *scales);

/* q8 rows, of which some are zero, subnormal or huge: test_rows_free. */
es_rows test_rows(size_t count, size_t cols);

#endif
