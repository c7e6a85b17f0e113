/* A coordinator put together: model, kernels, pool, where experts are computed, and the forward pass over
 * them. */
#include "coordinator/coordinator.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/signals.h"
#include "base/size.h"
#include "coordinator/node_list.h"
#include "dispatch/swarm.h"
#include "experts/local_backend.h"
#include "join/join.h"
#include "net/keys.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct es_coordinator {
    es_arena *arena; /* texts of the nodes file */
    es_coordinator_options options;
    es_model *model;
    const es_kernels *kernels;
    es_pool *pool;
    es_keys keys;
    es_trust trust;         /* whose placements are followed */
    es_swarm *swarm;        /* NULL: experts are computed here */
    es_registry *registry;  /* NULL: nodes are as the options say */
    es_membership *members; /* with it */
    es_join *join;          /* NULL: nobody joins here */
    es_expert_backend *backend;
    es_expert_backend *local; /* beside a swarm; NULL unless asked for */
    es_forward *forward;
    es_trace *trace;
};

static const char *const ROW_FORMATS[] = {"q8", "f32", NULL};
static const char *const KV_FORMATS[] = {"f16", "f32", NULL};

const es_option ES_COORDINATOR_OPTIONS[ES_COORDINATOR_OPTION_COUNT] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "MODEL",
     .at = offsetof(es_coordinator_options, model_dir),
     .required = true,
     .help =
         "a checkpoint folder as published (config.json, *.safetensors), a GGUF file or a folder of shards"},
    {.name = "--node",
     .kind = ES_OPTION_LIST,
     .argument = "HOST:PORT[,KEY]",
     .at = offsetof(es_coordinator_options, nodes),
     .help = "use this running expert node, with its public key when it is on another machine"},
    {.name = "--nodes",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_coordinator_options, nodes_file),
     .help = "use the expert nodes of a file: HOST:PORT KEY on each line"},
    {.name = "--keys",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_coordinator_options, keys),
     .help = "this machine's key pair from 'essaim keygen': needed for nodes beyond this machine"},
    {.name = "--threads",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, threads),
     .max = 1024,
     .initial = "0",
     .help = "threads that compute here; 0 is one for each core"},
    {.name = "--isa",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(es_coordinator_options, isa),
     .fallback = "the best",
     .help = "kernel set to use"},
    {.name = "--rows",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(es_coordinator_options, row_format),
     .choices = ROW_FORMATS,
     .initial = "q8",
     .help = "activations: q8 is exact mode, f32 is for verification"},
    {.name = "--kv",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(es_coordinator_options, kv_format),
     .choices = KV_FORMATS,
     .initial = "f16",
     .help = "how the KV cache is stored"},
    {.name = "--context",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, context),
     .unit = "tokens",
     .max = 16 * 1024 * 1024,
     .initial = "0",
     .help = "longest sequence; 0 is the model's own"},
    {.name = "--step",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, step),
     .unit = "tokens",
     .initial = "0",
     .help = "prompt tokens computed at a time; 0 is as many as a step holds"},
    {.name = "--deadline-ms",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, deadline_ms),
     .unit = "ms",
     .min = 1,
     .max = 3600000,
     .initial = "30000",
     .help = "longest wait for a node's reply"},
    {.name = "--wait-for-nodes",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, wait_s),
     .unit = "s",
     .min = 1,
     .max = 3600,
     .initial = "30",
     .help = "longest wait for a node to come back whose experts no other holds"},
    {.name = "--local-experts",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(es_coordinator_options, local_experts),
     .help = "open all experts here too, and compute those that no node holds any more; for shards, which "
             "are mapped"},
    {.name = "--kv-memory",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, kv_mib),
     .unit = "MiB",
     .max = 64 * 1024 * 1024,
     .initial = "0",
     .help = "KV cache of all answers; 0 is four contexts, at most a quarter of the machine's memory"},
    {.name = "--chunk",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, chunk),
     .unit = "tokens",
     .min = 1,
     .max = ES_STEP_ROWS_MAX,
     .initial = "128",
     .help = "prompt tokens in a step that running answers wait for"},
    {.name = "--answers",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, answers),
     .min = 1,
     .max = ES_STEP_ROWS_MAX,
     .initial = "64",
     .help = "answers computed at once"},
    {.name = "--queue",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, queue),
     .min = 1,
     .max = 65536,
     .initial = "256",
     .help = "requests that may wait; one more is refused"},
    {.name = "--queue-key",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, queue_key),
     .max = 65536,
     .initial = "0",
     .help = "requests of one API key that may wait; 0 is as many as --queue"},
};

