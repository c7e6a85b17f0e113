/* The API keys that clients show: a file of "NAME KEY" or "KEY" lines. Only hashes of them are kept. */
#ifndef ES_HTTP_CLIENT_KEYS_H
#define ES_HTTP_CLIENT_KEYS_H

#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    ES_CLIENT_KEYS_MAX = 4096,
    ES_CLIENT_KEY_MIN = 8, /* characters */
    ES_CLIENT_KEY_MAX = 512,
    ES_CLIENT_NAME_MAX = 63
};

/* Whose key it is. */
typedef struct es_client {
    char name[ES_CLIENT_NAME_MAX + 1]; /* for logs; a key without a name is called after its line: "key3" */
    uint64_t share;                    /* equal for keys of one name: they share one part of the machine */
} es_client;

/* Immutable; safe from any thread. */
typedef struct es_client_keys es_client_keys;

/* Reads a file's text [bytes]; lines that begin with '#' are comments. Names are letters, digits, '.', '_'
 * and '-'; keys printable ASCII without blanks. ES_INVALID names the line (never the key), or says that there
 * is no key. text is overwritten with zeros. */
es_status es_client_keys_parse(char *text, size_t bytes, const char *path, es_client_keys **ret_keys,
                               es_err *err);

/* The same from a file, which only its owner may read: ES_INVALID when others may. */
es_status es_client_keys_load(const char *path, es_client_keys **ret_keys, es_err *err);
void es_client_keys_destroy(es_client_keys **keys);

size_t es_client_keys_count(const es_client_keys *keys);

/* Whose key this is; false when nobody's. Takes as long for any key of this length. */
bool es_client_keys_find(const es_client_keys *keys, const char *key, es_client *ret_client);

/* The share of a name. */
uint64_t es_client_share(const char *name);

#endif
