/* The swarm's own structs, for the files of this room. */
#ifndef ES_DISPATCH_INTERNAL_H
#define ES_DISPATCH_INTERNAL_H

#include "base/log.h"
#include "dispatch/history.h"
#include "dispatch/plan.h"
#include "dispatch/swarm.h"
#include "net/channel.h"
#include "net/control.h"
#include "net/wire.h"
#include "trace/trace.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    ES_TICKETS_MAX = 4, /* requests that one node may owe us: the credit it has */
    ES_PARTS_MAX = 8192,
    ES_PART_NONE = ES_PARTS_MAX,
    ES_PROBE_ATTEMPT = 0x7fffffff, /* of a request that only tries a node out */
};

/* A request that its node has not answered. A reply without a ticket is late, repeated or nobody's: dropped.
 */
typedef struct es_ticket {
    uint64_t call; /* 0: free */
    uint32_t attempt, layer;
    double cost;
    size_t bytes; /* there and, as expected, back */
    uint64_t sent_ns, deadline_ns, eject_ns;
    bool late; /* the deadline passed */
} es_ticket;

typedef enum es_node_stage {
    ES_NODE_LOST,    /* no data channel; hello says whether it is there again */
    ES_NODE_OPENING, /* the data channel connects */
    ES_NODE_TRIED,   /* probes have to be answered first */
    ES_NODE_UP
} es_node_stage;

/* One expert node. */
typedef struct es_node {
    char name[ES_NAME_MAX + 1];       /* "" before it said hello */
    char where[ES_ENDPOINT_TEXT_MAX]; /* the control endpoint, for people */
    es_endpoint control_at;
    char key[ES_KEY_TEXT_BYTES]; /* its public key; "": none */
    es_node_stage stage;
    es_err why;        /* it was lost, or could not be reached as yet */
    uint64_t lost_ns;  /* since when it is not up */
    uint64_t stage_ns; /* until when this stage may last */
    bool was_up;       /* ever: then it is tried out before it gets work again */
    bool kept;         /* while a new list of nodes is taken over */
    bool leaves;       /* no new list names it: nothing was lost */

    /* Hello: at any stage, beside the data channel. */
    bool wants_hello;
    bool stale;          /* what we know of it is wrong: no work before hello */
    bool hello_sent;     /* on control */
    es_channel *control; /* NULL: no hello under way */
    uint64_t hello_until_ns, hello_again_ns;
    uint64_t epoch;
    bool draining;   /* wants to end: work only when nobody else holds it */
    es_units *units; /* [unit_count] */
    size_t unit_count;
    size_t experts, threads;

    /* Work. */
    es_endpoint data_at;
    es_channel *channel; /* data; NULL when lost */
    es_ticket tickets[ES_TICKETS_MAX];
    size_t owed;            /* tickets that are not free */
    size_t doubts;          /* of them late */
    unsigned errors;        /* in a row */
    unsigned probes;        /* answered since it was lost */
    uint64_t probed_ns;     /* when it was tried last for want of work */
    uint16_t traced;        /* its number in the trace */
    uint64_t requests_told; /* the version of the swarm's requests that it knows */
    es_history history;
    es_swarm_node_info counted; /* its counters only */
} es_node;

typedef enum es_part_state {
    ES_PART_OPEN,  /* to be given out */
    ES_PART_ASKED, /* its node may still answer */
    ES_PART_KEPT,  /* its reply is here; it waits for those beside it, or for the one they stand in for */
    ES_PART_DEAD,  /* nobody will answer it: its children stand in for it */
    ES_PART_ADDED  /* it, or what stands in for it, is in the sums; or not needed any more */
} es_part_state;

/* Work given to one node, and the tree of what stands in for it: children together are the very pairs of
 * their parent. Of a parent that may still be answered and its children only one side is ever added. */
typedef struct es_part {
    es_work work;
    size_t grown; /* pairs that work has more than when it was made: it was cut anew */
    es_part_state state;
    uint32_t parent, first_child, child_count, depth;
    es_node *node;     /* that was asked; NULL: none, or gone */
    uint64_t hedge_ns; /* when a copy is asked too; UINT64_MAX: not, or it was */
    uint64_t open_ns;  /* since when it waits to be given out */
    unsigned seen;     /* the swarm's changes when it was tried last */
    es_message reply;  /* kept */
    size_t width;
} es_part;