enum { PLACEMENT_AUTO, PLACEMENT_MANUAL };
static const char *const PLACEMENTS[] = {"auto", "manual", NULL};

const es_option ES_MEMBERSHIP_OPTIONS[ES_MEMBERSHIP_OPTION_COUNT] = {
    {.name = "--placement",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(es_coordinator_options, placement),
     .given_at = offsetof(es_coordinator_options, placement_given),
     .choices = PLACEMENTS,
     .fallback = "auto with --registry, manual with --etcd",
     .help = "auto plans when nodes come, drain or are gone; manual leaves it to 'essaim placement apply'"},
    {.name = "--placement-mode",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(es_coordinator_options, placement_mode),
     .given_at = offsetof(es_coordinator_options, placement_mode_given),
     .choices = ES_PLACEMENT_MODES,
     .fallback = "as it stands, at first group",
     .help = "how experts are laid out"},
    {.name = "--copies",
     .kind = ES_OPTION_COUNT,
     .argument = "R",
     .at = offsetof(es_coordinator_options, copies),
     .max = ES_COPIES_MAX,
     .initial = "0",
     .help = "of each expert, on different nodes; 0: as many as stand, at first 1"},
    {.name = "--replace-after",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, replace_after_s),
     .unit = "s",
     .min = 1,
     .max = 7 * 86400,
     .initial = "120",
     .help = "until a node that does not answer is planned without"},
    {.name = "--trust",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_coordinator_options, trust),
     .help = "signing keys, \"ed25519:...\", whose placements are followed beside those signed with --keys"},
    {.name = "--epoch-file",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_coordinator_options, epoch_file),
     .help = "the newest placement's epoch, kept there over a restart: an older one that is put back is not "
             "followed"},
    {.name = "--join-listen",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .at = offsetof(es_coordinator_options, join_listen),
     .help = "take in new machines that have a token ('essaim token'), and give nodes experts of --model's "
             "shards; "
             "port 5710 by custom"},
    {.name = "--join-allow",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_coordinator_options, join_allow),
     .help = "public keys of further coordinators, one a line, that new machines are to allow"},
    {.name = "--give-rate",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(es_coordinator_options, give_rate),
     .unit = "MB/s",
     .max = 1000000,
     .initial = "50",
     .help = "give experts no faster, so that rows come first on the network; 0 is as fast as it goes"},
};

static bool follows(const es_coordinator_options *o)
{
    return o->registry.folder != NULL || o->registry.etcd != NULL;
}

es_status es_coordinator_check(const es_coordinator_options *o, es_err *err)
{
    es_status status = es_registry_options_check(&o->registry, err);
    if (status != ES_OK) return status;
    if (follows(o) && (o->nodes.count > 0 || o->nodes_file != NULL))
        return es_err_set(
            err, ES_INVALID,
            "--node and --nodes name the nodes, --registry and --etcd find them: one of the two");
    if (o->join_listen != NULL && (!follows(o) || o->keys == NULL))
        return es_err_set(err, ES_INVALID, "--join-listen goes with --keys, and with --registry or --etcd");
    if (o->join_allow != NULL && o->join_listen == NULL)
        return es_err_set(err, ES_INVALID, "--join-allow goes with --join-listen");
    if (o->trust != NULL && o->keys == NULL)
        return es_err_set(err, ES_INVALID,
                          "--trust goes with --keys: without keys placements are not signed");
    if (!follows(o) && (o->trust != NULL || o->epoch_file != NULL || o->placement_given ||
                        o->placement_mode_given || o->copies > 0))
        return es_err_set(err, ES_INVALID,
                          "--placement, --placement-mode, --copies, --trust and --epoch-file go with "
                          "--registry or --etcd");
    return ES_OK;
}

