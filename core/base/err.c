/* The one table of statuses, and errors as values. */
#include "essaim/status.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const es_status_info INFO[ES_STATUS_COUNT] = {
    [ES_OK] = {"ok", "done", 200, false},
    [ES_INVALID] = {"invalid", "invalid request or option", 400, false},
    [ES_NOT_FOUND] = {"not_found", "not found", 404, false},
    [ES_CORRUPT] = {"corrupt", "corrupt data", 500, false},
    [ES_UNSUPPORTED] = {"unsupported", "not supported", 422, false},
    [ES_IO] = {"io", "input or output failed", 500, true},
    [ES_NO_MEMORY] = {"no_memory", "not enough memory", 503, true},
    [ES_TIMEOUT] = {"timeout", "deadline passed", 503, true},
    [ES_UNAVAILABLE] = {"unavailable", "not available", 503, true},
    [ES_NOT_HERE] = {"not_here", "expert not held here", 503, true},
    [ES_MISMATCH] = {"mismatch", "models or versions differ", 409, false},
    [ES_CANCELLED] = {"cancelled", "cancelled", 499, false},
    [ES_NUMERIC] = {"numeric", "value out of range", 500, false},
    [ES_BUSY] = {"busy", "too many requests", 429, true},
    [ES_STALE] = {"stale", "placement out of date", 409, false},
};

const es_status_info *es_status_describe(es_status status)
{
    if ((unsigned)status >= ES_STATUS_COUNT) return &INFO[ES_CORRUPT];
    return &INFO[status];
}

es_status es_status_named(const char *name, size_t length)
{
    for (int s = ES_INVALID; s < ES_STATUS_COUNT; s++)
        if (strlen(INFO[s].name) == length && memcmp(INFO[s].name, name, length) == 0) return (es_status)s;
    return ES_OK;
}

static bool is_printable(es_utf8_step step)
{
    bool control = step.codepoint < 0x20 || (step.codepoint >= 0x7f && step.codepoint < 0xa0);
    return step.kind == ES_UTF8_CHARACTER && !control;
}

/* Also mends characters that a precision or a full buffer cut: JSON takes no half ones. */
static void make_printable(char *text)
{
    size_t bytes = strlen(text);
    for (size_t at = 0; at < bytes;) {
        es_utf8_step step = es_utf8_read(text + at, bytes - at);
        if (!is_printable(step)) memset(text + at, '?', step.bytes);
        at += step.bytes;
    }
}

es_status(es_err_set)(es_err *err, es_status status, const char *format, ...)
{
    if (err == NULL) return status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    make_printable(err->text);
    err->status = status;
    return status;
}

es_status es_err_prefix(es_err *err, const char *format, ...)
{
    if (err == NULL) return ES_OK;
    char where[ES_ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(where, sizeof where, format, args);
    va_end(args);
    /* When both do not fit, the deepest cause wins: the prefix is what gets cut. */
    size_t cause = strlen(err->text);
    size_t room = sizeof err->text - 1 - cause;
    size_t prefix = strlen(where);
    if (prefix + 2 > room) prefix = room > 2 ? room - 2 : 0;
    if (prefix > 0) {
        memmove(err->text + prefix + 2, err->text, cause + 1);
        memcpy(err->text, where, prefix);
        memcpy(err->text + prefix, ": ", 2);
        make_printable(err->text);
    }
    return err->status;
}

es_status es_err_set_at(es_err *err, es_status status, const char *where, const char *format, va_list args)
{
    char text[ES_ERR_TEXT_MAX];
    vsnprintf(text, sizeof text, format, args);
    es_err_set(err, status, "%s", text);
    es_err_prefix(err, "%s", where);
    return status;
}

void es_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "essaim: internal error: %s (%s:%d)\n", condition, file, line);
    abort();
}
