/* The etcd registry's threads. The worker keeps our lease and reads everything anew when something happened,
 * and every minute anyway; the watcher only tells it that something did. So a lost, repeated or reordered
 * event, a compacted history and a restored etcd all end in the same place: a range, which is the truth. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/etcd_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BACKOFF_MIN_MS = 100, BACKOFF_MAX_MS = 2000, CALL_MS = 6000, AGAIN_MS = 250 };

static const uint64_t MS = 1000000;
static const uint64_t WATCH_NS = 3600 * 1000000000ull; /* a stream is begun anew that often */

void es_etcd_poke(es_etcd_registry *r, bool dirty)
{
    pthread_mutex_lock(&r->state_lock);
    r->dirty = r->dirty || dirty;
    pthread_cond_broadcast(&r->poked);
    pthread_mutex_unlock(&r->state_lock);
}

void es_etcd_nap(es_etcd_registry *r, uint64_t deadline_ns)
{
    struct timespec until = {(time_t)(deadline_ns / 1000000000u), (long)(deadline_ns % 1000000000u)};
    pthread_cond_timedwait(&r->poked, &r->state_lock, &until);
}

/* Waits whatever is poked, but not when the registry closes. */
static void rest(es_etcd_registry *r, uint64_t ns)
{
    uint64_t until_ns = es_clock_now_ns() + ns;
    pthread_mutex_lock(&r->state_lock);
    while (!r->stopping && es_clock_now_ns() < until_ns) es_etcd_nap(r, until_ns);
    pthread_mutex_unlock(&r->state_lock);
}

static uint64_t call_deadline(void)
{
    return es_clock_now_ns() + CALL_MS * MS;
}

/* What the worker alone knows. */
typedef struct worker {
    es_etcd_registry *r;
    uint64_t keep_ns, range_ns; /* when the next is due */
    uint64_t backoff_ns;        /* 0: the last call went well */
    uint64_t told;              /* malformed records of the last range, so that each is counted once */
} worker;

static es_status read_all(worker *w, es_err *err)
{
    es_etcd_registry *r = w->r;
    char prefix[ES_ETCD_PATH_MAX];
    json_t *reply;
    es_registry_view *view;
    uint64_t revision, malformed;
    pthread_mutex_lock(&r->state_lock);
    r->dirty = false; /* what happens from here on makes it so again */
    pthread_mutex_unlock(&r->state_lock);
    es_etcd_key(r, prefix, "live/");
    es_status status = es_etcd_call(r->worker_link, "/v3/kv/range", es_etcd_key_json(prefix, true),
                                    call_deadline(), &reply, err);
    if (status != ES_OK) return status;
    pthread_mutex_lock(&r->base.lock);
    es_epoch epoch = r->base.view->epoch;
    pthread_mutex_unlock(&r->base.lock);
    status = es_etcd_revision(reply, &revision, err);
    if (status == ES_OK) status = es_etcd_view_of(prefix, reply, epoch, &view, &malformed, err);
    json_decref(reply);
    if (status != ES_OK) return status;
    es_registry_count(&r->base, &r->base.stats.ranges);
    for (; w->told < malformed; w->told++) es_registry_count(&r->base, &r->base.stats.malformed);
    w->told = malformed;
    es_registry_publish(&r->base, &view);
    pthread_mutex_lock(&r->state_lock);
    r->revision = revision;
    pthread_cond_broadcast(&r->poked);
    pthread_mutex_unlock(&r->state_lock);
    w->range_ns = es_clock_now_ns() + r->refresh_ns;
    return ES_OK;
}

static void set_own(es_etcd_registry *r, es_status status, const es_err *err)
{
    pthread_mutex_lock(&r->state_lock);
    r->own_status = status;
    if (status != ES_OK) r->own_err = *err;
    pthread_cond_broadcast(&r->poked);
    pthread_mutex_unlock(&r->state_lock);
}

static es_status own_status_of(es_etcd_registry *r)
{
    pthread_mutex_lock(&r->state_lock);
    es_status status = r->own_status;
    pthread_mutex_unlock(&r->state_lock);
    return status;
}

