/* Constraints while they run: borders of tokens, clones, forgetting, and schemas made to hurt. */
#include "with_cmocka.h"

#include "../text/text_fixture.h"
#include "base/clock.h"
#include "constrain/automaton.h"
#include "constraint_of.h"
#include "text/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { END = 1, WIDTH = 129280, BYTE_END = 256, SLOWEST_MS = 5000 };

static es_tokenizer *real, *bytes;
static es_token_trie *trie, *byte_trie;

static es_status make(const es_token_trie *t, const char *json, es_constraint **ret, es_err *err)
{
    json_t *schema = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(schema);
    es_constrain_request request = {.form = ES_ANSWER_JSON_SCHEMA, .schema = schema};
    es_status status = constraint_of(t, &request, ES_TOKEN_NONE, ret, err);
    json_decref(schema);
    return status;
}

static es_constraint *made(const es_token_trie *t, const char *json)
{
    es_constraint *c;
    es_err err;
    if (make(t, json, &c, &err) != ES_OK) fail_msg("%s", err.text);
    return c;
}

static bool allows(es_constraint *c, uint32_t token)
{
    es_err err;
    uint64_t *mask = calloc(es_constraint_mask_words(c), sizeof *mask);
    assert_non_null(mask);
    if (es_constraint_fill_mask(c, mask, &err) != ES_OK) fail_msg("%s", err.text);
    bool allowed = (mask[token / 64] >> token % 64 & 1) != 0;
    free(mask);
    return allowed;
}

static uint32_t token_of(const char *spelling)
{
    uint32_t id = es_tokenizer_find(real, spelling, strlen(spelling));
    assert_int_not_equal(id, ES_TOKEN_NONE);
    return id;
}

static void write_bytes(es_constraint *c, const char *text)
{
    es_err err;
    for (; *text != '\0'; text++)
        if (es_constraint_accept(c, (unsigned char)*text, &err) != ES_OK)
            fail_msg("at %s: %s", text, err.text);
}

static void tokens_cross_the_borders_of_a_value(void **state)
{
    (void)state;
    es_constraint *c =
        made(trie, "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"string\"}, \"b\": {\"type\": "
                   "\"integer\"}}, \"required\": [\"a\", \"b\"]}");
    es_err err;
    const uint32_t open = token_of("{\""), next = token_of("\",\""), colon = token_of("\":");
    assert_true(allows(c, open));
    assert_int_equal(es_constraint_accept(c, open, &err), ES_OK);
    assert_int_equal(es_constraint_accept(c, token_of("a"), &err), ES_OK);
    assert_int_equal(es_constraint_accept(c, token_of("\":\""), &err), ES_OK);
    assert_true(allows(c, next));
    assert_true(allows(c, token_of("Ġhello")));
    assert_false(allows(c, token_of("\"}")));
    assert_int_equal(es_constraint_accept(c, token_of("\"}"), &err), ES_INVALID);
    assert_int_equal(es_constraint_accept(c, next, &err), ES_OK);
    assert_int_equal(es_constraint_accept(c, token_of("b"), &err), ES_OK);
    assert_int_equal(es_constraint_accept(c, colon, &err), ES_OK);
    assert_false(allows(c, END));
    assert_int_equal(es_constraint_accept(c, token_of("12"), &err), ES_OK);
    assert_false(es_constraint_is_complete(c));
    assert_int_equal(es_constraint_accept(c, token_of("}"), &err), ES_OK);
    assert_true(es_constraint_is_complete(c));
    assert_true(allows(c, END));
    assert_int_equal(es_constraint_accept(c, END, &err), ES_OK);
    assert_false(allows(c, END));
    assert_int_equal(es_constraint_accept(c, END, &err), ES_INVALID);
    es_constraint_destroy(&c);
}

static void characters_may_be_cut_but_not_broken(void **state)
{
    (void)state;
    es_constraint *c = made(byte_trie, "{\"type\": \"string\", \"maxLength\": 2}");
    write_bytes(c, "\"\xF0\x9F");
    assert_true(allows(c, 0x98));
    assert_false(allows(c, 'a'));
    assert_false(allows(c, '"'));
    write_bytes(c, "\x98\x80");
    assert_true(allows(c, 0xE2));
    assert_false(allows(c, 0xFF));
    assert_false(allows(c, 0xC0));
    write_bytes(c, "\xED");
    assert_false(allows(c, 0xA0)); /* a surrogate */
    write_bytes(c, "\x9F\xBF");
    assert_true(allows(c, '"'));
    assert_false(allows(c, 'a'));
    es_constraint_destroy(&c);
}

