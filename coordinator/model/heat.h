/* How often each expert was chosen of late. */
#ifndef ES_MODEL_HEAT_H
#define ES_MODEL_HEAT_H

#include "base/arena.h"
#include "essaim/model.h"

/* What was chosen this long ago counts 1/e. */
enum { ES_HEAT_DECAY_S = 60 };

/* Caller's storage, memory in its arena. Owned by the thread that runs the step: counting is one addition. */
typedef struct es_heat {
    size_t layers, experts;
    uint32_t *fresh; /* [layers][experts]: chosen since the last fold; dense layers stay 0 */
    float *counts;   /* [layers][experts]: up to the last fold, decayed */
    uint64_t folded_ns;
} es_heat;

/* ES_NO_MEMORY. A model without routed experts has none to count. */
es_status es_heat_init(es_heat *heat, const es_shape *shape, es_arena *arena, es_err *err);

/* Counts the experts [count] that rows of a layer go to. */
void es_heat_count(es_heat *heat, size_t layer, const uint32_t *expert, size_t count);

/* Brings counts up to now_ns (an es_clock_now_ns value, never less than the one before). */
void es_heat_fold(es_heat *heat, uint64_t now_ns);

#endif
