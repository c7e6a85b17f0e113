/* The embedded registry: a folder under a lock. Every change reads the file, changes it and writes it whole,
 * so that the coordinator and commands beside it see each other's; leases live in memory, and after a restart
 * every node of the file has one lease's time to be heard of again. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cluster/backend.h"
#include "cluster/embedded_file.h"
#include "cluster/embedded_seen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LOCK_MS = 5000, LOCK_LOOK_NS = 2000000 };

typedef struct lease {
    char name[ES_NAME_MAX + 1]; /* "": free */
    uint64_t until_ns;
    uint64_t seen_s; /* when its node was heard of here, by the clock on the wall; 0: it was not */
} lease;

typedef struct embedded {
    es_registry base;
    char folder[PATH_BYTES];
    int lock_fd;
    uint64_t ttl_ns;
    pthread_mutex_t state_lock; /* around everything below */
    es_embedded_state *state;   /* as read last */
    struct stat seen;           /* the file that was read; st_nlink 0: none, or it is not to be trusted */
    lease leases[ES_REGISTRY_NODES_MAX];
    es_node_record own; /* name "": none */
    uint64_t noted_s;   /* when leases were noted for others to see */
    bool notes_fail;    /* and that was told */
} embedded;

static lease *find_lease(embedded *e, const char *name)
{
    for (size_t i = 0; i < ES_REGISTRY_NODES_MAX; i++)
        if (strcmp(e->leases[i].name, name) == 0) return &e->leases[i];
    return NULL;
}

static lease *extend(embedded *e, const char *name)
{
    lease *l = find_lease(e, name);
    if (l == NULL) l = find_lease(e, "");
    ES_ASSERT(l != NULL); /* as many as a file has nodes, and those of nodes that are gone are free */
    strcpy(l->name, name);
    l->until_ns = es_clock_now_ns() + e->ttl_ns;
    return l;
}

static es_node_record *find_node(es_embedded_state *state, const char *name)
{
    for (size_t n = 0; n < state->node_count; n++)
        if (strcmp(state->nodes[n].name, name) == 0) return &state->nodes[n];
    return NULL;
}

static bool is_alive(embedded *e, const char *name, uint64_t now_ns)
{
    if (strcmp(e->own.name, name) == 0) return true;
    const lease *l = find_lease(e, name);
    return l != NULL && l->until_ns > now_ns;
}

/* Leases of nodes that the file has not any more are free; nodes that are new get one. */
static void settle_leases(embedded *e)
{
    for (size_t i = 0; i < ES_REGISTRY_NODES_MAX; i++)
        if (e->leases[i].name[0] != '\0' && find_node(e->state, e->leases[i].name) == NULL)
            e->leases[i] = (lease){.until_ns = 0};
    for (size_t n = 0; n < e->state->node_count; n++)
        if (find_lease(e, e->state->nodes[n].name) == NULL) extend(e, e->state->nodes[n].name);
}

static void publish(embedded *e)
{
    uint64_t now_ns = es_clock_now_ns();
    es_registry_view *view = es_registry_view_create(e->state->node_count, e->state->revoked_count);
    if (view == NULL) {
        es_registry_freeze(&e->base);
        return;
    }
    view->epoch = e->state->epoch;
    for (size_t n = 0; n < e->state->node_count; n++)
        if (is_alive(e, e->state->nodes[n].name, now_ns))
            view->nodes[view->node_count++] = e->state->nodes[n];
        else
            view->lapsed[view->lapsed_count++] = e->state->nodes[n];
    view->revoked_count = e->state->revoked_count;
    memcpy(view->revoked, e->state->revoked, view->revoked_count * sizeof *view->revoked);
    es_registry_view_sort(view);
    es_registry_publish(&e->base, &view);
}