static es_status open_local_experts(es_coordinator *c, es_expert_backend **ret_backend, es_err *err)
{
    es_expert_engine_options engine = {
        .kernels = c->kernels,
        .pool = c->pool,
        .row_format = c->options.row_format,
        .hidden = c->model->shape.hidden,
        .rows_max = c->options.step,
    };
    return es_local_backend_create(c->model, &engine, ret_backend, err);
}

static es_status open_swarm(es_coordinator *c, es_err *err)
{
    if (c->options.keys != NULL) {
        es_status status = es_keys_load(c->options.keys, &c->keys, err);
        if (status != ES_OK) return status;
    }
    const es_swarm_options options = {
        .nodes = c->options.nodes.item,
        .node_count = c->options.nodes.count,
        .name = "coordinator",
        .shape = &c->model->shape,
        .fingerprint = c->model->fingerprint,
        .row_format = c->options.row_format,
        .rows_max = c->options.step,
        .keys = c->options.keys != NULL ? &c->keys : NULL,
        .deadline_ms = (uint32_t)c->options.deadline_ms,
        .wait_ms = (uint32_t)c->options.wait_s * 1000,
        .trace = c->trace,
        .watch = !follows(&c->options), /* else the members' thread asks */
        .local = c->local,
    };
    es_status status = es_swarm_create(&options, &c->swarm, err);
    if (status == ES_OK) c->backend = es_swarm_backend(c->swarm);
    return status;
}

/* Whoever has our keys may sign, and those whom the user names. */
static es_status trust_signers(es_coordinator *c, es_err *err)
{
    es_signer signer;
    es_status status = es_signer_derive(&c->keys, &signer, err);
    if (status == ES_OK) status = es_trust_add(&c->trust, signer.public_key, err);
    es_signer_wipe(&signer);
    if (status == ES_OK && c->options.trust != NULL) status = es_trust_load(c->options.trust, &c->trust, err);
    return status;
}

/* From here on the swarm's nodes are those of the registry. */
static es_status open_members(es_coordinator *c, es_err *err)
{
    const es_coordinator_options *o = &c->options;
    es_status status = o->keys != NULL ? trust_signers(c, err) : ES_OK;
    if (status != ES_OK) return status;
    const es_membership_options options = {
        .registry = c->registry,
        .embedded = o->registry.folder != NULL,
        .swarm = c->swarm,
        .shape = &c->model->shape,
        .fingerprint = c->model->fingerprint,
        .model = o->model_dir,
        .row_format = o->row_format,
        .keys = o->keys != NULL ? &c->keys : NULL,
        .trust = &c->trust,
        .epoch_file = o->epoch_file,
        .automatic = o->placement_given ? o->placement == PLACEMENT_AUTO : o->registry.folder != NULL,
        .mode_given = o->placement_mode_given,
        .mode = (es_placement_mode)o->placement_mode,
        .copies = o->copies,
        .replace_after_s = (unsigned)o->replace_after_s,
    };
    return es_membership_create(&options, &c->members, err);
}

static es_status start_join(es_coordinator *c, es_err *err)
{
    const es_coordinator_options *o = &c->options;
    const es_join_options options = {.listen = o->join_listen,
                                     .keys = &c->keys,
                                     .registry = c->registry,
                                     .shape = &c->model->shape,
                                     .fingerprint = c->model->fingerprint,
                                     .model = o->model_dir,
                                     .coordinators = o->join_allow,
                                     .etcd = o->registry.etcd,
                                     .etcd_prefix = o->registry.prefix,
                                     .bytes_per_s = (uint64_t)o->give_rate * 1000000};
    return o->join_listen == NULL ? ES_OK : es_join_start(&options, &c->join, err);
}

/* Whether nodes compute the experts. */
static bool has_swarm(const es_coordinator *c)
{
    return c->options.nodes.count > 0 || follows(&c->options);
}

