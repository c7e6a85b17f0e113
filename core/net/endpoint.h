/* Where a socket binds or connects: "host:port", "[v6]:port", with or without "tcp://". */
#ifndef ES_NET_ENDPOINT_H
#define ES_NET_ENDPOINT_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ES_ENDPOINT_TEXT_MAX = 96, ES_ENDPOINT_HOST_MAX = 63 };

/* A numeric address and a port. */
typedef struct es_endpoint {
    char host[ES_ENDPOINT_HOST_MAX + 1]; /* "127.0.0.1", "::1" */
    bool v6;
    bool loopback;
    uint16_t port; /* 0: any free one (bind only) */
} es_endpoint;

/* To bind: the host is a numeric address, "localhost" or "*" (every address). ES_INVALID quotes the text. */
es_status es_endpoint_parse_bind(const char *text, es_endpoint *ret_endpoint, es_err *err);

/* To connect: names are looked up here and now, so that a wrong one is told; the port is not 0. ES_INVALID,
 * or ES_NOT_FOUND when the name has no address. */
es_status es_endpoint_parse_connect(const char *text, es_endpoint *ret_endpoint, es_err *err);

/* Whether a text is written as one to connect to; nothing is looked up. ES_INVALID. */
es_status es_endpoint_check_connect(const char *text, es_err *err);

/* "tcp://127.0.0.1:5703", "tcp://[::1]:5703". */
void es_endpoint_format(const es_endpoint *endpoint, char ret_text[ES_ENDPOINT_TEXT_MAX]);

#endif
