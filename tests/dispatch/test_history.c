/* What is learnt from a node's calls. */
#include "dispatch/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const uint64_t MS = 1000000;

static void the_95th_percentile_is_of_the_latest_calls(void **state)
{
    (void)state;
    es_history h = {.last_ns = 0};
    assert_int_equal(es_history_p95_ns(&h, 1), 0);
    for (unsigned i = 0; i < 7; i++) es_history_add(&h, 1, 100, MS, MS / 2, i);
    assert_int_equal(es_history_p95_ns(&h, 1), 0); /* too few */
    for (unsigned i = 0; i < 193; i++) es_history_add(&h, 1, 100, i % 10 == 0 ? 9 * MS : MS, MS / 2, i);
    assert_int_equal(es_history_p95_ns(&h, 1), 9 * MS);
    for (unsigned i = 0; i < 200; i++) es_history_add(&h, 1, 100, i % 100 == 0 ? 9 * MS : MS, MS / 2, i);
    assert_int_equal(es_history_p95_ns(&h, 1), MS); /* one in a hundred is beyond it */
}

static void other_costs_are_guessed(void **state)
{
    (void)state;
    es_history h = {.last_ns = 0};
    for (unsigned i = 0; i < 20; i++) es_history_add(&h, 1, 100, MS, MS / 2, i);
    assert_int_equal(es_history_p95_ns(&h, 4), 4 * MS);
    assert_int_equal(es_history_p95_ns(&h, 0.25), MS);
    assert_true(es_history_p95_ns(&h, 1e30) > MS);
    assert_int_equal(es_history_p95_ns(&h, 0), MS);
}

static void a_delay_shows_soon_and_is_forgotten_at_once(void **state)
{
    (void)state;
    es_history h = {.last_ns = 0};
    for (unsigned i = 0; i < 20; i++) es_history_add(&h, 1, 100, 2 * MS, MS, i);
    assert_true(h.rtt_ns == (double)MS && h.cost_ns == (double)MS);
    for (unsigned i = 0; i < 20; i++) es_history_add(&h, 1, 100, 102 * MS, MS, i);
    assert_true(h.rtt_ns > 90.0 * (double)MS);
    es_history_add(&h, 1, 100, 2 * MS, MS, 40);
    assert_true(h.rtt_ns == (double)MS);
    for (unsigned i = 0; i < 40; i++) es_history_add(&h, 64, 1000000, 75 * MS, 64 * MS, i);
    assert_true(h.byte_ns > 9.9 &&
                h.byte_ns < 10.1); /* 11 ms beside 64, 1 of them the small ones', for 1 MB */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_95th_percentile_is_of_the_latest_calls),
        cmocka_unit_test(other_costs_are_guessed),
        cmocka_unit_test(a_delay_shows_soon_and_is_forgotten_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
