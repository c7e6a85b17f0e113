/* Every operation of every set against the oracle's vectors, bit for bit. */
#include "essaim/panels.h"
#include "kernels/vectors.h"
#include "with_cmocka.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef void case_fn(const es_kernels *kernels, const vector_case *c);

/* Runs check on each case of a file with each set. */
static void each_case(const char *file_name, case_fn *check)
{
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    assert_true(count > 0);
    vector_file file;
    vector_file_open(file_name, &file);
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < file.case_count; i++) check(sets[s], &file.cases[i]);
    vector_file_close(&file);
}

static float *floats_of(const vector_case *c, const char *name)
{
    return vector_floats(vector_need(c, name));
}

static void check_quantise(const es_kernels *kernels, const vector_case *c)
{
    size_t n = vector_need(c, "x")->count;
    float *x = floats_of(c, "x");
    es_rows q8 = {ES_ROWS_Q8, 1, n, es_rows_row_bytes(ES_ROWS_Q8, n), NULL, NULL};
    es_rows f32 = {ES_ROWS_F32, 1, n, es_rows_row_bytes(ES_ROWS_F32, n), (uint8_t *)x, NULL};
    q8.data = calloc(1, q8.row_bytes);
    float *d = calloc((n + 31) / 32, sizeof *d);
    int64_t *q = calloc(n, sizeof *q);
    assert_true(kernels->quantise(x, n, (int8_t *)q8.data, d));
    for (size_t i = 0; i < n; i++) q[i] = es_rows_q(&q8, 0)[i];
    vector_check_ints(c, vector_need(c, "q"), q);
    vector_check_floats(c, vector_need(c, "d"), d);
    memcpy((void *)(uintptr_t)es_rows_d(&q8, 0), d, (n + 31) / 32 * sizeof *d);
    assert_int_equal(es_rows_quantum(&q8, 0), vector_int(c, "quantum_q8"));
    assert_int_equal(es_rows_quantum(&f32, 0), vector_int(c, "quantum_f32"));
    free(q);
    free(d);
    free(q8.data);
    free(x);
}

static void quantise_matches(void **state)
{
    (void)state;
    each_case("quantise.txt", check_quantise);
}

static void check_product(const es_kernels *kernels, const vector_case *c)
{
    es_matrix m = vector_matrix(c, "");
    es_rows x = vector_rows(c, m.cols);
    const uint64_t *part = vector_need(c, "part")->words;
    size_t first = part[0] / ES_PANEL_ROWS * ES_PANEL_ROWS, rows = part[0] + part[1] - first,
           stride = rows + 3;
    float *out = malloc(((x.count - 1) * stride + rows) * sizeof *out);
    es_product(kernels, &m, first, rows, part[2], part[3], &x, NULL, out, stride);
    for (size_t t = 0; t < x.count; t++)
        vector_check_floats(c, vector_need_at(c, "out", t), out + t * stride + part[0] - first);
    free(out);
    test_rows_free(&x);
    vector_matrix_free(&m);
}

static void product_matches(void **state)
{
    (void)state;
    each_case("product.txt", check_product);
    each_case("product_blocks.txt", check_product);
}

static void check_sums(const es_kernels *kernels, const vector_case *c)
{
    size_t n = vector_need(c, "a")->count;
    float *a = floats_of(c, "a"), *b = floats_of(c, "b"), *eps = floats_of(c, "eps");
    float dot, sum = kernels->sum(a, n);
    kernels->dots(a, n, 1, b, n, 1, n, &dot, 1);
    vector_check_floats(c, vector_need(c, "dot"), &dot);
    vector_check_floats(c, vector_need(c, "sum"), &sum);
    kernels->rmsnorm(a, b, *eps, n, a);
    vector_check_floats(c, vector_need(c, "rmsnorm"), a);
    free(a);
    free(b);
    free(eps);
}

static void sums_match(void **state)
{
    (void)state;
    each_case("sums.txt", check_sums);
}

