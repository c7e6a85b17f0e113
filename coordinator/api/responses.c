/* POST /responses, as OpenAI shapes it; nothing is kept between calls. */
#include "api/internal.h"

#include <stdio.h>
#include <string.h>

enum { ITEM_REASONING, ITEM_MESSAGE, ITEM_CALL };

static const char *const PREFIXES[] = {"rs", "msg", "fc"};

static void put_item_id(es_buffer *out, const es_api_call *call, int kind, size_t position)
{
    json_put(out, "\"%s_%s_%zu\"", PREFIXES[kind], api_id_behind_prefix(call->id), position);
}

static void put_part(es_buffer *out, int kind, const es_buffer *text)
{
    json_put(out, kind == ITEM_MESSAGE
                      ? "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":"
                      : "{\"type\":\"reasoning_text\",\"text\":");
    json_put_string(out, text != NULL ? text->data : "", text != NULL ? text->bytes : 0);
    if (text != NULL && text->failed) out->failed = true;
    json_put(out, "}");
}

static const es_buffer *text_of(const api_choice *choice, int kind)
{
    return kind == ITEM_MESSAGE ? &choice->content : &choice->reasoning;
}

/* An item of the output: begun (nothing in it yet) or over. index: of a call. cut: it is the last, and was
 * cut. */
static void put_item(es_buffer *out, const api_choice *choice, int kind, size_t position, size_t index,
                     bool over, bool cut)
{
    static const char *const TYPES[] = {"reasoning", "message", "function_call"};
    json_put(out, "{\"id\":");
    put_item_id(out, choice->call, kind, position);
    json_put(out, ",\"type\":\"%s\",\"status\":\"%s\"", TYPES[kind],
             !over ? "in_progress"
             : cut ? "incomplete"
                   : "completed");
    if (kind == ITEM_CALL) {
        const api_tool_call *c = &choice->call_list[index];
        json_put(out, ",\"call_id\":\"%s\",\"name\":", c->id);
        json_put_text(out, c->name);
        json_put(out, ",\"arguments\":");
        json_put_string(out, over ? c->arguments.data : "", over ? c->arguments.bytes : 0);
        json_put(out, "}");
        return;
    }
    json_put(out, kind == ITEM_MESSAGE ? ",\"role\":\"assistant\",\"content\":["
                                       : ",\"summary\":[],\"content\":[");
    if (over) put_part(out, kind, text_of(choice, kind));
    json_put(out, "]}");
}

static bool is_cut(const api_choice *choice)
{
    return choice->finish != NULL && strcmp(choice->finish, "length") == 0;
}

static void put_output(es_buffer *out, const api_choice *choice)
{
    size_t position = 0, items = choice->calls;
    for (int kind = ITEM_REASONING; kind <= ITEM_MESSAGE; kind++) items += text_of(choice, kind)->bytes > 0;
    for (int kind = ITEM_REASONING; position < items; kind++) {
        size_t index = kind >= ITEM_CALL ? (size_t)(kind - ITEM_CALL) : 0;
        if (kind < ITEM_CALL && text_of(choice, kind)->bytes == 0) continue;
        if (position > 0) json_put(out, ",");
        bool last = position + 1 == items;
        put_item(out, choice, kind < ITEM_CALL ? kind : ITEM_CALL, position++, index, true,
                 last && is_cut(choice));
    }
}

