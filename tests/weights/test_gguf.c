/* GGUF models: what files of every layout and convention say is read alike, and what is broken is refused by
 * name. */
#include "base/file.h"
#include "essaim/kernels.h"
#include "weights/gguf.h"
#include "weights/source.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "with_cmocka.h"

#define GOLDEN ESSAIM_SOURCE_DIR "/tests/golden/gguf/"
#define SMALL ESSAIM_SOURCE_DIR "/tests/weights/gguf/small/"
#define TINY_R1 ESSAIM_SOURCE_DIR "/models/tiny-r1"

enum { CASES_MIN = 55, ROW_MAX = 1024 };

static es_model *open_all(const char *path)
{
    const es_model_parts parts = {.backbone = true, .all_experts = true};
    es_model *model;
    es_err err;
    if (es_model_open(path, &parts, NULL, NULL, &model, &err) != ES_OK) fail_msg("%s", err.text);
    return model;
}

static es_shape shape_of(const char *path)
{
    es_shape shape;
    es_checkpoint *checkpoint;
    es_err err;
    if (es_source_open(path, &shape, &checkpoint, &err) != ES_OK) fail_msg("%s", err.text);
    es_checkpoint_close(&checkpoint);
    return shape;
}

static void test_a_gguf_has_the_shape_of_the_folder_it_was_made_from(void **state)
{
    (void)state;
    static const char *const FILES[] = {GOLDEN "tiny-r1-q8_0.gguf", GOLDEN "tiny-r1-q4_k_m.gguf"};
    es_shape folder = shape_of(TINY_R1);
    folder.mtp_layers = 0; /* converters leave it out */
    for (size_t i = 0; i < 2; i++) {
        es_shape file = shape_of(FILES[i]);
        assert_memory_equal(&file, &folder, sizeof file);
    }
}

/* The largest difference between two matrices' values, relative to the largest value of its 32-block, and
 * that of their sums. */
static double distance(const es_matrix *a, const es_matrix *b)
{
    static float x[ROW_MAX], y[ROW_MAX];
    double worst = 0;
    assert_true(a->rows == b->rows && a->cols == b->cols && a->cols <= ROW_MAX);
    for (size_t r = 0; r < a->rows; r++) {
        es_matrix_widen_row(a, r, 0, a->cols, x);
        es_matrix_widen_row(b, r, 0, b->cols, y);
        for (size_t first = 0; first < a->cols; first += 32) {
            double max = 1e-9, off = 0;
            for (size_t c = first; c < first + 32 && c < a->cols; c++) {
                max = fmax(max, fabs((double)y[c]));
                off = fmax(off, fabs((double)x[c] - (double)y[c]));
            }
            worst = fmax(worst, off / max);
        }
    }
    return worst;
}

/* The largest of all matrices' distances. */
static double model_distance(const es_model *a, const es_model *b)
{
    double worst = fmax(distance(&a->embedding, &b->embedding), distance(&a->head, &b->head));
    for (size_t l = 0; l < a->shape.layers; l++) {
        const es_layer *x = &a->layers[l], *y = &b->layers[l];
        const es_attention *p = &x->attention, *q = &y->attention;
        worst = fmax(worst, fmax(distance(&p->q_a, &q->q_a), distance(&p->q_b, &q->q_b)));
        worst = fmax(worst, fmax(distance(&p->kv_a, &q->kv_a), distance(&p->o, &q->o)));
        for (size_t h = 0; h < a->shape.heads; h++) worst = fmax(worst, distance(&p->v_up[h], &q->v_up[h]));
        worst = fmax(worst, fmax(distance(&x->ffn.gate, &y->ffn.gate), distance(&x->ffn.up, &y->ffn.up)));
        worst = fmax(worst, distance(&x->ffn.down, &y->ffn.down));
        for (size_t e = 0; x->is_moe && e < a->shape.experts; e++) {
            worst = fmax(worst, distance(&x->experts[e].gate, &y->experts[e].gate));
            worst = fmax(worst, distance(&x->experts[e].up, &y->experts[e].up));
            worst = fmax(worst, distance(&x->experts[e].down, &y->experts[e].down));
        }
    }
    return worst;
}

/* The same of the key parts, whose blocks run the other way: relative to the largest value of the part. */
static double key_distance(const es_model *a, const es_model *b)
{
    static float x[ROW_MAX], y[ROW_MAX];
    double worst = 0;
    for (size_t l = 0; l < a->shape.layers; l++)
        for (size_t h = 0; h < a->shape.heads; h++) {
            const es_matrix *p = &a->layers[l].attention.k_absorb[h],
                            *q = &b->layers[l].attention.k_absorb[h];
            double max = 0, off = 0;
            assert_true(p->rows == q->rows && p->cols == q->cols);
            for (size_t r = 0; r < p->rows; r++) {
                es_matrix_widen_row(p, r, 0, p->cols, x);
                es_matrix_widen_row(q, r, 0, q->cols, y);
                for (size_t c = 0; c < p->cols; c++) {
                    max = fmax(max, fabs((double)y[c]));
                    off = fmax(off, fabs((double)x[c] - (double)y[c]));
                }
            }
            worst = fmax(worst, off / max);
        }
    return worst;
}

