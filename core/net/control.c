/* Control messages: hello, statistics, what a node is to hold. */
#include "net/control.h"

#include "net/memory.h"
#include "proto/essaim.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTROL_MEMORY = 4 * 1024 * 1024 };

/* What probes carry; nobody writes it. */
static uint8_t fill[ES_PROBE_FILL_MAX];

struct es_control_memory {
    es_wire_memory *wire;
    es_units *units;                    /* [ES_UNITS_MAX], decoded */
    Essaim__V1__Units *messages;        /* [ES_UNITS_MAX], to encode */
    Essaim__V1__Units **addresses;      /* [ES_UNITS_MAX] */
    es_peer *peers;                     /* [ES_PEERS_MAX], decoded */
    char (*revoked)[ES_KEY_TEXT_BYTES]; /* [ES_ALLOWED_MAX], decoded */
    Essaim__V1__Peer *peer_messages;    /* [ES_PEERS_MAX], to encode */
    Essaim__V1__Peer **peer_addresses;  /* [ES_PEERS_MAX] */
    char **key_addresses;               /* [ES_ALLOWED_MAX] */
};

es_status es_control_memory_create(es_control_memory **ret_memory, es_err *err)
{
    *ret_memory = NULL;
    es_control_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) return es_err_set(err, ES_NO_MEMORY, "control messages");
    es_status status = es_wire_memory_create_sized(CONTROL_MEMORY, &memory->wire, err);
    memory->units = calloc(ES_UNITS_MAX, sizeof *memory->units);
    memory->messages = calloc(ES_UNITS_MAX, sizeof *memory->messages);
    memory->addresses = calloc(ES_UNITS_MAX, sizeof(Essaim__V1__Units *));
    memory->peers = calloc(ES_PEERS_MAX, sizeof *memory->peers);
    memory->revoked = calloc(ES_ALLOWED_MAX, sizeof *memory->revoked);
    memory->peer_messages = calloc(ES_PEERS_MAX, sizeof *memory->peer_messages);
    memory->peer_addresses = calloc(ES_PEERS_MAX, sizeof(Essaim__V1__Peer *));
    memory->key_addresses = calloc(ES_ALLOWED_MAX, sizeof(char *));
    if (status == ES_OK &&
        (memory->units == NULL || memory->messages == NULL || memory->addresses == NULL ||
         memory->peers == NULL || memory->revoked == NULL || memory->peer_messages == NULL ||
         memory->peer_addresses == NULL || memory->key_addresses == NULL))
        status = es_err_set(err, ES_NO_MEMORY, "control messages");
    if (status != ES_OK) es_control_memory_destroy(&memory);
    *ret_memory = memory;
    return status;
}

void es_control_memory_destroy(es_control_memory **memory)
{
    if (*memory == NULL) return;
    es_wire_memory_destroy(&(*memory)->wire);
    free((*memory)->units);
    free((*memory)->messages);
    free((*memory)->addresses);
    free((*memory)->peers);
    free((*memory)->revoked);
    free((*memory)->peer_messages);
    free((*memory)->peer_addresses);
    free((*memory)->key_addresses);
    free(*memory);
    *memory = NULL;
}

static Essaim__V1__Units **lay_out_units(es_control_memory *memory, const es_units *units, size_t count)
{
    ES_ASSERT(count <= ES_UNITS_MAX);
    for (size_t i = 0; i < count; i++) {
        essaim__v1__units__init(&memory->messages[i]);
        memory->messages[i].layer = units[i].layer;
        memory->messages[i].expert_first = units[i].expert_first;
        memory->messages[i].expert_count = units[i].expert_count;
        memory->messages[i].slice = units[i].slice;
        memory->messages[i].slices = units[i].slices;
        memory->addresses[i] = &memory->messages[i];
    }
    return memory->addresses;
}

/* The messages a request may hold, until it is packed. */
typedef struct request_bodies {
    Essaim__V1__Hello hello;
    Essaim__V1__Stats stats;
    Essaim__V1__Change change;
    Essaim__V1__Drain drain;
    Essaim__V1__State state;
    Essaim__V1__Members members;
    Essaim__V1__Probe probe;
} request_bodies;