/* status: "in_progress" before the output, NULL behind it. */
static void put_response(es_api_call *call, const char *status)
{
    const api_choice *choice = &call->choice[0];
    es_buffer *out = &call->out;
    bool over = status == NULL, cut = over && is_cut(choice);
    json_put(out, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"model\":",
             call->id, (long long)call->created,
             !over ? status
             : cut ? "incomplete"
                   : "completed");
    json_put_text(out, call->model);
    json_put(out,
             ",\"background\":false,\"error\":null,\"incomplete_details\":%s,\"store\":false,"
             "\"truncation\":\"disabled\",",
             cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    es_buffer_append(out, call->echo[0].data, call->echo[0].bytes);
    json_put(out, ",\"output\":[");
    if (over) put_output(out, choice);
    json_put(out, "],\"usage\":");
    if (over)
        json_put(
            out,
            "{\"input_tokens\":%zu,\"input_tokens_details\":{\"cached_tokens\":%zu},\"output_tokens\":%zu,"
            "\"output_tokens_details\":{\"reasoning_tokens\":%zu},\"total_tokens\":%zu}",
            call->prompt_tokens, call->cached_tokens, choice->tokens, choice->reasoning_tokens,
            call->prompt_tokens + choice->tokens);
    else
        json_put(out, "null");
    json_put(out, "}");
}

/* An event up to the fields of its own. */
static void begin_event(es_api_call *call, const char *type)
{
    api_event_begin(call, type);
    json_put(&call->out, "{\"type\":\"%s\",\"sequence_number\":%zu", type, call->sequence++);
}

static void end_event(es_api_call *call)
{
    json_put(&call->out, "}");
    api_event_end(call);
}

static void tell_response(es_api_call *call, const char *type, const char *status)
{
    begin_event(call, type);
    json_put(&call->out, ",\"response\":");
    put_response(call, status);
    end_event(call);
}

/* Of the item that is open. */
static void begin_item_event(api_choice *choice, const char *type)
{
    es_api_call *call = choice->call;
    begin_event(call, type);
    json_put(&call->out, ",\"item_id\":");
    put_item_id(&call->out, call, choice->open, choice->block - 1);
    json_put(&call->out, ",\"output_index\":%zu", choice->block - 1);
    if (choice->open != ITEM_CALL) json_put(&call->out, ",\"content_index\":0");
}

static void tell_item(api_choice *choice, const char *type, bool over)
{
    es_api_call *call = choice->call;
    begin_event(call, type);
    json_put(&call->out, ",\"output_index\":%zu,\"item\":", choice->block - 1);
    put_item(&call->out, choice, choice->open, choice->block - 1, choice->calls - 1, over, is_cut(choice));
    end_event(call);
}

static void tell_part(api_choice *choice, const char *type, const es_buffer *text)
{
    begin_item_event(choice, type);
    json_put(&choice->call->out, ",\"part\":");
    put_part(&choice->call->out, choice->open, text);
    end_event(choice->call);
}

static void close_item(api_choice *choice)
{
    static const char *const DONE[] = {"response.reasoning_text.done", "response.output_text.done",
                                       "response.function_call_arguments.done"};
    es_buffer *out = &choice->call->out;
    if (choice->open < 0) return;
    begin_item_event(choice, DONE[choice->open]);
    if (choice->open == ITEM_CALL) {
        const api_tool_call *c = &choice->call_list[choice->calls - 1];
        json_put(out, ",\"name\":");
        json_put_text(out, c->name);
        json_put(out, ",\"arguments\":");
        json_put_string(out, c->arguments.data, c->arguments.bytes);
        end_event(choice->call);
    } else {
        const es_buffer *text = text_of(choice, choice->open);
        if (choice->open == ITEM_MESSAGE) json_put(out, ",\"logprobs\":[]");
        json_put(out, ",\"text\":");
        json_put_string(out, text->data, text->bytes);
        end_event(choice->call);
        tell_part(choice, "response.content_part.done", text);
    }
    tell_item(choice, "response.output_item.done", true);
    choice->open = -1;
}

static void open_item(api_choice *choice, int kind)
{
    close_item(choice);
    choice->open = kind;
    choice->block++;
    tell_item(choice, "response.output_item.added", false);
    if (kind != ITEM_CALL) tell_part(choice, "response.content_part.added", NULL);
}

static void start(es_api_call *call)
{
    tell_response(call, "response.created", "in_progress");
    tell_response(call, "response.in_progress", "in_progress");
}

static void piece(api_choice *choice, const api_piece *p)
{
    static const struct {
        int item;
        const char *type;
    } KINDS[] = {[API_REASONING] = {ITEM_REASONING, "response.reasoning_text.delta"},
                 [API_CONTENT] = {ITEM_MESSAGE, "response.output_text.delta"},
                 [API_TOOL_BEGIN] = {ITEM_CALL, NULL},
                 [API_TOOL_ARGUMENTS] = {ITEM_CALL, "response.function_call_arguments.delta"},
                 [API_TOOL_END] = {ITEM_CALL, NULL}};
    es_buffer *out = &choice->call->out;
    if (p->kind == API_TOOL_END) {
        close_item(choice);
        return;
    }
    if (p->kind == API_TOOL_BEGIN || choice->open != KINDS[p->kind].item)
        open_item(choice, KINDS[p->kind].item);
    if (KINDS[p->kind].type == NULL) return;
    begin_item_event(choice, KINDS[p->kind].type);
    if (p->kind == API_CONTENT) json_put(out, ",\"logprobs\":[]");
    json_put(out, ",\"delta\":");
    json_put_string(out, p->text, p->bytes);
    end_event(choice->call);
}

static void finish(api_choice *choice)
{
    close_item(choice);
}

static void end(es_api_call *call)
{
    tell_response(call, is_cut(&call->choice[0]) ? "response.incomplete" : "response.completed", NULL);
}

static void fail_stream(es_api_call *call, const api_problem *problem)
{
    begin_event(call, "error");
    json_put(&call->out, ",\"param\":null,\"code\":\"%s\",\"message\":", problem->code);
    json_put_text(&call->out, problem->message);
    json_put(&call->out, ",\"error\":{\"message\":");
    json_put_text(&call->out, problem->message);
    json_put(&call->out, ",\"type\":\"server_error\",\"param\":null,\"code\":\"%s\"}", problem->code);
    end_event(call);
}

static void whole(es_api_call *call)
{
    put_response(call, NULL);
}

static void note_token(api_choice *choice, const es_event *event)
{
    (void)choice, (void)event;
}

void api_responses(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    static const api_writer WRITER = {.family = API_OPENAI,
                                      .id_prefix = "resp_",
                                      .start = start,
                                      .piece = piece,
                                      .finish = finish,
                                      .end = end,
                                      .fail = fail_stream,
                                      .gathers = true,
                                      .whole = whole,
                                      .token = note_token};
    (void)rest;
    api_ask ask = {0};
    json_t *body = api_parse(request->body, request->body_bytes, problem);
    json_t *chat = body != NULL ? api_translate_responses(call->api, body, problem) : NULL;
    if (chat != NULL) api_read_chat(call->api, chat, &ask, problem);
    if (problem->status == 0) api_put_repeated(&call->echo[0], call->api, body);
    call->out.failed = call->out.failed || call->echo[0].failed;
    api_call_submit(call, request, &ask, &WRITER, problem);
    api_ask_fini(&ask);
    json_decref(chat);
    json_decref(body);
}
