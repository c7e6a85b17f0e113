/* The control socket to one node: connected, greeted, asked one thing at a time. Nothing here waits. */
#include "base/log.h"
#include "base/size.h"
#include "members/internal.h"

#include <stdio.h>
#include <string.h>

enum {
    QUEUE_MESSAGES = 8,
    CONNECT_MS = 4000, /* longer than a handshake takes to time out */
    ANSWER_MS = 10000, /* a node answers between two requests, and one may take long */
    AGAIN_MS = 250,    /* before the next try, doubled by each that fails */
    AGAIN_MAX_MS = 5000,
    LOOK_MS = 1000, /* at a node with nothing to do */
    LOOK_LOADING_MS = 100,
    STATS_MS = 5000,
    PAUSE_MS = 2000, /* before a change that a node refused is asked for again */
    PAUSE_FAILED_MS = 10000,
    PART_MS = 5000 /* for a farewell to arrive */
};

static uint64_t in_ms(uint64_t now_ns, uint64_t ms)
{
    return now_ns + ms * 1000000u;
}

static void set_why(es_member *member, const char *text)
{
    es_why_set(member->why, "%s", text);
}

void es_member_close(es_member *member)
{
    es_channel_close(&member->link.channel);
    member->link.greeted = member->link.waits = false;
}

void es_member_part(es_member *member, uint64_t now_ns)
{
    bool answers = member->link.greeted && member->link.channel != NULL;
    if (!answers) es_member_close(member);
    member->parting_ns = answers ? in_ms(now_ns, PART_MS) : 0;
    member->link.greeted = member->link.waits = false;
}

/* It does not answer, or says that it cannot: tried again before long. */
static void fail(es_membership *m, es_member *member, const es_err *err, uint64_t now_ns)
{
    es_member_link *link = &member->link;
    uint64_t ms = es_size_min((size_t)AGAIN_MS << es_size_min(link->failures, 10), AGAIN_MAX_MS);
    if (link->greeted) es_log(ES_LOG_WARN, "member %s: %s", member->record.name, err->text);
    m->list_dirty |= member->refused != (err->status == ES_MISMATCH);
    member->refused = err->status == ES_MISMATCH;
    if (member->gone_ns == 0) member->gone_ns = now_ns;
    es_member_close(member);
    link->failures++;
    link->again_ns = in_ms(now_ns, ms);
    set_why(member, err->text);
}

static es_status begin(es_membership *m, es_member *member, uint64_t now_ns, es_err *err)
{
    es_member_link *link = &member->link;
    es_channel_limits limits = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    es_status status = es_endpoint_parse_connect(member->record.control, &link->at, err);
    if (status != ES_OK) return status;
    memcpy(link->key, member->record.key, sizeof link->key);
    link->until_ns = in_ms(now_ns, CONNECT_MS);
    return es_channel_connect(m->net, &link->at, link->key[0] != '\0' ? link->key : NULL, &limits,
                              &link->channel, err);
}

static es_status send(es_membership *m, es_member *member, es_control_request *request, uint64_t now_ns,
                      es_err *err)
{
    es_member_link *link = &member->link;
    es_message message = {.count = 0};
    request->coordinator = m->id;
    request->request = ++m->requests;
    size_t bytes = es_control_request_pack(m->memory, request, m->frame);
    if (!es_message_add(&message, m->frame, bytes)) return es_err_set(err, ES_NO_MEMORY, "control message");
    es_status status = es_channel_send(link->channel, &message, err);
    if (status != ES_OK) return status;
    link->request = request->request;
    link->asked = request->kind;
    link->waits = true;
    link->until_ns = in_ms(now_ns, ANSWER_MS);
    return ES_OK;
}

static es_status say_hello(es_membership *m, es_member *member, uint64_t now_ns, es_err *err)
{
    es_control_request request = {.kind = ES_CONTROL_HELLO, .hello = {.row_format = m->options.row_format}};
    strcpy(request.hello.name, "coordinator");
    memcpy(request.hello.fingerprint, m->options.fingerprint, ES_FINGERPRINT_BYTES);
    return send(m, member, &request, now_ns, err);
}

/* What an embedded registry's record does not say yet, and the node does. */
static void complete_record(es_membership *m, es_member *member, const es_hello_reply *hello)
{
    es_node_record *r = &member->record;
    const es_node_record before = *r;
    if (!m->options.embedded) return;
    uint64_t room = hello->state.mapped_bytes + hello->state.memory_free_bytes;
    if (r->memory_bytes == 0) r->memory_bytes = es_size_min(room, hello->state.memory_bytes);
    if (r->bandwidth_bytes == 0) r->bandwidth_bytes = hello->read_bytes_per_s;
    memcpy(r->fingerprint, hello->fingerprint, sizeof r->fingerprint);
    bool returned =
        r->state == ES_MEMBER_DRAINING && !member->ordered && hello->state.phase != ES_NODE_DRAINING;
    if (r->state == ES_MEMBER_JOINING || returned) r->state = ES_MEMBER_READY;
    member->record_changed |= !es_node_record_equal(&before, r);
}

