/* The course of one answer: it waits, runs, perhaps gives its pages back and runs again, and ends. */
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "sched/internal.h"

#include <stdlib.h>
#include <string.h>

static double seconds_between(uint64_t start_ns, uint64_t end_ns)
{
    return (double)(end_ns - start_ns) * 1e-9;
}

/* To whom asked, if still there. */
static void tell(es_engine *e, es_request *request, const es_event *event)
{
    memcpy(e->item, event, sizeof *event);
    es_queue_push(request->events, e->item);
}

void es_answer_queue(es_engine *e, es_sequence *s)
{
    if (s->state == ES_SEQUENCE_HELD) s->share = es_shares_join(e->shares, s->request->key);
    s->state = ES_SEQUENCE_WAITING;
    es_sequence **at = &s->share->line;
    while (*at != NULL && (*at)->arrival <= s->arrival) at = &(*at)->line_next;
    s->line_next = *at;
    *at = s;
    e->stats.waiting++;
}

static void leave_line(es_engine *e, es_sequence *s)
{
    es_sequence **at = &s->share->line;
    while (*at != s) at = &(*at)->line_next;
    *at = s->line_next;
    e->stats.waiting--;
}

static void leave_running(es_engine *e, es_sequence *s)
{
    size_t i = 0;
    while (e->running[i] != s) i++;
    memmove(&e->running[i], &e->running[i + 1], (e->running_count - i - 1) * sizeof(es_sequence *));
    e->running_count--;
    es_kv_destroy(&s->kv);
    s->node = ES_KV_PAGE_NONE;
    s->node_pages = 0;
    s->planned = 0;
}

/* Pages that the running sequences will take until their prompts are computed. */
static size_t promised_pages(const es_engine *e)
{
    size_t pages = 0;
    for (size_t i = 0; i < e->running_count; i++) {
        const es_sequence *s = e->running[i];
        pages += es_kv_pages_needed(s->kv, s->length, s->count);
    }
    return pages;
}

/* Pages, the prompt, and room for all its tokens, so that steps need not ask for memory. */
static es_status give_memory(es_engine *e, es_sequence *s, es_err *err)
{
    size_t room = s->request->prompt_count + s->request->most;
    if (s->room < room) {
        uint32_t *tokens = realloc(s->tokens, room * sizeof *tokens);
        if (tokens == NULL) return es_err_set(err, ES_NO_MEMORY, "sequence of %zu tokens", room);
        if (s->room == 0) memcpy(tokens, s->request->sequence[0].tokens, s->count * sizeof *tokens);
        s->tokens = tokens;
        s->room = room;
    }
    return es_kv_create(e->pool, e->context, &s->kv, err);
}

static void note_first_admission(es_engine *e, es_sequence *s, uint64_t now)
{
    es_request *r = s->request;
    if (r->queued) {
        r->queued = false;
        es_places_give(e->places, r->key);
    }
    if (s->began) return;
    s->began = true;
    s->admitted_ns = now;
    s->outcome.cached_tokens = s->length;
    s->outcome.queue_seconds = seconds_between(r->submitted_ns, now);
    es_histogram_add(&e->stats.queue_seconds, s->outcome.queue_seconds);
    e->stats.prompt_tokens += s->count;
    e->stats.cache_hit_tokens += s->length;
}

bool es_answer_admit(es_engine *e, es_sequence *s)
{
    es_err err;
    if (give_memory(e, s, &err) != ES_OK) {
        es_answer_fail(e, s->request, &err);
        return true;
    }
    /* The last token is computed in any case: its logits are what comes next. */
    uint32_t node = ES_KV_PAGE_NONE;
    size_t known = es_prefix_cache_match(e->cache, &node, s->tokens, s->count - 1, s->kv);
    size_t needed = es_kv_pages_needed(s->kv, known, s->count + 1) + promised_pages(e);
    if (needed > es_kv_pool_free_pages(e->pool) &&
        needed > es_kv_pool_free_pages(e->pool) + es_prefix_cache_idle_pages(e->cache)) {
        es_kv_destroy(&s->kv);
        return false;
    }
    leave_line(e, s);
    s->state = ES_SEQUENCE_RUNNING;
    s->length = known;
    s->node = node;
    s->node_pages = known / ES_KV_TILE;
    e->running[e->running_count++] = s;
    note_first_admission(e, s, es_clock_now_ns());
    return true;
}

void es_answer_remember(es_engine *e, es_sequence *s, bool all)
{
    while ((s->node_pages + 1) * ES_KV_TILE <= s->length) {
        s->node = es_prefix_cache_add(e->cache, s->node, s->tokens + s->node_pages * ES_KV_TILE, ES_KV_TILE,
                                      s->kv, s->node_pages);
        s->node_pages++;
    }
    size_t rest = s->length - s->node_pages * ES_KV_TILE;
    if (all && rest > 0)
        es_prefix_cache_add(e->cache, s->node, s->tokens + s->node_pages * ES_KV_TILE, rest, s->kv,
                            s->node_pages);
}

void es_answer_preempt(es_engine *e, es_sequence *s)
{
    es_answer_remember(e, s, true);
    leave_running(e, s);
    s->length = 0;
    s->resumed = true;
    es_answer_queue(e, s);
    e->stats.preemptions++;
}

