/* A request's life between two threads: who asked holds it, and the engine does; the last one frees it. */
#include "base/clock.h"
#include "base/size.h"
#include "net/wire.h"
#include "sched/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Events that are kept beside the last ones of each answer. */
enum { EVENTS = 256 };

const char *es_finish_name(es_finish finish)
{
    static const char *const NAMES[] = {"stop", "length", "cancelled"};
    return NAMES[finish];
}

size_t es_request_item_bytes(const es_request *request)
{
    return sizeof(es_event) + request->top_logprobs * sizeof(es_logprob);
}

static es_status check_tokens(const char *what, const uint32_t *tokens, size_t count, size_t vocab,
                              es_err *err)
{
    for (size_t i = 0; i < count; i++)
        if (tokens[i] >= vocab)
            return es_err_set(err, ES_INVALID, "%s: token %u is not below the vocabulary of %zu", what,
                              (unsigned)tokens[i], vocab);
    return ES_OK;
}

static es_status check_options(const es_engine *engine, const es_request_options *o, es_err *err)
{
    size_t vocab = engine->options.model->shape.vocab;
    if (o->prompt_count == 0) return es_err_set(err, ES_INVALID, "the prompt has no tokens");
    if (o->prompt_count >= engine->context)
        return es_err_set(err, ES_INVALID, "the prompt of %zu tokens leaves no room in the context of %zu",
                          o->prompt_count, engine->context);
    if (o->id != NULL && (strlen(o->id) > ES_REQUEST_ID_MAX || !es_wire_requests_valid(o->id)))
        return es_err_set(err, ES_INVALID, "id: not at most %d letters, digits and \"._:-\"",
                          ES_REQUEST_ID_MAX);
    if (o->choices > ES_CHOICES_MAX)
        return es_err_set(err, ES_INVALID, "%zu answers are more than %d", o->choices, ES_CHOICES_MAX);
    if (o->stop_count > ES_STOP_TOKENS_MAX)
        return es_err_set(err, ES_INVALID, "%zu stop tokens are more than %d", o->stop_count,
                          ES_STOP_TOKENS_MAX);
    if (o->top_logprobs > ES_TOP_LOGPROBS_MAX || o->top_logprobs > vocab)
        return es_err_set(err, ES_INVALID, "top_logprobs: %zu is more than %zu", o->top_logprobs,
                          es_size_min(ES_TOP_LOGPROBS_MAX, vocab));
    es_status status = check_tokens("prompt", o->prompt, o->prompt_count, vocab, err);
    if (status == ES_OK) status = check_tokens("stop", o->stop, o->stop_count, vocab, err);
    if (status == ES_OK) status = es_sampling_check(&o->sampling, err);
    if (status == ES_OK && o->plan != NULL &&
        es_constraint_plan_mask_words(o->plan) != es_size_ceil_div(vocab, 64))
        status = es_err_set(err, ES_MISMATCH, "the answer's form is for another vocabulary");
    return status;
}

static void sequence_fini(es_sequence *sequence)
{
    free(sequence->tokens);
    es_draw_fini(&sequence->draw);
}

static void request_free(es_request *request)
{
    for (size_t i = 0; i < request->choices; i++) sequence_fini(&request->sequence[i]);
    es_queue_destroy(&request->events);
    es_constraint_plan_release(&request->plan);
    free(request->taken);
    free(request->stop);
    free(request);
}

/* The prompt stands in the first answer only: the others copy it when they begin. */
static es_status sequence_init(es_sequence *sequence, const es_engine *engine, es_request *request,
                               uint32_t choice, const es_request_options *o, es_err *err)
{
    es_sampling sampling = o->sampling;
    sampling.seed += choice;
    es_status status = es_draw_init(&sequence->draw, &sampling, o->bias, o->bias_count,
                                    engine->options.model->shape.vocab, err);
    if (status != ES_OK) return status;
    sequence->request = request;
    sequence->choice = choice;
    sequence->node = ES_KV_PAGE_NONE;
    sequence->count = o->prompt_count;
    sequence->outcome.prompt_tokens = o->prompt_count;
    if (choice > 0) return ES_OK;
    sequence->room = o->prompt_count;
    sequence->tokens = calloc(sequence->room, sizeof *sequence->tokens);
    if (sequence->tokens == NULL)
        return es_err_set(err, ES_NO_MEMORY, "request of %zu tokens", o->prompt_count);
    memcpy(sequence->tokens, o->prompt, o->prompt_count * sizeof *o->prompt);
    return ES_OK;
}

