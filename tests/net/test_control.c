/* Control messages: round trips, and what is refused in them. */
#include "net/control.h"
#include "proto/essaim.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static es_control_memory *memory;
static uint8_t frame[ES_CONTROL_FRAME_MAX];

static int enter(void **state)
{
    (void)state;
    return es_control_memory_create(&memory, NULL) == ES_OK ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    es_control_memory_destroy(&memory);
    return 0;
}

static void hello_comes_back(void **state)
{
    (void)state;
    es_control_request got, sent = {.coordinator = 9,
                                    .request = 3,
                                    .kind = ES_CONTROL_HELLO,
                                    .hello = {.name = "c1", .row_format = ES_ROWS_F32}};
    memset(sent.hello.fingerprint, 0xab, ES_FINGERPRINT_BYTES);
    es_err err = {.text = ""};
    size_t count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_OK);
    assert_memory_equal(&got, &sent, sizeof sent);
    sent = (es_control_request){.coordinator = 9, .kind = ES_CONTROL_STATS};
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_OK);
    assert_int_equal(got.kind, ES_CONTROL_STATS);
}

static void changes_of_units_come_back(void **state)
{
    (void)state;
    es_units *units = calloc(ES_UNITS_MAX, sizeof *units);
    for (uint32_t i = 0; i < ES_UNITS_MAX; i++)
        units[i] = (es_units){UINT32_MAX, UINT32_MAX - 1, 1, UINT32_MAX - 1, UINT32_MAX};
    es_control_request got,
        sent = {.coordinator = 9, .request = 3, .change = {UINT64_MAX, units, ES_UNITS_MAX, NULL, 0, NULL}};
    es_err err = {.text = ""};
    static const es_control_kind KINDS[] = {ES_CONTROL_LOAD, ES_CONTROL_DROP};
    for (size_t i = 0; i < 2; i++) {
        sent.kind = KINDS[i];
        size_t count = es_control_request_pack(memory, &sent, frame);
        assert_true(count <= ES_CONTROL_FRAME_MAX);
        if (es_control_request_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
        assert_int_equal(got.kind, KINDS[i]);
        assert_true(got.change.epoch == UINT64_MAX);
        assert_int_equal(got.change.unit_count, ES_UNITS_MAX);
        assert_memory_equal(got.change.units, units, ES_UNITS_MAX * sizeof *units);
    }
    units[7].slice = UINT32_MAX;
    size_t count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "control request: units: range 7 is slice"));
    free(units);
    static const es_control_kind BARE[] = {ES_CONTROL_DRAIN, ES_CONTROL_STATE, ES_CONTROL_STATS};
    for (size_t i = 0; i < 3; i++) {
        sent = (es_control_request){.coordinator = 9, .request = 4, .kind = BARE[i]};
        count = es_control_request_pack(memory, &sent, frame);
        assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_OK);
        assert_int_equal(got.kind, BARE[i]);
        assert_int_equal(got.request, 4);
    }
}

static void checksums_come_back_with_the_units_they_are_of(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    const es_units units[] = {{3, 4, 2, 0, 1}, {5, 0, 1, 0, 1}};
    uint8_t sums[3 * ES_CONTENT_SUM_BYTES];
    for (size_t i = 0; i < sizeof sums; i++) sums[i] = (uint8_t)i;
    es_control_request got,
        sent = {.coordinator = 9, .kind = ES_CONTROL_LOAD, .change = {1, units, 2, sums, 3, NULL}};
    size_t count = es_control_request_pack(memory, &sent, frame);
    if (es_control_request_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(got.change.sum_count, 3);
    assert_memory_equal(got.change.sums, sums, sizeof sums);
    assert_null(got.change.formats);
    uint8_t formats[3 * ES_EXPERT_PARTS] = {ES_FORMAT_FP8, ES_FORMAT_IQ4_NL, ES_FORMAT_F32};
    sent.change.formats = formats;
    count = es_control_request_pack(memory, &sent, frame);
    if (es_control_request_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(got.change.formats, formats, sizeof formats);
    formats[8] = ES_FORMAT_COUNT;
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_UNSUPPORTED);
    assert_non_null(strstr(err.text, "control request: formats: "));
    /* formats of experts without checksums */
    Essaim__V1__ControlRequest m = ESSAIM__V1__CONTROL_REQUEST__INIT;
    Essaim__V1__Change change = ESSAIM__V1__CHANGE__INIT;
    m.protocol = ES_PROTOCOL;
    m.coordinator = 9;
    m.body_case = ESSAIM__V1__CONTROL_REQUEST__BODY_LOAD;
    m.load = &change;
    change.formats = (ProtobufCBinaryData){3, formats};
    count = essaim__v1__control_request__pack(&m, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_INVALID);
    assert_string_equal(err.text, "control request: formats: 3 bytes for 0 experts with checksums");
    sent.change.formats = NULL;
    sent.change.sum_count = 2;
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_INVALID);
    assert_string_equal(err.text, "control request: sums: 64 bytes for 3 experts");
}

