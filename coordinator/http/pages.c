/* What the server itself answers: health, metrics, the cluster's state, and the web page. */
#include "http/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static enum MHD_Result send_text(es_http_request *r, unsigned status, const char *type, char *text,
                                 size_t bytes)
{
    if (text == NULL) return MHD_NO;
    struct MHD_Response *response = es_http_reply_make(type, text, bytes, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    es_http_reply_header(response, "Cache-Control", "no-store");
    if (status == 503) es_http_reply_header(response, "Retry-After", "5");
    return es_http_reply_send(r, status, response);
}

/* Takes json. */
enum MHD_Result es_http_reply_json(es_http_request *r, unsigned status, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return send_text(r, status, "application/json", text, text != NULL ? strlen(text) : 0);
}

static enum MHD_Result answer_health(es_http_request *r)
{
    es_http *http = r->http;
    double loaded = (double)atomic_load(&http->loaded), to_load = (double)atomic_load(&http->to_load);
    switch ((es_http_state)atomic_load(&http->state)) {
    case ES_HTTP_SERVING:
        return es_http_reply_json(r, 200, json_pack("{s:s}", "status", "ok"));
    case ES_HTTP_DRAINING:
        return es_http_reply_json(r, 503, json_pack("{s:s}", "status", "draining"));
    case ES_HTTP_LOADING:
        break;
    }
    json_t *health = json_pack("{s:s, s:f, s:I, s:I}", "status", "loading", "progress",
                               to_load > 0.0 ? loaded / to_load : 0.0, "loaded_bytes", (json_int_t)loaded,
                               "total_bytes", (json_int_t)to_load);
    pthread_mutex_lock(&http->keys_lock);
    if (http->waiting[0] != '\0') json_object_set_new(health, "reason", json_string(http->waiting));
    pthread_mutex_unlock(&http->keys_lock);
    return es_http_reply_json(r, 503, health);
}

static enum MHD_Result answer_metrics(es_http_request *r)
{
    es_buffer text = {0};
    size_t bytes;
    es_http_metrics_write(r->http, &text);
    char *taken = es_buffer_take(&text, &bytes);
    return send_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", taken, bytes);
}

static enum MHD_Result answer_cluster(es_http_request *r)
{
    if (atomic_load(&r->http->state) == ES_HTTP_LOADING) return answer_health(r);
    char *text = es_http_cluster_json(r->http);
    return send_text(r, 200, "application/json", text, text != NULL ? strlen(text) : 0);
}

/* ?after=N: from that number on, else all there are; ?after=next: those to come. */
static enum MHD_Result answer_trace(es_http_request *r)
{
    if (atomic_load(&r->http->state) == ES_HTTP_LOADING) return answer_health(r);
    const char *after = MHD_lookup_connection_value(r->connection, MHD_GET_ARGUMENT_KIND, "after");
    uint64_t first = 0;
    size_t bytes = 0;
    if (after != NULL && strcmp(after, "next") == 0) {
        first = es_trace_next(es_engine_trace(r->http->service.engine));
    } else if (after != NULL) {
        size_t digits = strspn(after, "0123456789");
        if (digits == 0 || digits > 18 || after[digits] != '\0')
            return es_http_reply_error(r, 400, "invalid_value", "after: not a number, nor \"next\"");
        first = strtoull(after, NULL, 10);
    }
    char *text = es_http_trace_json(r->http, first, &bytes);
    return send_text(r, 200, "application/json", text, bytes);
}

static const struct {
    const char *path;
    bool open;
    const char *method; /* "GET": HEAD too */
    enum MHD_Result (*answer)(es_http_request *r);
} OWN[] = {
    {"/health", true, "GET", answer_health},
    {"/metrics", false, "GET", answer_metrics},
    {"/cluster", false, "GET", answer_cluster},
    {"/cluster/trace", false, "GET", answer_trace},
    {"/cluster/drain", false, "POST", es_http_drain_node},
};
enum { OWN_COUNT = sizeof OWN / sizeof OWN[0] };

static size_t find_own(const char *path)
{
    size_t i = 0;
    while (i < OWN_COUNT && strcmp(OWN[i].path, path) != 0) i++;
    return i;
}

static const es_http_asset *find_asset(const es_http *http, const char *path)
{
    for (size_t i = 0; i < http->asset_count; i++)
        if (strcmp(http->assets[i].path, path) == 0) return &http->assets[i];
    return NULL;
}

bool es_http_pages_have(const es_http *http, const char *path)
{
    return find_own(path) < OWN_COUNT || find_asset(http, path) != NULL;
}

bool es_http_pages_take(const char *path, const char *method)
{
    size_t own = find_own(path);
    const char *taken = own < OWN_COUNT ? OWN[own].method : "GET";
    return strcmp(method, taken) == 0 || (strcmp(taken, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

bool es_http_pages_are_open(const es_http *http, const char *path)
{
    size_t own = find_own(path);
    return own < OWN_COUNT ? OWN[own].open : find_asset(http, path) != NULL;
}

/* A page that loads nothing from elsewhere and that nobody puts into a frame. */
static enum MHD_Result answer_asset(es_http_request *r, const es_http_asset *asset)
{
    static const char POLICY[] =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'";
    const char *known = es_http_request_header(r, "if-none-match");
    bool unchanged = known != NULL && strstr(known, asset->etag) != NULL;
    struct MHD_Response *response = es_http_reply_make(asset->content_type, asset->data,
                                                       unchanged ? 0 : asset->bytes, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return MHD_NO;
    es_http_reply_header(response, "ETag", asset->etag);
    es_http_reply_header(response, "Cache-Control", "no-cache");
    es_http_reply_header(response, "Content-Security-Policy", POLICY);
    es_http_reply_header(response, "Referrer-Policy", "no-referrer");
    es_http_reply_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    return es_http_reply_send(r, unchanged ? 304 : 200, response);
}

enum MHD_Result es_http_pages_answer(es_http_request *r)
{
    size_t own = find_own(r->path);
    return own < OWN_COUNT ? OWN[own].answer(r) : answer_asset(r, find_asset(r->http, r->path));
}
