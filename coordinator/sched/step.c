/* One step of the engine: who runs, which rows are computed, and what becomes of them. */
#include "base/clock.h"
#include "base/log.h"
#include "base/size.h"
#include "net/wire.h"
#include "sched/internal.h"

#include <string.h>

/* A sequence that generates has one row to compute; one whose prompt is not computed yet has more. */
static size_t pending(const es_sequence *s)
{
    return s->count - s->length;
}

/* Whether the events that a step can bring find room, and after them those that end the request. */
static bool has_room(es_request *request)
{
    size_t needed = 3 * request->choices + 1;
    if (es_queue_room(request->events) >= needed || atomic_load(&request->cancelled)) return true;
    atomic_store(&request->starved, true);
    return es_queue_room(request->events) >= needed;
}

/* The waiting sequence whose turn it is: of the key that is least served when all it has running is counted.
 */
static es_sequence *next_waiting(es_engine *e)
{
    es_share *best = NULL;
    for (es_share *share = es_shares_next(e->shares, NULL); share != NULL;
         share = es_shares_next(e->shares, share))
        share->owed = 0;
    for (size_t i = 0; i < e->running_count; i++) e->running[i]->share->owed += pending(e->running[i]);
    for (es_share *share = es_shares_next(e->shares, NULL); share != NULL;
         share = es_shares_next(e->shares, share)) {
        if (share->line == NULL) continue;
        uint64_t level = share->served + share->owed;
        if (best == NULL || level < best->served + best->owed ||
            (level == best->served + best->owed && share->line->arrival < best->line->arrival))
            best = share;
    }
    return best == NULL ? NULL : best->line;
}

static void admit(es_engine *e)
{
    while (e->running_count < e->options.running_max) {
        es_sequence *s = next_waiting(e);
        if (s == NULL || !es_answer_admit(e, s)) return;
    }
}

/* Who gives pages back: of the most served key the youngest. */
static es_sequence *pick_victim(const es_engine *e)
{
    es_sequence *victim = NULL;
    for (size_t i = 0; i < e->running_count; i++) {
        es_sequence *s = e->running[i];
        if (victim == NULL || s->share->served > victim->share->served ||
            (s->share->served == victim->share->served && s->arrival >= victim->arrival))
            victim = s;
    }
    return victim;
}

/* Pages for the next rows of a running sequence, taken from the prefix cache and then from other sequences.
 * False: it had to give back its own. */
static bool find_pages(es_engine *e, es_sequence *s, size_t rows)
{
    es_err err;
    es_status status;
    while ((status = es_kv_reserve(s->kv, s->length, s->length + rows, &err)) == ES_NO_MEMORY) {
        if (es_prefix_cache_evict(e->cache)) continue;
        es_sequence *victim = pick_victim(e);
        es_answer_preempt(e, victim);
        if (victim == s) return false;
    }
    ES_ASSERT(status == ES_OK); /* count never passes the context */
    return true;
}

static void plan_rows(es_engine *e, es_sequence *s, size_t rows)
{
    s->planned = rows;
    es_shares_charge(e->shares, s->share, rows);
}

/* One row for each sequence that generates. Returns how many. */
static size_t plan_decode(es_engine *e)
{
    for (size_t i = 0; i < e->running_count;) {
        es_sequence *s = e->running[i];
        if (s->planned > 0 || pending(s) != 1 || !has_room(s->request)) {
            i++;
            continue;
        }
        if (find_pages(e, s, 1)) plan_rows(e, s, 1);
        i = 0; /* sequences may have left the list */
    }
    size_t rows = 0;
    for (size_t i = 0; i < e->running_count; i++) rows += e->running[i]->planned;
    return rows;
}

/* The sequence whose prompt is computed next: of the least served key the one admitted first. */
static es_sequence *next_prefill(const es_engine *e)
{
    es_sequence *best = NULL;
    for (size_t i = 0; i < e->running_count; i++) {
        es_sequence *s = e->running[i];
        if (s->planned > 0 || pending(s) < 2 || !has_room(s->request)) continue;
        if (best == NULL || s->share->served < best->share->served) best = s;
    }
    return best;
}

/* At a page's border, takes what another sequence has computed meanwhile. */
static void skip_known(es_engine *e, es_sequence *s)
{
    if (s->length != s->node_pages * ES_KV_TILE || es_kv_page_count(s->kv) != s->node_pages) return;
    size_t known = es_prefix_cache_match(e->cache, &s->node, s->tokens + s->length, pending(s) - 1, s->kv);
    s->length += known;
    s->node_pages = s->length / ES_KV_TILE;
    if (s->resumed) return;
    s->outcome.cached_tokens += known;
    e->stats.cache_hit_tokens += known;
}

/* Rows of the next chunk, up to room: it ends at a page's border where it can, so that whole pages are shared
 * early. */
static size_t chunk_rows(const es_sequence *s, size_t room)
{
    size_t rows = es_size_min(pending(s), room), rest = (s->length + rows) % ES_KV_TILE;
    return rows < pending(s) && rest < rows ? rows - rest : rows;
}

/* Chunks of prompts, up to room rows. */
static void plan_prefill(es_engine *e, size_t room)
{
    es_sequence *s;
    while (room > 0 && (s = next_prefill(e)) != NULL) {
        skip_known(e, s);
        size_t rows = chunk_rows(s, room);
        if (!find_pages(e, s, rows)) continue;
        plan_rows(e, s, rows);
        room -= rows;
    }
}

