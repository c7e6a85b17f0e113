/* Compiled forms by what was asked for: agents send the same tools with every turn, and what was learned
 * about them (masks of the whole vocabulary) is worth more than the compiling. */
#include "api/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int append(const char *text, size_t bytes, void *out)
{
    es_buffer_append(out, text, bytes);
    return 0;
}

/* All that the compiler looks at. The order of keys counts: members come in the order of their schema. */
static void put_key(const api_ask *ask, uint32_t behind, es_buffer *out)
{
    const es_constrain_request *f = &ask->form;
    json_put(out, "%d %d %d %zu %d %u ", (int)f->form, f->schema_lenient, (int)f->choice, f->tool,
             f->parallel, (unsigned)behind);
    if (f->schema != NULL) json_dump_callback(f->schema, append, out, JSON_COMPACT | JSON_ENCODE_ANY);
    if (f->tools != NULL) json_dump_callback(f->tools, append, out, JSON_COMPACT);
}

/* The plan that is kept for the key, held once more, or NULL. */
static es_constraint_plan *find(api_plans *plans, const es_buffer *key)
{
    es_constraint_plan *found = NULL;
    pthread_mutex_lock(&plans->lock);
    for (size_t i = 0; i < API_PLANS_MAX && found == NULL; i++) {
        api_plan *p = &plans->place[i];
        if (p->plan == NULL || p->bytes != key->bytes || memcmp(p->key, key->data, key->bytes) != 0) continue;
        p->used = ++plans->uses;
        found = es_constraint_plan_hold(p->plan);
    }
    pthread_mutex_unlock(&plans->lock);
    return found;
}

/* Keeps it in place of the one that went unused longest. Takes the key. */
static void keep(api_plans *plans, es_buffer *key, es_constraint_plan *plan)
{
    size_t bytes;
    char *text = es_buffer_take(key, &bytes);
    if (text == NULL) return;
    pthread_mutex_lock(&plans->lock);
    api_plan *oldest = &plans->place[0];
    for (size_t i = 1; i < API_PLANS_MAX; i++)
        if (plans->place[i].used < oldest->used) oldest = &plans->place[i];
    api_plan out = *oldest;
    *oldest = (api_plan){text, bytes, es_constraint_plan_hold(plan), ++plans->uses};
    pthread_mutex_unlock(&plans->lock);
    free(out.key);
    es_constraint_plan_release(&out.plan);
}

es_status api_plan_get(es_api *api, const api_ask *ask, es_constraint_plan **ret_plan, es_err *err)
{
    uint32_t behind = ask->in_thought ? api->chat.think_end : ES_TOKEN_NONE;
    es_buffer key = {0};
    put_key(ask, behind, &key);
    bool keeps = !key.failed && key.bytes <= API_PLAN_KEY_MAX;
    *ret_plan = keeps ? find(&api->plans, &key) : NULL;
    es_status status = ES_OK;
    if (*ret_plan == NULL) {
        status = es_constrain_compile(api->trie, &ask->form, behind, ret_plan, err);
        if (status == ES_OK && keeps) keep(&api->plans, &key, *ret_plan);
    }
    es_buffer_fini(&key);
    return status;
}

void api_plans_fini(api_plans *plans)
{
    for (size_t i = 0; i < API_PLANS_MAX; i++) {
        free(plans->place[i].key);
        es_constraint_plan_release(&plans->place[i].plan);
    }
    pthread_mutex_destroy(&plans->lock);
}
