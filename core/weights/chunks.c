/* A stretch of an expert as a feed-forward of its own. */
#include "weights/chunks.h"

#include "base/size.h"
#include "essaim/kernels.h"
#include "essaim/panels.h"

_Static_assert(ES_CHUNK_COLUMNS % ES_PANEL_COLS == 0 && ES_CHUNK_COLUMNS % ES_SCALE_BLOCK == 0 &&
                   ES_CHUNK_COLUMNS % ES_PANEL_ROWS == 0,
               "a chunk begins where super-blocks, scales and panels do");

/* FP8: moves the grid's corner so that phases stay below a block. */
static void enter_scales(es_matrix *w, size_t rows, size_t cols)
{
    if (w->format != ES_FORMAT_FP8) return;
    w->scales += rows / ES_SCALE_BLOCK * w->scale_stride + cols / ES_SCALE_BLOCK;
}

static es_matrix rows_of(es_matrix w, size_t first, size_t count)
{
    w.data += (w.layout == ES_LAYOUT_PANELS ? first / ES_PANEL_ROWS : first) * w.row_bytes;
    w.rows = count;
    enter_scales(&w, first, 0);
    return w;
}

static es_matrix cols_of(es_matrix w, size_t first, size_t count)
{
    size_t column_bytes = es_format_row_bytes(w.format, ES_CHUNK_COLUMNS);
    if (w.layout == ES_LAYOUT_PANELS)
        column_bytes = w.format < ES_FORMAT_FLOAT_COUNT
                           ? column_bytes * ES_PANEL_ROWS
                           : es_panel_parts_of(w.format, ES_CHUNK_COLUMNS / ES_ROW_BLOCK).bytes;
    w.data += first / ES_CHUNK_COLUMNS * column_bytes;
    w.cols = count;
    enter_scales(&w, 0, first);
    return w;
}

es_ffn es_ffn_chunks(const es_ffn *ffn, uint32_t held_first, es_chunks chunks)
{
    ES_ASSERT(chunks.count > 0 && chunks.first >= held_first);
    size_t first = (size_t)(chunks.first - held_first) * ES_CHUNK_COLUMNS;
    size_t end = first + (size_t)chunks.count * ES_CHUNK_COLUMNS;
    ES_ASSERT(first < ffn->gate.rows && end < ffn->gate.rows + ES_CHUNK_COLUMNS);
    size_t count = es_size_min(end, ffn->gate.rows) - first;
    return (es_ffn){.gate = rows_of(ffn->gate, first, count),
                    .up = rows_of(ffn->up, first, count),
                    .down = cols_of(ffn->down, first, count)};
}
