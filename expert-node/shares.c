/* What the node shares with others of its swarm. */
#include "shares.h"

#include "base/log.h"
#include "fetch/server.h"
#include "net/key_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SOURCES_MAX = 16 };

struct es_node_shares {
    es_node_shares_options options;
    es_allow_list *peers; /* who may fetch; NULL without keys */
    es_shard_server *server;
    es_fetcher *fetcher;
    es_peer sources[SOURCES_MAX];
    size_t source_count;
    char (*revoked)[ES_KEY_TEXT_BYTES]; /* [ES_ALLOWED_MAX], as the file has them */
    size_t revoked_count;
};

static es_status revoke(es_node_shares *s, const char (*keys)[ES_KEY_TEXT_BYTES], size_t count, es_err *err)
{
    es_status status = ES_OK;
    if (s->options.allowed != NULL) status = es_allow_list_revoke(s->options.allowed, keys, count, err);
    if (status == ES_OK && s->peers != NULL) status = es_allow_list_revoke(s->peers, keys, count, err);
    return status;
}

static es_status read_revoked(es_node_shares *s, es_err *err)
{
    s->revoked = calloc(ES_ALLOWED_MAX, sizeof *s->revoked);
    if (s->revoked == NULL) return es_err_set(err, ES_NO_MEMORY, "revoked keys");
    if (s->options.revoked_file == NULL) return ES_OK;
    es_status status =
        es_key_file_read(s->options.revoked_file, s->revoked, ES_ALLOWED_MAX, &s->revoked_count, err);
    if (status != ES_OK) return status;
    return revoke(s, (const char(*)[ES_KEY_TEXT_BYTES])s->revoked, s->revoked_count, err);
}

static es_status read_sources(es_node_shares *s, es_err *err)
{
    const es_option_list *list = s->options.sources;
    if (list->count > SOURCES_MAX) return es_err_set(err, ES_INVALID, "--source: more than %d", SOURCES_MAX);
    for (size_t i = 0; i < list->count; i++) {
        es_peer *source = &s->sources[s->source_count++];
        const char *text = list->item[i], *comma = strchr(text, ',');
        size_t length = comma != NULL ? (size_t)(comma - text) : strlen(text);
        if (length >= sizeof source->shards || (comma != NULL && !es_key_valid(comma + 1)))
            return es_err_set(err, ES_INVALID, "--source %.120s: not HOST:PORT or HOST:PORT,KEY", text);
        memcpy(source->shards, text, length);
        strcpy(source->name, "coordinator");
        if (comma != NULL) strcpy(source->key, comma + 1);
    }
    return ES_OK;
}

static es_status start_fetcher(es_node_shares *s, es_err *err)
{
    if (s->options.fetch_dir == NULL) return ES_OK;
    const es_fetcher_options options = {.dir = s->options.fetch_dir,
                                        .shape = es_expert_store_shape(s->options.store),
                                        .fingerprint = es_expert_store_fingerprint(s->options.store),
                                        .keys = s->options.keys,
                                        .name = s->options.name,
                                        .last = s->sources,
                                        .last_count = s->source_count};
    return es_fetcher_start(&options, &s->fetcher, err);
}

es_status es_node_shares_open(const es_node_shares_options *options, es_node_shares **ret_shares, es_err *err)
{
    es_node_shares *s = *ret_shares = calloc(1, sizeof *s);
    if (s == NULL) return es_err_set(err, ES_NO_MEMORY, "shares");
    s->options = *options;
    es_status status = options->keys != NULL ? es_allow_list_create(false, &s->peers, err) : ES_OK;
    if (status == ES_OK) status = read_revoked(s, err);
    if (status == ES_OK) status = read_sources(s, err);
    const es_shard_server_options server = {.listen = options->listen,
                                            .keys = options->keys,
                                            .guests = s->peers,
                                            .paths = options->shards->item,
                                            .path_count = options->shards->count,
                                            .bytes_per_s = options->bytes_per_s};
    if (status == ES_OK) status = es_shard_server_start(&server, &s->server, err);
    if (status == ES_OK) status = start_fetcher(s, err);
    if (status != ES_OK) es_node_shares_close(ret_shares);
    return status;
}

void es_node_shares_close(es_node_shares **shares)
{
    es_node_shares *s = *shares;
    if (s == NULL) return;
    *shares = NULL;
    es_fetcher_stop(&s->fetcher);
    es_shard_server_stop(&s->server);
    es_allow_list_destroy(&s->peers);
    free(s->revoked);
    free(s);
}

es_fetcher *es_node_shares_fetcher(const es_node_shares *shares)
{
    return shares->fetcher;
}

uint16_t es_node_shares_port(const es_node_shares *shares)
{
    return es_shard_server_endpoint(shares->server).port;
}

void es_node_shares_count(void *context, es_node_stats *stats)
{
    es_node_shares *s = context;
    es_shard_server_stats shards = es_shard_server_get_stats(s->server);
    stats->refused += shards.refused + shards.strangers;
    stats->malformed += shards.malformed;
}

void es_node_shares_fetched(void *context, const char *path)
{
    es_node_shares *s = context;
    es_err err;
    if (es_shard_server_add(s->server, path, &err) != ES_OK)
        es_log(ES_LOG_WARN, "is not given to others before the next start: %s", err.text);
}

/* Keys of who may fetch; the rest of what is said of them is the fetcher's. */
static es_status allow_peers(es_node_shares *s, const es_members *members, es_err *err)
{
    char(*keys)[ES_KEY_TEXT_BYTES] = calloc(members->peer_count + 1, sizeof *keys);
    size_t count = 0;
    if (keys == NULL) return es_err_set(err, ES_NO_MEMORY, "list of peers");
    for (size_t i = 0; i < members->peer_count; i++)
        if (members->peers[i].key[0] != '\0') strcpy(keys[count++], members->peers[i].key);
    es_status status = es_allow_list_set(s->peers, (const char(*)[ES_KEY_TEXT_BYTES])keys, count, err);
    free(keys);
    return status;
}

static es_status keep_revoked(es_node_shares *s, const es_members *members, es_err *err)
{
    size_t bytes = members->revoked_count * sizeof *s->revoked;
    if (members->revoked_count == s->revoked_count && memcmp(members->revoked, s->revoked, bytes) == 0)
        return ES_OK;
    es_status status = revoke(s, members->revoked, members->revoked_count, err);
    if (status == ES_OK && s->options.revoked_file != NULL)
        status = es_key_file_write(s->options.revoked_file,
                                   "keys that coordinators have revoked: refused whatever other lists say",
                                   members->revoked, members->revoked_count, err);
    if (status != ES_OK) return status;
    memcpy(s->revoked, members->revoked, bytes);
    s->revoked_count = members->revoked_count;
    es_log(ES_LOG_INFO, "%zu keys are revoked", s->revoked_count);
    return ES_OK;
}

es_status es_node_shares_members(void *context, const es_members *members, es_err *err)
{
    es_node_shares *s = context;
    es_status status = keep_revoked(s, members, err);
    if (status == ES_OK && s->peers != NULL) status = allow_peers(s, members, err);
    if (status == ES_OK && s->fetcher != NULL)
        status = es_fetcher_peers(s->fetcher, members->peers, members->peer_count, err);
    return status;
}
