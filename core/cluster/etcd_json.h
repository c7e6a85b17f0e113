/* What etcd's JSON gateway says: int64 as texts, bytes in base64, and what is zero left out. */
#ifndef ES_CLUSTER_ETCD_JSON_H
#define ES_CLUSTER_ETCD_JSON_H

#include "essaim/status.h"

#include <jansson.h>
#include <stdint.h>

enum {
    ES_ETCD_KEY_MAX = 512,
    ES_ETCD_REPLY_MAX = 48 * 1024 * 1024,
    ES_ETCD_TOKEN_MAX = 4096,
};

/* gRPC's codes that are told apart here. */
typedef enum es_etcd_code {
    ES_ETCD_OK = 0,
    ES_ETCD_NOT_FOUND = 5,
    ES_ETCD_PERMISSION = 7,
    ES_ETCD_EXHAUSTED = 8,
    ES_ETCD_OUT_OF_RANGE = 11,
    ES_ETCD_UNAVAILABLE = 14,
    ES_ETCD_UNAUTHENTICATED = 16
} es_etcd_code;

/* Base64 of bytes as a JSON text; NULL when memory is short. */
json_t *es_etcd_bytes(const void *bytes, size_t count);

/* The same of the key behind all keys that begin with prefix: its last byte + 1. prefix does not end in 0xff.
 */
json_t *es_etcd_range_end(const char *prefix);

/* A whole reply, which is one JSON object; what a stream's single item is wrapped in is taken off. yours to
 * decref. ES_CORRUPT for anything else. */
es_status es_etcd_reply_parse(const char *text, size_t bytes, json_t **ret_reply, es_err *err);

/* An error's reply: its code and text, borrowed from reply; ES_ETCD_OK when it is none. */
es_etcd_code es_etcd_reply_code(const json_t *reply, const char **ret_text);

/* An int64 under key: a text or a number; 0 when it is absent. ES_CORRUPT when it is something else or
 * negative. */
es_status es_etcd_number(const json_t *object, const char *key, uint64_t *ret_value, es_err *err);

/* header.revision. */
es_status es_etcd_revision(const json_t *reply, uint64_t *ret_revision, es_err *err);

/* One key of a range's reply. value is malloc'd and yours, with a NUL behind it that does not count. */
typedef struct es_etcd_pair {
    char key[ES_ETCD_KEY_MAX + 1];
    uint8_t *value;
    size_t value_bytes;
    uint64_t mod_revision;
} es_etcd_pair;

/* How many there are, and the index-th. ES_CORRUPT for a key that is too long or has a NUL, or bad base64. */
size_t es_etcd_pair_count(const json_t *range);
es_status es_etcd_pair_get(const json_t *range, size_t index, es_etcd_pair *ret_pair, es_err *err);

/* What an item of a watch's stream says. */
typedef enum es_etcd_note_kind {
    ES_ETCD_NOTE_IDLE,      /* created, or only a sign of life */
    ES_ETCD_NOTE_CHANGED,   /* something happened up to revision */
    ES_ETCD_NOTE_COMPACTED, /* history up to revision is gone: what happened since is not told any more */
    ES_ETCD_NOTE_ENDED      /* the stream is over: code and text say why */
} es_etcd_note_kind;

typedef struct es_etcd_note {
    es_etcd_note_kind kind;
    uint64_t revision;
    es_etcd_code code;
    char text[160];
} es_etcd_note;

es_status es_etcd_note_parse(const char *line, size_t bytes, es_etcd_note *ret_note, es_err *err);

#endif
