/* What both back ends share: the latest view, who is told of it, and the calls passed on. */
#include "cluster/backend.h"

#include "base/clock.h"
#include "base/size.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOOK_MS = 200 }; /* how often a folder is looked at while somebody waits */

es_registry_view *es_registry_view_create(size_t nodes_max, size_t revoked_max)
{
    es_registry_view *view = calloc(1, sizeof *view);
    if (view == NULL) return NULL;
    view->nodes = calloc(nodes_max + 1, sizeof *view->nodes);
    view->lapsed = calloc(nodes_max + 1, sizeof *view->lapsed);
    view->revoked = calloc(revoked_max + 1, sizeof *view->revoked);
    if (view->nodes == NULL || view->lapsed == NULL || view->revoked == NULL) es_registry_view_destroy(&view);
    return view;
}

void es_registry_view_destroy(es_registry_view **view)
{
    if (*view == NULL) return;
    free((*view)->nodes);
    free((*view)->lapsed);
    free((*view)->revoked);
    free(*view);
    *view = NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const es_node_record *)a)->name, ((const es_node_record *)b)->name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

void es_registry_view_sort(es_registry_view *view)
{
    size_t kept = 0;
    qsort(view->nodes, view->node_count, sizeof *view->nodes, by_name);
    for (size_t n = 0; n < view->node_count; n++)
        if (kept == 0 || by_name(&view->nodes[kept - 1], &view->nodes[n]) != 0)
            view->nodes[kept++] = view->nodes[n];
    view->node_count = kept;
    qsort(view->lapsed, view->lapsed_count, sizeof *view->lapsed, by_name);
    qsort(view->revoked, view->revoked_count, sizeof *view->revoked, by_text);
}

const es_node_record *es_registry_view_find(const es_registry_view *view, const char *name)
{
    for (size_t n = 0; n < view->node_count; n++)
        if (strcmp(view->nodes[n].name, name) == 0) return &view->nodes[n];
    return NULL;
}

es_status es_registry_init(es_registry *registry, const es_registry_ops *ops, es_err *err)
{
    registry->ops = ops;
    registry->view = es_registry_view_create(0, 0);
    if (registry->view == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    registry->view->frozen = true;
    randombytes_buf(&registry->holder, sizeof registry->holder);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&registry->changed, &clock);
    pthread_condattr_destroy(&clock);
    pthread_mutex_init(&registry->lock, NULL);
    return ES_OK;
}

void es_registry_fini(es_registry *registry)
{
    if (registry->view == NULL) return;
    pthread_cond_destroy(&registry->changed);
    pthread_mutex_destroy(&registry->lock);
    es_registry_view_destroy(&registry->view);
}

static bool same_nodes(const es_node_record *a, size_t a_count, const es_node_record *b, size_t b_count)
{
    bool same = a_count == b_count;
    for (size_t i = 0; same && i < a_count; i++) same = es_node_record_equal(&a[i], &b[i]);
    return same;
}

static bool says_the_same(const es_registry_view *a, const es_registry_view *b)
{
    return a->frozen == b->frozen && a->revoked_count == b->revoked_count &&
           es_epoch_number(a->epoch) == es_epoch_number(b->epoch) &&
           same_nodes(a->nodes, a->node_count, b->nodes, b->node_count) &&
           same_nodes(a->lapsed, a->lapsed_count, b->lapsed, b->lapsed_count) &&
           memcmp(a->revoked, b->revoked, a->revoked_count * sizeof *a->revoked) == 0;
}

/* Under the lock. */
static void tell(es_registry *registry)
{
    registry->view->version++;
    pthread_cond_broadcast(&registry->changed);
    if (registry->wake != NULL) registry->wake(registry->context);
}

void es_registry_publish(es_registry *registry, es_registry_view **view)
{
    pthread_mutex_lock(&registry->lock);
    es_registry_view *before = registry->view;
    (*view)->answered_ns = es_clock_now_ns();
    (*view)->version = before->version;
    registry->view = *view;
    if (!says_the_same(before, *view)) tell(registry);
    pthread_mutex_unlock(&registry->lock);
    es_registry_view_destroy(&before);
    *view = NULL;
}

void es_registry_freeze(es_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    if (!registry->view->frozen) {
        registry->view->frozen = true;
        tell(registry);
    }
    pthread_mutex_unlock(&registry->lock);
}

void es_registry_count(es_registry *registry, uint64_t *count)
{
    pthread_mutex_lock(&registry->lock);
    ++*count;
    pthread_mutex_unlock(&registry->lock);
}

void es_registry_on_change(es_registry *registry, es_registry_wake_fn *wake, void *context)
{
    pthread_mutex_lock(&registry->lock);
    registry->wake = wake;
    registry->context = context;
    pthread_mutex_unlock(&registry->lock);
}

es_status es_registry_view_get(es_registry *registry, es_registry_view **ret_view, es_err *err)
{
    if (registry->ops->refresh != NULL) registry->ops->refresh(registry);
    pthread_mutex_lock(&registry->lock);
    const es_registry_view *from = registry->view;
    size_t most = es_size_max(from->node_count, from->lapsed_count);
    es_registry_view *view = es_registry_view_create(most, from->revoked_count);
    if (view != NULL) {
        es_node_record *nodes = view->nodes, *lapsed = view->lapsed;
        char(*revoked)[ES_KEY_TEXT_BYTES] = view->revoked;
        memcpy(nodes, from->nodes, from->node_count * sizeof *nodes);
        memcpy(lapsed, from->lapsed, from->lapsed_count * sizeof *lapsed);
        memcpy(revoked, from->revoked, from->revoked_count * sizeof *revoked);
        *view = *from;
        view->nodes = nodes;
        view->lapsed = lapsed;
        view->revoked = revoked;
    }
    pthread_mutex_unlock(&registry->lock);
    *ret_view = view;
    return view != NULL ? ES_OK : es_err_set(err, ES_NO_MEMORY, "registry");
}