static void members_come_back_and_lies_about_them_are_refused(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_peer *peers = calloc(ES_PEERS_MAX, sizeof *peers);
    char(*revoked)[ES_KEY_TEXT_BYTES] = calloc(ES_ALLOWED_MAX, sizeof *revoked);
    for (size_t i = 0; i < ES_PEERS_MAX; i++) {
        memset(peers[i].name, 'n', ES_NAME_MAX);
        strcpy(peers[i].shards, "tcp://[1234:1234:1234:1234:1234:1234:1234:1234]:65535");
        memset(peers[i].key, '0', ES_KEY_TEXT_BYTES - 1);
    }
    for (size_t i = 0; i < ES_ALLOWED_MAX; i++) memset(revoked[i], '1', ES_KEY_TEXT_BYTES - 1);
    es_control_request got, sent = {.coordinator = 9, .kind = ES_CONTROL_MEMBERS};
    sent.members =
        (es_members){peers, ES_PEERS_MAX, (const char(*)[ES_KEY_TEXT_BYTES])revoked, ES_ALLOWED_MAX};
    size_t count = es_control_request_pack(memory, &sent, frame);
    if (es_control_request_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(got.members.peer_count, ES_PEERS_MAX);
    assert_int_equal(got.members.revoked_count, ES_ALLOWED_MAX);
    assert_memory_equal(got.members.peers, peers, ES_PEERS_MAX * sizeof *peers);
    assert_memory_equal(got.members.revoked, revoked, ES_ALLOWED_MAX * sizeof *revoked);
    sent.members.peer_count = 1;
    sent.members.revoked_count = 1;
    strcpy(peers[0].shards, "");
    strcpy(peers[0].key, "");
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_OK);
    strcpy(revoked[0], "no key");
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_INVALID);
    assert_string_equal(err.text, "control request: members: revoked key 0 is none");
    strcpy(peers[0].name, "n1");
    strcpy(peers[0].key, "short");
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_INVALID);
    assert_string_equal(err.text, "control request: peer n1: its key is none");
    strcpy(peers[0].shards, "somewhere:5");
    count = es_control_request_pack(memory, &sent, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &got, &err), ES_INVALID);
    assert_string_equal(err.text, "control request: peer n1: no numeric address and port");
    free(peers);
    free(revoked);
}

static void a_state_comes_back(void **state)
{
    (void)state;
    es_control_reply got, sent = {.request = 4, .text = "", .kind = ES_CONTROL_STATE};
    sent.state = (es_node_state){ES_NODE_DRAINING, 1, 2, 3, 4, 5, 6, 7, 8, "needs 3 GB more"};
    size_t count;
    es_err err = {.text = ""};
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    if (es_control_reply_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(got.kind, ES_CONTROL_STATE);
    assert_memory_equal(&got.state, &sent.state, sizeof sent.state);
    sent.state.phase = ES_NODE_PHASE_COUNT;
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, frame, count, &got, &err), ES_UNSUPPORTED);
}

static void a_probe_carries_bytes_both_ways(void **state)
{
    (void)state;
    es_control_request asked, ask = {.coordinator = 9, .kind = ES_CONTROL_PROBE};
    es_control_reply got, sent = {.request = 4, .text = "", .kind = ES_CONTROL_PROBE};
    es_err err = {.text = ""};
    ask.probe = (es_probe){ES_PROBE_FILL_MAX, ES_PROBE_FILL_MAX};
    size_t count = es_control_request_pack(memory, &ask, frame);
    assert_in_range(count, ES_PROBE_FILL_MAX, ES_CONTROL_FRAME_MAX);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &asked, &err), ES_OK);
    assert_memory_equal(&asked, &ask, sizeof ask);
    ask.probe.want_bytes = ES_PROBE_FILL_MAX + 1;
    count = es_control_request_pack(memory, &ask, frame);
    assert_int_equal(es_control_request_unpack(memory, frame, count, &asked, &err), ES_INVALID);

    sent.probe = (es_probe_reply){.name = "n1",
                                  .version = "0.1.0",
                                  .kernels = "avx2",
                                  .has_model = true,
                                  .fingerprint = {7},
                                  .clock_ns = 5,
                                  .fill_bytes = ES_PROBE_FILL_MAX,
                                  .machine = {64000000000, 8, 5e10, 1e12, 2e11, 1.25e9}};
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    if (es_control_reply_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(got.kind, ES_CONTROL_PROBE);
    assert_memory_equal(&got.probe, &sent.probe, sizeof sent.probe);
    strcpy(sent.probe.kernels, "a b");
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, frame, count, &got, &err), ES_INVALID);
    strcpy(sent.probe.kernels, "avx2");
    sent.probe.machine.read_bytes_per_s = -1;
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, frame, count, &got, &err), ES_INVALID);
}

