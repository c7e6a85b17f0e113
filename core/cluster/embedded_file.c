/* The embedded registry's folder. */
#include "cluster/embedded_file.h"

#include "base/file.h"
#include "cluster/backend.h"
#include "cluster/fields.h"
#include "weights/json.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, FILE_BYTES_MAX = 16 * 1024 * 1024, VERSION = 1 };

static const char FORMAT[] = "essaim-registry";
static const char FILE_NAME[] = "registry.json";

/* An array of records; NULL when memory is short. */
static json_t *nodes_json(const es_embedded_state *state)
{
    json_t *nodes = json_array();
    for (size_t n = 0; n < state->node_count && nodes != NULL; n++) {
        char *text = es_node_record_write(&state->nodes[n]);
        json_t *node = text == NULL ? NULL : json_loads(text, 0, NULL);
        free(text);
        if (json_array_append_new(nodes, node) == 0) continue;
        json_decref(nodes);
        return NULL;
    }
    return nodes;
}

static json_t *tokens_json(const es_embedded_state *state)
{
    json_t *tokens = json_object();
    for (size_t t = 0; t < state->token_count; t++) {
        char hash[2 * ES_TOKEN_HASH_BYTES + 1];
        sodium_bin2hex(hash, sizeof hash, state->tokens[t].hash, ES_TOKEN_HASH_BYTES);
        json_object_set_new(tokens, hash, json_integer((json_int_t)state->tokens[t].until_s));
    }
    return tokens;
}

static json_t *body_json(const es_embedded_state *state)
{
    char epoch[ES_EPOCH_TEXT_MAX], hash[65];
    es_epoch_format(state->epoch, epoch);
    sodium_bin2hex(hash, sizeof hash, state->placement_hash, sizeof state->placement_hash);
    json_t *revoked = json_array();
    for (size_t r = 0; r < state->revoked_count; r++)
        json_array_append_new(revoked, json_string(state->revoked[r]));
    return json_pack("{s:s, s:i, s:o, s:o, s:o, s:s, s:s}", "format", FORMAT, "version", VERSION, "nodes",
                     nodes_json(state), "revoked", revoked, "tokens", tokens_json(state), "epoch", epoch,
                     "placement", hash);
}

/* The checksum of a body, over its JSON with keys in order; false when memory is short. */
static bool sum_of(const json_t *body, char ret_sum[65])
{
    uint8_t sum[32];
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) return false;
    es_registry_hash(text, strlen(text), sum);
    sodium_bin2hex(ret_sum, 65, sum, sizeof sum);
    free(text);
    return true;
}

char *es_embedded_state_write(const es_embedded_state *state)
{
    char sum[65];
    json_t *body = body_json(state);
    if (body == NULL || !sum_of(body, sum)) {
        json_decref(body);
        return NULL;
    }
    json_t *all = json_pack("{s:s, s:o}", "blake2b", sum, "registry", body);
    char *text = all == NULL ? NULL : json_dumps(all, JSON_INDENT(1));
    json_decref(all);
    return text;
}

static void read_nodes(es_fields *fields, es_embedded_state *state)
{
    const json_t *nodes = es_fields_array(fields, "nodes", ES_REGISTRY_NODES_MAX);
    for (size_t n = 0; n < json_array_size(nodes) && fields->status == ES_OK; n++) {
        char *text = json_dumps(json_array_get(nodes, n), JSON_COMPACT | JSON_ENCODE_ANY);
        es_node_record *record = &state->nodes[n];
        fields->status = text == NULL
                             ? es_err_set(fields->err, ES_NO_MEMORY, "%s", fields->where)
                             : es_node_record_parse(fields->where, text, strlen(text), record, fields->err);
        free(text);
        for (size_t other = 0; other < n && fields->status == ES_OK; other++)
            if (strcmp(state->nodes[other].name, record->name) == 0)
                es_fields_complain(fields, "nodes", "two of one name");
        state->node_count++;
    }
}