static void control_tokens_are_never_text(void **state)
{
    (void)state;
    es_constraint *c = made(trie, "{\"type\": \"string\"}");
    es_err err;
    assert_int_equal(es_constraint_accept(c, token_of("\""), &err), ES_OK);
    assert_false(allows(c, token_of("<｜User｜>")));
    assert_false(allows(c, token_of("<｜tool▁calls▁begin｜>")));
    assert_false(allows(c, 0));
    assert_false(allows(c, END));
    assert_false(allows(c, WIDTH - 1));
    assert_int_equal(es_constraint_accept(c, token_of("<｜User｜>"), &err), ES_INVALID);
    assert_int_equal(es_constraint_accept(c, WIDTH + 5, &err), ES_INVALID);
    assert_int_equal(es_constraint_accept(c, UINT32_MAX, &err), ES_INVALID);
    es_constraint_destroy(&c);
}

static void clones_go_their_own_ways(void **state)
{
    (void)state;
    es_constraint *a = made(byte_trie, "{\"enum\": [\"ab\", \"ac\"]}"), *b;
    es_err err;
    write_bytes(a, "\"a");
    assert_int_equal(es_constraint_clone(a, &b, &err), ES_OK);
    write_bytes(a, "b\"");
    es_constraint_destroy(&a);
    write_bytes(b, "c\"");
    assert_true(es_constraint_is_complete(b));
    es_constraint_destroy(&b);
}

/* More states than are kept: each character has its own, since they are counted. */
static void a_plan_opens_at_the_beginning_again_and_again(void **state)
{
    (void)state;
    es_err err;
    es_constraint_plan *plan, *held;
    es_constraint *first, *second, *third;
    json_t *schema = json_loads("{\"enum\": [\"ab\"]}", 0, NULL);
    const es_constrain_request request = {.form = ES_ANSWER_JSON_SCHEMA, .schema = schema};
    assert_int_equal(es_constrain_compile(byte_trie, &request, ES_TOKEN_NONE, &plan, &err), ES_OK);
    json_decref(schema);
    assert_int_equal(es_constraint_open(plan, &first, &err), ES_OK);
    assert_int_equal(es_constraint_plan_mask_words(plan), es_constraint_mask_words(first));
    write_bytes(first, "\"a");
    assert_int_equal(es_constraint_open(plan, &second, &err), ES_OK);
    assert_true(allows(second, '"') && !allows(second, 'b'));
    held = es_constraint_plan_hold(plan);
    es_constraint_plan_release(&plan);
    assert_null(plan);
    assert_int_equal(es_constraint_open(held, &third, &err), ES_OK);
    es_constraint_plan_release(&held);
    write_bytes(third, "\"ab\"");
    assert_true(es_constraint_is_complete(third));
    es_constraint_destroy(&third);
    assert_true(allows(first, 'b'));
    es_constraint_destroy(&first);
    es_constraint_destroy(&second);
}

static void what_is_forgotten_does_not_show(void **state)
{
    (void)state;
    es_constraint *c =
        made(byte_trie, "{\"type\": \"array\", \"maxItems\": 40, \"items\": {\"type\": \"string\", "
                        "\"maxLength\": 1000}}");
    es_constraint *waits;
    es_err err;
    size_t written = 0;
    write_bytes(c, "[\"ab");
    assert_int_equal(es_constraint_clone(c, &waits, &err), ES_OK);
    write_bytes(c, "\"");
    for (size_t item = 1; item < 40; item++) {
        write_bytes(c, ",\"");
        for (size_t i = 0; i < 1000; i++, written++) write_bytes(c, "x");
        assert_false(allows(c, 'x'));
        assert_true(allows(c, '"'));
        write_bytes(c, "\"");
    }
    assert_true(written > 2 * ES_AUTOMATON_STATES_KEPT);
    assert_false(allows(c, ','));
    write_bytes(c, "]");
    assert_true(allows(c, BYTE_END));
    for (size_t i = 0; i < 998; i++) write_bytes(waits, "y");
    assert_false(allows(waits, 'y'));
    write_bytes(waits, "\"]");
    assert_true(es_constraint_is_complete(waits));
    es_constraint_destroy(&waits);
    es_constraint_destroy(&c);
}

