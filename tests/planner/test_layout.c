/* Experts shared out among unequal machines. */
#include "planner/layout.h"
#include "with_cmocka.h"

#include <math.h>

static const double EXPERT = 100;

static void no_node_holds_more_than_its_room_and_every_expert_has_its_copies(void **state)
{
    (void)state;
    uint64_t seed = 7;
    static es_planner_layout l;
    size_t made = 0;
    for (int round = 0; round < 2000; round++) {
        double weight[12], room[12], sum = 0;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t nodes = 1 + (seed >> 40) % 12, experts = 1 + (seed >> 20) % 64, copies = 1 + (seed >> 50) % 3;
        es_layout_mode mode = (es_layout_mode)((seed >> 58) % ES_MODE_COUNT);
        if (mode != ES_MODE_REPLICATE) copies = 1;
        for (size_t n = 0; n < nodes; n++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            weight[n] = 1 + (double)((seed >> 33) % 9);
            room[n] = EXPERT * (double)((seed >> 45) % (2 * experts * copies / nodes + 2));
        }
        if (!es_layout_make(mode, experts, nodes, copies, weight, room, EXPERT, &l)) continue;
        made++;
        for (size_t n = 0; n < nodes; n++) {
            if (l.held[n] * EXPERT > room[n] + 1e-6)
                fail_msg("round %d: node %zu holds %g of %g", round, n, l.held[n] * EXPERT, room[n]);
            sum += l.held[n];
        }
        assert_true(fabs(sum - (double)(experts * copies)) < 1e-6);
        for (size_t e = 0; e < experts && mode != ES_MODE_SLICE; e++)
            for (size_t c = 0; c < copies; c++) {
                assert_true(l.holder[e][c] < nodes);
                for (size_t k = 0; k < c; k++) assert_int_not_equal(l.holder[e][c], l.holder[e][k]);
            }
    }
    assert_true(made > 200);
}

static void shares_follow_bandwidth_where_memory_allows(void **state)
{
    (void)state;
    static es_planner_layout l;
    const double weight[] = {10, 30}, ample[] = {1e9, 1e9}, tight[] = {1e9, 4 * EXPERT};
    assert_true(es_layout_make(ES_MODE_STRIPE, 64, 2, 1, weight, ample, EXPERT, &l));
    assert_true(l.held[0] == 16 && l.held[1] == 48);
    assert_true(es_layout_make(ES_MODE_STRIPE, 64, 2, 1, weight, tight, EXPERT, &l));
    assert_true(l.held[0] == 60 && l.held[1] == 4);
}

static void what_does_not_fit_is_not_laid_out(void **state)
{
    (void)state;
    static es_planner_layout l;
    const double weight[] = {1, 1}, room[] = {30 * EXPERT, 33 * EXPERT};
    assert_false(es_layout_make(ES_MODE_GROUP, 64, 2, 1, weight, room, EXPERT, &l));
    assert_false(es_layout_make(ES_MODE_REPLICATE, 8, 2, 3, weight, room, EXPERT, &l));
    assert_true(es_layout_make(ES_MODE_GROUP, 63, 2, 1, weight, room, EXPERT, &l));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_follow_bandwidth_where_memory_allows),
        cmocka_unit_test(what_does_not_fit_is_not_laid_out),
        cmocka_unit_test(no_node_holds_more_than_its_room_and_every_expert_has_its_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
