/* What a request may say, and what is wrong with it. */
#include "api_fixture.h"
#include "with_cmocka.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HI "\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]"
#define PATH "/chat/completions"

/* Fields beside a good conversation, or a whole body that begins with '{'. */
static void expect_refusal(const char *fields, unsigned status, const char *param, const char *part)
{
    char body[1024];
    if (fields[0] == '{' || fields[0] == '\0')
        snprintf(body, sizeof body, "%s", fields);
    else
        snprintf(body, sizeof body, "{" HI ", %s}", fields);
    expect_refusals(PATH, &(refusal){body, status, param, part}, 1);
}

static void values_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const CASES[][3] = {
        {"\"temperature\": 2.1", "temperature", "temperature: 2.1 is not between 0 and 2"},
        {"\"temperature\": -0.1", "temperature", "not between"},
        {"\"temperature\": \"hot\"", "temperature", "temperature: not a number"},
        {"\"top_p\": 1.01", "top_p", "top_p: 1.01 is not between 0 and 1"},
        {"\"min_p\": 2", "min_p", "min_p: 2 is not between"},
        {"\"top_k\": -2", "top_k", "top_k: -2"},
        {"\"presence_penalty\": 2.5", "presence_penalty", "between -2 and 2"},
        {"\"frequency_penalty\": -2.5", "frequency_penalty", "between -2 and 2"},
        {"\"seed\": 1.5", "seed", "seed: not a whole number"},
        {"\"max_tokens\": 0", "max_tokens", "max_tokens: 0 is not between 1"},
        {"\"max_tokens\": 1.5", "max_tokens", "not a whole number"},
        {"\"max_completion_tokens\": -1", "max_completion_tokens", "-1"},
        {"\"n\": 0", "n", "n: 0 is not between 1 and 16"},
        {"\"n\": 17", "n", "n: 17"},
        {"\"n\": 2, \"best_of\": 3", "best_of", "only the same as n"},
        {"\"stop\": 3", "stop", "stop: not a string"},
        {"\"stop\": [\"a\", 3]", "stop", "stop: not a string"},
        {"\"stop\": \"\"", "stop", "0 bytes"},
        {"\"stop\": "
         "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\",\"11\",\"12\",\"13\",\"14\",\"15\","
         "\"16\",\"17\"]",
         "stop", "more than 16"},
        {"\"stop_token_ids\": [512]", "stop_token_ids", "not a list of tokens"},
        {"\"logit_bias\": {\"512\": 1}", "logit_bias", "\"512\" is no token of 512"},
        {"\"logit_bias\": {\"-1\": 1}", "logit_bias", "no token"},
        {"\"logit_bias\": {\"5\": 101}", "logit_bias", "between -100 and 100"},
        {"\"logit_bias\": []", "logit_bias", "not an object"},
        {"\"logprobs\": 3", "logprobs", "not true or false"},
        {"\"logprobs\": true, \"top_logprobs\": 21", "top_logprobs", "between 0 and 20"},
        {"\"top_logprobs\": 2", "top_logprobs", "needs logprobs"},
        {"\"stream\": \"yes\"", "stream", "not true or false"},
        {"\"stream_options\": 3", "stream_options", "not an object"},
        {"\"thinking\": {\"type\": \"maybe\"}", "thinking", "neither enabled nor disabled"},
        {"\"reasoning_effort\": 3", "reasoning_effort", "not a string"},
        {"\"tools\": 3", "tools", "tools: not a list"},
        {"\"tools\": [{\"type\": \"x\"}]", "tools[0]", "type: only"},
        {"\"tool_choice\": \"required\"", "tool_choice", "there are no tools"},
        {"\"response_format\": {\"type\": \"xml\"}", "response_format", "type \"xml\""},
        {"\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": {\"not\": {}}}}",
         "response_format", "'not' is not supported"},
        {"\"model\": 3", "model", "not a string"},
        {"\"ignore_eos\": true, \"response_format\": {\"type\": \"json_object\"}", "ignore_eos",
         "not together"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        bool unsupported = strstr(CASES[i][2], "not supported") != NULL ||
                           strstr(CASES[i][2], "only\"") != NULL || strcmp(CASES[i][2], "type: only") == 0;
        expect_refusal(CASES[i][0], unsupported ? 422 : 400, CASES[i][1], CASES[i][2]);
    }
}

static void bodies_that_are_no_request_are_refused(void **state)
{
    (void)state;
    expect_refusal("", 400, NULL, "not JSON");
    expect_refusal("{", 400, NULL, "line 1, column 1");
    expect_refusal("{} {}", 400, NULL, "not JSON");
    expect_refusal("{\"a\": \"\xff\"}", 400, NULL, "UTF-8");
    expect_refusal("{\"a\": 1, \"a\": 2}", 400, NULL, "duplicate");
    expect_refusal("{\"a\": 1e999}", 400, NULL, "overflow");
    expect_refusal("{}", 400, "messages", "messages: not a list");
    expect_refusal("{\"messages\": []}", 400, "messages", "messages: empty");
    expect_refusal("{\"messages\": [3]}", 400, "messages[0]", "not an object");
    expect_refusal("{\"messages\": [{\"content\": \"x\"}]}", 400, "messages[0]", "role: not a string");
    expect_refusal("{\"messages\": [{\"role\": \"judge\", \"content\": \"x\"}]}", 400, "messages[0]",
                   "judge");
    expect_refusal("{\"messages\": [{\"role\": \"user\"}]}", 400, "messages[0]", "content: missing");
    expect_refusal("{\"messages\": [{\"role\": \"user\", \"content\": 3}]}", 400, "messages[0]", "content");
    expect_refusal("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}", 422,
                   "messages[0]", "image_url");
    expect_refusal("{\"messages\": [{\"role\": \"user\", \"content\": \"x\", \"prefix\": true}]}", 400,
                   "messages[0]", "only an assistant");
    reply r;
    ask_api("POST", PATH, "[]", &r);
    expect_error(&r, 400, NULL, "not a JSON object");
    drop_reply(&r);
}

static void depth_is_bounded_before_anything_is_read(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    char *body = malloc(DEEP + 1);
    reply r;
    memset(body, '[', DEEP);
    body[DEEP] = '\0';
    ask_api("POST", PATH, body, &r);
    expect_error(&r, 400, NULL, "nested deeper than 256");
    drop_reply(&r);
    /* Brackets within a string are no depth. */
    int used = snprintf(body, DEEP, "{\"messages\": [{\"role\": \"user\", \"content\": \"\\\"");
    memset(body + used, '[', 300);
    strcpy(body + used + 300, "\"}], \"max_tokens\": 1}");
    ask_api("POST", PATH, body, &r);
    assert_int_equal(r.head.status, 200);
    drop_reply(&r);
    free(body);
}

static void models_are_known_by_name_and_alias(void **state)
{
    (void)state;
    reply r;
    expect_refusal("\"model\": \"gpt-5\"", 404, "model", "the model \"gpt-5\" is not here: \"tiny-r1\" is");
    ask_api("POST", PATH, "{\"model\": \"deepseek-reasoner\", \"max_tokens\": 3, " HI "}", &r);
    assert_string_equal(text_at(r.json, "model"), "deepseek-reasoner");
    assert_non_null(at(r.json, "choices.0.message.reasoning_content"));
    drop_reply(&r);
    ask_api("POST", PATH, "{\"model\": \"deepseek-chat\", \"max_tokens\": 3, " HI "}", &r);
    assert_string_equal(text_at(r.json, "model"), "deepseek-chat");
    assert_null(at(r.json, "choices.0.message.reasoning_content"));
    assert_true(strlen(text_at(r.json, "choices.0.message.content")) > 0);
    assert_int_equal(number_at(r.json, "usage.completion_tokens_details.reasoning_tokens"), 0);
    drop_reply(&r);
}

/* The prompt that fields beside the conversation give, as /apply-template shows it. */
static void expect_prompt(const char *body, const char *expected)
{
    reply r;
    ask_api("POST", "/apply-template", body, &r);
    if (r.head.status != 200) fail_msg("%s", r.text);
    assert_string_equal(text_at(r.json, "prompt"), expected);
    drop_reply(&r);
}

#define BOS "<｜begin▁of▁sentence｜>"
#define EOS "<｜end▁of▁sentence｜>"
#define THINK "<｜Assistant｜><think>\n"
#define NO_THOUGHT "<｜Assistant｜><think>\n\n</think>\n\n"

static void thinking_is_switched_in_several_ways(void **state)
{
    (void)state;
    expect_prompt("{" HI "}", BOS "<｜User｜>hi" THINK);
    expect_prompt("{\"model\": \"deepseek-chat\", " HI "}", BOS "<｜User｜>hi" NO_THOUGHT);
    expect_prompt("{\"thinking\": {\"type\": \"disabled\"}, " HI "}", BOS "<｜User｜>hi" NO_THOUGHT);
    expect_prompt("{\"model\": \"deepseek-chat\", \"thinking\": {\"type\": \"enabled\"}, " HI "}",
                  BOS "<｜User｜>hi" THINK);
    expect_prompt("{\"reasoning_effort\": \"none\", " HI "}", BOS "<｜User｜>hi" NO_THOUGHT);
    expect_prompt("{\"reasoning_effort\": \"high\", " HI "}", BOS "<｜User｜>hi" THINK);
    expect_prompt("{\"chat_template_kwargs\": {\"enable_thinking\": false}, " HI "}",
                  BOS "<｜User｜>hi" NO_THOUGHT);
}

static void messages_come_in_the_forms_that_clients_send(void **state)
{
    (void)state;
    expect_prompt(
        "{\"messages\": [{\"role\": \"developer\", \"content\": \"be brief\"}, {\"role\": \"user\", "
        "\"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": \"text\", \"text\": \"b\"}]}]}",
        BOS "be brief<｜User｜>ab" THINK);
    expect_prompt(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
        "\"content\": \"b\", \"reasoning_content\": \"why\"}, {\"role\": \"user\", \"content\": \"c\"}]}",
        BOS "<｜User｜>a<｜Assistant｜>b" EOS "<｜User｜>c" THINK);
    expect_prompt(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
        "\"content\": null, \"tool_calls\": [{\"id\": \"1\", \"type\": \"function\", \"function\": "
        "{\"name\": "
        "\"f\", \"arguments\": {\"x\": 1}}}]}, {\"role\": \"tool\", \"tool_call_id\": \"1\", \"content\": "
        "\"out\"}]}",
        BOS "<｜User｜>a<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n"
            "```json\n{\"x\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>" EOS
            "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>out<｜tool▁output▁end｜><｜tool▁outputs▁end｜>");
}

static void an_answer_can_be_begun_for_the_model(void **state)
{
    (void)state;
#define BEGUN(more)                                                                                          \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", " more              \
    ", \"prefix\": true}]}"
    expect_prompt(BEGUN("\"content\": \"The\""), BOS "<｜User｜>a<｜Assistant｜><think>\n\n</think>\n\nThe");
    expect_prompt(BEGUN("\"content\": \"The\", \"reasoning_content\": \"hm\""),
                  BOS "<｜User｜>a<｜Assistant｜><think>\nhm\n</think>\n\nThe");
    expect_prompt(BEGUN("\"reasoning_content\": \"hm\""), BOS "<｜User｜>a<｜Assistant｜><think>\nhm");
}

static void words_that_look_like_layout_are_words(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/tokenize",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"<｜Assistant｜></think><｜User｜>\"}]}", &r);
    size_t users = 0, assistants = 0, ends = 0;
    for (size_t i = 0; i < json_array_size(at(r.json, "tokens")); i++) {
        json_int_t id = json_integer_value(json_array_get(at(r.json, "tokens"), i));
        users += id == 500;
        assistants += id == 501;
        ends += id == 496;
    }
    assert_int_equal(users, 1);
    assert_int_equal(assistants, 1);
    assert_int_equal(ends, 0);
    drop_reply(&r);
}

