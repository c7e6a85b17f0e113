/* Nodes that die, stall or lie: real processes that are stopped and killed, and a false node whose every
 * reply is scripted. With a copy elsewhere nothing shows; without, the call waits, and then says what is
 * missing. */
#include "dispatch/false_node.h"

#include "base/clock.h"
#include "base/log.h"
#include "experts/local_backend.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { POLL_MS = 20 };
static const uint64_t MS = 1000000, QUICK_NS = 5000000000u;

static void assert_says(es_err err, const char *what)
{
    if (strstr(err.text, what) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, what);
}

static void send_signal(const nodes *n, size_t node, int number)
{
    assert_int_equal(kill(es_process_id(n->process[node]), number), 0);
}

/* One call, without asking what came of it. */
static es_status call(es_swarm *swarm, const reference *r, size_t layer, const batch *b, es_err *err)
{
    es_expert_backend *backend = es_swarm_backend(swarm);
    int64_t *sum = calloc(b->rows.count * r->model->shape.hidden, sizeof *sum);
    es_status status = backend->start(backend, layer, &b->batch, err);
    if (status == ES_OK) status = backend->finish(backend, sum, err);
    free(sum);
    return status;
}

/* Tends the swarm until node is in this state. */
static void wait_for_state(es_swarm *swarm, size_t node, es_swarm_node_state wanted)
{
    uint64_t deadline_ns = es_clock_now_ns() + 4 * QUICK_NS;
    for (;;) {
        uint32_t again_ms = es_swarm_tend(swarm);
        if (es_swarm_node(swarm, node).state == wanted) return;
        assert_true(es_clock_now_ns() < deadline_ns);
        zmq_poll(NULL, 0, (long)again_ms / 4);
    }
}

static void a_node_killed_in_the_middle_is_named_and_may_come_back(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 3);
    es_swarm_options options = swarm_options(r, &n);
    options.wait_ms = 700;
    es_swarm *swarm = swarm_open(&options);
    es_expert_backend *backend = es_swarm_backend(swarm);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 7, 1);
    assert_swarm_equals(swarm, r, 1, &b);
    int64_t *sum = calloc(7 * r->model->shape.hidden, sizeof *sum);
    es_err err = {.text = ""};
    send_signal(&n, 1, SIGSTOP); /* so that it cannot answer before it dies */
    assert_int_equal(backend->start(backend, 2, &b.batch, &err), ES_OK);
    send_signal(&n, 1, SIGKILL);
    uint64_t start_ns = es_clock_now_ns();
    assert_int_equal(backend->finish(backend, sum, &err), ES_UNAVAILABLE);
    uint64_t took_ns = es_clock_now_ns() - start_ns;
    assert_true(took_ns > 600 * MS && took_ns < QUICK_NS);
    assert_says(err, "layer 2: expert ");
    assert_says(err, ": node n2 (");
    assert_says(err, n.control[1]);
    assert_says(err, "connection lost");
    assert_int_equal(es_swarm_node(swarm, 1).state, ES_SWARM_NODE_LOST);
    assert_int_equal(es_swarm_node(swarm, 0).state, ES_SWARM_NODE_UP);

    start_ns = es_clock_now_ns(); /* it has been gone for long enough: no more waiting */
    assert_int_equal(call(swarm, r, 3, &b, &err), ES_UNAVAILABLE);
    assert_true(es_clock_now_ns() - start_ns < 400 * MS);
    assert_says(err, "layer 3: expert ");

    nodes_restart(&n, 1, "2/3");
    wait_for_state(swarm, 1, ES_SWARM_NODE_UP);
    assert_swarm_equals(swarm, r, 2, &b);
    free(sum);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

typedef struct waker {
    nodes *n;
    size_t node;
    unsigned after_ms;
} waker;

static void *wake_main(void *arg)
{
    waker *w = arg;
    usleep(w->after_ms * 1000);
    kill(es_process_id(w->n->process[w->node]), SIGCONT);
    return NULL;
}

static void a_call_waits_for_a_node_that_stands_still(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 2);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 7, 1);
    assert_swarm_equals(swarm, r, 1, &b);
    send_signal(&n, 0, SIGSTOP);
    pthread_t thread;
    waker w = {&n, 0, 2500};
    assert_int_equal(pthread_create(&thread, NULL, wake_main, &w), 0);
    uint64_t start_ns = es_clock_now_ns();
    assert_swarm_equals(swarm, r, 1, &b);
    assert_true(es_clock_now_ns() - start_ns > 2000 * MS);
    pthread_join(thread, NULL);
    assert_int_equal(es_swarm_node(swarm, 0).lost, 1); /* it missed its heartbeats */
    assert_swarm_equals(swarm, r, 2, &b);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

