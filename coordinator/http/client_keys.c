/* The API keys that clients show. */
#include "http/client_keys.h"

#include "base/file.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_BYTES_MAX = 4 * 1024 * 1024, HASH_BYTES = 32 };

static const char BLANKS[] = " \t\r";

typedef struct client_key {
    uint8_t hash[HASH_BYTES];
    es_client client;
} client_key;

struct es_client_keys {
    size_t count, capacity;
    client_key *key;
};

static void hash_text(const char *text, uint8_t hash[HASH_BYTES])
{
    crypto_generichash(hash, HASH_BYTES, (const unsigned char *)text, strlen(text), NULL, 0);
}

uint64_t es_client_share(const char *name)
{
    uint8_t hash[HASH_BYTES];
    uint64_t share;
    hash_text(name, hash);
    memcpy(&share, hash, sizeof share);
    return share;
}

static bool is_name(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length >= 1 && length <= ES_CLIENT_NAME_MAX && text[length] == '\0';
}

static bool is_key(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] > '~') return false;
    return length >= ES_CLIENT_KEY_MIN && length <= ES_CLIENT_KEY_MAX;
}

/* Which key it is, count when none. Looks at every key to its end. */
static size_t find_hash(const es_client_keys *keys, const uint8_t hash[HASH_BYTES])
{
    size_t found = keys->count;
    for (size_t i = 0; i < keys->count; i++)
        if (sodium_memcmp(keys->key[i].hash, hash, HASH_BYTES) == 0) found = i;
    return found;
}

static es_status add_key(es_client_keys *keys, const char *name, const char *text, es_err *err)
{
    client_key key = {.client = {.share = es_client_share(name)}};
    memcpy(key.client.name, name, strlen(name) + 1);
    hash_text(text, key.hash);
    size_t twin = find_hash(keys, key.hash);
    if (twin < keys->count)
        return es_err_set(err, ES_INVALID, "the same key as %s's", keys->key[twin].client.name);
    if (keys->count == ES_CLIENT_KEYS_MAX)
        return es_err_set(err, ES_INVALID, "more than %d keys", ES_CLIENT_KEYS_MAX);
    if (keys->count == keys->capacity) {
        size_t capacity = keys->capacity == 0 ? 8 : 2 * keys->capacity;
        client_key *grown = realloc(keys->key, capacity * sizeof *grown);
        if (grown == NULL) return es_err_set(err, ES_NO_MEMORY, "%zu keys", capacity);
        keys->key = grown;
        keys->capacity = capacity;
    }
    keys->key[keys->count++] = key;
    return ES_OK;
}

/* One line, which is cut into words. */
static es_status add_line(es_client_keys *keys, char *line, size_t number, es_err *err)
{
    char own_name[32], *rest;
    const char *first = strtok_r(line, BLANKS, &rest);
    if (first == NULL || first[0] == '#') return ES_OK;
    const char *second = strtok_r(NULL, BLANKS, &rest);
    if (second != NULL && strtok_r(NULL, BLANKS, &rest) != NULL)
        return es_err_set(err, ES_INVALID, "more than a name and a key");
    snprintf(own_name, sizeof own_name, "key%zu", number);
    const char *name = second != NULL ? first : own_name, *key = second != NULL ? second : first;
    if (!is_name(name))
        return es_err_set(err, ES_INVALID, "a name is 1 to %d letters, digits, '.', '_' or '-'",
                          ES_CLIENT_NAME_MAX);
    if (!is_key(key))
        return es_err_set(err, ES_INVALID, "a key is %d to %d printable characters", ES_CLIENT_KEY_MIN,
                          ES_CLIENT_KEY_MAX);
    return add_key(keys, name, key, err);
}

es_status es_client_keys_parse(char *text, size_t bytes, const char *path, es_client_keys **ret_keys,
                               es_err *err)
{
    *ret_keys = NULL;
    es_client_keys *keys = calloc(1, sizeof *keys);
    es_status status = keys == NULL ? es_err_set(err, ES_NO_MEMORY, "API keys") : ES_OK;
    if (status == ES_OK && memchr(text, '\0', bytes) != NULL)
        status = es_err_set(err, ES_INVALID, "holds a NUL byte");
    char *line = text;
    for (size_t number = 1; line != NULL && status == ES_OK; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end++ = '\0';
        status = add_line(keys, line, number, err);
        if (status != ES_OK) es_err_prefix(err, "line %zu", number);
        line = end;
    }
    if (status == ES_OK && keys->count == 0) status = es_err_set(err, ES_INVALID, "holds no key");
    sodium_memzero(text, bytes);
    if (status != ES_OK) {
        es_err_prefix(err, "%s", path);
        es_client_keys_destroy(&keys);
    }
    *ret_keys = keys;
    return status;
}

es_status es_client_keys_load(const char *path, es_client_keys **ret_keys, es_err *err)
{
    struct stat info;
    char *text;
    size_t bytes;
    *ret_keys = NULL;
    if (stat(path, &info) != 0) return es_err_set(err, ES_NOT_FOUND, "%s: %s", path, strerror(errno));
    if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return es_err_set(err, ES_INVALID, "%s: others may read it: chmod 600 it", path);
    if (sodium_init() < 0) return es_err_set(err, ES_IO, "libsodium does not start");
    es_status status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_client_keys_parse(text, bytes, path, ret_keys, err);
    free(text);
    return status;
}

void es_client_keys_destroy(es_client_keys **keys)
{
    if (*keys == NULL) return;
    free((*keys)->key);
    free(*keys);
    *keys = NULL;
}

size_t es_client_keys_count(const es_client_keys *keys)
{
    return keys->count;
}

bool es_client_keys_find(const es_client_keys *keys, const char *key, es_client *ret_client)
{
    uint8_t hash[HASH_BYTES];
    hash_text(key, hash);
    size_t found = find_hash(keys, hash);
    if (found < keys->count) *ret_client = keys->key[found].client;
    return found < keys->count;
}
