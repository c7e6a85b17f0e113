/* Prometheus' text format, version 0.0.4: families of metrics, each with help and type. */
#ifndef ES_HTTP_EXPOSITION_H
#define ES_HTTP_EXPOSITION_H

#include "sched/stats.h"
#include "text/buffer.h"

/* Begins a family; type: "counter", "gauge", "histogram". */
void es_metric_family(es_buffer *out, const char *name, const char *type, const char *help);

/* A pair of label and value; a list of them ends with a NULL name. Values are escaped. */
typedef struct es_metric_label {
    const char *name, *value;
} es_metric_label;

/* A line of a family. labels may be NULL. */
void es_metric_value(es_buffer *out, const char *name, const es_metric_label *labels, double value);

/* All lines of a histogram: bound [count], bucket [count + 1], not cumulated. */
void es_metric_buckets(es_buffer *out, const char *name, const es_metric_label *labels, const double *bound,
                       size_t count, const uint64_t *bucket, double sum);
void es_metric_histogram(es_buffer *out, const char *name, const es_metric_label *labels,
                         const es_histogram *histogram);

#endif