static void read_revoked(es_fields *fields, es_embedded_state *state)
{
    const json_t *revoked = es_fields_array(fields, "revoked", ES_REGISTRY_REVOKED_MAX);
    for (size_t r = 0; r < json_array_size(revoked); r++) {
        const json_t *item = json_array_get(revoked, r);
        const char *key = json_string_value(item);
        if (key == NULL || json_string_length(item) != ES_KEY_TEXT_BYTES - 1 || !es_key_valid(key)) {
            es_fields_complain(fields, "revoked", "not public keys");
            return;
        }
        memcpy(state->revoked[state->revoked_count++], key, ES_KEY_TEXT_BYTES);
    }
}

static void read_tokens(es_fields *fields, es_embedded_state *state)
{
    json_t *tokens = json_object_get(fields->object, "tokens");
    const char *hash;
    json_t *until;
    if (!json_is_object(tokens) || json_object_size(tokens) > ES_REGISTRY_TOKENS_MAX) {
        es_fields_complain(fields, "tokens", "missing, or too many");
        return;
    }
    json_object_foreach(tokens, hash, until)
    {
        es_embedded_token *token = &state->tokens[state->token_count++];
        size_t got = 0;
        if (strlen(hash) != 2 * ES_TOKEN_HASH_BYTES ||
            sodium_hex2bin(token->hash, ES_TOKEN_HASH_BYTES, hash, strlen(hash), NULL, &got, NULL) != 0 ||
            got != ES_TOKEN_HASH_BYTES || !json_is_integer(until) || json_integer_value(until) < 0) {
            es_fields_complain(fields, "tokens", "not hashes and times");
            return;
        }
        token->until_s = (uint64_t)json_integer_value(until);
    }
}

static es_status read_body(const char *where, const json_t *body, es_embedded_state *state, es_err *err)
{
    static const char *const KEYS[] = {"format", "version", "nodes",     "revoked",
                                       "tokens", "epoch",   "placement", NULL};
    const json_t *version = json_object_get(body, "version");
    if (json_is_integer(version) && json_integer_value(version) > VERSION)
        return es_err_set(err, ES_UNSUPPORTED, "%s: version: this build reads up to %d", where, VERSION);
    es_fields fields = es_fields_of(where, body, KEYS, err);
    char format[sizeof FORMAT], epoch[ES_EPOCH_TEXT_MAX];
    es_fields_text(&fields, "format", format, sizeof format);
    if (fields.status == ES_OK && strcmp(format, FORMAT) != 0)
        es_fields_complain(&fields, "format", "not a registry");
    es_fields_number(&fields, "version", VERSION, VERSION);
    es_fields_text(&fields, "epoch", epoch, sizeof epoch);
    if (fields.status == ES_OK && es_epoch_parse(epoch, &state->epoch, NULL) != ES_OK)
        es_fields_complain(&fields, "epoch", "not GENERATION.COUNTER");
    es_fields_hex(&fields, "placement", state->placement_hash, sizeof state->placement_hash);
    if (fields.status == ES_OK) read_nodes(&fields, state);
    if (fields.status == ES_OK) read_revoked(&fields, state);
    if (fields.status == ES_OK) read_tokens(&fields, state);
    return fields.status;
}

es_status es_embedded_state_parse(const char *where, const char *text, size_t bytes,
                                  es_embedded_state *ret_state, es_err *err)
{
    static const char *const KEYS[] = {"blake2b", "registry", NULL};
    char stated[65], sum[65];
    json_t *all;
    memset(ret_state, 0, sizeof *ret_state);
    es_status status = es_json_parse(&(es_json_text){where, text, bytes}, &all, err);
    if (status != ES_OK) return status;
    es_fields fields = es_fields_of(where, all, KEYS, err);
    const json_t *body = json_object_get(all, "registry");
    es_fields_text(&fields, "blake2b", stated, sizeof stated);
    if (fields.status == ES_OK && !json_is_object(body)) es_fields_complain(&fields, "registry", "missing");
    if (fields.status == ES_OK && !sum_of(body, sum))
        fields.status = es_err_set(err, ES_NO_MEMORY, "%s", where);
    if (fields.status == ES_OK && strcmp(stated, sum) != 0)
        es_fields_complain(&fields, "blake2b", "the checksum does not match");
    status = fields.status == ES_OK ? read_body(where, body, ret_state, err) : fields.status;
    json_decref(all);
    return status;
}

