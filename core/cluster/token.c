/* Join tokens. */
#include "cluster/token.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

enum {
    VERSION = 1,
    TIME_BYTES = 8,
    CHECK_BYTES = 4,
    AT_SECRET = 1,
    AT_KEY = AT_SECRET + ES_TOKEN_SECRET_BYTES,
    AT_TIME = AT_KEY + ES_KEY_BYTES,
    AT_CHECK = AT_TIME + TIME_BYTES,
    ALL_BYTES = AT_CHECK + CHECK_BYTES,
    BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING,
};

static const char HASH_CONTEXT[] = "essaim join token 1";

es_status es_token_make(const char *server_key, unsigned ttl_s, es_token *ret_token, es_err *err)
{
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    if (!es_key_valid(server_key) || zmq_z85_decode(ret_token->server_key, server_key) == NULL)
        return es_err_set(err, ES_INVALID, "token: no public key of the server");
    randombytes_buf(ret_token->secret, sizeof ret_token->secret);
    ret_token->until_s = (uint64_t)time(NULL) + ttl_s;
    return ES_OK;
}

void es_token_hash(const uint8_t secret[ES_TOKEN_SECRET_BYTES], uint8_t ret_hash[ES_TOKEN_HASH_BYTES])
{
    crypto_generichash(ret_hash, ES_TOKEN_HASH_BYTES, secret, ES_TOKEN_SECRET_BYTES,
                       (const uint8_t *)HASH_CONTEXT, sizeof HASH_CONTEXT - 1);
}

static void check_of(const uint8_t bytes[ALL_BYTES], uint8_t ret_check[crypto_generichash_BYTES_MIN])
{
    crypto_generichash(ret_check, crypto_generichash_BYTES_MIN, bytes, AT_CHECK, NULL, 0);
}

void es_token_format(const es_token *token, char ret_text[ES_TOKEN_TEXT_MAX])
{
    uint8_t bytes[ALL_BYTES] = {VERSION}, check[crypto_generichash_BYTES_MIN];
    memcpy(bytes + AT_SECRET, token->secret, ES_TOKEN_SECRET_BYTES);
    memcpy(bytes + AT_KEY, token->server_key, ES_KEY_BYTES);
    for (size_t i = 0; i < TIME_BYTES; i++) bytes[AT_TIME + i] = (uint8_t)(token->until_s >> (8 * i));
    check_of(bytes, check);
    memcpy(bytes + AT_CHECK, check, CHECK_BYTES);
    sodium_bin2base64(ret_text, ES_TOKEN_TEXT_MAX, bytes, sizeof bytes, BASE64);
    sodium_memzero(bytes, sizeof bytes);
}

static es_status read_bytes(const char *text, size_t length, es_token *to, es_err *err)
{
    static const char LETTERS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[ALL_BYTES], check[crypto_generichash_BYTES_MIN];
    size_t count = 0;
    /* libsodium takes some bytes beyond ASCII for letters. */
    if (strspn(text, LETTERS) != length ||
        sodium_base642bin(bytes, sizeof bytes, text, length, NULL, &count, NULL, BASE64) != 0 || count < 1)
        return es_err_set(err, ES_INVALID, "the token is damaged: a letter is missing, wrong or too many");
    if (bytes[0] != VERSION)
        return es_err_set(err, ES_UNSUPPORTED, "the token is of version %u, this program reads %d", bytes[0],
                          VERSION);
    check_of(bytes, check);
    if (count != ALL_BYTES || memcmp(check, bytes + AT_CHECK, CHECK_BYTES) != 0)
        return es_err_set(err, ES_INVALID, "the token is damaged: a letter is missing, wrong or too many");
    memcpy(to->secret, bytes + AT_SECRET, ES_TOKEN_SECRET_BYTES);
    memcpy(to->server_key, bytes + AT_KEY, ES_KEY_BYTES);
    to->until_s = 0;
    for (size_t i = 0; i < TIME_BYTES; i++) to->until_s |= (uint64_t)bytes[AT_TIME + i] << (8 * i);
    sodium_memzero(bytes, sizeof bytes);
    return ES_OK;
}

es_status es_token_parse(const char *text, es_token *ret_token, char *ret_at, es_err *err)
{
    const char *at = strchr(text, '@');
    *ret_token = (es_token){.until_s = 0};
    ret_at[0] = '\0';
    if (at == NULL || at[1] == '\0')
        return es_err_set(err, ES_INVALID, "a token is TOKEN@HOST:PORT, as 'essaim token' prints it");
    if (strlen(at + 1) >= ES_TOKEN_AT_TEXT_MAX)
        return es_err_set(err, ES_INVALID, "what stands behind the token's @ is too long");
    es_status status = read_bytes(text, (size_t)(at - text), ret_token, err);
    if (status == ES_OK) strcpy(ret_at, at + 1);
    return status;
}
