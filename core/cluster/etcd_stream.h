/* A watch's bytes, cut anywhere, put together again as lines. */
#ifndef ES_CLUSTER_ETCD_STREAM_H
#define ES_CLUSTER_ETCD_STREAM_H

#include "essaim/status.h"

#include <stddef.h>

enum { ES_ETCD_LINE_MAX = 16 * 1024 * 1024 };

/* Told of a whole line, without its newline; it lives until the function returns. Anything but ES_OK ends the
 * feeding. */
typedef es_status es_etcd_line_fn(void *context, const char *line, size_t bytes, es_err *err);

/* Caller's storage, start with all zero. One thread's. */
typedef struct es_etcd_stream {
    char *line;
    size_t bytes, capacity;
} es_etcd_stream;

/* Takes bytes [count]. Empty lines are no items. ES_CORRUPT: a line beyond ES_ETCD_LINE_MAX. */
es_status es_etcd_stream_feed(es_etcd_stream *stream, const char *bytes, size_t count,
                              es_etcd_line_fn *on_line, void *context, es_err *err);
void es_etcd_stream_fini(es_etcd_stream *stream);

#endif
