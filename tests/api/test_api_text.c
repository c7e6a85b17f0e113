/* Completions, tokens, templates, models and properties. */
#include "api_fixture.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT "<｜User｜>What is 12 + 30?<｜Assistant｜><think>\\n"
#define RAW                                                                                                  \
    "12 + 30\n2 + 0 + 0 = 2, write 2 carry 0\n1 + 3 + 0 = 4, write 4 carry 0\nbackwards 2 4\n</think>\n\n"   \
    "12 + 30 = 42"

static void completions_go_on_with_text(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/completions",
            "{\"model\": \"tiny-r1\", \"max_tokens\": 100, \"prompt\": \"" PROMPT "\"}", &r);
    assert_int_equal(r.head.status, 200);
    assert_memory_equal(text_at(r.json, "id"), "cmpl-", 5);
    assert_string_equal(text_at(r.json, "object"), "text_completion");
    assert_string_equal(text_at(r.json, "choices.0.text"), RAW);
    assert_string_equal(text_at(r.json, "choices.0.finish_reason"), "stop");
    assert_true(json_is_null(at(r.json, "choices.0.logprobs")));
    assert_int_equal(number_at(r.json, "usage.prompt_tokens"), 15);
    drop_reply(&r);
    ask_api("POST", "/completions", "{\"prompt\": \"" PROMPT "\", \"echo\": true}", &r);
    assert_string_equal(text_at(r.json, "choices.0.finish_reason"), "length");
    assert_int_equal(number_at(r.json, "usage.completion_tokens"), 16);
    const char *text = text_at(r.json, "choices.0.text");
    static const char BEGIN[] = "<｜User｜>What is 12 + 30?<｜Assistant｜><think>\n12 + 30";
    assert_memory_equal(text, BEGIN, sizeof BEGIN - 1);
    drop_reply(&r);
}

static void completions_stream(void **state)
{
    (void)state;
    reply r;
    char text[512] = "";
    ask_api("POST", "/completions",
            "{\"stream\": true, \"stream_options\": {\"include_usage\": true}, \"max_tokens\": 100, "
            "\"prompt\": \"" PROMPT "\"}",
            &r);
    assert_true(r.done);
    for (size_t i = 0; i + 1 < r.events; i++) {
        assert_string_equal(text_at(r.event[i], "object"), "text_completion");
        strcat(text, text_at(r.event[i], "choices.0.text"));
        assert_int_equal(json_is_null(at(r.event[i], "choices.0.finish_reason")), i + 2 < r.events);
    }
    assert_string_equal(text, RAW);
    assert_int_equal(json_array_size(at(r.event[r.events - 1], "choices")), 0);
    assert_int_equal(number_at(r.event[r.events - 1], "usage.completion_tokens"), 62);
    drop_reply(&r);
}

