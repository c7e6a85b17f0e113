/* essaim-expert-node: holds a share of a model's routed experts and computes them for coordinators. */
#include "announce.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/numa.h"
#include "base/pool.h"
#include "base/process.h"
#include "base/program.h"
#include "base/progress.h"
#include "base/signals.h"
#include "base/size.h"
#include "net/control.h"
#include "service/service.h"
#include "shares.h"
#include "supervise/notify.h"
#include "yardstick/yardstick.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { ROWS_ANY, ROWS_Q8, ROWS_F32 };
static const uint64_t ROUND_NS = 50000000; /* between looks at what a service manager wants */
static const char *const ROWS[] = {"any", "q8", "f32", NULL};

typedef struct values {
    const char *model_dir;
    const char *listen, *part, *name, *memory, *isa, *keys, *allow;
    const char *fetch, *revoked;
    es_option_list shards, sources;
    es_announce_options announce;
    size_t data_port, shard_port, give_rate, threads, ready_fd, numa;
    int rows;
    bool shard_port_given, numa_given, part_given, lock_memory, huge_pages, die_with_parent;
    es_log_options log;
} values;

static const es_option OPTIONS[] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "MODEL",
     .at = offsetof(values, model_dir),
     .help =
         "a checkpoint folder as published (config.json, *.safetensors), a GGUF file or a folder of shards"},
    {.name = "--part",
     .kind = ES_OPTION_TEXT,
     .argument = "I/N|none",
     .initial = "1/1",
     .at = offsetof(values, part),
     .given_at = offsetof(values, part_given),
     .help =
         "hold the I-th of N equal shares of every layer's experts, counted from 1; none: wait to be told"},
    {.name = "--shard",
     .kind = ES_OPTION_LIST,
     .argument = "FILE|DIR",
     .at = offsetof(values, shards),
     .help = "instead of --model: map this expert shard, or all of a folder's, and compute from them"},
    {.name = "--fetch",
     .kind = ES_OPTION_TEXT,
     .argument = "DIR",
     .at = offsetof(values, fetch),
     .help = "fetch experts that are not at hand from other nodes into this folder, one of --shard's"},
    {.name = "--source",
     .kind = ES_OPTION_LIST,
     .argument = "HOST:PORT[,KEY]",
     .at = offsetof(values, sources),
     .help = "with --fetch: a coordinator's --join-listen, asked for what no node has"},
    {.name = "--memory",
     .kind = ES_OPTION_TEXT,
     .argument = "SIZE",
     .fallback = "what is available",
     .at = offsetof(values, memory),
     .help = "hold no more weights than this, for example 24G"},
    {.name = "--lock-memory",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(values, lock_memory),
     .help = "keep all weights in memory; reads them at start"},
    {.name = "--huge-pages",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(values, huge_pages),
     .help = "copy shards to memory of huge pages instead of mapping them"},
    {.name = "--numa",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(values, numa),
     .max = 1 << 20,
     .given_at = offsetof(values, numa_given),
     .fallback = "all of the machine",
     .help =
         "stay on this NUMA node: threads on its processors, weights in its memory; one program for each"},
    {.name = "--listen",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .initial = "127.0.0.1:5700",
     .at = offsetof(values, listen),
     .help = "where coordinators say hello; port 0 is any free one"},
    {.name = "--data-port",
     .kind = ES_OPTION_COUNT,
     .argument = "PORT",
     .initial = "0",
     .max = 65535,
     .at = offsetof(values, data_port),
     .help = "where rows come in, on the same host; 0 is any free one"},
    {.name = "--shard-port",
     .kind = ES_OPTION_COUNT,
     .argument = "PORT",
     .initial = "0",
     .max = 65535,
     .at = offsetof(values, shard_port),
     .given_at = offsetof(values, shard_port_given),
     .help = "give other nodes of the swarm the experts of --shard there, on the same host; so does --fetch"},
    {.name = "--give-rate",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .initial = "50",
     .unit = "MB/s",
     .max = 1000000,
     .at = offsetof(values, give_rate),
     .help = "give no faster, so that rows come first on the network; 0 is as fast as it goes"},
    {.name = "--name",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .fallback = "the machine's",
     .at = offsetof(values, name),
     .help = "what coordinators call this node"},
    {.name = "--threads",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .initial = "0",
     .max = 1024,
     .at = offsetof(values, threads),
     .help = "threads that compute; 0 is one for each core"},
    {.name = "--isa",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .fallback = "the best",
     .at = offsetof(values, isa),
     .help = "kernel set to use"},
    {.name = "--rows",
     .kind = ES_OPTION_CHOICE,
     .choices = ROWS,
     .initial = "any",
     .at = offsetof(values, rows),
     .help = "compute only rows of this format"},
    {.name = "--keys",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(values, keys),
     .help = "this machine's secret key: needed to listen beyond loopback"},
    {.name = "--allow",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(values, allow),
     .help = "public keys of the coordinators that may connect, one a line"},
    {.name = "--revoked",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(values, revoked),
     .help = "keys that coordinators have revoked, kept there over a restart"},
    {.name = "--ready-fd",
     .kind = ES_OPTION_COUNT,
     .argument = "FD",
     .initial = "1",
     .max = 1048576,
     .at = offsetof(values, ready_fd),
     .help = "write one line there when ready, then close it (1 stays open)"},
    {.name = "--die-with-parent",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(values, die_with_parent),
     .help = "stop when the thread that started this program ends"},
};

