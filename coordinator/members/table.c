/* The table of members: compared with the registry's view and the valid placement, and told to the swarm. */
#include "base/clock.h"
#include "base/log.h"
#include "members/internal.h"
#include "members/newest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOCUMENT_MS = 3000, AGAIN_MS = 2000, LIST_MS = 100, RENEW_PART = 4 };

static size_t place_of(const es_membership *m, const char *name)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(m->members[middle]->record.name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

es_member *es_membership_find(const es_membership *m, const char *name)
{
    size_t at = place_of(m, name);
    return at < m->count && strcmp(m->members[at]->record.name, name) == 0 ? m->members[at] : NULL;
}

/* NULL when memory is short, or there are as many as a registry and a placement may name. */
static es_member *find_or_add(es_membership *m, const char *name, uint64_t now_ns)
{
    size_t at = place_of(m, name), room = sizeof m->members / sizeof m->members[0];
    if (at < m->count && strcmp(m->members[at]->record.name, name) == 0) return m->members[at];
    es_member *member = m->count < room ? calloc(1, sizeof *member) : NULL;
    if (member == NULL) return NULL;
    snprintf(member->record.name, sizeof member->record.name, "%s", name);
    member->gone_ns = now_ns;
    member->list = UINT64_MAX;
    memmove(m->members + at + 1, m->members + at, (m->count - at) * sizeof m->members[0]);
    m->members[at] = member;
    m->count++;
    return member;
}

static void free_member(es_member *member)
{
    es_member_close(member);
    es_chunk_set_fini(&member->held);
    es_chunk_set_fini(&member->wanted);
    free(member);
}

void es_membership_clear(es_membership *m)
{
    for (size_t n = 0; n < m->count; n++) free_member(m->members[n]);
    m->count = 0;
}

static bool is_revoked(const es_registry_view *view, const char *key)
{
    if (key[0] == '\0') return false;
    for (size_t i = 0; i < view->revoked_count; i++)
        if (strcmp(view->revoked[i], key) == 0) return true;
    return false;
}

static void take_record(es_membership *m, const es_node_record *record, bool registered, uint64_t now_ns)
{
    es_member *member = find_or_add(m, record->name, now_ns);
    if (member == NULL) return;
    bool revoked = is_revoked(m->view, record->key);
    if (member->parting_ns != 0 && !revoked) { /* it is back before it was told that it was not */
        member->parting_ns = 0;
        es_member_close(member);
        member->link.again_ns = 0;
    }
    bool moved =
        strcmp(member->record.control, record->control) != 0 || strcmp(member->record.key, record->key) != 0;
    if (moved) {
        es_member_close(member);
        member->parting_ns = 0;
        member->link.again_ns = 0;
        member->link.failures = 0;
        m->list_dirty = true;
    }
    member->seen = true;
    member->registered = registered;
    m->list_dirty |= !member->known;
    member->known = true;
    /* What we are about to write is newer. */
    if (!member->record_changed || moved) member->record = *record;
    if (revoked == member->revoked) return;
    member->revoked = revoked;
    m->list_dirty = true;
    if (!revoked) return;
    es_member_part(member, now_ns);
    if (member->gone_ns == 0) member->gone_ns = now_ns;
    snprintf(member->why, sizeof member->why, "its key was revoked");
    es_log(ES_LOG_WARN, "member %s: its key was revoked", record->name);
}

/* The registry has it no more: the others are told, and it is no peer of theirs. */
static void forget(es_membership *m, es_member *member, uint64_t now_ns)
{
    if (!member->known) return;
    member->known = false;
    m->list_dirty = true;
    es_member_part(member, now_ns);
    if (member->gone_ns == 0) member->gone_ns = now_ns;
}

/* Nobody names it any more. */
static void drop_unknown(es_membership *m)
{
    size_t kept = 0;
    for (size_t n = 0; n < m->count; n++) {
        es_member *member = m->members[n];
        if (member->known || member->is_wanted || member->parting_ns != 0) {
            m->members[kept++] = member;
            continue;
        }
        free_member(member);
        m->list_dirty = true;
    }
    m->count = kept;
}

/* A lease is kept for a node that answers; its record is written when it says something new. */
static void renew(es_membership *m, uint64_t now_ns)
{
    for (size_t n = 0; n < m->count; n++) {
        es_member *member = m->members[n];
        bool due = now_ns - member->renewed_ns > ES_REGISTRY_TTL_MS / RENEW_PART * UINT64_C(1000000);
        if (!member->known || !member->link.greeted || (!due && !member->record_changed)) continue;
        es_err err;
        member->renewed_ns = now_ns;
        es_status status = es_registry_renew(m->options.registry, &member->record, &err);
        if (status == ES_OK)
            member->record_changed = false;
        else
            es_log(ES_LOG_WARN, "member %s: %s", member->record.name, err.text);
    }
}

void es_why_set(char ret_why[ES_MEMBER_WHY_MAX], const char *format, ...)
{
    char text[ES_MEMBER_WHY_MAX];
    es_err clean;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)es_err_set(&clean, ES_UNAVAILABLE, "%s", text);
    memcpy(ret_why, clean.text, strlen(clean.text) + 1);
}

