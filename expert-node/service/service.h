/* An expert node's sockets: a control ROUTER, a data ROUTER, and the one thread that serves both. */
#ifndef ES_SERVICE_SERVICE_H
#define ES_SERVICE_SERVICE_H

#include "essaim/experts.h"
#include "essaim/placement.h"
#include "net/channel.h"
#include "units/loader.h"

struct es_pool;

typedef struct es_service_options {
    const char *name;       /* es_name_valid; borrowed for the service's life */
    const es_shape *shape;  /* borrowed likewise */
    es_endpoint listen;     /* control; port 0: any free one */
    uint16_t data_port;     /* on the same host; 0: any free one */
    const es_keys *keys;    /* NULL: loopback only */
    es_allow_list *allowed; /* who may connect; needed with keys */
} es_service_options;

/* What the node computes with; everything is borrowed while it runs. */
typedef struct es_service_work {
    es_loader *loader;          /* the service's from here on: it alone calls it; it outlives the service */
    const uint8_t *fingerprint; /* [ES_FINGERPRINT_BYTES] */
    const es_kernels *kernels;
    struct es_pool *pool;
    bool row_formats[ES_ROWS_COUNT]; /* which it computes */
    uint64_t read_bytes_per_s;       /* what hello tells of this machine */
    size_t numa_nodes;
    uint16_t shard_port; /* where this node gives its experts; 0: nowhere */

    es_progress_fn *progress; /* told while the node is not ready; may be NULL */
    void *progress_context;

    /* Told of the others whenever a coordinator names them; borrowed for the call. May be NULL. */
    es_status (*members)(void *context, const es_members *members, es_err *err);
    /* Adds what other sockets of the node refused. May be NULL. */
    void (*count)(void *context, es_node_stats *stats);
    void *members_context; /* of both */

    /* Called once, by es_service_run, when all that was asked of the loader before it is held. */
    es_status (*ready)(void *context, es_err *err);
    void *ready_context;

    /* Called by es_service_run each time it has gone round, and after each request: at least every quarter of
     * a second while none takes longer. A thread that is stuck stops it. May be NULL. */
    void (*round)(void *context, uint64_t now_ns);
    void *round_context;
} es_service_work;

/* Owned by the thread that opened it. */
typedef struct es_service es_service;

/* Binds both sockets: ES_IO names the endpoint in use. Nobody is answered before es_service_run. */
es_status es_service_open(const es_service_options *options, es_service **ret_service, es_err *err);
void es_service_close(es_service **service);

/* It was told to drain. */
bool es_service_drains(const es_service *service);

es_endpoint es_service_control_endpoint(const es_service *service);
es_endpoint es_service_data_endpoint(const es_service *service);

/* Makes ready: buffers; engines come when a coordinator asks for their row format. After it the node answers
 * as soon as es_service_run is called. */
es_status es_service_prepare(es_service *service, const es_service_work *work, es_err *err);

/* Serves until es_signals_stop_asked; the batch under way is finished and answered. Until the node is ready
 * it answers who asks for its state, and nobody else. ES_IO when a socket fails; when the node cannot become
 * ready, why. */
es_status es_service_run(es_service *service, es_err *err);

#endif
