/* The headers of the data sockets: every count, length and sum is checked before anybody uses it. */
#include "net/wire.h"

#include "base/size.h"
#include "net/crc32c.h"
#include "net/memory.h"
#include "net/sums.h"
#include "proto/essaim.pb-c.h"

#include <math.h>
#include <string.h>

size_t es_wire_request_pack(const es_wire_request *request, uint8_t *out, size_t out_bytes)
{
    Essaim__V1__ExpertRequest m = ESSAIM__V1__EXPERT_REQUEST__INIT;
    m.protocol = ES_PROTOCOL;
    m.epoch = request->ids.epoch;
    m.coordinator = request->ids.coordinator;
    m.step = request->ids.step;
    m.layer = request->ids.layer;
    m.attempt = request->ids.attempt;
    m.rows = (uint32_t)request->rows;
    m.row_format = (uint32_t)request->row_format;
    m.cols = (uint32_t)request->cols;
    m.n_pairs_per_row = request->rows;
    m.pairs_per_row = (uint32_t *)(uintptr_t)request->pairs_per_row; /* packing only reads */
    m.n_expert = request->pairs;
    m.expert = (uint32_t *)(uintptr_t)request->expert;
    m.n_weight = request->pairs;
    m.weight = (float *)(uintptr_t)request->weight;
    m.n_chunks = request->chunks != NULL ? request->pairs : 0;
    m.chunks = (uint32_t *)(uintptr_t)request->chunks;
    m.payload_crc32c = request->payload_crc32c;
    if (request->requests != NULL) m.requests = (char *)(uintptr_t)request->requests;
    ES_ASSERT(essaim__v1__expert_request__get_packed_size(&m) <= out_bytes);
    return essaim__v1__expert_request__pack(&m, out);
}

size_t es_wire_reply_pack(const es_wire_reply *reply, uint8_t *out, size_t out_bytes)
{
    Essaim__V1__ExpertReply m = ESSAIM__V1__EXPERT_REPLY__INIT;
    m.protocol = ES_PROTOCOL;
    m.epoch = reply->ids.epoch;
    m.coordinator = reply->ids.coordinator;
    m.step = reply->ids.step;
    m.layer = reply->ids.layer;
    m.attempt = reply->ids.attempt;
    m.rows = (uint32_t)reply->rows;
    m.status = (uint32_t)reply->status;
    m.text = (char *)(uintptr_t)reply->text;
    if (reply->status != ES_OK && reply->failed_row < ES_STEP_ROWS_MAX)
        m.failed_row = (uint32_t)reply->failed_row + 1;
    m.cols = (uint32_t)reply->cols;
    m.width = (uint32_t)reply->width;
    m.payload_crc32c = reply->payload_crc32c;
    m.compute_ns = reply->compute_ns;
    ES_ASSERT(essaim__v1__expert_reply__get_packed_size(&m) <= out_bytes);
    return essaim__v1__expert_reply__pack(&m, out);
}

/* Rows and pairs agree with each other and with their maxima. */
static es_status check_pairs(const Essaim__V1__ExpertRequest *m, es_err *err)
{
    if (m->rows < 1 || m->rows > ES_STEP_ROWS_MAX)
        return es_err_set(err, ES_INVALID, "rows: %u is not 1 to %d", m->rows, ES_STEP_ROWS_MAX);
    if (m->n_pairs_per_row != m->rows)
        return es_err_set(err, ES_INVALID, "pairs_per_row: %zu counts for %u rows", m->n_pairs_per_row,
                          m->rows);
    size_t pairs = 0;
    for (size_t r = 0; r < m->rows; r++) {
        if (m->pairs_per_row[r] < 1 || m->pairs_per_row[r] > ES_PAIRS_PER_ROW_MAX)
            return es_err_set(err, ES_INVALID, "pairs_per_row: row %zu has %u, not 1 to %d", r,
                              m->pairs_per_row[r], ES_PAIRS_PER_ROW_MAX);
        pairs += m->pairs_per_row[r];
    }
    if (m->n_expert != pairs)
        return es_err_set(err, ES_INVALID, "expert: %zu values for %zu pairs", m->n_expert, pairs);
    if (m->n_weight != pairs)
        return es_err_set(err, ES_INVALID, "weight: %zu values for %zu pairs", m->n_weight, pairs);
    if (m->n_chunks != 0 && m->n_chunks != pairs)
        return es_err_set(err, ES_INVALID, "chunks: %zu values for %zu pairs", m->n_chunks, pairs);
    for (size_t p = 0; p < m->n_chunks; p++) {
        es_chunks chunks = es_chunks_decode(m->chunks[p]);
        if (chunks.count > ES_CHUNKS_MAX || chunks.first + chunks.count > ES_CHUNKS_MAX ||
            (chunks.count == 0 && chunks.first != 0))
            return es_err_set(err, ES_INVALID, "chunks: pair %zu wants %u from %u on", p, chunks.count,
                              chunks.first);
    }
    for (size_t p = 0; p < pairs; p++)
        if (!isfinite(m->weight[p])) return es_err_set(err, ES_NUMERIC, "weight: pair %zu is not finite", p);
    return ES_OK;
}

