/* The slices of an expert together are the expert, bit for bit, wherever they come from. */
#include "units/store_fixture.h"
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

static char folder[TEST_PATH_MAX];

static int enter(void **state)
{
    (void)state;
    folder_make(folder);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    folder_remove(folder);
    return 0;
}

static void check_sums(es_expert_store *store, uint32_t slices, const int64_t *want)
{
    const es_shape *s = es_expert_store_shape(store);
    int64_t *sums = store_sums(store, s->dense_layers, slices);
    assert_memory_equal(sums, want, STORE_ROWS * s->hidden * sizeof *want);
    free(sums);
}

/* The whole model, cut whole, and cut into 1 to all chunks: all of them taken in 1 to all stretches. */
static void check_model(const char *model, es_format format, uint32_t chunks)
{
    int64_t *want = NULL;
    es_expert_store *store;
    if (format == ES_FORMAT_COUNT) {
        store = store_open(&model, 1);
        want = store_sums(store, es_expert_store_shape(store)->dense_layers, 1);
        for (uint32_t k = 2; k <= chunks; k++) check_sums(store, k, want);
        es_expert_store_close(&store);
    }
    for (size_t cut = 1; cut <= chunks; cut++) {
        char path[TEST_PATH_MAX];
        const char *paths[] = {path};
        shards_cut(model, format, cut, folder, path);
        store = store_open(paths, 1);
        if (want == NULL) want = store_sums(store, es_expert_store_shape(store)->dense_layers, 1);
        for (uint32_t k = 1; k <= chunks; k++) check_sums(store, k, want);
        es_expert_store_close(&store);
    }
    bool any = false;
    for (size_t i = 0; i < 16; i++) any = any || want[i] != 0;
    assert_true(any);
    free(want);
}

static void slices_of_fp8_with_a_narrow_last_chunk_are_the_expert(void **state)
{
    (void)state;
    check_model(wide_v3(), ES_FORMAT_COUNT, 3);
}

static void slices_of_integer_formats_with_a_narrow_last_chunk_are_the_expert(void **state)
{
    (void)state;
    check_model(wide_v3(), ES_FORMAT_Q8_0, 3);
    check_model(wide_v3(), ES_FORMAT_Q4_K, 3); /* 608 columns: blocks of 32 take its place */
}

static void slices_of_wide_blocks_are_the_expert(void **state)
{
    (void)state;
    char model[TEST_PATH_MAX];
    model_make(folder, 256, 1280, model);
    static const es_format FORMATS[] = {ES_FORMAT_COUNT, ES_FORMAT_Q8_0, ES_FORMAT_Q6_K, ES_FORMAT_Q4_K};
    for (size_t i = 0; i < 4; i++) check_model(model, FORMATS[i], 5);
}

/* Shards of a whole model and of its slices lie in several folders: what is there is found, and nothing else.
 */
static void a_store_finds_what_its_shards_have(void **state)
{
    (void)state;
    char whole[TEST_PATH_MAX], sliced[TEST_PATH_MAX], one[TEST_PATH_MAX + 32];
    es_expert_offer offer;
    es_err err;
    shards_cut(wide_v3(), ES_FORMAT_Q6_K, 1, folder, whole);
    shards_cut(wide_v3(), ES_FORMAT_Q6_K, 3, folder, sliced);
    snprintf(one, sizeof one, "%s/experts-02-of-03.shard", sliced);
    const char *paths[] = {one};
    es_expert_store *store = store_open(paths, 1);
    assert_true(es_expert_store_has(store, 1, 0, 1));
    assert_false(es_expert_store_has(store, 1, 0, 0));
    assert_false(es_expert_store_has(store, 1, 0, 3));
    assert_false(es_expert_store_has(store, 0, 0, 1));
    assert_int_equal(es_expert_store_find(store, 1, 7, (es_chunks){0, 3}, &offer, &err), ES_NOT_FOUND);
    assert_string_equal(err.text, "layer 1: expert 7: chunk 0: in no shard here");
    assert_int_equal(es_expert_store_find(store, 1, 7, (es_chunks){1, 2}, &offer, &err), ES_OK);
    assert_int_equal(offer.chunks.count, 1);
    assert_int_equal(es_expert_store_find(store, 1, 7, (es_chunks){2, 2}, &offer, &err), ES_INVALID);
    assert_int_equal(es_expert_store_find(store, 0, 7, (es_chunks){0, 1}, &offer, &err), ES_INVALID);
    es_expert_store_close(&store);
    const char *both[] = {whole, one};
    store = store_open(both, 2);
    assert_int_equal(es_expert_store_find(store, 1, 7, (es_chunks){1, 2}, &offer, &err), ES_OK);
    assert_int_equal(offer.chunks.count, 2); /* the whole expert's shard reaches further */
    es_expert_store_close(&store);
}

