/* Routed experts computed by a swarm of expert nodes. */
#ifndef ES_DISPATCH_SWARM_H
#define ES_DISPATCH_SWARM_H

#include "essaim/expert_backend.h"
#include "essaim/model.h"
#include "net/control.h"
#include "net/endpoint.h"
#include "net/keys.h"

enum {
    ES_SWARM_NODES_MAX = 1024,
    ES_SWARM_DEADLINE_MS = 30000,
    ES_SWARM_HELLO_DEADLINE_MS = 5000,
    ES_SWARM_WAIT_MS = 30000
};

/* Everything is borrowed for the call only, but keys and shape for the swarm's life. */
typedef struct es_swarm_options {
    const char *const
        *nodes; /* [node_count] control endpoints: "host:port", or "host:port,KEY" with a node's public key */
    size_t node_count; /* up to ES_SWARM_NODES_MAX; 0: they come later, by es_swarm_set_nodes */
    const char *name;  /* ours, for the nodes' logs: es_name_valid */
    const es_shape *shape;
    const uint8_t *fingerprint; /* [ES_FINGERPRINT_BYTES] */
    es_row_format row_format;
    size_t rows_max;      /* in one step, 1 to ES_STEP_ROWS_MAX */
    const es_keys *keys;  /* NULL: loopback only */
    uint32_t deadline_ms; /* the longest that a node may take for a request; what it is given is learnt from
                             what it took before, when others hold copies. 0: ES_SWARM_DEADLINE_MS */
    uint32_t hello_deadline_ms; /* for all nodes to answer hello; 0: ES_SWARM_HELLO_DEADLINE_MS */
    uint32_t wait_ms;           /* for a node to come back, from when an expert was last held by somebody; 0:
                                   ES_SWARM_WAIT_MS */
    struct es_trace *trace;     /* where calls' times go, borrowed for the swarm's life; NULL: nowhere */
    bool watch;                 /* ask nodes now and then what they count of themselves */
    es_expert_backend *local;   /* computes experts that nobody holds any more; borrowed for the swarm's life.
                                   NULL:   they are waited for */
} es_swarm_options;

/* Owned by the thread that created it, which is the thread that runs the steps. */
typedef struct es_swarm es_swarm;

/* Connects to the nodes, greets them and checks that together they hold every routed expert, unless there are
 * none yet. ES_MISMATCH
 * shows both fingerprints; ES_NOT_FOUND names the first expert that nobody holds; ES_TIMEOUT and
 * ES_UNAVAILABLE name the node that did not answer, unless the others hold everything: then it is waited for
 * beside the work. */
es_status es_swarm_create(const es_swarm_options *options, es_swarm **ret_swarm, es_err *err);
void es_swarm_destroy(es_swarm **swarm);

/* The swarm as the forward pass sees it: the same object, borrowed; destroying either destroys both. Work of
 * a node that is lost, late or wrong goes to another that holds its experts, or to the local backend, or
 * waits wait_ms for the node to come back; then the step fails and names layer, expert and node. */
es_expert_backend *es_swarm_backend(es_swarm *swarm);

/* Leaves a new list of nodes, as in es_swarm_options, with the epoch of its placement (0: none), from any
 * thread; it is taken over between two calls, or while one waits for a node. Nodes that stay keep their
 * connections; all are greeted again beside the work, for what they hold now. ES_INVALID and ES_NOT_FOUND
 * quote the node that is none. */
es_status es_swarm_set_nodes(es_swarm *swarm, const char *const *nodes, size_t count, uint64_t epoch,
                             es_err *err);

/* How many lists were left, and up to which of them the swarm has followed: it was taken over, and every node
 * that is up has been greeted since. Any thread; lists by the one that leaves them. */
uint64_t es_swarm_lists(const es_swarm *swarm);
uint64_t es_swarm_followed(const es_swarm *swarm);

/* ES_OK when nodes that were greeted hold every routed expert; ES_NOT_FOUND names the first that nobody
 * holds. Any thread. */
es_status es_swarm_missing(es_swarm *swarm, es_err *err);

/* What there is to do for connections between calls, without waiting; by the thread that owns the swarm.
 * Returns in how many milliseconds it wants to be called again at the latest. */
uint32_t es_swarm_tend(es_swarm *swarm);

/* Which step the calls from here on belong to and whose rows they compute, for logs: ours, and those of the
 * nodes, which are told when it changes. requests: what es_wire_requests_valid takes, or NULL: as before. By
 * the thread that owns the swarm. */
void es_swarm_name_step(es_swarm *swarm, uint64_t step, const char *requests);

/* From any thread: a call that waits ends with ES_CANCELLED, and so do those to come. */
void es_swarm_interrupt(es_swarm *swarm);

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
    /* Counters: its requests that a copy was asked for too because it was slow; that others had to take over;
     * its replies that came late or twice; those that were errors, of them with a checksum that did not hold;
     * and how often it was given up. */
    uint64_t hedged, retried, late, errors, corrupt, lost;
    /* With es_swarm_options.watch, once watched: what it says of all who come to any of its sockets:
     * handshakes and messages that it refused; messages that were none. */
    bool watched;
    uint64_t refused, malformed;
    size_t owed; /* gauge: requests that it has not answered */
} es_swarm_node_info;

size_t es_swarm_node_count(const es_swarm *swarm);
es_swarm_node_info es_swarm_node(const es_swarm *swarm, size_t node);

#endif