static es_status take_units(es_membership *m, es_member *member, const es_hello_reply *hello, es_err *err)
{
    es_chunk_set held;
    es_status status = es_chunk_set_check(m->options.shape, hello->units, hello->unit_count, err);
    if (status == ES_OK) status = es_chunk_set_init(&held, m->options.shape, err);
    if (status != ES_OK) return status;
    es_chunk_set_change(&held, hello->units, hello->unit_count, true);
    size_t bytes = held.shape->layers * held.shape->experts * held.words * sizeof *held.bits;
    bool changed = !member->has_held || memcmp(held.bits, member->held.bits, bytes) != 0;
    if (changed) {
        m->list_dirty = true;
        member->list = UINT64_MAX; /* until the swarm has been told */
    }
    es_chunk_set_fini(&member->held);
    member->held = held;
    member->has_held = true;
    return ES_OK;
}

static es_status take_hello(es_membership *m, es_member *member, const es_hello_reply *hello, es_err *err)
{
    if (memcmp(hello->fingerprint, m->options.fingerprint, ES_FINGERPRINT_BYTES) != 0) {
        char theirs[ES_FINGERPRINT_TEXT_MAX], ours[ES_FINGERPRINT_TEXT_MAX];
        es_fingerprint_format(hello->fingerprint, theirs);
        es_fingerprint_format(m->options.fingerprint, ours);
        return es_err_set(err, ES_MISMATCH, "another model: its fingerprint is %s, ours %s", theirs, ours);
    }
    if (strcmp(hello->name, member->record.name) != 0)
        return es_err_set(err, ES_MISMATCH, "another node answers there: it calls itself %s", hello->name);
    es_status status = take_units(m, member, hello, err);
    if (status != ES_OK) return status;
    bool drains = hello->state.phase == ES_NODE_DRAINING;
    m->list_dirty |= drains != member->drained || member->refused || member->shard_port != hello->shard_port;
    member->shard_port = hello->shard_port;
    member->drained = drains;
    complete_record(m, member, hello);
    member->state = hello->state;
    member->state.epoch = hello->epoch;
    if (!member->link.greeted) {
        set_why(member, "");
        member->peers_number = 0;
    }
    member->link.greeted = true;
    member->wants_hello = member->refused = false;
    member->link.failures = 0;
    return ES_OK;
}

/* How far the node is with what it was asked. */
static void take_state(es_membership *m, es_member *member, const es_node_state *state, uint64_t now_ns)
{
    bool loading = state->phase == ES_NODE_LOADING, failed = state->failure[0] != '\0';
    bool other = state->epoch != member->state.epoch || state->mapped_bytes != member->state.mapped_bytes;
    if (member->link.asked == ES_CONTROL_DRAIN || (state->phase == ES_NODE_DRAINING && !member->drained)) {
        m->list_dirty |= !member->drained;
        member->drained = true;
        member->ordered = false;
    }
    set_why(member, state->failure);
    if (failed) {
        if (member->asked) member->pause_ns = in_ms(now_ns, PAUSE_FAILED_MS);
    }
    if (!loading || failed) {
        member->wants_hello |= member->asked || other;
        member->asked = false;
    }
    member->state = *state;
}

/* The node will not. */
static es_status take_refusal(es_member *member, const es_control_reply *reply, uint64_t now_ns, es_err *err)
{
    set_why(member, reply->text);
    if (member->link.asked == ES_CONTROL_HELLO && reply->status != ES_UNAVAILABLE)
        return es_err_set(err, reply->status, "%s", reply->text);
    if (reply->status == ES_MISMATCH) member->link.greeted = false; /* it forgot us */
    member->asked = false;
    member->wants_hello = true;
    member->pause_ns = in_ms(now_ns, PAUSE_MS);
    return ES_OK;
}

static es_status take_reply(es_membership *m, es_member *member, es_message *message, uint64_t now_ns,
                            es_err *err)
{
    es_control_reply reply;
    if (message->count != 1) return es_err_set(err, ES_CORRUPT, "answer of %zu frames", message->count);
    es_status status = es_control_reply_unpack(m->memory, es_message_data(message, 0),
                                               es_message_bytes(message, 0), &reply, err);
    if (status != ES_OK) return status;
    if (!member->link.waits || reply.request != member->link.request) return ES_OK; /* late */
    member->link.waits = false;
    member->gone_ns = 0;
    if (reply.status != ES_OK)
        status = take_refusal(member, &reply, now_ns, err);
    else if (reply.kind == ES_CONTROL_HELLO)
        status = take_hello(m, member, &reply.hello, err);
    else if (reply.kind == ES_CONTROL_STATE)
        take_state(m, member, &reply.state, now_ns);
    else if (reply.kind == ES_CONTROL_STATS)
        member->stats = reply.stats;
    else
        status = es_err_set(err, ES_CORRUPT, "answered something else than was asked");
    bool busy = member->asked || !member->link.greeted;
    member->link.again_ns = in_ms(now_ns, busy ? LOOK_LOADING_MS : LOOK_MS);
    return status;
}

