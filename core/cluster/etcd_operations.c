/* What waits for etcd: placements, revocations, tokens; on the caller's thread. */
#include "cluster/etcd_internal.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_TURNS = 4 };

/* A call on a link of its own. */
static es_status call(es_etcd_registry *r, const char *path, json_t *body, uint64_t deadline_ns,
                      json_t **ret_reply, es_err *err)
{
    es_etcd_link *link;
    *ret_reply = NULL;
    es_status status = es_etcd_link_create(r->etcd, &link, err);
    if (status != ES_OK) {
        json_decref(body);
        return status;
    }
    status = es_etcd_call(link, path, body, deadline_ns, ret_reply, err);
    es_etcd_link_destroy(&link);
    return status;
}

static es_status put(es_etcd_registry *r, const char *key, const void *value, size_t bytes, uint64_t lease,
                     uint64_t deadline_ns, es_err *err)
{
    json_t *reply, *body = json_pack("{s:o, s:o, s:I}", "key", es_etcd_bytes(key, strlen(key)), "value",
                                     es_etcd_bytes(value, bytes), "lease", (json_int_t)lease);
    es_status status = call(r, "/v3/kv/put", body, deadline_ns, &reply, err);
    json_decref(reply);
    return status;
}

/* Deletes a key, or with behind all keys from key up to it. */
static es_status delete_keys(es_etcd_registry *r, const char *key, const char *behind, uint64_t deadline_ns,
                             uint64_t *ret_deleted, es_err *err)
{
    json_t *reply, *body = es_etcd_key_json(key, false);
    if (behind != NULL) json_object_set_new(body, "range_end", es_etcd_bytes(behind, strlen(behind)));
    es_status status = call(r, "/v3/kv/deleterange", body, deadline_ns, &reply, err);
    if (status == ES_OK) status = es_etcd_number(reply, "deleted", ret_deleted, err);
    json_decref(reply);
    return status;
}

es_status es_etcd_remove(es_registry *registry, const char *name, uint64_t deadline_ns, es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    char key[ES_ETCD_PATH_MAX];
    uint64_t deleted;
    if (!es_name_valid(name)) return es_err_set(err, ES_INVALID, "\"%.64s\" is no node's name", name);
    es_etcd_key(r, key, "live/nodes/%s", name);
    es_status status = delete_keys(r, key, NULL, deadline_ns, &deleted, err);
    if (status == ES_OK && deleted == 0)
        return es_err_set(err, ES_NOT_FOUND, "registry: no node is called %.64s", name);
    es_etcd_poke(r, true);
    return status;
}

/* Puts value in the place of the pair, under the same lease, unless the pair has changed since. */
static es_status replace(es_etcd_registry *r, const es_etcd_pair *pair, const char *value,
                         uint64_t deadline_ns, es_err *err)
{
    json_t *reply;
    size_t length = strlen(pair->key);
    json_t *compare =
        json_pack("{s:s, s:s, s:o, s:I}", "target", "MOD", "result", "EQUAL", "key",
                  es_etcd_bytes(pair->key, length), "mod_revision", (json_int_t)pair->mod_revision);
    json_t *then = json_pack("{s:{s:o, s:o, s:b}}", "request_put", "key", es_etcd_bytes(pair->key, length),
                             "value", es_etcd_bytes(value, strlen(value)), "ignore_lease", 1);
    es_status status =
        call(r, "/v3/kv/txn", es_etcd_transaction(compare, then, pair->key), deadline_ns, &reply, err);
    if (status == ES_OK && !json_is_true(json_object_get(reply, "succeeded")))
        status = es_err_set(err, ES_MISMATCH, "registry: %s changed meanwhile", pair->key);
    json_decref(reply);
    return status;
}

