/* Placements that change while layers are computed: every sum is that of one process, and no call fails. */
#include "base/clock.h"
#include "cluster/placement_model.h"
#include "dispatch/fixture.h"
#include "members/members.h"
#include "units/store_fixture.h"
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

enum { CHANGE_S = 60, BATCHES = 3 };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

/* Nodes that hold nothing, a registry that names them, and a swarm that follows it. */
typedef struct fleet {
    reference r;
    nodes n;
    char folder[TEST_PATH_MAX], registry_folder[TEST_PATH_MAX + 16], epoch_file[TEST_PATH_MAX + 16];
    const char *model_path;
    es_registry *registry;
    es_swarm *swarm;
    es_membership *members;
    es_arena *arena;
    es_placement_model model;
    es_document *stands;
    batch batches[BATCHES];
    size_t calls;
} fleet;

static void add_record(fleet *f, size_t node)
{
    es_node_record record = {.state = ES_MEMBER_JOINING};
    snprintf(record.name, sizeof record.name, "n%zu", node + 1);
    snprintf(record.control, sizeof record.control, "%s", f->n.control[node]);
    MUST(es_registry_renew(f->registry, &record, &must_err));
}

static es_status start_members(fleet *f, es_err *err)
{
    const es_membership_options members = {.registry = f->registry,
                                           .embedded = true,
                                           .swarm = f->swarm,
                                           .shape = &f->r.model->shape,
                                           .fingerprint = f->r.model->fingerprint,
                                           .model = f->model_path,
                                           .row_format = ES_ROWS_Q8,
                                           .epoch_file = f->epoch_file,
                                           .replace_after_s = 3600};
    return es_membership_create(&members, &f->members, err);
}

static void fleet_open(fleet *f, const char *model, size_t count)
{
    static const char *const SIZES[] = {"1G", "512M", "256M", "2G", "384M"};
    memset(f, 0, sizeof *f);
    use_model(model);
    folder_make(f->folder);
    reference_open(&f->r);
    for (size_t i = 0; i < count; i++) {
        const char *const more[] = {"--memory", SIZES[i % 5], NULL};
        nodes_add(&f->n, "none", more);
    }
    snprintf(f->registry_folder, sizeof f->registry_folder, "%s/registry", f->folder);
    MUST(es_registry_open_embedded(f->registry_folder, 0, &f->registry, &must_err));
    es_swarm_options options = swarm_options(&f->r, &f->n);
    options.node_count = 0;
    f->swarm = swarm_open(&options);
    f->model_path = model;
    snprintf(f->epoch_file, sizeof f->epoch_file, "%s/epoch", f->folder);
    MUST(start_members(f, &must_err));
    for (size_t i = 0; i < count; i++) add_record(f, i);
    f->arena = es_arena_create();
    MUST(es_placement_model_read(model, f->arena, &f->model, &must_err));
    for (size_t i = 0; i < BATCHES; i++)
        batch_fill(&f->batches[i], &f->r, ES_ROWS_Q8, i == 0 ? 1 : 13 * i, (unsigned)(7 + i));
}

static void fleet_close(fleet *f)
{
    es_membership_destroy(&f->members);
    es_swarm_destroy(&f->swarm);
    es_registry_close(&f->registry);
    es_document_destroy(&f->stands);
    es_arena_destroy(&f->arena);
    for (size_t i = 0; i < BATCHES; i++) batch_free(&f->batches[i]);
    nodes_stop(&f->n);
    reference_close(&f->r);
    folder_remove(f->folder);
    use_model(NULL);
}

/* Plans for the nodes whose bits are set, with bandwidths that are none of them alike, and makes that valid
 * instead of the epoch that stands in the registry. */
