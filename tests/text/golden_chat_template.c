/* Our chat layouts against what the published templates render. */
#include "text_fixture.h"

#include "text/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GOLDEN_LINES = 60 };

typedef struct tally {
    const char *style;
    size_t rendered, undefined;
} tally;

static void expect_line(const json_t *line, size_t number, void *context)
{
    tally *t = context;
    es_chat_format format;
    es_err err = {0};
    assert_int_equal(es_chat_format_open("no-such-folder", t->style, &format, &err), ES_OK);
    const json_t *expected = json_object_get(line, t->style);
    char *text;
    size_t bytes;
    es_status status = es_chat_render_request(&format, line, &text, &bytes, &err);
    if (json_is_null(expected)) {
        assert_int_equal(status, ES_OK);
        free(text);
        t->undefined++;
        return;
    }
    if (status != ES_OK) fail_msg("line %zu: %s", number, err.text);
    if (bytes != json_string_length(expected) || memcmp(text, json_string_value(expected), bytes) != 0)
        fail_msg("line %zu: %s\nexpected: %s", number, text, json_string_value(expected));
    free(text);
    t->rendered++;
}

static void renders_r1_as_published(void **state)
{
    (void)state;
    tally t = {.style = "r1"};
    assert_int_equal(fixture_each_line("chat-template.jsonl", expect_line, &t), GOLDEN_LINES);
    assert_int_equal(t.undefined, 27);
    assert_int_equal(t.rendered, 33);
}

static void renders_v3_as_published(void **state)
{
    (void)state;
    tally t = {.style = "v3"};
    assert_int_equal(fixture_each_line("chat-template.jsonl", expect_line, &t), GOLDEN_LINES);
    assert_int_equal(t.rendered, GOLDEN_LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_r1_as_published),
        cmocka_unit_test(renders_v3_as_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
