/* Rows of weights as binary32 values, for OpenBLAS and for whoever reads an embedding row. */
#include "essaim/kernels.h"
#include "essaim/quant.h"
#include "kernels/panel.h"

#include <math.h>

/* The eight values of one exponent. */
#define EIGHT(first, step)                                                                                   \
    (first), (first) + (step), (first) + 2 * (step), (first) + 3 * (step), (first) + 4 * (step),             \
        (first) + 5 * (step), (first) + 6 * (step), (first) + 7 * (step)

const float ES_E4M3_VALUES[256] = {
    EIGHT(0.0f, 0x1p-9f),
    EIGHT(0x1p-6f, 0x1p-9f),
    EIGHT(0x1p-5f, 0x1p-8f),
    EIGHT(0x1p-4f, 0x1p-7f),
    EIGHT(0x1p-3f, 0x1p-6f),
    EIGHT(0x1p-2f, 0x1p-5f),
    EIGHT(0x1p-1f, 0x1p-4f),
    EIGHT(0x1p0f, 0x1p-3f),
    EIGHT(0x1p1f, 0x1p-2f),
    EIGHT(0x1p2f, 0x1p-1f),
    EIGHT(0x1p3f, 0x1p0f),
    EIGHT(0x1p4f, 0x1p1f),
    EIGHT(0x1p5f, 0x1p2f),
    EIGHT(0x1p6f, 0x1p3f),
    EIGHT(0x1p7f, 0x1p4f),
    256.0f,
    288.0f,
    320.0f,
    352.0f,
    384.0f,
    416.0f,
    448.0f,
    NAN,
    EIGHT(-0.0f, -0x1p-9f),
    EIGHT(-0x1p-6f, -0x1p-9f),
    EIGHT(-0x1p-5f, -0x1p-8f),
    EIGHT(-0x1p-4f, -0x1p-7f),
    EIGHT(-0x1p-3f, -0x1p-6f),
    EIGHT(-0x1p-2f, -0x1p-5f),
    EIGHT(-0x1p-1f, -0x1p-4f),
    EIGHT(-0x1p0f, -0x1p-3f),
    EIGHT(-0x1p1f, -0x1p-2f),
    EIGHT(-0x1p2f, -0x1p-1f),
    EIGHT(-0x1p3f, -0x1p0f),
    EIGHT(-0x1p4f, -0x1p1f),
    EIGHT(-0x1p5f, -0x1p2f),
    EIGHT(-0x1p6f, -0x1p3f),
    EIGHT(-0x1p7f, -0x1p4f),
    -256.0f,
    -288.0f,
    -320.0f,
    -352.0f,
    -384.0f,
    -416.0f,
    -448.0f,
    -NAN,
};

const uint8_t ES_IQ4_NL_VALUES[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                      129, 141, 153, 166, 181, 197, 217, 241};

/* Codes first, first + step, … of codes. */
static void decode_codes(es_format format, const uint8_t *codes, size_t first, size_t step, size_t count,
                         float *out)
{
    switch (format) {
    case ES_FORMAT_F32:
        for (size_t k = 0; k < count; k++) out[k] = es_decode_f32(codes, first + k * step);
        return;
    case ES_FORMAT_F16:
        for (size_t k = 0; k < count; k++) out[k] = es_decode_f16(codes, first + k * step);
        return;
    case ES_FORMAT_BF16:
        for (size_t k = 0; k < count; k++) out[k] = es_decode_bf16(codes, first + k * step);
        return;
    default:
        for (size_t k = 0; k < count; k++) out[k] = es_decode_fp8(codes, first + k * step);
    }
}

static void widen_float(const es_matrix *w, size_t r, size_t col_first, size_t col_count, float *out)
{
    bool panels = w->layout == ES_LAYOUT_PANELS;
    const uint8_t *codes = w->data + (panels ? r / ES_PANEL_ROWS : r) * w->row_bytes;
    size_t first = panels ? r % ES_PANEL_ROWS : 0, step = panels ? ES_PANEL_ROWS : 1;
    decode_codes(w->format, codes, first + col_first * step, step, col_count, out);
    if (w->format != ES_FORMAT_FP8) return;
    const float *scales = w->scales + (w->row_phase + r) / ES_SCALE_BLOCK * w->scale_stride;
    for (size_t c = 0; c < col_count; c++) out[c] *= scales[(w->col_phase + col_first + c) / ES_SCALE_BLOCK];
}

/* All is exact in binary64 but the last step. */
static float widen_code(const panel_super *s, size_t i, size_t r)
{
    size_t b = i / PANEL_BLOCK, k = i % PANEL_BLOCK;
    double value = (double)panel_d(s, b, r) * panel_a(s, b, k / 16, r) * panel_code(s, b, k, r);
    if (s->format == ES_FORMAT_Q5_1)
        value += (double)panel_m(s, b, r);
    else if (panel_has_mins(s->format))
        value -= (double)panel_m(s, b, r) * panel_min(s, b, r);
    return (float)value;
}

static void widen_integer(const es_matrix *w, size_t r, size_t col_first, size_t col_count, float *out)
{
    const uint8_t *panel = w->data + r / ES_PANEL_ROWS * w->row_bytes;
    for (size_t c = col_first; c < col_first + col_count; c++) {
        panel_super s = panel_super_at(w->format, panel, w->cols, c);
        out[c - col_first] = widen_code(&s, c % ES_PANEL_COLS, r % ES_PANEL_ROWS);
    }
}

void es_matrix_widen_row(const es_matrix *w, size_t r, size_t col_first, size_t col_count, float *out)
{
    if (w->format < ES_FORMAT_FLOAT_COUNT)
        widen_float(w, r, col_first, col_count, out);
    else if (w->layout == ES_LAYOUT_PANELS)
        widen_integer(w, r, col_first, col_count, out);
    else
        es_quant_decode(w->format, w->data + r * w->row_bytes, col_first, col_count, out);
}
