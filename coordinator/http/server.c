/* The server from its socket to its end. */
#include "http/internal.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/size.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A connection that neither reads nor writes while it should is given up after STALL_S. Connections of MHD's
 * threads are limited thread by thread. */
enum {
    THREADS = 4,
    CONNECTION_BYTES = 32 * 1024,
    STALL_S = 120,
    BACKLOG = 1024,
    PEM_BYTES_MAX = 1024 * 1024,
    CLOSE_WAIT_MS = 5000,
    OTHER_DESCRIPTORS = 1024
};

static void take_complaint(void *cls, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
static void take_complaint(void *cls, const char *format, va_list args)
{
    es_http *http = cls;
    char text[sizeof http->complaint];
    vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\n")] = '\0';
    if (http->daemon == NULL)
        memcpy(http->complaint, text, sizeof text);
    else
        es_log(ES_LOG_DEBUG, "http: %s", text);
}

static void connection_changes(void *cls, struct MHD_Connection *connection, void **context,
                               enum MHD_ConnectionNotificationCode code)
{
    es_http *http = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        es_http_watch_leave(http->watch, (es_http_link)(uintptr_t)*context);
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    es_http_link link = info != NULL ? es_http_watch_join(http->watch, connection, info->connect_fd) : 0;
    *context = (void *)(uintptr_t)link;
}

static void tick(void *context)
{
    es_http *http = context;
    if (atomic_load(&http->state) != ES_HTTP_LOADING)
        es_http_samples_take(http->samples, http->service.engine);
}

static socklen_t socket_address(const es_endpoint *endpoint, struct sockaddr_storage *address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};
    memset(address, 0, sizeof *address);
    if (endpoint->v6) {
        inet_pton(AF_INET6, endpoint->host, &v6.sin6_addr);
        memcpy(address, &v6, sizeof v6);
        return sizeof v6;
    }
    inet_pton(AF_INET, endpoint->host, &v4.sin_addr);
    memcpy(address, &v4, sizeof v4);
    return sizeof v4;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
    socklen_t bytes = sizeof address;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) return 0;
    memcpy(&v4, &address, sizeof v4);
    memcpy(&v6, &address, sizeof v6);
    return ntohs(address.ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
}

/* A listening socket, non-blocking as MHD wants it; its port goes into endpoint. */
static es_status open_socket(es_endpoint *endpoint, int *ret_fd, es_err *err)
{
    struct sockaddr_storage address;
    socklen_t bytes = socket_address(endpoint, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) return es_err_set(err, ES_IO, "--listen: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, bytes) != 0 || listen(fd, BACKLOG) != 0) {
        int cause = errno;
        close(fd);
        if (cause == EADDRINUSE)
            return es_err_set(err, ES_IO,
                              "port %u of %s is taken by another program; choose one with --listen or --port",
                              (unsigned)endpoint->port, endpoint->host);
        return es_err_set(err, ES_IO, "listening on port %u of %s: %s", (unsigned)endpoint->port,
                          endpoint->host, strerror(cause));
    }
    endpoint->port = bound_port(fd);
    *ret_fd = fd;
    return ES_OK;
}

/* Every connection is a descriptor, and the rest of the program needs some too. */
static es_status raise_descriptors(size_t connections, es_err *err)
{
    struct rlimit limit;
    rlim_t wanted = connections + OTHER_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return ES_OK;
    limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) return ES_OK;
    return es_err_set(err, ES_INVALID,
                      "--connections %zu: this system allows %llu descriptors, %llu are needed", connections,
                      (unsigned long long)limit.rlim_max, (unsigned long long)wanted);
}

static es_status read_files(es_http *http, es_err *err)
{
    const es_http_options *o = &http->options;
    size_t bytes;
    es_status status = ES_OK;
    if (o->api_keys != NULL) status = es_client_keys_load(o->api_keys, &http->keys, err);
    if (status == ES_OK && o->tls_cert != NULL)
        status = es_file_read(o->tls_cert, PEM_BYTES_MAX, &http->tls_cert, &bytes, err);
    if (status == ES_OK && o->tls_key != NULL)
        status = es_file_read(o->tls_key, PEM_BYTES_MAX, &http->tls_key, &bytes, err);
    return status;
}

static es_status start_daemon(es_http *http, int fd, es_err *err)
{
    const es_http_options *o = &http->options;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, http->tls_cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, http->tls_key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t) "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"},
        {MHD_OPTION_END, 0, NULL},
    };
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    if (o->tls_cert != NULL) flags |= MHD_USE_TLS;
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, es_http_request_handle, http, MHD_OPTION_EXTERNAL_LOGGER, take_complaint, http,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)o->connections_per_address, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)STALL_S, MHD_OPTION_URI_LOG_CALLBACK, es_http_request_begin,
        http, MHD_OPTION_NOTIFY_COMPLETED, es_http_request_end, http, MHD_OPTION_NOTIFY_CONNECTION,
        connection_changes, http, MHD_OPTION_ARRAY, o->tls_cert != NULL ? tls : none, MHD_OPTION_END);
    if (http->daemon != NULL) return ES_OK;
    close(fd);
    return es_err_set(err, ES_INVALID, "%s%s", o->tls_cert != NULL ? "HTTPS: " : "HTTP: ",
                      http->complaint[0] != '\0' ? http->complaint : "the server does not start");
}

