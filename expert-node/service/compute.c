/* One data message: checked, computed, answered. Nothing of it is remembered. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/document.h"
#include "net/crc32c.h"
#include "net/sums.h"
#include "service/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A call that takes longer is told, whatever it was asked; and lines a second about what others send. */
static const uint64_t SLOW_NS = 1000000000;
enum { LINES_A_SECOND = 10 };

/* The request makes sense for this model and this moment. */
static es_status check(es_service *service, const es_wire_request *request, es_err *err)
{
    const es_shape *shape = service->options.shape;
    es_guest *guest = es_guests_know(&service->guests, request->ids.coordinator);
    if (guest == NULL)
        return es_err_set(err, ES_MISMATCH, "coordinator %016" PRIx64 " is not known here: say hello first",
                          request->ids.coordinator);
    if (request->requests[0] != '\0') strcpy(guest->requests, request->requests);
    if (service->draining) return es_err_set(err, ES_UNAVAILABLE, "draining: it takes no new requests");
    if (request->ids.layer >= shape->layers || !es_shape_layer_is_moe(shape, request->ids.layer))
        return es_err_set(err, ES_INVALID, "layer %u has no experts in this model", request->ids.layer);
    if (request->cols != shape->hidden)
        return es_err_set(err, ES_INVALID, "cols: %zu, but the model's hidden is %zu", request->cols,
                          shape->hidden);
    return ES_OK;
}

/* All its experts are held: the batch says where. */
static es_status find_experts(es_service *service, const es_wire_request *request, es_err *err)
{
    const es_holding *holding = es_loader_holding(service->work.loader);
    es_status status = es_batch_make(&service->batch, holding, request, err);
    if (status == ES_OK || err == NULL) return status;
    es_err_prefix(err, "layer %u", request->ids.layer);
    if (status != ES_NOT_HERE) return status;
    char cause[ES_ERR_TEXT_MAX], here[ES_EPOCH_TEXT_MAX], asked[ES_EPOCH_TEXT_MAX];
    memcpy(cause, err->text, sizeof cause);
    es_epoch_format(es_epoch_of_number(es_loader_epoch(service->work.loader)), here);
    es_epoch_format(es_epoch_of_number(request->ids.epoch), asked);
    return es_err_set(err, status, "%s (epoch %s here, %s asked)", cause, here, asked);
}

/* Rows as kernels take them: in place where the frame is aligned to 4 bytes, else copied. */
static es_status view_rows(es_service *service, const es_wire_request *request, es_message *message,
                           es_rows *ret_rows, es_err *err)
{
    uint8_t *payload = es_message_data(message, 2);
    size_t bytes = es_message_bytes(message, 2);
    size_t row_bytes = es_rows_row_bytes(request->row_format, request->cols);
    es_status status =
        es_wire_payload_check(request->rows, row_bytes, request->payload_crc32c, payload, bytes, err);
    if (status != ES_OK) return status;
    if ((uintptr_t)payload % sizeof(float) != 0) {
        memcpy(service->rows, payload, bytes);
        payload = service->rows;
    }
    *ret_rows = (es_rows){.format = request->row_format,
                          .count = request->rows,
                          .cols = request->cols,
                          .row_bytes = row_bytes,
                          .data = payload};
    return es_wire_rows_check(ret_rows, err);
}

/* Names the expert as the request does, and its row. */
static es_status name_failure(es_service *service, const es_expert_engine *engine, size_t *ret_row,
                              es_err *err)
{
    size_t pair = es_expert_engine_failed_pair(engine);
    *ret_row = es_batch_row(&service->batch, pair);
    return es_err_set(err, ES_NUMERIC, "expert %" PRIu32 ": a value is not finite or too large",
                      service->batch.views[service->batch.view[pair]].expert);
}

/* *ret_row: the row that an error is about, or SIZE_MAX. */
static es_status compute(es_service *service, const es_wire_request *request, es_message *message,
                         size_t *ret_row, es_err *err)
{
    es_batch *batch = &service->batch;
    es_expert_engine *engine;
    es_rows rows;
    es_status status = check(service, request, err);
    if (status == ES_OK) status = find_experts(service, request, err);
    if (status == ES_OK) status = view_rows(service, request, message, &rows, err);
    if (status == ES_OK) status = es_service_engine(service, request->row_format, &engine, err);
    if (status != ES_OK) return status;
    memset(service->sum, 0, request->rows * request->cols * sizeof *service->sum);
    es_expert_batch pairs = {&rows, batch->pair_first, batch->view, batch->weight};
    status = es_expert_engine_run(engine, batch->ffns, batch->view_count, &pairs, service->sum, err);
    if (status == ES_NUMERIC) return name_failure(service, engine, ret_row, err);
    if (status != ES_OK) return status;
    service->stats.calls++;
    service->stats.rows += request->rows;
    service->stats.pairs += request->pairs;
    return ES_OK;
}

