/* POST /completions: text goes on as it is, without a conversation. */
#include "api/internal.h"
#include "base/size.h"

#include <string.h>

enum { LEGACY_TOKENS, LEGACY_LOGPROBS, LEGACY_TOP, DEFAULT_TOKENS = 16 };

static const char OBJECT[] = "text_completion"; /* also of a stream's chunks */
static const char *const FIELDS[] = {"prompt", "logprobs", "echo", "suffix", NULL};

static void note_top(api_choice *choice, const es_event *event)
{
    es_buffer *out = &choice->legacy[LEGACY_TOP];
    json_put_comma(out);
    json_put(out, "{");
    for (size_t i = 0; i < event->top_count; i++) {
        if (i > 0) json_put(out, ",");
        api_put_token_text(out, choice->call->api, event->top[i].token);
        json_put(out, ":");
        json_put_real(out, event->top[i].logprob);
    }
    json_put(out, "}");
}

static size_t count_characters(const es_vocabulary_token *token)
{
    size_t count = 0;
    for (uint32_t i = 0; token != NULL && i < token->meaning_bytes; i++)
        count += ((unsigned char)token->meaning[i] & 0xC0) != 0x80;
    return count;
}

static void note_token(api_choice *choice, const es_event *event)
{
    es_api_call *call = choice->call;
    api_note_id(choice, event);
    if (!call->logprobs) return;
    json_put_comma(&choice->legacy[LEGACY_TOKENS]);
    api_put_token_text(&choice->legacy[LEGACY_TOKENS], call->api, event->token);
    json_put_comma(&choice->legacy[LEGACY_LOGPROBS]);
    json_put_real(&choice->legacy[LEGACY_LOGPROBS], event->logprob);
    if (call->top_logprobs > 0) note_top(choice, event);
    json_put_comma(&choice->offsets);
    json_put(&choice->offsets, "%zu", choice->text_offset);
    choice->text_offset += count_characters(es_tokenizer_token(call->api->chat.tokenizer, event->token));
}

static void put_choice(api_choice *choice, const char *text, size_t bytes)
{
    es_api_call *call = choice->call;
    es_buffer *out = &call->out;
    json_put(out, "{\"index\":%u,\"text\":", (unsigned)choice->index);
    json_put_string(out, text, bytes);
    if (!call->logprobs) {
        json_put(out, ",\"logprobs\":null");
    } else {
        json_put(out, ",\"logprobs\":{\"tokens\":[");
        json_put_items(out, &choice->legacy[LEGACY_TOKENS]);
        json_put(out, "],\"token_logprobs\":[");
        json_put_items(out, &choice->legacy[LEGACY_LOGPROBS]);
        json_put(out, "],\"text_offset\":[");
        json_put_items(out, &choice->offsets);
        if (call->top_logprobs > 0) {
            json_put(out, "],\"top_logprobs\":[");
            json_put_items(out, &choice->legacy[LEGACY_TOP]);
        }
        json_put(out, "]}");
    }
    api_put_choice_ids(choice);
    json_put(out, choice->finish != NULL ? ",\"finish_reason\":\"%s\"}" : ",\"finish_reason\":null}",
             choice->finish);
}

static void put_chunk(api_choice *choice, const char *text, size_t bytes)
{
    es_api_call *call = choice->call;
    api_event_begin(call, NULL);
    api_put_head(call, OBJECT);
    if (call->include_usage) json_put(&call->out, ",\"usage\":null");
    json_put(&call->out, ",\"choices\":[");
    put_choice(choice, text, bytes);
    json_put(&call->out, "]}");
    api_event_end(call);
}

static void start(es_api_call *call)
{
    for (size_t i = 0; i < call->choices; i++) {
        const es_buffer *echo = &call->echo[i / call->choices_each];
        if (echo->bytes > 0) put_chunk(&call->choice[i], echo->data, echo->bytes);
    }
}

static void piece(api_choice *choice, const api_piece *p)
{
    put_chunk(choice, p->text, p->bytes);
}

static void finish(api_choice *choice)
{
    put_chunk(choice, "", 0);
}

static void end(es_api_call *call)
{
    api_end_stream(call, OBJECT);
}

static void whole(es_api_call *call)
{
    api_put_head(call, OBJECT);
    json_put(&call->out, ",\"choices\":[");
    for (size_t i = 0; i < call->choices; i++) {
        api_choice *choice = &call->choice[i];
        es_buffer text = {0};
        const es_buffer *echo = &call->echo[i / call->choices_each];
        es_buffer_append(&text, echo->data, echo->bytes);
        es_buffer_append(&text, choice->content.data, choice->content.bytes);
        if (i > 0) json_put(&call->out, ",");
        put_choice(choice, text.data, text.bytes);
        call->out.failed = call->out.failed || text.failed || choice->content.failed;
        es_buffer_fini(&text);
    }
    json_put(&call->out, "]");
    if (call->wants_ids) {
        json_put(&call->out, ",\"prompt_token_ids\":[");
        for (size_t i = 0; i < call->choices / call->choices_each; i++) {
            json_put(&call->out, i > 0 ? ",[" : "[");
            json_put_items(&call->out, &call->prompt_ids[i]);
            json_put(&call->out, "]");
        }
        json_put(&call->out, "]");
    }
    json_put(&call->out, ",\"usage\":");
    api_put_usage(&call->out, call);
    json_put(&call->out, "}");
}

static uint32_t find(const es_api *api, const char *text)
{
    return es_tokenizer_find(api->chat.tokenizer, text, strlen(text));
}

