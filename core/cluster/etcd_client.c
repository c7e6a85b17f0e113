/* Calls to etcd's gateway, over libcurl's multi interface: it can be woken. */
#include "cluster/etcd_client.h"

#include "base/clock.h"
#include "base/size.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ENDPOINTS_MAX = 16, URL_MAX = 256, TRY_MS = 2000, CONNECT_MS = 1000, TURNS = 2, SECRET_MAX = 256 };

struct es_etcd {
    es_registry *registry;
    char endpoints[ENDPOINTS_MAX][URL_MAX];
    size_t endpoint_count;
    char *user, *password, *ca, *cert, *key; /* NULL: none */
    unsigned try_ms;
    pthread_mutex_t lock;          /* around what follows */
    size_t current;                /* the endpoint that answered last */
    char token[ES_ETCD_TOKEN_MAX]; /* "": not logged in */
};

struct es_etcd_link {
    es_etcd *etcd;
    CURLM *multi;
    CURL *easy;
    atomic_bool stopped;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool is_loopback(const char *host)
{
    es_endpoint endpoint;
    char text[URL_MAX + 8];
    snprintf(text, sizeof text, "%s:1", host);
    return es_endpoint_parse_bind(text, &endpoint, NULL) == ES_OK && endpoint.loopback;
}

/* A part of a parsed URL, malloc'd by curl; NULL when there is none. */
static char *part_of(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    return curl_url_get(url, part, &text, 0) == CURLUE_OK ? text : NULL;
}

static const char *endpoint_complaint(CURLU *url)
{
    char *scheme = part_of(url, CURLUPART_SCHEME), *host = part_of(url, CURLUPART_HOST),
         *path = part_of(url, CURLUPART_PATH), *query = part_of(url, CURLUPART_QUERY),
         *user = part_of(url, CURLUPART_USER);
    const char *complaint = NULL;
    if (scheme == NULL || host == NULL || (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0))
        complaint = "write https://HOST:PORT";
    else if (user != NULL || query != NULL || (path != NULL && strcmp(path, "/") != 0))
        complaint = "nothing may stand behind HOST:PORT, nor a name before it";
    else if (strcmp(scheme, "http") == 0 && !is_loopback(host))
        complaint = "without https only a loopback address is talked to";
    curl_free(scheme);
    curl_free(host);
    curl_free(path);
    curl_free(query);
    curl_free(user);
    return complaint;
}

static es_status add_endpoint(es_etcd *etcd, const char *text, size_t length, es_err *err)
{
    if (length < 1 || length >= URL_MAX || etcd->endpoint_count == ENDPOINTS_MAX)
        return es_err_set(err, ES_INVALID, "etcd: endpoints: empty, too long, or more than %d",
                          ENDPOINTS_MAX);
    char *to = etcd->endpoints[etcd->endpoint_count++];
    memcpy(to, text, length);
    to[length] = '\0';
    if (length > 1 && to[length - 1] == '/') to[length - 1] = '\0';
    CURLU *url = curl_url();
    const char *complaint = "it is no URL";
    if (url != NULL && curl_url_set(url, CURLUPART_URL, to, 0) == CURLUE_OK)
        complaint = endpoint_complaint(url);
    curl_url_cleanup(url);
    return complaint == NULL ? ES_OK
                             : es_err_set(err, ES_INVALID, "etcd: endpoint \"%s\": %s", to, complaint);
}

static es_status add_endpoints(es_etcd *etcd, const char *text, es_err *err)
{
    if (text == NULL) return es_err_set(err, ES_INVALID, "etcd: no endpoints");
    for (;;) {
        size_t length = strcspn(text, ",");
        es_status status = add_endpoint(etcd, text, length, err);
        if (status != ES_OK || text[length] == '\0') return status;
        text += length + 1;
    }
}

static char *copy_of(const char *text, bool *failed)
{
    char *copy = text != NULL ? strdup(text) : NULL;
    *failed = *failed || (text != NULL && copy == NULL);
    return copy;
}

es_status es_etcd_create(const es_etcd_options *options, es_registry *registry, es_etcd **ret_etcd,
                         es_err *err)
{
    bool failed = false;
    *ret_etcd = NULL;
    pthread_once(&curl_once, start_curl);
    if ((options->user == NULL) != (options->password == NULL))
        return es_err_set(err, ES_INVALID, "etcd: a user and a password go together");
    if ((options->cert == NULL) != (options->key == NULL))
        return es_err_set(err, ES_INVALID, "etcd: a certificate and its key go together");
    es_etcd *etcd = calloc(1, sizeof *etcd);
    if (etcd == NULL) return es_err_set(err, ES_NO_MEMORY, "etcd");
    pthread_mutex_init(&etcd->lock, NULL);
    etcd->registry = registry;
    etcd->try_ms = options->try_ms > 0 ? options->try_ms : TRY_MS;
    etcd->user = copy_of(options->user, &failed);
    etcd->password = copy_of(options->password, &failed);
    etcd->ca = copy_of(options->ca, &failed);
    etcd->cert = copy_of(options->cert, &failed);
    etcd->key = copy_of(options->key, &failed);
    es_status status =
        failed ? es_err_set(err, ES_NO_MEMORY, "etcd") : add_endpoints(etcd, options->endpoints, err);
    if (status != ES_OK) es_etcd_destroy(&etcd);
    *ret_etcd = etcd;
    return status;
}

void es_etcd_destroy(es_etcd **etcd_at)
{
    es_etcd *etcd = *etcd_at;
    if (etcd == NULL) return;
    if (etcd->password != NULL) explicit_bzero(etcd->password, strlen(etcd->password));
    explicit_bzero(etcd->token, sizeof etcd->token);
    pthread_mutex_destroy(&etcd->lock);
    free(etcd->user);
    free(etcd->password);
    free(etcd->ca);
    free(etcd->cert);
    free(etcd->key);
    free(etcd);
    *etcd_at = NULL;
}

es_status es_etcd_link_create(es_etcd *etcd, es_etcd_link **ret_link, es_err *err)
{
    es_etcd_link *link = calloc(1, sizeof *link);
    *ret_link = link;
    if (link != NULL) {
        link->etcd = etcd;
        link->multi = curl_multi_init();
        link->easy = curl_easy_init();
        if (link->multi != NULL && link->easy != NULL) return ES_OK;
    }
    es_etcd_link_destroy(ret_link);
    return es_err_set(err, ES_NO_MEMORY, "etcd");
}

void es_etcd_link_destroy(es_etcd_link **link)
{
    if (*link == NULL) return;
    curl_easy_cleanup((*link)->easy);
    curl_multi_cleanup((*link)->multi);
    free(*link);
    *link = NULL;
}

void es_etcd_link_stop(es_etcd_link *link)
{
    atomic_store(&link->stopped, true);
    curl_multi_wakeup(link->multi);
}

/* One exchange with one endpoint. */
typedef struct exchange {
    const char *url;
    const char *body;
    const char *token;
    bool stream;
    es_etcd_line_fn *on_line; /* of a stream */
    void *context;
    es_etcd_stream lines;
    es_status status; /* what the receiving side says */
    es_err *err;
    char *reply; /* of a call */
    size_t reply_bytes, reply_capacity;
    long http;
} exchange;

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    exchange *x = context;
    size_t bytes = size * count, needed; /* curl's size is 1 */
    if (x->stream) {
        x->status = es_etcd_stream_feed(&x->lines, data, bytes, x->on_line, x->context, x->err);
        return x->status == ES_OK ? bytes : 0;
    }
    if (!es_size_add(x->reply_bytes, bytes, &needed) || needed > ES_ETCD_REPLY_MAX) {
        x->status = es_err_set(x->err, ES_CORRUPT, "etcd: a reply of more than %d bytes", ES_ETCD_REPLY_MAX);
        return 0;
    }
    if (needed > x->reply_capacity) {
        size_t capacity = es_size_max(2 * x->reply_capacity, needed);
        char *reply = realloc(x->reply, capacity);
        if (reply == NULL) {
            x->status = es_err_set(x->err, ES_NO_MEMORY, "etcd: a reply of %zu bytes", needed);
            return 0;
        }
        x->reply = reply;
        x->reply_capacity = capacity;
    }
    memcpy(x->reply + x->reply_bytes, data, bytes);
    x->reply_bytes = needed;
    return bytes;
}

