/* What a body of OpenAI's /responses means in the words of /chat/completions. */
#include "api/internal.h"

#include <string.h>

static const char *const FIELDS[] = {"model", "input", "instructions", "max_output_tokens", "temperature",
                                     "top_p", "top_k", "min_p", "seed", "stream", "tools", "tool_choice",
                                     "parallel_tool_calls", "text", "reasoning", "previous_response_id",
                                     "conversation", "background",
                                     /* Without effect here: nothing is stored. */
                                     "store", "metadata", "user", "truncation", "include", "service_tier",
                                     "prompt_cache_key", "safety_identifier", "stream_options", NULL};

typedef struct translation {
    json_t *messages; /* what comes out */
    api_problem *problem;
    size_t item; /* where we are in what comes in */
} translation;

static void refuse(translation *t, unsigned status, const char *what)
{
    api_problem_set(t->problem, status, status == 422 ? "not_supported" : "invalid_value", "input",
                    "input[%zu]: %s", t->item, what);
}

static void add(translation *t, json_t *made)
{
    if (made == NULL || json_array_append_new(t->messages, made) != 0)
        api_problem_set(t->problem, 503, "out_of_memory", NULL, "not enough memory");
}

static const char *type_of(const json_t *value)
{
    const char *type = json_string_value(json_object_get(value, "type"));
    return type != NULL ? type : "";
}

/* Text, or a list of parts that are all text, as a list of chat's parts. */
static json_t *translate_content(translation *t, json_t *content)
{
    if (json_is_string(content)) return json_pack("[{s:s, s:O}]", "type", "text", "text", content);
    json_t *parts = json_array();
    if (!json_is_array(content)) refuse(t, 400, "content: neither text nor a list of parts");
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        const char *type = type_of(part);
        json_t *text = json_object_get(part, strcmp(type, "refusal") == 0 ? "refusal" : "text");
        bool is_text = strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0 ||
                       strcmp(type, "text") == 0 || strcmp(type, "refusal") == 0;
        if (!is_text)
            refuse(t, 422, "content: only text is supported");
        else if (!json_is_string(text))
            refuse(t, 400, "content: a text is no string");
        else
            json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", text));
    }
    return parts;
}

/* A call belongs to the assistant's message before it. */
static void add_call(translation *t, const json_t *item)
{
    json_t *name = json_object_get(item, "name"), *arguments = json_object_get(item, "arguments");
    json_t *last = json_array_get(t->messages, json_array_size(t->messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!json_is_string(name) || !json_is_string(arguments)) {
        refuse(t, 400, "a function_call has a name and arguments");
        return;
    }
    if (role == NULL || strcmp(role, "assistant") != 0) {
        last = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
        add(t, last);
    }
    if (json_object_get(last, "tool_calls") == NULL) json_object_set_new(last, "tool_calls", json_array());
    json_array_append_new(json_object_get(last, "tool_calls"),
                          json_pack("{s:s, s:{s:O, s:O}}", "type", "function", "function", "name", name,
                                    "arguments", arguments));
}

static void translate_item(translation *t, const json_t *item)
{
    const char *type = type_of(item);
    json_t *role = json_object_get(item, "role");
    if (strcmp(type, "reasoning") == 0) return; /* past thoughts are left out */
    if (strcmp(type, "function_call") == 0)
        add_call(t, item);
    else if (strcmp(type, "function_call_output") == 0)
        add(t, json_pack("{s:s, s:o}", "role", "tool", "content",
                         translate_content(t, json_object_get(item, "output"))));
    else if (json_is_string(role) && (type[0] == '\0' || strcmp(type, "message") == 0))
        add(t, json_pack("{s:O, s:o}", "role", role, "content",
                         translate_content(t, json_object_get(item, "content"))));
    else
        refuse(t, 422, "only messages, function calls, their outputs and reasoning are supported");
}

static void translate_input(translation *t, const json_t *body)
{
    json_t *input = json_object_get(body, "input"), *instructions = json_object_get(body, "instructions");
    if (json_is_string(instructions))
        add(t, json_pack("{s:s, s:O}", "role", "system", "content", instructions));
    else if (instructions != NULL && !json_is_null(instructions))
        api_problem_set(t->problem, 400, "invalid_type", "instructions", "instructions: not a string");
    if (json_is_string(input))
        add(t, json_pack("{s:s, s:O}", "role", "user", "content", input));
    else if (json_array_size(input) == 0)
        api_problem_set(t->problem, 400, "invalid_value", "input", "input: neither text nor a list of items");
    for (t->item = 0; t->item < json_array_size(input) && t->problem->status == 0; t->item++)
        translate_item(t, json_array_get(input, t->item));
}

/* Tools stand flat here, and within "function" there. */
static void translate_tools(const json_t *body, json_t *out, api_problem *problem)
{
    const json_t *tools = json_object_get(body, "tools");
    json_t *choice = json_object_get(body, "tool_choice"), *list = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = json_array_get(tools, i);
        if (strcmp(type_of(tool), "function") != 0)
            api_problem_set(problem, 422, "not_supported", "tools",
                            "tools[%zu]: type \"%.40s\" is not supported", i, type_of(tool));
        json_array_append_new(list, json_pack("{s:s, s:O}", "type", "function", "function", tool));
    }
    if (tools != NULL && !json_is_null(tools) && !json_is_array(tools))
        api_problem_set(problem, 400, "invalid_type", "tools", "tools: not a list");
    if (json_array_size(list) > 0) json_object_set(out, "tools", list);
    json_decref(list);
    if (choice == NULL) return;
    if (json_is_object(choice))
        json_object_set_new(out, "tool_choice",
                            json_pack("{s:s, s:O}", "type", "function", "function", choice));
    else
        json_object_set(out, "tool_choice", choice);
}