/* Each value may hold a further one, two containers below: what could not be closed again is not begun. */
static void nesting_ends_where_it_can_still_be_closed(void **state)
{
    (void)state;
    es_constraint *c =
        made(byte_trie,
             "{\"$ref\": \"#/$defs/n\", \"$defs\": {\"n\": {\"type\": \"object\", \"properties\": {\"n\": "
             "{\"anyOf\": [{\"type\": \"array\", \"minItems\": 1, \"items\": {\"$ref\": \"#/$defs/n\"}}, "
             "{\"type\": \"null\"}]}}, \"required\": [\"n\"]}}}");
    const size_t deepest = ES_GRAMMAR_NESTING_MAX / 2;
    for (size_t depth = 1; depth <= deepest; depth++) {
        write_bytes(c, "{\"n\":");
        assert_int_equal(allows(c, '['), depth < deepest);
        if (depth < deepest) write_bytes(c, "[");
    }
    write_bytes(c, "null");
    for (size_t depth = 1; depth < deepest; depth++) write_bytes(c, "}]");
    write_bytes(c, "}");
    assert_true(es_constraint_is_complete(c));
    es_constraint_destroy(&c);
}

/* before, then piece count times with commas between, '~' being the piece's number and '@' the next, behind.
 */
static char *repeated(const char *before, const char *piece, size_t count, const char *behind)
{
    es_buffer out = {0};
    size_t length;
    es_buffer_append_text(&out, before);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) es_buffer_append_text(&out, ",");
        for (const char *c = piece; *c != '\0'; c++) {
            char number[32];
            snprintf(number, sizeof number, "%zu", *c == '@' ? i + 1 : i);
            if (*c == '@' || *c == '~')
                es_buffer_append_text(&out, number);
            else
                es_buffer_append(&out, c, 1);
        }
    }
    es_buffer_append_text(&out, behind);
    char *json = es_buffer_take(&out, &length);
    assert_non_null(json);
    return json;
}

static void expect_refused(const char *before, const char *piece, size_t count, const char *behind,
                           const char *error)
{
    char *json = repeated(before, piece, count, behind);
    es_constraint *c;
    es_err err = {0};
    uint64_t begin = es_clock_now_ns();
    es_status status = make(byte_trie, json, &c, &err);
    free(json);
    assert_true(es_clock_now_ns() - begin < SLOWEST_MS * (uint64_t)1000000);
    assert_int_not_equal(status, ES_OK);
    assert_int_equal(status, err.status);
    if (strstr(err.text, error) == NULL) fail_msg("says \"%s\", not \"%s\"", err.text, error);
}

static void schemas_made_to_hurt_are_refused_in_time(void **state)
{
    (void)state;
    expect_refused("{\"enum\": [", "~", 5000, "]}", "'enum' has 5000 entries");
    expect_refused("{\"type\": \"object\", \"properties\": {", "\"p~\": {}", 5000, "}}", "5000 properties");
    expect_refused("{\"anyOf\": [", "{\"anyOf\": [{\"enum\": [~, 1, 2, 3, 4, 5, 6, 7, 8, 9]}]}", 4000, "]}",
                   "more than 32768");
    /* A chain of references, all in front of what they need. */
    expect_refused("{\"$ref\": \"#/$defs/d0\", \"$defs\": {", "\"d~\": {\"$ref\": \"#/$defs/d@\"}", 1000,
                   "}}", "nothing is there");
    expect_refused("{\"$ref\": \"#/$defs/d0\", \"$defs\": {", "\"d~\": {\"$ref\": \"#/$defs/d@\"}", 2000,
                   "}}", "more than 1024 references");
    /* Each level of allOf names the next one twice. */
    expect_refused("{\"$ref\": \"#/$defs/d0\", \"$defs\": {",
                   "\"d~\": {\"allOf\": [{\"$ref\": \"#/$defs/d@\"}, {\"$ref\": \"#/$defs/d@\"}]}", 60, "}}",
                   "'allOf'");
    expect_refused("{\"type\": \"string\", \"pattern\": \"", "(?:[a-zé日]{3}|[^x]{2}|.){9}", 1000, "\"}",
                   "more than the 16384");
}

/* Counts inside counts: the text so far can be read in a million ways. It ends with an error, not with a
 * wait. */
