/* Models of any shape whose weights are random: for speeds and limits, not for answers. */
#ifndef ES_WEIGHTS_SYNTH_H
#define ES_WEIGHTS_SYNTH_H

#include "weights/shard_cut.h"

/* Weights have mean 0 and deviation 1 / sqrt(cols), so that activations stay near 1 through any number of
 * layers; norms are near 1. A row depends on the seed, its matrix's name and its number alone. */
typedef struct es_synth {
    es_cut_source base; /* base.context is this */
    es_format format;
    uint64_t seed;
    es_pool *pool;
    uint8_t *rows;
    size_t rows_bytes;
} es_synth;

/* format: bf16, fp8, q8_0, q6_k or q4_k; ES_INVALID for others. The pool is borrowed; es_synth_fini frees the
 * rest. */
es_status es_synth_init(const es_shape *shape, es_format format, uint64_t seed, es_pool *pool,
                        es_synth *ret_synth, es_err *err);
void es_synth_fini(es_synth *synth);

/* The format in which a field's matrices stand. */
es_format es_synth_format(const es_synth *synth, const es_field *field);

/* Rows of a matrix called name: file rows of format, one after the other, borrowed until the next call. */
es_status es_synth_rows(es_synth *synth, const char *name, es_format format, size_t cols, size_t row_first,
                        size_t row_count, const uint8_t **ret_rows, es_err *err);

/* Fills a grid of FP8 scales, or floats of norms, biases and routers, as their name has them. */
void es_synth_scales(const es_synth *synth, const char *name, size_t cols, size_t count, float *out);
void es_synth_values(const es_synth *synth, const char *name, size_t rows, size_t cols, float *out);

/* Writes the published layout into dir (made when it is not there): a file for the ends and one for each
 * layer, an index, and config (its text) as config.json. Formats bf16 and fp8. ES_IO when the disk is short,
 * before anything is written. */
es_status es_synth_write_hf(es_synth *synth, const char *dir, const char *config, size_t config_bytes,
                            es_progress_fn *progress, void *context, es_err *err);

/* Writes out/model.gguf, or out where it ends in .gguf (folders are made when they are not there), in formats
 * bf16, q8_0, q6_k and q4_k; the weights are those of shards of this seed. ES_INVALID for what a GGUF cannot
 * state; ES_IO when the disk is short, before anything is written. */
es_status es_synth_write_gguf(es_synth *synth, const char *out, es_progress_fn *progress, void *context,
                              es_err *err);

#endif
