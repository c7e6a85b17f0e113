/* Real nodes whose units change while requests flow: what is held is computed right, what is not is refused,
 * and the slices of several nodes are the expert. */
#include "base/clock.h"
#include "base/process.h"
#include "net/channel.h"
#include "net/control.h"
#include "net/crc32c.h"
#include "net/sums.h"
#include "units/store_fixture.h"
#include "with_cmocka.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_MS = 20000, ROWS = 3, EXPERTS = 8, LAYER = 1, COORDINATOR = 77, ROUNDS = 30, ARGS_MAX = 24 };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

/* wide-v3 in this process: what every answer is held against. */
static es_model *model;
static const es_kernels *kernels;

static int open_model(void **state)
{
    (void)state;
    es_model_parts parts = {.all_experts = true};
    MUST(es_model_open(wide_v3(), &parts, NULL, NULL, &model, &must_err));
    MUST(es_kernels_select(NULL, &kernels, &must_err));
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    es_model_close(&model);
    return 0;
}

/* A node, and a coordinator's sockets to it. */
typedef struct node {
    es_process *process;
    es_net *net;
    es_channel *control, *data;
    es_control_memory *memory;
    es_wire_memory *wire;
    uint8_t frame[ES_CONTROL_FRAME_MAX];
} node;

static es_process *start_process(const char *const *more)
{
    const char *argv[ARGS_MAX] = {ESSAIM_NODE_PROGRAM, "--listen", "127.0.0.1:0", "--threads", "1", NULL};
    size_t args = 5;
    for (; *more != NULL; more++) argv[args++] = *more;
    es_process_options options = {.argv = argv, .ready = true};
    es_process *process;
    MUST(es_process_start(&options, &process, &must_err));
    return process;
}

static es_channel *connect_to(es_net *net, const char *line, const char *key)
{
    char where[ES_ENDPOINT_TEXT_MAX];
    const char *at = strstr(line, key);
    assert_non_null(at);
    at += strlen(key);
    snprintf(where, sizeof where, "%.*s", (int)strcspn(at, " "), at);
    es_endpoint endpoint;
    es_channel *channel;
    es_channel_limits limits = {1 << 24, 1000};
    MUST(es_endpoint_parse_connect(where, &endpoint, &must_err));
    MUST(es_channel_connect(net, &endpoint, NULL, &limits, &channel, &must_err));
    return channel;
}

