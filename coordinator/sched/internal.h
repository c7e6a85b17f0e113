/* The engine's own structs, for the files of this room. */
#ifndef ES_SCHED_INTERNAL_H
#define ES_SCHED_INTERNAL_H

#include "sched/engine.h"
#include "sched/places.h"
#include "sched/prefix_cache.h"
#include "sched/shares.h"

#include <pthread.h>
#include <stdatomic.h>

typedef enum es_sequence_state {
    ES_SEQUENCE_HELD,    /* another answer of the request computes the prompt for it */
    ES_SEQUENCE_WAITING, /* in its share's line */
    ES_SEQUENCE_RUNNING,
    ES_SEQUENCE_OVER
} es_sequence_state;

/* One answer. The engine's thread owns it from acceptance on. */
struct es_sequence {
    es_request *request;
    uint32_t choice;
    es_sequence_state state;
    uint64_t arrival; /* order of acceptance, from 1; the same for all answers of a request */
    es_share *share;
    es_sequence *line_next; /* while waiting */

    uint32_t *tokens; /* [room]: prompt and answer; NULL before an answer but the first begins */
    size_t count, room;
    size_t length;     /* tokens whose entries stand in kv; the others are to be computed */
    size_t planned;    /* of them in the step under way */
    bool wants_logits; /* the step under way computes its last token */
    es_kv *kv;         /* NULL unless running */
    uint32_t node;     /* of the prefix cache: the last whole page it knows of this sequence */
    size_t node_pages; /* pages up to there */

    es_draw draw;
    es_constraint *constraint;
    es_outcome outcome;
    bool began;   /* was running before */
    bool resumed; /* was preempted */
    uint64_t admitted_ns, first_token_ns, last_token_ns;
};

/* Shared by who asked and the engine: each holds it until done with it. */
struct es_request {
    atomic_int holders;
    atomic_bool cancelled;
    atomic_uint stopped; /* bit i: answer i is to end */
    atomic_bool starved; /* the engine waits for events to be taken */
    es_queue *events;    /* items: es_event, then top_logprobs es_logprob */
    es_queue *inbox;     /* the engine's, to poke */
    uint8_t *taken;      /* who asked: the item taken last */
    es_err err;          /* set before FAILED is pushed */

    /* The engine's. */
    char id[ES_REQUEST_ID_MAX + 1]; /* "-" when it has none */
    es_request *next;               /* of the engine's list */
    uint32_t *stop;
    size_t stop_count;
    size_t prompt_count;
    size_t most; /* tokens of an answer */
    bool wants_logprobs;
    size_t top_logprobs;
    es_constraint_plan *plan; /* or NULL */
    uint64_t key, submitted_ns, deadline_ns;
    bool queued; /* has a place */
    size_t choices, live;
    es_sequence sequence[]; /* [choices] */
};

struct es_engine {
    es_engine_options options;
    size_t context;
    pthread_t thread;
    bool started;

    /* Shared. */
    es_queue *inbox;   /* items: es_request * */
    es_places *places; /* of those that wait for their first step */
    atomic_size_t open;
    atomic_bool draining, stopping, clear_cache;
    atomic_ullong refused;
    pthread_mutex_t board_lock; /* of what follows */
    es_engine_stats board;
    double request_seconds;    /* a request's time from first step to end, as of late */
    es_swarm_node_info *nodes; /* [ES_SWARM_NODES_MAX] */
    size_t node_count;
    float *heat; /* [layers][experts] */

    /* The thread's. */
    es_kv_pool *pool;
    es_prefix_cache *cache;
    es_sampler *sampler;
    es_shares *shares;
    es_request *requests;  /* accepted and not over */
    es_sequence **running; /* [running_max], the first running_count of them set, in order of admission */
    size_t running_count;
    es_sequence **stepped; /* [running_max]: in the step under way */
    size_t *stepped_rows;  /* [running_max]: rows of each */
    size_t stepped_count;
    uint64_t *named; /* [running_max]: arrivals of the requests that the swarm knows to be computed */
    size_t named_count;
    es_forward_row *rows; /* [step_rows] */
    float *logits;        /* [running_max][vocab] */
    uint64_t *mask;       /* [ceil(vocab / 64)] */
    uint8_t *item;        /* an event and its top */
    uint64_t arrivals;
    size_t closed; /* requests let go of and still counted as open */
    es_engine_stats stats;
    double spent_seconds;  /* request_seconds, the thread's copy */
    uint64_t heat_read_ns; /* when heat was brought up to date */
};

/* request.c */

/* Checks options against the engine and makes a request of it, held once by who asked and once by the engine.
 */
es_status es_request_create(const es_engine *engine, const es_request_options *options,
                            es_request **ret_request, es_err *err);
void es_request_release(es_request *request);

/* The item that an event of this request is, its top behind it. */
size_t es_request_item_bytes(const es_request *request);

/* answer.c: the course of an answer, on the engine's thread. */

/* Puts the sequence in its share's line. */
void es_answer_queue(es_engine *engine, es_sequence *sequence);

/* A waiting sequence begins to run when its pages can be had; false: not now. */
bool es_answer_admit(es_engine *engine, es_sequence *sequence);

/* A running one gives its pages back and waits again. */
void es_answer_preempt(es_engine *engine, es_sequence *sequence);

/* Lets the prefix cache know of the sequence's whole pages; all: of the last, partly filled one too. */
void es_answer_remember(es_engine *engine, es_sequence *sequence, bool all);

/* The next token from logits [vocab]: tells it, ends the answer when it was the last. */
void es_answer_advance(es_engine *engine, es_sequence *sequence, const float *logits);

void es_answer_finish(es_engine *engine, es_sequence *sequence, es_finish finish);

/* Ends all answers of the request. */
void es_answer_fail(es_engine *engine, es_request *request, const es_err *err);

/* step.c */

/* Admits, computes one step and advances its sequences. False: there was nothing to compute. */
bool es_step_run(es_engine *engine);

#endif
