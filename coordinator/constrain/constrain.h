/* What a chat request asks of its answer's form, and the constraint that makes it so. */
#ifndef ES_CONSTRAIN_CONSTRAIN_H
#define ES_CONSTRAIN_CONSTRAIN_H

#include "constrain/token_trie.h"
#include "essaim/constraint.h"

#include <jansson.h>

enum { ES_TOOLS_MAX = 128, ES_TOOL_NAME_MAX = 64, ES_TOOL_CALLS_MAX = 128 };

typedef enum es_answer_form { ES_ANSWER_FREE, ES_ANSWER_JSON_OBJECT, ES_ANSWER_JSON_SCHEMA } es_answer_form;
typedef enum es_tool_choice {
    ES_TOOLS_NONE,
    ES_TOOLS_AUTO,
    ES_TOOLS_REQUIRED,
    ES_TOOLS_NAMED
} es_tool_choice;

/* Pointers are borrowed from the request's JSON. */
typedef struct es_constrain_request {
    es_answer_form form;
    const json_t *schema; /* of ES_ANSWER_JSON_SCHEMA */
    bool schema_lenient;  /* "strict": false */
    const json_t *tools;  /* a checked list of one or more, or NULL */
    es_tool_choice choice;
    size_t tool;   /* of ES_TOOLS_NAMED: its place in the list */
    bool parallel; /* more than one call in an answer */
} es_constrain_request;

/* Reads response_format, tools, tool_choice and parallel_tool_calls of a chat completion's body. Errors name
 * the field: ES_INVALID, ES_UNSUPPORTED. */
es_status es_constrain_read(const json_t *body, es_constrain_request *ret_request, es_err *err);

/* Whether the answer's form is constrained at all. */
bool es_constrain_is_needed(const es_constrain_request *request);

/* What an answer is held to. begin_after: the token that ends the reasoning (</think>), before which all
 * text is free; ES_TOKEN_NONE when the answer begins at once. Schemas are read, not kept. Errors name the
 * field and the keyword ("response_format: properties.x: 'multipleOf' is not supported"). */
es_status es_constrain_compile(const es_token_trie *trie, const es_constrain_request *request,
                               uint32_t begin_after, es_constraint_plan **ret_plan, es_err *err);

/* The text that tells the model of its tools, for the end of the system prompt (docs/structured-output.md
 * shows it). request->tools is not NULL. *ret_text is malloc'd, NUL-terminated, yours; its first
 * *ret_quoted_bytes hold the tools' own words, only behind them a layout token is meant as one. */
es_status es_constrain_render_tools(const es_constrain_request *request, char **ret_text, size_t *ret_bytes,
                                    size_t *ret_quoted_bytes, es_err *err);

#endif
