/* The coordinators that were accepted. */
#include "service/guests.h"

#include <stddef.h>

static es_guest *find(es_guest *table, unsigned count, uint64_t id)
{
    for (unsigned at = 0; at < count; at++)
        if (table[at].id == id) return &table[at];
    return NULL;
}

static es_guest *longest_silent(es_guest *table, unsigned count)
{
    es_guest *oldest = table;
    for (unsigned at = 1; at < count; at++)
        if (table[at].seen < oldest->seen) oldest = &table[at];
    return oldest;
}

es_guest *es_guests_know(es_guests *guests, uint64_t coordinator)
{
    if (coordinator == 0) return NULL;
    es_guest *known = find(guests->working, ES_GUESTS_WORKING_MAX, coordinator);
    if (known == NULL) {
        es_guest *came = find(guests->new, ES_GUESTS_NEW_MAX, coordinator);
        if (came == NULL) return NULL;
        known = longest_silent(guests->working, ES_GUESTS_WORKING_MAX);
        *known = *came;
        *came = (es_guest){0};
    }
    known->seen = ++guests->clock;
    return known;
}

void es_guests_accept(es_guests *guests, uint64_t coordinator)
{
    es_guest *known = find(guests->working, ES_GUESTS_WORKING_MAX, coordinator);
    if (known == NULL) known = find(guests->new, ES_GUESTS_NEW_MAX, coordinator);
    if (known == NULL) known = longest_silent(guests->new, ES_GUESTS_NEW_MAX);
    *known = (es_guest){.id = coordinator, .seen = ++guests->clock};
}