static void translate_format(const json_t *body, json_t *out)
{
    json_t *format = json_object_get(json_object_get(body, "text"), "format");
    if (format == NULL || json_is_null(format)) return;
    if (strcmp(type_of(format), "json_schema") == 0)
        json_object_set_new(out, "response_format",
                            json_pack("{s:s, s:O}", "type", "json_schema", "json_schema", format));
    else
        json_object_set(out, "response_format", format);
}

/* What would need responses that are kept. */
static void refuse_state(const json_t *body, api_problem *problem)
{
    static const char *const KEYS[] = {"previous_response_id", "conversation"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *value = json_object_get(body, KEYS[i]);
        if (value != NULL && !json_is_null(value))
            api_problem_set(problem, 422, "not_supported", KEYS[i],
                            "%s: nothing is kept here; send the conversation in input", KEYS[i]);
    }
    if (json_is_true(json_object_get(body, "background")))
        api_problem_set(problem, 422, "not_supported", "background", "background: not supported");
}

json_t *api_translate_responses(es_api *api, const json_t *body, api_problem *problem)
{
    static const char *const SAME[][2] = {{"model", "model"},
                                          {"max_output_tokens", "max_completion_tokens"},
                                          {"temperature", "temperature"},
                                          {"top_p", "top_p"},
                                          {"top_k", "top_k"},
                                          {"min_p", "min_p"},
                                          {"seed", "seed"},
                                          {"stream", "stream"},
                                          {"parallel_tool_calls", "parallel_tool_calls"}};
    json_t *out = json_object(), *effort = json_object_get(json_object_get(body, "reasoning"), "effort");
    translation t = {.messages = json_array(), .problem = problem};
    api_note_unknown(api, body, FIELDS, NULL);
    refuse_state(body, problem);
    for (size_t i = 0; i < sizeof SAME / sizeof *SAME; i++) {
        json_t *value = json_object_get(body, SAME[i][0]);
        if (value != NULL) json_object_set(out, SAME[i][1], value);
    }
    if (effort != NULL) json_object_set(out, "reasoning_effort", effort);
    translate_input(&t, body);
    json_object_set_new(out, "messages", t.messages);
    translate_tools(body, out, problem);
    translate_format(body, out);
    if (problem->status == 0) return out;
    json_decref(out);
    return NULL;
}

/* The field as it was sent, else fallback, which is taken. */
static void repeat(json_t *out, const json_t *body, const char *key, json_t *fallback)
{
    json_t *value = json_object_get(body, key);
    if (value != NULL && !json_is_null(value))
        json_object_set(out, key, value);
    else
        json_object_set(out, key, fallback);
    json_decref(fallback);
}

static int append(const char *text, size_t bytes, void *out)
{
    es_buffer_append(out, text, bytes);
    return 0;
}

void api_put_repeated(es_buffer *out, const es_api *api, const json_t *body)
{
    json_t *all = json_object();
    es_buffer text = {0};
    repeat(all, body, "instructions", json_null());
    repeat(all, body, "max_output_tokens", json_null());
    repeat(all, body, "metadata", json_object());
    repeat(all, body, "parallel_tool_calls", json_true());
    repeat(all, body, "previous_response_id", json_null());
    repeat(all, body, "reasoning", json_pack("{s:n, s:n}", "effort", "summary"));
    repeat(all, body, "temperature", json_real((double)api->chat.sampling.temperature));
    repeat(all, body, "text", json_pack("{s:{s:s}}", "format", "type", "text"));
    repeat(all, body, "tool_choice", json_string("auto"));
    repeat(all, body, "tools", json_array());
    repeat(all, body, "top_p", json_real((double)api->chat.sampling.top_p));
    repeat(all, body, "user", json_null());
    json_dump_callback(all, append, &text, JSON_COMPACT);
    json_decref(all);
    /* Without its braces. */
    if (text.failed || text.bytes < 2)
        out->failed = true;
    else
        es_buffer_append(out, text.data + 1, text.bytes - 2);
    es_buffer_fini(&text);
}
