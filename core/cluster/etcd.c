/* The etcd registry: opened, closed, and what is asked of it without waiting. */
#include "base/clock.h"
#include "base/signals.h"
#include "cluster/etcd_internal.h"

#include <stdlib.h>
#include <string.h>

enum { REFRESH_MS = 60000, TTL_MIN_MS = 1000, LEAVE_MS = 2000 };

static es_status announce(es_registry *registry, const es_node_record *record, es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    es_node_record own = *record, checked;
    own.holder = registry->holder;
    char *text = es_node_record_write(&own);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "node record");
    es_status status = es_node_record_parse("node record", text, strlen(text), &checked, err);
    free(text);
    if (status != ES_OK) return status;
    pthread_mutex_lock(&r->state_lock);
    if (r->announced && strcmp(r->own.name, own.name) != 0) {
        status = es_err_set(err, ES_INVALID, "registry: announced as %s already", r->own.name);
    } else {
        if (!r->announced) {
            r->own_status = ES_UNAVAILABLE;
            es_err_set(&r->own_err, ES_UNAVAILABLE, "registry: not registered yet");
        }
        r->own = checked;
        r->announced = true;
        r->rewrite = true;
    }
    pthread_cond_broadcast(&r->poked);
    pthread_mutex_unlock(&r->state_lock);
    return status;
}

static es_status withdraw(es_registry *registry, uint64_t deadline_ns, es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    es_status status = ES_OK;
    pthread_mutex_lock(&r->state_lock);
    if (!r->announced) status = es_err_set(err, ES_NOT_FOUND, "registry: nothing was announced");
    r->leaving = status == ES_OK;
    pthread_cond_broadcast(&r->poked);
    while (r->leaving && es_clock_now_ns() < deadline_ns) es_etcd_nap(r, deadline_ns);
    if (r->leaving)
        status =
            es_err_set(err, ES_TIMEOUT, "registry: no answer in time; the record goes when its lease ends");
    pthread_mutex_unlock(&r->state_lock);
    return status;
}

static es_status own(es_registry *registry, es_err *err)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    es_status status = ES_OK;
    pthread_mutex_lock(&r->state_lock);
    if (!r->announced)
        status = es_err_set(err, ES_NOT_FOUND, "registry: nothing was announced");
    else if (r->own_status != ES_OK)
        status = es_err_set(err, r->own_status, "%s", r->own_err.text);
    pthread_mutex_unlock(&r->state_lock);
    return status;
}

static void stop_threads(es_etcd_registry *r)
{
    es_err err;
    if (r->announced) withdraw(&r->base, es_clock_now_ns() + LEAVE_MS * 1000000ull, &err);
    pthread_mutex_lock(&r->state_lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->poked);
    pthread_mutex_unlock(&r->state_lock);
    es_etcd_link_stop(r->worker_link);
    es_etcd_link_stop(r->watcher_link);
    pthread_join(r->worker, NULL);
    pthread_join(r->watcher, NULL);
}

static void close_etcd(es_registry *registry)
{
    es_etcd_registry *r = (es_etcd_registry *)registry;
    if (r->started) stop_threads(r);
    es_etcd_link_destroy(&r->worker_link);
    es_etcd_link_destroy(&r->watcher_link);
    es_etcd_destroy(&r->etcd);
    pthread_cond_destroy(&r->poked);
    pthread_mutex_destroy(&r->state_lock);
    es_registry_fini(&r->base);
    free(r);
}

static const es_registry_ops OPS = {
    .close = close_etcd,
    .announce = announce,
    .withdraw = withdraw,
    .own = own,
    .remove = es_etcd_remove,
    .mark = es_etcd_mark,
    .placement = es_etcd_placement,
    .swap = es_etcd_swap,
    .revoke = es_etcd_revoke,
    .token_add = es_etcd_token_add,
    .token_take = es_etcd_token_take,
};

static es_status take_options(es_etcd_registry *r, const es_etcd_options *options, es_err *err)
{
    const char *prefix = options->prefix != NULL ? options->prefix : "essaim/";
    size_t length = strlen(prefix);
    if (length < 2 || length > ES_ETCD_PREFIX_MAX || prefix[length - 1] != '/')
        return es_err_set(err, ES_INVALID, "etcd: prefix \"%.140s\": 1 to %d characters and a '/'", prefix,
                          ES_ETCD_PREFIX_MAX - 1);
    for (const char *p = prefix; *p != '\0'; p++)
        if (*p < 0x21 || *p > 0x7e) return es_err_set(err, ES_INVALID, "etcd: prefix: only visible ASCII");
    if (options->ttl_ms > 0 && options->ttl_ms < TTL_MIN_MS)
        return es_err_set(err, ES_INVALID, "etcd: a lease of %u ms, less than %d", options->ttl_ms,
                          TTL_MIN_MS);
    memcpy(r->prefix, prefix, length + 1);
    r->ttl_s = (options->ttl_ms > 0 ? options->ttl_ms + 999 : ES_REGISTRY_TTL_MS) / 1000;
    r->refresh_ns = (uint64_t)(options->refresh_ms > 0 ? options->refresh_ms : REFRESH_MS) * 1000000u;
    return ES_OK;
}

static es_status start_threads(es_etcd_registry *r, es_err *err)
{
    int failed = es_signals_start_thread(&r->worker, es_etcd_worker_main, r);
    if (failed == 0) {
        failed = es_signals_start_thread(&r->watcher, es_etcd_watcher_main, r);
        if (failed != 0) {
            r->stopping = true;
            es_etcd_poke(r, false);
            pthread_join(r->worker, NULL);
        }
    }
    if (failed != 0) return es_err_set(err, ES_NO_MEMORY, "registry: %s", strerror(failed));
    r->started = true;
    return ES_OK;
}

es_status es_registry_open_etcd(const es_etcd_options *options, es_registry **ret_registry, es_err *err)
{
    *ret_registry = NULL;
    es_etcd_registry *r = calloc(1, sizeof *r);
    if (r == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&r->poked, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&r->state_lock, NULL);
    r->dirty = true;
    es_status status = es_registry_init(&r->base, &OPS, err);
    if (status == ES_OK) status = take_options(r, options, err);
    if (status == ES_OK) status = es_etcd_create(options, &r->base, &r->etcd, err);
    if (status == ES_OK) status = es_etcd_link_create(r->etcd, &r->worker_link, err);
    if (status == ES_OK) status = es_etcd_link_create(r->etcd, &r->watcher_link, err);
    if (status == ES_OK) status = start_threads(r, err);
    if (status != ES_OK) {
        close_etcd(&r->base);
        return status;
    }
    *ret_registry = &r->base;
    return ES_OK;
}
