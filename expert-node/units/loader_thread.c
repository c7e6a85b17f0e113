/* The loader's thread: it takes experts one by one, drops what is no longer wanted, and tells of it in
 * holdings. What a holding shows stays where it is until the service has given the holding back. */
#include "base/background.h"
#include "base/clock.h"
#include "base/machine.h"
#include "base/size.h"
#include "units/loader_internal.h"
#include "weights/chunks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Beside what weights take, for what a batch needs and what else runs here. */
static const uint64_t MARGIN_BYTES = 64u << 20;

/* A long load is told in steps, so that what is there can be used. */
static const uint64_t TELL_NS = 500000000, RETRY_NS = 10000000, IDLE_NS = 1000000000;

static void fail(es_loader *loader, const es_err *err)
{
    loader_thread *t = &loader->thread;
    t->failed = err->status;
    snprintf(t->failure, sizeof t->failure, "%.*s", (int)sizeof t->failure - 1, err->text);
    if (t->ordered_count == 0) return;
    memset(t->ordered, 0, t->wanted.shape->layers * t->wanted.shape->experts);
    t->ordered_count = 0;
    (void)es_fetcher_want(loader->options.fetcher, NULL, 0,
                          NULL); /* short of memory it fetches what is not used */
}

static void free_unused(es_loader *loader, es_loaded *loaded)
{
    if (loaded->pieces > 0 || loaded->holdings > 0) return;
    loader->thread.retired_bytes -= loaded->stored.offer.bytes;
    es_expert_store_give(loader->options.store, &loaded->stored);
    free(loaded);
}

/* A piece of the thread's list looks at it no longer. */
static void leave(es_loader *loader, es_loaded *loaded)
{
    uint64_t bytes = loaded->stored.offer.bytes;
    if (--loaded->pieces > 0) return;
    loader->thread.held_bytes -= bytes;
    loader->thread.retired_bytes += bytes;
    atomic_fetch_sub(&loader->mapped_bytes, bytes);
    if (loaded->verified) atomic_fetch_sub(&loader->verified_bytes, bytes);
    free_unused(loader, loaded);
}

static void take_back(es_loader *loader, es_holding *holding)
{
    for (size_t i = 0; i < holding->piece_count; i++) {
        holding->pieces[i].loaded->holdings--;
        free_unused(loader, holding->pieces[i].loaded);
    }
    es_holding_destroy(&holding);
}

static void want_all(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    const es_shape *s = t->wanted.shape;
    for (size_t x = 0; x < s->layers * s->experts; x++)
        for (uint32_t c = 0; c < t->wanted.chunks; c++)
            if (es_expert_store_has(loader->options.store, x / s->experts, x % s->experts, c))
                es_chunk_set_put(&t->wanted, x / s->experts, x % s->experts, (es_chunks){c, 1}, true);
}

/* Why an expert that is not at hand cannot be fetched; NULL: it can. */
static const char *unfetchable(const loader_thread *t, size_t at)
{
    static const uint8_t NONE[ES_CONTENT_SUM_BYTES];
    if (memcmp(t->sums + at * ES_CONTENT_SUM_BYTES, NONE, sizeof NONE) == 0)
        return "cannot be fetched either, for no checksum came with it";
    if (t->formats[at * ES_EXPERT_PARTS] == ES_FORMAT_COUNT)
        return "cannot be fetched either, for its checksum came without its formats: the placement was made "
               "by "
               "an earlier version, and has to be planned and applied anew";
    return NULL;
}

/* Adds to *bytes what is missing of an expert and at hand; what is not is to be fetched, as a whole. */
static es_status add_missing(es_loader *loader, size_t layer, size_t expert, uint64_t *bytes, es_err *err)
{
    loader_thread *t = &loader->thread;
    size_t at = layer * t->wanted.shape->experts + expert;
    es_chunks run = {0, 0};
    while (es_chunk_set_run(&t->wanted, &t->held, layer, expert, run.first + run.count, &run)) {
        es_expert_offer offer;
        es_status status = es_expert_store_find(loader->options.store, layer, expert, run, &offer, err);
        if (status == ES_NOT_FOUND && loader->options.fetcher != NULL) {
            const char *why = unfetchable(t, at);
            if (why != NULL) return es_err_prefix(err, "%s", why);
            t->ordered[at] = 1;
            t->ordered_count++;
            return ES_OK;
        }
        if (status != ES_OK) return status;
        *bytes += offer.bytes;
        run.count = offer.chunks.count;
    }
    return ES_OK;
}

