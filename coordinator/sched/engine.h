/* The serving engine: one thread that computes for many requests at once. */
#ifndef ES_SCHED_ENGINE_H
#define ES_SCHED_ENGINE_H

#include "dispatch/swarm.h"
#include "model/forward.h"
#include "sched/request.h"
#include "sched/stats.h"

/* Pointers are borrowed for the engine's life. */
typedef struct es_engine_options {
    es_forward
        *forward; /* from creation to destruction used by the engine's thread alone, with its backend */
    const es_model *model;
    const es_kernels *kernels;
    es_swarm *swarm; /* the forward pass's, to watch and tend its nodes; may be NULL */
    es_trace *trace; /* which forward and swarm write to, and steps too; may be NULL */
    void (*heat)(void *context, const float *counts); /* told what es_engine_get_heat gives, about once a
                                                         second, on the engine's thread; may be NULL */
    void *heat_context;
    es_kv_format kv_format;
    size_t kv_pages;      /* the KV cache's budget, at least 2 */
    size_t context;       /* tokens of a sequence, at most; fewer when kv_pages holds fewer */
    size_t step_rows;     /* of a step, at most what forward was made for */
    size_t chunk_rows;    /* of prompts in a step that also serves running answers, at least 1 */
    size_t running_max;   /* answers computed at once, 1 to step_rows */
    size_t queue_max;     /* requests waiting for their first step, at least 1 */
    size_t queue_key_max; /* of one key; 0: as many */
} es_engine_options;

/* Its own thread owns forward pass, KV cache and all batches; every function here is safe from any thread. */
typedef struct es_engine es_engine;

es_status es_engine_create(const es_engine_options *options, es_engine **ret_engine, es_err *err);

/* Ends the thread before its next step: what is not over fails with ES_UNAVAILABLE. All requests are to be
 * closed between stop and destroy, or before. destroy stops. */
void es_engine_stop(es_engine *engine);
void es_engine_destroy(es_engine **engine);

/* The most tokens of a sequence, prompt and answer. */
size_t es_engine_context(const es_engine *engine);

/* Accepts a request. ES_INVALID: it makes no sense, the text names what (a prompt that leaves no room: with
 * both numbers); ES_BUSY: the queue is full; ES_UNAVAILABLE: no requests are taken any more. */
es_status es_engine_submit(es_engine *engine, const es_request_options *options, es_request **ret_request,
                           es_err *err);

/* Seconds after which one who found the queue full may try again, 1 to 60. */
unsigned es_engine_retry_after_s(es_engine *engine);

/* From here on no request is accepted; those accepted go on to their end. */
void es_engine_drain(es_engine *engine);

/* Requests accepted and not over. */
size_t es_engine_open_requests(es_engine *engine);

/* Forgets the prefixes that no sequence uses, before the next step, and gives the memory back when the cache
 * is empty. */
void es_engine_clear_cache(es_engine *engine);

/* As in its options: for readers. */
es_trace *es_engine_trace(const es_engine *engine);

/* As of the last step. */
void es_engine_get_stats(es_engine *engine, es_engine_stats *ret_stats);

/* The swarm's nodes as of the last step, up to room of them; returns how many there are. */
size_t es_engine_get_nodes(es_engine *engine, es_swarm_node_info *ret_nodes, size_t room);

/* How often each expert was chosen of late, as of at most a second or a step ago: ret_counts
 * [layers][experts] of the model, what was long ago counting less; dense layers are 0. */
void es_engine_get_heat(es_engine *engine, float *ret_counts);

#endif
