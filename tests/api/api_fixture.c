/* What the API's tests share. */
#include "api_fixture.h"

#include "base/clock.h"
#include "with_cmocka.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAIT_S = 120 };

static es_engine *engine;
static es_api *api;
static sem_t woken;

static void wake(void *context)
{
    (void)context;
    sem_post(&woken);
}

static void start(engine_size size)
{
    es_err err = {0};
    engine = fixture_engine(size);
    const es_api_options options = {.engine = engine,
                                    .model = fixture_model(),
                                    .model_name = "tiny-r1",
                                    .model_dir = ESSAIM_SOURCE_DIR "/models/tiny-r1"};
    if (es_api_create(&options, &api, &err) != ES_OK) fail_msg("%s", err.text);
}

static void stop(void)
{
    es_api_destroy(&api);
    es_engine_destroy(&engine);
}

int api_open(void **state)
{
    sem_init(&woken, 0, 0);
    int failed = fixture_open(state);
    if (failed == 0) start((engine_size){0});
    return failed;
}

int api_close(void **state)
{
    stop();
    sem_destroy(&woken);
    return fixture_close(state);
}

void api_restart(engine_size size)
{
    stop();
    start(size);
}

es_engine *api_engine(void)
{
    return engine;
}

es_api *api_of_tests(void)
{
    return api;
}

es_api_call *begin_bytes(const char *method, const char *path, const uint8_t *body, size_t bytes,
                         const char *version)
{
    const es_api_request request = {.method = method,
                                    .path = path,
                                    .version = version,
                                    .body = body,
                                    .body_bytes = bytes,
                                    .key = 1,
                                    .wake = wake};
    es_api_call *call = es_api_begin(api, &request);
    assert_non_null(call);
    return call;
}

es_api_call *begin(const char *method, const char *path, const char *body)
{
    size_t bytes = body != NULL ? strlen(body) : 0;
    return begin_bytes(method, path, (const uint8_t *)body, bytes, NULL);
}

static void wait_a_little(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    sem_timedwait(&woken, &until);
}

