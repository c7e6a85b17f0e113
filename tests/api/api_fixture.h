/* What the API's tests share: an API on an engine with models/tiny-r1, calls made of bytes, and replies taken
 * apart. */
#ifndef API_FIXTURE_H
#define API_FIXTURE_H

#include "api/api.h"
#include "engine_fixture.h"

#include <jansson.h>

/* Group setup and teardown: model, engine and API. */
int api_open(void **state);
int api_close(void **state);

/* A fresh engine of another size, with an API on it. */
void api_restart(engine_size size);
es_engine *api_engine(void);
es_api *api_of_tests(void);

enum { REPLY_EVENTS_MAX = 1024 };

/* A response that has ended. */
typedef struct reply {
    es_api_head head;
    char *text; /* the body, NUL-terminated */
    size_t bytes;
    json_t *json; /* of a whole body */
    json_t *event[REPLY_EVENTS_MAX];
    char *name[REPLY_EVENTS_MAX]; /* "event:" lines; NULL: none */
    size_t events;
    bool done; /* ended with [DONE] */
    size_t keep_alives;
    es_api_summary summary;
} reply;

/* Begins a call; body is a NUL-terminated text, NULL: none. */
es_api_call *begin(const char *method, const char *path, const char *body);
es_api_call *begin_bytes(const char *method, const char *path, const uint8_t *body, size_t bytes,
                         const char *version);

/* Pulls until the end, room bytes at a time, and closes the call. Fails the test when the shapes of head and
 * body do not fit. */
void finish_call(es_api_call **call, size_t room, reply *ret_reply);

/* Begins a streaming POST and waits for its head; then the step that is computed waits, and fails when it is
 * released. */
es_api_call *begin_and_break(const char *path, const char *body);

void ask_api(const char *method, const char *path, const char *body, reply *ret_reply);
void drop_reply(reply *r);

/* The value at a path as "choices.0.delta.content"; NULL when it is not there. */
const json_t *at(const json_t *json, const char *path);
const char *text_at(const json_t *json, const char *path); /* fails the test when it is no string */
json_int_t number_at(const json_t *json, const char *path);

/* Fails the test unless the reply is an error of this status, about param (NULL: null), whose message holds
 * part. */
void expect_error(const reply *r, unsigned status, const char *param, const char *part);
void expect_text(const char *text, const char *expected);

/* A request and the error that it is answered with, in OpenAI's shape. */
typedef struct refusal {
    const char *body;
    unsigned status;
    const char *param, *part;
} refusal;
void expect_refusals(const char *path, const refusal *cases, size_t count);

/* Breaks a streaming POST (see begin_and_break): its last event is an error, whose field has this value. */
void expect_broken_stream(const char *path, const char *body, const char *field, const char *value);

/* The value of a header, or NULL. */
const char *header_of(const reply *r, const char *name);

#endif
