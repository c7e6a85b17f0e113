/* Join tokens: one text that lets one machine in, once, and tells it whom to trust. */
#ifndef ES_CLUSTER_TOKEN_H
#define ES_CLUSTER_TOKEN_H

#include "cluster/registry.h"

enum {
    ES_TOKEN_SECRET_BYTES = 32,
    ES_TOKEN_TEXT_MAX = 128,    /* the token, with its NUL */
    ES_TOKEN_AT_TEXT_MAX = 256, /* TOKEN@HOST:PORT, likewise */
};

/* Wiped by whoever has one. */
typedef struct es_token {
    uint8_t secret[ES_TOKEN_SECRET_BYTES];
    uint8_t server_key[ES_KEY_BYTES]; /* public: who is asked must show that he has its secret */
    uint64_t until_s;                 /* seconds since 1970: when it lapses; the registry has the last word */
} es_token;

/* A new secret for the server of this public key (Z85). */
es_status es_token_make(const char *server_key, unsigned ttl_s, es_token *ret_token, es_err *err);

/* What the registry keeps of it. */
void es_token_hash(const uint8_t secret[ES_TOKEN_SECRET_BYTES], uint8_t ret_hash[ES_TOKEN_HASH_BYTES]);

/* base64url of version, secret, key, time and a checksum, which finds letters that were lost or mistyped. */
void es_token_format(const es_token *token, char ret_text[ES_TOKEN_TEXT_MAX]);

/* Reads "TOKEN@HOST:PORT"; ret_at [ES_TOKEN_AT_TEXT_MAX] gets what stands behind the '@'. ES_INVALID says
 * which half is wrong, and shows nothing of the secret; ES_UNSUPPORTED: another version's. */
es_status es_token_parse(const char *text, es_token *ret_token, char *ret_at, es_err *err);

#endif
