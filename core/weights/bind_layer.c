/* A layer's tensors, each beside its shape and field; what they are called is the source's. */
#include "weights/bind_names.h"

#include <stdio.h>

enum { PREFIX_MAX = ES_BINDER_NAME_BYTES / 4 };

#define COUNT ES_BINDER_COUNT

es_status es_bind_ends(const es_binder *b, const es_names *names, es_model *model)
{
    const es_shape *s = b->shape;
    const es_matrix_item embedding = {names->embedding, s->vocab, s->hidden, &model->embedding};
    const es_matrix_item head = {names->head, s->vocab, s->hidden, &model->head};
    const es_vector_item norm = {names->final_norm, s->hidden, 0, &model->final_norm};
    es_status status = es_binder_rows(b, "", &embedding);
    if (status == ES_OK) status = es_binder_vectors(b, "", &norm, 1);
    if (status != ES_OK) return status;
    if (!s->tied) return es_binder_matrices(b, "", &head, 1);
    model->head = model->embedding;
    return es_binder_to_panels(b, &model->head);
}

es_status es_bind_ffn(const es_binder *b, const char *prefix, const es_ffn_names *names, size_t width,
                      es_ffn *to)
{
    size_t hidden = b->shape->hidden;
    const es_matrix_item items[] = {
        {names->gate, width, hidden, &to->gate},
        {names->up, width, hidden, &to->up},
        {names->down, hidden, width, &to->down},
    };
    return es_binder_matrices(b, prefix, items, COUNT(items));
}

static es_status bind_attention(const es_binder *b, const es_names *names, const char *prefix,
                                es_attention *to)
{
    const es_shape *s = b->shape;
    size_t q_rows = s->heads * (s->nope + s->rope);
    const es_matrix_item always[] = {
        {names->kv_a, s->kv_lora + s->rope, s->hidden, &to->kv_a},
        {names->o, s->hidden, s->heads * s->v, &to->o},
    };
    const es_vector_item always_norm = {names->kv_a_norm, s->kv_lora, 0, &to->kv_a_norm};
    const es_matrix_item full[] = {{names->q, q_rows, s->hidden, &to->q}};
    const es_matrix_item low_rank[] = {
        {names->q_a, s->q_lora, s->hidden, &to->q_a},
        {names->q_b, q_rows, s->q_lora, &to->q_b},
    };
    const es_vector_item low_rank_norm = {names->q_a_norm, s->q_lora, 0, &to->q_a_norm};

    es_status status = s->q_lora == 0 ? es_binder_matrices(b, prefix, full, COUNT(full))
                                      : es_binder_matrices(b, prefix, low_rank, COUNT(low_rank));
    if (status == ES_OK && s->q_lora > 0) status = es_binder_vectors(b, prefix, &low_rank_norm, 1);
    if (status == ES_OK) status = es_binder_matrices(b, prefix, always, COUNT(always));
    if (status == ES_OK) status = es_binder_vectors(b, prefix, &always_norm, 1);
    if (status == ES_OK) status = names->bind_kv_b(b, prefix, to);
    return status;
}

/* An MoE layer's router and shared expert. The choice bias belongs to noaux_tc, and there it is a must:
 * without it the model would quietly choose other experts. */
static es_status bind_moe(const es_binder *b, const es_names *names, const char *prefix, es_layer *to)
{
    const es_shape *s = b->shape;
    const es_vector_item router = {names->router, s->experts, s->hidden, &to->router};
    const es_vector_item bias = {names->router_bias, s->experts, 0, &to->router_bias};
    es_status status = es_binder_vectors(b, prefix, &router, 1);
    if (status == ES_OK && s->topk_method == ES_TOPK_NOAUX) status = es_binder_vectors(b, prefix, &bias, 1);
    if (status != ES_OK || s->shared_experts == 0) return status;
    return es_bind_ffn(b, prefix, &names->shared, s->shared_experts * s->expert_intermediate, &to->ffn);
}

static void prefix_of(const es_names *names, size_t layer, char ret_prefix[PREFIX_MAX])
{
    snprintf(ret_prefix, PREFIX_MAX, "%s%zu.", names->layers, layer);
}

es_status es_bind_layer(const es_binder *b, const es_names *names, size_t layer, es_layer *to)
{
    const es_shape *s = b->shape;
    char prefix[PREFIX_MAX];
    prefix_of(names, layer, prefix);
    const es_vector_item norms[] = {
        {names->attention_norm, s->hidden, 0, &to->attention_norm},
        {names->ffn_norm, s->hidden, 0, &to->ffn_norm},
    };
    es_status status = es_binder_vectors(b, prefix, norms, COUNT(norms));
    if (status == ES_OK) status = bind_attention(b, names, prefix, &to->attention);
    if (status == ES_OK)
        status = to->is_moe ? bind_moe(b, names, prefix, to)
                            : es_bind_ffn(b, prefix, &names->dense, s->dense_intermediate, &to->ffn);
    return status;
}

es_status es_bind_experts(const es_binder *b, const es_names *names, size_t layer, const uint8_t *wanted,
                          es_layer *to)
{
    char prefix[PREFIX_MAX];
    prefix_of(names, layer, prefix);
    return names->bind_experts(b, prefix, wanted, to);
}
