/* A shard's units go to the fields of a model, where they stand. */
#include "weights/shard.h"

#include "base/size.h"
#include "essaim/panels.h"

#include <string.h>

typedef struct binder {
    const es_shard *shard;
    const char *file;
    const uint8_t *bytes;
    es_arena *arena;
    es_err *err;
} binder;

static es_status no_memory(const binder *b)
{
    return es_err_set(b->err, ES_NO_MEMORY, "%s: list of weights", b->file);
}

/* A part of the unit whose first byte stands at data. */
static es_matrix matrix_of(const uint8_t *data, const es_shard_part *part)
{
    size_t lines =
        part->layout == ES_LAYOUT_PANELS ? es_size_ceil_div(part->rows, ES_PANEL_ROWS) : part->rows;
    es_matrix w = {
        .format = part->format,
        .layout = part->layout,
        .rows = part->rows,
        .cols = part->cols,
        .data = data + part->at,
        .row_bytes = (size_t)part->bytes / lines,
    };
    if (part->format == ES_FORMAT_FP8) {
        w.scales = (const float *)(const void *)(data + part->scales_at);
        w.scale_stride = es_shard_scale_cols(part);
        w.row_phase = part->row_phase;
        w.col_phase = part->col_phase;
    }
    return w;
}

es_ffn es_shard_unit_ffn(const es_shard_unit *unit, const uint8_t *data)
{
    ES_ASSERT(unit->part_count == 3);
    return (es_ffn){.gate = matrix_of(data, &unit->parts[0]),
                    .up = matrix_of(data, &unit->parts[1]),
                    .down = matrix_of(data, &unit->parts[2])};
}

/* Whether the unit's parts are what the field wants. */
static es_status check_parts(const binder *b, const es_shard_unit *unit, const es_field *field)
{
    for (size_t i = 0; i < field->count; i++) {
        const es_shard_part *part = &unit->parts[i];
        bool values = field->kind == ES_FIELD_VALUES;
        if (part->rows != field->rows || part->cols != field->cols)
            return es_err_set(b->err, ES_CORRUPT,
                              "%s: %s: %s is [%zu, %zu], but the config makes it [%zu, %zu]", b->file,
                              unit->name, field->name, part->rows, part->cols, field->rows, field->cols);
        if (part->layout != es_shard_layout_of(field->kind) || (values && part->format != ES_FORMAT_F32))
            return es_err_set(b->err, ES_CORRUPT, "%s: %s: %s: %s is not how it is stored", b->file,
                              unit->name, field->name, es_format_describe(part->format)->name);
    }
    return ES_OK;
}

static es_status bind_field(const binder *b, const es_shard_unit *unit, const es_field *field)
{
    es_status status = check_parts(b, unit, field);
    if (status != ES_OK) return status;
    const es_shard_part *parts = unit->parts;
    const uint8_t *data = b->bytes + unit->offset;
    if (field->kind == ES_FIELD_VALUES) {
        *field->values = (const float *)(const void *)(data + parts[0].at);
    } else if (field->kind == ES_FIELD_HEADS) {
        es_matrix *heads = es_arena_take(b->arena, field->count, sizeof *heads);
        if (heads == NULL) return no_memory(b);
        for (size_t i = 0; i < field->count; i++) heads[i] = matrix_of(data, &parts[i]);
        *field->heads = heads;
    } else {
        *field->matrix = matrix_of(data, &parts[0]);
    }
    return ES_OK;
}

/* Units stand in the order of fields. */
static es_status bind_fields(const binder *b, size_t *next, const es_field *fields, size_t count)
{
    es_status status = ES_OK;
    for (size_t i = 0; i < count && status == ES_OK; i++) {
        const es_shard_unit *unit = *next < b->shard->unit_count ? &b->shard->units[(*next)++] : NULL;
        if (unit == NULL || strcmp(unit->name, fields[i].name) != 0 || unit->part_count != fields[i].count)
            return es_err_set(b->err, ES_CORRUPT, "%s: %s: missing or out of order", b->file, fields[i].name);
        status = bind_field(b, unit, &fields[i]);
    }
    return status;
}

static es_status bind_backbone(const binder *b, es_model *model)
{
    const es_shape *s = &model->shape;
    es_field fields[ES_FIELDS_MAX];
    size_t next = 0;
    es_status status = bind_fields(b, &next, fields, es_fields_of_ends(s, model, fields));
    for (size_t l = 0; l < s->layers && status == ES_OK; l++)
        status = bind_fields(b, &next, fields, es_fields_of_layer(s, l, &model->layers[l], fields));
    if (status == ES_OK && next != b->shard->unit_count)
        status = es_err_set(b->err, ES_CORRUPT, "%s: %s: not a weight of this config", b->file,
                            b->shard->units[next].name);
    return status;
}

static es_status bind_expert(const binder *b, const es_shard_unit *unit, const uint8_t *wanted,
                             es_model *model)
{
    const es_shape *s = &model->shape;
    es_shard_expert expert;
    if (!es_shard_check_expert(s, unit, &expert))
        return es_err_set(b->err, ES_CORRUPT, "%s: %s: not an expert of this config", b->file, unit->name);
    if (expert.chunks.count > 0)
        return es_err_set(b->err, ES_UNSUPPORTED,
                          "%s: %s: a slice: expert nodes compute from it, nothing else does", b->file,
                          unit->name);
    size_t l = expert.layer, e = expert.expert;
    if (wanted != NULL && wanted[l * s->experts + e] == 0) return ES_OK;
    es_layer *layer = &model->layers[l];
    if (layer->experts == NULL) layer->experts = es_arena_take(b->arena, s->experts, sizeof *layer->experts);
    if (layer->experts == NULL) return no_memory(b);
    es_ffn *to =
        (es_ffn *)(uintptr_t)&layer->experts[e]; /* taken above, and not shared before the model is open */
    if (to->gate.data != NULL)
        return es_err_set(b->err, ES_CORRUPT, "%s: %s: there twice", b->file, unit->name);
    *to = es_shard_unit_ffn(unit, b->bytes + unit->offset);
    return ES_OK;
}

es_status es_shard_bind(const es_shard *shard, const char *file, const uint8_t *bytes, const uint8_t *wanted,
                        es_arena *arena, es_model *model, es_err *err)
{
    const binder b = {shard, file, bytes, arena, err};
    if (shard->kind == ES_SHARD_COORDINATOR) return bind_backbone(&b, model);
    es_status status = ES_OK;
    for (size_t i = 0; i < shard->unit_count && status == ES_OK; i++)
        status = bind_expert(&b, &shard->units[i], wanted, model);
    return status;
}