static struct stat stat_of(const embedded *e)
{
    char path[PATH_BYTES];
    struct stat info;
    if (es_file_join(path, sizeof path, e->folder, "registry.json", NULL) != ES_OK || stat(path, &info) != 0)
        return (struct stat){.st_nlink = 0};
    return info;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads the file when it is another than was read last. A file that cannot be read leaves what is known. */
static es_status look(embedded *e, es_err *err)
{
    struct stat now = stat_of(e);
    if (e->seen.st_nlink != 0 && is_same_file(&now, &e->seen)) return ES_OK;
    es_embedded_state *fresh = malloc(sizeof *fresh);
    if (fresh == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    es_status status = es_embedded_state_load(e->folder, fresh, err);
    if (status == ES_OK) {
        free(e->state);
        e->state = fresh;
        e->seen = now;
        es_registry_count(&e->base, &e->base.stats.ranges);
        settle_leases(e);
    } else {
        free(fresh);
    }
    return status;
}

static void refresh(es_registry *registry)
{
    embedded *e = (embedded *)registry;
    es_err err;
    pthread_mutex_lock(&e->state_lock);
    if (look(e, &err) == ES_OK) {
        publish(e);
    } else {
        es_registry_count(registry, &registry->stats.failures);
        es_registry_freeze(registry);
    }
    pthread_mutex_unlock(&e->state_lock);
}

/* The folder's lock, against other processes; state_lock is held. */
static es_status lock_folder(embedded *e, es_err *err)
{
    uint64_t deadline_ns = es_clock_now_ns() + LOCK_MS * 1000000ull;
    while (flock(e->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return es_err_set(err, ES_IO, "%s: lock: %s", e->folder, strerror(errno));
        if (es_clock_now_ns() > deadline_ns)
            return es_err_set(err, ES_TIMEOUT, "%s: another process has held its lock for %d ms", e->folder,
                              LOCK_MS);
        nanosleep(&(struct timespec){0, LOCK_LOOK_NS}, NULL);
    }
    return ES_OK;
}

/* Begins a change: both locks held and the file's latest read when ES_OK. */
static es_status begin(embedded *e, es_err *err)
{
    pthread_mutex_lock(&e->state_lock);
    es_status status = lock_folder(e, err);
    if (status == ES_OK) status = look(e, err);
    if (status == ES_OK) return ES_OK;
    flock(e->lock_fd, LOCK_UN);
    pthread_mutex_unlock(&e->state_lock);
    return status;
}

/* Ends it: writes what state says, when status is ES_OK; else forgets it. */
static es_status end(embedded *e, bool changed, es_status status, es_err *err)
{
    if (status == ES_OK && changed) status = es_embedded_state_save(e->folder, e->state, err);
    if (status != ES_OK && changed)
        e->seen = (struct stat){.st_nlink = 0}; /* what is in memory was not written */
    if (status == ES_OK) {
        if (changed) e->seen = stat_of(e);
        settle_leases(e);
        publish(e);
    }
    flock(e->lock_fd, LOCK_UN);
    pthread_mutex_unlock(&e->state_lock);
    return status;
}

/* A copy that went through the file's form: checked, and comparable as bytes. */
static es_status normalise(const es_node_record *record, es_node_record *ret_record, es_err *err)
{
    char *text = es_node_record_write(record);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "node record");
    es_status status = es_node_record_parse("node record", text, strlen(text), ret_record, err);
    free(text);
    return status == ES_CORRUPT ? es_err_prefix(err, "registry") : status;
}

static uint64_t seen_in(const es_seen *seen, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(seen[i].name, name) == 0) return seen[i].wall_s;
    return 0;
}

/* Notes for other processes who was heard of, at most once a second; of two coordinators each keeps what the
 * other noted. Both locks are held. */
static void note_seen(embedded *e, uint64_t now_s)
{
    if (now_s == e->noted_s) return;
    e->noted_s = now_s;
    es_seen *before = calloc(2 * (size_t)ES_REGISTRY_NODES_MAX, sizeof *before);
    size_t before_count = 0, count = 0;
    es_err err;
    if (before == NULL) return; /* the next one is noted */
    es_seen *now = before + ES_REGISTRY_NODES_MAX;
    es_status status = es_seen_load(e->folder, before, &before_count, &err);
    if (status != ES_OK) before_count = 0; /* damaged: what we know replaces it */
    for (size_t n = 0; n < e->state->node_count; n++) {
        const char *name = e->state->nodes[n].name;
        const lease *l = find_lease(e, name);
        uint64_t theirs_s = seen_in(before, before_count, name), ours_s = l != NULL ? l->seen_s : 0;
        es_seen *one = &now[count];
        one->wall_s = theirs_s > ours_s ? theirs_s : ours_s;
        if (one->wall_s == 0) continue;
        strcpy(one->name, name);
        count++;
    }
    status = es_seen_save(e->folder, now, count, &err);
    if (status != ES_OK && !e->notes_fail) es_log(ES_LOG_WARN, "who was seen is not noted: %s", err.text);
    e->notes_fail = status != ES_OK;
    free(before);
}

static es_status put(embedded *e, const es_node_record *record, bool own, es_err *err)
{
    es_node_record fresh;
    es_status status = normalise(record, &fresh, err);
    if (status == ES_OK) status = begin(e, err);
    if (status != ES_OK) return status;
    es_node_record *known = find_node(e->state, fresh.name);
    bool changed = known == NULL || !es_node_record_equal(known, &fresh);
    if (known != NULL && strcmp(known->key, fresh.key) != 0)
        status =
            es_err_set(err, ES_MISMATCH,
                       "registry: the name %s is a node's with another key: 'essaim node remove %s' frees it",
                       fresh.name, fresh.name);
    else if (known == NULL && e->state->node_count == ES_REGISTRY_NODES_MAX)
        status = es_err_set(err, ES_NO_MEMORY, "registry: %d nodes are the most", ES_REGISTRY_NODES_MAX);
    if (status == ES_OK && changed) {
        if (known == NULL) known = &e->state->nodes[e->state->node_count++];
        *known = fresh;
    }
    if (status == ES_OK && own) e->own = fresh;
    uint64_t now_s = es_clock_wall_ns() / 1000000000u;
    bool met = fresh.state != ES_MEMBER_JOINING; /* else its record was put, and nobody has met it */
    if (status == ES_OK) {
        lease *l = extend(e, fresh.name);
        if (met) l->seen_s = now_s;
        if (met) note_seen(e, now_s);
    }
    return end(e, changed && status == ES_OK, status, err);
}

static es_status announce(es_registry *registry, const es_node_record *record, es_err *err)
{
    es_node_record own = *record;
    own.holder = registry->holder;
    es_status status = put((embedded *)registry, &own, true, err);
    if (status == ES_OK) es_registry_count(registry, &registry->stats.lease_grants);
    return status;
}

static es_status renew(es_registry *registry, const es_node_record *record, es_err *err)
{
    return put((embedded *)registry, record, false, err);
}

static es_status seen(es_registry *registry, const es_node_record *nodes, size_t count, uint64_t *ret_wall_s,
                      es_err *err)
{
    embedded *e = (embedded *)registry;
    es_seen *noted = calloc(ES_REGISTRY_NODES_MAX, sizeof *noted);
    size_t noted_count = 0;
    if (noted == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    es_status status = es_seen_load(e->folder, noted, &noted_count, err);
    if (status == ES_NOT_FOUND) status = ES_OK;
    for (size_t n = 0; n < count; n++) ret_wall_s[n] = seen_in(noted, noted_count, nodes[n].name);
    free(noted);
    return status;
}

static es_status remove_node(es_registry *registry, const char *name, uint64_t deadline_ns, es_err *err)
{
    (void)deadline_ns; /* the lock's own is shorter than anybody's */
    embedded *e = (embedded *)registry;
    es_status status = begin(e, err);
    if (status != ES_OK) return status;
    es_node_record *known = find_node(e->state, name);
    if (known == NULL)
        return end(e, false, es_err_set(err, ES_NOT_FOUND, "registry: no node is called %.64s", name), err);
    *known = e->state->nodes[--e->state->node_count];
    if (strcmp(e->own.name, name) == 0) e->own.name[0] = '\0';
    return end(e, true, ES_OK, err);
}

static es_status mark(es_registry *registry, const char *name, es_member_state state, uint64_t deadline_ns,
                      es_err *err)
{
    (void)deadline_ns;
    embedded *e = (embedded *)registry;
    es_status status = begin(e, err);
    if (status != ES_OK) return status;
    es_node_record *known = find_node(e->state, name);
    if (known == NULL) status = es_err_set(err, ES_NOT_FOUND, "registry: no node is called %.64s", name);
    bool changed = known != NULL && known->state != state;
    if (changed) known->state = state;
    return end(e, changed, status, err);
}

static es_status withdraw(es_registry *registry, uint64_t deadline_ns, es_err *err)
{
    char name[ES_NAME_MAX + 1];
    embedded *e = (embedded *)registry;
    pthread_mutex_lock(&e->state_lock);
    strcpy(name, e->own.name);
    pthread_mutex_unlock(&e->state_lock);
    if (name[0] == '\0') return es_err_set(err, ES_NOT_FOUND, "registry: nothing was announced");
    return remove_node(registry, name, deadline_ns, err);
}

static es_status own(es_registry *registry, es_err *err)
{
    embedded *e = (embedded *)registry;
    pthread_mutex_lock(&e->state_lock);
    bool announced = e->own.name[0] != '\0';
    pthread_mutex_unlock(&e->state_lock);
    return announced ? ES_OK : es_err_set(err, ES_NOT_FOUND, "registry: nothing was announced");
}

static es_status placement(es_registry *registry, uint64_t deadline_ns, es_document **ret_document,
                           es_err *err)
{
    (void)deadline_ns;
    embedded *e = (embedded *)registry;
    es_status status = begin(e, err); /* under the lock: a swap would take the file away */
    if (status != ES_OK) return status;
    if (es_epoch_number(e->state->epoch) == 0)
        status = es_err_set(err, ES_NOT_FOUND, "registry: there is no placement yet");
    else
        status = es_embedded_placement_load(e->folder, e->state->epoch, e->state->placement_hash,
                                            ret_document, err);
    return end(e, false, status, err);
}

static es_status swap(es_registry *registry, es_epoch expected, const es_document *document,
                      uint64_t deadline_ns, es_err *err)
{
    (void)deadline_ns;
    embedded *e = (embedded *)registry;
    size_t bytes;
    char *text = es_document_write(document, &bytes);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    es_status status = begin(e, err);
    if (status != ES_OK) {
        free(text);
        return status;
    }
    es_epoch before = e->state->epoch;
    if (es_epoch_number(before) != es_epoch_number(expected))
        status = es_registry_other_epoch(before, expected, err);
    if (status == ES_OK) status = es_embedded_placement_save(e->folder, document->epoch, text, bytes, err);
    if (status == ES_OK) {
        e->state->epoch = document->epoch;
        es_registry_hash(text, bytes, e->state->placement_hash);
    }
    free(text);
    status = end(e, status == ES_OK, status, err);
    if (status == ES_OK && es_epoch_number(before) != 0) es_embedded_placement_remove(e->folder, before);
    return status;
}

static es_status set_revoked(es_registry *registry, const char *key, bool revoked, uint64_t deadline_ns,
                             es_err *err)
{
    (void)deadline_ns;
    embedded *e = (embedded *)registry;
    es_status status = begin(e, err);
    if (status != ES_OK) return status;
    es_embedded_state *state = e->state;
    size_t at = 0;
    while (at < state->revoked_count && strcmp(state->revoked[at], key) != 0) at++;
    bool is = at < state->revoked_count;
    if (revoked && !is && state->revoked_count == ES_REGISTRY_REVOKED_MAX)
        return end(
            e, false,
            es_err_set(err, ES_NO_MEMORY, "registry: %d revoked keys are the most", ES_REGISTRY_REVOKED_MAX),
            err);
    if (revoked && !is) memcpy(state->revoked[state->revoked_count++], key, ES_KEY_TEXT_BYTES);
    if (!revoked && is) memcpy(state->revoked[at], state->revoked[--state->revoked_count], ES_KEY_TEXT_BYTES);
    return end(e, revoked != is, ES_OK, err);
}

/* Forgets tokens whose time is over. */
static void drop_old_tokens(es_embedded_state *state)
{
    uint64_t now_s = (uint64_t)time(NULL);
    size_t kept = 0;
    for (size_t t = 0; t < state->token_count; t++)
        if (state->tokens[t].until_s > now_s) state->tokens[kept++] = state->tokens[t];
    state->token_count = kept;
}

static es_status token_add(es_registry *registry, const uint8_t *hash, unsigned ttl_s, uint64_t deadline_ns,
                           es_err *err)
{
    (void)deadline_ns;
    embedded *e = (embedded *)registry;
    es_status status = begin(e, err);
    if (status != ES_OK) return status;
    drop_old_tokens(e->state);
    if (e->state->token_count == ES_REGISTRY_TOKENS_MAX)
        return end(e, false,
                   es_err_set(err, ES_NO_MEMORY, "registry: %d tokens wait already", ES_REGISTRY_TOKENS_MAX),
                   err);
    es_embedded_token *token = &e->state->tokens[e->state->token_count++];
    memcpy(token->hash, hash, sizeof token->hash);
    token->until_s = (uint64_t)time(NULL) + ttl_s;
    return end(e, true, ES_OK, err);
}

static es_status token_take(es_registry *registry, const uint8_t *hash, uint64_t deadline_ns, es_err *err)
{
    (void)deadline_ns;
    embedded *e = (embedded *)registry;
    es_status status = begin(e, err);
    if (status != ES_OK) return status;
    drop_old_tokens(e->state);
    for (size_t t = 0; t < e->state->token_count; t++)
        if (memcmp(e->state->tokens[t].hash, hash, ES_TOKEN_HASH_BYTES) == 0) {
            e->state->tokens[t] = e->state->tokens[--e->state->token_count];
            return end(e, true, ES_OK, err);
        }
    return end(e, false, es_err_set(err, ES_NOT_FOUND, "the token is none, was used, or has lapsed"), err);
}

static void close_embedded(es_registry *registry)
{
    embedded *e = (embedded *)registry;
    es_err err;
    if (e->own.name[0] != '\0' && withdraw(registry, 0, &err) != ES_OK)
        es_log(ES_LOG_WARN, "our record stays in %s: %s", e->folder, err.text);
    if (e->lock_fd >= 0) close(e->lock_fd);
    pthread_mutex_destroy(&e->state_lock);
    es_registry_fini(&e->base);
    free(e->state);
    free(e);
}

static const es_registry_ops OPS = {
    .close = close_embedded,
    .refresh = refresh,
    .announce = announce,
    .withdraw = withdraw,
    .own = own,
    .renew = renew,
    .seen = seen,
    .remove = remove_node,
    .mark = mark,
    .placement = placement,
    .swap = swap,
    .revoke = set_revoked,
    .token_add = token_add,
    .token_take = token_take,
};

static es_status open_folder(embedded *e, const char *folder, es_err *err)
{
    char path[PATH_BYTES];
    es_status status = es_file_join(path, sizeof path, folder, "lock", err);
    if (status != ES_OK) return status;
    strcpy(e->folder, folder);
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return es_err_set(err, ES_IO, "%s: %s", folder, strerror(errno));
    e->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (e->lock_fd < 0) return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
    pthread_mutex_lock(&e->state_lock);
    status = lock_folder(e, err);
    if (status == ES_OK) {
        status = look(e, err);
        if (status == ES_NOT_FOUND) { /* a new folder */
            memset(e->state, 0, sizeof *e->state);
            status = es_embedded_state_save(folder, e->state, err);
        }
        if (status == ES_OK) status = look(e, err);
        if (status == ES_OK) publish(e);
        flock(e->lock_fd, LOCK_UN);
    }
    pthread_mutex_unlock(&e->state_lock);
    return status;
}

es_status es_registry_open_embedded(const char *folder, unsigned ttl_ms, es_registry **ret_registry,
                                    es_err *err)
{
    *ret_registry = NULL;
    embedded *e = calloc(1, sizeof *e);
    if (e == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    e->lock_fd = -1;
    e->ttl_ns = (uint64_t)(ttl_ms > 0 ? ttl_ms : ES_REGISTRY_TTL_MS) * 1000000u;
    pthread_mutex_init(&e->state_lock, NULL);
    es_status status = es_registry_init(&e->base, &OPS, err);
    e->state = calloc(1, sizeof *e->state);
    if (status == ES_OK && e->state == NULL) status = es_err_set(err, ES_NO_MEMORY, "registry");
    if (status == ES_OK) status = open_folder(e, folder, err);
    if (status != ES_OK) {
        close_embedded(&e->base);
        return status;
    }
    *ret_registry = &e->base;
    return ES_OK;
}
