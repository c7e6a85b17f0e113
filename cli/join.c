/* essaim join: makes this machine one of the swarm's expert nodes. */
#include "base/clock.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/process.h"
#include "cli/commands.h"
#include "cli/join_check.h"
#include "cli/join_state.h"
#include "cli/join_token.h"
#include "cluster/token.h"
#include "fetch/ask.h"
#include "net/key_file.h"
#include "weights/json.h"
#include "weights/shape.h"
#include "weights/unit_file.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ANSWER_MS = 10000,
    TOKEN_MS = 120000,
    ARGS_MAX = 48 + 2 * CLI_JOIN_SHARDS_MAX + 2 * ES_REGISTRY_OPTION_COUNT,
    PORTS = 3
};

/* Beside what weights take. */
static const uint64_t MARGIN_BYTES = 1u << 30;

typedef struct join_values {
    const char *token, *token_file, *dir, *name, *listen, *memory;
    es_option_list shards;
    size_t threads;
    const char *advertise, *rack;
    bool lock_memory, prepare;
    es_registry_options registry;
} join_values;

/* The paths in the node's folder. */
typedef struct paths {
    char key[PATH_MAX], allow[PATH_MAX], shards[PATH_MAX], revoked[PATH_MAX];
} paths;

static es_status make_paths(const char *dir, paths *ret_paths, es_err *err)
{
    es_status status = es_file_join(ret_paths->key, PATH_MAX, dir, "node.key", err);
    if (status == ES_OK) status = es_file_join(ret_paths->allow, PATH_MAX, dir, "allow", err);
    if (status == ES_OK) status = es_file_join(ret_paths->shards, PATH_MAX, dir, "shards", err);
    if (status == ES_OK) status = es_file_join(ret_paths->revoked, PATH_MAX, dir, "revoked", err);
    return status;
}

static es_status make_folder(const char *path, mode_t mode, es_err *err)
{
    if (mkdir(path, mode) == 0 || errno == EEXIST) return ES_OK;
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
}

/* Keys are made once, and readable by their owner alone. */
static es_status own_keys(const paths *p, es_keys *ret_keys, es_err *err)
{
    es_status status = es_keys_load(p->key, ret_keys, err);
    if (status != ES_NOT_FOUND) return status;
    status = es_keys_generate(p->key, ret_keys, err);
    if (status == ES_OK && chmod(p->key, S_IRUSR) != 0)
        status = es_err_set(err, ES_IO, "%s: %s", p->key, strerror(errno));
    if (status == ES_OK) fprintf(stderr, "made keys: %s\n", p->key);
    return status;
}

