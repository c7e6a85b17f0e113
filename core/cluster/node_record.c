/* Node records as JSON. */
#include "cluster/fields.h"
#include "cluster/registry.h"
#include "weights/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t BYTES_MAX = (uint64_t)1 << 52;
const char *const ES_MEMBER_STATES[ES_MEMBER_STATE_COUNT + 1] = {"joining", "ready", "draining", NULL};

const char *es_node_record_label(const es_node_record *record, const char *name)
{
    for (size_t i = 0; i < record->label_count; i++)
        if (strcmp(record->labels[i].name, name) == 0) return record->labels[i].value;
    return "";
}

bool es_node_record_equal(const es_node_record *a, const es_node_record *b)
{
    bool equal = strcmp(a->name, b->name) == 0 && strcmp(a->control, b->control) == 0 &&
                 strcmp(a->key, b->key) == 0 && a->label_count == b->label_count &&
                 a->memory_bytes == b->memory_bytes && a->bandwidth_bytes == b->bandwidth_bytes &&
                 memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint) == 0 && a->state == b->state &&
                 a->holder == b->holder;
    for (size_t i = 0; equal && i < a->label_count; i++)
        equal = strcmp(a->labels[i].name, b->labels[i].name) == 0 &&
                strcmp(a->labels[i].value, b->labels[i].value) == 0;
    return equal;
}

char *es_node_record_write(const es_node_record *record)
{
    char fingerprint[ES_FINGERPRINT_TEXT_MAX], holder[17];
    es_fingerprint_format(record->fingerprint, fingerprint);
    snprintf(holder, sizeof holder, "%016" PRIx64, record->holder);
    json_t *labels = json_object();
    for (size_t i = 0; i < record->label_count; i++)
        json_object_set_new(labels, record->labels[i].name, json_string(record->labels[i].value));
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:s, s:s, s:s}", "name", record->name, "control",
                  record->control, "key", record->key, "labels", labels, "memory",
                  (json_int_t)record->memory_bytes, "bandwidth", (json_int_t)record->bandwidth_bytes,
                  "fingerprint", fingerprint, "state", ES_MEMBER_STATES[record->state], "holder", holder);
    char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

static int by_label(const void *a, const void *b)
{
    return strcmp(((const es_label *)a)->name, ((const es_label *)b)->name);
}

/* A value that is shown to people: printable ASCII. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text < 0x20 || *text > 0x7e) return false;
    return true;
}

static void read_labels(es_fields *fields, es_node_record *record)
{
    json_t *labels = json_object_get(fields->object, "labels");
    const char *name;
    json_t *value;
    if (!json_is_object(labels) || json_object_size(labels) > ES_LABELS_MAX) {
        es_fields_complain(fields, "labels", "missing, or too many");
        return;
    }
    json_object_foreach(labels, name, value)
    {
        const char *text = json_string_value(value);
        if (!es_name_valid(name) || strlen(name) > ES_LABEL_NAME_MAX || text == NULL ||
            json_string_length(value) > ES_LABEL_VALUE_MAX || strlen(text) != json_string_length(value) ||
            !is_plain(text)) {
            es_fields_complain(fields, "labels", "a name or value is none");
            return;
        }
        es_label *label = &record->labels[record->label_count++];
        strcpy(label->name, name);
        strcpy(label->value, text);
    }
    qsort(record->labels, record->label_count, sizeof *record->labels, by_label);
}

es_status es_node_record_parse(const char *where, const char *text, size_t bytes, es_node_record *ret_record,
                               es_err *err)
{
    static const char *const KEYS[] = {"name",      "control",     "key",   "labels", "memory",
                                       "bandwidth", "fingerprint", "state", "holder", NULL};
    uint8_t holder[8];
    json_t *object;
    memset(ret_record, 0, sizeof *ret_record); /* padding too: records are compared as bytes */
    es_status status = es_json_parse(&(es_json_text){where, text, bytes}, &object, err);
    if (status != ES_OK) return status;
    es_fields fields = es_fields_of(where, object, KEYS, err);
    es_fields_text(&fields, "name", ret_record->name, sizeof ret_record->name);
    es_fields_text(&fields, "control", ret_record->control, sizeof ret_record->control);
    es_fields_text(&fields, "key", ret_record->key, sizeof ret_record->key);
    if (fields.status == ES_OK) read_labels(&fields, ret_record);
    ret_record->memory_bytes = es_fields_number(&fields, "memory", 0, BYTES_MAX);
    ret_record->bandwidth_bytes = es_fields_number(&fields, "bandwidth", 0, BYTES_MAX);
    es_fields_hex(&fields, "fingerprint", ret_record->fingerprint, sizeof ret_record->fingerprint);
    ret_record->state = (es_member_state)es_fields_choice(&fields, "state", ES_MEMBER_STATES);
    es_fields_hex(&fields, "holder", holder, sizeof holder);
    for (size_t i = 0; i < sizeof holder; i++) ret_record->holder = ret_record->holder << 8 | holder[i];
    es_endpoint endpoint;
    if (fields.status == ES_OK && !es_name_valid(ret_record->name))
        es_fields_complain(&fields, "name", "not a name");
    if (fields.status == ES_OK && es_endpoint_parse_bind(ret_record->control, &endpoint, NULL) != ES_OK)
        es_fields_complain(&fields, "control", "not a numeric address and port");
    if (fields.status == ES_OK && ret_record->key[0] != '\0' && !es_key_valid(ret_record->key))
        es_fields_complain(&fields, "key", "not a public key");
    json_decref(object);
    return fields.status;
}
