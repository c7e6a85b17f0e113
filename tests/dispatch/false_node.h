/* A false node: greets as tiny-r1's nodes do, and answers every request as it is told to. */
#ifndef DISPATCH_FALSE_NODE_H
#define DISPATCH_FALSE_NODE_H

#include "dispatch/fixture.h"
#include "net/control.h"

/* What the false node does with a request. */
typedef enum lie {
    LIE_NONE,
    LIE_STALE, /* replies of other steps, layers, attempts and coordinators first, and the right one twice */
    LIE_SILENCE,
    LIE_ERROR,
    LIE_HEADER, /* bytes that are no header */
    LIE_CHECKSUM,
    LIE_SHORT, /* a payload that lacks a byte */
    LIE_ROWS,  /* one row too many */
    LIE_HUGE,  /* a sum beyond the limit */
    LIE_ONE_FRAME,
    LIE_FLOOD, /* replies of another step without end */
} lie;

typedef struct false_node false_node;

/* It holds all experts, whatever r's model needs. */
false_node *false_start(const reference *r, lie told);
void false_stop(false_node *f);

/* From here on. */
void false_tell(false_node *f, lie told);

/* Where it says hello, into text [ES_ENDPOINT_TEXT_MAX]. */
void false_where(const false_node *f, char *text);

#endif
