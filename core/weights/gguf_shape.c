/* The metadata of a deepseek2 GGUF becomes an es_shape. */
#include "weights/gguf_shape.h"

#include "base/size.h"
#include "essaim/experts.h"
#include "weights/shape_reader.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROW_MAX = ES_SHAPE_ROW_MAX, REQUIRED = ES_SHAPE_REQUIRED, GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };

#define ARCHITECTURE "deepseek2"

/* Of a checkpoint. */
typedef es_shape_reader reader;

static bool is_text(const es_gguf_value *value, const char *text)
{
    return value->type == ES_GGUF_TEXT && value->text.size == strlen(text) &&
           memcmp(value->text.bytes, text, value->text.size) == 0;
}

static bool is_integer(es_gguf_type type)
{
    return type <= ES_GGUF_I32 || type == ES_GGUF_U64 || type == ES_GGUF_I64;
}

static bool look_up(const void *checkpoint, const char *key, es_shape_value *ret_value)
{
    const es_gguf_value *value = es_gguf_find(es_checkpoint_gguf(checkpoint), key);
    if (value == NULL) return false;
    *ret_value = (es_shape_value){.is_integer = is_integer(value->type),
                                  .is_number = value->type == ES_GGUF_F32 || value->type == ES_GGUF_F64,
                                  .is_bool = value->type == ES_GGUF_BOOL,
                                  .integer = value->integer,
                                  .number = value->number};
    return true;
}

/* NULL when key is missing or reading has failed already. */
static const es_gguf_value *find(const reader *in, const char *key)
{
    return in->status == ES_OK ? es_gguf_find(es_checkpoint_gguf(in->from), key) : NULL;
}

static void read_vocabulary(reader *in, es_shape *s)
{
    const es_tensor *embedding = es_checkpoint_find(in->from, "token_embd.weight");
    size_t rows = embedding != NULL && embedding->dims == 2 ? embedding->shape[0] : 0;
    if (rows < 1 || rows > ROW_MAX) {
        es_shape_fail(in, ES_INVALID, "token_embd.weight", "%s",
                      embedding == NULL ? "missing" : "not a matrix of 1 to 2^24 rows");
        return;
    }
    s->vocab = es_shape_size(in, ARCHITECTURE ".vocab_size", 1, ROW_MAX, (long)rows);
    if (s->vocab != rows)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".vocab_size", "%zu, but token_embd.weight has %zu rows",
                      s->vocab, rows);
    s->tied = es_checkpoint_find(in->from, "output.weight") == NULL;
}

/* Files made for latent attention state one key-value head, whose lengths are the latent's, and the true
 * sizes in *_mla keys; older ones state as many heads as queries have, and the true sizes themselves. */
static void read_head_sizes(reader *in, es_shape *s)
{
    static const char KEY_MLA[] = ARCHITECTURE ".attention.key_length_mla",
                      VALUE_MLA[] = ARCHITECTURE ".attention.value_length_mla";
    const char *key_length = KEY_MLA, *value_length = VALUE_MLA;
    size_t kv_heads = es_shape_size(in, ARCHITECTURE ".attention.head_count_kv", 1, 4096, (long)s->heads);
    if (find(in, KEY_MLA) == NULL && find(in, VALUE_MLA) == NULL && (kv_heads == s->heads && s->heads > 0)) {
        key_length = ARCHITECTURE ".attention.key_length";
        value_length = ARCHITECTURE ".attention.value_length";
    } else if (kv_heads != 1 && kv_heads != s->heads) {
        es_shape_fail(in, ES_UNSUPPORTED, ARCHITECTURE ".attention.head_count_kv",
                      "%zu: neither 1 nor head_count %zu", kv_heads, s->heads);
    }
    size_t key = es_shape_size(in, key_length, 3, 8192, REQUIRED);
    s->v = es_shape_size(in, value_length, 1, 4096, REQUIRED);
    s->rope = es_shape_size(in, ARCHITECTURE ".rope.dimension_count", 2, 4096, REQUIRED);
    if (s->rope % 2 != 0)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".rope.dimension_count", "%zu is odd", s->rope);
    if (in->status == ES_OK && (key <= s->rope || key - s->rope > 4096))
        es_shape_fail(in, ES_INVALID, key_length, "%zu leaves no 1 to 4096 values beside the %zu rotary ones",
                      key, s->rope);
    if (in->status != ES_OK) return;
    s->nope = key - s->rope;
    if (s->heads * key > ROW_MAX || s->heads * (s->nope + s->v) > ROW_MAX)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".attention.head_count",
                      "%zu heads of %zu + %zu + %zu values: more than %d in a row", s->heads, s->nope,
                      s->rope, s->v, ROW_MAX);
}

