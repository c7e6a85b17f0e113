/* Random models in the published layout: safetensors and an index. */
#include "weights/synth.h"

#include "base/file.h"
#include "base/size.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { CHUNK_BYTES = 4 << 20, MARGIN_BYTES = 16 << 20 };

typedef enum kind { MATRIX, SCALES, VALUES } kind;

/* cols 0: a vector. */
typedef struct tensor {
    char name[160];
    kind kind;
    es_format format;
    size_t rows, cols, bytes;
} tensor;

/* The tensors of one file. */
typedef struct list {
    const es_synth *synth;
    tensor *item;
    size_t count, capacity;
    bool failed;
} list;

static void add_tensor(list *l, const char *name, kind k, es_format format, size_t rows, size_t cols)
{
    if (l->count == l->capacity) {
        size_t capacity = 2 * l->capacity + 64;
        tensor *more = realloc(l->item, capacity * sizeof *more);
        if (more == NULL) {
            l->failed = true;
            return;
        }
        l->item = more;
        l->capacity = capacity;
    }
    tensor *t = &l->item[l->count++];
    *t = (tensor){.kind = k, .format = format, .rows = rows, .cols = cols};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->bytes = rows * es_format_row_bytes(format, es_size_max(cols, 1));
}

static void add_matrix(list *l, const char *prefix, const char *name, bool plain, size_t rows, size_t cols)
{
    char whole[160];
    es_format format = plain ? ES_FORMAT_BF16 : l->synth->format;
    snprintf(whole, sizeof whole, "%s%s.weight", prefix, name);
    add_tensor(l, whole, MATRIX, format, rows, cols);
    if (format != ES_FORMAT_FP8) return;
    snprintf(whole, sizeof whole, "%s%s.weight_scale_inv", prefix, name);
    add_tensor(l, whole, SCALES, ES_FORMAT_F32, es_size_ceil_div(rows, ES_SCALE_BLOCK),
               es_size_ceil_div(cols, ES_SCALE_BLOCK));
}

static void add_values(list *l, const char *prefix, const char *name, es_format format, size_t rows,
                       size_t cols)
{
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    add_tensor(l, whole, VALUES, format, rows, cols);
}

static void add_ffn(list *l, const char *prefix, size_t hidden, size_t width)
{
    add_matrix(l, prefix, "gate_proj", false, width, hidden);
    add_matrix(l, prefix, "up_proj", false, width, hidden);
    add_matrix(l, prefix, "down_proj", false, hidden, width);
}

static void add_attention(list *l, const es_shape *s, const char *prefix)
{
    size_t q_rows = s->heads * (s->nope + s->rope);
    if (s->q_lora == 0) {
        add_matrix(l, prefix, "self_attn.q_proj", false, q_rows, s->hidden);
    } else {
        add_matrix(l, prefix, "self_attn.q_a_proj", false, s->q_lora, s->hidden);
        add_values(l, prefix, "self_attn.q_a_layernorm.weight", ES_FORMAT_BF16, s->q_lora, 0);
        add_matrix(l, prefix, "self_attn.q_b_proj", false, q_rows, s->q_lora);
    }
    add_matrix(l, prefix, "self_attn.kv_a_proj_with_mqa", false, s->kv_lora + s->rope, s->hidden);
    add_values(l, prefix, "self_attn.kv_a_layernorm.weight", ES_FORMAT_BF16, s->kv_lora, 0);
    add_matrix(l, prefix, "self_attn.kv_b_proj", false, s->heads * (s->nope + s->v), s->kv_lora);
    add_matrix(l, prefix, "self_attn.o_proj", false, s->hidden, s->heads * s->v);
}

