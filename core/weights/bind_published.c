/* What a published checkpoint calls a model's tensors. */
#include "weights/bind_names.h"

#include <stdio.h>

static es_status bind_kv_b(const es_binder *b, const char *prefix, es_attention *to)
{
    const es_shape *s = b->shape;
    es_matrix whole;
    const es_matrix_item item = {"self_attn.kv_b_proj", s->heads * (s->nope + s->v), s->kv_lora, &whole};
    es_status status = es_binder_rows(b, prefix, &item);
    return status == ES_OK ? es_binder_split_kv_b(b, &whole, to) : status;
}

static es_status bind_experts(const es_binder *b, const char *prefix, const uint8_t *wanted, es_layer *to)
{
    static const es_ffn_names NAMES = {"gate_proj", "up_proj", "down_proj"};
    const es_shape *s = b->shape;
    es_ffn *experts = NULL;
    for (size_t e = 0; e < s->experts; e++) {
        if (wanted != NULL && wanted[e] == 0) continue;
        if (experts == NULL) experts = es_arena_take(b->arena, s->experts, sizeof *experts);
        if (experts == NULL) return es_binder_no_memory(b, "list of experts");
        char expert[ES_BINDER_NAME_BYTES / 2];
        snprintf(expert, sizeof expert, "%smlp.experts.%zu.", prefix, e);
        es_status status = es_bind_ffn(b, expert, &NAMES, s->expert_intermediate, &experts[e]);
        if (status != ES_OK) return status;
    }
    to->experts = experts;
    return ES_OK;
}

const es_names ES_NAMES_PUBLISHED = {
    .config = "config.json",
    .embedding = "model.embed_tokens",
    .head = "lm_head",
    .final_norm = "model.norm.weight",
    .layers = "model.layers.",
    .attention_norm = "input_layernorm.weight",
    .ffn_norm = "post_attention_layernorm.weight",
    .q = "self_attn.q_proj",
    .q_a = "self_attn.q_a_proj",
    .q_a_norm = "self_attn.q_a_layernorm.weight",
    .q_b = "self_attn.q_b_proj",
    .kv_a = "self_attn.kv_a_proj_with_mqa",
    .kv_a_norm = "self_attn.kv_a_layernorm.weight",
    .o = "self_attn.o_proj",
    .router = "mlp.gate.weight",
    .router_bias = "mlp.gate.e_score_correction_bias",
    .dense = {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    .shared = {"mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj", "mlp.shared_experts.down_proj"},
    .bind_kv_b = bind_kv_b,
    .bind_experts = bind_experts,
};