/* Whatever state it is in, it is over; nothing is told. */
static void end(es_engine *e, es_sequence *s)
{
    if (s->state == ES_SEQUENCE_WAITING) leave_line(e, s);
    if (s->state == ES_SEQUENCE_RUNNING) {
        es_answer_remember(e, s, true);
        leave_running(e, s);
    }
    if (s->state != ES_SEQUENCE_HELD) es_shares_leave(e->shares, s->share);
    s->state = ES_SEQUENCE_OVER;
    es_constraint_destroy(&s->constraint);
    es_request *r = s->request;
    if (--r->live > 0) return;
    if (r->queued) es_places_give(e->places, r->key);
    r->queued = false;
    if (s->began)
        e->spent_seconds = 0.9 * e->spent_seconds + 0.1 * seconds_between(s->admitted_ns, es_clock_now_ns());
}

void es_answer_finish(es_engine *e, es_sequence *s, es_finish finish)
{
    uint64_t now = es_clock_now_ns();
    s->outcome.finish = finish;
    if (s->began) {
        uint64_t first = s->first_token_ns != 0 ? s->first_token_ns : now;
        s->outcome.prefill_seconds = seconds_between(s->admitted_ns, first);
        s->outcome.decode_seconds = seconds_between(first, now);
    }
    uint64_t *counters[] = {&e->stats.stopped, &e->stats.length, &e->stats.cancelled};
    ++*counters[finish];
    const es_event event = {
        .kind = ES_EVENT_DONE, .choice = s->choice, .step = e->stats.steps, .outcome = s->outcome};
    end(e, s);
    tell(e, s->request, &event);
}

void es_answer_fail(es_engine *e, es_request *r, const es_err *err)
{
    const es_log_field fields[] = {es_log_text("request", r->id), es_log_count("step", e->stats.steps)};
    es_log_with(ES_LOG_INFO, fields, "a request failed: %s", err->text);
    for (size_t i = 0; i < r->choices; i++) {
        if (r->sequence[i].state == ES_SEQUENCE_OVER) continue;
        end(e, &r->sequence[i]);
        e->stats.failed++;
    }
    r->err = *err;
    tell(e, r, &(es_event){.kind = ES_EVENT_FAILED, .step = e->stats.steps});
}

/* The prompt of the request's first answer is computed: the others find it in the prefix cache. */
static void release_held(es_engine *e, es_sequence *s)
{
    es_request *r = s->request;
    if (s->choice != 0 || r->choices == 1) return;
    es_answer_remember(e, s, true);
    for (size_t i = 1; i < r->choices; i++)
        if (r->sequence[i].state == ES_SEQUENCE_HELD) es_answer_queue(e, &r->sequence[i]);
}

static void note_time(es_engine *e, es_sequence *s)
{
    uint64_t now = es_clock_now_ns();
    if (s->first_token_ns == 0) {
        s->first_token_ns = now;
        es_histogram_add(&e->stats.first_token_seconds, seconds_between(s->request->submitted_ns, now));
        release_held(e, s);
    } else {
        es_histogram_add(&e->stats.token_seconds, seconds_between(s->last_token_ns, now));
    }
    s->last_token_ns = now;
}

static es_status draw_token(es_engine *e, es_sequence *s, const float *logits, uint32_t *ret_token,
                            es_err *err)
{
    uint64_t *mask = s->request->plan != NULL ? e->mask : NULL;
    es_status status = ES_OK;
    if (mask != NULL && s->constraint == NULL)
        status = es_constraint_open(s->request->plan, &s->constraint, err);
    if (mask != NULL && status == ES_OK) status = es_constraint_fill_mask(s->constraint, mask, err);
    if (status != ES_OK) return status;
    status = es_sampler_next(e->sampler, &s->draw, logits, mask, ret_token, err);
    if (status == ES_OK && *ret_token == ES_SAMPLER_NONE)
        return es_err_set(err, ES_INVALID, "no token of the vocabulary may come next");
    return status;
}

static bool is_stop(const es_request *request, uint32_t token)
{
    for (size_t i = 0; i < request->stop_count; i++)
        if (request->stop[i] == token) return true;
    return false;
}

static void tell_token(es_engine *e, es_sequence *s, const float *logits, uint32_t token)
{
    const es_request *r = s->request;
    es_event event = {.kind = ES_EVENT_TOKEN,
                      .choice = s->choice,
                      .step = e->stats.steps,
                      .token = token,
                      .top_count = r->top_logprobs};
    es_logprob *top = (es_logprob *)(void *)(e->item + sizeof event);
    if (r->wants_logprobs)
        event.logprob = es_sampler_logprobs(e->sampler, logits, token, top, r->top_logprobs);
    tell(e, s->request, &event);
}

void es_answer_advance(es_engine *e, es_sequence *s, const float *logits)
{
    es_err err;
    uint32_t token;
    note_time(e, s);
    es_status status = draw_token(e, s, logits, &token, &err);
    bool is_end = status == ES_OK && is_stop(s->request, token);
    if (status == ES_OK && !is_end && s->constraint != NULL)
        status = es_constraint_accept(s->constraint, token, &err);
    if (status != ES_OK) {
        es_answer_fail(e, s->request, &err);
        return;
    }
    if (is_end) {
        es_answer_finish(e, s, ES_FINISH_STOP);
        return;
    }
    s->outcome.new_tokens++;
    tell_token(e, s, logits, token);
    if (s->outcome.new_tokens == s->request->most) {
        es_answer_finish(e, s, ES_FINISH_LENGTH);
        return;
    }
    s->tokens[s->count++] = token;
}
