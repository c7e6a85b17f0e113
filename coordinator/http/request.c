/* One request: its head, its body, its answer, and its line in the log. */
#include "http/internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A body that is refused is read to its end all the same, so that its sender reads the answer; up to so many
 * times what would have been taken. */
enum { REFUSED_BODIES = 4, BLOCK_BYTES = 16 * 1024 };

const char *es_http_request_header(const es_http_request *r, const char *name)
{
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

static void read_address(es_http_request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL || info->client_addr == NULL) return;
    const struct sockaddr *address = info->client_addr;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, r->address, sizeof r->address);
    } else if (address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof v6);
        inet_ntop(AF_INET6, &v6.sin6_addr, r->address, sizeof r->address);
    }
}

void *es_http_request_begin(void *cls, const char *target, struct MHD_Connection *connection)
{
    es_http *http = cls;
    es_http_request *r = calloc(1, sizeof *r);
    if (r == NULL) return NULL;
    const union MHD_ConnectionInfo *link =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    r->http = http;
    r->connection = connection;
    r->link = link != NULL ? (es_http_link)(uintptr_t)link->socket_context : 0;
    r->start_ns = es_clock_now_ns();
    r->client = (es_client){.name = "-"};
    snprintf(r->id, sizeof r->id, "req-%016llx",
             (unsigned long long)(http->id_base + atomic_fetch_add(&http->ids, 1)));
    read_address(r);
    if (target != NULL) es_http_path_read(target, r->path);
    atomic_fetch_add(&http->in_flight, 1);
    return r;
}

/* A client's own id is taken over when it is harmless in a log. */
static void take_id(es_http_request *r)
{
    const char *id = es_http_request_header(r, "x-request-id");
    if (id == NULL) return;
    size_t length = strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-");
    if (length >= 1 && length <= ES_HTTP_ID_MAX && id[length] == '\0') memcpy(r->id, id, length + 1);
}

/* Refused before its body comes: when it waits for our word, or would be too long to listen to. */
static bool refuses_at_once(const es_http_request *r)
{
    if (r->refused == 0) return false;
    const char *expect = es_http_request_header(r, "expect"),
               *length = es_http_request_header(r, "content-length");
    if (expect != NULL && strncasecmp(expect, "100-", 4) == 0) return true;
    return length != NULL && strtoull(length, NULL, 10) / REFUSED_BODIES > r->http->body_most;
}

static enum MHD_Result send_refusal(es_http_request *r)
{
    return es_http_reply_error(r, r->refused, r->refused_code, r->refused_text);
}

static enum MHD_Result see_headers(es_http_request *r, const char *method)
{
    r->headers_seen = true;
    snprintf(r->method, sizeof r->method, "%s", method);
    take_id(r);
    es_http_admit(r);
    es_http_watch_enter(r->http->watch, r->link, ES_HTTP_UPLOAD);
    return refuses_at_once(r) ? send_refusal(r) : MHD_YES;
}

static enum MHD_Result take_body(es_http_request *r, const char *data, size_t bytes)
{
    es_http *http = r->http;
    es_http_watch_fed(http->watch, r->link, bytes);
    if (r->refused != 0) {
        r->body.came += bytes;
        return r->body.came / REFUSED_BODIES > http->body_most ? MHD_NO : MHD_YES;
    }
    switch (es_http_body_feed(&r->body, &http->budget, http->body_most, data, bytes)) {
    case ES_HTTP_STORED:
        break;
    case ES_HTTP_TOO_LARGE:
        r->refused = 413;
        r->refused_code = "body_too_large";
        r->refused_text = "the request's body is larger than the server takes";
        break;
    case ES_HTTP_NO_ROOM:
        r->refused = 503;
        r->refused_code = "overloaded";
        r->refused_text = "too many requests are being received; try again soon";
        break;
    }
    return MHD_YES;
}

static enum MHD_Result answer_options(es_http_request *r)
{
    static const char METHODS[] = "GET, HEAD, POST, OPTIONS";
    struct MHD_Response *response = es_http_reply_make(NULL, "", 0, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) return MHD_NO;
    es_http_reply_header(response, "Allow", METHODS);
    const char *headers = es_http_request_header(r, "access-control-request-headers");
    if (r->origin[0] != '\0') {
        es_http_reply_header(response, "Access-Control-Allow-Methods", METHODS);
        es_http_reply_header(response, "Access-Control-Allow-Headers",
                             headers != NULL ? headers : "authorization, content-type, x-api-key");
        es_http_reply_header(response, "Access-Control-Max-Age", "600");
    }
    return es_http_reply_send(r, 204, response);
}

/* Told by the engine's thread: MHD's thread looks at the call again. */
static void wake(void *context)
{
    MHD_resume_connection(((es_http_request *)context)->connection);
}

static bool begin_call(es_http_request *r)
{
    bool head = strcmp(r->method, "HEAD") == 0; /* MHD leaves the body out */
    const es_api_request request = {
        .id = r->id,
        .method = head ? "GET" : r->method,
        .path = r->path,
        .version = es_http_request_header(r, "anthropic-version"),
        .body = r->body.data,
        .body_bytes = r->body.bytes,
        .key = r->client.share,
        .wake = wake,
        .context = r,
    };
    r->call = es_api_begin(r->http->service.api, &request);
    es_http_body_drop(&r->body, &r->http->budget);
    if (r->call == NULL) return false;
    atomic_fetch_add(&r->http->calls, 1);
    return true;
}

