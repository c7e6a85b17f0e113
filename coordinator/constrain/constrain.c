/* From a request to a grammar: reasoning, then text, JSON or calls of tools. */
#include "constrain/constrain.h"

#include "constrain/constraint.h"
#include "constrain/schema.h"

#include <stdlib.h>
#include <string.h>

enum { LEAD_NEWLINES_MAX = 2 };

static const char *tool_name(const json_t *tool)
{
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

/* Letters, digits, '_', '-' and '.': what every client sends, and what no layout mistakes for its own. */
static bool is_name(const json_t *name)
{
    const char *text = json_string_value(name);
    size_t bytes = text != NULL ? json_string_length(name) : 0;
    return bytes > 0 && bytes <= ES_TOOL_NAME_MAX &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.") == bytes;
}

static es_status check_tool(const json_t *tools, size_t index, es_err *err)
{
    const json_t *tool = json_array_get(tools, index), *function = json_object_get(tool, "function");
    const char *type = json_string_value(json_object_get(tool, "type"));
    const json_t *parameters = json_object_get(function, "parameters"),
                 *strict = json_object_get(function, "strict");
    if (type == NULL || strcmp(type, "function") != 0)
        return es_err_set(err, ES_UNSUPPORTED, "type: only \"function\" is supported");
    if (!json_is_object(function)) return es_err_set(err, ES_INVALID, "function: not an object");
    if (!is_name(json_object_get(function, "name")))
        return es_err_set(err, ES_INVALID, "function.name: not 1 to %d of a-z, A-Z, 0-9, '_', '-' and '.'",
                          (int)ES_TOOL_NAME_MAX);
    if (parameters != NULL && !json_is_null(parameters) && !json_is_object(parameters))
        return es_err_set(err, ES_INVALID, "function.parameters: not a JSON Schema");
    if (strict != NULL && !json_is_null(strict) && !json_is_boolean(strict))
        return es_err_set(err, ES_INVALID, "function.strict: not true or false");
    for (size_t i = 0; i < index; i++)
        if (strcmp(tool_name(json_array_get(tools, i)), tool_name(tool)) == 0)
            return es_err_set(err, ES_INVALID, "function.name: \"%s\" is there already", tool_name(tool));
    return ES_OK;
}

static es_status read_tools(const json_t *tools, es_constrain_request *request, es_err *err)
{
    if (tools == NULL || json_is_null(tools)) return ES_OK;
    if (!json_is_array(tools)) return es_err_set(err, ES_INVALID, "tools: not a list");
    if (json_array_size(tools) > ES_TOOLS_MAX)
        return es_err_set(err, ES_INVALID, "tools: %zu, more than the %d allowed", json_array_size(tools),
                          (int)ES_TOOLS_MAX);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        es_status status = check_tool(tools, i, err);
        if (status != ES_OK) {
            es_err_prefix(err, "tools[%zu]", i);
            return status;
        }
    }
    if (json_array_size(tools) == 0) return ES_OK;
    request->tools = tools;
    request->choice = ES_TOOLS_AUTO;
    return ES_OK;
}

static es_status read_choice(const json_t *choice, es_constrain_request *request, es_err *err)
{
    if (choice == NULL || json_is_null(choice)) return ES_OK;
    const char *word = json_string_value(choice);
    const char *name = tool_name(choice), *type = json_string_value(json_object_get(choice, "type"));
    bool named = type != NULL && strcmp(type, "function") == 0 && name != NULL;
    if (word != NULL && strcmp(word, "none") == 0) {
        request->choice = ES_TOOLS_NONE;
        return ES_OK;
    }
    bool required = word != NULL && strcmp(word, "required") == 0;
    if (!named && !required && (word == NULL || strcmp(word, "auto") != 0))
        return es_err_set(err, ES_INVALID,
                          "tool_choice: not \"none\", \"auto\", \"required\" or {\"type\": \"function\", "
                          "\"function\": {\"name\": …}}");
    if (request->tools == NULL) {
        if (!named && !required) return ES_OK;
        return es_err_set(err, ES_INVALID, "tool_choice: there are no tools");
    }
    request->choice = named ? ES_TOOLS_NAMED : required ? ES_TOOLS_REQUIRED : ES_TOOLS_AUTO;
    if (!named) return ES_OK;
    for (size_t i = 0; i < json_array_size(request->tools); i++)
        if (strcmp(tool_name(json_array_get(request->tools, i)), name) == 0) {
            request->tool = i;
            return ES_OK;
        }
    return es_err_set(err, ES_INVALID, "tool_choice: there is no tool \"%.64s\"", name);
}

