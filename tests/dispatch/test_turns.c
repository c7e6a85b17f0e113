/* Coordinators share a node's time. */
#include "service/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static es_turns turns;

static void put(uint8_t who)
{
    es_message message = {.count = 0};
    const uint8_t id[5] = {0, 1, 2, 3, who};
    assert_true(es_message_add(&message, id, sizeof id));
    es_turns_put(&turns, &message);
}

static uint8_t take(uint64_t ns)
{
    es_message message;
    assert_true(es_turns_take(&turns, &message));
    uint8_t who = es_message_data(&message, 0)[4];
    es_message_close(&message);
    es_turns_charge(&turns, ns);
    return who;
}

/* Three that always have something waiting, of very different sizes. */
static void time_is_shared_whatever_is_asked(void **state)
{
    (void)state;
    static const uint64_t COST[3] = {100, 1000, 3700};
    uint64_t had[3] = {0};
    turns = (es_turns){.count = 0};
    for (uint8_t who = 0; who < 3; who++) put(who), put(who);
    for (int i = 0; i < 20000; i++) {
        uint8_t who = take(COST[(size_t)i % 3]);
        had[who] += COST[(size_t)i % 3];
        put(who);
    }
    for (size_t who = 1; who < 3; who++) {
        double share = (double)had[who] / (double)had[0];
        assert_true(share > 0.99 && share < 1.01);
    }
    es_turns_clear(&turns);
}

static void who_was_away_has_no_credit(void **state)
{
    (void)state;
    turns = (es_turns){.count = 0};
    put(1);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(take(1000), 1);
        put(1);
    }
    put(2);
    put(2);
    put(2);
    int second = 0;
    for (int i = 0; i < 4; i++) second += take(1000) == 2;
    assert_in_range(second, 1, 3); /* in turns, not three times in a row and never after */
    es_turns_clear(&turns);
}

static void any_number_of_askers_is_served(void **state)
{
    (void)state;
    turns = (es_turns){.count = 0};
    es_message message;
    assert_false(es_turns_take(&turns, &message));
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < ES_TURNS_WAITING_MAX; i++) put((uint8_t)(round * ES_TURNS_WAITING_MAX + i));
        assert_true(es_turns_full(&turns));
        for (int i = 0; i < ES_TURNS_WAITING_MAX; i++) take(1);
    }
    assert_false(es_turns_take(&turns, &message));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_is_shared_whatever_is_asked),
        cmocka_unit_test(who_was_away_has_no_credit),
        cmocka_unit_test(any_number_of_askers_is_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
