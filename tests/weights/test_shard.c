/* Shards that lie are refused by name, and the layout of one is what its manifest says. */
#include "base/file.h"
#include "weights/json.h"
#include "weights/shape.h"
#include "weights/shape_json.h"
#include "weights/shard.h"
#include "with_cmocka.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE = ES_SHARD_PAGE_BYTES,
    AT_VERSION = 8,
    AT_KIND = 16,
    AT_COUNT = 24,
    AT_MANIFEST = 32,
    AT_MANIFEST_SUM = 96,
    AT_SUM = 224
};

static es_shape tiny_shape(void)
{
    es_shape shape;
    es_err err;
    assert_int_equal(es_shape_load(ESSAIM_SOURCE_DIR "/models/tiny-r1", &shape, &err), ES_OK);
    return shape;
}

/* A shard of two experts of layer 2, whose data is zeros. */
typedef struct fixture {
    es_arena *arena;
    es_shard shard;
    uint8_t *file;
    size_t bytes, manifest_bytes;
} fixture;

static void make_unit(fixture *f, es_shard_unit *unit, size_t expert, es_format format)
{
    const es_shape *s = &f->shard.shape;
    char name[ES_FIELD_NAME_BYTES];
    es_shard_expert_name(&(es_shard_expert){2, expert, {0, 0}}, name);
    unit->name = es_arena_copy_text(f->arena, name);
    unit->part_count = 3;
    unit->parts = es_arena_take(f->arena, 3, sizeof *unit->parts);
    for (size_t i = 0; i < 3; i++)
        unit->parts[i] = (es_shard_part){.format = format,
                                         .layout = ES_LAYOUT_PANELS,
                                         .rows = i == 2 ? s->hidden : s->expert_intermediate,
                                         .cols = i == 2 ? s->expert_intermediate : s->hidden};
    assert_true(es_shard_lay_out(unit));
}

/* Puts the checksums of header and manifest right: whoever lies does so too. */
static void seal(fixture *f)
{
    crypto_generichash(f->file + AT_MANIFEST_SUM, 32, f->file + f->shard.data_bytes, f->manifest_bytes, NULL,
                       0);
    crypto_generichash(f->file + AT_SUM, 32, f->file, AT_SUM, NULL, 0);
}

static fixture make(void)
{
    fixture f = {.arena = es_arena_create()};
    f.shard = (es_shard){
        .kind = ES_SHARD_EXPERTS, .count = 1, .format = "as-is", .shape = tiny_shape(), .unit_count = 2};
    f.shard.units = es_arena_take(f.arena, 2, sizeof *f.shard.units);
    make_unit(&f, &f.shard.units[0], 3, ES_FORMAT_FP8);
    make_unit(&f, &f.shard.units[1], 4, ES_FORMAT_Q8_0);
    assert_true(es_shard_place_units(&f.shard));
    char *manifest = es_shard_manifest(&f.shard, &f.manifest_bytes);
    f.bytes = f.shard.data_bytes + f.manifest_bytes;
    f.file = aligned_alloc(PAGE, (f.bytes + PAGE - 1) / PAGE * PAGE);
    memset(f.file, 0, f.bytes);
    es_shard_header(&f.shard, manifest, f.manifest_bytes, f.file);
    memcpy(f.file + f.shard.data_bytes, manifest, f.manifest_bytes);
    free(manifest);
    return f;
}

static void drop(fixture *f)
{
    es_arena_destroy(&f->arena);
    free(f->file);
}

static es_status open_it(const fixture *f, es_shard *shard, es_model *model, es_err *err)
{
    *err = (es_err){ES_OK, ""};
    es_status status = es_shard_parse("x.shard", f->file, f->bytes, f->arena, shard, err);
    if (status != ES_OK) return status;
    *model = (es_model){.shape = shard->shape,
                        .layers = es_arena_take(f->arena, shard->shape.layers, sizeof *model->layers)};
    return es_shard_bind(shard, "x.shard", f->file, NULL, f->arena, model, err);
}

static void a_shard_is_read_as_it_was_written(void **state)
{
    (void)state;
    fixture f = make();
    es_shard shard;
    es_model model;
    es_err err;
    assert_int_equal(open_it(&f, &shard, &model, &err), ES_OK);
    const es_ffn *three = &model.layers[2].experts[3], *four = &model.layers[2].experts[4];
    assert_ptr_equal(three->gate.data, f.file + PAGE);
    assert_int_equal((uintptr_t)four->gate.data % PAGE, 0);
    assert_int_equal((uintptr_t)three->down.scales % 64, 0);
    assert_int_equal(four->up.format, ES_FORMAT_Q8_0);
    assert_int_equal(four->up.layout, ES_LAYOUT_PANELS);
    assert_null(model.layers[2].experts[5].gate.data);
    assert_null(model.layers[3].experts);
    drop(&f);
}

