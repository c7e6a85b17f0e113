/* The server's life: from the socket to the last answer. */
#ifndef ES_COORDINATOR_SERVE_H
#define ES_COORDINATOR_SERVE_H

#include "coordinator/coordinator.h"
#include "http/http.h"

typedef struct es_serve_options {
    es_coordinator_options coordinator;
    es_http_options http;
    const char *style;      /* the chat layout's name; NULL: the model's own */
    const char *model_name; /* NULL: the model's folder */
    size_t drain_s;         /* how long answers may go on once SIGTERM or SIGINT has come */
    int ready_fd;           /* gets "ready url=…" or why not; 0: none */
} es_serve_options;

/* Listens, loads, serves until SIGTERM or SIGINT, lets what is under way end. es_signals_start was called, no
 * thread runs yet. ES_TIMEOUT when answers had to be cut off. A second signal ends the program at once. */
es_status es_serve(const es_serve_options *options, es_err *err);

#endif
