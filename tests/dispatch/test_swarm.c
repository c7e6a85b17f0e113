/* Real expert nodes on loopback against the engine in this process, byte for byte. */
#include "dispatch/fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void any_number_of_nodes_gives_the_same_bytes(void **state)
{
    static const size_t COUNTS[] = {1, 2, 3, 5, 7}, ROWS[] = {1, 7, 64};
    const reference *r = *state;
    for (size_t c = 0; c < sizeof COUNTS / sizeof COUNTS[0]; c++) {
        nodes n = {.count = 0};
        nodes_start(&n, COUNTS[c]);
        es_swarm_options options = swarm_options(r, &n);
        es_swarm *swarm = swarm_open(&options);
        for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++)
            for (size_t layer = FIRST_MOE_LAYER; layer < LAYERS; layer++) {
                batch b;
                batch_fill(&b, r, ES_ROWS_Q8, ROWS[i], (unsigned)(100 * i + layer));
                assert_swarm_equals(swarm, r, layer, &b);
                batch_free(&b);
            }
        es_swarm_destroy(&swarm);
        nodes_stop(&n);
    }
}

static void f32_rows_travel_too(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 2);
    es_swarm_options options = swarm_options(r, &n);
    options.row_format = ES_ROWS_F32;
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_F32, 7, 5);
    assert_swarm_equals(swarm, r, 2, &b);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void sums_are_added_to_what_is_there(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 3);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 1, 9);
    size_t hidden = r->model->shape.hidden;
    int64_t *expected = reference_sums(r, 1, &b), *sum = calloc(hidden, sizeof *sum);
    for (size_t i = 0; i < hidden; i++) sum[i] = 1000 + (int64_t)i;
    es_expert_backend *backend = es_swarm_backend(swarm);
    es_err err;
    assert_int_equal(backend->start(backend, 1, &b.batch, &err), ES_OK);
    assert_int_equal(backend->finish(backend, sum, &err), ES_OK);
    for (size_t i = 0; i < hidden; i++) assert_true(sum[i] == expected[i] + 1000 + (int64_t)i);
    free(expected);
    free(sum);
    batch_free(&b);
    backend->destroy(&backend);
    nodes_stop(&n);
}

static void coordinators_share_nodes_without_mixing_their_sums(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 3);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm[2] = {swarm_open(&options), swarm_open(&options)};
    size_t hidden = r->model->shape.hidden;
    for (unsigned round = 0; round < 20; round++) {
        batch b[2];
        int64_t *sum[2], *expected[2];
        for (unsigned i = 0; i < 2; i++) {
            batch_fill(&b[i], r, ES_ROWS_Q8, 5, 2 * round + i);
            expected[i] = reference_sums(r, 1 + i, &b[i]);
            sum[i] = calloc(5 * hidden, sizeof(int64_t));
        }
        es_err err;
        for (unsigned i = 0; i < 2; i++) {
            es_expert_backend *backend = es_swarm_backend(swarm[i]);
            assert_int_equal(backend->start(backend, 1 + i, &b[i].batch, &err), ES_OK);
        }
        for (unsigned i = 0; i < 2; i++) {
            es_expert_backend *backend = es_swarm_backend(swarm[1 - i]);
            assert_int_equal(backend->finish(backend, sum[1 - i], &err), ES_OK);
        }
        for (unsigned i = 0; i < 2; i++) {
            assert_memory_equal(sum[i], expected[i], 5 * hidden * sizeof(int64_t));
            free(sum[i]);
            free(expected[i]);
            batch_free(&b[i]);
        }
    }
    es_swarm_destroy(&swarm[0]);
    es_swarm_destroy(&swarm[1]);
    nodes_stop(&n);
}

static void a_step_that_was_never_finished_does_not_disturb_the_next(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 2);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    es_expert_backend *backend = es_swarm_backend(swarm);
    batch dropped, b;
    batch_fill(&dropped, r, ES_ROWS_Q8, 3, 1);
    batch_fill(&b, r, ES_ROWS_Q8, 3, 2);
    es_err err;
    assert_int_equal(backend->start(backend, 2, &dropped.batch, &err), ES_OK);
    assert_swarm_equals(swarm, r, 2, &b);
    assert_swarm_equals(swarm, r, 2, &dropped);
    batch_free(&dropped);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void nodes_tell_who_they_are(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 5);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    size_t experts = 0;
    assert_int_equal(es_swarm_node_count(swarm), 5);
    for (size_t i = 0; i < 5; i++) {
        es_swarm_node_info info = es_swarm_node(swarm, i);
        assert_int_equal(info.name[1], '1' + (int)i);
        assert_string_equal(info.endpoint, n.control[i]);
        assert_int_equal(info.threads, 1);
        assert_int_equal(info.state, ES_SWARM_NODE_UP);
        experts += info.experts;
    }
    assert_int_equal(experts, 3 * 32);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

int main(void)
{
    reference r;
    reference_open(&r);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(any_number_of_nodes_gives_the_same_bytes, &r),
        cmocka_unit_test_prestate(f32_rows_travel_too, &r),
        cmocka_unit_test_prestate(sums_are_added_to_what_is_there, &r),
        cmocka_unit_test_prestate(coordinators_share_nodes_without_mixing_their_sums, &r),
        cmocka_unit_test_prestate(a_step_that_was_never_finished_does_not_disturb_the_next, &r),
        cmocka_unit_test_prestate(nodes_tell_who_they_are, &r),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    reference_close(&r);
    return failed;
}