static es_control_reply ask(node *n, const es_control_request *request)
{
    es_message out = {.count = 0}, in;
    es_control_reply reply;
    assert_true(es_message_add(&out, n->frame, es_control_request_pack(n->memory, request, n->frame)));
    zmq_pollitem_t item = {es_channel_socket(n->control), 0, ZMQ_POLLOUT, 0};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    MUST(es_channel_send(n->control, &out, &must_err));
    item.events = ZMQ_POLLIN;
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    MUST(es_channel_receive(n->control, &in, &must_err));
    MUST(es_control_reply_unpack(n->memory, es_message_data(&in, 0), es_message_bytes(&in, 0), &reply,
                                 &must_err));
    static char text[ES_ERR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", reply.text);
    reply.text = text; /* the message's own is closed with it */
    es_message_close(&in);
    return reply;
}

static es_control_reply say_hello(node *n)
{
    es_control_request hello = {
        .coordinator = COORDINATOR, .kind = ES_CONTROL_HELLO, .hello = {.name = "test"}};
    memcpy(hello.hello.fingerprint, model->fingerprint, ES_FINGERPRINT_BYTES);
    return ask(n, &hello);
}

static node *node_start(const char *const *more)
{
    node *n = calloc(1, sizeof *n);
    char line[ES_PROCESS_LINE_MAX];
    es_net_options plain = {NULL, NULL};
    n->process = start_process(more);
    MUST(es_process_wait_ready(n->process, es_clock_now_ns() + 60000000000u, -1, line, &must_err));
    MUST(es_net_open(&plain, &n->net, &must_err));
    n->control = connect_to(n->net, line, "control=");
    n->data = connect_to(n->net, line, "data=");
    MUST(es_control_memory_create(&n->memory, &must_err));
    MUST(es_wire_memory_create(&n->wire, &must_err));
    return n;
}

static void node_stop(node *n)
{
    es_channel_close(&n->control);
    es_channel_close(&n->data);
    es_net_close(&n->net);
    es_control_memory_destroy(&n->memory);
    es_wire_memory_destroy(&n->wire);
    es_process_stop(&n->process, WAIT_MS);
    free(n);
}

static es_control_reply change(node *n, es_control_kind kind, uint64_t epoch, es_units units)
{
    return ask(n, &(es_control_request){
                      .coordinator = COORDINATOR, .kind = kind, .change = {epoch, &units, 1, NULL, 0, NULL}});
}

static es_node_state settled(node *n)
{
    for (uint64_t until_ns = es_clock_now_ns() + (uint64_t)WAIT_MS * 1000000; es_clock_now_ns() < until_ns;) {
        es_control_reply reply = ask(n, &(es_control_request){.coordinator = 1, .kind = ES_CONTROL_STATE});
        assert_int_equal(reply.status, ES_OK);
        if (reply.state.phase == ES_NODE_READY || reply.state.failure[0] != '\0') return reply.state;
    }
    fail_msg("not settled within %d ms", WAIT_MS);
    return (es_node_state){.epoch = 0};
}

static void change_and_settle(node *n, es_control_kind kind, uint64_t epoch, es_units units)
{
    es_control_reply reply = change(n, kind, epoch, units);
    if (reply.status != ES_OK) fail_msg("%s", reply.text);
    es_node_state state = settled(n);
    if (state.phase != ES_NODE_READY) fail_msg("%s", state.failure);
    assert_int_equal(state.epoch, epoch);
}

/* ROWS rows, each of two experts. */
typedef struct request {
    es_rows rows;
    uint32_t pairs_per_row[ROWS], expert[2 * ROWS], chunks[2 * ROWS], first[ROWS + 1];
    float weight[2 * ROWS];
} request;

static void request_make(request *q, uint32_t expert, uint32_t other)
{
    size_t cols = model->shape.hidden;
    unsigned seed = 11;
    q->rows = (es_rows){ES_ROWS_Q8, ROWS, cols, es_rows_row_bytes(ES_ROWS_Q8, cols), NULL, NULL};
    q->rows.data = calloc(ROWS, q->rows.row_bytes);
    q->first[0] = 0;
    for (uint32_t r = 0; r < ROWS; r++) {
        float x[1024];
        uint8_t *at = q->rows.data + r * q->rows.row_bytes;
        for (size_t c = 0; c < cols; c++) x[c] = (float)(rand_r(&seed) % 2001) / 1000.0f - 1.0f;
        assert_true(kernels->quantise(x, cols, (int8_t *)at, (float *)(void *)(at + (cols + 3) / 4 * 4)));
        q->pairs_per_row[r] = 2;
        q->expert[2 * r] = expert;
        q->expert[2 * r + 1] = other;
        q->weight[2 * r] = 0.4f;
        q->weight[2 * r + 1] = -0.7f - (float)r;
        q->first[r + 1] = 2 * (r + 1);
    }
}

static int64_t *whole_sums(const request *q)
{
    es_pool *pool;
    es_expert_engine *engine;
    const es_shape *s = &model->shape;
    MUST(es_pool_create(1, &pool, &must_err));
    const es_expert_engine_options options = {kernels, pool, ES_ROWS_Q8, s->hidden, s->expert_intermediate,
                                              ROWS,    2};
    MUST(es_expert_engine_create(&options, &engine, &must_err));
    int64_t *sum = calloc(ROWS * s->hidden, sizeof *sum);
    MUST(es_expert_engine_run(engine, model->layers[LAYER].experts, s->experts,
                              &(es_expert_batch){&q->rows, q->first, q->expert, q->weight}, sum, &must_err));
    es_expert_engine_destroy(&engine);
    es_pool_destroy(&pool);
    return sum;
}

/* Asks for the request's experts, or for some chunks of each (count 0: whole), and adds what comes into sum.
 * text, when not NULL, gets the words of an error. */
static es_status compute(node *n, const request *q, es_chunks chunks, uint64_t epoch, int64_t *sum,
                         char *text)
{
    es_message out = {.count = 0}, in;
    es_wire_reply reply;
    uint32_t each[2 * ROWS];
    for (size_t p = 0; p < 2 * ROWS; p++) each[p] = es_chunks_code(chunks);
    const es_wire_request asked = {.ids = {COORDINATOR, 5, epoch, LAYER, 0},
                                   .row_format = ES_ROWS_Q8,
                                   .rows = ROWS,
                                   .cols = q->rows.cols,
                                   .pairs = 2 * ROWS,
                                   .pairs_per_row = q->pairs_per_row,
                                   .expert = q->expert,
                                   .weight = q->weight,
                                   .chunks = chunks.count > 0 ? each : NULL,
                                   .payload_crc32c = es_crc32c(q->rows.data, ROWS * q->rows.row_bytes)};
    assert_true(es_message_add(&out, n->frame, es_wire_request_pack(&asked, n->frame, sizeof n->frame)));
    assert_true(es_message_add(&out, q->rows.data, ROWS * q->rows.row_bytes));
    zmq_pollitem_t item = {es_channel_socket(n->data), 0, ZMQ_POLLOUT, 0};
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    MUST(es_channel_send(n->data, &out, &must_err));
    item.events = ZMQ_POLLIN;
    assert_int_equal(zmq_poll(&item, 1, WAIT_MS), 1);
    MUST(es_channel_receive(n->data, &in, &must_err));
    MUST(es_wire_reply_unpack(n->wire, es_message_data(&in, 0), es_message_bytes(&in, 0), &reply, &must_err));
    if (text != NULL) snprintf(text, ES_ERR_TEXT_MAX, "%s", reply.text);
    if (reply.status == ES_OK) {
        assert_true(es_sums_within_limit(es_message_data(&in, 1), ROWS * q->rows.cols, reply.width));
        es_sums_add(es_message_data(&in, 1), ROWS * q->rows.cols, reply.width, sum);
    }
    es_message_close(&in);
    return reply.status;
}

static void check_same(const int64_t *a, const int64_t *b)
{
    assert_memory_equal(a, b, ROWS * model->shape.hidden * sizeof *a);
}

static int64_t *no_sums(void)
{
    return calloc(ROWS * model->shape.hidden, sizeof(int64_t));
}

static void the_slices_of_several_nodes_are_the_expert(void **state)
{
    (void)state;
    char folder[TEST_PATH_MAX], shards[TEST_PATH_MAX], second[TEST_PATH_MAX + 32], text[ES_ERR_TEXT_MAX];
    folder_make(folder);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 3, folder, shards);
    snprintf(second, sizeof second, "%s/experts-02-of-03.shard", shards);
    /* the first takes two slices of the model's own files when told, the other has a shard with the third */
    node *a = node_start((const char *[]){"--model", wide_v3(), "--part", "none", NULL});
    node *b = node_start((const char *[]){"--shard", second, NULL});
    request q;
    request_make(&q, 3, 6);
    int64_t *want = whole_sums(&q), *sum = no_sums();
    es_control_reply hello = say_hello(a);
    assert_int_equal(hello.status, ES_OK);
    assert_int_equal(hello.hello.unit_count, 0);
    assert_int_equal(hello.hello.state.phase, ES_NODE_READY);
    assert_true(hello.hello.read_bytes_per_s > 100000000);
    assert_in_range(hello.hello.numa_nodes, 1, 1024);
    assert_int_equal(compute(a, &q, (es_chunks){0, 1}, 9, sum, text), ES_NOT_HERE);
    assert_string_equal(
        text, "layer 1: expert 3 is not held here in all the chunks asked for (epoch 0.0 here, 0.9 asked)");
    change_and_settle(a, ES_CONTROL_LOAD, 4, (es_units){LAYER, 0, EXPERTS, 0, 3});
    change_and_settle(a, ES_CONTROL_LOAD, 4, (es_units){LAYER, 0, EXPERTS, 2, 3});
    hello = say_hello(a);
    assert_int_equal(hello.hello.epoch, 4);
    assert_int_equal(hello.hello.unit_count, 2);
    hello = say_hello(b);
    assert_int_equal(hello.hello.unit_count, 2); /* two layers */
    assert_int_equal(hello.hello.units[0].slice, 1);
    assert_int_equal(hello.hello.units[0].slices, 3);
    assert_int_equal(compute(a, &q, (es_chunks){0, 1}, 4, sum, NULL), ES_OK);
    assert_int_equal(compute(a, &q, (es_chunks){2, 1}, 4, sum, NULL), ES_OK);
    assert_int_equal(compute(a, &q, (es_chunks){0, 0}, 4, sum, text), ES_NOT_HERE);
    assert_int_equal(compute(b, &q, (es_chunks){1, 1}, 4, sum, NULL), ES_OK);
    check_same(sum, want);
    assert_int_equal(compute(b, &q, (es_chunks){1, 3}, 4, sum, text), ES_INVALID);
    assert_string_equal(text, "layer 1: expert 3: chunks 1 to 3, but it has 3");
    /* held in pieces, the first computes whole experts too */
    change_and_settle(a, ES_CONTROL_LOAD, 5, (es_units){LAYER, 2, 5, 1, 3});
    memset(sum, 0, ROWS * model->shape.hidden * sizeof *sum);
    assert_int_equal(compute(a, &q, (es_chunks){0, 0}, 5, sum, NULL), ES_OK);
    check_same(sum, want);
    free(want);
    free(sum);
    free(q.rows.data);
    node_stop(a);
    node_stop(b);
    folder_remove(folder);
}

