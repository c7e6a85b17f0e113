/* When a placement is planned anew. */
#include "members/policy.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <string.h>

enum { NODES_MAX = 8, LAYERS = 2, EXPERTS = 8 };
static const uint32_t LAYER[LAYERS] = {1, 2};
static const uint64_t BYTES[LAYERS] = {100, 100};
static const uint8_t FINGERPRINT[ES_FINGERPRINT_BYTES] = {1};

static const char *const NAME[NODES_MAX] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7"};

typedef struct world {
    es_policy_node nodes[NODES_MAX];
    es_policy_question question;
    es_planner_node taken[NODES_MAX];
} world;

static world world_of(size_t count)
{
    world w = {.question = {.node_count = count, .automatic = true}};
    for (size_t n = 0; n < count; n++)
        w.nodes[n] = (es_policy_node){.name = NAME[n], .rack = "", .memory_bytes = 10000, .usable = true};
    return w;
}

static es_policy_verdict decide(world *w)
{
    w->question.nodes = w->nodes;
    return es_policy_decide(&w->question, w->taken);
}

/* A placement for the first count nodes. */
static es_document *placed(size_t count, es_placement_mode mode, size_t copies, const double *heat)
{
    es_planner_node nodes[NODES_MAX] = {{.memory_bytes = 0}};
    es_document *document;
    es_planner_report report;
    for (size_t n = 0; n < count; n++) {
        strcpy(nodes[n].name, NAME[n]);
        nodes[n].memory_bytes = 10000;
    }
    const es_planner_request request = {.nodes = nodes,
                                        .node_count = count,
                                        .layers = LAYER,
                                        .layer_count = LAYERS,
                                        .experts = EXPERTS,
                                        .groups = 1,
                                        .cell_bytes = BYTES,
                                        .mode = mode,
                                        .copies = copies,
                                        .slices = 1,
                                        .heat = heat,
                                        .fingerprint = FINGERPRINT,
                                        .epoch = {1, 1}};
    assert_int_equal(es_planner_plan(&request, &document, &report, NULL), ES_OK);
    return document;
}

static void the_first_is_made_when_somebody_is_there(void **state)
{
    (void)state;
    world w = world_of(0);
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    w = world_of(3);
    w.question.copies = 2;
    es_policy_verdict v = decide(&w);
    assert_int_equal(v.reason, ES_POLICY_FIRST);
    assert_int_equal(v.node_count, 3);
    assert_int_equal(v.copies, 2);
    assert_int_equal(v.mode, ES_PLACE_GROUP);
    w.question.automatic = false;
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    w = world_of(1);
    w.question.copies = 2; /* as many as there are nodes */
    assert_int_equal(decide(&w).copies, 1);
}

static void newcomers_are_planned_with(void **state)
{
    (void)state;
    world w = world_of(3);
    es_document *d = placed(2, ES_PLACE_STRIPE, 1, NULL);
    w.question.document = d;
    es_policy_verdict v = decide(&w);
    assert_int_equal(v.reason, ES_POLICY_JOINED);
    assert_string_equal(v.name, "n2");
    assert_int_equal(v.mode, ES_PLACE_STRIPE); /* as it stands */
    w.nodes[2].usable = false;
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    w.nodes[2].usable = true;
    w.nodes[2].memory_bytes = 0; /* nothing is known of it yet */
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    w.nodes[2].memory_bytes = 1;
    w.question.automatic = false;
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    es_document_destroy(&d);
}

static void one_that_is_away_for_a_moment_stays_one_that_is_gone_goes(void **state)
{
    (void)state;
    world w = world_of(3);
    es_document *d = placed(3, ES_PLACE_GROUP, 1, NULL);
    w.question.document = d;
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    w.nodes[1].usable = false;
    es_policy_verdict v = decide(&w);
    assert_int_equal(v.reason, ES_POLICY_NOTHING);
    assert_int_equal(v.node_count, 3); /* a plan for another reason would keep it */
    w.nodes[1].gone = true;
    v = decide(&w);
    assert_int_equal(v.reason, ES_POLICY_GONE);
    assert_string_equal(v.name, "n1");
    assert_int_equal(v.node_count, 2);
    assert_string_equal(w.taken[1].name, "n2");
    w.question.automatic = false;
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    es_document_destroy(&d);
}

static void one_that_leaves_is_planned_without_even_by_hand(void **state)
{
    (void)state;
    world w = world_of(3);
    es_document *d = placed(3, ES_PLACE_GROUP, 2, NULL);
    w.question.document = d;
    w.question.automatic = false;
    w.nodes[0].usable = false;
    w.nodes[0].gone = true; /* less urgent, and by hand no reason */
    w.nodes[2].leaves = true;
    es_policy_verdict v = decide(&w);
    assert_int_equal(v.reason, ES_POLICY_LEAVES);
    assert_string_equal(v.name, "n2");
    assert_int_equal(v.node_count, 1);
    assert_int_equal(v.copies, 1);
    es_document_destroy(&d);
}

static void mode_and_copies_follow_what_is_asked_for(void **state)
{
    (void)state;
    world w = world_of(3);
    es_document *d = placed(3, ES_PLACE_GROUP, 1, NULL);
    w.question.document = d;
    w.question.copies = 2;
    assert_int_equal(decide(&w).reason, ES_POLICY_COPIES);
    w.question.copies = 0;
    assert_int_equal(decide(&w).reason, ES_POLICY_NOTHING);
    w.question.mode_given = true;
    w.question.mode = ES_PLACE_REPLICATE;
    assert_int_equal(decide(&w).reason, ES_POLICY_MODE);
    es_document_destroy(&d);
}

static void copies_of_hot_experts_make_the_busiest_node_less_busy(void **state)
{
    (void)state;
    double heat[LAYERS * EXPERTS];
    for (size_t e = 0; e < LAYERS * EXPERTS; e++) heat[e] = e % EXPERTS < 2 ? 100 : 1;
    es_document *cold = placed(4, ES_PLACE_GROUP, 1, NULL), *hot = placed(4, ES_PLACE_REPLICATE, 2, heat);
    double before = es_policy_busiest(cold, heat), after = es_policy_busiest(hot, heat);
    assert_true(before > 0.9 && before <= 1); /* neighbours are together: one node has both hot ones */
    assert_true(after < 0.5);
    memset(heat, 0, sizeof heat);
    assert_true(es_policy_busiest(cold, heat) == 0);
    es_document_destroy(&cold);
    es_document_destroy(&hot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_made_when_somebody_is_there),
        cmocka_unit_test(newcomers_are_planned_with),
        cmocka_unit_test(one_that_is_away_for_a_moment_stays_one_that_is_gone_goes),
        cmocka_unit_test(one_that_leaves_is_planned_without_even_by_hand),
        cmocka_unit_test(mode_and_copies_follow_what_is_asked_for),
        cmocka_unit_test(copies_of_hot_experts_make_the_busiest_node_less_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