static void ambiguous_patterns_stop_at_a_limit(void **state)
{
    (void)state;
    static const char *const SCHEMAS[] = {
        "{\"type\": \"string\", \"pattern\": \"^(?:(?:a{0,1000}){0,1000}){0,1000}b$\"}",
        "{\"type\": \"string\", \"pattern\": \"a.{5000}b\"}",
        "{\"type\": \"string\", \"pattern\": \"(?:a*)*(?:a|a)*(?:a?){60000}\"}",
    };
    for (size_t i = 0; i < sizeof SCHEMAS / sizeof *SCHEMAS; i++) {
        es_constraint *c = made(byte_trie, SCHEMAS[i]);
        uint64_t mask[8], begin = es_clock_now_ns();
        es_err err;
        es_status status = es_constraint_accept(c, '"', &err);
        for (size_t n = 0; n < 3000 && status == ES_OK; n++) {
            status = es_constraint_fill_mask(c, mask, &err);
            if (status == ES_OK) status = es_constraint_accept(c, 'a', &err);
            if (es_clock_now_ns() - begin > SLOWEST_MS * (uint64_t)1000000 / 2) break;
        }
        if (i == 0) assert_int_equal(status, ES_UNSUPPORTED);
        if (status != ES_OK) assert_int_equal(status, ES_UNSUPPORTED);
        assert_true(es_clock_now_ns() - begin < SLOWEST_MS * (uint64_t)1000000);
        es_constraint_destroy(&c);
    }
}

/* References in front of what they name, each to the next one. */
static void long_chains_of_references_are_fine(void **state)
{
    (void)state;
    char *json = repeated("{\"$ref\": \"#/$defs/d0\", \"$defs\": {\"d1000\": {\"const\": 7}, ",
                          "\"d~\": {\"anyOf\": [{\"$ref\": \"#/$defs/d@\"}, {\"const\": ~}]}", 1000, "}}");
    uint64_t begin = es_clock_now_ns();
    es_constraint *c = made(byte_trie, json);
    assert_true(es_clock_now_ns() - begin < SLOWEST_MS * (uint64_t)1000000);
    free(json);
    write_bytes(c, "999");
    assert_true(allows(c, BYTE_END));
    assert_false(allows(c, '9'));
    es_constraint_destroy(&c);
}

static void large_enums_are_fine(void **state)
{
    (void)state;
    char *json = repeated("{\"enum\": [", "\"value-~\"", 4000, "]}");
    es_constraint *c = made(byte_trie, json);
    free(json);
    write_bytes(c, "\"value-3999");
    assert_true(allows(c, '"'));
    assert_false(allows(c, '0'));
    es_constraint_destroy(&c);
}

static int make_tries(void **state)
{
    (void)state;
    static const uint32_t ENDS[] = {END}, BYTE_ENDS[] = {BYTE_END};
    es_err err;
    real = fixture_deepseek();
    bytes = fixture_tokenizer("", "[]", "[{\"id\": 256, \"content\": \"<e>\", \"special\": true}]",
                              FIXTURE_NO_SPLIT);
    return es_token_trie_create(real, WIDTH, ENDS, 1, &trie, &err) == ES_OK &&
                   es_token_trie_create(bytes, BYTE_END + 1, BYTE_ENDS, 1, &byte_trie, &err) == ES_OK
               ? 0
               : -1;
}

static int drop_tries(void **state)
{
    (void)state;
    es_token_trie_destroy(&trie);
    es_token_trie_destroy(&byte_trie);
    es_tokenizer_destroy(&real);
    es_tokenizer_destroy(&bytes);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_cross_the_borders_of_a_value),
        cmocka_unit_test(characters_may_be_cut_but_not_broken),
        cmocka_unit_test(control_tokens_are_never_text),
        cmocka_unit_test(clones_go_their_own_ways),
        cmocka_unit_test(a_plan_opens_at_the_beginning_again_and_again),
        cmocka_unit_test(what_is_forgotten_does_not_show),
        cmocka_unit_test(nesting_ends_where_it_can_still_be_closed),
        cmocka_unit_test(schemas_made_to_hurt_are_refused_in_time),
        cmocka_unit_test(ambiguous_patterns_stop_at_a_limit),
        cmocka_unit_test(long_chains_of_references_are_fine),
        cmocka_unit_test(large_enums_are_fine),
    };
    return cmocka_run_group_tests(tests, make_tries, drop_tries);
}
