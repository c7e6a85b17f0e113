/* The node's one thread: it looks for messages awake for a moment after each, then sleeps. */
#include "service/service.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/size.h"
#include "service/internal.h"

#include <sched.h>
#include <stdlib.h>

enum { QUEUE_MESSAGES = 8, IN_A_ROW = 16 };

/* The next layer's request often comes soon after a reply. */
static const uint64_t SPIN_NS = 50000;

/* Bytes of the widest row that may come in. */
static size_t widest_row_bytes(const es_shape *shape)
{
    return es_size_max(es_rows_row_bytes(ES_ROWS_Q8, shape->hidden),
                       es_rows_row_bytes(ES_ROWS_F32, shape->hidden));
}

/* More than a full queue of the largest messages, and what is on its way to it. */
static uint64_t flood_bytes(const es_channel_limits *limits)
{
    return (uint64_t)(limits->queue_messages_max + 2) * (ES_FRAMES_MAX - 1) * limits->frame_bytes_max;
}

es_status es_service_open(const es_service_options *options, es_service **ret_service, es_err *err)
{
    *ret_service = NULL;
    es_service *service = calloc(1, sizeof *service);
    if (service == NULL) return es_err_set(err, ES_NO_MEMORY, "service");
    service->options = *options;
    service->started_ns = es_clock_now_ns();
    es_channel_limits control = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    es_channel_limits data = {
        es_size_max(ES_STEP_ROWS_MAX * widest_row_bytes(options->shape), ES_WIRE_HEADER_MAX), QUEUE_MESSAGES};
    es_endpoint data_at = options->listen;
    data_at.port = options->data_port;
    es_net_options net = {options->keys, options->allowed};
    es_status status = es_net_open(&net, &service->net, err);
    if (status == ES_OK)
        status = es_channel_bind(service->net, &options->listen, &control, &service->control,
                                 &service->control_endpoint, err);
    if (status == ES_OK)
        status = es_channel_bind(service->net, &data_at, &data, &service->data, &service->data_endpoint, err);
    if (status == ES_OK)
        status = es_flood_guard_create(service->control, flood_bytes(&control), &service->control_guard, err);
    if (status == ES_OK)
        status = es_flood_guard_create(service->data, flood_bytes(&data), &service->data_guard, err);
    if (status != ES_OK) es_service_close(&service);
    *ret_service = service;
    return status;
}

void es_service_close(es_service **service_at)
{
    es_service *service = *service_at;
    if (service == NULL) return;
    es_flood_guard_destroy(&service->control_guard);
    es_flood_guard_destroy(&service->data_guard);
    es_turns_clear(&service->turns);
    es_channel_close(&service->control);
    es_channel_close(&service->data);
    es_net_close(&service->net);
    for (size_t f = 0; f < ES_ROWS_COUNT; f++) es_expert_engine_destroy(&service->engines[f]);
    es_control_memory_destroy(&service->control_memory);
    es_wire_memory_destroy(&service->wire_memory);
    free(service->control_frame);
    free(service->header);
    free(service->rows);
    es_batch_fini(&service->batch);
    free(service->sum);
    free(service);
    *service_at = NULL;
}

bool es_service_drains(const es_service *service)
{
    return service->draining;
}

es_endpoint es_service_control_endpoint(const es_service *service)
{
    return service->control_endpoint;
}

es_endpoint es_service_data_endpoint(const es_service *service)
{
    return service->data_endpoint;
}

es_status es_service_prepare(es_service *service, const es_service_work *work, es_err *err)
{
    const es_shape *shape = service->options.shape;
    service->work = *work;
    service->control_frame = malloc(ES_CONTROL_FRAME_MAX);
    service->header = malloc(ES_WIRE_HEADER_MAX);
    service->rows = malloc(ES_STEP_ROWS_MAX * widest_row_bytes(shape));
    service->sum = malloc(ES_STEP_ROWS_MAX * shape->hidden * sizeof *service->sum);
    if (service->control_frame == NULL || service->header == NULL || service->rows == NULL ||
        service->sum == NULL)
        return es_err_set(err, ES_NO_MEMORY, "buffers for %d rows", ES_STEP_ROWS_MAX);
    es_status status = es_control_memory_create(&service->control_memory, err);
    if (status == ES_OK) status = es_wire_memory_create(&service->wire_memory, err);
    if (status == ES_OK) status = es_batch_init(&service->batch, shape, err);
    return status;
}

es_status es_service_engine(es_service *service, es_row_format format, es_expert_engine **ret_engine,
                            es_err *err)
{
    static const char *const NAME[ES_ROWS_COUNT] = {[ES_ROWS_Q8] = "q8", [ES_ROWS_F32] = "f32"};
    const es_shape *shape = service->options.shape;
    if (!service->work.row_formats[format])
        return es_err_set(err, ES_MISMATCH, "node %s does not compute %s rows", service->options.name,
                          NAME[format]);
    if (service->engines[format] == NULL) {
        const char *core;
        es_status status = format == ES_ROWS_F32 ? es_blas_start(&core, err) : ES_OK;
        es_expert_engine_options options = {
            .kernels = service->work.kernels,
            .pool = service->work.pool,
            .row_format = format,
            .hidden = shape->hidden,
            .intermediate_max = shape->expert_intermediate,
            .rows_max = ES_STEP_ROWS_MAX,
            .pairs_per_row_max = es_batch_pairs_per_row(shape),
        };
        if (status == ES_OK) status = es_expert_engine_create(&options, &service->engines[format], err);
        if (status != ES_OK) return status;
    }
    *ret_engine = service->engines[format];
    return ES_OK;
}

void es_service_send(es_service *service, es_channel *channel, es_message *reply)
{
    if (es_channel_send(channel, reply, NULL) != ES_OK) service->stats.unsent++;
}

