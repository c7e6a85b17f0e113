/* Whole models: each field holds the tensor it should, parts of kv_b agree with the whole, fingerprints tell
 * models apart. */
#include "essaim/model.h"
#include "weights/checkpoint.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOLDEN ESSAIM_SOURCE_DIR "/tests/golden/"
#define SMALL ESSAIM_SOURCE_DIR "/tests/weights/small/"
#define TINY_R1 ESSAIM_SOURCE_DIR "/models/tiny-r1"

static es_model *open_parts(const char *dir, bool backbone, bool all_experts, const uint8_t *experts)
{
    const es_model_parts parts = {.backbone = backbone, .all_experts = all_experts, .experts = experts};
    es_model *model;
    es_err err;
    if (es_model_open(dir, &parts, NULL, NULL, &model, &err) != ES_OK) fail_msg("%s", err.text);
    return model;
}

static es_model *open_all(const char *dir)
{
    return open_parts(dir, true, true, NULL);
}

/* e4m3 as its definition reads: sign, 4 bits of exponent with bias 7, 3 bits of fraction, subnormals. */
static double widen_e4m3(uint8_t code)
{
    int exponent = (code >> 3) & 15, fraction = code & 7;
    double value = exponent == 0 ? ldexp(fraction, -9) : ldexp(8 + fraction, exponent - 10);
    return code & 0x80 ? -value : value;
}