/* Binds the backbone, and every expert too when they are computed here. */
static es_status open_model(es_coordinator *c, es_progress_fn *progress, void *context, es_err *err)
{
    es_model_parts parts = {.backbone = true,
                            .all_experts = !has_swarm(c) || c->options.local_experts,
                            .stop_asked = es_signals_stop_asked};
    es_status status = es_model_open(c->options.model_dir, &parts, progress, context, &c->model, err);
    if (status != ES_OK) return status;
    size_t own = c->model->shape.context;
    if (c->options.context > own)
        return es_err_set(err, ES_INVALID, "--context: %zu is more than the model's %zu", c->options.context,
                          own);
    if (c->options.context == 0) c->options.context = own;
    if (c->options.step == 0) c->options.step = ES_STEP_ROWS_MAX;
    c->options.step = es_size_min(es_size_min(c->options.step, ES_STEP_ROWS_MAX), c->options.context);
    return ES_OK;
}

static es_status start_blas(const es_coordinator *c, es_err *err)
{
    if (c->options.row_format != ES_ROWS_F32) return ES_OK;
    const char *core;
    es_status status = es_blas_start(&core, err);
    if (status == ES_OK) es_log(ES_LOG_INFO, "OpenBLAS computes for %s", core);
    return status;
}

static es_status open_all(es_coordinator *c, es_progress_fn *progress, void *context, es_err *err)
{
    es_status status = es_trace_create(&c->trace, err);
    if (status == ES_OK && c->options.nodes_file != NULL)
        status = es_node_list_read(c->options.nodes_file, c->arena, &c->options.nodes, err);
    if (status == ES_OK) status = es_kernels_select(c->options.isa, &c->kernels, err);
    if (status == ES_OK && follows(&c->options))
        status = es_registry_open_or_create(&c->options.registry, &c->registry, err);
    if (status == ES_OK) status = start_blas(c, err);
    if (status == ES_OK) status = open_model(c, progress, context, err);
    if (status == ES_OK) status = es_pool_create(c->options.threads, &c->pool, err);
    /* A model without routed experts has nobody to ask for them. */
    if (status == ES_OK && !has_swarm(c) && c->model->shape.experts > 0)
        status = open_local_experts(c, &c->backend, err);
    if (status == ES_OK && has_swarm(c) && c->options.local_experts)
        status = open_local_experts(c, &c->local, err);
    if (status == ES_OK && has_swarm(c)) status = open_swarm(c, err);
    if (status == ES_OK && c->registry != NULL) status = open_members(c, err);
    if (status == ES_OK && c->registry != NULL) status = start_join(c, err);
    if (status != ES_OK) return status;
    es_forward_options forward = {
        .model = c->model,
        .kernels = c->kernels,
        .pool = c->pool,
        .backend = c->backend,
        .row_format = c->options.row_format,
        .rows_max = c->options.step,
        .trace = c->trace,
    };
    return es_forward_create(&forward, &c->forward, err);
}

es_status es_coordinator_open(const es_coordinator_options *options, es_progress_fn *progress, void *context,
                              es_coordinator **ret_coordinator, es_err *err)
{
    *ret_coordinator = NULL;
    es_coordinator *c = calloc(1, sizeof *c);
    if (c == NULL) return es_err_set(err, ES_NO_MEMORY, "coordinator");
    c->options = *options;
    c->arena = es_arena_create();
    es_status status = c->arena == NULL ? es_err_set(err, ES_NO_MEMORY, "coordinator") : ES_OK;
    if (status == ES_OK) status = open_all(c, progress, context, err);
    if (status != ES_OK) {
        es_coordinator_close(&c);
        return status;
    }
    *ret_coordinator = c;
    return ES_OK;
}

void es_coordinator_close(es_coordinator **coordinator)
{
    es_coordinator *c = *coordinator;
    if (c == NULL) return;
    es_forward_destroy(&c->forward);
    es_join_stop(&c->join);
    es_membership_destroy(&c->members);
    es_registry_close(&c->registry);
    if (c->backend != NULL) c->backend->destroy(&c->backend);
    if (c->local != NULL) c->local->destroy(&c->local);
    es_trace_destroy(&c->trace);
    es_keys_wipe(&c->keys);
    es_pool_destroy(&c->pool);
    es_model_close(&c->model);
    es_arena_destroy(&c->arena);
    free(c);
    *coordinator = NULL;
}

