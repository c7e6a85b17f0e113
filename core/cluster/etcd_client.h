/* Calls to etcd's gateway: endpoints tried in turn, logins renewed, every wait with a deadline. */
#ifndef ES_CLUSTER_ETCD_CLIENT_H
#define ES_CLUSTER_ETCD_CLIENT_H

#include "cluster/backend.h"
#include "cluster/etcd_json.h"
#include "cluster/etcd_stream.h"

/* Where etcd is and who we are there. Any thread. */
typedef struct es_etcd es_etcd;

/* registry's stats are counted up. Texts are copied. ES_INVALID names the option that makes no sense. */
es_status es_etcd_create(const es_etcd_options *options, es_registry *registry, es_etcd **ret_etcd,
                         es_err *err);
void es_etcd_destroy(es_etcd **etcd);

/* One thread's connection. */
typedef struct es_etcd_link es_etcd_link;
es_status es_etcd_link_create(es_etcd *etcd, es_etcd_link **ret_link, es_err *err);
void es_etcd_link_destroy(es_etcd_link **link);

/* Ends what the link's thread waits for, with ES_CANCELLED, now and from now on. Any thread. */
void es_etcd_link_stop(es_etcd_link *link);

/* POSTs body (taken, decref'd) to path ("/v3/kv/range"); *ret_reply is yours to decref. ES_UNAVAILABLE or
 * ES_TIMEOUT: no endpoint answered before deadline_ns, and what was asked for may have been done;
 * ES_NOT_FOUND, ES_MISMATCH (permission, login), ES_INVALID: etcd's own words are in err. */
es_status es_etcd_call(es_etcd_link *link, const char *path, json_t *body, uint64_t deadline_ns,
                       json_t **ret_reply, es_err *err);

/* POSTs body (taken) to /v3/watch and feeds what comes to on_line until the stream ends (ES_UNAVAILABLE),
 * on_line says so (its status), the link is stopped or deadline_ns passes (ES_TIMEOUT). */
es_status es_etcd_watch(es_etcd_link *link, json_t *body, es_etcd_line_fn *on_line, void *context,
                        uint64_t deadline_ns, es_err *err);

/* A watch told that its endpoint is of no use, or our login: the next call begins elsewhere, or with a login.
 */
void es_etcd_distrust(es_etcd *etcd, es_etcd_code code);

#endif