/* A coordinator that asks without pause, on a socket of its own, while units change. */
typedef struct load {
    node *n;
    request kept, moved;
    int64_t *kept_sums, *moved_sums;
    atomic_bool stop;
    atomic_size_t right, not_here, wrong;
} load;

static void *ask_on(void *context)
{
    load *l = context;
    int64_t *sum = no_sums();
    size_t bytes = ROWS * model->shape.hidden * sizeof *sum;
    while (!atomic_load(&l->stop)) {
        memset(sum, 0, bytes);
        bool good = compute(l->n, &l->kept, (es_chunks){0, 0}, 0, sum, NULL) == ES_OK &&
                    memcmp(sum, l->kept_sums, bytes) == 0;
        memset(sum, 0, bytes);
        es_status status = compute(l->n, &l->moved, (es_chunks){0, 0}, 0, sum, NULL);
        good = good && (status == ES_OK ? memcmp(sum, l->moved_sums, bytes) == 0 : status == ES_NOT_HERE);
        if (!good) atomic_fetch_add(&l->wrong, 1);
        atomic_fetch_add(status == ES_OK ? &l->right : &l->not_here, 1);
    }
    free(sum);
    return NULL;
}

/* For another thread: the same data socket, which only it uses, and a frame of its own. */
static node *data_side(const node *n)
{
    node *side = malloc(sizeof *side);
    *side = *n;
    return side;
}

