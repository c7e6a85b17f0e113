/* Fetches experts from other machines. */
#include "fetch/fetcher.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "fetch/ask.h"
#include "net/crc32c.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WINDOW = 4, /* reads under way: what a fast network holds between two machines */
    TAKEN_MAX = 16,
    RETRY_MS = 1000,
    SILENT_MS = 60000,  /* who was given up is asked after all others for so long, */
    SILENT_DOUBLES = 6, /* twice as long each time until it gives a whole expert again, up to an hour */
    ROOM_MS = 20,       /* until whoever takes what was fetched has taken some */
};

typedef struct order {
    es_fetch_order what;
    bool done;
} order;

typedef struct peer {
    es_peer who;
    bool lied;          /* gave bytes that are not those of their checksum */
    uint64_t silent_ns; /* until when it is asked last, for it did not answer or was slow; 0: it is not */
    unsigned silences;  /* in a row */
} peer;

struct es_fetcher {
    es_fetcher_options options;
    es_net *net;
    pthread_t thread;
    bool running;
    atomic_bool stop;

    pthread_mutex_t lock; /* around what follows */
    pthread_cond_t changed;
    order *orders;
    size_t order_count, left, cursor; /* cursor: one that cannot be had does not keep the others waiting */
    uint64_t generation;              /* of the orders */
    peer *peers;                      /* [peer_count] */
    size_t peer_count;
    es_fetched taken[TAKEN_MAX];
    size_t taken_first, taken_count;
    uint64_t fetched_bytes;
    char failure[ES_NODE_FAILURE_MAX];
    bool disk; /* the failure is our own disk's */
    es_fetcher_wake_fn *wake;
    void *context;

    /* The thread's own. */
    es_asker *asker; /* to the machine that was asked last; NULL: none */
    es_peer asked;
};

static void tell(es_fetcher *f)
{
    if (f->wake != NULL) f->wake(f->context);
}

static struct timespec after_ms(int ms)
{
    uint64_t at = es_clock_now_ns() + (uint64_t)ms * 1000000u;
    return (struct timespec){(time_t)(at / 1000000000u), (long)(at % 1000000000u)};
}

/* Under the lock: waits for a change, or ms; ms 0: for a change alone, looked for once a second. */
static void wait_for_change(es_fetcher *f, int ms)
{
    struct timespec until = after_ms(ms > 0 ? ms : RETRY_MS);
    pthread_cond_timedwait(&f->changed, &f->lock, &until);
}

/* Under the lock: what to fetch next; NULL: nothing. */
static order *next_order(es_fetcher *f)
{
    for (size_t i = 0; i < f->order_count; i++) {
        order *o = &f->orders[(f->cursor + i) % f->order_count];
        if (!o->done) return o;
    }
    return NULL;
}

/* Under the lock. */
static order *find_order(es_fetcher *f, const es_fetch_order *what)
{
    for (size_t i = 0; i < f->order_count; i++)
        if (!f->orders[i].done && memcmp(f->orders[i].what.sum, what->sum, sizeof what->sum) == 0 &&
            f->orders[i].what.layer == what->layer && f->orders[i].what.expert == what->expert)
            return &f->orders[i];
    return NULL;
}

static bool is_wanted(es_fetcher *f, const es_fetch_order *what, uint64_t *generation)
{
    pthread_mutex_lock(&f->lock);
    bool wanted = f->generation == *generation || find_order(f, what) != NULL;
    *generation = f->generation;
    pthread_mutex_unlock(&f->lock);
    return wanted;
}

static uint64_t patience_ns(const es_fetcher *f)
{
    uint32_t ms = f->options.patience_ms;
    return (ms > 0 ? ms : ES_FETCH_PATIENCE_MS) * UINT64_C(1000000);
}

/* Connects to who, unless we are already. */
static es_status reach(es_fetcher *f, const es_peer *who, es_err *err)
{
    if (f->asker != NULL && strcmp(f->asked.shards, who->shards) == 0 && strcmp(f->asked.key, who->key) == 0)
        return ES_OK;
    es_asker_close(&f->asker);
    f->asked = *who;
    return es_asker_open(f->net, who->shards, who->key, &f->stop, &f->asker, err);
}