static void lay_out_members(es_control_memory *memory, const es_members *members, Essaim__V1__Members *m)
{
    ES_ASSERT(members->peer_count <= ES_PEERS_MAX && members->revoked_count <= ES_ALLOWED_MAX);
    for (size_t i = 0; i < members->peer_count; i++) {
        Essaim__V1__Peer *peer = memory->peer_addresses[i] = &memory->peer_messages[i];
        essaim__v1__peer__init(peer);
        peer->name = (char *)(uintptr_t)members->peers[i].name; /* packing only reads */
        peer->shards = (char *)(uintptr_t)members->peers[i].shards;
        peer->key = (char *)(uintptr_t)members->peers[i].key;
    }
    for (size_t i = 0; i < members->revoked_count; i++)
        memory->key_addresses[i] = (char *)(uintptr_t)members->revoked[i];
    m->n_peers = members->peer_count;
    m->peers = memory->peer_addresses;
    m->n_revoked = members->revoked_count;
    m->revoked = memory->key_addresses;
}

static void lay_out_body(es_control_memory *memory, const es_control_request *request, request_bodies *bodies,
                         Essaim__V1__ControlRequest *m)
{
    *bodies = (request_bodies){ESSAIM__V1__HELLO__INIT, ESSAIM__V1__STATS__INIT, ESSAIM__V1__CHANGE__INIT,
                               ESSAIM__V1__DRAIN__INIT, ESSAIM__V1__STATE__INIT, ESSAIM__V1__MEMBERS__INIT,
                               ESSAIM__V1__PROBE__INIT};
    switch (request->kind) {
    case ES_CONTROL_HELLO:
        bodies->hello.name = (char *)(uintptr_t)request->hello.name; /* packing only reads */
        bodies->hello.fingerprint.data = (uint8_t *)(uintptr_t)request->hello.fingerprint;
        bodies->hello.fingerprint.len = ES_FINGERPRINT_BYTES;
        bodies->hello.row_format = (uint32_t)request->hello.row_format;
        m->body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_HELLO;
        m->hello = &bodies->hello;
        return;
    case ES_CONTROL_LOAD:
    case ES_CONTROL_DROP:
        bodies->change.epoch = request->change.epoch;
        bodies->change.n_units = request->change.unit_count;
        bodies->change.units = lay_out_units(memory, request->change.units, request->change.unit_count);
        bodies->change.sums.data = (uint8_t *)(uintptr_t)request->change.sums;
        bodies->change.sums.len = request->change.sum_count * ES_CONTENT_SUM_BYTES;
        bodies->change.formats.data = (uint8_t *)(uintptr_t)request->change.formats;
        bodies->change.formats.len =
            request->change.formats != NULL ? request->change.sum_count * ES_EXPERT_PARTS : 0;
        bool load = request->kind == ES_CONTROL_LOAD;
        m->body_case = load ? ESSAIM__V1__CONTROL_REQUEST__BODY_LOAD : ESSAIM__V1__CONTROL_REQUEST__BODY_DROP;
        *(load ? &m->load : &m->drop) = &bodies->change;
        return;
    case ES_CONTROL_DRAIN:
        m->body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_DRAIN;
        m->drain = &bodies->drain;
        return;
    case ES_CONTROL_STATE:
        m->body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_STATE;
        m->state = &bodies->state;
        return;
    case ES_CONTROL_PROBE:
        ES_ASSERT(request->probe.fill_bytes <= ES_PROBE_FILL_MAX);
        bodies->probe.fill = (ProtobufCBinaryData){request->probe.fill_bytes, fill};
        bodies->probe.want_bytes = (uint32_t)request->probe.want_bytes;
        m->body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_PROBE;
        m->probe = &bodies->probe;
        return;
    case ES_CONTROL_MEMBERS:
        lay_out_members(memory, &request->members, &bodies->members);
        m->body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_MEMBERS;
        m->members = &bodies->members;
        return;
    default:
        m->body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_STATS;
        m->stats = &bodies->stats;
    }
}

