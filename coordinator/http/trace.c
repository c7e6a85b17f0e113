/* GET /cluster/trace: the spans of the last steps. */
#include "http/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { SPANS_MAX = 8192 }; /* of one answer */

static void put(es_buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(es_buffer *out, const char *format, ...)
{
    char text[2 * ES_TRACE_NODE_TEXT + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    es_buffer_append_text(out, text);
}

/* Names are es_name_valid and endpoints are made by us: neither needs an escape. */
static void put_nodes(es_trace *trace, es_buffer *out)
{
    char name[ES_TRACE_NODE_TEXT], endpoint[ES_TRACE_NODE_TEXT];
    for (size_t n = 0; es_trace_node_texts(trace, n, name, endpoint); n++)
        put(out, "%s{\"name\":\"%s\",\"endpoint\":\"%s\"}", n > 0 ? "," : "", name, endpoint);
}

/* Each span is a list: see docs/trace.md. */
static void put_spans(const es_span *spans, size_t count, es_buffer *out)
{
    for (size_t i = 0; i < count; i++) {
        const es_span *s = &spans[i];
        bool step = s->stage == ES_STAGE_STEP;
        put(out, "%s[%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u,%u,%" PRIu64 "]", i > 0 ? "," : "",
            (unsigned)s->stage, s->start_ns, s->duration_ns, s->step, step ? s->rows : s->layer,
            step ? s->answers : s->node, s->compute_ns);
    }
}

char *es_http_trace_json(es_http *http, uint64_t after, size_t *ret_bytes)
{
    es_trace *trace = es_engine_trace(http->service.engine);
    es_span *spans = malloc(SPANS_MAX * sizeof *spans);
    es_buffer out = {0};
    uint64_t lost = 0, next = after;
    if (spans == NULL) return NULL;
    size_t count = es_trace_read(trace, &next, spans, SPANS_MAX, &lost);
    put(&out,
        "{\"now_ns\":%" PRIu64 ",\"next\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"left_out\":%" PRIu64
        ",\"stages\":[",
        es_clock_now_ns(), next, lost, es_trace_left_out(trace));
    for (size_t i = 0; i < ES_STAGE_COUNT; i++) put(&out, "%s\"%s\"", i > 0 ? "," : "", ES_STAGE_NAMES[i]);
    es_buffer_append_text(&out, "],\"nodes\":[");
    put_nodes(trace, &out);
    es_buffer_append_text(&out, "],\"spans\":[");
    put_spans(spans, count, &out);
    es_buffer_append_text(&out, "]}");
    free(spans);
    return es_buffer_take(&out, ret_bytes);
}
