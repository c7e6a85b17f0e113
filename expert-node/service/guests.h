/* The coordinators that said hello and were accepted: short tables that forget who was silent longest. Hello
 * is cheap, so those who said nothing else since have a table of their own: a flood of them drives out no
 * coordinator that is at work. */
#ifndef ES_SERVICE_GUESTS_H
#define ES_SERVICE_GUESTS_H

#include "net/wire.h"

enum { ES_GUESTS_NEW_MAX = 64, ES_GUESTS_WORKING_MAX = 192 };

typedef struct es_guest {
    uint64_t id; /* 0: free */
    uint64_t seen;
    char requests[ES_WIRE_REQUESTS_MAX + 1]; /* whose rows it last sent, as it says */
} es_guest;

/* Caller's storage, start with all zero. Owned by the service thread. */
typedef struct es_guests {
    es_guest new[ES_GUESTS_NEW_MAX];         /* who only said hello */
    es_guest working[ES_GUESTS_WORKING_MAX]; /* who asked for work */
    uint64_t clock;                          /* counts looks, so that seen orders them */
} es_guests;

/* Takes coordinator (not 0) in; when the new ones' table is full, the one of them that was silent longest has
 * to say hello again. */
void es_guests_accept(es_guests *guests, uint64_t coordinator);

/* The coordinator, who asks for work; NULL when it was not accepted. Borrowed until the next call. */
es_guest *es_guests_know(es_guests *guests, uint64_t coordinator);

#endif
