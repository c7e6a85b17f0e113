/* A model becomes a folder of shards: twice through its parts, to plan and to write. */
#include "weights/shard_cut.h"

#include "base/size.h"
#include "weights/chunks.h"
#include "weights/shard_writer.h"

#include <stdlib.h>
#include <string.h>

typedef struct cut {
    const es_cut_source *source;
    const es_cut_options *options;
    es_arena *arena;  /* the plan */
    es_shard *shards; /* [1 + nodes] */
    size_t *next;     /* [1 + nodes]: the unit that comes now */
    es_matrix *parts; /* [ES_SHARD_PARTS_MAX] of the unit at hand */
    uint8_t *columns; /* a slice's columns of some rows, side by side */
    size_t columns_bytes;
    es_shard_writer *writer; /* NULL: planning */
    size_t kept;
} cut;

static es_status no_memory(const cut *c, es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "%s: plan of shards", c->options->out);
}

/* A field's matrices in file rows, floats as one of f32; returns how many were written to out. */
static size_t field_parts(const es_field *field, es_matrix *out)
{
    if (field->kind == ES_FIELD_HEADS)
        memcpy(out, *field->heads, field->count * sizeof *out);
    else if (field->kind == ES_FIELD_VALUES)
        out[0] = (es_matrix){.format = ES_FORMAT_F32,
                             .rows = field->rows,
                             .cols = field->cols,
                             .data = (const uint8_t *)*field->values,
                             .row_bytes = field->cols * sizeof(float)};
    else
        out[0] = *field->matrix;
    return field->count;
}

/* The unit's fields are one, or an expert's three. */
static const es_field *field_of_part(const es_field *fields, size_t field_count, size_t part)
{
    return &fields[field_count == 1 ? 0 : part];
}

/* A unit of the model as its source has it, and the stretch of an expert that a shard wants of it. */
typedef struct visited {
    const char *name;
    const es_field *fields;
    size_t field_count;
    es_chunks chunks; /* count 0: all of it */
} visited;

/* The part as the shard is to have it: views of c->parts, which are whole. */
static es_matrix part_wanted(const cut *c, const visited *v, size_t part)
{
    if (v->chunks.count == 0) return c->parts[part];
    const es_ffn whole = {c->parts[0], c->parts[1], c->parts[2]};
    es_ffn slice = es_ffn_chunks(&whole, 0, v->chunks);
    const es_matrix *const parts[] = {&slice.gate, &slice.up, &slice.down};
    ES_ASSERT(part < sizeof parts / sizeof parts[0]);
    return *parts[part];
}

static es_status plan_unit(cut *c, const visited *v, size_t part_count, es_shard_unit *unit, es_err *err)
{
    unit->name = es_arena_copy_text(c->arena, v->name);
    unit->parts = es_arena_take(c->arena, part_count, sizeof *unit->parts);
    unit->part_count = part_count;
    if (unit->name == NULL || unit->parts == NULL) return no_memory(c, err);
    for (size_t i = 0; i < part_count; i++) {
        const es_field *field = field_of_part(v->fields, v->field_count, i);
        const es_matrix from = part_wanted(c, v, i);
        es_shard_part *part = &unit->parts[i];
        /* the format is the whole matrix's: a slice holds the same codes */
        *part = (es_shard_part){.format = c->source->target(c->source->context, field, &c->parts[i]),
                                .layout = es_shard_layout_of(field->kind),
                                .rows = from.rows,
                                .cols = from.cols};
        if (part->format == ES_FORMAT_FP8) {
            part->row_phase = from.row_phase;
            part->col_phase = from.col_phase;
        }
    }
    if (!es_shard_lay_out(unit))
        return es_err_set(err, ES_UNSUPPORTED, "%s: larger than this machine can name", v->name);
    return ES_OK;
}

/* What rows are asked for by. */
typedef struct rows_context {
    cut *c;
    const visited *visited;
    const es_shard_unit *unit;
} rows_context;

/* Rows of w, whose columns are some of a wider matrix's, copied side by side: as a matrix. */
static es_status gather_columns(cut *c, const es_matrix *w, size_t row_first, size_t row_count,
                                es_matrix *ret_rows, es_err *err)
{
    size_t row_bytes = es_format_row_bytes(w->format, w->cols), bytes = row_count * row_bytes;
    if (bytes > c->columns_bytes) {
        free(c->columns);
        c->columns = malloc(bytes);
        c->columns_bytes = c->columns == NULL ? 0 : bytes;
    }
    if (c->columns == NULL) return es_err_set(err, ES_NO_MEMORY, "%zu bytes of columns", bytes);
    for (size_t r = 0; r < row_count; r++)
        memcpy(c->columns + r * row_bytes, w->data + (row_first + r) * w->row_bytes, row_bytes);
    *ret_rows = *w;
    ret_rows->rows = row_count;
    ret_rows->data = c->columns;
    ret_rows->row_bytes = row_bytes;
    if (w->format == ES_FORMAT_FP8) {
        size_t row = w->row_phase + row_first;
        ret_rows->scales += row / ES_SCALE_BLOCK * w->scale_stride;
        ret_rows->row_phase = row % ES_SCALE_BLOCK;
    }
    return ES_OK;
}

