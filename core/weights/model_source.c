/* A published folder or GGUF file as a source of shards. */
#include "weights/shard_cut.h"

#include "base/file.h"
#include "essaim/quant.h"
#include "weights/bind.h"
#include "weights/fingerprint.h"
#include "weights/gguf_files.h"
#include "weights/shape_json.h"
#include "weights/shard.h"
#include "weights/source.h"

#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FORGET_BYTES = 128 << 20, TEXT_BYTES_MAX = 256 << 20 };

struct es_model_source {
    es_cut_source base;
    es_checkpoint *checkpoint;
    es_format format; /* ES_FORMAT_COUNT: as it is */
    es_requantiser requantiser;
    size_t read_bytes; /* since maps were last let go of */
};

static es_status bind_ends(void *context, es_arena *arena, es_model *model, es_err *err)
{
    const es_model_source *source = context;
    return es_bind_ends_rows(source->checkpoint, arena, model, err);
}

static es_status bind_layer(void *context, size_t layer, es_arena *arena, es_layer *to, es_err *err)
{
    const es_model_source *source = context;
    es_checkpoint_forget(source->checkpoint);
    return es_bind_layer_rows(source->checkpoint, &source->base.shape, layer, arena, to, err);
}

static es_format target(void *context, const es_field *field, const es_matrix *from)
{
    const es_model_source *source = context;
    if (source->format == ES_FORMAT_COUNT) return from->format;
    return es_requantise_target(source->format, field->weight, from);
}

static es_status rows(void *context, const es_cut_part *part, const es_matrix *from, es_format to,
                      size_t row_first, size_t row_count, const uint8_t **ret_rows, es_err *err)
{
    es_model_source *source = context;
    source->read_bytes += row_count * from->row_bytes;
    if (source->read_bytes > FORGET_BYTES) {
        es_checkpoint_forget(source->checkpoint);
        source->read_bytes = 0;
    }
    return es_requantise_rows(&source->requantiser, from, part->field->weight, to, row_first, row_count,
                              ret_rows, err);
}

/* What was made of another model is another model. */
static void derive_fingerprint(uint8_t fingerprint[ES_FINGERPRINT_BYTES], const char *format)
{
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, ES_FINGERPRINT_BYTES);
    crypto_generichash_update(&hash, (const uint8_t *)"quantised ", 10);
    crypto_generichash_update(&hash, (const uint8_t *)format, strlen(format));
    crypto_generichash_update(&hash, fingerprint, ES_FINGERPRINT_BYTES);
    crypto_generichash_final(&hash, fingerprint, ES_FINGERPRINT_BYTES);
}

es_status es_model_source_open(const char *path, es_format format, const es_kernels *kernels, es_pool *pool,
                               es_model_source **ret_source, es_err *err)
{
    *ret_source = NULL;
    if (format != ES_FORMAT_COUNT && !es_quant_encodes(format))
        return es_err_set(err, ES_INVALID, "%s cannot be made", es_format_describe(format)->name);
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    es_model_source *source = calloc(1, sizeof *source);
    if (source == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", path);
    source->format = format;
    source->requantiser.kernels = kernels;
    source->requantiser.pool = pool;
    es_status status = es_source_open(path, &source->base.shape, &source->checkpoint, err);
    if (status != ES_OK) {
        es_model_source_close(&source);
        return status;
    }
    es_cut_source *base = &source->base;
    base->context = source;
    base->bind_ends = bind_ends;
    base->bind_layer = bind_layer;
    base->target = target;
    base->rows = rows;
    base->format = format == ES_FORMAT_COUNT ? "as-is" : es_format_describe(format)->name;
    es_fingerprint(&base->shape, source->checkpoint, base->fingerprint);
    if (format != ES_FORMAT_COUNT) derive_fingerprint(base->fingerprint, base->format);
    *ret_source = source;
    return ES_OK;
}

const es_cut_source *es_model_source_get(const es_model_source *source)
{
    return &source->base;
}

const es_weight_error *es_model_source_errors(const es_model_source *source)
{
    return source->requantiser.errors;
}

void es_model_source_close(es_model_source **source)
{
    if (*source == NULL) return;
    es_checkpoint_close(&(*source)->checkpoint);
    es_requantiser_fini(&(*source)->requantiser);
    free(*source);
    *source = NULL;
}

static es_status copy_file(const char *from_dir, const char *name, const char *to_dir, es_err *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t bytes = 0;
    es_status status = es_file_join(path, sizeof path, from_dir, name, err);
    if (status == ES_OK) status = es_file_read(path, TEXT_BYTES_MAX, &text, &bytes, err);
    if (status == ES_NOT_FOUND) return ES_OK;
    if (status == ES_OK) status = es_file_write(to_dir, name, text, bytes, err);
    free(text);
    return status;
}

/* A GGUF's text side is its metadata: a GGUF without tensors. */
static es_status write_gguf_texts(const char *path, const es_shape *shape, const char *out, es_err *err)
{
    es_checkpoint *checkpoint;
    es_status status = es_checkpoint_open(path, &checkpoint, err);
    if (status != ES_OK) return status;
    uint8_t *bytes;
    size_t size;
    status = es_gguf_metadata(es_checkpoint_gguf(checkpoint), &bytes, &size, err);
    if (status == ES_OK) status = es_file_write(out, ES_SHARD_TEXTS_NAME, bytes, size, err);
    free(bytes);
    es_checkpoint_close(&checkpoint);
    if (status != ES_OK) return status;
    json_t *config = es_shape_json(shape);
    char *text = config == NULL ? NULL : json_dumps(config, JSON_INDENT(2));
    json_decref(config);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "%s: config", out);
    status = es_file_write(out, "config.json", text, strlen(text), err);
    free(text);
    return status;
}

es_status es_cut_texts(const void *path, const es_shape *shape, const char *out, es_err *err)
{
    static const char *const NAMES[] = {"config.json", "generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json", "chat_template.jinja"};
    if (es_gguf_is_path(path)) return write_gguf_texts(path, shape, out, err);
    es_status status = ES_OK;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0] && status == ES_OK; i++)
        status = copy_file(path, NAMES[i], out, err);
    return status;
}