/* compare, then: puts value under key and our lease. */
static es_status put_if(es_etcd_registry *r, json_t *compare, const char *key, const char *value,
                        json_t **ret_reply, es_err *err)
{
    json_t *then = json_pack("{s:{s:o, s:o, s:I}}", "request_put", "key", es_etcd_bytes(key, strlen(key)),
                             "value", es_etcd_bytes(value, strlen(value)), "lease", (json_int_t)r->lease);
    return es_etcd_call(r->worker_link, "/v3/kv/txn", es_etcd_transaction(compare, then, key),
                        call_deadline(), ret_reply, err);
}

/* Who holds our name, from a transaction that found it taken: ours, or to be taken over (a process of the
 * same key that was here before), when *ret_revision is set; ES_MISMATCH when it is somebody else. */
static es_status look_at_holder(const es_node_record *own, const json_t *reply, uint64_t *ret_revision,
                                es_err *err)
{
    const json_t *range =
        json_object_get(json_array_get(json_object_get(reply, "responses"), 0), "response_range");
    es_etcd_pair pair;
    es_node_record theirs;
    *ret_revision = 0;
    if (es_etcd_pair_count(range) == 0) return ES_OK; /* gone meanwhile */
    es_status status = es_etcd_pair_get(range, 0, &pair, err);
    if (status != ES_OK) return status;
    bool same =
        es_node_record_parse("record", (const char *)pair.value, pair.value_bytes, &theirs, NULL) != ES_OK ||
        theirs.holder == own->holder || (own->key[0] != '\0' && strcmp(theirs.key, own->key) == 0);
    *ret_revision = same ? pair.mod_revision : 0;
    free(pair.value);
    return same ? ES_OK
                : es_err_set(err, ES_MISMATCH, "registry: the name %s is held by another node, at %s",
                             own->name, theirs.control);
}

/* Puts our record, when nobody else's stands there. ES_MISMATCH; ES_NOT_FOUND: the lease is gone;
 * ES_NOT_HERE: try again.
 */
static es_status put_record(es_etcd_registry *r, const es_node_record *own, es_err *err)
{
    char key[ES_ETCD_PATH_MAX];
    json_t *reply;
    uint64_t revision = 0;
    es_etcd_key(r, key, "live/nodes/%s", own->name);
    char *value = es_node_record_write(own);
    if (value == NULL) return es_err_set(err, ES_NO_MEMORY, "node record");
    /* First as a new name; when it is ours already, in place of what stands. */
    json_t *compare = json_pack("{s:s, s:s, s:o, s:s}", "target", "CREATE", "result", "EQUAL", "key",
                                es_etcd_bytes(key, strlen(key)), "create_revision", "0");
    es_status status = put_if(r, compare, key, value, &reply, err);
    bool done = status == ES_OK && json_is_true(json_object_get(reply, "succeeded"));
    if (status == ES_OK && !done) status = look_at_holder(own, reply, &revision, err);
    json_decref(reply);
    if (status == ES_OK && !done && revision > 0) {
        compare = json_pack("{s:s, s:s, s:o, s:I}", "target", "MOD", "result", "EQUAL", "key",
                            es_etcd_bytes(key, strlen(key)), "mod_revision", (json_int_t)revision);
        status = put_if(r, compare, key, value, &reply, err);
        done = status == ES_OK && json_is_true(json_object_get(reply, "succeeded"));
        json_decref(reply);
    }
    free(value);
    if (status == ES_OK && !done)
        status = es_err_set(err, ES_NOT_HERE, "registry: the record of %s changed meanwhile", own->name);
    return status;
}

/* Puts our record under a lease, which is asked for when there is none. */
static es_status stand(worker *w, es_err *err)
{
    es_etcd_registry *r = w->r;
    es_status status = ES_OK;
    pthread_mutex_lock(&r->state_lock);
    es_node_record own = r->own;
    r->rewrite = false;
    pthread_mutex_unlock(&r->state_lock);
    if (r->lease == 0) {
        status = es_etcd_grant(r->worker_link, r->ttl_s, call_deadline(), &r->lease, err);
        if (status == ES_OK) es_registry_count(&r->base, &r->base.stats.lease_grants);
        w->keep_ns = es_clock_now_ns() + r->ttl_s * 1000 * MS / 3;
    }
    if (status == ES_OK) status = put_record(r, &own, err);
    if (status == ES_NOT_FOUND) r->lease = 0; /* it ran out between the two */
    if (status == ES_MISMATCH && err->status != own_status_of(r)) es_log(ES_LOG_WARN, "%s", err->text);
    set_own(r, status == ES_NOT_FOUND || status == ES_NOT_HERE ? ES_UNAVAILABLE : status, err);
    /* etcd answers: it is only that we have to try again. */
    bool again = status == ES_NOT_FOUND || status == ES_NOT_HERE || status == ES_MISMATCH;
    if (again) rest(r, AGAIN_MS * MS);
    return again ? ES_OK : status;
}