static es_status receive(es_membership *m, es_member *member, uint64_t now_ns, es_err *err)
{
    es_message message;
    es_status status = ES_OK;
    while (status == ES_OK && member->link.channel != NULL) {
        status = es_channel_receive(member->link.channel, &message, err);
        if (status == ES_TIMEOUT) return ES_OK;
        if (status != ES_OK) return status;
        status = take_reply(m, member, &message, now_ns, err);
        es_message_close(&message);
    }
    return status;
}

/* Who else is there, and whose keys are revoked: told again when that changes. */
static es_status tell_peers(es_membership *m, es_member *member, uint64_t now_ns, es_err *err)
{
    es_control_request request = {.kind = ES_CONTROL_MEMBERS};
    request.members.peers = m->peers;
    request.members.peer_count = es_membership_list_peers(m, m->peers);
    request.members.revoked = (const char(*)[ES_KEY_TEXT_BYTES])m->view->revoked;
    request.members.revoked_count = m->view->revoked_count;
    es_status status = send(m, member, &request, now_ns, err);
    if (status == ES_OK) member->peers_number = m->peers_number;
    return status;
}

/* The list of members, on which it is not, or its own key among the revoked: nodes tell their people. */
static void say_farewell(es_membership *m, es_member *member, uint64_t now_ns)
{
    es_member_link *link = &member->link;
    es_message message;
    es_control_reply reply;
    es_err err;
    bool over = now_ns >= member->parting_ns || es_channel_link(link->channel) != ES_LINK_UP;
    for (int i = 0; i < QUEUE_MESSAGES && !over; i++) {
        if (es_channel_receive(link->channel, &message, &err) != ES_OK) break;
        bool sound = message.count == 1 &&
                     es_control_reply_unpack(m->memory, es_message_data(&message, 0),
                                             es_message_bytes(&message, 0), &reply, &err) == ES_OK;
        over = !sound || (link->waits && reply.request == link->request);
        es_message_close(&message);
    }
    if (!over && !link->waits && es_channel_writable(link->channel))
        over = tell_peers(m, member, now_ns, &err) != ES_OK;
    if (!over) return;
    member->parting_ns = 0;
    es_member_close(member);
}

static es_status advance(es_membership *m, es_member *member, uint64_t now_ns, es_err *err)
{
    es_member_link *link = &member->link;
    es_link stands = es_channel_link(link->channel);
    es_status status = receive(m, member, now_ns, err);
    if (status != ES_OK) return status;
    if (stands == ES_LINK_REFUSED)
        return es_err_set(err, ES_MISMATCH,
                          "refused our connection: keys do not fit, or ours is not on its --allow list");
    if (stands == ES_LINK_LOST) return es_err_set(err, ES_UNAVAILABLE, "connection lost");
    if (link->waits && now_ns >= link->until_ns)
        return es_err_set(err, ES_TIMEOUT, "connected, but no answer within %d ms", ANSWER_MS);
    if (link->waits) return ES_OK;
    if (!es_channel_writable(link->channel))
        return stands == ES_LINK_CONNECTING && now_ns < link->until_ns
                   ? ES_OK
                   : es_err_set(err, ES_TIMEOUT, "nobody answers there");
    if ((!link->greeted && now_ns >= link->again_ns) || (link->greeted && member->wants_hello))
        return say_hello(m, member, now_ns, err);
    if (link->greeted && member->peers_number != m->peers_number) return tell_peers(m, member, now_ns, err);
    if (!link->greeted || now_ns < link->again_ns) return ES_OK;
    es_control_request request = {.kind = ES_CONTROL_STATE};
    if (now_ns >= link->stats_ns) {
        request.kind = ES_CONTROL_STATS;
        link->stats_ns = in_ms(now_ns, STATS_MS);
    }
    return send(m, member, &request, now_ns, err);
}

void es_member_tend(es_membership *m, es_member *member, uint64_t now_ns)
{
    es_member_link *link = &member->link;
    es_err err;
    es_status status = ES_OK;
    if (member->parting_ns != 0) say_farewell(m, member, now_ns);
    if (!member->known || member->revoked) return;
    if (link->channel == NULL && now_ns < link->again_ns) return;
    if (link->channel == NULL) status = begin(m, member, now_ns, &err);
    if (status == ES_OK) status = advance(m, member, now_ns, &err);
    if (status != ES_OK) fail(m, member, &err, now_ns);
}

bool es_member_is_free(const es_member *member, uint64_t now_ns)
{
    return member->link.greeted && !member->link.waits && !member->asked && !member->wants_hello &&
           now_ns >= member->pause_ns && es_channel_writable(member->link.channel);
}

void es_member_ask(es_membership *m, es_member *member, es_control_kind kind, const es_units_change *change,
                   uint64_t now_ns)
{
    es_control_request request = {.kind = kind, .change = *change};
    es_err err;
    if (send(m, member, &request, now_ns, &err) != ES_OK)
        fail(m, member, &err, now_ns);
    else
        member->asked = kind != ES_CONTROL_DRAIN;
}