static void completions_take_lists_of_texts_and_of_tokens(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/completions", "{\"prompt\": [\"1 + 1\", \"spell\"], \"n\": 2, \"max_tokens\": 3}", &r);
    assert_int_equal(json_array_size(at(r.json, "choices")), 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(number_at(json_array_get(at(r.json, "choices"), i), "index"), i);
    assert_string_equal(text_at(r.json, "choices.0.text"), text_at(r.json, "choices.1.text"));
    assert_int_equal(number_at(r.json, "usage.completion_tokens"), 12);
    drop_reply(&r);
    ask_api("POST", "/completions",
            "{\"prompt\": [0, 500, 40], \"max_tokens\": 1, \"return_token_ids\": true}", &r);
    assert_int_equal(number_at(r.json, "usage.prompt_tokens"), 3);
    assert_int_equal(number_at(r.json, "prompt_token_ids.0.1"), 500);
    drop_reply(&r);
    ask_api("POST", "/completions", "{\"prompt\": [[0, 500], [0]], \"max_tokens\": 1}", &r);
    assert_int_equal(json_array_size(at(r.json, "choices")), 2);
    drop_reply(&r);
}

static void completions_have_logprobs_of_their_own_shape(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/completions", "{\"prompt\": \"" PROMPT "\", \"max_tokens\": 100, \"logprobs\": 2}", &r);
    const json_t *l = at(r.json, "choices.0.logprobs");
    char text[512] = "";
    size_t count = json_array_size(at(l, "tokens"));
    assert_int_equal(count, 62);
    assert_int_equal(json_array_size(at(l, "token_logprobs")), count);
    assert_int_equal(json_array_size(at(l, "top_logprobs")), count);
    assert_int_equal(json_array_size(at(l, "text_offset")), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(json_integer_value(json_array_get(at(l, "text_offset"), i)), strlen(text));
        const char *token = json_string_value(json_array_get(at(l, "tokens"), i));
        const json_t *top = json_array_get(at(l, "top_logprobs"), i);
        assert_int_equal(json_object_size(top), 2);
        assert_true(json_equal(json_object_get(top, token), json_array_get(at(l, "token_logprobs"), i)));
        strcat(text, token);
    }
    assert_string_equal(text, RAW);
    drop_reply(&r);
    ask_api("POST", "/completions", "{\"prompt\": \"" PROMPT "\", \"max_tokens\": 2, \"logprobs\": 0}", &r);
    assert_int_equal(json_array_size(at(r.json, "choices.0.logprobs.tokens")), 2);
    assert_null(at(r.json, "choices.0.logprobs.top_logprobs"));
    drop_reply(&r);
}

static void what_completions_cannot_do_is_told(void **state)
{
    (void)state;
    static const refusal CASES[] = {
        {"{}", 400, "prompt", "neither text nor tokens"},
        {"{\"prompt\": []}", 400, "prompt", "neither text nor tokens"},
        {"{\"prompt\": [\"a\", 3]}", 400, "prompt", "item 1"},
        {"{\"prompt\": [0, 600]}", 400, "prompt", "item 1 is no token of 512"},
        {"{\"prompt\": [[]]}", 400, "prompt", "no tokens"},
        {"{\"prompt\": [\"a\",\"b\",\"c\"], \"n\": 6}", 400, "prompt", "more than 16"},
        {"{\"prompt\": \"a\", \"echo\": true, \"logprobs\": 1}", 422, "echo", "not together with logprobs"},
        {"{\"prompt\": \"a\", \"suffix\": 3}", 400, "suffix", "not a string"},
    };
    expect_refusals("/completions", CASES, sizeof CASES / sizeof *CASES);
}

static void a_suffix_is_laid_out_around_a_hole(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/completions",
            "{\"prompt\": \"a\", \"suffix\": \"b\", \"max_tokens\": 1, \"return_token_ids\": true}", &r);
    static const int KNOWN[] = {0, 498, -1, 497, -1, 499};
    assert_int_equal(json_array_size(at(r.json, "prompt_token_ids.0")), 6);
    for (size_t i = 0; i < 6; i++)
        if (KNOWN[i] >= 0)
            assert_int_equal(json_integer_value(json_array_get(at(r.json, "prompt_token_ids.0"), i)),
                             KNOWN[i]);
    drop_reply(&r);
}