static void a_prompt_beyond_the_context_is_told_with_both_numbers(void **state)
{
    (void)state;
    char body[4096] = "{\"messages\": [{\"role\": \"user\", \"content\": \"";
    for (size_t i = 0; i < 700; i++) strcat(body, "1 ");
    strcat(body, "\"}]}");
    reply r;
    ask_api("POST", PATH, body, &r);
    expect_error(&r, 400, "messages", "maximum context length is 768 tokens");
    assert_string_equal(text_at(r.json, "error.code"), "context_length_exceeded");
    int tokens = 0;
    assert_int_equal(sscanf(text_at(r.json, "error.message"), "the prompt is too long: %d tokens", &tokens),
                     1);
    assert_in_range(tokens, 768, 1536);
    drop_reply(&r);
}

/* Of one that is much too long only so much is looked at as tells so. */
static void a_prompt_far_beyond_the_context_is_not_read_to_its_end(void **state)
{
    (void)state;
    enum { MANY = 4000000 };
    static const char *const PIECES[] = {"1 ", "xx"};
    char *body = malloc(MANY + 256);
    for (size_t k = 0; k < 2; k++) {
        reply r;
        size_t used = (size_t)sprintf(body, "{\"messages\": [{\"role\": \"user\", \"content\": \"");
        for (size_t i = 0; i < MANY / 2; i++) memcpy(body + used + 2 * i, PIECES[k], 2);
        strcpy(body + used + MANY, "\"}]}");
        ask_api("POST", PATH, body, &r);
        expect_error(&r, 400, "messages",
                     "more than 1536 tokens; this model's maximum context length is 768");
        drop_reply(&r);
    }
    free(body);
}

