/* Messages of the shard socket. */
#include "net/shard_wire.h"

#include "net/memory.h"
#include "proto/essaim.pb-c.h"

#include <stdio.h>
#include <string.h>

enum { SHARD_MEMORY = 128 * 1024 };

es_status es_shard_memory_create(es_wire_memory **ret_memory, es_err *err)
{
    return es_wire_memory_create_sized(SHARD_MEMORY, ret_memory, err);
}

/* Packing only reads. */
static ProtobufCBinaryData data_of(const uint8_t *bytes, size_t count)
{
    return (ProtobufCBinaryData){count, (uint8_t *)(uintptr_t)bytes};
}

static char *text_of(const char *text)
{
    return (char *)(uintptr_t)text;
}

size_t es_shard_request_pack(const es_shard_request *request, uint8_t *out)
{
    Essaim__V1__ShardRequest m = ESSAIM__V1__SHARD_REQUEST__INIT;
    Essaim__V1__Find find = ESSAIM__V1__FIND__INIT;
    Essaim__V1__Read read = ESSAIM__V1__READ__INIT;
    Essaim__V1__Join join = ESSAIM__V1__JOIN__INIT;
    m.protocol = ES_PROTOCOL;
    m.request = request->request;
    if (request->ask == ES_SHARD_FIND) {
        find.sum = data_of(request->sum, ES_CONTENT_SUM_BYTES);
        m.body_case = ESSAIM__V1__SHARD_REQUEST__BODY_FIND;
        m.find = &find;
    } else if (request->ask == ES_SHARD_READ) {
        read.sum = data_of(request->sum, ES_CONTENT_SUM_BYTES);
        read.offset = request->offset;
        read.count = (uint32_t)request->count;
        m.body_case = ESSAIM__V1__SHARD_REQUEST__BODY_READ;
        m.read = &read;
    } else {
        join.secret = data_of(request->join.secret, ES_JOIN_SECRET_BYTES);
        join.name = text_of(request->join.name);
        join.control = text_of(request->join.control);
        join.memory_bytes = request->join.memory_bytes;
        m.body_case = ESSAIM__V1__SHARD_REQUEST__BODY_JOIN;
        m.join = &join;
    }
    ES_ASSERT(essaim__v1__shard_request__get_packed_size(&m) <= ES_SHARD_HEADER_MAX);
    return essaim__v1__shard_request__pack(&m, out);
}

/* The messages that a reply may hold, until it is packed. */
typedef struct reply_bodies {
    Essaim__V1__Found found;
    Essaim__V1__ReadReply read;
    Essaim__V1__Joined joined;
    char *coordinators[ES_JOIN_COORDINATORS_MAX];
} reply_bodies;

static void lay_out_found(const es_shard_found *found, reply_bodies *to)
{
    essaim__v1__found__init(&to->found);
    to->found.layer = found->layer;
    to->found.expert = found->expert;
    to->found.bytes = found->bytes;
}

static void lay_out_joined(const es_joined *joined, reply_bodies *to)
{
    essaim__v1__joined__init(&to->joined);
    to->joined.name = text_of(joined->name);
    to->joined.control = text_of(joined->control);
    to->joined.fingerprint = data_of(joined->fingerprint, ES_FINGERPRINT_BYTES);
    to->joined.config = text_of(joined->config);
    to->joined.etcd = text_of(joined->etcd);
    to->joined.etcd_prefix = text_of(joined->etcd_prefix);
    to->joined.n_coordinators = joined->coordinator_count;
    to->joined.coordinators = to->coordinators;
    for (size_t i = 0; i < joined->coordinator_count; i++)
        to->coordinators[i] = text_of(joined->coordinators[i]);
}

