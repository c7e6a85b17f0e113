/* A call's life: begun, answered by the engine's events, pulled by its transport, closed. */
#include "api/internal.h"
#include "base/clock.h"
#include "base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char JSON_TYPE[] = "application/json; charset=utf-8";
static const char STREAM_TYPE[] = "text/event-stream; charset=utf-8";

void api_call_header(es_api_call *call, const char *name, const char *format, ...)
{
    ES_ASSERT(call->headers < ES_API_HEADERS_MAX);
    es_api_header *header = &call->header[call->headers++];
    snprintf(header->name, sizeof header->name, "%s", name);
    va_list args;
    va_start(args, format);
    vsnprintf(header->value, sizeof header->value, format, args);
    va_end(args);
}

/* Anthropic's clients show this header in their errors; x-request-id is the transport's. */
static void name_call(es_api_call *call)
{
    if (call->family != API_ANTHROPIC) return;
    if (call->id[0] == '\0') api_make_id(call->api, "req_", call->id);
    api_call_header(call, "request-id", "%s", call->id);
}

void api_call_refuse(es_api_call *call, const api_problem *problem)
{
    call->out.bytes = 0;
    call->headers = 0;
    call->streams = false;
    call->status = problem->status;
    name_call(call);
    if (problem->retry_after_s > 0)
        api_call_header(call, "retry-after", "%u", problem->retry_after_s);
    else
        api_call_header(call, "x-should-retry", "false");
    if (problem->allow != NULL) api_call_header(call, "allow", "%s", problem->allow);
    api_put_problem(&call->out, call->family, problem);
    call->content_type = JSON_TYPE;
    call->complete = true;
}

void api_call_answer(es_api_call *call)
{
    call->status = 200;
    call->content_type = JSON_TYPE;
    call->complete = true;
    name_call(call);
}

void api_event_begin(es_api_call *call, const char *name)
{
    if (name != NULL) json_put(&call->out, "event: %s\n", name);
    json_put(&call->out, "data: ");
}

void api_event_end(es_api_call *call)
{
    json_put(&call->out, "\n\n");
}

static es_status submit_one(es_api_call *call, const es_api_request *request, const api_ask *ask,
                            size_t prompt, es_constraint_plan *plan, es_err *err)
{
    const es_request_options options = {.id = request->id,
                                        .key = request->key,
                                        .prompt = ask->prompt[prompt].ids,
                                        .prompt_count = ask->prompt[prompt].count,
                                        .choices = ask->choices,
                                        .max_tokens = ask->max_tokens,
                                        .stop = ask->stop_token,
                                        .stop_count = ask->stop_tokens,
                                        .sampling = ask->sampling,
                                        .bias = ask->bias,
                                        .bias_count = ask->biases,
                                        .wants_logprobs = ask->logprobs,
                                        .top_logprobs = ask->top_logprobs,
                                        .plan = plan,
                                        .wake = request->wake,
                                        .context = request->context};
    es_status status = es_engine_submit(call->api->options.engine, &options, &call->request[prompt], err);
    if (status == ES_OK) call->requests++;
    return status;
}

static es_status make_choices(es_api_call *call, const api_ask *ask, es_err *err)
{
    size_t count = ask->prompts * ask->choices;
    call->choice = calloc(count, sizeof *call->choice);
    for (size_t i = 0; i < ask->stops; i++)
        es_buffer_append(&call->stop_texts, ask->stop[i].text, ask->stop[i].bytes);
    if (call->choice == NULL || call->stop_texts.failed)
        return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    call->choices_each = ask->choices;
    es_status status = ES_OK;
    for (; call->choices < count && status == ES_OK; call->choices++)
        status = api_choice_init(&call->choice[call->choices], call, (uint32_t)call->choices, ask, err);
    return status;
}

void api_call_submit(es_api_call *call, const es_api_request *request, const api_ask *ask,
                     const api_writer *writer, api_problem *problem)
{
    es_err err;
    if (problem->status != 0) return;
    call->writer = writer;
    call->streams = ask->stream;
    call->model = ask->model;
    call->include_usage = ask->include_usage;
    call->wants_ids = ask->token_ids;
    call->logprobs = ask->logprobs;
    call->top_logprobs = ask->top_logprobs;
    call->created = time(NULL);
    api_make_id(call->api, writer->id_prefix, call->id);
    es_constraint_plan *plan = NULL;
    es_status status = make_choices(call, ask, &err);
    if (status == ES_OK && ask->splits && es_constrain_is_needed(&ask->form))
        status = api_plan_get(call->api, ask, &plan, &err);
    for (size_t i = 0; i < ask->prompts && status == ES_OK; i++) {
        call->prompt_tokens += ask->prompt[i].count;
        if (ask->token_ids) api_put_ids(&call->prompt_ids[i], ask->prompt[i].ids, ask->prompt[i].count);
        status = submit_one(call, request, ask, i, plan, &err);
    }
    es_constraint_plan_release(&plan);
    call->live = call->choices;
    if (status != ES_OK) api_problem_from(problem, call->api, &err);
}

/* A stream's head is given: what comes now can only be told within it. */
static void start_stream(es_api_call *call)
{
    if (call->started) return;
    call->started = true;
    call->status = 200;
    call->content_type = STREAM_TYPE;
    name_call(call);
    api_call_header(call, "cache-control", "no-cache");
    api_call_header(call, "x-accel-buffering", "no"); /* proxies shall pass events on as they come */
    call->said_ns = es_clock_now_ns();
}

