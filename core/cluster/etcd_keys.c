/* Keys and values of the etcd registry. */
#include "cluster/etcd_internal.h"

#include "cluster/fields.h"
#include "weights/json.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void es_etcd_key(const es_etcd_registry *r, char ret_key[ES_ETCD_PATH_MAX], const char *format, ...)
{
    va_list args;
    size_t at = strlen(r->prefix);
    memcpy(ret_key, r->prefix, at);
    va_start(args, format);
    int length = vsnprintf(ret_key + at, ES_ETCD_PATH_MAX - at, format, args);
    va_end(args);
    ES_ASSERT(length >= 0 && at + (size_t)length < ES_ETCD_PATH_MAX);
}

json_t *es_etcd_key_json(const char *key, bool all)
{
    json_t *object = json_pack("{s:o}", "key", es_etcd_bytes(key, strlen(key)));
    if (object != NULL && all && json_object_set_new(object, "range_end", es_etcd_range_end(key)) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *es_etcd_transaction(json_t *compare, json_t *then, const char *key)
{
    return json_pack("{s:[o], s:[o], s:[{s:o}]}", "compare", compare, "success", then, "failure",
                     "request_range", es_etcd_key_json(key, false));
}

char *es_etcd_pointer_write(const es_etcd_pointer *pointer)
{
    char epoch[ES_EPOCH_TEXT_MAX], hash[65];
    es_epoch_format(pointer->epoch, epoch);
    sodium_bin2hex(hash, sizeof hash, pointer->hash, sizeof pointer->hash);
    json_t *all = json_pack("{s:s, s:I, s:I, s:s}", "epoch", epoch, "chunks", (json_int_t)pointer->chunks,
                            "bytes", (json_int_t)pointer->bytes, "blake2b", hash);
    char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

es_status es_etcd_pointer_parse(const char *text, size_t bytes, es_etcd_pointer *ret_pointer, es_err *err)
{
    static const char *const KEYS[] = {"epoch", "chunks", "bytes", "blake2b", NULL};
    static const char WHERE[] = "placement pointer";
    char epoch[ES_EPOCH_TEXT_MAX];
    json_t *object;
    *ret_pointer = (es_etcd_pointer){.chunks = 0};
    es_status status = es_json_parse(&(es_json_text){WHERE, text, bytes}, &object, err);
    if (status != ES_OK) return status;
    es_fields fields = es_fields_of(WHERE, object, KEYS, err);
    es_fields_text(&fields, "epoch", epoch, sizeof epoch);
    if (fields.status == ES_OK && es_epoch_parse(epoch, &ret_pointer->epoch, NULL) != ES_OK)
        es_fields_complain(&fields, "epoch", "not GENERATION.COUNTER");
    ret_pointer->chunks = (size_t)es_fields_number(&fields, "chunks", 1, ES_ETCD_CHUNKS_MAX);
    ret_pointer->bytes = (size_t)es_fields_number(&fields, "bytes", 1, ES_DOCUMENT_BYTES_MAX);
    es_fields_hex(&fields, "blake2b", ret_pointer->hash, sizeof ret_pointer->hash);
    json_decref(object);
    return fields.status;
}

es_status es_etcd_grant(es_etcd_link *link, unsigned ttl_s, uint64_t deadline_ns, uint64_t *ret_lease,
                        es_err *err)
{
    json_t *reply;
    es_status status = es_etcd_call(link, "/v3/lease/grant", json_pack("{s:I}", "TTL", (json_int_t)ttl_s),
                                    deadline_ns, &reply, err);
    if (status != ES_OK) return status;
    status = es_etcd_number(reply, "ID", ret_lease, err);
    if (status == ES_OK && *ret_lease == 0)
        status = es_err_set(err, ES_CORRUPT, "etcd: a lease without a number");
    json_decref(reply);
    return status;
}

/* Takes one pair in. False: it makes no sense. */
static bool take_pair(const char *name, const es_etcd_pair *pair, es_registry_view *view)
{
    static const char NODES[] = "nodes/", REVOKED[] = "revoked/";
    const char *text = (const char *)pair->value;
    if (strncmp(name, NODES, sizeof NODES - 1) == 0 && view->node_count < ES_REGISTRY_NODES_MAX) {
        es_node_record *record = &view->nodes[view->node_count];
        bool good = es_node_record_parse(name, text, pair->value_bytes, record, NULL) == ES_OK &&
                    strcmp(record->name, name + sizeof NODES - 1) == 0;
        view->node_count += good;
        return good;
    }
    if (strncmp(name, REVOKED, sizeof REVOKED - 1) == 0 && view->revoked_count < ES_REGISTRY_REVOKED_MAX) {
        bool good = strlen(text) == pair->value_bytes && es_key_valid(text);
        if (good) memcpy(view->revoked[view->revoked_count++], text, ES_KEY_TEXT_BYTES);
        return good;
    }
    es_etcd_pointer pointer;
    if (strcmp(name, "placement") != 0 ||
        es_etcd_pointer_parse(text, pair->value_bytes, &pointer, NULL) != ES_OK)
        return false;
    view->epoch = pointer.epoch;
    return true;
}

es_status es_etcd_view_of(const char *prefix, const json_t *range, es_epoch epoch,
                          es_registry_view **ret_view, uint64_t *ret_malformed, es_err *err)
{
    size_t count = es_etcd_pair_count(range), length = strlen(prefix);
    bool pointed = false;
    *ret_malformed = 0;
    *ret_view = es_registry_view_create(count < ES_REGISTRY_NODES_MAX ? count : ES_REGISTRY_NODES_MAX,
                                        count < ES_REGISTRY_REVOKED_MAX ? count : ES_REGISTRY_REVOKED_MAX);
    if (*ret_view == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    for (size_t i = 0; i < count; i++) {
        es_etcd_pair pair;
        es_status status = es_etcd_pair_get(range, i, &pair, err);
        if (status != ES_OK) {
            es_registry_view_destroy(ret_view);
            return status;
        }
        bool ours = strncmp(pair.key, prefix, length) == 0;
        pointed = pointed || (ours && strcmp(pair.key + length, "placement") == 0);
        *ret_malformed += !ours || !take_pair(pair.key + length, &pair, *ret_view);
        free(pair.value);
    }
    /* A pointer that cannot be read does not unmake the placement that it stood for. */
    if (pointed && es_epoch_number((*ret_view)->epoch) == 0) (*ret_view)->epoch = epoch;
    es_registry_view_sort(*ret_view);
    return ES_OK;
}