static void units_change_under_a_load(const char *const *source)
{
    node *n = node_start(source);
    load l = {.n = data_side(n)};
    request_make(&l.kept, 0, 1);
    request_make(&l.moved, 2, 7);
    l.kept_sums = whole_sums(&l.kept);
    l.moved_sums = whole_sums(&l.moved);
    assert_int_equal(say_hello(n).status, ES_OK);
    change_and_settle(n, ES_CONTROL_LOAD, 1, (es_units){LAYER, 0, 2, 0, 1});
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, ask_on, &l), 0);
    uint64_t epoch = 2;
    for (int round = 0; round < ROUNDS; round++) {
        change_and_settle(n, ES_CONTROL_LOAD, epoch++, (es_units){LAYER, 2, 6, 0, 1});
        size_t before = atomic_load(&l.right);
        while (atomic_load(&l.right) == before) settled(n);
        change_and_settle(n, ES_CONTROL_DROP, epoch++, (es_units){LAYER, 2, 6, 0, 1});
        before = atomic_load(&l.not_here);
        while (atomic_load(&l.not_here) == before) settled(n);
    }
    atomic_store(&l.stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&l.wrong), 0);
    assert_int_equal(change(n, ES_CONTROL_LOAD, epoch - 2, (es_units){LAYER, 2, 1, 0, 1}).status, ES_STALE);
    free(l.kept_sums);
    free(l.moved_sums);
    free(l.kept.rows.data);
    free(l.moved.rows.data);
    free(l.n);
    node_stop(n);
}

