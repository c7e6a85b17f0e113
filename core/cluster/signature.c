/* Signatures of placement documents. */
#include "cluster/signature.h"

#include "base/file.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

enum { TRUST_FILE_MAX = 256 * 1024, BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING };

static const char PREFIX[] = "ed25519:";
/* What is signed begins with this, so that no other thing signed with the key can ever be taken for one. */
static const char CONTEXT[] = "essaim placement 1\n";
static const char SEED_CONTEXT[] = "essaim signing key 1";

es_status es_signer_derive(const es_keys *keys, es_signer *ret_signer, es_err *err)
{
    uint8_t seed[crypto_sign_SEEDBYTES], secret[ES_KEY_BYTES];
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    if (zmq_z85_decode(secret, keys->secret) == NULL)
        return es_err_set(err, ES_INVALID, "no secret key to sign with");
    crypto_generichash(seed, sizeof seed, (const uint8_t *)SEED_CONTEXT, sizeof SEED_CONTEXT - 1, secret,
                       sizeof secret);
    crypto_sign_seed_keypair(ret_signer->public_key, ret_signer->secret, seed);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(secret, sizeof secret);
    return ES_OK;
}

void es_signer_wipe(es_signer *signer)
{
    sodium_memzero(signer, sizeof *signer);
}

void es_signer_format(const uint8_t public_key[ES_SIGNER_KEY_BYTES], char ret_text[ES_SIGNER_TEXT_BYTES])
{
    memcpy(ret_text, PREFIX, sizeof PREFIX);
    sodium_bin2base64(ret_text + sizeof PREFIX - 1, ES_SIGNER_TEXT_BYTES - (sizeof PREFIX - 1), public_key,
                      ES_SIGNER_KEY_BYTES, BASE64);
}

bool es_signer_parse(const char *text, uint8_t ret_public_key[ES_SIGNER_KEY_BYTES])
{
    size_t bytes = 0;
    if (strlen(text) != ES_SIGNER_TEXT_BYTES - 1 || strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
        return false;
    const char *rest = text + sizeof PREFIX - 1;
    return sodium_base642bin(ret_public_key, ES_SIGNER_KEY_BYTES, rest, strlen(rest), NULL, &bytes, NULL,
                             BASE64) == 0 &&
           bytes == ES_SIGNER_KEY_BYTES;
}

static bool is_trusted(const es_trust *trust, const uint8_t key[ES_SIGNER_KEY_BYTES])
{
    for (size_t i = 0; i < trust->count; i++)
        if (memcmp(trust->key[i], key, ES_SIGNER_KEY_BYTES) == 0) return true;
    return false;
}

es_status es_trust_add(es_trust *trust, const uint8_t key[ES_SIGNER_KEY_BYTES], es_err *err)
{
    if (is_trusted(trust, key)) return ES_OK;
    if (trust->count == ES_TRUSTED_MAX)
        return es_err_set(err, ES_NO_MEMORY, "more than %d trusted signing keys", ES_TRUSTED_MAX);
    memcpy(trust->key[trust->count++], key, ES_SIGNER_KEY_BYTES);
    return ES_OK;
}

static es_status add_words(const char *path, size_t number, char *line, es_trust *trust, size_t *found,
                           es_err *err)
{
    uint8_t key[ES_SIGNER_KEY_BYTES];
    char *rest;
    es_status status = ES_OK;
    for (char *word = strtok_r(line, " \t\r", &rest); word != NULL && status == ES_OK;
         word = strtok_r(NULL, " \t\r", &rest)) {
        if (strncmp(word, PREFIX, sizeof PREFIX - 1) != 0) continue;
        if (!es_signer_parse(word, key))
            return es_err_set(err, ES_INVALID, "%s: line %zu: no signing key", path, number);
        status = es_trust_add(trust, key, err);
        if (status != ES_OK) es_err_prefix(err, "%s: line %zu", path, number);
        ++*found;
    }
    return status;
}

es_status es_trust_load(const char *path, es_trust *trust, es_err *err)
{
    char *text;
    size_t bytes, found = 0;
    es_status status = es_file_read(path, TRUST_FILE_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    char *line = text;
    for (size_t number = 1; line != NULL && status == ES_OK; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end++ = '\0';
        status = add_words(path, number, line, trust, &found, err);
        line = end;
    }
    free(text);
    if (status == ES_OK && found == 0)
        status = es_err_set(err, ES_INVALID, "%s: names no signing key (%s...)", path, PREFIX);
    return status;
}

/* What is signed: the context, then the document as it is written without a signature. Yours to free. */
static uint8_t *signed_bytes(const es_document *document, size_t *ret_bytes)
{
    es_document bare = *document;
    bare.is_signed = false;
    size_t bytes = 0, context = sizeof CONTEXT - 1;
    char *text = es_document_write(&bare, &bytes);
    uint8_t *all = text == NULL ? NULL : malloc(context + bytes);
    if (all != NULL) {
        memcpy(all, CONTEXT, context);
        memcpy(all + context, text, bytes);
    }
    free(text);
    *ret_bytes = context + bytes;
    return all;
}

es_status es_document_sign(es_document *document, const es_signer *signer, es_err *err)
{
    size_t bytes;
    uint8_t *all = signed_bytes(document, &bytes);
    if (all == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    crypto_sign_detached(document->signature, NULL, all, bytes, signer->secret);
    memcpy(document->signer, signer->public_key, sizeof document->signer);
    document->is_signed = true;
    free(all);
    return ES_OK;
}

es_status es_document_verify(const es_document *document, const es_trust *trust, es_err *err)
{
    char epoch[ES_EPOCH_TEXT_MAX], who[ES_SIGNER_TEXT_BYTES];
    size_t bytes;
    es_epoch_format(document->epoch, epoch);
    if (!document->is_signed)
        return es_err_set(err, ES_MISMATCH, "placement %s is not signed: apply it with --keys FILE", epoch);
    es_signer_format(document->signer, who);
    if (!is_trusted(trust, document->signer))
        return es_err_set(err, ES_MISMATCH, "placement %s is signed by %s, which is not trusted here", epoch,
                          who);
    uint8_t *all = signed_bytes(document, &bytes);
    if (all == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    bool good = crypto_sign_verify_detached(document->signature, all, bytes, document->signer) == 0;
    free(all);
    if (good) return ES_OK;
    return es_err_set(err, ES_MISMATCH, "placement %s was changed after %s signed it", epoch, who);
}