/* One event's lines: comments, a name, data. */
static void take_event(reply *r, char *lines)
{
    char *name = NULL;
    for (char *save, *line = strtok_r(lines, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        if (strcmp(line, ": keep-alive") == 0) {
            r->keep_alives++;
        } else if (strncmp(line, "event: ", 7) == 0) {
            name = line + 7;
        } else if (strcmp(line, "data: [DONE]") == 0) {
            r->done = true;
        } else {
            assert_memory_equal(line, "data: ", 6);
            assert_false(r->done);
            assert_true(r->events < REPLY_EVENTS_MAX);
            json_error_t error;
            json_t *json = json_loads(line + 6, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
            if (json == NULL) fail_msg("%s: %s", error.text, line);
            r->name[r->events] = name;
            r->event[r->events++] = json;
        }
    }
}

static void take_apart(reply *r)
{
    if (!r->head.streams) {
        json_error_t error;
        assert_string_equal(r->head.content_type, "application/json; charset=utf-8");
        assert_int_equal(r->head.content_bytes, r->bytes);
        r->json = json_loads(r->text, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (r->json == NULL) fail_msg("%s: %s", error.text, r->text);
        return;
    }
    assert_string_equal(r->head.content_type, "text/event-stream; charset=utf-8");
    char *at_text = r->text, *end;
    while ((end = strstr(at_text, "\n\n")) != NULL) {
        *end = '\0';
        take_event(r, at_text);
        at_text = end + 2;
    }
    assert_string_equal(at_text, "");
}

void finish_call(es_api_call **call, size_t room, reply *r)
{
    *r = (reply){0};
    uint64_t deadline_ns = es_clock_now_ns() + WAIT_S * 1000000000ull;
    while (!es_api_call_head(*call, &r->head)) {
        assert_true(es_clock_now_ns() < deadline_ns);
        wait_a_little();
    }
    size_t capacity = 1 << 20;
    r->text = malloc(capacity);
    assert_non_null(r->text);
    for (;;) {
        size_t bytes = 0;
        assert_true(r->bytes + room < capacity);
        es_api_pulled pulled = es_api_call_pull(*call, r->text + r->bytes, room, &bytes);
        assert_int_equal(pulled == ES_API_BYTES, bytes > 0);
        assert_true(bytes <= room);
        r->bytes += bytes;
        if (pulled == ES_API_END) break;
        assert_true(es_clock_now_ns() < deadline_ns);
        if (pulled == ES_API_WAIT) wait_a_little();
    }
    r->text[r->bytes] = '\0';
    r->summary = es_api_call_summary(*call);
    es_api_call_close(call);
    assert_null(*call);
    take_apart(r);
}

es_api_call *begin_and_break(const char *path, const char *body)
{
    for (int tries = 0; tries < 100; tries++) {
        es_api_head head;
        es_api_call *call = begin("POST", path, body);
        while (!es_api_call_head(call, &head)) wait_a_little();
        fixture_hold();
        /* On a busy machine the answer may be over before it could be held. */
        if (es_engine_open_requests(engine) > 0) {
            fixture_fail_steps(2); /* a step is computed again once */
            return call;
        }
        fixture_release();
        es_api_call_close(&call);
    }
    fail_msg("no answer could be held");
    return NULL;
}

void ask_api(const char *method, const char *path, const char *body, reply *ret_reply)
{
    es_api_call *call = begin(method, path, body);
    finish_call(&call, 4096, ret_reply);
}

void drop_reply(reply *r)
{
    for (size_t i = 0; i < r->events; i++) json_decref(r->event[i]);
    json_decref(r->json);
    free(r->text);
    *r = (reply){0};
}

const json_t *at(const json_t *json, const char *path)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *save, *part = strtok_r(copy, ".", &save); part != NULL; part = strtok_r(NULL, ".", &save))
        json = json_is_array(json) ? json_array_get(json, (size_t)atoi(part)) : json_object_get(json, part);
    return json;
}

const char *text_at(const json_t *json, const char *path)
{
    const char *text = json_string_value(at(json, path));
    if (text == NULL) {
        char *all = json_dumps(json, 0);
        fail_msg("no text %s in %s", path, all);
    }
    return text;
}

json_int_t number_at(const json_t *json, const char *path)
{
    const json_t *value = at(json, path);
    if (!json_is_integer(value)) fail_msg("no number %s", path);
    return json_integer_value(value);
}

void expect_text(const char *text, const char *expected)
{
    assert_string_equal(text, expected);
}

const char *header_of(const reply *r, const char *name)
{
    for (size_t i = 0; i < r->head.headers; i++)
        if (strcmp(r->head.header[i].name, name) == 0) return r->head.header[i].value;
    return NULL;
}

void expect_error(const reply *r, unsigned status, const char *param, const char *part)
{
    const char *message = text_at(r->json, "error.message");
    if (r->head.status != status || strstr(message, part) == NULL)
        fail_msg("%u %s, expected %u %s", r->head.status, message, status, part);
    assert_int_equal(json_object_size(r->json), 1);
    assert_int_equal(json_object_size(at(r->json, "error")), 4);
    assert_true(strlen(text_at(r->json, "error.type")) > 0);
    assert_true(strlen(text_at(r->json, "error.code")) > 0);
    const json_t *about = at(r->json, "error.param");
    assert_non_null(about);
    if (param == NULL)
        assert_true(json_is_null(about));
    else
        assert_string_equal(json_string_value(about), param);
    bool retry = status == 429 || status == 503;
    assert_int_equal(header_of(r, "retry-after") != NULL, retry);
    assert_int_equal(header_of(r, "x-should-retry") != NULL, !retry);
}

void expect_refusals(const char *path, const refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        reply r;
        ask_api("POST", path, cases[i].body, &r);
        expect_error(&r, cases[i].status, cases[i].param, cases[i].part);
        drop_reply(&r);
    }
}

void expect_broken_stream(const char *path, const char *body, const char *field, const char *value)
{
    reply r;
    es_api_call *call = begin_and_break(path, body);
    fixture_release();
    finish_call(&call, 4096, &r);
    assert_string_equal(r.name[r.events - 1], "error");
    assert_string_equal(text_at(r.event[r.events - 1], field), value);
    drop_reply(&r);
}
