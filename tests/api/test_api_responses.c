/* POST /responses: OpenAI's later shapes over the same answers. */
#include "api_fixture.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUM "\"input\": \"What is 12 + 30?\""
#define ANSWER "12 + 30 = 42"
#define TOOL                                                                                                 \
    "\"tools\": [{\"type\": \"function\", \"name\": \"add\", \"strict\": true, \"parameters\": {\"type\": "  \
    "\"object\", "                                                                                           \
    "\"properties\": {\"a\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 99}}, \"required\": "      \
    "[\"a\"], "                                                                                              \
    "\"additionalProperties\": false}}], \"tool_choice\": {\"type\": \"function\", \"name\": \"add\"}, "

static void a_whole_response_has_items(void **state)
{
    (void)state;
    reply r;
    fixture_expect_no_pages(api_engine());
    ask_api("POST", "/responses", "{\"model\": \"tiny-r1\", \"metadata\": {\"a\": \"b\"}, " SUM "}", &r);
    assert_int_equal(r.head.status, 200);
    static const char *const KEYS[] = {"id",
                                       "object",
                                       "created_at",
                                       "status",
                                       "model",
                                       "background",
                                       "error",
                                       "incomplete_details",
                                       "store",
                                       "truncation",
                                       "instructions",
                                       "max_output_tokens",
                                       "metadata",
                                       "parallel_tool_calls",
                                       "previous_response_id",
                                       "reasoning",
                                       "temperature",
                                       "text",
                                       "tool_choice",
                                       "tools",
                                       "top_p",
                                       "user",
                                       "output",
                                       "usage"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) assert_non_null(json_object_get(r.json, KEYS[i]));
    assert_int_equal(json_object_size(r.json), sizeof KEYS / sizeof *KEYS);
    assert_memory_equal(text_at(r.json, "id"), "resp_", 5);
    assert_string_equal(text_at(r.json, "object"), "response");
    assert_string_equal(text_at(r.json, "status"), "completed");
    assert_string_equal(text_at(r.json, "metadata.a"), "b");
    assert_string_equal(text_at(r.json, "text.format.type"), "text");
    assert_int_equal(json_array_size(at(r.json, "output")), 2);
    assert_string_equal(text_at(r.json, "output.0.type"), "reasoning");
    assert_memory_equal(text_at(r.json, "output.0.content.0.text"), "12 + 30\n", 8);
    assert_string_equal(text_at(r.json, "output.1.type"), "message");
    assert_string_equal(text_at(r.json, "output.1.role"), "assistant");
    assert_string_equal(text_at(r.json, "output.1.status"), "completed");
    assert_string_equal(text_at(r.json, "output.1.content.0.type"), "output_text");
    assert_string_equal(text_at(r.json, "output.1.content.0.text"), ANSWER);
    assert_int_equal(number_at(r.json, "usage.input_tokens"), 15);
    assert_int_equal(number_at(r.json, "usage.output_tokens"), 62);
    assert_int_equal(number_at(r.json, "usage.total_tokens"), 77);
    assert_int_equal(number_at(r.json, "usage.input_tokens_details.cached_tokens"), 0);
    assert_true(number_at(r.json, "usage.output_tokens_details.reasoning_tokens") > 40);
    drop_reply(&r);
}

