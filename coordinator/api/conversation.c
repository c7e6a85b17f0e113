/* The messages of a chat, in the forms in which clients send them, to a prompt. */
#include "api/internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const CHAT_FIELDS[] = {
    "messages", "tools",    "tool_choice",  "parallel_tool_calls", "response_format",
    "thinking", "logprobs", "top_logprobs", "reasoning_effort",    "chat_template_kwargs",
    NULL};

/* Whether the answer may begin with a thought; what is said outright wins over the model's name. */
static void read_thinking(const json_t *body, api_ask *ask, api_problem *problem)
{
    const json_t *thinking = json_object_get(body, "thinking");
    const json_t *effort = json_object_get(body, "reasoning_effort");
    const json_t *kwargs = json_object_get(body, "chat_template_kwargs");
    if (effort != NULL && !json_is_null(effort)) {
        if (!json_is_string(effort))
            api_problem_set(problem, 400, "invalid_type", "reasoning_effort",
                            "reasoning_effort: not a string");
        else if (strcmp(json_string_value(effort), "none") == 0)
            ask->thinks = false;
    }
    api_read_flag(kwargs, "thinking", &ask->thinks, problem);
    api_read_flag(kwargs, "enable_thinking", &ask->thinks, problem);
    if (thinking == NULL || json_is_null(thinking)) return;
    const char *type = json_string_value(json_object_get(thinking, "type"));
    if (type == NULL)
        api_problem_set(problem, 400, "invalid_type", "thinking", "thinking: no \"type\"");
    else if (strcmp(type, "disabled") == 0)
        ask->thinks = false;
    else if (strcmp(type, "enabled") == 0 || strcmp(type, "adaptive") == 0 || strcmp(type, "auto") == 0)
        ask->thinks = true;
    else
        api_problem_set(problem, 400, "invalid_value", "thinking",
                        "thinking: type \"%.40s\" is neither enabled nor disabled", type);
}

/* Clients of other models send roles under other names. */
static json_t *layout_role(json_t *role)
{
    const char *name = json_string_value(role);
    if (name != NULL && strcmp(name, "developer") == 0) return json_string("system");
    if (name != NULL && strcmp(name, "function") == 0) return json_string("tool");
    return json_incref(role);
}

/* A call's arguments as text: some clients send them as an object. */
static json_t *layout_call(const json_t *call)
{
    const json_t *function = json_object_get(call, "function");
    json_t *arguments = json_object_get(function, "arguments");
    if (!json_is_object(arguments)) return json_incref((json_t *)call);
    char *text = json_dumps(arguments, 0);
    json_t *made = json_pack("{s:s, s:{s:O, s:s}}", "type", "function", "function", "name",
                             json_object_get(function, "name"), "arguments", text != NULL ? text : "");
    free(text);
    /* Without a name it is left to the layout, which says so. */
    return made != NULL ? made : json_incref((json_t *)call);
}

static json_t *layout_calls(const json_t *calls)
{
    if (!json_is_array(calls)) return json_incref((json_t *)calls);
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(calls); i++)
        json_array_append_new(list, layout_call(json_array_get(calls, i)));
    return list;
}

/* A message as the layout reads it. Past reasoning is left out: models are not trained to see it again. */
static json_t *layout_message(json_t *message, bool continued)
{
    if (!json_is_object(message)) return json_incref(message); /* the layout says what is wrong */
    json_t *made = json_object(), *role = json_object_get(message, "role");
    json_t *content = json_object_get(message, "content"), *calls = json_object_get(message, "tool_calls");
    json_t *reasoning = json_object_get(message, "reasoning_content");
    if (role != NULL) json_object_set_new(made, "role", layout_role(role));
    if (content != NULL) json_object_set(made, "content", content);
    if (calls != NULL && !json_is_null(calls)) json_object_set_new(made, "tool_calls", layout_calls(calls));
    if (continued && reasoning != NULL) json_object_set(made, "reasoning_content", reasoning);
    if (continued && (content == NULL || json_is_null(content)))
        json_object_set_new(made, "content", json_string(""));
    return made;
}

static json_t *layout_messages(const json_t *body, bool *ret_continued, api_problem *problem)
{
    const json_t *messages = json_object_get(body, "messages");
    size_t count = json_array_size(messages);
    *ret_continued = false;
    if (!json_is_array(messages) || count == 0) {
        api_problem_set(problem, 400, "invalid_value", "messages", "messages: %s",
                        json_is_array(messages) ? "empty" : "not a list");
        return NULL;
    }
    api_read_flag(json_array_get(messages, count - 1), "prefix", ret_continued, problem);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list,
                              layout_message(json_array_get(messages, i), *ret_continued && i + 1 == count));
    if (json_array_size(list) != count)
        api_problem_set(problem, 503, "out_of_memory", NULL, "not enough memory");
    return list;
}