static void set_options(const es_etcd_link *link, exchange *x, struct curl_slist *headers)
{
    const es_etcd *etcd = link->etcd;
    CURL *easy = link->easy;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, x->url);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, x->body);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(x->body));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 5L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    if (etcd->ca != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, etcd->ca);
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
    }
    if (etcd->cert != NULL) {
        curl_easy_setopt(easy, CURLOPT_SSLCERT, etcd->cert);
        curl_easy_setopt(easy, CURLOPT_SSLKEY, etcd->key);
    }
}

/* Waits until the transfer is over. ES_CANCELLED, ES_TIMEOUT, or ES_UNAVAILABLE with curl's words. */
static es_status run(es_etcd_link *link, exchange *x, uint64_t deadline_ns)
{
    for (;;) {
        int running = 0, left;
        if (curl_multi_perform(link->multi, &running) != CURLM_OK)
            return es_err_set(x->err, ES_IO, "etcd: %s: curl failed", x->url);
        const CURLMsg *message = curl_multi_info_read(link->multi, &left);
        if (x->status != ES_OK) return x->status;
        if (message != NULL && message->data.result != CURLE_OK)
            return es_err_set(x->err, ES_UNAVAILABLE, "etcd: %s: %s", x->url,
                              curl_easy_strerror(message->data.result));
        if (message != NULL) return ES_OK;
        int left_ms = es_clock_left_ms(deadline_ns);
        if (atomic_load(&link->stopped)) return es_err_set(x->err, ES_CANCELLED, "etcd: stopped");
        if (left_ms == 0) return es_err_set(x->err, ES_TIMEOUT, "etcd: %s: no answer in time", x->url);
        curl_multi_poll(link->multi, NULL, 0, left_ms, NULL);
    }
}