typedef void answer_fn(es_service *service, es_message *message);

/* Answers up to IN_A_ROW messages; *ret_some: there was one. */
static es_status serve(es_service *service, es_channel *channel, es_flood_guard *guard, answer_fn *answer,
                       bool *ret_some, es_err *err)
{
    *ret_some = false;
    for (int i = 0; i < IN_A_ROW && !es_signals_stop_asked(); i++) {
        es_message message;
        es_status status = es_channel_receive(channel, &message, err);
        if (status == ES_TIMEOUT) return ES_OK;
        *ret_some = true;
        if (status == ES_OK) {
            es_flood_guard_saw(guard, &message);
            answer(service, &message);
            es_message_close(&message);
        } else if (status == ES_INVALID) {
            service->stats.malformed++;
        } else {
            return status;
        }
    }
    return ES_OK;
}

/* Takes in the requests that are there. */
static es_status take_requests(es_service *service, es_err *err)
{
    while (!es_turns_full(&service->turns)) {
        es_message message;
        es_status status = es_channel_receive(service->data, &message, err);
        if (status == ES_TIMEOUT) return ES_OK;
        if (status == ES_OK) {
            es_flood_guard_saw(service->data_guard, &message);
            es_turns_put(&service->turns, &message);
        } else if (status == ES_INVALID) {
            service->stats.malformed++;
        } else {
            return status;
        }
    }
    return ES_OK;
}

static void tell_round(const es_service *service, uint64_t now_ns)
{
    if (service->work.round != NULL) service->work.round(service->work.round_context, now_ns);
}

static int look_ms(const es_service *service)
{
    unsigned control = es_flood_guard_look_ms(service->control_guard),
             data = es_flood_guard_look_ms(service->data_guard);
    return (int)(control < data ? control : data);
}

/* Who sends without end is cut off before it fills the memory. */
static void check_floods(es_service *service, uint64_t now_ns)
{
    if (now_ns - service->checked_ns < (uint64_t)look_ms(service) * 1000000) return;
    service->checked_ns = now_ns;
    size_t cut = es_flood_guard_check(service->control_guard) + es_flood_guard_check(service->data_guard);
    service->stats.malformed += cut;
    if (cut > 0)
        es_log(ES_LOG_WARN, "cut off %zu peer%s that never ended a message", cut, cut == 1 ? "" : "s");
}

/* Computes up to limit requests, in turns; *ret_some: there was one. */
static es_status compute_in_turns(es_service *service, int limit, bool *ret_some, es_err *err)
{
    *ret_some = false;
    for (int i = 0; i < limit && !es_signals_stop_asked(); i++) {
        es_message message;
        es_status status = take_requests(service, err);
        if (status != ES_OK) return status;
        if (!es_turns_take(&service->turns, &message)) return ES_OK;
        *ret_some = true;
        uint64_t start_ns = es_clock_now_ns();
        es_service_answer_data(service, &message);
        es_message_close(&message);
        uint64_t end_ns = es_clock_now_ns();
        es_turns_charge(&service->turns, end_ns - start_ns);
        check_floods(service, end_ns);
        tell_round(service, end_ns);
    }
    return ES_OK;
}

/* A node that shares with others belongs to a swarm, or did: while it was away it may have been removed. */
static void check_standing(es_service *service, uint64_t now_ns)
{
    if (!service->ready || service->work.members == NULL) return;
    if (es_standing_is_alone(&service->standing, now_ns))
        es_log(
            ES_LOG_WARN,
            "no coordinator has said hello for %d s: 'essaim node list' on its machine says whether this one "
            "is still a member; one that was removed joins anew, with an empty folder and a new token",
            ES_STANDING_ALONE_S);
}

static void sleep_for_messages(const es_service *service)
{
    zmq_pollitem_t items[] = {{es_channel_socket(service->control), 0, ZMQ_POLLIN, 0},
                              {es_channel_socket(service->data), 0, ZMQ_POLLIN, 0},
                              {NULL, es_signals_fd(), ZMQ_POLLIN, 0},
                              {NULL, es_loader_fd(service->work.loader), ZMQ_POLLIN, 0}};
    zmq_poll(items, 4, look_ms(service));
}

/* Between requests the holding may become another. */
static es_status follow_loader(es_service *service, es_err *err)
{
    es_loader_poll(service->work.loader);
    if (service->ready) return ES_OK;
    es_status status = es_loader_failure(service->work.loader, err);
    if (status == ES_OK && service->work.progress != NULL) {
        es_node_state state;
        es_loader_state(service->work.loader, &state);
        service->work.progress(service->work.progress_context, state.mapped_bytes, state.wanted_bytes);
    }
    if (status != ES_OK || !es_loader_settled(service->work.loader)) return status;
    service->ready = true;
    return service->work.ready(service->work.ready_context, err);
}

es_status es_service_run(es_service *service, es_err *err)
{
    uint64_t awake_until_ns = 0;
    while (!es_signals_stop_asked()) {
        bool talked, computed = false;
        es_status status = follow_loader(service, err);
        if (status == ES_OK)
            status = serve(service, service->control, service->control_guard, es_service_answer_control,
                           &talked, err);
        if (status == ES_OK) status = compute_in_turns(service, IN_A_ROW, &computed, err);
        if (status != ES_OK) return status;
        uint64_t now_ns = es_clock_now_ns();
        check_floods(service, now_ns);
        check_standing(service, now_ns);
        tell_round(service, now_ns);
        if (computed) awake_until_ns = now_ns + SPIN_NS;
        if (computed || talked) continue;
        if (now_ns < awake_until_ns)
            sched_yield();
        else
            sleep_for_messages(service);
    }
    return ES_OK;
}