/* The tools' words for the system prompt, or NULL. */
static char *tools_text(es_api *api, const json_t *body, es_chat_layout *layout, es_constrain_request *form,
                        api_problem *problem)
{
    es_err err;
    char *text = NULL;
    es_status status = es_constrain_read(body, form, &err);
    if (status == ES_OK && form->tools != NULL && form->choice != ES_TOOLS_NONE)
        status =
            es_constrain_render_tools(form, &text, &layout->tools_bytes, &layout->tools_quoted_bytes, &err);
    if (status != ES_OK) api_problem_from(problem, api, &err);
    layout->tools = text;
    return text;
}

/* Calls use with the layout of body's conversation, whose parts live as long as it runs. */
typedef es_status use_fn(es_api *api, const es_chat_layout *layout, void *context, es_err *err);

static void with_layout(es_api *api, const json_t *body, bool thinks, es_constrain_request *ret_form,
                        use_fn *use, void *context, api_problem *problem)
{
    es_err err;
    bool continued;
    es_chat_layout layout = {.opening = thinks ? ES_CHAT_OPEN_ANSWER : ES_CHAT_OPEN_UNTHOUGHT};
    json_t *messages = layout_messages(body, &continued, problem);
    char *tools = tools_text(api, body, &layout, ret_form, problem);
    layout.messages = messages;
    if (continued) layout.opening = ES_CHAT_OPEN_CONTINUED;
    bool forced = ret_form->form != ES_ANSWER_FREE || ret_form->choice == ES_TOOLS_REQUIRED ||
                  ret_form->choice == ES_TOOLS_NAMED;
    if (continued && forced)
        api_problem_set(problem, 400, "not_supported", "messages",
                        "prefix: not together with a response_format or a forced tool");
    if (problem->status == 0 && use(api, &layout, context, &err) != ES_OK)
        api_problem_from(problem, api, &err);
    json_decref(messages);
    free(tools);
}

static es_status use_as_text(es_api *api, const es_chat_layout *layout, void *context, es_err *err)
{
    return es_chat_lay_out(&api->chat.format, layout, context, err);
}

void api_lay_out(es_api *api, const json_t *body, api_ask *ask, es_chat_text *ret_text, api_problem *problem)
{
    *ret_text = (es_chat_text){0};
    read_thinking(body, ask, problem);
    with_layout(api, body, ask->thinks, &ask->form, use_as_text, ret_text, problem);
}

static es_status use_as_tokens(es_api *api, const es_chat_layout *layout, void *context, es_err *err)
{
    api_ask *ask = context;
    ask->continued = layout->opening == ES_CHAT_OPEN_CONTINUED;
    es_chat_tokens tokens = {0};
    es_status status = es_chat_model_encode(&api->chat, layout, api_tokens_max(api), &tokens, err);
    ask->prompt[0] = tokens.list;
    ask->in_thought = tokens.thinking;
    ask->too_long = tokens.more;
    return status;
}

void api_encode_chat(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    read_thinking(body, ask, problem);
    with_layout(api, body, ask->thinks, &ask->form, use_as_tokens, ask, problem);
    ask->prompts = 1;
    ask->splits = true;
    api_check_length(api, ask, "messages", problem);
}

void api_read_chat(es_api *api, const json_t *body, api_ask *ask, api_problem *problem)
{
    bool logprobs = false;
    api_note_unknown(api, body, CHAT_FIELDS, API_SAMPLING_FIELDS);
    api_read_model(api, body, ask, problem);
    api_read_sampling(api, body, ask, problem);
    api_read_flag(body, "logprobs", &logprobs, problem);
    api_read_count(body, "top_logprobs", 0, ES_TOP_LOGPROBS_MAX, &ask->top_logprobs, problem);
    if (ask->top_logprobs > 0 && !logprobs)
        api_problem_set(problem, 400, "invalid_value", "top_logprobs",
                        "top_logprobs: needs logprobs to be true");
    ask->logprobs = logprobs;
    if (problem->status == 0) api_encode_chat(api, body, ask, problem);
    api_check_context(api, ask, "messages", problem);
    if (ask->ignores_eos && es_constrain_is_needed(&ask->form))
        api_problem_set(problem, 400, "not_supported", "ignore_eos",
                        "ignore_eos: not together with a response_format or tools");
}
