/* What is wrong with a request, in the shapes that clients know. */
#include "api/internal.h"
#include "base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void api_problem_set(api_problem *problem, unsigned status, const char *code, const char *param,
                     const char *format, ...)
{
    if (problem->status != 0) return;
    es_err text;
    va_list args;
    va_start(args, format);
    vsnprintf(problem->message, sizeof problem->message, format, args);
    va_end(args);
    es_err_set(&text, ES_INVALID, "%s", problem->message); /* printable from here on */
    memcpy(problem->message, text.text, sizeof problem->message);
    es_err_set(&text, ES_INVALID, "%.*s", API_PARAM_BYTES - 1, param != NULL ? param : "");
    snprintf(problem->param, sizeof problem->param, "%.*s", API_PARAM_BYTES - 1, text.text);
    problem->status = status;
    problem->code = code;
}

/* "tools[0]: function.name: …" is about tools[0]. */
static size_t param_bytes(const char *text)
{
    size_t bytes = strspn(text, "abcdefghijklmnopqrstuvwxyz_0123456789.[]");
    return bytes > 0 && text[bytes] == ':' ? bytes : 0;
}

void api_problem_from(api_problem *problem, es_api *api, const es_err *err)
{
    static const char *const CODES[ES_STATUS_COUNT] = {
        [ES_INVALID] = "invalid_value",     [ES_UNSUPPORTED] = "not_supported",
        [ES_NO_MEMORY] = "out_of_memory",   [ES_TIMEOUT] = "timeout",
        [ES_UNAVAILABLE] = "not_available", [ES_NOT_HERE] = "not_available",
        [ES_BUSY] = "rate_limit_exceeded",  [ES_CANCELLED] = "cancelled"};
    const es_status_info *info = es_status_describe(err->status);
    const char *code = (unsigned)err->status < ES_STATUS_COUNT ? CODES[err->status] : NULL;
    char param[API_PARAM_BYTES];
    snprintf(param, sizeof param, "%.*s", (int)es_size_min(param_bytes(err->text), sizeof param - 1),
             err->text);
    bool asked_wrongly = info->http_code >= 400 && info->http_code < 500;
    if (problem->status != 0) return;
    api_problem_set(problem, (unsigned)info->http_code, code != NULL ? code : "internal_error",
                    asked_wrongly ? param : NULL, "%s", err->text);
    if (info->retry_helps) problem->retry_after_s = es_engine_retry_after_s(api->options.engine);
}

static const char *openai_type(unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 429:
        return "rate_limit_error";
    case 503:
        return "service_unavailable_error";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

static const char *anthropic_type(unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    default:
        return status < 500 ? "invalid_request_error" : "api_error";
    }
}

void api_put_problem(es_buffer *out, api_family family, const api_problem *problem)
{
    if (family == API_ANTHROPIC) {
        json_put(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":",
                 anthropic_type(problem->status));
        json_put_text(out, problem->message);
        json_put(out, "}}");
        return;
    }
    json_put(out, "{\"error\":{\"message\":");
    json_put_text(out, problem->message);
    json_put(out, ",\"type\":\"%s\",\"param\":", openai_type(problem->status));
    if (problem->param[0] != '\0')
        json_put_text(out, problem->param);
    else
        json_put(out, "null");
    json_put(out, ",\"code\":");
    json_put_text(out, problem->code);
    json_put(out, "}}");
}

size_t es_api_error_body(bool anthropic, unsigned status, const char *code, const char *message, char *out,
                         size_t room)
{
    enum { SHAPE_BYTES = 160 };
    api_problem problem = {0};
    es_buffer body = {0};
    /* An escaped byte takes up to six. */
    size_t most = room > SHAPE_BYTES ? (room - SHAPE_BYTES) / 6 : 0;
    api_problem_set(&problem, status, code, NULL, "%.*s", (int)es_size_min(most, ES_ERR_TEXT_MAX - 1),
                    message);
    api_put_problem(&body, anthropic ? API_ANTHROPIC : API_OPENAI, &problem);
    size_t bytes = body.failed ? 0 : es_size_min(body.bytes, room);
    if (bytes > 0) memcpy(out, body.data, bytes);
    es_buffer_fini(&body);
    return bytes;
}