static es_status ask(es_fetcher *f, es_shard_request *request, es_shard_reply *ret_reply, es_err *err)
{
    const uint8_t *bytes;
    size_t count;
    uint64_t deadline_ns = es_clock_now_ns() + patience_ns(f);
    es_status status = es_asker_send(f->asker, request, deadline_ns, err);
    if (status == ES_OK)
        status = es_asker_receive(f->asker, request->request, deadline_ns, ret_reply, &bytes, &count, err);
    if (status == ES_OK && ret_reply->status != ES_OK)
        status = es_err_set(err, ret_reply->status, "%s", ret_reply->text);
    if (status == ES_OK && ret_reply->ask != request->ask)
        status = es_err_set(err, ES_CORRUPT, "an answer to another question");
    return status;
}

/* What we make of it: all but its bytes was said by whoever ordered it. */
static es_status plan_from(const es_fetcher *f, const es_fetch_order *what, const es_shard_found *found,
                           es_unit_plan *ret_plan, es_err *err)
{
    if (found->layer != what->layer || found->expert != what->expert)
        return es_err_set(err, ES_CORRUPT, "it has another expert under this checksum");
    *ret_plan = (es_unit_plan){.shape = f->options.shape,
                               .fingerprint = f->options.fingerprint,
                               .layer = what->layer,
                               .expert = what->expert};
    memcpy(ret_plan->sum, what->sum, sizeof ret_plan->sum);
    memcpy(ret_plan->formats, what->formats, sizeof ret_plan->formats);
    es_status status = es_unit_plan_lay_out(ret_plan, err);
    if (status == ES_OK && ret_plan->bytes != found->bytes)
        status = es_err_set(err, ES_MISMATCH, "it has %llu bytes under this checksum, its matrices make %llu",
                            (unsigned long long)found->bytes, (unsigned long long)ret_plan->bytes);
    return status;
}

/* How much came since when. */
typedef struct pace {
    uint64_t begun_ns, until_ns, bytes;
} pace;

static void begin_pace(const es_fetcher *f, pace *p)
{
    uint64_t now_ns = es_clock_now_ns();
    *p = (pace){.begun_ns = now_ns, .until_ns = now_ns + patience_ns(f)};
}

/* After a time of patience: whether it was worth it, and then another begins. */
static es_status judge_pace(const es_fetcher *f, pace *p, es_err *err)
{
    uint64_t now_ns = es_clock_now_ns(), ms = (now_ns - p->begun_ns) / 1000000;
    if (now_ns < p->until_ns) return ES_OK;
    if (p->bytes * 1000 < ms * ES_FETCH_LEAST_BYTES_PER_S)
        return es_err_set(err, ES_UNAVAILABLE, "%s: it gave %.0f kB in %.1f s: too slow, others are asked",
                          f->asked.shards, (double)p->bytes * 1e-3, (double)ms * 1e-3);
    begin_pace(f, p);
    return ES_OK;
}

/* The next answer, within the time that is left to be quick enough in. */
static es_status receive(es_fetcher *f, pace *p, uint64_t first, es_shard_reply *ret_reply,
                         const uint8_t **ret_bytes, size_t *ret_count, es_err *err)
{
    for (;;) {
        es_status status = judge_pace(f, p, err);
        if (status == ES_OK)
            status = es_asker_receive(f->asker, first, p->until_ns, ret_reply, ret_bytes, ret_count, err);
        if (status != ES_UNAVAILABLE || p->bytes == 0 || es_clock_now_ns() < p->until_ns) return status;
        status = judge_pace(f, p, err); /* it was quick enough so far */
        if (status != ES_OK) return status;
    }
}

/* Asks for what is missing, some reads ahead, and puts what comes. */
static es_status read_all(es_fetcher *f, const es_fetch_order *what, uint64_t total, es_unit_file *file,
                          bool *ret_disk, es_err *err)
{
    uint64_t asked = es_unit_file_done(file), generation = UINT64_MAX, first = 0;
    es_shard_request request = {.ask = ES_SHARD_READ};
    memcpy(request.sum, what->sum, sizeof request.sum);
    pace p;
    begin_pace(f, &p);
    while (es_unit_file_done(file) < total) {
        uint64_t done = es_unit_file_done(file);
        es_shard_reply reply;
        const uint8_t *bytes;
        size_t count;
        es_status status = ES_OK;
        if (!is_wanted(f, what, &generation)) return es_err_set(err, ES_CANCELLED, "no longer wanted");
        while (status == ES_OK && asked < total && asked - done < (uint64_t)WINDOW * ES_SHARD_READ_MAX) {
            request.offset = asked;
            request.count = total - asked < ES_SHARD_READ_MAX ? (size_t)(total - asked) : ES_SHARD_READ_MAX;
            status = es_asker_send(f->asker, &request, p.until_ns, err);
            if (first == 0) first = request.request;
            asked += request.count;
        }
        if (status == ES_OK) status = receive(f, &p, first, &reply, &bytes, &count, err);
        if (status == ES_OK && reply.status != ES_OK)
            status = es_err_set(err, reply.status, "%s", reply.text);
        if (status == ES_OK &&
            (reply.ask != ES_SHARD_READ || reply.offset != done || bytes == NULL || count > asked - done ||
             (count < ES_SHARD_READ_MAX && count != total - done) ||
             es_crc32c(bytes, count) != reply.payload_crc32c))
            status = es_err_set(err, ES_CORRUPT, "other bytes than were asked for");
        if (status != ES_OK) return status;
        p.bytes += count;
        uint64_t before_ns = es_clock_now_ns();
        status = es_unit_file_put(file, bytes, count, err);
        uint64_t ours_ns = es_clock_now_ns() - before_ns; /* our disk's time is none of the peer's */
        p.begun_ns += ours_ns;
        p.until_ns += ours_ns;
        *ret_disk = status != ES_OK;
        if (status != ES_OK) return status;
        pthread_mutex_lock(&f->lock);
        f->fetched_bytes += count;
        pthread_mutex_unlock(&f->lock);
    }
    return ES_OK;
}

