/* Messages to text in the layouts of R1 and V3.
 *
 * Both follow the templates published with the models to the letter, oddities included, since the models were
 * trained on what those render: V3's closes a round of tool calls only after its second call, and takes every
 * call after the conversation's first for a further one of the same round. R1's rounds are closed one by one,
 * as the model writes them itself. */
#include "text/chat_template.h"

#include "text/buffer.h"
#include "text/chat_tokens.h"

#include <stdlib.h>
#include <string.h>

typedef enum role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_COUNT } role;

static const char *const ROLE_NAMES[ROLE_COUNT] = {"system", "user", "assistant", "tool"};

typedef struct message {
    role role;
    bool has_content; /* false for null and for none */
    es_buffer content;
    const json_t *calls; /* a non-empty array, or NULL */
} message;

typedef struct renderer {
    const es_chat_format *format;
    es_buffer out;
    es_buffer quoted; /* es_text_span[] */
    bool called;      /* V3: some call has been rendered */
    bool in_output;   /* the last thing rendered is a tool's output */
    bool answered;    /* V3: some tool's output has been rendered */
    size_t continued; /* index of the message that is to be continued; SIZE_MAX: none */
} renderer;

static es_status read_parts(const json_t *parts, message *m, es_err *err)
{
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        if (type == NULL) return es_err_set(err, ES_INVALID, "content[%zu].type: not a string", i);
        if (strcmp(type, "text") != 0)
            return es_err_set(err, ES_UNSUPPORTED, "content[%zu].type: \"%.40s\" is not supported, only text",
                              i, type);
        if (!json_is_string(text)) return es_err_set(err, ES_INVALID, "content[%zu].text: not a string", i);
        es_buffer_append(&m->content, json_string_value(text), json_string_length(text));
    }
    return ES_OK;
}

static es_status read_content(const json_t *content, message *m, es_err *err)
{
    m->has_content = content != NULL && !json_is_null(content);
    if (json_is_array(content)) return read_parts(content, m, err);
    if (json_is_string(content))
        es_buffer_append(&m->content, json_string_value(content), json_string_length(content));
    else if (m->has_content)
        return es_err_set(err, ES_INVALID, "content: not a string, a list of parts or null");
    return ES_OK;
}

static es_status read_role(const json_t *value, role *ret_role, es_err *err)
{
    const char *name = json_string_value(value);
    if (name == NULL) return es_err_set(err, ES_INVALID, "role: not a string");
    for (unsigned i = 0; i < ROLE_COUNT; i++)
        if (strcmp(name, ROLE_NAMES[i]) == 0) {
            *ret_role = (role)i;
            return ES_OK;
        }
    return es_err_set(err, ES_INVALID, "role: \"%.40s\" is not system, user, assistant or tool", name);
}

/* Reads one message; its content is to be freed whatever the outcome. */
static es_status read_message(const json_t *entry, message *m, es_err *err)
{
    *m = (message){0};
    if (!json_is_object(entry)) return es_err_set(err, ES_INVALID, "not an object");
    es_status status = read_role(json_object_get(entry, "role"), &m->role, err);
    if (status == ES_OK) status = read_content(json_object_get(entry, "content"), m, err);
    if (status != ES_OK) return status;
    if (m->content.failed) return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    const json_t *calls = json_object_get(entry, "tool_calls");
    if (calls != NULL && !json_is_null(calls) && !json_is_array(calls))
        return es_err_set(err, ES_INVALID, "tool_calls: not an array");
    if (json_array_size(calls) > 0) m->calls = calls;
    if (m->calls != NULL && m->role != ROLE_ASSISTANT)
        return es_err_set(err, ES_INVALID, "tool_calls: only an assistant calls tools");
    if (!m->has_content && m->calls == NULL) return es_err_set(err, ES_INVALID, "content: missing");
    return ES_OK;
}

static void put(renderer *r, const char *text)
{
    es_buffer_append_text(&r->out, text);
}

