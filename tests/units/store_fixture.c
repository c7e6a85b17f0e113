/* What tests of stores, loaders and nodes share. */
#include "units/store_fixture.h"

#include "base/size.h"
#include "weights/json.h"
#include "weights/shape.h"
#include "weights/shard_cut.h"
#include "weights/synth.h"
#include "with_cmocka.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

const char *wide_v3(void)
{
    return ESSAIM_SOURCE_DIR "/tests/golden/wide-v3";
}

void folder_make(char ret_path[TEST_PATH_MAX])
{
    snprintf(ret_path, TEST_PATH_MAX, "units-XXXXXX");
    assert_non_null(mkdtemp(ret_path));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

void folder_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void below(const char *folder, const char *name, char ret_path[TEST_PATH_MAX])
{
    int bytes = snprintf(ret_path, TEST_PATH_MAX, "%s/%s", folder, name);
    assert_true(bytes > 0 && bytes < TEST_PATH_MAX);
}

void model_make(const char *folder, size_t hidden, size_t width, char ret_path[TEST_PATH_MAX])
{
    char config[2048];
    snprintf(
        config, sizeof config,
        "{\"model_type\": \"deepseek_v3\", \"vocab_size\": 64, \"hidden_size\": %zu, \"num_hidden_layers\": "
        "2, "
        "\"first_k_dense_replace\": 1, \"moe_layer_freq\": 1, \"intermediate_size\": 64, "
        "\"moe_intermediate_size\": %zu, \"n_routed_experts\": 4, \"n_shared_experts\": 1, "
        "\"num_experts_per_tok\": 2, \"n_group\": 1, \"topk_group\": 1, \"scoring_func\": \"sigmoid\", "
        "\"topk_method\": \"noaux_tc\", \"norm_topk_prob\": true, \"routed_scaling_factor\": 1.0, "
        "\"num_attention_heads\": 2, \"num_key_value_heads\": 2, \"q_lora_rank\": 32, \"kv_lora_rank\": 32, "
        "\"qk_nope_head_dim\": 16, \"qk_rope_head_dim\": 16, \"v_head_dim\": 16, \"rms_norm_eps\": 1e-6, "
        "\"rope_theta\": 10000, \"max_position_embeddings\": 256, \"hidden_act\": \"silu\", "
        "\"bos_token_id\": 0, "
        "\"eos_token_id\": 1, \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\"}",
        hidden, width);
    below(folder, "model", ret_path);
    es_shape shape;
    es_synth synth;
    es_pool *pool;
    const es_json_text text = {"config.json", config, strlen(config)},
                       none = {.file = "generation_config.json"};
    MUST(es_shape_parse(&text, &none, &shape, &must_err));
    MUST(es_pool_create(1, &pool, &must_err));
    MUST(es_synth_init(&shape, ES_FORMAT_BF16, 5, pool, &synth, &must_err));
    MUST(es_synth_write_hf(&synth, ret_path, config, strlen(config), NULL, NULL, &must_err));
    es_synth_fini(&synth);
    es_pool_destroy(&pool);
}

void shards_cut(const char *model, es_format format, size_t slices, const char *folder,
                char ret_path[TEST_PATH_MAX])
{
    char name[64];
    snprintf(name, sizeof name, "cut-%s-%zu",
             format == ES_FORMAT_COUNT ? "as-is" : es_format_describe(format)->name, slices);
    below(folder, name, ret_path);
    es_pool *pool;
    es_model_source *source;
    MUST(es_pool_create(1, &pool, &must_err));
    const es_kernels *kernels;
    MUST(es_kernels_select(NULL, &kernels, &must_err));
    MUST(es_model_source_open(model, format, kernels, pool, &source, &must_err));
    const es_cut_source *base = es_model_source_get(source);
    es_units *units = calloc(slices * base->shape.layers, sizeof *units);
    es_cut_share *shares = calloc(slices, sizeof *shares);
    for (size_t n = 0; n < slices; n++) {
        shares[n].units = units + n * base->shape.layers;
        for (size_t l = 0; l < base->shape.layers; l++)
            if (es_shape_layer_is_moe(&base->shape, l))
                units[n * base->shape.layers + shares[n].unit_count++] =
                    (es_units){(uint32_t)l, 0, (uint32_t)base->shape.experts, (uint32_t)n, (uint32_t)slices};
    }
    const es_cut_options options = {.out = ret_path, .nodes = slices, .shares = shares, .pool = pool};
    es_cut_result result;
    MUST(es_cut(base, &options, &result, &must_err));
    es_model_source_close(&source);
    es_pool_destroy(&pool);
    free(units);
    free(shares);
}

es_expert_store *store_open(const char *const *paths, size_t count)
{
    es_expert_store *store;
    const es_expert_store_options options = {.paths = paths, .path_count = count};
    MUST(es_expert_store_open(&options, &store, &must_err));
    return store;
}

static es_rows make_rows(const es_kernels *kernels, size_t cols)
{
    es_rows rows = {ES_ROWS_Q8, STORE_ROWS, cols, es_rows_row_bytes(ES_ROWS_Q8, cols), NULL, NULL};
    rows.data = calloc(STORE_ROWS, rows.row_bytes);
    float *x = calloc(cols, sizeof *x);
    unsigned seed = 7;
    for (size_t r = 0; r < STORE_ROWS; r++) {
        uint8_t *at = rows.data + r * rows.row_bytes;
        for (size_t c = 0; c < cols; c++) x[c] = (float)(rand_r(&seed) % 2001) / 1000.0f - 1.0f;
        assert_true(kernels->quantise(x, cols, (int8_t *)at, (float *)(void *)(at + (cols + 3) / 4 * 4)));
    }
    free(x);
    return rows;
}

/* Adds what one stretch of an expert gives every row, each with a weight of its own. */
static void add_stretch(es_expert_engine *engine, const es_rows *rows, const es_ffn *ffn, size_t expert,
                        int64_t *sum)
{
    uint32_t first[STORE_ROWS + 1], zero[STORE_ROWS] = {0};
    float weight[STORE_ROWS];
    for (uint32_t r = 0; r <= STORE_ROWS; r++) first[r] = r;
    for (size_t r = 0; r < STORE_ROWS; r++) weight[r] = 0.1f + 0.03f * (float)r - 0.2f * (float)expert;
    MUST(es_expert_engine_run(engine, ffn, 1, &(es_expert_batch){rows, first, zero, weight}, sum, &must_err));
}

int64_t *store_sums(es_expert_store *store, size_t layer, uint32_t slices)
{
    const es_shape *s = es_expert_store_shape(store);
    const es_kernels *kernels;
    es_pool *pool;
    es_expert_engine *engine;
    MUST(es_kernels_select(NULL, &kernels, &must_err));
    MUST(es_pool_create(1, &pool, &must_err));
    const es_expert_engine_options options = {kernels,    pool, ES_ROWS_Q8, s->hidden, s->expert_intermediate,
                                              STORE_ROWS, 1};
    MUST(es_expert_engine_create(&options, &engine, &must_err));
    es_rows rows = make_rows(kernels, s->hidden);
    int64_t *sum = calloc(STORE_ROWS * s->hidden, sizeof *sum);
    for (size_t e = 0; e < s->experts; e++)
        for (uint32_t i = 0; i < slices; i++) {
            es_chunks left = es_chunks_of_slice(s->expert_intermediate, i, slices);
            while (left.count > 0) {
                es_expert_offer offer;
                es_stored_expert stored;
                MUST(es_expert_store_find(store, layer, e, left, &offer, &must_err));
                assert_int_equal(offer.chunks.first, left.first);
                assert_in_range(offer.chunks.count, 1, left.count);
                assert_true(offer.bytes > 0);
                MUST(es_expert_store_take(store, layer, e, &offer, &stored, &must_err));
                MUST(es_expert_store_read(&stored, &must_err));
                MUST(es_expert_store_verify(store, &stored, &must_err));
                add_stretch(engine, &rows, &stored.ffn, e, sum);
                es_expert_store_give(store, &stored);
                left.first += offer.chunks.count;
                left.count -= offer.chunks.count;
            }
        }
    free(rows.data);
    es_expert_engine_destroy(&engine);
    es_pool_destroy(&pool);
    return sum;
}