static void check_exp(const es_kernels *kernels, const vector_case *c)
{
    size_t n = vector_need(c, "x")->count;
    float *x = floats_of(c, "x"), *y = malloc(n * sizeof *y);
    kernels->exp(x, n, y);
    vector_check_floats(c, vector_need(c, "exp"), y);
    kernels->sigmoid(x, n, x);
    vector_check_floats(c, vector_need(c, "sigmoid"), x);
    free(x);
    free(y);
}

static void check_swiglu(const es_kernels *kernels, const vector_case *c)
{
    float *g = floats_of(c, "g"), *u = floats_of(c, "u");
    kernels->swiglu(g, u, vector_need(c, "g")->count, u);
    vector_check_floats(c, vector_need(c, "h"), u);
    free(g);
    free(u);
}

static void check_elementwise(const es_kernels *kernels, const vector_case *c)
{
    if (vector_find(c, "exp") != NULL) {
        check_exp(kernels, c);
    } else if (vector_find(c, "h") != NULL) {
        check_swiglu(kernels, c);
    } else {
        float *x = floats_of(c, "pairs"), *cos = floats_of(c, "cos"), *sin = floats_of(c, "sin");
        kernels->rotate(x, cos, sin, vector_need(c, "cos")->count);
        vector_check_floats(c, vector_need(c, "rotated"), x);
        free(x);
        free(cos);
        free(sin);
    }
}

static void elementwise_matches(void **state)
{
    (void)state;
    each_case("elementwise.txt", check_elementwise);
}

static void check_f16(const es_kernels *kernels, const vector_case *c)
{
    size_t n = vector_need(c, "x")->count;
    float *x = floats_of(c, "x");
    uint16_t *codes = malloc(n * sizeof *codes);
    const vector_field *want = vector_find(c, "codes");
    if (want != NULL) {
        assert_true(kernels->to_f16(x, n, codes));
        for (size_t i = 0; i < n; i++) assert_int_equal(codes[i], want->words[i]);
        es_matrix m = {.format = ES_FORMAT_F16,
                       .rows = 1,
                       .cols = n,
                       .data = (const uint8_t *)codes,
                       .row_bytes = n * 2};
        float *back = malloc(n * sizeof *back);
        es_matrix_widen_row(&m, 0, 0, n, back);
        assert_true(kernels->to_f16(back, n, codes));
        for (size_t i = 0; i < n; i++) assert_int_equal(codes[i], want->words[i]);
        free(back);
    } else {
        for (size_t i = 0; i < n; i++) assert_false(kernels->to_f16(x + i, 1, codes));
    }
    free(codes);
    free(x);
}

static void f16_matches(void **state)
{
    (void)state;
    each_case("f16.txt", check_f16);
}

static void check_attention(const es_kernels *kernels, const vector_case *c)
{
    const uint64_t *shape = vector_need(c, "shape")->words;
    es_kv_format format = shape[0] == 0 ? ES_KV_F16 : ES_KV_F32;
    float *q = floats_of(c, "q"), *scale = floats_of(c, "scale"), *out = calloc(shape[2], sizeof *out);
    float *wide = malloc(ES_KV_TILE * shape[1] * sizeof *wide);
    es_attend_state state = {-INFINITY, 0};
    for (size_t tile = 0; tile < shape[3]; tile++) {
        uint8_t *entries = vector_codes(vector_need_at(c, "entries", tile), shape[0] == 0 ? 2 : 4);
        const float *floats = (const float *)(const void *)entries;
        if (format == ES_KV_F16)
            kernels->widen_f16((const uint16_t *)(const void *)entries, shape[4 + tile] * shape[1], wide);
        kernels->attend_tile(q, 1, format == ES_KV_F16 ? wide : floats, shape[4 + tile], shape[1], shape[2],
                             *scale, &state, out);
        float got[2] = {state.max, state.sum};
        vector_check_floats(c, vector_need_at(c, "state", tile), got);
        vector_check_floats(c, vector_need_at(c, "out", tile), out);
        free(entries);
    }
    free(q);
    free(scale);
    free(wide);
    free(out);
}

static void attention_matches(void **state)
{
    (void)state;
    each_case("attention.txt", check_attention);
}