static double gigabytes(uint64_t bytes)
{
    return (double)bytes * 1e-9;
}

/* Whether there is room for what is missing, before any of it is mapped. */
static es_status check_room(const es_loader *loader, uint64_t missing, es_err *err)
{
    const loader_thread *t = &loader->thread;
    uint64_t limit = loader->options.memory_bytes_max;
    es_machine_memory memory;
    if (missing == 0) return ES_OK;
    if (limit > 0 && (missing > limit || t->held_bytes > limit - missing))
        return es_err_set(
            err, ES_NO_MEMORY,
            "memory: %.3f GB of experts are held and %.3f GB more are asked for: %.3f GB over --memory "
            "(%.3f GB)",
            gigabytes(t->held_bytes), gigabytes(missing), gigabytes(t->held_bytes + missing - limit),
            gigabytes(limit));
    es_status status = es_machine_memory_read(loader->options.meminfo, &memory, err);
    if (status != ES_OK) return status;
    uint64_t room = memory.available_bytes + t->retired_bytes;
    if (missing + MARGIN_BYTES <= room) return ES_OK;
    return es_err_set(
        err, ES_NO_MEMORY,
        "memory: %.3f GB of experts are asked for, and %.3f GB of this machine's %.3f GB are available: "
        "%.3f GB are lacking",
        gigabytes(missing), gigabytes(room), gigabytes(memory.total_bytes),
        gigabytes(missing + MARGIN_BYTES - room));
}

/* Asks for what is to be fetched, and for nothing else from here on. */
static es_status order(es_loader *loader, es_err *err)
{
    loader_thread *t = &loader->thread;
    const es_shape *s = t->wanted.shape;
    if (loader->options.fetcher == NULL) return ES_OK;
    es_fetch_order *orders = calloc(t->ordered_count + 1, sizeof *orders);
    if (orders == NULL) return es_err_set(err, ES_NO_MEMORY, "experts to be fetched");
    size_t count = 0;
    for (size_t x = 0; x < s->layers * s->experts; x++) {
        if (t->ordered[x] == 0) continue;
        orders[count] = (es_fetch_order){.layer = x / s->experts, .expert = x % s->experts};
        memcpy(orders[count].formats, t->formats + x * ES_EXPERT_PARTS, ES_EXPERT_PARTS);
        memcpy(orders[count++].sum, t->sums + x * ES_CONTENT_SUM_BYTES, ES_CONTENT_SUM_BYTES);
    }
    es_status status = es_fetcher_want(loader->options.fetcher, orders, count, err);
    free(orders);
    return status;
}

static void plan(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    es_err err = {.text = ""};
    uint64_t missing = 0;
    const es_shape *s = t->wanted.shape;
    es_status status = ES_OK;
    t->failed = ES_OK;
    t->failure[0] = '\0';
    t->load_cursor = 0;
    memset(t->ordered, 0, s->layers * s->experts);
    t->ordered_count = 0;
    for (size_t x = 0; x < s->layers * s->experts && status == ES_OK; x++)
        status = add_missing(loader, x / s->experts, x % s->experts, &missing, &err);
    atomic_store(&loader->wanted_bytes, t->held_bytes + missing);
    if (status == ES_OK) status = check_room(loader, missing, &err);
    if (status == ES_OK) status = order(loader, &err);
    if (status != ES_OK) fail(loader, &err);
}

static bool add_piece(loader_thread *t, loaded_piece piece)
{
    if (t->piece_count == t->piece_room) {
        size_t room = t->piece_room * 2 + 64;
        loaded_piece *pieces = realloc(t->pieces, room * sizeof *pieces);
        if (pieces == NULL) return false;
        t->pieces = pieces;
        t->piece_room = room;
    }
    t->pieces[t->piece_count++] = piece;
    t->changed = true;
    return true;
}

/* Takes the beginning of a stretch that is missing. Of what a placement sends in mid-service nothing is used
 * before it was read and held against its checksum; what a node starts with it reads afterwards: it is ready
 * at once. */
