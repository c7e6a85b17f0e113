/* essaim doctor: what is wrong with this machine and with the links to others, what it costs, how to mend it.
 */
#include "base/clock.h"
#include "base/machine.h"
#include "base/progress.h"
#include "base/signals.h"
#include "cli/commands.h"
#include "cli/doctor_report.h"
#include "cli/fetch.h"
#include "cluster/registry_options.h"
#include "coordinator/node_list.h"
#include "doctor/checks.h"
#include "doctor/link_tell.h"
#include "doctor/measure.h"
#include "doctor/responder.h"
#include "doctor/save.h"
#include "planner/known_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXIT_FOUND = 3,
    RUNS = 7,
    RUNS_QUICK = 3,
    ROUNDS = 300,
    ROUNDS_QUICK = 50,
    PHASES = 4 /* beside the links */
};

/* The whole run takes about 20 s at most, however many peers there are. */
static const uint64_t LINKS_NS = 12000000000, BULK_NS_MAX = 1500000000, ROUNDS_NS_MAX = 1000000000;
static const uint64_t BULK_BYTES = 256 << 20, BULK_BYTES_QUICK = 4 << 20, DISK_BYTES = 1 << 30,
                      DISK_BYTES_QUICK = 128 << 20;

typedef struct doctor_values {
    es_option_list subjects, peers;
    const char *nodes, *keys, *allow, *listen, *name, *save, *root;
    cli_server server;
    es_registry_options registry;
    bool serve, quick, strict, json;
} doctor_values;

typedef struct doctor {
    const doctor_values *values;
    es_arena *arena;
    es_option_list peers;
    const es_kernels *kernels;
    es_pool *pool;
    es_doctor_source source;
    es_doctor_subject subject;
    bool has_subject, measured;
    es_doctor_speeds speeds;
    double disk_bytes_per_s, card_bytes_per_s;
    es_machine machine;
    es_shape shape; /* that the prospect is of */
    es_prospect prospect;
    es_findings findings;
    es_keys keys;
    es_allow_list *allowed;
    es_net *net;
    doctor_link *links; /* [peers.count] */
    es_progress progress;
    size_t phase;
} doctor;

static void advance(doctor *d)
{
    es_progress_update(&d->progress, ++d->phase, PHASES + d->peers.count);
}

