/* POST /chat/completions, as OpenAI and DeepSeek shape it. */
#include "api/internal.h"

#include <string.h>

void api_put_head(es_api_call *call, const char *object)
{
    json_put(&call->out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", call->id, object,
             (long long)call->created);
    json_put_text(&call->out, call->model);
    json_put(&call->out, ",\"system_fingerprint\":\"%s\"", call->api->fingerprint);
}

void api_put_usage(es_buffer *out, const es_api_call *call)
{
    size_t new_tokens = 0, reasoning = 0, prompt = call->prompt_tokens, cached = call->cached_tokens;
    for (size_t i = 0; i < call->choices; i++) {
        new_tokens += call->choice[i].tokens;
        reasoning += call->choice[i].reasoning_tokens;
    }
    json_put(out,
             "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
             "\"prompt_tokens_details\":{\"cached_tokens\":%zu},"
             "\"completion_tokens_details\":{\"reasoning_tokens\":%zu},"
             "\"prompt_cache_hit_tokens\":%zu,\"prompt_cache_miss_tokens\":%zu}",
             prompt, new_tokens, prompt + new_tokens, cached, reasoning, cached, prompt - cached);
}

/* Token and bytes of a list item of logprobs, left open. */
static void put_logprob(es_buffer *out, const es_api *api, uint32_t token, double logprob)
{
    const es_vocabulary_token *t = es_tokenizer_token(api->chat.tokenizer, token);
    json_put(out, "{\"token\":");
    api_put_token_text(out, api, token);
    json_put(out, ",\"logprob\":");
    json_put_real(out, logprob);
    json_put(out, ",\"bytes\":[");
    for (uint32_t i = 0; t != NULL && i < t->meaning_bytes; i++)
        json_put(out, i > 0 ? ",%u" : "%u", (unsigned)(unsigned char)t->meaning[i]);
    json_put(out, "]");
}

void api_note_id(api_choice *choice, const es_event *event)
{
    if (!choice->call->wants_ids) return;
    json_put_comma(&choice->token_ids);
    json_put(&choice->token_ids, "%u", (unsigned)event->token);
}

void api_put_choice_ids(api_choice *choice)
{
    es_buffer *out = &choice->call->out;
    if (!choice->call->wants_ids) return;
    json_put(out, ",\"token_ids\":[");
    json_put_items(out, &choice->token_ids);
    json_put(out, "]");
}

static void note_token(api_choice *choice, const es_event *event)
{
    es_api_call *call = choice->call;
    api_note_id(choice, event);
    if (!call->logprobs) return;
    es_buffer *out = choice->in_thought ? &choice->reasoning_logprobs : &choice->logprobs;
    json_put_comma(out);
    put_logprob(out, call->api, event->token, event->logprob);
    json_put(out, ",\"top_logprobs\":[");
    for (size_t i = 0; i < event->top_count; i++) {
        if (i > 0) json_put(out, ",");
        put_logprob(out, call->api, event->top[i].token, event->top[i].logprob);
        json_put(out, "}");
    }
    json_put(out, "]}");
}

/* What every choice has beside its words. */
static void put_notes(api_choice *choice)
{
    es_api_call *call = choice->call;
    es_buffer *out = &call->out;
    if (!call->logprobs) {
        json_put(out, ",\"logprobs\":null");
    } else {
        json_put(out, ",\"logprobs\":{\"content\":[");
        json_put_items(out, &choice->logprobs);
        json_put(out, "],\"reasoning_content\":[");
        json_put_items(out, &choice->reasoning_logprobs);
        json_put(out, "],\"refusal\":null}");
    }
    api_put_choice_ids(choice);
}

static void put_prompt_ids(es_api_call *call)
{
    if (!call->wants_ids) return;
    json_put(&call->out, ",\"prompt_token_ids\":[");
    json_put_items(&call->out, &call->prompt_ids[0]);
    json_put(&call->out, "]");
}

/* Begins a chunk with one choice, up to its delta. */
static void begin_chunk(es_api_call *call, uint32_t index)
{
    api_event_begin(call, NULL);
    api_put_head(call, "chat.completion.chunk");
    if (call->include_usage) json_put(&call->out, ",\"usage\":null");
    json_put(&call->out, ",\"choices\":[{\"index\":%u,\"delta\":{", (unsigned)index);
}

static void end_chunk(api_choice *choice, const char *finish)
{
    es_buffer *out = &choice->call->out;
    json_put(out, "}");
    put_notes(choice);
    json_put(out, finish != NULL ? ",\"finish_reason\":\"%s\"}]}" : ",\"finish_reason\":null}]}", finish);
    api_event_end(choice->call);
}