static void check_accumulate(const es_kernels *kernels, const vector_case *c)
{
    const vector_field *want = vector_find(c, "sum"),
                       *y_field = vector_need(c, want != NULL ? "y" : "refused");
    size_t n = y_field->count;
    float *y = vector_floats(y_field), *weight = floats_of(c, "weight");
    int quantum = (int)vector_int(c, "quantum");
    int64_t *sum = calloc(n, sizeof *sum);
    assert_int_equal(kernels->accumulate(y, n, *weight, quantum, sum), want != NULL);
    if (want != NULL) vector_check_ints(c, want, sum);
    free(y);
    free(weight);
    free(sum);
}

static void check_fixed(const es_kernels *kernels, const vector_case *c)
{
    const vector_field *sums = vector_find(c, "sums");
    if (sums == NULL) {
        check_accumulate(kernels, c);
        return;
    }
    float *out = malloc(sums->count * sizeof *out);
    kernels->fixed_to_float((const int64_t *)sums->words, sums->count, (int)vector_int(c, "quantum"), out);
    vector_check_floats(c, vector_need(c, "floats"), out);
    free(out);
}

static void fixed_matches(void **state)
{
    (void)state;
    each_case("fixed.txt", check_fixed);
}

static void check_rotary(const es_kernels *kernels, const vector_case *c)
{
    (void)kernels;
    const uint64_t *size = vector_need(c, "shape")->words;
    const vector_field *yarn = vector_find(c, "yarn"), *positions = vector_need(c, "positions");
    float *theta = floats_of(c, "theta");
    es_shape shape = {.nope = size[0], .rope = size[1], .rope_theta = (double)*theta};
    if (yarn != NULL) {
        double v[6];
        for (size_t i = 0; i < 6; i++) v[i] = (double)yarn->words[i] / 1000;
        shape.yarn = (es_yarn){v[0], v[1], v[2], v[3], v[4], v[5]};
    }
    static es_rotary rotary;
    es_rotary_init(&shape, &rotary);
    size_t pairs = rotary.pairs;
    float *cos = malloc(positions->count * pairs * sizeof *cos),
          *sin = malloc(positions->count * pairs * sizeof *sin);
    for (size_t i = 0; i < positions->count; i++)
        es_rotary_at(&rotary, (uint32_t)positions->words[i], cos + i * pairs, sin + i * pairs);
    float scale = es_attention_scale(&shape);
    vector_check_floats(c, vector_need(c, "cos"), cos);
    vector_check_floats(c, vector_need(c, "sin"), sin);
    vector_check_floats(c, vector_need(c, "scale"), &scale);
    free(theta);
    free(cos);
    free(sin);
}

static void rotary_matches(void **state)
{
    (void)state;
    each_case("rotary.txt", check_rotary);
}

static void not_finite_is_refused(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    for (size_t s = 0; s < count; s++) {
        float x[40] = {1, 2, 3}, d[2];
        int8_t q[40];
        uint16_t code;
        int64_t sum = 0;
        assert_true(sets[s]->quantise(x, 40, q, d));
        for (int bad = 0; bad < 3; bad++) {
            x[35] = bad == 0 ? NAN : bad == 1 ? INFINITY : -INFINITY;
            assert_false(sets[s]->quantise(x, 40, q, d));
            assert_false(sets[s]->to_f16(&x[35], 1, &code));
            assert_false(sets[s]->accumulate(&x[35], 1, 1, 0, &sum));
            assert_false(sets[s]->accumulate(x, 1, x[35], 0, &sum));
        }
        float y;
        sets[s]->exp(&(float){NAN}, 1, &y);
        assert_true(isnan(y));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantise_matches),
        cmocka_unit_test(product_matches),
        cmocka_unit_test(sums_match),
        cmocka_unit_test(elementwise_matches),
        cmocka_unit_test(f16_matches),
        cmocka_unit_test(attention_matches),
        cmocka_unit_test(fixed_matches),
        cmocka_unit_test(rotary_matches),
        cmocka_unit_test(not_finite_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