/* Header and payload behind the asker's frame. False when memory is short. */
static bool make_reply(es_service *service, es_message *asked, es_wire_reply *reply, es_message *ret_out)
{
    size_t count = reply->rows * reply->cols;
    if (!es_message_add(ret_out, es_message_data(asked, 0), es_message_bytes(asked, 0))) return false;
    zmq_msg_t payload;
    if (zmq_msg_init_size(&payload, count * reply->width) != 0) return false;
    if (count > 0) {
        es_sums_pack(service->sum, count, reply->width, zmq_msg_data(&payload));
        reply->payload_crc32c = es_crc32c(zmq_msg_data(&payload), count * reply->width);
    }
    size_t header_bytes = es_wire_reply_pack(reply, service->header, ES_WIRE_HEADER_MAX);
    if (!es_message_add(ret_out, service->header, header_bytes)) {
        zmq_msg_close(&payload);
        return false;
    }
    ret_out->frame[ret_out->count++] = payload;
    return true;
}

/* Placements move, and nodes come and go: these are no faults. */
static bool is_usual(es_status status)
{
    return status == ES_NOT_HERE || status == ES_UNAVAILABLE || status == ES_MISMATCH;
}

/* What failed or was slow, and at level debug every call, with what it was for. */
static void tell(es_service *service, const es_wire_request *request, const es_err *err, uint64_t took_ns)
{
    bool slow = took_ns > SLOW_NS;
    es_log_level level = err->status == ES_OK    ? (slow ? ES_LOG_WARN : ES_LOG_DEBUG)
                         : is_usual(err->status) ? ES_LOG_INFO
                                                 : ES_LOG_WARN;
    uint64_t left_out = 0;
    if (!es_log_wants(level)) return;
    if (level != ES_LOG_DEBUG &&
        !es_log_limit_take(&service->told, es_clock_now_ns(), LINES_A_SECOND, &left_out))
        return;
    char coordinator[24];
    snprintf(coordinator, sizeof coordinator, "%016" PRIx64, request->ids.coordinator);
    const es_guest *guest = es_guests_know(&service->guests, request->ids.coordinator);
    const es_log_field fields[] = {
        es_log_text("request", guest != NULL ? guest->requests : NULL),
        es_log_text("coordinator", coordinator),
        es_log_count("call", request->ids.step),
        es_log_count("layer", request->ids.layer),
        es_log_text("node", service->options.name),
        es_log_count("rows", request->rows),
        es_log_real("ms", (double)took_ns * 1e-6),
        es_log_count("left_out", left_out),
    };
    if (err->status != ES_OK)
        es_log_with(level, fields, "a call was refused: %s", err->text);
    else
        es_log_with(level, fields, slow ? "a call was slow" : "a call was computed");
}

void es_service_answer_data(es_service *service, es_message *message)
{
    es_err err = {.status = ES_OK};
    es_wire_request request;
    uint64_t start_ns = es_clock_now_ns();
    if (message->count != 3) { /* who asks, header, payload */
        service->stats.malformed++;
        return;
    }
    es_status status = es_wire_request_unpack(service->wire_memory, es_message_data(message, 1),
                                              es_message_bytes(message, 1), &request, &err);
    if (status != ES_OK && request.ids.coordinator == 0) {
        service->stats.malformed++;
        return;
    }
    service->stats.bytes_in += es_message_bytes(message, 1) + es_message_bytes(message, 2);
    size_t failed_row = SIZE_MAX;
    if (status == ES_OK) status = compute(service, &request, message, &failed_row, &err);
    es_wire_reply reply = {.ids = request.ids,
                           .status = status,
                           .text = status == ES_OK ? "" : err.text,
                           .failed_row = failed_row};
    reply.ids.epoch = es_loader_epoch(service->work.loader);
    reply.compute_ns = es_clock_now_ns() - start_ns;
    service->stats.compute_ns += reply.compute_ns;
    tell(service, &request, &err, reply.compute_ns);
    if (status == ES_OK) {
        reply.rows = request.rows;
        reply.cols = request.cols;
        reply.width = es_sums_width(service->sum, request.rows * request.cols);
    } else {
        service->stats.errors[status]++;
    }
    es_message out = {.count = 0};
    if (!make_reply(service, message, &reply, &out)) {
        es_message_close(&out);
        service->stats.unsent++;
        return;
    }
    service->stats.bytes_out += es_message_bytes(&out, 1) + es_message_bytes(&out, 2);
    es_service_send(service, service->data, &out);
}