static es_status read_form(const json_t *format, es_constrain_request *request, es_err *err)
{
    if (format == NULL || json_is_null(format)) return ES_OK;
    const char *type = json_string_value(json_object_get(format, "type"));
    if (type == NULL) return es_err_set(err, ES_INVALID, "response_format: no \"type\"");
    if (strcmp(type, "text") == 0) return ES_OK;
    if (strcmp(type, "json_object") == 0) {
        request->form = ES_ANSWER_JSON_OBJECT;
        return ES_OK;
    }
    if (strcmp(type, "json_schema") != 0)
        return es_err_set(err, ES_INVALID,
                          "response_format: type \"%.40s\" is not text, json_object or json_schema", type);
    const json_t *wrapped = json_object_get(format, "json_schema");
    request->form = ES_ANSWER_JSON_SCHEMA;
    request->schema = json_object_get(wrapped, "schema");
    request->schema_lenient = json_is_false(json_object_get(wrapped, "strict"));
    if (json_is_object(request->schema) || json_is_boolean(request->schema)) return ES_OK;
    return es_err_set(err, ES_INVALID, "response_format: json_schema.schema is not a JSON Schema");
}

es_status es_constrain_read(const json_t *body, es_constrain_request *ret_request, es_err *err)
{
    *ret_request = (es_constrain_request){.parallel = true};
    const json_t *parallel = json_object_get(body, "parallel_tool_calls");
    if (parallel != NULL && !json_is_null(parallel) && !json_is_boolean(parallel))
        return es_err_set(err, ES_INVALID, "parallel_tool_calls: not true or false");
    ret_request->parallel = !json_is_false(parallel);
    es_status status = read_tools(json_object_get(body, "tools"), ret_request, err);
    if (status == ES_OK) status = read_choice(json_object_get(body, "tool_choice"), ret_request, err);
    if (status == ES_OK) status = read_form(json_object_get(body, "response_format"), ret_request, err);
    return status;
}

bool es_constrain_is_needed(const es_constrain_request *request)
{
    return request->form != ES_ANSWER_FREE || request->tools != NULL;
}

static es_node free_text(es_grammar *g)
{
    return es_grammar_repeat(g, es_grammar_range(g, 0, ES_GRAMMAR_BYTE_VALUES - 1), 0, ES_GRAMMAR_ENDLESS);
}

/* What models put between </think> and the answer. */
static es_node lead(es_grammar *g)
{
    return es_grammar_repeat(g, es_grammar_text(g, "\n"), 0, LEAD_NEWLINES_MAX);
}

static es_status compile_form(es_grammar *g, const es_constrain_request *request, es_node *ret_node,
                              es_err *err)
{
    es_node value;
    es_status status = ES_OK;
    if (request->form == ES_ANSWER_FREE) {
        *ret_node = free_text(g);
        return ES_OK;
    }
    es_schema_mode mode = request->schema_lenient ? ES_SCHEMA_LENIENT : ES_SCHEMA_EXACT;
    if (request->form == ES_ANSWER_JSON_SCHEMA)
        status = es_schema_compile(g, request->schema, mode, false, &value, err);
    else
        value = es_schema_any_object(g);
    if (status != ES_OK)
        es_err_prefix(err, "response_format");
    else
        *ret_node = ES_SEQ(g, lead(g), value);
    return status;
}

