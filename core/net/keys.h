/* CURVE keys: who we are, and who may talk to us. Keys are written in Z85, 40 characters for 32 bytes. */
#ifndef ES_NET_KEYS_H
#define ES_NET_KEYS_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ES_KEY_BYTES = 32, ES_KEY_TEXT_BYTES = 41, ES_ALLOWED_MAX = 4096 };

/* A key pair. Wiped by es_keys_wipe. */
typedef struct es_keys {
    char secret[ES_KEY_TEXT_BYTES];
    char public_key[ES_KEY_TEXT_BYTES];
} es_keys;

/* Makes a pair: the secret key into path (readable by its owner only), the public key into path.pub, which
 * may go anywhere. Overwrites nothing: ES_IO names the file that is in the way. */
es_status es_keys_generate(const char *path, es_keys *ret_keys, es_err *err);

/* Reads a secret key file; the public key follows from it. ES_INVALID when others may read the file, or names
 * the line that is no key, or a second one. */
es_status es_keys_load(const char *path, es_keys *ret_keys, es_err *err);
void es_keys_wipe(es_keys *keys);

/* True when text is a key in Z85. */
bool es_key_valid(const char *text);

/* The public keys of those who may connect, read from a file: one key a line; '#' begins a comment. At most
 * ES_ALLOWED_MAX. It has a lock of its own. ES_INVALID names the line that is no key, or says that there is
 * none. */
typedef struct es_allow_list es_allow_list;
es_status es_allow_list_load(const char *path, es_allow_list **ret_list, es_err *err);

/* A list without a file: of nobody until es_allow_list_set says of whom, or of everyone who has a key. */
es_status es_allow_list_create(bool everyone, es_allow_list **ret_list, es_err *err);
void es_allow_list_destroy(es_allow_list **list);
bool es_allow_list_has(es_allow_list *list, const uint8_t key[ES_KEY_BYTES]);

/* Replaces the keys of a list without a file; each is es_key_valid, count at most ES_ALLOWED_MAX. Any thread.
 */
es_status es_allow_list_set(es_allow_list *list, const char (*texts)[ES_KEY_TEXT_BYTES], size_t count,
                            es_err *err);

/* Replaces the keys that are refused whatever the list says, of a list of any kind. Any thread. */
es_status es_allow_list_revoke(es_allow_list *list, const char (*texts)[ES_KEY_TEXT_BYTES], size_t count,
                               es_err *err);

/* Reads the file again when it is another than was read last; a key that is not in it any more is revoked. A
 * file that cannot be read leaves the list as it was, and is told once. Any thread. */
void es_allow_list_refresh(es_allow_list *list);

/* How many times the list was replaced: 0, and whoever was let in is still on it. Any thread. */
uint64_t es_allow_list_changes(es_allow_list *list);

#endif
