/* The control thread, and what others see of it. */
#include "members/members.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/size.h"
#include "members/internal.h"
#include "members/newest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

/* A look at the registry's folder and at deadlines; sooner while something moves. */
enum {
    TICK_MS = 200,
    TICK_MOVING_MS = 20,
    MARK_MS = 3000,
    MEMBERS_MAX = ES_REGISTRY_NODES_MAX + ES_DOCUMENT_NODES_MAX
};

const char *es_member_phase_name(es_member_phase phase)
{
    static const char *const NAME[ES_MEMBER_PHASE_COUNT] = {
        [ES_MEMBER_GONE] = "gone",   [ES_MEMBER_REFUSED] = "refused", [ES_MEMBER_LOADING] = "loading",
        [ES_MEMBER_HOLDS] = "holds", [ES_MEMBER_LEAVING] = "leaving", [ES_MEMBER_DRAINED] = "drained",
    };
    return NAME[phase];
}

static void wake(void *context)
{
    es_membership *m = context;
    uint64_t one = 1;
    ssize_t bytes = write(m->wake_fd, &one, sizeof one);
    (void)bytes; /* full: it is readable already */
}

static es_member_phase phase_of(const es_member *member)
{
    if (member->revoked || member->refused) return ES_MEMBER_REFUSED;
    if (member->drained) return ES_MEMBER_DRAINED;
    if (!member->link.greeted) return ES_MEMBER_GONE;
    if (member->record.state == ES_MEMBER_DRAINING) return ES_MEMBER_LEAVING;
    return member->step.gains > 0 ? ES_MEMBER_LOADING : ES_MEMBER_HOLDS;
}

static size_t wanted_chunks(const es_member *member)
{
    size_t chunks = 0;
    const es_chunk_set *set = &member->wanted;
    if (!member->is_wanted) return 0;
    for (size_t w = 0; w < set->shape->layers * set->shape->experts * set->words; w++)
        chunks += (size_t)__builtin_popcountll(set->bits[w]);
    return chunks;
}

static es_member_info info_of(const es_membership *m, const es_member *member)
{
    size_t chunks = es_chunks_of(m->options.shape->expert_intermediate);
    es_member_info info = {.state = member->record.state,
                           .registered = member->registered,
                           .phase = phase_of(member),
                           .epoch = es_epoch_of_number(member->state.epoch),
                           .experts = es_size_ceil_div(wanted_chunks(member), chunks),
                           .missing = es_size_ceil_div(member->step.gains, chunks),
                           .surplus = es_size_ceil_div(member->step.loses, chunks),
                           .memory_bytes = member->record.memory_bytes,
                           .wanted_bytes = member->state.wanted_bytes,
                           .mapped_bytes = member->state.mapped_bytes,
                           .refused = member->stats.refused,
                           .malformed = member->stats.malformed};
    memcpy(info.name, member->record.name, sizeof info.name);
    memcpy(info.endpoint, member->record.control, sizeof info.endpoint);
    memcpy(info.why, member->drain_why[0] != '\0' ? member->drain_why : member->why, sizeof info.why);
    if (!member->known)
        snprintf(info.why, sizeof info.why, "%s",
                 member->is_wanted ? "the placement names it, and it is not registered" : "it was removed");
    return info;
}

/* Why the placement is not in force. */
static void explain(es_membership *m, es_membership_info *board)
{
    board->why[0] = '\0';
    if (m->plan_why[0] != '\0') {
        memcpy(board->why, m->plan_why, sizeof board->why);
    } else if (m->document == NULL) {
        snprintf(board->why, sizeof board->why, "there is no placement yet; %zu node%s registered",
                 m->view != NULL ? m->view->node_count : 0,
                 m->view != NULL && m->view->node_count == 1 ? "" : "s");
    } else if (es_epoch_number(board->in_force) != es_epoch_number(board->wanted)) {
        for (size_t n = 0; n < m->count && board->why[0] == '\0'; n++) {
            const es_member *member = m->members[n];
            if (!member->is_wanted || (member->link.greeted && member->step.gains == 0)) continue;
            const char *why = !member->known           ? "not registered"
                              : member->why[0] != '\0' ? member->why
                                                       : "loading";
            es_why_set(board->why, "node %s: %.240s", member->record.name, why);
        }
    }
}