size_t es_control_request_pack(es_control_memory *memory, const es_control_request *request, uint8_t *out)
{
    Essaim__V1__ControlRequest m = ESSAIM__V1__CONTROL_REQUEST__INIT;
    request_bodies bodies;
    m.protocol = ES_PROTOCOL;
    m.coordinator = request->coordinator;
    m.request = request->request;
    lay_out_body(memory, request, &bodies, &m);
    ES_ASSERT(essaim__v1__control_request__get_packed_size(&m) <= ES_CONTROL_FRAME_MAX);
    return essaim__v1__control_request__pack(&m, out);
}

static void lay_out_state(const es_node_state *state, Essaim__V1__StateReply *m)
{
    m->phase = (uint32_t)state->phase;
    m->epoch = state->epoch;
    m->wanted_bytes = state->wanted_bytes;
    m->mapped_bytes = state->mapped_bytes;
    m->verified_bytes = state->verified_bytes;
    m->memory_bytes = state->memory_bytes;
    m->memory_free_bytes = state->memory_free_bytes;
    m->fetched_bytes = state->fetched_bytes;
    m->fetch_experts = state->fetch_experts;
    m->failure = (char *)(uintptr_t)state->failure;
}

static void lay_out_hello(es_control_memory *memory, const es_hello_reply *hello, uint32_t *row_formats,
                          Essaim__V1__StateReply *state, Essaim__V1__HelloReply *m)
{
    m->name = (char *)(uintptr_t)hello->name;
    m->fingerprint.data = (uint8_t *)(uintptr_t)hello->fingerprint;
    m->fingerprint.len = ES_FINGERPRINT_BYTES;
    m->data_port = hello->data_port;
    m->epoch = hello->epoch;
    m->n_units = hello->unit_count;
    m->units = lay_out_units(memory, hello->units, hello->unit_count);
    m->threads = hello->threads;
    m->rows_max = hello->rows_max;
    m->read_bytes_per_s = hello->read_bytes_per_s;
    m->numa_nodes = hello->numa_nodes;
    m->shard_port = hello->shard_port;
    lay_out_state(&hello->state, state);
    m->state = state;
    m->row_formats = row_formats;
    for (uint32_t f = 0; f < ES_ROWS_COUNT; f++)
        if (hello->row_formats[f]) row_formats[m->n_row_formats++] = f;
}

static void lay_out_stats(const es_node_stats *stats, Essaim__V1__StatsReply *m)
{
    m->calls = stats->calls;
    m->rows = stats->rows;
    m->pairs = stats->pairs;
    m->bytes_in = stats->bytes_in;
    m->bytes_out = stats->bytes_out;
    m->n_errors = ES_STATUS_COUNT;
    m->errors = (uint64_t *)(uintptr_t)stats->errors;
    m->malformed = stats->malformed;
    m->unsent = stats->unsent;
    m->refused = stats->refused;
    m->uptime_ns = stats->uptime_ns;
    m->compute_ns = stats->compute_ns;
}

static void lay_out_probe(const es_probe_reply *probe, Essaim__V1__ProbeReply *m)
{
    ES_ASSERT(probe->fill_bytes <= ES_PROBE_FILL_MAX);
    m->name = (char *)(uintptr_t)probe->name;
    m->version = (char *)(uintptr_t)probe->version;
    m->kernels = (char *)(uintptr_t)probe->kernels;
    if (probe->has_model)
        m->fingerprint =
            (ProtobufCBinaryData){ES_FINGERPRINT_BYTES, (uint8_t *)(uintptr_t)probe->fingerprint};
    m->clock_ns = probe->clock_ns;
    m->fill = (ProtobufCBinaryData){probe->fill_bytes, fill};
    m->memory_bytes = probe->machine.memory_bytes;
    m->cores = probe->machine.cores;
    m->read_bytes_per_s = probe->machine.read_bytes_per_s;
    m->int_ops_per_s = probe->machine.int_ops_per_s;
    m->float_ops_per_s = probe->machine.float_ops_per_s;
    m->nic_bytes_per_s = probe->machine.nic_bytes_per_s;
}

