/* Shapes that a planner knows by name. */
#include "planner/known_model.h"

#include "weights/json.h"
#include "weights/shape.h"

#include <string.h>

/* R1 and V3 are one shape; source: the published config.json. */
static const char CONFIG[] = "{\"model_type\": \"deepseek_v3\", \"vocab_size\": 129280, \"hidden_size\": "
                             "7168, \"num_hidden_layers\": 61,"
                             " \"first_k_dense_replace\": 3, \"moe_layer_freq\": 1, "
                             "\"num_nextn_predict_layers\": 1, \"intermediate_size\": 18432,"
                             " \"moe_intermediate_size\": 2048, \"n_routed_experts\": 256, "
                             "\"n_shared_experts\": 1, \"num_experts_per_tok\": 8,"
                             " \"n_group\": 8, \"topk_group\": 4, \"scoring_func\": \"sigmoid\", "
                             "\"topk_method\": \"noaux_tc\", \"norm_topk_prob\": true,"
                             " \"routed_scaling_factor\": 2.5, \"num_attention_heads\": 128, "
                             "\"num_key_value_heads\": 128, \"q_lora_rank\": 1536,"
                             " \"kv_lora_rank\": 512, \"qk_nope_head_dim\": 128, \"qk_rope_head_dim\": 64, "
                             "\"v_head_dim\": 128, \"rms_norm_eps\": 1e-06,"
                             " \"rope_theta\": 10000, \"max_position_embeddings\": 163840, \"hidden_act\": "
                             "\"silu\", \"attention_bias\": false,"
                             " \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 40, "
                             "\"original_max_position_embeddings\": 4096, \"beta_fast\": 32,"
                             " \"beta_slow\": 1, \"mscale\": 1.0, \"mscale_all_dim\": 1.0}, "
                             "\"tie_word_embeddings\": false, \"bos_token_id\": 0,"
                             " \"eos_token_id\": 1}";

es_status es_known_model(const char *name, es_shape *ret_shape, es_err *err)
{
    if (strcmp(name, "deepseek-r1") != 0 && strcmp(name, "deepseek-v3") != 0)
        return es_err_set(
            err, ES_NOT_FOUND,
            "no model \"%.60s\" is known by name: deepseek-r1, deepseek-v3, or the path of a model", name);
    const es_json_text config = {name, CONFIG, sizeof CONFIG - 1}, none = {"generation_config.json", NULL, 0};
    return es_shape_parse(&config, &none, ret_shape, err);
}
