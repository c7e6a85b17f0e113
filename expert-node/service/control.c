/* Hello, statistics, and what this node is to hold. */
#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "service/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REFUSALS_A_SECOND = 2 };

static es_status check_fingerprint(const es_service *service, const es_hello *hello, es_err *err)
{
    const uint8_t *ours = service->work.fingerprint;
    if (memcmp(hello->fingerprint, ours, ES_FINGERPRINT_BYTES) == 0) return ES_OK;
    char here[ES_FINGERPRINT_TEXT_MAX], there[ES_FINGERPRINT_TEXT_MAX];
    es_fingerprint_format(ours, here);
    es_fingerprint_format(hello->fingerprint, there);
    return es_err_set(err, ES_MISMATCH, "holds another model: its fingerprint is %s, the coordinator's is %s",
                      here, there);
}

static es_status still_loading(const es_service *service, es_err *err)
{
    es_node_state state;
    es_loader_state(service->work.loader, &state);
    return es_err_set(err, ES_UNAVAILABLE, "still loading: %.1f of %.1f MB are held",
                      (double)state.mapped_bytes * 1e-6, (double)state.wanted_bytes * 1e-6);
}

static void tell_state(const es_service *service, es_node_state *ret_state)
{
    es_loader_state(service->work.loader, ret_state);
    if (service->draining) ret_state->phase = ES_NODE_DRAINING;
}

static es_status greet(es_service *service, const es_control_request *request, es_control_reply *reply,
                       es_err *err)
{
    es_expert_engine *engine;
    if (!service->ready) return still_loading(service, err);
    es_status status = check_fingerprint(service, &request->hello, err);
    if (status == ES_OK) status = es_service_engine(service, request->hello.row_format, &engine, err);
    if (status != ES_OK) return status;
    es_guests_accept(&service->guests, request->coordinator);
    service->standing.greeted = true;
    es_log(ES_LOG_INFO, "coordinator %s (%016" PRIx64 ") is here", request->hello.name, request->coordinator);
    es_hello_reply *hello = &reply->hello;
    strcpy(hello->name, service->options.name);
    memcpy(hello->fingerprint, service->work.fingerprint, ES_FINGERPRINT_BYTES);
    hello->data_port = service->data_endpoint.port;
    const es_holding *holding = es_loader_holding(service->work.loader);
    hello->epoch = es_loader_epoch(service->work.loader);
    hello->units = holding->units;
    hello->unit_count = holding->unit_count;
    hello->read_bytes_per_s = service->work.read_bytes_per_s;
    hello->numa_nodes = (uint32_t)service->work.numa_nodes;
    hello->shard_port = service->work.shard_port;
    tell_state(service, &hello->state);
    hello->threads = (uint32_t)es_pool_threads(service->work.pool);
    hello->rows_max = ES_STEP_ROWS_MAX;
    memcpy(hello->row_formats, service->work.row_formats, sizeof hello->row_formats);
    return ES_OK;
}

/* Whoever looks at this machine learns that it is none of the swarm's any more, from whom, and what to do. */
static void take_standing(es_service *service, const es_members *members, const char *address)
{
    const char *key = service->options.keys != NULL ? service->options.keys->public_key : "";
    es_standing_kind kind = es_standing_of(members, service->options.name, key);
    if (!es_standing_take(&service->standing, kind)) return;
    if (kind == ES_STANDING_MEMBER)
        es_log(ES_LOG_INFO, "a member of the swarm again, says the coordinator at %s", address);
    else if (kind == ES_STANDING_REMOVED)
        es_log(ES_LOG_WARN,
               "removed from the swarm, says the coordinator at %s: it gets no work and no experts any more. "
               "Stop it; to come back it joins anew, with an empty folder and a new token",
               address);
    else
        es_log(
            ES_LOG_WARN,
            "this machine's key was revoked, says the coordinator at %s: everybody refuses it. Stop it; to "
            "come back it joins anew, with an empty folder and a new token, or 'essaim revoke --undo' "
            "takes its key off the list",
            address);
}

/* Who was revoked is refused from here on, on the connections that stand too. */
static es_status take_members(es_service *service, const es_members *members, const char *address,
                              es_err *err)
{
    take_standing(service, members, address);
    if (service->work.members != NULL)
        return service->work.members(service->work.members_context, members, err);
    if (service->options.allowed == NULL) return ES_OK;
    return es_allow_list_revoke(service->options.allowed, members->revoked, members->revoked_count, err);
}

