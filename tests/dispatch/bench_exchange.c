/* What the exchange itself costs: a layer call to a node that computes nothing, against a bare ZeroMQ
 * ping-pong with the same frame sizes, block by block in turn. Prints JSON, plain and with CURVE. The node is
 * a process of its own. */
#include "base/clock.h"
#include "dispatch/swarm.h"
#include "net/channel.h"
#include "net/control.h"
#include "net/crc32c.h"
#include "net/sums.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HIDDEN = 7168, EXPERTS = 8, BLOCKS = 20, BLOCK = 200, CALLS = BLOCKS * BLOCK, QUEUE = 8, WIDTH = 3 };

static const es_shape SHAPE = {.layers = 1,
                               .moe_layer_freq = 1,
                               .experts = EXPERTS,
                               .experts_per_token = EXPERTS,
                               .expert_intermediate = 2048,
                               .hidden = HIDDEN};
static const uint8_t FINGERPRINT[ES_FINGERPRINT_BYTES] = {1};

static void must(es_status status, const es_err *err)
{
    if (status == ES_OK) return;
    fprintf(stderr, "bench_exchange: %s\n", err->text);
    exit(1);
}

/* The other side's sockets. */
typedef struct peer {
    bool curve;
    es_keys keys[2]; /* ours, the node's */
    char allow[64];
    es_endpoint control, data, ping;
} peer;

static void *open_ping(void *context, const peer *p, bool server)
{
    void *socket = zmq_socket(context, server ? ZMQ_ROUTER : ZMQ_DEALER);
    int on = 1;
    if (p->curve) {
        const es_keys *own = &p->keys[server ? 1 : 0];
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret, ES_KEY_TEXT_BYTES);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own->public_key, ES_KEY_TEXT_BYTES);
        if (server) zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on);
        if (!server) zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, p->keys[1].public_key, ES_KEY_TEXT_BYTES);
    }
    return socket;
}

static void serve_control(es_channel *control, es_control_memory *memory, const peer *p, uint8_t *frame)
{
    static const es_units ALL = {0, 0, EXPERTS, 0, 1};
    es_message asked;
    es_control_request request;
    es_err err;
    if (es_channel_receive(control, &asked, NULL) != ES_OK) return;
    must(es_control_request_unpack(memory, es_message_data(&asked, 1), es_message_bytes(&asked, 1), &request,
                                   &err),
         &err);
    es_control_reply reply = {.text = "", .request = request.request, .kind = ES_CONTROL_HELLO};
    reply.hello = (es_hello_reply){.name = "empty",
                                   .data_port = p->data.port,
                                   .units = &ALL,
                                   .unit_count = 1,
                                   .threads = 1,
                                   .rows_max = ES_STEP_ROWS_MAX,
                                   .row_formats = {true, true}};
    memcpy(reply.hello.fingerprint, FINGERPRINT, sizeof FINGERPRINT);
    size_t bytes;
    es_message out = {.count = 0};
    must(es_control_reply_pack(memory, &reply, frame, &bytes, &err), &err);
    es_message_add(&out, es_message_data(&asked, 0), es_message_bytes(&asked, 0));
    es_message_add(&out, frame, bytes);
    es_message_close(&asked);
    es_channel_send(control, &out, NULL);
}

/* As the service does, but for the computing. True: there was a request. */
static bool serve_data(es_channel *data, es_wire_memory *memory, const int64_t *sum, uint8_t *frame)
{
    es_message asked;
    es_wire_request request;
    es_err err;
    if (es_channel_receive(data, &asked, NULL) != ES_OK) return false;
    must(es_wire_request_unpack(memory, es_message_data(&asked, 1), es_message_bytes(&asked, 1), &request,
                                &err),
         &err);
    must(es_wire_payload_check(request.rows, es_rows_row_bytes(ES_ROWS_Q8, HIDDEN), request.payload_crc32c,
                               es_message_data(&asked, 2), es_message_bytes(&asked, 2), &err),
         &err);
    es_wire_reply reply = {
        .ids = request.ids, .text = "", .rows = request.rows, .cols = HIDDEN, .width = WIDTH};
    es_message out = {.count = 0};
    zmq_msg_t payload;
    zmq_msg_init_size(&payload, request.rows * HIDDEN * WIDTH);
    es_sums_pack(sum, request.rows * HIDDEN, WIDTH, zmq_msg_data(&payload));
    reply.payload_crc32c = es_crc32c(zmq_msg_data(&payload), request.rows * HIDDEN * WIDTH);
    es_message_add(&out, es_message_data(&asked, 0), es_message_bytes(&asked, 0));
    es_message_add(&out, frame, es_wire_reply_pack(&reply, frame, ES_WIRE_HEADER_MAX));
    out.frame[out.count++] = payload;
    es_message_close(&asked);
    es_channel_send(data, &out, NULL);
    return true;
}

