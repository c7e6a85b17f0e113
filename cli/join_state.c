/* What a machine that joined keeps in its folder. */
#include "cli/join_state.h"

#include "base/file.h"
#include "cluster/fields.h"
#include "weights/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VERSION = 1, FILE_BYTES_MAX = 256 * 1024 };

static const char NAME[] = "node.json";
static const char FORMAT[] = "essaim-node";

static void read_shards(es_fields *fields, cli_join_state *state)
{
    const json_t *list = es_fields_array(fields, "shards", CLI_JOIN_SHARDS_MAX);
    for (size_t i = 0; i < json_array_size(list) && fields->status == ES_OK; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text == NULL || strlen(text) >= PATH_MAX) {
            es_fields_complain(fields, "shards", "no path");
            return;
        }
        state->shards[state->shard_count] = strdup(text);
        if (state->shards[state->shard_count] == NULL)
            fields->status = es_err_set(fields->err, ES_NO_MEMORY, "%s", fields->where);
        else
            state->shard_count++;
    }
}

es_status cli_join_state_set_registry(cli_join_state *state, size_t option, const char *value, es_err *err)
{
    char *copy = strdup(value);
    if (copy == NULL) return es_err_set(err, ES_NO_MEMORY, "settings of this machine");
    free(state->registry[option]);
    state->registry[option] = copy;
    return ES_OK;
}

void cli_join_state_registry(const cli_join_state *state, es_registry_options *ret_options)
{
    *ret_options = (es_registry_options){.folder = NULL};
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT; i++)
        memcpy((char *)ret_options + ES_REGISTRY_OPTIONS[i].at, &state->registry[i],
               sizeof state->registry[i]);
}

/* {"--etcd": URL, ...}: of old there is none. */
static void read_registry(es_fields *fields, cli_join_state *state)
{
    const char *keys[ES_REGISTRY_OPTION_COUNT + 1] = {NULL};
    const json_t *object = json_object_get(fields->object, "registry");
    char *text = object != NULL ? malloc(FILE_BYTES_MAX) : NULL;
    if (object == NULL) return;
    if (text == NULL) fields->status = es_err_set(fields->err, ES_NO_MEMORY, "%s", fields->where);
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT; i++) keys[i] = ES_REGISTRY_OPTIONS[i].name;
    if (fields->status == ES_OK) es_fields_text(fields, "control", state->control, sizeof state->control);
    es_fields inner = {.status = fields->status};
    if (inner.status == ES_OK) inner = es_fields_of(fields->where, object, keys, fields->err);
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT && inner.status == ES_OK; i++) {
        if (json_object_get(object, keys[i]) == NULL) continue;
        es_fields_text(&inner, keys[i], text, FILE_BYTES_MAX);
        if (inner.status == ES_OK) inner.status = cli_join_state_set_registry(state, i, text, fields->err);
    }
    fields->status = inner.status;
    free(text);
}

static json_t *registry_json(const cli_join_state *state)
{
    json_t *object = json_object();
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT; i++)
        if (state->registry[i] != NULL)
            json_object_set_new(object, ES_REGISTRY_OPTIONS[i].name, json_string(state->registry[i]));
    return object;
}

es_status cli_join_state_load(const char *dir, cli_join_state *ret_state, es_err *err)
{
    static const char *const KEYS[] = {"format", "version", "name",    "listen",   "source", "source_key",
                                       "memory", "shards",  "control", "registry", NULL};
    char path[PATH_MAX], format[sizeof FORMAT], *text;
    size_t bytes;
    json_t *object;
    *ret_state = (cli_join_state){.name = ""};
    es_status status = es_file_join(path, sizeof path, dir, NAME, err);
    if (status == ES_OK) status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_json_parse(&(es_json_text){path, text, bytes}, &object, err);
    free(text);
    if (status != ES_OK) return status;
    es_fields fields = es_fields_of(path, object, KEYS, err);
    es_fields_text(&fields, "format", format, sizeof format);
    if (fields.status == ES_OK && strcmp(format, FORMAT) != 0)
        es_fields_complain(&fields, "format", "another file");
    es_fields_number(&fields, "version", VERSION, VERSION);
    es_fields_text(&fields, "name", ret_state->name, sizeof ret_state->name);
    es_fields_text(&fields, "listen", ret_state->listen, sizeof ret_state->listen);
    es_fields_text(&fields, "source", ret_state->source, sizeof ret_state->source);
    es_fields_text(&fields, "source_key", ret_state->source_key, sizeof ret_state->source_key);
    ret_state->memory_bytes = es_fields_number(&fields, "memory", 1, (uint64_t)1 << 52);
    if (fields.status == ES_OK) read_shards(&fields, ret_state);
    if (fields.status == ES_OK) read_registry(&fields, ret_state);
    json_decref(object);
    if (fields.status != ES_OK) cli_join_state_fini(ret_state);
    return fields.status;
}

es_status cli_join_state_save(const char *dir, const cli_join_state *state, es_err *err)
{
    char path[PATH_MAX], part[PATH_MAX + 8];
    es_status status = es_file_join(path, sizeof path, dir, NAME, err);
    if (status != ES_OK) return status;
    snprintf(part, sizeof part, "%s.part", path);
    json_t *shards = json_array();
    for (size_t i = 0; i < state->shard_count; i++)
        json_array_append_new(shards, json_string(state->shards[i]));
    json_t *all = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:I, s:o, s:s, s:o}", "format", FORMAT, "version",
                            VERSION, "name", state->name, "listen", state->listen, "source", state->source,
                            "source_key", state->source_key, "memory", (json_int_t)state->memory_bytes,
                            "shards", shards, "control", state->control, "registry", registry_json(state));
    FILE *file = all == NULL ? NULL : fopen(part, "we");
    bool good = file != NULL && json_dumpf(all, file, JSON_INDENT(1)) == 0 && fputc('\n', file) != EOF &&
                fflush(file) == 0 && fsync(fileno(file)) == 0;
    int cause = errno;
    if (file != NULL && fclose(file) != 0) good = false;
    json_decref(all);
    if (good && rename(part, path) == 0) return ES_OK;
    if (good) cause = errno;
    unlink(part);
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(cause));
}

void cli_join_state_fini(cli_join_state *state)
{
    for (size_t i = 0; i < state->shard_count; i++) free(state->shards[i]);
    for (size_t i = 0; i < ES_REGISTRY_OPTION_COUNT; i++) free(state->registry[i]);
    *state = (cli_join_state){.name = ""};
}
