/* File rows become panels. */
#include "essaim/panels.h"

#include "base/size.h"
#include "formats/file_blocks.h"

#include <string.h>

enum {
    COLS_AT_ONCE = 256,
    BLOCK = 32,
    GROUP = 4,
    GROUPS = BLOCK / GROUP,
    GROUP_BYTES = GROUP * ES_PANEL_ROWS
};

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

/* Codes of width bytes, a constant, column by column; some at a time, so that what is written stays in the
 * cache until all rows have been there. */
static inline __attribute__((always_inline)) void fill_columns(const es_matrix *w, size_t row_first,
                                                               size_t rows, size_t width, uint8_t *out)
{
    for (size_t first = 0; first < w->cols; first += COLS_AT_ONCE)
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *row = w->data + (row_first + r) * w->row_bytes;
            size_t end = es_size_min(w->cols, first + COLS_AT_ONCE);
            for (size_t c = first; c < end; c++)
                memcpy(out + (c * ES_PANEL_ROWS + r) * width, row + c * width, width);
        }
}

static void fill_float_panel(const es_matrix *w, size_t row_first, size_t rows, uint8_t *out)
{
    if (w->format == ES_FORMAT_FP8)
        fill_columns(w, row_first, rows, 1, out);
    else if (w->format == ES_FORMAT_F32)
        fill_columns(w, row_first, rows, 4, out);
    else
        fill_columns(w, row_first, rows, 2, out);
}

/* Four codes side by side, and the same bits of each. */
enum { WORD_LOW = 0x0f0f0f0f, WORD_BIT = 0x01010101, WORD_TWO = 0x03030303 };

static uint32_t word_at(const uint8_t *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static void put_word(uint8_t *to, uint32_t word)
{
    memcpy(to, &word, sizeof word);
}

/* The high bits of a 32-block's eight groups; out is the row's place in the first group of bits. */
static void put_high(es_format format, const uint8_t *code, uint8_t *out)
{
    uint32_t bits[2] = {0};
    bool two = format == ES_FORMAT_Q6_K;
    for (size_t g = 0; g < GROUPS; g++) {
        uint32_t high = word_at(code + g * GROUP) >> 4;
        if (two)
            bits[g / 4] |= (high & WORD_TWO) << g % 4 * 2;
        else
            bits[0] |= (high & WORD_BIT) << g;
    }
    put_word(out, bits[0]);
    if (two) put_word(out + GROUP_BYTES, bits[1]);
}

/* One row's codes into groups, four at a time. */
static void put_codes(es_format format, const es_file_block *block, size_t n, size_t r,
                      const es_panel_parts *at, uint8_t *out)
{
    uint8_t *low = out + at->low + r * GROUP, *high = out + at->high + r * GROUP;
    size_t high_bytes = (format == ES_FORMAT_Q6_K ? 2 : 1) * GROUP_BYTES;
    for (size_t b = 0; b < n; b++) {
        const uint8_t *code = block->code + b * BLOCK;
        if (format == ES_FORMAT_Q8_0) {
            for (size_t g = 0; g < GROUPS; g++)
                put_word(low + (b * GROUPS + g) * GROUP_BYTES, word_at(code + g * GROUP));
            continue;
        }
        for (size_t g = 0; g < GROUPS; g += 2)
            put_word(low + (b * GROUPS + g) / 2 * GROUP_BYTES,
                     (word_at(code + g * GROUP) & WORD_LOW) | (word_at(code + g * GROUP + GROUP) & WORD_LOW)
                                                                  << 4);
        if (at->bytes > at->high) put_high(format, code, high + b * high_bytes);
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
    put_codes(format, block, n, r, &at, out);
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
