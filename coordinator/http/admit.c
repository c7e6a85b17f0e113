/* Whether a request may go on, looked at once its head is there. */
#include "http/internal.h"
#include "http/origin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEAD_BYTES_MAX = 16 * 1024 };

static void refuse(es_http_request *r, unsigned status, const char *code, const char *text)
{
    if (r->refused != 0) return;
    r->refused = status;
    r->refused_code = code;
    r->refused_text = text;
}

bool es_http_request_is_anthropic(const es_http_request *r)
{
    static const char MESSAGES[] = "/messages";
    return strncmp(r->path, MESSAGES, sizeof MESSAGES - 1) == 0;
}

/* The key that the request shows, NULL: none. */
static const char *shown_key(const es_http_request *r)
{
    static const char BEARER[] = "bearer ";
    const char *value = es_http_request_header(r, "authorization");
    if (value == NULL || strncasecmp(value, BEARER, sizeof BEARER - 1) != 0)
        return es_http_request_header(r, "x-api-key");
    value += sizeof BEARER - 1;
    return value + strspn(value, " ");
}

/* Whose request it is. Without keys addresses share the machine fairly. */
static void identify(es_http_request *r)
{
    es_http *http = r->http;
    const char *key = shown_key(r);
    pthread_mutex_lock(&http->keys_lock);
    bool needed = http->keys != NULL;
    bool known = needed && key != NULL && es_client_keys_find(http->keys, key, &r->client);
    pthread_mutex_unlock(&http->keys_lock);
    if (!needed) {
        r->client = (es_client){.name = "-", .share = es_client_share(r->address)};
        return;
    }
    if (known || es_http_pages_are_open(http, r->path)) return;
    refuse(r, 401, "invalid_api_key",
           key == NULL
               ? "an API key is needed: send it as \"Authorization: Bearer KEY\" or \"x-api-key: KEY\""
               : "the API key is not known here");
}

/* Bytes that the body will have, SIZE_MAX: not said. */
static size_t stated_bytes(const es_http_request *r)
{
    const char *text = es_http_request_header(r, "content-length");
    if (text == NULL) return SIZE_MAX;
    errno = 0;
    unsigned long long bytes = strtoull(text, NULL, 10);
    return errno != 0 || bytes > SIZE_MAX - 1 ? SIZE_MAX - 1 : (size_t)bytes;
}

static void check_head(es_http_request *r)
{
    const es_http *http = r->http;
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    const char *host = es_http_request_header(r, "host"), *origin = es_http_request_header(r, "origin");
    if (host == NULL) host = "";
    if (size != NULL && size->header_size > HEAD_BYTES_MAX)
        refuse(r, 431, "headers_too_large", "the request's headers are larger than 16 KiB");
    if (r->path[0] == '\0') refuse(r, 400, "invalid_path", "the request's target is no path");
    if (es_http_request_header(r, "transfer-encoding") != NULL &&
        es_http_request_header(r, "content-length") != NULL)
        refuse(r, 400, "invalid_request",
               "both Transfer-Encoding and Content-Length say how long the body is");
    bool protected_by_place =
        http->options.api_keys == NULL && http->endpoint.loopback && !http->options.allow_anonymous;
    if (protected_by_place && host[0] != '\0' && !es_http_host_is_local(host))
        refuse(r, 403, "host_not_allowed",
               "a server without API keys answers to the names of its own machine only");
    if (origin == NULL) return;
    if (strlen(origin) > ES_HTTP_ORIGIN_MAX || !es_http_origin_allowed(&http->options.cors, origin, host))
        refuse(r, 403, "origin_not_allowed",
               "pages of this origin may not use the server; --cors ORIGIN allows it");
    else
        memcpy(r->origin, origin, strlen(origin) + 1);
}

void es_http_admit(es_http_request *r)
{
    const es_http *http = r->http;
    check_head(r);
    if (r->refused == 0 && strcmp(r->method, "OPTIONS") == 0) return;
    identify(r);
    size_t bytes = stated_bytes(r);
    if (bytes != SIZE_MAX && bytes > http->body_most)
        refuse(r, 413, "body_too_large", "the request's body is larger than the server takes");
    bool own = es_http_pages_have(http, r->path);
    if (own && !es_http_pages_take(r->path, r->method))
        refuse(r, 405, "method_not_allowed",
               es_http_pages_take(r->path, "GET") ? "this path is read with GET" : "this path takes POST");
    if (own) return;
    if (atomic_load(&http->state) == ES_HTTP_LOADING)
        refuse(r, 503, "loading", "the model is still being loaded; GET /health tells how far it is");
    if (atomic_load(&http->state) == ES_HTTP_DRAINING)
        refuse(r, 503, "shutting_down", "the server is being stopped and takes no more requests");
}
