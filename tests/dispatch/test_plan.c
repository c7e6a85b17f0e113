/* Who holds what, and how work is given out. */
#include "dispatch/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { EXPERTS = 16, NODES = 6, ROWS = 12, PAIRS = 4, CHUNKS = 8 };

static const es_shape SHAPE = {.layers = 3,
                               .dense_layers = 1,
                               .moe_layer_freq = 1,
                               .experts = EXPERTS,
                               .experts_per_token = PAIRS,
                               .expert_intermediate = CHUNKS * ES_CHUNK_COLUMNS,
                               .hidden = 32};

typedef struct table {
    es_holders *holders;
    es_units units[NODES][3 * EXPERTS * CHUNKS];
    es_announced nodes[NODES];
} table;

static void table_open(table *t)
{
    es_err err;
    memset(t, 0, sizeof *t);
    for (size_t n = 0; n < NODES; n++) t->nodes[n].units = t->units[n];
    assert_int_equal(es_holders_create(&SHAPE, &t->holders, &err), ES_OK);
}

static void hold(table *t, size_t node, es_units units)
{
    t->units[node][t->nodes[node].count++] = units;
}

static void fill(table *t)
{
    es_err err;
    assert_int_equal(es_holders_fill(t->holders, t->nodes, NODES, &err), ES_OK);
}

static void the_first_missing_expert_or_slice_is_named(void **state)
{
    (void)state;
    table t;
    es_err err;
    table_open(&t);
    hold(&t, 0, (es_units){1, 0, EXPERTS, 0, 1});
    hold(&t, 0, (es_units){2, 0, 4, 0, 1});
    hold(&t, 1, (es_units){2, 5, EXPERTS - 5, 0, 1});
    fill(&t);
    assert_int_equal(es_holders_complete(t.holders, &err), ES_NOT_FOUND);
    assert_string_equal(err.text, "layer 2: expert 4 is held by no node");
    hold(&t, 1, (es_units){2, 4, 1, 0, 3});
    hold(&t, 2, (es_units){2, 4, 1, 2, 3});
    fill(&t);
    assert_int_equal(es_holders_complete(t.holders, &err), ES_NOT_FOUND);
    assert_string_equal(err.text, "layer 2: slice 1 of 3 of expert 4 is held by no node");
    hold(&t, 5, (es_units){2, 4, 1, 1, 3});
    fill(&t);
    assert_int_equal(es_holders_complete(t.holders, &err), ES_OK);
    assert_int_equal(es_holders_slices(t.holders, 2, 4), 3);
    assert_int_equal(es_holders_slices_max(t.holders), 3);
    es_holders_destroy(&t.holders);
}

static void what_the_model_does_not_have_is_refused(void **state)
{
    (void)state;
    static const es_units BAD[] = {
        {0, 0, 1, 0, 1},          {3, 0, 1, 0, 1},          {1, 10, 7, 0, 1}, {1, UINT32_MAX, 1, 0, 1},
        {UINT32_MAX, 0, 1, 0, 1}, {1, 0, 1, 0, CHUNKS + 1}, {1, 0, 1, 2, 2},  {1, 0, 1, 0, 0}};
    es_err err;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_int_equal(es_holders_check_units(&SHAPE, &BAD[i], 1, &err), ES_INVALID);
    const es_units good = {2, EXPERTS - 1, 1, CHUNKS - 1, CHUNKS};
    assert_int_equal(es_holders_check_units(&SHAPE, &good, 1, &err), ES_OK);
}

static void the_smallest_cut_that_is_complete_is_used(void **state)
{
    (void)state;
    table t;
    table_open(&t);
    hold(&t, 0, (es_units){1, 0, 2, 0, 2}); /* half of it only */
    for (uint32_t s = 0; s < 4; s++) hold(&t, 1 + s % 2, (es_units){1, 0, 2, s, 4});
    hold(&t, 3, (es_units){1, 1, 1, 0, 1}); /* whole */
    fill(&t);
    assert_int_equal(es_holders_slices(t.holders, 1, 0), 4);
    assert_int_equal(es_holders_slices(t.holders, 1, 1), 1);
    size_t count;
    const uint16_t *found =
        es_holders_find(t.holders, 1, 0, es_chunks_code(es_chunks_of_slice(CHUNKS * 256, 3, 4)), &count);
    assert_int_equal(count, 1);
    assert_int_equal(found[0], 2);
    found = es_holders_find(t.holders, 1, 1, es_chunks_code(es_chunks_of_slice(CHUNKS * 256, 3, 4)), &count);
    assert_int_equal(count, 1); /* who holds it whole computes any part of it */
    assert_int_equal(found[0], 3);
    es_holders_find(t.holders, 1, 0, es_chunks_code(es_chunks_of_slice(CHUNKS * 256, 0, 2)), &count);
    assert_int_equal(count, 0); /* another cut's */
    es_holders_find(t.holders, 2, 0, 0, &count);
    assert_int_equal(count, 0);
    es_holders_destroy(&t.holders);
}