static void add_layer(list *l, const es_shape *s, size_t layer)
{
    char prefix[40], inner[112];
    snprintf(prefix, sizeof prefix, "model.layers.%zu.", layer);
    add_values(l, prefix, "input_layernorm.weight", ES_FORMAT_BF16, s->hidden, 0);
    add_attention(l, s, prefix);
    add_values(l, prefix, "post_attention_layernorm.weight", ES_FORMAT_BF16, s->hidden, 0);
    if (!es_shape_layer_is_moe(s, layer)) {
        snprintf(inner, sizeof inner, "%smlp.", prefix);
        add_ffn(l, inner, s->hidden, s->dense_intermediate);
        return;
    }
    add_values(l, prefix, "mlp.gate.weight", ES_FORMAT_BF16, s->experts, s->hidden);
    if (s->topk_method == ES_TOPK_NOAUX)
        add_values(l, prefix, "mlp.gate.e_score_correction_bias", ES_FORMAT_F32, s->experts, 0);
    snprintf(inner, sizeof inner, "%smlp.shared_experts.", prefix);
    if (s->shared_experts > 0) add_ffn(l, inner, s->hidden, s->shared_experts * s->expert_intermediate);
    for (size_t e = 0; e < s->experts; e++) {
        snprintf(inner, sizeof inner, "%smlp.experts.%zu.", prefix, e);
        add_ffn(l, inner, s->hidden, s->expert_intermediate);
    }
}

/* File 0 holds the ends, file 1 + l layer l. */
static void list_file(list *l, const es_shape *s, size_t file)
{
    l->count = 0;
    if (file > 0) {
        add_layer(l, s, file - 1);
        return;
    }
    add_matrix(l, "model.", "embed_tokens", true, s->vocab, s->hidden);
    add_values(l, "model.", "norm.weight", ES_FORMAT_BF16, s->hidden, 0);
    if (!s->tied) add_matrix(l, "", "lm_head", true, s->vocab, s->hidden);
}

typedef struct output {
    es_synth *synth;
    const char *dir;
    size_t files;
    json_t *weight_map;
    es_progress_fn *progress;
    void *context;
    uint64_t done, total;
    list list;
} output;

static void file_name(const output *o, size_t file, char out[64])
{
    snprintf(out, 64, "model-%05zu-of-%06zu.safetensors", file + 1, o->files);
}

static es_status io_failed(const char *path, es_err *err)
{
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
}

static const char *dtype_name(es_format format)
{
    return format == ES_FORMAT_F32 ? "F32" : format == ES_FORMAT_BF16 ? "BF16" : "F8_E4M3";
}

/* The header's text, padded so that data begins at a multiple of 8. */
static char *make_header(const list *l, size_t *ret_bytes)
{
    json_t *header = json_object();
    uint64_t at = 0;
    for (size_t i = 0; i < l->count; i++) {
        const tensor *t = &l->item[i];
        uint64_t end = at + t->bytes;
        json_t *shape = t->cols == 0 ? json_pack("[I]", (json_int_t)t->rows)
                                     : json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->cols);
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(t->format), "shape", shape,
                                      "data_offsets", (json_int_t)at, (json_int_t)end));
        at = end;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    json_decref(header);
    if (text == NULL) return NULL;
    size_t bytes = strlen(text), padded = es_size_align(bytes, 8);
    char *more = realloc(text, padded + 1);
    if (more == NULL) {
        free(text);
        return NULL;
    }
    memset(more + bytes, ' ', padded - bytes);
    *ret_bytes = padded;
    return more;
}

static bool write_matrix(output *o, const tensor *t, FILE *file, es_err *err, es_status *status)
{
    size_t row_bytes = es_format_row_bytes(t->format, t->cols),
           at_once = es_size_max(CHUNK_BYTES / row_bytes, 1);
    for (size_t r = 0; r < t->rows; r += at_once) {
        size_t some = es_size_min(t->rows - r, at_once);
        const uint8_t *rows;
        *status = es_synth_rows(o->synth, t->name, t->format, t->cols, r, some, &rows, err);
        if (*status != ES_OK || fwrite(rows, row_bytes, some, file) != some) return false;
    }
    return true;
}

static bool write_floats(const output *o, const tensor *t, FILE *file)
{
    size_t cols = es_size_max(t->cols, 1), count = t->rows * cols;
    float *values = malloc(count * sizeof *values);
    if (values == NULL) return false;
    if (t->kind == SCALES)
        es_synth_scales(o->synth, t->name, cols * ES_SCALE_BLOCK, count, values);
    else
        es_synth_values(o->synth, t->name, t->cols == 0 ? 1 : t->rows, t->cols == 0 ? t->rows : t->cols,
                        values);
    bool half = t->format == ES_FORMAT_BF16;
    uint16_t *codes = (uint16_t *)(void *)values; /* in place, front to back */
    for (size_t i = 0; half && i < count; i++) {
        uint16_t code;
        memcpy(&code, (const uint8_t *)(values + i) + 2, sizeof code);
        memcpy(codes + i, &code, sizeof code);
    }
    bool good = fwrite(values, half ? 2 : 4, count, file) == count;
    free(values);
    return good;
}

