/* What etcd's JSON gateway says. */
#include "cluster/etcd_json.h"

#include "weights/json.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *es_etcd_bytes(const void *bytes, size_t count)
{
    size_t size = sodium_base64_encoded_len(count, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(size);
    if (text == NULL) return NULL;
    sodium_bin2base64(text, size, bytes, count, sodium_base64_VARIANT_ORIGINAL);
    json_t *value = json_string(text);
    free(text);
    return value;
}

json_t *es_etcd_range_end(const char *prefix)
{
    char end[ES_ETCD_KEY_MAX + 1];
    size_t length = strlen(prefix);
    ES_ASSERT(length >= 1 && length <= ES_ETCD_KEY_MAX && (unsigned char)prefix[length - 1] < 0xff);
    memcpy(end, prefix, length + 1);
    end[length - 1]++;
    return es_etcd_bytes(end, length);
}

/* The object inside {"result": …}, or value itself. */
static json_t *unwrapped(json_t *value)
{
    json_t *result = json_object_get(value, "result");
    if (!json_is_object(result)) return value;
    json_incref(result);
    json_decref(value);
    return result;
}

es_status es_etcd_reply_parse(const char *text, size_t bytes, json_t **ret_reply, es_err *err)
{
    while (bytes > 0 && (text[bytes - 1] == '\n' || text[bytes - 1] == '\r')) bytes--;
    es_status status = es_json_parse(&(es_json_text){"etcd's reply", text, bytes}, ret_reply, err);
    if (status == ES_OK) *ret_reply = unwrapped(*ret_reply);
    return status;
}

es_etcd_code es_etcd_reply_code(const json_t *reply, const char **ret_text)
{
    const json_t *error = json_object_get(reply, "error");
    const json_t *from = json_is_object(error) ? error : reply; /* streams wrap it once more */
    const json_t *code = json_object_get(from, json_is_object(error) ? "grpc_code" : "code");
    const char *message = json_string_value(json_object_get(from, "message"));
    if (message == NULL) message = json_string_value(error);
    *ret_text = message != NULL ? message : "no reason given";
    if (error == NULL && code == NULL) return ES_ETCD_OK;
    json_int_t value = json_is_integer(code) ? json_integer_value(code) : 2;
    return (es_etcd_code)(value > 0 && value <= 16 ? value : 2);
}

es_status es_etcd_number(const json_t *object, const char *key, uint64_t *ret_value, es_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    uint64_t number = 0;
    *ret_value = 0;
    if (value == NULL) return ES_OK;
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *ret_value = (uint64_t)json_integer_value(value);
        return ES_OK;
    }
    size_t digits = text == NULL ? 0 : strspn(text, "0123456789");
    if (text == NULL || digits < 1 || digits > 19 || digits != json_string_length(value))
        return es_err_set(err, ES_CORRUPT, "etcd's reply: %s: no number", key);
    for (size_t i = 0; i < digits; i++) number = number * 10 + (uint64_t)(text[i] - '0');
    if (number > INT64_MAX) return es_err_set(err, ES_CORRUPT, "etcd's reply: %s: no int64", key);
    *ret_value = number;
    return ES_OK;
}

es_status es_etcd_revision(const json_t *reply, uint64_t *ret_revision, es_err *err)
{
    const json_t *header = json_object_get(reply, "header");
    es_status status = es_etcd_number(header, "revision", ret_revision, err);
    if (status == ES_OK && *ret_revision == 0)
        status = es_err_set(err, ES_CORRUPT, "etcd's reply: has no revision");
    return status;
}

size_t es_etcd_pair_count(const json_t *range)
{
    return json_array_size(json_object_get(range, "kvs"));
}