es_status es_embedded_state_load(const char *folder, es_embedded_state *ret_state, es_err *err)
{
    char path[PATH_BYTES], *text;
    size_t bytes;
    memset(ret_state, 0, sizeof *ret_state);
    es_status status = es_file_join(path, sizeof path, folder, FILE_NAME, err);
    if (status != ES_OK) return status;
    status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_embedded_state_parse(path, text, bytes, ret_state, err);
    free(text);
    return status;
}

static es_status failed(const char *path, es_err *err)
{
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
}

static es_status sync_folder(const char *folder, es_err *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return failed(folder, err);
    es_status status = fsync(fd) == 0 ? ES_OK : failed(folder, err);
    close(fd);
    return status;
}

static es_status write_all(int fd, const char *path, const char *text, size_t bytes, bool synced, es_err *err)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t wrote = write(fd, text + done, bytes - done);
        if (wrote < 0 && errno != EINTR) return failed(path, err);
        if (wrote > 0) done += (size_t)wrote;
    }
    return !synced || fsync(fd) == 0 ? ES_OK : failed(path, err);
}

/* root may add tokens and nodes to the registry of a service that runs as another user: who owns the folder
 * owns what is in it. */
static es_status give_to_owner(int fd, const char *folder, es_err *err)
{
    struct stat about;
    if (geteuid() != 0) return ES_OK;
    if (stat(folder, &about) != 0 || fchown(fd, about.st_uid, about.st_gid) != 0) return failed(folder, err);
    return ES_OK;
}

/* First beside it, then in its place: a reader sees the old file or the new one. */
es_status es_embedded_file_replace(const char *folder, const char *name, const char *text, size_t bytes,
                                   bool synced, es_err *err)
{
    char path[PATH_BYTES], part[PATH_BYTES];
    es_status status = es_file_join(path, sizeof path, folder, name, err);
    if (status != ES_OK) return status;
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
        return es_err_set(err, ES_INVALID, "%s: path too long", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return failed(part, err);
    status = give_to_owner(fd, folder, err);
    if (status == ES_OK) status = write_all(fd, part, text, bytes, synced, err);
    close(fd);
    if (status == ES_OK && rename(part, path) != 0) status = failed(path, err);
    if (status != ES_OK) {
        unlink(part);
        return status;
    }
    return synced ? sync_folder(folder, err) : ES_OK;
}

es_status es_embedded_state_save(const char *folder, const es_embedded_state *state, es_err *err)
{
    char *text = es_embedded_state_write(state);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", folder);
    es_status status = es_embedded_file_replace(folder, FILE_NAME, text, strlen(text), true, err);
    free(text);
    return status;
}

static void placement_name(es_epoch epoch, char ret_name[64])
{
    char text[ES_EPOCH_TEXT_MAX];
    es_epoch_format(epoch, text);
    snprintf(ret_name, 64, "placement-%s.json", text);
}

es_status es_embedded_placement_save(const char *folder, es_epoch epoch, const char *text, size_t bytes,
                                     es_err *err)
{
    char name[64];
    placement_name(epoch, name);
    return es_embedded_file_replace(folder, name, text, bytes, true, err);
}

es_status es_embedded_placement_load(const char *folder, es_epoch epoch, const uint8_t hash[32],
                                     es_document **ret_document, es_err *err)
{
    char name[64], path[PATH_BYTES], *text;
    size_t bytes;
    uint8_t sum[32];
    placement_name(epoch, name);
    es_status status = es_file_join(path, sizeof path, folder, name, err);
    if (status == ES_OK) status = es_file_read(path, ES_DOCUMENT_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    es_registry_hash(text, bytes, sum);
    status = memcmp(sum, hash, sizeof sum) == 0
                 ? es_document_parse(path, text, bytes, ret_document, err)
                 : es_err_set(err, ES_CORRUPT, "%s: not what registry.json points to", path);
    free(text);
    if (status == ES_OK) status = es_registry_check_epoch(path, *ret_document, epoch, err);
    if (status != ES_OK) es_document_destroy(ret_document);
    return status;
}

void es_embedded_placement_remove(const char *folder, es_epoch epoch)
{
    char name[64], path[PATH_BYTES];
    placement_name(epoch, name);
    if (es_file_join(path, sizeof path, folder, name, NULL) == ES_OK) unlink(path);
}