/* From one machine. *ret_disk: what failed is our own disk, nobody else's doing. */
static es_status fetch_from(es_fetcher *f, const es_peer *who, const es_fetch_order *what,
                            es_fetched *ret_fetched, bool *ret_disk, es_err *err)
{
    es_shard_request request = {.ask = ES_SHARD_FIND};
    es_shard_reply reply;
    es_unit_plan plan;
    es_unit_file *file = NULL;
    memcpy(request.sum, what->sum, sizeof request.sum);
    es_status status = reach(f, who, err);
    if (status == ES_OK) status = ask(f, &request, &reply, err);
    if (status == ES_OK) status = plan_from(f, what, &reply.found, &plan, err);
    if (status != ES_OK) return status;
    pthread_mutex_lock(&f->lock);
    uint64_t more_bytes = f->left > 1 ? (f->left - 1) * plan.bytes : 0;
    pthread_mutex_unlock(&f->lock);
    *ret_disk = true;
    status = es_unit_file_open(f->options.dir, &plan, more_bytes, &file, err);
    if (status != ES_OK) return status;
    *ret_disk = false;
    bool begun_elsewhere = es_unit_file_done(file) > 0, spoilt = false;
    status = read_all(f, what, plan.bytes, file, ret_disk, err);
    if (status == ES_OK) {
        status = es_unit_file_finish(file, ret_fetched->path, sizeof ret_fetched->path, err);
        *ret_disk = status == ES_IO;
        spoilt = status == ES_CORRUPT && begun_elsewhere;
    }
    es_unit_file_close(&file);
    /* Whoever gave the beginning may have lied: this one is judged by what is all its own. */
    return spoilt ? fetch_from(f, who, what, ret_fetched, ret_disk, err) : status;
}

/* Adds the peers that answer, or those that do not, beginning with another for each expert. Under the lock.
 */
static size_t add_peers(const es_fetcher *f, const es_fetch_order *what, bool silent, es_peer *ret_who)
{
    uint64_t now_ns = es_clock_now_ns();
    size_t count = 0,
           start = f->peer_count > 0 ? (what->sum[0] | (size_t)what->sum[1] << 8) % f->peer_count : 0;
    for (size_t i = 0; i < f->peer_count; i++) {
        const peer *p = &f->peers[(start + i) % f->peer_count];
        if ((now_ns < p->silent_ns) == silent && !p->lied && p->who.shards[0] != '\0' &&
            strcmp(p->who.name, f->options.name) != 0)
            ret_who[count++] = p->who;
    }
    return count;
}

/* Who is asked in turn: peers, then the others, then peers that did not answer of late or were slow: each of
 * those costs a time of patience. Under the lock. */
static size_t candidates(const es_fetcher *f, const es_fetch_order *what, es_peer *ret_who)
{
    size_t count = add_peers(f, what, false, ret_who);
    for (size_t i = 0; i < f->options.last_count; i++) ret_who[count++] = f->options.last[i];
    return count + add_peers(f, what, true, ret_who + count);
}

