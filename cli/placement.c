/* essaim placement: which node holds which experts: shown, planned, applied. */
#include "base/clock.h"
#include "base/file.h"
#include "cli/commands.h"
#include "cli/fleet.h"
#include "cluster/placement_model.h"
#include "cluster/planner.h"
#include "cluster/registry_options.h"
#include "cluster/signature.h"
#include "planner/machine.h"
#include "weights/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOW, PLAN, APPLY };
static const char *const ACTIONS[] = {"show", "plan", "apply", NULL};
enum { WAIT_MS = 15000 };

typedef struct placement_values {
    const char *action, *file;
    es_registry_options registry;
    const char *model, *machines, *heat, *out, *replaces, *keys;
    int mode;
    size_t copies, slices;
    bool afresh, create, json, mode_given, copies_given, slices_given, new_generation;
} placement_values;

/* The action's index, or the number of them. */
static int action_of(const placement_values *v)
{
    int action = 0;
    while (ACTIONS[action] != NULL && strcmp(ACTIONS[action], v->action) != 0) action++;
    return action;
}

static uint64_t deadline(void)
{
    return es_clock_now_ns() + WAIT_MS * 1000000ull;
}

static es_status read_document(const char *path, es_document **ret_document, es_err *err)
{
    char *text;
    size_t bytes;
    es_status status = es_file_read(path, ES_DOCUMENT_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_document_parse(path, text, bytes, ret_document, err);
    free(text);
    return status;
}

static size_t cells_of(const es_document_node *node)
{
    size_t cells = 0;
    for (size_t u = 0; u < node->unit_count; u++) cells += node->units[u].expert_count;
    return cells;
}

/* fleet: who is there, NULL where nobody knows. */
static void print_document(const es_document *d, const cli_fleet *fleet)
{
    char epoch[ES_EPOCH_TEXT_MAX], fingerprint[ES_FINGERPRINT_TEXT_MAX], who[ES_SIGNER_TEXT_BYTES];
    es_epoch_format(d->epoch, epoch);
    es_fingerprint_format(d->fingerprint, fingerprint);
    printf("epoch %s: %s, %zu cop%s, %zu layers of %zu experts", epoch, ES_PLACEMENT_MODES[d->mode],
           d->copies, d->copies == 1 ? "y" : "ies", d->layer_count, d->experts);
    if (d->slices > 1) printf(" in %zu slices", d->slices);
    printf("\nmodel %s%s%s\n", fingerprint, d->sums != NULL ? ", checksums of all experts" : "",
           d->formats != NULL ? " and their formats"
           : d->sums != NULL  ? " without their formats: nothing can be fetched until it is planned anew"
                              : "");
    if (d->is_signed) {
        es_signer_format(d->signer, who);
        printf("signed by %s\n", who);
    }
    for (size_t n = 0; n < d->node_count; n++) {
        const cli_fleet_node *node = fleet != NULL ? cli_fleet_find(fleet, d->nodes[n].name) : NULL;
        printf("  %-24s %8zu%s%s\n", d->nodes[n].name, cells_of(&d->nodes[n]), fleet != NULL ? "  " : "",
               fleet == NULL                      ? ""
               : node != NULL && node->registered ? cli_fleet_state(node)
                                                  : "not there");
    }
}

/* What stands in the registry, and who is there. */
static es_status read_current(const placement_values *v, cli_fleet *ret_fleet, es_err *err)
{
    es_registry *registry;
    es_status status = es_registry_open(&v->registry, &registry, err);
    if (status != ES_OK) return status;
    status = cli_fleet_read(registry, ret_fleet, err);
    es_registry_close(&registry);
    if (status == ES_OK && ret_fleet->document == NULL)
        status = es_err_set(err, ES_NOT_FOUND, "registry: there is no placement yet");
    return status;
}

static es_status show(const placement_values *v, es_err *err)
{
    cli_fleet fleet = {.count = 0};
    es_document *from_file = NULL;
    es_status status =
        v->file != NULL ? read_document(v->file, &from_file, err) : read_current(v, &fleet, err);
    const es_document *d = v->file != NULL ? from_file : fleet.document;
    if (status == ES_OK && v->json) {
        size_t bytes;
        char *text = es_document_write(d, &bytes);
        if (text == NULL) status = es_err_set(err, ES_NO_MEMORY, "placement");
        if (text != NULL) puts(text);
        free(text);
    } else if (status == ES_OK) {
        print_document(d, v->file != NULL ? NULL : &fleet);
    }
    es_document_destroy(&from_file);
    cli_fleet_fini(&fleet);
    return status;
}

/* Everything a plan is made of. */
typedef struct planning {
    es_arena *arena;
    es_placement_model model;
    es_planner_node *nodes; /* [ES_DOCUMENT_NODES_MAX] */
    size_t node_count;
    double *heat;
    es_placement_mode mode;
    size_t copies, slices;
    uint64_t *cell_bytes; /* [model.layer_count] */
    es_document *before;
} planning;

/* All but those that only coordinate; machines of one host share its memory and bandwidth. */
static void take_machines(const es_machine *machines, size_t count, planning *p)
{
    for (size_t i = 0; i < count; i++) {
        const es_machine *m = &machines[i];
        size_t alike = 0;
        if (m->role == ES_ROLE_COORDINATOR) continue;
        for (size_t k = 0; k < count; k++)
            alike += machines[k].role != ES_ROLE_COORDINATOR && strcmp(machines[k].host, m->host) == 0;
        double room = es_machine_room(m, 0, alike);
        es_planner_node *node = &p->nodes[p->node_count++];
        strcpy(node->name, m->name);
        strcpy(node->rack, m->rack);
        node->memory_bytes = room > 0 ? (uint64_t)room : 0;
        node->bandwidth = m->read_bytes_per_s / (double)alike;
    }
}

static es_status read_machines(const char *path, planning *p, es_err *err)
{
    es_machine *machines = es_arena_take(p->arena, ES_MACHINES_MAX, sizeof *machines);
    size_t count = 0;
    if (machines == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", path);
    es_status status = es_machines_read(path, machines, ES_MACHINES_MAX, &count, err);
    if (status == ES_OK) take_machines(machines, count, p);
    if (status == ES_OK && p->node_count == 0)
        return es_err_set(err, ES_INVALID,
                          "%s: every machine's role is coordinator: none is left for experts", path);
    return status;
}
_Static_assert((int)ES_MACHINE_NAME_MAX == (int)ES_NAME_MAX && (int)ES_MACHINE_NAME_MAX == (int)ES_RACK_MAX &&
                   (int)ES_MACHINES_MAX <= (int)ES_DOCUMENT_NODES_MAX,
               "a machine is a node of a placement");

/* What is registered and does not drain. */
static es_status take_registered(es_registry *registry, planning *p, es_err *err)
{
    es_registry_view *view;
    es_status status = es_registry_view_get(registry, &view, err);
    if (status != ES_OK) return status;
    for (size_t n = 0; n < view->node_count; n++) {
        const es_node_record *record = &view->nodes[n];
        if (record->state == ES_MEMBER_DRAINING) continue;
        es_planner_node *node = &p->nodes[p->node_count++];
        strcpy(node->name, record->name);
        strcpy(node->rack, es_node_record_label(record, "rack"));
        node->memory_bytes = record->memory_bytes;
        node->bandwidth = (double)record->bandwidth_bytes;
    }
    es_registry_view_destroy(&view);
    if (p->node_count == 0)
        return es_err_set(err, ES_NOT_FOUND, "no node is registered that could hold experts");
    return ES_OK;
}

/* {"layers": {"3": [count of expert 0, …]}}, as counted by a coordinator; layers that are missing count as
 * cold. */
static es_status read_heat(const char *path, planning *p, es_err *err)
{
    char *text;
    size_t bytes, experts = p->model.shape.experts;
    json_t *object;
    es_status status = es_file_read(path, ES_DOCUMENT_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_json_parse(&(es_json_text){path, text, bytes}, &object, err);
    free(text);
    if (status != ES_OK) return status;
    const json_t *layers = json_object_get(object, "layers");
    p->heat = es_arena_take(p->arena, p->model.layer_count * experts, sizeof *p->heat);
    if (p->heat == NULL) status = es_err_set(err, ES_NO_MEMORY, "heat");
    if (status == ES_OK && !json_is_object(layers))
        status = es_err_set(err, ES_CORRUPT, "%s: layers: missing", path);
    for (size_t l = 0; l < p->model.layer_count && status == ES_OK; l++) {
        char key[16];
        snprintf(key, sizeof key, "%" PRIu32, p->model.layers[l]);
        const json_t *counts = json_object_get(layers, key);
        if (counts == NULL) continue;
        if (json_array_size(counts) != experts)
            status = es_err_set(err, ES_CORRUPT, "%s: layer %s: not %zu counts", path, key, experts);
        for (size_t e = 0; e < experts && status == ES_OK; e++) {
            double count = json_number_value(json_array_get(counts, e));
            if (!json_is_number(json_array_get(counts, e)) || !(count >= 0 && count < 1e15))
                status = es_err_set(err, ES_CORRUPT, "%s: layer %s: count %zu is none", path, key, e);
            p->heat[l * experts + e] = count;
        }
    }
    json_decref(object);
    return status;
}

/* What is not given is as it was before. */
static void settle(const placement_values *v, planning *p)
{
    const es_document *before = p->before;
    p->mode = v->mode_given || before == NULL ? (es_placement_mode)v->mode : before->mode;
    p->copies = v->copies_given || before == NULL ? v->copies : before->copies;
    p->slices = v->slices;
    if (!v->slices_given && p->mode == ES_PLACE_SLICE && before != NULL && before->mode == ES_PLACE_SLICE)
        p->slices = before->slices;
}

static es_status set_cell_bytes(planning *p, es_err *err)
{
    p->cell_bytes = es_arena_take(p->arena, p->model.layer_count, sizeof *p->cell_bytes);
    if (p->cell_bytes == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    es_status status = es_placement_model_cells(&p->model, p->slices, p->cell_bytes, err);
    return status == ES_OK ? ES_OK : es_err_prefix(err, "--slices");
}

static es_status gather(const placement_values *v, planning *p, es_err *err)
{
    es_registry *registry = NULL;
    bool registered = v->registry.folder != NULL || v->registry.etcd != NULL;
    p->arena = es_arena_create();
    p->nodes = p->arena != NULL ? es_arena_take(p->arena, ES_DOCUMENT_NODES_MAX, sizeof *p->nodes) : NULL;
    if (p->nodes == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    es_status status = es_placement_model_read(v->model, p->arena, &p->model, err);
    if (status == ES_OK && v->heat != NULL) status = read_heat(v->heat, p, err);
    if (status == ES_OK && registered) status = es_registry_open(&v->registry, &registry, err);
    if (status == ES_OK && registered) {
        status = es_registry_placement(registry, deadline(), &p->before, err);
        if (status == ES_NOT_FOUND) status = ES_OK;
    }
    if (status == ES_OK && v->file != NULL) status = read_document(v->file, &p->before, err);
    if (status == ES_OK && p->before != NULL)
        status = es_document_check(p->before, &p->model.shape, p->model.fingerprint, err);
    settle(v, p);
    if (status == ES_OK) status = set_cell_bytes(p, err);
    if (status == ES_OK)
        status = v->machines != NULL ? read_machines(v->machines, p, err) : take_registered(registry, p, err);
    es_registry_close(&registry);
    return status;
}

static es_status print_plan(const planning *p, const es_document *d, const es_planner_report *report,
                            es_err *err)
{
    char before[ES_EPOCH_TEXT_MAX] = "nothing";
    es_planner_change *changes = es_arena_take(p->arena, d->node_count, sizeof *changes);
    if (changes == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    es_status status = es_planner_compare(p->before, d, p->cell_bytes, changes, err);
    if (status != ES_OK) return status;
    if (p->before != NULL) es_epoch_format(p->before->epoch, before);
    print_document(d, NULL);
    printf("\nfrom %s:\n  %-24s %8s %8s %12s\n", before, "node", "gains", "drops", "loads, GB");
    uint64_t bytes = 0;
    for (size_t n = 0; n < d->node_count; n++) {
        printf("  %-24s %8zu %8zu %12.3f\n", d->nodes[n].name, changes[n].gains, changes[n].drops,
               (double)changes[n].gain_bytes / 1e9);
        bytes += changes[n].gain_bytes;
    }
    printf("moves %.3f GB; shares kept to %.1f cells%s\n", (double)bytes / 1e9, report->share_error,
           report->racks_apart ? "" : "; racks cannot be kept apart: copies stand on different nodes only");
    if (report->short_cells > 0)
        printf("memory is short: %zu cells have a copy less than asked for\n", report->short_cells);
    return ES_OK;
}

static es_status write_document(const char *path, const es_document *d, es_err *err)
{
    size_t bytes;
    char *text = es_document_write(d, &bytes);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    FILE *file = fopen(path, "w");
    bool written = file != NULL && fwrite(text, 1, bytes, file) == bytes && fputc('\n', file) != EOF;
    int cause = errno;
    written = file != NULL && fclose(file) == 0 && written;
    free(text);
    return written ? ES_OK : es_err_set(err, ES_IO, "%s: %s", path, strerror(cause));
}

static es_epoch next_epoch(const placement_values *v, const es_document *before)
{
    if (before == NULL) return (es_epoch){1, 1};
    if (v->new_generation) return (es_epoch){before->epoch.generation + 1, 1};
    return (es_epoch){before->epoch.generation, before->epoch.counter + 1};
}

static es_status plan(const placement_values *v, es_err *err)
{
    planning p = {.node_count = 0};
    es_document *d = NULL;
    es_planner_report report;
    es_status status = gather(v, &p, err);
    const es_planner_request request = {
        .nodes = p.nodes,
        .node_count = p.node_count,
        .layers = p.model.layers,
        .layer_count = p.model.layer_count,
        .experts = p.model.shape.experts,
        .groups = p.model.shape.groups,
        .cell_bytes = p.cell_bytes,
        .mode = p.mode,
        .copies = p.copies,
        .slices = p.slices,
        .heat = p.heat,
        .before = v->afresh ? NULL : p.before,
        .fingerprint = p.model.fingerprint,
        .epoch = next_epoch(v, p.before),
    };
    if (status == ES_OK) status = es_planner_plan(&request, &d, &report, err);
    if (status == ES_OK) es_placement_model_state(&p.model, d);
    if (status == ES_OK && v->json) {
        size_t bytes;
        char *text = es_document_write(d, &bytes);
        status = text != NULL ? ES_OK : es_err_set(err, ES_NO_MEMORY, "placement");
        if (text != NULL) puts(text);
        free(text);
    } else if (status == ES_OK) {
        status = print_plan(&p, d, &report, err);
    }
    if (status == ES_OK && v->out != NULL) status = write_document(v->out, d, err);
    es_document_destroy(&d);
    es_document_destroy(&p.before);
    es_arena_destroy(&p.arena);
    return status;
}

/* Whoever follows the registry wants to know who answers for it. */
static es_status sign(const placement_values *v, es_document *d, es_err *err)
{
    es_keys keys;
    es_signer signer;
    if (v->keys == NULL) return ES_OK;
    es_status status = es_keys_load(v->keys, &keys, err);
    if (status == ES_OK) status = es_signer_derive(&keys, &signer, err);
    if (status == ES_OK) status = es_document_sign(d, &signer, err);
    es_keys_wipe(&keys);
    es_signer_wipe(&signer);
    return status;
}

static es_status apply(const placement_values *v, es_err *err)
{
    es_registry *registry = NULL;
    es_document *d = NULL;
    es_epoch expected = {0, 0};
    char text[ES_EPOCH_TEXT_MAX], who[ES_SIGNER_TEXT_BYTES];
    es_status status = read_document(v->file, &d, err);
    if (status == ES_OK) status = sign(v, d, err);
    if (status == ES_OK && v->replaces != NULL)
        status = es_epoch_parse(v->replaces, &expected, err);
    else if (status == ES_OK && d->epoch.counter > 1)
        expected = (es_epoch){d->epoch.generation, d->epoch.counter - 1};
    if (status == ES_OK)
        status = v->create ? es_registry_open_or_create(&v->registry, &registry, err)
                           : es_registry_open(&v->registry, &registry, err);
    if (status == ES_OK) status = es_registry_swap(registry, expected, d, deadline(), err);
    if (status == ES_OK) {
        es_epoch_format(d->epoch, text);
        es_signer_format(d->signer, who);
        printf("epoch %s is valid, %s%s\n", text, d->is_signed ? "signed by " : "not signed",
               d->is_signed ? who : "");
    }
    es_registry_close(&registry);
    es_document_destroy(&d);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const placement_values *v = arg;
    int action = action_of(v);
    bool registered = v->registry.folder != NULL || v->registry.etcd != NULL;
    if (ACTIONS[action] == NULL)
        return es_err_set(err, ES_INVALID, "\"%.40s\": show, plan or apply", v->action);
    es_status status = es_registry_options_check(&v->registry, err);
    if (status != ES_OK) return status;
    if (action == SHOW && registered == (v->file != NULL))
        return es_err_set(err, ES_INVALID, "show what? A FILE, --registry FOLDER or --etcd URL");
    if (action == PLAN && v->model == NULL) return es_err_set(err, ES_INVALID, "plan: --model is needed");
    if (action == PLAN && !registered && v->machines == NULL)
        return es_err_set(err, ES_INVALID, "plan for whom? --machines FILE, --registry FOLDER or --etcd URL");
    if (action == PLAN && registered && v->file != NULL)
        return es_err_set(err, ES_INVALID, "plan: what stands now is the registry's: no FILE");
    if (action == PLAN && v->slices > 1 && v->mode_given && v->mode != ES_PLACE_SLICE)
        return es_err_set(err, ES_INVALID, "plan: --slices goes with --mode slice");
    if (action != APPLY && v->create) return es_err_set(err, ES_INVALID, "--create goes with apply");
    if (action == APPLY && (v->file == NULL || !registered))
        return es_err_set(err, ES_INVALID, "apply needs a FILE, and --registry FOLDER or --etcd URL");
    return ES_OK;
}

static es_status run(const void *arg, es_err *err)
{
    const placement_values *v = arg;
    int action = action_of(v);
    return action == SHOW ? show(v, err) : action == PLAN ? plan(v, err) : apply(v, err);
}

static const es_option OPTIONS[] = {
    {.name = "ACTION",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(placement_values, action),
     .positional = true,
     .required = true,
     .help = "show, plan or apply"},
    {.name = "FILE",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(placement_values, file),
     .positional = true,
     .help = "a placement document: to show, to apply, or that stands now when there is no registry"},
    {.name = "--json",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(placement_values, json),
     .help = "print the document itself"},
};

static const es_option PLAN_OPTIONS[] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "MODEL",
     .at = offsetof(placement_values, model),
     .help = "what is placed; a folder of shards gives exact sizes, checksums and formats"},
    {.name = "--machines",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(placement_values, machines),
     .fallback = "the registered nodes",
     .help = "machines as `essaim plan` reads them; those whose role is coordinator hold no experts"},
    {.name = "--mode",
     .kind = ES_OPTION_CHOICE,
     .choices = ES_PLACEMENT_MODES,
     .initial = "group",
     .at = offsetof(placement_values, mode),
     .given_at = offsetof(placement_values, mode_given),
     .help = "how experts are laid out; unless given, as before"},
    {.name = "--copies",
     .kind = ES_OPTION_COUNT,
     .argument = "R",
     .initial = "1",
     .min = 1,
     .max = ES_COPIES_MAX,
     .fallback = "as before, else 1",
     .at = offsetof(placement_values, copies),
     .given_at = offsetof(placement_values, copies_given),
     .help = "of each expert, on different nodes, on different racks where possible"},
    {.name = "--slices",
     .kind = ES_OPTION_COUNT,
     .argument = "K",
     .initial = "1",
     .min = 1,
     .max = ES_CHUNKS_MAX,
     .fallback = "as before, else 1",
     .at = offsetof(placement_values, slices),
     .given_at = offsetof(placement_values, slices_given),
     .help = "of each expert, in mode slice"},
    {.name = "--heat",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(placement_values, heat),
     .help = "{\"layers\": {\"3\": [count, ...]}}: how often each expert was chosen, for mode replicate"},
    {.name = "--afresh",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(placement_values, afresh),
     .help = "lay everything out anew instead of moving as little as possible"},
    {.name = "--new-generation",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(placement_values, new_generation),
     .help = "after the registry was restored from a backup: a generation above the one that stands in it"},
    {.name = "--out",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(placement_values, out),
     .help = "write the document there, for apply"},
};

static const es_option APPLY_OPTIONS[] = {
    {.name = "--replaces",
     .kind = ES_OPTION_TEXT,
     .argument = "EPOCH",
     .at = offsetof(placement_values, replaces),
     .fallback = "the one before the document's",
     .help = "the epoch that must be valid now; 0.0: none"},
    {.name = "--keys",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(placement_values, keys),
     .help = "sign it with this key pair; coordinators with keys follow no placement but signed ones"},
    {.name = "--create",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(placement_values, create),
     .help = "make the registry when its folder holds none, before a coordinator does"},
};

static const es_option_set SETS[] = {
    {.heading = "What", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Registry",
     .options = ES_REGISTRY_OPTIONS,
     .count = ES_REGISTRY_OPTION_COUNT,
     .at = offsetof(placement_values, registry)},
    {.heading = "plan", .options = PLAN_OPTIONS, .count = sizeof PLAN_OPTIONS / sizeof PLAN_OPTIONS[0]},
    {.heading = "apply", .options = APPLY_OPTIONS, .count = sizeof APPLY_OPTIONS / sizeof APPLY_OPTIONS[0]},
};

static const es_example EXAMPLES[] = {
    {"essaim placement plan --model shards --machines machines.json --mode stripe --copies 2 --out p.json",
     "what each machine would hold and load"},
    {"essaim placement apply p.json --registry /var/lib/essaim/registry",
     "makes it the valid one, if it follows it"},
    {"essaim placement show --json --etcd https://a:2379,https://b:2379", "the valid one, from etcd"},
};

const es_command CLI_PLACEMENT = {
    .name = "placement",
    .summary = "show, plan or apply which node holds which experts",
    .about = "plan changes nothing: it prints what would move. apply swaps the whole document, and only when "
             "the epoch "
             "that it replaces still stands.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(placement_values),
    .check = check,
    .run = run,
};