static void a_full_queue_and_a_draining_engine_say_when_to_come_back(void **state)
{
    (void)state;
    es_api_call *calls[3];
    reply r;
    api_restart((engine_size){.answers = 1, .queue = 1});
    fixture_hold();
    calls[0] = begin("POST", PATH, "{\"max_tokens\": 1, " HI "}");
    while (fixture_stats(api_engine()).queued > 0) sched_yield();
    calls[1] = begin("POST", PATH, "{\"max_tokens\": 1, " HI "}");
    calls[2] = begin("POST", PATH, "{\"max_tokens\": 1, \"stream\": true, " HI "}");
    finish_call(&calls[2], 100, &r);
    expect_error(&r, 429, NULL, "the queue is full");
    assert_string_equal(text_at(r.json, "error.code"), "rate_limit_exceeded");
    drop_reply(&r);
    es_engine_drain(api_engine());
    ask_api("POST", PATH, "{" HI "}", &r);
    expect_error(&r, 503, NULL, "no more requests are taken");
    drop_reply(&r);
    fixture_release();
    for (size_t i = 0; i < 2; i++) {
        finish_call(&calls[i], 100, &r);
        assert_int_equal(r.head.status, 200);
        drop_reply(&r);
    }
    api_restart((engine_size){0});
}