/* Follows a stream's items from their beginning to their end; returns the last event's response. */
static const json_t *follow(const reply *r)
{
    const json_t *items[8] = {NULL};
    char text[8][2048] = {""};
    size_t begun = 0, over = 0;
    for (size_t i = 0; i < r->events; i++) {
        const json_t *e = r->event[i];
        const char *type = text_at(e, "type");
        assert_string_equal(r->name[i], type);
        assert_int_equal(number_at(e, "sequence_number"), i);
        const json_t *index = at(e, "output_index");
        size_t n = (size_t)json_integer_value(index);
        if (index == NULL) continue;
        if (strcmp(type, "response.output_item.added") == 0) {
            assert_int_equal(n, begun++);
            assert_string_equal(text_at(e, "item.status"), "in_progress");
            items[n] = at(e, "item");
            continue;
        }
        assert_int_equal(n, begun - 1);
        if (strcmp(type, "response.output_item.done") == 0) {
            assert_int_equal(n, over++);
            assert_string_equal(text_at(e, "item.id"), text_at(items[n], "id"));
            const json_t *arguments = at(e, "item.arguments");
            const char *all =
                arguments != NULL ? json_string_value(arguments) : text_at(e, "item.content.0.text");
            assert_string_equal(all, text[n]);
            continue;
        }
        assert_string_equal(text_at(e, "item_id"), text_at(items[n], "id"));
        if (at(e, "delta") != NULL) strcat(text[n], text_at(e, "delta"));
        if (at(e, "text") != NULL) assert_string_equal(text_at(e, "text"), text[n]);
        if (at(e, "arguments") != NULL) assert_string_equal(text_at(e, "arguments"), text[n]);
    }
    assert_int_equal(begun, over);
    assert_string_equal(text_at(r->event[0], "type"), "response.created");
    assert_string_equal(text_at(r->event[0], "response.status"), "in_progress");
    assert_string_equal(text_at(r->event[1], "type"), "response.in_progress");
    assert_int_equal(json_array_size(at(r->event[r->events - 1], "response.output")), over);
    return at(r->event[r->events - 1], "response");
}

static void a_stream_tells_each_item_from_begin_to_end(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/responses", "{\"stream\": true, " SUM "}", &r);
    const json_t *response = follow(&r);
    assert_string_equal(text_at(r.event[r.events - 1], "type"), "response.completed");
    assert_string_equal(text_at(response, "status"), "completed");
    assert_string_equal(text_at(response, "output.1.content.0.text"), ANSWER);
    assert_int_equal(number_at(response, "usage.output_tokens"), 62);
    drop_reply(&r);
}

/* The last item: the model may have thought before it. */
static const json_t *last_item(const json_t *response)
{
    const json_t *output = at(response, "output");
    return json_array_get(output, json_array_size(output) - 1);
}

static void functions_are_called(void **state)
{
    (void)state;
    reply r, stream;
    ask_api("POST", "/responses", "{" TOOL SUM "}", &r);
    if (r.head.status != 200) fail_msg("%s", r.text);
    const json_t *call = last_item(r.json);
    assert_string_equal(text_at(call, "type"), "function_call");
    assert_string_equal(text_at(call, "name"), "add");
    assert_memory_equal(text_at(call, "call_id"), "call_", 5);
    assert_string_equal(text_at(r.json, "tools.0.name"), "add");
    ask_api("POST", "/responses", "{\"stream\": true, " TOOL SUM "}", &stream);
    assert_string_equal(text_at(last_item(follow(&stream)), "arguments"), text_at(call, "arguments"));
    json_t *arguments = json_loads(text_at(call, "arguments"), 0, NULL);
    assert_in_range(number_at(arguments, "a"), 0, 99);
    json_decref(arguments);
    drop_reply(&r);
    drop_reply(&stream);
}

static void a_cut_response_is_incomplete(void **state)
{
    (void)state;
    reply r;
    for (int stream = 0; stream < 2; stream++) {
        char body[256];
        snprintf(body, sizeof body, "{\"stream\": %s, \"max_output_tokens\": 5, " SUM "}",
                 stream ? "true" : "false");
        ask_api("POST", "/responses", body, &r);
        const json_t *response = stream ? follow(&r) : r.json;
        if (stream) assert_string_equal(text_at(r.event[r.events - 1], "type"), "response.incomplete");
        assert_string_equal(text_at(response, "status"), "incomplete");
        assert_string_equal(text_at(response, "incomplete_details.reason"), "max_output_tokens");
        assert_string_equal(text_at(response, "output.0.status"), "incomplete");
        drop_reply(&r);
    }
}

