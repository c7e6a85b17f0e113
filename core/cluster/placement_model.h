/* What a placement has to know of a model. */
#ifndef ES_CLUSTER_PLACEMENT_MODEL_H
#define ES_CLUSTER_PLACEMENT_MODEL_H

#include "base/arena.h"
#include "cluster/document.h"

/* Lists live in the arena. */
typedef struct es_placement_model {
    es_shape shape;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    size_t layer_count;
    uint32_t *layers;       /* [layer_count] with routed experts */
    uint64_t *expert_bytes; /* [layer_count] of the largest */
    uint8_t *sums;    /* [layer_count][experts][ES_SUM_BYTES], or NULL: the model is not cut into shards */
    uint8_t *formats; /* [layer_count][experts][ES_EXPERT_PARTS] es_format of gate, up, down; NULL likewise */
} es_placement_model;

/* Of shards: sizes, checksums and formats from their manifests. Of other models: the mean of all experts'
 * sizes, and no checksums. Weights are not read. */
es_status es_placement_model_read(const char *path, es_arena *arena, es_placement_model *ret_model,
                                  es_err *err);

/* What the document says of every expert's bytes is the model's: borrowed, so the document goes first. */
void es_placement_model_state(const es_placement_model *model, es_document *document);

/* Bytes of the largest slice of an expert cut in `slices`, by layer: ret_cell_bytes [layer_count]. Chunks do
 * not always divide. ES_INVALID when an expert has fewer chunks. */
es_status es_placement_model_cells(const es_placement_model *model, size_t slices, uint64_t *ret_cell_bytes,
                                   es_err *err);

#endif