/* Others' words. */
static void quote(renderer *r, const char *text, size_t bytes)
{
    const es_text_span span = {r->out.bytes, r->out.bytes + bytes};
    if (bytes == 0) return;
    es_buffer_append(&r->out, text, bytes);
    es_buffer_append(&r->quoted, (const char *)&span, sizeof span);
}

static void quote_json(renderer *r, const json_t *string)
{
    quote(r, json_string_value(string), json_string_length(string));
}

static void put_content(renderer *r, const message *m)
{
    quote(r, m->content.data, m->content.bytes);
}

/* Adds to system what one system message says. */
static void gather_system(const renderer *r, const message *m, size_t earlier, es_buffer *system)
{
    if (r->format->style == ES_CHAT_R1)
        system->bytes = 0;
    else if (earlier > 0)
        es_buffer_append_text(system, "\n\n");
    es_buffer_append(system, m->content.data, m->content.bytes);
}

/* What follows the last </think>, or all of it. */
static void put_answer_without_reasoning(renderer *r, const message *m)
{
    const char *rest = m->content.data;
    size_t bytes = m->content.bytes;
    const char *end;
    while (bytes > 0 && (end = memmem(rest, bytes, CHAT_THINK_END, strlen(CHAT_THINK_END))) != NULL) {
        end += strlen(CHAT_THINK_END);
        bytes -= (size_t)(end - rest);
        rest = end;
    }
    quote(r, rest, bytes);
}

static es_status put_call(renderer *r, const json_t *call, es_err *err)
{
    const json_t *type = json_object_get(call, "type");
    const json_t *function = json_object_get(call, "function");
    const json_t *name = json_object_get(function, "name"),
                 *arguments = json_object_get(function, "arguments");
    if (type != NULL && !json_is_string(type)) return es_err_set(err, ES_INVALID, "type: not a string");
    if (!json_is_string(name)) return es_err_set(err, ES_INVALID, "function.name: not a string");
    if (!json_is_string(arguments)) return es_err_set(err, ES_INVALID, "function.arguments: not a string");
    put(r, CHAT_CALL_BEGIN);
    if (type != NULL)
        quote_json(r, type);
    else
        put(r, "function");
    put(r, CHAT_SEPARATOR);
    quote_json(r, name);
    put(r, "\n```json\n");
    quote_json(r, arguments);
    put(r, "\n```" CHAT_CALL_END);
    return ES_OK;
}

static void open_turn(renderer *r)
{
    put(r, r->in_output ? CHAT_OUTPUTS_END : CHAT_ASSISTANT);
    r->in_output = false;
}

static es_status render_r1_answer(renderer *r, const message *m, es_err *err)
{
    open_turn(r);
    put_answer_without_reasoning(r, m);
    for (size_t i = 0; i < json_array_size(m->calls); i++) {
        put(r, i == 0 ? CHAT_CALLS_BEGIN : "\n");
        es_status status = put_call(r, json_array_get(m->calls, i), err);
        if (status != ES_OK) {
            es_err_prefix(err, "tool_calls[%zu]", i);
            return status;
        }
    }
    put(r, m->calls != NULL ? CHAT_CALLS_END CHAT_EOS : CHAT_EOS);
    return ES_OK;
}

static es_status render_r1(renderer *r, const message *m, es_err *err)
{
    if (m->role == ROLE_ASSISTANT) return render_r1_answer(r, m, err);
    if (m->role == ROLE_USER) {
        if (r->in_output) put(r, CHAT_OUTPUTS_END);
        r->in_output = false;
        put(r, CHAT_USER);
        put_content(r, m);
    } else if (m->role == ROLE_TOOL) {
        put(r, r->in_output ? "\n" CHAT_OUTPUT_BEGIN : CHAT_OUTPUTS_BEGIN CHAT_OUTPUT_BEGIN);
        put_content(r, m);
        put(r, CHAT_OUTPUT_END);
        r->in_output = true;
    }
    return ES_OK;
}

/* The published template has no place for words beside calls; they go where its successor puts them, before
 * the calls. Empty words, which many clients send, count as none. */