static es_status load(es_loader *loader, size_t layer, size_t expert, es_chunks run, es_err *err)
{
    loader_thread *t = &loader->thread;
    es_expert_store *store = loader->options.store;
    es_expert_offer offer;
    es_loaded *loaded = calloc(1, sizeof *loaded);
    if (loaded == NULL) return es_err_set(err, ES_NO_MEMORY, "list of experts");
    es_status status = es_expert_store_find(store, layer, expert, run, &offer, err);
    if (status == ES_OK) status = es_expert_store_take(store, layer, expert, &offer, &loaded->stored, err);
    if (status != ES_OK) {
        free(loaded);
        return status;
    }
    bool lazily = !t->started;
    if (!lazily) status = es_expert_store_read(&loaded->stored, err);
    if (status == ES_OK && !lazily) status = es_expert_store_verify(store, &loaded->stored, err);
    if (status == ES_OK && !add_piece(t, (loaded_piece){layer, expert, offer.chunks, loaded, !lazily}))
        status = es_err_set(err, ES_NO_MEMORY, "list of experts");
    if (status != ES_OK) {
        es_expert_store_give(store, &loaded->stored);
        free(loaded);
        return status;
    }
    loaded->pieces = 1;
    loaded->verified = !lazily;
    t->held_bytes += offer.bytes;
    es_chunk_set_put(&t->held, layer, expert, offer.chunks, true);
    atomic_fetch_add(&loader->mapped_bytes, offer.bytes);
    if (!lazily) atomic_fetch_add(&loader->verified_bytes, offer.bytes);
    return ES_OK;
}

/* Loads what comes first of what is missing. False when there is nothing to do, or to be waited for. */
static bool load_next(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    const es_shape *s = t->wanted.shape;
    es_err err = {.text = ""};
    if (t->failed != ES_OK || t->retired_bytes > 0) return false;
    for (; t->load_cursor < s->layers * s->experts; t->load_cursor++) {
        size_t layer = t->load_cursor / s->experts, expert = t->load_cursor % s->experts;
        es_chunks run;
        if (!es_chunk_set_run(&t->wanted, &t->held, layer, expert, 0, &run)) continue;
        if (t->ordered[t->load_cursor] != 0) continue;
        if (load(loader, layer, expert, run, &err) != ES_OK) fail(loader, &err);
        return t->failed == ES_OK;
    }
    return false;
}

/* Takes in what was fetched: from here on it is at hand. False when there was none. */
static bool take_fetched(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    const es_shape *s = t->wanted.shape;
    es_err err = {.text = ""};
    es_fetched fetched;
    es_expert_offer offer;
    if (loader->options.fetcher == NULL || !es_fetcher_take(loader->options.fetcher, &fetched)) return false;
    size_t at = fetched.layer * s->experts + fetched.expert;
    const es_chunks whole = {0, (uint32_t)es_chunks_of(s->expert_intermediate)};
    bool has = es_expert_store_find(loader->options.store, fetched.layer, fetched.expert, whole, &offer,
                                    NULL) == ES_OK &&
               offer.chunks.count == whole.count;
    es_status status = has ? ES_OK : es_expert_store_add(loader->options.store, fetched.path, &err);
    if (status == ES_OK && !has && loader->options.fetched != NULL)
        loader->options.fetched(loader->options.fetched_context, fetched.path);
    if (status == ES_OK)
        status =
            es_expert_store_find(loader->options.store, fetched.layer, fetched.expert, whole, &offer, &err);
    if (status == ES_OK && t->ordered[at] != 0) {
        atomic_fetch_add(&loader->wanted_bytes, offer.bytes);
        status = check_room(loader, offer.bytes, &err);
    }
    if (t->ordered[at] != 0) {
        t->ordered[at] = 0;
        t->ordered_count--;
        if (at < t->load_cursor) t->load_cursor = at;
    }
    if (status != ES_OK) fail(loader, &err);
    return true;
}

/* Notes what is in the way of fetching. */
static void look_at_fetching(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    es_fetcher_state state = {.failure = ""};
    if (loader->options.fetcher != NULL && t->ordered_count > 0)
        es_fetcher_get_state(loader->options.fetcher, &state);
    if (strcmp(state.failure, t->waits_for) == 0) return;
    memcpy(t->waits_for, state.failure, sizeof t->waits_for);
    t->waits_anew = true;
}

