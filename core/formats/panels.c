/* File rows become panels. */
#include "essaim/panels.h"

#include "base/size.h"
#include "formats/file_blocks.h"

#include <string.h>

enum { BLOCK = 32, GROUP = 4, GROUP_BYTES = GROUP * ES_PANEL_ROWS };

/* Bytes of a panel; false when they do not fit. */
static bool panel_bytes(es_format format, size_t cols, size_t *ret_bytes)
{
    if (format < ES_FORMAT_FLOAT_COUNT) {
        size_t row = es_format_describe(format)->block_bytes, bytes;
        if (!es_size_mul(row * ES_PANEL_ROWS, cols, &bytes) || bytes > SIZE_MAX - ES_PANEL_ALIGNMENT)
            return false;
        *ret_bytes = es_size_align(bytes, ES_PANEL_ALIGNMENT);
        return true;
    }
    size_t whole, rest = cols % ES_PANEL_COLS / BLOCK;
    if (!es_size_mul(es_panel_parts_of(format, ES_PANEL_COLS / BLOCK).bytes, cols / ES_PANEL_COLS, &whole))
        return false;
    return es_size_add(whole, rest > 0 ? es_panel_parts_of(format, rest).bytes : 0, ret_bytes);
}

bool es_panels_bytes(es_format format, size_t rows, size_t cols, size_t *ret_bytes)
{
    ES_ASSERT(cols % es_format_describe(format)->block_cols == 0);
    size_t bytes;
    return panel_bytes(format, cols, &bytes) &&
           es_size_mul(bytes, es_size_ceil_div(rows, ES_PANEL_ROWS), ret_bytes);
}

/* Codes of width bytes, column by column. */
static void fill_float_panel(const es_matrix *w, size_t row_first, size_t rows, uint8_t *out)
{
    size_t width = es_format_describe(w->format)->block_bytes;
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *row = w->data + (row_first + r) * w->row_bytes;
        for (size_t c = 0; c < w->cols; c++)
            memcpy(out + (c * ES_PANEL_ROWS + r) * width, row + c * width, width);
    }
}

/* One row's codes into groups; out holds zeros. */
static void put_codes(es_format format, const es_file_block *block, size_t n, size_t r, uint8_t *low,
                      uint8_t *high)
{
    for (size_t i = 0; i < n * BLOCK; i++) {
        size_t b = i / BLOCK, group = i % BLOCK / GROUP, at = r * GROUP + i % GROUP;
        uint8_t code = block->code[i];
        if (format == ES_FORMAT_Q8_0) {
            low[(b * 8 + group) * GROUP_BYTES + at] = code;
            continue;
        }
        low[(b * 4 + group / 2) * GROUP_BYTES + at] |= (uint8_t)((code & 15) << group % 2 * 4);
        if (format == ES_FORMAT_Q6_K)
            high[(b * 2 + group / 4) * GROUP_BYTES + at] |= (uint8_t)(code >> 4 << group % 4 * 2);
        else if (code >> 4 != 0)
            high[b * GROUP_BYTES + at] |= (uint8_t)(1 << group);
    }
}

/* One row of a super-block that begins at out. */
static void put_row(es_format format, const es_file_block *block, size_t n, size_t r, uint8_t *out)
{
    es_panel_parts at = es_panel_parts_of(format, n);
    size_t scales = es_format_describe(format)->block_cols == BLOCK ? n : 1;
    for (size_t b = 0; b < scales; b++) {
        memcpy(out + at.d + (b * ES_PANEL_ROWS + r) * 2, &block->d[b], 2);
        if (at.m > at.d) memcpy(out + at.m + (b * ES_PANEL_ROWS + r) * 2, &block->m[b], 2);
    }
    for (size_t j = 0; at.a + j * ES_PANEL_ROWS < at.mins; j++)
        out[at.a + j * ES_PANEL_ROWS + r] = block->a[j];
    for (size_t j = 0; at.mins + j * ES_PANEL_ROWS < at.low; j++)
        out[at.mins + j * ES_PANEL_ROWS + r] = block->mins[j];
    put_codes(format, block, n, r, out + at.low, out + at.high);
}

static void fill_integer_panel(const es_matrix *w, size_t row_first, size_t rows, uint8_t *out)
{
    const es_format_info *info = es_format_describe(w->format);
    es_file_block block = {0};
    for (size_t c = 0; c < w->cols; c += ES_PANEL_COLS) {
        size_t n = es_size_min(w->cols - c, ES_PANEL_COLS) / BLOCK;
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *row = w->data + (row_first + r) * w->row_bytes;
            es_file_block_read(w->format, row + c / info->block_cols * info->block_bytes, n, &block);
            put_row(w->format, &block, n, r, out);
        }
        out += es_panel_parts_of(w->format, n).bytes;
    }
}

void es_panels_fill(const es_matrix *file_rows, size_t panel_first, size_t panel_count, uint8_t *out)
{
    const es_matrix *w = file_rows;
    size_t bytes;
    bool fits = panel_bytes(w->format, w->cols, &bytes);
    ES_ASSERT(fits && w->layout == ES_LAYOUT_ROWS &&
              panel_first + panel_count <= es_size_ceil_div(w->rows, ES_PANEL_ROWS));
    memset(out, 0, panel_count * bytes);
    for (size_t p = panel_first; p < panel_first + panel_count; p++, out += bytes) {
        size_t first = p * ES_PANEL_ROWS, rows = es_size_min(w->rows - first, ES_PANEL_ROWS);
        if (w->format < ES_FORMAT_FLOAT_COUNT)
            fill_float_panel(w, first, rows, out);
        else
            fill_integer_panel(w, first, rows, out);
    }
}
