/* The places of those who wait for their first step: so many in all, and so many for one key. */
#ifndef ES_SCHED_PLACES_H
#define ES_SCHED_PLACES_H

#include "essaim/status.h"

#include <stdint.h>

/* Any thread. */
typedef struct es_places es_places;

/* places_max and key_max at least 1. */
es_status es_places_create(size_t places_max, size_t key_max, es_places **ret_places, es_err *err);
void es_places_destroy(es_places **places);

/* ES_BUSY says which of the two is full. */
es_status es_places_take(es_places *places, uint64_t key, es_err *err);

/* One that was taken for the key. */
void es_places_give(es_places *places, uint64_t key);

/* Taken now. */
size_t es_places_count(es_places *places);

#endif