static void a_format_binds_and_thinking_can_be_off(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/responses",
            "{\"reasoning\": {\"effort\": \"none\"}, \"text\": {\"format\": {\"type\": \"json_schema\", "
            "\"name\": \"n\", "
            "\"schema\": {\"enum\": [true, false]}}}, " SUM "}",
            &r);
    const char *text = text_at(r.json, "output.0.content.0.text");
    assert_true(strcmp(text, "true") == 0 || strcmp(text, "false") == 0);
    assert_string_equal(text_at(r.json, "text.format.name"), "n");
    drop_reply(&r);
}

/* The input's items are the same conversation as chat's messages: as many tokens are read. */
static void items_are_a_conversation(void **state)
{
    (void)state;
    reply r, other;
    ask_api("POST", "/responses",
            "{\"model\": \"deepseek-chat\", \"max_output_tokens\": 1, \"instructions\": \"be brief\", "
            "\"input\": ["
            "{\"role\": \"user\", \"content\": [{\"type\": \"input_text\", \"text\": \"a\"}]}, {\"type\": "
            "\"reasoning\", "
            "\"summary\": []}, {\"type\": \"message\", \"role\": \"assistant\", \"content\": [{\"type\": "
            "\"output_text\", \"text\": \"b\"}]}, {\"type\": \"function_call\", \"call_id\": \"c\", "
            "\"name\": \"f\", "
            "\"arguments\": \"{}\"}, {\"type\": \"function_call_output\", \"call_id\": \"c\", \"output\": "
            "\"d\"}, "
            "{\"role\": \"user\", \"content\": \"e\"}]}",
            &r);
    ask_api(
        "POST", "/tokenize",
        "{\"model\": \"deepseek-chat\", \"messages\": [{\"role\": \"system\", \"content\": \"be brief\"}, "
        "{\"role\": "
        "\"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\", \"tool_calls\": "
        "[{\"function\": "
        "{\"name\": \"f\", \"arguments\": \"{}\"}}]}, {\"role\": \"tool\", \"content\": \"d\"}, {\"role\": "
        "\"user\", \"content\": \"e\"}]}",
        &other);
    if (r.head.status != 200) fail_msg("%s", r.text);
    assert_int_equal(number_at(r.json, "usage.input_tokens"), number_at(other.json, "count"));
    drop_reply(&r);
    drop_reply(&other);
}

static void what_is_wrong_is_told(void **state)
{
    (void)state;
    static const refusal CASES[] = {
        {"{}", 400, "input", "neither text nor a list"},
        {"{\"input\": []}", 400, "input", "neither text nor a list"},
        {"{\"input\": [3]}", 422, "input", "input[0]: only messages"},
        {"{\"input\": [{\"role\": \"user\", \"content\": [{\"type\": \"input_image\"}]}]}", 422, "input",
         "only text"},
        {"{\"input\": [{\"type\": \"function_call\", \"name\": \"f\"}]}", 400, "input",
         "a name and arguments"},
        {"{\"previous_response_id\": \"resp_1\", " SUM "}", 422, "previous_response_id", "nothing is kept"},
        {"{\"background\": true, " SUM "}", 422, "background", "not supported"},
        {"{\"tools\": [{\"type\": \"web_search\"}], " SUM "}", 422, "tools", "web_search"},
        {"{\"instructions\": 3, " SUM "}", 400, "instructions", "not a string"},
        {"{\"temperature\": 9, " SUM "}", 400, "temperature", "not between"},
        {"{\"model\": \"other\", " SUM "}", 404, "model", "not here"},
    };
    expect_refusals("/responses", CASES, sizeof CASES / sizeof *CASES);
}

static void a_failure_within_a_stream_is_an_error_event(void **state)
{
    (void)state;
    expect_broken_stream("/responses", "{\"stream\": true, \"max_output_tokens\": 300, " SUM "}", "code",
                         "not_available");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_response_has_items),
        cmocka_unit_test(a_stream_tells_each_item_from_begin_to_end),
        cmocka_unit_test(functions_are_called),
        cmocka_unit_test(a_cut_response_is_incomplete),
        cmocka_unit_test(a_format_binds_and_thinking_can_be_off),
        cmocka_unit_test(items_are_a_conversation),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(a_failure_within_a_stream_is_an_error_event),
    };
    return cmocka_run_group_tests(tests, api_open, api_close);
}
