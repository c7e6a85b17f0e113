/* What every plan keeps, whatever the machines: tried on random ones. A failure prints its seed. */
#include "cluster/planner.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "with_cmocka.h"

enum { LAYERS_MAX = 6, EXPERTS_MAX = 64, NODES_MAX = 14, ROUNDS = 1500 };

/* A request and all that it borrows. */
typedef struct trial {
    uint64_t random;
    es_planner_request request;
    es_planner_node nodes[NODES_MAX];
    uint32_t layers[LAYERS_MAX];
    uint64_t cell_bytes[LAYERS_MAX];
    double heat[LAYERS_MAX * EXPERTS_MAX];
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
} trial;

static size_t draw(trial *t, size_t below)
{
    t->random = t->random * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(t->random >> 33) % below;
}

static void draw_nodes(trial *t, double needed_bytes)
{
    es_planner_request *r = &t->request;
    size_t racks = draw(t, 3) == 0 ? 1 + draw(t, 5) : 0;
    double generous = 1.1 + (double)draw(t, 30) / 10;
    for (size_t n = 0; n < r->node_count; n++) {
        es_planner_node *node = &t->nodes[n];
        snprintf(node->name, sizeof node->name, "n%zu", (n * 7 + 3) % 101);
        node->rack[0] = '\0';
        if (racks > 0 && draw(t, 8) > 0) snprintf(node->rack, sizeof node->rack, "r%zu", draw(t, racks));
        node->bandwidth = draw(t, 10) == 0 ? 0 : (double)(1 + draw(t, 9)) * 1e10;
        double share = needed_bytes * generous / (double)r->node_count;
        node->memory_bytes = (uint64_t)(share * (0.4 + (double)draw(t, 16) / 10));
    }
}

static void draw_trial(trial *t, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    t->random = seed;
    draw(t, 2);
    es_planner_request *r = &t->request;
    r->mode = (es_placement_mode)draw(t, ES_PLACE_COUNT);
    r->node_count = 1 + draw(t, NODES_MAX);
    r->copies = 1 + draw(t, r->node_count < 4 ? r->node_count : 4);
    r->layer_count = 1 + draw(t, LAYERS_MAX);
    r->groups = (size_t)1 << draw(t, 4);
    r->experts = r->groups * (1 + draw(t, EXPERTS_MAX / r->groups));
    r->slices = r->mode == ES_PLACE_SLICE ? 1 + draw(t, 6) : 1;
    bool same = draw(t, 2) == 0;
    uint64_t first = 1 + draw(t, 1000000);
    double needed = 0;
    for (size_t l = 0; l < r->layer_count; l++) {
        t->layers[l] = (uint32_t)(3 + 2 * l);
        t->cell_bytes[l] = same ? first : first + draw(t, (size_t)(first / 4 + 1));
        needed += (double)(t->cell_bytes[l] * r->experts * r->slices * r->copies);
    }
    for (size_t i = 0; i < r->layer_count * r->experts; i++) t->heat[i] = (double)draw(t, 1000);
    draw_nodes(t, needed);
    r->nodes = t->nodes;
    r->layers = t->layers;
    r->cell_bytes = t->cell_bytes;
    r->heat = draw(t, 2) == 0 ? t->heat : NULL;
    r->fingerprint = t->fingerprint;
    r->epoch = (es_epoch){1, 1};
}

static const es_planner_node *node_named(const es_planner_request *r, const char *name)
{
    for (size_t n = 0; n < r->node_count; n++)
        if (strcmp(r->nodes[n].name, name) == 0) return &r->nodes[n];
    return NULL;
}

/* Every cell has its holders; no node more than its memory. Returns the copies placed. */
static size_t check_cover_and_memory(const trial *t, const es_document *d, size_t *ret_fewest)
{
    const es_planner_request *r = &t->request;
    size_t cells = es_document_cells(d), total = 0;
    uint8_t *held = calloc(cells, 1), *count = calloc(cells, 1);
    *ret_fewest = SIZE_MAX;
    for (size_t n = 0; n < d->node_count; n++) {
        uint64_t bytes = 0;
        es_document_held(d, &d->nodes[n], held);
        for (size_t c = 0; c < cells; c++) {
            count[c] = (uint8_t)(count[c] + held[c]);
            bytes += held[c] * t->cell_bytes[c / (r->experts * r->slices)];
        }
        assert_true(bytes <= node_named(r, d->nodes[n].name)->memory_bytes);
    }
    for (size_t c = 0; c < cells; c++) {
        total += count[c];
        *ret_fewest = count[c] < *ret_fewest ? count[c] : *ret_fewest;
        assert_in_range(count[c], 1, r->copies);
    }
    free(held);
    free(count);
    return total;
}