/* Keys of strangers too: nodes refuse them, whoever lost them. */
static bool revokes_the_same(const es_registry_view *before, const es_registry_view *now)
{
    size_t count = before != NULL ? before->revoked_count : 0;
    return count == now->revoked_count &&
           (count == 0 || memcmp(before->revoked, now->revoked, count * sizeof *now->revoked) == 0);
}

void es_membership_take_view(es_membership *m, uint64_t now_ns)
{
    es_registry_view *view;
    if (m->options.embedded) renew(m, now_ns);
    if (es_registry_view_get(m->options.registry, &view, NULL) != ES_OK) return;
    bool same = m->view != NULL && m->view->version == view->version;
    m->list_dirty |= !same && !revokes_the_same(m->view, view);
    es_registry_view_destroy(&m->view);
    m->view = view;
    drop_unknown(m); /* those who have been told by now */
    if (same) return;
    for (size_t n = 0; n < m->count; n++) m->members[n]->seen = false;
    for (size_t n = 0; n < view->node_count; n++) take_record(m, &view->nodes[n], true, now_ns);
    for (size_t n = 0; n < view->lapsed_count; n++) take_record(m, &view->lapsed[n], false, now_ns);
    for (size_t n = 0; n < m->count; n++) {
        es_member *member = m->members[n];
        if (member->seen) continue;
        member->registered = false;
        /* While etcd has not its record, a node that answers works on, and registers again. */
        if (m->options.embedded || !member->link.greeted) forget(m, member, now_ns);
    }
    drop_unknown(m);
}

static es_status set_wanted(es_membership *m, const es_document *d, uint64_t now_ns, es_err *err)
{
    for (size_t n = 0; n < m->count; n++) m->members[n]->is_wanted = false;
    for (size_t n = 0; n < d->node_count; n++) {
        const es_document_node *node = &d->nodes[n];
        es_member *member = find_or_add(m, node->name, now_ns);
        if (member == NULL) return es_err_set(err, ES_NO_MEMORY, "placement: its nodes");
        es_chunk_set_fini(&member->wanted);
        es_status status = es_chunk_set_init(&member->wanted, m->options.shape, err);
        if (status != ES_OK) return status;
        es_chunk_set_change(&member->wanted, node->units, node->unit_count, true);
        member->is_wanted = true;
        member->pause_ns = 0;
    }
    return ES_OK;
}

/* A signature says who made a placement and never that it is the latest: an old one that is put back, or a
 * registry that was restored from a backup, must not lead anybody back. */
static es_status check_newer(const es_membership *m, es_epoch epoch, es_err *err)
{
    char there[ES_EPOCH_TEXT_MAX], here[ES_EPOCH_TEXT_MAX];
    if (es_epoch_number(epoch) >= es_epoch_number(m->newest)) return ES_OK;
    es_epoch_format(epoch, there);
    es_epoch_format(m->newest, here);
    return es_err_set(
        err, ES_STALE,
        "it is older than %s, which was followed here: somebody put it back, or the registry was "
        "restored from a backup; 'essaim placement plan --new-generation' and 'apply --replaces "
        "%s' make one that is newer",
        here, there);
}

static void note_newest(es_membership *m, es_epoch epoch)
{
    es_err err;
    if (es_epoch_number(epoch) <= es_epoch_number(m->newest)) return;
    m->newest = epoch;
    if (m->options.epoch_file == NULL) return;
    if (es_newest_save(m->options.epoch_file, epoch, &err) != ES_OK)
        es_log(ES_LOG_WARN, "the newest placement's epoch is not kept over a restart: %s", err.text);
}

static es_status read_placement(es_membership *m, uint64_t now_ns, es_document **ret_document, es_err *err)
{
    es_status status = check_newer(m, m->view->epoch, err);
    if (status == ES_OK)
        status = es_registry_placement(m->options.registry, now_ns + DOCUMENT_MS * UINT64_C(1000000),
                                       ret_document, err);
    const es_document *d = *ret_document;
    if (status == ES_OK) status = check_newer(m, d->epoch, err); /* what stands may have changed meanwhile */
    if (status == ES_OK) status = es_document_check(d, m->options.shape, m->options.fingerprint, err);
    if (status == ES_OK && m->options.keys != NULL) status = es_document_verify(d, m->options.trust, err);
    return status;
}