size_t es_shard_reply_pack(const es_shard_reply *reply, uint8_t *out)
{
    Essaim__V1__ShardReply m = ESSAIM__V1__SHARD_REPLY__INIT;
    reply_bodies bodies;
    m.protocol = ES_PROTOCOL;
    m.request = reply->request;
    m.status = (uint32_t)reply->status;
    m.text = text_of(reply->text);
    if (reply->status == ES_OK && reply->ask == ES_SHARD_FIND) {
        lay_out_found(&reply->found, &bodies);
        m.body_case = ESSAIM__V1__SHARD_REPLY__BODY_FOUND;
        m.found = &bodies.found;
    } else if (reply->status == ES_OK && reply->ask == ES_SHARD_READ) {
        essaim__v1__read_reply__init(&bodies.read);
        bodies.read.offset = reply->offset;
        bodies.read.payload_crc32c = reply->payload_crc32c;
        m.body_case = ESSAIM__V1__SHARD_REPLY__BODY_READ;
        m.read = &bodies.read;
    } else if (reply->status == ES_OK) {
        lay_out_joined(&reply->joined, &bodies);
        m.body_case = ESSAIM__V1__SHARD_REPLY__BODY_JOINED;
        m.joined = &bodies.joined;
    }
    ES_ASSERT(essaim__v1__shard_reply__get_packed_size(&m) <= ES_SHARD_HEADER_MAX);
    return essaim__v1__shard_reply__pack(&m, out);
}

static es_status copy_bytes(ProtobufCBinaryData from, const char *field, uint8_t *to, size_t count,
                            es_err *err)
{
    if (from.len != count)
        return es_err_set(err, ES_INVALID, "%s: %zu bytes, not %zu", field, from.len, count);
    memcpy(to, from.data, count);
    return ES_OK;
}

static es_status copy_text(const char *from, const char *field, char *to, size_t room, es_err *err)
{
    if (strlen(from) >= room)
        return es_err_set(err, ES_INVALID, "%s: longer than %zu bytes", field, room - 1);
    strcpy(to, from);
    return ES_OK;
}

static es_status copy_name(const char *from, char to[ES_NAME_MAX + 1], es_err *err)
{
    if (!es_name_valid(from))
        return es_err_set(err, ES_INVALID, "name: not 1 to %d letters, digits, '.', '_' or '-'", ES_NAME_MAX);
    strcpy(to, from);
    return ES_OK;
}

static es_status copy_endpoint(const char *from, char to[ES_ENDPOINT_TEXT_MAX], es_err *err)
{
    es_endpoint at;
    if (strlen(from) >= ES_ENDPOINT_TEXT_MAX || es_endpoint_parse_bind(from, &at, NULL) != ES_OK ||
        at.port == 0)
        return es_err_set(err, ES_INVALID, "control: no numeric address and port");
    strcpy(to, from);
    return ES_OK;
}

static es_status read_request(const Essaim__V1__ShardRequest *m, es_shard_request *to, es_err *err)
{
    es_status status;
    switch (m->body_case) {
    case ESSAIM__V1__SHARD_REQUEST__BODY_FIND:
        to->ask = ES_SHARD_FIND;
        return copy_bytes(m->find->sum, "sum", to->sum, sizeof to->sum, err);
    case ESSAIM__V1__SHARD_REQUEST__BODY_READ:
        to->ask = ES_SHARD_READ;
        to->offset = m->read->offset;
        to->count = m->read->count;
        if (to->count < 1 || to->count > ES_SHARD_READ_MAX)
            return es_err_set(err, ES_INVALID, "count: %zu is not 1 to %d", to->count, ES_SHARD_READ_MAX);
        return copy_bytes(m->read->sum, "sum", to->sum, sizeof to->sum, err);
    case ESSAIM__V1__SHARD_REQUEST__BODY_JOIN:
        to->ask = ES_SHARD_JOIN;
        to->join.memory_bytes = m->join->memory_bytes;
        status = copy_bytes(m->join->secret, "secret", to->join.secret, sizeof to->join.secret, err);
        if (status == ES_OK) status = copy_name(m->join->name, to->join.name, err);
        if (status == ES_OK) status = copy_endpoint(m->join->control, to->join.control, err);
        return status;
    default:
        return es_err_set(err, ES_UNSUPPORTED, "body: not known here");
    }
}

