/* What a placement has to know of a model. */
#include "cluster/placement_model.h"

#include "weights/fingerprint.h"
#include "weights/shard_folder.h"
#include "weights/source.h"

#include <string.h>

static es_status list_layers(es_arena *arena, es_placement_model *m, es_err *err)
{
    m->layers = es_arena_take(arena, m->shape.layers, sizeof *m->layers);
    m->expert_bytes = es_arena_take(arena, m->shape.layers, sizeof *m->expert_bytes);
    if (m->layers == NULL || m->expert_bytes == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    for (size_t l = 0; l < m->shape.layers; l++)
        if (es_shape_layer_is_moe(&m->shape, l)) m->layers[m->layer_count++] = (uint32_t)l;
    return m->layer_count > 0 ? ES_OK : es_err_set(err, ES_INVALID, "a model without routed experts");
}

/* Notes one unit of a shard; false when it is no whole routed expert. */
static bool note_unit(es_placement_model *m, const es_shard_unit *unit)
{
    es_shard_expert which;
    if (!es_shard_check_expert(&m->shape, unit, &which) || which.chunks.count != 0) return false;
    for (size_t i = 0; i < ES_EXPERT_PARTS;
         i++) /* those of another's blocks cannot be told by format alone */
        if (unit->parts[i].row_phase != 0 || unit->parts[i].col_phase != 0) return false;
    for (size_t l = 0; l < m->layer_count; l++) {
        if (m->layers[l] != which.layer) continue;
        if (unit->bytes > m->expert_bytes[l]) m->expert_bytes[l] = unit->bytes;
        size_t at = l * m->shape.experts + which.expert;
        memcpy(m->sums + at * ES_SUM_BYTES, unit->sum, ES_SUM_BYTES);
        for (size_t i = 0; i < ES_EXPERT_PARTS; i++)
            m->formats[at * ES_EXPERT_PARTS + i] = (uint8_t)unit->parts[i].format;
        return true;
    }
    return false;
}

static es_status read_shards(const char *path, es_arena *arena, es_placement_model *m, es_err *err)
{
    es_shards shards = {.count = 0};
    size_t found = 0;
    es_status status = es_shards_open(path, true, false, arena, &shards, err);
    if (status == ES_OK) {
        m->shape = shards.shards[0].shape;
        memcpy(m->fingerprint, shards.shards[0].fingerprint, sizeof m->fingerprint);
        status = list_layers(arena, m, err);
    }
    if (status == ES_OK) {
        m->sums = es_arena_take(arena, m->layer_count * m->shape.experts, ES_SUM_BYTES);
        m->formats = es_arena_take(arena, m->layer_count * m->shape.experts, ES_EXPERT_PARTS);
        if (m->sums == NULL || m->formats == NULL) status = es_err_set(err, ES_NO_MEMORY, "placement");
    }
    for (size_t s = 0; s < shards.count && status == ES_OK; s++)
        for (size_t u = 0; shards.shards[s].kind == ES_SHARD_EXPERTS && u < shards.shards[s].unit_count; u++)
            found += note_unit(m, &shards.shards[s].units[u]);
    if (status == ES_OK && found != m->layer_count * m->shape.experts)
        status = es_err_set(err, ES_NOT_FOUND, "%s: %zu whole experts are there, not %zu", path, found,
                            m->layer_count * m->shape.experts);
    es_shards_close(&shards);
    return status;
}

static es_status read_source(const char *path, es_arena *arena, es_placement_model *m, es_err *err)
{
    es_checkpoint *checkpoint;
    es_checkpoint_summary summary;
    es_status status = es_source_open(path, &m->shape, &checkpoint, err);
    if (status != ES_OK) return status;
    status = list_layers(arena, m, err);
    if (status == ES_OK) {
        es_checkpoint_summarise(checkpoint, &m->shape, &summary);
        es_fingerprint(&m->shape, checkpoint, m->fingerprint);
        size_t experts = m->layer_count * m->shape.experts;
        ES_ASSERT(experts > 0); /* a layer with none is not listed */
        uint64_t bytes = (summary.parts[ES_PART_ROUTED_EXPERTS].bytes + experts - 1) / experts;
        for (size_t l = 0; l < m->layer_count; l++) m->expert_bytes[l] = bytes > 0 ? bytes : 1;
    }
    es_checkpoint_close(&checkpoint);
    return status;
}

es_status es_placement_model_read(const char *path, es_arena *arena, es_placement_model *ret_model,
                                  es_err *err)
{
    *ret_model = (es_placement_model){.layer_count = 0};
    return es_shards_is_path(path) ? read_shards(path, arena, ret_model, err)
                                   : read_source(path, arena, ret_model, err);
}

void es_placement_model_state(const es_placement_model *model, es_document *document)
{
    document->sums = model->sums;
    document->formats = model->formats;
}

es_status es_placement_model_cells(const es_placement_model *model, size_t slices, uint64_t *ret_cell_bytes,
                                   es_err *err)
{
    size_t chunks = es_chunks_of(model->shape.expert_intermediate);
    if (slices > chunks)
        return es_err_set(err, ES_INVALID, "%zu slices: this model's experts have %zu chunks of %d columns",
                          slices, chunks, ES_CHUNK_COLUMNS);
    size_t largest = (chunks + slices - 1) / slices;
    for (size_t l = 0; l < model->layer_count; l++)
        ret_cell_bytes[l] = (model->expert_bytes[l] * largest + chunks - 1) / chunks;
    return ES_OK;
}
