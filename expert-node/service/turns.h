/* Whose request is computed next: coordinators share the node's time, whatever the size of what they ask. */
#ifndef ES_SERVICE_TURNS_H
#define ES_SERVICE_TURNS_H

#include "net/channel.h"

enum { ES_TURNS_WAITING_MAX = 64, ES_TURNS_ASKERS_MAX = 256 };

/* Who asks, as the ROUTER names its connections, and how much of the node's time it had. */
typedef struct es_asker {
    uint8_t id[8];
    size_t id_bytes; /* 0: free */
    uint64_t had_ns;
    uint64_t seen;
    size_t waiting;
} es_asker;

/* Caller's storage, start with all zero. Owned by the service thread. */
typedef struct es_turns {
    es_message waiting[ES_TURNS_WAITING_MAX]; /* in order of arrival */
    es_asker *asker[ES_TURNS_WAITING_MAX];
    size_t count;
    es_asker askers[ES_TURNS_ASKERS_MAX];
    es_asker *served;  /* the last one */
    uint64_t level_ns; /* what the last one had when it was served: who comes back begins there at least */
    uint64_t clock;
} es_turns;

static inline bool es_turns_full(const es_turns *turns)
{
    return turns->count == ES_TURNS_WAITING_MAX;
}

/* Takes over a message, whose first frame names who asks; there is room for it. */
void es_turns_put(es_turns *turns, es_message *message);

/* Gives the first message of whoever had the least time; false: none waits. */
bool es_turns_take(es_turns *turns, es_message *ret_message);

/* What the last one taken took. */
void es_turns_charge(es_turns *turns, uint64_t ns);

/* Closes what waits. */
void es_turns_clear(es_turns *turns);

#endif