/* Who changes what is held, or sends this node away, has shown that it serves this model. */
static es_status change(es_service *service, const es_control_request *request, const char *address,
                        es_err *err)
{
    if (!es_guests_know(&service->guests, request->coordinator))
        return es_err_set(err, ES_MISMATCH, "coordinator %016" PRIx64 " is not known here: say hello first",
                          request->coordinator);
    if (request->kind == ES_CONTROL_DRAIN) {
        if (!service->draining) es_log(ES_LOG_INFO, "draining");
        service->draining = true;
        return ES_OK;
    }
    if (request->kind == ES_CONTROL_MEMBERS) return take_members(service, &request->members, address, err);
    if (service->draining) return es_err_set(err, ES_UNAVAILABLE, "draining: it takes no units");
    return es_loader_change(service->work.loader, &request->change, request->kind == ES_CONTROL_LOAD, err);
}

/* Who measures the link wants to know whom he reached; a node that loads tells too. */
static void tell_probe(const es_service *service, size_t want_bytes, es_probe_reply *ret_probe)
{
    es_node_state state;
    tell_state(service, &state);
    *ret_probe = (es_probe_reply){.has_model = true, .fill_bytes = want_bytes};
    strcpy(ret_probe->name, service->options.name);
    snprintf(ret_probe->version, sizeof ret_probe->version, "%s", ESSAIM_VERSION);
    snprintf(ret_probe->kernels, sizeof ret_probe->kernels, "%s", service->work.kernels->name);
    memcpy(ret_probe->fingerprint, service->work.fingerprint, ES_FINGERPRINT_BYTES);
    ret_probe->machine = (es_probe_machine){.memory_bytes = state.memory_bytes,
                                            .cores = (uint32_t)es_pool_threads(service->work.pool),
                                            .read_bytes_per_s = (double)service->work.read_bytes_per_s};
    ret_probe->clock_ns = es_clock_wall_ns();
}

static es_status answer(es_service *service, const es_control_request *request, const char *address,
                        es_control_reply *reply, es_err *err)
{
    es_status status = ES_OK;
    reply->kind = request->kind;
    if (request->kind == ES_CONTROL_HELLO) return greet(service, request, reply, err);
    if (request->kind == ES_CONTROL_STATS) {
        reply->stats = service->stats;
        reply->stats.refused = es_channel_refused(service->control) + es_channel_refused(service->data);
        if (service->work.count != NULL) service->work.count(service->work.members_context, &reply->stats);
        reply->stats.uptime_ns = es_clock_now_ns() - service->started_ns;
        return ES_OK;
    }
    if (request->kind == ES_CONTROL_PROBE) {
        tell_probe(service, request->probe.want_bytes, &reply->probe);
        return ES_OK;
    }
    if (request->kind != ES_CONTROL_STATE) status = change(service, request, address, err);
    reply->kind = ES_CONTROL_STATE;
    tell_state(service, &reply->state);
    return status;
}

/* Who asks in vain may ask for ever. */
static void tell_refusal(es_service *service, const es_control_request *request, const char *address,
                         const es_err *err)
{
    uint64_t left_out = 0;
    if (!es_log_limit_take(&service->refusals, es_clock_now_ns(), REFUSALS_A_SECOND, &left_out)) return;
    char coordinator[24];
    snprintf(coordinator, sizeof coordinator, "%016" PRIx64, request->coordinator);
    const es_log_field fields[] = {es_log_text("address", address), es_log_text("coordinator", coordinator),
                                   es_log_count("left_out", left_out)};
    es_log_with(ES_LOG_INFO, fields, "refused a coordinator: %s", err->text);
}

void es_service_answer_control(es_service *service, es_message *message)
{
    es_err err = {.status = ES_OK};
    es_control_request request;
    if (message->count != 2) { /* who asks, and what */
        service->stats.malformed++;
        return;
    }
    const char *peer = zmq_msg_gets(&message->frame[1], "Peer-Address"), *address = peer != NULL ? peer : "?";
    es_control_reply reply = {.text = ""};
    reply.status = es_control_request_unpack(service->control_memory, es_message_data(message, 1),
                                             es_message_bytes(message, 1), &request, &err);
    if (reply.status == ES_CORRUPT) {
        service->stats.malformed++;
        return;
    }
    reply.request = request.request;
    if (reply.status == ES_OK) reply.status = answer(service, &request, address, &reply, &err);
    if (reply.status != ES_OK) {
        reply.text = err.text;
        service->stats.errors[reply.status]++;
        tell_refusal(service, &request, address, &err);
    }
    size_t bytes;
    es_message out = {.count = 0};
    es_status status =
        es_control_reply_pack(service->control_memory, &reply, service->control_frame, &bytes, &err);
    if (status != ES_OK || !es_message_add(&out, es_message_data(message, 0), es_message_bytes(message, 0)) ||
        !es_message_add(&out, service->control_frame, bytes)) {
        es_message_close(&out);
        service->stats.unsent++;
        return;
    }
    es_service_send(service, service->control, &out);
}
