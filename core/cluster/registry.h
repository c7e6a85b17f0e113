/* Membership: who is in the swarm, which placement is valid, whose keys are revoked. One interface, two back
 * ends: a folder of the coordinator's own (embedded), and etcd. */
#ifndef ES_CLUSTER_REGISTRY_H
#define ES_CLUSTER_REGISTRY_H

#include "cluster/document.h"
#include "cluster/planner.h"
#include "net/endpoint.h"
#include "net/keys.h"

enum {
    ES_REGISTRY_NODES_MAX = ES_DOCUMENT_NODES_MAX,
    ES_REGISTRY_REVOKED_MAX = 4096,
    ES_REGISTRY_TOKENS_MAX = 1024,
    ES_LABELS_MAX = 8,
    ES_LABEL_NAME_MAX = 31,
    ES_LABEL_VALUE_MAX = 63,
    ES_TOKEN_HASH_BYTES = 32,
};

typedef enum es_member_state {
    ES_MEMBER_JOINING,
    ES_MEMBER_READY,
    ES_MEMBER_DRAINING,
    ES_MEMBER_STATE_COUNT
} es_member_state;

/* The states' names, then NULL. */
extern const char *const ES_MEMBER_STATES[ES_MEMBER_STATE_COUNT + 1];

/* What an operator says of a machine: "rack" is its failure domain. Names are es_name_valid. */
typedef struct es_label {
    char name[ES_LABEL_NAME_MAX + 1];
    char value[ES_LABEL_VALUE_MAX + 1];
} es_label;

/* One expert node. */
typedef struct es_node_record {
    char name[ES_NAME_MAX + 1];
    char control[ES_ENDPOINT_TEXT_MAX]; /* "tcp://10.0.0.5:5700" */
    char key[ES_KEY_TEXT_BYTES];        /* its public key; "": none, and then it is on loopback */
    es_label labels[ES_LABELS_MAX];     /* ascending by name */
    size_t label_count;
    uint64_t memory_bytes;    /* for experts */
    uint64_t bandwidth_bytes; /* a second, measured; 0: not measured */
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    es_member_state state;
    uint64_t holder; /* a random number of the process that announced it; two with one name are told apart */
} es_node_record;

/* A label's value, "" when it has none of that name. */
const char *es_node_record_label(const es_node_record *record, const char *name);

/* True when both say the same. */
bool es_node_record_equal(const es_node_record *a, const es_node_record *b);

/* A record as JSON (malloc'd, NULL when memory is short), and strictly back: ES_CORRUPT names the field. */
char *es_node_record_write(const es_node_record *record);
es_status es_node_record_parse(const char *where, const char *text, size_t bytes, es_node_record *ret_record,
                               es_err *err);

/* All that is known at one moment. */
typedef struct es_registry_view {
    uint64_t version;       /* grows with every change seen from here */
    bool frozen;            /* the back end does not answer: this is what it said last */
    uint64_t answered_ns;   /* es_clock_now_ns() of its last answer, 0: never */
    es_epoch epoch;         /* of the valid placement; {0, 0}: there is none */
    size_t node_count;      /* of nodes whose lease holds */
    es_node_record *nodes;  /* ascending by name */
    size_t lapsed_count;    /* embedded: of nodes whose lease ran out and that nobody removed */
    es_node_record *lapsed; /* ascending by name */
    size_t revoked_count;
    char (*revoked)[ES_KEY_TEXT_BYTES]; /* public keys */
} es_registry_view;

void es_registry_view_destroy(es_registry_view **view);
const es_node_record *es_registry_view_find(const es_registry_view *view, const char *name);

/* What happened, for people and tests. Counts since the registry was opened. */
typedef struct es_registry_stats {
    uint64_t lease_grants, lease_losses; /* of our own record */
    uint64_t ranges;                     /* everything was read anew */
    uint64_t watches, compactions;       /* streams begun; those refused because history was gone */
    uint64_t failures, failovers;        /* calls that failed everywhere; that went to another endpoint */
    uint64_t malformed;                  /* records that could not be read, and were left out */
    uint64_t logins;
} es_registry_stats;

/* Any thread may call; nothing here is called by the thread that runs the steps but es_registry_view. */
typedef struct es_registry es_registry;

/* Told, by a thread of the registry's own or the caller's, that the view has changed. It must not call the
 * registry. */
typedef void es_registry_wake_fn(void *context);

enum { ES_REGISTRY_TTL_MS = 10000 };

/* The embedded back end: a folder, made when it is not there, that processes of one machine share. What is in
 * it survives them all; a file that contradicts its checksum is refused, not replaced. A node that was not
 * renewed for ttl_ms (0: ES_REGISTRY_TTL_MS) is out of the view, and in it again when it is. */
es_status es_registry_open_embedded(const char *folder, unsigned ttl_ms, es_registry **ret_registry,
                                    es_err *err);