/* One POST a sign of life. An answer without a TTL: the lease is gone. */
static es_status keep_alive(worker *w, es_err *err)
{
    es_etcd_registry *r = w->r;
    json_t *reply;
    uint64_t ttl = 0;
    es_status status =
        es_etcd_call(r->worker_link, "/v3/lease/keepalive", json_pack("{s:I}", "ID", (json_int_t)r->lease),
                     call_deadline(), &reply, err);
    if (status == ES_OK) status = es_etcd_number(reply, "TTL", &ttl, err);
    json_decref(reply);
    if (status == ES_NOT_FOUND) status = ES_OK;
    if (status != ES_OK) return status;
    w->keep_ns = es_clock_now_ns() + r->ttl_s * 1000 * MS / 3;
    if (ttl > 0) return ES_OK;
    r->lease = 0;
    es_registry_count(&r->base, &r->base.stats.lease_losses);
    es_err lost;
    es_err_set(&lost, ES_UNAVAILABLE, "registry: the lease was lost");
    es_log(ES_LOG_WARN, "the registry's lease was lost; registering again");
    set_own(r, ES_UNAVAILABLE, &lost);
    return ES_OK;
}

/* Gives the lease back, and the record with it. */
static void leave(worker *w)
{
    es_etcd_registry *r = w->r;
    json_t *reply;
    es_err err;
    es_status status = ES_OK;
    if (r->lease != 0)
        status = es_etcd_call(r->worker_link, "/v3/lease/revoke",
                              json_pack("{s:I}", "ID", (json_int_t)r->lease), call_deadline(), &reply, &err);
    else
        reply = NULL;
    json_decref(reply);
    if (status != ES_OK && status != ES_NOT_FOUND)
        es_log(ES_LOG_WARN, "our record stays until its lease ends: %s", err.text);
    r->lease = 0;
    pthread_mutex_lock(&r->state_lock);
    r->leaving = false;
    r->announced = false;
    pthread_cond_broadcast(&r->poked);
    pthread_mutex_unlock(&r->state_lock);
}

typedef enum task { TASK_NOTHING, TASK_STOP, TASK_LEAVE, TASK_STAND, TASK_KEEP, TASK_RANGE } task;

/* The next thing to do, waiting for it when there is nothing yet. */
static task next_task(worker *w)
{
    es_etcd_registry *r = w->r;
    pthread_mutex_lock(&r->state_lock);
    uint64_t now_ns = es_clock_now_ns();
    task next = TASK_NOTHING;
    bool stands = r->announced && r->own_status == ES_OK && !r->rewrite;
    if (r->stopping)
        next = TASK_STOP;
    else if (r->leaving)
        next = TASK_LEAVE;
    else if (r->lease != 0 && now_ns >= w->keep_ns)
        next = TASK_KEEP;
    else if (r->dirty || now_ns >= w->range_ns)
        next = TASK_RANGE;
    else if (r->announced && !stands)
        next = TASK_STAND;
    if (next == TASK_NOTHING) {
        uint64_t until_ns = w->range_ns;
        if (r->lease != 0 && w->keep_ns < until_ns) until_ns = w->keep_ns;
        es_etcd_nap(r, until_ns);
    }
    pthread_mutex_unlock(&r->state_lock);
    return next;
}

/* A call that failed everywhere: what is known stays, frozen, and is asked for again before long. */
static void back_off(worker *w, const es_err *err)
{
    es_etcd_registry *r = w->r;
    if (w->backoff_ns == 0)
        es_log(ES_LOG_WARN, "the registry does not answer, membership is frozen: %s", err->text);
    w->backoff_ns = w->backoff_ns == 0 ? BACKOFF_MIN_MS * MS : w->backoff_ns * 2;
    if (w->backoff_ns > BACKOFF_MAX_MS * MS) w->backoff_ns = BACKOFF_MAX_MS * MS;
    es_registry_freeze(&r->base);
    pthread_mutex_lock(&r->state_lock);
    r->dirty = true;
    pthread_mutex_unlock(&r->state_lock);
    rest(r, w->backoff_ns);
}