static void name_machine(const join_values *v, char ret_name[ES_NAME_MAX + 1])
{
    char host[ES_NAME_MAX + 1] = "";
    if (v->name == NULL && gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    host[strcspn(host, ".")] = '\0';
    snprintf(ret_name, ES_NAME_MAX + 1, "%s",
             v->name != NULL       ? v->name
             : es_name_valid(host) ? host
                                   : "node");
}

static es_status memory_of(const join_values *v, uint64_t *ret_bytes, es_err *err)
{
    es_machine_memory memory;
    es_status status = v->memory != NULL ? es_machine_parse_bytes(v->memory, ret_bytes, err)
                                         : es_machine_memory_read(ES_MEMINFO_PATH, &memory, err);
    if (status != ES_OK || v->memory != NULL) return status;
    if (memory.available_bytes <= 2 * MARGIN_BYTES)
        return es_err_set(err, ES_NO_MEMORY, "%.1f GB of memory are available: say --memory SIZE",
                          (double)memory.available_bytes * 1e-9);
    *ret_bytes = memory.available_bytes - MARGIN_BYTES;
    return ES_OK;
}

static es_status choose(const join_values *v, const char *at, const es_token *token, cli_join_state *state,
                        es_err *err)
{
    es_endpoint listen;
    name_machine(v, state->name);
    es_status status = es_endpoint_parse_bind(v->listen, &listen, err);
    if (status == ES_OK && (listen.port == 0 || listen.port > UINT16_MAX - PORTS + 1))
        status = es_err_set(err, ES_INVALID,
                            "--listen %s: others are told its port: give one that is not 0, the first of %d",
                            v->listen, PORTS);
    if (status != ES_OK) return status;
    es_endpoint_format(&listen, state->listen);
    snprintf(state->source, sizeof state->source, "%s", at);
    zmq_z85_encode(state->source_key, token->server_key, ES_KEY_BYTES);
    for (size_t i = 0; i < v->shards.count; i++) {
        if (state->shard_count == CLI_JOIN_SHARDS_MAX)
            return es_err_set(err, ES_INVALID, "--shard: more than %d", CLI_JOIN_SHARDS_MAX);
        char *real = realpath(v->shards.item[i], NULL);
        if (real == NULL) return es_err_set(err, ES_NOT_FOUND, "%s: %s", v->shards.item[i], strerror(errno));
        state->shards[state->shard_count++] = real;
    }
    return memory_of(v, &state->memory_bytes, err);
}

/* What the server's refusal means to who typed the command. */
static es_status explain(es_status status, const es_token *token, const char *at, es_err *err)
{
    char text[ES_ERR_TEXT_MAX], until[32] = "";
    time_t then = (time_t)token->until_s;
    struct tm local;
    snprintf(text, sizeof text, "%s", err->text);
    if (status == ES_NOT_FOUND && token->until_s < (uint64_t)time(NULL) &&
        localtime_r(&then, &local) != NULL && strstr(text, "used already") == NULL) {
        strftime(until, sizeof until, "%F %T", &local);
        return es_err_set(err, status,
                          "the token has lapsed: it was good until %s; make another with 'essaim token'",
                          until);
    }
    return es_err_set(err, status, "%s: %.500s", at, text);
}

static es_status ask(const cli_join_state *state, const es_token *token, const es_keys *keys,
                     es_joined *ret_joined, es_err *err)
{
    es_net *net = NULL;
    es_asker *asker = NULL;
    es_shard_request request = {.ask = ES_SHARD_JOIN};
    es_shard_reply *reply = calloc(1, sizeof *reply);
    const es_net_options options = {keys, NULL};
    const uint8_t *bytes;
    size_t count;
    uint64_t deadline_ns = es_clock_now_ns() + ANSWER_MS * 1000000ull;
    memcpy(request.join.secret, token->secret, sizeof request.join.secret);
    strcpy(request.join.name, state->name);
    strcpy(request.join.control, state->listen);
    request.join.memory_bytes = state->memory_bytes;
    es_status status =
        reply == NULL ? es_err_set(err, ES_NO_MEMORY, "join") : es_net_open(&options, &net, err);
    if (status == ES_OK) status = es_asker_open(net, state->source, state->source_key, NULL, &asker, err);
    if (status == ES_OK) status = es_asker_send(asker, &request, deadline_ns, err);
    if (status == ES_OK)
        status = es_asker_receive(asker, request.request, deadline_ns, reply, &bytes, &count, err);
    if (status == ES_MISMATCH && asker != NULL && strstr(err->text, "handshake") != NULL)
        status = es_err_set(
            err, status,
            "%s is not the machine that made this token, or has revoked this one's key: the handshake failed",
            state->source);
    else if (status == ES_OK && reply->status != ES_OK) {
        status = es_err_set(err, reply->status, "%s", reply->text);
        status = explain(status, token, state->source, err);
    } else if (status == ES_OK && reply->ask != ES_SHARD_JOIN) {
        status = es_err_set(err, ES_CORRUPT, "%s: an answer to another question", state->source);
    }
    if (status == ES_OK) *ret_joined = reply->joined;
    es_asker_close(&asker);
    if (net != NULL) es_net_close(&net);
    sodium_memzero(&request, sizeof request);
    free(reply);
    return status;
}

/* Files are found again wherever the node is started from. */
static bool is_path(const es_option *option)
{
    return strcmp(option->argument, "FILE") == 0;
}

/* What was said here comes before what the coordinator told, and before what was said at the first start. */
static es_status take_registry(const join_values *v, cli_join_state *state, es_err *err)
{
    es_status status = ES_OK;
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT && status == ES_OK; i++) {
        const char *value;
        memcpy(&value, (const char *)&v->registry + ES_REGISTRY_OPTIONS[i].at, sizeof value);
        char *real = value != NULL && is_path(&ES_REGISTRY_OPTIONS[i]) ? realpath(value, NULL) : NULL;
        if (value != NULL && is_path(&ES_REGISTRY_OPTIONS[i]) && real == NULL)
            status = es_err_set(err, ES_NOT_FOUND, "%s %s: %s", ES_REGISTRY_OPTIONS[i].name, value,
                                strerror(errno));
        if (status == ES_OK && value != NULL)
            status = cli_join_state_set_registry(state, i, real != NULL ? real : value, err);
        free(real);
    }
    return status;
}

