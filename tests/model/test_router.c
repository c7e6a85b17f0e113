/* The router's choice against the oracle's, to the bit. */
#include "kernels/vectors.h"
#include "model/router.h"
#include "with_cmocka.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHOSEN_MAX = 64 };

static es_shape case_shape(const vector_case *c)
{
    const uint64_t *shape = vector_need(c, "shape")->words, *rules = vector_need(c, "rules")->words;
    float *scaled = vector_floats(vector_need(c, "scaled"));
    es_shape s = {
        .experts = shape[1],
        .groups = shape[2],
        .groups_kept = shape[3],
        .experts_per_token = shape[4],
        .hidden = shape[0],
        .score_fn = (es_score_fn)rules[0],
        .topk_method = (es_topk_method)rules[1],
        .norm_topk = rules[2] != 0,
        .routed_scale = scaled[0],
    };
    free(scaled);
    return s;
}

static void check_case(const vector_case *c, const es_kernels *kernels)
{
    es_shape shape = case_shape(c);
    float *router = vector_floats(vector_need(c, "router")), *x = vector_floats(vector_need(c, "x"));
    float *bias = vector_find(c, "bias") != NULL ? vector_floats(vector_find(c, "bias")) : NULL;
    float z[CHOSEN_MAX], weights[CHOSEN_MAX];
    uint32_t chosen[CHOSEN_MAX];
    kernels->dots(x, shape.hidden, 1, router, shape.hidden, shape.experts, shape.hidden, z, shape.experts);
    assert_true(es_router_choose(kernels, &shape, z, bias, chosen, weights));
    for (size_t i = 0; i < shape.experts_per_token; i++)
        assert_int_equal(chosen[i], vector_need(c, "chosen")->words[i]);
    vector_check_floats(c, vector_need(c, "weights"), weights);
    free(router);
    free(x);
    free(bias);
}

static void every_rule_gives_the_oracles_choice(void **state)
{
    (void)state;
    const es_kernels *sets[VECTOR_SETS_MAX];
    size_t count = vector_sets(sets);
    vector_file file;
    vector_file_open("router.txt", &file);
    for (size_t i = 0; i < file.case_count; i++)
        for (size_t s = 0; s < count; s++) check_case(&file.cases[i], sets[s]);
    vector_file_close(&file);
}

static void a_score_that_is_not_finite_is_refused(void **state)
{
    (void)state;
    es_shape shape = {
        .experts = 4, .groups = 1, .groups_kept = 1, .experts_per_token = 2, .routed_scale = 1.0f};
    uint32_t chosen[2];
    float weights[2];
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        float z[4] = {1.0f, 2.0f, bad[i], 0.0f};
        assert_false(es_router_choose(es_kernels_ref(), &shape, z, NULL, chosen, weights));
    }
}

static void equal_scores_choose_the_lower_index(void **state)
{
    (void)state;
    es_shape shape = {
        .experts = 8, .groups = 4, .groups_kept = 2, .experts_per_token = 3, .topk_method = ES_TOPK_NOAUX};
    shape.routed_scale = 1.0f;
    uint32_t chosen[3];
    float weights[3], z[8] = {0};
    assert_true(es_router_choose(es_kernels_ref(), &shape, z, NULL, chosen, weights));
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(chosen[i], i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_gives_the_oracles_choice),
        cmocka_unit_test(a_score_that_is_not_finite_is_refused),
        cmocka_unit_test(equal_scores_choose_the_lower_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