bool es_wire_requests_valid(const char *requests)
{
    static const char ALLOWED[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,_:-";
    size_t length = strspn(requests, ALLOWED);
    return requests[length] == '\0' && length <= ES_WIRE_REQUESTS_MAX;
}

static es_status check_request(const Essaim__V1__ExpertRequest *m, es_err *err)
{
    es_status status = es_wire_protocol_check(m->protocol, err);
    if (status != ES_OK) return status;
    if (m->row_format >= ES_ROWS_COUNT)
        return es_err_set(err, ES_UNSUPPORTED, "row_format: %u is not known here", m->row_format);
    if (m->cols < 1 || m->cols > ES_WIRE_COLS_MAX)
        return es_err_set(err, ES_INVALID, "cols: %u is not 1 to %d", m->cols, ES_WIRE_COLS_MAX);
    if (!es_wire_requests_valid(m->requests))
        return es_err_set(err, ES_INVALID, "requests: not at most %d letters, digits and \".,_:-\"",
                          ES_WIRE_REQUESTS_MAX);
    return check_pairs(m, err);
}

es_status es_wire_request_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                                 es_wire_request *ret_request, es_err *err)
{
    *ret_request = (es_wire_request){0};
    if (count > ES_WIRE_HEADER_MAX) return es_err_set(err, ES_CORRUPT, "request header: %zu bytes", count);
    const Essaim__V1__ExpertRequest *m =
        essaim__v1__expert_request__unpack(es_wire_memory_reset(memory), count, bytes);
    if (m == NULL) return es_err_set(err, ES_CORRUPT, "request header: %zu bytes that are no header", count);
    ret_request->ids = (es_wire_ids){m->coordinator, m->step, m->epoch, m->layer, m->attempt};
    es_status status = check_request(m, err);
    if (status != ES_OK) {
        es_err_prefix(err, "request header");
        return status;
    }
    ret_request->row_format = (es_row_format)m->row_format;
    ret_request->rows = m->rows;
    ret_request->cols = m->cols;
    ret_request->pairs = m->n_expert;
    ret_request->pairs_per_row = m->pairs_per_row;
    ret_request->expert = m->expert;
    ret_request->weight = m->weight;
    ret_request->chunks = m->n_chunks > 0 ? m->chunks : NULL;
    ret_request->payload_crc32c = m->payload_crc32c;
    ret_request->requests = m->requests;
    return ES_OK;
}

static es_status check_reply(const Essaim__V1__ExpertReply *m, es_err *err)
{
    es_status status = es_wire_protocol_check(m->protocol, err);
    if (status != ES_OK) return status;
    if (m->status >= ES_STATUS_COUNT)
        return es_err_set(err, ES_CORRUPT, "status: %u is not known here", m->status);
    if (m->status == ES_CANCELLED) return es_err_set(err, ES_CORRUPT, "status: only an asker cancels");
    if (m->status != ES_OK) return ES_OK;
    if (m->rows < 1 || m->rows > ES_STEP_ROWS_MAX)
        return es_err_set(err, ES_CORRUPT, "rows: %u is not 1 to %d", m->rows, ES_STEP_ROWS_MAX);
    if (m->cols < 1 || m->cols > ES_WIRE_COLS_MAX)
        return es_err_set(err, ES_CORRUPT, "cols: %u is not 1 to %d", m->cols, ES_WIRE_COLS_MAX);
    if (!es_sums_width_valid(m->width))
        return es_err_set(err, ES_CORRUPT, "width: %u is not 3, 4 or 8", m->width);
    return ES_OK;
}

es_status es_wire_reply_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                               es_wire_reply *ret_reply, es_err *err)
{
    *ret_reply = (es_wire_reply){.text = "", .failed_row = SIZE_MAX};
    if (count > ES_WIRE_HEADER_MAX) return es_err_set(err, ES_CORRUPT, "reply header: %zu bytes", count);
    const Essaim__V1__ExpertReply *m =
        essaim__v1__expert_reply__unpack(es_wire_memory_reset(memory), count, bytes);
    if (m == NULL) return es_err_set(err, ES_CORRUPT, "reply header: %zu bytes that are no header", count);
    ret_reply->ids = (es_wire_ids){m->coordinator, m->step, m->epoch, m->layer, m->attempt};
    es_status status = check_reply(m, err);
    if (status != ES_OK) {
        es_err_prefix(err, "reply header");
        return status;
    }
    ret_reply->status = (es_status)m->status;
    ret_reply->text = m->text;
    if (m->status != ES_OK && m->failed_row > 0 && m->failed_row <= ES_STEP_ROWS_MAX)
        ret_reply->failed_row = m->failed_row - 1;
    if (m->status == ES_OK) {
        ret_reply->rows = m->rows;
        ret_reply->cols = m->cols;
        ret_reply->width = m->width;
        ret_reply->payload_crc32c = m->payload_crc32c;
    }
    ret_reply->compute_ns = m->compute_ns;
    return ES_OK;
}

es_status es_wire_payload_check(size_t rows, size_t row_bytes, uint32_t crc32c, const uint8_t *payload,
                                size_t bytes, es_err *err)
{
    size_t expected;
    if (!es_size_mul(rows, row_bytes, &expected) || bytes != expected)
        return es_err_set(err, ES_CORRUPT, "payload: %zu bytes for %zu rows of %zu", bytes, rows, row_bytes);
    uint32_t found = es_crc32c(payload, bytes);
    if (found != crc32c)
        return es_err_set(err, ES_CORRUPT, "payload: checksum %08x, header says %08x", found, crc32c);
    return ES_OK;
}
