/* POST /chat/completions: the shape of answers, whole and streamed. */
#include "api_fixture.h"
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ASK "\"messages\": [{\"role\": \"user\", \"content\": \"What is 12 + 30?\"}]"
#define REASONING "12 + 30\n2 + 0 + 0 = 2, write 2 carry 0\n1 + 3 + 0 = 4, write 4 carry 0\nbackwards 2 4"
#define ANSWER "12 + 30 = 42"
enum { PROMPT = 15, NEW = 62 };

static void expect_keys(const json_t *object, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (json_object_get(object, keys[i]) == NULL) fail_msg("no %s", keys[i]);
    if (json_object_size(object) != count) fail_msg("%s", json_dumps(object, 0));
}
#define EXPECT_KEYS(object, ...)                                                                             \
    expect_keys(object, (const char *const[]){__VA_ARGS__},                                                  \
                sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void expect_usage(const json_t *usage, json_int_t prompt, json_int_t cached, json_int_t new_tokens,
                         json_int_t reasoning)
{
    EXPECT_KEYS(usage, "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details",
                "completion_tokens_details", "prompt_cache_hit_tokens", "prompt_cache_miss_tokens");
    assert_int_equal(number_at(usage, "prompt_tokens"), prompt);
    assert_int_equal(number_at(usage, "completion_tokens"), new_tokens);
    assert_int_equal(number_at(usage, "total_tokens"), prompt + new_tokens);
    assert_int_equal(number_at(usage, "prompt_tokens_details.cached_tokens"), cached);
    assert_int_equal(number_at(usage, "completion_tokens_details.reasoning_tokens"), reasoning);
    assert_int_equal(number_at(usage, "prompt_cache_hit_tokens"), cached);
    assert_int_equal(number_at(usage, "prompt_cache_miss_tokens"), prompt - cached);
}

static void a_whole_answer_has_every_field(void **state)
{
    (void)state;
    reply r;
    fixture_expect_no_pages(api_engine());
    ask_api("POST", "/chat/completions", "{\"model\": \"tiny-r1\", " ASK "}", &r);
    assert_int_equal(r.head.status, 200);
    assert_false(r.head.streams);
    EXPECT_KEYS(r.json, "id", "object", "created", "model", "system_fingerprint", "choices", "usage");
    assert_memory_equal(text_at(r.json, "id"), "chatcmpl-", 9);
    assert_string_equal(text_at(r.json, "object"), "chat.completion");
    assert_string_equal(text_at(r.json, "model"), "tiny-r1");
    assert_memory_equal(text_at(r.json, "system_fingerprint"), "fp_", 3);
    assert_true(number_at(r.json, "created") > 1700000000);
    assert_int_equal(json_array_size(at(r.json, "choices")), 1);
    const json_t *choice = at(r.json, "choices.0");
    EXPECT_KEYS(choice, "index", "message", "logprobs", "finish_reason");
    EXPECT_KEYS(at(choice, "message"), "role", "content", "refusal", "reasoning_content");
    assert_string_equal(text_at(choice, "message.role"), "assistant");
    assert_string_equal(text_at(choice, "message.content"), ANSWER);
    assert_string_equal(text_at(choice, "message.reasoning_content"), REASONING);
    assert_string_equal(text_at(choice, "finish_reason"), "stop");
    assert_true(json_is_null(at(choice, "logprobs")));
    json_int_t reasoning = number_at(r.json, "usage.completion_tokens_details.reasoning_tokens");
    assert_in_range(reasoning, 40, NEW - 8);
    expect_usage(at(r.json, "usage"), PROMPT, 0, NEW, reasoning);
    assert_int_equal(r.summary.prompt_tokens, PROMPT);
    assert_int_equal(r.summary.new_tokens, NEW);
    assert_string_equal(r.summary.finish, "stop");
    drop_reply(&r);
    ask_api("POST", "/chat/completions", "{" ASK "}", &r);
    expect_usage(at(r.json, "usage"), PROMPT, PROMPT - 1, NEW, reasoning);
    drop_reply(&r);
}

/* Every chunk but the usage's: one choice, its finish_reason there and null until the last. */
static void expect_chunk(const json_t *chunk, bool last)
{
    assert_memory_equal(text_at(chunk, "id"), "chatcmpl-", 9);
    assert_string_equal(text_at(chunk, "object"), "chat.completion.chunk");
    assert_non_null(at(chunk, "created"));
    assert_string_equal(text_at(chunk, "model"), "tiny-r1");
    assert_int_equal(json_array_size(at(chunk, "choices")), 1);
    EXPECT_KEYS(at(chunk, "choices.0"), "index", "delta", "logprobs", "finish_reason");
    const json_t *finish = at(chunk, "choices.0.finish_reason");
    assert_int_equal(json_is_null(finish), !last);
    assert_int_equal(json_object_size(at(chunk, "choices.0.delta")) == 0, last);
}

static void gather(const reply *r, size_t from, size_t to, const char *field, char *out)
{
    *out = '\0';
    for (size_t i = from; i < to; i++) {
        const json_t *piece = json_object_get(at(r->event[i], "choices.0.delta"), field);
        if (piece != NULL) strcat(out, json_string_value(piece));
    }
}

static void a_stream_is_made_of_chunks(void **state)
{
    (void)state;
    reply r;
    char reasoning[512], content[512];
    ask_api("POST", "/chat/completions", "{\"model\": \"tiny-r1\", \"stream\": true, " ASK "}", &r);
    assert_int_equal(r.head.status, 200);
    assert_true(r.head.streams);
    assert_true(r.done);
    assert_string_equal(header_of(&r, "cache-control"), "no-cache");
    assert_true(r.events > 10);
    EXPECT_KEYS(at(r.event[0], "choices.0.delta"), "role", "content");
    assert_string_equal(text_at(r.event[0], "choices.0.delta.role"), "assistant");
    assert_string_equal(text_at(r.event[0], "choices.0.delta.content"), "");
    for (size_t i = 0; i < r.events; i++) {
        EXPECT_KEYS(r.event[i], "id", "object", "created", "model", "system_fingerprint", "choices");
        expect_chunk(r.event[i], i + 1 == r.events);
        assert_string_equal(text_at(r.event[i], "id"), text_at(r.event[0], "id"));
    }
    gather(&r, 1, r.events, "reasoning_content", reasoning);
    gather(&r, 1, r.events, "content", content);
    assert_string_equal(reasoning, REASONING);
    assert_string_equal(content, ANSWER);
    assert_string_equal(text_at(r.event[r.events - 1], "choices.0.finish_reason"), "stop");
    drop_reply(&r);
}

static void usage_comes_last_when_asked_for(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/chat/completions",
            "{\"model\": \"tiny-r1\", \"stream\": true, \"stream_options\": {\"include_usage\": true}, " ASK
            "}",
            &r);
    assert_true(r.done);
    const json_t *last = r.event[r.events - 1];
    assert_int_equal(json_array_size(at(last, "choices")), 0);
    expect_usage(at(last, "usage"), PROMPT, PROMPT - 1, NEW,
                 number_at(last, "usage.completion_tokens_details.reasoning_tokens"));
    for (size_t i = 0; i + 1 < r.events; i++) {
        expect_chunk(r.event[i], i + 2 == r.events);
        assert_true(json_is_null(at(r.event[i], "usage")));
    }
    drop_reply(&r);
}