static void a_store_of_two_models_or_none_is_refused(void **state)
{
    (void)state;
    char q8[TEST_PATH_MAX], as_is[TEST_PATH_MAX], coordinator[TEST_PATH_MAX + 32];
    es_expert_store *store;
    es_err err;
    char own[TEST_PATH_MAX];
    folder_make(own);
    shards_cut(wide_v3(), ES_FORMAT_Q8_0, 1, own, q8);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 1, own, as_is);
    const char *two[] = {q8, as_is};
    assert_int_equal(
        es_expert_store_open(&(es_expert_store_options){.paths = two, .path_count = 2}, &store, &err),
        ES_MISMATCH);
    assert_non_null(strstr(err.text, "of another model than"));
    snprintf(coordinator, sizeof coordinator, "%s/coordinator.shard", q8);
    const char *none[] = {coordinator};
    assert_int_equal(
        es_expert_store_open(&(es_expert_store_options){.paths = none, .path_count = 1}, &store, &err),
        ES_NOT_FOUND);
    const char *mixed[] = {wide_v3(), q8};
    assert_int_equal(
        es_expert_store_open(&(es_expert_store_options){.paths = mixed, .path_count = 2}, &store, &err),
        ES_INVALID);
    folder_remove(own);
}

/* Copies, and locked pages, hold the same bytes as maps. */
static void huge_and_locked_pages_compute_the_same(void **state)
{
    (void)state;
    char path[TEST_PATH_MAX], own[TEST_PATH_MAX];
    es_err err;
    folder_make(own);
    shards_cut(wide_v3(), ES_FORMAT_Q8_0, 2, own, path);
    const char *paths[] = {path};
    es_expert_store *store = store_open(paths, 1);
    int64_t *want = store_sums(store, 1, 1);
    es_expert_store_close(&store);
    for (int locked = 0; locked < 2; locked++) {
        const es_expert_store_options options = {
            .paths = paths, .path_count = 1, .huge_pages = locked == 0, .lock_memory = locked == 1};
        assert_int_equal(es_expert_store_open(&options, &store, &err), ES_OK);
        check_sums(store, 3, want);
        es_expert_store_close(&store);
    }
    free(want);
    folder_remove(own);
}

static void damage_is_found_by_its_checksum(void **state)
{
    (void)state;
    char path[TEST_PATH_MAX], file[TEST_PATH_MAX + 32], own[TEST_PATH_MAX];
    es_err err = {.text = ""};
    folder_make(own);
    shards_cut(wide_v3(), ES_FORMAT_Q8_0, 3, own, path);
    snprintf(file, sizeof file, "%s/experts-03-of-03.shard", path);
    FILE *stream = fopen(file, "r+be");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, 4096 + 100, SEEK_SET), 0); /* within the first unit */
    int byte = fgetc(stream);
    assert_int_equal(fseek(stream, 4096 + 100, SEEK_SET), 0);
    fputc(byte ^ 4, stream);
    fclose(stream);
    const char *paths[] = {path};
    es_expert_store *store = store_open(paths, 1);
    es_expert_offer offer;
    es_stored_expert stored;
    assert_int_equal(es_expert_store_find(store, 1, 0, (es_chunks){2, 1}, &offer, &err), ES_OK);
    assert_int_equal(es_expert_store_take(store, 1, 0, &offer, &stored, &err), ES_OK);
    assert_int_equal(es_expert_store_verify(store, &stored, &err), ES_CORRUPT);
    assert_non_null(strstr(err.text, "experts-03-of-03.shard: layers.1.experts.0.chunks.2.1: its checksum"));
    es_expert_store_give(store, &stored);
    es_expert_store_close(&store);
    folder_remove(own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(slices_of_fp8_with_a_narrow_last_chunk_are_the_expert, enter, leave),
        cmocka_unit_test_setup_teardown(slices_of_integer_formats_with_a_narrow_last_chunk_are_the_expert,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(slices_of_wide_blocks_are_the_expert, enter, leave),
        cmocka_unit_test_setup_teardown(a_store_finds_what_its_shards_have, enter, leave),
        cmocka_unit_test(a_store_of_two_models_or_none_is_refused),
        cmocka_unit_test(huge_and_locked_pages_compute_the_same),
        cmocka_unit_test(damage_is_found_by_its_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