/* A list of nodes that another thread left for the thread that runs the steps. */
typedef struct es_mailbox {
    pthread_mutex_t lock;
    es_node **nodes; /* NULL: nothing there */
    size_t count;
    uint64_t epoch, number;
    es_err missing; /* the other way: which expert nobody holds; status ES_OK: none */
    atomic_bool full;
} es_mailbox;

/* The question for statistics that is under way. */
typedef struct es_watch {
    es_channel *channel; /* NULL: none */
    size_t node;         /* who is asked, or was last */
    bool asked;
    uint64_t until_ns, again_ns; /* for the answer; when the next may be asked; 0: not begun */
} es_watch;

struct es_swarm {
    es_expert_backend backend; /* first: the two are converted into each other */
    es_swarm_options options;  /* texts in it are not to be used after creation */
    uint64_t coordinator;      /* our random id */
    es_net *net;
    es_node *nodes[ES_SWARM_NODES_MAX];
    size_t node_count;
    uint64_t epoch; /* of the placement, as far as we know */
    es_mailbox mailbox;
    uint64_t taken;                   /* the list's number */
    _Atomic uint64_t lists, followed; /* left so far; taken over and greeted */
    uint64_t asked_ns;                /* when all were asked what they hold, for work that nobody takes */
    atomic_bool interrupted;
    es_holders *holders;
    es_plan *plan;
    es_seat *seats; /* [ES_SWARM_NODES_MAX] */
    es_work *works; /* [ES_SWARM_NODES_MAX + 1] */
    es_wire_memory *memory;
    es_control_memory *control_memory;
    uint8_t *frame;          /* [ES_CONTROL_FRAME_MAX], for headers and hello */
    uint8_t *probe_row;      /* one row that is no token's */
    size_t row_bytes;        /* of the rows we send */
    zmq_pollitem_t *polling; /* [4 * ES_SWARM_NODES_MAX] */
    es_watch watch;
    uint64_t tended_ns;
    uint64_t probe;                          /* counts probes: the step that travels with them */
    uint64_t step;                           /* of who owns us, for logs */
    char requests[ES_WIRE_REQUESTS_MAX + 1]; /* whose rows are computed */
    uint64_t requests_version;               /* counts changes of it */
    es_log_limit told;                       /* lines about nodes */
    unsigned changes;                        /* counts what may let a part be given out that could not be */
    unsigned retimed;                        /* the changes when deadlines were looked at last */
    double hedges;                           /* that may be sent: a few for a hundred requests */

    /* The call under way. */
    uint64_t call; /* counts start(): the step that travels */
    size_t layer;
    const es_expert_batch *batch; /* NULL: none */
    int64_t *sum;                 /* NULL: replies are not taken in yet */
    es_part *parts;               /* [ES_PARTS_MAX]; the first is the whole batch */
    size_t part_count;
    size_t left;           /* pairs that are in no sum yet */
    size_t open;           /* parts to be given out */
    uint64_t due_ns;       /* when a deadline or a hedge is due */
    es_err failed;         /* status ES_OK: not */
    es_err last;           /* what went wrong with a node last */
    uint32_t *local_first; /* [rows_max + 1]: of a batch that is computed here */
};

/* node.c: a node's connections and what it owes. */

/* "host:port" or "host:port,KEY"; looks names up. */
es_status es_node_create(const char *text, es_node **ret_node, es_err *err);
void es_node_destroy(es_node **node);

/* A request to this node was sent: ES_ASSERT that it has credit. */
es_ticket *es_node_owe(es_node *node, uint64_t call, uint32_t attempt, uint32_t layer);

/* The ticket that a reply answers, or NULL. */
es_ticket *es_node_find(es_node *node, const es_wire_ids *ids);
void es_node_settle(es_node *node, es_ticket *ticket);

/* Another try to reach a node that is not up failed: remembered unless it was up before: why it was lost says
 * more. */
