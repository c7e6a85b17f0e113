/* Counts of chosen experts that fade. */
#include "model/heat.h"
#include "with_cmocka.h"

#include <math.h>

static const uint64_t SECOND_NS = 1000000000;

static void counts_stand_where_they_were_chosen_and_fade(void **state)
{
    (void)state;
    es_arena *arena = es_arena_create();
    const es_shape shape = {.layers = 3, .experts = 4};
    es_heat heat;
    assert_int_equal(es_heat_init(&heat, &shape, arena, NULL), ES_OK);
    const uint32_t chosen[] = {3, 0, 3, 3};
    es_heat_count(&heat, 2, chosen, 4);
    es_heat_count(&heat, 1, chosen, 2);
    es_heat_fold(&heat, 100 * SECOND_NS);
    const float wanted[] = {0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 3};
    for (size_t i = 0; i < 12; i++) assert_true(heat.counts[i] == wanted[i]);
    es_heat_count(&heat, 2, chosen, 1);
    es_heat_fold(&heat, (100 + ES_HEAT_DECAY_S) * SECOND_NS);
    assert_true(fabs((double)heat.counts[11] - (3.0 * exp(-1.0) + 1.0)) < 1e-5);
    assert_true(fabs((double)heat.counts[4] - exp(-1.0)) < 1e-6);
    es_arena_destroy(&arena);
}

static void a_dense_model_has_none(void **state)
{
    (void)state;
    const es_shape shape = {.layers = 3};
    es_heat heat;
    assert_int_equal(es_heat_init(&heat, &shape, NULL, NULL), ES_OK);
    es_heat_fold(&heat, SECOND_NS);
    assert_int_equal(heat.layers * heat.experts, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_stand_where_they_were_chosen_and_fade),
        cmocka_unit_test(a_dense_model_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
