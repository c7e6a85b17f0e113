/* The body of POST /cluster/drain. */
#ifndef ES_HTTP_DRAIN_ORDER_H
#define ES_HTTP_DRAIN_ORDER_H

#include "net/control.h"

/* {"node": NAME} and nothing else; text [bytes] need not end with a NUL. ES_INVALID says what it is to be. */
es_status es_http_drain_order_parse(const char *text, size_t bytes, char ret_name[ES_NAME_MAX + 1],
                                    es_err *err);

#endif