static size_t registry_option(const char *name)
{
    size_t i = 0;
    while (strcmp(ES_REGISTRY_OPTIONS[i].name, name) != 0) i++;
    return i;
}

/* With etcd the node announces itself, so it has to reach it: known now, not when nobody finds the node. */
static es_status try_etcd(const cli_join_state *state, es_err *err)
{
    es_registry_options options;
    es_registry *registry = NULL;
    char text[ES_ERR_TEXT_MAX];
    cli_join_state_registry(state, &options);
    fprintf(stderr, "asking etcd at %s\n", options.etcd);
    es_status status = es_registry_open(&options, &registry, err);
    es_registry_close(&registry);
    if (status == ES_OK) return ES_OK;
    snprintf(text, sizeof text, "%s", err->text);
    return es_err_set(err, status,
                      "%.300s: this swarm's registry is etcd at %.200s, where this machine announces itself; "
                      "try again with --etcd and its like, the token stays good for this machine",
                      text, options.etcd);
}

/* All was said here; a user may be allowed one prefix only, which else the coordinator tells. */
static bool knows_etcd(const cli_join_state *state)
{
    es_registry_options options;
    cli_join_state_registry(state, &options);
    return options.etcd != NULL && options.prefix != NULL;
}

/* Where the swarm's registry is, as the coordinator told, where nobody said otherwise here. */
static es_status take_told_registry(const es_joined *joined, cli_join_state *state, es_err *err)
{
    es_registry_options options;
    es_status status = ES_OK;
    cli_join_state_registry(state, &options);
    bool tried = knows_etcd(state);
    if (joined->etcd[0] == '\0' && options.etcd != NULL)
        return es_err_set(err, ES_INVALID, "--etcd: this swarm has none, its coordinator keeps the registry");
    if (joined->etcd[0] == '\0') return ES_OK;
    if (options.etcd == NULL && options.user != NULL)
        return es_err_set(err, ES_INVALID, "--etcd-user: say --etcd too: a password goes only where you say");
    if (options.etcd == NULL)
        status = cli_join_state_set_registry(state, registry_option("--etcd"), joined->etcd, err);
    if (status == ES_OK && options.prefix == NULL && joined->etcd_prefix[0] != '\0')
        status =
            cli_join_state_set_registry(state, registry_option("--etcd-prefix"), joined->etcd_prefix, err);
    return status == ES_OK && !tried ? try_etcd(state, err) : status;
}

/* Everything that the node needs, its settings last: what is cut short before is done again. */
static es_status write_state(const char *dir, const paths *p, const cli_join_state *state,
                             const es_joined *joined, es_err *err)
{
    es_shape shape;
    const es_json_text config = {"the coordinator's config", joined->config, strlen(joined->config)},
                       none = {.file = "the coordinator's config"};
    es_status status = es_shape_parse(&config, &none, &shape, err);
    if (status == ES_OK) status = make_folder(p->shards, 0755, err);
    if (status == ES_OK) status = es_unit_file_write_empty(p->shards, &shape, joined->fingerprint, err);
    if (status == ES_OK)
        status = es_key_file_write(p->allow, "coordinators, as they were when this machine joined",
                                   (const char(*)[ES_KEY_TEXT_BYTES])joined->coordinators,
                                   joined->coordinator_count, err);
    return status == ES_OK ? cli_join_state_save(dir, state, err) : status;
}