/* Reads a piece that was mapped when the node started. False when there is none left. */
static bool read_next(loader_thread *t)
{
    for (; t->read_cursor < t->piece_count; t->read_cursor++) {
        loaded_piece *piece = &t->pieces[t->read_cursor];
        if (piece->read) continue;
        piece->read = true;
        /* a disk that fails is met again by whoever computes from it */
        (void)es_expert_store_read(&piece->loaded->stored, NULL);
        return true;
    }
    return false;
}

/* Keeps of a piece what is still wanted: nothing, one stretch or several. */
static es_status cut(es_loader *loader, loaded_piece piece, es_err *err)
{
    loader_thread *t = &loader->thread;
    uint32_t end = piece.chunks.first + piece.chunks.count;
    es_chunks run = {piece.chunks.first, 0};
    es_status status = ES_OK;
    while (es_chunk_set_run(&t->wanted, NULL, piece.layer, piece.expert, run.first + run.count, &run)) {
        if (run.first >= end) break;
        run.count = (uint32_t)es_size_min(run.count, end - run.first);
        loaded_piece kept = piece;
        kept.chunks = run;
        if (!add_piece(t, kept)) {
            status = es_err_set(err, ES_NO_MEMORY, "list of experts");
            break;
        }
        piece.loaded->pieces++;
        es_chunk_set_put(&t->held, piece.layer, piece.expert, run, true);
    }
    leave(loader, piece.loaded);
    return status;
}

/* Takes out of the list what is no longer wanted. */
static void drop(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    es_err err = {.text = ""};
    size_t count = t->piece_count, kept = 0;
    for (size_t i = 0; i < count; i++) {
        loaded_piece piece = t->pieces[i];
        es_chunks run;
        bool whole =
            es_chunk_set_run(&t->wanted, NULL, piece.layer, piece.expert, piece.chunks.first, &run) &&
            run.first == piece.chunks.first && run.count >= piece.chunks.count;
        if (whole) {
            t->pieces[kept++] = piece;
            continue;
        }
        t->changed = true;
        es_chunk_set_put(&t->held, piece.layer, piece.expert, piece.chunks, false);
        if (cut(loader, piece, &err) != ES_OK) fail(loader, &err);
    }
    size_t added = t->piece_count - count;
    if (added > 0) memmove(t->pieces + kept, t->pieces + count, added * sizeof *t->pieces);
    t->piece_count = kept + added;
    t->read_cursor = 0;
}

static int by_place(const void *a, const void *b)
{
    const loaded_piece *p = a, *q = b;
    if (p->layer != q->layer) return p->layer < q->layer ? -1 : 1;
    if (p->expert != q->expert) return p->expert < q->expert ? -1 : 1;
    return (p->chunks.first > q->chunks.first) - (p->chunks.first < q->chunks.first);
}

static es_status make_holding(es_loader *loader, es_holding **ret_holding, es_err *err)
{
    loader_thread *t = &loader->thread;
    const es_shape *s = t->wanted.shape;
    es_holding *h;
    es_status status = es_holding_create(s, t->piece_count, &h, err);
    if (status == ES_OK)
        status = es_chunk_set_units(&t->held, t->slices, h->units, ES_UNITS_MAX, &h->unit_count, err);
    if (status != ES_OK) {
        es_holding_destroy(&h);
        return status;
    }
    if (t->piece_count > 0) qsort(t->pieces, t->piece_count, sizeof *t->pieces, by_place);
    t->read_cursor = 0;
    for (size_t i = 0; i < t->piece_count; i++) {
        const loaded_piece *p = &t->pieces[i];
        const es_stored_expert *stored = &p->loaded->stored;
        h->pieces[i] = (es_piece){
            p->chunks, es_ffn_chunks(&stored->ffn, stored->offer.chunks.first, p->chunks), p->loaded};
        h->first[p->layer * s->experts + p->expert + 1]++;
        p->loaded->holdings++;
    }
    for (size_t x = 0; x < s->layers * s->experts; x++) h->first[x + 1] += h->first[x];
    *ret_holding = h;
    return ES_OK;
}

/* Tells the service what is held and how far its changes are. False when it has not taken in what was told
 * before. */