/* The machine's own name as far as names may look. */
static void name_machine(doctor *d)
{
    char host[ES_NAME_MAX + 1] = "";
    if (d->values->name == NULL && gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    host[strcspn(host, ".")] = '\0';
    const char *name = d->values->name != NULL ? d->values->name : es_name_valid(host) ? host : "machine";
    snprintf(d->machine.name, sizeof d->machine.name, "%s", name);
    memcpy(d->machine.host, d->machine.name, sizeof d->machine.host);
}

static es_status read_subject(doctor *d, es_err *err)
{
    const es_option_list *list = &d->values->subjects;
    d->has_subject = list->count > 0;
    return d->has_subject ? es_subject_read(list->item, list->count, &d->subject, err) : ES_OK;
}

/* Measured parts: not of a machine of which only files are here. */
static es_status measure(doctor *d, es_err *err)
{
    es_machine_memory memory;
    bool quick = d->values->quick;
    /* FP8 as released has its head in BF16. */
    const es_format own[] = {d->subject.format, ES_FORMAT_BF16};
    static const es_format FORMATS[] = {ES_FORMAT_Q4_K, ES_FORMAT_FP8, ES_FORMAT_Q8_0, ES_FORMAT_Q6_K,
                                        ES_FORMAT_BF16};
    const es_format *formats = d->has_subject ? own : FORMATS;
    size_t count = quick            ? 0
                   : d->has_subject ? (own[0] == ES_FORMAT_FP8 ? 2 : 1)
                                    : sizeof FORMATS / sizeof FORMATS[0];
    es_status status =
        es_doctor_measure(d->kernels, d->pool, quick ? RUNS_QUICK : RUNS, formats, count, &d->speeds, err);
    if (status == ES_OK && d->has_subject)
        status = es_held_measure(d->values->subjects.item, d->values->subjects.count, d->kernels, d->pool,
                                 &d->speeds.held, err);
    if (status == ES_OK) status = es_machine_memory_read(ES_MEMINFO_PATH, &memory, err);
    if (status != ES_OK) return status;
    d->measured = true;
    d->machine.memory_bytes = memory.available_bytes;
    d->machine.cores = es_pool_threads(d->pool);
    d->machine.int_ops_per_s = d->speeds.int_ops_per_s;
    d->machine.float_ops_per_s = d->speeds.float_ops_per_s;
    es_doctor_learn_shares(&d->speeds, &d->machine);
    return ES_OK;
}

/* What things cost is said for the model that is here, else for R1. */
static es_status make_prospect(doctor *d, es_err *err)
{
    static const char MODEL[] = "deepseek-r1";
    static const double CARD_UNKNOWN = 1e9 / 8, ROUND_TRIP_UNKNOWN = 150e-6; /* as the planner's */
    es_machine machine = d->machine;
    es_status status = d->has_subject ? ES_OK : es_known_model(MODEL, &d->shape, err);
    if (d->has_subject) d->shape = d->subject.shape;
    machine.nic_bytes_per_s = CARD_UNKNOWN;
    machine.round_trip_s = ROUND_TRIP_UNKNOWN;
    if (status != ES_OK) return status;
    return es_prospect_make(&d->shape, d->has_subject ? "this model" : MODEL,
                            d->has_subject ? d->subject.format : ES_FORMAT_Q4_K, &machine, &d->prospect, err);
}

static void measure_disk(doctor *d)
{
    es_err err = {.text = ""};
    if (!d->has_subject || !d->measured) return;
    es_status status = es_doctor_measure_disk(
        d->subject.file, d->values->quick ? DISK_BYTES_QUICK : DISK_BYTES, &d->disk_bytes_per_s, &err);
    es_doctor_tell_disk(&d->subject, d->disk_bytes_per_s, status, &err, &d->findings);
}

static void check_machine(doctor *d)
{
    const es_doctor_subject *subject = d->has_subject ? &d->subject : NULL;
    es_check_cpu(&d->source, d->measured ? d->kernels->name : NULL, &d->findings);
    if (d->measured) es_doctor_tell_speeds(&d->speeds, &d->prospect, &d->findings);
    advance(d);
    measure_disk(d);
    advance(d);
    es_check_memory(&d->source, subject, d->disk_bytes_per_s, &d->findings);
    es_check_limits(&d->source, subject, &d->findings);
    es_check_settings(&d->source, &d->findings);
    es_check_cards(&d->source, d->measured ? &d->prospect : NULL, &d->findings, &d->card_bytes_per_s);
    if (d->measured) {
        const es_clock_state clock = es_clock_state_now();
        es_check_clock(&clock, &d->findings);
    }
    d->machine.nic_bytes_per_s = d->card_bytes_per_s;
}

/* The coordinator's version and model, as its API says them: of the fingerprint five bytes. */
static void check_coordinator(doctor *d)
{
    const cli_server *server = &d->values->server;
    json_t *props = NULL;
    long code = 0;
    es_err err = {.text = ""};
    if (server->url == NULL) return;
    es_status status = cli_fetch_json(server, "/props", &code, &props, &err);
    if (status == ES_OK && code != 200)
        es_err_set(&err, ES_UNAVAILABLE, "%s/props: HTTP %ld", server->url, code);
    if (status != ES_OK || code != 200) {
        es_finding *f =
            es_findings_add(&d->findings, ES_FINDING_BAD, "coordinator.reach", NAN, "", "%s", err.text);
        es_finding_mend(f, code == 401 || code == 403 ? "give an --api-key that it knows"
                                                      : "systemctl status essaim-coordinator there");
        json_decref(props);
        return;
    }
    const char *version = json_string_value(json_object_get(props, "version"));
    const char *model = json_string_value(json_object_get(props, "system_fingerprint"));
    if (version != NULL) es_version_tell("coordinator.version", version, &d->findings);
    char ours[32] = "";
    const uint8_t *f = d->subject.fingerprint;
    snprintf(ours, sizeof ours, "fp_%02x%02x%02x%02x%02x", f[0], f[1], f[2], f[3], f[4]);
    bool same = model != NULL && strcmp(model, ours) == 0;
    if (model != NULL && !d->has_subject)
        es_findings_add(&d->findings, ES_FINDING_UNKNOWN, "coordinator.model", NAN, "",
                        "%s; --shard says what ours is", model);
    else if (model != NULL)
        es_findings_add(&d->findings, same ? ES_FINDING_OK : ES_FINDING_BAD, "coordinator.model", NAN, "",
                        same ? "%s" : "%s there, %s here", model, ours);
    json_decref(props);
}

static es_status add_member(doctor *d, const es_node_record *node, es_err *err)
{
    static const char SCHEME[] = "tcp://";
    char text[ES_ENDPOINT_TEXT_MAX + ES_KEY_TEXT_BYTES + 1];
    const char *at = node->control;
    if (strncmp(at, SCHEME, sizeof SCHEME - 1) == 0) at += sizeof SCHEME - 1;
    snprintf(text, sizeof text, node->key[0] != '\0' ? "%s,%s" : "%s", at, node->key);
    if (d->peers.count == ES_OPTION_LIST_MAX)
        return es_err_set(err, ES_INVALID, "more than %d nodes", ES_OPTION_LIST_MAX);
    d->peers.item[d->peers.count] = es_arena_copy_text(d->arena, text);
    if (d->peers.item[d->peers.count] == NULL) return es_err_set(err, ES_NO_MEMORY, "list of nodes");
    d->peers.count++;
    return ES_OK;
}

/* The registry's nodes: they allow the coordinator whose --keys these are. */
static es_status list_members(doctor *d, es_err *err)
{
    es_registry *registry = NULL;
    es_registry_view *view = NULL;
    if (d->values->registry.folder == NULL && d->values->registry.etcd == NULL) return ES_OK;
    es_status status = es_registry_open(&d->values->registry, &registry, err);
    if (status == ES_OK) status = es_registry_view_get(registry, &view, err);
    for (size_t n = 0; status == ES_OK && n < view->node_count; n++)
        status = add_member(d, &view->nodes[n], err);
    if (view != NULL) es_registry_view_destroy(&view);
    if (registry != NULL) es_registry_close(&registry);
    return status;
}

static es_status list_peers(doctor *d, es_err *err)
{
    es_status status = ES_OK;
    d->peers = d->values->peers;
    if (d->values->nodes != NULL) status = es_node_list_read(d->values->nodes, d->arena, &d->peers, err);
    if (status == ES_OK) status = list_members(d, err);
    d->links = calloc(d->peers.count + 1, sizeof *d->links);
    if (status == ES_OK && d->links == NULL) status = es_err_set(err, ES_NO_MEMORY, "links");
    return status;
}

static es_status open_net(doctor *d, es_err *err)
{
    es_net_options options = {.keys = NULL};
    es_status status = ES_OK;
    if (d->peers.count == 0 && !d->values->serve) return ES_OK;
    if (d->values->keys != NULL) {
        status = es_keys_load(d->values->keys, &d->keys, err);
        options.keys = &d->keys;
    }
    if (status == ES_OK && d->values->allow != NULL) {
        status = es_allow_list_load(d->values->allow, &d->allowed, err);
        options.allowed = d->allowed;
    }
    return status == ES_OK ? es_net_open(&options, &d->net, err) : status;
}

/* One that is being connected to. */
typedef struct opened {
    es_link_options options;
    es_prober *link; /* NULL: err says why */
    es_status status;
    es_err err;
} opened;

static es_status open_link(const doctor *d, const char *peer, opened *to)
{
    char at[ES_ENDPOINT_TEXT_MAX];
    es_endpoint endpoint;
    const char *comma = strchr(peer, ',');
    size_t length = comma != NULL ? (size_t)(comma - peer) : strlen(peer);
    if (length >= sizeof at || (comma != NULL && !es_key_valid(comma + 1)))
        return es_err_set(&to->err, ES_INVALID, "--peer is HOST:PORT or HOST:PORT,KEY");
    memcpy(at, peer, length);
    at[length] = '\0';
    uint64_t each_ns = LINKS_NS / d->peers.count / 3;
    bool quick = d->values->quick;
    to->options = (es_link_options){.server_key = comma != NULL ? comma + 1 : NULL,
                                    .rounds = quick ? ROUNDS_QUICK : ROUNDS,
                                    .rounds_ns = each_ns < ROUNDS_NS_MAX ? each_ns : ROUNDS_NS_MAX,
                                    .bulk_bytes = quick ? BULK_BYTES_QUICK : BULK_BYTES,
                                    .bulk_ns = each_ns < BULK_NS_MAX ? each_ns : BULK_NS_MAX};
    es_status status = es_endpoint_parse_connect(at, &endpoint, &to->err);
    return status == ES_OK ? es_link_open(d->net, &endpoint, &to->options, &to->link, &to->err) : status;
}

/* All are connected to at once, and measured one after the other. */
static es_status check_links(doctor *d, es_err *err)
{
    const es_link_context context = {.prospect = d->measured ? &d->prospect : NULL,
                                     .subject = d->has_subject ? &d->subject : NULL,
                                     .card_bytes_per_s = d->card_bytes_per_s,
                                     .encrypt_bytes_per_s = d->speeds.encrypt_bytes_per_s};
    if (d->peers.count == 0) return ES_OK;
    opened *all = es_arena_take(d->arena, d->peers.count, sizeof *all);
    if (all == NULL) return es_err_set(err, ES_NO_MEMORY, "links");
    for (size_t i = 0; i < d->peers.count; i++) {
        d->links[i].peer = d->peers.item[i];
        all[i].status = open_link(d, d->links[i].peer, &all[i]);
    }
    for (size_t i = 0; i < d->peers.count && !es_signals_stop_asked(); i++) {
        opened *o = &all[i];
        doctor_link *link = &d->links[i];
        if (o->status == ES_OK) o->status = es_link_measure(o->link, &link->report, &o->err);
        link->measured = o->status == ES_OK;
        char peer[64];
        snprintf(peer, sizeof peer, "%.*s", (int)strcspn(link->peer, ","), link->peer);
        es_link_tell(&context, peer, &link->report, o->status, &o->err, &d->findings);
        es_link_close(&o->link);
        advance(d);
    }
    for (size_t i = 0; i < d->peers.count; i++) es_link_close(&all[i].link);
    return ES_OK;
}

/* A card whose speed is not told, or that does not reach it, is as fast as its best link; encryption is no
 * card's fault. */
static void learn_from_links(doctor *d)
{
    double best = 0, round_trip = INFINITY;
    for (size_t i = 0; i < d->peers.count; i++) {
        const es_link_report *r = &d->links[i].report;
        if (r->loopback) continue;
        best = fmax(best, fmin(r->to_bytes_per_s, r->from_bytes_per_s));
        if (r->rounds > 0) round_trip = fmin(round_trip, r->round_trip_s);
    }
    bool by_wire = best > 0 && best < 0.7 * d->speeds.encrypt_bytes_per_s;
    if (by_wire && (d->machine.nic_bytes_per_s <= 0 || best < 0.7 * d->machine.nic_bytes_per_s))
        d->machine.nic_bytes_per_s = best;
    if (d->machine.nic_bytes_per_s <= 0) d->machine.nic_bytes_per_s = best;
    if (!isinf(round_trip)) d->machine.round_trip_s = round_trip;
}

/* This machine, as the coordinator that links were measured from, and those of the peers that told their
 * figures. */
static es_status save(const doctor *d, es_err *err)
{
    es_machine *machines = calloc(d->peers.count + 1, sizeof *machines);
    size_t count = 1;
    if (machines == NULL) return es_err_set(err, ES_NO_MEMORY, "machines");
    machines[0] = d->machine;
    for (size_t i = 0; i < d->peers.count; i++) {
        const es_link_report *r = &d->links[i].report;
        const es_probe_machine *told = &r->peer.machine;
        if (r->rounds == 0)
            fprintf(stderr, "essaim doctor: %.*s was not measured and is not in %s\n",
                    (int)strcspn(d->peers.item[i], ","), d->peers.item[i], d->values->save);
        if (r->rounds == 0) continue;
        if (told->memory_bytes == 0 || told->cores == 0 || told->read_bytes_per_s <= 0) {
            fprintf(stderr,
                    "essaim doctor: %s has not measured itself and is not in %s: run essaim doctor there\n",
                    r->peer.name, d->values->save);
            continue;
        }
        es_machine *m = &machines[count++];
        *m = (es_machine){.memory_bytes = told->memory_bytes,
                          .cores = told->cores,
                          .read_bytes_per_s = told->read_bytes_per_s,
                          .int_ops_per_s = told->int_ops_per_s,
                          .float_ops_per_s = told->float_ops_per_s,
                          .nic_bytes_per_s = told->nic_bytes_per_s};
        if (r->loopback) {
            memcpy(m->host, d->machine.name, sizeof m->host);
        } else {
            m->round_trip_s = r->round_trip_s;
            if (m->nic_bytes_per_s <= 0) m->nic_bytes_per_s = fmin(r->to_bytes_per_s, r->from_bytes_per_s);
        }
        memcpy(m->name, r->peer.name, sizeof m->name);
        machines[0].role = ES_ROLE_COORDINATOR;
    }
    es_status status = es_machines_save(d->values->save, machines, count, err);
    free(machines);
    return status;
}

static void report(const doctor *d)
{
    const doctor_report r = {d->measured ? &d->machine : NULL, &d->findings, d->links, d->peers.count};
    if (d->values->json)
        doctor_report_json(&r, stdout);
    else
        doctor_report_text(&r, isatty(STDOUT_FILENO) == 1, stdout);
    fflush(stdout);
}

static es_status serve(doctor *d, es_err *err)
{
    es_probe_reply who = {.has_model = d->has_subject,
                          .machine = {d->machine.memory_bytes, (uint32_t)d->machine.cores,
                                      d->machine.read_bytes_per_s, d->machine.int_ops_per_s,
                                      d->machine.float_ops_per_s, d->machine.nic_bytes_per_s}};
    es_endpoint listen, bound;
    es_responder *responder = NULL;
    memcpy(who.name, d->machine.name, sizeof who.name);
    snprintf(who.version, sizeof who.version, "%s", ESSAIM_VERSION);
    snprintf(who.kernels, sizeof who.kernels, "%s", d->kernels->name);
    memcpy(who.fingerprint, d->subject.fingerprint, sizeof who.fingerprint);
    es_status status = es_endpoint_parse_bind(d->values->listen, &listen, err);
    if (status == ES_OK) status = es_responder_open(d->net, &listen, &who, &responder, &bound, err);
    if (status == ES_OK) {
        char at[ES_ENDPOINT_TEXT_MAX];
        es_endpoint_format(&bound, at);
        fprintf(stderr, "essaim doctor: answers at %s until Ctrl-C\n", at);
        status = es_responder_run(responder, err);
    }
    es_responder_close(&responder);
    return status;
}

static es_status examine(doctor *d, es_err *err)
{
    es_status status = es_kernels_select(NULL, &d->kernels, err);
    if (status == ES_OK) status = es_signals_start(err);
    if (status == ES_OK) status = list_peers(d, err);
    if (status == ES_OK) status = open_net(d, err);
    if (status == ES_OK) status = read_subject(d, err);
    if (status == ES_OK) status = es_pool_create(0, &d->pool, err);
    es_progress_init(&d->progress, "examining", "checks");
    if (status == ES_OK && d->values->root == NULL) {
        status = measure(d, err);
        if (status == ES_OK) status = make_prospect(d, err);
    }
    advance(d);
    if (status != ES_OK) return status;
    check_machine(d);
    check_coordinator(d);
    advance(d);
    status = check_links(d, err);
    es_progress_finish(&d->progress);
    learn_from_links(d);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const doctor_values *v = arg;
    doctor d = {.values = v, .source = {v->root != NULL ? v->root : ""}, .arena = es_arena_create()};
    bool good = es_findings_init(&d.findings) && d.arena != NULL;
    es_status status = good ? ES_OK : es_err_set(err, ES_NO_MEMORY, "doctor");
    if (status == ES_OK) {
        name_machine(&d);
        status = examine(&d, err);
        es_progress_finish(&d.progress);
    }
    if (status == ES_OK) report(&d);
    if (status == ES_OK && v->save != NULL) status = save(&d, err);
    if (status == ES_OK && v->serve) status = serve(&d, err);
    if (status == ES_OK && !v->serve &&
        (es_findings_of(&d.findings, ES_FINDING_BAD) > 0 ||
         (v->strict && es_findings_of(&d.findings, ES_FINDING_WARN) > 0)))
        status = es_err_set(err, ES_UNAVAILABLE, "%s", ""); /* told; the exit code says the rest */
    es_net_close(&d.net);
    es_allow_list_destroy(&d.allowed);
    es_keys_wipe(&d.keys);
    es_pool_destroy(&d.pool);
    es_arena_destroy(&d.arena);
    es_findings_fini(&d.findings);
    free(d.links);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const doctor_values *v = arg;
    if (v->name != NULL && !es_name_valid(v->name))
        return es_err_set(err, ES_INVALID, "--name \"%s\": 1 to %d letters, digits, '.', '_' or '-'", v->name,
                          ES_NAME_MAX);
    if (v->allow != NULL && v->keys == NULL)
        return es_err_set(err, ES_INVALID,
                          "--allow without --keys FILE: without keys nobody can be told apart");
    if (v->serve && v->keys != NULL && v->allow == NULL)
        return es_err_set(err, ES_INVALID, "--serve with --keys needs --allow FILE: nobody could connect");
    if (v->root != NULL && (v->save != NULL || v->serve))
        return es_err_set(err, ES_INVALID,
                          "--root looks at files only: there are no figures to save or serve");
    return es_registry_options_check(&v->registry, err);
}

static const es_option MACHINE_OPTIONS[] = {
    {.name = "--shard",
     .kind = ES_OPTION_LIST,
     .argument = "FILE|DIR",
     .at = offsetof(doctor_values, subjects),
     .help = "what this machine is to hold: shards, folders of them, or a model as published"},
    {.name = "--name",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(doctor_values, name),
     .fallback = "the machine's",
     .help = "what this machine is called in files and answers"},
    {.name = "--quick",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(doctor_values, quick),
     .help = "measure less, in about three seconds"},
    {.name = "--root",
     .kind = ES_OPTION_TEXT,
     .argument = "DIR",
     .at = offsetof(doctor_values, root),
     .fallback = "/",
     .help = "look at the proc and sys below this folder instead; measure nothing here"},
};
static const es_option LINK_OPTIONS[] = {
    {.name = "--peer",
     .kind = ES_OPTION_LIST,
     .argument = "HOST:PORT[,KEY]",
     .at = offsetof(doctor_values, peers),
     .help = "measure the link to this expert node, or doctor that serves; again for more"},
    {.name = "--nodes",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(doctor_values, nodes),
     .help = "the same for a list of them, one a line, as the coordinator reads it"},
    {.name = "--keys",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(doctor_values, keys),
     .help = "this machine's secret key: needed beyond loopback"},
    {.name = "--serve",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(doctor_values, serve),
     .help = "then answer other machines' doctors until Ctrl-C"},
    {.name = "--listen",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .at = offsetof(doctor_values, listen),
     .initial = "127.0.0.1:5720",
     .help = "where --serve answers"},
    {.name = "--allow",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(doctor_values, allow),
     .help = "public keys of those whom --serve answers, one a line"},
    {.name = "--url",
     .kind = ES_OPTION_TEXT,
     .argument = "URL",
     .at = offsetof(doctor_values, server.url),
     .help = "a coordinator's server: compare its version and model"},
    {.name = "--api-key",
     .kind = ES_OPTION_TEXT,
     .argument = "KEY",
     .at = offsetof(doctor_values, server.key),
     .fallback = "what ESSAIM_API_KEY holds",
     .help = "one of its API keys"},
    {.name = "--ca",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(doctor_values, server.ca_file),
     .fallback = "the system's",
     .help = "certificates to trust"},
};
static const es_option OUTPUT_OPTIONS[] = {
    {.name = "--save",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(doctor_values, save),
     .help = "write this machine, and peers that told theirs, for `essaim plan --machines`"},
    {.name = "--strict",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(doctor_values, strict),
     .help = "exit with 3 for what is to be looked at, too"},
    {.name = "--json", .kind = ES_OPTION_FLAG, .at = offsetof(doctor_values, json), .help = "print JSON"},
};

static const es_option_set SETS[] = {
    {.heading = "This machine",
     .options = MACHINE_OPTIONS,
     .count = sizeof MACHINE_OPTIONS / sizeof MACHINE_OPTIONS[0]},
    {.heading = "Other machines",
     .options = LINK_OPTIONS,
     .count = sizeof LINK_OPTIONS / sizeof LINK_OPTIONS[0]},
    {.heading = "Registry, whose nodes are measured too",
     .options = ES_REGISTRY_OPTIONS,
     .count = ES_REGISTRY_OPTION_COUNT,
     .at = offsetof(doctor_values, registry)},
    {.heading = "Output",
     .options = OUTPUT_OPTIONS,
     .count = sizeof OUTPUT_OPTIONS / sizeof OUTPUT_OPTIONS[0]},
};
static const es_example EXAMPLES[] = {
    {"essaim doctor --shard /data/r1-q4_k/experts-01-of-08.shard", "is this machine fit to hold it"},
    {"essaim doctor --serve --listen 0.0.0.0:5720 --keys node.key --allow allowed",
     "on each of several machines"},
    {"essaim doctor --nodes nodes --keys head.key --save machines.json", "and then on the coordinator's"},
    {"essaim doctor --registry /var/lib/essaim/registry --keys /etc/essaim/head.key",
     "there, when the swarm runs"},
};

const es_command CLI_DOCTOR = {
    .name = "doctor",
    .summary = "what is wrong with this machine and its links, what it costs, how to mend it",
    .about =
        "Each finding is ok, warn, bad or unknown, with what was measured, what it costs, and a way to mend "
        "it. Nothing is changed.\nExits with 0 when nothing is bad, with 3 when something is (--strict: or "
        "is "
        "to be looked at), with 1 when it could not look, with 2 when the options make no sense.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(doctor_values),
    .told_code = EXIT_FOUND,
    .check = check,
    .run = run,
};
