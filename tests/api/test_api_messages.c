/* POST /messages: Anthropic's shapes over the same answers. */
#include "api_fixture.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUM "\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 + 30?\"}]"
#define HEAD "\"model\": \"tiny-r1\", \"max_tokens\": 200, "
#define ANSWER "12 + 30 = 42"
#define TOOLS                                                                                                \
    "\"tools\": [{\"name\": \"add\", \"description\": \"Adds.\", \"input_schema\": {\"type\": \"object\", "  \
    "\"properties\": "                                                                                       \
    "{\"a\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 99}}, \"required\": [\"a\"]}}], "          \
    "\"tool_choice\": {\"type\": \"any\", \"disable_parallel_tool_use\": true}, "

static void a_whole_message_has_blocks(void **state)
{
    (void)state;
    reply r;
    fixture_expect_no_pages(api_engine());
    ask_api("POST", "/messages", "{" HEAD SUM "}", &r);
    assert_int_equal(r.head.status, 200);
    assert_memory_equal(text_at(r.json, "id"), "msg_", 4);
    assert_string_equal(header_of(&r, "request-id"), text_at(r.json, "id"));
    assert_string_equal(text_at(r.json, "type"), "message");
    assert_string_equal(text_at(r.json, "role"), "assistant");
    assert_string_equal(text_at(r.json, "model"), "tiny-r1");
    assert_int_equal(json_array_size(at(r.json, "content")), 2);
    assert_string_equal(text_at(r.json, "content.0.type"), "thinking");
    assert_memory_equal(text_at(r.json, "content.0.thinking"), "12 + 30\n", 8);
    assert_string_equal(text_at(r.json, "content.0.signature"), "");
    assert_string_equal(text_at(r.json, "content.1.type"), "text");
    assert_string_equal(text_at(r.json, "content.1.text"), ANSWER);
    assert_string_equal(text_at(r.json, "stop_reason"), "end_turn");
    assert_true(json_is_null(at(r.json, "stop_sequence")));
    assert_int_equal(number_at(r.json, "usage.input_tokens"), 15);
    assert_int_equal(number_at(r.json, "usage.cache_read_input_tokens"), 0);
    assert_int_equal(number_at(r.json, "usage.cache_creation_input_tokens"), 0);
    assert_int_equal(number_at(r.json, "usage.output_tokens"), 62);
    assert_int_equal(json_object_size(r.json), 8);
    drop_reply(&r);
    ask_api("POST", "/messages", "{" HEAD SUM "}", &r);
    assert_int_equal(number_at(r.json, "usage.input_tokens"), 1);
    assert_int_equal(number_at(r.json, "usage.cache_read_input_tokens"), 14);
    drop_reply(&r);
}

/* Puts blocks together from the events of a stream, checking their order on the way. */
static json_t *assemble(const reply *r)
{
    json_t *message = NULL, *blocks = json_array();
    bool open = false, over = false;
    for (size_t i = 0; i < r->events; i++) {
        const json_t *e = r->event[i];
        const char *type = text_at(e, "type");
        assert_string_equal(r->name[i], type);
        assert_false(over);
        if (strcmp(type, "message_start") == 0) {
            assert_int_equal(i, 0);
            message = json_deep_copy(at(e, "message"));
            assert_int_equal(json_array_size(at(message, "content")), 0);
            assert_true(json_is_null(at(message, "stop_reason")));
        } else if (strcmp(type, "content_block_start") == 0) {
            assert_false(open);
            open = true;
            assert_int_equal(number_at(e, "index"), json_array_size(blocks));
            json_array_append_new(blocks, json_deep_copy(at(e, "content_block")));
            json_object_set_new(json_array_get(blocks, json_array_size(blocks) - 1), "json", json_string(""));
        } else if (strcmp(type, "content_block_delta") == 0) {
            static const char *const FIELDS[][3] = {{"text_delta", "text", "text"},
                                                    {"thinking_delta", "thinking", "thinking"},
                                                    {"input_json_delta", "partial_json", "json"}};
            assert_true(open);
            assert_int_equal(number_at(e, "index"), json_array_size(blocks) - 1);
            json_t *block = json_array_get(blocks, json_array_size(blocks) - 1);
            for (size_t k = 0; k < 3; k++) {
                if (strcmp(text_at(e, "delta.type"), FIELDS[k][0]) != 0) continue;
                char *joined = NULL;
                assert_true(asprintf(&joined, "%s%s", text_at(block, FIELDS[k][2]),
                                     json_string_value(json_object_get(at(e, "delta"), FIELDS[k][1]))) >= 0);
                json_object_set_new(block, FIELDS[k][2], json_string(joined));
                free(joined);
            }
        } else if (strcmp(type, "content_block_stop") == 0) {
            assert_true(open);
            open = false;
        } else if (strcmp(type, "message_delta") == 0) {
            assert_false(open);
            json_object_update(message, (json_t *)at(e, "delta"));
            json_object_set(message, "usage", (json_t *)at(e, "usage"));
        } else {
            assert_string_equal(type, "message_stop");
            over = true;
        }
    }
    assert_true(over);
    json_object_set_new(message, "content", blocks);
    return message;
}

