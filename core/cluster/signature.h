/* Who answers for a placement: Ed25519 signatures over a document's own bytes. The signing key follows from a
 * machine's CURVE key, so that there is one secret file to guard. */
#ifndef ES_CLUSTER_SIGNATURE_H
#define ES_CLUSTER_SIGNATURE_H

#include "cluster/document.h"
#include "net/keys.h"

enum {
    ES_SIGNER_TEXT_BYTES = 52, /* "ed25519:" and 43 letters of base64url, and the NUL */
    ES_TRUSTED_MAX = 64,
};

/* A signing key. Wiped by es_signer_wipe. */
typedef struct es_signer {
    uint8_t public_key[ES_SIGNER_KEY_BYTES];
    uint8_t secret[64];
} es_signer;

/* The same CURVE secret always gives the same signing key, and that tells nothing of the secret.
 * ES_UNSUPPORTED when libsodium does not start. */
es_status es_signer_derive(const es_keys *keys, es_signer *ret_signer, es_err *err);
void es_signer_wipe(es_signer *signer);

/* "ed25519:…", and back: false for what is none. */
void es_signer_format(const uint8_t public_key[ES_SIGNER_KEY_BYTES], char ret_text[ES_SIGNER_TEXT_BYTES]);
bool es_signer_parse(const char *text, uint8_t ret_public_key[ES_SIGNER_KEY_BYTES]);

/* Whose placements are followed. Caller's storage, start with all zero. */
typedef struct es_trust {
    size_t count;
    uint8_t key[ES_TRUSTED_MAX][ES_SIGNER_KEY_BYTES];
} es_trust;

/* ES_NO_MEMORY when there are ES_TRUSTED_MAX already; a key that is there is not added twice. */
es_status es_trust_add(es_trust *trust, const uint8_t key[ES_SIGNER_KEY_BYTES], es_err *err);

/* Adds the signing keys that a file names: its words that begin with "ed25519:". ES_INVALID names the line
 * whose key is none, or says that there is none at all. */
es_status es_trust_load(const char *path, es_trust *trust, es_err *err);

/* Signs what the document says, sums included. A signature that it had is replaced. ES_NO_MEMORY. */
es_status es_document_sign(es_document *document, const es_signer *signer, es_err *err);

/* ES_OK when the document is signed, by a key that is trusted, and says what was signed. ES_MISMATCH says
 * which of the three does not hold. */
es_status es_document_verify(const es_document *document, const es_trust *trust, es_err *err);

#endif
