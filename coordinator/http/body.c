/* A request's body as it comes. */
#include "http/body.h"

#include "base/size.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BYTES = 4096 };

void es_http_body_drop(es_http_body *body, es_http_budget *budget)
{
    free(body->data);
    atomic_fetch_sub(&budget->held, body->capacity);
    body->data = NULL;
    body->bytes = body->capacity = 0;
}

/* Takes more bytes from the budget; false when there are not so many. */
static bool take(es_http_budget *budget, size_t more)
{
    size_t held = atomic_load(&budget->held);
    do {
        if (more > budget->most - held) return false;
    } while (!atomic_compare_exchange_weak(&budget->held, &held, held + more));
    return true;
}

static bool grow(es_http_body *body, es_http_budget *budget, size_t needed, size_t most)
{
    size_t capacity = es_size_max(body->capacity, FIRST_BYTES);
    while (capacity < needed) capacity *= 2; /* most is far below SIZE_MAX */
    capacity = es_size_max(es_size_min(capacity, most), needed);
    if (capacity == body->capacity) return true;
    size_t more = capacity - body->capacity;
    if (!take(budget, more)) return false;
    uint8_t *grown = realloc(body->data, capacity);
    if (grown == NULL) {
        atomic_fetch_sub(&budget->held, more);
        return false;
    }
    body->data = grown;
    body->capacity = capacity;
    return true;
}

es_http_fed es_http_body_feed(es_http_body *body, es_http_budget *budget, size_t most, const void *data,
                              size_t bytes)
{
    body->came += bytes;
    es_http_fed fed = ES_HTTP_STORED;
    if (bytes > most - es_size_min(body->bytes, most))
        fed = ES_HTTP_TOO_LARGE;
    else if (body->bytes + bytes > body->capacity && !grow(body, budget, body->bytes + bytes, most))
        fed = ES_HTTP_NO_ROOM;
    if (fed != ES_HTTP_STORED) {
        es_http_body_drop(body, budget);
        return fed;
    }
    if (bytes > 0) memcpy(body->data + body->bytes, data, bytes);
    body->bytes += bytes;
    return ES_HTTP_STORED;
}