static void read_backbone(reader *in, es_shape *s)
{
    s->hidden = es_shape_size(in, ARCHITECTURE ".embedding_length", 1, 1 << 20, REQUIRED);
    size_t blocks = es_shape_size(in, ARCHITECTURE ".block_count", 1, 1024, REQUIRED);
    s->mtp_layers = es_shape_size(in, ARCHITECTURE ".nextn_predict_layers", 0, 16, 0);
    if (in->status == ES_OK && s->mtp_layers >= blocks)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".nextn_predict_layers", "%zu of block_count %zu",
                      s->mtp_layers, blocks);
    s->layers = in->status == ES_OK ? blocks - s->mtp_layers : 0;
    s->dense_intermediate = es_shape_size(in, ARCHITECTURE ".feed_forward_length", 1, 1 << 20, REQUIRED);
    s->heads = es_shape_size(in, ARCHITECTURE ".attention.head_count", 1, 4096, REQUIRED);
    s->q_lora = es_shape_size(in, ARCHITECTURE ".attention.q_lora_rank", 0, 1 << 16, 0);
    s->kv_lora = es_shape_size(in, ARCHITECTURE ".attention.kv_lora_rank", 1, 1 << 16, REQUIRED);
    s->context = es_shape_size(in, ARCHITECTURE ".context_length", 1, ROW_MAX, REQUIRED);
    s->rms_eps = (float)es_shape_number(in, ARCHITECTURE ".attention.layer_norm_rms_epsilon", 1e-20, 1, NAN);
    s->rope_theta = es_shape_number(in, ARCHITECTURE ".rope.freq_base", 1.0001, 1e12, 10000);
    read_head_sizes(in, s);
}

/* True when every MoE layer up to the first that lacks one has a choice bias; the first tells. */
static bool has_choice_bias(const reader *in, const es_shape *s)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%zu.exp_probs_b.bias", s->dense_layers);
    return es_checkpoint_find(in->from, name) != NULL;
}

/* Missing groups: R1 and V3 of before there were keys for them, known by 256 experts, sigmoid and a choice
 * bias; else there are none. */
static void read_groups(reader *in, es_shape *s)
{
    static const char COUNT_KEY[] = ARCHITECTURE ".expert_group_count",
                      USED_KEY[] = ARCHITECTURE ".expert_group_used_count";
    bool is_v3 = s->experts == 256 && s->score_fn == ES_SCORE_SIGMOID && s->topk_method == ES_TOPK_NOAUX;
    bool stated = find(in, COUNT_KEY) != NULL;
    s->groups = es_shape_size(in, COUNT_KEY, 0, ES_EXPERTS_MAX, is_v3 ? 8 : 1);
    s->groups_kept = es_shape_size(in, USED_KEY, 0, ES_EXPERTS_MAX, stated ? REQUIRED : is_v3 ? 4 : 1);
    if (in->status != ES_OK) return;
    if (s->groups <= 1) s->groups = s->groups_kept = 1;
    if (s->topk_method == ES_TOPK_GREEDY && s->groups > 1) s->topk_method = ES_TOPK_GROUP_LIMITED;
    if (s->experts % s->groups != 0)
        es_shape_fail(in, ES_INVALID, COUNT_KEY, "%zu does not divide expert_count %zu", s->groups,
                      s->experts);
    else if (s->groups_kept < 1 || s->groups_kept > s->groups)
        es_shape_fail(in, ES_INVALID, USED_KEY, "%zu is not between 1 and expert_group_count %zu",
                      s->groups_kept, s->groups);
    else if (s->topk_method == ES_TOPK_NOAUX && s->groups > 1 && s->experts / s->groups < 2)
        es_shape_fail(in, ES_INVALID, COUNT_KEY,
                      "%zu leaves one expert a group, and groups are ranked by their two best", s->groups);
    else if (s->experts_per_token > s->experts / s->groups * s->groups_kept)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".expert_used_count",
                      "%zu is more than the %zu experts of the groups kept", s->experts_per_token,
                      s->experts / s->groups * s->groups_kept);
}

static void read_experts(reader *in, es_shape *s)
{
    s->moe_layer_freq = 1;
    s->experts = es_shape_size(in, ARCHITECTURE ".expert_count", 0, ES_EXPERTS_MAX, 0);
    if (s->experts == 0) {
        s->dense_layers = s->layers;
        return;
    }
    s->dense_layers = es_shape_size(in, ARCHITECTURE ".leading_dense_block_count", 0, s->layers, 0);
    s->expert_intermediate =
        es_shape_size(in, ARCHITECTURE ".expert_feed_forward_length", 1, 1 << 20, REQUIRED);
    s->shared_experts = es_shape_size(in, ARCHITECTURE ".expert_shared_count", 0, 256, 0);
    s->experts_per_token =
        es_shape_size(in, ARCHITECTURE ".expert_used_count", 1, ES_PAIRS_PER_ROW_MAX, REQUIRED);
    size_t gating = es_shape_size(in, ARCHITECTURE ".expert_gating_func", 0, 255, GATING_SOFTMAX);
    if (gating == 0) gating = GATING_SOFTMAX;
    if (gating != GATING_SOFTMAX && gating != GATING_SIGMOID)
        es_shape_fail(in, ES_UNSUPPORTED, ARCHITECTURE ".expert_gating_func",
                      "%zu is neither softmax (1) nor sigmoid (2)", gating);
    s->score_fn = gating == GATING_SIGMOID ? ES_SCORE_SIGMOID : ES_SCORE_SOFTMAX;
    s->topk_method = has_choice_bias(in, s) ? ES_TOPK_NOAUX : ES_TOPK_GREEDY;
    s->norm_topk = es_shape_bool(in, ARCHITECTURE ".expert_weights_norm", false);
    double scale = es_shape_number(in, ARCHITECTURE ".expert_weights_scale", 0, 1e6, 1);
    s->routed_scale = scale == 0 ? 1.0f : (float)scale;
    if (in->status == ES_OK && s->shared_experts * s->expert_intermediate > 1 << 20)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".expert_shared_count",
                      "%zu times expert_feed_forward_length %zu is more than %d", s->shared_experts,
                      s->expert_intermediate, 1 << 20);
    if (in->status == ES_OK) read_groups(in, s);
}

