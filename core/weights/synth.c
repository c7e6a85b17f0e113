/* Models of any shape whose weights are random. */
#include "weights/synth.h"

#include "base/f16.h"
#include "base/size.h"
#include "essaim/quant.h"
#include "weights/shape_json.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Root mean squares of codes drawn evenly: e4m3's finite ones, 8, 6, 5 and 4 bits around their middle; and of
 * the sub-block scales below. */
static const float RMS_FP8 = 107.2f, RMS_8 = 73.9f, RMS_6 = 18.5f, RMS_5 = 9.24f, RMS_4 = 4.61f,
                   RMS_A4 = 42.0f, RMS_A6 = 66.0f;

typedef struct draws {
    uint64_t state;
} draws;

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014: splitmix64. */
static uint64_t next(draws *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static draws start(const es_synth *s, const char *name, uint64_t row)
{
    draws r = {s->seed};
    for (const char *c = name; *c != '\0'; c++) r.state = next(&r) ^ (uint8_t)*c;
    r.state = next(&r) ^ row;
    return (draws){next(&r)};
}

static void fill_bytes(draws *r, uint8_t *out, size_t bytes)
{
    size_t at = 0;
    for (; at + 8 <= bytes; at += 8) {
        uint64_t some = next(r);
        memcpy(out + at, &some, 8);
    }
    uint64_t rest = next(r);
    memcpy(out + at, &rest, bytes - at);
}

/* Evenly between -1 and 1. */
static float even(draws *r)
{
    return (float)(int32_t)(next(r) >> 40) * 0x1p-23f - 1.0f;
}

static float deviation(size_t cols)
{
    return 1.0f / sqrtf((float)cols);
}

static void put_half(uint8_t *at, float value)
{
    uint16_t code = es_f16_of_float(value);
    memcpy(at, &code, sizeof code);
}

static void fill_floats(draws *r, es_format format, size_t cols, uint8_t *out)
{
    float reach = deviation(cols) * sqrtf(3.0f);
    for (size_t c = 0; c < cols; c++) {
        float value = even(r) * reach;
        uint32_t bits = es_float_to_bits(value);
        uint16_t half = format == ES_FORMAT_BF16 ? (uint16_t)(bits >> 16) : es_f16_of_float(value);
        if (format == ES_FORMAT_F32)
            memcpy(out + 4 * c, &bits, sizeof bits);
        else
            memcpy(out + 2 * c, &half, sizeof half);
    }
}

/* 6-bit scales 16 to 63 of eight sub-blocks, mins the same, as files pack them. */
static void put_k_scales(uint8_t *packed)
{
    uint8_t a[8];
    for (size_t j = 0; j < 8; j++) a[j] = (uint8_t)(16 + packed[j] % 48);
    for (size_t j = 0; j < 4; j++) {
        packed[j] = packed[4 + j] = (uint8_t)(a[j] | a[4 + j] >> 4 << 6);
        packed[8 + j] = (uint8_t)((a[4 + j] & 15) * 17);
    }
}

/* bytes holds random codes; scales get their values. */
static void put_scales(es_format format, float std, uint8_t *block)
{
    if (format == ES_FORMAT_Q8_0 || format == ES_FORMAT_Q5_0) {
        put_half(block, std / (format == ES_FORMAT_Q8_0 ? RMS_8 : RMS_5));
    } else if (format == ES_FORMAT_Q4_K) {
        float d = std / (RMS_A4 * RMS_4);
        put_half(block, d);
        put_half(block + 2, 7.5f * d);
        put_k_scales(block + 4);
    } else {
        ES_ASSERT(format == ES_FORMAT_Q6_K);
        for (size_t j = 0; j < 16; j++) block[192 + j] = (uint8_t)(32 + (block[192 + j] & 63));
        put_half(block + 208, std / (RMS_A6 * RMS_6));
    }
}

static void fill_row(draws *r, es_format format, size_t cols, uint8_t *out)
{
    if (format < ES_FORMAT_FP8) {
        fill_floats(r, format, cols, out);
        return;
    }
    size_t bytes = es_format_row_bytes(format, cols);
    fill_bytes(r, out, bytes);
    if (format == ES_FORMAT_FP8) {
        for (size_t c = 0; c < cols; c++) out[c] = (uint8_t)(out[c] - ((out[c] & 0x7f) == 0x7f)); /* no NaN */
        return;
    }
    size_t block = es_format_describe(format)->block_bytes;
    for (size_t at = 0; at < bytes; at += block) put_scales(format, deviation(cols), out + at);
}

typedef struct job {
    const es_synth *synth;
    const char *name;
    es_format format;
    size_t cols, row_first, row_bytes;
    uint8_t *out;
} job;

static void fill_item(void *context, size_t item, size_t thread)
{
    const job *j = context;
    (void)thread;
    draws r = start(j->synth, j->name, j->row_first + item);
    fill_row(&r, j->format, j->cols, j->out + item * j->row_bytes);
}

es_status es_synth_rows(es_synth *synth, const char *name, es_format format, size_t cols, size_t row_first,
                        size_t row_count, const uint8_t **ret_rows, es_err *err)
{
    size_t row_bytes = es_format_row_bytes(format, cols);
    if (row_count * row_bytes > synth->rows_bytes) {
        free(synth->rows);
        synth->rows = malloc(row_count * row_bytes);
        synth->rows_bytes = synth->rows == NULL ? 0 : row_count * row_bytes;
        if (synth->rows == NULL) return es_err_set(err, ES_NO_MEMORY, "%zu rows", row_count);
    }
    job j = {synth, name, format, cols, row_first, row_bytes, synth->rows};
    es_pool_run(synth->pool, row_count, fill_item, &j);
    *ret_rows = synth->rows;
    return ES_OK;
}

void es_synth_scales(const es_synth *synth, const char *name, size_t cols, size_t count, float *out)
{
    draws r = start(synth, name, UINT64_MAX);
    for (size_t i = 0; i < count; i++) out[i] = deviation(cols) / RMS_FP8 * (1.0f + 0.5f * even(&r));
}

void es_synth_values(const es_synth *synth, const char *name, size_t rows, size_t cols, float *out)
{
    draws r = start(synth, name, 0);
    bool bias = strstr(name, "bias") != NULL;
    for (size_t i = 0; i < rows * cols; i++)
        out[i] = rows > 1 ? even(&r) * deviation(cols) * sqrtf(3.0f) : (bias ? 0.0f : 1.0f) + 0.1f * even(&r);
}

es_format es_synth_format(const es_synth *synth, const es_field *field)
{
    const es_synth *s = synth;
    const es_matrix plain = {.format = ES_FORMAT_BF16, .cols = field->cols};
    if (field->weight == ES_WEIGHT_EMBEDDING ||
        (field->weight == ES_WEIGHT_HEAD && s->format < ES_FORMAT_FLOAT_COUNT))
        return ES_FORMAT_BF16;
    return s->format < ES_FORMAT_FLOAT_COUNT ? s->format
                                             : es_requantise_target(s->format, field->weight, &plain);
}

/* A matrix without data; its scales are made. */
static bool bind_matrix(const es_synth *s, const es_field *field, const char *unit, es_arena *arena,
                        es_matrix *to)
{
    static const uint8_t NOT_LOOKED_AT;
    *to = (es_matrix){.format = es_synth_format(s, field),
                      .rows = field->rows,
                      .cols = field->cols,
                      .data = &NOT_LOOKED_AT};
    to->row_bytes = es_format_row_bytes(to->format, to->cols);
    if (to->format != ES_FORMAT_FP8) return true;
    size_t rows = es_size_ceil_div(to->rows, ES_SCALE_BLOCK),
           cols = es_size_ceil_div(to->cols, ES_SCALE_BLOCK);
    float *scales = es_arena_take(arena, rows * cols, sizeof *scales);
    if (scales == NULL) return false;
    es_synth_scales(s, unit, to->cols, rows * cols, scales);
    to->scales = scales;
    to->scale_stride = cols;
    return true;
}

static bool bind_field(const es_synth *s, const es_field *field, const char *unit, es_arena *arena)
{
    if (field->kind == ES_FIELD_VALUES) {
        float *values = es_arena_take(arena, field->rows * field->cols, sizeof *values);
        if (values != NULL) es_synth_values(s, unit, field->rows, field->cols, values);
        *field->values = values;
        return values != NULL;
    }
    if (field->kind != ES_FIELD_HEADS) return bind_matrix(s, field, unit, arena, field->matrix);
    es_matrix *heads = es_arena_take(arena, field->count, sizeof *heads);
    bool good = heads != NULL;
    for (size_t h = 0; h < field->count && good; h++) good = bind_matrix(s, field, unit, arena, &heads[h]);
    *field->heads = heads;
    return good;
}

static es_status bind_fields(const es_synth *s, const es_field *fields, size_t count, es_arena *arena,
                             es_err *err)
{
    for (size_t i = 0; i < count; i++)
        if (!bind_field(s, &fields[i], fields[i].name, arena))
            return es_err_set(err, ES_NO_MEMORY, "%s", fields[i].name);
    return ES_OK;
}

static es_status bind_ends(void *context, es_arena *arena, es_model *model, es_err *err)
{
    es_field fields[ES_FIELDS_MAX];
    return bind_fields(context, fields, es_fields_of_ends(&model->shape, model, fields), arena, err);
}

static es_status bind_layer(void *context, size_t layer, es_arena *arena, es_layer *to, es_err *err)
{
    const es_synth *s = context;
    const es_shape *shape = &s->base.shape;
    es_field fields[ES_FIELDS_MAX];
    es_status status = bind_fields(s, fields, es_fields_of_layer(shape, layer, to, fields), arena, err);
    if (status != ES_OK || !to->is_moe) return status;
    es_ffn *experts = es_arena_take(arena, shape->experts, sizeof *experts);
    if (experts == NULL) return es_err_set(err, ES_NO_MEMORY, "list of experts");
    for (size_t e = 0; e < shape->experts && status == ES_OK; e++)
        status = bind_fields(s, fields, es_fields_of_expert(shape, &experts[e], fields), arena, err);
    to->experts = experts;
    return status;
}

static es_format target(void *context, const es_field *field, const es_matrix *from)
{
    (void)context;
    (void)field;
    return from->format;
}

static es_status rows(void *context, const es_cut_part *part, const es_matrix *from, es_format to,
                      size_t row_first, size_t row_count, const uint8_t **ret_rows, es_err *err)
{
    if (part->field->kind == ES_FIELD_VALUES) {
        *ret_rows = from->data + row_first * from->row_bytes;
        return ES_OK;
    }
    char name[2 * ES_FIELD_NAME_BYTES + 24];
    snprintf(name, sizeof name, "%s.%s.%zu", part->unit, part->field->name, part->index);
    return es_synth_rows(context, name, to, from->cols, row_first, row_count, ret_rows, err);
}

static es_status make_fingerprint(es_synth *s, es_err *err)
{
    json_t *config = es_shape_json(&s->base.shape);
    char *text = config == NULL ? NULL : json_dumps(config, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(config);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "config");
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, ES_FINGERPRINT_BYTES);
    crypto_generichash_update(&hash, (const uint8_t *)text, strlen(text));
    crypto_generichash_update(&hash, (const uint8_t *)&s->seed, sizeof s->seed);
    crypto_generichash_update(&hash, (const uint8_t *)s->base.format, strlen(s->base.format));
    crypto_generichash_final(&hash, s->base.fingerprint, ES_FINGERPRINT_BYTES);
    free(text);
    return ES_OK;
}

es_status es_synth_init(const es_shape *shape, es_format format, uint64_t seed, es_pool *pool,
                        es_synth *ret_synth, es_err *err)
{
    if (format != ES_FORMAT_BF16 && format != ES_FORMAT_FP8 && format != ES_FORMAT_Q8_0 &&
        format != ES_FORMAT_Q6_K && format != ES_FORMAT_Q4_K)
        return es_err_set(err, ES_INVALID, "%s: random models are bf16, fp8, q8_0, q6_k or q4_k",
                          es_format_describe(format)->name);
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    *ret_synth = (es_synth){.format = format, .seed = seed, .pool = pool};
    es_cut_source *base = &ret_synth->base;
    base->context = ret_synth;
    base->shape = *shape;
    base->format = es_format_describe(format)->name;
    base->bind_ends = bind_ends;
    base->bind_layer = bind_layer;
    base->target = target;
    base->rows = rows;
    return make_fingerprint(ret_synth, err);
}

void es_synth_fini(es_synth *synth)
{
    free(synth->rows);
    synth->rows = NULL;
}