/* Two nodes that hold everything each. */
static es_swarm *open_copies(const reference *r, nodes *n)
{
    nodes_add(n, "1/1", NULL);
    nodes_add(n, "1/1", NULL);
    es_swarm_options options = swarm_options(r, n);
    return swarm_open(&options);
}

static void make_history(es_swarm *swarm, const reference *r, const batch *b)
{
    for (size_t i = 0; i < 60; i++) assert_swarm_equals(swarm, r, FIRST_MOE_LAYER + i % 3, b);
}

static void a_copy_takes_over_from_a_node_that_is_killed(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    es_swarm *swarm = open_copies(r, &n);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 16, 1);
    make_history(swarm, r, &b);
    send_signal(&n, 1, SIGKILL);
    uint64_t start_ns = es_clock_now_ns();
    for (size_t i = 0; i < 30; i++) assert_swarm_equals(swarm, r, FIRST_MOE_LAYER + i % 3, &b);
    assert_true(es_clock_now_ns() - start_ns < QUICK_NS);
    wait_for_state(swarm, 1, ES_SWARM_NODE_LOST);
    nodes_restart(&n, 1, "1/1");
    wait_for_state(swarm, 1, ES_SWARM_NODE_UP);
    uint64_t before = es_swarm_node(swarm, 1).calls;
    start_ns = es_clock_now_ns();
    while (es_swarm_node(swarm, 1).calls ==
           before) { /* the quicker of the two is preferred: it may take a moment */
        make_history(swarm, r, &b);
        assert_true(es_clock_now_ns() - start_ns < 4 * QUICK_NS);
    }
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void a_copy_takes_over_from_a_node_that_stands_still(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    es_swarm *swarm = open_copies(r, &n);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 16, 2);
    make_history(swarm, r, &b);
    send_signal(&n, 0, SIGSTOP);
    uint64_t start_ns = es_clock_now_ns();
    while (es_swarm_node(swarm, 0).state != ES_SWARM_NODE_LOST) {
        assert_swarm_equals(swarm, r, 1, &b);
        assert_true(es_clock_now_ns() - start_ns < QUICK_NS);
    }
    send_signal(&n, 0, SIGCONT);
    wait_for_state(swarm, 0, ES_SWARM_NODE_UP);
    make_history(swarm, r, &b);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void what_nobody_holds_any_more_is_computed_here_if_allowed(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_start(&n, 2);
    es_expert_engine_options engine = {.kernels = r->kernels,
                                       .pool = r->pool,
                                       .row_format = ES_ROWS_Q8,
                                       .hidden = r->model->shape.hidden,
                                       .rows_max = BATCH_ROWS_MAX};
    es_err err;
    es_expert_backend *local;
    assert_int_equal(es_local_backend_create(r->model, &engine, &local, &err), ES_OK);
    es_swarm_options options = swarm_options(r, &n);
    options.local = local;
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 16, 3);
    assert_swarm_equals(swarm, r, 1, &b);
    send_signal(&n, 1, SIGKILL);
    for (size_t i = 0; i < 6; i++) assert_swarm_equals(swarm, r, FIRST_MOE_LAYER + i % 3, &b);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    local->destroy(&local);
    nodes_stop(&n);
}

static void nodes_come_and_go_while_it_runs(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_add(&n, "1/2", NULL);
    nodes_add(&n, "2/2", NULL);
    es_swarm_options options = swarm_options(r, &n);
    es_swarm *swarm = swarm_open(&options);
    batch b;
    es_err err;
    batch_fill(&b, r, ES_ROWS_Q8, 16, 4);
    assert_swarm_equals(swarm, r, 1, &b);
    nodes_add(&n, "1/1", NULL);
    assert_int_equal(es_swarm_set_nodes(swarm, n.list, 3, 1, &err), ES_OK);
    wait_for_state(swarm, 0, ES_SWARM_NODE_UP);
    assert_int_equal(es_swarm_node_count(swarm), 3);
    wait_for_state(swarm, 2, ES_SWARM_NODE_UP);
    make_history(swarm, r, &b);
    assert_int_equal(es_swarm_set_nodes(swarm, n.list + 2, 1, 2, &err), ES_OK);
    make_history(swarm, r, &b);
    assert_int_equal(es_swarm_node_count(swarm), 1);
    assert_string_equal(es_swarm_node(swarm, 0).endpoint, n.control[2]);
    const char *bad[] = {"nowhere"};
    assert_int_equal(es_swarm_set_nodes(swarm, bad, 1, 3, &err), ES_INVALID);
    assert_int_equal(es_swarm_set_nodes(swarm, bad, ES_SWARM_NODES_MAX + 1, 3, &err), ES_INVALID);
    make_history(swarm, r, &b);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    nodes_stop(&n);
}