/* A part of the manifest replaced by as many bytes. */
static void replace(fixture *f, const char *from, const char *to)
{
    assert_int_equal(strlen(from), strlen(to));
    uint8_t *at = memmem(f->file + f->shard.data_bytes, f->manifest_bytes, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
}

static void manifests_that_lie_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *wanted;
    } LIES[] = {
        {"\"offset\":4096", "\"offset\":0004", "line 1"},
        {"\"offset\":4096", "\"offset\":4104",
         "x.shard: layers.2.experts.3: it does not stand within the file"},
        {"\"offset\":4096", "\"offset\":9e99",
         "x.shard: layers.2.experts.3: it does not stand within the file"},
        {"\"units\"", "\"unitz\"", "x.shard: units: missing"},
        {"\"rows\":128", "\"rows\":144", "x.shard: layers.2.experts.3: its parts do not add up to its bytes"},
        {"\"rows\":128", "\"rows\":-28", "x.shard: layers.2.experts.3: a part's rows or cols are none"},
        {"\"format\":\"fp8\"", "\"format\":\"fp9\"",
         "x.shard: layers.2.experts.3: a part's format is unknown"},
        {"\"layout\":\"panels\"", "\"layout\":\"panelz\"",
         "x.shard: layers.2.experts.3: a part's layout is unknown"},
        {"\"phases\":[0,0]", "\"phasez\":[0,0]", "x.shard: layers.2.experts.3: a part's phases are none"},
        {"\"at\":0", "\"at\":1", "x.shard: layers.2.experts.3: a part is not in its place"},
        {"\"blake2b\":\"0", "\"blake2b\":\"g", "x.shard: layers.2.experts.3: its checksum is none"},
        {"experts.3", "experts.4", "x.shard: layers.2.experts.4: there twice"},
        {"layers.2.experts.3", "layers.9.experts.3",
         "x.shard: layers.9.experts.3: not an expert of this config"},
        {"layers.2.experts.3", "layers.0.experts.3",
         "x.shard: layers.0.experts.3: not an expert of this config"},
        {"layers.2.experts.3", "layers.2.experts\\u", "line 1"},
        {"layers.2.experts.3", "layers.02experts.3", "not an expert of this config"},
    };
    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
        fixture f = make();
        es_shard shard;
        es_model model;
        es_err err;
        replace(&f, LIES[i].from, LIES[i].to);
        seal(&f);
        es_status status = open_it(&f, &shard, &model, &err);
        if (status == ES_OK || strstr(err.text, LIES[i].wanted) == NULL)
            fail_msg("%s: %s", LIES[i].to, err.text);
        drop(&f);
    }
}

static void headers_that_lie_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
        const char *wanted;
    } LIES[] = {
        {0, 'X', "x.shard: header: not a shard"},
        {AT_VERSION, 2, "x.shard: header: version 2: this build reads 1"},
        {AT_VERSION + 4, 1, "x.shard: header: its size is not 256"},
        {AT_KIND, 2, "x.shard: header: its kind is unknown"},
        {AT_KIND + 4, 1, "x.shard: header: its place among the shards is none"},
        {AT_COUNT + 3, 1, "x.shard: header: its place among the shards is none"},
        {AT_COUNT + 4, 9, "x.shard: header: arithmetic 9: this build computes 1"},
        {AT_MANIFEST + 7, 255, "x.shard: header: the file has another length"},
        {AT_MANIFEST + 15, 1, "x.shard: header: its manifest is too large"},
        {AT_MANIFEST + 16, 1, "x.shard: header: the file has another length"},
    };
    for (size_t i = 0; i < sizeof LIES / sizeof LIES[0]; i++) {
        fixture f = make();
        es_shard shard;
        es_model model;
        es_err err;
        f.file[LIES[i].at] = LIES[i].value;
        seal(&f);
        es_status status = open_it(&f, &shard, &model, &err);
        if (status == ES_OK || strstr(err.text, LIES[i].wanted) == NULL)
            fail_msg("byte %zu: %s", LIES[i].at, err.text);
        drop(&f);
    }
}

static void a_file_of_any_length_is_refused(void **state)
{
    (void)state;
    fixture f = make();
    es_shard shard;
    es_model model;
    es_err err;
    size_t whole = f.bytes;
    const size_t lengths[] = {0, 1, 255, 4095, 4096, whole - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        f.bytes = lengths[i];
        assert_int_not_equal(open_it(&f, &shard, &model, &err), ES_OK);
    }
    drop(&f);
}

static void a_shape_becomes_the_config_it_came_from(void **state)
{
    (void)state;
    static const char *const MODELS[] = {"models/tiny-r1", "tests/golden/odd-v3", "tests/golden/lite-v2",
                                         "tests/golden/wide-v3"};
    for (size_t i = 0; i < sizeof MODELS / sizeof MODELS[0]; i++) {
        char dir[512];
        es_shape shape, again;
        es_err err;
        snprintf(dir, sizeof dir, "%s/%s", ESSAIM_SOURCE_DIR, MODELS[i]);
        assert_int_equal(es_shape_load(dir, &shape, &err), ES_OK);
        json_t *one = es_shape_json(&shape);
        char *text = json_dumps(one, 0);
        const es_json_text given = {"config", text, strlen(text)}, none = {.file = "none"};
        if (es_shape_parse(&given, &none, &again, &err) != ES_OK) fail_msg("%s: %s", MODELS[i], err.text);
        json_t *two = es_shape_json(&again);
        assert_true(json_equal(one, two));
        json_decref(one);
        json_decref(two);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_is_read_as_it_was_written),
        cmocka_unit_test(manifests_that_lie_are_refused_by_name),
        cmocka_unit_test(headers_that_lie_are_refused_by_name),
        cmocka_unit_test(a_file_of_any_length_is_refused),
        cmocka_unit_test(a_shape_becomes_the_config_it_came_from),
    };
    if (sodium_init() < 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
