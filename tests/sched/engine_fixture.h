/* What the engine's tests share: models/tiny-r1 with its experts in this process, questions from a seed, and
 * answers to compare byte for byte. */
#ifndef SCHED_ENGINE_FIXTURE_H
#define SCHED_ENGINE_FIXTURE_H

#include "sched/engine.h"

enum { FIXTURE_CONTEXT = 768, FIXTURE_STEP = 64, ANSWER_MAX = 448, TOP = 3 };

/* Group setup and teardown. */
int fixture_open(void **state);
int fixture_close(void **state);

/* What a test's engine has; 0: the fixture's usual. */
typedef struct engine_size {
    size_t pages, chunk, answers, queue, queue_key;
} engine_size;

es_engine *fixture_engine(engine_size size);

const es_model *fixture_model(void);
size_t fixture_vocab(void);

/* The next so many steps fail as if a node were lost. */
void fixture_fail_steps(int count);

/* The step that is computed waits until fixture_release. */
void fixture_hold(void);
void fixture_release(void);

/* A question and what came back. */
typedef struct ask {
    es_request_options options;
    uint32_t prompt[FIXTURE_CONTEXT];
    size_t cancel_after; /* tokens; 0: never */
    es_request *request;

    size_t count;
    uint32_t token[ANSWER_MAX];
    double logprob[ANSWER_MAX];
    es_logprob top[ANSWER_MAX][TOP];
    uint64_t step[ANSWER_MAX];
    bool failed;
    es_err err;
    es_outcome outcome;
    uint64_t end_step;
} ask;

/* A prompt of count tokens from the seed, most new tokens, greedy, with logprobs. */
void ask_make(ask *a, uint32_t seed, size_t count, size_t most);

/* Asks; fails the test when refused. */
void ask_submit(ask *a, es_engine *engine);

/* Takes events to the end and closes the request. */
void ask_finish(ask *a);

/* Both, on an engine where nothing else runs and nothing is known. */
void ask_alone(ask *a, es_engine *engine);

/* Fails the test unless both have the same tokens, logprobs and top, to the bit; of the longer one only as
 * much as the shorter has when prefix. */
void ask_compare(const ask *a, const ask *alone, bool prefix);

/* Waits until the engine's cache is cleared and nothing runs; fails the test when pages stay in use. */
void fixture_expect_no_pages(es_engine *engine);

es_engine_stats fixture_stats(es_engine *engine);

#endif