static es_status write_tensors(output *o, FILE *file, const char *path, es_err *err)
{
    es_status status = ES_OK;
    for (size_t i = 0; i < o->list.count; i++) {
        const tensor *t = &o->list.item[i];
        bool good = t->kind == MATRIX ? write_matrix(o, t, file, err, &status) : write_floats(o, t, file);
        if (!good) return status != ES_OK ? status : io_failed(path, err);
        o->done += t->bytes;
        if (o->progress != NULL) o->progress(o->context, o->done, o->total);
    }
    return ES_OK;
}

static es_status write_file(output *o, size_t index, es_err *err)
{
    char name[64], path[PATH_MAX];
    file_name(o, index, name);
    list_file(&o->list, &o->synth->base.shape, index);
    size_t bytes = 0;
    es_status status = es_file_join(path, sizeof path, o->dir, name, err);
    char *header = status == ES_OK && !o->list.failed ? make_header(&o->list, &bytes) : NULL;
    if (header == NULL) return status != ES_OK ? status : es_err_set(err, ES_NO_MEMORY, "%s: header", path);
    for (size_t i = 0; i < o->list.count; i++)
        json_object_set_new(o->weight_map, o->list.item[i].name, json_string(name));
    FILE *file = fopen(path, "wbe");
    uint64_t prefix = bytes;
    bool good = file != NULL && fwrite(&prefix, sizeof prefix, 1, file) == 1 &&
                fwrite(header, 1, bytes, file) == bytes;
    free(header);
    status = good ? write_tensors(o, file, path, err) : io_failed(path, err);
    if (file != NULL && fclose(file) != 0 && status == ES_OK) status = io_failed(path, err);
    return status;
}

static es_status write_index(const output *o, es_err *err)
{
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)o->total, "weight_map",
                              o->weight_map);
    char *text = index == NULL ? NULL : json_dumps(index, JSON_INDENT(2));
    json_decref(index);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "%s: index", o->dir);
    es_status status = es_file_write(o->dir, "model.safetensors.index.json", text, strlen(text), err);
    free(text);
    return status;
}

static es_status check_disk(output *o, es_err *err)
{
    for (size_t f = 0; f < o->files; f++) {
        list_file(&o->list, &o->synth->base.shape, f);
        for (size_t i = 0; i < o->list.count; i++) o->total += o->list.item[i].bytes;
    }
    struct statvfs disk;
    if (statvfs(o->dir, &disk) != 0) return io_failed(o->dir, err);
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (o->total + MARGIN_BYTES <= free_bytes) return ES_OK;
    return es_err_set(err, ES_IO, "%s: the model needs %.1f MB and the disk has %.1f MB free", o->dir,
                      (double)(o->total + MARGIN_BYTES) * 1e-6, (double)free_bytes * 1e-6);
}

es_status es_synth_write_hf(es_synth *synth, const char *dir, const char *config, size_t config_bytes,
                            es_progress_fn *progress, void *context, es_err *err)
{
    if (synth->format >= ES_FORMAT_FLOAT_COUNT)
        return es_err_set(err, ES_UNSUPPORTED, "%s: the published layout has bf16 and fp8",
                          es_format_describe(synth->format)->name);
    output o = {.synth = synth,
                .dir = dir,
                .files = 1 + synth->base.shape.layers,
                .progress = progress,
                .context = context};
    o.list.synth = synth;
    o.weight_map = json_object();
    es_status status = mkdir(dir, 0777) != 0 && errno != EEXIST ? io_failed(dir, err) : check_disk(&o, err);
    if (status == ES_OK) status = es_file_write(dir, "config.json", config, config_bytes, err);
    for (size_t f = 0; f < o.files && status == ES_OK; f++) status = write_file(&o, f, err);
    if (status == ES_OK) status = write_index(&o, err);
    json_decref(o.weight_map);
    free(o.list.item);
    return status;
}