static void publish(es_membership *m)
{
    es_member_info *infos = calloc(m->count + 1, sizeof *infos);
    es_membership_info board = m->counts;
    if (infos == NULL) return; /* what was shown before stays */
    board.embedded = m->options.embedded;
    board.automatic = m->options.automatic;
    board.frozen = m->view == NULL || m->view->frozen;
    board.wanted = m->document != NULL ? m->document->epoch : (es_epoch){0, 0};
    board.in_force = m->in_force;
    if (m->document != NULL) {
        board.mode = m->document->mode;
        board.copies = m->document->copies;
        board.slices = m->document->slices;
    }
    board.member_count = m->count;
    for (size_t n = 0; n < m->count; n++) infos[n] = info_of(m, m->members[n]);
    explain(m, &board);
    pthread_mutex_lock(&m->lock);
    es_member_info *before = m->infos;
    m->infos = infos;
    m->board = board;
    pthread_mutex_unlock(&m->lock);
    free(before);
}

/* Marks a node that is to be switched off; planning does the rest. */
static void order_drains(es_membership *m, uint64_t now_ns)
{
    char name[ES_NAME_MAX + 1];
    while (es_queue_pop(m->drains, name)) {
        es_member *member = es_membership_find(m, name);
        es_err err;
        if (member == NULL || !member->known || member->drained) continue;
        if (!member->link.greeted) {
            snprintf(member->drain_why, sizeof member->drain_why,
                     "cannot be drained: it does not answer; 'essaim node remove' takes it out for good");
            continue;
        }
        member->ordered = true;
        member->drain_why[0] = '\0';
        m->tried_hash = 0;
        es_log(ES_LOG_WARN, "member %s is to be drained", name);
        if (es_registry_mark(m->options.registry, name, ES_MEMBER_DRAINING,
                             now_ns + MARK_MS * UINT64_C(1000000), &err) == ES_OK) {
            member->record.state = ES_MEMBER_DRAINING;
            continue;
        }
        member->ordered = false;
        es_why_set(member->drain_why, "cannot be drained: %s", err.text);
    }
}

static bool is_moving(const es_membership *m)
{
    if (m->list_dirty) return true;
    for (size_t n = 0; n < m->count; n++) {
        const es_member *member = m->members[n];
        if (member->link.channel != NULL && (!member->link.greeted || member->asked || member->wants_hello))
            return true;
        if (member->list != UINT64_MAX && member->list > es_swarm_followed(m->options.swarm)) return true;
    }
    return false;
}

/* Until a message comes, somebody wakes us, or it is time for another look. */
static void sleep_a_while(es_membership *m)
{
    int count = 0;
    uint64_t woken;
    m->polling[count++] = (zmq_pollitem_t){NULL, m->wake_fd, ZMQ_POLLIN, 0};
    for (size_t n = 0; n < m->count; n++)
        if (m->members[n]->link.waits)
            m->polling[count++] =
                (zmq_pollitem_t){es_channel_socket(m->members[n]->link.channel), 0, ZMQ_POLLIN, 0};
    zmq_poll(m->polling, count, is_moving(m) ? TICK_MOVING_MS : TICK_MS);
    while (read(m->wake_fd, &woken, sizeof woken) > 0) continue;
}

static void *members_main(void *context)
{
    es_membership *m = context;
    while (!atomic_load(&m->stopping)) {
        uint64_t now_ns = es_clock_now_ns();
        es_membership_take_view(m, now_ns);
        order_drains(m, now_ns);
        es_membership_take_placement(m, now_ns);
        for (size_t n = 0; n < m->count; n++) es_member_tend(m, m->members[n], now_ns);
        es_membership_tell_swarm(m, now_ns);
        es_membership_give_orders(m, now_ns);
        es_membership_plan(m, now_ns);
        publish(m);
        sleep_a_while(m);
    }
    return NULL;
}