void es_membership_take_placement(es_membership *m, uint64_t now_ns)
{
    if (m->view == NULL) return;
    uint64_t stands = es_epoch_number(m->view->epoch);
    uint64_t ours = m->document != NULL ? es_epoch_number(m->document->epoch) : 0;
    bool refused = stands == es_epoch_number(m->refused);
    char epoch[ES_EPOCH_TEXT_MAX];
    es_epoch_format(m->view->epoch, epoch);
    if (stands == ours && es_epoch_number(m->refused) != 0) {
        es_log(ES_LOG_INFO, "placement %s stands again", epoch);
        m->refused = (es_epoch){0, 0};
        m->plan_why[0] = '\0';
    }
    if (stands == ours || stands == 0 || (refused && now_ns < m->document_again_ns)) return;
    es_document *d = NULL;
    es_err err;
    es_status status = read_placement(m, now_ns, &d, &err);
    if (status == ES_OK) status = set_wanted(m, d, now_ns, &err);
    if (status != ES_OK) {
        if (!refused) es_log(ES_LOG_WARN, "placement %s is not followed: %s", epoch, err.text);
        es_why_set(m->plan_why, "placement %s is not followed: %s", epoch, err.text);
        m->refused = m->view->epoch;
        m->document_again_ns = now_ns + AGAIN_MS * UINT64_C(1000000);
        es_document_destroy(&d);
        return;
    }
    es_log(ES_LOG_INFO, "following placement %s: %s, %zu cop%s, %zu nodes", epoch,
           ES_PLACEMENT_MODES[d->mode], d->copies, d->copies == 1 ? "y" : "ies", d->node_count);
    es_document_destroy(&m->document);
    m->document = d;
    note_newest(m, d->epoch);
    m->refused = (es_epoch){0, 0};
    m->plan_why[0] = '\0';
    m->list_dirty = true;
    drop_unknown(m);
}

/* The swarm gets everybody who may compute for it. */
static es_status list_nodes(es_membership *m, uint64_t epoch, es_err *err)
{
    enum { TEXT_MAX = ES_ENDPOINT_TEXT_MAX + ES_KEY_TEXT_BYTES + 1 };
    const char **list = calloc(m->count + 1, sizeof *list);
    char(*text)[TEXT_MAX] = calloc(m->count + 1, sizeof *text);
    size_t count = 0;
    es_status status = list == NULL || text == NULL ? es_err_set(err, ES_NO_MEMORY, "list of nodes") : ES_OK;
    for (size_t n = 0; n < m->count && status == ES_OK && count < ES_SWARM_NODES_MAX; n++) {
        const es_member *member = m->members[n];
        if (!member->known || member->revoked || member->refused || member->drained) continue;
        const es_node_record *r = &member->record;
        snprintf(text[count], TEXT_MAX, "%s%s%s", r->control, r->key[0] != '\0' ? "," : "", r->key);
        list[count] = text[count];
        count++;
    }
    if (status == ES_OK) status = es_swarm_set_nodes(m->options.swarm, list, count, epoch, err);
    free(list);
    free(text);
    return status;
}

static bool is_peer(const es_member *member)
{
    return member->known && !member->revoked && !member->refused;
}

size_t es_membership_list_peers(const es_membership *m, es_peer *ret_peers)
{
    size_t count = 0;
    for (size_t n = 0; n < m->count && count < ES_PEERS_MAX; n++) {
        const es_member *member = m->members[n];
        if (!is_peer(member)) continue;
        es_peer *peer = &ret_peers[count++];
        *peer = (es_peer){.shards = ""};
        memcpy(peer->name, member->record.name, sizeof peer->name);
        memcpy(peer->key, member->record.key, sizeof peer->key);
        if (member->shard_port == 0) continue;
        es_endpoint at = member->link.at;
        at.port = (uint16_t)member->shard_port;
        es_endpoint_format(&at, peer->shards);
    }
    return count;
}

void es_membership_tell_swarm(es_membership *m, uint64_t now_ns)
{
    uint64_t epoch = es_epoch_number(m->in_force);
    es_err err;
    if (!m->list_dirty && epoch == m->list_epoch) return;
    if (now_ns - m->listed_ns < LIST_MS * UINT64_C(1000000)) return;
    m->listed_ns = now_ns;
    if (list_nodes(m, epoch, &err) != ES_OK) {
        es_log(ES_LOG_WARN, "the swarm's list of nodes: %s", err.text);
        return;
    }
    m->list_dirty = false;
    m->list_epoch = epoch;
    m->peers_number++;
    for (size_t n = 0; n < m->count; n++)
        if (m->members[n]->list == UINT64_MAX && m->members[n]->has_held)
            m->members[n]->list = es_swarm_lists(m->options.swarm);
}