static es_status join(const join_values *v, const paths *p, cli_join_state *state, es_err *err)
{
    es_token token;
    es_keys keys;
    char at[ES_TOKEN_AT_TEXT_MAX], text[CLI_JOIN_TOKEN_MAX];
    if (v->token == NULL && v->token_file == NULL)
        return es_err_set(err, ES_INVALID,
                          "%s: this machine has not joined yet: give it a token (essaim token, on the "
                          "coordinator's machine)",
                          v->dir);
    es_joined *joined = calloc(1, sizeof *joined);
    if (joined == NULL) return es_err_set(err, ES_NO_MEMORY, "join");
    es_status status = cli_join_token_read(v->token, v->token_file, STDIN_FILENO, TOKEN_MS, text, err);
    if (status == ES_OK) status = es_token_parse(text, &token, at, err);
    explicit_bzero(text, sizeof text);
    if (status == ES_OK) status = make_folder(v->dir, 0700, err);
    if (status == ES_OK) status = own_keys(p, &keys, err);
    if (status == ES_OK) status = choose(v, at, &token, state, err);
    if (status == ES_OK) status = take_registry(v, state, err);
    /* What can fail here fails before the token is spent. */
    if (status == ES_OK) status = cli_join_check(v->dir, p->shards, state, &keys, err);
    if (status == ES_OK && knows_etcd(state)) status = try_etcd(state, err);
    if (status == ES_OK) fprintf(stderr, "asking %s\n", at);
    if (status == ES_OK) status = ask(state, &token, &keys, joined, err);
    if (status == ES_OK) strcpy(state->control, joined->control);
    if (status == ES_OK) status = take_told_registry(joined, state, err);
    if (status == ES_OK) status = write_state(v->dir, p, state, joined, err);
    if (status == ES_OK)
        fprintf(stderr, "joined as %s, others reach it at %s\n", joined->name, joined->control);
    es_keys_wipe(&keys);
    sodium_memzero(&token, sizeof token);
    free(joined);
    return status;
}

/* Becomes the node: one program less that has to be watched. */
static es_status become(const join_values *v, const paths *p, const cli_join_state *state, es_err *err)
{
    char program[PATH_MAX], data[8], shards[8], memory[24],
        source[CLI_JOIN_WHERE_MAX + ES_KEY_TEXT_BYTES + 1], threads[24];
    const char *argv[ARGS_MAX];
    size_t n = 0;
    es_endpoint listen;
    es_status status = es_process_sibling("essaim-expert-node", program, sizeof program, err);
    if (status == ES_OK) status = es_endpoint_parse_bind(state->listen, &listen, err);
    if (status != ES_OK) return status;
    snprintf(data, sizeof data, "%u", listen.port + 1u);
    snprintf(shards, sizeof shards, "%u", listen.port + 2u);
    snprintf(memory, sizeof memory, "%llu", (unsigned long long)state->memory_bytes);
    snprintf(source, sizeof source, "%s,%s", state->source, state->source_key);
    snprintf(threads, sizeof threads, "%zu", v->threads);
    const char *const fixed[] = {
        program,        "--name",  state->name, "--listen",  state->listen, "--data-port", data,
        "--shard-port", shards,    "--part",    "none",      "--memory",    memory,        "--keys",
        p->key,         "--allow", p->allow,    "--revoked", p->revoked,    "--shard",     p->shards,
        "--fetch",      p->shards, "--source",  source,      "--threads",   threads};
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) argv[n++] = fixed[i];
    for (size_t i = 0; i < state->shard_count; i++) {
        argv[n++] = "--shard";
        argv[n++] = state->shards[i];
    }
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT; i++)
        if (state->registry[i] != NULL) {
            argv[n++] = ES_REGISTRY_OPTIONS[i].name;
            argv[n++] = state->registry[i];
        }
    if (state->registry[registry_option("--etcd")] != NULL) {
        argv[n++] = "--advertise";
        argv[n++] = v->advertise != NULL ? v->advertise : state->control;
        if (v->rack != NULL) argv[n++] = "--rack";
        if (v->rack != NULL) argv[n++] = v->rack;
    } else if (v->advertise != NULL || v->rack != NULL) {
        return es_err_set(err, ES_INVALID, "--advertise and --rack are for swarms whose registry is etcd");
    }
    if (v->lock_memory) argv[n++] = "--lock-memory";
    argv[n] = NULL;
    ES_ASSERT(n < ARGS_MAX);
    fflush(NULL);
    execv(program, (char *const *)(uintptr_t)argv);
    return es_err_set(err, ES_IO, "%s: %s", program, strerror(errno));
}