static bool tell(es_loader *loader, bool settled)
{
    loader_thread *t = &loader->thread;
    es_err err = {.text = ""};
    report r = {.handled = t->handled, .settled = settled ? t->handled : t->told};
    if (es_queue_room(loader->reports) == 0) return false;
    if (t->changed && make_holding(loader, &r.holding, &err) != ES_OK) fail(loader, &err);
    r.failed = t->failed;
    memcpy(r.failure, t->failed != ES_OK ? t->failure : t->waits_for, sizeof r.failure);
    bool pushed = es_queue_push(loader->reports, &r);
    ES_ASSERT(pushed); /* nobody else pushes */
    t->changed = false;
    t->waits_anew = false;
    t->told = r.settled;
    t->published_ns = es_clock_now_ns();
    return true;
}

static void keep_sums(loader_thread *t, const command *c)
{
    size_t done = 0;
    for (size_t u = 0; u < c->unit_count && c->sums != NULL; u++) {
        size_t first = c->units[u].layer * t->wanted.shape->experts + c->units[u].expert_first,
               count = c->units[u].expert_count;
        memcpy(t->sums + first * ES_CONTENT_SUM_BYTES, c->sums + done * ES_CONTENT_SUM_BYTES,
               count * ES_CONTENT_SUM_BYTES);
        if (c->formats != NULL) /* else those of other bytes may stand here */
            memcpy(t->formats + first * ES_EXPERT_PARTS, c->formats + done * ES_EXPERT_PARTS,
                   count * ES_EXPERT_PARTS);
        else
            memset(t->formats + first * ES_EXPERT_PARTS, ES_FORMAT_COUNT, count * ES_EXPERT_PARTS);
        done += count;
    }
}

static void handle(es_loader *loader, command *c)
{
    loader_thread *t = &loader->thread;
    if (c->kind == COMMAND_RETURN) {
        take_back(loader, c->holding);
        return;
    }
    if (c->kind == COMMAND_LOAD_ALL) {
        want_all(loader);
    } else {
        keep_sums(t, c);
        es_chunk_set_change(&t->wanted, c->units, c->unit_count, c->kind == COMMAND_LOAD);
        if (c->unit_count > 0) t->slices = c->units[0].slices;
    }
    es_loader_free_command(c);
    if (c->kind == COMMAND_DROP) drop(loader);
    while (take_fetched(loader)) continue;
    plan(loader);
    t->handled++;
}

/* Does what can be done now; returns until when to wait for a command. */
static uint64_t work(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    uint64_t now_ns = es_clock_now_ns();
    while (take_fetched(loader)) continue;
    if (load_next(loader)) {
        if (now_ns - t->published_ns > TELL_NS) (void)tell(loader, false);
        return now_ns;
    }
    bool waits = (t->retired_bytes > 0 || t->ordered_count > 0) && t->failed == ES_OK;
    look_at_fetching(loader);
    if (t->waits_anew || t->changed || (!waits && t->told != t->handled)) {
        if (!tell(loader, !waits)) return now_ns + RETRY_NS;
        if (!t->started && !waits) {
            t->started = true;
            es_background();
        }
    }
    return read_next(t) ? now_ns : now_ns + IDLE_NS;
}

void es_loader_give_all(es_loader *loader)
{
    loader_thread *t = &loader->thread;
    report r;
    command c;
    while (es_queue_pop(loader->reports, &r))
        if (r.holding != NULL) take_back(loader, r.holding);
    while (es_queue_pop(loader->commands, &c)) {
        es_loader_free_command(&c);
        if (c.holding != NULL) take_back(loader, c.holding);
    }
    take_back(loader, loader->holding);
    loader->holding = NULL;
    for (size_t i = 0; i < t->piece_count; i++) leave(loader, t->pieces[i].loaded);
    t->piece_count = 0;
}

void *es_loader_main(void *context)
{
    es_loader *loader = context;
    command c;
    uint64_t until_ns = es_clock_now_ns() + IDLE_NS;
    for (;;) {
        while (es_queue_pop_wait(loader->commands, until_ns, &c)) {
            if (c.kind == COMMAND_STOP) return NULL;
            handle(loader, &c);
            until_ns = 0;
        }
        until_ns = work(loader);
    }
}
