/* Reads the oracle's vector files. */
#include "kernels/vectors.h"

#include "base/file.h"
#include "essaim/panels.h"
#include "with_cmocka.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 4 << 20 };

static void *grow(void *list, size_t count, size_t size)
{
    void *grown = realloc(list, (count + 1) * size);
    assert_non_null(grown);
    return grown;
}

static void read_words(vector_field *field, char *text)
{
    for (char *save = NULL, *word = strtok_r(text, " ", &save); word != NULL;
         word = strtok_r(NULL, " ", &save)) {
        field->words = grow(field->words, field->count, sizeof *field->words);
        field->words[field->count++] = strtoull(word, NULL, 16);
    }
}

static void read_line(vector_file *file, char *line)
{
    if (line[0] == '#') return;
    char *rest = strchr(line, ' ');
    assert_non_null(rest);
    *rest++ = 0;
    if (strcmp(line, "case") == 0) {
        file->cases = grow(file->cases, file->case_count, sizeof *file->cases);
        vector_case *c = &file->cases[file->case_count++];
        *c = (vector_case){0};
        snprintf(c->name, sizeof c->name, "%s", rest);
        return;
    }
    assert_true(file->case_count > 0);
    vector_case *c = &file->cases[file->case_count - 1];
    c->fields = grow(c->fields, c->field_count, sizeof *c->fields);
    vector_field *field = &c->fields[c->field_count++];
    *field = (vector_field){0};
    snprintf(field->name, sizeof field->name, "%s", line);
    read_words(field, rest);
}

void vector_file_open(const char *name, vector_file *ret_file)
{
    char path[512], *text;
    size_t bytes;
    es_err err;
    snprintf(path, sizeof path, "%s/tests/kernels/vectors/%s", ESSAIM_SOURCE_DIR, name);
    *ret_file = (vector_file){0};
    if (es_file_read(path, FILE_BYTES_MAX, &text, &bytes, &err) != ES_OK) fail_msg("%s", err.text);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        read_line(ret_file, line);
    free(text);
    assert_true(ret_file->case_count > 0);
}

void vector_file_close(vector_file *file)
{
    for (size_t i = 0; i < file->case_count; i++) {
        for (size_t k = 0; k < file->cases[i].field_count; k++) free(file->cases[i].fields[k].words);
        free(file->cases[i].fields);
    }
    free(file->cases);
}

const vector_field *vector_find(const vector_case *c, const char *name)
{
    for (size_t i = 0; i < c->field_count; i++)
        if (strcmp(c->fields[i].name, name) == 0) return &c->fields[i];
    return NULL;
}

const vector_field *vector_need(const vector_case *c, const char *name)
{
    const vector_field *field = vector_find(c, name);
    if (field == NULL) fail_msg("case \"%s\" has no field %s", c->name, name);
    return field;
}

const vector_field *vector_need_at(const vector_case *c, const char *name, size_t index)
{
    char full[48];
    snprintf(full, sizeof full, "%s%zu", name, index);
    return vector_need(c, full);
}

float *vector_floats(const vector_field *field)
{
    return (float *)(void *)vector_codes(field, sizeof(float));
}

uint8_t *vector_codes(const vector_field *field, size_t width)
{
    uint8_t *codes = malloc(field->count * width);
    assert_non_null(codes);
    for (size_t i = 0; i < field->count; i++) memcpy(codes + i * width, &field->words[i], width);
    return codes;
}

int64_t vector_int(const vector_case *c, const char *name)
{
    return (int64_t)vector_need(c, name)->words[0];
}

void vector_check_floats(const vector_case *c, const vector_field *want, const float *got)
{
    for (size_t i = 0; i < want->count; i++) {
        uint32_t bits;
        memcpy(&bits, &got[i], sizeof bits);
        if (bits != want->words[i])
            fail_msg("case \"%s\": %s[%zu] is %08" PRIx32 " (%a), not %08" PRIx64, c->name, want->name, i,
                     bits, (double)got[i], want->words[i]);
    }
}

