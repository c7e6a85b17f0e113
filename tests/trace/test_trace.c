/* Spans in, spans out: order, limits, what is forgotten, and a reader beside the writer. */
#include "trace/trace.h"
#include "with_cmocka.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROOM = 1000, PER_STEP = 40, STEPS = 4000 };

static es_trace *made(void)
{
    es_trace *trace;
    assert_int_equal(es_trace_create(&trace, NULL), ES_OK);
    return trace;
}

static void record_step(es_trace *trace, uint64_t step, size_t spans)
{
    uint64_t start_ns = es_trace_begin(trace, step), at_ns = start_ns;
    for (size_t i = 1; i < spans; i++) at_ns = es_trace_mark(trace, ES_STAGE_ROUTER, i, at_ns);
    es_trace_end(trace, start_ns, 3, 2);
}

static void nothing_is_recorded_without_a_trace(void **state)
{
    (void)state;
    assert_int_equal(es_trace_begin(NULL, 1) + es_trace_now(NULL) + es_trace_mark(NULL, ES_STAGE_HEAD, 0, 0),
                     0);
    es_trace_call(NULL, 0, 0, 0, 0, 0);
    es_trace_end(NULL, 0, 0, 0);
    assert_int_equal(es_trace_node(NULL, "n1", "e"), 0);
}

static void a_step_is_seen_when_it_ends(void **state)
{
    (void)state;
    es_trace *trace = made();
    es_span spans[ROOM];
    uint64_t next = 0, lost, start_ns = es_trace_begin(trace, 7);
    es_trace_mark(trace, ES_STAGE_ATTENTION, 3, start_ns);
    es_trace_call(trace, es_trace_node(trace, "n2", "tcp://h:1"), 3, 100, 175, 50);
    assert_int_equal(es_trace_read(trace, &next, spans, ROOM, &lost), 0);
    es_trace_end(trace, start_ns, 5, 4);
    assert_int_equal(es_trace_next(trace), 3);
    assert_int_equal(es_trace_read(trace, &next, spans, ROOM, &lost), 3);
    assert_true(next == 3 && lost == 0 && spans[0].step == 7 && spans[2].step == 7);
    assert_true(spans[0].stage == ES_STAGE_ATTENTION && spans[0].layer == 3 && spans[0].start_ns == start_ns);
    assert_true(spans[1].stage == ES_STAGE_CALL && spans[1].duration_ns == 75 && spans[1].compute_ns == 50);
    assert_true(spans[2].stage == ES_STAGE_STEP && spans[2].rows == 5 && spans[2].answers == 4);
    assert_true(spans[2].duration_ns >= spans[0].duration_ns);
    assert_int_equal(es_trace_read(trace, &next, spans, ROOM, &lost), 0);
    next = UINT64_MAX;
    assert_int_equal(es_trace_read(trace, &next, spans, ROOM, &lost), 0);
    assert_int_equal(next, 3);
    es_trace_destroy(&trace);
}

static void the_oldest_are_forgotten_and_counted(void **state)
{
    (void)state;
    es_trace *trace = made();
    es_span spans[ROOM];
    uint64_t next = 0, lost;
    const size_t steps = ES_TRACE_SPANS / PER_STEP + 100;
    for (size_t step = 1; step <= steps; step++) record_step(trace, step, PER_STEP);
    size_t some = es_trace_read(trace, &next, spans, ROOM, &lost);
    assert_int_equal(lost, steps * PER_STEP - ES_TRACE_SPANS);
    assert_int_equal(some, ROOM);
    assert_int_equal(next, lost + ROOM);
    assert_int_equal(spans[0].step, lost / PER_STEP + 1);
    es_trace_destroy(&trace);
}

static void a_step_of_too_many_spans_keeps_its_own_and_says_so(void **state)
{
    (void)state;
    es_trace *trace = made();
    es_span *spans = calloc(ES_TRACE_STEP_SPANS, sizeof *spans);
    uint64_t next = 0, lost;
    record_step(trace, 1, ES_TRACE_STEP_SPANS + 5);
    assert_int_equal(es_trace_read(trace, &next, spans, ES_TRACE_STEP_SPANS, &lost), ES_TRACE_STEP_SPANS);
    assert_int_equal(spans[ES_TRACE_STEP_SPANS - 1].stage, ES_STAGE_STEP);
    assert_int_equal(es_trace_left_out(trace), 5);
    free(spans);
    es_trace_destroy(&trace);
}

static void nodes_keep_their_numbers(void **state)
{
    (void)state;
    es_trace *trace = made();
    char name[ES_TRACE_NODE_TEXT], endpoint[ES_TRACE_NODE_TEXT], text[32];
    assert_int_equal(es_trace_node(trace, "n1", "tcp://a:1"), 0);
    assert_int_equal(es_trace_node(trace, "n1", "tcp://b:1"), 1);
    assert_int_equal(es_trace_node(trace, "n1", "tcp://a:1"), 0);
    assert_true(es_trace_node_texts(trace, 1, name, endpoint));
    assert_string_equal(endpoint, "tcp://b:1");
    assert_false(es_trace_node_texts(trace, 2, name, endpoint));
    for (unsigned i = 0; i < 2 * ES_TRACE_NODES_MAX; i++) {
        snprintf(text, sizeof text, "m%u", i);
        assert_true(es_trace_node(trace, text, "e") < ES_TRACE_NODES_MAX);
    }
    es_trace_destroy(&trace);
}

static void *record_many(void *arg)
{
    for (uint64_t step = 1; step <= STEPS; step++) record_step(arg, step, PER_STEP);
    return NULL;
}

static void a_reader_sees_whole_steps_beside_the_writer(void **state)
{
    (void)state;
    es_trace *trace = made();
    es_span spans[ROOM];
    uint64_t next = 0, lost, seen = 0;
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, record_many, trace), 0);
    while (next < (uint64_t)STEPS * PER_STEP) {
        uint64_t first = next;
        size_t some = es_trace_read(trace, &next, spans, ROOM, &lost);
        assert_int_equal(next, first + lost + some);
        for (size_t i = 0; i < some; i++) assert_int_equal(spans[i].step, (first + lost + i) / PER_STEP + 1);
        seen += some;
    }
    assert_true(seen > 0);
    pthread_join(writer, NULL);
    es_trace_destroy(&trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_recorded_without_a_trace),
        cmocka_unit_test(a_step_is_seen_when_it_ends),
        cmocka_unit_test(the_oldest_are_forgotten_and_counted),
        cmocka_unit_test(a_step_of_too_many_spans_keeps_its_own_and_says_so),
        cmocka_unit_test(nodes_keep_their_numbers),
        cmocka_unit_test(a_reader_sees_whole_steps_beside_the_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
