/* Takes new machines into the swarm. */
#include "join/join.h"

#include "base/clock.h"
#include "base/log.h"
#include "cluster/token.h"
#include "net/key_file.h"
#include "weights/expert_index.h"
#include "weights/shape_json.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { USED_MAX = 256, JOINED_MAX = 256, LOOK_MS = 500, WAIT_MS = 4000 };

/* A token that was taken, and by whom. */
typedef struct used {
    uint8_t hash[ES_TOKEN_HASH_BYTES];
    char name[ES_NAME_MAX + 1];
} used;

/* A member by the key it came with: it may ask again before anybody else has heard of it. */
typedef struct joined {
    char key[ES_KEY_TEXT_BYTES], name[ES_NAME_MAX + 1];
    bool listed; /* the registry has named it: from then on the registry alone says who is a member */
} joined;

struct es_join {
    es_join_options options;
    es_allow_list *guests, *members; /* who may connect: everyone who was not revoked; who may fetch */
    es_shard_server *server;
    char *config;
    char (*coordinators)[ES_KEY_TEXT_BYTES]; /* [ES_JOIN_COORDINATORS_MAX] */
    size_t coordinator_count;

    /* The server thread's. */
    uint64_t looked_ns;
    used used[USED_MAX];
    joined joined[JOINED_MAX];
    size_t used_count, joined_count; /* of all times: the tables forget the oldest */

    pthread_mutex_t lock; /* around stats */
    es_join_stats stats;
};

static void count(es_join *join, uint64_t *what)
{
    pthread_mutex_lock(&join->lock);
    ++*what;
    pthread_mutex_unlock(&join->lock);
}

static joined *find_joined(es_join *join, const char *key)
{
    for (size_t i = 0; i < join->joined_count && i < JOINED_MAX; i++)
        if (strcmp(join->joined[i].key, key) == 0) return &join->joined[i];
    return NULL;
}

static void note_joined(es_join *join, const char *key, const char *name)
{
    joined *now = find_joined(join, key);
    if (now == NULL) now = &join->joined[join->joined_count++ % JOINED_MAX];
    *now = (joined){.listed = false};
    strcpy(now->key, key);
    strcpy(now->name, name);
}

static const used *find_used(const es_join *join, const uint8_t *hash)
{
    for (size_t i = 0; i < join->used_count && i < USED_MAX; i++)
        if (memcmp(join->used[i].hash, hash, ES_TOKEN_HASH_BYTES) == 0) return &join->used[i];
    return NULL;
}

static bool has_key(const es_node_record *nodes, size_t count, const char *key)
{
    for (size_t n = 0; n < count; n++)
        if (strcmp(nodes[n].key, key) == 0) return true;
    return false;
}

static const es_node_record *find_name(const es_node_record *nodes, size_t count, const char *name)
{
    for (size_t n = 0; n < count; n++)
        if (strcmp(nodes[n].name, name) == 0) return &nodes[n];
    return NULL;
}

/* Adds to keys those of machines that joined and that the registry does not name yet; returns how many there
 * are then. */
static size_t add_unlisted(es_join *join, const es_registry_view *view, char (*keys)[ES_KEY_TEXT_BYTES],
                           size_t count)
{
    for (size_t i = 0; i < join->joined_count && i < JOINED_MAX; i++) {
        joined *one = &join->joined[i];
        one->listed |= has_key(view->nodes, view->node_count, one->key) ||
                       has_key(view->lapsed, view->lapsed_count, one->key);
        if (!one->listed) strcpy(keys[count++], one->key);
    }
    return count;
}

static size_t add_keys(const es_node_record *nodes, size_t node_count, char (*keys)[ES_KEY_TEXT_BYTES],
                       size_t count)
{
    for (size_t n = 0; n < node_count; n++)
        if (nodes[n].key[0] != '\0') strcpy(keys[count++], nodes[n].key);
    return count;
}

