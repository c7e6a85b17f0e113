/* Where the steps of a run spent their time. */
#include "cli/stage_times.h"

#include <stdlib.h>

enum { SPANS = 512, COLUMN_COMPUTE = ES_STAGE_COUNT, COLUMNS };

struct stage_times {
    es_trace *trace;
    uint64_t next, began_ns;
    size_t room, steps;
    double *ms; /* [COLUMNS][room] */
};

stage_times *stage_times_create(es_trace *trace, size_t steps)
{
    stage_times *times = calloc(1, sizeof *times);
    if (times == NULL) return NULL;
    *times = (stage_times){.trace = trace, .next = es_trace_next(trace), .room = steps};
    times->ms =
        steps <= SIZE_MAX / sizeof *times->ms / COLUMNS ? calloc(steps * COLUMNS, sizeof *times->ms) : NULL;
    if (times->ms == NULL) stage_times_destroy(&times);
    return times;
}

void stage_times_destroy(stage_times **times)
{
    if (*times == NULL) return;
    free((*times)->ms);
    free(*times);
    *times = NULL;
}

void stage_times_begin(stage_times *times)
{
    times->began_ns = es_trace_begin(times->trace, times->steps);
}

/* A layer's slowest call, so far. */
typedef struct slowest {
    uint64_t call_ns, compute_ns;
} slowest;

static void add_span(stage_times *times, const es_span *span, slowest *layer)
{
    double *of_step = times->ms + times->steps;
    if (span->stage == ES_STAGE_CALL) {
        if (span->duration_ns > layer->call_ns) layer->call_ns = span->duration_ns;
        if (span->compute_ns > layer->compute_ns) layer->compute_ns = span->compute_ns;
        return;
    }
    of_step[span->stage * times->room] += (double)span->duration_ns * 1e-6;
    if (span->stage != ES_STAGE_WAIT) return;
    of_step[ES_STAGE_CALL * times->room] += (double)layer->call_ns * 1e-6;
    of_step[COLUMN_COMPUTE * times->room] += (double)layer->compute_ns * 1e-6;
    *layer = (slowest){0};
}

void stage_times_end(stage_times *times, size_t rows)
{
    es_span spans[SPANS];
    slowest layer = {0};
    uint64_t lost;
    es_trace_end(times->trace, times->began_ns, rows, 0);
    if (times->steps == times->room) return;
    for (size_t count = SPANS; count == SPANS;) {
        count = es_trace_read(times->trace, &times->next, spans, SPANS, &lost);
        for (size_t i = 0; i < count; i++) add_span(times, &spans[i], &layer);
    }
    times->steps++;
}

static int by_size(const void *left, const void *right)
{
    double l = *(const double *)left, r = *(const double *)right;
    return (l > r) - (l < r);
}

void stage_times_print_json(stage_times *times, FILE *out)
{
    for (size_t c = 0; c < COLUMNS; c++) {
        double *column = times->ms + c * times->room;
        qsort(column, times->steps, sizeof *column, by_size);
        fprintf(out, "%s\"%s\": %.4f", c == 0 ? "{" : ", ",
                c == COLUMN_COMPUTE ? "compute" : ES_STAGE_NAMES[c],
                times->steps > 0 ? column[times->steps / 2] : 0.0);
    }
    fputc('}', out);
}