static es_plan *open_plan(const table *t)
{
    es_plan *plan;
    es_err err;
    assert_int_equal(es_plan_create(&SHAPE, ROWS, &plan, &err), ES_OK);
    assert_int_equal(es_plan_reserve(plan, es_holders_slices_max(t->holders), NODES, &err), ES_OK);
    return plan;
}

typedef struct drawn {
    es_rows rows;
    uint32_t first[ROWS + 1], expert[ROWS * PAIRS];
    float weight[ROWS * PAIRS];
    es_expert_batch batch;
} drawn;

static void draw(drawn *d, size_t rows, unsigned *seed)
{
    d->rows = (es_rows){.count = rows};
    d->first[0] = 0;
    for (size_t r = 0; r < rows; r++) {
        size_t own = (size_t)rand_r(seed) % (PAIRS + 1), at = d->first[r];
        for (size_t p = 0; p < own; p++, at++) {
            d->expert[at] = (uint32_t)rand_r(seed) % EXPERTS;
            d->weight[at] = (float)at;
        }
        d->first[r + 1] = (uint32_t)at;
    }
    d->batch = (es_expert_batch){&d->rows, d->first, d->expert, d->weight};
}

static bool holds(const table *t, size_t node, uint32_t expert, uint32_t chunks)
{
    size_t count;
    const uint16_t *found = es_holders_find(t->holders, 1, expert, chunks, &count);
    for (size_t i = 0; i < count; i++)
        if (found[i] == node) return true;
    return false;
}

/* Counts in done [weight][chunk] what works say is computed. */
static void count_work(const es_work *w, uint8_t done[ROWS * PAIRS][CHUNKS])
{
    size_t pair = 0;
    for (size_t r = 0; r < w->rows; r++) {
        assert_true(r == 0 || w->row[r] > w->row[r - 1]);
        for (size_t p = 0; p < w->pairs_per_row[r]; p++, pair++) {
            es_chunks c = es_chunks_decode(w->chunks[pair]);
            if (c.count == 0) c.count = CHUNKS;
            for (size_t i = 0; i < c.count; i++) done[(size_t)w->weight[pair]][c.first + i]++;
        }
    }
    assert_int_equal(pair, w->pairs);
}

static void every_slice_of_every_pair_goes_to_one_holder(void **state)
{
    (void)state;
    static uint8_t done[ROWS * PAIRS][CHUNKS];
    for (unsigned round = 1; round <= 400; round++) {
        unsigned seed = round;
        table t;
        table_open(&t);
        for (uint32_t e = 0; e < EXPERTS; e++) {
            uint32_t slices = round % 2 == 0 ? 1 : 1 + (uint32_t)rand_r(&seed) % CHUNKS;
            for (uint32_t s = 0; s < slices; s++)
                for (unsigned copy = 0; copy < 1 + round % 3; copy++)
                    hold(&t, (size_t)rand_r(&seed) % NODES, (es_units){1, e, 1, s, slices});
        }
        fill(&t);
        es_plan *plan = open_plan(&t);
        es_seat seats[NODES];
        for (size_t n = 0; n < NODES; n++)
            seats[n] = (es_seat){(es_seat_rank)(rand_r(&seed) % 3), 1000.0 * (rand_r(&seed) % 9 + 1),
                                 1000.0 * (rand_r(&seed) % 9 + 1), (double)(rand_r(&seed) % 9)};
        drawn d;
        draw(&d, 1 + round % ROWS, &seed);
        es_work all, works[NODES + 1];
        es_err err;
        assert_int_equal(es_plan_begin(plan, t.holders, 1, &d.batch, &all, &err), ES_OK);
        assert_int_equal(es_plan_assign(plan, t.holders, 1, &all, seats, NODES, works, &err), ES_OK);
        memset(done, 0, sizeof done);
        double cost = 0;
        for (size_t n = 0; n <= NODES; n++) {
            count_work(&works[n], done);
            cost += works[n].cost;
            for (size_t p = 0; p < works[n].pairs; p++) {
                if (n < NODES &&
                    (seats[n].rank == ES_SEAT_NONE || !holds(&t, n, works[n].expert[p], works[n].chunks[p])))
                    fail_msg("round %u: node %zu got expert %u", round, n, works[n].expert[p]);
                for (size_t other = 0; other < NODES && n == NODES; other++)
                    if (seats[other].rank != ES_SEAT_NONE &&
                        holds(&t, other, works[n].expert[p], works[n].chunks[p]))
                        fail_msg("round %u: expert %u was left out", round, works[n].expert[p]);
            }
        }
        for (size_t p = 0; p < d.first[d.rows.count]; p++)
            for (size_t c = 0; c < CHUNKS; c++)
                if (done[p][c] != 1)
                    fail_msg("round %u: chunk %zu of pair %zu is computed %u times", round, c, p, done[p][c]);
        assert_true(d.first[d.rows.count] == 0 || cost > 0);
        es_plan_destroy(&plan);
        es_holders_destroy(&t.holders);
    }
}

