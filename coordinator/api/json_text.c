/* JSON written piece by piece. */
#include "api/json_text.h"

#include "constrain/charset.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Beyond what any log probability is. */
#define REAL_MAX 9999.0

void json_put(es_buffer *out, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int bytes = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (bytes < 0 || (size_t)bytes >= sizeof text)
        out->failed = true;
    else
        es_buffer_append(out, text, (size_t)bytes);
}

void json_put_string(es_buffer *out, const char *text, size_t bytes)
{
    es_buffer_append(out, "\"", 1);
    es_json_escape(text, bytes, out);
    es_buffer_append(out, "\"", 1);
}

void json_put_text(es_buffer *out, const char *text)
{
    json_put_string(out, text, strlen(text));
}

void json_put_real(es_buffer *out, double value)
{
    if (!isfinite(value)) value = value > 0 ? REAL_MAX : -REAL_MAX;
    json_put(out, "%.17g", value);
}

void json_put_comma(es_buffer *out)
{
    if (out->bytes > 0) es_buffer_append(out, ",", 1);
}

void json_put_items(es_buffer *out, es_buffer *items)
{
    es_buffer_append(out, items->data, items->bytes);
    out->failed = out->failed || items->failed;
    items->bytes = 0;
}
