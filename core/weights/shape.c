/* config.json becomes an es_shape: every value present, within its range and in agreement with the others. */
#include "weights/shape.h"

#include "base/file.h"
#include "essaim/experts.h"
#include "weights/json.h"
#include "weights/shape_reader.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONFIG_BYTES_MAX = 1 << 20, ROW_MAX = ES_SHAPE_ROW_MAX, REQUIRED = ES_SHAPE_REQUIRED };

typedef es_shape_reader reader;

/* The value under key; NULL when it is missing or null, or when reading has failed already. */
static const json_t *find(const reader *in, const char *key)
{
    const json_t *value = in->status == ES_OK ? json_object_get(in->from, key) : NULL;
    return json_is_null(value) ? NULL : value;
}

static es_shape_value value_of(const json_t *value)
{
    return (es_shape_value){.is_integer = json_is_integer(value),
                            .is_number = json_is_number(value),
                            .is_bool = json_is_boolean(value),
                            .integer =
                                json_is_boolean(value) ? json_is_true(value) : json_integer_value(value),
                            .number = json_number_value(value)};
}

static bool look_up(const void *object, const char *key, es_shape_value *ret_value)
{
    const json_t *value = json_object_get(object, key);
    *ret_value = value_of(value);
    return value != NULL && !json_is_null(value);
}

/* One JSON object being read. */
static reader read_object(const json_t *object, const char *file, const char *within, es_err *err)
{
    return (reader){look_up, object, file, within, "not a number", ES_OK, err};
}

/* A size whose null means 0, and which must be there all the same: a key that got lost is not a null. */
static size_t read_nullable_size(reader *in, const char *key, size_t max)
{
    if (in->status == ES_OK && json_object_get(in->from, key) == NULL)
        es_shape_fail(in, ES_INVALID, key, "missing");
    return es_shape_size(in, key, 0, max, 0);
}

/* Borrowed from the JSON. fallback NULL: the key must be there. Never NULL. */
static const char *read_text(reader *in, const char *key, const char *fallback)
{
    const json_t *value = find(in, key);
    if (value == NULL) {
        if (fallback == NULL) es_shape_fail(in, ES_INVALID, key, "missing");
        return fallback == NULL ? "" : fallback;
    }
    if (!json_is_string(value)) {
        es_shape_fail(in, ES_INVALID, key, "not a string");
        return "";
    }
    return json_string_value(value);
}

/* The index of the key's text among names; anything else is ES_UNSUPPORTED. */
static size_t read_choice(reader *in, const char *key, const char *const *names, size_t count,
                          const char *fallback)
{
    const char *text = read_text(in, key, fallback);
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0) return i;
    es_shape_fail(in, ES_UNSUPPORTED, key, "\"%.40s\" is not supported", text);
    return 0;
}

/* Opens the object under key as a reader of its own; false when there is none or it is something else. */
static bool open_object(reader *in, const char *key, const char *within, reader *ret_inner)
{
    const json_t *value = find(in, key);
    if (value == NULL) return false;
    if (!json_is_object(value)) {
        es_shape_fail(in, ES_INVALID, key, "not an object");
        return false;
    }
    *ret_inner = read_object(value, in->file, within, in->err);
    return true;
}

/* What members of the family leave out of config.json when it is their usual value. */
typedef struct family {
    const char *scoring_func, *topk_method;
} family;

static const char *const MODEL_TYPES[] = {"deepseek_v2", "deepseek_v3"};
static const family FAMILIES[] = {{"softmax", "greedy"}, {"sigmoid", "noaux_tc"}};
static const char *const SCORING_FUNCS[] = {[ES_SCORE_SIGMOID] = "sigmoid", [ES_SCORE_SOFTMAX] = "softmax"};
static const char *const TOPK_METHODS[] = {[ES_TOPK_GREEDY] = "greedy",
                                           [ES_TOPK_GROUP_LIMITED] = "group_limited_greedy",
                                           [ES_TOPK_NOAUX] = "noaux_tc"};
static const char *const YARN_TYPES[] = {"yarn"};
static const char *const ACTIVATIONS[] = {"silu"};
static const char *const QUANT_METHODS[] = {"fp8"};
static const char *const FP8_FORMATS[] = {"e4m3"};

