/* A model becomes a folder of shards. */
#ifndef ES_WEIGHTS_SHARD_CUT_H
#define ES_WEIGHTS_SHARD_CUT_H

#include "base/arena.h"
#include "base/pool.h"
#include "essaim/placement.h"
#include "weights/requantise.h"

/* The matrix at hand. */
typedef struct es_cut_part {
    const char *unit; /* its name */
    const es_field *field;
    size_t index; /* within the unit */
} es_cut_part;

/* Where weights come from, a part of the model at a time; matrices are in file rows, their data is looked at
 * by rows alone. */
typedef struct es_cut_source {
    void *context;
    es_shape shape;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES]; /* of what the shards will hold */
    const char *format;                        /* for people: "as-is", "q4_k" */

    es_status (*bind_ends)(void *context, es_arena *arena, es_model *model, es_err *err);
    es_status (*bind_layer)(void *context, size_t layer, es_arena *arena, es_layer *to, es_err *err);

    /* The format that a matrix is to have. */
    es_format (*target)(void *context, const es_field *field, const es_matrix *from);

    /* As es_shard_rows_fn; from is what was bound for the unit's part. */
    es_status (*rows)(void *context, const es_cut_part *part, const es_matrix *from, es_format to,
                      size_t row_first, size_t row_count, const uint8_t **ret_rows, es_err *err);
} es_cut_source;

/* What one expert shard holds; its ranges are of this model and do not overlap. */
typedef struct es_cut_share {
    const es_units *units;
    size_t unit_count;
} es_cut_share;

typedef struct es_cut_options {
    const char *out;
    size_t nodes;               /* expert shards, 1 to ES_SHARDS_MAX; 0 for a model without experts */
    const es_cut_share *shares; /* [nodes] */
    es_pool *pool;
    es_progress_fn *progress; /* may be NULL */
    void *progress_context;

    /* Writes what goes beside the shards into out. It is called before they get their names: a folder whose
     * shards have theirs is whole, whenever the cut was killed. May be NULL. */
    es_status (*texts)(const void *context, const es_shape *shape, const char *out, es_err *err);
    const void *texts_context;
} es_cut_options;

/* What was cut. */
typedef struct es_cut_result {
    uint64_t coordinator_bytes, experts_bytes; /* files */
    size_t units, units_kept;                  /* kept from a run that was killed */
} es_cut_result;

/* Writes options->out's shards, units in the order of the model: memory holds one layer's small weights and a
 * few rows. Errors as es_shard_writer_open's and the source's. */
es_status es_cut(const es_cut_source *source, const es_cut_options *options, es_cut_result *ret_result,
                 es_err *err);

/* A published folder or GGUF file as a source, cut as it is or to format. */
typedef struct es_model_source es_model_source;

/* format ES_FORMAT_COUNT: as it is. ES_INVALID for a format that cannot be made. Pool and kernels are
 * borrowed. */
es_status es_model_source_open(const char *path, es_format format, const es_kernels *kernels, es_pool *pool,
                               es_model_source **ret_source, es_err *err);
const es_cut_source *es_model_source_get(const es_model_source *source);
const es_weight_error *es_model_source_errors(const es_model_source *source); /* [ES_WEIGHT_COUNT] */
void es_model_source_close(es_model_source **source);

/* Copies what the model at path (a const char *) is beside its weights into out: config, tokenizer, chat
 * layout. */
es_status es_cut_texts(const void *path, const es_shape *shape, const char *out, es_err *err);

#endif
