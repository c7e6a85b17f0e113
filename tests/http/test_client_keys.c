/* The file of API keys. */
#include "http/client_keys.h"
#include "with_cmocka.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static es_status parse(const char *text, es_client_keys **ret_keys, es_err *err)
{
    size_t bytes = strlen(text);
    char *copy = strdup(text);
    assert_non_null(copy);
    es_status status = es_client_keys_parse(copy, bytes, "keys", ret_keys, err);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(copy[i], 0);
    free(copy);
    return status;
}

static void keys_are_found_with_their_names(void **state)
{
    (void)state;
    es_client_keys *keys;
    es_client client, other;
    assert_int_equal(
        parse(
            "# who may ask\n\nalice  sk-alice-1234\r\n\tsk-nobody-99\nalice sk-alice-5678\nbob sk-bob-12345",
            &keys, NULL),
        ES_OK);
    assert_int_equal(es_client_keys_count(keys), 4);
    assert_true(es_client_keys_find(keys, "sk-alice-1234", &client));
    assert_string_equal(client.name, "alice");
    assert_true(es_client_keys_find(keys, "sk-alice-5678", &other));
    assert_true(other.share == client.share);
    assert_true(es_client_keys_find(keys, "sk-bob-12345", &other));
    assert_true(other.share != client.share);
    assert_true(es_client_keys_find(keys, "sk-nobody-99", &client));
    assert_string_equal(client.name, "key4");
    static const char *const WRONG[] = {"",      "sk-alice-123",  "sk-alice-12345",
                                        "alice", "SK-ALICE-1234", " sk-alice-1234"};
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++)
        assert_false(es_client_keys_find(keys, WRONG[i], &client));
    es_client_keys_destroy(&keys);
    assert_null(keys);
}

static void bad_lines_are_named_and_keys_are_not(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"", "keys: holds no key"},
        {"# nothing\n\n", "keys: holds no key"},
        {"a secret-of-mine more\n", "keys: line 1: more than a name and a key"},
        {"\nshort\n", "keys: line 2: a key is 8 to 512 printable characters"},
        {"na/me secret-of-mine\n", "keys: line 1: a name is 1 to 63 letters, digits, '.', '_' or '-'"},
        {"a secret-of-mine\xC3\xA9\n", "keys: line 1: a key is 8 to 512 printable characters"},
        {"a secret-of-mine\nb secret-of-mine\n", "keys: line 2: the same key as a's"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        es_client_keys *keys;
        es_err err;
        assert_int_equal(parse(CASES[i][0], &keys, &err), ES_INVALID);
        assert_null(keys);
        assert_string_equal(err.text, CASES[i][1]);
        assert_null(strstr(err.text, "secret"));
    }
    char with_nul[] = "sk-12345678\0x";
    es_client_keys *keys;
    assert_int_equal(es_client_keys_parse(with_nul, sizeof with_nul - 1, "keys", &keys, NULL), ES_INVALID);
}

static void too_many_keys_are_refused(void **state)
{
    (void)state;
    size_t room = (ES_CLIENT_KEYS_MAX + 1) * 16 + 1, at = 0;
    char *text = malloc(room);
    assert_non_null(text);
    for (int i = 0; i <= ES_CLIENT_KEYS_MAX; i++)
        at += (size_t)snprintf(text + at, room - at, "sk-%011d\n", i);
    es_client_keys *keys;
    es_err err;
    assert_int_equal(es_client_keys_parse(text, at, "keys", &keys, &err), ES_INVALID);
    assert_string_equal(err.text, "keys: line 4097: more than 4096 keys");
    free(text);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    (void)state;
    char path[] = "keys-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char TEXT[] = "alice sk-alice-1234\n";
    assert_int_equal(write(fd, TEXT, sizeof TEXT - 1), sizeof TEXT - 1);
    es_client_keys *keys = NULL;
    es_err err;
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(es_client_keys_load(path, &keys, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "others may read it"));
    assert_int_equal(fchmod(fd, 0600), 0);
    assert_int_equal(es_client_keys_load(path, &keys, &err), ES_OK);
    assert_int_equal(es_client_keys_count(keys), 1);
    es_client_keys_destroy(&keys);
    close(fd);
    unlink(path);
    assert_int_equal(es_client_keys_load(path, &keys, &err), ES_NOT_FOUND);
}

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_found_with_their_names),
        cmocka_unit_test(bad_lines_are_named_and_keys_are_not),
        cmocka_unit_test(too_many_keys_are_refused),
        cmocka_unit_test(a_file_that_others_may_read_is_refused),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
