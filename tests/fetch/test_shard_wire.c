/* Messages of the shard socket: round trips, and what is refused in them. */
#include "net/shard_wire.h"
#include "proto/essaim.pb-c.h"

#include <stdlib.h>
#include <string.h>

#include "with_cmocka.h"

static es_wire_memory *memory;
static uint8_t frame[ES_SHARD_HEADER_MAX];

static int enter(void **state)
{
    (void)state;
    return es_shard_memory_create(&memory, NULL) == ES_OK ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    es_wire_memory_destroy(&memory);
    return 0;
}

static es_status ask(const es_shard_request *sent, es_shard_request *ret_got, es_err *err)
{
    return es_shard_request_unpack(memory, frame, es_shard_request_pack(sent, frame), ret_got, err);
}

static void requests_come_back(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_shard_request got, sent = {.request = 7, .ask = ES_SHARD_FIND};
    memset(sent.sum, 0xa5, sizeof sent.sum);
    if (ask(&sent, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(&got, &sent, sizeof sent);
    sent.ask = ES_SHARD_READ;
    sent.offset = UINT64_MAX;
    sent.count = ES_SHARD_READ_MAX;
    if (ask(&sent, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(&got, &sent, sizeof sent);
    sent =
        (es_shard_request){.request = 8,
                           .ask = ES_SHARD_JOIN,
                           .join = {.name = "n1", .control = "tcp://0.0.0.0:5700", .memory_bytes = 1u << 31}};
    memset(sent.join.secret, 3, sizeof sent.join.secret);
    if (ask(&sent, &got, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(&got, &sent, sizeof sent);
}

static void expect_refused(const es_shard_request *sent, const char *complaint)
{
    es_err err = {.text = ""};
    es_shard_request got;
    assert_int_equal(ask(sent, &got, &err), ES_INVALID);
    if (strstr(err.text, complaint) == NULL) fail_msg("%s", err.text);
    assert_int_equal(got.request, sent->request);
}

static void lies_in_requests_are_refused(void **state)
{
    (void)state;
    es_shard_request sent = {.request = 5, .ask = ES_SHARD_READ};
    expect_refused(&sent, "count: 0 is not 1 to");
    sent.count = ES_SHARD_READ_MAX + 1;
    expect_refused(&sent, "count: 262145 is not 1 to");
    sent = (es_shard_request){.request = 5, .ask = ES_SHARD_JOIN, .join = {.name = "a b", .control = "x"}};
    expect_refused(&sent, "name: not 1 to");
    strcpy(sent.join.name, "ab");
    expect_refused(&sent, "control: no numeric address and port");
    strcpy(sent.join.control, "tcp://10.0.0.1:0");
    expect_refused(&sent, "control: no numeric address and port");
    /* a sum and a secret of another length, another protocol, no body, no message */
    Essaim__V1__ShardRequest m = ESSAIM__V1__SHARD_REQUEST__INIT;
    Essaim__V1__Find find = ESSAIM__V1__FIND__INIT;
    Essaim__V1__Join join = ESSAIM__V1__JOIN__INIT;
    uint8_t bytes[40] = {0};
    es_shard_request got;
    es_err err = {.text = ""};
    m.protocol = ES_PROTOCOL;
    m.request = 5;
    assert_int_equal(
        es_shard_request_unpack(memory, frame, essaim__v1__shard_request__pack(&m, frame), &got, &err),
        ES_UNSUPPORTED);
    find.sum = (ProtobufCBinaryData){31, bytes};
    m.body_case = ESSAIM__V1__SHARD_REQUEST__BODY_FIND;
    m.find = &find;
    assert_int_equal(
        es_shard_request_unpack(memory, frame, essaim__v1__shard_request__pack(&m, frame), &got, &err),
        ES_INVALID);
    assert_string_equal(err.text, "shard request: sum: 31 bytes, not 32");
    join.secret = (ProtobufCBinaryData){33, bytes};
    m.body_case = ESSAIM__V1__SHARD_REQUEST__BODY_JOIN;
    m.join = &join;
    assert_int_equal(
        es_shard_request_unpack(memory, frame, essaim__v1__shard_request__pack(&m, frame), &got, &err),
        ES_INVALID);
    assert_string_equal(err.text, "shard request: secret: 33 bytes, not 32");
    m.protocol = ES_PROTOCOL + 1;
    assert_int_equal(
        es_shard_request_unpack(memory, frame, essaim__v1__shard_request__pack(&m, frame), &got, &err),
        ES_MISMATCH);
    assert_int_equal(got.request, 5);
    memset(frame, 0xff, 16);
    assert_int_equal(es_shard_request_unpack(memory, frame, 16, &got, &err), ES_CORRUPT);
    assert_int_equal(es_shard_request_unpack(memory, frame, ES_SHARD_HEADER_MAX + 1, &got, &err), ES_CORRUPT);
}

static es_shard_reply *reply_again(const es_shard_reply *sent, es_status expected, es_err *err)
{
    static es_shard_reply got;
    assert_int_equal(es_shard_reply_unpack(memory, frame, es_shard_reply_pack(sent, frame), &got, err),
                     expected);
    return &got;
}

static void replies_come_back(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_shard_reply *got, *sent = calloc(1, sizeof *sent);
    *sent = (es_shard_reply){.request = 4, .text = "", .ask = ES_SHARD_FIND};
    sent->found = (es_shard_found){.layer = 60, .expert = 255, .bytes = UINT64_MAX};
    got = reply_again(sent, ES_OK, &err);
    assert_memory_equal(&got->found, &sent->found, sizeof sent->found);
    sent->ask = ES_SHARD_READ;
    sent->offset = 99;
    sent->payload_crc32c = 0x12345678;
    got = reply_again(sent, ES_OK, &err);
    assert_int_equal(got->offset, 99);
    assert_int_equal(got->payload_crc32c, 0x12345678);
    sent->ask = ES_SHARD_JOIN;
    strcpy(sent->joined.name, "n1");
    strcpy(sent->joined.control, "tcp://10.0.0.1:5700");
    memset(sent->joined.config, 'c', ES_JOIN_CONFIG_MAX);
    sent->joined.coordinator_count = ES_JOIN_COORDINATORS_MAX;
    for (size_t i = 0; i < ES_JOIN_COORDINATORS_MAX; i++)
        memset(sent->joined.coordinators[i], 'k', ES_KEY_TEXT_BYTES - 1);
    got = reply_again(sent, ES_OK, &err);
    assert_memory_equal(&got->joined, &sent->joined, sizeof sent->joined);
    sent->joined.coordinators[9][3] = ' ';
    reply_again(sent, ES_INVALID, &err);
    assert_string_equal(err.text, "shard reply: coordinators: key 9 is none");
    sent->joined.coordinator_count = 0;
    reply_again(sent, ES_INVALID, &err);
    sent->status = ES_NOT_FOUND;
    sent->text = "gone";
    got = reply_again(sent, ES_OK, &err);
    assert_int_equal(got->status, ES_NOT_FOUND);
    assert_string_equal(got->text, "gone");
    sent->status = ES_STATUS_COUNT;
    reply_again(sent, ES_CORRUPT, &err);
    free(sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_come_back),
        cmocka_unit_test(lies_in_requests_are_refused),
        cmocka_unit_test(replies_come_back),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