static void text_becomes_tokens_and_text_again(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/tokenize", "{\"content\": \"12 + é<｜User｜>\"}", &r);
    assert_int_equal(number_at(r.json, "count"), json_array_size(at(r.json, "tokens")));
    assert_int_equal(number_at(r.json, "max_model_len"), 768);
    char *tokens = json_dumps(at(r.json, "tokens"), 0), body[512];
    snprintf(body, sizeof body, "{\"tokens\": %s}", tokens);
    free(tokens);
    drop_reply(&r);
    ask_api("POST", "/detokenize", body, &r);
    assert_string_equal(text_at(r.json, "content"), "12 + é<｜User｜>");
    assert_string_equal(text_at(r.json, "prompt"), "12 + é<｜User｜>");
    drop_reply(&r);
    ask_api("POST", "/tokenize", "{\"prompt\": \"1\"}", &r);
    assert_int_equal(number_at(r.json, "tokens.0"), 0);
    assert_int_equal(number_at(r.json, "count"), 2);
    drop_reply(&r);
    ask_api("POST", "/tokenize",
            "{\"content\": \"<｜User｜>\", \"parse_special\": false, \"with_pieces\": true}", &r);
    assert_true(number_at(r.json, "count") > 3);
    assert_string_equal(text_at(r.json, "tokens.0.piece"), "<");
    drop_reply(&r);
    ask_api("POST", "/tokenize", "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 + 30?\"}]}",
            &r);
    assert_int_equal(number_at(r.json, "count"), 15);
    drop_reply(&r);
    ask_api("POST", "/tokenize", "{}", &r);
    expect_error(&r, 400, "prompt", "neither prompt nor content nor messages");
    drop_reply(&r);
    ask_api("POST", "/detokenize", "{\"tokens\": [-1]}", &r);
    expect_error(&r, 400, "tokens", "item 0");
    drop_reply(&r);
}

static void models_are_listed_and_found(void **state)
{
    (void)state;
    reply r;
    ask_api("GET", "/models", NULL, &r);
    assert_string_equal(text_at(r.json, "object"), "list");
    assert_int_equal(json_array_size(at(r.json, "data")), 3);
    assert_string_equal(text_at(r.json, "data.0.id"), "tiny-r1");
    assert_string_equal(text_at(r.json, "data.0.object"), "model");
    assert_string_equal(text_at(r.json, "data.0.owned_by"), "essaim");
    assert_true(number_at(r.json, "data.0.created") > 1700000000);
    drop_reply(&r);
    ask_api("GET", "/models/deepseek-chat", NULL, &r);
    assert_string_equal(text_at(r.json, "id"), "deepseek-chat");
    assert_string_equal(text_at(r.json, "root"), "tiny-r1");
    drop_reply(&r);
    ask_api("GET", "/models/other", NULL, &r);
    expect_error(&r, 404, "model", "\"other\" is not here");
    drop_reply(&r);
    ask_api("GET", "/models/\xff", NULL, &r);
    expect_error(&r, 404, "model", "no such model");
    drop_reply(&r);
    es_api_call *call = begin_bytes("GET", "/models", NULL, 0, "2023-06-01");
    finish_call(&call, 64, &r);
    assert_string_equal(text_at(r.json, "data.0.type"), "model");
    assert_string_equal(text_at(r.json, "first_id"), "tiny-r1");
    assert_true(json_is_false(at(r.json, "has_more")));
    drop_reply(&r);
}

static void properties_and_version_are_told(void **state)
{
    (void)state;
    reply r;
    ask_api("GET", "/props", NULL, &r);
    assert_string_equal(text_at(r.json, "model"), "tiny-r1");
    assert_string_equal(text_at(r.json, "chat_layout"), "r1");
    assert_int_equal(number_at(r.json, "context"), 768);
    drop_reply(&r);
    ask_api("GET", "/version", NULL, &r);
    assert_string_equal(text_at(r.json, "version"), ESSAIM_VERSION);
    drop_reply(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completions_go_on_with_text),
        cmocka_unit_test(completions_stream),
        cmocka_unit_test(completions_take_lists_of_texts_and_of_tokens),
        cmocka_unit_test(completions_have_logprobs_of_their_own_shape),
        cmocka_unit_test(what_completions_cannot_do_is_told),
        cmocka_unit_test(a_suffix_is_laid_out_around_a_hole),
        cmocka_unit_test(text_becomes_tokens_and_text_again),
        cmocka_unit_test(models_are_listed_and_found),
        cmocka_unit_test(properties_and_version_are_told),
    };
    return cmocka_run_group_tests(tests, api_open, api_close);
}