static void note_outcome(es_fetcher *f, const es_peer *who, es_status status)
{
    if (status == ES_CORRUPT)
        es_log(ES_LOG_WARN,
               "%s gave an expert whose bytes are not those of its checksum: it is not asked again",
               who->name);
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->peer_count; i++) {
        peer *p = &f->peers[i];
        if (strcmp(p->who.name, who->name) != 0) continue;
        p->lied |= status == ES_CORRUPT;
        if (status == ES_UNAVAILABLE) {
            unsigned doubles = p->silences < SILENT_DOUBLES ? p->silences++ : SILENT_DOUBLES;
            p->silent_ns = es_clock_now_ns() + ((uint64_t)SILENT_MS << doubles) * 1000000u;
        } else if (status == ES_OK) {
            p->silences = 0;
            p->silent_ns = 0;
        }
    }
    pthread_mutex_unlock(&f->lock);
}

/* From whoever has it. */
static es_status fetch(es_fetcher *f, const es_fetch_order *what, es_fetched *ret_fetched, bool *ret_disk,
                       es_err *err)
{
    es_peer *who = NULL;
    *ret_disk = false;
    *ret_fetched = (es_fetched){.layer = what->layer, .expert = what->expert};
    if (es_unit_file_find(f->options.dir, what->layer, what->expert, ret_fetched->path,
                          sizeof ret_fetched->path))
        return ES_OK; /* it came while it was asked for again */
    pthread_mutex_lock(&f->lock);
    who = malloc((f->peer_count + f->options.last_count + 1) * sizeof *who);
    size_t count = who != NULL ? candidates(f, what, who) : 0;
    pthread_mutex_unlock(&f->lock);
    if (who == NULL) return es_err_set(err, ES_NO_MEMORY, "list of peers");
    es_status status =
        count > 0 ? ES_NOT_FOUND : es_err_set(err, ES_NOT_FOUND, "nobody is known here who could have it");
    for (size_t i = 0; i < count && status != ES_OK && status != ES_CANCELLED && !*ret_disk; i++) {
        status = fetch_from(f, &who[i], what, ret_fetched, ret_disk, err);
        if (!*ret_disk) note_outcome(f, &who[i], status);
        if (status != ES_OK) {
            if (!*ret_disk) es_err_prefix(err, "%s", who[i].name);
            es_asker_close(&f->asker);
        }
    }
    free(who);
    if (status != ES_OK && !*ret_disk)
        es_err_prefix(err, "layer %zu: expert %zu: not fetched yet", what->layer, what->expert);
    return status;
}

/* Our own disk: its operator is told here, not only who asks for the node's state. Under the lock. */
static void tell_of_disk(es_fetcher *f, bool disk, const char *text)
{
    if (disk && !f->disk) es_log(ES_LOG_WARN, "fetching waits, and is tried again: %s", text);
    if (!disk && f->disk) es_log(ES_LOG_INFO, "fetching goes on");
    f->disk = disk;
}

static void set_failure(es_fetcher *f, const char *text)
{
    if (strncmp(f->failure, text, sizeof f->failure - 1) == 0) return;
    snprintf(f->failure, sizeof f->failure, "%.*s", (int)sizeof f->failure - 1, text);
    tell(f);
}

/* Hands over what was fetched, even when nobody wants it any more: it is on our disk now. Under the lock. */
static void hand_over(es_fetcher *f, const es_fetch_order *what, const es_fetched *fetched)
{
    while (f->taken_count == TAKEN_MAX && !atomic_load(&f->stop)) wait_for_change(f, ROOM_MS);
    if (f->taken_count == TAKEN_MAX) return;
    order *o = find_order(f, what);
    if (o != NULL) {
        o->done = true;
        f->left--;
    }
    f->taken[(f->taken_first + f->taken_count++) % TAKEN_MAX] = *fetched;
    tell(f);
}

static void *fetcher_main(void *context)
{
    es_fetcher *f = context;
    es_background();
    pthread_mutex_lock(&f->lock);
    while (!atomic_load(&f->stop)) {
        order *o = next_order(f);
        if (o == NULL) {
            set_failure(f, "");
            wait_for_change(f, 0);
            continue;
        }
        es_fetch_order what = o->what;
        es_fetched fetched;
        es_err err = {.text = ""};
        pthread_mutex_unlock(&f->lock);
        bool disk = false;
        es_status status = fetch(f, &what, &fetched, &disk, &err);
        pthread_mutex_lock(&f->lock);
        if (status != ES_CANCELLED) tell_of_disk(f, disk, err.text);
        if (status == ES_OK) {
            set_failure(f, "");
            hand_over(f, &what, &fetched);
        } else if (status != ES_CANCELLED) {
            set_failure(f, err.text);
            f->cursor++;
            wait_for_change(f, RETRY_MS);
        }
    }
    pthread_mutex_unlock(&f->lock);
    es_asker_close(&f->asker);
    return NULL;
}