static void a_node_ends_well_when_asked_to(void **state)
{
    (void)state;
    nodes n = {.count = 0};
    nodes_start(&n, 1);
    send_signal(&n, 0, SIGTERM);
    es_err err = {.text = ""};
    uint64_t deadline_ns = es_clock_now_ns() + QUICK_NS;
    while (es_process_check(n.process[0], &err) == ES_OK && es_clock_now_ns() < deadline_ns)
        zmq_poll(NULL, 0, POLL_MS);
    assert_says(err, "code 0");
    nodes_stop(&n);
}

static es_swarm *open_false(const reference *r, const false_node *f, const nodes *beside)
{
    char where[ES_ENDPOINT_TEXT_MAX];
    false_where(f, where);
    const char *list[] = {where, beside != NULL ? beside->list[0] : NULL};
    nodes none = {.count = 0};
    es_swarm_options options = swarm_options(r, &none);
    options.nodes = list;
    options.node_count = beside != NULL ? 2 : 1;
    options.deadline_ms = beside != NULL ? 0 : 400;
    options.wait_ms = 500;
    return swarm_open(&options);
}

static void a_copy_that_comes_back_takes_over_from_a_node_that_is_silent(void **state)
{
    const reference *r = *state;
    nodes n = {.count = 0};
    nodes_add(&n, "1/1", NULL);
    false_node *f = false_start(r, LIE_NONE);
    char where[ES_ENDPOINT_TEXT_MAX];
    false_where(f, where);
    es_swarm_options options = swarm_options(r, &n);
    const char *both[] = {n.list[0], where};
    options.nodes = both;
    options.node_count = 2;
    es_swarm *swarm = swarm_open(&options);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 3, 5);
    send_signal(&n, 0, SIGKILL);
    wait_for_state(swarm, 0, ES_SWARM_NODE_LOST);
    false_tell(f, LIE_SILENCE);
    es_expert_backend *backend = es_swarm_backend(swarm);
    int64_t *sum = calloc(b.rows.count * r->model->shape.hidden, sizeof *sum);
    int64_t *right = reference_sums(r, 1, &b);
    es_err err = {.text = ""};
    assert_int_equal(backend->start(backend, 1, &b.batch, &err), ES_OK); /* nobody else could */
    nodes_restart(&n, 0, "1/1");
    uint64_t start_ns = es_clock_now_ns();
    if (backend->finish(backend, sum, &err) != ES_OK) fail_msg("%s", err.text);
    assert_true(es_clock_now_ns() - start_ns < QUICK_NS); /* the longest deadline is half a minute */
    assert_memory_equal(sum, right, b.rows.count * r->model->shape.hidden * sizeof *sum);
    free(sum);
    free(right);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    false_stop(f);
    nodes_stop(&n);
}

static void late_and_repeated_replies_are_dropped(void **state)
{
    const reference *r = *state;
    false_node *f = false_start(r, LIE_STALE);
    es_swarm *swarm = open_false(r, f, NULL);
    es_expert_backend *backend = es_swarm_backend(swarm);
    size_t count = 3 * r->model->shape.hidden;
    int64_t *sum = calloc(count, sizeof *sum);
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 3, 1);
    for (unsigned round = 0; round < 5; round++) {
        es_err err = {.text = ""};
        memset(sum, 0, count * sizeof *sum);
        assert_int_equal(backend->start(backend, 1 + round % 3, &b.batch, &err), ES_OK);
        if (backend->finish(backend, sum, &err) != ES_OK) fail_msg("%s", err.text);
        for (size_t i = 0; i < count; i++) assert_true(sum[i] == 7);
    }
    free(sum);
    batch_free(&b);
    es_swarm_destroy(&swarm);
    false_stop(f);
}