static es_status transfer(es_etcd_link *link, exchange *x, uint64_t deadline_ns)
{
    char authorization[ES_ETCD_TOKEN_MAX + 32];
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json"), *more;
    more = curl_slist_append(headers, "Expect:");
    if (more != NULL && x->stream) more = curl_slist_append(headers, "Grpc-Metadata-hasleader: true");
    if (more != NULL && x->token[0] != '\0') {
        snprintf(authorization, sizeof authorization, "Authorization: %s", x->token);
        more = curl_slist_append(headers, authorization);
        explicit_bzero(authorization, sizeof authorization);
    }
    es_status status = ES_OK;
    if (headers == NULL || more == NULL) status = es_err_set(x->err, ES_NO_MEMORY, "etcd");
    if (status == ES_OK) {
        set_options(link, x, headers);
        if (curl_multi_add_handle(link->multi, link->easy) != CURLM_OK)
            status = es_err_set(x->err, ES_IO, "etcd: curl failed");
    }
    if (status == ES_OK) {
        status = run(link, x, deadline_ns);
        curl_easy_getinfo(link->easy, CURLINFO_RESPONSE_CODE, &x->http);
        curl_multi_remove_handle(link->multi, link->easy);
    }
    curl_slist_free_all(headers);
    return status;
}

/* What a reply that is an error becomes. */
static es_status refused(const exchange *x, es_etcd_code code, const char *text)
{
    es_status status = ES_INVALID;
    if (code == ES_ETCD_NOT_FOUND)
        status = ES_NOT_FOUND;
    else if (code == ES_ETCD_PERMISSION || code == ES_ETCD_UNAUTHENTICATED)
        status = ES_MISMATCH;
    else if (code == ES_ETCD_UNAVAILABLE || code == ES_ETCD_EXHAUSTED || x->http >= 500)
        status = ES_UNAVAILABLE;
    return es_err_set(x->err, status, "etcd: %s: %.200s", x->url, text);
}