es_status es_shard_request_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                                  es_shard_request *ret_request, es_err *err)
{
    *ret_request = (es_shard_request){0};
    if (count > ES_SHARD_HEADER_MAX) return es_err_set(err, ES_CORRUPT, "shard request: %zu bytes", count);
    const Essaim__V1__ShardRequest *m =
        essaim__v1__shard_request__unpack(es_wire_memory_reset(memory), count, bytes);
    if (m == NULL) return es_err_set(err, ES_CORRUPT, "shard request: %zu bytes that are none", count);
    ret_request->request = m->request;
    es_status status = es_wire_protocol_check(m->protocol, err);
    if (status == ES_OK) status = read_request(m, ret_request, err);
    if (status != ES_OK) es_err_prefix(err, "shard request");
    return status;
}

static es_status read_joined(const Essaim__V1__Joined *m, es_joined *to, es_err *err)
{
    if (m->n_coordinators < 1 || m->n_coordinators > ES_JOIN_COORDINATORS_MAX)
        return es_err_set(err, ES_INVALID, "coordinators: %zu, not 1 to %d", m->n_coordinators,
                          ES_JOIN_COORDINATORS_MAX);
    es_status status = copy_name(m->name, to->name, err);
    if (status == ES_OK) status = copy_endpoint(m->control, to->control, err);
    if (status == ES_OK)
        status = copy_bytes(m->fingerprint, "fingerprint", to->fingerprint, sizeof to->fingerprint, err);
    if (status == ES_OK) status = copy_text(m->config, "config", to->config, sizeof to->config, err);
    if (status == ES_OK) status = copy_text(m->etcd, "etcd", to->etcd, sizeof to->etcd, err);
    if (status == ES_OK)
        status = copy_text(m->etcd_prefix, "etcd_prefix", to->etcd_prefix, sizeof to->etcd_prefix, err);
    for (size_t i = 0; i < m->n_coordinators && status == ES_OK; i++) {
        if (!es_key_valid(m->coordinators[i]))
            return es_err_set(err, ES_INVALID, "coordinators: key %zu is none", i);
        strcpy(to->coordinators[i], m->coordinators[i]);
    }
    to->coordinator_count = m->n_coordinators;
    return status;
}

static es_status read_reply(const Essaim__V1__ShardReply *m, es_shard_reply *to, es_err *err)
{
    switch (m->body_case) {
    case ESSAIM__V1__SHARD_REPLY__BODY_FOUND:
        to->ask = ES_SHARD_FIND;
        to->found = (es_shard_found){m->found->layer, m->found->expert, m->found->bytes};
        return ES_OK;
    case ESSAIM__V1__SHARD_REPLY__BODY_READ:
        to->ask = ES_SHARD_READ;
        to->offset = m->read->offset;
        to->payload_crc32c = m->read->payload_crc32c;
        return ES_OK;
    case ESSAIM__V1__SHARD_REPLY__BODY_JOINED:
        to->ask = ES_SHARD_JOIN;
        return read_joined(m->joined, &to->joined, err);
    default:
        return es_err_set(err, ES_UNSUPPORTED, "body: not known here");
    }
}

es_status es_shard_reply_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                                es_shard_reply *ret_reply, es_err *err)
{
    *ret_reply = (es_shard_reply){.text = ""};
    if (count > ES_SHARD_HEADER_MAX) return es_err_set(err, ES_CORRUPT, "shard reply: %zu bytes", count);
    const Essaim__V1__ShardReply *m =
        essaim__v1__shard_reply__unpack(es_wire_memory_reset(memory), count, bytes);
    if (m == NULL) return es_err_set(err, ES_CORRUPT, "shard reply: %zu bytes that are none", count);
    ret_reply->request = m->request;
    es_status status = es_wire_protocol_check(m->protocol, err);
    if (status == ES_OK && (m->status >= ES_STATUS_COUNT || m->status == ES_CANCELLED))
        status = es_err_set(err, ES_CORRUPT, "status: %u is not known here", m->status);
    if (status == ES_OK) {
        ret_reply->status = (es_status)m->status;
        ret_reply->text = m->text;
        if (ret_reply->status == ES_OK) status = read_reply(m, ret_reply, err);
    }
    if (status != ES_OK) es_err_prefix(err, "shard reply");
    return status;
}
