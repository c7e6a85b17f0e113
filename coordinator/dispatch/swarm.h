/* Routed experts computed by a swarm of expert nodes. */
#ifndef ES_DISPATCH_SWARM_H
#define ES_DISPATCH_SWARM_H

#include "essaim/expert_backend.h"
#include "essaim/model.h"
#include "net/control.h"
#include "net/endpoint.h"
#include "net/keys.h"

enum { ES_SWARM_NODES_MAX = 1024, ES_SWARM_DEADLINE_MS = 30000, ES_SWARM_HELLO_DEADLINE_MS = 5000 };

/* Everything is borrowed for the call only, but keys and shape for the swarm's life. */
typedef struct es_swarm_options {
    const char *const
        *nodes; /* [node_count] control endpoints: "host:port", or "host:port,KEY" with a node's public key */
    size_t node_count; /* 1 to ES_SWARM_NODES_MAX */
    const char *name;  /* ours, for the nodes' logs: es_name_valid */
    const es_shape *shape;
    const uint8_t *fingerprint; /* [ES_FINGERPRINT_BYTES] */
    es_row_format row_format;
    size_t rows_max;            /* in one step, 1 to ES_STEP_ROWS_MAX */
    const es_keys *keys;        /* NULL: loopback only */
    uint32_t deadline_ms;       /* for one layer's replies; 0: ES_SWARM_DEADLINE_MS */
    uint32_t hello_deadline_ms; /* for all nodes to answer hello; 0: ES_SWARM_HELLO_DEADLINE_MS */
} es_swarm_options;

/* Owned by the thread that created it, which is the thread that runs the steps. */
typedef struct es_swarm es_swarm;

/* Connects to the nodes, greets them and checks that together they hold every routed expert. ES_MISMATCH
 * shows both fingerprints; ES_NOT_FOUND names the first expert that nobody holds; ES_TIMEOUT and
 * ES_UNAVAILABLE name the node that did not answer. */
es_status es_swarm_create(const es_swarm_options *options, es_swarm **ret_swarm, es_err *err);
void es_swarm_destroy(es_swarm **swarm);

/* The swarm as the forward pass sees it: the same object, borrowed; destroying either destroys both. A step
 * that fails because a node is gone names layer and node; that node is given up for good. */
es_expert_backend *es_swarm_backend(es_swarm *swarm);

typedef enum es_swarm_node_state {
    ES_SWARM_NODE_UP,
    ES_SWARM_NODE_PROBING, /* reached again: greeted and tried out before it gets work */
    ES_SWARM_NODE_LOST     /* not reached; tried again now and then */
} es_swarm_node_state;

/* Upper bounds of the latency buckets in seconds, ascending; one more bucket has none. */
enum { ES_SWARM_LATENCY_BOUNDS = 16 };
extern const double ES_SWARM_LATENCY_BOUND[ES_SWARM_LATENCY_BOUNDS];

/* A node for people to see. A value. */
typedef struct es_swarm_node_info {
    char name[ES_NAME_MAX + 1];          /* "" before it said hello */
    char endpoint[ES_ENDPOINT_TEXT_MAX]; /* control, "tcp://127.0.0.1:5703" */
    size_t experts;                      /* of all layers */
    size_t threads;
    es_swarm_node_state state;
    /* Counters: requests that it answered for us, what they took there, and payload and header bytes, in:
     * from it, out: to it. */
    uint64_t calls, compute_ns, bytes_in, bytes_out;
    /* Round trips of these calls; bucket[i]: at most bound[i] and above the one before, not cumulated. */
    uint64_t latency_bucket[ES_SWARM_LATENCY_BOUNDS + 1];
    double latency_seconds; /* their sum */
} es_swarm_node_info;

size_t es_swarm_node_count(const es_swarm *swarm);
es_swarm_node_info es_swarm_node(const es_swarm *swarm, size_t node);

#endif