es_status es_control_reply_pack(es_control_memory *memory, const es_control_reply *reply, uint8_t *out,
                                size_t *ret_bytes, es_err *err)
{
    Essaim__V1__ControlReply m = ESSAIM__V1__CONTROL_REPLY__INIT;
    Essaim__V1__HelloReply hello = ESSAIM__V1__HELLO_REPLY__INIT;
    Essaim__V1__StatsReply stats = ESSAIM__V1__STATS_REPLY__INIT;
    Essaim__V1__StateReply state = ESSAIM__V1__STATE_REPLY__INIT;
    Essaim__V1__ProbeReply probe = ESSAIM__V1__PROBE_REPLY__INIT;
    uint32_t row_formats[ES_ROWS_COUNT];
    m.protocol = ES_PROTOCOL;
    m.request = reply->request;
    m.status = (uint32_t)reply->status;
    m.text = (char *)(uintptr_t)reply->text;
    if (reply->status == ES_OK && reply->kind == ES_CONTROL_HELLO) {
        lay_out_hello(memory, &reply->hello, row_formats, &state, &hello);
        m.body_case = ESSAIM__V1__CONTROL_REPLY__BODY_HELLO;
        m.hello = &hello;
    } else if (reply->status == ES_OK && reply->kind == ES_CONTROL_STATE) {
        lay_out_state(&reply->state, &state);
        m.body_case = ESSAIM__V1__CONTROL_REPLY__BODY_STATE;
        m.state = &state;
    } else if (reply->status == ES_OK && reply->kind == ES_CONTROL_PROBE) {
        lay_out_probe(&reply->probe, &probe);
        m.body_case = ESSAIM__V1__CONTROL_REPLY__BODY_PROBE;
        m.probe = &probe;
    } else if (reply->status == ES_OK) {
        lay_out_stats(&reply->stats, &stats);
        m.body_case = ESSAIM__V1__CONTROL_REPLY__BODY_STATS;
        m.stats = &stats;
    }
    size_t bytes = essaim__v1__control_reply__get_packed_size(&m);
    if (bytes > ES_CONTROL_FRAME_MAX) return es_err_set(err, ES_NO_MEMORY, "control reply: %zu bytes", bytes);
    *ret_bytes = essaim__v1__control_reply__pack(&m, out);
    return ES_OK;
}

static es_status copy_name(const char *name, char out[ES_NAME_MAX + 1], es_err *err)
{
    if (!es_name_valid(name))
        return es_err_set(err, ES_INVALID, "name: not 1 to %d letters, digits, '.', '_' or '-'", ES_NAME_MAX);
    memcpy(out, name, strlen(name) + 1);
    return ES_OK;
}

static es_status copy_fingerprint(ProtobufCBinaryData bytes, uint8_t out[ES_FINGERPRINT_BYTES], es_err *err)
{
    if (bytes.len != ES_FINGERPRINT_BYTES)
        return es_err_set(err, ES_INVALID, "fingerprint: %zu bytes, not %d", bytes.len, ES_FINGERPRINT_BYTES);
    memcpy(out, bytes.data, ES_FINGERPRINT_BYTES);
    return ES_OK;
}

static es_status read_hello(const Essaim__V1__Hello *m, es_hello *ret_hello, es_err *err)
{
    es_status status = copy_name(m->name, ret_hello->name, err);
    if (status == ES_OK) status = copy_fingerprint(m->fingerprint, ret_hello->fingerprint, err);
    if (status != ES_OK) return status;
    if (m->row_format >= ES_ROWS_COUNT)
        return es_err_set(err, ES_UNSUPPORTED, "row_format: %u is not known here", m->row_format);
    ret_hello->row_format = (es_row_format)m->row_format;
    return ES_OK;
}

