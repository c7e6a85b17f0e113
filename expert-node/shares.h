/* What the node shares with others of its swarm: it gives the experts on its disks, fetches those that it
 * lacks, and keeps who was revoked. */
#ifndef ES_EXPERT_NODE_SHARES_H
#define ES_EXPERT_NODE_SHARES_H

#include "base/options.h"
#include "fetch/fetcher.h"
#include "net/keys.h"
#include "weights/expert_store.h"

typedef struct es_node_shares_options {
    const char *name;
    const es_option_list *shards;  /* paths of what is given */
    const char *fetch_dir;         /* where experts go that are fetched; NULL: none are */
    const es_option_list *sources; /* "HOST:PORT[,KEY]": who is asked when no peer has one */
    const char *revoked_file;      /* keys that stay revoked over a restart; NULL: they do not */
    const es_expert_store *store;  /* everything is borrowed while it is open */
    const es_keys *keys;           /* NULL: on this machine only */
    es_allow_list *allowed;        /* the service's, from which revoked keys are taken; NULL without keys */
    es_endpoint listen;
    uint64_t bytes_per_s; /* that it gives at most */
} es_node_shares_options;

/* Its calls are for main's thread, but for es_node_shares_fetched. */
typedef struct es_node_shares es_node_shares;

es_status es_node_shares_open(const es_node_shares_options *options, es_node_shares **ret_shares,
                              es_err *err);

/* After the loader, which uses its fetcher. */
void es_node_shares_close(es_node_shares **shares);

es_fetcher *es_node_shares_fetcher(const es_node_shares *shares); /* NULL: nothing is fetched */
uint16_t es_node_shares_port(const es_node_shares *shares);

/* Callbacks of loader and service; context is the es_node_shares. */
void es_node_shares_fetched(void *context, const char *path);
void es_node_shares_count(void *context, es_node_stats *stats);
es_status es_node_shares_members(void *context, const es_members *members, es_err *err);

#endif
