/* How often each expert was chosen of late. */
#include "model/heat.h"

#include <math.h>

es_status es_heat_init(es_heat *heat, const es_shape *shape, es_arena *arena, es_err *err)
{
    *heat = (es_heat){.layers = shape->layers, .experts = shape->experts};
    if (shape->experts == 0) return ES_OK;
    heat->fresh = es_arena_take(arena, heat->layers, heat->experts * sizeof *heat->fresh);
    heat->counts = es_arena_take(arena, heat->layers, heat->experts * sizeof *heat->counts);
    if (heat->fresh == NULL || heat->counts == NULL)
        return es_err_set(err, ES_NO_MEMORY, "counts of %zu experts", heat->layers * heat->experts);
    return ES_OK;
}

void es_heat_count(es_heat *heat, size_t layer, const uint32_t *expert, size_t count)
{
    uint32_t *fresh = heat->fresh + layer * heat->experts;
    for (size_t i = 0; i < count; i++) fresh[expert[i]]++;
}

void es_heat_fold(es_heat *heat, uint64_t now_ns)
{
    float kept = expf(-(float)(now_ns - heat->folded_ns) * 1e-9f / ES_HEAT_DECAY_S);
    heat->folded_ns = now_ns;
    for (size_t i = 0; i < heat->layers * heat->experts; i++) {
        heat->counts[i] = heat->counts[i] * kept + (float)heat->fresh[i];
        heat->fresh[i] = 0;
    }
}
