/* What recording costs of a decode step, as JSON: the spans of real steps of one answer are recorded again by
 * themselves and timed, against the time those steps took. build/release/bench/bench_trace MODEL_FOLDER */
#include "base/clock.h"
#include "coordinator/coordinator.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 400, SPANS = 32768, REPEATS = 2000, WAIT_MS = 600000 };

static void stop(const char *what, const es_err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    exit(1);
}

static void answer(es_engine *engine)
{
    es_err err;
    es_event event;
    es_request *request;
    static const uint32_t PROMPT[] = {10, 47, 84, 121};
    const es_request_options options = {
        .prompt = PROMPT, .prompt_count = 4, .max_tokens = TOKENS, .sampling = es_sampling_default()};
    if (es_engine_submit(engine, &options, &request, &err) != ES_OK) stop("submit", &err);
    do {
        if (!es_request_wait(request, WAIT_MS, &event)) event.kind = ES_EVENT_TOKEN;
    } while (event.kind == ES_EVENT_TOKEN);
    if (event.kind == ES_EVENT_FAILED) stop("answer", event.err);
    es_request_close(&request);
}

/* Nanoseconds of recording a step of so many spans. */
static double record(size_t spans)
{
    es_trace *trace;
    es_err err;
    if (es_trace_create(&trace, &err) != ES_OK) stop("trace", &err);
    uint64_t start_ns = es_clock_now_ns();
    for (uint64_t step = 0; step < REPEATS; step++) {
        uint64_t at_ns = es_trace_begin(trace, step), first_ns = at_ns;
        for (size_t i = 1; i < spans; i++) at_ns = es_trace_mark(trace, ES_STAGE_ROUTER, i, at_ns);
        es_trace_end(trace, first_ns, 1, 1);
    }
    double ns = (double)(es_clock_now_ns() - start_ns) / REPEATS;
    es_trace_destroy(&trace);
    return ns;
}

int main(int argc, char **argv)
{
    es_err err;
    es_coordinator *coordinator;
    es_engine *engine;
    static es_span spans[SPANS];
    uint64_t next = 0, lost;
    double steps = 0, step_ns = 0;
    const es_coordinator_options options = {
        .model_dir = argc > 1 ? argv[1] : "models/tiny-r1", .chunk = 128, .answers = 1, .queue = 1};
    if (es_coordinator_open(&options, NULL, NULL, &coordinator, &err) != ES_OK) stop("open", &err);
    if (es_coordinator_engine(coordinator, &engine, &err) != ES_OK) stop("engine", &err);
    answer(engine);
    size_t count = es_trace_read(es_engine_trace(engine), &next, spans, SPANS, &lost);
    for (size_t i = 0; i < count; i++) {
        if (spans[i].stage != ES_STAGE_STEP) continue;
        steps++;
        step_ns += (double)spans[i].duration_ns;
    }
    double each = (double)count / steps, mean_ns = step_ns / steps, cost_ns = record((size_t)(each + 1));
    printf("{\"spans_a_step\": %.1f, \"step_us\": %.1f, \"recording_us\": %.3f, \"share\": %.5f}\n", each,
           mean_ns * 1e-3, cost_ns * 1e-3, cost_ns / mean_ns);
    es_engine_destroy(&engine);
    es_coordinator_close(&coordinator);
    return 0;
}
