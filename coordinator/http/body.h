/* A request's body as it comes, within what one body and all of them together may hold. */
#ifndef ES_HTTP_BODY_H
#define ES_HTTP_BODY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Memory of all bodies under way; shared by threads. */
typedef struct es_http_budget {
    atomic_size_t held;
    size_t most;
} es_http_budget;

/* Zero-initialise. Owned by one request. */
typedef struct es_http_body {
    uint8_t *data; /* what was kept */
    size_t bytes, capacity;
    size_t came; /* bytes fed, kept or not */
} es_http_body;

typedef enum es_http_fed {
    ES_HTTP_STORED,
    ES_HTTP_TOO_LARGE, /* beyond what one body may hold */
    ES_HTTP_NO_ROOM    /* the budget or memory is exhausted */
} es_http_fed;

/* Appends data [bytes] when the whole stays within most; otherwise lets go of all that was kept. */
es_http_fed es_http_body_feed(es_http_body *body, es_http_budget *budget, size_t most, const void *data,
                              size_t bytes);

/* Lets go of what was kept. */
void es_http_body_drop(es_http_body *body, es_http_budget *budget);

#endif