/* Text with its layout tokens, as a model's own pipeline reads it: it begins with the begin token. */
static void add_text(es_api *api, const json_t *text, const json_t *suffix, api_ask *ask,
                     api_problem *problem)
{
    static const char *const HOLES[] = {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"};
    es_token_list *out = &ask->prompt[ask->prompts++];
    const json_t *parts[] = {text, suffix, NULL};
    uint32_t begin = find(api, api->chat.format.bos);
    es_err err = {0};
    es_status status = ES_OK;
    bool fits = begin == ES_TOKEN_NONE || es_token_list_append(out, begin);
    for (size_t i = 0; i < 3 && status == ES_OK; i++) {
        bool more = false;
        uint32_t hole = suffix != NULL ? find(api, HOLES[i]) : ES_TOKEN_NONE;
        if (suffix != NULL && hole == ES_TOKEN_NONE)
            api_problem_set(problem, 422, "not_supported", "suffix",
                            "suffix: this model has no tokens for it");
        fits = fits && (hole == ES_TOKEN_NONE || es_token_list_append(out, hole));
        if (parts[i] != NULL)
            status = es_tokenizer_encode_quoted(api->chat.tokenizer, json_string_value(parts[i]),
                                                json_string_length(parts[i]), NULL, 0, api_tokens_max(api),
                                                out, &more, &err);
        ask->too_long = ask->too_long || more;
    }
    if (status == ES_OK && !fits) status = es_err_set(&err, ES_NO_MEMORY, "not enough memory");
    if (status != ES_OK) api_problem_from(problem, api, &err);
    bool twice = out->count > 1 && suffix == NULL && begin != ES_TOKEN_NONE && out->ids[1] == begin;
    if (twice) memmove(out->ids, out->ids + 1, --out->count * sizeof *out->ids);
}

static void add_tokens(es_api *api, const json_t *list, api_ask *ask, api_problem *problem)
{
    es_token_list *out = &ask->prompt[ask->prompts++];
    for (size_t i = 0; i < json_array_size(list) && problem->status == 0; i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || (uint64_t)id >= api->options.model->shape.vocab)
            api_problem_set(problem, 400, "invalid_value", "prompt", "prompt: item %zu is no token of %zu", i,
                            api->options.model->shape.vocab);
        else if (!es_token_list_append(out, (uint32_t)id))
            api_problem_set(problem, 503, "out_of_memory", NULL, "not enough memory");
    }
    if (json_array_size(list) == 0)
        api_problem_set(problem, 400, "invalid_value", "prompt", "prompt: no tokens");
}

static void read_prompt(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *prompt = json_object_get(body, "prompt"), *suffix = json_object_get(body, "suffix");
    const json_t *first = json_array_get(prompt, 0);
    bool many = json_is_string(first) || json_is_array(first);
    size_t count = many ? json_array_size(prompt) : 1;
    if (json_is_null(suffix)) suffix = NULL;
    if (suffix != NULL && !json_is_string(suffix))
        api_problem_set(problem, 400, "invalid_type", "suffix", "suffix: not a string");
    if (!json_is_string(prompt) && json_array_size(prompt) == 0)
        api_problem_set(problem, 400, "invalid_value", "prompt", "prompt: neither text nor tokens");
    if (count * ask->choices > API_CHOICES_MAX)
        api_problem_set(problem, 400, "invalid_value", "prompt", "prompt: more than %d answers",
                        API_CHOICES_MAX);
    for (size_t i = 0; i < count && problem->status == 0; i++) {
        const json_t *item = many ? json_array_get(prompt, i) : prompt;
        if (json_is_string(item))
            add_text(api, item, suffix, ask, problem);
        else if (json_is_array(item))
            add_tokens(api, item, ask, problem);
        else
            api_problem_set(problem, 400, "invalid_type", "prompt",
                            "prompt: item %zu is neither text nor tokens", i);
    }
    api_check_context(api, ask, "prompt", problem);
}

static void read_body(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    api_note_unknown(api, body, FIELDS, API_SAMPLING_FIELDS);
    api_read_model(api, body, ask, problem);
    api_read_sampling(api, body, ask, problem);
    if (ask->max_tokens == 0) ask->max_tokens = DEFAULT_TOKENS;
    const json_t *logprobs = json_object_get(body, "logprobs");
    ask->logprobs = logprobs != NULL && !json_is_null(logprobs);
    api_read_count(body, "logprobs", 0, ES_TOP_LOGPROBS_MAX, &ask->top_logprobs, problem);
    api_read_flag(body, "echo", &ask->echo, problem);
    if (ask->echo && ask->logprobs)
        api_problem_set(problem, 422, "not_supported", "echo", "echo: not together with logprobs");
    if (problem->status == 0) read_prompt(api, body, ask, problem);
}

/* The prompts as text, before the answers'. */
static void keep_echo(es_api_call *call, const api_ask *ask)
{
    for (size_t i = 0; i < ask->prompts && ask->echo; i++) {
        es_detokenizer words;
        es_detokenizer_init(&words, call->api->chat.tokenizer, true);
        for (size_t k = 0; k < ask->prompt[i].count; k++)
            es_detokenizer_feed(&words, ask->prompt[i].ids[k], &call->echo[i]);
        es_detokenizer_flush(&words, &call->echo[i]);
        call->out.failed = call->out.failed || call->echo[i].failed;
    }
}

void api_completions(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    static const api_writer WRITER = {.family = API_OPENAI,
                                      .id_prefix = "cmpl-",
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
    if (body != NULL) read_body(call->api, body, &ask, problem);
    if (problem->status == 0) keep_echo(call, &ask);
    api_call_submit(call, request, &ask, &WRITER, problem);
    api_ask_fini(&ask);
    json_decref(body);
}
