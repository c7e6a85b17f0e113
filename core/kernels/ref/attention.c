/* Heads over one tile of cached entries, with the running maximum and sum of softmax. */
#include "kernels/ref/exp.h"
#include "kernels/ref/set.h"

static void attend_one(const float *q, const float *entries, size_t count, size_t width, size_t latent,
                       float scale, es_attend_state *state, float *out)
{
    float p[ES_KV_TILE];
    KERNEL(dots)(q, width, 1, entries, width, count, width, p, ES_KV_TILE);
    float max = state->max;
    for (size_t j = 0; j < count; j++) {
        p[j] *= scale;
        max = p[j] > max ? p[j] : max;
    }
    float shrink = exp_one(state->max - max);
    for (size_t j = 0; j < count; j++) p[j] = exp_one(p[j] - max);
    state->max = max;
    state->sum = fmaf(state->sum, shrink, KERNEL(sum)(p, count));
    for (size_t i = 0; i < latent; i++) out[i] *= shrink;
    for (size_t j = 0; j < count; j++)
        for (size_t i = 0; i < latent; i++) out[i] = fmaf(p[j], entries[j * width + i], out[i]);
}

void KERNEL(attend_tile)(const float *q, size_t queries, const float *entries, size_t count, size_t width,
                         size_t latent, float scale, es_attend_state *states, float *out)
{
    ES_ASSERT(count <= ES_KV_TILE && latent <= width && queries <= ES_ATTEND_QUERIES_MAX);
    if (count == 0) return;
    for (size_t i = 0; i < queries; i++)
        attend_one(q + i * width, entries, count, width, latent, scale, &states[i], out + i * latent);
}
