/* Strict reading of JSON objects: every key known, every value of its type and within its bounds. */
#ifndef ES_CLUSTER_FIELDS_H
#define ES_CLUSTER_FIELDS_H

#include "essaim/status.h"

#include <jansson.h>
#include <stdint.h>

/* An object being read; the first complaint is kept in status, and what is read after it is not to be used.
 */
typedef struct es_fields {
    const char *where; /* the file or key, for errors */
    const json_t *object;
    es_status status;
    es_err *err;
} es_fields;

/* Begins to read value, which must be an object with only the given keys (ended by NULL). */
es_fields es_fields_of(const char *where, const json_t *value, const char *const *keys, es_err *err);

/* Complains about a field; returns ES_CORRUPT. */
es_status es_fields_complain(es_fields *fields, const char *key, const char *what);

/* A whole number of min to max; max at most 2^53. */
uint64_t es_fields_number(es_fields *fields, const char *key, uint64_t min, uint64_t max);

/* A text of at most bytes_max - 1 bytes without NUL, copied. */
void es_fields_text(es_fields *fields, const char *key, char *ret_text, size_t bytes_max);

/* One of names (ended by NULL): its index. */
size_t es_fields_choice(es_fields *fields, const char *key, const char *const *names);

/* Exactly bytes bytes in lower-case hexadecimal. */
void es_fields_hex(es_fields *fields, const char *key, uint8_t *ret_bytes, size_t bytes);

/* An array of at most max items; an empty one after a complaint. */
const json_t *es_fields_array(es_fields *fields, const char *key, size_t max);

/* A key from outside as errors may show it: printable, and not too long. */
enum { ES_FIELDS_SHOWN_MAX = 48 };

#endif
