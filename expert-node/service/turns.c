/* Fair turns by time: each asker has an account of the time it had; the least served is next. Who was away
 * gets no credit for it. */
#include "service/turns.h"

#include "essaim/status.h"

#include <string.h>

static es_asker *find(es_turns *turns, const uint8_t *id, size_t bytes)
{
    es_asker *oldest = NULL;
    for (es_asker *a = turns->askers; a < turns->askers + ES_TURNS_ASKERS_MAX; a++) {
        if (a->id_bytes == bytes && bytes > 0 && memcmp(a->id, id, bytes) == 0) return a;
        if (a->waiting == 0 && a != turns->served && (oldest == NULL || a->seen < oldest->seen)) oldest = a;
    }
    *oldest = (es_asker){.id_bytes = bytes}; /* more accounts than messages wait: one is free */
    memcpy(oldest->id, id, bytes);
    return oldest;
}

void es_turns_put(es_turns *turns, es_message *message)
{
    ES_ASSERT(!es_turns_full(turns));
    size_t bytes = es_message_bytes(message, 0);
    es_asker *asker =
        find(turns, es_message_data(message, 0), bytes < sizeof asker->id ? bytes : sizeof asker->id);
    if (asker->waiting++ == 0 && asker->had_ns < turns->level_ns) asker->had_ns = turns->level_ns;
    asker->seen = ++turns->clock;
    turns->asker[turns->count] = asker;
    es_message_move(&turns->waiting[turns->count++], message);
}

bool es_turns_take(es_turns *turns, es_message *ret_message)
{
    if (turns->count == 0) return false;
    size_t next = 0;
    for (size_t i = 1; i < turns->count; i++)
        if (turns->asker[i]->had_ns < turns->asker[next]->had_ns) next = i;
    turns->served = turns->asker[next];
    turns->served->waiting--;
    turns->level_ns = turns->served->had_ns;
    es_message_move(ret_message, &turns->waiting[next]);
    turns->count--;
    for (size_t i = next; i < turns->count; i++) {
        es_message_move(&turns->waiting[i], &turns->waiting[i + 1]);
        turns->asker[i] = turns->asker[i + 1];
    }
    return true;
}

void es_turns_charge(es_turns *turns, uint64_t ns)
{
    turns->served->had_ns += ns;
}

void es_turns_clear(es_turns *turns)
{
    for (size_t i = 0; i < turns->count; i++) es_message_close(&turns->waiting[i]);
    turns->count = 0;
}