static void read_backbone(reader *in, es_shape *s)
{
    s->vocab = es_shape_size(in, "vocab_size", 1, ROW_MAX, REQUIRED);
    s->hidden = es_shape_size(in, "hidden_size", 1, 1 << 20, REQUIRED);
    s->layers = es_shape_size(in, "num_hidden_layers", 1, 1024, REQUIRED);
    s->mtp_layers = es_shape_size(in, "num_nextn_predict_layers", 0, 16, 0);
    s->dense_intermediate = es_shape_size(in, "intermediate_size", 1, 1 << 20, REQUIRED);
    s->heads = es_shape_size(in, "num_attention_heads", 1, 4096, REQUIRED);
    s->q_lora = read_nullable_size(in, "q_lora_rank", 1 << 16);
    s->kv_lora = es_shape_size(in, "kv_lora_rank", 1, 1 << 16, REQUIRED);
    s->nope = es_shape_size(in, "qk_nope_head_dim", 1, 4096, REQUIRED);
    s->rope = es_shape_size(in, "qk_rope_head_dim", 2, 4096, REQUIRED);
    s->v = es_shape_size(in, "v_head_dim", 1, 4096, REQUIRED);
    s->context = es_shape_size(in, "max_position_embeddings", 1, ROW_MAX, REQUIRED);
    s->rms_eps = (float)es_shape_number(in, "rms_norm_eps", 1e-20, 1, NAN);
    s->rope_theta = es_shape_number(in, "rope_theta", 1.0001, 1e12, NAN);
    s->tied = es_shape_bool(in, "tie_word_embeddings", false);

    if (s->rope % 2 != 0) es_shape_fail(in, ES_INVALID, "qk_rope_head_dim", "%zu is odd", s->rope);
    if (s->heads * (s->nope + s->rope) > ROW_MAX || s->heads * (s->nope + s->v) > ROW_MAX)
        es_shape_fail(in, ES_INVALID, "num_attention_heads",
                      "%zu heads of %zu + %zu + %zu values: more than %d in a row", s->heads, s->nope,
                      s->rope, s->v, ROW_MAX);
    size_t kv_heads = es_shape_size(in, "num_key_value_heads", 1, 4096, (long)s->heads);
    if (kv_heads != s->heads)
        es_shape_fail(in, ES_UNSUPPORTED, "num_key_value_heads",
                      "%zu with num_attention_heads %zu: latent attention has as many", kv_heads, s->heads);
}

static void read_groups(reader *in, es_shape *s)
{
    s->groups = s->groups_kept = 1;
    if (s->topk_method == ES_TOPK_GREEDY) return;
    s->groups = es_shape_size(in, "n_group", 1, ES_EXPERTS_MAX, REQUIRED);
    s->groups_kept = es_shape_size(in, "topk_group", 1, ES_EXPERTS_MAX, REQUIRED);
    if (in->status != ES_OK) return;
    ES_ASSERT(s->groups > 0);
    if (s->experts % s->groups != 0)
        es_shape_fail(in, ES_INVALID, "n_group", "%zu does not divide n_routed_experts %zu", s->groups,
                      s->experts);
    else if (s->groups_kept > s->groups)
        es_shape_fail(in, ES_INVALID, "topk_group", "%zu is more than n_group %zu", s->groups_kept,
                      s->groups);
    else if (s->topk_method == ES_TOPK_NOAUX && s->groups > 1 && s->experts / s->groups < 2)
        es_shape_fail(in, ES_INVALID, "n_group",
                      "%zu leaves one expert a group: noaux_tc ranks groups by their two best", s->groups);
}

