/* Text to tokens and back, and a conversation as text: /tokenize, /detokenize, /apply-template. */
#include "api/internal.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

static const char *const TOKENIZE_FIELDS[] = {"model",       "prompt",          "content",
                                              "messages",    "tools",           "add_special_tokens",
                                              "add_special", "with_pieces",     "add_generation_prompt",
                                              "thinking",    "parse_special",   "reasoning_effort",
                                              "tool_choice", "response_format", "chat_template_kwargs",
                                              NULL};
static const char *const DETOKENIZE_FIELDS[] = {"model", "tokens", NULL};

void api_put_token_text(es_buffer *out, const es_api *api, uint32_t token)
{
    const es_vocabulary_token *t = es_tokenizer_token(api->chat.tokenizer, token);
    const char *text = t != NULL ? t->meaning : "";
    size_t bytes = t != NULL ? t->meaning_bytes : 0;
    if (es_utf8_is_valid(text, bytes)) {
        json_put_string(out, text, bytes);
        return;
    }
    /* Parts of characters, as OpenAI spells them. */
    json_put(out, "\"bytes:");
    for (size_t i = 0; i < bytes; i++) json_put(out, "\\\\x%02x", (unsigned)(unsigned char)text[i]);
    json_put(out, "\"");
}

void api_put_ids(es_buffer *out, const uint32_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++) json_put(out, i > 0 ? ",%u" : "%u", (unsigned)ids[i]);
}

/* A token's text as llama.cpp's clients read it: bytes where it is not whole characters. */
static void put_piece(es_buffer *out, const es_api *api, uint32_t token)
{
    const es_vocabulary_token *t = es_tokenizer_token(api->chat.tokenizer, token);
    json_put(out, "{\"id\":%u,\"piece\":", (unsigned)token);
    if (t == NULL || es_utf8_is_valid(t->meaning, t->meaning_bytes)) {
        json_put_string(out, t != NULL ? t->meaning : "", t != NULL ? t->meaning_bytes : 0);
    } else {
        for (uint32_t i = 0; i < t->meaning_bytes; i++)
            json_put(out, i > 0 ? ",%u" : "[%u", (unsigned)(unsigned char)t->meaning[i]);
        json_put(out, "]");
    }
    json_put(out, "}");
}

static void encode_text(es_api *api, const json_t *body, const json_t *text, bool special, api_ask *ask,
                        api_problem *problem)
{
    bool parse = true;
    es_err err;
    es_token_list *out = &ask->prompt[0];
    api_read_flag(body, "add_special_tokens", &special, problem);
    api_read_flag(body, "add_special", &special, problem);
    api_read_flag(body, "parse_special", &parse, problem);
    uint32_t begin =
        es_tokenizer_find(api->chat.tokenizer, api->chat.format.bos, strlen(api->chat.format.bos));
    const es_text_span all = {0, json_string_length(text)};
    es_status status =
        special && begin != ES_TOKEN_NONE && !es_token_list_append(out, begin)
            ? es_err_set(&err, ES_NO_MEMORY, "not enough memory")
            : es_tokenizer_encode_quoted(api->chat.tokenizer, json_string_value(text), all.end, &all,
                                         parse ? 0 : 1, api_tokens_max(api), out, &ask->too_long, &err);
    if (status != ES_OK) api_problem_from(problem, api, &err);
    api_check_length(api, ask, "prompt", problem);
}

static void tokenize(es_api_call *call, const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *prompt = json_object_get(body, "prompt"), *content = json_object_get(body, "content");
    es_api *api = call->api;
    bool pieces = false;
    api_note_unknown(api, body, TOKENIZE_FIELDS, NULL);
    api_read_model(api, body, ask, problem);
    api_read_flag(body, "with_pieces", &pieces, problem);
    if (problem->status != 0) return;
    if (json_is_string(prompt) || json_is_string(content))
        encode_text(api, body, json_is_string(prompt) ? prompt : content, json_is_string(prompt), ask,
                    problem);
    else if (json_object_get(body, "messages") != NULL)
        api_encode_chat(api, body, ask, problem);
    else
        api_problem_set(problem, 400, "invalid_value", "prompt",
                        "neither prompt nor content nor messages is there");
    if (problem->status != 0) return;
    const es_token_list *ids = &ask->prompt[0];
    json_put(&call->out, "{\"count\":%zu,\"max_model_len\":%zu,\"tokens\":[", ids->count,
             es_engine_context(api->options.engine));
    for (size_t i = 0; i < ids->count && pieces; i++) {
        if (i > 0) json_put(&call->out, ",");
        put_piece(&call->out, api, ids->ids[i]);
    }
    if (!pieces) api_put_ids(&call->out, ids->ids, ids->count);
    json_put(&call->out, "]}");
    api_call_answer(call);
}

void api_tokenize(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)rest;
    api_ask ask = {0};
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    if (body != NULL) tokenize(call, body, &ask, problem);
    api_ask_fini(&ask);
    json_decref(body);
}

static void detokenize(es_api_call *call, const json_t *body, api_problem *problem)
{
    const json_t *tokens = json_object_get(body, "tokens");
    es_buffer text = {0};
    es_detokenizer words;
    api_note_unknown(call->api, body, DETOKENIZE_FIELDS, NULL);
    if (!json_is_array(tokens)) api_problem_set(problem, 400, "invalid_type", "tokens", "tokens: not a list");
    es_detokenizer_init(&words, call->api->chat.tokenizer, false);
    for (size_t i = 0; i < json_array_size(tokens) && problem->status == 0; i++) {
        const json_t *item = json_array_get(tokens, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || (uint64_t)id >= call->api->options.model->shape.vocab)
            api_problem_set(problem, 400, "invalid_value", "tokens", "tokens: item %zu is no token of %zu", i,
                            call->api->options.model->shape.vocab);
        else
            es_detokenizer_feed(&words, (uint32_t)id, &text);
    }
    es_detokenizer_flush(&words, &text);
    if (text.failed) api_problem_set(problem, 503, "out_of_memory", NULL, "not enough memory");
    if (problem->status == 0) {
        json_put(&call->out, "{\"content\":");
        json_put_string(&call->out, text.data, text.bytes);
        json_put(&call->out, ",\"prompt\":");
        json_put_string(&call->out, text.data, text.bytes);
        json_put(&call->out, "}");
        api_call_answer(call);
    }
    es_buffer_fini(&text);
}

void api_detokenize(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)rest;
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    if (body != NULL) detokenize(call, body, problem);
    json_decref(body);
}

void api_apply_template(es_api_call *call, const es_api_request *request, const char *rest,
                        api_problem *problem)
{
    (void)rest;
    api_ask ask = {0};
    es_chat_text text = {0};
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    if (body != NULL) {
        api_note_unknown(call->api, body, TOKENIZE_FIELDS, NULL);
        api_read_model(call->api, body, &ask, problem);
        api_lay_out(call->api, body, &ask, &text, problem);
    }
    if (problem->status == 0) {
        json_put(&call->out, "{\"prompt\":");
        json_put_string(&call->out, text.text, text.bytes);
        json_put(&call->out, "}");
        api_call_answer(call);
    }
    es_chat_text_fini(&text);
    json_decref(body);
}
