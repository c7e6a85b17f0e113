/* What is asked of an answer's form: schemas, tools, stops, choices, biases. */
#include "api_fixture.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH "/chat/completions"
#define SUM "\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 + 30?\"}]"
#define ANSWER "12 + 30 = 42"
#define TOOLS                                                                                                \
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"add\", \"description\": \"Adds.\", "    \
    "\"parameters\": "                                                                                       \
    "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": "   \
    "99}, "                                                                                                  \
    "\"unit\": {\"enum\": [\"m\", \"é\"]}}, \"required\": [\"a\", \"unit\"]}}}, "                           \
    "{\"type\": \"function\", \"function\": {\"name\": \"now\"}}]"

static void ask_ok(const char *fields, reply *r)
{
    char body[4096];
    snprintf(body, sizeof body, "{%s, " SUM "}", fields);
    ask_api("POST", PATH, body, r);
    if (r->head.status != 200) fail_msg("%s: %s", body, r->text);
}

static void a_schema_binds_the_answer_behind_the_thought(void **state)
{
    (void)state;
    reply r;
    ask_ok("\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"sum\", "
           "\"strict\": true, "
           "\"schema\": {\"type\": \"object\", \"properties\": {\"sum\": {\"type\": \"integer\", "
           "\"minimum\": 10, "
           "\"maximum\": 99}, \"odd\": {\"type\": \"boolean\"}}, \"required\": [\"sum\", \"odd\"], "
           "\"additionalProperties\": false}}}",
           &r);
    assert_string_equal(text_at(r.json, "choices.0.finish_reason"), "stop");
    assert_non_null(strstr(text_at(r.json, "choices.0.message.reasoning_content"), "backwards 2 4"));
    json_t *value = json_loads(text_at(r.json, "choices.0.message.content"), 0, NULL);
    assert_int_equal(json_object_size(value), 2);
    assert_in_range(number_at(value, "sum"), 10, 99);
    assert_true(json_is_boolean(at(value, "odd")));
    json_decref(value);
    drop_reply(&r);
}

static void without_a_thought_the_form_binds_at_once(void **state)
{
    (void)state;
    reply r;
    ask_ok("\"model\": \"deepseek-chat\", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": "
           "{\"schema\": {\"enum\": [\"yes\", \"no\"]}}}",
           &r);
    const char *content = text_at(r.json, "choices.0.message.content");
    assert_true(strcmp(content, "\"yes\"") == 0 || strcmp(content, "\"no\"") == 0);
    drop_reply(&r);
    ask_ok(
        "\"model\": \"deepseek-chat\", \"max_tokens\": 20, \"response_format\": {\"type\": \"json_object\"}",
        &r);
    assert_int_equal(text_at(r.json, "choices.0.message.content")[0], '{');
    drop_reply(&r);
}

static void expect_call(const json_t *call, const char *name)
{
    assert_int_equal(json_object_size(call), 3);
    assert_memory_equal(text_at(call, "id"), "call_", 5);
    assert_string_equal(text_at(call, "type"), "function");
    if (name != NULL) assert_string_equal(text_at(call, "function.name"), name);
    json_t *arguments = json_loads(text_at(call, "function.arguments"), 0, NULL);
    assert_true(json_is_object(arguments));
    if (strcmp(text_at(call, "function.name"), "add") == 0) {
        assert_in_range(number_at(arguments, "a"), 0, 99);
        assert_true(strcmp(text_at(arguments, "unit"), "m") == 0 ||
                    strcmp(text_at(arguments, "unit"), "é") == 0);
    }
    json_decref(arguments);
}

static void a_required_call_keeps_to_its_schema(void **state)
{
    (void)state;
    reply r;
    ask_ok(TOOLS ", \"tool_choice\": \"required\", \"parallel_tool_calls\": false", &r);
    const json_t *message = at(r.json, "choices.0.message");
    assert_string_equal(text_at(r.json, "choices.0.finish_reason"), "tool_calls");
    assert_true(json_is_null(at(message, "content")));
    assert_true(strlen(text_at(message, "reasoning_content")) > 0);
    assert_int_equal(json_array_size(at(message, "tool_calls")), 1);
    expect_call(at(message, "tool_calls.0"), NULL);
    drop_reply(&r);
}