static es_status give_rows(void *context, size_t part, size_t row_first, size_t row_count,
                           const uint8_t **ret_rows, es_err *err)
{
    const rows_context *r = context;
    const es_cut_source *source = r->c->source;
    const visited *v = r->visited;
    const es_cut_part at = {v->name, field_of_part(v->fields, v->field_count, part), part};
    es_matrix from = part_wanted(r->c, v, part);
    if (from.cols != r->c->parts[part].cols) {
        es_status status = gather_columns(r->c, &from, row_first, row_count, &from, err);
        if (status != ES_OK) return status;
        row_first = 0;
    }
    return source->rows(source->context, &at, &from, r->unit->parts[part].format, row_first, row_count,
                        ret_rows, err);
}

/* Plans or writes one unit. */
static es_status visit(cut *c, size_t shard, const visited *v, es_err *err)
{
    size_t index = c->next[shard]++, part_count = 0;
    es_shard_unit *unit = &c->shards[shard].units[index];
    for (size_t i = 0; i < v->field_count; i++)
        part_count += field_parts(&v->fields[i], c->parts + part_count);
    if (c->writer == NULL) return plan_unit(c, v, part_count, unit, err);
    if (es_shard_writer_has(c->writer, shard, index)) {
        c->kept++;
        return ES_OK;
    }
    es_matrix forms[3];
    for (size_t i = 0; v->chunks.count > 0 && i < 3; i++) forms[i] = part_wanted(c, v, i);
    rows_context rows = {c, v, unit};
    return es_shard_writer_put(c->writer, shard, index, v->chunks.count > 0 ? forms : c->parts, give_rows,
                               &rows, err);
}

static es_status visit_ends(cut *c, es_arena *arena, es_err *err)
{
    es_model model = {.shape = c->source->shape};
    es_field fields[ES_FIELDS_MAX];
    es_status status = c->source->bind_ends(c->source->context, arena, &model, err);
    size_t count = es_fields_of_ends(&model.shape, &model, fields);
    for (size_t i = 0; i < count && status == ES_OK; i++)
        status = visit(c, 0, &(visited){fields[i].name, &fields[i], 1, {0, 0}}, err);
    return status;
}

/* The chunks that a range's slices are; all of them are the whole. */
static es_chunks chunks_of(const es_shape *s, const es_units *units)
{
    es_chunks chunks = es_chunks_of_slice(s->expert_intermediate, units->slice, units->slices);
    return chunks.count == es_chunks_of(s->expert_intermediate) ? (es_chunks){0, 0} : chunks;
}

static bool holds(const es_units *units, size_t layer, size_t expert)
{
    return units->layer == layer && expert >= units->expert_first &&
           expert - units->expert_first < units->expert_count;
}

/* In every shard that holds it, or slices of it. */
static es_status visit_expert(cut *c, size_t layer, size_t expert, es_ffn ffn, es_err *err)
{
    const es_shape *s = &c->source->shape;
    es_field fields[ES_FIELDS_MAX];
    size_t field_count = es_fields_of_expert(s, &ffn, fields);
    es_status status = ES_OK;
    for (size_t n = 0; n < c->options->nodes; n++) {
        const es_cut_share *share = &c->options->shares[n];
        for (size_t i = 0; i < share->unit_count && status == ES_OK; i++) {
            if (!holds(&share->units[i], layer, expert)) continue;
            const es_shard_expert unit = {layer, expert, chunks_of(s, &share->units[i])};
            char name[ES_FIELD_NAME_BYTES];
            es_shard_expert_name(&unit, name);
            status = visit(c, 1 + n, &(visited){name, fields, field_count, unit.chunks}, err);
        }
    }
    return status;
}

static es_status visit_layer(cut *c, size_t layer, es_arena *arena, es_err *err)
{
    const es_shape *s = &c->source->shape;
    es_layer bound = {.is_moe = es_shape_layer_is_moe(s, layer)};
    es_field fields[ES_FIELDS_MAX];
    es_status status = c->source->bind_layer(c->source->context, layer, arena, &bound, err);
    size_t count = es_fields_of_layer(s, layer, &bound, fields);
    for (size_t i = 0; i < count && status == ES_OK; i++)
        status = visit(c, 0, &(visited){fields[i].name, &fields[i], 1, {0, 0}}, err);
    for (size_t e = 0; bound.is_moe && e < s->experts && status == ES_OK; e++)
        status = visit_expert(c, layer, e, bound.experts[e], err);
    return status;
}

