/* Where everything stands in a shard. */
#include "weights/shard.h"

#include "base/size.h"
#include "essaim/panels.h"

#include <stdio.h>
#include <string.h>

es_layout es_shard_layout_of(es_field_kind kind)
{
    return kind == ES_FIELD_VALUES || kind == ES_FIELD_ROWS ? ES_LAYOUT_ROWS : ES_LAYOUT_PANELS;
}

static bool add_aligned(uint64_t *at, uint64_t bytes, uint64_t alignment)
{
    if (__builtin_add_overflow(*at, bytes, at) || *at > UINT64_MAX - alignment) return false;
    *at = (*at + alignment - 1) / alignment * alignment;
    return true;
}

static bool part_bytes(const es_shard_part *part, size_t *ret_bytes)
{
    if (part->layout == ES_LAYOUT_PANELS)
        return es_panels_bytes(part->format, part->rows, part->cols, ret_bytes);
    const es_format_info *info = es_format_describe(part->format);
    return es_size_mul(part->cols / info->block_cols, info->block_bytes, ret_bytes) &&
           es_size_mul(*ret_bytes, part->rows, ret_bytes);
}

bool es_shard_lay_out(es_shard_unit *unit)
{
    uint64_t at = 0;
    for (size_t i = 0; i < unit->part_count; i++) {
        es_shard_part *part = &unit->parts[i];
        size_t bytes, grid;
        if (!part_bytes(part, &bytes)) return false;
        part->at = at;
        part->bytes = bytes;
        part->scales_at = 0;
        if (!add_aligned(&at, bytes, ES_PANEL_ALIGNMENT)) return false;
        if (part->format != ES_FORMAT_FP8) continue;
        if (!es_size_mul(es_shard_scale_rows(part), es_shard_scale_cols(part) * sizeof(float), &grid))
            return false;
        part->scales_at = at;
        if (!add_aligned(&at, grid, ES_PANEL_ALIGNMENT)) return false;
    }
    unit->bytes = at;
    return true;
}

bool es_shard_place_units(es_shard *shard)
{
    uint64_t at = ES_SHARD_PAGE_BYTES;
    for (size_t i = 0; i < shard->unit_count; i++) {
        shard->units[i].offset = at;
        if (!add_aligned(&at, shard->units[i].bytes, ES_SHARD_PAGE_BYTES)) return false;
    }
    shard->data_bytes = at;
    return at <= INT64_MAX - ES_SHARD_MANIFEST_MAX;
}

void es_shard_expert_name(const es_shard_expert *expert, char ret_name[ES_FIELD_NAME_BYTES])
{
    int bytes =
        snprintf(ret_name, ES_FIELD_NAME_BYTES, "layers.%zu.experts.%zu", expert->layer, expert->expert);
    if (expert->chunks.count > 0 && bytes < ES_FIELD_NAME_BYTES)
        snprintf(ret_name + bytes, ES_FIELD_NAME_BYTES - (size_t)bytes, ".chunks.%u.%u", expert->chunks.first,
                 expert->chunks.count);
}

bool es_shard_parse_expert(const char *name, es_shard_expert *ret_expert)
{
    unsigned layer, expert, first = 0, count = 0;
    char again[ES_FIELD_NAME_BYTES];
    if (strlen(name) >= ES_FIELD_NAME_BYTES) return false;
    int read = sscanf(name, "layers.%5u.experts.%5u.chunks.%4u.%4u", &layer, &expert, &first, &count);
    if (read != 2 && (read != 4 || count == 0)) return false;
    *ret_expert = (es_shard_expert){layer, expert, {first, count}};
    es_shard_expert_name(ret_expert, again);
    return strcmp(name, again) == 0;
}

/* Columns of the expert that its chunks are; 0: not chunks of an expert this wide. */
static size_t chunk_columns(size_t intermediate, es_chunks chunks)
{
    size_t first = (size_t)chunks.first * ES_CHUNK_COLUMNS;
    size_t end = first + (size_t)chunks.count * ES_CHUNK_COLUMNS;
    if (chunks.count == 0) return intermediate;
    if (chunks.first + chunks.count > es_chunks_of(intermediate)) return 0;
    return es_size_min(end, intermediate) - first;
}

bool es_shard_check_expert(const es_shape *shape, const es_shard_unit *unit, es_shard_expert *ret_expert)
{
    es_shard_expert *x = ret_expert;
    if (unit->part_count != 3 || !es_shard_parse_expert(unit->name, x) || x->layer >= shape->layers ||
        x->expert >= shape->experts || !es_shape_layer_is_moe(shape, x->layer))
        return false;
    size_t width = chunk_columns(shape->expert_intermediate, x->chunks);
    for (size_t i = 0; i < 3; i++) {
        const es_shard_part *part = &unit->parts[i];
        size_t rows = i < 2 ? width : shape->hidden, cols = i < 2 ? shape->hidden : width;
        if (width == 0 || part->layout != ES_LAYOUT_PANELS || part->rows != rows || part->cols != cols)
            return false;
    }
    return true;
}

void es_shard_file_name(es_shard_kind kind, size_t index, size_t count, char ret_name[ES_FIELD_NAME_BYTES])
{
    if (kind == ES_SHARD_COORDINATOR)
        snprintf(ret_name, ES_FIELD_NAME_BYTES, "coordinator.shard");
    else
        snprintf(ret_name, ES_FIELD_NAME_BYTES, "experts-%02zu-of-%02zu.shard", index + 1, count);
}