es_status es_coordinator_wait(es_coordinator *c, es_coordinator_waits_fn *waits, void *context, es_err *err)
{
    enum { LOOK_MS = 10 };
    es_err missing;
    if (c->members == NULL || c->local != NULL) return ES_OK;
    while (es_swarm_missing(c->swarm, &missing) != ES_OK) {
        char what[ES_ERR_TEXT_MAX];
        es_membership_info info = es_membership_get(c->members, NULL, 0);
        snprintf(what, sizeof what, "waiting for nodes that hold all experts: %.200s%s%.300s", missing.text,
                 info.why[0] != '\0' ? "; " : "", info.why);
        if (!waits(context, what)) return es_err_set(err, ES_CANCELLED, "stopped while %s", what);
        es_swarm_tend(c->swarm);
        poll(NULL, 0, LOOK_MS);
    }
    return ES_OK;
}

es_join *es_coordinator_join(const es_coordinator *coordinator)
{
    return coordinator->join;
}

es_membership *es_coordinator_members(const es_coordinator *coordinator)
{
    return coordinator->members;
}

const es_model *es_coordinator_model(const es_coordinator *coordinator)
{
    return coordinator->model;
}

es_trace *es_coordinator_trace(const es_coordinator *c)
{
    return c->trace;
}

const es_kernels *es_coordinator_kernels(const es_coordinator *coordinator)
{
    return coordinator->kernels;
}

const es_coordinator_options *es_coordinator_get_options(const es_coordinator *coordinator)
{
    return &coordinator->options;
}

/* Pages of the engine's KV cache. One is spare: an engine's context is a page less than its cache. */
static size_t kv_pages(const es_coordinator *c)
{
    const es_coordinator_options *o = &c->options;
    size_t page_bytes = es_kv_page_bytes(&c->model->shape, o->kv_format);
    size_t context_pages = es_size_ceil_div(o->context, ES_KV_TILE);
    if (o->kv_mib > 0) return es_size_min(o->kv_mib * 1024 * 1024 / page_bytes, ES_KV_PAGES_MAX);
    size_t machine_bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    return es_size_max(es_size_min(4 * context_pages + 1, machine_bytes / 4 / page_bytes), 2);
}

static void tell_heat(void *context, const float *heat)
{
    es_membership_take_heat(context, heat);
}

es_status es_coordinator_engine(es_coordinator *c, es_engine **ret_engine, es_err *err)
{
    const es_coordinator_options *o = &c->options;
    const es_engine_options options = {
        .forward = c->forward,
        .model = c->model,
        .kernels = c->kernels,
        .swarm = c->swarm,
        .trace = c->trace,
        .heat = c->members != NULL ? tell_heat : NULL,
        .heat_context = c->members,
        .kv_format = o->kv_format,
        .kv_pages = kv_pages(c),
        .context = o->context,
        .step_rows = o->step,
        .chunk_rows = o->chunk,
        .running_max = es_size_min(o->answers, o->step),
        .queue_max = o->queue,
        .queue_key_max = o->queue_key,
    };
    *ret_engine = NULL;
    if (options.kv_pages < 2)
        return es_err_set(err, ES_INVALID, "--kv-memory: %zu MiB hold less than two pages of %zu bytes",
                          o->kv_mib, es_kv_page_bytes(&c->model->shape, o->kv_format));
    es_status status = es_engine_create(&options, ret_engine, err);
    if (status == ES_OK && es_engine_context(*ret_engine) < o->context)
        es_log(ES_LOG_WARN, "the KV cache of %zu pages holds sequences of %zu tokens, not %zu",
               options.kv_pages, es_engine_context(*ret_engine), o->context);
    return status;
}

es_status es_coordinator_session(es_coordinator *c, es_session **ret_session, es_err *err)
{
    return es_session_create(c->forward, c->model, c->options.kv_format, c->options.context, c->options.step,
                             ret_session, err);
}