void vector_check_ints(const vector_case *c, const vector_field *want, const int64_t *got)
{
    for (size_t i = 0; i < want->count; i++)
        if (got[i] != (int64_t)want->words[i])
            fail_msg("case \"%s\": %s[%zu] is %" PRId64 ", not %" PRId64, c->name, want->name, i, got[i],
                     (int64_t)want->words[i]);
}

static const vector_field *prefixed(const vector_case *c, const char *prefix, const char *name)
{
    char full[48];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return vector_find(c, full);
}

es_matrix vector_matrix_rows(const vector_case *c, const char *prefix)
{
    const uint64_t *size = prefixed(c, prefix, "size")->words;
    es_format format = (es_format)prefixed(c, prefix, "format")->words[0];
    bool integer = format >= ES_FORMAT_FLOAT_COUNT;
    es_matrix m = {.format = format, .rows = size[0], .cols = size[1]};
    m.row_bytes = es_format_row_bytes(format, size[1]);
    m.data =
        vector_codes(prefixed(c, prefix, "codes"), integer ? 1 : es_format_describe(format)->block_bytes);
    if (format == ES_FORMAT_FP8) {
        m.row_phase = size[2];
        m.col_phase = size[3];
        m.scale_stride = prefixed(c, prefix, "scale_stride")->words[0];
        m.scales = vector_floats(prefixed(c, prefix, "scales"));
    }
    return m;
}

es_matrix vector_matrix(const vector_case *c, const char *prefix)
{
    es_matrix rows = vector_matrix_rows(c, prefix), m = test_panels(&rows);
    free((void *)(uintptr_t)rows.data);
    return m;
}

void vector_matrix_free(es_matrix *m)
{
    free((void *)(uintptr_t)m->data);
    free((void *)(uintptr_t)m->scales);
}

es_matrix test_panels(const es_matrix *rows)
{
    size_t bytes, panels = (rows->rows + ES_PANEL_ROWS - 1) / ES_PANEL_ROWS;
    assert_true(es_panels_bytes(rows->format, rows->rows, rows->cols, &bytes));
    uint8_t *data = aligned_alloc(ES_PANEL_ALIGNMENT, bytes);
    assert_non_null(data);
    es_panels_fill(rows, 0, panels, data);
    es_matrix m = *rows;
    m.layout = ES_LAYOUT_PANELS;
    m.data = data;
    m.row_bytes = bytes / panels;
    return m;
}

void test_blocks(es_rows *rows)
{
    rows->blocks = calloc(rows->count, es_rows_blocks(rows->cols) * sizeof *rows->blocks);
    assert_non_null(rows->blocks);
    for (size_t r = 0; r < rows->count; r++) es_rows_make_blocks(rows, r);
}

void test_rows_free(es_rows *rows)
{
    free(rows->data);
    free(rows->blocks);
}

es_rows vector_rows(const vector_case *c, size_t cols)
{
    es_rows rows = {.format = ES_ROWS_Q8, .count = (size_t)vector_int(c, "count"), .cols = cols};
    rows.row_bytes = es_rows_row_bytes(ES_ROWS_Q8, cols);
    rows.data = calloc(rows.count, rows.row_bytes);
    assert_non_null(rows.data);
    for (size_t t = 0; t < rows.count; t++) {
        uint8_t *q = vector_codes(vector_need_at(c, "q", t), 1);
        float *d = vector_floats(vector_need_at(c, "d", t));
        memcpy(rows.data + t * rows.row_bytes, q, cols);
        memcpy(rows.data + t * rows.row_bytes + (cols + 3) / 4 * 4, d, (cols + 31) / 32 * sizeof *d);
        free(q);
        free(d);
    }
    test_blocks(&rows);
    return rows;
}

size_t vector_sets(const es_kernels *ret_sets[VECTOR_SETS_MAX])
{
    static const char *const NAMES[] = {"ref", "avx2", "avx512", "neon"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (es_kernels_select(NAMES[i], &ret_sets[count], NULL) == ES_OK) count++;
    return count;
}
