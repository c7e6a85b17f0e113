/* The service's own struct, for the files of this room. */
#ifndef ES_SERVICE_INTERNAL_H
#define ES_SERVICE_INTERNAL_H

#include "base/log.h"
#include "net/control.h"
#include "net/flood.h"
#include "service/batch.h"
#include "service/guests.h"
#include "service/service.h"
#include "service/standing.h"
#include "service/turns.h"

struct es_service {
    es_service_options options;
    es_service_work work;
    es_net *net;
    es_channel *control, *data;
    es_flood_guard *control_guard, *data_guard;
    uint64_t checked_ns; /* when the guards looked last */
    es_endpoint control_endpoint, data_endpoint;
    uint64_t started_ns;
    bool ready, draining;
    es_guests guests;
    es_turns turns;
    es_node_stats stats;
    es_log_limit told;     /* lines about data messages */
    es_log_limit refusals; /* lines about control messages */
    es_standing standing;

    /* Control messages. */
    es_control_memory *control_memory;
    uint8_t *control_frame; /* [ES_CONTROL_FRAME_MAX] */

    /* Computing. */
    es_expert_engine *engines[ES_ROWS_COUNT]; /* NULL: not asked for yet */
    es_wire_memory *wire_memory;
    uint8_t *header; /* [ES_WIRE_HEADER_MAX] */
    uint8_t *rows;   /* [ES_STEP_ROWS_MAX] rows of the wider format, where a frame is not aligned */
    es_batch batch;
    int64_t *sum; /* [ES_STEP_ROWS_MAX][hidden] */
};

/* Answers one control message, or drops it. message is the caller's. */
void es_service_answer_control(es_service *service, es_message *message);

/* Computes and answers one data message, or drops it. message is the caller's. */
void es_service_answer_data(es_service *service, es_message *message);

/* The engine for rows of this format, made when it is first asked for. ES_MISMATCH when this node does not
 * compute them. */
es_status es_service_engine(es_service *service, es_row_format format, es_expert_engine **ret_engine,
                            es_err *err);

/* Sends reply, whose first frame names the asker; counts it when it cannot be delivered. */
void es_service_send(es_service *service, es_channel *channel, es_message *reply);

#endif