static void a_checkpoints_experts_come_and_go_while_requests_flow(void **state)
{
    (void)state;
    units_change_under_a_load((const char *[]){"--model", wide_v3(), "--part", "none", NULL});
}

static void shards_experts_come_and_go_while_requests_flow(void **state)
{
    (void)state;
    char folder[TEST_PATH_MAX], shards[TEST_PATH_MAX];
    folder_make(folder);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 2, folder, shards);
    units_change_under_a_load((const char *[]){"--shard", shards, "--part", "none", NULL});
    folder_remove(folder);
}

static void a_node_that_drains_takes_nothing_new_and_says_so(void **state)
{
    (void)state;
    char text[ES_ERR_TEXT_MAX];
    node *n = node_start((const char *[]){"--model", wide_v3(), "--part", "1/2", NULL});
    request q;
    request_make(&q, 0, 1);
    int64_t *sum = no_sums();
    const es_control_request drain = {.coordinator = COORDINATOR, .kind = ES_CONTROL_DRAIN};
    es_control_reply reply = ask(n, &drain);
    assert_int_equal(reply.status, ES_MISMATCH); /* nobody who has not said hello */
    assert_int_equal(say_hello(n).hello.state.phase, ES_NODE_READY);
    assert_int_equal(compute(n, &q, (es_chunks){0, 0}, 0, sum, NULL), ES_OK);
    for (int again = 0; again < 2; again++) {
        reply = ask(n, &drain);
        assert_int_equal(reply.status, ES_OK);
        assert_int_equal(reply.state.phase, ES_NODE_DRAINING);
    }
    assert_int_equal(compute(n, &q, (es_chunks){0, 0}, 0, sum, text), ES_UNAVAILABLE);
    assert_string_equal(text, "draining: it takes no new requests");
    assert_int_equal(say_hello(n).hello.state.phase, ES_NODE_DRAINING);
    assert_int_equal(change(n, ES_CONTROL_LOAD, 1, (es_units){LAYER, 4, 1, 0, 1}).status, ES_UNAVAILABLE);
    free(sum);
    free(q.rows.data);
    node_stop(n);
}

static void a_node_without_memory_says_what_it_lacks_and_is_never_ready(void **state)
{
    (void)state;
    es_process *process =
        start_process((const char *[]){"--model", wide_v3(), "--part", "1/2", "--memory", "1M", NULL});
    char line[ES_PROCESS_LINE_MAX];
    es_err err = {.text = ""};
    assert_int_equal(es_process_wait_ready(process, es_clock_now_ns() + 60000000000u, -1, line, &err),
                     ES_NO_MEMORY);
    assert_non_null(strstr(err.text, "more are asked for: "));
    assert_non_null(strstr(err.text, "over --memory (0.001 GB)"));
    es_process_stop(&process, WAIT_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slices_of_several_nodes_are_the_expert),
        cmocka_unit_test(a_checkpoints_experts_come_and_go_while_requests_flow),
        cmocka_unit_test(shards_experts_come_and_go_while_requests_flow),
        cmocka_unit_test(a_node_that_drains_takes_nothing_new_and_says_so),
        cmocka_unit_test(a_node_without_memory_says_what_it_lacks_and_is_never_ready),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
