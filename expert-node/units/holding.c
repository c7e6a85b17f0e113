/* What a node holds at one moment. */
#include "units/holding.h"

#include <stdlib.h>

const es_piece *es_holding_find(const es_holding *holding, size_t layer, size_t expert, uint32_t chunk)
{
    size_t at = layer * holding->shape->experts + expert;
    for (uint32_t i = holding->first[at]; i < holding->first[at + 1]; i++) {
        const es_piece *piece = &holding->pieces[i];
        if (piece->chunks.first > chunk) break;
        if (chunk - piece->chunks.first < piece->chunks.count) return piece;
    }
    return NULL;
}

es_status es_holding_create(const es_shape *shape, size_t piece_count, es_holding **ret_holding, es_err *err)
{
    es_holding *holding = calloc(1, sizeof *holding);
    *ret_holding = holding;
    if (holding == NULL) return es_err_set(err, ES_NO_MEMORY, "list of experts");
    *holding = (es_holding){.shape = shape,
                            .first = calloc(shape->layers * shape->experts + 1, sizeof *holding->first),
                            .pieces = calloc(piece_count + 1, sizeof *holding->pieces),
                            .piece_count = piece_count,
                            .units = calloc(ES_UNITS_MAX, sizeof *holding->units)};
    if (holding->first != NULL && holding->pieces != NULL && holding->units != NULL) return ES_OK;
    es_holding_destroy(ret_holding);
    return es_err_set(err, ES_NO_MEMORY, "list of experts");
}

void es_holding_destroy(es_holding **holding)
{
    if (*holding == NULL) return;
    free((*holding)->first);
    free((*holding)->pieces);
    free((*holding)->units);
    free(*holding);
    *holding = NULL;
}
