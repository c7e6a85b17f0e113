/* Calls of tools in the model's own tokens: what may be written, and what is read back from it. */
#include "with_cmocka.h"

#include "../text/text_fixture.h"
#include "constrain/tool_parser.h"
#include "constraint_of.h"
#include "text/chat_tokens.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { END = 1, WIDTH = 129280 };

#define TOOLS                                                                                                \
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"The "     \
    "weather.\", "                                                                                           \
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, "            \
    "\"required\": "                                                                                         \
    "[\"city\"]}}}, {\"type\": \"function\", \"function\": {\"name\": \"now\"}}]"
#define CALL(name, arguments)                                                                                \
    CHAT_CALL_BEGIN "function" CHAT_SEPARATOR name "\n```json\n" arguments "\n```" CHAT_CALL_END
#define PARIS CALL("weather", "{\"city\": \"Paris\"}")
#define NOW CALL("now", "{}")

static es_tokenizer *tokenizer;
static es_token_trie *trie;

static uint32_t id_of(const char *text)
{
    uint32_t id = es_tokenizer_find(tokenizer, text, strlen(text));
    assert_int_not_equal(id, ES_TOKEN_NONE);
    return id;
}

/* Whether an answer to body may be text, tokens of the layout being spelled out, and end there. */
static bool may_answer(const char *body, const char *text, uint32_t begin_after)
{
    json_t *json = json_loads(body, 0, NULL);
    assert_non_null(json);
    es_constrain_request request;
    es_constraint *c;
    es_token_list ids = {0};
    es_err err = {0};
    if (es_constrain_read(json, &request, &err) != ES_OK) fail_msg("%s", err.text);
    if (constraint_of(trie, &request, begin_after, &c, &err) != ES_OK) fail_msg("%s", err.text);
    json_decref(json);
    uint64_t *mask = calloc(es_constraint_mask_words(c), sizeof *mask);
    assert_non_null(mask);
    if (es_tokenizer_encode(tokenizer, text, strlen(text), true, &ids, &err) != ES_OK)
        fail_msg("%s", err.text);
    es_token_list_append(&ids, END);
    bool going = true;
    for (size_t i = 0; going && i < ids.count; i++) {
        if (es_constraint_fill_mask(c, mask, &err) != ES_OK) fail_msg("%s", err.text);
        going = es_constraint_accept(c, ids.ids[i], &err) == ES_OK;
        assert_int_equal(going, mask[ids.ids[i] / 64] >> ids.ids[i] % 64 & 1);
    }
    free(mask);
    es_token_list_fini(&ids);
    es_constraint_destroy(&c);
    return going;
}

#define MAY(body, text) assert_true(may_answer("{" body "}", text, ES_TOKEN_NONE))
#define MAY_NOT(body, text) assert_false(may_answer("{" body "}", text, ES_TOKEN_NONE))

static void auto_leaves_the_choice_to_the_model(void **state)
{
    (void)state;
    MAY(TOOLS, "");
    MAY(TOOLS, "It is sunny, {not json}.");
    MAY(TOOLS, CHAT_CALLS_BEGIN PARIS CHAT_CALLS_END);
    MAY(TOOLS, "I shall look.\n\n" CHAT_CALLS_BEGIN PARIS "\n" NOW CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN PARIS);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN PARIS NOW CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN PARIS CHAT_CALLS_END "and more");
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN CALL("other", "{}") CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN CALL("weather", "{}") CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN CALL("weather", "{\"city\": 3}") CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALLS_BEGIN CALL("now", "{\"a\": 3}") CHAT_CALLS_END);
    MAY_NOT(TOOLS, CHAT_CALL_BEGIN);
    MAY_NOT(TOOLS, "<｜User｜>");
}

static void the_choice_can_be_forced_or_forbidden(void **state)
{
    (void)state;
    MAY(TOOLS ", \"tool_choice\": \"none\"", "text");
    MAY_NOT(TOOLS ", \"tool_choice\": \"none\"", CHAT_CALLS_BEGIN PARIS CHAT_CALLS_END);
    MAY(TOOLS ", \"tool_choice\": \"required\"", CHAT_CALLS_BEGIN NOW "\n" NOW CHAT_CALLS_END);
    MAY(TOOLS ", \"tool_choice\": \"required\"", "\n\n" CHAT_CALLS_BEGIN NOW CHAT_CALLS_END);
    MAY_NOT(TOOLS ", \"tool_choice\": \"required\"", "text");
    MAY_NOT(TOOLS ", \"tool_choice\": \"required\"", "");
#define NAMED TOOLS ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"now\"}}"
    MAY(NAMED, CHAT_CALLS_BEGIN NOW CHAT_CALLS_END);
    MAY_NOT(NAMED, CHAT_CALLS_BEGIN PARIS CHAT_CALLS_END);
    MAY_NOT(NAMED, CHAT_CALLS_BEGIN NOW "\n" NOW CHAT_CALLS_END);
    MAY_NOT(TOOLS ", \"parallel_tool_calls\": false", CHAT_CALLS_BEGIN NOW "\n" NOW CHAT_CALLS_END);
    MAY(TOOLS ", \"response_format\": {\"type\": \"json_object\"}", "{\"a\": 1}");
    MAY(TOOLS ", \"response_format\": {\"type\": \"json_object\"}", CHAT_CALLS_BEGIN NOW CHAT_CALLS_END);
    MAY_NOT(TOOLS ", \"response_format\": {\"type\": \"json_object\"}", "text");
}

