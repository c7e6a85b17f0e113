/* The API's calls, without a transport: a method, a path and a body go in; a head and the bytes of a response
 * come out. */
#ifndef ES_API_H
#define ES_API_H

#include "base/queue.h"
#include "sched/engine.h"

/* Everything is borrowed for the API's life. */
typedef struct es_api_options {
    es_engine *engine;
    const es_model *model;
    const char
        *model_name;       /* what clients call it; "deepseek-reasoner" and "deepseek-chat" are its aliases */
    const char *model_dir; /* tokenizer, chat layout and generation defaults are read from here */
    const char *style;     /* the chat layout's name; NULL: the one the model's files say */
} es_api_options;

/* Immutable once created, but for its random numbers' and schemas' cache; safe from any thread. */
typedef struct es_api es_api;

es_status es_api_create(const es_api_options *options, es_api **ret_api, es_err *err);

/* Every call was closed before. */
void es_api_destroy(es_api **api);

/* Borrowed for the call that begins it, but wake and context. */
typedef struct es_api_request {
    const char *id;      /* for logs, as es_request_options has it; NULL: none */
    const char *method;  /* "GET", "POST", … */
    const char *path;    /* decoded, without the query and without a leading /v1: "/chat/completions" */
    const char *version; /* the header anthropic-version, or NULL */
    const uint8_t *body; /* [body_bytes], already bounded by the transport */
    size_t body_bytes;
    uint64_t key;           /* whose it is, for fairness */
    es_queue_wake_fn *wake; /* told, from the engine's thread, that pull may have more; must not wait */
    void *context;
} es_api_request;

/* One call under way. One thread at a time. */
typedef struct es_api_call es_api_call;

/* Begins a call. Never waits and never fails: what is wrong with the request is the call's response, as JSON
 * in the shape that the path's clients expect (OpenAI's, Anthropic's below /messages). NULL only when memory
 * is short. */
es_api_call *es_api_begin(es_api *api, const es_api_request *request);

typedef struct es_api_header {
    char name[32], value[64];
} es_api_header;

enum { ES_API_HEADERS_MAX = 6 };

typedef struct es_api_head {
    unsigned status;                          /* 200, 400, … */
    const char *content_type;                 /* static */
    es_api_header header[ES_API_HEADERS_MAX]; /* retry-after, x-should-retry, cache-control, allow, … */
    size_t headers;
    bool streams; /* an event stream; else the whole body is known with the head and content_bytes is its
                     length */
    size_t content_bytes;
} es_api_head;

/* The head; false when it is not known yet: wake will tell. A stream's is known with its first event, or when
 * prefill takes long enough that a keep-alive is due, so that a failure before that still has its own status.
 */
bool es_api_call_head(es_api_call *call, es_api_head *ret_head);

typedef enum es_api_pulled { ES_API_BYTES, ES_API_WAIT, ES_API_END } es_api_pulled;

/* Up to room (at least 1) bytes of the body into out. ES_API_WAIT: none now; ask again when woken, and every
 * second or so, for keep-alives. Never waits. */
es_api_pulled es_api_call_pull(es_api_call *call, char *out, size_t room, size_t *ret_bytes);

/* What the access log says of a call, as far as known. */
typedef struct es_api_summary {
    size_t prompt_tokens, cached_tokens, new_tokens;
    const char *finish; /* static; "" when not over */
    uint64_t first_ns;  /* when the first token came; 0: none did */
} es_api_summary;
es_api_summary es_api_call_summary(const es_api_call *call);

/* Cancels what is not over. wake is not called from its return on. */
void es_api_call_close(es_api_call **call);

/* An error that the transport itself answers with (401, 404, 413, 431, 503 while loading), in the same
 * shapes: writes a JSON body into out [room >= 512]; returns its length. anthropic: that family's shape. */
size_t es_api_error_body(bool anthropic, unsigned status, const char *code, const char *message, char *out,
                         size_t room);

#endif