static void apply_as(fleet *f, es_placement_mode mode, size_t copies, size_t slices, unsigned who,
                     es_epoch stands, es_epoch next)
{
    es_planner_node machines[NODES_MAX] = {{.memory_bytes = 0}};
    uint64_t cells[64];
    es_document *d;
    es_planner_report report;
    size_t count = 0;
    double heat[64 * 64];
    for (size_t i = 0; i < 64 * 64; i++) heat[i] = (double)(i * 7919 % 97);
    for (size_t i = 0; i < f->n.count; i++) {
        if ((who >> i & 1) == 0) continue;
        snprintf(machines[count].name, sizeof machines[count].name, "n%zu", i + 1);
        machines[count].memory_bytes = (uint64_t)1 << 30;
        machines[count++].bandwidth = 1e9 * (double)(i + 1);
    }
    assert_true(f->model.layer_count <= 64 && f->model.shape.experts <= 64);
    MUST(es_placement_model_cells(&f->model, slices, cells, &must_err));
    const es_planner_request request = {.nodes = machines,
                                        .node_count = count,
                                        .layers = f->model.layers,
                                        .layer_count = f->model.layer_count,
                                        .experts = f->model.shape.experts,
                                        .groups = f->model.shape.groups,
                                        .cell_bytes = cells,
                                        .mode = mode,
                                        .copies = copies,
                                        .slices = slices,
                                        .heat = mode == ES_PLACE_REPLICATE ? heat : NULL,
                                        .before = f->stands,
                                        .fingerprint = f->r.model->fingerprint,
                                        .epoch = next};
    MUST(es_planner_plan(&request, &d, &report, &must_err));
    MUST(es_registry_swap(f->registry, stands, d, es_clock_now_ns() + 5000000000u, &must_err));
    es_document_destroy(&f->stands);
    f->stands = d;
}

static void apply(fleet *f, es_placement_mode mode, size_t copies, size_t slices, unsigned who)
{
    es_epoch before = f->stands != NULL ? f->stands->epoch : (es_epoch){0, 0};
    apply_as(f, mode, copies, slices, who, before, (es_epoch){1, before.counter + 1});
}

/* The placement that stands is in force, and nobody holds anything else. */
static bool arrived(fleet *f)
{
    es_member_info infos[NODES_MAX];
    es_membership_info info = es_membership_get(f->members, infos, NODES_MAX);
    if (es_epoch_number(info.in_force) != es_epoch_number(f->stands->epoch)) return false;
    for (size_t i = 0; i < info.member_count; i++)
        if (infos[i].missing > 0 || infos[i].surplus > 0) return false;
    return true;
}

/* Computes layers until the change has come true. */
static void load_until_arrived(fleet *f)
{
    uint64_t deadline_ns = es_clock_now_ns() + CHANGE_S * UINT64_C(1000000000);
    while (!arrived(f)) {
        size_t layer = f->model.layers[f->calls % f->model.layer_count];
        assert_swarm_equals(f->swarm, &f->r, layer, &f->batches[f->calls++ % BATCHES]);
        if (es_clock_now_ns() < deadline_ns) continue;
        es_membership_info info = es_membership_get(f->members, NULL, 0);
        fail_msg("placement %u is not in force after %d s: %s", f->stands->epoch.counter, CHANGE_S, info.why);
    }
    for (size_t i = 0; i < BATCHES; i++)
        assert_swarm_equals(f->swarm, &f->r, f->model.layers[0], &f->batches[i]);
}

/* The first has nobody to ask yet. */
static void wait_until_held(fleet *f)
{
    uint64_t deadline_ns = es_clock_now_ns() + CHANGE_S * UINT64_C(1000000000);
    es_err err = {.text = ""};
    while (es_swarm_missing(f->swarm, &err) != ES_OK) {
        es_swarm_tend(f->swarm);
        zmq_poll(NULL, 0, 5);
        if (es_clock_now_ns() > deadline_ns) fail_msg("%s", err.text);
    }
}

static void modes_and_nodes_change_under_a_load(void **state)
{
    (void)state;
    fleet f;
    fleet_open(&f, tiny_r1(), 5);
    apply(&f, ES_PLACE_GROUP, 1, 1, 0x01);
    wait_until_held(&f);
    load_until_arrived(&f);
    apply(&f, ES_PLACE_STRIPE, 2, 1, 0x1f); /* one node to five, none like another */
    load_until_arrived(&f);
    apply(&f, ES_PLACE_REPLICATE, 3, 1, 0x1e); /* without the one that had it all */
    load_until_arrived(&f);
    apply(&f, ES_PLACE_GROUP, 1, 1, 0x11); /* all but one copy of everything goes */
    load_until_arrived(&f);
    apply(&f, ES_PLACE_GROUP, 1, 1, 0x0e); /* to others altogether */
    load_until_arrived(&f);
    assert_true(f.calls > 5);
    fleet_close(&f);
}