#define NAMED TOOLS ", \"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"add\"}}"

static void a_named_tool_is_called(void **state)
{
    (void)state;
    reply r;
    ask_ok(NAMED, &r);
    assert_int_equal(json_array_size(at(r.json, "choices.0.message.tool_calls")), 1);
    expect_call(at(r.json, "choices.0.message.tool_calls.0"), "add");
    drop_reply(&r);
}

/* The first delta of a call has its head, the later ones only pieces of its arguments. */
static void a_streamed_call_comes_in_pieces(void **state)
{
    (void)state;
    reply whole, r;
    char arguments[512] = "";
    size_t heads = 0;
    ask_ok(NAMED, &whole);
    ask_ok("\"stream\": true, " NAMED, &r);
    for (size_t i = 0; i < r.events; i++) {
        const json_t *delta = at(r.event[i], "choices.0.delta"), *call = at(delta, "tool_calls.0");
        if (call == NULL) continue;
        assert_int_equal(json_object_size(delta), 1);
        assert_int_equal(number_at(call, "index"), 0);
        bool is_head = at(call, "id") != NULL;
        assert_int_equal(json_object_size(call), is_head ? 4 : 2);
        assert_int_equal(json_object_size(at(call, "function")), is_head ? 2 : 1);
        if (is_head) {
            assert_int_equal(heads++, 0);
            assert_string_equal(text_at(call, "type"), "function");
            assert_string_equal(text_at(call, "function.name"), "add");
        }
        strcat(arguments, text_at(call, "function.arguments"));
    }
    assert_int_equal(heads, 1);
    assert_string_equal(arguments, text_at(whole.json, "choices.0.message.tool_calls.0.function.arguments"));
    assert_string_equal(text_at(r.event[r.events - 1], "choices.0.finish_reason"), "tool_calls");
    assert_true(r.done);
    drop_reply(&whole);
    drop_reply(&r);
}

static void tools_may_be_left_alone(void **state)
{
    (void)state;
    reply r;
    ask_ok("\"tool_choice\": \"none\", " TOOLS, &r);
    assert_null(at(r.json, "choices.0.message.tool_calls"));
    assert_string_equal(text_at(r.json, "choices.0.message.content"), ANSWER);
    drop_reply(&r);
}

static void a_conversation_with_calls_goes_on(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", PATH,
            "{\"max_tokens\": 4, " TOOLS ", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
            "{\"role\": \"assistant\", \"content\": null, "
            "\"tool_calls\": [{\"id\": \"call_1\", \"type\": \"function\", \"function\": {\"name\": \"now\", "
            "\"arguments\": \"{}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": \"call_1\", \"content\": "
            "\"noon\"}]}",
            &r);
    assert_int_equal(r.head.status, 200);
    drop_reply(&r);
}

