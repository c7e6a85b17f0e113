/* JSON written piece by piece: answers are made token by token, and a tree of each would cost more than they
 * do. */
#ifndef ES_API_JSON_TEXT_H
#define ES_API_JSON_TEXT_H

#include "text/buffer.h"

#include <stdbool.h>
#include <stddef.h>

/* Text as it is; what is put in by %s needs no escape. */
void json_put(es_buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A string with its quotes: text[bytes] is UTF-8. */
void json_put_string(es_buffer *out, const char *text, size_t bytes);
void json_put_text(es_buffer *out, const char *text);

/* A number that reads back as the same double; one that JSON does not have is the nearest large one. */
void json_put_real(es_buffer *out, double value);

/* A comma unless out is empty: between list items that are gathered. */
void json_put_comma(es_buffer *out);

/* What is gathered in items, which is empty afterwards. */
void json_put_items(es_buffer *out, es_buffer *items);

#endif
