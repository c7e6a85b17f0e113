/* The server: HTTP in front of the API's calls, with health, metrics, the cluster's state and the web page.
 */
#ifndef ES_HTTP_H
#define ES_HTTP_H

#include "api/api.h"
#include "base/options.h"
#include "join/join.h"
#include "members/members.h"

/* As the user says it; bound by the table below. Texts are borrowed for the server's life. */
typedef struct es_http_options {
    const char *listen;             /* "HOST:PORT"; port 0: any free one */
    const char *api_keys;           /* path; NULL: everybody may ask */
    bool allow_anonymous;           /* beyond this machine too */
    const char *tls_cert, *tls_key; /* paths; NULL: plain HTTP */
    es_option_list cors;
    size_t body_mib;   /* of one request */
    size_t bodies_mib; /* of all requests under way */
    size_t connections, connections_per_address;
    size_t request_timeout_s; /* for a request's head, and for its body beside one second for each 32 KiB */
} es_http_options;

enum { ES_HTTP_OPTION_COUNT = 11 };
extern const es_option ES_HTTP_OPTIONS[ES_HTTP_OPTION_COUNT];

/* What can be told before anything is opened. */
es_status es_http_check(const es_http_options *options, es_err *err);

/* A file of the web page. Texts and data are static. */
typedef struct es_http_asset {
    const char *path;         /* "/app.css"; "/" for index.html */
    const char *content_type; /* "text/css; charset=utf-8" */
    const char *etag;         /* with its quotes */
    const unsigned char *data;
    size_t bytes;
} es_http_asset;

/* The files of web/, put into the program when it is built. */
extern const es_http_asset ES_HTTP_ASSETS[];
extern const size_t ES_HTTP_ASSET_COUNT;

/* Its threads are its own: libmicrohttpd's few, which parse, queue and write, and one that watches
 * connections. Every function here is for one thread, but progress, which may come from another while that
 * one waits. */
typedef struct es_http es_http;

/* Listens, and answers from here on: /health tells how far loading is. The error names the address, file or
 * line that is wrong. assets are borrowed. */
es_status es_http_open(const es_http_options *options, const es_http_asset *assets, size_t asset_count,
                       es_http **ret_http, es_err *err);

/* Ends what is under way, and the server. */
void es_http_close(es_http **at);

/* "http://127.0.0.1:8080"; for a server on every address one that works on this machine. */
const char *es_http_url(const es_http *http);

/* An es_progress_fn; context is the server. */
void es_http_progress(void *context, uint64_t done, uint64_t total);

/* Loading is done but for nodes: /health says what is waited for. */
void es_http_waiting(es_http *http, const char *what);

/* From here on /cluster shows the members and takes drains; NULL: there is no registry; join NULL: nobody
 * joins here. Borrowed until the server closes. */
void es_http_members(es_http *http, es_membership *members, es_join *join);

/* What is served; borrowed until the server closes. */
typedef struct es_http_service {
    es_api *api;
    es_engine *engine;
    const es_model *model;
    const char *model_name;
} es_http_service;

/* Ready: from here on requests are taken. Once. */
void es_http_serve(es_http *http, const es_http_service *service);

/* Reads the file of API keys again; on error those that were stay. */
es_status es_http_reload_keys(es_http *http, es_err *err);

/* From here on new calls are refused with 503 and /health is 503; those under way go on. */
void es_http_drain(es_http *http);

/* Calls under way. */
size_t es_http_calls(const es_http *http);

#endif
