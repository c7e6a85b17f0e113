/* The next step of each node, from what it holds and is to hold. */
#include "members/reconcile.h"
#include "with_cmocka.h"

#include <string.h>

enum { NODES = 3 };
static const es_shape SHAPE = {
    .layers = 2, .dense_layers = 1, .moe_layer_freq = 1, .experts = 8, .expert_intermediate = 1024};

/* A set from ranges of whole experts of the one layer that has them; count 0 ends the list. */
typedef struct range {
    uint32_t first, count;
} range;

typedef struct world {
    es_chunk_set wanted[NODES], held[NODES], uncovered, units;
    es_reconcile_node nodes[NODES];
} world;

static void put(es_chunk_set *set, uint32_t first, uint32_t count, bool in)
{
    const es_units units = {1, first, count, 0, 1};
    es_chunk_set_change(set, &units, 1, in);
}

static void world_open(world *w)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(es_chunk_set_init(&w->uncovered, &SHAPE, NULL), ES_OK);
    assert_int_equal(es_chunk_set_init(&w->units, &SHAPE, NULL), ES_OK);
    for (size_t n = 0; n < NODES; n++) {
        assert_int_equal(es_chunk_set_init(&w->wanted[n], &SHAPE, NULL), ES_OK);
        assert_int_equal(es_chunk_set_init(&w->held[n], &SHAPE, NULL), ES_OK);
        w->nodes[n] = (es_reconcile_node){
            .wanted = &w->wanted[n], .held = &w->held[n], .reached = true, .shown = true, .free = true};
    }
}

static void world_close(world *w)
{
    es_chunk_set_fini(&w->uncovered);
    es_chunk_set_fini(&w->units);
    for (size_t n = 0; n < NODES; n++) {
        es_chunk_set_fini(&w->wanted[n]);
        es_chunk_set_fini(&w->held[n]);
    }
}

static es_reconcile_step next(world *w, size_t node)
{
    es_reconcile_uncovered(w->nodes, NODES, &w->uncovered);
    return es_reconcile_next(&w->nodes[node], &w->uncovered);
}

static void what_is_lost_goes_only_when_its_new_holder_was_seen_with_it(void **state)
{
    (void)state;
    world w;
    world_open(&w);
    put(&w.held[0], 0, 8, true); /* all on the first; its second half is to go to the second node */
    put(&w.wanted[0], 0, 4, true);
    put(&w.wanted[1], 4, 4, true);
    assert_int_equal(next(&w, 0).step, ES_STEP_NONE);
    assert_int_equal(next(&w, 0).kept, 4 * 4);
    assert_int_equal(next(&w, 1).step, ES_STEP_LOAD);
    assert_int_equal(next(&w, 1).gains, 4 * 4);
    w.nodes[1].shown = false; /* it holds them, but the swarm has not greeted it since */
    put(&w.held[1], 4, 4, true);
    assert_int_equal(next(&w, 0).step, ES_STEP_NONE);
    assert_false(es_reconcile_complete(w.nodes, NODES));
    w.nodes[1].shown = true;
    assert_int_equal(next(&w, 0).step, ES_STEP_DROP);
    assert_true(es_reconcile_complete(w.nodes, NODES));
    es_reconcile_drops(&w.nodes[0], &w.uncovered, &w.units);
    assert_true(es_chunk_set_has(&w.units, 1, 4, 3) && !es_chunk_set_has(&w.units, 1, 3, 0));
    world_close(&w);
}

static void each_chunk_is_dropped_by_itself(void **state)
{
    (void)state;
    world w;
    world_open(&w);
    put(&w.held[0], 0, 8, true);
    put(&w.wanted[0], 0, 2, true);
    put(&w.wanted[1], 2, 3, true);
    put(&w.wanted[2], 5, 3, true);
    put(&w.held[1], 2, 3, true);
    es_reconcile_step step = next(&w, 0); /* the third node has nothing yet */
    assert_int_equal(step.step, ES_STEP_DROP);
    assert_int_equal(step.loses, 6 * 4);
    assert_int_equal(step.kept, 3 * 4);
    es_reconcile_drops(&w.nodes[0], &w.uncovered, &w.units);
    assert_true(es_chunk_set_has(&w.units, 1, 2, 0) && !es_chunk_set_has(&w.units, 1, 5, 0));
    world_close(&w);
}

