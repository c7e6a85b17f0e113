/* A watch's bytes put together as lines. */
#include "cluster/etcd_stream.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 4096 };

static es_status append(es_etcd_stream *stream, const char *bytes, size_t count, es_err *err)
{
    size_t needed;
    if (!es_size_add(stream->bytes, count, &needed) || needed > ES_ETCD_LINE_MAX)
        return es_err_set(err, ES_CORRUPT, "etcd's watch: a line of more than %d bytes", ES_ETCD_LINE_MAX);
    if (needed > stream->capacity) {
        size_t capacity = es_size_max(es_size_max(2 * stream->capacity, needed), FIRST_CAPACITY);
        char *line = realloc(stream->line, capacity);
        if (line == NULL) return es_err_set(err, ES_NO_MEMORY, "etcd's watch: %zu bytes", capacity);
        stream->line = line;
        stream->capacity = capacity;
    }
    memcpy(stream->line + stream->bytes, bytes, count);
    stream->bytes = needed;
    return ES_OK;
}

es_status es_etcd_stream_feed(es_etcd_stream *stream, const char *bytes, size_t count,
                              es_etcd_line_fn *on_line, void *context, es_err *err)
{
    es_status status = ES_OK;
    while (count > 0 && status == ES_OK) {
        const char *end = memchr(bytes, '\n', count);
        size_t part = end == NULL ? count : (size_t)(end - bytes);
        if (part > 0) status = append(stream, bytes, part, err);
        if (status != ES_OK || end == NULL) return status;
        if (stream->bytes > 0 && stream->line[stream->bytes - 1] == '\r') stream->bytes--;
        if (stream->bytes > 0) status = on_line(context, stream->line, stream->bytes, err);
        stream->bytes = 0;
        bytes += part + 1;
        count -= part + 1;
    }
    return status;
}

void es_etcd_stream_fini(es_etcd_stream *stream)
{
    free(stream->line);
    *stream = (es_etcd_stream){NULL, 0, 0};
}
