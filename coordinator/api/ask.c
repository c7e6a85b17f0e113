/* What a call asks of the engine: model, sampling, limits, stops. */
#include "api/internal.h"
#include "base/size.h"

#include <errno.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASONER "deepseek-reasoner"
#define CHAT "deepseek-chat"

const char *const API_SAMPLING_FIELDS[] = {
    "model", "temperature", "top_p", "top_k", "min_p", "seed", "max_tokens", "max_completion_tokens",
    "presence_penalty", "frequency_penalty", "stop", "stop_token_ids", "ignore_eos", "logit_bias", "n",
    "best_of", "stream", "stream_options", "return_token_ids",
    /* These have no effect here, and clients send them. */
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity", NULL};

void api_read_model(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *field = json_object_get(body, "model");
    const char *name = json_string_value(field);
    ask->model = api->options.model_name;
    ask->thinks = true;
    if (field == NULL || json_is_null(field) || problem->status != 0) return;
    if (name == NULL) {
        api_problem_set(problem, 400, "invalid_type", "model", "model: not a string");
        return;
    }
    if (strcmp(name, api->options.model_name) == 0) return;
    if (strcmp(name, REASONER) == 0) {
        ask->model = REASONER;
    } else if (strcmp(name, CHAT) == 0) {
        ask->model = CHAT;
        ask->thinks = false;
    } else {
        api_problem_set(problem, 404, "model_not_found", "model",
                        "the model \"%.100s\" is not here: \"%.100s\" is, also called " REASONER " and " CHAT,
                        name, api->options.model_name);
    }
}

static void read_numbers(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    es_sampling *s = &ask->sampling;
    *s = api->chat.sampling;
    double temperature = (double)s->temperature, top_p = (double)s->top_p, min_p = (double)s->min_p;
    double top_k = (double)s->top_k, presence = 0.0, frequency = 0.0;
    api_read_number(body, "temperature", 0.0, 2.0, &temperature, problem);
    api_read_number(body, "top_p", 0.0, 1.0, &top_p, problem);
    api_read_number(body, "min_p", 0.0, 1.0, &min_p, problem);
    api_read_number(body, "top_k", -1.0, 1e9, &top_k, problem);
    api_read_number(body, "presence_penalty", -2.0, 2.0, &presence, problem);
    api_read_number(body, "frequency_penalty", -2.0, 2.0, &frequency, problem);
    s->temperature = (float)temperature;
    s->top_p = top_p > 0.0 ? (float)top_p : FLT_MIN; /* 0: the best token alone */
    s->min_p = (float)min_p;
    s->top_k = top_k > 0.0 ? (size_t)top_k : 0; /* -1 is off too, as elsewhere */
    s->presence_penalty = (float)presence;
    s->frequency_penalty = (float)frequency;
}

static void read_seed(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *seed = json_object_get(body, "seed");
    ask->sampling.seed = api_random(api);
    if (seed == NULL || json_is_null(seed)) return;
    if (!json_is_integer(seed))
        api_problem_set(problem, 400, "invalid_type", "seed", "seed: not a whole number");
    else
        ask->sampling.seed = (uint64_t)json_integer_value(seed);
}

static void add_stop(const json_t *string, api_ask *ask, api_problem *problem)
{
    if (!json_is_string(string))
        api_problem_set(problem, 400, "invalid_type", "stop", "stop: not a string or a list of strings");
    else if (ask->stops == ES_STOP_STRINGS_MAX)
        api_problem_set(problem, 400, "invalid_value", "stop", "stop: more than %d strings",
                        (int)ES_STOP_STRINGS_MAX);
    else if (json_string_length(string) == 0 || json_string_length(string) > ES_STOP_BYTES_MAX)
        api_problem_set(problem, 400, "invalid_value", "stop", "stop: a string of %zu bytes, not 1 to %d",
                        json_string_length(string), (int)ES_STOP_BYTES_MAX);
    else
        ask->stop[ask->stops++] = (es_stop_string){json_string_value(string), json_string_length(string)};
}

static void read_stops(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *stop = json_object_get(body, "stop"), *ids = json_object_get(body, "stop_token_ids");
    if (json_is_array(stop)) {
        for (size_t i = 0; i < json_array_size(stop); i++) add_stop(json_array_get(stop, i), ask, problem);
    } else if (stop != NULL && !json_is_null(stop)) {
        add_stop(stop, ask, problem);
    }
    api_read_flag(body, "ignore_eos", &ask->ignores_eos, problem);
    for (size_t i = 0; i < api->chat.stop_count && !ask->ignores_eos; i++)
        ask->stop_token[ask->stop_tokens++] = api->chat.stop[i];
    if (ids == NULL || json_is_null(ids)) return;
    bool fits = json_is_array(ids) && json_array_size(ids) <= ES_STOP_TOKENS_MAX - ask->stop_tokens;
    for (size_t i = 0; i < json_array_size(ids) && fits; i++) {
        const json_t *id = json_array_get(ids, i);
        json_int_t value = json_integer_value(id);
        fits = json_is_integer(id) && value >= 0 && (uint64_t)value < api->options.model->shape.vocab;
        if (fits) ask->stop_token[ask->stop_tokens++] = (uint32_t)value;
    }
    if (!fits)
        api_problem_set(problem, 400, "invalid_value", "stop_token_ids",
                        "stop_token_ids: not a list of tokens");
}

static bool read_token(const char *text, size_t vocab, uint32_t *ret_token)
{
    char *end;
    if (text[0] < '0' || text[0] > '9') return false;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    *ret_token = (uint32_t)value;
    return *end == '\0' && errno == 0 && value < vocab;
}

static void read_bias(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *bias = json_object_get(body, "logit_bias");
    const char *key;
    json_t *value;
    if (bias == NULL || json_is_null(bias) || problem->status != 0) return;
    if (!json_is_object(bias) || json_object_size(bias) > API_BIAS_MAX) {
        api_problem_set(problem, 400, "invalid_value", "logit_bias",
                        "logit_bias: not an object of up to %d tokens", API_BIAS_MAX);
        return;
    }
    ask->bias = calloc(json_object_size(bias) + 1, sizeof *ask->bias);
    if (ask->bias == NULL) {
        api_problem_set(problem, 503, "out_of_memory", NULL, "not enough memory");
        return;
    }
    json_object_foreach((json_t *)bias, key, value)
    {
        uint32_t token;
        double number = json_number_value(value);
        if (!read_token(key, api->options.model->shape.vocab, &token))
            api_problem_set(problem, 400, "invalid_value", "logit_bias",
                            "logit_bias: \"%.40s\" is no token of %zu", key, api->options.model->shape.vocab);
        else if (!json_is_number(value) || !(number >= -100.0 && number <= 100.0))
            api_problem_set(problem, 400, "invalid_value", "logit_bias",
                            "logit_bias: of token %s: not a number between -100 and 100", key);
        else
            ask->bias[ask->biases++] = (es_logit_bias){token, (float)number};
    }
}

static void read_limits(const json_t *body, api_ask *ask, api_problem *problem)
{
    enum { TOKENS_MAX = 1 << 30 };
    size_t best_of = 0;
    api_read_count(body, "max_tokens", 1, TOKENS_MAX, &ask->max_tokens, problem);
    api_read_count(body, "max_completion_tokens", 1, TOKENS_MAX, &ask->max_tokens, problem);
    ask->choices = 1;
    api_read_count(body, "n", 1, API_CHOICES_MAX, &ask->choices, problem);
    api_read_count(body, "best_of", 1, API_CHOICES_MAX, &best_of, problem);
    if (best_of != 0 && best_of != ask->choices)
        api_problem_set(problem, 400, "not_supported", "best_of", "best_of: only the same as n is supported");
}

static void read_stream(const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *options = json_object_get(body, "stream_options");
    api_read_flag(body, "stream", &ask->stream, problem);
    api_read_flag(body, "return_token_ids", &ask->token_ids, problem);
    if (options == NULL || json_is_null(options)) return;
    if (!json_is_object(options))
        api_problem_set(problem, 400, "invalid_type", "stream_options", "stream_options: not an object");
    api_read_flag(options, "include_usage", &ask->include_usage, problem);
}

void api_read_sampling(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    read_numbers(api, body, ask, problem);
    read_seed(api, body, ask, problem);
    read_limits(body, ask, problem);
    read_stops(api, body, ask, problem);
    read_bias(api, body, ask, problem);
    read_stream(body, ask, problem);
}

void api_ask_fini(api_ask *ask)
{
    for (size_t i = 0; i < API_CHOICES_MAX; i++) es_token_list_fini(&ask->prompt[i]);
    free(ask->bias);
    *ask = (api_ask){0};
}

size_t api_tokens_max(const es_api *api)
{
    return 2 * es_engine_context(api->options.engine);
}

void api_check_length(es_api *api, const api_ask *ask, const char *param, api_problem *problem)
{
    if (ask->too_long)
        api_problem_set(
            problem, 400, "context_length_exceeded", param,
            "the prompt is too long: more than %zu tokens; this model's maximum context length is %zu "
            "tokens, the answer included",
            api_tokens_max(api), es_engine_context(api->options.engine));
}

void api_check_context(es_api *api, const api_ask *ask, const char *param, api_problem *problem)
{
    size_t context = es_engine_context(api->options.engine);
    api_check_length(api, ask, param, problem);
    for (size_t i = 0; i < ask->prompts; i++)
        if (ask->prompt[i].count >= context)
            api_problem_set(
                problem, 400, "context_length_exceeded", param,
                "the prompt is too long: %zu tokens; this model's maximum context length is %zu tokens, "
                "the answer included",
                ask->prompt[i].count, context);
}
