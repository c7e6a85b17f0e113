/* Whether this node is still one of the swarm, as coordinators tell: in the lists of members that they send.
 */
#ifndef ES_SERVICE_STANDING_H
#define ES_SERVICE_STANDING_H

#include "net/control.h"

typedef enum es_standing_kind {
    ES_STANDING_UNKNOWN, /* nobody has told */
    ES_STANDING_MEMBER,
    ES_STANDING_REMOVED, /* it is on the list no more */
    ES_STANDING_REVOKED  /* its key is among those that are refused */
} es_standing_kind;

/* Caller's storage, start with all zero. Owned by the service thread. */
typedef struct es_standing {
    es_standing_kind kind;
    uint64_t alone_ns; /* since when it waits for a first coordinator; 0: not yet */
    bool greeted, told_alone;
} es_standing;

enum { ES_STANDING_ALONE_S = 60 };

/* What a list says of the node of this name and public key ("": it has none). UNKNOWN: it is as long as lists
 * get, and may be cut. */
es_standing_kind es_standing_of(const es_members *members, const char *name, const char *key);

/* Takes it in; true when that is news. */
bool es_standing_take(es_standing *standing, es_standing_kind kind);

/* True once, when for ES_STANDING_ALONE_S since the first call no coordinator has said hello. */
bool es_standing_is_alone(es_standing *standing, uint64_t now_ns);

#endif