/* Bytes of the base64 under key, malloc'd, a NUL behind them; an absent one is empty. */
static es_status take_bytes(const json_t *object, const char *key, uint8_t **ret_bytes, size_t *ret_count,
                            es_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *text = json_string_value(value);
    size_t length = json_string_length(value), max = length / 4 * 3 + 3;
    if (value != NULL && text == NULL) return es_err_set(err, ES_CORRUPT, "etcd's reply: %s: no text", key);
    uint8_t *bytes = malloc(max + 1);
    if (bytes == NULL) return es_err_set(err, ES_NO_MEMORY, "etcd's reply: %zu bytes", max);
    *ret_count = 0;
    if (length > 0 && sodium_base642bin(bytes, max, text, length, NULL, ret_count, NULL,
                                        sodium_base64_VARIANT_ORIGINAL) != 0) {
        free(bytes);
        return es_err_set(err, ES_CORRUPT, "etcd's reply: %s: no base64", key);
    }
    bytes[*ret_count] = '\0';
    *ret_bytes = bytes;
    return ES_OK;
}

es_status es_etcd_pair_get(const json_t *range, size_t index, es_etcd_pair *ret_pair, es_err *err)
{
    const json_t *kv = json_array_get(json_object_get(range, "kvs"), index);
    uint8_t *key;
    size_t key_bytes;
    *ret_pair = (es_etcd_pair){.value = NULL};
    es_status status = take_bytes(kv, "key", &key, &key_bytes, err);
    if (status != ES_OK) return status;
    if (key_bytes < 1 || key_bytes > ES_ETCD_KEY_MAX || memchr(key, '\0', key_bytes) != NULL)
        status = es_err_set(err, ES_CORRUPT, "etcd's reply: a key of %zu bytes, or with a NUL", key_bytes);
    else
        memcpy(ret_pair->key, key, key_bytes + 1);
    free(key);
    if (status == ES_OK) status = es_etcd_number(kv, "mod_revision", &ret_pair->mod_revision, err);
    if (status == ES_OK) status = take_bytes(kv, "value", &ret_pair->value, &ret_pair->value_bytes, err);
    return status;
}

static es_status read_result(const json_t *result, es_etcd_note *note, es_err *err)
{
    uint64_t compacted = 0;
    es_status status = es_etcd_number(result, "compact_revision", &compacted, err);
    /* What cancels a watch for its history's sake has no revision in its header. */
    if (status == ES_OK)
        status = es_etcd_number(json_object_get(result, "header"), "revision", &note->revision, err);
    if (status != ES_OK) return status;
    if (json_is_true(json_object_get(result, "canceled"))) {
        const char *reason = json_string_value(json_object_get(result, "cancel_reason"));
        note->kind = compacted > 0 ? ES_ETCD_NOTE_COMPACTED : ES_ETCD_NOTE_ENDED;
        if (compacted > 0) note->revision = compacted;
        note->code = ES_ETCD_UNAVAILABLE;
        snprintf(note->text, sizeof note->text, "%s", reason != NULL ? reason : "the watch was cancelled");
        if (strstr(note->text, "permission") != NULL) note->code = ES_ETCD_PERMISSION;
        return ES_OK;
    }
    bool some = json_array_size(json_object_get(result, "events")) > 0;
    note->kind = some ? ES_ETCD_NOTE_CHANGED : ES_ETCD_NOTE_IDLE;
    return ES_OK;
}

es_status es_etcd_note_parse(const char *line, size_t bytes, es_etcd_note *ret_note, es_err *err)
{
    json_t *item;
    *ret_note = (es_etcd_note){.kind = ES_ETCD_NOTE_IDLE};
    es_status status = es_json_parse(&(es_json_text){"etcd's watch", line, bytes}, &item, err);
    if (status != ES_OK) return status;
    const json_t *result = json_object_get(item, "result");
    const char *text;
    if (json_is_object(result)) {
        status = read_result(result, ret_note, err);
    } else {
        ret_note->kind = ES_ETCD_NOTE_ENDED;
        ret_note->code = es_etcd_reply_code(item, &text);
        if (ret_note->code == ES_ETCD_OK)
            status = es_err_set(err, ES_CORRUPT, "etcd's watch: neither result nor error");
        snprintf(ret_note->text, sizeof ret_note->text, "%s", text);
    }
    json_decref(item);
    return status;
}