static es_status render_v3_calls(renderer *r, const message *m, es_err *err)
{
    bool has_words = m->content.bytes > 0;
    if (has_words) {
        put(r, r->in_output ? CHAT_OUTPUTS_END : CHAT_ASSISTANT);
        put_content(r, m);
    }
    r->in_output = false;
    for (size_t i = 0; i < json_array_size(m->calls); i++) {
        bool first = !r->called;
        if (first && !has_words) put(r, CHAT_ASSISTANT);
        put(r, first ? CHAT_CALLS_BEGIN : "\n");
        es_status status = put_call(r, json_array_get(m->calls, i), err);
        if (status != ES_OK) {
            es_err_prefix(err, "tool_calls[%zu]", i);
            return status;
        }
        if (!first) put(r, CHAT_CALLS_END CHAT_EOS);
        r->called = true;
    }
    return ES_OK;
}

static es_status render_v3(renderer *r, const message *m, es_err *err)
{
    if (m->calls != NULL) return render_v3_calls(r, m, err);
    switch (m->role) {
    case ROLE_USER:
        r->in_output = false;
        put(r, CHAT_USER);
        put_content(r, m);
        break;
    case ROLE_ASSISTANT:
        open_turn(r);
        put_content(r, m);
        put(r, CHAT_EOS);
        break;
    case ROLE_TOOL:
        put(r, r->answered ? "\n" CHAT_OUTPUT_BEGIN : CHAT_OUTPUTS_BEGIN CHAT_OUTPUT_BEGIN);
        put_content(r, m);
        put(r, CHAT_OUTPUT_END);
        r->in_output = r->answered = true;
        break;
    default:
        break;
    }
    return ES_OK;
}

/* An assistant's turn that is not over: the model goes on with it. */
static es_status render_continued(renderer *r, const json_t *entry, const message *m, es_err *err)
{
    const json_t *reasoning = json_object_get(entry, "reasoning_content");
    if (m->role != ROLE_ASSISTANT || m->calls != NULL)
        return es_err_set(err, ES_INVALID, "only an assistant's text can be continued");
    bool thinks = r->format->style == ES_CHAT_R1 && !r->in_output;
    bool in_thought = thinks && m->content.bytes == 0 && json_string_length(reasoning) > 0;
    open_turn(r);
    if (thinks) {
        put(r, CHAT_THINK "\n");
        quote_json(r, reasoning);
        if (!in_thought) put(r, "\n" CHAT_THINK_END "\n\n");
    }
    put_content(r, m);
    return ES_OK;
}

static es_status render_message(renderer *r, const json_t *entry, size_t index, const message *m, es_err *err)
{
    if (index == r->continued) return render_continued(r, entry, m, err);
    return r->format->style == ES_CHAT_R1 ? render_r1(r, m, err) : render_v3(r, m, err);
}

/* Goes over all messages: first for what the system says, then for the conversation. */
static es_status render_messages(renderer *r, const json_t *messages, es_buffer *system, es_err *err)
{
    size_t systems = 0;
    for (size_t i = 0; i < json_array_size(messages); i++) {
        message m;
        const json_t *entry = json_array_get(messages, i);
        es_status status = read_message(entry, &m, err);
        if (status == ES_OK && system != NULL && m.role == ROLE_SYSTEM)
            gather_system(r, &m, systems++, system);
        if (status == ES_OK && system == NULL) status = render_message(r, entry, i, &m, err);
        es_buffer_fini(&m.content);
        if (status != ES_OK) {
            es_err_prefix(err, "messages[%zu]", i);
            return status;
        }
    }
    return ES_OK;
}

static void put_system(renderer *r, const es_buffer *system, const es_chat_layout *layout)
{
    put(r, r->format->bos);
    quote(r, system->data, system->bytes);
    if (layout->tools == NULL) return;
    if (system->bytes > 0) put(r, "\n\n");
    quote(r, layout->tools, layout->tools_quoted_bytes);
    es_buffer_append(&r->out, layout->tools + layout->tools_quoted_bytes,
                     layout->tools_bytes - layout->tools_quoted_bytes);
}