uint64_t es_registry_wait(es_registry *registry, uint64_t seen, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = es_clock_now_ns(), until_ns = deadline_ns;
        if (registry->ops->refresh != NULL) {
            registry->ops->refresh(registry);
            uint64_t look_ns = now_ns + LOOK_MS * 1000000ull;
            until_ns = look_ns < deadline_ns ? look_ns : deadline_ns;
        }
        struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
        pthread_mutex_lock(&registry->lock);
        int waited = 0;
        while (registry->view->version == seen && waited == 0)
            waited = pthread_cond_timedwait(&registry->changed, &registry->lock, &until);
        uint64_t version = registry->view->version;
        pthread_mutex_unlock(&registry->lock);
        if (version != seen || es_clock_now_ns() >= deadline_ns) return version;
    }
}

es_registry_stats es_registry_get_stats(es_registry *registry)
{
    pthread_mutex_lock(&registry->lock);
    es_registry_stats stats = registry->stats;
    pthread_mutex_unlock(&registry->lock);
    return stats;
}

void es_registry_close(es_registry **registry)
{
    if (*registry == NULL) return;
    (*registry)->ops->close(*registry);
    *registry = NULL;
}

es_status es_registry_announce(es_registry *registry, const es_node_record *record, es_err *err)
{
    return registry->ops->announce(registry, record, err);
}

es_status es_registry_withdraw(es_registry *registry, uint64_t deadline_ns, es_err *err)
{
    return registry->ops->withdraw(registry, deadline_ns, err);
}

es_status es_registry_own(es_registry *registry, es_err *err)
{
    return registry->ops->own(registry, err);
}

es_status es_registry_renew(es_registry *registry, const es_node_record *record, es_err *err)
{
    if (registry->ops->renew == NULL)
        return es_err_set(err, ES_UNSUPPORTED, "registry: nodes keep their own leases here");
    return registry->ops->renew(registry, record, err);
}

es_status es_registry_seen(es_registry *registry, const es_node_record *nodes, size_t count,
                           uint64_t *ret_wall_s, es_err *err)
{
    if (registry->ops->seen == NULL)
        return es_err_set(err, ES_UNSUPPORTED, "registry: nodes keep their own leases here");
    return registry->ops->seen(registry, nodes, count, ret_wall_s, err);
}

es_status es_registry_remove(es_registry *registry, const char *name, uint64_t deadline_ns, es_err *err)
{
    return registry->ops->remove(registry, name, deadline_ns, err);
}

es_status es_registry_mark(es_registry *registry, const char *name, es_member_state state,
                           uint64_t deadline_ns, es_err *err)
{
    return registry->ops->mark(registry, name, state, deadline_ns, err);
}

es_status es_registry_placement(es_registry *registry, uint64_t deadline_ns, es_document **ret_document,
                                es_err *err)
{
    *ret_document = NULL;
    return registry->ops->placement(registry, deadline_ns, ret_document, err);
}

es_status es_registry_swap(es_registry *registry, es_epoch expected, const es_document *document,
                           uint64_t deadline_ns, es_err *err)
{
    char next[ES_EPOCH_TEXT_MAX], old[ES_EPOCH_TEXT_MAX];
    es_epoch_format(document->epoch, next);
    es_epoch_format(expected, old);
    if (es_epoch_number(document->epoch) <= es_epoch_number(expected))
        return es_err_set(err, ES_INVALID, "placement: epoch %s is not above %s", next, old);
    return registry->ops->swap(registry, expected, document, deadline_ns, err);
}

es_status es_registry_revoke(es_registry *registry, const char *key, bool revoked, uint64_t deadline_ns,
                             es_err *err)
{
    if (!es_key_valid(key)) return es_err_set(err, ES_INVALID, "\"%.60s\" is no public key", key);
    return registry->ops->revoke(registry, key, revoked, deadline_ns, err);
}

es_status es_registry_token_add(es_registry *registry, const uint8_t hash[ES_TOKEN_HASH_BYTES],
                                unsigned ttl_s, uint64_t deadline_ns, es_err *err)
{
    return registry->ops->token_add(registry, hash, ttl_s, deadline_ns, err);
}

es_status es_registry_token_take(es_registry *registry, const uint8_t hash[ES_TOKEN_HASH_BYTES],
                                 uint64_t deadline_ns, es_err *err)
{
    return registry->ops->token_take(registry, hash, deadline_ns, err);
}

es_status es_registry_other_epoch(es_epoch stands, es_epoch expected, es_err *err)
{
    char here[ES_EPOCH_TEXT_MAX], there[ES_EPOCH_TEXT_MAX];
    es_epoch_format(stands, there);
    es_epoch_format(expected, here);
    return es_err_set(err, ES_MISMATCH, "placement: epoch %s is valid, not %s: somebody else changed it",
                      there, here);
}

es_status es_registry_check_epoch(const char *where, const es_document *document, es_epoch epoch, es_err *err)
{
    char says[ES_EPOCH_TEXT_MAX], is[ES_EPOCH_TEXT_MAX];
    if (es_epoch_number(document->epoch) == es_epoch_number(epoch)) return ES_OK;
    es_epoch_format(epoch, says);
    es_epoch_format(document->epoch, is);
    return es_err_set(err, ES_CORRUPT, "%s: the registry calls it %s, and it is %s", where, says, is);
}

void es_registry_hash(const void *bytes, size_t count, uint8_t ret_hash[32])
{
    crypto_generichash(ret_hash, 32, bytes, count, NULL, 0);
}