/* A reply of the layer call's sizes: the asker's frame, header, payload. */
static void serve_ping(void *socket)
{
    zmq_msg_t frame[3];
    for (int i = 0; i < 3; i++) {
        zmq_msg_init(&frame[i]);
        zmq_msg_recv(&frame[i], socket, 0);
    }
    size_t header = zmq_msg_size(&frame[1]);
    zmq_msg_close(&frame[1]);
    zmq_msg_close(&frame[2]);
    zmq_msg_init_size(&frame[1], header);
    zmq_msg_init_size(&frame[2], HIDDEN * WIDTH);
    for (int i = 0; i < 3; i++) zmq_msg_send(&frame[i], socket, i < 2 ? ZMQ_SNDMORE : 0);
}

static void run_node(peer *p, int told)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    es_net *net;
    es_allow_list *allowed = NULL;
    es_channel *control, *data;
    es_control_memory *control_memory;
    es_wire_memory *memory;
    es_err err;
    es_endpoint any;
    es_channel_limits limits = {1 << 24, QUEUE};
    if (p->curve) must(es_allow_list_load(p->allow, &allowed, &err), &err);
    es_net_options options = {p->curve ? &p->keys[1] : NULL, allowed};
    must(es_net_open(&options, &net, &err), &err);
    must(es_endpoint_parse_bind("127.0.0.1:0", &any, &err), &err);
    must(es_channel_bind(net, &any, &limits, &control, &p->control, &err), &err);
    must(es_channel_bind(net, &any, &limits, &data, &p->data, &err), &err);
    must(es_control_memory_create(&control_memory, &err), &err);
    must(es_wire_memory_create(&memory, &err), &err);
    void *ping = open_ping(zmq_ctx_new(), p, true);
    char where[ES_ENDPOINT_TEXT_MAX];
    size_t bytes = sizeof where;
    zmq_bind(ping, "tcp://127.0.0.1:*");
    zmq_getsockopt(ping, ZMQ_LAST_ENDPOINT, where, &bytes);
    must(es_endpoint_parse_connect(where, &p->ping, &err), &err);
    if (write(told, p, sizeof *p) != sizeof *p) exit(1);
    uint8_t *frame = malloc(ES_CONTROL_FRAME_MAX);
    int64_t *sum = calloc(HIDDEN, sizeof *sum);
    uint64_t awake_until_ns = 0;
    for (;;) {
        if (serve_data(data, memory, sum, frame)) awake_until_ns = es_clock_now_ns() + 50000;
        if (es_clock_now_ns() < awake_until_ns) continue;
        zmq_pollitem_t items[] = {{es_channel_socket(control), 0, ZMQ_POLLIN, 0},
                                  {es_channel_socket(data), 0, ZMQ_POLLIN, 0},
                                  {ping, 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, 3, -1);
        if ((items[0].revents & ZMQ_POLLIN) != 0) serve_control(control, control_memory, p, frame);
        if ((items[2].revents & ZMQ_POLLIN) != 0) serve_ping(ping);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void ping_once(void *socket, size_t header, size_t row_bytes)
{
    zmq_msg_t frame[2];
    zmq_msg_init_size(&frame[0], 0);
    zmq_msg_close(&frame[0]);
    zmq_msg_init_size(&frame[0], header);
    zmq_msg_init_size(&frame[1], row_bytes);
    for (int i = 0; i < 2; i++) zmq_msg_send(&frame[i], socket, i == 0 ? ZMQ_SNDMORE : 0);
    for (int i = 0; i < 2; i++) {
        zmq_msg_init(&frame[i]);
        zmq_msg_recv(&frame[i], socket, 0);
        zmq_msg_close(&frame[i]);
    }
}

static void measure(const peer *p, const char *name, bool last)
{
    static double call_us[CALLS], ping_us[CALLS];
    static int64_t sum[HIDDEN];
    es_err err;
    char where[ES_ENDPOINT_TEXT_MAX], listed[2 * ES_ENDPOINT_TEXT_MAX];
    es_endpoint_format(&p->control, where);
    snprintf(listed, sizeof listed, p->curve ? "%s,%s" : "%s", where, p->keys[1].public_key);
    const char *nodes[] = {listed};
    es_swarm_options options = {.nodes = nodes,
                                .node_count = 1,
                                .name = "bench",
                                .shape = &SHAPE,
                                .fingerprint = FINGERPRINT,
                                .row_format = ES_ROWS_Q8,
                                .rows_max = 1,
                                .keys = p->curve ? &p->keys[0] : NULL};
    es_swarm *swarm;
    must(es_swarm_create(&options, &swarm, &err), &err);
    es_expert_backend *backend = es_swarm_backend(swarm);
    void *context = zmq_ctx_new(), *ping = open_ping(context, p, false);
    es_endpoint_format(&p->ping, where);
    zmq_connect(ping, where);
    size_t row_bytes = es_rows_row_bytes(ES_ROWS_Q8, HIDDEN);
    es_rows rows = {.format = ES_ROWS_Q8,
                    .count = 1,
                    .cols = HIDDEN,
                    .row_bytes = row_bytes,
                    .data = calloc(1, row_bytes)};
    uint32_t first[] = {0, EXPERTS}, expert[EXPERTS];
    float weight[EXPERTS];
    for (uint32_t e = 0; e < EXPERTS; e++) expert[e] = e, weight[e] = 1;
    es_expert_batch batch = {.rows = &rows, .pair_first = first, .expert = expert, .weight = weight};
    size_t header = 100; /* about what the headers of such a call have */
    for (int block = -1; block < BLOCKS; block++)
        for (int i = 0; i < 2 * BLOCK; i++) {
            uint64_t start_ns = es_clock_now_ns();
            if (i < BLOCK) {
                must(backend->start(backend, 0, &batch, &err), &err);
                must(backend->finish(backend, sum, &err), &err);
            } else {
                ping_once(ping, header, row_bytes);
            }
            double us = (double)(es_clock_now_ns() - start_ns) * 1e-3;
            if (block >= 0) (i < BLOCK ? call_us : ping_us)[block * BLOCK + i % BLOCK] = us;
        }
    qsort(call_us, CALLS, sizeof *call_us, by_value);
    qsort(ping_us, CALLS, sizeof *ping_us, by_value);
    printf("  \"%s\": {\"call_us\": {\"median\": %.1f, \"p99\": %.1f}, \"ping_pong_us\": {\"median\": %.1f, "
           "\"p99\": %.1f}, "
           "\"ratio_of_medians\": %.2f, \"limit\": 1.5}%s\n",
           name, call_us[CALLS / 2], call_us[CALLS * 99 / 100], ping_us[CALLS / 2], ping_us[CALLS * 99 / 100],
           call_us[CALLS / 2] / ping_us[CALLS / 2], last ? "" : ",");
    free(rows.data);
    zmq_close(ping);
    zmq_ctx_term(context);
    es_swarm_destroy(&swarm);
}

static void run(bool curve)
{
    peer p = {.curve = curve};
    int told[2];
    es_err err;
    char folder[] = "bench-exchange-XXXXXX", path[64];
    if (curve) {
        if (mkdtemp(folder) == NULL) exit(1);
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/%d", folder, i);
            must(es_keys_generate(path, &p.keys[i], &err), &err);
        }
        snprintf(p.allow, sizeof p.allow, "%s/0.pub", folder);
    }
    if (pipe(told) != 0) exit(1);
    pid_t child = fork();
    if (child == 0) run_node(&p, told[1]);
    if (read(told[0], &p, sizeof p) != sizeof p) exit(1);
    measure(&p, curve ? "curve" : "plain", curve);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    for (int i = 0; i < 4 && curve; i++) {
        snprintf(path, sizeof path, i % 2 == 0 ? "%s/%d" : "%s/%d.pub", folder, i / 2);
        unlink(path);
    }
    if (curve) rmdir(folder);
}

int main(void)
{
    printf("{\"cores\": %ld, \"hidden\": %d, \"calls\": %d,\n", sysconf(_SC_NPROCESSORS_ONLN), HIDDEN, CALLS);
    fflush(stdout);
    run(false);
    fflush(stdout);
    run(true);
    puts("}");
    return 0;
}