static es_status make_parts(es_membership *m, es_err *err)
{
    const es_shape *shape = m->options.shape;
    const es_net_options net = {.keys = m->options.keys};
    m->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->wake_fd < 0) return es_err_set(err, ES_IO, "eventfd: %s", strerror(errno));
    if (getrandom(&m->id, sizeof m->id, 0) != (ssize_t)sizeof m->id)
        return es_err_set(err, ES_IO, "no random number for the coordinator's id");
    m->id |= m->id == 0;
    m->frame = malloc(ES_CONTROL_FRAME_MAX);
    m->units = calloc(ES_UNITS_MAX, sizeof *m->units);
    m->peers = calloc(ES_PEERS_MAX, sizeof *m->peers);
    m->sums = malloc((size_t)ES_SUMS_MAX * ES_CONTENT_SUM_BYTES);
    m->formats = malloc((size_t)ES_SUMS_MAX * ES_EXPERT_PARTS);
    m->nodes = calloc(MEMBERS_MAX, sizeof *m->nodes);
    m->polling = calloc(MEMBERS_MAX + 1, sizeof *m->polling);
    m->heat = calloc(shape->layers * shape->experts + 1, sizeof *m->heat);
    if (m->frame == NULL || m->units == NULL || m->peers == NULL || m->sums == NULL || m->formats == NULL ||
        m->nodes == NULL || m->polling == NULL || m->heat == NULL)
        return es_err_set(err, ES_NO_MEMORY, "members");
    es_status status = es_chunk_set_init(&m->uncovered, shape, err);
    if (status == ES_OK) status = es_chunk_set_init(&m->change, shape, err);
    if (status == ES_OK) status = es_control_memory_create(&m->memory, err);
    if (status == ES_OK) status = es_queue_create(ES_NAME_MAX + 1, ES_DRAINS_MAX, wake, m, &m->drains, err);
    if (status == ES_OK) status = es_net_open(&net, &m->net, err);
    return status;
}

static es_status start_thread(es_membership *m, es_err *err)
{
    int failed = es_signals_start_thread(&m->thread, members_main, m);
    if (failed != 0) return es_err_set(err, ES_NO_MEMORY, "members: %s", strerror(failed));
    m->running = true;
    return ES_OK;
}

es_status es_membership_create(const es_membership_options *options, es_membership **ret_members, es_err *err)
{
    *ret_members = NULL;
    es_membership *m = calloc(1, sizeof *m);
    if (m == NULL) return es_err_set(err, ES_NO_MEMORY, "members");
    m->options = *options;
    m->wake_fd = -1;
    m->hot_ns = es_clock_now_ns();
    pthread_mutex_init(&m->lock, NULL);
    es_status status =
        options->epoch_file != NULL ? es_newest_load(options->epoch_file, &m->newest, err) : ES_OK;
    if (status == ES_OK) status = make_parts(m, err);
    if (status == ES_OK) {
        es_registry_on_change(options->registry, wake, m);
        status = start_thread(m, err);
    }
    if (status != ES_OK) es_membership_destroy(&m);
    *ret_members = m;
    return status;
}

void es_membership_destroy(es_membership **members)
{
    es_membership *m = *members;
    if (m == NULL) return;
    if (m->running) {
        atomic_store(&m->stopping, true);
        wake(m);
        pthread_join(m->thread, NULL);
    }
    es_registry_on_change(m->options.registry, NULL, NULL);
    es_membership_clear(m);
    es_net_close(&m->net);
    es_queue_destroy(&m->drains);
    es_control_memory_destroy(&m->memory);
    es_chunk_set_fini(&m->uncovered);
    es_chunk_set_fini(&m->change);
    es_registry_view_destroy(&m->view);
    es_document_destroy(&m->document);
    es_arena_destroy(&m->arena);
    pthread_mutex_destroy(&m->lock);
    if (m->wake_fd >= 0) close(m->wake_fd);
    free(m->infos);
    free(m->heat);
    free(m->polling);
    free(m->nodes);
    free(m->peers);
    free(m->formats);
    free(m->sums);
    free(m->units);
    free(m->frame);
    free(m);
    *members = NULL;
}

es_status es_membership_drain(es_membership *m, const char *name, es_err *err)
{
    char item[ES_NAME_MAX + 1] = "";
    bool known = false;
    pthread_mutex_lock(&m->lock);
    for (size_t n = 0; n < m->board.member_count; n++) known |= strcmp(m->infos[n].name, name) == 0;
    pthread_mutex_unlock(&m->lock);
    if (!known) return es_err_set(err, ES_NOT_FOUND, "no node is called %.64s", name);
    snprintf(item, sizeof item, "%s", name);
    return es_queue_push(m->drains, item) ? ES_OK : es_err_set(err, ES_BUSY, "too many drains wait");
}

void es_membership_take_heat(es_membership *m, const float *heat)
{
    const es_shape *s = m->options.shape;
    pthread_mutex_lock(&m->lock);
    memcpy(m->heat, heat, s->layers * s->experts * sizeof *heat);
    m->has_heat = true;
    pthread_mutex_unlock(&m->lock);
}

es_membership_info es_membership_get(es_membership *m, es_member_info *ret_members, size_t room)
{
    pthread_mutex_lock(&m->lock);
    es_membership_info board = m->board;
    size_t count = es_size_min(board.member_count, room);
    if (count > 0) memcpy(ret_members, m->infos, count * sizeof *ret_members);
    pthread_mutex_unlock(&m->lock);
    return board;
}