static void experts_are_cut_and_made_whole_under_a_load(void **state)
{
    (void)state;
    fleet f;
    fleet_open(&f, wide_v3(), 3);
    apply(&f, ES_PLACE_GROUP, 1, 1, 0x1);
    wait_until_held(&f);
    load_until_arrived(&f);
    apply(&f, ES_PLACE_SLICE, 1, 3, 0x7);
    load_until_arrived(&f);
    apply(&f, ES_PLACE_SLICE, 1, 2, 0x6);
    load_until_arrived(&f);
    apply(&f, ES_PLACE_STRIPE, 2, 1, 0x7);
    load_until_arrived(&f);
    fleet_close(&f);
}

static void a_node_that_was_started_anew_gets_its_experts_back(void **state)
{
    (void)state;
    fleet f;
    fleet_open(&f, tiny_r1(), 2);
    apply(&f, ES_PLACE_GROUP, 2, 1, 0x3);
    wait_until_held(&f);
    load_until_arrived(&f);
    nodes_restart(&f.n, 0, "none");
    uint64_t deadline_ns = es_clock_now_ns() + CHANGE_S * UINT64_C(1000000000);
    es_member_info infos[NODES_MAX];
    do {
        assert_swarm_equals(f.swarm, &f.r, 1, &f.batches[f.calls++ % BATCHES]);
        es_membership_get(f.members, infos, NODES_MAX);
        assert_true(es_clock_now_ns() < deadline_ns);
    } while (es_swarm_node(f.swarm, 0).experts == 0 || infos[0].missing > 0);
    fleet_close(&f);
}

static void run(const char *format, const fleet *f)
{
    char command[1024];
    snprintf(command, sizeof command, format, f->folder, f->registry_folder);
    assert_int_equal(system(command), 0);
}

/* By work that goes on. */
static void wait_until_refused(fleet *f)
{
    uint64_t deadline_ns = es_clock_now_ns() + CHANGE_S * UINT64_C(1000000000);
    es_membership_info info;
    do {
        assert_swarm_equals(f->swarm, &f->r, 1, &f->batches[f->calls++ % BATCHES]);
        info = es_membership_get(f->members, NULL, 0);
        if (es_clock_now_ns() > deadline_ns) fail_msg("it says: %s", info.why);
    } while (strstr(info.why, "placement 1.1 is not followed: it is older than 1.2") == NULL);
}

/* As an attacker without a key does it, or an operator who restores a backup. */
static void a_placement_that_is_put_back_is_not_followed(void **state)
{
    (void)state;
    fleet f;
    fleet_open(&f, tiny_r1(), 2);
    apply(&f, ES_PLACE_GROUP, 1, 1, 0x1);
    wait_until_held(&f);
    load_until_arrived(&f);
    run("cp -a %2$s %1$s/backup", &f);
    apply(&f, ES_PLACE_GROUP, 1, 1, 0x2);
    load_until_arrived(&f);
    run("cp -a %1$s/backup/. %2$s", &f);
    wait_until_refused(&f);
    for (int look = 0; look < 50; look++) { /* and nothing moves */
        assert_swarm_equals(f.swarm, &f.r, 1, &f.batches[f.calls++ % BATCHES]);
        zmq_poll(NULL, 0, 5);
    }
    assert_true(arrived(&f));
    /* nor by a coordinator that was away meanwhile; without its file it would have to believe it */
    es_membership_destroy(&f.members);
    MUST(start_members(&f, &must_err));
    wait_until_refused(&f);
    assert_true(es_epoch_number(es_membership_get(f.members, NULL, 0).wanted) == 0);
    /* the way on */
    apply_as(&f, ES_PLACE_GROUP, 2, 1, 0x3, (es_epoch){1, 1}, (es_epoch){2, 1});
    load_until_arrived(&f);
    assert_string_equal(es_membership_get(f.members, NULL, 0).why, "");
    /* a file that was spoilt is no reason to believe anything */
    es_err err = {.text = ""};
    es_membership_destroy(&f.members);
    run("test \"$(cat %1$s/epoch)\" = 2.1 && echo 2.x > %1$s/epoch", &f);
    assert_int_equal(start_members(&f, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "epoch \"2.x\": write GENERATION.COUNTER"));
    assert_non_null(strstr(err.text, f.epoch_file));
    fleet_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_and_nodes_change_under_a_load),
        cmocka_unit_test(experts_are_cut_and_made_whole_under_a_load),
        cmocka_unit_test(a_node_that_was_started_anew_gets_its_experts_back),
        cmocka_unit_test(a_placement_that_is_put_back_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