static void read_experts(reader *in, const family *usual, es_shape *s)
{
    s->moe_layer_freq = 1;
    s->experts = read_nullable_size(in, "n_routed_experts", ES_EXPERTS_MAX);
    if (s->experts == 0) {
        s->dense_layers = s->layers;
        return;
    }
    s->dense_layers = es_shape_size(in, "first_k_dense_replace", 0, s->layers, REQUIRED);
    s->moe_layer_freq = es_shape_size(in, "moe_layer_freq", 1, 1024, 1);
    s->expert_intermediate = es_shape_size(in, "moe_intermediate_size", 1, 1 << 20, REQUIRED);
    s->shared_experts = read_nullable_size(in, "n_shared_experts", 256);
    s->experts_per_token = es_shape_size(in, "num_experts_per_tok", 1, ES_PAIRS_PER_ROW_MAX, REQUIRED);
    s->score_fn = (es_score_fn)read_choice(in, "scoring_func", SCORING_FUNCS, 2, usual->scoring_func);
    s->topk_method = (es_topk_method)read_choice(in, "topk_method", TOPK_METHODS, 3, usual->topk_method);
    s->norm_topk = es_shape_bool(in, "norm_topk_prob", REQUIRED);
    s->routed_scale = (float)es_shape_number(in, "routed_scaling_factor", 1e-6, 1e6, NAN);
    read_groups(in, s);
    if (in->status != ES_OK) return;
    size_t reachable = s->experts / s->groups * s->groups_kept;
    if (s->experts_per_token > reachable)
        es_shape_fail(in, ES_INVALID, "num_experts_per_tok",
                      "%zu is more than the %zu experts of the groups kept", s->experts_per_token, reachable);
    if (s->shared_experts * s->expert_intermediate > 1 << 20)
        es_shape_fail(in, ES_INVALID, "n_shared_experts",
                      "%zu times moe_intermediate_size %zu is more than %d", s->shared_experts,
                      s->expert_intermediate, 1 << 20);
}

static void read_yarn(reader *in, es_yarn *yarn)
{
    if (find(in, "rope_parameters") != NULL)
        es_shape_fail(in, ES_UNSUPPORTED, "rope_parameters",
                      "not supported: rope_theta and rope_scaling are");
    reader inner;
    if (!open_object(in, "rope_scaling", "rope_scaling.", &inner)) return;
    const char *key =
        find(&inner, "type") == NULL && find(&inner, "rope_type") != NULL ? "rope_type" : "type";
    read_choice(&inner, key, YARN_TYPES, 1, NULL);
    yarn->factor = es_shape_number(&inner, "factor", 1, 1e6, NAN);
    yarn->original_context =
        (double)es_shape_size(&inner, "original_max_position_embeddings", 1, ROW_MAX, REQUIRED);
    yarn->beta_fast = es_shape_number(&inner, "beta_fast", 1e-3, 1e6, 32);
    yarn->beta_slow = es_shape_number(&inner, "beta_slow", 1e-3, 1e6, 1);
    yarn->mscale = es_shape_number(&inner, "mscale", 0, 100, 1);
    yarn->mscale_all_dim = es_shape_number(&inner, "mscale_all_dim", 0, 100, 0);
    if (yarn->beta_fast < yarn->beta_slow)
        es_shape_fail(&inner, ES_INVALID, "beta_fast", "%g is less than beta_slow %g", yarn->beta_fast,
                      yarn->beta_slow);
    in->status = inner.status;
}

/* What the forward pass takes for granted: a config that says otherwise is refused by name. */
static void read_refusals(reader *in)
{
    read_choice(in, "hidden_act", ACTIVATIONS, 1, "silu");
    if (es_shape_bool(in, "attention_bias", false))
        es_shape_fail(in, ES_UNSUPPORTED, "attention_bias", "true is not supported");
    if (!es_shape_bool(in, "rope_interleave", true))
        es_shape_fail(in, ES_UNSUPPORTED, "rope_interleave", "false is not supported");

    reader inner;
    if (!open_object(in, "quantization_config", "quantization_config.", &inner)) return;
    read_choice(&inner, "quant_method", QUANT_METHODS, 1, NULL);
    read_choice(&inner, "fmt", FP8_FORMATS, 1, "e4m3");
    const json_t *block = find(&inner, "weight_block_size");
    if (block == NULL)
        es_shape_fail(&inner, ES_INVALID, "weight_block_size", "missing");
    else if (json_array_size(block) != 2 || json_integer_value(json_array_get(block, 0)) != ES_SCALE_BLOCK ||
             json_integer_value(json_array_get(block, 1)) != ES_SCALE_BLOCK)
        es_shape_fail(&inner, ES_UNSUPPORTED, "weight_block_size", "only [128, 128] is supported");
    in->status = inner.status;
}

static void read_eos(reader *in, es_shape *s)
{
    const char *key = "eos_token_id";
    const json_t *value = find(in, key);
    if (value == NULL) return;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count < 1 || count > ES_EOS_MAX) {
        es_shape_fail(in, ES_INVALID, key, "%zu ids: not between 1 and %d", count, ES_EOS_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const es_shape_value id = value_of(json_is_array(value) ? json_array_get(value, i) : value);
        s->eos[i] = (uint32_t)es_shape_size_of(in, key, &id, 0, s->vocab - 1);
    }
    s->eos_count = count;
}

