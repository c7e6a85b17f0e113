/* What a body of Anthropic's /messages means in OpenAI's words. */
#include "api/internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const FIELDS[] = {"model", "messages", "max_tokens", "system", "stop_sequences", "stream",
                                     "temperature", "top_p", "top_k", "tools", "tool_choice", "thinking",
                                     "output_format", "output_config", "seed", "min_p",
                                     /* Without effect here. */
                                     "metadata", "service_tier", "container", "context_management", NULL};

typedef struct translation {
    json_t *messages; /* what comes out */
    api_problem *problem;
    size_t message, block; /* where we are in what comes in */
} translation;

static void refuse(translation *t, unsigned status, const char *what)
{
    api_problem_set(t->problem, status, status == 422 ? "not_supported" : "invalid_value", "messages",
                    "messages.%zu.content.%zu: %s", t->message, t->block, what);
}

/* Takes made, which is NULL for want of memory or when the text within is none. */
static void add(translation *t, json_t *made)
{
    if (made == NULL || json_array_append_new(t->messages, made) != 0)
        api_problem_set(t->problem, 503, "out_of_memory", NULL, "not enough memory");
}

static const char *type_of(const json_t *block)
{
    const char *type = json_string_value(json_object_get(block, "type"));
    return type != NULL ? type : "";
}

/* A text block as a part of OpenAI's, added to parts. */
static void add_text(translation *t, json_t *parts, const json_t *block)
{
    json_t *text = json_object_get(block, "text");
    if (!json_is_string(text))
        refuse(t, 400, "text: not a string");
    else
        json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", text));
}

static void add_result(translation *t, const json_t *block)
{
    json_t *content = json_object_get(block, "content");
    json_t *parts = json_array();
    if (json_is_string(content))
        json_array_append_new(parts, json_pack("{s:s, s:O}", "type", "text", "text", content));
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i);
        if (strcmp(type_of(part), "text") == 0)
            add_text(t, parts, part);
        else
            refuse(t, 422, "a tool's result can only be text");
    }
    add(t, json_pack("{s:s, s:o}", "role", "tool", "content", parts));
}

/* Results of tools come before the user's words, whatever their order: the layout wants them behind the
 * calls. */
static void translate_user(translation *t, const json_t *content)
{
    json_t *parts = json_array();
    for (t->block = 0; t->block < json_array_size(content); t->block++) {
        const json_t *block = json_array_get(content, t->block);
        const char *type = type_of(block);
        if (strcmp(type, "tool_result") == 0)
            add_result(t, block);
        else if (strcmp(type, "text") == 0)
            add_text(t, parts, block);
        else
            refuse(t, 422, "only text and tool_result are supported");
    }
    if (json_array_size(parts) > 0) add(t, json_pack("{s:s, s:O}", "role", "user", "content", parts));
    json_decref(parts);
}

static void add_call(translation *t, json_t *calls, const json_t *block)
{
    const json_t *name = json_object_get(block, "name"), *input = json_object_get(block, "input");
    if (!json_is_string(name) || !json_is_object(input)) {
        refuse(t, 400, "a tool_use has a name and an input");
        return;
    }
    char *arguments = json_dumps(input, 0);
    json_array_append_new(calls, arguments == NULL
                                     ? NULL
                                     : json_pack("{s:s, s:{s:O, s:s}}", "type", "function", "function",
                                                 "name", name, "arguments", arguments));
    free(arguments);
}

static void translate_assistant(translation *t, const json_t *content, bool last)
{
    json_t *parts = json_array(), *calls = json_array();
    for (t->block = 0; t->block < json_array_size(content); t->block++) {
        const json_t *block = json_array_get(content, t->block);
        const char *type = type_of(block);
        if (strcmp(type, "tool_use") == 0)
            add_call(t, calls, block);
        else if (strcmp(type, "text") == 0)
            add_text(t, parts, block);
        else if (strcmp(type, "thinking") != 0 && strcmp(type, "redacted_thinking") != 0)
            refuse(t, 422, "only text, tool_use and thinking are supported");
    }
    json_t *made = json_pack("{s:s, s:O}", "role", "assistant", "content", parts);
    if (json_array_size(calls) > 0)
        json_object_set(made, "tool_calls", calls);
    else if (last)
        json_object_set_new(made, "prefix", json_true()); /* the answer begins with these words */
    add(t, made);
    json_decref(parts);
    json_decref(calls);
}

static void translate_message(translation *t, const json_t *message, bool last)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    json_t *content = json_object_get(message, "content");
    bool user = role != NULL && strcmp(role, "user") == 0;
    bool assistant = role != NULL && strcmp(role, "assistant") == 0;
    if (!user && !assistant) {
        api_problem_set(t->problem, 400, "invalid_value", "messages",
                        "messages.%zu.role: neither user nor assistant", t->message);
    } else if (!json_is_string(content) && !json_is_array(content)) {
        api_problem_set(t->problem, 400, "invalid_value", "messages",
                        "messages.%zu.content: neither text nor a list of blocks", t->message);
    } else {
        json_t *blocks = json_is_array(content) ? json_incref(content)
                                                : json_pack("[{s:s, s:O}]", "type", "text", "text", content);
        if (user)
            translate_user(t, blocks);
        else
            translate_assistant(t, blocks, last);
        json_decref(blocks);
    }
}