es_status es_etcd_mark(es_registry *registry, const char *name, es_member_state state, uint64_t deadline_ns,
                       es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    char key[ES_ETCD_PATH_MAX], *text = NULL;
    json_t *reply;
    es_etcd_pair pair = {.value = NULL};
    es_node_record record;
    if (!es_name_valid(name)) return es_err_set(err, ES_INVALID, "\"%.64s\" is no node's name", name);
    es_etcd_key(r, key, "live/nodes/%s", name);
    es_status status = call(r, "/v3/kv/range", es_etcd_key_json(key, false), deadline_ns, &reply, err);
    if (status == ES_OK && es_etcd_pair_count(reply) == 0)
        status = es_err_set(err, ES_NOT_FOUND, "registry: no node is called %.64s", name);
    if (status == ES_OK) status = es_etcd_pair_get(reply, 0, &pair, err);
    json_decref(reply);
    if (status == ES_OK)
        status = es_node_record_parse(key, (const char *)pair.value, pair.value_bytes, &record, err);
    if (status == ES_OK && record.state != state) {
        record.state = state;
        text = es_node_record_write(&record);
        status = text == NULL ? es_err_set(err, ES_NO_MEMORY, "node record")
                              : replace(r, &pair, text, deadline_ns, err);
        es_etcd_poke(r, true);
    }
    free(pair.value);
    free(text);
    return status;
}

es_status es_etcd_revoke(es_registry *registry, const char *key_text, bool revoked, uint64_t deadline_ns,
                         es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    char key[ES_ETCD_PATH_MAX], hex[2 * ES_KEY_TEXT_BYTES];
    uint64_t deleted;
    sodium_bin2hex(hex, sizeof hex, (const uint8_t *)key_text, ES_KEY_TEXT_BYTES - 1);
    es_etcd_key(r, key, "live/revoked/%s", hex);
    es_status status = revoked ? put(r, key, key_text, strlen(key_text), 0, deadline_ns, err)
                               : delete_keys(r, key, NULL, deadline_ns, &deleted, err);
    es_etcd_poke(r, true);
    return status;
}

static void token_key(const es_etcd_registry *r, const uint8_t *hash, char ret_key[ES_ETCD_PATH_MAX])
{
    char hex[2 * ES_TOKEN_HASH_BYTES + 1];
    sodium_bin2hex(hex, sizeof hex, hash, ES_TOKEN_HASH_BYTES);
    es_etcd_key(r, ret_key, "tokens/%s", hex);
}

es_status es_etcd_token_add(es_registry *registry, const uint8_t *hash, unsigned ttl_s, uint64_t deadline_ns,
                            es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    char key[ES_ETCD_PATH_MAX];
    uint64_t lease;
    es_etcd_link *link;
    es_status status = es_etcd_link_create(r->etcd, &link, err);
    if (status != ES_OK) return status;
    status = es_etcd_grant(link, ttl_s, deadline_ns, &lease, err);
    es_etcd_link_destroy(&link);
    token_key(r, hash, key);
    return status == ES_OK ? put(r, key, "1", 1, lease, deadline_ns, err) : status;
}

es_status es_etcd_token_take(es_registry *registry, const uint8_t *hash, uint64_t deadline_ns, es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    char key[ES_ETCD_PATH_MAX];
    uint64_t deleted;
    token_key(r, hash, key);
    es_status status = delete_keys(r, key, NULL, deadline_ns, &deleted, err);
    if (status == ES_OK && deleted == 0)
        status = es_err_set(err, ES_NOT_FOUND, "the token is none, was used, or has lapsed");
    return status;
}

/* The pointer and its exact bytes (malloc'd, NULL: there is no pointer). */
static es_status read_pointer(es_etcd_registry *r, uint64_t deadline_ns, es_etcd_pointer *ret_pointer,
                              char **ret_text, size_t *ret_bytes, es_err *err)
{
    char key[ES_ETCD_PATH_MAX];
    json_t *reply;
    es_etcd_pair pair = {.value = NULL};
    *ret_pointer = (es_etcd_pointer){.chunks = 0};
    *ret_text = NULL;
    es_etcd_key(r, key, "live/placement");
    es_status status = call(r, "/v3/kv/range", es_etcd_key_json(key, false), deadline_ns, &reply, err);
    if (status != ES_OK) return status;
    if (es_etcd_pair_count(reply) > 0) {
        status = es_etcd_pair_get(reply, 0, &pair, err);
        if (status == ES_OK)
            status = es_etcd_pointer_parse((const char *)pair.value, pair.value_bytes, ret_pointer, err);
    }
    json_decref(reply);
    if (status != ES_OK) {
        free(pair.value);
        return status;
    }
    *ret_text = (char *)pair.value;
    *ret_bytes = pair.value_bytes;
    return ES_OK;
}

/* The keys of a placement's chunks begin with this. */
static void chunk_folder(const es_etcd_registry *r, const es_etcd_pointer *pointer,
                         char ret_key[ES_ETCD_PATH_MAX])
{
    char hash[17];
    sodium_bin2hex(hash, sizeof hash, pointer->hash, 8);
    es_etcd_key(r, ret_key, "chunks/%016" PRIx64 "-%s/", es_epoch_number(pointer->epoch), hash);
}

