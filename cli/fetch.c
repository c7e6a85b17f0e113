/* Questions to a coordinator's HTTP server. */
#include "cli/fetch.h"

#include "base/size.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 5000 };
static const size_t BYTES_MAX = 64u << 20;

typedef struct body {
    char *text;
    size_t bytes, room;
} body;

/* curl's callback: anything but count ends the transfer. */
static size_t take(char *data, size_t size, size_t count, void *context)
{
    body *b = context;
    size_t more = size * count, needs;
    if (!es_size_add(b->bytes, more, &needs) || needs > BYTES_MAX) return 0;
    if (needs > b->room) {
        size_t room = needs * 2;
        char *text = realloc(b->text, room);
        if (text == NULL) return 0;
        b->text = text;
        b->room = room;
    }
    if (more > 0) memcpy(b->text + b->bytes, data, more);
    b->bytes = needs;
    return more;
}

static es_status transfer(CURL *curl, const cli_server *server, const char *path, const char *post,
                          struct curl_slist **headers, body *b, es_err *err)
{
    char url[1024], header[512], why[CURL_ERROR_SIZE] = "";
    if ((size_t)snprintf(url, sizeof url, "%s%s", server->url, path) >= sizeof url)
        return es_err_set(err, ES_INVALID, "the URL is longer than %zu bytes", sizeof url - 1);
    if (server->key != NULL) {
        if ((size_t)snprintf(header, sizeof header, "Authorization: Bearer %s", server->key) >= sizeof header)
            return es_err_set(err, ES_INVALID, "the key is too long");
        *headers = curl_slist_append(NULL, header);
    }
    if (post != NULL) {
        struct curl_slist *more = curl_slist_append(*headers, "Content-Type: application/json");
        if (more == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", server->url);
        *headers = more;
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, post);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*"); /* a swarm is reached directly */
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, b);
    if (server->ca_file != NULL) curl_easy_setopt(curl, CURLOPT_CAINFO, server->ca_file);
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) return ES_OK;
    return es_err_set(err, ES_UNAVAILABLE, "%s: %s", server->url,
                      why[0] != '\0' ? why : curl_easy_strerror(code));
}

static es_status ask(const cli_server *server, const char *path, const char *post, long *ret_code,
                     json_t **ret_object, es_err *err)
{
    body b = {0};
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    *ret_object = NULL;
    if (curl == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", server->url);
    es_status status = transfer(curl, server, path, post, &headers, &b, err);
    if (status == ES_OK) {
        json_error_t why;
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_code);
        json_t *object = b.bytes > 0 ? json_loadb(b.text, b.bytes, JSON_REJECT_DUPLICATES, &why) : NULL;
        if (json_is_object(object)) {
            *ret_object = object;
        } else {
            json_decref(object);
            status = es_err_set(err, ES_CORRUPT, "%s%s: HTTP %ld, and no JSON object", server->url, path,
                                *ret_code);
        }
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    free(b.text);
    return status;
}

es_status cli_fetch_json(const cli_server *server, const char *path, long *ret_code, json_t **ret_object,
                         es_err *err)
{
    return ask(server, path, NULL, ret_code, ret_object, err);
}

es_status cli_post_json(const cli_server *server, const char *path, const char *post, long *ret_code,
                        json_t **ret_object, es_err *err)
{
    return ask(server, path, post, ret_code, ret_object, err);
}
