/* Questions to a coordinator's HTTP server. */
#include "cli/fetch.h"

#include "base/size.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 5000 };
static const size_t BYTES_MAX = 64u << 20;

const es_option CLI_SERVER_OPTIONS[CLI_SERVER_OPTION_COUNT] = {
    {.name = "--url",
     .kind = ES_OPTION_TEXT,
     .argument = "URL",
     .at = offsetof(cli_server, url),
     .initial = "http://127.0.0.1:8080",
     .help = "the coordinator's server"},
    {.name = "--api-key",
     .kind = ES_OPTION_TEXT,
     .argument = "KEY",
     .at = offsetof(cli_server, key),
     .fallback = "what ESSAIM_API_KEY holds",
     .help = "one of its API keys"},
    {.name = "--ca",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(cli_server, ca_file),
     .fallback = "the system's",
     .help = "certificates to trust"},
};

/* NULL: there is none. A variable that is set and empty is none too, as scripts leave it. */
static const char *key_of(const cli_server *server)
{
    const char *key = server->key != NULL ? server->key : getenv("ESSAIM_API_KEY");
    return key != NULL && key[0] != '\0' ? key : NULL;
}

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
    const char *key = key_of(server);
    if (key != NULL) {
        if ((size_t)snprintf(header, sizeof header, "Authorization: Bearer %s", key) >= sizeof header)
            return es_err_set(err, ES_INVALID, "the API key is too long");
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

/* The server wants a key, or another one. */
static es_status refused(const cli_server *server, const char *path, const json_t *answer, es_err *err)
{
    const char *message = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    return es_err_set(err, ES_INVALID, "%s%s: HTTP 401: %.200s; %s", server->url, path,
                      message != NULL ? message : "no reason given",
                      key_of(server) == NULL ? "give --api-key KEY, or set ESSAIM_API_KEY"
                      : server->key != NULL  ? "it was sent what --api-key says"
                                             : "it was sent what ESSAIM_API_KEY holds");
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
        if (*ret_code == 401) {
            status = refused(server, path, object, err);
            json_decref(object);
        } else if (json_is_object(object)) {
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