void *es_etcd_worker_main(void *registry)
{
    worker w = {.r = registry};
    for (;;) {
        es_err err = {.text = ""};
        es_status status = ES_OK;
        task next = next_task(&w);
        if (next == TASK_STOP) return NULL;
        if (next == TASK_LEAVE) leave(&w);
        if (next == TASK_KEEP) status = keep_alive(&w, &err);
        if (next == TASK_RANGE) status = read_all(&w, &err);
        if (next == TASK_STAND) status = stand(&w, &err);
        if (status != ES_OK && status != ES_CANCELLED)
            back_off(&w, &err);
        else if (next == TASK_RANGE)
            w.backoff_ns = 0;
    }
}

/* What comes from a watch. */
typedef struct watch {
    es_etcd_registry *r;
    es_etcd_note last;
    bool some; /* the stream said anything at all */
} watch;

static es_status take_line(void *context, const char *line, size_t bytes, es_err *err)
{
    watch *w = context;
    es_status status = es_etcd_note_parse(line, bytes, &w->last, err);
    if (status != ES_OK) return status;
    w->some = true;
    if (w->last.kind == ES_ETCD_NOTE_CHANGED) es_etcd_poke(w->r, true);
    if (w->last.kind == ES_ETCD_NOTE_COMPACTED || w->last.kind == ES_ETCD_NOTE_ENDED)
        return es_err_set(err, ES_UNAVAILABLE, "etcd: watch: %s", w->last.text);
    return ES_OK;
}

/* The revision that a watch begins behind: of the latest range; waits for one. 0: the registry closes. */
static uint64_t wait_for_revision(es_etcd_registry *r)
{
    pthread_mutex_lock(&r->state_lock);
    while (r->revision == 0 && !r->stopping) es_etcd_nap(r, es_clock_now_ns() + 1000 * MS);
    uint64_t revision = r->stopping ? 0 : r->revision;
    pthread_mutex_unlock(&r->state_lock);
    return revision;
}

/* History is gone: what happened is found by a range, and the watch begins behind that one. */
static void forget_revision(es_etcd_registry *r)
{
    pthread_mutex_lock(&r->state_lock);
    r->revision = 0;
    pthread_mutex_unlock(&r->state_lock);
}

static es_status watch_from(watch *w, uint64_t revision, es_err *err)
{
    char prefix[ES_ETCD_PATH_MAX];
    es_etcd_key(w->r, prefix, "live/");
    json_t *request = es_etcd_key_json(prefix, true);
    if (request == NULL ||
        json_object_set_new(request, "start_revision", json_integer((json_int_t)revision)) != 0 ||
        json_object_set_new(request, "progress_notify", json_true()) != 0) {
        json_decref(request);
        return es_err_set(err, ES_NO_MEMORY, "etcd: watch");
    }
    es_registry_count(&w->r->base, &w->r->base.stats.watches);
    return es_etcd_watch(w->r->watcher_link, json_pack("{s:o}", "create_request", request), take_line, w,
                         es_clock_now_ns() + WATCH_NS, err);
}

void *es_etcd_watcher_main(void *registry)
{
    es_etcd_registry *r = registry;
    uint64_t backoff_ns = 0;
    for (;;) {
        uint64_t revision = wait_for_revision(r);
        if (revision == 0) return NULL;
        es_err err;
        watch w = {.r = r};
        es_status status = watch_from(&w, revision + 1, &err);
        if (status == ES_CANCELLED) return NULL;
        if (w.last.kind == ES_ETCD_NOTE_COMPACTED) {
            es_registry_count(&r->base, &r->base.stats.compactions);
            forget_revision(r);
        } else if (status != ES_TIMEOUT) {
            es_etcd_distrust(r->etcd, w.last.kind == ES_ETCD_NOTE_ENDED ? w.last.code : ES_ETCD_UNAVAILABLE);
        }
        es_etcd_poke(r, true); /* what happened while nobody watched */
        backoff_ns = w.some || backoff_ns == 0 ? BACKOFF_MIN_MS * MS : backoff_ns * 2;
        if (backoff_ns > BACKOFF_MAX_MS * MS) backoff_ns = BACKOFF_MAX_MS * MS;
        rest(r, backoff_ns);
    }
}