/* The generation config's ids go before config.json's, as the published library takes them. */
static es_status read_generation(const es_json_text *text, es_shape *s, es_err *err)
{
    if (text->bytes == NULL) return ES_OK;
    json_t *object;
    es_status status = es_json_parse(text, &object, err);
    if (status != ES_OK) return status;
    reader in = read_object(object, text->file, "", err);
    read_eos(&in, s);
    json_decref(object);
    return in.status;
}

es_status es_shape_parse(const es_json_text *config, const es_json_text *generation, es_shape *ret_shape,
                         es_err *err)
{
    es_shape s = {0};
    *ret_shape = s;
    json_t *object;
    es_status status = es_json_parse(config, &object, err);
    if (status != ES_OK) return status;

    reader in = read_object(object, config->file, "", err);
    size_t member = read_choice(&in, "model_type", MODEL_TYPES, 2, NULL);
    snprintf(s.model_type, sizeof s.model_type, "%s", MODEL_TYPES[member]);
    read_backbone(&in, &s);
    read_experts(&in, &FAMILIES[member], &s);
    read_yarn(&in, &s.yarn);
    read_refusals(&in);
    if (in.status == ES_OK) {
        s.bos = (uint32_t)es_shape_size(&in, "bos_token_id", 0, s.vocab - 1, REQUIRED);
        read_eos(&in, &s);
    }
    if (in.status == ES_OK) in.status = read_generation(generation, &s, err);
    if (s.eos_count == 0) es_shape_fail(&in, ES_INVALID, "eos_token_id", "missing");
    json_decref(object);
    if (in.status == ES_OK) *ret_shape = s;
    return in.status;
}

/* Downloads of GGUF models are folders without a config, whose files are what is to be named. */
static void point_to_gguf(const char *dir, es_err *err)
{
    static const char ENDING[] = ".gguf";
    char first[NAME_MAX + 1] = "";
    DIR *stream = opendir(dir);
    if (stream == NULL) return;
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        size_t bytes = strlen(entry->d_name), ending = sizeof ENDING - 1;
        bool is = bytes > ending && strcmp(entry->d_name + bytes - ending, ENDING) == 0;
        if (is && (first[0] == '\0' || strcmp(entry->d_name, first) < 0))
            snprintf(first, sizeof first, "%s", entry->d_name);
    }
    closedir(stream);
    if (first[0] != '\0')
        es_err_set(err, ES_NOT_FOUND, "%s: no config.json here; for the GGUF model name its file, %s", dir,
                   first);
}

/* What is neither GGUF nor a shard is taken for a folder. */
static es_status check_folder(const char *path, es_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        es_status status = errno == ENOENT || errno == ENOTDIR ? ES_NOT_FOUND : ES_IO;
        return es_err_set(err, status, "%s: %s", path, strerror(errno));
    }
    if (S_ISDIR(info.st_mode)) return ES_OK;
    return es_err_set(err, ES_INVALID, "%s: no model: neither a GGUF file, a shard nor a folder", path);
}

es_status es_shape_load(const char *dir, es_shape *ret_shape, es_err *err)
{
    char config_path[PATH_MAX], generation_path[PATH_MAX];
    char *config = NULL, *generation = NULL;
    size_t config_bytes = 0, generation_bytes = 0;
    *ret_shape = (es_shape){0};
    es_status status = check_folder(dir, err);
    if (status == ES_OK) status = es_file_join(config_path, sizeof config_path, dir, "config.json", err);
    if (status == ES_OK)
        status = es_file_join(generation_path, sizeof generation_path, dir, "generation_config.json", err);
    if (status == ES_OK) status = es_file_read(config_path, CONFIG_BYTES_MAX, &config, &config_bytes, err);
    if (status == ES_NOT_FOUND) point_to_gguf(dir, err);
    if (status == ES_OK) {
        status = es_file_read(generation_path, CONFIG_BYTES_MAX, &generation, &generation_bytes, err);
        if (status == ES_NOT_FOUND) status = ES_OK;
    }
    if (status == ES_OK)
        status =
            es_shape_parse(&(es_json_text){config_path, config, config_bytes},
                           &(es_json_text){generation_path, generation, generation_bytes}, ret_shape, err);
    free(config);
    free(generation);
    return status;
}
