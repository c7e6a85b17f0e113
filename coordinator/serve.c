/* The server's life: from the socket to the last answer. */
#include "coordinator/serve.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "base/progress.h"
#include "base/signals.h"
#include "supervise/notify.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MODEL_NAME_MAX = 128, DRAIN_LOOK_MS = 20, WAIT_MS = 60000, TELL_MS = 3000 };

typedef struct server {
    es_http *http;
    es_coordinator *coordinator;
    es_engine *engine;
    es_api *api;
    es_progress progress;
    char model_name[MODEL_NAME_MAX];
    char waiting[ES_ERR_TEXT_MAX]; /* what was logged last */
    uint64_t waiting_ns, alive_ns;
} server;

/* The last part of the model's path, without what a file's name says of its kind. */
static void name_model(const es_serve_options *o, char name[MODEL_NAME_MAX])
{
    static const char GGUF[] = ".gguf";
    const char *path = o->model_name != NULL ? o->model_name : o->coordinator.model_dir;
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (o->model_name == NULL && start > 0 && path[start - 1] != '/') start--;
    if (o->model_name != NULL) start = 0;
    if (end - start > sizeof GGUF - 1 && memcmp(path + end - (sizeof GGUF - 1), GGUF, sizeof GGUF - 1) == 0)
        end -= sizeof GGUF - 1;
    snprintf(name, MODEL_NAME_MAX, "%.*s", (int)(end - start), path + start);
}

/* Both the terminal and /health tell how far loading is. */
static void tell_progress(void *context, uint64_t done, uint64_t total)
{
    server *s = context;
    es_progress_update(&s->progress, done, total);
    es_http_progress(s->http, done, total);
    es_notify_loading(done, total);
}

/* Told again and again: the log hears what is new, at most every few seconds. To a service manager this is no
 * failed start, however long it takes until the nodes are there: it would be killed and never wait long
 * enough. */
static bool tell_waiting(void *context, const char *what)
{
    server *s = context;
    uint64_t now_ns = es_clock_now_ns(), beat_ns = (uint64_t)es_notify_interval_ms() * 1000000u;
    es_http_waiting(s->http, what);
    if (beat_ns > 0 && now_ns - s->alive_ns > beat_ns) {
        s->alive_ns = now_ns;
        es_notify_alive();
    }
    if (strcmp(what, s->waiting) != 0 && now_ns - s->waiting_ns > (uint64_t)TELL_MS * 1000000u) {
        snprintf(s->waiting, sizeof s->waiting, "%s", what);
        s->waiting_ns = now_ns;
        es_log(ES_LOG_WARN, "%s", what);
        es_notify_ready(what);
    }
    return !es_signals_stop_asked();
}

static es_status load(server *s, const es_serve_options *o, es_err *err)
{
    es_progress_init(&s->progress, o->coordinator.model_dir, NULL);
    es_status status = es_coordinator_open(&o->coordinator, tell_progress, s, &s->coordinator, err);
    es_progress_finish(&s->progress);
    if (status == ES_OK)
        es_http_members(s->http, es_coordinator_members(s->coordinator), es_coordinator_join(s->coordinator));
    if (status == ES_OK) status = es_coordinator_wait(s->coordinator, tell_waiting, s, err);
    if (status == ES_OK) status = es_coordinator_engine(s->coordinator, &s->engine, err);
    if (status != ES_OK) return status;
    name_model(o, s->model_name);
    const es_api_options api = {
        .engine = s->engine,
        .model = es_coordinator_model(s->coordinator),
        .model_name = s->model_name,
        .model_dir = o->coordinator.model_dir,
        .style = o->style,
    };
    return es_api_create(&api, &s->api, err);
}

/* A service manager hears that we live while steps go on, or there is nothing to compute. */
static void tell_alive(server *s, uint64_t *steps)
{
    es_engine_stats stats;
    es_engine_get_stats(s->engine, &stats);
    if (stats.steps != *steps || es_engine_open_requests(s->engine) == 0) es_notify_alive();
    *steps = stats.steps;
}

/* Until SIGTERM or SIGINT. */
static void wait_for_signal(server *s)
{
    int interval_ms = es_notify_interval_ms();
    uint64_t steps = 0;
    while (!es_signals_stop_asked()) {
        if (interval_ms > 0) tell_alive(s, &steps);
        struct pollfd fds[] = {{es_signals_fd(), POLLIN, 0}, {es_signals_hangup_fd(), POLLIN, 0}};
        es_err err;
        poll(fds, 2, interval_ms > 0 ? interval_ms : WAIT_MS);
        if (!es_signals_take_hangup()) continue;
        if (es_http_reload_keys(s->http, &err) == ES_OK)
            es_log(ES_LOG_WARN, "API keys were read again");
        else
            es_log(ES_LOG_ERROR, "API keys stay as they were: %s", err.text);
    }
}

static es_status drain(server *s, size_t drain_s, es_err *err)
{
    uint64_t deadline_ns = es_clock_now_ns() + drain_s * 1000000000u;
    es_http_drain(s->http);
    size_t left = es_http_calls(s->http);
    if (left > 0)
        es_log(ES_LOG_WARN, "stopping: %zu answer%s under way may end first; a second signal ends them now",
               left, left == 1 ? "" : "s");
    while ((left = es_http_calls(s->http)) > 0 && es_clock_left_ms(deadline_ns) > 0)
        poll(NULL, 0, DRAIN_LOOK_MS);
    if (left == 0) return ES_OK;
    return es_err_set(err, ES_TIMEOUT, "%zu answer%s cut off after %zu s (--drain)", left,
                      left == 1 ? " was" : "s were", drain_s);
}

static es_status serve(server *s, const es_serve_options *o, es_err *err)
{
    char line[ES_PROCESS_LINE_MAX];
    const es_http_service service = {s->api, s->engine, es_coordinator_model(s->coordinator), s->model_name};
    es_http_serve(s->http, &service);
    snprintf(line, sizeof line, "ready url=%s", es_http_url(s->http));
    if (o->ready_fd > 0) {
        es_status status = es_process_say_ready(o->ready_fd, line, err);
        if (status != ES_OK) return status;
    } else {
        es_log(ES_LOG_INFO, "%s is served at %s", s->model_name, es_http_url(s->http));
    }
    es_notify_ready(es_http_url(s->http));
    wait_for_signal(s);
    es_notify_stopping();
    return drain(s, o->drain_s, err);
}

/* Told to stop before it was ready, it has done what it was told. */
static es_status end_loading(const es_serve_options *o, es_err *err)
{
    bool stopped = err->status == ES_CANCELLED && es_signals_stop_asked();
    if (stopped) {
        es_notify_stopping();
        es_log(ES_LOG_WARN, "%s", err->text);
    }
    es_status status = stopped ? ES_OK : err->status;
    es_process_say_failed(o->ready_fd, err);
    return status;
}

es_status es_serve(const es_serve_options *o, es_err *err)
{
    server s = {0};
    es_status status = es_signals_watch_hangup(err);
    if (status == ES_OK) status = es_http_open(&o->http, ES_HTTP_ASSETS, ES_HTTP_ASSET_COUNT, &s.http, err);
    if (status == ES_OK) status = load(&s, o, err);
    if (status == ES_OK)
        status = serve(&s, o, err);
    else
        status = end_loading(o, err);
    es_http_close(&s.http);
    es_api_destroy(&s.api);
    es_engine_destroy(&s.engine);
    es_coordinator_close(&s.coordinator);
    return status;
}