static void a_stream_has_events_in_their_order(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/messages", "{" HEAD "\"stream\": true, " SUM "}", &r);
    assert_false(r.done);
    json_t *message = assemble(&r);
    assert_int_equal(json_array_size(at(message, "content")), 2);
    assert_string_equal(text_at(message, "content.0.type"), "thinking");
    assert_memory_equal(text_at(message, "content.0.thinking"), "12 + 30\n", 8);
    assert_string_equal(text_at(message, "content.1.text"), ANSWER);
    assert_string_equal(text_at(message, "stop_reason"), "end_turn");
    assert_int_equal(number_at(message, "usage.output_tokens"), 62);
    json_decref(message);
    drop_reply(&r);
}

static void tools_are_used(void **state)
{
    (void)state;
    reply r, stream;
    ask_api("POST", "/messages", "{" HEAD TOOLS SUM "}", &r);
    if (r.head.status != 200) fail_msg("%s", r.text);
    assert_string_equal(text_at(r.json, "stop_reason"), "tool_use");
    const json_t *use = at(r.json, "content.1");
    assert_string_equal(text_at(use, "type"), "tool_use");
    assert_memory_equal(text_at(use, "id"), "toolu_", 6);
    assert_string_equal(text_at(use, "name"), "add");
    assert_in_range(number_at(use, "input.a"), 0, 99);
    ask_api("POST", "/messages", "{\"stream\": true, " HEAD TOOLS SUM "}", &stream);
    json_t *message = assemble(&stream);
    assert_string_equal(text_at(message, "content.1.type"), "tool_use");
    json_t *input = json_loads(text_at(message, "content.1.json"), 0, NULL);
    assert_true(json_equal(input, at(use, "input")));
    assert_string_equal(text_at(message, "stop_reason"), "tool_use");
    json_decref(input);
    json_decref(message);
    drop_reply(&stream);
    drop_reply(&r);
}

static void an_answer_stops_at_a_sequence_or_a_limit(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/messages", "{" HEAD SUM ", \"stop_sequences\": [\"zzz\", \" =\"]}", &r);
    assert_string_equal(text_at(r.json, "stop_reason"), "stop_sequence");
    assert_string_equal(text_at(r.json, "stop_sequence"), " =");
    assert_string_equal(text_at(r.json, "content.1.text"), "12 + 30");
    drop_reply(&r);
    ask_api("POST", "/messages", "{\"max_tokens\": 5, " SUM "}", &r);
    assert_string_equal(text_at(r.json, "stop_reason"), "max_tokens");
    drop_reply(&r);
}

static void thinking_may_be_switched_off(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/messages", "{\"max_tokens\": 5, \"thinking\": {\"type\": \"disabled\"}, " SUM "}", &r);
    assert_string_equal(text_at(r.json, "content.0.type"), "text");
    drop_reply(&r);
    ask_api("POST", "/messages",
            "{\"max_tokens\": 5, \"thinking\": {\"type\": \"enabled\", \"budget_tokens\": 1024}, " SUM "}",
            &r);
    assert_string_equal(text_at(r.json, "content.0.type"), "thinking");
    drop_reply(&r);
}

static void an_answer_may_be_begun(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/messages",
            "{\"max_tokens\": 9, \"stop_sequences\": [\"2\"], \"messages\": [{\"role\": \"user\", "
            "\"content\": \"Add 0 and 7.\"}, "
            "{\"role\": \"assistant\", \"content\": \"0 + 7 =\"}]}",
            &r);
    assert_int_equal(r.head.status, 200);
    assert_string_equal(text_at(r.json, "content.0.type"), "text");
    assert_int_equal(text_at(r.json, "content.0.text")[0], ' ');
    drop_reply(&r);
}

static void an_output_format_binds(void **state)
{
    (void)state;
    reply r;
#define SCHEMA "{\"type\": \"json_schema\", \"schema\": {\"enum\": [1, 2]}}"
    static const char *const BODIES[] = {"{" HEAD SUM ", \"output_format\": " SCHEMA "}",
                                         "{" HEAD SUM ", \"output_config\": {\"format\": " SCHEMA "}}"};
    for (size_t i = 0; i < 2; i++) {
        ask_api("POST", "/messages", BODIES[i], &r);
        int value = atoi(text_at(r.json, "content.1.text"));
        assert_in_range(value, 1, 2);
        drop_reply(&r);
    }
}

