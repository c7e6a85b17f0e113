/* CURVE keys: files of one Z85 key a line, where '#' begins a comment. */
#include "net/keys.h"

#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

enum {
    PATH_BYTES = 4096,
    KEY_FILE_MAX = 4096,
    ALLOW_FILE_MAX = 1024 * 1024,
    KEY_CHARACTERS = ES_KEY_TEXT_BYTES - 1
};

/* In ascending order. */
typedef struct allowed_keys {
    size_t count;
    uint8_t key[ES_ALLOWED_MAX][ES_KEY_BYTES];
} allowed_keys;

struct es_allow_list {
    char path[PATH_BYTES]; /* "": it has no file */
    bool everyone;
    atomic_uint_least64_t changes;
    pthread_mutex_t lock;  /* around what follows */
    allowed_keys *keys;    /* NULL: of nobody, or everyone */
    allowed_keys *revoked; /* NULL: nobody's */
    struct stat seen;      /* the file that was looked at last */
};

static es_status write_new(const char *path, mode_t mode, const char *text, es_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
    size_t length = strlen(text);
    bool written = write(fd, text, length) == (ssize_t)length && fsync(fd) == 0;
    int cause = errno;
    if (close(fd) == 0 && written) return ES_OK;
    unlink(path);
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(cause));
}

es_status es_keys_generate(const char *path, es_keys *ret_keys, es_err *err)
{
    char public_path[PATH_BYTES], text[128];
    if ((size_t)snprintf(public_path, sizeof public_path, "%s.pub", path) >= sizeof public_path)
        return es_err_set(err, ES_INVALID, "%s: path too long", path);
    if (zmq_curve_keypair(ret_keys->public_key, ret_keys->secret) != 0)
        return es_err_set(err, ES_UNSUPPORTED, "keys: this libzmq was built without CURVE");
    snprintf(text, sizeof text, "# essaim secret key\n%s\n", ret_keys->secret);
    es_status status = write_new(path, S_IRUSR | S_IWUSR, text, err);
    explicit_bzero(text, sizeof text);
    if (status == ES_OK) {
        snprintf(text, sizeof text, "%s\n", ret_keys->public_key);
        status = write_new(public_path, S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH, text, err);
        if (status != ES_OK) unlink(path);
    }
    if (status != ES_OK) es_keys_wipe(ret_keys);
    return status;
}

/* The next line's first word, "" for an empty one; false at the end. Cuts *text into lines. */
static bool next_line(char **text, char **ret_line)
{
    char *line = *text;
    if (line == NULL) return false;
    char *end = strchr(line, '\n');
    *text = end == NULL ? NULL : end + 1;
    if (end != NULL) *end = '\0';
    line += strspn(line, " \t\r");
    line[strcspn(line, " \t\r")] = '\0';
    /* '#' is a letter of Z85 too: a word as long as a key is one */
    if (*line == '#' && strlen(line) != KEY_CHARACTERS) *line = '\0';
    *ret_line = line;
    return true;
}

bool es_key_valid(const char *text)
{
    uint8_t bytes[ES_KEY_BYTES];
    if (strlen(text) != KEY_CHARACTERS) return false;
    bool valid = zmq_z85_decode(bytes, text) != NULL;
    explicit_bzero(bytes, sizeof bytes);
    return valid;
}

static es_status check_private(const char *path, es_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return es_err_set(err, errno == ENOENT ? ES_NOT_FOUND : ES_IO, "%s: %s", path, strerror(errno));
    if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return es_err_set(err, ES_INVALID, "%s: a secret key that others may read; chmod 600 it", path);
    return ES_OK;
}

/* The one key of a file; what stands on its lines is never told. */
static es_status read_secret(const char *path, char *text, char ret_secret[ES_KEY_TEXT_BYTES], es_err *err)
{
    char *line;
    size_t found = 0;
    for (size_t number = 1; next_line(&text, &line); number++) {
        if (line[0] == '\0') continue;
        if (!es_key_valid(line))
            return es_err_set(err, ES_INVALID, "%s: line %zu is no secret key", path, number);
        if (found > 0)
            return es_err_set(err, ES_INVALID, "%s: line %zu is a second key, after line %zu", path, number,
                              found);
        memcpy(ret_secret, line, ES_KEY_TEXT_BYTES);
        found = number;
    }
    return found > 0 ? ES_OK : es_err_set(err, ES_INVALID, "%s: holds no secret key", path);
}

es_status es_keys_load(const char *path, es_keys *ret_keys, es_err *err)
{
    char *text;
    size_t bytes;
    es_status status = check_private(path, err);
    if (status == ES_OK) status = es_file_read(path, KEY_FILE_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = read_secret(path, text, ret_keys->secret, err);
    explicit_bzero(text, bytes);
    free(text);
    if (status == ES_OK && zmq_curve_public(ret_keys->public_key, ret_keys->secret) != 0)
        status = es_err_set(err, ES_UNSUPPORTED, "keys: this libzmq was built without CURVE");
    return status;
}

void es_keys_wipe(es_keys *keys)
{
    explicit_bzero(keys, sizeof *keys);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, ES_KEY_BYTES);
}

static void sort_keys(allowed_keys *keys)
{
    qsort(keys->key, keys->count, ES_KEY_BYTES, by_bytes);
}

static bool has_key(const allowed_keys *keys, const uint8_t key[ES_KEY_BYTES])
{
    return keys != NULL && bsearch(key, keys->key, keys->count, ES_KEY_BYTES, by_bytes) != NULL;
}

