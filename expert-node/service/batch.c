/* A request's pairs as a batch for the engine. */
#include "service/batch.h"

#include "base/size.h"
#include "weights/chunks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { NO_VIEW = UINT32_MAX, PIECES_MAX = 4, VIEWS_OF_EXPERT = 8 };

size_t es_batch_pairs_per_row(const es_shape *shape)
{
    size_t pieces = es_size_min(PIECES_MAX, es_chunks_of(shape->expert_intermediate));
    return es_size_min(shape->experts_per_token * pieces, ES_PAIRS_PER_ROW_MAX);
}

es_status es_batch_init(es_batch *batch, const es_shape *shape, es_err *err)
{
    size_t views = shape->experts * es_size_min(VIEWS_OF_EXPERT, es_chunks_of(shape->expert_intermediate));
    size_t pairs = ES_STEP_ROWS_MAX * es_batch_pairs_per_row(shape);
    *batch = (es_batch){.shape = shape,
                        .views_max = views,
                        .views = calloc(views, sizeof *batch->views),
                        .ffns = calloc(views, sizeof *batch->ffns),
                        .first = malloc(shape->experts * sizeof *batch->first),
                        .pairs_max = pairs,
                        .pair_first = calloc(ES_STEP_ROWS_MAX + 1, sizeof *batch->pair_first),
                        .view = malloc(pairs * sizeof *batch->view),
                        .weight = malloc(pairs * sizeof *batch->weight)};
    if (batch->views == NULL || batch->ffns == NULL || batch->first == NULL || batch->pair_first == NULL ||
        batch->view == NULL || batch->weight == NULL)
        return es_err_set(err, ES_NO_MEMORY, "buffers for %zu pairs", pairs);
    memset(batch->first, 0xff, shape->experts * sizeof *batch->first);
    return ES_OK;
}

void es_batch_fini(es_batch *batch)
{
    free(batch->views);
    free(batch->ffns);
    free(batch->first);
    free(batch->pair_first);
    free(batch->view);
    free(batch->weight);
    *batch = (es_batch){0};
}

static void forget(es_batch *batch)
{
    for (size_t i = 0; i < batch->view_count; i++) batch->first[batch->views[i].expert] = NO_VIEW;
    batch->view_count = batch->pair_count = 0;
}

/* The view of some chunks of a piece; NO_VIEW when there are too many. */
static uint32_t view_of(es_batch *batch, uint32_t expert, const es_piece *piece, es_chunks chunks)
{
    for (uint32_t i = batch->first[expert]; i != NO_VIEW; i = batch->views[i].next)
        if (batch->views[i].chunks.first == chunks.first && batch->views[i].chunks.count == chunks.count)
            return i;
    if (batch->view_count == batch->views_max) return NO_VIEW;
    uint32_t made = (uint32_t)batch->view_count++;
    batch->views[made] = (es_view){expert, chunks, batch->first[expert]};
    batch->first[expert] = made;
    batch->ffns[made] = es_ffn_chunks(&piece->ffn, piece->chunks.first, chunks);
    return made;
}

/* The stretch that a pair asks for. */
static es_status read_pair(const es_batch *batch, const es_wire_request *request, size_t pair,
                           es_chunks *ret_chunks, es_err *err)
{
    size_t all = es_chunks_of(batch->shape->expert_intermediate);
    *ret_chunks = request->chunks == NULL ? (es_chunks){0, 0} : es_chunks_decode(request->chunks[pair]);
    if (request->expert[pair] >= batch->shape->experts)
        return es_err_set(err, ES_INVALID, "expert %" PRIu32 ", but a layer has %zu", request->expert[pair],
                          batch->shape->experts);
    if (ret_chunks->count == 0) ret_chunks->count = (uint32_t)all;
    if ((size_t)ret_chunks->first + ret_chunks->count > all)
        return es_err_set(
            err, ES_INVALID, "expert %" PRIu32 ": chunks %" PRIu32 " to %" PRIu32 ", but it has %zu",
            request->expert[pair], ret_chunks->first, ret_chunks->first + ret_chunks->count - 1, all);
    return ES_OK;
}

static es_status add_pair(es_batch *batch, const es_holding *holding, const es_wire_request *request,
                          size_t pair, es_err *err)
{
    uint32_t expert = request->expert[pair];
    es_chunks left;
    es_status status = read_pair(batch, request, pair, &left, err);
    if (status != ES_OK) return status;
    while (left.count > 0) {
        const es_piece *piece = es_holding_find(holding, request->ids.layer, expert, left.first);
        if (piece == NULL)
            return es_err_set(err, ES_NOT_HERE, "expert %" PRIu32 " is not held here%s", expert,
                              request->chunks == NULL ? "" : " in all the chunks asked for");
        uint32_t there = piece->chunks.first + piece->chunks.count - left.first;
        es_chunks chunks = {left.first, there < left.count ? there : left.count};
        uint32_t view = view_of(batch, expert, piece, chunks);
        if (view == NO_VIEW || batch->pair_count == batch->pairs_max)
            return es_err_set(err, ES_INVALID, "experts in too many pieces");
        batch->view[batch->pair_count] = view;
        batch->weight[batch->pair_count++] = request->weight[pair];
        left.first += chunks.count;
        left.count -= chunks.count;
    }
    return ES_OK;
}

es_status es_batch_make(es_batch *batch, const es_holding *holding, const es_wire_request *request,
                        es_err *err)
{
    es_status status = ES_OK;
    size_t pair = 0;
    forget(batch);
    for (size_t r = 0; r < request->rows; r++) {
        for (size_t i = 0; i < request->pairs_per_row[r] && status == ES_OK; i++)
            status = add_pair(batch, holding, request, pair++, err);
        if (status != ES_OK) return status;
        batch->pair_first[r + 1] = (uint32_t)batch->pair_count;
    }
    return ES_OK;
}

size_t es_batch_row(const es_batch *batch, size_t pair)
{
    size_t row = 0;
    while (batch->pair_first[row + 1] <= pair) row++;
    return row;
}