static void test_values_are_those_of_the_folder_within_the_formats_step(void **state)
{
    (void)state;
    es_model *folder = open_all(TINY_R1), *q8 = open_all(GOLDEN "tiny-r1-q8_0.gguf"),
             *q4 = open_all(GOLDEN "tiny-r1-q4_k_m.gguf");
    assert_true(model_distance(q8, folder) < 0.5 / 127 + 0.001);
    assert_true(key_distance(q8, folder) < 0.5 / 127 + 0.001);
    assert_true(model_distance(q4, folder) < 0.2);
    assert_true(key_distance(q4, folder) < 0.07);
    for (size_t l = 0; l < folder->shape.layers; l++) {
        const es_layer *x = &q4->layers[l], *y = &folder->layers[l];
        assert_memory_equal(x->attention_norm, y->attention_norm, folder->shape.hidden * sizeof(float));
        if (!x->is_moe) continue;
        assert_memory_equal(x->router, y->router,
                            folder->shape.experts * folder->shape.hidden * sizeof(float));
        assert_memory_equal(x->router_bias, y->router_bias, folder->shape.experts * sizeof(float));
    }
    es_model_close(&folder);
    es_model_close(&q8);
    es_model_close(&q4);
}

static void test_layouts_and_conventions_say_the_same(void **state)
{
    (void)state;
    static const char *const SAME[] = {SMALL "deep-heads.gguf", SMALL "flat-heads.gguf", SMALL "aligned.gguf",
                                       SMALL "halves.gguf", SMALL "parts-00002-of-00003.gguf"};
    es_model *plain = open_all(SMALL "plain.gguf");
    for (size_t i = 0; i < sizeof SAME / sizeof SAME[0]; i++) {
        es_model *other = open_all(SAME[i]);
        if (memcmp(&other->shape, &plain->shape, sizeof plain->shape) != 0)
            fail_msg("%s: another shape", SAME[i]);
        if (model_distance(other, plain) != 0 || key_distance(other, plain) != 0)
            fail_msg("%s: other values", SAME[i]);
        es_model_close(&other);
    }
    es_model *latent = open_all(SMALL "q8-latent.gguf"), *heads = open_all(SMALL "q8-heads.gguf");
    assert_int_equal(latent->layers[0].attention.k_absorb[1].format, ES_FORMAT_F32);
    assert_int_equal(latent->layers[0].attention.v_up[1].format, ES_FORMAT_Q8_0);
    assert_int_equal(heads->layers[0].attention.k_absorb[1].format, ES_FORMAT_Q8_0);
    assert_true(key_distance(latent, plain) > 0 && key_distance(latent, plain) < 0.006);
    assert_true(key_distance(heads, plain) > 0 && key_distance(heads, plain) < 0.006);
    es_model_close(&latent);
    es_model_close(&heads);
    es_model_close(&plain);
}

static void test_what_files_leave_out_is_told(void **state)
{
    (void)state;
    es_shape v2 = shape_of(SMALL "v2.gguf"), v3 = shape_of(SMALL "v3-before-groups.gguf");
    assert_string_equal(v2.model_type, "deepseek_v2");
    assert_true(v2.score_fn == ES_SCORE_SOFTMAX && v2.topk_method == ES_TOPK_GREEDY && v2.groups == 1);
    assert_true(v2.q_lora == 0 && v2.tied && !v2.norm_topk && v2.routed_scale == 1.0f);
    assert_true(v2.yarn.mscale == 0.707 && v2.yarn.mscale_all_dim == 0.707);
    assert_true(v3.experts == 256 && v3.groups == 8 && v3.groups_kept == 4 &&
                v3.topk_method == ES_TOPK_NOAUX);
    assert_true(v3.layers == 2 && v3.mtp_layers == 1 && !v3.tied && v3.norm_topk);
    es_model *model = open_all(SMALL "v2.gguf");
    assert_non_null(model->layers[1].attention.q.data);
    es_model_close(&model);
}

static void test_fingerprints_do_not_see_how_files_are_cut(void **state)
{
    (void)state;
    uint8_t experts[2 * 4] = {[4 + 2] = 1};
    const es_model_parts one = {.experts = experts};
    es_model *plain = open_all(SMALL "plain.gguf"), *parts = open_all(SMALL "parts-00001-of-00003.gguf"),
             *node;
    es_model *other = open_all(SMALL "q8-latent.gguf");
    assert_int_equal(es_model_open(SMALL "plain.gguf", &one, NULL, NULL, &node, NULL), ES_OK);
    assert_memory_equal(plain->fingerprint, parts->fingerprint, ES_FINGERPRINT_BYTES);
    assert_memory_equal(plain->fingerprint, node->fingerprint, ES_FINGERPRINT_BYTES);
    assert_memory_not_equal(plain->fingerprint, other->fingerprint, ES_FINGERPRINT_BYTES);
    assert_null(node->layers[1].experts[1].gate.data);
    assert_non_null(node->layers[1].experts[2].down.data);
    assert_null(node->embedding.data);
    es_model_close(&plain);
    es_model_close(&parts);
    es_model_close(&node);
    es_model_close(&other);
}

