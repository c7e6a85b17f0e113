/* Join tokens as texts. */
#include "cluster/token.h"

#include <sodium.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "with_cmocka.h"

static void make(es_token *token, char text[ES_TOKEN_TEXT_MAX])
{
    es_keys keys;
    es_err err = {.text = ""};
    assert_int_equal(zmq_curve_keypair(keys.public_key, keys.secret), 0);
    if (es_token_make(keys.public_key, 3600, token, &err) != ES_OK) fail_msg("%s", err.text);
    es_token_format(token, text);
}

static void a_token_comes_back(void **state)
{
    (void)state;
    es_token token, got, other;
    char text[ES_TOKEN_TEXT_MAX], whole[512], at[ES_TOKEN_AT_TEXT_MAX];
    uint8_t hash[ES_TOKEN_HASH_BYTES], again[ES_TOKEN_HASH_BYTES];
    es_err err = {.text = ""};
    make(&token, text);
    snprintf(whole, sizeof whole, "%s@head.example:5710", text);
    if (es_token_parse(whole, &got, at, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(&got, &token, sizeof got);
    assert_string_equal(at, "head.example:5710");
    assert_true(got.until_s >= (uint64_t)time(NULL) + 3590);
    es_token_hash(token.secret, hash);
    es_token_hash(got.secret, again);
    assert_memory_equal(hash, again, sizeof hash);
    make(&other, text);
    assert_memory_not_equal(other.secret, token.secret, sizeof token.secret);
}

static void expect(const char *whole, es_status status, const char *complaint)
{
    es_token got;
    char at[ES_TOKEN_AT_TEXT_MAX];
    es_err err = {.text = ""};
    if (es_token_parse(whole, &got, at, &err) != status || strstr(err.text, complaint) == NULL)
        fail_msg("\"%s\": %s", whole, err.text);
}

static void every_letter_counts(void **state)
{
    (void)state;
    es_token token;
    char text[ES_TOKEN_TEXT_MAX], whole[2 * ES_TOKEN_AT_TEXT_MAX], none[40];
    make(&token, text);
    for (size_t i = 0; i < strlen(text); i++) {
        snprintf(whole, sizeof whole, "%s@h:1", text);
        whole[i] = whole[i] == 'A' ? 'B' : 'A';
        if (i == 0)
            expect(whole, ES_UNSUPPORTED, "the token is of version"); /* the version stands there */
        else if (i > 1)
            expect(whole, ES_INVALID, "the token is damaged");
    }
    snprintf(whole, sizeof whole, "%.*s@h:1", (int)strlen(text) - 1, text);
    expect(whole, ES_INVALID, "the token is damaged");
    snprintf(whole, sizeof whole, "%sA@h:1", text);
    expect(whole, ES_INVALID, "the token is damaged");
    expect(text, ES_INVALID, "a token is TOKEN@HOST:PORT");
    snprintf(whole, sizeof whole, "%s@", text);
    expect(whole, ES_INVALID, "a token is TOKEN@HOST:PORT");
    expect("@h:1", ES_INVALID, "the token is damaged");
    expect("", ES_INVALID, "a token is TOKEN@HOST:PORT");
    memset(none, 'A', sizeof none - 1); /* version 0 */
    none[sizeof none - 1] = '\0';
    snprintf(whole, sizeof whole, "%s@h:1", none);
    expect(whole, ES_UNSUPPORTED, "version 0");
    snprintf(whole, sizeof whole, "%s@%300s", text, "x");
    expect(whole, ES_INVALID, "too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_comes_back),
        cmocka_unit_test(every_letter_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
