/* POST /messages and /messages/count_tokens, as Anthropic shapes them. */
#include "api/internal.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK_THINKING, BLOCK_TEXT, BLOCK_TOOL };

static void put_usage(es_buffer *out, const es_api_call *call)
{
    json_put(out,
             "{\"input_tokens\":%zu,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":%zu,"
             "\"output_tokens\":%zu}",
             call->prompt_tokens - call->cached_tokens, call->cached_tokens, call->choice[0].tokens);
}

/* The message up to its content. */
static void put_head(es_api_call *call)
{
    json_put(&call->out, "{\"id\":\"%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", call->id);
    json_put_text(&call->out, call->model);
    json_put(&call->out, ",\"content\":[");
}

static void put_stop(es_buffer *out, const api_choice *choice)
{
    const char *reason = choice->stopped                             ? "stop_sequence"
                         : strcmp(choice->finish, "length") == 0     ? "max_tokens"
                         : strcmp(choice->finish, "tool_calls") == 0 ? "tool_use"
                                                                     : "end_turn";
    json_put(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (choice->stopped) {
        const es_stop_string *s = &choice->stop.strings[choice->stop_found];
        json_put_string(out, s->text, s->bytes);
    } else {
        json_put(out, "null");
    }
}

static void note_token(api_choice *choice, const es_event *event)
{
    (void)choice, (void)event;
}

static void start(es_api_call *call)
{
    api_event_begin(call, "message_start");
    json_put(&call->out, "{\"type\":\"message_start\",\"message\":");
    put_head(call);
    json_put(&call->out, "],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":");
    put_usage(&call->out, call);
    json_put(&call->out, "}}");
    api_event_end(call);
}

static void close_block(api_choice *choice)
{
    es_api_call *call = choice->call;
    if (choice->open < 0) return;
    api_event_begin(call, "content_block_stop");
    json_put(&call->out, "{\"type\":\"content_block_stop\",\"index\":%zu}", choice->block - 1);
    api_event_end(call);
    choice->open = -1;
}

static void open_block(api_choice *choice, int kind, const api_piece *p)
{
    es_api_call *call = choice->call;
    close_block(choice);
    api_event_begin(call, "content_block_start");
    json_put(&call->out,
             "{\"type\":\"content_block_start\",\"index\":%zu,\"content_block\":", choice->block++);
    if (kind == BLOCK_THINKING) {
        json_put(&call->out, "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}");
    } else if (kind == BLOCK_TEXT) {
        json_put(&call->out, "{\"type\":\"text\",\"text\":\"\"}}");
    } else {
        json_put(&call->out,
                 "{\"type\":\"tool_use\",\"id\":\"toolu_%s\",\"name\":", api_id_behind_prefix(p->id));
        json_put_text(&call->out, p->name);
        json_put(&call->out, ",\"input\":{}}}");
    }
    api_event_end(call);
    choice->open = kind;
}

static void piece(api_choice *choice, const api_piece *p)
{
    static const struct {
        int block;
        const char *type, *field;
    } DELTAS[] = {[API_REASONING] = {BLOCK_THINKING, "thinking_delta", "thinking"},
                  [API_CONTENT] = {BLOCK_TEXT, "text_delta", "text"},
                  [API_TOOL_ARGUMENTS] = {BLOCK_TOOL, "input_json_delta", "partial_json"}};
    es_api_call *call = choice->call;
    if (p->kind == API_TOOL_BEGIN) {
        open_block(choice, BLOCK_TOOL, p);
        return;
    }
    if (p->kind == API_TOOL_END) {
        close_block(choice);
        return;
    }
    if (choice->open != DELTAS[p->kind].block) open_block(choice, DELTAS[p->kind].block, p);
    api_event_begin(call, "content_block_delta");
    json_put(&call->out, "{\"type\":\"content_block_delta\",\"index\":%zu,\"delta\":{\"type\":\"%s\",\"%s\":",
             choice->block - 1, DELTAS[p->kind].type, DELTAS[p->kind].field);
    json_put_string(&call->out, p->text, p->bytes);
    json_put(&call->out, "}}");
    api_event_end(call);
}

static void finish(api_choice *choice)
{
    es_api_call *call = choice->call;
    close_block(choice);
    api_event_begin(call, "message_delta");
    json_put(&call->out, "{\"type\":\"message_delta\",\"delta\":{");
    put_stop(&call->out, choice);
    json_put(&call->out, "},\"usage\":");
    put_usage(&call->out, call);
    json_put(&call->out, "}");
    api_event_end(call);
}

static void end(es_api_call *call)
{
    api_event_begin(call, "message_stop");
    json_put(&call->out, "{\"type\":\"message_stop\"}");
    api_event_end(call);
}

static void fail_stream(es_api_call *call, const api_problem *problem)
{
    api_event_begin(call, "error");
    api_put_problem(&call->out, API_ANTHROPIC, problem);
    api_event_end(call);
}

/* The arguments as they are when they are whole; a call that was cut has none. */
static void put_input(es_buffer *out, const es_buffer *arguments)
{
    json_t *json = json_loadb(arguments->data, arguments->bytes, JSON_ALLOW_NUL, NULL);
    if (json_is_object(json))
        es_buffer_append(out, arguments->data, arguments->bytes);
    else
        json_put(out, "{}");
    out->failed = out->failed || arguments->failed;
    json_decref(json);
}

static void whole(es_api_call *call)
{
    const api_choice *choice = &call->choice[0];
    es_buffer *out = &call->out;
    const char *comma = "";
    put_head(call);
    if (choice->reasoning.bytes > 0) {
        json_put(out, "{\"type\":\"thinking\",\"thinking\":");
        json_put_string(out, choice->reasoning.data, choice->reasoning.bytes);
        json_put(out, ",\"signature\":\"\"}");
        comma = ",";
    }
    if (choice->content.bytes > 0) {
        json_put(out, "%s{\"type\":\"text\",\"citations\":null,\"text\":", comma);
        json_put_string(out, choice->content.data, choice->content.bytes);
        json_put(out, "}");
        comma = ",";
    }
    for (size_t i = 0; i < choice->calls; i++) {
        const api_tool_call *c = &choice->call_list[i];
        json_put(out, "%s{\"type\":\"tool_use\",\"id\":\"toolu_%s\",\"name\":", comma,
                 api_id_behind_prefix(c->id));
        json_put_text(out, c->name);
        json_put(out, ",\"input\":");
        put_input(out, &c->arguments);
        json_put(out, "}");
        comma = ",";
    }
    out->failed = out->failed || choice->content.failed || choice->reasoning.failed;
    json_put(out, "],");
    put_stop(out, choice);
    json_put(out, ",\"usage\":");
    put_usage(out, call);
    json_put(out, "}");
}

void api_messages(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    static const api_writer WRITER = {.family = API_ANTHROPIC,
                                      .id_prefix = "msg_",
                                      .start = start,
                                      .piece = piece,
                                      .finish = finish,
                                      .end = end,
                                      .fail = fail_stream,
                                      .whole = whole,
                                      .token = note_token};
    (void)rest;
    api_ask ask = {0};
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    json_t *chat = body != NULL ? api_translate_messages(call->api, body, false, problem) : NULL;
    if (chat != NULL) api_read_chat(call->api, chat, &ask, problem);
    api_call_submit(call, request, &ask, &WRITER, problem);
    api_ask_fini(&ask);
    json_decref(chat);
    json_decref(body);
}

void api_count_tokens(es_api_call *call, const es_api_request *request, const char *rest,
                      api_problem *problem)
{
    (void)rest;
    api_ask ask = {0};
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    json_t *chat = body != NULL ? api_translate_messages(call->api, body, true, problem) : NULL;
    if (chat != NULL) api_read_model(call->api, chat, &ask, problem);
    if (chat != NULL && problem->status == 0) api_encode_chat(call->api, chat, &ask, problem);
    if (problem->status == 0) {
        json_put(&call->out, "{\"input_tokens\":%zu}", ask.prompt[0].count);
        api_call_answer(call);
    }
    api_ask_fini(&ask);
    json_decref(chat);
    json_decref(body);
}
