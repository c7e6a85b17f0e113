/* Tensors of a checkpoint go to the fields of a model: names, shapes and formats are checked, values not yet.
 */
#ifndef ES_WEIGHTS_BIND_H
#define ES_WEIGHTS_BIND_H

#include "weights/checkpoint.h"

/* The values that a model uses, in the order they were bound: of a tensor, count elements (blocks, where its
 * type has them) from first on. */
typedef struct es_bound_piece {
    const es_tensor *tensor;
    size_t first, count;
} es_bound_piece;

typedef struct es_bound {
    es_bound_piece *pieces; /* [count], in the arena */
    size_t count, capacity;
} es_bound;

/* Fills model's layers and, when parts asks for them, its other weights, for the shape it has. The embedding
 * is a view of the checkpoint's maps; panels, scales, norms and routers are made in the arena.
 * ES_NOT_FOUND names a tensor that is not there, ES_CORRUPT one whose shape is not what the config says,
 * ES_UNSUPPORTED one whose type is none of ours, ES_NUMERIC a scale that is no number. */
es_status es_bind(const es_checkpoint *checkpoint, const es_model_parts *parts, es_arena *arena,
                  es_model *model, es_bound *ret_bound, es_err *err);

/* The same for one part at a time, every matrix in file rows, so that a model can be cut that is larger than
 * memory: all but the layers, into model (which has its shape); one layer, its routed experts included.
 * Values are not noted for a check. */
es_status es_bind_ends_rows(const es_checkpoint *checkpoint, es_arena *arena, es_model *model, es_err *err);
es_status es_bind_layer_rows(const es_checkpoint *checkpoint, const es_shape *shape, size_t layer,
                             es_arena *arena, es_layer *to, es_err *err);

/* A layer's routed experts alone. */
es_status es_bind_experts_rows(const es_checkpoint *checkpoint, const es_shape *shape, size_t layer,
                               es_arena *arena, es_layer *to, es_err *err);

#endif
