/* The swarm's own struct, for the files of this room. */
#ifndef ES_DISPATCH_INTERNAL_H
#define ES_DISPATCH_INTERNAL_H

#include "dispatch/plan.h"
#include "dispatch/swarm.h"
#include "net/channel.h"
#include "net/control.h"

/* One expert node. */
typedef struct es_node {
    char name[ES_NAME_MAX + 1];       /* "" before it said hello */
    char where[ES_ENDPOINT_TEXT_MAX]; /* the control endpoint, for people */
    es_endpoint control;
    char key[ES_KEY_TEXT_BYTES]; /* its public key; "": none */
    es_endpoint data;
    es_channel *channel; /* data; NULL: given up, or not there yet */
    size_t experts, threads;
    es_swarm_node_info counted; /* its counters only */
    uint64_t sent_ns;
    bool asked; /* a reply to the call under way is expected */
} es_node;

struct es_swarm {
    es_expert_backend backend; /* first: the two are converted into each other */
    es_swarm_options options;  /* texts in it are not to be used after creation */
    uint64_t coordinator;      /* our random id */
    es_net *net;
    es_node *nodes; /* [options.node_count] */
    es_plan *plan;
    es_wire_memory *memory;
    uint8_t *header;         /* [ES_WIRE_HEADER_MAX] */
    zmq_pollitem_t *polling; /* [2 * node_count] */

    /* The call under way. */
    uint64_t call; /* counts start(): the step that travels */
    size_t layer;
    const es_expert_batch *batch;
    size_t waiting; /* nodes asked */
    uint64_t deadline_ns;
};

/* Greets every node, fills what nodes and plan know of them, and opens their data channels, before
 * deadline_ns. */
es_status es_swarm_greet(es_swarm *swarm, uint64_t deadline_ns, es_err *err);

es_status es_exchange_start(es_expert_backend *backend, size_t layer, const es_expert_batch *batch,
                            es_err *err);
es_status es_exchange_finish(es_expert_backend *backend, int64_t *sum, es_err *err);

/* The frames that data channels carry at most. */
es_channel_limits es_swarm_data_limits(const es_swarm *swarm);

#endif