static void a_stream_pulled_byte_by_byte_is_the_same(void **state)
{
    (void)state;
    reply r;
    char content[512];
    es_api_call *call = begin("POST", "/chat/completions", "{\"stream\": true, " ASK "}");
    finish_call(&call, 1, &r);
    gather(&r, 0, r.events, "content", content);
    assert_string_equal(content, ANSWER);
    assert_true(r.done);
    drop_reply(&r);
}

/* Logprobs and token ids of a whole answer, and the same gathered from chunks. */
static void logprobs_and_ids_are_the_same_streamed(void **state)
{
    (void)state;
#define FULL ASK ", \"logprobs\": true, \"top_logprobs\": 3, \"return_token_ids\": true"
    static const char *const LISTS[] = {"logprobs.content", "logprobs.reasoning_content", "token_ids"};
    reply whole, stream;
    ask_api("POST", "/chat/completions", "{" FULL "}", &whole);
    ask_api("POST", "/chat/completions", "{\"stream\": true, " FULL "}", &stream);
    for (size_t k = 0; k < 3; k++) {
        const json_t *all = at(at(whole.json, "choices.0"), LISTS[k]);
        json_t *gathered = json_array();
        for (size_t i = 1; i < stream.events; i++)
            assert_int_equal(
                json_array_extend(gathered, (json_t *)at(at(stream.event[i], "choices.0"), LISTS[k])), 0);
        assert_true(json_array_size(all) > 5);
        assert_true(json_equal(all, gathered));
        json_decref(gathered);
    }
    assert_true(json_equal(at(whole.json, "prompt_token_ids"), at(stream.event[0], "prompt_token_ids")));
    assert_int_equal(json_array_size(at(whole.json, "prompt_token_ids")), PROMPT);
    assert_int_equal(json_array_size(at(whole.json, "choices.0.token_ids")), NEW);
    drop_reply(&whole);
    drop_reply(&stream);
}

static void logprobs_say_token_bytes_and_the_best(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/chat/completions", "{" FULL "}", &r);
    char text[256] = "";
    const json_t *list = at(r.json, "choices.0.logprobs.content");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        EXPECT_KEYS(item, "token", "logprob", "bytes", "top_logprobs");
        strcat(text, text_at(item, "token"));
        assert_int_equal(json_array_size(at(item, "top_logprobs")), 3);
        /* Greedy: the token is the best. */
        assert_true(json_equal(at(item, "logprob"), at(item, "top_logprobs.0.logprob")));
        assert_string_equal(text_at(item, "top_logprobs.0.token"), text_at(item, "token"));
        assert_int_equal(json_array_size(at(item, "bytes")), strlen(text_at(item, "token")));
        assert_int_equal(number_at(item, "bytes.0"), (unsigned char)text_at(item, "token")[0]);
        for (size_t k = 1; k < 3; k++)
            assert_true(json_real_value(at(json_array_get(at(item, "top_logprobs"), k), "logprob")) <= 0.0);
    }
    assert_string_equal(text, "\n\n" ANSWER);
    drop_reply(&r);
}