static const es_option_set SETS[] = {
    {.heading = "Options", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {"Registry", ES_REGISTRY_OPTIONS, ES_REGISTRY_OPTION_COUNT, offsetof(values, announce.registry)},
    {"Announcement", ES_ANNOUNCE_OPTIONS, ES_ANNOUNCE_OPTION_COUNT, offsetof(values, announce)},
    {.heading = "Log", .options = ES_LOG_OPTIONS, .count = ES_LOG_OPTION_COUNT, .at = offsetof(values, log)},
};

static const es_example EXAMPLES[] = {
    {"essaim-expert-node --model models/tiny-r1 --part 2/4 --listen 127.0.0.1:5702",
     "the second quarter of the experts"},
    {"essaim-expert-node --shard /data/r1-q4_k/experts-01-of-08.shard --lock-memory",
     "one of a model that was cut"},
    {"essaim-expert-node --model /data/r1 --part 1/8 --listen 10.0.0.5:5700 --keys node.key --allow "
     "coordinators.pub",
     "on a LAN, encrypted"},
};

static es_status check_values(const void *given, es_err *err)
{
    const values *v = given;
    size_t part, parts;
    uint64_t bytes;
    es_endpoint listen;
    if (v->name != NULL && !es_name_valid(v->name))
        return es_err_set(err, ES_INVALID, "--name \"%s\": 1 to %d letters, digits, '.', '_' or '-'", v->name,
                          ES_NAME_MAX);
    if ((v->model_dir != NULL) == (v->shards.count > 0))
        return es_err_set(err, ES_INVALID, "give --model or --shard, one of the two");
    if ((v->fetch != NULL || v->shard_port_given) && v->shards.count == 0)
        return es_err_set(err, ES_INVALID, "--fetch and --shard-port go with --shard");
    if (v->sources.count > 0 && v->fetch == NULL)
        return es_err_set(err, ES_INVALID, "--source goes with --fetch DIR");
    if (v->revoked != NULL && v->keys == NULL)
        return es_err_set(err, ES_INVALID, "--revoked goes with --keys FILE");
    bool none = strcmp(v->part, "none") == 0;
    if (v->shards.count > 0 && v->part_given && !none)
        return es_err_set(err, ES_INVALID, "--part I/N goes with --model: a shard is used whole");
    es_status status = none ? ES_OK : es_placement_parse_part(v->part, &part, &parts, err);
    if (status == ES_OK && v->memory != NULL) {
        status = es_machine_parse_bytes(v->memory, &bytes, err);
        if (status != ES_OK) es_err_prefix(err, "--memory");
    }
    if (status == ES_OK) status = es_endpoint_parse_bind(v->listen, &listen, err);
    if (status == ES_OK && v->keys != NULL && v->allow == NULL)
        status = es_err_set(err, ES_INVALID, "--keys without --allow FILE: nobody could connect");
    if (status == ES_OK && v->allow != NULL && v->keys == NULL)
        status =
            es_err_set(err, ES_INVALID, "--allow without --keys FILE: without keys nobody can be told apart");
    return status == ES_OK ? es_announce_check(&v->announce, v->listen, err) : status;
}

/* Everything the node is made of, in the order it is made. */
typedef struct node {
    const values *values;
    char name[ES_NAME_MAX + 1];
    bool ready; /* said so */
    es_keys keys;
    es_allow_list *allowed;
    es_expert_store *store;
    es_node_shares *shares; /* NULL: it gives and fetches nothing */
    es_loader *loader;
    es_service *service;
    es_pool *pool;
    const es_kernels *kernels;
    es_progress progress;
    es_announce *announce;
    uint64_t read_bytes_per_s;
    uint64_t round_ns, alive_ns; /* when the loop was looked at last, and when that was told */
} node;

/* The machine's name as far as names may look, or "node". */
static void name_node(const values *v, node *n)
{
    char host[ES_NAME_MAX + 1] = "";
    if (v->name == NULL && gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    host[strcspn(host, ".")] = '\0';
    snprintf(n->name, sizeof n->name, "%s", v->name != NULL ? v->name : es_name_valid(host) ? host : "node");
}

static es_status open_store(const values *v, node *n, es_err *err)
{
    const es_expert_store_options options = {.paths = v->shards.count > 0 ? v->shards.item : &v->model_dir,
                                             .path_count = es_size_max(v->shards.count, 1),
                                             .huge_pages = v->huge_pages,
                                             .lock_memory = v->lock_memory};
    es_status status = es_expert_store_open(&options, &n->store, err);
    if (status == ES_OK && es_expert_store_shape(n->store)->experts == 0)
        status = es_err_set(err, ES_INVALID, "%s: a model without routed experts needs no expert node",
                            options.paths[0]);
    return status;
}

/* Sockets come before weights: a port in use is told at once, not after minutes of loading. */
static es_status open_sockets(const values *v, node *n, es_err *err)
{
    es_service_options options = {
        .name = n->name, .shape = es_expert_store_shape(n->store), .data_port = (uint16_t)v->data_port};
    es_status status = ES_OK;
    if (v->keys != NULL) {
        status = es_keys_load(v->keys, &n->keys, err);
        if (status == ES_OK) status = es_allow_list_load(v->allow, &n->allowed, err);
        options.keys = &n->keys;
        options.allowed = n->allowed;
    }
    if (status == ES_OK) status = es_endpoint_parse_bind(v->listen, &options.listen, err);
    if (status == ES_OK) status = es_service_open(&options, &n->service, err);
    return status;
}

static es_status load_part(const values *v, node *n, es_err *err)
{
    const es_shape *shape = es_expert_store_shape(n->store);
    size_t part, parts;
    es_units_change change = {.epoch = 0};
    uint8_t *held = calloc(shape->layers, shape->experts);
    es_units *units = calloc(shape->layers, sizeof *units); /* a part is one range of each layer */
    es_status status = held == NULL || units == NULL ? es_err_set(err, ES_NO_MEMORY, "placement") : ES_OK;
    if (status == ES_OK) status = es_placement_parse_part(v->part, &part, &parts, err);
    if (status == ES_OK) status = es_placement_part(shape, part, parts, held, err);
    if (status == ES_OK)
        status = es_placement_units(shape, held, units, shape->layers, &change.unit_count, err);
    change.units = units;
    if (status == ES_OK) status = es_loader_change(n->loader, &change, true, err);
    free(held);
    free(units);
    return status;
}

/* With keys always: who is revoked is to be known. */
static es_status open_shares(const values *v, node *n, es_err *err)
{
    es_node_shares_options options = {.name = n->name,
                                      .shards = &v->shards,
                                      .fetch_dir = v->fetch,
                                      .sources = &v->sources,
                                      .revoked_file = v->revoked,
                                      .store = n->store,
                                      .keys = v->keys != NULL ? &n->keys : NULL,
                                      .allowed = n->allowed,
                                      .bytes_per_s = (uint64_t)v->give_rate * 1000000};
    if (v->fetch == NULL && !v->shard_port_given && v->revoked == NULL) return ES_OK;
    es_status status = es_endpoint_parse_bind(v->listen, &options.listen, err);
    options.listen.port = (uint16_t)v->shard_port;
    return status == ES_OK ? es_node_shares_open(&options, &n->shares, err) : status;
}

static es_status start_loading(const values *v, node *n, es_err *err)
{
    es_loader_options options = {.store = n->store, .meminfo = ES_MEMINFO_PATH};
    if (n->shares != NULL) {
        options.fetcher = es_node_shares_fetcher(n->shares);
        options.fetched = es_node_shares_fetched;
        options.fetched_context = n->shares;
    }
    es_status status =
        v->memory == NULL ? ES_OK : es_machine_parse_bytes(v->memory, &options.memory_bytes_max, err);
    if (status == ES_OK) status = es_loader_create(&options, &n->loader, err);
    if (status != ES_OK || strcmp(v->part, "none") == 0) return status;
    return v->shards.count > 0 ? es_loader_load_all(n->loader, err) : load_part(v, n, err);
}

static size_t experts_held(const node *n)
{
    const es_shape *shape = es_expert_store_shape(n->store);
    const uint32_t *first = es_loader_holding(n->loader)->first;
    size_t experts = 0;
    for (size_t x = 0; x < shape->layers * shape->experts; x++) experts += first[x + 1] > first[x];
    return experts;
}

static void tell_ready(const node *n)
{
    char control[ES_ENDPOINT_TEXT_MAX];
    es_endpoint at = es_service_control_endpoint(n->service);
    es_endpoint_format(&at, control);
    es_notify_ready(control);
}

/* Whoever follows etcd meets the node now. */
static es_status announce(node *n, const char *control, es_err *err)
{
    es_node_record record = {.state = ES_MEMBER_READY, .bandwidth_bytes = n->read_bytes_per_s};
    es_node_state state;
    es_loader_state(n->loader, &state);
    strcpy(record.name, n->name);
    snprintf(record.control, sizeof record.control, "%s", control);
    memcpy(record.key, n->keys.public_key, sizeof record.key);
    memcpy(record.fingerprint, es_expert_store_fingerprint(n->store), sizeof record.fingerprint);
    record.memory_bytes = es_size_min(state.memory_bytes, state.mapped_bytes + state.memory_free_bytes);
    return es_announce_put(n->announce, &record, err);
}

static es_status say_ready(void *context, es_err *err)
{
    node *n = context;
    char control[ES_ENDPOINT_TEXT_MAX], data[ES_ENDPOINT_TEXT_MAX], line[ES_PROCESS_LINE_MAX - 1];
    es_progress_finish(&n->progress);
    n->ready = true;
    es_endpoint at = es_service_control_endpoint(n->service);
    es_endpoint_format(&at, control);
    at = es_service_data_endpoint(n->service);
    es_endpoint_format(&at, data);
    tell_ready(n);
    snprintf(line, sizeof line, "ready control=%s data=%s name=%s experts=%zu", control, data, n->name,
             experts_held(n));
    es_status status = announce(n, control, err);
    if (status != ES_OK) return status;
    int fd = (int)n->values->ready_fd;
    if (fd != STDOUT_FILENO) return es_process_say_ready(fd, line, err);
    if (puts(line) < 0 || fflush(stdout) != 0) return es_err_set(err, ES_IO, "standard output is closed");
    return ES_OK;
}

/* The service manager hears that the loop goes round, not that the process exists. */
static void go_round(void *context, uint64_t now_ns)
{
    node *n = context;
    uint64_t every_ns = (uint64_t)es_notify_interval_ms() * 1000000;
    if (now_ns - n->round_ns < ROUND_NS) return;
    n->round_ns = now_ns;
    es_announce_drains(n->announce, es_service_drains(n->service));
    if (every_ns > 0 && now_ns - n->alive_ns >= every_ns) {
        n->alive_ns = now_ns;
        es_notify_alive();
    }
    if (!es_signals_take_hangup()) return;
    if (n->ready) es_notify_reloading();
    if (n->allowed != NULL) es_allow_list_refresh(n->allowed);
    if (n->ready) tell_ready(n);
}

/* Whoever started us shows his own progress; a service manager gives more time while there is some. */
static void tell_progress(void *context, uint64_t done, uint64_t total)
{
    node *n = context;
    if (!n->values->die_with_parent && n->values->ready_fd == STDOUT_FILENO)
        es_progress_update(&n->progress, done, total);
    es_notify_loading(done, total);
}

/* A node that a placement tells what to hold says how fast it reads, for shares to follow; a fixed part needs
 * no measuring, which takes fresh memory of three times the cache. */
static uint64_t read_speed(const node *n)
{
    return strcmp(n->values->part, "none") == 0 ? es_yardstick_read(n->kernels, n->pool) : 0;
}

static es_status serve(const values *v, node *n, es_err *err)
{
    char what[128];
    snprintf(what, sizeof what, "loading experts %s", v->shards.count > 0 ? "of shards" : v->part);
    es_progress_init(&n->progress, what, NULL);
    n->read_bytes_per_s = read_speed(n);
    es_service_work work = {.loader = n->loader,
                            .fingerprint = es_expert_store_fingerprint(n->store),
                            .kernels = n->kernels,
                            .pool = n->pool,
                            .read_bytes_per_s = n->read_bytes_per_s,
                            .numa_nodes = es_machine_numa_nodes(ES_NUMA_PATH),
                            .progress = tell_progress,
                            .progress_context = n,
                            .ready = say_ready,
                            .ready_context = n,
                            .round = go_round,
                            .round_context = n};
    if (n->shares != NULL) {
        work.shard_port = es_node_shares_port(n->shares);
        work.members = es_node_shares_members;
        work.count = es_node_shares_count;
        work.members_context = n->shares;
    }
    work.row_formats[ES_ROWS_Q8] = v->rows != ROWS_F32;
    work.row_formats[ES_ROWS_F32] = v->rows != ROWS_Q8;
    es_status status = es_service_prepare(n->service, &work, err);
    if (status == ES_OK) status = es_service_run(n->service, err);
    es_notify_stopping();
    es_progress_finish(&n->progress);
    return status;
}

static es_status tie_to_parent(es_err *err)
{
    pid_t parent = getppid();
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        return es_err_set(err, ES_IO, "--die-with-parent: prctl failed");
    if (getppid() != parent) return es_err_set(err, ES_UNAVAILABLE, "--die-with-parent: it died already");
    return ES_OK;
}

static es_status run(const void *given, es_err *err)
{
    const values *v = given;
    node n = {.values = v};
    es_log_serve("essaim-expert-node", &v->log);
    name_node(v, &n);
    es_status status = v->die_with_parent ? tie_to_parent(err) : ES_OK;
    if (status == ES_OK) status = es_kernels_select(v->isa, &n.kernels, err);
    if (status == ES_OK && v->numa_given) status = es_numa_stay_on(ES_NUMA_PATH, (unsigned)v->numa, err);
    if (status == ES_OK) status = open_store(v, &n, err);
    if (status == ES_OK) status = open_sockets(v, &n, err);
    if (status == ES_OK) status = es_signals_start(err);
    if (status == ES_OK) status = es_announce_open(&v->announce, &n.announce, err);
    if (status == ES_OK) status = es_signals_watch_hangup(err);
    if (status == ES_OK) status = open_shares(v, &n, err);
    if (status == ES_OK) status = start_loading(v, &n, err);
    if (status == ES_OK) status = es_pool_create(v->threads, &n.pool, err);
    if (status == ES_OK) status = serve(v, &n, err);
    if (status != ES_OK && !n.ready) es_process_say_failed((int)v->ready_fd, err);
    es_announce_close(&n.announce);
    es_service_close(&n.service);
    es_loader_destroy(&n.loader);
    es_node_shares_close(&n.shares);
    es_expert_store_close(&n.store);
    es_pool_destroy(&n.pool);
    es_allow_list_destroy(&n.allowed);
    es_keys_wipe(&n.keys);
    return status;
}

static const es_command COMMAND = {
    .summary = "holds a share of a model's experts and computes them for coordinators",
    .about =
        "Runs until it is stopped, by SIGTERM or SIGINT, and ends with 0. A node that was removed from its "
        "swarm, or whose key was revoked, goes on running without work; its log says so, and from which "
        "coordinator it has that. 1: it could not start, or a socket failed; 2: its options make no sense.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(values),
    .check = check_values,
    .run = run,
};

int main(int argc, char **argv)
{
    const es_program program = {"essaim-expert-node", ESSAIM_VERSION, COMMAND.summary, &COMMAND, 1};
    return es_program_main(&program, argc, argv);
}
