/* Places in the queue, counted by key. */
#include "sched/places.h"

#include <pthread.h>
#include <stdlib.h>

typedef struct key_places {
    uint64_t key;
    size_t taken; /* at least 1 */
} key_places;

struct es_places {
    pthread_mutex_t lock;
    size_t places_max, key_max;
    size_t taken;
    size_t keys;
    key_places key[]; /* [places_max], the first keys of them in use */
};

es_status es_places_create(size_t places_max, size_t key_max, es_places **ret_places, es_err *err)
{
    ES_ASSERT(places_max >= 1 && key_max >= 1);
    es_places *made = calloc(1, sizeof *made + places_max * sizeof made->key[0]);
    *ret_places = made;
    if (made == NULL) return es_err_set(err, ES_NO_MEMORY, "queue of %zu requests", places_max);
    pthread_mutex_init(&made->lock, NULL);
    made->places_max = places_max;
    made->key_max = key_max;
    return ES_OK;
}

void es_places_destroy(es_places **places)
{
    if (*places == NULL) return;
    pthread_mutex_destroy(&(*places)->lock);
    free(*places);
    *places = NULL;
}

static key_places *find(es_places *p, uint64_t key)
{
    for (size_t i = 0; i < p->keys; i++)
        if (p->key[i].key == key) return &p->key[i];
    return NULL;
}

static es_status take(es_places *p, uint64_t key, es_err *err)
{
    key_places *of_key = find(p, key);
    if (p->taken == p->places_max)
        return es_err_set(err, ES_BUSY, "the queue is full: %zu requests wait", p->taken);
    if (of_key != NULL && of_key->taken == p->key_max)
        return es_err_set(err, ES_BUSY, "the queue is full for this key: %zu of its requests wait",
                          of_key->taken);
    if (of_key == NULL) {
        of_key = &p->key[p->keys++];
        *of_key = (key_places){.key = key};
    }
    of_key->taken++;
    p->taken++;
    return ES_OK;
}

es_status es_places_take(es_places *places, uint64_t key, es_err *err)
{
    pthread_mutex_lock(&places->lock);
    es_status status = take(places, key, err);
    pthread_mutex_unlock(&places->lock);
    return status;
}

void es_places_give(es_places *places, uint64_t key)
{
    pthread_mutex_lock(&places->lock);
    key_places *of_key = find(places, key);
    ES_ASSERT(of_key != NULL);
    places->taken--;
    if (--of_key->taken == 0) *of_key = places->key[--places->keys];
    pthread_mutex_unlock(&places->lock);
}

size_t es_places_count(es_places *places)
{
    pthread_mutex_lock(&places->lock);
    size_t taken = places->taken;
    pthread_mutex_unlock(&places->lock);
    return taken;
}