/* One endpoint, one call. *ret_code tells refusals apart. */
static es_status post(es_etcd_link *link, const char *endpoint, const char *path, const char *body,
                      const char *token, uint64_t deadline_ns, json_t **ret_reply, es_etcd_code *ret_code,
                      es_err *err)
{
    char url[URL_MAX + 64];
    const char *text;
    snprintf(url, sizeof url, "%s%s", endpoint, path);
    exchange x = {.url = url, .body = body, .token = token, .err = err};
    *ret_code = ES_ETCD_OK;
    es_status status = transfer(link, &x, deadline_ns);
    if (status == ES_OK) {
        status = es_etcd_reply_parse(x.reply != NULL ? x.reply : "", x.reply_bytes, ret_reply, err);
        if (status == ES_CORRUPT && x.http != 200)
            status = es_err_set(err, ES_UNAVAILABLE, "etcd: %s: HTTP %ld", url, x.http);
    }
    free(x.reply);
    if (status != ES_OK) return status;
    *ret_code = es_etcd_reply_code(*ret_reply, &text);
    if (*ret_code == ES_ETCD_OK && x.http == 200) return ES_OK;
    if (strstr(text, "revision of auth store is old") != NULL) *ret_code = ES_ETCD_UNAUTHENTICATED;
    status = refused(&x, *ret_code, text);
    json_decref(*ret_reply);
    *ret_reply = NULL;
    return status;
}

/* A token of ours into ret_token [ES_ETCD_TOKEN_MAX]: the one we have, or by login. */
static es_status take_token(es_etcd_link *link, const char *endpoint, uint64_t deadline_ns, char *ret_token,
                            es_err *err)
{
    es_etcd *etcd = link->etcd;
    ret_token[0] = '\0';
    if (etcd->user == NULL) return ES_OK;
    pthread_mutex_lock(&etcd->lock);
    strcpy(ret_token, etcd->token);
    pthread_mutex_unlock(&etcd->lock);
    if (ret_token[0] != '\0') return ES_OK;
    json_t *body = json_pack("{s:s, s:s}", "name", etcd->user, "password", etcd->password), *reply = NULL;
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    es_etcd_code code;
    json_decref(body);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "etcd: login");
    es_status status =
        post(link, endpoint, "/v3/auth/authenticate", text, "", deadline_ns, &reply, &code, err);
    explicit_bzero(text, strlen(text));
    free(text);
    if (status != ES_OK)
        return status == ES_INVALID ? es_err_set(err, ES_MISMATCH, "etcd: login refused") : status;
    const json_t *token = json_object_get(reply, "token");
    const char *value = json_string_value(token);
    if (value == NULL || json_string_length(token) >= ES_ETCD_TOKEN_MAX || strpbrk(value, "\r\n") != NULL) {
        status = es_err_set(err, ES_CORRUPT, "etcd: login: no token came back");
    } else {
        strcpy(ret_token, value);
        pthread_mutex_lock(&etcd->lock);
        strcpy(etcd->token, value);
        pthread_mutex_unlock(&etcd->lock);
        es_registry_count(etcd->registry, &etcd->registry->stats.logins);
    }
    json_decref(reply);
    return status;
}

static size_t current_of(es_etcd *etcd)
{
    pthread_mutex_lock(&etcd->lock);
    size_t current = etcd->current;
    pthread_mutex_unlock(&etcd->lock);
    return current;
}

/* The token is of no use any more, unless another thread has replaced it. */
static void forget_token(es_etcd *etcd, const char *token)
{
    pthread_mutex_lock(&etcd->lock);
    if (token == NULL || strcmp(etcd->token, token) == 0) etcd->token[0] = '\0';
    pthread_mutex_unlock(&etcd->lock);
}

