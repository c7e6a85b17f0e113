/* The connections there are: who left while an answer was computed, and who is too slow to ask. */
#ifndef ES_HTTP_WATCH_H
#define ES_HTTP_WATCH_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct MHD_Connection;

/* A thread that notices within milliseconds that a client left, resumes every waiting answer once a second,
 * and cuts off those who take too long. */
typedef struct es_http_watch es_http_watch;

/* One connection; 0 is none. Refers to nothing any more once it has left. */
typedef uint64_t es_http_link;

typedef enum es_http_phase {
    ES_HTTP_HEAD,   /* a first request's head is awaited */
    ES_HTTP_UPLOAD, /* its body */
    ES_HTTP_ANSWER, /* an answer is computed or written */
    ES_HTTP_KEPT    /* the next request is awaited */
} es_http_phase;

/* Called once a second by the watching thread. */
typedef void es_http_tick_fn(void *context);

/* For at most so many connections. timeout_s: for a head, and for a body beside the time its bytes earn. */
es_status es_http_watch_create(size_t connections, unsigned timeout_s, es_http_tick_fn *tick, void *context,
                               es_http_watch **ret_watch, es_err *err);

/* Every connection left before. */
void es_http_watch_destroy(es_http_watch **watch);

/* Every function below is safe from any thread. */
es_http_link es_http_watch_join(es_http_watch *watch, struct MHD_Connection *mhd, int fd);
void es_http_watch_leave(es_http_watch *watch, es_http_link link);
void es_http_watch_enter(es_http_watch *watch, es_http_link link, es_http_phase phase);

/* Bytes of the body came: they earn it time. */
void es_http_watch_fed(es_http_watch *watch, es_http_link link, size_t bytes);

/* True when the client has left, or everybody was sent away. */
bool es_http_watch_is_gone(es_http_watch *watch, es_http_link link);

/* True when it was cut off for being slow. */
bool es_http_watch_is_cut(es_http_watch *watch, es_http_link link);

/* Everybody counts as gone from here on, and waiting answers are resumed to notice. */
void es_http_watch_send_away(es_http_watch *watch);

/* How many connections there are, and how many were cut off. */
size_t es_http_watch_count(es_http_watch *watch);
uint64_t es_http_watch_cut_count(es_http_watch *watch);

#endif
