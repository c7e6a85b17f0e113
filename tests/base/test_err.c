/* Errors as values. */
#include "essaim/status.h"

#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void prefixes_stand_before_the_deepest_cause(void **state)
{
    (void)state;
    es_err err;
    assert_int_equal(es_err_set(&err, ES_TIMEOUT, "deadline of %d ms passed", 30), ES_TIMEOUT);
    es_err_prefix(&err, "node %s", "n3");
    assert_int_equal(es_err_prefix(&err, "layer %d", 12), ES_TIMEOUT);
    assert_string_equal(err.text, "layer 12: node n3: deadline of 30 ms passed");
    assert_int_equal(err.status, ES_TIMEOUT);
}

static es_status fail_at(es_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

static es_status fail_at(es_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    es_status status = es_err_set_at(err, ES_CORRUPT, "file", format, args);
    va_end(args);
    return status;
}

static void who_takes_a_format_says_where(void **state)
{
    (void)state;
    es_err err;
    assert_int_equal(fail_at(&err, "%d items of %s", 3, "what\nelse"), ES_CORRUPT);
    assert_string_equal(err.text, "file: 3 items of what?else");
    assert_int_equal(err.status, ES_CORRUPT);
    assert_int_equal(fail_at(NULL, "nobody asks"), ES_CORRUPT);
}

static void a_prefix_that_does_not_fit_is_cut_and_the_cause_is_kept(void **state)
{
    (void)state;
    es_err err;
    char lengthy[ES_ERR_TEXT_MAX];
    memset(lengthy, 'p', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    es_err_set(&err, ES_CORRUPT, "header length 99 is beyond the file");
    for (int i = 0; i < 3; i++) es_err_prefix(&err, "%s", lengthy);
    size_t length = strlen(err.text);
    assert_true(length < ES_ERR_TEXT_MAX);
    assert_string_equal(err.text + length - 37, ": header length 99 is beyond the file");
    assert_int_equal(err.text[0], 'p');
}

static void a_cause_that_fills_the_text_survives_any_prefix(void **state)
{
    (void)state;
    char lengthy[2 * ES_ERR_TEXT_MAX];
    memset(lengthy, 'c', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    for (size_t room = 0; room < 6; room++) {
        es_err err;
        lengthy[ES_ERR_TEXT_MAX - 1 - room] = '\0';
        es_err_set(&err, ES_CORRUPT, "%s", lengthy);
        es_err_prefix(&err, "where");
        size_t length = strlen(err.text);
        size_t cause = ES_ERR_TEXT_MAX - 1 - room;
        assert_true(length < ES_ERR_TEXT_MAX && length >= cause);
        assert_memory_equal(err.text + length - cause, lengthy, cause);
        lengthy[ES_ERR_TEXT_MAX - 1 - room] = 'c';
    }
}

static void control_bytes_of_hostile_names_are_replaced(void **state)
{
    (void)state;
    es_err err;
    es_err_set(&err, ES_NOT_FOUND, "tensor '%s'", "a\nb\x1b[31m\x7f é");
    es_err_prefix(&err, "file\t1\r");
    assert_string_equal(err.text, "file?1?: tensor 'a?b?[31m? é'");
}

static void whole_characters_are_all_that_is_left(void **state)
{
    (void)state;
    es_err err;
    es_err_set(&err, ES_INVALID, "role: \"%.4s\": \xff \xc2\x9b", "abc\u00e9");
    assert_string_equal(err.text, "role: \"abc?\": ? ??");
    char lengthy[ES_ERR_TEXT_MAX];
    for (size_t shift = 0; shift < 2; shift++) { /* one of them is cut inside a character */
        memset(lengthy, 'c', shift);
        for (size_t i = shift; i + 2 < sizeof lengthy; i += 2) memcpy(lengthy + i, "\u00e9", 3);
        es_err_set(&err, ES_INVALID, "%s%s", lengthy, lengthy);
        assert_true(es_utf8_is_valid(err.text, strlen(err.text)));
        es_err_set(&err, ES_INVALID, "cause");
        for (int i = 0; i < 2; i++) es_err_prefix(&err, "%s", lengthy);
        assert_true(es_utf8_is_valid(err.text, strlen(err.text)));
    }
}

static void nobody_has_to_listen(void **state)
{
    (void)state;
    assert_int_equal(es_err_set(NULL, ES_IO, "unheard"), ES_IO);
    assert_int_equal(es_err_prefix(NULL, "unheard"), ES_OK);
}

static void every_status_has_its_row(void **state)
{
    (void)state;
    for (int s = 0; s < ES_STATUS_COUNT; s++) {
        const es_status_info *info = es_status_describe((es_status)s);
        assert_non_null(info->name);
        assert_non_null(info->text);
        assert_true(info->http_code >= 200 && info->http_code < 600);
    }
    assert_ptr_equal(es_status_describe((es_status)9999), es_status_describe(ES_CORRUPT));
}

static void a_status_is_found_by_its_name(void **state)
{
    (void)state;
    for (int s = ES_INVALID; s < ES_STATUS_COUNT; s++) {
        const char *name = es_status_describe((es_status)s)->name;
        assert_int_equal(es_status_named(name, strlen(name)), s);
        assert_int_equal(es_status_named(name, strlen(name) - 1), ES_OK);
    }
    assert_int_equal(es_status_named("timeout of something", 7), ES_TIMEOUT);
    assert_int_equal(es_status_named("ok", 2), ES_OK);
    assert_int_equal(es_status_named("", 0), ES_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefixes_stand_before_the_deepest_cause),
        cmocka_unit_test(who_takes_a_format_says_where),
        cmocka_unit_test(a_prefix_that_does_not_fit_is_cut_and_the_cause_is_kept),
        cmocka_unit_test(a_cause_that_fills_the_text_survives_any_prefix),
        cmocka_unit_test(control_bytes_of_hostile_names_are_replaced),
        cmocka_unit_test(whole_characters_are_all_that_is_left),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(every_status_has_its_row),
        cmocka_unit_test(a_status_is_found_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
