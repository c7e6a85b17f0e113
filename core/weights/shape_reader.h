/* What the readers of config.json and of a GGUF's metadata share: a key that has to be there, its kind, its
 * range. */
#ifndef ES_WEIGHTS_SHAPE_READER_H
#define ES_WEIGHTS_SHAPE_READER_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ES_SHAPE_ROW_MAX = 1 << 24, /* values in a row of any matrix */
    ES_SHAPE_REQUIRED = -1
};

/* What a key holds, as far as shapes are made of it; anything else is none of the three. */
typedef struct es_shape_value {
    bool is_integer, is_number, is_bool;
    int64_t integer; /* of a boolean 0 or 1 */
    double number;
} es_shape_value;

/* The first failure stays and later reads give zero: callers look once, at the end. */
typedef struct es_shape_reader {
    /* False when there is no such key, or it is null. */
    bool (*look_up)(const void *from, const char *key, es_shape_value *ret_value);
    const void *from;
    const char *file;
    const char *within;       /* goes before keys: "" or "rope_scaling." */
    const char *not_a_number; /* what is said of a value that should be one */
    es_status status;
    es_err *err;
} es_shape_reader;

/* Keeps "FILE: KEY: what format says" unless something failed before. */
void es_shape_fail(es_shape_reader *in, es_status status, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* fallback ES_SHAPE_REQUIRED: the key must be there. */
size_t es_shape_size(es_shape_reader *in, const char *key, size_t min, size_t max, long fallback);
bool es_shape_bool(es_shape_reader *in, const char *key, int fallback);

/* fallback NAN: the key must be there. */
double es_shape_number(es_shape_reader *in, const char *key, double min, double max, double fallback);

/* The same of a value that was looked up already. */
size_t es_shape_size_of(es_shape_reader *in, const char *key, const es_shape_value *value, size_t min,
                        size_t max);

#endif
