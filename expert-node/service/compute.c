/* One data message: checked, computed, answered. Nothing of it is remembered. */
#include "base/clock.h"
#include "net/crc32c.h"
#include "net/sums.h"
#include "service/internal.h"

#include <inttypes.h>
#include <string.h>

static es_status not_here(const es_service *service, const es_wire_request *request, uint32_t expert,
                          es_err *err)
{
    return es_err_set(err, ES_NOT_HERE,
                      "layer %u: expert %u is not held here (epoch %" PRIu64 " here, %" PRIu64 " asked)",
                      request->ids.layer, expert, service->epoch, request->ids.epoch);
}

/* The request makes sense for this model, and all its experts are held. */
static es_status check(es_service *service, const es_wire_request *request, es_err *err)
{
    const es_shape *shape = &service->work.model->shape;
    if (!es_guests_know(&service->guests, request->ids.coordinator))
        return es_err_set(err, ES_MISMATCH, "coordinator %016" PRIx64 " is not known here: say hello first",
                          request->ids.coordinator);
    if (request->ids.layer >= shape->layers || !es_shape_layer_is_moe(shape, request->ids.layer))
        return es_err_set(err, ES_INVALID, "layer %u has no experts in this model", request->ids.layer);
    if (request->cols != shape->hidden)
        return es_err_set(err, ES_INVALID, "cols: %zu, but the model's hidden is %zu", request->cols,
                          shape->hidden);
    for (size_t p = 0; request->chunks != NULL && p < request->pairs; p++)
        if (request->chunks[p] != 0)
            return es_err_set(err, ES_UNSUPPORTED, "layer %u: expert %u in slices", request->ids.layer,
                              request->expert[p]);
    const uint8_t *held = service->work.held + request->ids.layer * shape->experts;
    for (size_t p = 0; p < request->pairs; p++) {
        if (request->expert[p] >= shape->experts)
            return es_err_set(err, ES_INVALID, "expert %u, but a layer has %zu", request->expert[p],
                              shape->experts);
        if (held[request->expert[p]] == 0) return not_here(service, request, request->expert[p], err);
    }
    return ES_OK;
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

static es_status compute(es_service *service, const es_wire_request *request, es_message *message,
                         es_err *err)
{
    const es_model *model = service->work.model;
    es_expert_engine *engine;
    es_rows rows;
    es_status status = check(service, request, err);
    if (status == ES_OK) status = view_rows(service, request, message, &rows, err);
    if (status == ES_OK) status = es_service_engine(service, request->row_format, &engine, err);
    if (status != ES_OK) return status;
    service->pair_first[0] = 0;
    for (size_t r = 0; r < request->rows; r++)
        service->pair_first[r + 1] = service->pair_first[r] + request->pairs_per_row[r];
    memset(service->sum, 0, request->rows * model->shape.hidden * sizeof *service->sum);
    es_expert_batch batch = {&rows, service->pair_first, request->expert, request->weight};
    status = es_expert_engine_run(engine, model->layers[request->ids.layer].experts, model->shape.experts,
                                  &batch, service->sum, err);
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

void es_service_answer_data(es_service *service, es_message *message)
{
    es_err err = {.text = ""};
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
    if (status == ES_OK) status = compute(service, &request, message, &err);
    es_wire_reply reply = {.ids = request.ids,
                           .status = status,
                           .text = status == ES_OK ? "" : err.text,
                           .failed_row = SIZE_MAX};
    reply.ids.epoch = service->epoch;
    reply.compute_ns = es_clock_now_ns() - start_ns;
    service->stats.compute_ns += reply.compute_ns;
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