static void check_racks(const trial *t, const es_document *d)
{
    size_t cells = es_document_cells(d);
    uint8_t *mine = calloc(cells, 1), *theirs = calloc(cells, 1);
    for (size_t a = 0; a < d->node_count; a++)
        for (size_t b = a + 1; b < d->node_count; b++) {
            const char *rack = node_named(&t->request, d->nodes[a].name)->rack;
            if (rack[0] == '\0' || strcmp(rack, node_named(&t->request, d->nodes[b].name)->rack) != 0)
                continue;
            es_document_held(d, &d->nodes[a], mine);
            es_document_held(d, &d->nodes[b], theirs);
            for (size_t c = 0; c < cells; c++) assert_false(mine[c] && theirs[c]);
        }
    free(mine);
    free(theirs);
}

static size_t total_gains(const trial *t, const es_document *before, const es_document *after)
{
    es_planner_change changes[NODES_MAX];
    size_t gains = 0;
    es_err err;
    assert_int_equal(es_planner_compare(before, after, t->cell_bytes, changes, &err), ES_OK);
    for (size_t n = 0; n < after->node_count; n++) gains += changes[n].gains;
    return gains;
}

static es_document *reread(const es_document *d)
{
    size_t bytes;
    es_err err = {.text = ""};
    es_document *again;
    char *text = es_document_write(d, &bytes);
    assert_non_null(text);
    if (es_document_parse("plan", text, bytes, &again, &err) != ES_OK) fail_msg("%s", err.text);
    size_t bytes_again;
    char *text_again = es_document_write(again, &bytes_again);
    assert_string_equal(text, text_again);
    free(text);
    free(text_again);
    return again;
}

/* The memory is enough for what is asked, by the planner's own arithmetic kept simple: what each node can
 * hold, in cells of the largest size, with a few to spare. */
static bool surely_fits(const trial *t)
{
    const es_planner_request *r = &t->request;
    uint64_t largest = 1;
    size_t cells = 0, all = r->layer_count * r->experts * r->slices;
    for (size_t l = 0; l < r->layer_count; l++)
        largest = t->cell_bytes[l] > largest ? t->cell_bytes[l] : largest;
    for (size_t n = 0; n < r->node_count; n++) {
        size_t own = (size_t)(r->nodes[n].memory_bytes / largest);
        own = own > 2 * r->layer_count ? own - 2 * r->layer_count : 0;
        cells += own < all ? own : all;
    }
    return cells >= all * r->copies;
}

typedef struct tally {
    size_t planned, refused, apart, short_of, moved, least_moved;
} tally;

/* The newcomer's cells come from the others and nothing else moves: few more than it gets. */
static void check_join(trial *t, const es_document *before, const es_planner_report *earlier, tally *sum)
{
    es_planner_request *r = &t->request;
    es_planner_report report;
    es_document *after;
    es_err err = {.text = ""};
    if (r->node_count == NODES_MAX) return;
    t->nodes[r->node_count] = t->nodes[draw(t, r->node_count)];
    strcpy(t->nodes[r->node_count].name, "newcomer");
    t->nodes[r->node_count].rack[0] = '\0';
    r->node_count++;
    r->before = before;
    if (es_planner_plan(r, &after, &report, &err) != ES_OK) fail_msg("%s", err.text);
    size_t fewest, gains = total_gains(t, before, after), own = 0;
    check_cover_and_memory(t, after, &fewest);
    const es_document_node *newcomer = es_document_find(after, "newcomer");
    for (size_t u = 0; u < newcomer->unit_count; u++) own += newcomer->units[u].expert_count;
    assert_true(gains >= own);
    sum->moved += gains;
    sum->least_moved += own;
    /* Rounding may shift a cell a layer between old nodes. */
    if (report.racks_apart == earlier->racks_apart && report.short_cells == 0 && earlier->short_cells == 0)
        assert_true(gains <= own + own / 4 + 3 * r->layer_count * r->node_count);
    es_document_destroy(&after);
    r->node_count--;
    r->before = NULL;
}