typedef struct es_etcd_options {
    const char *endpoints;       /* "https://a:2379,https://b:2379"; http only to loopback */
    const char *prefix;          /* of all keys; NULL: "essaim/" */
    const char *user, *password; /* NULL: no login */
    const char *ca, *cert, *key; /* PEM files for https; NULL: the system's CAs, no certificate of ours */
    unsigned ttl_ms;             /* of our lease, at least 1000; 0: ES_REGISTRY_TTL_MS */
    unsigned refresh_ms;         /* everything is read anew that often; 0: a minute */
    unsigned try_ms;             /* for one endpoint to answer one call; 0: two seconds */
} es_etcd_options;

/* The etcd back end. Connects in the background: until etcd answers for the first time the view is empty and
 * frozen. Two threads. ES_INVALID names the option that makes no sense. */
es_status es_registry_open_etcd(const es_etcd_options *options, es_registry **ret_registry, es_err *err);

/* Withdraws our own record first, briefly waiting for that. */
void es_registry_close(es_registry **registry);

/* From now on wake is told of changes. Once, before other threads use the registry. */
void es_registry_on_change(es_registry *registry, es_registry_wake_fn *wake, void *context);

/* A copy of what is known; never waits for the network. */
es_status es_registry_view_get(es_registry *registry, es_registry_view **ret_view, es_err *err);

/* Waits until the view's version is another than seen, or deadline_ns has passed; returns the version. */
uint64_t es_registry_wait(es_registry *registry, uint64_t seen, uint64_t deadline_ns);

/* Puts our own record, or changes it, and keeps its lease alive until it is withdrawn or the registry closed.
 * In the background: a lost lease is taken again. While a living process with another key holds the name, it
 * is tried again, and es_registry_own says so. holder is set by the registry. */
es_status es_registry_announce(es_registry *registry, const es_node_record *record, es_err *err);
es_status es_registry_withdraw(es_registry *registry, uint64_t deadline_ns, es_err *err);

/* ES_OK when our record stands under a lease; ES_UNAVAILABLE not yet, or not any more; ES_MISMATCH the name
 * is another's; ES_NOT_FOUND nothing was announced. */
es_status es_registry_own(es_registry *registry, es_err *err);

/* Embedded only: a node that we talk to is alive (its record, put or changed; the file is written only when
 * something changed). ES_MISMATCH: the name is another key's, whether that one lives or not, until it is
 * removed. ES_UNSUPPORTED elsewhere. */
es_status es_registry_renew(es_registry *registry, const es_node_record *record, es_err *err);

/* Embedded only: when each of nodes was heard of last, in seconds of the clock on the wall, as coordinators
 * beside us note it every few seconds; 0: never since it is a member. Leases are the keeper's own, and to us
 * who come later every node seems alive. ES_UNSUPPORTED elsewhere: what has a record there has a lease. */
es_status es_registry_seen(es_registry *registry, const es_node_record *nodes, size_t count,
                           uint64_t *ret_wall_s, es_err *err);

/* The following wait for the back end until deadline_ns: ES_TIMEOUT or ES_UNAVAILABLE says that it did not
 * answer, and that nobody knows whether it was done. */

/* Takes a node out for good, until it announces itself anew. ES_NOT_FOUND. */
es_status es_registry_remove(es_registry *registry, const char *name, uint64_t deadline_ns, es_err *err);

/* Changes the state in a node's record, which stays under the lease it has. ES_NOT_FOUND; ES_MISMATCH: the
 * record changed meanwhile, and another try may succeed. */
es_status es_registry_mark(es_registry *registry, const char *name, es_member_state state,
                           uint64_t deadline_ns, es_err *err);

/* The valid placement; ES_NOT_FOUND when there is none. */
es_status es_registry_placement(es_registry *registry, uint64_t deadline_ns, es_document **ret_document,
                                es_err *err);

/* Makes document, whose epoch must be above expected, the valid placement when the valid one's epoch is
 * expected
 * ({0, 0}: there is none). ES_MISMATCH names the epoch that stands instead. Whole or not at all. */
es_status es_registry_swap(es_registry *registry, es_epoch expected, const es_document *document,
                           uint64_t deadline_ns, es_err *err);

/* Revokes a public key, or takes it off the list again. */
es_status es_registry_revoke(es_registry *registry, const char *key, bool revoked, uint64_t deadline_ns,
                             es_err *err);

/* One-time tokens, by the hash of their secret: added with a life of ttl_s seconds, taken once. ES_NOT_FOUND:
 * there is none, or it was taken, or has lapsed. */
es_status es_registry_token_add(es_registry *registry, const uint8_t hash[ES_TOKEN_HASH_BYTES],
                                unsigned ttl_s, uint64_t deadline_ns, es_err *err);
es_status es_registry_token_take(es_registry *registry, const uint8_t hash[ES_TOKEN_HASH_BYTES],
                                 uint64_t deadline_ns, es_err *err);

es_registry_stats es_registry_get_stats(es_registry *registry);

#endif