static es_status read_units(es_control_memory *memory, size_t count, Essaim__V1__Units *const *from,
                            es_err *err)
{
    if (count > ES_UNITS_MAX)
        return es_err_set(err, ES_INVALID, "units: %zu, more than %d", count, ES_UNITS_MAX);
    for (size_t i = 0; i < count; i++) {
        const Essaim__V1__Units *u = from[i];
        if (u->expert_count < 1 || u->expert_count > UINT32_MAX - u->expert_first)
            return es_err_set(err, ES_INVALID, "units: range %zu has %u experts", i, u->expert_count);
        if (u->slices < 1 || u->slice >= u->slices)
            return es_err_set(err, ES_INVALID, "units: range %zu is slice %u of %u", i, u->slice, u->slices);
        memory->units[i] = (es_units){u->layer, u->expert_first, u->expert_count, u->slice, u->slices};
    }
    return ES_OK;
}

/* Of as many experts as there are sums. */
static es_status read_formats(const Essaim__V1__Change *m, es_units_change *change, es_err *err)
{
    if (m->formats.len == 0) return ES_OK;
    if (m->formats.len != change->sum_count * ES_EXPERT_PARTS)
        return es_err_set(err, ES_INVALID, "formats: %zu bytes for %zu experts with checksums",
                          m->formats.len, change->sum_count);
    for (size_t i = 0; i < m->formats.len; i++)
        if (m->formats.data[i] >= ES_FORMAT_COUNT)
            return es_err_set(err, ES_UNSUPPORTED, "formats: %u is not known here", m->formats.data[i]);
    change->formats = m->formats.data;
    return ES_OK;
}

static es_status read_change(es_control_memory *memory, const Essaim__V1__Change *m,
                             es_units_change *ret_change, es_err *err)
{
    uint64_t experts = 0;
    es_status status = read_units(memory, m->n_units, m->units, err);
    if (status != ES_OK) return status;
    for (size_t i = 0; i < m->n_units; i++) experts += m->units[i]->expert_count;
    *ret_change = (es_units_change){.epoch = m->epoch, .units = memory->units, .unit_count = m->n_units};
    if (m->sums.len == 0) return read_formats(m, ret_change, err);
    if (experts > ES_SUMS_MAX || m->sums.len != experts * ES_CONTENT_SUM_BYTES)
        return es_err_set(err, ES_INVALID, "sums: %zu bytes for %llu experts", m->sums.len,
                          (unsigned long long)experts);
    ret_change->sums = m->sums.data;
    ret_change->sum_count = (size_t)experts;
    return read_formats(m, ret_change, err);
}

static es_status read_peer(const Essaim__V1__Peer *m, es_peer *peer, es_err *err)
{
    es_endpoint at;
    es_status status = copy_name(m->name, peer->name, err);
    if (status != ES_OK) return status;
    if (strlen(m->shards) >= sizeof peer->shards ||
        (m->shards[0] != '\0' && es_endpoint_parse_bind(m->shards, &at, NULL) != ES_OK))
        return es_err_set(err, ES_INVALID, "peer %s: no numeric address and port", peer->name);
    if (m->key[0] != '\0' && !es_key_valid(m->key))
        return es_err_set(err, ES_INVALID, "peer %s: its key is none", peer->name);
    strcpy(peer->shards, m->shards);
    strcpy(peer->key, m->key);
    return ES_OK;
}

static es_status read_members(es_control_memory *memory, const Essaim__V1__Members *m,
                              es_members *ret_members, es_err *err)
{
    if (m->n_peers > ES_PEERS_MAX || m->n_revoked > ES_ALLOWED_MAX)
        return es_err_set(err, ES_INVALID, "members: %zu peers and %zu revoked keys, more than %d and %d",
                          m->n_peers, m->n_revoked, ES_PEERS_MAX, ES_ALLOWED_MAX);
    es_status status = ES_OK;
    for (size_t i = 0; i < m->n_peers && status == ES_OK; i++)
        status = read_peer(m->peers[i], &memory->peers[i], err);
    for (size_t i = 0; i < m->n_revoked && status == ES_OK; i++) {
        if (es_key_valid(m->revoked[i]))
            strcpy(memory->revoked[i], m->revoked[i]);
        else
            status = es_err_set(err, ES_INVALID, "members: revoked key %zu is none", i);
    }
    *ret_members = (es_members){memory->peers, m->n_peers, (const char(*)[ES_KEY_TEXT_BYTES])memory->revoked,
                                m->n_revoked};
    return status;
}

