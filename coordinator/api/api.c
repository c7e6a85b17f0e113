/* The API: what it is made of, and which call a path means. */
#include "api/api.h"

#include "api/internal.h"
#include "base/clock.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef struct route {
    const char *method, *path; /* a path that ends with / has a rest */
    api_handler *handler;
} route;

static const route ROUTES[] = {
    {"POST", "/chat/completions", api_chat_completions},
    {"POST", "/completions", api_completions},
    {"POST", "/messages", api_messages},
    {"POST", "/messages/count_tokens", api_count_tokens},
    {"GET", "/models", api_models},
    {"GET", "/models/", api_model},
    {"POST", "/responses", api_responses},
    {"POST", "/tokenize", api_tokenize},
    {"POST", "/detokenize", api_detokenize},
    {"POST", "/apply-template", api_apply_template},
    {"GET", "/props", api_props},
    {"GET", "/version", api_version},
    {"POST", "/embeddings", api_embeddings},
};

static es_status open_text(es_api *api, es_err *err)
{
    const es_api_options *o = &api->options;
    es_status status = es_chat_model_open(o->model_dir, o->style, o->model, &api->chat, err);
    if (status != ES_OK) return status;
    return es_token_trie_create(api->chat.tokenizer, o->model->shape.vocab, api->chat.stop,
                                api->chat.stop_count, &api->trie, err);
}

es_status es_api_create(const es_api_options *options, es_api **ret_api, es_err *err)
{
    *ret_api = NULL;
    if (!es_utf8_is_valid(options->model_name, strlen(options->model_name)))
        return es_err_set(err, ES_INVALID, "the model's name is not UTF-8");
    es_api *api = calloc(1, sizeof *api);
    if (api == NULL) return es_err_set(err, ES_NO_MEMORY, "api");
    unsigned long long seed;
    pthread_mutex_init(&api->unknown.lock, NULL);
    pthread_mutex_init(&api->plans.lock, NULL);
    api->options = *options;
    api->created = time(NULL);
    const uint8_t *f = options->model->fingerprint;
    snprintf(api->fingerprint, sizeof api->fingerprint, "fp_%02x%02x%02x%02x%02x", f[0], f[1], f[2], f[3],
             f[4]);
    es_status status = getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed
                           ? open_text(api, err)
                           : es_err_set(err, ES_IO, "the system gives no random numbers");
    if (status != ES_OK) {
        es_api_destroy(&api);
        return status;
    }
    atomic_init(&api->chance, seed);
    *ret_api = api;
    return ES_OK;
}

void es_api_destroy(es_api **api)
{
    if (*api == NULL) return;
    api_plans_fini(&(*api)->plans);
    es_token_trie_destroy(&(*api)->trie);
    es_chat_model_fini(&(*api)->chat);
    pthread_mutex_destroy(&(*api)->unknown.lock);
    free(*api);
    *api = NULL;
}

/* splitmix64. */
uint64_t api_random(es_api *api)
{
    uint64_t x = atomic_fetch_add(&api->chance, 0x9E3779B97F4A7C15u) + 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

void api_make_id(es_api *api, const char *prefix, char ret_id[API_ID_BYTES])
{
    unsigned long long high = api_random(api), low = api_random(api);
    snprintf(ret_id, API_ID_BYTES, "%s%016llx%08llx", prefix, high, low & 0xFFFFFFFFu);
}

const char *api_id_behind_prefix(const char *id)
{
    const char *line = strchr(id, '_');
    return line != NULL ? line + 1 : id;
}

static const char *match(const route *r, const char *path)
{
    size_t bytes = strlen(r->path);
    bool has_rest = r->path[bytes - 1] == '/';
    if (has_rest) return strncmp(path, r->path, bytes) == 0 && path[bytes] != '\0' ? path + bytes : NULL;
    return strcmp(path, r->path) == 0 ? path + bytes : NULL;
}

static void dispatch(es_api_call *call, const es_api_request *request, api_problem *problem)
{
    const char *allowed = NULL;
    for (size_t i = 0; i < sizeof ROUTES / sizeof *ROUTES; i++) {
        const char *rest = match(&ROUTES[i], request->path);
        if (rest == NULL) continue;
        allowed = ROUTES[i].method;
        if (strcmp(request->method, allowed) != 0) continue;
        ROUTES[i].handler(call, request, rest, problem);
        return;
    }
    problem->allow = allowed;
    if (allowed != NULL)
        api_problem_set(problem, 405, "method_not_allowed", NULL, "%.100s: only %s", request->path, allowed);
    else
        api_problem_set(problem, 404, "not_found", NULL, "%.100s: there is no such path", request->path);
}

static bool is_anthropic(const es_api_request *request)
{
    static const char MESSAGES[] = "/messages";
    return strncmp(request->path, MESSAGES, sizeof MESSAGES - 1) == 0 ||
           (request->version != NULL && strncmp(request->path, "/models", 7) == 0);
}

es_api_call *es_api_begin(es_api *api, const es_api_request *request)
{
    api_problem problem = {0};
    es_api_call *call = calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    call->api = api;
    call->begun_ns = es_clock_now_ns();
    call->family = is_anthropic(request) ? API_ANTHROPIC : API_OPENAI;
    dispatch(call, request, &problem);
    if (problem.status != 0) api_call_refuse(call, &problem);
    return call;
}
