/* A shard: one file of a model that was cut, mapped and computed from as it stands. The format is
 * docs/shards.md. */
#ifndef ES_WEIGHTS_SHARD_H
#define ES_WEIGHTS_SHARD_H

#include "base/arena.h"
#include "essaim/placement.h"
#include "weights/fields.h"

enum {
    ES_SHARD_VERSION = 1,
    ES_SHARD_PAGE_BYTES = 4096,
    ES_SHARD_HEADER_BYTES = 256, /* used of the file's first page */
    ES_SHARD_SUM_BYTES = 32,     /* BLAKE2b-256 */
    ES_SHARD_MANIFEST_MAX = 64 << 20,
    ES_SHARD_PARTS_MAX = 4096, /* of a unit: heads */
    ES_SHARDS_MAX = 1024       /* expert shards of one model */
};

/* Where a folder of shards keeps the tokenizer and chat layout of a model that was GGUF. */
#define ES_SHARD_TEXTS_NAME "texts.gguf"

/* The coordinator's shard is everything but the routed experts. */
typedef enum es_shard_kind { ES_SHARD_COORDINATOR, ES_SHARD_EXPERTS } es_shard_kind;

/* How one matrix stands in its unit. Floats of norms and routers are f32 in rows. */
typedef struct es_shard_part {
    es_format format;
    es_layout layout;
    size_t rows, cols;
    size_t row_phase, col_phase; /* FP8: where (0, 0) stands within its block */
    uint64_t at, bytes;          /* from the unit's first byte */
    uint64_t scales_at;          /* FP8: the grid of its own, f32 [scale rows][scale cols] */
} es_shard_part;

/* What is checked, and resumed, at once: three matrices of a routed expert or of a stretch of one, or one
 * field of the backbone. */
typedef struct es_shard_unit {
    const char *name; /* "layers.3.experts.17", "layers.3.experts.17.chunks.2.4", "layers.3.q_a" */
    uint64_t offset, bytes;
    uint8_t sum[ES_SHARD_SUM_BYTES];
    es_shard_part *parts;
    size_t part_count;
} es_shard_unit;

/* A shard's header and manifest, or the plan of one. Texts and units live in an arena. */
typedef struct es_shard {
    es_shard_kind kind;
    size_t index, count; /* of the expert shards; index is 0 for the coordinator's */
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    char format[16]; /* "as-is", "q4_k" */
    es_shape shape;
    es_shard_unit *units;
    size_t unit_count;
    uint64_t data_bytes; /* where the last unit ends, pages: there the manifest begins */
    uint64_t file_bytes;
} es_shard;

/* Rows and columns of an FP8 part's grid of scales. */
static inline size_t es_shard_scale_rows(const es_shard_part *part)
{
    return (part->row_phase + part->rows + ES_SCALE_BLOCK - 1) / ES_SCALE_BLOCK;
}

static inline size_t es_shard_scale_cols(const es_shard_part *part)
{
    return (part->col_phase + part->cols + ES_SCALE_BLOCK - 1) / ES_SCALE_BLOCK;
}

/* The layout that a field's matrices have. */
es_layout es_shard_layout_of(es_field_kind kind);

/* Gives the unit's parts their places, and the unit its bytes. False when they do not fit. */
bool es_shard_lay_out(es_shard_unit *unit);

/* Gives every unit its offset, each on a page of its own. False when they do not fit. */
bool es_shard_place_units(es_shard *shard);

/* A routed expert, or the chunks of one that a unit holds; a count of 0 is the whole. */
typedef struct es_shard_expert {
    size_t layer, expert;
    es_chunks chunks;
} es_shard_expert;

/* Its unit's name. */
void es_shard_expert_name(const es_shard_expert *expert, char ret_name[ES_FIELD_NAME_BYTES]);
bool es_shard_parse_expert(const char *name, es_shard_expert *ret_expert);

/* Whether unit is a routed expert of this shape, or a stretch of one, in matrices of the right sizes in
 * panels. */
bool es_shard_check_expert(const es_shape *shape, const es_shard_unit *unit, es_shard_expert *ret_expert);

/* The feed-forward of such a unit whose first byte stands at data. */
es_ffn es_shard_unit_ffn(const es_shard_unit *unit, const uint8_t *data);

/* The file names of a folder's shards: "coordinator.shard", "experts-01-of-04.shard" (index from 0). */
void es_shard_file_name(es_shard_kind kind, size_t index, size_t count, char ret_name[ES_FIELD_NAME_BYTES]);

/* The manifest's text: malloc'd, yours. NULL when memory is short. */
char *es_shard_manifest(const es_shard *shard, size_t *ret_bytes);

/* The header for a manifest at data_bytes; sets nothing. */
void es_shard_header(const es_shard *shard, const char *manifest, size_t manifest_bytes,
                     uint8_t ret_header[ES_SHARD_HEADER_BYTES]);

/* Reads a whole file's header and manifest from memory and checks that every unit stands within the file.
 * ES_CORRUPT, ES_UNSUPPORTED (another version) name file and field. Units are not looked at. */
es_status es_shard_parse(const char *file, const uint8_t *bytes, size_t size, es_arena *arena,
                         es_shard *ret_shard, es_err *err);

/* Whether a file's first bytes say it is a shard. */
bool es_shard_is_header(const uint8_t *bytes, size_t size);

/* Fills model's fields from a shard whose file stands at bytes: the coordinator's into all but the routed
 * experts, which are made in the arena. wanted [layers][experts], nonzero: bind it; NULL: all. model has its
 * shape and its layers. ES_CORRUPT names a unit that is missing or is not what the shape makes it. */
es_status es_shard_bind(const es_shard *shard, const char *file, const uint8_t *bytes, const uint8_t *wanted,
                        es_arena *arena, es_model *model, es_err *err);

#endif