static es_status read_probe(const Essaim__V1__Probe *m, es_probe *ret_probe, es_err *err)
{
    if (m->fill.len > ES_PROBE_FILL_MAX || m->want_bytes > ES_PROBE_FILL_MAX)
        return es_err_set(err, ES_INVALID, "probe: %zu bytes there and %u back, at most %d", m->fill.len,
                          m->want_bytes, ES_PROBE_FILL_MAX);
    *ret_probe = (es_probe){m->fill.len, m->want_bytes};
    return ES_OK;
}

static es_status read_body(es_control_memory *memory, const Essaim__V1__ControlRequest *m,
                           es_control_request *ret_request, es_err *err)
{
    switch (m->body_case) {
    case ESSAIM__V1__CONTROL_REQUEST__BODY_HELLO:
        ret_request->kind = ES_CONTROL_HELLO;
        return read_hello(m->hello, &ret_request->hello, err);
    case ESSAIM__V1__CONTROL_REQUEST__BODY_STATS:
        ret_request->kind = ES_CONTROL_STATS;
        return ES_OK;
    case ESSAIM__V1__CONTROL_REQUEST__BODY_LOAD:
        ret_request->kind = ES_CONTROL_LOAD;
        return read_change(memory, m->load, &ret_request->change, err);
    case ESSAIM__V1__CONTROL_REQUEST__BODY_DROP:
        ret_request->kind = ES_CONTROL_DROP;
        return read_change(memory, m->drop, &ret_request->change, err);
    case ESSAIM__V1__CONTROL_REQUEST__BODY_DRAIN:
        ret_request->kind = ES_CONTROL_DRAIN;
        return ES_OK;
    case ESSAIM__V1__CONTROL_REQUEST__BODY_STATE:
        ret_request->kind = ES_CONTROL_STATE;
        return ES_OK;
    case ESSAIM__V1__CONTROL_REQUEST__BODY_PROBE:
        ret_request->kind = ES_CONTROL_PROBE;
        return read_probe(m->probe, &ret_request->probe, err);
    case ESSAIM__V1__CONTROL_REQUEST__BODY_MEMBERS:
        ret_request->kind = ES_CONTROL_MEMBERS;
        return read_members(memory, m->members, &ret_request->members, err);
    default:
        return es_err_set(err, ES_UNSUPPORTED, "body: not known here");
    }
}

es_status es_control_request_unpack(es_control_memory *memory, const uint8_t *bytes, size_t count,
                                    es_control_request *ret_request, es_err *err)
{
    *ret_request = (es_control_request){0};
    if (count > ES_CONTROL_FRAME_MAX) return es_err_set(err, ES_CORRUPT, "control request: %zu bytes", count);
    const Essaim__V1__ControlRequest *m =
        essaim__v1__control_request__unpack(es_wire_memory_reset(memory->wire), count, bytes);
    if (m == NULL) return es_err_set(err, ES_CORRUPT, "control request: %zu bytes that are none", count);
    ret_request->coordinator = m->coordinator;
    ret_request->request = m->request;
    es_status status = es_wire_protocol_check(m->protocol, err);
    if (status == ES_OK && m->coordinator == 0)
        status = es_err_set(err, ES_INVALID, "coordinator: 0 is nobody");
    if (status == ES_OK) status = read_body(memory, m, ret_request, err);
    if (status != ES_OK) es_err_prefix(err, "control request");
    return status;
}

static es_status read_state(const Essaim__V1__StateReply *m, es_node_state *ret_state, es_err *err)
{
    if (m->phase >= ES_NODE_PHASE_COUNT)
        return es_err_set(err, ES_UNSUPPORTED, "phase: %u is not known here", m->phase);
    *ret_state = (es_node_state){.phase = (es_node_phase)m->phase,
                                 .epoch = m->epoch,
                                 .wanted_bytes = m->wanted_bytes,
                                 .mapped_bytes = m->mapped_bytes,
                                 .verified_bytes = m->verified_bytes,
                                 .memory_bytes = m->memory_bytes,
                                 .memory_free_bytes = m->memory_free_bytes,
                                 .fetched_bytes = m->fetched_bytes,
                                 .fetch_experts = m->fetch_experts};
    snprintf(ret_state->failure, sizeof ret_state->failure, "%s", m->failure);
    return ES_OK;
}