static void the_longest_answer_comes_back(void **state)
{
    (void)state;
    es_units *units = calloc(ES_UNITS_MAX, sizeof *units);
    for (uint32_t i = 0; i < ES_UNITS_MAX; i++) units[i] = (es_units){i / 128, 2 * (i % 128), 1, 0, 1};
    es_control_reply got, sent = {.request = 4, .text = "", .kind = ES_CONTROL_HELLO};
    sent.hello = (es_hello_reply){.name = "n1",
                                  .data_port = 65535,
                                  .epoch = 6,
                                  .units = units,
                                  .unit_count = ES_UNITS_MAX,
                                  .threads = 8,
                                  .rows_max = 512,
                                  .row_formats = {true, false},
                                  .state = {.phase = ES_NODE_LOADING, .mapped_bytes = 77},
                                  .read_bytes_per_s = 1000000000000,
                                  .numa_nodes = 2};
    size_t count;
    es_err err = {.text = ""};
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    if (es_control_reply_unpack(memory, frame, count, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_string_equal(got.hello.name, "n1");
    assert_int_equal(got.hello.data_port, 65535);
    assert_int_equal(got.hello.unit_count, ES_UNITS_MAX);
    assert_memory_equal(got.hello.units, units, ES_UNITS_MAX * sizeof *units);
    assert_int_equal(got.hello.read_bytes_per_s, 1000000000000);
    assert_int_equal(got.hello.numa_nodes, 2);
    assert_int_equal(got.hello.state.phase, ES_NODE_LOADING);
    assert_int_equal(got.hello.state.mapped_bytes, 77);
    assert_true(got.hello.row_formats[ES_ROWS_Q8] && !got.hello.row_formats[ES_ROWS_F32]);
    free(units);
}

static void statistics_and_errors_come_back(void **state)
{
    (void)state;
    es_control_reply got, sent = {.request = 4, .text = "", .kind = ES_CONTROL_STATS};
    sent.stats = (es_node_stats){1, 2, 3, 4, 5, {0}, 6, 7, 8, 9, 10};
    sent.stats.errors[ES_NUMERIC] = 11;
    size_t count;
    es_err err = {.text = ""};
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, frame, count, &got, &err), ES_OK);
    assert_memory_equal(&got.stats, &sent.stats, sizeof sent.stats);
    sent = (es_control_reply){.request = 5, .status = ES_MISMATCH, .text = "another model"};
    assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, frame, count, &got, &err), ES_OK);
    assert_int_equal(got.status, ES_MISMATCH);
    assert_string_equal(got.text, "another model");
}

static void lies_are_refused(void **state)
{
    (void)state;
    es_control_request got, bad = {.coordinator = 0, .kind = ES_CONTROL_HELLO, .hello = {.name = "c1"}};
    es_err err = {.text = ""};
    assert_int_equal(
        es_control_request_unpack(memory, frame, es_control_request_pack(memory, &bad, frame), &got, &err),
        ES_INVALID);
    bad.coordinator = 1;
    strcpy(bad.hello.name, "a\nb");
    assert_int_equal(
        es_control_request_unpack(memory, frame, es_control_request_pack(memory, &bad, frame), &got, &err),
        ES_INVALID);
    assert_non_null(strstr(err.text, "name: "));
    static const es_units BAD[] = {
        {1, 0, 0, 0, 1}, {1, 5, UINT32_MAX, 0, 1}, {1, 0, 1, 0, 0}, {1, 0, 1, 2, 2}};
    for (size_t i = 0; i < 4; i++) {
        es_control_reply reply, sent = {.text = "", .kind = ES_CONTROL_HELLO};
        sent.hello =
            (es_hello_reply){.name = "n", .data_port = 1, .units = &BAD[i], .unit_count = 1, .rows_max = 1};
        size_t count;
        assert_int_equal(es_control_reply_pack(memory, &sent, frame, &count, &err), ES_OK);
        assert_int_equal(es_control_reply_unpack(memory, frame, count, &reply, &err), ES_INVALID);
        assert_non_null(strstr(err.text, "units: range 0"));
    }
    es_control_reply reply, cancelled = {.status = ES_CANCELLED, .text = ""};
    size_t count;
    assert_int_equal(es_control_reply_pack(memory, &cancelled, frame, &count, &err), ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, frame, count, &reply, &err), ES_CORRUPT);
    assert_int_equal(es_control_request_unpack(memory, (const uint8_t *)"\xff\xff", 2, &got, &err),
                     ES_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_comes_back),
        cmocka_unit_test(changes_of_units_come_back),
        cmocka_unit_test(checksums_come_back_with_the_units_they_are_of),
        cmocka_unit_test(members_come_back_and_lies_about_them_are_refused),
        cmocka_unit_test(a_state_comes_back),
        cmocka_unit_test(a_probe_carries_bytes_both_ways),
        cmocka_unit_test(the_longest_answer_comes_back),
        cmocka_unit_test(statistics_and_errors_come_back),
        cmocka_unit_test(lies_are_refused),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