static void translate_all(translation *t, const json_t *body)
{
    const json_t *messages = json_object_get(body, "messages");
    json_t *system = json_object_get(body, "system");
    size_t count = json_array_size(messages);
    if (!json_is_array(messages) || count == 0)
        api_problem_set(t->problem, 400, "invalid_value", "messages", "messages: %s",
                        json_is_array(messages) ? "empty" : "not a list");
    if (system != NULL && !json_is_null(system)) {
        if (!json_is_string(system) && !json_is_array(system))
            api_problem_set(t->problem, 400, "invalid_type", "system",
                            "system: neither text nor a list of blocks");
        add(t, json_pack("{s:s, s:O}", "role", "system", "content", system));
    }
    for (t->message = 0; t->message < count && t->problem->status == 0; t->message++)
        translate_message(t, json_array_get(messages, t->message), t->message + 1 == count);
}

static json_t *translate_tools(const json_t *tools, api_problem *problem)
{
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i), *type = json_object_get(tool, "type");
        if (type != NULL && !json_is_null(type) && strcmp(type_of(tool), "custom") != 0)
            api_problem_set(problem, 422, "not_supported", "tools",
                            "tools.%zu: type \"%.40s\" is not supported", i, type_of(tool));
        json_t *function = json_object();
        static const char *const NAMES[][2] = {{"name", "name"},
                                               {"description", "description"},
                                               {"input_schema", "parameters"},
                                               {"strict", "strict"}};
        for (size_t k = 0; k < sizeof NAMES / sizeof *NAMES; k++)
            if (json_object_get(tool, NAMES[k][0]) != NULL)
                json_object_set(function, NAMES[k][1], json_object_get(tool, NAMES[k][0]));
        json_array_append_new(list, json_pack("{s:s, s:o}", "type", "function", "function", function));
    }
    return list;
}

static void translate_choice(const json_t *choice, json_t *out, api_problem *problem)
{
    static const char *const WORDS[][2] = {{"auto", "auto"}, {"any", "required"}, {"none", "none"}};
    const char *type = type_of(choice);
    bool known = false, single = false;
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (strcmp(type, WORDS[i][0]) == 0) {
            known = true;
            json_object_set_new(out, "tool_choice", json_string(WORDS[i][1]));
        }
    json_t *name = json_object_get(choice, "name");
    if (strcmp(type, "tool") == 0 && json_is_string(name)) {
        known = true;
        json_object_set_new(out, "tool_choice",
                            json_pack("{s:s, s:{s:O}}", "type", "function", "function", "name", name));
    }
    if (!known)
        api_problem_set(problem, 400, "invalid_value", "tool_choice",
                        "tool_choice: not of type auto, any, none, or tool with a name");
    api_read_flag(choice, "disable_parallel_tool_use", &single, problem);
    if (single) json_object_set_new(out, "parallel_tool_calls", json_false());
}

/* Structured output, in the two places where clients put it. */
static void translate_format(const json_t *body, json_t *out, api_problem *problem)
{
    const json_t *format = json_object_get(body, "output_format");
    const json_t *config = json_object_get(json_object_get(body, "output_config"), "format");
    if (config != NULL) format = config;
    if (format == NULL || json_is_null(format)) return;
    json_t *schema = json_object_get(format, "schema");
    if (strcmp(type_of(format), "json_schema") != 0 || schema == NULL)
        api_problem_set(problem, 400, "invalid_value", "output_format",
                        "output_format: not of type json_schema with a schema");
    else
        json_object_set_new(out, "response_format",
                            json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name",
                                      "answer", "schema", schema));
}

json_t *api_translate_messages(es_api *api, const json_t *body, bool count, api_problem *problem)
{
    static const char *const SAME[][2] = {
        {"model", "model"}, {"max_tokens", "max_tokens"}, {"temperature", "temperature"}, {"top_p", "top_p"},
        {"top_k", "top_k"}, {"stream", "stream"},         {"thinking", "thinking"},       {"seed", "seed"},
        {"min_p", "min_p"}, {"stop_sequences", "stop"}};
    json_t *out = json_object(), *tools = json_object_get(body, "tools");
    json_t *choice = json_object_get(body, "tool_choice");
    translation t = {.messages = json_array(), .problem = problem};
    api_note_unknown(api, body, FIELDS, NULL);
    if (!count && !json_is_number(json_object_get(body, "max_tokens")))
        api_problem_set(problem, 400, "invalid_value", "max_tokens", "max_tokens: a number is required");
    for (size_t i = 0; i < sizeof SAME / sizeof *SAME; i++) {
        json_t *value = json_object_get(body, SAME[i][0]);
        if (value != NULL) json_object_set(out, SAME[i][1], value);
    }
    translate_all(&t, body);
    json_object_set_new(out, "messages", t.messages);
    if (tools != NULL && !json_is_null(tools) && !json_is_array(tools))
        api_problem_set(problem, 400, "invalid_type", "tools", "tools: not a list");
    if (json_array_size(tools) > 0) json_object_set_new(out, "tools", translate_tools(tools, problem));
    if (choice != NULL && !json_is_null(choice)) translate_choice(choice, out, problem);
    translate_format(body, out, problem);
    if (problem->status == 0) return out;
    json_decref(out);
    return NULL;
}