es_status es_fetcher_start(const es_fetcher_options *options, es_fetcher **ret_fetcher, es_err *err)
{
    es_fetcher *f = *ret_fetcher = calloc(1, sizeof *f);
    if (f == NULL) return es_err_set(err, ES_NO_MEMORY, "fetcher");
    f->options = *options;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&f->lock, NULL);
    const es_net_options net = {options->keys, NULL};
    es_status status = es_net_open(&net, &f->net, err);
    if (status == ES_OK) {
        int failed = es_signals_start_thread(&f->thread, fetcher_main, f);
        f->running = failed == 0;
        if (failed != 0) status = es_err_set(err, ES_NO_MEMORY, "fetcher: %s", strerror(failed));
    }
    if (status != ES_OK) es_fetcher_stop(ret_fetcher);
    return status;
}

void es_fetcher_stop(es_fetcher **fetcher_at)
{
    es_fetcher *f = *fetcher_at;
    if (f == NULL) return;
    *fetcher_at = NULL;
    atomic_store(&f->stop, true);
    pthread_mutex_lock(&f->lock);
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    if (f->running) pthread_join(f->thread, NULL);
    es_net_close(&f->net);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    free(f->orders);
    free(f->peers);
    free(f);
}

void es_fetcher_on_wake(es_fetcher *fetcher, es_fetcher_wake_fn *wake, void *context)
{
    pthread_mutex_lock(&fetcher->lock);
    fetcher->wake = wake;
    fetcher->context = context;
    pthread_mutex_unlock(&fetcher->lock);
}

es_status es_fetcher_peers(es_fetcher *fetcher, const es_peer *peers, size_t count, es_err *err)
{
    peer *fresh = calloc(count + 1, sizeof *fresh);
    if (fresh == NULL) return es_err_set(err, ES_NO_MEMORY, "list of peers");
    for (size_t i = 0; i < count; i++) fresh[i].who = peers[i];
    pthread_mutex_lock(&fetcher->lock);
    peer *old = fetcher->peers;
    for (size_t i = 0; i < count; i++) /* who lied and has the same key is the same liar */
        for (size_t o = 0; o < fetcher->peer_count; o++) {
            if (strcmp(old[o].who.name, peers[i].name) != 0 || strcmp(old[o].who.key, peers[i].key) != 0)
                continue;
            fresh[i].lied = old[o].lied;
            fresh[i].silent_ns = old[o].silent_ns;
            fresh[i].silences = old[o].silences;
        }
    fetcher->peers = fresh;
    fetcher->peer_count = count;
    pthread_cond_broadcast(&fetcher->changed);
    pthread_mutex_unlock(&fetcher->lock);
    free(old);
    return ES_OK;
}

es_status es_fetcher_want(es_fetcher *fetcher, const es_fetch_order *orders, size_t count, es_err *err)
{
    order *fresh = calloc(count + 1, sizeof *fresh);
    if (fresh == NULL) return es_err_set(err, ES_NO_MEMORY, "experts to be fetched");
    for (size_t i = 0; i < count; i++) fresh[i].what = orders[i];
    pthread_mutex_lock(&fetcher->lock);
    free(fetcher->orders);
    fetcher->orders = fresh;
    fetcher->order_count = count;
    fetcher->left = count;
    fetcher->cursor = 0;
    fetcher->generation++;
    pthread_cond_broadcast(&fetcher->changed);
    pthread_mutex_unlock(&fetcher->lock);
    return ES_OK;
}

bool es_fetcher_take(es_fetcher *fetcher, es_fetched *ret_fetched)
{
    pthread_mutex_lock(&fetcher->lock);
    bool some = fetcher->taken_count > 0;
    if (some) {
        *ret_fetched = fetcher->taken[fetcher->taken_first];
        fetcher->taken_first = (fetcher->taken_first + 1) % TAKEN_MAX;
        fetcher->taken_count--;
        pthread_cond_broadcast(&fetcher->changed);
    }
    pthread_mutex_unlock(&fetcher->lock);
    return some;
}

void es_fetcher_get_state(es_fetcher *fetcher, es_fetcher_state *ret_state)
{
    pthread_mutex_lock(&fetcher->lock);
    *ret_state = (es_fetcher_state){.fetched_bytes = fetcher->fetched_bytes, .left = fetcher->left};
    memcpy(ret_state->failure, fetcher->failure, sizeof ret_state->failure);
    pthread_mutex_unlock(&fetcher->lock);
}