/* Goes through the whole model; what was bound for a layer is given back after it. */
static es_status walk(cut *c, es_err *err)
{
    size_t layers = c->source->shape.layers;
    es_status status = ES_OK;
    for (size_t i = 0; i < 1 + c->options->nodes; i++) c->next[i] = 0;
    for (size_t l = 0; l < layers + 1 && status == ES_OK; l++) {
        es_arena *arena = es_arena_create();
        if (arena == NULL) return no_memory(c, err);
        status = l == 0 ? visit_ends(c, arena, err) : visit_layer(c, l - 1, arena, err);
        es_arena_destroy(&arena);
    }
    return status;
}

/* Room for every unit that a shard may get. */
static es_status make_shards(cut *c, es_err *err)
{
    const es_cut_source *source = c->source;
    const es_shape *s = &source->shape;
    size_t nodes = c->options->nodes;
    size_t *counts = es_arena_take(c->arena, 1 + nodes, sizeof *counts);
    c->next = es_arena_take(c->arena, 1 + nodes, sizeof *c->next);
    c->shards = es_arena_take(c->arena, 1 + nodes, sizeof *c->shards);
    c->parts = es_arena_take(c->arena, ES_SHARD_PARTS_MAX, sizeof *c->parts);
    if (counts == NULL || c->next == NULL || c->shards == NULL || c->parts == NULL) return no_memory(c, err);
    counts[0] = ES_FIELDS_MAX * (s->layers + 1);
    for (size_t n = 0; n < nodes; n++)
        for (size_t i = 0; i < c->options->shares[n].unit_count; i++)
            counts[1 + n] += c->options->shares[n].units[i].expert_count;
    for (size_t i = 0; i < 1 + nodes; i++) {
        es_shard *shard = &c->shards[i];
        *shard = (es_shard){.kind = i == 0 ? ES_SHARD_COORDINATOR : ES_SHARD_EXPERTS,
                            .index = i == 0 ? 0 : i - 1,
                            .count = nodes};
        memcpy(shard->fingerprint, source->fingerprint, sizeof shard->fingerprint);
        size_t bytes = es_size_min(strlen(source->format), sizeof shard->format - 1);
        memcpy(shard->format, source->format, bytes);
        shard->shape = *s;
        shard->units = es_arena_take(c->arena, counts[i] + 1, sizeof *shard->units);
        if (shard->units == NULL) return no_memory(c, err);
    }
    return ES_OK;
}

static es_status plan(cut *c, es_err *err)
{
    es_status status = make_shards(c, err);
    if (status == ES_OK) status = walk(c, err);
    for (size_t i = 0; i < 1 + c->options->nodes && status == ES_OK; i++) {
        c->shards[i].unit_count = c->next[i];
        if (!es_shard_place_units(&c->shards[i]))
            status = es_err_set(err, ES_UNSUPPORTED, "a shard larger than files can be");
    }
    return status;
}

static es_status write_all(cut *c, es_cut_result *result, es_err *err)
{
    const es_cut_options *o = c->options;
    es_status status = es_shard_writer_open(o->out, c->shards, 1 + o->nodes, o->pool, o->progress,
                                            o->progress_context, &c->writer, err);
    if (status == ES_OK) status = walk(c, err);
    if (status == ES_OK && o->texts != NULL)
        status = o->texts(o->texts_context, &c->source->shape, o->out, err);
    if (status == ES_OK) status = es_shard_writer_finish(c->writer, err);
    es_shard_writer_close(&c->writer);
    *result = (es_cut_result){.coordinator_bytes = c->shards[0].file_bytes, .units_kept = c->kept};
    for (size_t i = 0; i < 1 + o->nodes; i++) {
        if (i > 0) result->experts_bytes += c->shards[i].file_bytes;
        result->units += c->shards[i].unit_count;
    }
    return status;
}

es_status es_cut(const es_cut_source *source, const es_cut_options *options, es_cut_result *ret_result,
                 es_err *err)
{
    cut c = {.source = source, .options = options, .arena = es_arena_create()};
    if (c.arena == NULL) return no_memory(&c, err);
    es_status status = plan(&c, err);
    if (status == ES_OK) status = write_all(&c, ret_result, err);
    free(c.columns);
    es_arena_destroy(&c.arena);
    return status;
}
