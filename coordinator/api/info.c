/* What is served: models, properties, version; and what is not. */
#include "api/internal.h"

#include <stdio.h>
#include <string.h>

static const char *const ALIASES[] = {"deepseek-reasoner", "deepseek-chat"};

static void put_openai_model(es_api_call *call, const char *name)
{
    json_put(&call->out, "{\"id\":");
    json_put_text(&call->out, name);
    json_put(&call->out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"essaim\",\"root\":",
             (long long)call->api->created);
    json_put_text(&call->out, call->api->options.model_name);
    json_put(&call->out, ",\"max_model_len\":%zu}", es_engine_context(call->api->options.engine));
}

static void put_anthropic_model(es_api_call *call, const char *name)
{
    char when[32];
    struct tm tm;
    gmtime_r(&call->api->created, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_put(&call->out, "{\"type\":\"model\",\"id\":");
    json_put_text(&call->out, name);
    json_put(&call->out, ",\"display_name\":");
    json_put_text(&call->out, name);
    json_put(&call->out, ",\"created_at\":\"%s\"}", when);
}

static void put_model(es_api_call *call, const char *name)
{
    if (call->family == API_ANTHROPIC)
        put_anthropic_model(call, name);
    else
        put_openai_model(call, name);
}

void api_models(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)request, (void)rest, (void)problem;
    const char *own = call->api->options.model_name;
    json_put(&call->out, call->family == API_ANTHROPIC ? "{\"data\":[" : "{\"object\":\"list\",\"data\":[");
    put_model(call, own);
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++) {
        if (strcmp(ALIASES[i], own) == 0) continue;
        json_put(&call->out, ",");
        put_model(call, ALIASES[i]);
    }
    json_put(&call->out, "]");
    if (call->family == API_ANTHROPIC) {
        json_put(&call->out, ",\"has_more\":false,\"first_id\":");
        json_put_text(&call->out, own);
        json_put(&call->out, ",\"last_id\":\"%s\"", ALIASES[1]);
    }
    json_put(&call->out, "}");
    api_call_answer(call);
}

void api_model(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)request;
    api_ask ask = {0};
    json_t *body = json_pack("{s:s}", "model", rest);
    if (body == NULL) /* a path that is not UTF-8 */
        api_problem_set(problem, 404, "model_not_found", "model", "there is no such model");
    else
        api_read_model(call->api, body, &ask, problem);
    json_decref(body);
    if (problem->status != 0) return;
    put_model(call, ask.model);
    api_call_answer(call);
}

void api_props(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)request, (void)rest, (void)problem;
    const es_api *api = call->api;
    const es_sampling *s = &api->chat.sampling;
    json_put(&call->out, "{\"model\":");
    json_put_text(&call->out, api->options.model_name);
    json_put(&call->out, ",\"context\":%zu,\"vocabulary\":%zu,\"chat_layout\":\"%s\",\"reasons\":%s",
             es_engine_context(api->options.engine), api->options.model->shape.vocab,
             es_chat_style_name(api->chat.format.style),
             api->chat.format.style == ES_CHAT_R1 ? "true" : "false");
    json_put(&call->out, ",\"version\":\"" ESSAIM_VERSION "\",\"system_fingerprint\":\"%s\"",
             api->fingerprint);
    json_put(&call->out, ",\"default_generation_settings\":{\"temperature\":");
    json_put_real(&call->out, (double)s->temperature);
    json_put(&call->out, ",\"top_p\":");
    json_put_real(&call->out, (double)s->top_p);
    json_put(&call->out, ",\"min_p\":");
    json_put_real(&call->out, (double)s->min_p);
    json_put(&call->out, ",\"top_k\":%zu,\"n_ctx\":%zu}}", s->top_k, es_engine_context(api->options.engine));
    api_call_answer(call);
}

void api_version(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)request, (void)rest, (void)problem;
    json_put(&call->out, "{\"version\":\"" ESSAIM_VERSION "\"}");
    api_call_answer(call);
}

void api_embeddings(es_api_call *call, const es_api_request *request, const char *rest, api_problem *problem)
{
    (void)call, (void)request, (void)rest;
    api_problem_set(problem, 422, "not_supported", NULL,
                    "embeddings: this model writes text and has no embeddings; use a model made for them");
}