/* What the leaver held goes to others, and little else moves. */
static void check_leave(trial *t, const es_document *before, tally *sum)
{
    es_planner_request *r = &t->request;
    es_planner_report report;
    es_document *after;
    es_err err = {.text = ""};
    if (r->node_count <= r->copies) return;
    es_planner_node gone = t->nodes[--r->node_count];
    r->before = before;
    if (surely_fits(t)) {
        size_t own = 0, fewest;
        const es_document_node *leaver = es_document_find(before, gone.name);
        for (size_t u = 0; u < leaver->unit_count; u++) own += leaver->units[u].expert_count;
        if (es_planner_plan(r, &after, &report, &err) != ES_OK) fail_msg("%s", err.text);
        check_cover_and_memory(t, after, &fewest);
        size_t gains = total_gains(t, before, after);
        sum->moved += gains;
        sum->least_moved += own;
        es_document_destroy(&after);
    }
    t->nodes[r->node_count++] = gone;
    r->before = NULL;
}

static void check_plan(trial *t, const es_document *d, const es_planner_report *report, tally *sum)
{
    const es_planner_request *r = &t->request;
    size_t fewest, all = es_document_cells(d) * r->copies;
    size_t placed = check_cover_and_memory(t, d, &fewest);
    assert_int_equal(placed + report->short_cells, all);
    if (r->mode != ES_PLACE_REPLICATE) assert_int_equal(fewest, r->copies);
    if (report->racks_apart) check_racks(t, d);
    if (report->short_cells == 0) assert_true(report->share_error < 3);
    sum->apart += report->racks_apart;
    sum->short_of += report->short_cells > 0;
    /* The same again from its own result: nothing moves. */
    es_planner_report again_report;
    es_document *again;
    es_err err = {.text = ""};
    t->request.before = d;
    assert_int_equal(es_planner_plan(r, &again, &again_report, &err), ES_OK);
    t->request.before = NULL;
    if (report->short_cells == 0) assert_int_equal(total_gains(t, d, again), 0);
    es_document_destroy(&again);
    again = reread(d);
    assert_int_equal(total_gains(t, d, again), 0);
    es_document_destroy(&again);
}

static uint64_t seed_at_work;

static int say_seed(void **state)
{
    (void)state;
    if (seed_at_work != 0) print_error("failed with seed %" PRIu64 "\n", seed_at_work);
    return 0;
}

static void every_plan_covers_every_cell_within_memory(void **state)
{
    (void)state;
    tally sum = {0};
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        static trial t;
        es_planner_report report;
        es_document *d;
        es_err err = {.text = ""};
        seed_at_work = seed;
        draw_trial(&t, seed);
        es_status status = es_planner_plan(&t.request, &d, &report, &err);
        if (status != ES_OK) {
            sum.refused++;
            if (status != ES_NO_MEMORY || surely_fits(&t)) fail_msg("seed %" PRIu64 ": %s", seed, err.text);
            continue;
        }
        sum.planned++;
        check_plan(&t, d, &report, &sum);
        check_join(&t, d, &report, &sum);
        check_leave(&t, d, &sum);
        es_document_destroy(&d);
    }
    assert_true(sum.planned > ROUNDS / 2 && sum.refused > 0 && sum.apart > 0 && sum.short_of > 0);
    seed_at_work = 0;
    /* Over all trials: what moves beyond the least is little. */
    assert_true((double)sum.moved < 1.1 * (double)sum.least_moved);
}

/* R1 on machines given by their memory in GB and bandwidth in GB/s. */
static void draw_r1(trial *t, es_placement_mode mode, size_t copies, size_t slices)
{
    static uint32_t layers[58];
    static uint64_t bytes[58];
    for (uint32_t l = 0; l < 58; l++) {
        layers[l] = l + 3;
        bytes[l] = 24772608 / slices;
    }
    memset(t, 0, sizeof *t);
    t->request = (es_planner_request){.nodes = t->nodes,
                                      .layers = layers,
                                      .layer_count = 58,
                                      .experts = 256,
                                      .groups = 8,
                                      .cell_bytes = bytes,
                                      .mode = mode,
                                      .copies = copies,
                                      .slices = slices,
                                      .fingerprint = t->fingerprint};
}

