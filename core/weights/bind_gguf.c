/* What a GGUF file of architecture deepseek2 calls a model's tensors. */
#include "weights/bind_names.h"

#include <stdio.h>

enum { NAME_MAX_BYTES = ES_BINDER_NAME_BYTES };

#define COUNT ES_BINDER_COUNT

/* Where the heads' parts stand in tensors of their own, [heads][rows][cols] or the same with the first two as
 * one: a matrix a head. */
static es_status bind_heads(const es_binder *b, const char *name, size_t rows, size_t cols,
                            const es_matrix **to)
{
    size_t heads = b->shape->heads;
    const size_t deep[] = {heads, rows, cols}, flat[] = {heads * rows, cols};
    const es_tensor *tensor = es_checkpoint_find(b->checkpoint, name);
    bool is_flat = tensor != NULL && tensor->dims == 2;
    es_status status = es_binder_find(b, name, is_flat ? flat : deep, is_flat ? 2 : 3, &tensor);
    if (status != ES_OK) return status;
    es_matrix *parts = es_arena_take(b->arena, heads, sizeof *parts);
    if (parts == NULL) return es_binder_no_memory(b, name);
    for (size_t h = 0; h < heads && status == ES_OK; h++) {
        parts[h] = es_binder_view(tensor, h * rows, rows, cols);
        status = es_binder_to_panels(b, &parts[h]);
    }
    es_binder_remember(b, tensor, 0, heads * rows);
    *to = parts;
    return status;
}

/* attn_k_b is the key part as absorption needs it: transposed, quantised along the nope values. It is no view
 * of attn_kv_b, and where a file has both it is the smaller. */
static es_status bind_kv_b(const es_binder *b, const char *prefix, es_attention *to)
{
    const es_shape *s = b->shape;
    char keys[NAME_MAX_BYTES], values[NAME_MAX_BYTES];
    snprintf(keys, sizeof keys, "%sattn_k_b.weight", prefix);
    snprintf(values, sizeof values, "%sattn_v_b.weight", prefix);
    if (es_checkpoint_find(b->checkpoint, keys) != NULL) {
        es_status status = bind_heads(b, keys, s->kv_lora, s->nope, &to->k_absorb);
        return status == ES_OK ? bind_heads(b, values, s->v, s->kv_lora, &to->v_up) : status;
    }
    es_matrix whole;
    const es_matrix_item item = {"attn_kv_b", s->heads * (s->nope + s->v), s->kv_lora, &whole};
    es_status status = es_binder_rows(b, prefix, &item);
    return status == ES_OK ? es_binder_split_kv_b(b, &whole, to) : status;
}

/* One projection of a layer's experts is one tensor [experts][rows][cols]; expert e's goes to its place in
 * es_ffn. */
typedef struct expert_item {
    const char *name;
    size_t rows, cols, place;
} expert_item;

static es_status bind_projection(const es_binder *b, const char *prefix, const expert_item *item,
                                 const uint8_t *wanted, es_ffn *experts)
{
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s%s.weight", prefix, item->name);
    const size_t shape[] = {b->shape->experts, item->rows, item->cols};
    const es_tensor *tensor;
    es_status status = es_binder_find(b, name, shape, COUNT(shape), &tensor);
    if (status != ES_OK) return status;
    for (size_t e = 0; e < b->shape->experts && status == ES_OK; e++) {
        if (wanted != NULL && wanted[e] == 0) continue;
        es_matrix *to = (es_matrix *)(void *)((char *)&experts[e] + item->place);
        *to = es_binder_view(tensor, e * item->rows, item->rows, item->cols);
        es_binder_remember(b, tensor, e * item->rows, item->rows);
        status = es_binder_to_panels(b, to);
    }
    return status;
}

static es_status bind_experts(const es_binder *b, const char *prefix, const uint8_t *wanted, es_layer *to)
{
    const es_shape *s = b->shape;
    bool any = wanted == NULL;
    for (size_t e = 0; e < s->experts && !any; e++) any = wanted[e] != 0;
    if (!any) return ES_OK;
    es_ffn *experts = es_arena_take(b->arena, s->experts, sizeof *experts);
    if (experts == NULL) return es_binder_no_memory(b, "list of experts");
    const expert_item items[] = {
        {"ffn_gate_exps", s->expert_intermediate, s->hidden, offsetof(es_ffn, gate)},
        {"ffn_up_exps", s->expert_intermediate, s->hidden, offsetof(es_ffn, up)},
        {"ffn_down_exps", s->hidden, s->expert_intermediate, offsetof(es_ffn, down)},
    };
    es_status status = ES_OK;
    for (size_t i = 0; i < COUNT(items) && status == ES_OK; i++)
        status = bind_projection(b, prefix, &items[i], wanted, experts);
    if (status == ES_OK) to->experts = experts;
    return status;
}

const es_names ES_NAMES_GGUF = {
    .config = "the metadata",
    .embedding = "token_embd",
    .head = "output",
    .final_norm = "output_norm.weight",
    .layers = "blk.",
    .attention_norm = "attn_norm.weight",
    .ffn_norm = "ffn_norm.weight",
    .q = "attn_q",
    .q_a = "attn_q_a",
    .q_a_norm = "attn_q_a_norm.weight",
    .q_b = "attn_q_b",
    .kv_a = "attn_kv_a_mqa",
    .kv_a_norm = "attn_kv_a_norm.weight",
    .o = "attn_output",
    .router = "ffn_gate_inp.weight",
    .router_bias = "exp_probs_b.bias",
    .dense = {"ffn_gate", "ffn_up", "ffn_down"},
    .shared = {"ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"},
    .bind_kv_b = bind_kv_b,
    .bind_experts = bind_experts,
};