static void a_stop_string_ends_the_answer_across_tokens(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {{"\"stop\": \" = \"", "12 + 30"},
                                           {"\"stop\": [\"zzz\", \"0 =\"]", "12 + 3"},
                                           {"\"stop\": \"12\"", ""},
                                           {"\"stop\": [\"42!\"]", ANSWER},
                                           {"\"stop\": [\"= 42\", \"4\"]", "12 + 30 = "},
                                           {"\"stop\": []", ANSWER}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        for (int stream = 0; stream < 2; stream++) {
            reply r;
            char fields[256], content[256] = "";
            snprintf(fields, sizeof fields, "%s, \"stream\": %s", CASES[i][0], stream ? "true" : "false");
            ask_ok(fields, &r);
            for (size_t k = 0; k < r.events; k++) {
                const json_t *piece = at(r.event[k], "choices.0.delta.content");
                if (piece != NULL) strcat(content, json_string_value(piece));
            }
            assert_string_equal(stream ? content : text_at(r.json, "choices.0.message.content"), CASES[i][1]);
            assert_string_equal(text_at(stream ? r.event[r.events - 1] : r.json, "choices.0.finish_reason"),
                                "stop");
            drop_reply(&r);
        }
}

/* A stop string ends the answer, not the thought before it. */
static void a_stop_string_does_not_cut_the_thought(void **state)
{
    (void)state;
    reply r;
    ask_ok("\"stop\": [\"write\", \"\\n\"]", &r);
    assert_non_null(strstr(text_at(r.json, "choices.0.message.reasoning_content"), "write 4 carry 0\nback"));
    assert_string_equal(text_at(r.json, "choices.0.message.content"), ANSWER);
    drop_reply(&r);
}

static void several_choices_are_drawn_apart(void **state)
{
    (void)state;
    reply r, stream;
    char content[3][2048] = {"", "", ""};
    size_t finished = 0;
#define THREE "\"n\": 3, \"seed\": 7, \"temperature\": 1.8, \"max_tokens\": 40, \"model\": \"deepseek-chat\""
    ask_ok(THREE, &r);
    ask_ok("\"stream\": true, " THREE, &stream);
    assert_int_equal(json_array_size(at(r.json, "choices")), 3);
    for (size_t i = 0; i < stream.events; i++) {
        size_t index = (size_t)number_at(stream.event[i], "choices.0.index");
        assert_in_range(index, 0, 2);
        const json_t *piece = at(stream.event[i], "choices.0.delta.content");
        if (piece != NULL) strcat(content[index], json_string_value(piece));
        finished += json_is_string(at(stream.event[i], "choices.0.finish_reason"));
    }
    assert_int_equal(finished, 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *choice = json_array_get(at(r.json, "choices"), i);
        assert_int_equal(number_at(choice, "index"), i);
        assert_string_equal(text_at(choice, "message.content"), content[i]);
    }
    assert_string_not_equal(content[0], content[1]);
    assert_in_range(number_at(r.json, "usage.completion_tokens"), 3, 120);
    drop_reply(&r);
    drop_reply(&stream);
}

static void constrained_choices_each_keep_to_the_form(void **state)
{
    (void)state;
    reply r;
    ask_ok("\"n\": 4, \"temperature\": 1.5, \"model\": \"deepseek-chat\", \"response_format\": {\"type\": "
           "\"json_schema\", \"json_schema\": {\"schema\": {\"type\": \"integer\", \"minimum\": 1, "
           "\"maximum\": 9}}}",
           &r);
    for (size_t i = 0; i < 4; i++) {
        const char *content = text_at(json_array_get(at(r.json, "choices"), i), "message.content");
        assert_true(strlen(content) == 1 && content[0] >= '1' && content[0] <= '9');
    }
    drop_reply(&r);
}

/* More forms than are kept compiled, some again: each binds its own answer. */
static void many_forms_do_not_mix(void **state)
{
    (void)state;
    for (int i = 0; i < 90; i++) {
        reply r;
        char fields[256], value[16];
        int form = i < 45 ? i : i % 5 == 0 ? i - 45 : 7;
        snprintf(value, sizeof value, "%d", form);
        snprintf(fields, sizeof fields,
                 "\"model\": \"deepseek-chat\", \"response_format\": {\"type\": \"json_schema\", "
                 "\"json_schema\": {\"schema\": {\"const\": %d}}}",
                 form);
        ask_ok(fields, &r);
        assert_string_equal(text_at(r.json, "choices.0.message.content"), value);
        drop_reply(&r);
    }
}

static void a_seed_repeats_and_no_seed_does_not(void **state)
{
    (void)state;
    reply r[4];
    for (size_t i = 0; i < 4; i++) {
        char fields[256];
        snprintf(fields, sizeof fields,
                 "\"temperature\": 2, \"max_tokens\": 60, \"model\": \"deepseek-chat\"%s",
                 i < 2 ? ", \"seed\": -5" : "");
        ask_ok(fields, &r[i]);
    }
#define CONTENT "choices.0.message.content"
    assert_string_equal(text_at(r[0].json, CONTENT), text_at(r[1].json, CONTENT));
    assert_string_not_equal(text_at(r[2].json, CONTENT), text_at(r[3].json, CONTENT));
    for (size_t i = 0; i < 4; i++) drop_reply(&r[i]);
}

static void a_bias_forbids_and_forces_tokens(void **state)
{
    (void)state;
    reply r;
    ask_ok("\"logit_bias\": {\"500\": 100}, \"max_tokens\": 3, \"return_token_ids\": true", &r);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(json_integer_value(json_array_get(at(r.json, "choices.0.token_ids"), i)), 500);
    drop_reply(&r);
}

static void chunks_hold_whole_characters(void **state)
{
    (void)state;
    reply r;
    /* Every chunk was parsed as JSON, so its text is UTF-8; sampling wildly makes broken characters likely.
     */
    ask_ok("\"stream\": true, \"temperature\": 2, \"top_k\": 0, \"seed\": 11, \"max_tokens\": 300, "
           "\"ignore_eos\": true",
           &r);
    assert_true(r.done);
    assert_string_equal(text_at(r.event[r.events - 1], "choices.0.finish_reason"), "length");
    drop_reply(&r);
}

static void what_is_held_back_comes_at_the_end(void **state)
{
    (void)state;
    reply r;
    char content[256] = "";
    ask_ok("\"stream\": true, \"stop\": [\" = 43\"]", &r);
    for (size_t k = 0; k < r.events; k++) {
        const json_t *piece = at(r.event[k], "choices.0.delta.content");
        if (piece != NULL) strcat(content, json_string_value(piece));
    }
    assert_string_equal(content, ANSWER);
    drop_reply(&r);
}

static void a_begun_answer_is_gone_on_with(void **state)
{
    (void)state;
    reply r;
    ask_api(
        "POST", PATH,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 + 30?\"}, {\"role\": \"assistant\", "
        "\"reasoning_content\": \"12 + 30\\n2 + 0 + 0 = 2, write 2 carry 0\\n1 + 3 + 0 = 4, write 4 carry "
        "0\\nbackwards 2 4\", \"content\": \"12 + 30\", \"prefix\": true}]}",
        &r);
    assert_string_equal(text_at(r.json, "choices.0.message.content"), " = 42");
    assert_null(at(r.json, "choices.0.message.reasoning_content"));
    drop_reply(&r);
    ask_api("POST", PATH,
            "{\"response_format\": {\"type\": \"json_object\"}, \"messages\": [{\"role\": \"assistant\", "
            "\"content\": "
            "\"{\", \"prefix\": true}]}",
            &r);
    expect_error(&r, 400, "messages", "prefix: not together");
    drop_reply(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_schema_binds_the_answer_behind_the_thought),
        cmocka_unit_test(without_a_thought_the_form_binds_at_once),
        cmocka_unit_test(a_required_call_keeps_to_its_schema),
        cmocka_unit_test(a_named_tool_is_called),
        cmocka_unit_test(a_streamed_call_comes_in_pieces),
        cmocka_unit_test(tools_may_be_left_alone),
        cmocka_unit_test(a_conversation_with_calls_goes_on),
        cmocka_unit_test(a_stop_string_ends_the_answer_across_tokens),
        cmocka_unit_test(a_stop_string_does_not_cut_the_thought),
        cmocka_unit_test(several_choices_are_drawn_apart),
        cmocka_unit_test(constrained_choices_each_keep_to_the_form),
        cmocka_unit_test(many_forms_do_not_mix),
        cmocka_unit_test(a_seed_repeats_and_no_seed_does_not),
        cmocka_unit_test(a_bias_forbids_and_forces_tokens),
        cmocka_unit_test(chunks_hold_whole_characters),
        cmocka_unit_test(what_is_held_back_comes_at_the_end),
        cmocka_unit_test(a_begun_answer_is_gone_on_with),
    };
    return cmocka_run_group_tests(tests, api_open, api_close);
}
