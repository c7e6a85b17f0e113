/* One answer: its tokens become reasoning, text and calls of tools. */
#include "api/internal.h"
#include "base/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whole answers are gathered. */
static void gather(api_choice *c, const api_piece *piece)
{
    api_tool_call *call = c->calls > 0 ? &c->call_list[c->calls - 1] : NULL;
    switch (piece->kind) {
    case API_REASONING:
        es_buffer_append(&c->reasoning, piece->text, piece->bytes);
        break;
    case API_CONTENT:
        es_buffer_append(&c->content, piece->text, piece->bytes);
        break;
    case API_TOOL_BEGIN:
        snprintf(call->id, sizeof call->id, "%s", piece->id);
        snprintf(call->name, sizeof call->name, "%s", piece->name);
        break;
    case API_TOOL_ARGUMENTS:
        es_buffer_append(&call->arguments, piece->text, piece->bytes);
        break;
    case API_TOOL_END:
        break;
    }
}

static void give(api_choice *c, const api_piece *piece)
{
    if (!c->call->streams || c->call->writer->gathers) gather(c, piece);
    if (c->call->streams) c->call->writer->piece(c, piece);
}

static void give_text(api_choice *c, api_piece_kind kind, const char *text, size_t bytes)
{
    if (bytes > 0) give(c, &(api_piece){.kind = kind, .text = text, .bytes = bytes});
}

/* A thought's text without the line ends around it, which belong to its tags. */
static void give_reasoning(api_choice *c, const char *text, size_t bytes)
{
    for (; c->lead && bytes > 0 && *text == '\n'; bytes--) text++;
    size_t kept = bytes;
    while (kept > 0 && text[kept - 1] == '\n') kept--;
    if (kept > 0) {
        c->lead = false;
        for (; c->held_newlines > 0; c->held_newlines--) give_text(c, API_REASONING, "\n", 1);
        give_text(c, API_REASONING, text, kept);
    }
    c->held_newlines += bytes - kept;
}

/* The answer's text: what is surely in front of every stop string. */
static void give_content(api_choice *c, const char *text, size_t bytes)
{
    for (; c->lead && bytes > 0 && *text == '\n'; bytes--) text++;
    if (bytes == 0 || c->stopped) return;
    c->lead = false;
    es_buffer sure = {0};
    c->stop_found = es_stop_matcher_feed(&c->stop, text, bytes, &sure, NULL);
    c->stopped = c->stop_found != ES_STOP_NONE;
    give_text(c, API_CONTENT, sure.data, sure.bytes);
    c->call->out.failed = c->call->out.failed || sure.failed || c->stop.held.failed;
    es_buffer_fini(&sure);
}

/* Text held back before a call may be the last words before it: they are surely no stop string's. */
static void release_content(api_choice *c)
{
    es_buffer rest = {0};
    es_stop_matcher_flush(&c->stop, &rest);
    give_text(c, API_CONTENT, rest.data, rest.bytes);
    c->call->out.failed = c->call->out.failed || rest.failed;
    es_buffer_fini(&rest);
}

static bool add_call(api_choice *c)
{
    if (c->call->streams && !c->call->writer->gathers) {
        c->calls++;
        return true;
    }
    api_tool_call *list = realloc(c->call_list, (c->calls + 1) * sizeof *list);
    if (list == NULL) {
        c->call->out.failed = true;
        return false;
    }
    c->call_list = list;
    list[c->calls++] = (api_tool_call){0};
    return true;
}

static void take_tool_event(void *context, const es_tool_event *event)
{
    api_choice *c = context;
    api_piece piece = {.text = event->text, .bytes = event->bytes, .index = event->index};
    if (c->stopped) return;
    switch (event->kind) {
    case ES_TOOL_TEXT:
        give_content(c, event->text, event->bytes);
        return;
    case ES_TOOL_BEGIN:
        release_content(c);
        if (!add_call(c)) return;
        piece.kind = API_TOOL_BEGIN;
        piece.id = event->id;
        piece.name = event->name;
        break;
    case ES_TOOL_ARGUMENTS:
        piece.kind = API_TOOL_ARGUMENTS;
        break;
    case ES_TOOL_END:
        piece.kind = API_TOOL_END;
        break;
    }
    /* A call that was never begun for want of memory has no parts. */
    if (c->calls > 0) give(c, &piece);
}

