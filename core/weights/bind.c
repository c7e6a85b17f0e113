/* Binding: which parts, in which order; the names are their source's. */
#include "weights/bind.h"

#include "base/size.h"
#include "weights/bind_names.h"

/* Room for every tensor once, and for every routed expert's matrices by themselves. */
static es_status make_list(const es_binder *b)
{
    size_t experts;
    if (!es_size_mul(b->shape->layers, b->shape->experts * 3, &experts) ||
        !es_size_add(experts, es_checkpoint_count(b->checkpoint), &b->bound->capacity))
        return es_binder_no_memory(b, "list of tensors");
    b->bound->pieces = es_arena_take(b->arena, b->bound->capacity, sizeof *b->bound->pieces);
    return b->bound->pieces == NULL ? es_binder_no_memory(b, "list of tensors") : ES_OK;
}

static const es_names *names_of(const es_checkpoint *checkpoint)
{
    return es_checkpoint_gguf(checkpoint) != NULL ? &ES_NAMES_GGUF : &ES_NAMES_PUBLISHED;
}

es_status es_bind(const es_checkpoint *checkpoint, const es_model_parts *parts, es_arena *arena,
                  es_model *model, es_bound *ret_bound, es_err *err)
{
    const es_shape *s = &model->shape;
    const es_names *names = names_of(checkpoint);
    const es_binder b = {checkpoint, s, names->config, arena, ret_bound, err, false};
    *ret_bound = (es_bound){NULL, 0, 0};
    model->layers = es_arena_take(arena, s->layers, sizeof *model->layers);
    if (model->layers == NULL) return es_binder_no_memory(&b, "list of layers");
    es_status status = make_list(&b);
    if (status == ES_OK && parts->backbone) status = es_bind_ends(&b, names, model);
    for (size_t l = 0; l < s->layers && status == ES_OK; l++) {
        es_layer *layer = &model->layers[l];
        layer->is_moe = es_shape_layer_is_moe(s, l);
        if (parts->backbone) status = es_bind_layer(&b, names, l, layer);
        if (status != ES_OK || !layer->is_moe) continue;
        if (parts->all_experts)
            status = es_bind_experts(&b, names, l, NULL, layer);
        else if (parts->experts != NULL)
            status = es_bind_experts(&b, names, l, parts->experts + l * s->experts, layer);
    }
    model->has_backbone = parts->backbone && status == ES_OK;
    return status;
}

es_status es_bind_ends_rows(const es_checkpoint *checkpoint, es_arena *arena, es_model *model, es_err *err)
{
    const es_names *names = names_of(checkpoint);
    es_bound bound = {NULL, 0, 0};
    const es_binder b = {checkpoint, &model->shape, names->config, arena, &bound, err, true};
    es_status status = make_list(&b);
    return status == ES_OK ? es_bind_ends(&b, names, model) : status;
}

es_status es_bind_experts_rows(const es_checkpoint *checkpoint, const es_shape *shape, size_t layer,
                               es_arena *arena, es_layer *to, es_err *err)
{
    const es_names *names = names_of(checkpoint);
    es_bound bound = {NULL, 0, 0};
    const es_binder b = {checkpoint, shape, names->config, arena, &bound, err, true};
    es_status status = make_list(&b);
    return status == ES_OK ? es_bind_experts(&b, names, layer, NULL, to) : status;
}

es_status es_bind_layer_rows(const es_checkpoint *checkpoint, const es_shape *shape, size_t layer,
                             es_arena *arena, es_layer *to, es_err *err)
{
    const es_names *names = names_of(checkpoint);
    es_bound bound = {NULL, 0, 0};
    const es_binder b = {checkpoint, shape, names->config, arena, &bound, err, true};
    to->is_moe = es_shape_layer_is_moe(shape, layer);
    es_status status = make_list(&b);
    if (status == ES_OK) status = es_bind_layer(&b, names, layer, to);
    if (status == ES_OK && to->is_moe)
        status = es_bind_experts_rows(checkpoint, shape, layer, arena, to, err);
    return status;
}