/* Who may fetch, and who not even connect, is as the registry says it. */
static void follow(es_join *join)
{
    es_registry_view *view;
    es_err err;
    if (es_registry_view_get(join->options.registry, &view, &err) != ES_OK) return;
    char(*keys)[ES_KEY_TEXT_BYTES] = calloc(view->node_count + view->lapsed_count + JOINED_MAX, sizeof *keys);
    const char(*revoked)[ES_KEY_TEXT_BYTES] = (const char(*)[ES_KEY_TEXT_BYTES])view->revoked;
    size_t members = 0;
    if (keys != NULL) {
        members = add_keys(view->nodes, view->node_count, keys, 0);
        members = add_keys(view->lapsed, view->lapsed_count, keys, members);
        members = add_unlisted(join, view, keys, members);
    }
    es_status status = keys == NULL ? ES_NO_MEMORY : ES_OK;
    if (status == ES_OK)
        status = es_allow_list_set(join->members, (const char(*)[ES_KEY_TEXT_BYTES])keys, members, &err);
    if (status == ES_OK) status = es_allow_list_revoke(join->members, revoked, view->revoked_count, &err);
    if (status == ES_OK) status = es_allow_list_revoke(join->guests, revoked, view->revoked_count, &err);
    if (status != ES_OK) es_log(ES_LOG_WARN, "who may fetch stays as it was: memory is short");
    free(keys);
    es_registry_view_destroy(&view);
}

static void tick(void *context)
{
    es_join *join = context;
    uint64_t now_ns = es_clock_now_ns();
    if (now_ns - join->looked_ns < LOOK_MS * 1000000ull) return;
    join->looked_ns = now_ns;
    follow(join);
}

/* Where others reach it: a node that listens on every address is reached where it came from. */
static es_status place(const es_join_request *request, const char *address,
                       char ret_control[ES_ENDPOINT_TEXT_MAX], es_err *err)
{
    es_endpoint control, from = {.host = ""};
    es_status status = es_endpoint_parse_bind(request->control, &control, err);
    if (status != ES_OK) return status;
    size_t length = strlen(address);
    bool any = strcmp(control.host, "0.0.0.0") == 0 || strcmp(control.host, "::") == 0;
    if (any && (length == 0 || length > ES_ENDPOINT_HOST_MAX))
        return es_err_set(err, ES_UNSUPPORTED, "where this comes from is not known: say --listen HOST:PORT");
    if (any) {
        char text[ES_ENDPOINT_TEXT_MAX];
        snprintf(text, sizeof text, strchr(address, ':') != NULL ? "[%s]:%u" : "%s:%u", address,
                 control.port);
        status = es_endpoint_parse_bind(text, &from, err);
        if (status != ES_OK) return status;
        control = from;
    }
    es_endpoint_format(&control, ret_control);
    return ES_OK;
}

/* Nothing is spent before all that can be looked at was. */
static es_status check(es_join *join, const es_registry_view *view, const char *key,
                       const es_join_request *request, bool *ret_member, es_err *err)
{
    const joined *known = find_joined(join, key);
    *ret_member = known != NULL && !known->listed && strcmp(known->name, request->name) == 0;
    for (size_t i = 0; i < view->revoked_count; i++)
        if (strcmp(view->revoked[i], key) == 0) {
            count(join, &join->stats.revoked);
            return es_err_set(err, ES_MISMATCH, "this machine's key was revoked");
        }
    /* A name is its key's until it is removed: also while its machine is away. */
    const es_node_record *named = find_name(view->nodes, view->node_count, request->name);
    if (named == NULL) named = find_name(view->lapsed, view->lapsed_count, request->name);
    if (named != NULL && strcmp(named->key, key) == 0) *ret_member = true;
    if (named != NULL && strcmp(named->key, key) != 0) {
        count(join, &join->stats.names);
        return es_err_set(err, ES_MISMATCH,
                          "the name %s is another machine's: choose one with --name; a machine that is gone "
                          "for good frees its name by 'essaim node remove %s'",
                          request->name, request->name);
    }
    return ES_OK;
}