static void start(es_api_call *call)
{
    for (size_t i = 0; i < call->choices; i++) {
        begin_chunk(call, (uint32_t)i);
        json_put(&call->out,
                 "\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]");
        if (i == 0) put_prompt_ids(call);
        json_put(&call->out, "}");
        api_event_end(call);
    }
}

static void piece(api_choice *choice, const api_piece *p)
{
    es_buffer *out = &choice->call->out;
    if (p->kind == API_TOOL_END) return;
    begin_chunk(choice->call, choice->index);
    switch (p->kind) {
    case API_REASONING:
        json_put(out, "\"reasoning_content\":");
        json_put_string(out, p->text, p->bytes);
        break;
    case API_CONTENT:
        json_put(out, "\"content\":");
        json_put_string(out, p->text, p->bytes);
        break;
    case API_TOOL_BEGIN:
        json_put(out,
                 "\"tool_calls\":[{\"index\":%zu,\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":",
                 p->index, p->id);
        json_put_text(out, p->name);
        json_put(out, ",\"arguments\":\"\"}}]");
        break;
    default:
        json_put(out, "\"tool_calls\":[{\"index\":%zu,\"function\":{\"arguments\":", p->index);
        json_put_string(out, p->text, p->bytes);
        json_put(out, "}}]");
        break;
    }
    end_chunk(choice, NULL);
}

static void finish(api_choice *choice)
{
    begin_chunk(choice->call, choice->index);
    end_chunk(choice, choice->finish);
}

void api_end_stream(es_api_call *call, const char *object)
{
    if (call->include_usage) {
        api_event_begin(call, NULL);
        api_put_head(call, object);
        json_put(&call->out, ",\"choices\":[],\"usage\":");
        api_put_usage(&call->out, call);
        json_put(&call->out, "}");
        api_event_end(call);
    }
    json_put(&call->out, "data: [DONE]\n\n");
}

static void end(es_api_call *call)
{
    api_end_stream(call, "chat.completion.chunk");
}

void api_fail_stream(es_api_call *call, const api_problem *problem)
{
    api_event_begin(call, NULL);
    api_put_problem(&call->out, API_OPENAI, problem);
    api_event_end(call);
}

static void put_calls(es_buffer *out, const api_choice *choice)
{
    json_put(out, ",\"tool_calls\":[");
    for (size_t i = 0; i < choice->calls; i++) {
        const api_tool_call *c = &choice->call_list[i];
        json_put(out, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":", i > 0 ? "," : "",
                 c->id);
        json_put_text(out, c->name);
        json_put(out, ",\"arguments\":");
        json_put_string(out, c->arguments.data, c->arguments.bytes);
        out->failed = out->failed || c->arguments.failed;
        json_put(out, "}}");
    }
    json_put(out, "]");
}

static void put_message(es_buffer *out, const api_choice *choice, bool thinks)
{
    json_put(out, "{\"role\":\"assistant\",\"content\":");
    if (choice->content.bytes > 0 || choice->calls == 0)
        json_put_string(out, choice->content.data, choice->content.bytes);
    else
        json_put(out, "null");
    json_put(out, ",\"refusal\":null");
    if (thinks) {
        json_put(out, ",\"reasoning_content\":");
        json_put_string(out, choice->reasoning.data, choice->reasoning.bytes);
    }
    out->failed = out->failed || choice->content.failed || choice->reasoning.failed;
    if (choice->calls > 0) put_calls(out, choice);
    json_put(out, "}");
}

static void whole(es_api_call *call)
{
    api_put_head(call, "chat.completion");
    json_put(&call->out, ",\"choices\":[");
    for (size_t i = 0; i < call->choices; i++) {
        api_choice *choice = &call->choice[i];
        json_put(&call->out, "%s{\"index\":%zu,\"message\":", i > 0 ? "," : "", i);
        put_message(&call->out, choice, choice->reasoning_tokens > 0);
        put_notes(choice);
        json_put(&call->out, ",\"finish_reason\":\"%s\"}", choice->finish);
    }
    json_put(&call->out, "]");
    put_prompt_ids(call);
    json_put(&call->out, ",\"usage\":");
    api_put_usage(&call->out, call);
    json_put(&call->out, "}");
}

void api_chat_completions(es_api_call *call, const es_api_request *request, const char *rest,
                          api_problem *problem)
{
    static const api_writer WRITER = {.family = API_OPENAI,
                                      .id_prefix = "chatcmpl-",
                                      .start = start,
                                      .piece = piece,
                                      .finish = finish,
                                      .end = end,
                                      .fail = api_fail_stream,
                                      .whole = whole,
                                      .token = note_token};
    (void)rest;
    api_ask ask = {0};
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    if (body != NULL) api_read_chat(call->api, body, &ask, problem);
    api_call_submit(call, request, &ask, &WRITER, problem);
    api_ask_fini(&ask);
    json_decref(body);
}