static es_status open_parts(es_http *http, es_err *err)
{
    const es_http_options *o = &http->options;
    int fd = -1;
    es_status status = es_endpoint_parse_bind(o->listen, &http->endpoint, err);
    if (status != ES_OK) return status;
    if (!http->endpoint.loopback && o->api_keys == NULL && !o->allow_anonymous)
        return es_err_set(err, ES_INVALID,
                          "--listen %s is open to other machines: give --api-keys FILE, or --allow-anonymous",
                          o->listen);
    status = read_files(http, err);
    if (status == ES_OK) status = raise_descriptors(o->connections, err);
    if (status == ES_OK) status = es_http_samples_create(&http->samples, err);
    if (status == ES_OK)
        status = es_http_watch_create(o->connections + THREADS, (unsigned)o->request_timeout_s, tick, http,
                                      &http->watch, err);
    if (status == ES_OK) status = open_socket(&http->endpoint, &fd, err);
    return status == ES_OK ? start_daemon(http, fd, err) : status;
}

/* An address that works on this machine for a server that listens on all. */
static void write_url(es_http *http)
{
    const es_endpoint *e = &http->endpoint;
    const char *host = strcmp(e->host, "0.0.0.0") == 0 ? "127.0.0.1"
                       : strcmp(e->host, "::") == 0    ? "::1"
                                                       : e->host;
    snprintf(http->url, sizeof http->url, e->v6 ? "%s://[%s]:%u" : "%s://%s:%u",
             http->options.tls_cert != NULL ? "https" : "http", host, (unsigned)e->port);
}

es_status es_http_open(const es_http_options *options, const es_http_asset *assets, size_t asset_count,
                       es_http **ret_http, es_err *err)
{
    *ret_http = NULL;
    if (sodium_init() < 0) return es_err_set(err, ES_IO, "libsodium does not start");
    es_http *http = calloc(1, sizeof *http);
    if (http == NULL) return es_err_set(err, ES_NO_MEMORY, "server");
    http->options = *options;
    http->assets = assets;
    http->asset_count = asset_count;
    http->started_ns = es_clock_now_ns();
    http->body_most = options->body_mib * 1024 * 1024;
    http->budget.most = es_size_max(options->bodies_mib * 1024 * 1024, http->body_most);
    randombytes_buf(&http->id_base, sizeof http->id_base);
    pthread_mutex_init(&http->keys_lock, NULL);
    es_http_counts_init(&http->counts);
    es_status status = open_parts(http, err);
    if (status != ES_OK) {
        es_http_close(&http);
        return status;
    }
    write_url(http);
    *ret_http = http;
    return ES_OK;
}

static void nap(void)
{
    nanosleep(&(struct timespec){0, 5000000}, NULL);
}

/* MHD must not be stopped while a connection is suspended. Those sent away end at once; a second round finds
 * what was suspended between. */
static void end_calls(es_http *http)
{
    uint64_t deadline_ns = es_clock_now_ns() + (uint64_t)CLOSE_WAIT_MS * 1000000u;
    while (es_http_calls(http) > 0 && es_clock_left_ms(deadline_ns) > 0) {
        es_http_watch_send_away(http->watch);
        nap();
    }
}

static void wipe(char *text)
{
    if (text != NULL) sodium_memzero(text, strlen(text));
    free(text);
}

void es_http_close(es_http **at)
{
    es_http *http = *at;
    if (http == NULL) return;
    if (http->daemon != NULL) {
        es_http_drain(http);
        es_http_watch_send_away(http->watch);
        end_calls(http);
        MHD_stop_daemon(http->daemon);
    }
    es_http_watch_destroy(&http->watch);
    es_http_samples_destroy(&http->samples);
    es_client_keys_destroy(&http->keys);
    pthread_mutex_destroy(&http->keys_lock);
    pthread_mutex_destroy(&http->counts.lock);
    free(http->tls_cert);
    wipe(http->tls_key);
    free(http);
    *at = NULL;
}

const char *es_http_url(const es_http *http)
{
    return http->url;
}

void es_http_progress(void *context, uint64_t done, uint64_t total)
{
    es_http *http = context;
    atomic_store(&http->loaded, done);
    atomic_store(&http->to_load, total);
}

void es_http_waiting(es_http *http, const char *what)
{
    pthread_mutex_lock(&http->keys_lock);
    snprintf(http->waiting, sizeof http->waiting, "%s", what);
    pthread_mutex_unlock(&http->keys_lock);
}

void es_http_members(es_http *http, es_membership *members, es_join *join)
{
    atomic_store(&http->members, members);
    atomic_store(&http->join, join);
}

void es_http_serve(es_http *http, const es_http_service *service)
{
    http->service = *service;
    es_http_samples_take(http->samples, service->engine);
    int loading = ES_HTTP_LOADING; /* one that drains already goes on draining */
    atomic_compare_exchange_strong(&http->state, &loading, ES_HTTP_SERVING);
}

es_status es_http_reload_keys(es_http *http, es_err *err)
{
    es_client_keys *keys = NULL;
    if (http->options.api_keys == NULL) return ES_OK;
    es_status status = es_client_keys_load(http->options.api_keys, &keys, err);
    if (status != ES_OK) return status;
    pthread_mutex_lock(&http->keys_lock);
    es_client_keys *before = http->keys;
    http->keys = keys;
    pthread_mutex_unlock(&http->keys_lock);
    es_client_keys_destroy(&before);
    return ES_OK;
}

void es_http_drain(es_http *http)
{
    atomic_store(&http->state, ES_HTTP_DRAINING);
}

size_t es_http_calls(const es_http *http)
{
    return atomic_load(&http->calls);
}