/* The value at (r, c) by the rules of es_matrix and panels; fp8 and bf16. */
static double at(const es_matrix *w, size_t r, size_t c)
{
    assert_true(r < w->rows && c < w->cols);
    bool panels = w->layout == ES_LAYOUT_PANELS;
    const uint8_t *code = w->data + (panels ? r / 16 : r) * w->row_bytes;
    code += (panels ? c * 16 + r % 16 : c) * (w->format == ES_FORMAT_FP8 ? 1 : 2);
    if (w->format == ES_FORMAT_FP8) {
        size_t scale = (w->row_phase + r) / 128 * w->scale_stride + (w->col_phase + c) / 128;
        return widen_e4m3(*code) * (double)w->scales[scale];
    }
    assert_int_equal(w->format, ES_FORMAT_BF16);
    uint32_t bits = (uint32_t)code[0] << 16 | (uint32_t)code[1] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static void test_values_are_where_they_belong(void **state)
{
    (void)state;
    es_model *odd = open_all(GOLDEN "odd-v3");
    /* Codes and scales as a hex dump of the files shows them. */
    assert_true(at(&odd->layers[1].attention.o, 190, 200) == -0.140625 * 0x1.d00652p-12);
    assert_true(at(&odd->layers[0].ffn.down, 150, 300) == 1.75 * 0x1.641484p-12);
    assert_true(at(&odd->head, 319, 191) == 0x1.dap-5);
    assert_int_equal(odd->layers[1].experts[0].down.row_bytes, 96 * 16);
    es_model_close(&odd);
    es_model *wide = open_all(GOLDEN "wide-v3");
    assert_true(at(&wide->layers[2].experts[7].down, 159, 607) == 144 * 0x1.d5deaap-13);
    es_model_close(&wide);
    es_model *lite = open_all(GOLDEN "lite-v2");
    assert_true(at(&lite->layers[1].experts[15].up, 63, 100) == 0x1.c8p-7);
    assert_non_null(lite->layers[0].attention.q.data);
    assert_null(lite->layers[0].attention.q_a.data);
    assert_null(lite->layers[1].router_bias);
    assert_int_equal(lite->layers[1].ffn.gate.rows, 128);
    es_model_close(&lite);
    assert_null(lite);
}

static void test_tiny_r1_is_complete(void **state)
{
    (void)state;
    es_model *model = open_all(TINY_R1);
    assert_true(model->has_backbone);
    assert_int_equal(model->shape.layers, 4);
    for (size_t l = 0; l < model->shape.layers; l++) {
        const es_layer *layer = &model->layers[l];
        assert_int_equal(layer->is_moe, l >= 1);
        assert_int_equal(layer->ffn.gate.rows, l >= 1 ? 128 : 768);
        assert_non_null(layer->attention.q_a_norm);
        assert_int_equal(layer->router_bias != NULL, l >= 1);
        for (size_t e = 0; e < model->shape.experts && layer->is_moe; e++)
            assert_non_null(layer->experts[e].down.data);
    }
    assert_int_equal(model->embedding.format, ES_FORMAT_BF16);
    es_model_close(&model);
}

/* Looks the whole kv_b_proj up again and holds every element of every head's parts against it. */
static void check_heads(const char *dir)
{
    es_model *model = open_all(dir);
    const es_shape *s = &model->shape;
    es_checkpoint *checkpoint;
    assert_int_equal(es_checkpoint_open(dir, &checkpoint, NULL), ES_OK);
    for (size_t l = 0; l < s->layers; l++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.%zu.self_attn.kv_b_proj.weight", l);
        const es_tensor *codes = es_checkpoint_find(checkpoint, name);
        strcat(name, "_scale_inv");
        const es_tensor *scales = es_checkpoint_find(checkpoint, name);
        es_matrix whole = {.format = codes->dtype == ES_DTYPE_F8_E4M3 ? ES_FORMAT_FP8 : ES_FORMAT_BF16,
                           .rows = codes->shape[0],
                           .cols = codes->shape[1],
                           .data = codes->data,
                           .row_bytes = codes->bytes / codes->shape[0],
                           .scale_stride = scales == NULL ? 0 : scales->shape[1]};
        float *copy = scales == NULL ? NULL : malloc(scales->bytes);
        if (copy != NULL) memcpy(copy, scales->data, scales->bytes);
        whole.scales = copy;
        for (size_t h = 0; h < s->heads; h++) {
            const es_matrix *key = &model->layers[l].attention.k_absorb[h],
                            *value = &model->layers[l].attention.v_up[h];
            size_t first = h * (s->nope + s->v);
            assert_true(key->rows == s->kv_lora && key->cols == s->nope);
            assert_true(value->rows == s->v && value->cols == s->kv_lora);
            assert_true(key->col_phase < 128 && value->row_phase < 128);
            for (size_t c = 0; c < s->kv_lora; c++) {
                for (size_t i = 0; i < s->nope; i++) assert_true(at(key, c, i) == at(&whole, first + i, c));
                for (size_t i = 0; i < s->v; i++)
                    assert_true(at(value, i, c) == at(&whole, first + s->nope + i, c));
            }
        }
        free(copy);
    }
    es_checkpoint_close(&checkpoint);
    es_model_close(&model);
}

static void test_the_heads_parts_agree_with_the_whole(void **state)
{
    (void)state;
    check_heads(GOLDEN "odd-v3");
    check_heads(GOLDEN "wide-v3");
    check_heads(GOLDEN "lite-v2");
    check_heads(SMALL "borders");
    check_heads(TINY_R1);
}

static void test_only_the_parts_asked_for_are_bound(void **state)
{
    (void)state;
    uint8_t experts[3 * 24] = {0};
    experts[1 * 24 + 5] = 1;
    experts[0 * 24 + 2] = 1; /* a dense layer: no such expert */
    es_model *node = open_parts(GOLDEN "odd-v3", false, false, experts);
    assert_false(node->has_backbone);
    assert_null(node->embedding.data);
    assert_null(node->layers[1].attention_norm);
    assert_null(node->layers[0].experts);
    assert_null(node->layers[2].experts);
    assert_null(node->layers[1].experts[4].gate.data);
    assert_non_null(node->layers[1].experts[5].gate.data);
    es_model *coordinator = open_parts(GOLDEN "odd-v3", true, false, NULL);
    assert_true(coordinator->has_backbone);
    assert_null(coordinator->layers[1].experts);
    assert_non_null(coordinator->layers[1].ffn.gate.data);
    assert_memory_equal(node->fingerprint, coordinator->fingerprint, ES_FINGERPRINT_BYTES);
    es_model_close(&node);
    es_model_close(&coordinator);
}

static void test_members_of_the_family_may_lack_things(void **state)
{
    (void)state;
    es_model *tied = open_all(SMALL "tied");
    for (size_t r = 0; r < tied->head.rows; r++)
        for (size_t c = 0; c < tied->head.cols; c++)
            assert_true(at(&tied->head, r, c) == at(&tied->embedding, r, c));
    es_model *dense = open_all(SMALL "dense-only");
    assert_null(dense->layers[1].router);
    assert_non_null(dense->layers[1].ffn.up.data);
    es_model *no_shared = open_all(SMALL "no-shared-expert");
    assert_null(no_shared->layers[1].ffn.gate.data);
    assert_true(no_shared->layers[1].router[15] == 1.0f); /* f16, widened */
    es_model *strangers = open_all(SMALL "mtp-and-strangers");
    assert_int_equal(strangers->shape.mtp_layers, 1);
    es_model_close(&tied);
    es_model_close(&dense);
    es_model_close(&no_shared);
    es_model_close(&strangers);
}

static bool same_fingerprint(const char *a_dir, const char *b_dir)
{
    es_model *a = open_all(a_dir), *b = open_all(b_dir);
    bool same = memcmp(a->fingerprint, b->fingerprint, ES_FINGERPRINT_BYTES) == 0;
    es_model_close(&a);
    es_model_close(&b);
    return same;
}

static void test_fingerprints_tell_models_apart_and_nothing_else(void **state)
{
    (void)state;
    assert_true(same_fingerprint(SMALL "usual", SMALL "cut-in-three"));
    assert_true(same_fingerprint(SMALL "usual", SMALL "other-eos"));
    assert_false(same_fingerprint(SMALL "usual", SMALL "other-eps"));
    assert_false(same_fingerprint(SMALL "usual", SMALL "other-weight"));
    assert_false(same_fingerprint(SMALL "usual", SMALL "no-shared-expert"));
}

typedef struct told {
    uint64_t calls, done, total;
} told;

static void tell(void *context, uint64_t done, uint64_t total)
{
    told *t = context;
    assert_true(done > t->done && done <= total);
    *t = (told){t->calls + 1, done, total};
}

static void test_progress_ends_at_the_total(void **state)
{
    (void)state;
    const es_model_parts parts = {.backbone = true};
    told t = {0, 0, 0};
    es_model *model;
    assert_int_equal(es_model_open(GOLDEN "lite-v2", &parts, tell, &t, &model, NULL), ES_OK);
    assert_true(t.calls >= 1 && t.done == t.total && t.total > 900000);
    es_model_close(&model);
}

static bool stop_at_once(void)
{
    return true;
}

static void test_who_is_told_to_stop_does_not_load_on(void **state)
{
    (void)state;
    const es_model_parts parts = {.backbone = true, .stop_asked = stop_at_once};
    es_model *model;
    es_err err;
    assert_int_equal(es_model_open(GOLDEN "lite-v2", &parts, NULL, NULL, &model, &err), ES_CANCELLED);
    assert_null(model);
    assert_string_equal(err.text, "stopped while the model was being loaded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_are_where_they_belong),
        cmocka_unit_test(test_tiny_r1_is_complete),
        cmocka_unit_test(test_the_heads_parts_agree_with_the_whole),
        cmocka_unit_test(test_only_the_parts_asked_for_are_bound),
        cmocka_unit_test(test_members_of_the_family_may_lack_things),
        cmocka_unit_test(test_fingerprints_tell_models_apart_and_nothing_else),
        cmocka_unit_test(test_progress_ends_at_the_total),
        cmocka_unit_test(test_who_is_told_to_stop_does_not_load_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