static void add_machine(trial *t, double memory_gb, double bandwidth_gb, const char *rack)
{
    es_planner_node *node = &t->nodes[t->request.node_count++];
    snprintf(node->name, sizeof node->name, "m%02zu", t->request.node_count);
    strcpy(node->rack, rack);
    node->memory_bytes = (uint64_t)(memory_gb * 1e9);
    node->bandwidth = bandwidth_gb * 1e9;
}

static size_t cells_of(const es_document_node *node)
{
    size_t cells = 0;
    for (size_t u = 0; u < node->unit_count; u++) cells += node->units[u].expert_count;
    return cells;
}

static es_document *plan_of(trial *t, es_planner_report *ret_report)
{
    es_document *d;
    es_err err = {.text = ""};
    if (es_planner_plan(&t->request, &d, ret_report, &err) != ES_OK) fail_msg("%s", err.text);
    return d;
}

static void shares_follow_bandwidth_until_memory_is_full(void **state)
{
    (void)state;
    static trial t;
    es_planner_report report;
    draw_r1(&t, ES_PLACE_STRIPE, 1, 1);
    add_machine(&t, 300, 100, "");
    add_machine(&t, 300, 50, "");
    add_machine(&t, 300, 50, "");
    es_document *d = plan_of(&t, &report);
    assert_in_range(cells_of(&d->nodes[0]), 58 * 128 - 1, 58 * 128 + 1);
    assert_true(report.share_error < 1.5);
    es_document_destroy(&d);
    t.nodes[0].memory_bytes = 24772608ull * 1000; /* the fast one holds a thousand experts */
    d = plan_of(&t, &report);
    assert_int_equal(cells_of(&d->nodes[0]), 1000);
    assert_in_range(cells_of(&d->nodes[1]), (58 * 256 - 1000) / 2 - 1, (58 * 256 - 1000) / 2 + 1);
    es_document_destroy(&d);
}

static void memory_that_is_just_enough_is_enough(void **state)
{
    (void)state;
    static trial t;
    es_planner_report report;
    es_document *d;
    es_err err = {.text = ""};
    draw_r1(&t, ES_PLACE_GROUP, 2, 1);
    for (size_t n = 0; n < 7; n++) add_machine(&t, 0, (double)(n + 1) * 10, "");
    for (size_t n = 0; n < 7; n++) t.nodes[n].memory_bytes = 24772608ull * (n < 2 ? 4243 : 4242);
    assert_int_equal(5 * 4242 + 2 * 4243, 58 * 256 * 2);
    d = plan_of(&t, &report);
    assert_int_equal(cells_of(&d->nodes[0]), 4243);
    es_document_destroy(&d);
    t.nodes[3].memory_bytes--;
    assert_int_equal(es_planner_plan(&t.request, &d, &report, &err), ES_NO_MEMORY);
    assert_string_equal(err.text, "placement: 2 copies of all experts need 735.647 GB, the 7 nodes hold "
                                  "735.623 GB");
}

static void modes_lay_experts_as_they_say(void **state)
{
    (void)state;
    static trial t;
    es_planner_report report;
    draw_r1(&t, ES_PLACE_GROUP, 1, 1);
    for (size_t n = 0; n < 8; n++) add_machine(&t, 100, 50, "");
    es_document *d = plan_of(&t, &report);
    for (size_t n = 0; n < 8; n++) { /* whole groups of the router */
        assert_int_equal(d->nodes[n].unit_count, 58);
        assert_int_equal(d->nodes[n].units[0].expert_first, 32 * n);
        assert_int_equal(d->nodes[n].units[0].expert_count, 32);
    }
    es_document_destroy(&d);
    t.request.mode = ES_PLACE_STRIPE;
    d = plan_of(&t, &report);
    uint8_t *held = calloc(es_document_cells(d), 1);
    for (size_t n = 0; n < 8; n++) { /* four experts of each group */
        es_document_held(d, &d->nodes[n], held);
        for (size_t g = 0; g < 8; g++) {
            size_t here = 0;
            for (size_t e = 32 * g; e < 32 * (g + 1); e++) here += held[e];
            assert_int_equal(here, 4);
        }
    }
    free(held);
    es_document_destroy(&d);
    draw_r1(&t, ES_PLACE_SLICE, 1, 8);
    for (size_t n = 0; n < 8; n++) add_machine(&t, 100, 50, "");
    d = plan_of(&t, &report);
    for (size_t n = 0; n < 8; n++) { /* one slice of every expert */
        assert_int_equal(d->nodes[n].unit_count, 58);
        assert_int_equal(d->nodes[n].units[0].slice, n);
        assert_int_equal(d->nodes[n].units[0].expert_count, 256);
    }
    es_document_destroy(&d);
}