static es_status read_hello_reply(es_control_memory *memory, const Essaim__V1__HelloReply *m,
                                  es_hello_reply *ret_hello, es_err *err)
{
    es_status status = copy_name(m->name, ret_hello->name, err);
    if (status == ES_OK) status = copy_fingerprint(m->fingerprint, ret_hello->fingerprint, err);
    if (status == ES_OK) status = read_units(memory, m->n_units, m->units, err);
    if (status == ES_OK && m->state == NULL) status = es_err_set(err, ES_INVALID, "state: missing");
    if (status == ES_OK) status = read_state(m->state, &ret_hello->state, err);
    if (status != ES_OK) return status;
    if (m->data_port < 1 || m->data_port > 65535)
        return es_err_set(err, ES_INVALID, "data_port: %u is not 1 to 65535", m->data_port);
    if (m->shard_port > 65535)
        return es_err_set(err, ES_INVALID, "shard_port: %u is not 0 to 65535", m->shard_port);
    if (m->rows_max < 1) return es_err_set(err, ES_INVALID, "rows_max: 0");
    for (size_t i = 0; i < m->n_row_formats; i++)
        if (m->row_formats[i] < ES_ROWS_COUNT) ret_hello->row_formats[m->row_formats[i]] = true;
    ret_hello->data_port = m->data_port;
    ret_hello->epoch = m->epoch;
    ret_hello->units = memory->units;
    ret_hello->unit_count = m->n_units;
    ret_hello->threads = m->threads;
    ret_hello->read_bytes_per_s = m->read_bytes_per_s;
    ret_hello->numa_nodes = m->numa_nodes;
    ret_hello->shard_port = m->shard_port;
    ret_hello->rows_max = m->rows_max;
    return ES_OK;
}

static void read_stats(const Essaim__V1__StatsReply *m, es_node_stats *ret_stats)
{
    *ret_stats = (es_node_stats){.calls = m->calls,
                                 .rows = m->rows,
                                 .pairs = m->pairs,
                                 .bytes_in = m->bytes_in,
                                 .bytes_out = m->bytes_out,
                                 .malformed = m->malformed,
                                 .unsent = m->unsent,
                                 .refused = m->refused,
                                 .uptime_ns = m->uptime_ns,
                                 .compute_ns = m->compute_ns};
    for (size_t i = 0; i < m->n_errors && i < ES_STATUS_COUNT; i++) ret_stats->errors[i] = m->errors[i];
}

static es_status copy_word(const char *word, char out[ES_PROBE_TEXT_MAX + 1], es_err *err)
{
    if (!es_name_valid(word) || strlen(word) > ES_PROBE_TEXT_MAX)
        return es_err_set(err, ES_INVALID, "version or kernels: not 1 to %d letters, digits, '.', '_' or '-'",
                          ES_PROBE_TEXT_MAX);
    memcpy(out, word, strlen(word) + 1);
    return ES_OK;
}

static es_status read_probe_reply(const Essaim__V1__ProbeReply *m, es_probe_reply *ret_probe, es_err *err)
{
    const double figures[] = {m->read_bytes_per_s, m->int_ops_per_s, m->float_ops_per_s, m->nic_bytes_per_s};
    es_status status = copy_name(m->name, ret_probe->name, err);
    if (status == ES_OK) status = copy_word(m->version, ret_probe->version, err);
    if (status == ES_OK) status = copy_word(m->kernels, ret_probe->kernels, err);
    ret_probe->has_model = m->fingerprint.len > 0;
    if (status == ES_OK && ret_probe->has_model)
        status = copy_fingerprint(m->fingerprint, ret_probe->fingerprint, err);
    if (status == ES_OK && m->fill.len > ES_PROBE_FILL_MAX)
        status = es_err_set(err, ES_INVALID, "probe: %zu bytes came back, at most %d", m->fill.len,
                            ES_PROBE_FILL_MAX);
    for (size_t i = 0; i < sizeof figures / sizeof figures[0] && status == ES_OK; i++)
        if (!(figures[i] >= 0 && figures[i] < 1e18))
            status = es_err_set(err, ES_INVALID, "figure %zu of the machine is out of range", i);
    ret_probe->clock_ns = m->clock_ns;
    ret_probe->fill_bytes = m->fill.len;
    ret_probe->machine = (es_probe_machine){m->memory_bytes,  m->cores,           m->read_bytes_per_s,
                                            m->int_ops_per_s, m->float_ops_per_s, m->nic_bytes_per_s};
    return status;
}

