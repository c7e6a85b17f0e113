/* The API's calls, scripted, for tests of the transport alone: the path says what a call does.
 *   /echo            the body, at once
 *   /bytes/N         N bytes, at once
 *   /events/N/MS     an event stream of N events, MS milliseconds apart
 *   /later/MS        a JSON answer after so long
 *   anything else    404 */
#include "api/api.h"

#include "base/clock.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct es_api {
    atomic_size_t open;
};

struct es_api_call {
    es_api *api;
    es_queue_wake_fn *wake;
    void *context;
    pthread_t thread;
    bool threaded, streams, sent_end;
    unsigned status;
    atomic_bool stop;
    atomic_size_t ready; /* events, or 1 for an answer that came later */
    size_t events, taken, interval_ms;
    uint8_t *body;
    size_t bytes, at;
};

es_status es_api_create(const es_api_options *options, es_api **ret_api, es_err *err)
{
    (void)options;
    *ret_api = calloc(1, sizeof **ret_api);
    return *ret_api != NULL ? ES_OK : es_err_set(err, ES_NO_MEMORY, "double");
}

void es_api_destroy(es_api **api)
{
    ES_ASSERT(*api == NULL || atomic_load(&(*api)->open) == 0);
    free(*api);
    *api = NULL;
}

static void *produce(void *arg)
{
    es_api_call *c = arg;
    for (size_t i = 0; i < c->events && !atomic_load(&c->stop); i++) {
        uint64_t until = es_clock_now_ns() + c->interval_ms * 1000000u;
        while (es_clock_now_ns() < until && !atomic_load(&c->stop))
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        if (atomic_load(&c->stop)) break;
        atomic_fetch_add(&c->ready, 1);
        c->wake(c->context);
    }
    return NULL;
}

static void set_body(es_api_call *c, unsigned status, const void *data, size_t bytes)
{
    c->status = status;
    c->body = malloc(bytes + 1);
    ES_ASSERT(c->body != NULL);
    if (data != NULL)
        memcpy(c->body, data, bytes);
    else
        memset(c->body, 'x', bytes);
    c->bytes = bytes;
}

es_api_call *es_api_begin(es_api *api, const es_api_request *r)
{
    static const char OK[] = "{\"ok\":true}", LOST[] = "{\"error\":{\"code\":\"not_found\"}}";
    es_api_call *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    atomic_fetch_add(&api->open, 1);
    c->api = api;
    c->wake = r->wake;
    c->context = r->context;
    if (strcmp(r->path, "/echo") == 0) {
        set_body(c, 200, r->body_bytes > 0 ? (const void *)r->body : "", r->body_bytes);
    } else if (strncmp(r->path, "/bytes/", 7) == 0) {
        set_body(c, 200, NULL, strtoull(r->path + 7, NULL, 10));
    } else if (sscanf(r->path, "/events/%zu/%zu", &c->events, &c->interval_ms) == 2) {
        c->streams = c->threaded = true;
        c->status = 200;
    } else if (sscanf(r->path, "/later/%zu", &c->interval_ms) == 1) {
        c->threaded = true;
        c->events = 1;
        set_body(c, 200, OK, sizeof OK - 1);
    } else {
        set_body(c, 404, LOST, sizeof LOST - 1);
    }
    if (c->threaded) ES_ASSERT(pthread_create(&c->thread, NULL, produce, c) == 0);
    return c;
}

bool es_api_call_head(es_api_call *c, es_api_head *h)
{
    if (c->threaded && atomic_load(&c->ready) == 0) return false;
    *h = (es_api_head){.status = c->status,
                       .content_type = c->streams ? "text/event-stream" : "application/json",
                       .streams = c->streams,
                       .content_bytes = c->bytes};
    return true;
}

es_api_pulled es_api_call_pull(es_api_call *c, char *out, size_t room, size_t *ret_bytes)
{
    if (c->streams && c->at == c->bytes) {
        char line[64];
        if (c->sent_end) return ES_API_END;
        if (c->taken < c->events && c->taken == atomic_load(&c->ready)) return ES_API_WAIT;
        c->sent_end = c->taken == c->events;
        int length = c->sent_end ? snprintf(line, sizeof line, "data: [DONE]\n\n")
                                 : snprintf(line, sizeof line, "data: {\"event\": %zu}\n\n", c->taken++);
        free(c->body);
        set_body(c, 200, line, (size_t)length);
        c->at = 0;
    }
    if (c->at == c->bytes) return ES_API_END;
    *ret_bytes = c->bytes - c->at < room ? c->bytes - c->at : room;
    memcpy(out, c->body + c->at, *ret_bytes);
    c->at += *ret_bytes;
    return ES_API_BYTES;
}

es_api_summary es_api_call_summary(const es_api_call *c)
{
    return (es_api_summary){.new_tokens = c->taken, .finish = c->sent_end ? "stop" : ""};
}

void es_api_call_close(es_api_call **call_at)
{
    es_api_call *c = *call_at;
    if (c == NULL) return;
    atomic_store(&c->stop, true);
    if (c->threaded) pthread_join(c->thread, NULL);
    atomic_fetch_sub(&c->api->open, 1);
    free(c->body);
    free(c);
    *call_at = NULL;
}

size_t es_api_error_body(bool anthropic, unsigned status, const char *code, const char *message, char *out,
                         size_t room)
{
    json_t *error =
        json_pack("{s:{s:s, s:s, s:i}}", "error", "message", message, "code", code, "status", (int)status);
    if (anthropic) json_object_set_new(error, "type", json_string("error"));
    size_t bytes = json_dumpb(error, out, room, JSON_COMPACT);
    json_decref(error);
    return bytes <= room ? bytes : 0;
}