static void close_requests(es_api_call *call)
{
    for (size_t i = 0; i < API_CHOICES_MAX; i++) es_request_close(&call->request[i]);
}

static void fail(es_api_call *call, const es_err *err)
{
    api_problem problem = {0};
    api_problem_from(&problem, call->api, err);
    if (call->started)
        call->writer->fail(call, &problem);
    else
        api_call_refuse(call, &problem);
    call->complete = true;
    close_requests(call);
}

static void finish_choice(es_api_call *call, api_choice *choice, const es_event *event)
{
    if (event->choice == 0) call->cached_tokens += event->outcome.cached_tokens;
    api_choice_finish(choice, event->outcome.finish);
    if (call->streams) call->writer->finish(choice);
    if (--call->live > 0) return;
    if (call->streams) {
        call->writer->end(call);
        call->complete = true;
    } else {
        call->writer->whole(call);
        api_call_answer(call);
    }
    close_requests(call);
}

static void take_event(es_api_call *call, size_t request, const es_event *event)
{
    api_choice *choice = &call->choice[request * call->choices_each + event->choice];
    if (event->kind == ES_EVENT_TOKEN && call->first_ns == 0) call->first_ns = es_clock_now_ns();
    if (event->kind == ES_EVENT_FAILED) {
        fail(call, event->err);
        return;
    }
    if (call->streams && !call->spoke) {
        start_stream(call);
        call->spoke = true;
        call->writer->start(call);
    }
    if (event->kind == ES_EVENT_DONE)
        finish_choice(call, choice, event);
    else if (api_choice_take(choice, event))
        es_request_stop(call->request[request], event->choice);
}

/* Takes what the engine has to tell, as long as there is room for what becomes of it. */
static void advance(es_api_call *call)
{
    es_event event;
    for (size_t i = 0; i < call->requests && !call->complete; i++)
        while (!call->complete && (!call->streams || call->out.bytes < API_AHEAD_BYTES) &&
               es_request_next(call->request[i], &event))
            take_event(call, i, &event);
    if (call->out.failed && call->writer != NULL) {
        es_err err;
        es_buffer_fini(&call->out);
        es_err_set(&err, ES_NO_MEMORY, "not enough memory for the answer's text");
        fail(call, &err);
    }
}

static void keep_alive(es_api_call *call)
{
    json_put(&call->out, ": keep-alive\n\n");
}

static bool is_silent(uint64_t since_ns)
{
    return es_clock_now_ns() - since_ns >= API_KEEP_ALIVE_MS * 1000000ull;
}

bool es_api_call_head(es_api_call *call, es_api_head *ret_head)
{
    if (!call->complete) advance(call);
    if (call->streams && !call->started && !call->complete && is_silent(call->begun_ns)) {
        start_stream(call);
        keep_alive(call);
    }
    if (!call->started && !call->complete) return false;
    *ret_head = (es_api_head){.status = call->status,
                              .content_type = call->content_type,
                              .headers = call->headers,
                              .streams = call->streams,
                              .content_bytes = call->streams ? 0 : call->out.bytes - call->given};
    memcpy(ret_head->header, call->header, sizeof call->header);
    return true;
}

es_api_pulled es_api_call_pull(es_api_call *call, char *out, size_t room, size_t *ret_bytes)
{
    if (!call->complete) advance(call);
    bool silent =
        call->started && !call->complete && call->out.bytes == call->given && is_silent(call->said_ns);
    if (silent) keep_alive(call);
    size_t bytes = es_size_min(room, call->out.bytes - call->given);
    *ret_bytes = bytes;
    if (bytes == 0 || (!call->streams && !call->complete)) {
        *ret_bytes = 0;
        return call->complete ? ES_API_END : ES_API_WAIT;
    }
    memcpy(out, call->out.data + call->given, bytes);
    call->given += bytes;
    call->said_ns = es_clock_now_ns();
    if (call->given == call->out.bytes) call->given = call->out.bytes = 0;
    return ES_API_BYTES;
}

es_api_summary es_api_call_summary(const es_api_call *call)
{
    es_api_summary summary = {.prompt_tokens = call->prompt_tokens,
                              .cached_tokens = call->cached_tokens,
                              .finish = "",
                              .first_ns = call->first_ns};
    for (size_t i = 0; i < call->choices; i++) {
        summary.new_tokens += call->choice[i].tokens;
        if (call->complete && call->choice[i].finish != NULL) summary.finish = call->choice[i].finish;
    }
    return summary;
}

void es_api_call_close(es_api_call **call_at)
{
    es_api_call *call = *call_at;
    if (call == NULL) return;
    close_requests(call);
    for (size_t i = 0; i < call->choices; i++) api_choice_fini(&call->choice[i]);
    free(call->choice);
    es_buffer_fini(&call->out);
    es_buffer_fini(&call->stop_texts);
    for (size_t i = 0; i < API_CHOICES_MAX; i++) {
        es_buffer_fini(&call->prompt_ids[i]);
        es_buffer_fini(&call->echo[i]);
    }
    free(call);
    *call_at = NULL;
}