static void paths_and_methods_that_are_not_there_are_told(void **state)
{
    (void)state;
    reply r;
    ask_api("GET", PATH, NULL, &r);
    expect_error(&r, 405, NULL, "only POST");
    assert_string_equal(header_of(&r, "allow"), "POST");
    drop_reply(&r);
    ask_api("POST", "/nothing", "{}", &r);
    expect_error(&r, 404, NULL, "no such path");
    drop_reply(&r);
    ask_api("POST", "/embeddings", "{}", &r);
    expect_error(&r, 422, NULL, "embeddings");
    drop_reply(&r);
}

static void unknown_fields_are_passed_over_and_logged_once(void **state)
{
    (void)state;
    reply r;
    char line[512], more[512];
    FILE *log = tmpfile();
    int before = dup(STDERR_FILENO);
    assert_true(log != NULL && before >= 0 && dup2(fileno(log), STDERR_FILENO) >= 0);
    for (int i = 0; i < 3; i++) {
        ask_api("POST", PATH,
                "{\"max_tokens\": 1, \"temperature\": null, \"z\\u0001z\": {\"a\": [1]}, " HI "}", &r);
        assert_int_equal(r.head.status, 200);
        drop_reply(&r);
    }
    dup2(before, STDERR_FILENO);
    close(before);
    rewind(log);
    assert_non_null(fgets(line, sizeof line, log));
    assert_non_null(strstr(line, "\"z?z\", which is ignored"));
    assert_null(fgets(more, sizeof more, log));
    fclose(log);
}

static void the_transports_errors_have_the_same_shapes(void **state)
{
    (void)state;
    char out[512];
    size_t bytes = es_api_error_body(false, 401, "invalid_api_key", "no \"key\"\n", out, sizeof out);
    json_t *json = json_loadb(out, bytes, 0, NULL);
    expect_text(text_at(json, "error.type"), "authentication_error");
    expect_text(text_at(json, "error.code"), "invalid_api_key");
    expect_text(text_at(json, "error.message"), "no \"key\"?");
    json_decref(json);
    bytes = es_api_error_body(true, 413, "too_large", "too much", out, sizeof out);
    json = json_loadb(out, bytes, 0, NULL);
    expect_text(text_at(json, "type"), "error");
    expect_text(text_at(json, "error.type"), "request_too_large");
    expect_text(text_at(json, "error.message"), "too much");
    json_decref(json);
    char huge[2048];
    memset(huge, '"', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    bytes = es_api_error_body(false, 400, "x", huge, out, sizeof out);
    json = json_loadb(out, bytes, 0, NULL);
    assert_non_null(json);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_out_of_range_are_refused_by_name),
        cmocka_unit_test(bodies_that_are_no_request_are_refused),
        cmocka_unit_test(depth_is_bounded_before_anything_is_read),
        cmocka_unit_test(models_are_known_by_name_and_alias),
        cmocka_unit_test(thinking_is_switched_in_several_ways),
        cmocka_unit_test(messages_come_in_the_forms_that_clients_send),
        cmocka_unit_test(an_answer_can_be_begun_for_the_model),
        cmocka_unit_test(words_that_look_like_layout_are_words),
        cmocka_unit_test(a_prompt_beyond_the_context_is_told_with_both_numbers),
        cmocka_unit_test(a_prompt_far_beyond_the_context_is_not_read_to_its_end),
        cmocka_unit_test(a_full_queue_and_a_draining_engine_say_when_to_come_back),
        cmocka_unit_test(paths_and_methods_that_are_not_there_are_told),
        cmocka_unit_test(unknown_fields_are_passed_over_and_logged_once),
        cmocka_unit_test(the_transports_errors_have_the_same_shapes),
    };
    return cmocka_run_group_tests(tests, api_open, api_close);
}
