/* Whatever bytes come, decoding a message stays within its memory, and what is accepted keeps the stated
 * maxima and survives being packed again. The first byte chooses the message. */
#include "net/control.h"
#include "net/sums.h"
#include "net/wire.h"

#include <stdlib.h>
#include <string.h>

static es_wire_memory *memory;
static es_control_memory *control_memory;
static uint8_t frame[ES_CONTROL_FRAME_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    ES_ASSERT(es_wire_memory_create(&memory, NULL) == ES_OK);
    ES_ASSERT(es_control_memory_create(&control_memory, NULL) == ES_OK);
    return 0;
}

static void try_request(const uint8_t *data, size_t size)
{
    es_wire_request a, b;
    es_err err;
    if (es_wire_request_unpack(memory, data, size, &a, &err) != ES_OK) return;
    ES_ASSERT(a.rows >= 1 && a.rows <= ES_STEP_ROWS_MAX && a.pairs <= a.rows * ES_PAIRS_PER_ROW_MAX);
    size_t pairs = 0;
    for (size_t r = 0; r < a.rows; r++) pairs += a.pairs_per_row[r];
    ES_ASSERT(pairs == a.pairs);
    size_t bytes = es_wire_request_pack(&a, frame, ES_WIRE_HEADER_MAX);
    ES_ASSERT(es_wire_request_unpack(memory, frame, bytes, &b, &err) == ES_OK);
    ES_ASSERT(a.rows == b.rows && a.pairs == b.pairs && memcmp(&a.ids, &b.ids, sizeof a.ids) == 0);
}

static void try_reply(const uint8_t *data, size_t size)
{
    es_wire_reply a;
    es_err err;
    if (es_wire_reply_unpack(memory, data, size, &a, &err) != ES_OK) return;
    ES_ASSERT(a.text != NULL && (a.status != ES_OK || es_sums_width_valid(a.width)));
    ES_ASSERT(a.rows <= ES_STEP_ROWS_MAX && a.cols <= ES_WIRE_COLS_MAX);
}

static void try_control_request(const uint8_t *data, size_t size)
{
    es_control_request a, b;
    es_err err;
    if (es_control_request_unpack(control_memory, data, size, &a, &err) != ES_OK) return;
    ES_ASSERT(a.kind != ES_CONTROL_HELLO || es_name_valid(a.hello.name));
    ES_ASSERT(a.change.formats == NULL || a.change.sum_count > 0);
    for (size_t i = 0; a.change.formats != NULL && i < a.change.sum_count * ES_EXPERT_PARTS; i++)
        ES_ASSERT(a.change.formats[i] < ES_FORMAT_COUNT);
    size_t bytes = es_control_request_pack(control_memory, &a, frame);
    ES_ASSERT(es_control_request_unpack(control_memory, frame, bytes, &b, &err) == ES_OK);
    ES_ASSERT(a.coordinator == b.coordinator && a.request == b.request && a.kind == b.kind);
    ES_ASSERT(a.change.sum_count == b.change.sum_count &&
              (a.change.formats == NULL) == (b.change.formats == NULL));
}

static void try_control_reply(const uint8_t *data, size_t size)
{
    es_control_reply a;
    es_err err;
    if (es_control_reply_unpack(control_memory, data, size, &a, &err) != ES_OK) return;
    ES_ASSERT(a.text != NULL);
    if (a.status == ES_OK && a.kind == ES_CONTROL_PROBE)
        ES_ASSERT(es_name_valid(a.probe.name) && a.probe.fill_bytes <= ES_PROBE_FILL_MAX);
    if (a.status != ES_OK || a.kind != ES_CONTROL_HELLO) return;
    ES_ASSERT(es_name_valid(a.hello.name) && a.hello.unit_count <= ES_UNITS_MAX);
    for (size_t i = 0; i < a.hello.unit_count; i++)
        ES_ASSERT(a.hello.units[i].slice < a.hello.units[i].slices);
}

static void try_rows(const uint8_t *data, size_t size)
{
    es_err err;
    for (int format = 0; format < ES_ROWS_COUNT; format++)
        for (size_t cols = 1; cols < 80; cols += 13) {
            es_rows rows = {.format = (es_row_format)format,
                            .cols = cols,
                            .row_bytes = es_rows_row_bytes((es_row_format)format, cols)};
            rows.count = size / rows.row_bytes;
            rows.data = malloc(rows.count * rows.row_bytes + 1);
            ES_ASSERT(rows.data != NULL);
            memcpy(rows.data, data, rows.count * rows.row_bytes);
            es_wire_rows_check(&rows, &err);
            free(rows.data);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    switch (data[0] % 5) {
    case 0:
        try_request(data + 1, size - 1);
        break;
    case 1:
        try_reply(data + 1, size - 1);
        break;
    case 2:
        try_control_request(data + 1, size - 1);
        break;
    case 3:
        try_control_reply(data + 1, size - 1);
        break;
    default:
        try_rows(data + 1, size - 1);
        break;
    }
    return 0;
}
