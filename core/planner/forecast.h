/* Will it fit, and how fast will it be: a model on a list of machines. */
#ifndef ES_PLANNER_FORECAST_H
#define ES_PLANNER_FORECAST_H

#include "planner/cost.h"
#include "planner/layout.h"

enum { ES_FORECAST_SPEEDS = 3, ES_FORECAST_PROMPTS = 2, ES_ADVICE_MAX = 6 };

typedef struct es_forecast_question {
    const es_shape *shape;
    es_format format;
    size_t kv_value_bytes;
    const es_machine *machines; /* [machine_count], 1 to ES_MACHINES_MAX */
    size_t machine_count;
    bool any_mode; /* the fastest of all; else mode */
    es_layout_mode mode;
    size_t copies;       /* of each expert, for replicate: 2 to ES_LAYOUT_COPIES_MAX */
    size_t context;      /* tokens each stream has behind it */
    size_t kv_streams;   /* streams of that context that the coordinator's memory has to hold */
    size_t coordinators; /* that share the experts, each with a part of the streams; those beside the first
                            are further machines like it */
    bool encrypted;
} es_forecast_question;

typedef enum es_bottleneck {
    ES_BOTTLENECK_COORDINATOR,
    ES_BOTTLENECK_EXPERTS,
    ES_BOTTLENECK_NETWORK
} es_bottleneck;

const char *es_bottleneck_name(es_bottleneck bottleneck);

/* One step of rows rows: where its seconds go. */
typedef struct es_forecast_step {
    double seconds;
    double coordinator_s;                 /* matrices of attention, dense layers, head, router, joins */
    double attend_s;                      /* attention over the cache */
    double shared_s;                      /* shared experts, hidden behind the exchange or not */
    double network_s;                     /* round trips, bytes, encryption */
    double experts_s;                     /* the busiest host's */
    double nodes_contacted, expert_bytes; /* of a layer, the busiest node's */
} es_forecast_step;

typedef struct es_forecast_speed {
    size_t streams;
    es_forecast_step step;
    double tokens_per_s, tokens_per_s_each;
    es_bottleneck bottleneck;
} es_forecast_speed;

/* A machine's part. */
typedef struct es_forecast_machine {
    bool coordinates;
    double experts;       /* of each layer */
    double weights_bytes; /* experts, and the backbone where it coordinates */
    double needs_bytes;   /* with KV cache and what a process needs beside */
} es_forecast_machine;

typedef struct es_forecast {
    bool fits;
    char why[256]; /* what is missing when it does not fit */
    double total_needs_bytes, total_has_bytes;
    es_layout_mode mode;
    size_t coordinator; /* index of its machine */
    es_forecast_machine machine[ES_MACHINES_MAX];
    es_forecast_speed speed[ES_FORECAST_SPEEDS]; /* 1, 8 and 64 streams */
    double first_token_s[ES_FORECAST_PROMPTS];   /* of 1,024 and 8,192 tokens */
} es_forecast;

/* ES_INVALID when the question makes no sense. That it does not fit is no error. */
es_status es_forecast_make(const es_forecast_question *question, es_forecast *ret_forecast, es_err *err);

/* What to change first: the same question with one thing changed, best first. */
typedef struct es_advice {
    char change[160]; /* "a faster network card (10 Gbit/s) in every machine" */
    double tokens_per_s[ES_FORECAST_SPEEDS];
    bool fits;
    double gain; /* of the streams' speeds, geometric mean of the ratios; for what did not fit: 0 */
} es_advice;

/* Up to ES_ADVICE_MAX changes that help (by 3 % or more, or that make it fit). */
es_status es_forecast_advise(const es_forecast_question *question, const es_forecast *now,
                             es_advice *ret_advice, size_t *ret_count, es_err *err);

#endif