/* The rows of all that is planned. Returns how many. */
static size_t collect(es_engine *e)
{
    size_t count = 0;
    e->stepped_count = 0;
    for (size_t i = 0; i < e->running_count; i++) {
        es_sequence *s = e->running[i];
        if (s->planned == 0) continue;
        e->stepped_rows[e->stepped_count] = s->planned;
        e->stepped[e->stepped_count++] = s;
        s->wants_logits = s->planned == pending(s);
        for (size_t r = 0; r < s->planned; r++) {
            size_t position = s->length + r;
            e->rows[count++] =
                (es_forward_row){s->tokens[position], (uint32_t)position, s->kv, position + 1 == s->count};
        }
    }
    return count;
}

/* The ids of the requests in the step, as many as there is room for. */
static void list_requests(const es_engine *e, char list[ES_WIRE_REQUESTS_MAX + 1])
{
    size_t at = 0;
    for (size_t i = 0; i < e->stepped_count; i++) {
        const char *id = e->stepped[i]->request->id;
        if (i > 0 && e->stepped[i]->request == e->stepped[i - 1]->request) continue;
        size_t bytes = strlen(id);
        if (at + bytes + 2 > ES_WIRE_REQUESTS_MAX) break;
        if (at > 0) list[at++] = ',';
        memcpy(list + at, id, bytes);
        at += bytes;
    }
    list[at] = '\0';
}

/* Lets the swarm's log lines, and its nodes', say what they are about. */
static void name_step(es_engine *e)
{
    char list[ES_WIRE_REQUESTS_MAX + 1];
    bool same = e->named_count == e->stepped_count;
    for (size_t i = 0; i < e->stepped_count; i++) {
        same = same && e->named[i] == e->stepped[i]->arrival;
        e->named[i] = e->stepped[i]->arrival;
    }
    e->named_count = e->stepped_count;
    if (!same) list_requests(e, list);
    es_swarm_name_step(e->options.swarm, e->stats.steps, same ? NULL : list);
}

static void count_step(es_engine *e, size_t rows, size_t decode, uint64_t start_ns)
{
    e->stats.decode_tokens += decode;
    e->stats.prefill_tokens += rows - decode;
    es_histogram_add(&e->stats.step_seconds, (double)(es_clock_now_ns() - start_ns) * 1e-9);
    es_histogram_add(&e->stats.step_rows, (double)rows);
    if (decode > 0) es_histogram_add(&e->stats.decode_rows, (double)decode);
    if (rows > decode) es_histogram_add(&e->stats.prefill_rows, (double)(rows - decode));
}

/* The sequence holds the step's entries, and when it is at its end gets a token from logits [vocab]. */
static void advance(es_engine *e, es_sequence *s, const float *logits)
{
    if (s->state != ES_SEQUENCE_RUNNING) return;
    s->length += s->planned;
    s->planned = 0;
    es_answer_remember(e, s, false);
    if (s->wants_logits) es_answer_advance(e, s, logits);
}

/* Computes the rows of sequences [first, first + count) of the step, and advances them. */
static es_status compute(es_engine *e, size_t first, size_t count, es_err *err)
{
    const es_forward_row *rows = e->rows;
    size_t row_count = 0, vocab = e->options.model->shape.vocab;
    for (size_t i = 0; i < first; i++) rows += e->stepped_rows[i];
    for (size_t i = first; i < first + count; i++) row_count += e->stepped_rows[i];
    es_status status = es_forward_run(e->options.forward, rows, row_count, e->logits, err);
    const float *logits = e->logits;
    uint64_t start_ns = es_trace_now(e->options.trace);
    for (size_t i = first; i < first + count && status == ES_OK; i++) {
        bool wanted = e->stepped[i]->wants_logits;
        advance(e, e->stepped[i], logits);
        if (wanted) logits += vocab;
    }
    es_trace_mark(e->options.trace, ES_STAGE_SAMPLING, 0, start_ns);
    return status;
}

/* A step that failed is computed again where that may help, and then sequence by sequence, so that only those
 * fail whose own rows cannot be computed. Entries it left in the KV cache are overwritten. */
static void compute_again(es_engine *e, const es_err *first_err)
{
    es_err err = *first_err;
    es_log(ES_LOG_INFO, "a step of %zu answers failed: %s", e->stepped_count, err.text);
    bool again = es_status_describe(err.status)->retry_helps && err.status != ES_CANCELLED;
    if (again && compute(e, 0, e->stepped_count, &err) == ES_OK) return;
    for (size_t i = 0; i < e->stepped_count; i++) {
        es_sequence *s = e->stepped[i];
        if (s->state != ES_SEQUENCE_RUNNING) continue;
        es_status status = err.status;
        if (e->stepped_count > 1 && err.status != ES_CANCELLED) status = compute(e, i, 1, &err);
        if (status != ES_OK) es_answer_fail(e, s->request, &err);
    }
}

bool es_step_run(es_engine *e)
{
    admit(e);
    size_t decode = plan_decode(e);
    size_t room = e->options.step_rows - decode;
    plan_prefill(e, decode > 0 ? es_size_min(room, e->options.chunk_rows) : room);
    size_t rows = collect(e);
    if (rows == 0) return false;
    decode = 0;
    for (size_t i = 0; i < e->stepped_count; i++)
        decode += e->stepped[i]->outcome.new_tokens > 0 && e->stepped[i]->planned == 1;
    uint64_t start_ns = es_clock_now_ns();
    es_err err;
    e->stats.steps++;
    es_trace_begin(e->options.trace, e->stats.steps);
    if (e->options.swarm != NULL) name_step(e);
    if (compute(e, 0, e->stepped_count, &err) != ES_OK) compute_again(e, &err);
    es_trace_end(e->options.trace, start_ns, rows, e->stepped_count);
    count_step(e, rows, decode, start_ns);
    return true;
}