/* The chunks of a range's reply, one behind the other; ES_NOT_FOUND when they are not those of the pointer.
 */
static es_status join_chunks(const json_t *range, const es_etcd_pointer *pointer, uint8_t **ret_text,
                             es_err *err)
{
    uint8_t hash[32], *text = malloc(pointer->bytes);
    size_t at = 0;
    es_status status =
        text == NULL ? es_err_set(err, ES_NO_MEMORY, "placement: %zu bytes", pointer->bytes) : ES_OK;
    for (size_t i = 0; i < es_etcd_pair_count(range) && status == ES_OK; i++) {
        es_etcd_pair pair;
        status = es_etcd_pair_get(range, i, &pair, err);
        size_t room = pointer->bytes - at, count = pair.value_bytes < room ? pair.value_bytes : room;
        if (status == ES_OK) memcpy(text + at, pair.value, count);
        at += count;
        free(pair.value);
    }
    if (status == ES_OK) es_registry_hash(text, pointer->bytes, hash);
    if (status == ES_OK && (at != pointer->bytes || es_etcd_pair_count(range) != pointer->chunks ||
                            memcmp(hash, pointer->hash, sizeof hash) != 0))
        status = es_err_set(err, ES_NOT_FOUND, "placement: its chunks are not those of its pointer");
    if (status != ES_OK) {
        free(text);
        text = NULL;
    }
    *ret_text = text;
    return status;
}

static es_status read_chunks(es_etcd_registry *r, const es_etcd_pointer *pointer, uint64_t deadline_ns,
                             es_document **ret_document, es_err *err)
{
    char folder[ES_ETCD_PATH_MAX];
    uint8_t *text = NULL;
    json_t *reply;
    chunk_folder(r, pointer, folder);
    es_status status = call(r, "/v3/kv/range", es_etcd_key_json(folder, true), deadline_ns, &reply, err);
    if (status == ES_OK) status = join_chunks(reply, pointer, &text, err);
    json_decref(reply);
    if (status == ES_OK)
        status = es_document_parse("placement", (const char *)text, pointer->bytes, ret_document, err);
    free(text);
    if (status == ES_OK) status = es_registry_check_epoch("placement", *ret_document, pointer->epoch, err);
    if (status != ES_OK) es_document_destroy(ret_document);
    return status;
}

es_status es_etcd_placement(es_registry *registry, uint64_t deadline_ns, es_document **ret_document,
                            es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    es_status status = ES_OK;
    /* Chunks go when two newer placements stand: then the pointer is read again. */
    for (int turn = 0; turn < READ_TURNS; turn++) {
        es_etcd_pointer pointer;
        char *text;
        size_t bytes;
        status = read_pointer(r, deadline_ns, &pointer, &text, &bytes, err);
        if (status != ES_OK) return status;
        if (text == NULL) return es_err_set(err, ES_NOT_FOUND, "registry: there is no placement yet");
        free(text);
        status = read_chunks(r, &pointer, deadline_ns, ret_document, err);
        if (status != ES_NOT_FOUND) return status;
    }
    return es_err_set(err, ES_CORRUPT, "placement: its chunks are not those of its pointer");
}

static es_status write_chunks(es_etcd_registry *r, const es_etcd_pointer *pointer, const char *text,
                              uint64_t deadline_ns, es_err *err)
{
    char folder[ES_ETCD_PATH_MAX], key[ES_ETCD_PATH_MAX + 16];
    es_status status = ES_OK;
    chunk_folder(r, pointer, folder);
    for (size_t c = 0; c < pointer->chunks && status == ES_OK; c++) {
        size_t at = c * ES_ETCD_CHUNK_BYTES, left = pointer->bytes - at;
        snprintf(key, sizeof key, "%s%04u", folder, (unsigned)c);
        status = put(r, key, text + at, left < ES_ETCD_CHUNK_BYTES ? left : ES_ETCD_CHUNK_BYTES, 0,
                     deadline_ns, err);
    }
    return status;
}

/* Moves the pointer when its bytes are still `before` (NULL: there is none). *ret_moved is false when they
 * are not.
 */