static es_status take_token(es_join *join, const es_join_request *request, es_err *err)
{
    uint8_t hash[ES_TOKEN_HASH_BYTES];
    es_token_hash(request->secret, hash);
    es_status status =
        es_registry_token_take(join->options.registry, hash, es_clock_now_ns() + WAIT_MS * 1000000ull, err);
    if (status == ES_NOT_FOUND) {
        const used *before = find_used(join, hash);
        count(join, before != NULL ? &join->stats.used : &join->stats.unknown);
        if (before != NULL)
            return es_err_set(err, ES_NOT_FOUND,
                              "the token was used already, by %s: make another with 'essaim token'",
                              before->name);
        return es_err_set(err, ES_NOT_FOUND,
                          "the token is not known here, or has lapsed: make another with 'essaim token'");
    }
    if (status != ES_OK) return status;
    used *now = &join->used[join->used_count++ % USED_MAX];
    memcpy(now->hash, hash, sizeof now->hash);
    strcpy(now->name, request->name);
    return ES_OK;
}

static es_status record(es_join *join, const char *key, const es_join_request *request, const char *control,
                        es_err *err)
{
    es_node_record node = {.memory_bytes = request->memory_bytes, .state = ES_MEMBER_JOINING};
    strcpy(node.name, request->name);
    strcpy(node.control, control);
    strcpy(node.key, key);
    memcpy(node.fingerprint, join->options.fingerprint, sizeof node.fingerprint);
    es_status status = es_registry_renew(join->options.registry, &node, err);
    return status == ES_UNSUPPORTED ? ES_OK : status; /* etcd: it announces itself */
}

static const char *text_of(const char *text)
{
    return text != NULL ? text : "";
}

/* What the new node needs. */
static void tell(const es_join *join, const char *name, const char *control, es_joined *ret_joined)
{
    strcpy(ret_joined->name, name);
    strcpy(ret_joined->control, control);
    memcpy(ret_joined->fingerprint, join->options.fingerprint, sizeof ret_joined->fingerprint);
    strcpy(ret_joined->config, join->config);
    snprintf(ret_joined->etcd, sizeof ret_joined->etcd, "%s", text_of(join->options.etcd));
    snprintf(ret_joined->etcd_prefix, sizeof ret_joined->etcd_prefix, "%s",
             text_of(join->options.etcd_prefix));
    ret_joined->coordinator_count = join->coordinator_count;
    memcpy(ret_joined->coordinators, join->coordinators,
           join->coordinator_count * sizeof *join->coordinators);
}

/* An es_join_fn. */
static es_status take_in(void *context, const char *key, const char *address, const es_join_request *request,
                         es_joined *ret_joined, es_err *err)
{
    es_join *join = context;
    es_registry_view *view;
    bool member = false;
    char control[ES_ENDPOINT_TEXT_MAX];
    if (!es_key_valid(key)) return es_err_set(err, ES_MISMATCH, "a link without keys");
    es_status status = place(request, address, control, err);
    if (status == ES_OK) status = es_registry_view_get(join->options.registry, &view, err);
    if (status != ES_OK) return status;
    status = check(join, view, key, request, &member, err);
    es_registry_view_destroy(&view);
    if (status == ES_OK && !member) status = take_token(join, request, err);
    if (status != ES_OK) return status;
    /* Known before it is written down: should that fail, the machine may ask again, its token is spent. */
    note_joined(join, key, request->name);
    status = record(join, key, request, control, err);
    if (status != ES_OK) return status;
    count(join, member ? &join->stats.again : &join->stats.taken_in);
    follow(join);
    es_log(ES_LOG_INFO, "%s joins at %s", request->name, control);
    tell(join, request->name, control, ret_joined);
    return ES_OK;
}