static es_status read_allowed(const char *path, char *text, allowed_keys *list, es_err *err)
{
    char *line;
    for (size_t number = 1; next_line(&text, &line); number++) {
        if (line[0] == '\0') continue;
        if (!es_key_valid(line))
            return es_err_set(err, ES_INVALID, "%s: line %zu is no public key", path, number);
        if (list->count == ES_ALLOWED_MAX)
            return es_err_set(err, ES_INVALID, "%s: line %zu: more than %d keys", path, number,
                              ES_ALLOWED_MAX);
        zmq_z85_decode(list->key[list->count++], line);
    }
    if (list->count == 0)
        return es_err_set(err, ES_INVALID, "%s: holds no public key, so nobody could connect", path);
    sort_keys(list);
    return ES_OK;
}

static es_status load_allowed(const char *path, allowed_keys **ret_keys, es_err *err)
{
    char *text;
    size_t bytes;
    *ret_keys = NULL;
    es_status status = es_file_read(path, ALLOW_FILE_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    allowed_keys *keys = calloc(1, sizeof *keys);
    status = keys == NULL ? es_err_set(err, ES_NO_MEMORY, "%s", path) : read_allowed(path, text, keys, err);
    free(text);
    if (status != ES_OK) {
        free(keys);
        return status;
    }
    *ret_keys = keys;
    return ES_OK;
}

es_status es_allow_list_load(const char *path, es_allow_list **ret_list, es_err *err)
{
    *ret_list = NULL;
    if (strlen(path) >= PATH_BYTES) return es_err_set(err, ES_INVALID, "%s: path too long", path);
    es_allow_list *list = calloc(1, sizeof *list);
    if (list == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", path);
    pthread_mutex_init(&list->lock, NULL);
    strcpy(list->path, path);
    /* Looked at before it is read: a change in between is read once more. */
    if (stat(path, &list->seen) != 0) list->seen = (struct stat){.st_nlink = 0};
    es_status status = load_allowed(path, &list->keys, err);
    if (status != ES_OK) es_allow_list_destroy(&list);
    *ret_list = list;
    return status;
}

void es_allow_list_destroy(es_allow_list **list)
{
    if (*list == NULL) return;
    pthread_mutex_destroy(&(*list)->lock);
    free((*list)->keys);
    free((*list)->revoked);
    free(*list);
    *list = NULL;
}

bool es_allow_list_has(es_allow_list *list, const uint8_t key[ES_KEY_BYTES])
{
    pthread_mutex_lock(&list->lock);
    bool has = (list->everyone || has_key(list->keys, key)) && !has_key(list->revoked, key);
    pthread_mutex_unlock(&list->lock);
    return has;
}

static es_status make_keys(const char (*texts)[ES_KEY_TEXT_BYTES], size_t count, allowed_keys **ret_keys,
                           es_err *err)
{
    ES_ASSERT(count <= ES_ALLOWED_MAX);
    allowed_keys *keys = *ret_keys = calloc(1, sizeof *keys);
    if (keys == NULL) return es_err_set(err, ES_NO_MEMORY, "list of keys");
    for (size_t i = 0; i < count; i++)
        if (zmq_z85_decode(keys->key[keys->count], texts[i]) != NULL) keys->count++;
    sort_keys(keys);
    return ES_OK;
}

static bool same_keys(const allowed_keys *a, const allowed_keys *b)
{
    size_t count = a == NULL ? 0 : a->count, other = b == NULL ? 0 : b->count;
    return count == other && (count == 0 || memcmp(a->key, b->key, count * ES_KEY_BYTES) == 0);
}

/* Puts keys in the place of what is there. */
static void replace(es_allow_list *list, allowed_keys **at, allowed_keys *keys)
{
    pthread_mutex_lock(&list->lock);
    allowed_keys *old = *at;
    *at = keys;
    if (!same_keys(old, keys)) atomic_fetch_add(&list->changes, 1);
    pthread_mutex_unlock(&list->lock);
    free(old);
}

es_status es_allow_list_create(bool everyone, es_allow_list **ret_list, es_err *err)
{
    es_allow_list *list = *ret_list = calloc(1, sizeof *list);
    if (list == NULL) return es_err_set(err, ES_NO_MEMORY, "list of who may connect");
    pthread_mutex_init(&list->lock, NULL);
    list->everyone = everyone;
    return ES_OK;
}

es_status es_allow_list_set(es_allow_list *list, const char (*texts)[ES_KEY_TEXT_BYTES], size_t count,
                            es_err *err)
{
    allowed_keys *keys;
    ES_ASSERT(list->path[0] == '\0' && !list->everyone);
    es_status status = make_keys(texts, count, &keys, err);
    if (status == ES_OK) replace(list, &list->keys, keys);
    return status;
}

es_status es_allow_list_revoke(es_allow_list *list, const char (*texts)[ES_KEY_TEXT_BYTES], size_t count,
                               es_err *err)
{
    allowed_keys *keys;
    es_status status = make_keys(texts, count, &keys, err);
    if (status == ES_OK) replace(list, &list->revoked, keys);
    return status;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void es_allow_list_refresh(es_allow_list *list)
{
    struct stat now;
    es_err err;
    allowed_keys *fresh;
    if (list->path[0] == '\0') return;
    if (stat(list->path, &now) != 0) now = (struct stat){.st_nlink = 0};
    pthread_mutex_lock(&list->lock);
    bool same = is_same_file(&now, &list->seen);
    list->seen = now;
    pthread_mutex_unlock(&list->lock);
    if (same) return;
    if (load_allowed(list->path, &fresh, &err) != ES_OK) {
        es_log(ES_LOG_WARN, "the list of who may connect stays as it was: %s", err.text);
        return;
    }
    es_log(ES_LOG_INFO, "%s: %zu keys may connect", list->path, fresh->count);
    replace(list, &list->keys, fresh);
}

uint64_t es_allow_list_changes(es_allow_list *list)
{
    return atomic_load(&list->changes);
}
