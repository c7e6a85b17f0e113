/* The room's own structs. Everything is the control thread's but what is under the board's lock. */
#ifndef ES_MEMBERS_INTERNAL_H
#define ES_MEMBERS_INTERNAL_H

#include "base/arena.h"
#include "base/queue.h"
#include "cluster/placement_model.h"
#include "members/members.h"
#include "members/policy.h"
#include "members/reconcile.h"
#include "net/channel.h"
#include "net/control.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ES_DRAINS_MAX = 64 };

/* A control socket to one node: one request at a time. */
typedef struct es_member_link {
    es_endpoint at;
    char key[ES_KEY_TEXT_BYTES]; /* "": none */
    es_channel *channel;         /* NULL: closed */
    bool greeted, waits;
    es_control_kind asked;
    uint64_t request;  /* its number */
    uint64_t until_ns; /* for the answer, or for the connection */
    uint64_t again_ns; /* when to connect again, or to look after it */
    uint64_t stats_ns; /* when to ask for its statistics again */
    unsigned failures; /* in a row */
} es_member_link;

typedef struct es_member {
    es_node_record record;
    bool known;      /* there is a record, in the view or lapsed; else only the placement names it */
    bool registered; /* its lease holds */
    bool seen;       /* while the table is compared with a view */
    bool revoked;    /* its key */
    bool refused;    /* another model or other keys: why says which */
    es_member_link link;
    uint64_t gone_ns;    /* since when it does not answer; 0: it does */
    uint64_t parting_ns; /* until then it is told that it is no member any more; 0: it is, or was told */
    uint64_t renewed_ns; /* its lease */
    bool record_changed; /* and is to be written */

    es_node_state state; /* as told last */
    es_node_stats stats; /* likewise */
    bool asked;          /* a change was sent that is not settled */
    bool wants_hello;    /* to learn what it holds */
    uint64_t pause_ns;   /* no change is asked for before */
    bool has_held;
    es_chunk_set held, wanted; /* bits NULL: not made yet */
    bool is_wanted;            /* the placement names it */
    uint32_t shard_port;       /* where it gives experts; 0: nowhere */
    uint64_t peers_number;     /* of the list of peers that it was told last */
    uint64_t list;             /* the swarm's list that shows what it holds */
    bool ordered, drained;     /* it was asked here to drain; it said that it does */
    es_reconcile_step step;
    char why[ES_MEMBER_WHY_MAX];
    char drain_why[ES_MEMBER_WHY_MAX]; /* it cannot be drained; "": nothing is in the way, or nobody asked */
} es_member;

struct es_membership {
    es_membership_options options;
    pthread_t thread;
    bool running;
    atomic_bool stopping;
    int wake_fd;
    es_queue *drains; /* names [ES_NAME_MAX + 1] */
    es_net *net;
    es_control_memory *memory;
    uint8_t *frame;        /* [ES_CONTROL_FRAME_MAX] */
    es_units *units;       /* [ES_UNITS_MAX] */
    uint64_t id, requests; /* our random number as a coordinator; requests sent so far */
    zmq_pollitem_t *polling;

    es_registry_view *view;
    es_member *members[ES_REGISTRY_NODES_MAX + ES_DOCUMENT_NODES_MAX]; /* ascending by name */
    size_t count;
    es_reconcile_node *nodes; /* scratch, likewise many */
    es_chunk_set uncovered, change;

    es_document *document;      /* wanted; NULL: none */
    es_epoch newest;            /* of all that were followed here; {0, 0}: none was */
    es_epoch in_force, refused; /* refused: a placement that is not of this model, or cannot be read */
    uint64_t document_again_ns;
    es_peer *peers;        /* [ES_PEERS_MAX], scratch */
    uint8_t *sums;         /* [ES_SUMS_MAX][ES_CONTENT_SUM_BYTES], scratch */
    uint8_t *formats;      /* [ES_SUMS_MAX][ES_EXPERT_PARTS], likewise */
    uint64_t peers_number; /* counts lists of who is there: each member is told the latest */
    bool list_dirty;       /* the swarm is to be told */
    uint64_t listed_ns, list_epoch;

    /* Planning. */
    es_arena *arena; /* of model */
    es_placement_model model;
    uint64_t reason_ns; /* since when there is the same reason */
    uint64_t reason_hash, tried_hash, tried_ns, hot_ns;
    char plan_why[ES_MEMBER_WHY_MAX];

    es_membership_info counts; /* its counters only */

    pthread_mutex_t lock; /* around what follows */
    es_membership_info board;
    es_member_info *infos; /* [board.member_count] */
    float *heat;           /* [layers][experts] */
    bool has_heat;
};

/* link.c */

/* Whatever there is to do for a member's link without waiting: it connects, says hello, asks how far it is,
 * takes in answers. */
void es_member_tend(es_membership *m, es_member *member, uint64_t now_ns);
void es_member_close(es_member *member);

/* It is no member any more. One that answers is told so before its link is closed; see to it. */
void es_member_part(es_member *member, uint64_t now_ns);

/* Texts that come from nodes and files, for pages and terminals: cut, what is not printable as '?'. */
void es_why_set(char ret_why[ES_MEMBER_WHY_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* True when the member may be asked for a change now. */
bool es_member_is_free(const es_member *member, uint64_t now_ns);

/* Asks for a change of units, or to drain. */
void es_member_ask(es_membership *m, es_member *member, es_control_kind kind, const es_units_change *change,
                   uint64_t now_ns);

/* table.c */

/* Takes in the registry's latest view. */
void es_membership_take_view(es_membership *m, uint64_t now_ns);

/* Takes in the valid placement when it is another than the one we know. */
void es_membership_take_placement(es_membership *m, uint64_t now_ns);
es_member *es_membership_find(const es_membership *m, const char *name);

/* Everybody who may be there, for the nodes; returns how many of ret_peers [ES_PEERS_MAX]. */
size_t es_membership_list_peers(const es_membership *m, es_peer *ret_peers);

/* Tells the swarm who there is, when that changed. */
void es_membership_tell_swarm(es_membership *m, uint64_t now_ns);
void es_membership_clear(es_membership *m);

/* orders.c: asks the nodes for their next steps. */
void es_membership_give_orders(es_membership *m, uint64_t now_ns);

/* planning.c: plans when there is a reason to. */
void es_membership_plan(es_membership *m, uint64_t now_ns);

#endif