static es_status run(const void *arg, es_err *err)
{
    const join_values *v = arg;
    paths p;
    cli_join_state state = {.name = ""};
    es_status status = make_paths(v->dir, &p, err);
    if (status == ES_OK) status = cli_join_state_load(v->dir, &state, err);
    if (status == ES_NOT_FOUND)
        status = join(v, &p, &state, err);
    else if (status == ES_OK) {
        if (v->token != NULL || v->token_file != NULL)
            fprintf(stderr,
                    "%s: joined already as %s: the token is not used (remove the folder to join anew)\n",
                    v->dir, state.name);
        status = take_registry(v, &state, err);
    }
    if (status == ES_OK && !v->prepare) status = become(v, &p, &state, err);
    cli_join_state_fini(&state);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const join_values *v = arg;
    if (v->name != NULL && !es_name_valid(v->name))
        return es_err_set(err, ES_INVALID, "--name \"%s\": 1 to %d letters, digits, '.', '_' or '-'", v->name,
                          ES_NAME_MAX);
    if (v->token != NULL && v->token_file != NULL)
        return es_err_set(err, ES_INVALID, "give a token or --token-file, one of the two");
    return ES_OK;
}

static const es_option OPTIONS[] = {
    {.name = "TOKEN@HOST:PORT|-",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(join_values, token),
     .positional = true,
     .help = "what 'essaim token' printed; - reads it from standard input, which keeps it out of the list of "
             "processes; a machine that has joined needs none"},
    {.name = "--token-file",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(join_values, token_file),
     .help = "or it is the first line of this file"},
    {.name = "--dir",
     .kind = ES_OPTION_TEXT,
     .argument = "DIR",
     .at = offsetof(join_values, dir),
     .required = true,
     .help = "this machine's own: its keys, its settings and the experts that it fetches"},
    {.name = "--name",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(join_values, name),
     .fallback = "the machine's",
     .help = "what the swarm calls it"},
    {.name = "--listen",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .initial = "*:5700",
     .at = offsetof(join_values, listen),
     .help = "where coordinators reach it; the two ports behind are for rows and for shards"},
    {.name = "--memory",
     .kind = ES_OPTION_TEXT,
     .argument = "SIZE",
     .fallback = "what is available but a gigabyte",
     .at = offsetof(join_values, memory),
     .help = "for experts, for example 24G"},
    {.name = "--shard",
     .kind = ES_OPTION_LIST,
     .argument = "FILE|DIR",
     .at = offsetof(join_values, shards),
     .help = "shards that are on this machine already: what is in them is not fetched"},
    {.name = "--prepare",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(join_values, prepare),
     .help = "join, and do not become the node: a service starts it, with the same command without a token"},
};

static const es_option RUN_OPTIONS[] = {
    {.name = "--threads",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .initial = "0",
     .max = 1024,
     .at = offsetof(join_values, threads),
     .help = "threads that compute; 0 is one for each core"},
    {.name = "--lock-memory",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(join_values, lock_memory),
     .help = "keep all weights in memory"},
    {.name = "--advertise",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .at = offsetof(join_values, advertise),
     .fallback = "as when it joined",
     .help = "with etcd: where coordinators reach it now, for machines whose address changes"},
    {.name = "--rack",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(join_values, rack),
     .help = "with etcd: machines of one rack fail together"},
};

static const es_option_set SETS[] = {
    {.heading = "Joining", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "The node", .options = RUN_OPTIONS, .count = sizeof RUN_OPTIONS / sizeof RUN_OPTIONS[0]},
    {.heading = "Registry, when the swarm's is etcd: what is not said is as the coordinator told",
     .options = ES_REGISTRY_OPTIONS + 1,
     .count = ES_REGISTRY_OPTION_COUNT - 1,
     .at = offsetof(join_values, registry)},
};

static const es_example EXAMPLES[] = {
    {"essaim join - --dir /var/lib/essaim/node --memory 48G <token",
     "the first start on a new machine; essaim token wrote the file on the coordinator's"},
    {"essaim join --dir /var/lib/essaim/node", "every later one"},
};

const es_command CLI_JOIN = {
    .name = "join",
    .summary = "make this machine an expert node of a swarm",
    .about = "At the first start it makes keys, tries its ports and its folder, shows the token to the "
             "coordinator that made it, and keeps "
             "what it is told in DIR; "
             "then, as ever after, it becomes essaim-expert-node, which holds what the placement gives it "
             "and fetches what it "
             "lacks from the other nodes.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(join_values),
    .check = check,
    .run = run,
};
