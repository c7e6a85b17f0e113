/* A link is measured against a responder on loopback; what does not answer, or refuses, says so. */
#include "base/clock.h"
#include "base/signals.h"
#include "doctor/link.h"
#include "doctor/responder.h"
#include "with_cmocka.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static const es_probe_reply WHO = {.name = "n1",
                                   .version = "0.1.0",
                                   .kernels = "avx2",
                                   .has_model = true,
                                   .fingerprint = {1, 2, 3},
                                   .machine = {64000000000, 8, 5e10, 1e12, 2e11, 1.25e9}};
static const es_link_options SHORT = {
    .rounds = 40, .rounds_ns = 500000000, .bulk_bytes = 4 << 20, .bulk_ns = 1000000000};

typedef struct server {
    pthread_t thread;
    es_net *net;
    es_responder *responder;
    es_endpoint at;
} server;

static void *serve(void *arg)
{
    es_err err = {.text = ""};
    return es_responder_run(((server *)arg)->responder, &err) == ES_OK ? NULL : arg;
}

static int start(void **state)
{
    static server s;
    es_err err = {.text = ""};
    es_endpoint any;
    const es_net_options plain = {.keys = NULL};
    *state = &s;
    if (es_signals_start(&err) != ES_OK || es_net_open(&plain, &s.net, &err) != ES_OK ||
        es_endpoint_parse_bind("127.0.0.1:0", &any, &err) != ES_OK ||
        es_responder_open(s.net, &any, &WHO, &s.responder, &s.at, &err) != ES_OK)
        return -1;
    return pthread_create(&s.thread, NULL, serve, &s);
}

static int stop(void **state)
{
    server *s = *state;
    void *failed;
    kill(getpid(), SIGTERM);
    pthread_join(s->thread, &failed);
    es_responder_close(&s->responder);
    es_net_close(&s->net);
    return failed == NULL ? 0 : -1;
}

static es_net *open_net(void)
{
    es_net *net;
    const es_net_options plain = {.keys = NULL};
    es_err err;
    assert_int_equal(es_net_open(&plain, &net, &err), ES_OK);
    return net;
}

static es_status measure(es_net *net, const es_endpoint *at, const es_link_options *options,
                         es_link_report *ret_report, es_err *err)
{
    es_prober *link;
    assert_int_equal(es_link_open(net, at, options, &link, err), ES_OK);
    es_status status = es_link_measure(link, ret_report, err);
    es_link_close(&link);
    return status;
}

static void a_link_on_loopback_is_measured(void **state)
{
    const server *s = *state;
    es_net *net = open_net();
    es_link_report r;
    es_err err = {.text = ""};
    if (measure(net, &s->at, &SHORT, &r, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(r.rounds, 40);
    assert_true(r.best_s > 0 && r.best_s <= r.round_trip_s && r.round_trip_s <= r.late_s && r.late_s < 1);
    assert_true(r.clock_ahead_s < 0.1 && r.clock_ahead_s > -0.1 && r.clock_error_s <= r.best_s);
    assert_true(r.to_bytes_per_s > 1e6 && r.from_bytes_per_s > 1e6);
    assert_true(r.path_mtu >= 1280);
    assert_string_equal(r.peer.name, "n1");
    assert_memory_equal(&r.peer.machine, &WHO.machine, sizeof WHO.machine);
    assert_memory_equal(r.peer.fingerprint, WHO.fingerprint, sizeof WHO.fingerprint);
    assert_true(r.loopback);
    es_net_close(&net);
}

static void eight_who_are_not_there_take_no_longer_than_one(void **state)
{
    (void)state;
    es_net *net = open_net();
    es_link_report r;
    es_endpoint nowhere;
    es_err err = {.text = ""};
    es_prober *link[8];
    uint64_t start_ns = es_clock_now_ns();
    assert_int_equal(es_endpoint_parse_connect("127.0.0.1:1", &nowhere, &err), ES_OK);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(es_link_open(net, &nowhere, &SHORT, &link[i], &err), ES_OK);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(es_link_measure(link[i], &r, &err), ES_UNAVAILABLE);
        assert_int_equal(r.rounds, 0);
        es_link_close(&link[i]);
    }
    assert_true(es_clock_now_ns() - start_ns < UINT64_C(6000000000)); /* for all of them */
    es_net_close(&net);
}

static void who_expects_keys_where_there_are_none_is_told_so(void **state)
{
    const server *s = *state;
    es_keys keys = {.secret = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
                    .public_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"};
    const es_net_options options = {.keys = &keys};
    es_link_options ask = SHORT;
    es_link_report r;
    es_net *net;
    es_err err = {.text = ""};
    ask.server_key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
    assert_int_equal(es_net_open(&options, &net, &err), ES_OK);
    es_status status = measure(net, &s->at, &ask, &r, &err);
    assert_true(status == ES_MISMATCH || status == ES_UNAVAILABLE);
    assert_int_equal(r.rounds, 0);
    es_net_close(&net);
}

/* A coordinator that mistakes a doctor for a node learns what it is. */
static void a_doctor_is_no_expert_node(void **state)
{
    const server *s = *state;
    static uint8_t frame[ES_CONTROL_FRAME_MAX];
    static const es_channel_limits LIMITS = {ES_CONTROL_FRAME_MAX, 8};
    es_net *net = open_net();
    es_channel *channel;
    es_control_memory *memory;
    es_control_reply reply;
    es_message message = {.count = 0};
    es_err err = {.text = ""};
    const es_control_request hello = {
        .coordinator = 7, .request = 3, .kind = ES_CONTROL_HELLO, .hello = {.name = "c"}};
    assert_int_equal(es_control_memory_create(&memory, &err), ES_OK);
    assert_int_equal(es_channel_connect(net, &s->at, NULL, &LIMITS, &channel, &err), ES_OK);
    for (int i = 0; i < 200 && es_channel_link(channel) != ES_LINK_UP; i++) usleep(10000);
    assert_true(es_message_add(&message, frame, es_control_request_pack(memory, &hello, frame)));
    assert_int_equal(es_channel_send(channel, &message, &err), ES_OK);
    es_status status = ES_TIMEOUT;
    for (int i = 0; i < 200 && status == ES_TIMEOUT; i++) {
        status = es_channel_receive(channel, &message, &err);
        if (status == ES_TIMEOUT) usleep(10000);
    }
    assert_int_equal(status, ES_OK);
    assert_int_equal(es_control_reply_unpack(memory, es_message_data(&message, 0),
                                             es_message_bytes(&message, 0), &reply, &err),
                     ES_OK);
    assert_int_equal(reply.status, ES_UNSUPPORTED);
    assert_int_equal(reply.request, 3);
    es_message_close(&message);
    es_channel_close(&channel);
    es_control_memory_destroy(&memory);
    es_net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_on_loopback_is_measured),
        cmocka_unit_test(eight_who_are_not_there_take_no_longer_than_one),
        cmocka_unit_test(who_expects_keys_where_there_are_none_is_told_so),
        cmocka_unit_test(a_doctor_is_no_expert_node),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
