/* Prometheus' text format. */
#include "http/exposition.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void es_metric_family(es_buffer *out, const char *name, const char *type, const char *help)
{
    const char *const pieces[] = {"# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) es_buffer_append_text(out, pieces[i]);
}

static void write_escaped(es_buffer *out, const char *value)
{
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"') es_buffer_append(out, "\\", 1);
        if (*value == '\n')
            es_buffer_append_text(out, "\\n");
        else
            es_buffer_append(out, value, 1);
    }
}

/* bound: the "le" of a bucket, or NULL. */
static void write_labels(es_buffer *out, const es_metric_label *labels, const char *bound)
{
    const es_metric_label le[] = {{"le", bound}, {NULL, NULL}};
    const es_metric_label *lists[] = {labels, bound != NULL ? le : NULL};
    const char *before = "{";
    for (size_t i = 0; i < 2; i++)
        for (const es_metric_label *l = lists[i]; l != NULL && l->name != NULL; l++) {
            es_buffer_append_text(out, before);
            es_buffer_append_text(out, l->name);
            es_buffer_append_text(out, "=\"");
            write_escaped(out, l->value);
            es_buffer_append_text(out, "\"");
            before = ",";
        }
    if (before[0] == ',') es_buffer_append_text(out, "}");
}

static void write_line(es_buffer *out, const char *name, const char *suffix, const es_metric_label *labels,
                       const char *bound, const char *value)
{
    es_buffer_append_text(out, name);
    es_buffer_append_text(out, suffix);
    write_labels(out, labels, bound);
    es_buffer_append_text(out, " ");
    es_buffer_append_text(out, value);
    es_buffer_append_text(out, "\n");
}

void es_metric_value(es_buffer *out, const char *name, const es_metric_label *labels, double value)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    write_line(out, name, "", labels, NULL, text);
}

void es_metric_buckets(es_buffer *out, const char *name, const es_metric_label *labels, const double *bound,
                       size_t count, const uint64_t *bucket, double sum)
{
    char text[40], le[40] = "+Inf";
    uint64_t below = 0;
    for (size_t i = 0; i <= count; i++) {
        below += bucket[i];
        snprintf(text, sizeof text, "%" PRIu64, below);
        if (i < count) snprintf(le, sizeof le, "%.10g", bound[i]);
        write_line(out, name, "_bucket", labels, i < count ? le : "+Inf", text);
    }
    write_line(out, name, "_count", labels, NULL, text);
    snprintf(text, sizeof text, "%.17g", sum);
    write_line(out, name, "_sum", labels, NULL, text);
}

void es_metric_histogram(es_buffer *out, const char *name, const es_metric_label *labels,
                         const es_histogram *h)
{
    es_metric_buckets(out, name, labels, h->bounds->bound, h->bounds->count, h->bucket, h->sum);
}