/* NAME, its arguments in their fence. */
static es_status compile_tool(es_grammar *g, const es_constrain_request *request, size_t index,
                              es_node *ret_node, es_err *err)
{
    const json_t *tool = json_array_get(request->tools, index), *function = json_object_get(tool, "function");
    const json_t *parameters = json_object_get(function, "parameters");
    es_schema_mode mode =
        json_is_true(json_object_get(function, "strict")) ? ES_SCHEMA_EXACT : ES_SCHEMA_LENIENT;
    es_node arguments = ES_NODE_NEVER;
    if (parameters == NULL || json_is_null(parameters)) {
        arguments = es_grammar_text(g, "{}");
    } else {
        es_status status = es_schema_compile(g, parameters, mode, true, &arguments, err);
        if (status != ES_OK) {
            es_err_prefix(err, "tools[%zu].function.parameters", index);
            return status;
        }
    }
    *ret_node = ES_SEQ(g, es_grammar_text(g, tool_name(tool)), es_grammar_text(g, "\n```json\n"), arguments,
                       es_grammar_text(g, "\n```"));
    return ES_OK;
}

/* The published layout of calls (text/chat_template.c renders it). */
static es_status compile_calls(es_grammar *g, const es_token_trie *trie, const es_constrain_request *request,
                               es_node *ret_node, es_err *err)
{
    if (trie->calls_begin == ES_TOKEN_NONE || trie->calls_end == ES_TOKEN_NONE ||
        trie->call_begin == ES_TOKEN_NONE || trie->call_end == ES_TOKEN_NONE ||
        trie->separator == ES_TOKEN_NONE)
        return es_err_set(err, ES_UNSUPPORTED, "tools: this model's tokenizer has no tokens for them");
    es_node tools[ES_TOOLS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(request->tools); i++) {
        if (request->choice == ES_TOOLS_NAMED && i != request->tool) continue;
        es_status status = compile_tool(g, request, i, &tools[count++], err);
        if (status != ES_OK) return status;
    }
    es_node call = ES_SEQ(g, es_grammar_mark(g, trie->call_begin), es_grammar_text(g, "function"),
                          es_grammar_mark(g, trie->separator), es_grammar_alt(g, tools, count),
                          es_grammar_mark(g, trie->call_end));
    bool single = !request->parallel || request->choice == ES_TOOLS_NAMED;
    es_node more = es_grammar_repeat(g, ES_SEQ(g, es_grammar_text(g, "\n"), call), 0, ES_TOOL_CALLS_MAX - 1);
    *ret_node = ES_SEQ(g, es_grammar_mark(g, trie->calls_begin), call, single ? ES_NODE_EMPTY : more,
                       es_grammar_mark(g, trie->calls_end));
    return ES_OK;
}

static es_status compile_answer(es_grammar *g, const es_token_trie *trie, const es_constrain_request *request,
                                es_node *ret_node, es_err *err)
{
    es_node form = ES_NODE_NEVER, calls = ES_NODE_NEVER;
    bool forced = request->choice == ES_TOOLS_REQUIRED || request->choice == ES_TOOLS_NAMED;
    es_status status = ES_OK;
    if (!forced) status = compile_form(g, request, &form, err);
    if (status != ES_OK || request->choice == ES_TOOLS_NONE) {
        *ret_node = form;
        return status;
    }
    status = compile_calls(g, trie, request, &calls, err);
    if (status != ES_OK) return status;
    if (forced)
        *ret_node = ES_SEQ(g, lead(g), calls);
    else if (request->form == ES_ANSWER_FREE)
        *ret_node = ES_SEQ(g, form, es_grammar_optional(g, calls));
    else
        *ret_node = ES_ALT(g, form, ES_SEQ(g, lead(g), calls));
    return ES_OK;
}

es_status es_constrain_compile(const es_token_trie *trie, const es_constrain_request *request,
                               uint32_t begin_after, es_constraint_plan **ret_plan, es_err *err)
{
    *ret_plan = NULL;
    es_grammar *g = es_grammar_create();
    if (g == NULL) return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    es_node answer = ES_NODE_NEVER;
    es_status status = compile_answer(g, trie, request, &answer, err);
    if (status == ES_OK && begin_after != ES_TOKEN_NONE)
        answer = ES_SEQ(g, free_text(g), es_grammar_mark(g, begin_after), answer);
    if (status == ES_OK) {
        status = es_grammar_finish(g, answer, err);
        const char *field = request->form == ES_ANSWER_JSON_SCHEMA ? "response_format" : "tools";
        if (status != ES_OK) es_err_prefix(err, "%s", field);
    }
    if (status != ES_OK) {
        es_grammar_destroy(&g);
        return status;
    }
    return es_constraint_plan_create(trie, &g, ret_plan, err);
}