static es_status describe(es_join *join, es_err *err)
{
    json_t *config = es_shape_json(join->options.shape);
    join->config = config == NULL ? NULL : json_dumps(config, JSON_COMPACT);
    json_decref(config);
    join->coordinators = calloc(ES_JOIN_COORDINATORS_MAX, sizeof *join->coordinators);
    if (join->config == NULL || join->coordinators == NULL) return es_err_set(err, ES_NO_MEMORY, "join");
    if (strlen(text_of(join->options.etcd)) > ES_JOIN_ETCD_MAX ||
        strlen(text_of(join->options.etcd_prefix)) > ES_JOIN_PREFIX_MAX)
        return es_err_set(err, ES_UNSUPPORTED, "--etcd, --etcd-prefix: too long to be told to new machines");
    if (strlen(join->config) > ES_JOIN_CONFIG_MAX)
        return es_err_set(err, ES_UNSUPPORTED, "a config of more than %d bytes", ES_JOIN_CONFIG_MAX);
    strcpy(join->coordinators[join->coordinator_count++], join->options.keys->public_key);
    if (join->options.coordinators == NULL) return ES_OK;
    size_t more = 0;
    es_status status = es_key_file_read(join->options.coordinators, join->coordinators + 1,
                                        ES_JOIN_COORDINATORS_MAX - 1, &more, err);
    join->coordinator_count += more;
    return status;
}

static es_status open_all(es_join *join, es_err *err)
{
    const es_join_options *o = &join->options;
    bool gives = es_expert_index_takes(o->model);
    es_shard_server_options server = {.keys = o->keys,
                                      .paths = &o->model,
                                      .path_count = gives ? 1 : 0,
                                      .bytes_per_s = o->bytes_per_s,
                                      .join = take_in,
                                      .tick = tick,
                                      .context = join};
    es_status status = describe(join, err);
    if (status == ES_OK) status = es_endpoint_parse_bind(o->listen, &server.listen, err);
    if (status == ES_OK) status = es_allow_list_create(true, &join->guests, err);
    if (status == ES_OK) status = es_allow_list_create(false, &join->members, err);
    if (status != ES_OK) return status;
    server.guests = join->guests;
    server.members = join->members;
    follow(join);
    status = es_shard_server_start(&server, &join->server, err);
    if (status == ES_NOT_FOUND &&
        gives) { /* a coordinator's shard alone: nothing to give, but who wants may join */
        server.path_count = 0;
        status = es_shard_server_start(&server, &join->server, err);
    }
    return status;
}

es_status es_join_start(const es_join_options *options, es_join **ret_join, es_err *err)
{
    *ret_join = NULL;
    if (options->keys == NULL)
        return es_err_set(err, ES_INVALID,
                          "--join-listen needs --keys FILE: tokens name this machine's public key");
    es_join *join = *ret_join = calloc(1, sizeof *join);
    if (join == NULL) return es_err_set(err, ES_NO_MEMORY, "join");
    join->options = *options;
    pthread_mutex_init(&join->lock, NULL);
    es_status status = open_all(join, err);
    if (status != ES_OK) es_join_stop(ret_join);
    return status;
}

void es_join_stop(es_join **join_at)
{
    es_join *join = *join_at;
    if (join == NULL) return;
    *join_at = NULL;
    es_shard_server_stop(&join->server);
    es_allow_list_destroy(&join->guests);
    es_allow_list_destroy(&join->members);
    pthread_mutex_destroy(&join->lock);
    free(join->coordinators);
    free(join->config);
    free(join);
}

es_endpoint es_join_endpoint(const es_join *join)
{
    return es_shard_server_endpoint(join->server);
}

es_join_stats es_join_get_stats(es_join *join)
{
    pthread_mutex_lock(&join->lock);
    es_join_stats stats = join->stats;
    pthread_mutex_unlock(&join->lock);
    stats.shards = es_shard_server_get_stats(join->server);
    return stats;
}