/* V3's tokenizer has no </think>: another control token stands in. */
static void reasoning_comes_first(void **state)
{
    (void)state;
    static const char BODY[] = "{\"response_format\": {\"type\": \"json_object\"}}";
    const uint32_t behind = id_of("<|EOT|>");
    assert_true(may_answer(BODY, "hm, {\"a\"<|EOT|>\n\n{\"a\": 1}", behind));
    assert_true(may_answer(BODY, "<|EOT|>{}", behind));
    assert_false(may_answer(BODY, "hm", behind));
    assert_false(may_answer(BODY, "{}", behind));
    assert_false(may_answer(BODY, "hm<|EOT|>well", behind));
    assert_false(may_answer(BODY, "hm<|EOT|>{}<|EOT|>", behind));
    assert_false(may_answer("{" TOOLS "}", "hm" CHAT_CALLS_BEGIN NOW CHAT_CALLS_END, behind));
    assert_true(may_answer("{" TOOLS "}", "hm<|EOT|>" CHAT_CALLS_BEGIN NOW CHAT_CALLS_END, behind));
}

static void requests_that_make_no_sense_are_named(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"{\"tools\": 3}", "tools: not a list"},
        {"{\"tools\": [{\"type\": \"web\"}]}", "tools[0]: type: only \"function\" is supported"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a b\"}}]}",
         "tools[0]: function.name: not 1 to 64 of a-z, A-Z, 0-9, '_', '-' and '.'"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a\", \"parameters\": 3}}]}",
         "tools[0]: function.parameters: not a JSON Schema"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a\"}}, {\"type\": \"function\", "
         "\"function\": "
         "{\"name\": \"a\"}}]}",
         "tools[1]: function.name: \"a\" is there already"},
        {"{\"tool_choice\": \"required\"}", "tool_choice: there are no tools"},
        {"{" TOOLS ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"x\"}}}",
         "tool_choice: there is no tool \"x\""},
        {"{" TOOLS ", \"tool_choice\": \"maybe\"}", "tool_choice: not \"none\", \"auto\", \"required\" or "
                                                    "{\"type\": \"function\", \"function\": {\"name\": …}}"},
        {"{\"parallel_tool_calls\": 3}", "parallel_tool_calls: not true or false"},
        {"{\"response_format\": {}}", "response_format: no \"type\""},
        {"{\"response_format\": {\"type\": \"xml\"}}",
         "response_format: type \"xml\" is not text, json_object or json_schema"},
        {"{\"response_format\": {\"type\": \"json_schema\"}}",
         "response_format: json_schema.schema is not a JSON Schema"},
        {"{\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": {\"not\": {}}}}}",
         "response_format: 'not' is not supported"},
        {"{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a\", \"strict\": true, "
         "\"parameters\": "
         "{\"type\": \"object\", \"minProperties\": 1}}}]}",
         "tools[0].function.parameters: 'minProperties' is not supported"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        json_t *body = json_loads(CASES[i][0], 0, NULL);
        assert_non_null(body);
        es_constrain_request request;
        es_constraint *c = NULL;
        es_err err = {0};
        es_status status = es_constrain_read(body, &request, &err);
        if (status == ES_OK) status = constraint_of(trie, &request, ES_TOKEN_NONE, &c, &err);
        assert_int_not_equal(status, ES_OK);
        assert_string_equal(err.text, CASES[i][1]);
        json_decref(body);
    }
}

/* Without "strict" a keyword that is not supported is passed over, in tools and in response_format. */
static void lenient_schemas_allow_more(void **state)
{
    (void)state;
#define LOOSE                                                                                                \
    "{\"type\": \"object\", \"minProperties\": 1, \"properties\": {\"a\": {\"type\": \"string\", "           \
    "\"format\": "                                                                                           \
    "\"made-up\", \"pattern\": \"(?=x)\"}, \"b\": {\"$ref\": \"elsewhere\"}}, \"required\": [\"a\"]}"
    MAY("\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"strict\": false, "
        "\"schema\": " LOOSE "}}",
        "{\"a\": \"y\", \"b\": [1]}");
    MAY_NOT("\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"strict\": false, "
            "\"schema\": " LOOSE "}}",
            "{\"a\": 3}");
    MAY("\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"t\", \"parameters\": " LOOSE "}}]",
        CHAT_CALLS_BEGIN CALL("t", "{\"a\": \"\"}") CHAT_CALLS_END);
}