es_status api_choice_init(api_choice *choice, es_api_call *call, uint32_t index, const api_ask *ask,
                          es_err *err)
{
    es_api *api = call->api;
    *choice = (api_choice){.call = call,
                           .index = index,
                           .in_thought = ask->in_thought && ask->splits,
                           .splits = ask->splits,
                           .lead = ask->splits && !ask->in_thought && !ask->continued,
                           .has_tools = ask->splits && ask->form.tools != NULL,
                           .stop_found = ES_STOP_NONE,
                           .open = -1};
    es_stop_string stop[ES_STOP_STRINGS_MAX];
    size_t at = 0;
    for (size_t i = 0; i < ask->stops; at += stop[i++].bytes)
        stop[i] = (es_stop_string){call->stop_texts.data + at, ask->stop[i].bytes};
    es_detokenizer_init(&choice->words, api->chat.tokenizer, true);
    es_tool_parser_init(&choice->tools, api->trie, api_random(api), take_tool_event, choice);
    return es_stop_matcher_init(&choice->stop, stop, ask->stops, err);
}

void api_choice_fini(api_choice *choice)
{
    es_tool_parser_fini(&choice->tools);
    es_stop_matcher_fini(&choice->stop);
    for (size_t i = 0; choice->call_list != NULL && i < choice->calls; i++)
        es_buffer_fini(&choice->call_list[i].arguments);
    free(choice->call_list);
    es_buffer *buffers[] = {&choice->reasoning,
                            &choice->content,
                            &choice->token_ids,
                            &choice->logprobs,
                            &choice->reasoning_logprobs,
                            &choice->legacy[0],
                            &choice->legacy[1],
                            &choice->legacy[2],
                            &choice->offsets};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) es_buffer_fini(buffers[i]);
}

/* Words of a thought, or of an answer without tools. */
static void take_words(api_choice *c, uint32_t token, bool flush)
{
    es_buffer text = {0};
    if (flush)
        es_detokenizer_flush(&c->words, &text);
    else
        es_detokenizer_feed(&c->words, token, &text);
    if (c->in_thought)
        give_reasoning(c, text.data, text.bytes);
    else
        give_content(c, text.data, text.bytes);
    c->call->out.failed = c->call->out.failed || text.failed;
    es_buffer_fini(&text);
}

static void end_thought(api_choice *c)
{
    take_words(c, ES_TOKEN_NONE, true);
    c->in_thought = false;
    c->held_newlines = 0;
    c->lead = true;
}

bool api_choice_take(api_choice *c, const es_event *event)
{
    const es_chat_model *chat = &c->call->api->chat;
    es_err err;
    if (c->stopped) return false;
    /* A model may open a thought by itself, as the first thing it does. */
    bool opens = c->splits && c->tokens == 0 && event->token == chat->think && event->token != ES_TOKEN_NONE;
    if (opens) c->in_thought = c->lead = true;
    c->tokens++;
    c->reasoning_tokens += c->in_thought;
    c->call->writer->token(c, event);
    if (opens) return false;
    if (c->in_thought && event->token == chat->think_end)
        end_thought(c);
    else if (c->in_thought || !c->has_tools)
        take_words(c, event->token, false);
    else if (es_tool_parser_feed(&c->tools, event->token, &err) != ES_OK)
        c->call->out.failed = true;
    return c->stopped;
}

void api_choice_finish(api_choice *c, es_finish finish)
{
    es_err err;
    if (!c->stopped) {
        if (c->has_tools && !c->in_thought && es_tool_parser_flush(&c->tools, &err) != ES_OK)
            c->call->out.failed = true;
        take_words(c, ES_TOKEN_NONE, true);
        for (; c->held_newlines > 0; c->held_newlines--) give_text(c, API_REASONING, "\n", 1);
        if (!c->stopped) release_content(c);
    }
    bool cut = finish == ES_FINISH_LENGTH && !c->stopped;
    c->finish = cut ? "length" : c->calls > 0 && !c->stopped ? "tool_calls" : "stop";
    c->over = true;
}
