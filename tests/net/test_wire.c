/* Data headers: round trips, and a corpus of lies made with the generated code itself. */
#include "net/wire.h"

#include "net/crc32c.h"
#include "proto/essaim.pb-c.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAIRS_MAX = ES_STEP_ROWS_MAX * ES_PAIRS_PER_ROW_MAX, BYTES = 4 * 1024 * 1024 };

typedef struct bench {
    es_wire_memory *memory;
    uint8_t *bytes; /* [BYTES] */
} bench;

static int enter(void **state)
{
    static bench b;
    es_err err;
    b.bytes = malloc(BYTES);
    *state = &b;
    return es_wire_memory_create(&b.memory, &err) == ES_OK && b.bytes != NULL ? 0 : -1;
}

static int leave(void **state)
{
    bench *b = *state;
    es_wire_memory_destroy(&b->memory);
    free(b->bytes);
    return 0;
}

static void the_largest_request_comes_back(void **state)
{
    bench *b = *state;
    uint32_t per_row[ES_STEP_ROWS_MAX];
    uint32_t *expert = calloc(PAIRS_MAX, sizeof *expert);
    float *weight = calloc(PAIRS_MAX, sizeof *weight);
    uint32_t *chunks = calloc(PAIRS_MAX, sizeof *chunks);
    char requests[ES_WIRE_REQUESTS_MAX + 1];
    memset(requests, 'r', sizeof requests - 1);
    requests[sizeof requests - 1] = '\0';
    for (size_t r = 0; r < ES_STEP_ROWS_MAX; r++) per_row[r] = ES_PAIRS_PER_ROW_MAX;
    for (uint32_t p = 0; p < PAIRS_MAX; p++) {
        expert[p] = UINT32_MAX - p;
        weight[p] = -(float)p;
        chunks[p] = es_chunks_code((es_chunks){p % ES_CHUNKS_MAX, ES_CHUNKS_MAX - p % ES_CHUNKS_MAX});
    }
    const es_wire_request sent = {
        .ids = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 2, UINT32_MAX, UINT32_MAX - 1},
        .row_format = ES_ROWS_F32,
        .rows = ES_STEP_ROWS_MAX,
        .cols = ES_WIRE_COLS_MAX,
        .pairs = PAIRS_MAX,
        .pairs_per_row = per_row,
        .expert = expert,
        .weight = weight,
        .chunks = chunks,
        .payload_crc32c = 0xdeadbeef,
        .requests = requests};
    size_t count = es_wire_request_pack(&sent, b->bytes, ES_WIRE_HEADER_MAX);
    assert_true(count <= ES_WIRE_HEADER_MAX);
    es_wire_request got;
    es_err err = {.text = ""};
    for (int again = 0; again < 3; again++) {
        if (es_wire_request_unpack(b->memory, b->bytes, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
        assert_memory_equal(&got.ids, &sent.ids, sizeof sent.ids);
        assert_int_equal(got.row_format, sent.row_format);
        assert_int_equal(got.rows, sent.rows);
        assert_int_equal(got.cols, sent.cols);
        assert_int_equal(got.pairs, sent.pairs);
        assert_int_equal(got.payload_crc32c, sent.payload_crc32c);
        assert_string_equal(got.requests, requests);
        assert_memory_equal(got.pairs_per_row, per_row, sizeof per_row);
        assert_memory_equal(got.expert, expert, PAIRS_MAX * sizeof *expert);
        assert_memory_equal(got.weight, weight, PAIRS_MAX * sizeof *weight);
        assert_memory_equal(got.chunks, chunks, PAIRS_MAX * sizeof *chunks);
    }
    free(chunks);
    free(expert);
    free(weight);
}

static void replies_come_back(void **state)
{
    bench *b = *state;
    es_err err = {.text = ""};
    es_wire_reply got, sent = {.ids = {1, 2, 3, 4, 5},
                               .text = "",
                               .rows = 512,
                               .cols = 7168,
                               .width = 4,
                               .payload_crc32c = 7,
                               .compute_ns = 8};
    size_t count = es_wire_reply_pack(&sent, b->bytes, BYTES);
    assert_int_equal(es_wire_reply_unpack(b->memory, b->bytes, count, &got, &err), ES_OK);
    assert_memory_equal(&got.ids, &sent.ids, sizeof sent.ids);
    assert_int_equal(got.rows, 512);
    assert_int_equal(got.cols, 7168);
    assert_int_equal(got.width, 4);
    assert_int_equal(got.payload_crc32c, 7);
    assert_int_equal(got.compute_ns, 8);
    sent = (es_wire_reply){.ids = {1, 2, 3, 4, 5},
                           .status = ES_NOT_HERE,
                           .text = "layer 4: expert 9 is not held here",
                           .failed_row = 511};
    count = es_wire_reply_pack(&sent, b->bytes, BYTES);
    assert_int_equal(es_wire_reply_unpack(b->memory, b->bytes, count, &got, &err), ES_OK);
    assert_int_equal(got.status, ES_NOT_HERE);
    assert_string_equal(got.text, sent.text);
    assert_int_equal(got.failed_row, 511);
    assert_int_equal(got.width, 0);
    sent.failed_row = SIZE_MAX;
    count = es_wire_reply_pack(&sent, b->bytes, BYTES);
    assert_int_equal(es_wire_reply_unpack(b->memory, b->bytes, count, &got, &err), ES_OK);
    assert_true(got.failed_row == SIZE_MAX);
}

/* A correct message of two rows, that a case then bends. */
static uint32_t two_counts[2], three_experts[4], three_chunks[4];
static float three_weights[4];

static Essaim__V1__ExpertRequest honest(void)
{
    Essaim__V1__ExpertRequest m = ESSAIM__V1__EXPERT_REQUEST__INIT;
    two_counts[0] = 1, two_counts[1] = 2;
    for (size_t i = 0; i < 4; i++) three_experts[i] = (uint32_t)i, three_weights[i] = 1;
    m.protocol = ES_PROTOCOL, m.coordinator = 5, m.rows = 2, m.cols = 32;
    m.n_pairs_per_row = 2, m.pairs_per_row = two_counts;
    m.n_expert = 3, m.expert = three_experts;
    m.n_weight = 3, m.weight = three_weights;
    return m;
}

static void expect(bench *b, const Essaim__V1__ExpertRequest *m, es_status status, const char *text)
{
    es_wire_request got;
    es_err err = {.text = ""};
    size_t count = essaim__v1__expert_request__get_packed_size(m);
    assert_true(count <= BYTES);
    essaim__v1__expert_request__pack(m, b->bytes);
    assert_int_equal(es_wire_request_unpack(b->memory, b->bytes, count, &got, &err), status);
    if (strstr(err.text, text) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    if (status != ES_CORRUPT) assert_int_equal(got.ids.coordinator, 5);
}

static void lying_requests_are_refused_by_field(void **state)
{
    bench *b = *state;
    Essaim__V1__ExpertRequest m = honest();
    expect(b, &m, ES_OK, "");
    m.protocol = ES_PROTOCOL + 1;
    expect(b, &m, ES_MISMATCH, "the peer speaks protocol 4, this program 3");
    m = honest(), m.rows = 0, m.n_pairs_per_row = 0, m.n_expert = m.n_weight = 0;
    expect(b, &m, ES_INVALID, "rows: 0 is not 1 to 512");
    m = honest(), m.rows = 513;
    expect(b, &m, ES_INVALID, "rows: 513");
    m = honest(), m.n_chunks = 3, m.chunks = three_chunks;
    memset(three_chunks, 0, sizeof three_chunks);
    expect(b, &m, ES_OK, "");
    m.n_chunks = 2;
    expect(b, &m, ES_INVALID, "chunks: 2 values for 3 pairs");
    m.n_chunks = 3, three_chunks[1] = es_chunks_code((es_chunks){7, 0});
    expect(b, &m, ES_INVALID, "chunks: pair 1 wants 0 from 7 on");
    three_chunks[1] = es_chunks_code((es_chunks){2047, 1});
    expect(b, &m, ES_OK, "");
    three_chunks[1] = es_chunks_code((es_chunks){2047, 2});
    expect(b, &m, ES_INVALID, "chunks: pair 1 wants 2 from 2047 on");
    three_chunks[1] = UINT32_MAX;
    expect(b, &m, ES_INVALID, "chunks: pair 1 wants 4095 from 1048575 on");
    m = honest(), m.rows = 1;
    expect(b, &m, ES_INVALID, "pairs_per_row: 2 counts for 1 rows");
    m = honest(), two_counts[0] = 0;
    expect(b, &m, ES_INVALID, "pairs_per_row: row 0 has 0");
    m = honest(), two_counts[1] = 65;
    expect(b, &m, ES_INVALID, "pairs_per_row: row 1 has 65");
    m = honest(), two_counts[1] = UINT32_MAX;
    expect(b, &m, ES_INVALID, "pairs_per_row: row 1");
    m = honest(), m.n_expert = 4;
    expect(b, &m, ES_INVALID, "expert: 4 values for 3 pairs");
    m = honest(), m.n_weight = 2;
    expect(b, &m, ES_INVALID, "weight: 2 values for 3 pairs");
    m = honest(), three_weights[1] = NAN;
    expect(b, &m, ES_NUMERIC, "weight: pair 1 is not finite");
    m = honest(), three_weights[2] = -INFINITY;
    expect(b, &m, ES_NUMERIC, "weight: pair 2");
    m = honest(), m.row_format = ES_ROWS_COUNT;
    expect(b, &m, ES_UNSUPPORTED, "row_format: 2");
    m = honest(), m.cols = 0;
    expect(b, &m, ES_INVALID, "cols: 0");
    m = honest(), m.cols = UINT32_MAX;
    expect(b, &m, ES_INVALID, "cols: 4294967295");
    static char long_list[ES_WIRE_REQUESTS_MAX + 2];
    memset(long_list, 'a', sizeof long_list - 1);
    m = honest(), m.requests = long_list;
    expect(b, &m, ES_INVALID, "requests: not at most 512 letters");
    char *const lists[] = {"a b", "a\nb", "a\x1b[2Jb", "a\"b", "a\\b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        m = honest(), m.requests = lists[i];
        expect(b, &m, ES_INVALID, "requests: ");
    }
    m = honest(), m.requests = "req-0123456789abcdef,client:7._x";
    expect(b, &m, ES_OK, "");
}

static void a_header_cannot_take_more_than_its_memory(void **state)
{
    bench *b = *state;
    Essaim__V1__ExpertRequest m = honest();
    m.n_expert = ES_WIRE_HEADER_MAX - 64;
    m.expert = calloc(m.n_expert, sizeof *m.expert); /* one byte each on the wire, four here */
    expect(b, &m, ES_CORRUPT, "no header");
    m.n_expert = 3;
    free(m.expert);
    m.expert = three_experts;
    m.n_weight = ES_WIRE_HEADER_MAX;
    m.weight = calloc(m.n_weight, sizeof *m.weight);
    expect(b, &m, ES_CORRUPT, "request header: ");
    free(m.weight);
}

static void truncated_and_bent_headers_never_hurt(void **state)
{
    bench *b = *state;
    Essaim__V1__ExpertRequest m = honest();
    uint8_t whole[256], bent[256];
    size_t count = essaim__v1__expert_request__pack(&m, whole);
    es_wire_request got;
    es_wire_reply reply;
    for (size_t cut = 0; cut < count; cut++) {
        uint8_t *tight = malloc(cut + 1);
        memcpy(tight, whole, cut);
        assert_int_not_equal(es_wire_request_unpack(b->memory, tight, cut, &got, NULL), ES_OK);
        free(tight);
    }
    for (size_t at = 0; at < count; at++)
        for (int bit = 0; bit < 8; bit++) {
            memcpy(bent, whole, count);
            bent[at] ^= (uint8_t)(1 << bit);
            es_status status = es_wire_request_unpack(b->memory, bent, count, &got, NULL);
            if (status == ES_OK) assert_true(got.rows == 2 && got.pairs == 3);
            es_wire_reply_unpack(b->memory, bent, count, &reply, NULL);
        }
}

static void lying_replies_are_refused_by_field(void **state)
{
    bench *b = *state;
    static const struct {
        uint32_t rows, cols, width, status;
        const char *text;
    } CASES[] = {
        {0, 8, 3, 0, "rows: 0"},
        {513, 8, 3, 0, "rows: 513"},
        {1, 0, 3, 0, "cols: 0"},
        {1, 1u << 21, 3, 0, "cols: "},
        {1, 8, 5, 0, "width: 5"},
        {1, 8, 0, 0, "width: 0"},
        {1, 8, 3, ES_STATUS_COUNT, "status: 15 is not known"},
        {1, 8, 3, ES_CANCELLED, "status: only an asker cancels"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        Essaim__V1__ExpertReply m = ESSAIM__V1__EXPERT_REPLY__INIT;
        m.protocol = ES_PROTOCOL, m.rows = CASES[i].rows, m.cols = CASES[i].cols, m.width = CASES[i].width,
        m.status = CASES[i].status;
        size_t count = essaim__v1__expert_reply__pack(&m, b->bytes);
        es_wire_reply got;
        es_err err = {.text = ""};
        assert_int_equal(es_wire_reply_unpack(b->memory, b->bytes, count, &got, &err), ES_CORRUPT);
        if (strstr(err.text, CASES[i].text) == NULL) fail_msg("%s", err.text);
        assert_non_null(got.text);
    }
}

static void payloads_are_checked_against_their_header(void **state)
{
    (void)state;
    uint8_t payload[64] = {1, 2, 3};
    uint32_t crc = es_crc32c(payload, 64);
    es_err err = {.text = ""};
    assert_int_equal(es_wire_payload_check(2, 32, crc, payload, 64, &err), ES_OK);
    assert_int_equal(es_wire_payload_check(2, 32, crc, payload, 63, &err), ES_CORRUPT);
    assert_int_equal(es_wire_payload_check(SIZE_MAX, 32, crc, payload, 64, &err), ES_CORRUPT);
    payload[63] ^= 0x80;
    assert_int_equal(es_wire_payload_check(2, 32, crc, payload, 64, &err), ES_CORRUPT);
    assert_non_null(strstr(err.text, "checksum"));
}

static void rows_hold_only_what_quantisation_makes(void **state)
{
    (void)state;
    _Alignas(float) uint8_t q8[2 * (36 + 8)] = {0};
    es_rows rows = {.format = ES_ROWS_Q8,
                    .count = 2,
                    .cols = 34,
                    .row_bytes = es_rows_row_bytes(ES_ROWS_Q8, 34),
                    .data = q8};
    assert_int_equal(rows.row_bytes, 44);
    es_err err = {.text = ""};
    assert_int_equal(es_wire_rows_check(&rows, &err), ES_OK);
    q8[44 + 33] = 0x80;
    assert_int_equal(es_wire_rows_check(&rows, &err), ES_NUMERIC);
    assert_string_equal(err.text, "row 1: code -128");
    q8[44 + 33] = 0;
    static const float BAD[] = {NAN, INFINITY, -1.0f, -0.0f};
    for (size_t i = 0; i < 4; i++) {
        memcpy(q8 + 44 + 36 + 4, &BAD[i], 4);
        assert_int_equal(es_wire_rows_check(&rows, &err), ES_NUMERIC);
    }
    float x[8] = {1, -2, 3, 4, 5, 6, 7, 8};
    rows = (es_rows){.format = ES_ROWS_F32, .count = 2, .cols = 4, .row_bytes = 16, .data = (uint8_t *)x};
    assert_int_equal(es_wire_rows_check(&rows, &err), ES_OK);
    x[7] = NAN;
    assert_int_equal(es_wire_rows_check(&rows, &err), ES_NUMERIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_request_comes_back),
        cmocka_unit_test(replies_come_back),
        cmocka_unit_test(lying_requests_are_refused_by_field),
        cmocka_unit_test(a_header_cannot_take_more_than_its_memory),
        cmocka_unit_test(truncated_and_bent_headers_never_hurt),
        cmocka_unit_test(lying_replies_are_refused_by_field),
        cmocka_unit_test(payloads_are_checked_against_their_header),
        cmocka_unit_test(rows_hold_only_what_quantisation_makes),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