/* Everything the parser says, as text. */
static void note(void *context, const es_tool_event *e)
{
    es_buffer *out = context;
    char text[512];
    switch (e->kind) {
    case ES_TOOL_TEXT:
        snprintf(text, sizeof text, "[%.*s]", (int)e->bytes, e->text);
        break;
    case ES_TOOL_BEGIN:
        assert_memory_equal(e->id, "call_", 5);
        assert_int_equal(strlen(e->id), 21);
        snprintf(text, sizeof text, "<%zu %s:", e->index, e->name);
        break;
    case ES_TOOL_ARGUMENTS:
        snprintf(text, sizeof text, "(%.*s)", (int)e->bytes, e->text);
        break;
    default:
        snprintf(text, sizeof text, "%zu>", e->index);
    }
    es_buffer_append_text(out, text);
}

static void expect_events(const char *answer, const char *events)
{
    es_token_list ids = {0};
    es_buffer out = {0};
    es_tool_parser parser;
    es_err err;
    if (es_tokenizer_encode(tokenizer, answer, strlen(answer), true, &ids, &err) != ES_OK)
        fail_msg("%s", err.text);
    es_tool_parser_init(&parser, trie, 7, note, &out);
    for (size_t i = 0; i < ids.count; i++)
        assert_int_equal(es_tool_parser_feed(&parser, ids.ids[i], &err), ES_OK);
    assert_int_equal(es_tool_parser_flush(&parser, &err), ES_OK);
    es_buffer_append(&out, "", 1);
    assert_string_equal(out.data, events);
    es_tool_parser_fini(&parser);
    es_buffer_fini(&out);
    es_token_list_fini(&ids);
}

static void calls_are_read_while_they_come(void **state)
{
    (void)state;
    expect_events("Hello you", "[Hello][ you]");
    expect_events(CHAT_CALLS_BEGIN PARIS CHAT_CALLS_END, "<0 weather:({\")(city)(\":)( \")(Paris)(\"})0>");
    expect_events("Well." CHAT_CALLS_BEGIN NOW "\n" NOW CHAT_CALLS_END,
                  "[Well][.]<0 now:({})0><1 now:({})1>");
    /* Cut in its arguments: what was held back comes, the end does not. */
    expect_events(CHAT_CALLS_BEGIN CHAT_CALL_BEGIN "function" CHAT_SEPARATOR "now\n```json\n{\"a\n",
                  "<0 now:({\")(a)(\n)");
    expect_events(CHAT_CALLS_BEGIN CHAT_CALL_BEGIN "function" CHAT_SEPARATOR "now", "");
    /* Not the layout: as far as it goes. */
    expect_events(CHAT_CALLS_BEGIN CHAT_CALL_BEGIN "function" CHAT_SEPARATOR
                                                   "now" CHAT_CALL_END CHAT_CALLS_END "x",
                  "<0 now:0>[x]");
    expect_events("a" CHAT_CALL_END "b" CHAT_SEPARATOR "c", "[a][b][c]");
}

static void tools_are_told_to_the_model(void **state)
{
    (void)state;
    json_t *body = json_loads("{" TOOLS "}", 0, NULL);
    es_constrain_request request;
    es_err err;
    char *text;
    size_t bytes, quoted;
    assert_int_equal(es_constrain_read(body, &request, &err), ES_OK);
    assert_true(es_constrain_is_needed(&request));
    assert_int_equal(es_constrain_render_tools(&request, &text, &bytes, &quoted, &err), ES_OK);
    assert_string_equal(
        text,
        "## Tools\n\nYou may call these functions:\n\n### weather\nThe weather.\nArguments (JSON Schema): "
        "{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}, \"required\": "
        "[\"city\"]}\n\n"
        "### now\nArguments (JSON Schema): {\"type\": \"object\", \"properties\": {}}\n\nA call is written "
        "in "
        "exactly this form, its arguments being one JSON object:\n\n" CHAT_CALLS_BEGIN CALL(
            "NAME", "{\"argument\": \"value\"}") CHAT_CALLS_END
        "\n\nSeveral calls stand one after the other, each on a new line, before " CHAT_CALLS_END ".");
    assert_int_equal(bytes, strlen(text));
    assert_ptr_equal(text + quoted, strstr(text, "\n\nA call is written"));
    free(text);
    json_decref(body);
}

static int make_trie(void **state)
{
    (void)state;
    static const uint32_t ENDS[] = {END};
    es_err err;
    tokenizer = fixture_deepseek();
    return es_token_trie_create(tokenizer, WIDTH, ENDS, 1, &trie, &err) == ES_OK ? 0 : -1;
}

static int drop_trie(void **state)
{
    (void)state;
    es_token_trie_destroy(&trie);
    es_tokenizer_destroy(&tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_leaves_the_choice_to_the_model),
        cmocka_unit_test(the_choice_can_be_forced_or_forbidden),
        cmocka_unit_test(reasoning_comes_first),
        cmocka_unit_test(requests_that_make_no_sense_are_named),
        cmocka_unit_test(lenient_schemas_allow_more),
        cmocka_unit_test(calls_are_read_while_they_come),
        cmocka_unit_test(tools_are_told_to_the_model),
    };
    return cmocka_run_group_tests(tests, make_trie, drop_trie);
}