static void busy_and_slow_nodes_get_less(void **state)
{
    (void)state;
    table t;
    table_open(&t);
    for (size_t n = 0; n < 4; n++) hold(&t, n, (es_units){1, 0, EXPERTS, 0, 1});
    fill(&t);
    es_plan *plan = open_plan(&t);
    es_rows rows = {.count = 1};
    uint32_t first[] = {0, EXPERTS}, expert[EXPERTS];
    float weight[EXPERTS];
    for (uint32_t e = 0; e < EXPERTS; e++) expert[e] = e, weight[e] = 1;
    es_expert_batch batch = {&rows, first, expert, weight};
    es_seat seats[NODES] = {{ES_SEAT_GOOD, 1, 1000, 0},
                            {ES_SEAT_GOOD, 1, 1000, 0},
                            {ES_SEAT_GOOD, 1, 3000, 0},
                            {ES_SEAT_GOOD, 100000, 1000, 0}};
    es_work all, works[NODES + 1];
    es_err err;
    assert_int_equal(es_plan_begin(plan, t.holders, 1, &batch, &all, &err), ES_OK);
    assert_int_equal(es_plan_assign(plan, t.holders, 1, &all, seats, NODES, works, &err), ES_OK);
    assert_int_equal(works[0].pairs, 7);
    assert_int_equal(works[1].pairs, 7);
    assert_int_equal(works[2].pairs, 2);
    assert_int_equal(works[3].pairs, 0); /* far away */
    assert_int_equal(works[NODES].pairs, 0);
    seats[0].rank = seats[1].rank = ES_SEAT_DOUBT;
    assert_int_equal(es_plan_assign(plan, t.holders, 1, &all, seats, NODES, works, &err), ES_OK);
    assert_int_equal(works[0].pairs + works[1].pairs, 0);
    assert_int_equal(works[2].pairs, EXPERTS);
    while (es_plan_assign(plan, t.holders, 1, &all, seats, NODES, works, &err) == ES_OK) continue;
    assert_string_equal(err.text, "its work was given out too often");
    es_plan_destroy(&plan);
    es_holders_destroy(&t.holders);
}

static void too_many_rows_are_refused(void **state)
{
    (void)state;
    table t;
    table_open(&t);
    es_plan *plan = open_plan(&t);
    es_err err;
    es_work all;
    es_rows rows = {.count = ROWS + 1};
    const uint32_t first[ROWS + 2] = {0};
    es_expert_batch batch = {&rows, first, NULL, NULL};
    assert_int_equal(es_plan_begin(plan, t.holders, 1, &batch, &all, &err), ES_INVALID);
    es_plan_destroy(&plan);
    es_holders_destroy(&t.holders);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_missing_expert_or_slice_is_named),
        cmocka_unit_test(what_the_model_does_not_have_is_refused),
        cmocka_unit_test(the_smallest_cut_that_is_complete_is_used),
        cmocka_unit_test(every_slice_of_every_pair_goes_to_one_holder),
        cmocka_unit_test(busy_and_slow_nodes_get_less),
        cmocka_unit_test(too_many_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