static es_status move_pointer(es_etcd_registry *r, const char *before, size_t before_bytes, const char *after,
                              uint64_t deadline_ns, bool *ret_moved, es_err *err)
{
    char key[ES_ETCD_PATH_MAX];
    json_t *compare, *reply;
    es_etcd_key(r, key, "live/placement");
    size_t length = strlen(key);
    if (before != NULL)
        compare = json_pack("{s:s, s:s, s:o, s:o}", "target", "VALUE", "result", "EQUAL", "key",
                            es_etcd_bytes(key, length), "value", es_etcd_bytes(before, before_bytes));
    else
        compare = json_pack("{s:s, s:s, s:o, s:s}", "target", "CREATE", "result", "EQUAL", "key",
                            es_etcd_bytes(key, length), "create_revision", "0");
    json_t *then = json_pack("{s:{s:o, s:o}}", "request_put", "key", es_etcd_bytes(key, length), "value",
                             es_etcd_bytes(after, strlen(after)));
    es_status status =
        call(r, "/v3/kv/txn", es_etcd_transaction(compare, then, key), deadline_ns, &reply, err);
    *ret_moved = json_is_true(json_object_get(reply, "succeeded"));
    json_decref(reply);
    return status;
}

/* When the transaction's answer was lost, or it was sent twice, it may have been ours that won. */
static es_status check_moved(es_etcd_registry *r, es_epoch expected, const es_etcd_pointer *ours,
                             uint64_t deadline_ns, es_err *err)
{
    es_etcd_pointer stands;
    char *text;
    size_t bytes;
    es_status status = read_pointer(r, deadline_ns, &stands, &text, &bytes, err);
    if (status != ES_OK) return status;
    free(text);
    if (es_epoch_number(stands.epoch) == es_epoch_number(ours->epoch) &&
        memcmp(stands.hash, ours->hash, sizeof stands.hash) == 0)
        return ES_OK;
    return es_registry_other_epoch(stands.epoch, expected, err);
}

static es_status swap_text(es_etcd_registry *r, es_epoch expected, const es_etcd_pointer *ours,
                           const char *text, uint64_t deadline_ns, es_err *err)
{
    es_etcd_pointer before;
    char *before_text, *after = NULL;
    size_t before_bytes = 0;
    bool moved = false;
    es_status status = read_pointer(r, deadline_ns, &before, &before_text, &before_bytes, err);
    if (status != ES_OK) return status;
    if (es_epoch_number(before.epoch) != es_epoch_number(expected))
        status = es_registry_other_epoch(before.epoch, expected, err);
    if (status == ES_OK) status = write_chunks(r, ours, text, deadline_ns, err);
    if (status == ES_OK) {
        after = es_etcd_pointer_write(ours);
        status = after == NULL ? es_err_set(err, ES_NO_MEMORY, "placement")
                               : move_pointer(r, before_text, before_bytes, after, deadline_ns, &moved, err);
        if (status == ES_OK && !moved) status = check_moved(r, expected, ours, deadline_ns, err);
    }
    free(before_text);
    free(after);
    return status;
}

es_status es_etcd_swap(es_registry *registry, es_epoch expected, const es_document *document,
                       uint64_t deadline_ns, es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    char first[ES_ETCD_PATH_MAX], behind[ES_ETCD_PATH_MAX];
    uint64_t deleted;
    es_etcd_pointer ours = {.epoch = document->epoch};
    char *text = es_document_write(document, &ours.bytes);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    ours.chunks = (ours.bytes + ES_ETCD_CHUNK_BYTES - 1) / ES_ETCD_CHUNK_BYTES;
    es_registry_hash(text, ours.bytes, ours.hash);
    es_status status = ours.bytes > ES_DOCUMENT_BYTES_MAX
                           ? es_err_set(err, ES_INVALID, "placement: %zu bytes, more than %d", ours.bytes,
                                        ES_DOCUMENT_BYTES_MAX)
                           : swap_text(r, expected, &ours, text, deadline_ns, err);
    free(text);
    if (status != ES_OK) return status;
    /* What stood before stays for those who are reading it; what stood before that goes, now or at the next
     * swap. */
    es_etcd_key(r, first, "chunks/");
    es_etcd_key(r, behind, "chunks/%016" PRIx64, es_epoch_number(expected));
    delete_keys(r, first, behind, deadline_ns, &deleted, NULL);
    es_etcd_poke(r, true);
    return ES_OK;
}
