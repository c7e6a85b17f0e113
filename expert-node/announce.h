/* An expert node's own record in etcd, under its own lease. */
#ifndef ES_EXPERT_NODE_ANNOUNCE_H
#define ES_EXPERT_NODE_ANNOUNCE_H

#include "cluster/registry_options.h"

/* What an operator says of it. */
typedef struct es_announce_options {
    es_registry_options registry; /* etcd; none: nothing is announced */
    const char *advertise;        /* where others reach the control socket; NULL: where it listens */
    const char *rack;             /* NULL: one of its own */
} es_announce_options;

enum { ES_ANNOUNCE_OPTION_COUNT = 2 };
extern const es_option ES_ANNOUNCE_OPTIONS[ES_ANNOUNCE_OPTION_COUNT];

/* listen is what the node listens on. */
es_status es_announce_check(const es_announce_options *options, const char *listen, es_err *err);

/* Owned by the thread that opened it. NULL: nothing is announced, and the functions below do nothing. */
typedef struct es_announce es_announce;

/* Connects to etcd in the background: one that does not answer keeps nobody from starting. */
es_status es_announce_open(const es_announce_options *options, es_announce **ret_announce, es_err *err);

/* Announces this record, whose control endpoint is where the node listens; again when the lease was lost. */
es_status es_announce_put(es_announce *announce, const es_node_record *record, es_err *err);

/* The node drains, or not: its record says so. Cheap when nothing changed. */
void es_announce_drains(es_announce *announce, bool drains);

/* Withdraws the record. */
void es_announce_close(es_announce **announce);

#endif