/* Turns from endpoint `from` to the next, unless another thread has. */
static void turn_from(es_etcd *etcd, size_t from)
{
    bool turned = false;
    pthread_mutex_lock(&etcd->lock);
    if (etcd->current == from && etcd->endpoint_count > 1) {
        etcd->current = (from + 1) % etcd->endpoint_count;
        turned = true;
    }
    pthread_mutex_unlock(&etcd->lock);
    if (turned) es_registry_count(etcd->registry, &etcd->registry->stats.failovers);
}

void es_etcd_distrust(es_etcd *etcd, es_etcd_code code)
{
    if (code == ES_ETCD_PERMISSION || code == ES_ETCD_UNAUTHENTICATED)
        forget_token(etcd, NULL);
    else
        turn_from(etcd, current_of(etcd));
}

static uint64_t sooner(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

/* One endpoint, with a login when there is none, and once more when the login has expired. */
static es_status try_endpoint(es_etcd_link *link, const char *endpoint, const char *path, const char *body,
                              uint64_t deadline_ns, json_t **ret_reply, es_err *err)
{
    char token[ES_ETCD_TOKEN_MAX];
    es_status status = ES_OK;
    for (int turn = 0; turn < 2; turn++) {
        es_etcd_code code = ES_ETCD_OK;
        status = take_token(link, endpoint, deadline_ns, token, err);
        if (status == ES_OK)
            status = post(link, endpoint, path, body, token, deadline_ns, ret_reply, &code, err);
        if (code != ES_ETCD_UNAUTHENTICATED || link->etcd->user == NULL) break;
        forget_token(link->etcd, token);
    }
    explicit_bzero(token, sizeof token);
    return status;
}

es_status es_etcd_call(es_etcd_link *link, const char *path, json_t *body, uint64_t deadline_ns,
                       json_t **ret_reply, es_err *err)
{
    es_etcd *etcd = link->etcd;
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    *ret_reply = NULL;
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "etcd: request");
    es_status status = ES_OK;
    for (size_t turn = 0; turn < TURNS * etcd->endpoint_count; turn++) {
        size_t at = current_of(etcd);
        uint64_t now_ns = es_clock_now_ns();
        if (turn > 0 && now_ns >= deadline_ns) break;
        uint64_t until_ns = sooner(deadline_ns, now_ns + etcd->try_ms * 1000000ull);
        status = try_endpoint(link, etcd->endpoints[at], path, text, until_ns, ret_reply, err);
        if (status != ES_UNAVAILABLE && status != ES_TIMEOUT && status != ES_CORRUPT) break;
        turn_from(etcd, at);
    }
    free(text);
    if (status != ES_OK) es_registry_count(etcd->registry, &etcd->registry->stats.failures);
    return status;
}

es_status es_etcd_watch(es_etcd_link *link, json_t *body, es_etcd_line_fn *on_line, void *context,
                        uint64_t deadline_ns, es_err *err)
{
    es_etcd *etcd = link->etcd;
    char url[URL_MAX + 64], token[ES_ETCD_TOKEN_MAX];
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "etcd: watch");
    const char *endpoint = etcd->endpoints[current_of(etcd)];
    snprintf(url, sizeof url, "%s/v3/watch", endpoint);
    uint64_t login_ns = es_clock_now_ns() + etcd->try_ms * 1000000ull;
    es_status status = take_token(link, endpoint, sooner(deadline_ns, login_ns), token, err);
    exchange x = {.url = url,
                  .body = text,
                  .token = token,
                  .stream = true,
                  .on_line = on_line,
                  .context = context,
                  .err = err};
    if (status == ES_OK) status = transfer(link, &x, deadline_ns);
    if (status == ES_OK)
        status = es_err_set(err, ES_UNAVAILABLE, "etcd: %s: the stream ended, HTTP %ld", url, x.http);
    if (x.http == 401) forget_token(etcd, token);
    es_etcd_stream_fini(&x.lines);
    explicit_bzero(token, sizeof token);
    free(text);
    return status;
}