static void a_node_that_is_gone_stops_drops_and_nothing_else(void **state)
{
    (void)state;
    world w;
    world_open(&w);
    put(&w.held[0], 0, 8, true);
    put(&w.wanted[1], 0, 8, true);
    put(&w.wanted[2], 0, 8, true);
    put(&w.held[1], 0, 8, true);
    put(&w.held[2], 0, 8, true);
    assert_int_equal(next(&w, 0).step, ES_STEP_DROP);
    w.nodes[2].reached = false; /* with its copies nobody knows */
    assert_int_equal(next(&w, 0).step, ES_STEP_NONE);
    assert_int_equal(next(&w, 2).step, ES_STEP_NONE);
    assert_false(es_reconcile_complete(w.nodes, NODES));
    w.nodes[2].reached = true;
    w.nodes[2].drained = true; /* it computes no more: what it holds covers nothing */
    assert_int_equal(next(&w, 0).step, ES_STEP_NONE);
    world_close(&w);
}

static void one_drains_when_nothing_needs_it(void **state)
{
    (void)state;
    world w;
    world_open(&w);
    put(&w.held[0], 0, 8, true);
    put(&w.wanted[1], 0, 8, true);
    w.nodes[0].wanted = NULL;
    w.nodes[0].leaves = true;
    assert_int_equal(next(&w, 0).step, ES_STEP_NONE);
    put(&w.held[1], 0, 8, true);
    assert_int_equal(next(&w, 0).step, ES_STEP_DRAIN); /* not a drop: it goes as it is */
    w.nodes[0].drained = true;
    assert_int_equal(next(&w, 0).step, ES_STEP_NONE);
    world_close(&w);
}

static void nobody_is_asked_twice_at_once(void **state)
{
    (void)state;
    world w;
    world_open(&w);
    put(&w.wanted[1], 0, 8, true);
    w.nodes[1].free = false;
    assert_int_equal(next(&w, 1).step, ES_STEP_NONE);
    w.nodes[1].free = true;
    w.nodes[1].held = NULL; /* it has not said what it holds */
    assert_int_equal(next(&w, 1).step, ES_STEP_NONE);
    w.nodes[1].held = &w.held[1];
    assert_int_equal(next(&w, 1).step, ES_STEP_LOAD);
    put(&w.held[1], 0, 8, true);
    assert_int_equal(next(&w, 1).step, ES_STEP_NONE);
    w.nodes[1].behind = true; /* the epoch is told also to those who gain nothing */
    assert_int_equal(next(&w, 1).step, ES_STEP_LOAD);
    world_close(&w);
}

static void parts_of_experts_are_chunks_too(void **state)
{
    (void)state;
    world w;
    world_open(&w);
    const es_units half[] = {{1, 0, 8, 0, 2}, {1, 0, 8, 1, 2}};
    put(&w.held[0], 0, 8, true);
    es_chunk_set_change(&w.wanted[0], &half[0], 1, true);
    es_chunk_set_change(&w.wanted[1], &half[1], 1, true);
    es_chunk_set_change(&w.held[1], &half[1], 1, true);
    assert_int_equal(next(&w, 0).step, ES_STEP_DROP);
    es_reconcile_drops(&w.nodes[0], &w.uncovered, &w.units);
    assert_true(es_chunk_set_has(&w.units, 1, 0, 2) && !es_chunk_set_has(&w.units, 1, 0, 1));
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_lost_goes_only_when_its_new_holder_was_seen_with_it),
        cmocka_unit_test(each_chunk_is_dropped_by_itself),
        cmocka_unit_test(a_node_that_is_gone_stops_drops_and_nothing_else),
        cmocka_unit_test(one_drains_when_nothing_needs_it),
        cmocka_unit_test(nobody_is_asked_twice_at_once),
        cmocka_unit_test(parts_of_experts_are_chunks_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