static void put_opening(renderer *r, es_chat_opening opening)
{
    static const char *const R1[] = {[ES_CHAT_OPEN_NOTHING] = "",
                                     [ES_CHAT_OPEN_ANSWER] = CHAT_ASSISTANT CHAT_THINK "\n",
                                     [ES_CHAT_OPEN_UNTHOUGHT] =
                                         CHAT_ASSISTANT CHAT_THINK "\n\n" CHAT_THINK_END "\n\n",
                                     [ES_CHAT_OPEN_CONTINUED] = ""};
    bool answer = opening == ES_CHAT_OPEN_ANSWER || opening == ES_CHAT_OPEN_UNTHOUGHT;
    if (r->in_output)
        put(r, CHAT_OUTPUTS_END);
    else if (r->format->style == ES_CHAT_R1)
        put(r, R1[opening]);
    else if (answer)
        put(r, CHAT_ASSISTANT);
}

static es_status render_all(renderer *r, const es_chat_layout *layout, es_err *err)
{
    es_buffer system = {0};
    es_status status = render_messages(r, layout->messages, &system, err);
    if (status == ES_OK) {
        put_system(r, &system, layout);
        status = render_messages(r, layout->messages, NULL, err);
    }
    if (status == ES_OK) {
        put_opening(r, layout->opening);
        r->out.failed = r->out.failed || system.failed;
    }
    es_buffer_fini(&system);
    return status;
}

es_status es_chat_lay_out(const es_chat_format *format, const es_chat_layout *layout, es_chat_text *ret_text,
                          es_err *err)
{
    size_t bytes, count = json_array_size(layout->messages);
    *ret_text = (es_chat_text){0};
    if (!json_is_array(layout->messages)) return es_err_set(err, ES_INVALID, "messages: not an array");
    bool continued = layout->opening == ES_CHAT_OPEN_CONTINUED;
    if (continued && count == 0) return es_err_set(err, ES_INVALID, "messages: empty");
    renderer r = {.format = format, .continued = continued ? count - 1 : SIZE_MAX};
    es_status status = render_all(&r, layout, err);
    if (status == ES_OK) {
        ret_text->text = es_buffer_take(&r.out, &ret_text->bytes);
        ret_text->quoted = (es_text_span *)(void *)es_buffer_take(&r.quoted, &bytes);
        ret_text->quoted_count = bytes / sizeof(es_text_span);
        if (ret_text->text == NULL || ret_text->quoted == NULL)
            status = es_err_set(err, ES_NO_MEMORY, "messages: not enough memory");
    }
    es_buffer_fini(&r.out);
    es_buffer_fini(&r.quoted);
    if (status != ES_OK) es_chat_text_fini(ret_text);
    return status;
}

void es_chat_text_fini(es_chat_text *text)
{
    free(text->text);
    free(text->quoted);
    *text = (es_chat_text){0};
}

es_status es_chat_render(const es_chat_format *format, const json_t *messages, bool add_generation_prompt,
                         char **ret_text, size_t *ret_bytes, es_err *err)
{
    const es_chat_layout layout = {
        .messages = messages, .opening = add_generation_prompt ? ES_CHAT_OPEN_ANSWER : ES_CHAT_OPEN_NOTHING};
    es_chat_text text;
    es_status status = es_chat_lay_out(format, &layout, &text, err);
    *ret_text = text.text;
    *ret_bytes = text.bytes;
    text.text = NULL;
    es_chat_text_fini(&text);
    return status;
}

es_status es_chat_render_request(const es_chat_format *format, const json_t *request, char **ret_text,
                                 size_t *ret_bytes, es_err *err)
{
    *ret_text = NULL;
    *ret_bytes = 0;
    if (!json_is_object(request)) return es_err_set(err, ES_INVALID, "request: not a JSON object");
    const json_t *add = json_object_get(request, "add_generation_prompt");
    if (add != NULL && !json_is_boolean(add))
        return es_err_set(err, ES_INVALID, "add_generation_prompt: not true or false");
    return es_chat_render(format, json_object_get(request, "messages"), json_is_true(add), ret_text,
                          ret_bytes, err);
}
