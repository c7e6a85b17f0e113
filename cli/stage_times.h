/* Where the steps of a run spent their time: each stage's milliseconds a step, the median of all steps. */
#ifndef CLI_STAGE_TIMES_H
#define CLI_STAGE_TIMES_H

#include "trace/trace.h"

#include <stdio.h>

typedef struct stage_times stage_times;

/* For up to steps steps of a trace that nobody else reads. NULL: no memory. */
stage_times *stage_times_create(es_trace *trace, size_t steps);
void stage_times_destroy(stage_times **times);

/* Around each step. */
void stage_times_begin(stage_times *times);
void stage_times_end(stage_times *times, size_t rows);

/* A JSON object: the stages by name; "call" and "compute" are of each layer's slowest call. */
void stage_times_print_json(stage_times *times, FILE *out);

#endif