/* MHD's content reader. What returns 0 is suspended: MHD would ask again at once. */
static ssize_t read_call(void *cls, uint64_t position, char *out, size_t room)
{
    (void)position;
    es_http_request *r = cls;
    size_t bytes = 0;
    if (es_http_watch_is_gone(r->http->watch, r->link)) return MHD_CONTENT_READER_END_WITH_ERROR;
    switch (es_api_call_pull(r->call, out, room, &bytes)) {
    case ES_API_BYTES:
        return (ssize_t)bytes;
    case ES_API_END:
        return MHD_CONTENT_READER_END_OF_STREAM;
    case ES_API_WAIT:
        break;
    }
    MHD_suspend_connection(r->connection);
    return 0;
}

static enum MHD_Result send_head(es_http_request *r, const es_api_head *head)
{
    uint64_t bytes = head->streams ? MHD_SIZE_UNKNOWN : head->content_bytes;
    struct MHD_Response *response = MHD_create_response_from_callback(bytes, BLOCK_BYTES, read_call, r, NULL);
    if (response == NULL) return MHD_NO;
    es_http_reply_header(response, "Content-Type", head->content_type);
    for (size_t i = 0; i < head->headers; i++)
        es_http_reply_header(response, head->header[i].name, head->header[i].value);
    if (head->streams) {
        es_http_reply_header(response, "Cache-Control", "no-cache");
        es_http_reply_header(response, "X-Accel-Buffering", "no"); /* proxies pass events on as they come */
    }
    return es_http_reply_send(r, head->status, response);
}

/* The call's answer, or its connection waits for it. */
static enum MHD_Result answer_call(es_http_request *r)
{
    es_api_head head;
    if (es_http_watch_is_gone(r->http->watch, r->link)) return MHD_NO;
    if (es_api_call_head(r->call, &head)) return send_head(r, &head);
    MHD_suspend_connection(r->connection);
    return MHD_YES;
}

static enum MHD_Result answer(es_http_request *r)
{
    if (r->call != NULL) return answer_call(r);
    es_http_watch_enter(r->http->watch, r->link, ES_HTTP_ANSWER);
    if (r->refused != 0) return send_refusal(r);
    if (strcmp(r->method, "OPTIONS") == 0) return answer_options(r);
    if (es_http_pages_have(r->http, r->path)) return es_http_pages_answer(r);
    if (!begin_call(r)) return es_http_reply_error(r, 503, "overloaded", "memory is short; try again soon");
    return answer_call(r);
}

enum MHD_Result es_http_request_handle(void *cls, struct MHD_Connection *connection, const char *url,
                                       const char *method, const char *version, const char *upload,
                                       size_t *upload_bytes, void **context)
{
    (void)cls;
    (void)connection;
    (void)url;
    (void)version;
    es_http_request *r = *context;
    if (r == NULL) return MHD_NO;
    if (!r->headers_seen) return see_headers(r, method);
    if (*upload_bytes > 0) {
        size_t bytes = *upload_bytes;
        *upload_bytes = 0;
        return take_body(r, upload, bytes);
    }
    return answer(r);
}

/* What probes and pages read again and again is no news. */
static void log_line(const es_http_request *r, double seconds, const es_api_summary *call)
{
    es_log_level level = r->call != NULL || r->status >= 400 ? ES_LOG_INFO : ES_LOG_DEBUG;
    bool tokens = call != NULL && call->prompt_tokens > 0;
    bool first = tokens && call->first_ns > 0;
    const es_log_field fields[] = {
        es_log_text("request", r->id),
        es_log_text("key", r->client.name),
        es_log_text("address", r->address),
        es_log_text("method", r->method[0] != '\0' ? r->method : "?"),
        es_log_text("path", r->path[0] != '\0' ? r->path : "?"),
        es_log_count("status", r->status),
        es_log_real("ms", seconds * 1e3),
        es_log_count("prompt_tokens", tokens ? call->prompt_tokens : 0),
        es_log_count("cached_tokens", tokens ? call->cached_tokens : 0),
        es_log_count("new_tokens", tokens ? call->new_tokens : 0),
        es_log_text("finish", tokens ? (call->finish[0] != '\0' ? call->finish : "unfinished") : NULL),
        es_log_real("first_ms", first ? (double)(call->first_ns - r->start_ns) * 1e-6 : 0.0),
    };
    size_t count = sizeof fields / sizeof fields[0];
    es_log_event(level, ES_ROOM, fields, count - (tokens ? !first : 5), "answered");
}

/* What the log and the counts say of one that did not come to its end. */
static unsigned final_status(const es_http_request *r, enum MHD_RequestTerminationCode why)
{
    if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK && r->status != 0) return r->status;
    if (es_http_watch_is_cut(r->http->watch, r->link)) return 408;
    /* MHD itself answered what it could not read. */
    return r->headers_seen ? 499 : 400;
}

void es_http_request_end(void *cls, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    (void)connection;
    es_http *http = cls;
    es_http_request *r = *context;
    if (r == NULL) return;
    double seconds = (double)(es_clock_now_ns() - r->start_ns) * 1e-9;
    r->status = final_status(r, why);
    es_api_summary tokens = {0};
    if (r->call != NULL) tokens = es_api_call_summary(r->call);
    log_line(r, seconds, r->call != NULL ? &tokens : NULL);
    if (r->call != NULL) {
        es_api_call_close(&r->call);
        atomic_fetch_sub(&http->calls, 1);
    }
    es_http_counts_add(&http->counts, r->path, r->status, seconds);
    es_http_watch_enter(http->watch, r->link, ES_HTTP_KEPT);
    es_http_body_drop(&r->body, &http->budget);
    atomic_fetch_sub(&http->in_flight, 1);
    free(r);
    *context = NULL;
}
