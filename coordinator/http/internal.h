/* The server's own structs, for the files of this room. */
#ifndef ES_HTTP_INTERNAL_H
#define ES_HTTP_INTERNAL_H

#include "http/body.h"
#include "http/client_keys.h"
#include "http/http.h"
#include "http/path.h"
#include "http/samples.h"
#include "http/watch.h"
#include "net/endpoint.h"
#include "text/buffer.h"

#include <jansson.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

enum { ES_HTTP_ID_MAX = 64, ES_HTTP_ORIGIN_MAX = 255, ES_HTTP_LABELS_MAX = 32, ES_HTTP_CODES_MAX = 24 };

typedef enum es_http_state { ES_HTTP_LOADING, ES_HTTP_SERVING, ES_HTTP_DRAINING } es_http_state;

/* What was answered, by path and status. */
typedef struct es_http_counts {
    pthread_mutex_t lock;
    uint64_t requests[ES_HTTP_LABELS_MAX][ES_HTTP_CODES_MAX];
    es_histogram seconds[ES_HTTP_LABELS_MAX];
} es_http_counts;

struct es_http {
    es_http_options options;
    const es_http_asset *assets;
    size_t asset_count;
    es_endpoint endpoint;
    char url[ES_ENDPOINT_TEXT_MAX + 8];
    char *tls_cert, *tls_key; /* texts of the files */
    struct MHD_Daemon *daemon;
    char complaint[256]; /* what MHD said last while it started */
    es_http_watch *watch;
    es_http_samples *samples;
    uint64_t started_ns;
    es_http_budget budget;
    size_t body_most;

    atomic_int state;               /* es_http_state */
    es_http_service service;        /* set before state leaves LOADING */
    atomic_ullong loaded, to_load;  /* bytes */
    atomic_size_t calls, in_flight; /* the API's calls; all requests */
    atomic_ullong ids;              /* of requests */
    uint64_t id_base;
    _Atomic(es_membership *) members; /* NULL: none, or not yet */
    _Atomic(es_join *) join;          /* likewise */
    pthread_mutex_t keys_lock;        /* around keys and waiting */
    char waiting[ES_ERR_TEXT_MAX];    /* for which nodes; "": not */
    es_client_keys *keys;             /* NULL: everybody may ask */
    es_http_counts counts;
};

/* One request and its answer. Owned by the MHD thread of its connection; the watching thread and the engine's
 * only resume it. */
typedef struct es_http_request {
    es_http *http;
    struct MHD_Connection *connection;
    es_http_link link;
    char id[ES_HTTP_ID_MAX + 1];
    char method[12];
    char path[ES_HTTP_PATH_MAX];         /* "": the target is no path */
    char origin[ES_HTTP_ORIGIN_MAX + 1]; /* of a page that may use the server; "": none */
    char address[INET6_ADDRSTRLEN];
    es_client client;
    bool headers_seen;
    es_http_body body;

    unsigned refused; /* the status to refuse it with once its body is through; 0: not refused */
    const char *refused_code, *refused_text;

    es_api_call *call;
    unsigned status; /* answered with; 0: not yet */
    uint64_t start_ns;
} es_http_request;

/* request.c: MHD's callbacks. */
void *es_http_request_begin(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result es_http_request_handle(void *cls, struct MHD_Connection *connection, const char *url,
                                       const char *method, const char *version, const char *upload,
                                       size_t *upload_bytes, void **context);
void es_http_request_end(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why);

/* A header of the request, NULL when it has none. */
const char *es_http_request_header(const es_http_request *request, const char *name);

/* admit.c: whether a request may go on, once its head is there: sets what it is refused with. */
void es_http_admit(es_http_request *request);
bool es_http_request_is_anthropic(const es_http_request *request);

/* reply.c: every answer with its common headers. */

/* A response that takes data over as mode says, or NULL when memory is short. */
struct MHD_Response *es_http_reply_make(const char *type, const void *data, size_t bytes,
                                        enum MHD_ResponseMemoryMode mode);
void es_http_reply_header(struct MHD_Response *response, const char *name, const char *value);

/* Queues the response, which may be NULL, and lets go of it. */
enum MHD_Result es_http_reply_send(es_http_request *request, unsigned status, struct MHD_Response *response);

/* A JSON error in the shape that the path's clients expect. */
enum MHD_Result es_http_reply_error(es_http_request *request, unsigned status, const char *code,
                                    const char *text);

/* pages.c: what the server itself answers. False: the path is none of its own. */
bool es_http_pages_have(const es_http *http, const char *path);
bool es_http_pages_take(const char *path, const char *method);      /* one of its own is asked so */
bool es_http_pages_are_open(const es_http *http, const char *path); /* without an API key too */
enum MHD_Result es_http_pages_answer(es_http_request *request);

/* metrics.c: the text of /metrics, and counting for it. */
void es_http_counts_init(es_http_counts *counts);
void es_http_counts_add(es_http_counts *counts, const char *path, unsigned status, double seconds);
void es_http_metrics_write(es_http *http, es_buffer *out);

/* trace.c: the JSON of /cluster/trace with the spans from number after on, malloc'd; NULL when memory is
 * short. */
char *es_http_trace_json(es_http *http, uint64_t after, size_t *ret_bytes);

/* membership.c: the members as JSON and metrics; an order to drain one. */
json_t *es_http_members_json(es_http *http); /* NULL: there is no registry, or memory is short */
void es_http_members_metrics(es_http *http, es_buffer *out);

/* What nodes count of who came to them, members or not: names and help. */
extern const char ES_METRIC_REFUSED[], ES_METRIC_REFUSED_HELP[], ES_METRIC_MALFORMED[],
    ES_METRIC_MALFORMED_HELP[];
enum MHD_Result es_http_drain_node(es_http_request *request);

/* A JSON answer; takes json. */
enum MHD_Result es_http_reply_json(es_http_request *request, unsigned status, json_t *json);

/* cluster.c: the JSON of /cluster, malloc'd; NULL when memory is short. */
char *es_http_cluster_json(es_http *http);

#endif