static void hot_experts_are_copied_first_and_spread(void **state)
{
    (void)state;
    static trial t;
    static double heat[58 * 256];
    es_planner_report report;
    draw_r1(&t, ES_PLACE_REPLICATE, 2, 1);
    for (size_t i = 0; i < 58 * 256; i++) heat[i] = 1000.0 / (double)(1 + i * 37 % 256); /* Zipf, shuffled */
    t.request.heat = heat;
    for (size_t n = 0; n < 8; n++) add_machine(&t, 24772608e-9 * 58 * 48 + 0.001, 50, ""); /* 1.5 copies */
    es_document *d = plan_of(&t, &report);
    assert_int_equal(report.short_cells, 58 * 128);
    uint8_t *held = calloc(es_document_cells(d), 1), *count = calloc(es_document_cells(d), 1);
    double load[8] = {0}, sum = 0, most = 0;
    for (size_t n = 0; n < 8; n++) {
        es_document_held(d, &d->nodes[n], held);
        for (size_t c = 0; c < es_document_cells(d); c++) count[c] = (uint8_t)(count[c] + held[c]);
    }
    for (size_t n = 0; n < 8; n++) {
        es_document_held(d, &d->nodes[n], held);
        for (size_t c = 0; c < es_document_cells(d); c++) load[n] += held[c] ? heat[c] / count[c] : 0;
        sum += load[n];
        most = load[n] > most ? load[n] : most;
    }
    for (size_t c = 0; c < es_document_cells(d); c++) { /* the hotter half has two copies */
        bool hot = c * 37 % 256 < 128;
        assert_int_equal(count[c], hot ? 2 : 1);
    }
    assert_true(most < 1.05 * sum / 8);
    free(held);
    free(count);
    es_document_destroy(&d);
}

static void requests_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    static trial t;
    es_planner_report report;
    es_document *d;
    es_err err;
    draw_r1(&t, ES_PLACE_GROUP, 3, 1);
    add_machine(&t, 800, 50, "");
    add_machine(&t, 800, 50, "");
    assert_int_equal(es_planner_plan(&t.request, &d, &report, &err), ES_INVALID);
    assert_string_equal(err.text, "planner: 3 copies on different nodes, but there are only 2");
    t.request.copies = 1;
    strcpy(t.nodes[1].name, t.nodes[0].name);
    assert_int_equal(es_planner_plan(&t.request, &d, &report, &err), ES_INVALID);
    assert_string_equal(err.text, "planner: two nodes are called m01");
    strcpy(t.nodes[1].name, "a b");
    assert_int_equal(es_planner_plan(&t.request, &d, &report, &err), ES_INVALID);
    strcpy(t.nodes[1].name, "b");
    t.nodes[1].bandwidth = NAN;
    assert_int_equal(es_planner_plan(&t.request, &d, &report, &err), ES_INVALID);
    t.nodes[1].bandwidth = 0;
    t.request.slices = 2;
    assert_int_equal(es_planner_plan(&t.request, &d, &report, &err), ES_INVALID);
    assert_string_equal(err.text, "planner: mode group does not slice experts");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_plan_covers_every_cell_within_memory, say_seed),
        cmocka_unit_test(shares_follow_bandwidth_until_memory_is_full),
        cmocka_unit_test(memory_that_is_just_enough_is_enough),
        cmocka_unit_test(modes_lay_experts_as_they_say),
        cmocka_unit_test(hot_experts_are_copied_first_and_spread),
        cmocka_unit_test(requests_that_make_no_sense_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
