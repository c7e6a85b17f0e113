/* What one asks of the engine, and what comes back: token ids in, events out. */
#ifndef ES_SCHED_REQUEST_H
#define ES_SCHED_REQUEST_H

#include "base/queue.h"
#include "essaim/constraint.h"
#include "model/sampler.h"

enum { ES_CHOICES_MAX = 16, ES_TOP_LOGPROBS_MAX = 20, ES_STOP_TOKENS_MAX = 64, ES_REQUEST_ID_MAX = 64 };

/* Borrowed for the call that submits it. */
typedef struct es_request_options {
    const char *id;         /* for logs: up to ES_REQUEST_ID_MAX letters, digits and "._:-"; NULL: none */
    uint64_t key;           /* whose it is: keys share the machine fairly */
    const uint32_t *prompt; /* [prompt_count >= 1] */
    size_t prompt_count;
    size_t choices;       /* answers, 1 to ES_CHOICES_MAX; 0 is 1. Answer i draws with seed + i */
    size_t max_tokens;    /* of one answer; 0: as many as the context holds */
    const uint32_t *stop; /* [stop_count <= ES_STOP_TOKENS_MAX]: tokens that end an answer, no part of it */
    size_t stop_count;
    es_sampling sampling;
    const es_logit_bias *bias;
    size_t bias_count;
    bool wants_logprobs;
    size_t top_logprobs;      /* up to ES_TOP_LOGPROBS_MAX */
    es_constraint_plan *plan; /* what each answer is held to, or NULL; held by the request, its constraints
                                 opened by the engine's thread */
    uint64_t deadline_ns;   /* an es_clock_now_ns value; 0: none. Past it the request fails with ES_TIMEOUT */
    es_queue_wake_fn *wake; /* told, by the engine's thread, of the first event after there was none; may
                             * be NULL. It must not touch the request, and must not wait. */
    void *context;
} es_request_options;

typedef enum es_finish { ES_FINISH_STOP, ES_FINISH_LENGTH, ES_FINISH_CANCELLED } es_finish;

/* "stop", "length", "cancelled". */
const char *es_finish_name(es_finish finish);

/* How an answer ended and what it took. */
typedef struct es_outcome {
    es_finish finish;
    size_t prompt_tokens, cached_tokens, new_tokens; /* cached: of the prompt, not computed again */
    double queue_seconds, prefill_seconds, decode_seconds;
} es_outcome;

typedef enum es_event_kind {
    ES_EVENT_TOKEN,
    ES_EVENT_DONE,  /* the last of one answer */
    ES_EVENT_FAILED /* the last of the whole request */
} es_event_kind;

typedef struct es_event {
    es_event_kind kind;
    uint32_t choice;
    uint64_t step; /* of the engine, counted from 1 */
    uint32_t token;
    double logprob;        /* when wanted */
    size_t top_count;      /* of top: top_logprobs */
    const es_logprob *top; /* borrowed until the next event is taken */
    es_outcome outcome;    /* DONE */
    const es_err *err;     /* FAILED: borrowed until the request is closed */
} es_event;

/* A request under way. One thread at a time takes its events; any may cancel it. */
typedef struct es_request es_request;

/* The next event; false when there is none now. One that takes no events for long is not computed on: at most
 * a few hundred are kept. */
bool es_request_next(es_request *request, es_event *ret_event);

/* The same, waiting up to timeout_ms. */
bool es_request_wait(es_request *request, int timeout_ms, es_event *ret_event);

/* Ends all its answers before the next step: each is DONE with finish cancelled. */
void es_request_cancel(es_request *request);

/* Ends one answer before the next step, as a stop token would: its text has met a stop string. Tokens
 * computed meanwhile still come before its DONE. */
void es_request_stop(es_request *request, uint32_t choice);

/* Cancels what is not over, and forgets the request. From its return on wake is not called. Before the engine
 * is destroyed. */
void es_request_close(es_request **request);

#endif