/* The numbers read back as the very doubles that the engine computed. */
static void logprobs_are_told_to_the_last_bit(void **state)
{
    (void)state;
    static ask a;
    reply r;
    ask_api("POST", "/chat/completions", "{" FULL "}", &r);
    ask_make(&a, 1, PROMPT, NEW);
    for (size_t i = 0; i < PROMPT; i++)
        a.prompt[i] = (uint32_t)json_integer_value(json_array_get(at(r.json, "prompt_token_ids"), i));
    ask_submit(&a, api_engine());
    ask_finish(&a);
    const json_t *reasoning = at(r.json, "choices.0.logprobs.reasoning_content");
    const json_t *content = at(r.json, "choices.0.logprobs.content");
    size_t thought = json_array_size(reasoning);
    assert_int_equal(thought + json_array_size(content), NEW);
    for (size_t i = 0; i < NEW; i++) {
        const json_t *item = json_array_get(i < thought ? reasoning : content, i < thought ? i : i - thought);
        double told = json_number_value(at(item, "logprob"));
        assert_memory_equal(&told, &a.logprob[i], sizeof told);
        assert_int_equal(json_integer_value(json_array_get(at(r.json, "choices.0.token_ids"), i)),
                         a.token[i]);
    }
    drop_reply(&r);
}

static void a_cut_answer_ends_for_its_length(void **state)
{
    (void)state;
    reply r;
    ask_api("POST", "/chat/completions", "{" ASK ", \"max_tokens\": 100, \"max_completion_tokens\": 7}", &r);
    assert_string_equal(text_at(r.json, "choices.0.finish_reason"), "length");
    assert_int_equal(number_at(r.json, "usage.completion_tokens"), 7);
    assert_string_equal(text_at(r.json, "choices.0.message.content"), "");
    assert_true(strlen(text_at(r.json, "choices.0.message.reasoning_content")) > 0);
    drop_reply(&r);
}

static void a_call_that_is_closed_early_leaves_nothing(void **state)
{
    (void)state;
    es_api_head head;
    es_api_call *call = begin("POST", "/chat/completions", "{\"stream\": true, " ASK "}");
    es_api_call_head(call, &head);
    es_api_call_close(&call);
    fixture_expect_no_pages(api_engine());
}

static void a_silent_stream_is_kept_alive(void **state)
{
    (void)state;
    reply r;
    es_api_head head;
    fixture_hold();
    es_api_call *call = begin("POST", "/chat/completions", "{\"stream\": true, " ASK "}");
    assert_false(es_api_call_head(call, &head));
    struct timespec nap = {5, 100000000};
    nanosleep(&nap, NULL);
    assert_true(es_api_call_head(call, &head));
    assert_int_equal(head.status, 200);
    fixture_release();
    finish_call(&call, 4096, &r);
    assert_int_equal(r.keep_alives, 1);
    assert_true(r.done);
    drop_reply(&r);
}

static void a_failure_before_the_first_byte_has_its_own_status(void **state)
{
    (void)state;
    reply r;
    fixture_fail_steps(2); /* a step is computed again once */
    ask_api("POST", "/chat/completions", "{\"stream\": true, " ASK "}", &r);
    expect_error(&r, 503, NULL, "connection lost");
    drop_reply(&r);
}

static void a_failure_within_a_stream_is_its_last_event(void **state)
{
    (void)state;
    reply r;
    es_api_call *call = begin_and_break(
        "/chat/completions", "{\"stream\": true, \"ignore_eos\": true, \"max_tokens\": 400, " ASK "}");
    fixture_release();
    finish_call(&call, 4096, &r);
    assert_false(r.done);
    assert_string_equal(text_at(r.event[r.events - 1], "error.code"), "not_available");
    expect_chunk(r.event[r.events - 2], false);
    drop_reply(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_has_every_field),
        cmocka_unit_test(a_stream_is_made_of_chunks),
        cmocka_unit_test(usage_comes_last_when_asked_for),
        cmocka_unit_test(a_stream_pulled_byte_by_byte_is_the_same),
        cmocka_unit_test(logprobs_and_ids_are_the_same_streamed),
        cmocka_unit_test(logprobs_say_token_bytes_and_the_best),
        cmocka_unit_test(logprobs_are_told_to_the_last_bit),
        cmocka_unit_test(a_cut_answer_ends_for_its_length),
        cmocka_unit_test(a_call_that_is_closed_early_leaves_nothing),
        cmocka_unit_test(a_silent_stream_is_kept_alive),
        cmocka_unit_test(a_failure_before_the_first_byte_has_its_own_status),
        cmocka_unit_test(a_failure_within_a_stream_is_its_last_event),
    };
    return cmocka_run_group_tests(tests, api_open, api_close);
}
