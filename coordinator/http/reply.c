/* Every answer with its common headers. */
#include "http/internal.h"

#include <stdio.h>
#include <string.h>

enum { ERROR_BYTES = 2048, RETRY_AFTER_S = 5 };

void es_http_reply_header(struct MHD_Response *response, const char *name, const char *value)
{
    MHD_add_response_header(response, name, value);
}

struct MHD_Response *es_http_reply_make(const char *type, const void *data, size_t bytes,
                                        enum MHD_ResponseMemoryMode mode)
{
    /* MHD's parameter is not const; only MUST_FREE lets it change data. */
    struct MHD_Response *response = MHD_create_response_from_buffer(bytes, (void *)(uintptr_t)data, mode);
    if (response != NULL && type != NULL) es_http_reply_header(response, "Content-Type", type);
    return response;
}

static void add_common(const es_http_request *r, struct MHD_Response *response)
{
    es_http_reply_header(response, "x-request-id", r->id);
    es_http_reply_header(response, "X-Content-Type-Options", "nosniff");
    es_http_reply_header(response, "Vary", "Origin");
    if (r->origin[0] != '\0') {
        es_http_reply_header(response, "Access-Control-Allow-Origin", r->origin);
        es_http_reply_header(response, "Access-Control-Expose-Headers",
                             "x-request-id, retry-after, x-should-retry");
    }
    if (atomic_load(&r->http->state) == ES_HTTP_DRAINING)
        es_http_reply_header(response, "Connection", "close");
}

enum MHD_Result es_http_reply_send(es_http_request *r, unsigned status, struct MHD_Response *response)
{
    if (response == NULL) return MHD_NO;
    add_common(r, response);
    enum MHD_Result queued = MHD_queue_response(r->connection, status, response);
    MHD_destroy_response(response);
    if (queued == MHD_YES) {
        r->status = status;
        es_http_watch_enter(r->http->watch, r->link, ES_HTTP_ANSWER);
    }
    return queued;
}

enum MHD_Result es_http_reply_error(es_http_request *r, unsigned status, const char *code, const char *text)
{
    char body[ERROR_BYTES];
    size_t bytes = es_api_error_body(es_http_request_is_anthropic(r), status, code, text, body, sizeof body);
    struct MHD_Response *response =
        es_http_reply_make("application/json", body, bytes, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) return MHD_NO;
    bool again = status == 408 || status == 429 || status == 503;
    es_http_reply_header(response, "x-should-retry", again ? "true" : "false");
    if (again) {
        char seconds[16];
        snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER_S);
        es_http_reply_header(response, "Retry-After", seconds);
    }
    if (status == 401) es_http_reply_header(response, "WWW-Authenticate", "Bearer");
    if (status == 405) es_http_reply_header(response, "Allow", "GET, HEAD, OPTIONS");
    return es_http_reply_send(r, status, response);
}