es_status es_control_reply_unpack(es_control_memory *memory, const uint8_t *bytes, size_t count,
                                  es_control_reply *ret_reply, es_err *err)
{
    *ret_reply = (es_control_reply){.text = ""};
    if (count > ES_CONTROL_FRAME_MAX) return es_err_set(err, ES_CORRUPT, "control reply: %zu bytes", count);
    const Essaim__V1__ControlReply *m =
        essaim__v1__control_reply__unpack(es_wire_memory_reset(memory->wire), count, bytes);
    if (m == NULL) return es_err_set(err, ES_CORRUPT, "control reply: %zu bytes that are none", count);
    ret_reply->request = m->request;
    es_status status = es_wire_protocol_check(m->protocol, err);
    if (status == ES_OK && m->status >= ES_STATUS_COUNT)
        status = es_err_set(err, ES_CORRUPT, "status: %u is not known here", m->status);
    if (status == ES_OK && m->status == ES_CANCELLED)
        status = es_err_set(err, ES_CORRUPT, "status: only an asker cancels");
    if (status == ES_OK) {
        ret_reply->status = (es_status)m->status;
        ret_reply->text = m->text;
    }
    if (status == ES_OK && m->body_case == ESSAIM__V1__CONTROL_REPLY__BODY_HELLO) {
        ret_reply->kind = ES_CONTROL_HELLO;
        status = read_hello_reply(memory, m->hello, &ret_reply->hello, err);
    } else if (status == ES_OK && m->body_case == ESSAIM__V1__CONTROL_REPLY__BODY_STATS) {
        ret_reply->kind = ES_CONTROL_STATS;
        read_stats(m->stats, &ret_reply->stats);
    } else if (status == ES_OK && m->body_case == ESSAIM__V1__CONTROL_REPLY__BODY_STATE) {
        ret_reply->kind = ES_CONTROL_STATE;
        status = read_state(m->state, &ret_reply->state, err);
    } else if (status == ES_OK && m->body_case == ESSAIM__V1__CONTROL_REPLY__BODY_PROBE) {
        ret_reply->kind = ES_CONTROL_PROBE;
        status = read_probe_reply(m->probe, &ret_reply->probe, err);
    } else if (status == ES_OK && m->status == ES_OK) {
        status = es_err_set(err, ES_UNSUPPORTED, "body: not known here");
    }
    if (status != ES_OK) es_err_prefix(err, "control reply");
    return status;
}

void es_fingerprint_format(const uint8_t fingerprint[ES_FINGERPRINT_BYTES],
                           char ret_text[ES_FINGERPRINT_TEXT_MAX])
{
    for (size_t i = 0; i < ES_FINGERPRINT_BYTES; i++) snprintf(ret_text + 2 * i, 3, "%02x", fingerprint[i]);
}

bool es_name_valid(const char *name)
{
    size_t length = strlen(name);
    if (length < 1 || length > ES_NAME_MAX) return false;
    for (const char *p = name; *p != '\0'; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        bool digit = *p >= '0' && *p <= '9';
        if (!letter && !digit && strchr("._-", *p) == NULL) return false;
    }
    return true;
}

const char *es_node_phase_name(es_node_phase phase)
{
    static const char *const NAMES[ES_NODE_PHASE_COUNT] = {
        [ES_NODE_READY] = "ready", [ES_NODE_LOADING] = "loading", [ES_NODE_DRAINING] = "draining"};
    ES_ASSERT((unsigned)phase < ES_NODE_PHASE_COUNT);
    return NAMES[phase];
}