static es_status fill(const es_engine *engine, const es_request_options *o, es_request *request, es_err *err)
{
    size_t item_bytes = es_request_item_bytes(request);
    es_status status = es_queue_create(item_bytes, EVENTS + 3 * request->choices + 1, o->wake, o->context,
                                       &request->events, err);
    for (uint32_t i = 0; i < request->choices && status == ES_OK; i++)
        status = sequence_init(&request->sequence[i], engine, request, i, o, err);
    if (status != ES_OK) return status;
    request->taken = malloc(item_bytes);
    request->stop = calloc(es_size_max(o->stop_count, 1), sizeof *request->stop);
    if (request->taken == NULL || request->stop == NULL) return es_err_set(err, ES_NO_MEMORY, "request");
    if (o->stop_count > 0) memcpy(request->stop, o->stop, o->stop_count * sizeof *o->stop);
    return ES_OK;
}

es_status es_request_create(const es_engine *engine, const es_request_options *o, es_request **ret_request,
                            es_err *err)
{
    *ret_request = NULL;
    es_status status = check_options(engine, o, err);
    if (status != ES_OK) return status;
    size_t choices = es_size_max(o->choices, 1);
    es_request *request = calloc(1, sizeof *request + choices * sizeof request->sequence[0]);
    if (request == NULL) return es_err_set(err, ES_NO_MEMORY, "request");
    size_t most = engine->context - o->prompt_count;
    request->choices = request->live = choices;
    request->inbox = engine->inbox;
    request->stop_count = o->stop_count;
    request->prompt_count = o->prompt_count;
    request->most = o->max_tokens > 0 ? es_size_min(most, o->max_tokens) : most;
    request->wants_logprobs = o->wants_logprobs;
    request->top_logprobs = o->wants_logprobs ? o->top_logprobs : 0;
    request->key = o->key;
    request->deadline_ns = o->deadline_ns;
    request->plan = o->plan != NULL ? es_constraint_plan_hold(o->plan) : NULL;
    request->submitted_ns = es_clock_now_ns();
    snprintf(request->id, sizeof request->id, "%s", o->id != NULL && o->id[0] != '\0' ? o->id : "-");
    atomic_init(&request->holders, 2);
    status = fill(engine, o, request, err);
    if (status != ES_OK) {
        request_free(request);
        return status;
    }
    *ret_request = request;
    return ES_OK;
}

void es_request_release(es_request *request)
{
    if (atomic_fetch_sub(&request->holders, 1) == 1) request_free(request);
}

/* An item is an event and its top, at whatever address the queue had it. */
static bool open_item(es_request *request, bool taken, es_event *ret_event)
{
    if (!taken) return false;
    memcpy(ret_event, request->taken, sizeof *ret_event);
    ret_event->top = (const es_logprob *)(const void *)(request->taken + sizeof(es_event));
    ret_event->err = ret_event->kind == ES_EVENT_FAILED ? &request->err : NULL;
    if (atomic_load(&request->starved) && es_queue_room(request->events) >= EVENTS / 2) {
        atomic_store(&request->starved, false);
        es_queue_poke(request->inbox);
    }
    return true;
}

bool es_request_next(es_request *request, es_event *ret_event)
{
    return open_item(request, es_queue_pop(request->events, request->taken), ret_event);
}

bool es_request_wait(es_request *request, int timeout_ms, es_event *ret_event)
{
    uint64_t deadline_ns = es_clock_now_ns() + (uint64_t)timeout_ms * 1000000u;
    return open_item(request, es_queue_pop_wait(request->events, deadline_ns, request->taken), ret_event);
}

void es_request_cancel(es_request *request)
{
    if (!atomic_exchange(&request->cancelled, true)) es_queue_poke(request->inbox);
}

void es_request_stop(es_request *request, uint32_t choice)
{
    ES_ASSERT(choice < request->choices);
    atomic_fetch_or(&request->stopped, 1u << choice);
    es_queue_poke(request->inbox);
}

void es_request_close(es_request **request_at)
{
    es_request *request = *request_at;
    if (request == NULL) return;
    es_queue_close(request->events);
    es_request_cancel(request);
    es_request_release(request);
    *request_at = NULL;
}