static void check_case(const char *name, size_t *wrong)
{
    char path[300], expected[ES_ERR_TEXT_MAX];
    snprintf(path, sizeof path, "%.*s.txt", (int)(strlen(name) - strlen(".gguf")), name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(expected, sizeof expected, file));
    fclose(file);
    expected[strcspn(expected, "\n")] = '\0';
    const es_model_parts parts = {.backbone = true, .all_experts = true};
    es_err err = {ES_OK, ""};
    es_model *model = NULL;
    es_status status = es_model_open(name, &parts, NULL, NULL, &model, &err);
    if (status != ES_OK && status == err.status && model == NULL && strcmp(err.text, expected) == 0) return;
    print_error("%s: expected\n  %s\nbut status %d says\n  %s\n", name, expected, (int)status, err.text);
    es_model_close(&model);
    ++*wrong;
}

static void test_every_broken_file_names_its_fault(void **state)
{
    (void)state;
    assert_int_equal(chdir(ESSAIM_SOURCE_DIR "/tests/weights/gguf/corpus"), 0);
    DIR *corpus = opendir(".");
    assert_non_null(corpus);
    size_t cases = 0, wrong = 0;
    for (struct dirent *entry; (entry = readdir(corpus)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 5, ".gguf") != 0) continue;
        check_case(entry->d_name, &wrong);
        cases++;
    }
    closedir(corpus);
    assert_int_equal(wrong, 0);
    assert_true(cases >= CASES_MIN);
}

static void test_a_file_is_known_without_its_ending(void **state)
{
    (void)state;
    char dir[] = "essaim-gguf-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/sha256-4f54e24c", dir);
    assert_int_equal(symlink(SMALL "plain.gguf", path), 0);
    es_shape shape = shape_of(path), plain = shape_of(SMALL "plain.gguf");
    assert_memory_equal(&shape, &plain, sizeof shape);
    assert_int_equal(unlink(path) + rmdir(dir), 0);
}

static void test_a_folder_of_gguf_files_names_the_one_to_take(void **state)
{
    (void)state;
    char dir[] = "essaim-gguf-XXXXXX", one[64], two[64];
    assert_non_null(mkdtemp(dir));
    snprintf(one, sizeof one, "%s/r1-00001-of-00002.gguf", dir);
    snprintf(two, sizeof two, "%s/r1-00002-of-00002.gguf", dir);
    assert_int_equal(symlink("nowhere", two) + symlink("nowhere", one), 0);
    es_shape shape;
    es_checkpoint *checkpoint;
    es_err err;
    assert_int_equal(es_source_open(dir, &shape, &checkpoint, &err), ES_NOT_FOUND);
    assert_non_null(strstr(err.text, "name its file, r1-00001-of-00002.gguf"));
    assert_int_equal(unlink(one) + unlink(two) + rmdir(dir), 0);
}

/* Each copy stands at the end of its own allocation, where a sanitizer sees a step too far. */
static void test_no_cut_is_taken_for_a_whole_file(void **state)
{
    (void)state;
    es_file_map map;
    assert_int_equal(es_file_map_open(SMALL "aligned.gguf", &map, NULL), ES_OK);
    for (size_t size = 0; size < map.bytes; size += size < 8192 ? 1 : 997) {
        uint8_t *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy + 1, map.data, size);
        es_arena *arena = es_arena_create();
        es_gguf gguf;
        es_err err = {ES_OK, ""};
        es_status status = es_gguf_parse(copy + 1, size, "cut.gguf", arena, &gguf, &err);
        if (status == ES_OK || status != err.status || gguf.tensor_count != 0)
            fail_msg("%zu bytes: status %d", size, (int)status);
        es_arena_destroy(&arena);
        free(copy);
    }
    es_file_map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_gguf_has_the_shape_of_the_folder_it_was_made_from),
        cmocka_unit_test(test_values_are_those_of_the_folder_within_the_formats_step),
        cmocka_unit_test(test_layouts_and_conventions_say_the_same),
        cmocka_unit_test(test_what_files_leave_out_is_told),
        cmocka_unit_test(test_fingerprints_do_not_see_how_files_are_cut),
        cmocka_unit_test(test_every_broken_file_names_its_fault),
        cmocka_unit_test(test_a_file_is_known_without_its_ending),
        cmocka_unit_test(test_a_folder_of_gguf_files_names_the_one_to_take),
        cmocka_unit_test(test_no_cut_is_taken_for_a_whole_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