/* Files hold one number for both mscales, 0.1 * mscale_all_dim, as the models of the family have both alike.
 */
static void read_yarn(reader *in, es_yarn *yarn)
{
    static const char TYPE[] = ARCHITECTURE ".rope.scaling.type",
                      MULTIPLIER[] = ARCHITECTURE ".rope.scaling.yarn_log_multiplier";
    const es_gguf_value *type = find(in, TYPE);
    if (type == NULL || is_text(type, "none")) return;
    if (!is_text(type, "yarn")) {
        es_shape_fail(in, ES_UNSUPPORTED, TYPE, "only yarn is supported");
        return;
    }
    yarn->factor = es_shape_number(in, ARCHITECTURE ".rope.scaling.factor", 1, 1e6, NAN);
    yarn->original_context =
        (double)es_shape_size(in, ARCHITECTURE ".rope.scaling.original_context_length", 1, ROW_MAX, REQUIRED);
    yarn->beta_fast = es_shape_number(in, ARCHITECTURE ".rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32);
    yarn->beta_slow = es_shape_number(in, ARCHITECTURE ".rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1);
    double multiplier = es_shape_number(in, MULTIPLIER, 0, 10, NAN);
    yarn->mscale = yarn->mscale_all_dim = rint(multiplier * 1e7) / 1e6;
    if (es_shape_number(in, ARCHITECTURE ".rope.scaling.attn_factor", -1e6, 1e6, 1) != 1)
        es_shape_fail(in, ES_UNSUPPORTED, ARCHITECTURE ".rope.scaling.attn_factor", "only 1 is supported");
    if (yarn->beta_fast < yarn->beta_slow)
        es_shape_fail(in, ES_INVALID, ARCHITECTURE ".rope.scaling.yarn_beta_fast",
                      "%g is less than yarn_beta_slow %g", yarn->beta_fast, yarn->beta_slow);
}

static void read_ends(reader *in, es_shape *s)
{
    static const char *const EOS[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"};
    s->bos = (uint32_t)es_shape_size(in, "tokenizer.ggml.bos_token_id", 0, s->vocab - 1, REQUIRED);
    for (size_t i = 0; i < sizeof EOS / sizeof EOS[0]; i++) {
        if (find(in, EOS[i]) == NULL) continue;
        uint32_t id = (uint32_t)es_shape_size(in, EOS[i], 0, s->vocab - 1, REQUIRED);
        if (s->eos_count == 0 || s->eos[0] != id) s->eos[s->eos_count++] = id;
    }
    if (s->eos_count == 0) es_shape_fail(in, ES_INVALID, EOS[0], "missing");
}

es_status es_gguf_shape(const es_checkpoint *checkpoint, es_shape *ret_shape, es_err *err)
{
    es_shape s = {0};
    *ret_shape = s;
    const es_gguf *gguf = es_checkpoint_gguf(checkpoint);
    ES_ASSERT(gguf != NULL);
    reader in = {look_up, checkpoint, gguf->file, "", "not a floating-point number", ES_OK, err};
    const es_gguf_value *architecture = find(&in, "general.architecture");
    if (architecture == NULL)
        es_shape_fail(&in, ES_INVALID, "general.architecture", "missing");
    else if (!is_text(architecture, ARCHITECTURE))
        es_shape_fail(&in, ES_UNSUPPORTED, "general.architecture",
                      "\"%.*s\" is not supported, only " ARCHITECTURE,
                      (int)es_size_min(architecture->text.size, 80),
                      architecture->text.bytes == NULL ? "" : architecture->text.bytes);
    read_vocabulary(&in, &s);
    read_backbone(&in, &s);
    if (in.status == ES_OK) read_experts(&in, &s);
    read_yarn(&in, &s.yarn);
    if (in.status == ES_OK) read_ends(&in, &s);
    bool is_v3 = s.experts > 0 && (s.score_fn == ES_SCORE_SIGMOID || s.topk_method == ES_TOPK_NOAUX);
    snprintf(s.model_type, sizeof s.model_type, "%s", is_v3 ? "deepseek_v3" : "deepseek_v2");
    if (in.status == ES_OK) *ret_shape = s;
    return in.status;
}