/* A conversation with everything in it has the tokens of the same one in OpenAI's words. */
static void a_conversation_is_the_same_in_both_families(void **state)
{
    (void)state;
    reply r, other;
    ask_api(
        "POST", "/messages/count_tokens",
        "{\"model\": \"deepseek-chat\", \"system\": [{\"type\": \"text\", \"text\": \"be brief\"}], "
        "\"messages\": ["
        "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}]}, "
        "{\"role\": \"assistant\", \"content\": [{\"type\": \"thinking\", \"thinking\": \"hm\", "
        "\"signature\": "
        "\"\"}, {\"type\": \"text\", \"text\": \"b\"}, {\"type\": \"tool_use\", \"id\": \"t1\", \"name\": "
        "\"f\", "
        "\"input\": {\"x\": 1}}]}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"c\"}, "
        "{\"type\": \"tool_result\", \"tool_use_id\": \"t1\", \"content\": [{\"type\": \"text\", \"text\": "
        "\"d\"}]}]}]}",
        &r);
    ask_api(
        "POST", "/tokenize",
        "{\"model\": \"deepseek-chat\", \"messages\": [{\"role\": \"system\", \"content\": \"be brief\"}, "
        "{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\", "
        "\"tool_calls\": "
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}}]}, "
        "{\"role\": \"tool\", \"content\": \"d\"}, {\"role\": \"user\", \"content\": \"c\"}]}",
        &other);
    if (r.head.status != 200) fail_msg("%s", r.text);
    assert_int_equal(number_at(r.json, "input_tokens"), number_at(other.json, "count"));
    assert_int_equal(json_object_size(r.json), 1);
    drop_reply(&r);
    drop_reply(&other);
}

static void what_is_wrong_is_told_in_this_familys_shape(void **state)
{
    (void)state;
#define MESSAGE(content) "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": " content "}]}"
    static const struct {
        const char *body;
        unsigned status;
        const char *type, *part;
    } CASES[] = {
        {"{" SUM "}", 400, "invalid_request_error", "max_tokens: a number is required"},
        {"{\"max_tokens\": 1}", 400, "invalid_request_error", "messages: not a list"},
        {"{\"max_tokens\": 1, \"messages\": []}", 400, "invalid_request_error", "messages: empty"},
        {"{\"max_tokens\": 1, \"messages\": [{\"role\": \"system\", \"content\": \"x\"}]}", 400,
         "invalid_request_error", "messages.0.role"},
        {MESSAGE("3"), 400, "invalid_request_error", "messages.0.content"},
        {MESSAGE("[{\"type\": \"image\"}]"), 422, "invalid_request_error", "messages.0.content.0: only text"},
        {MESSAGE("[{\"type\": \"text\"}]"), 400, "invalid_request_error",
         "messages.0.content.0: text: not a string"},
        {"{\"max_tokens\": 1, \"model\": \"claude\", " SUM "}", 404, "not_found_error",
         "\"claude\" is not here"},
        {"{\"max_tokens\": 1, \"tools\": [{\"type\": \"web_search_20250305\", \"name\": \"w\"}], " SUM "}",
         422, "invalid_request_error", "web_search"},
        {"{\"max_tokens\": 1, \"tool_choice\": {\"type\": \"some\"}, " SUM "}", 400, "invalid_request_error",
         "tool_choice"},
        {"{\"max_tokens\": 1, \"temperature\": 3, " SUM "}", 400, "invalid_request_error", "temperature"},
        {"{", 400, "invalid_request_error", "not JSON"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        reply r;
        ask_api("POST", "/messages", CASES[i].body, &r);
        if (r.head.status != CASES[i].status ||
            strstr(text_at(r.json, "error.message"), CASES[i].part) == NULL)
            fail_msg("%u %s: %s", r.head.status, r.text, CASES[i].part);
        assert_string_equal(text_at(r.json, "type"), "error");
        assert_string_equal(text_at(r.json, "error.type"), CASES[i].type);
        assert_string_equal(header_of(&r, "x-should-retry"), "false");
        drop_reply(&r);
    }
}

static void a_failure_within_a_stream_is_an_error_event(void **state)
{
    (void)state;
    expect_broken_stream("/messages", "{\"max_tokens\": 300, \"stream\": true, \"temperature\": 1, " SUM "}",
                         "error.type", "overloaded_error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_message_has_blocks),
        cmocka_unit_test(a_stream_has_events_in_their_order),
        cmocka_unit_test(tools_are_used),
        cmocka_unit_test(an_answer_stops_at_a_sequence_or_a_limit),
        cmocka_unit_test(thinking_may_be_switched_off),
        cmocka_unit_test(an_answer_may_be_begun),
        cmocka_unit_test(an_output_format_binds),
        cmocka_unit_test(a_conversation_is_the_same_in_both_families),
        cmocka_unit_test(what_is_wrong_is_told_in_this_familys_shape),
        cmocka_unit_test(a_failure_within_a_stream_is_an_error_event),
    };
    return cmocka_run_group_tests(tests, api_open, api_close);
}