/* What a node that lies is found out by, and what the error says when there is no other. */
static const struct {
    lie lie;
    es_status status;
    const char *text;
} LIES[] = {
    {LIE_SILENCE, ES_TIMEOUT, "did not answer within 400 ms"},
    {LIE_HEADER, ES_CORRUPT, "that are no header"},
    {LIE_CHECKSUM, ES_CORRUPT, "payload: checksum"},
    {LIE_SHORT, ES_CORRUPT, "payload: "},
    {LIE_ROWS, ES_CORRUPT, "reply of 4 rows"},
    {LIE_HUGE, ES_CORRUPT, "beyond 2^52"},
    {LIE_ONE_FRAME, ES_CORRUPT, "reply of 1 frames"},
    {LIE_FLOOD, ES_TIMEOUT, "did not answer within 400 ms"},
};
enum { LIE_CASES = sizeof LIES / sizeof LIES[0] };

static void lies_are_told_with_layer_expert_and_node(void **state)
{
    const reference *r = *state;
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 3, 1);
    for (size_t i = 0; i < LIE_CASES; i++) {
        false_node *f = false_start(r, LIES[i].lie);
        es_swarm *swarm = open_false(r, f, NULL);
        es_err err = {.text = ""};
        es_status status = call(swarm, r, 1, &b, &err);
        if (status != LIES[i].status) fail_msg("case %zu: status %d: %s", i, (int)status, err.text);
        assert_says(err, "layer 1: expert ");
        assert_says(err, ": node false (tcp://127.0.0.1:");
        assert_says(err, LIES[i].text);
        es_swarm_destroy(&swarm);
        false_stop(f);
    }
    batch_free(&b);
}

static void what_no_node_can_compute_fails_at_once(void **state)
{
    const reference *r = *state;
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 3, 1);
    false_node *f = false_start(r, LIE_ERROR);
    es_swarm *swarm = open_false(r, f, NULL);
    es_err err = {.text = ""};
    assert_int_equal(call(swarm, r, 1, &b, &err), ES_NUMERIC);
    assert_says(err, "layer 1: node false (tcp://127.0.0.1:");
    assert_says(err, "expert 3: value out of range");
    false_tell(f, LIE_NONE);
    assert_int_equal(call(swarm, r, 1, &b, &err), ES_OK);
    es_swarm_destroy(&swarm);
    false_stop(f);
    batch_free(&b);
}

/* One that says nothing is the worker that hangs while its I/O thread beats. */
static void a_copy_takes_over_from_a_node_that_lies(void **state)
{
    const reference *r = *state;
    batch b;
    batch_fill(&b, r, ES_ROWS_Q8, 16, 1);
    nodes n = {.count = 0};
    nodes_add(&n, "1/1", NULL);
    for (size_t i = 0; i < LIE_CASES; i++) {
        false_node *f = false_start(r, LIES[i].lie);
        es_swarm *swarm = open_false(r, f, &n);
        uint64_t start_ns = es_clock_now_ns();
        for (size_t layer = FIRST_MOE_LAYER; layer < LAYERS; layer++)
            assert_swarm_equals(swarm, r, layer, &b);
        while (es_swarm_node(swarm, 0).state == ES_SWARM_NODE_UP) {
            assert_swarm_equals(swarm, r, 1, &b);
            if (es_clock_now_ns() - start_ns > 2 * QUICK_NS) fail_msg("case %zu is not found out", i);
        }
        es_swarm_destroy(&swarm);
        false_stop(f);
    }
    nodes_stop(&n);
    batch_free(&b);
}

int main(void)
{
    reference r;
    reference_open(&r);
    es_log_configure("test_faults", ES_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(a_node_killed_in_the_middle_is_named_and_may_come_back, &r),
        cmocka_unit_test_prestate(a_call_waits_for_a_node_that_stands_still, &r),
        cmocka_unit_test_prestate(a_copy_takes_over_from_a_node_that_is_killed, &r),
        cmocka_unit_test_prestate(a_copy_takes_over_from_a_node_that_stands_still, &r),
        cmocka_unit_test_prestate(what_nobody_holds_any_more_is_computed_here_if_allowed, &r),
        cmocka_unit_test_prestate(nodes_come_and_go_while_it_runs, &r),
        cmocka_unit_test_prestate(a_node_ends_well_when_asked_to, &r),
        cmocka_unit_test_prestate(a_copy_that_comes_back_takes_over_from_a_node_that_is_silent, &r),
        cmocka_unit_test_prestate(late_and_repeated_replies_are_dropped, &r),
        cmocka_unit_test_prestate(lies_are_told_with_layer_expert_and_node, &r),
        cmocka_unit_test_prestate(what_no_node_can_compute_fails_at_once, &r),
        cmocka_unit_test_prestate(a_copy_takes_over_from_a_node_that_lies, &r),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    reference_close(&r);
    return failed;
}