void es_node_note(es_swarm *swarm, es_node *node, const es_err *why);

/* No work for it before it was greeted and tried out again: closes its data channel, which is the only sure
 * way to discard what is queued. Parts that it owes are to be failed before. */
void es_node_drop(es_swarm *swarm, es_node *node, const es_err *why, uint64_t now_ns);

/* Whatever there is to do for its connections without waiting. The error is about the first greeting, or a
 * model or keys that do not fit; later it is tried again by itself. */
es_status es_node_tend(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err);

/* Sends a probe. */
void es_node_probe(es_swarm *swarm, es_node *node, uint64_t now_ns);

/* greet.c */

/* Begins a hello, or takes the one under way further. */
es_status es_node_greet(es_swarm *swarm, es_node *node, uint64_t now_ns, es_err *err);

/* Makes the table of holders anew, from what all nodes said last. */
es_status es_swarm_refill(es_swarm *swarm, es_err *err);

/* The frames that data channels carry at most. */
es_channel_limits es_swarm_data_limits(const es_swarm *swarm);

/* watch.c */

/* Takes the question for a node's statistics further, or begins the next. */
void es_watch_tend(es_swarm *swarm, uint64_t now_ns);

/* Forgets the one under way: nodes come or go. */
void es_watch_stop(es_swarm *swarm);

/* parts.c: the tree of a call's work. */

/* A new part, or NULL: there are too many. */
es_part *es_part_add(es_swarm *swarm, uint32_t parent, const es_work *work);
uint32_t es_part_index(const es_swarm *swarm, const es_part *part);

/* Its experts are held in other slices now: work is the same in more pairs. */
void es_part_recut(es_swarm *swarm, es_part *part, const es_work *work);

/* A reply came, checked: takes message and adds it to the sums as soon as nothing else may be added in its
 * place. */
void es_part_answer(es_swarm *swarm, es_part *part, es_message *message, size_t width);

/* Its node will not answer it. It is open again unless children stand in for it. */
void es_part_fail(es_swarm *swarm, es_part *part, uint64_t now_ns);

/* Computed here: in the sums already. Its parent is dead. */
void es_part_added(es_swarm *swarm, es_part *part);

/* node is about to go: parts that it had answer or failed do not name it any more. */
void es_parts_forget_node(es_swarm *swarm, const es_node *node);

/* Forgets the call; replies that are still to come have tickets of another call by then. */
void es_parts_forget(es_swarm *swarm);

/* send.c: work on its way. */

/* Gives out part, which is open, or asked of a node that is slow. False: nobody can take all of it now (and
 * an open part's rest stays open). */
bool es_part_give_out(es_swarm *swarm, es_part *part, uint64_t now_ns);

/* A part that was asked when nobody else held its work: if somebody does now, its node has as much time from
 * now as it would have had then. */
void es_part_retime(es_swarm *swarm, es_part *part, es_ticket *ticket, uint64_t now_ns);

/* Sends request and rows to node; ES_UNAVAILABLE or ES_TIMEOUT: it takes none. */
es_status es_send_request(es_swarm *swarm, es_node *node, const es_wire_request *request, const es_rows *rows,
                          const uint32_t *row, size_t *ret_bytes, es_err *err);

/* swarm.c */

/* An event about node, with what is under way; so many a second. */
void es_swarm_log(es_swarm *swarm, const es_node *node, es_log_level level, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* exchange.c */

es_status es_exchange_start(es_expert_backend *backend, size_t layer, const es_expert_batch *batch,
                            es_err *err);
es_status es_exchange_finish(es_expert_backend *backend, int64_t *sum, es_err *err);

/* Takes over the list of nodes that lies in the mailbox, if one does. */
void es_swarm_take_nodes(es_swarm *swarm);

/* Loses node with all that it owes. */
void es_exchange_lose(es_swarm *swarm, es_node *node, const es_err *why, uint64_t now_ns);

/* Takes in what nodes sent. True: there was something. */
bool es_exchange_receive(es_swarm *swarm);

/* Deadlines and hedges that are due, nodes to be greeted, links that were lost. */
void es_exchange_tend(es_swarm *swarm, uint64_t now_ns);

#endif
