#include "weights/shape_reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

void es_shape_fail(es_shape_reader *in, es_status status, const char *key, const char *format, ...)
{
    if (in->status != ES_OK) return;
    char where[ES_ERR_TEXT_MAX];
    snprintf(where, sizeof where, "%s: %s%s", in->file, in->within, key);
    va_list args;
    va_start(args, format);
    in->status = es_err_set_at(in->err, status, where, format, args);
    va_end(args);
}

/* False when there is none, which is a failure when it is required, or when reading has failed already. */
static bool look_up(es_shape_reader *in, const char *key, bool required, es_shape_value *ret_value)
{
    *ret_value = (es_shape_value){0};
    if (in->status != ES_OK) return false;
    if (in->look_up(in->from, key, ret_value)) return true;
    if (required) es_shape_fail(in, ES_INVALID, key, "missing");
    return false;
}

size_t es_shape_size_of(es_shape_reader *in, const char *key, const es_shape_value *value, size_t min,
                        size_t max)
{
    if (!value->is_integer)
        es_shape_fail(in, ES_INVALID, key, "not an integer");
    else if (value->integer < 0 || (uint64_t)value->integer < min || (uint64_t)value->integer > max)
        es_shape_fail(in, ES_INVALID, key, "%lld is not between %zu and %zu", (long long)value->integer, min,
                      max);
    return in->status == ES_OK ? (size_t)value->integer : 0;
}

size_t es_shape_size(es_shape_reader *in, const char *key, size_t min, size_t max, long fallback)
{
    es_shape_value value;
    if (look_up(in, key, fallback == ES_SHAPE_REQUIRED, &value))
        return es_shape_size_of(in, key, &value, min, max);
    return fallback == ES_SHAPE_REQUIRED ? 0 : (size_t)fallback;
}

bool es_shape_bool(es_shape_reader *in, const char *key, int fallback)
{
    es_shape_value value;
    if (!look_up(in, key, fallback == ES_SHAPE_REQUIRED, &value)) return fallback > 0;
    if (!value.is_bool) es_shape_fail(in, ES_INVALID, key, "neither true nor false");
    return value.is_bool && value.integer != 0;
}

double es_shape_number(es_shape_reader *in, const char *key, double min, double max, double fallback)
{
    es_shape_value value;
    if (!look_up(in, key, isnan(fallback), &value)) return isnan(fallback) ? 0 : fallback;
    if (!value.is_number)
        es_shape_fail(in, ES_INVALID, key, "%s", in->not_a_number);
    else if (!(value.number >= min && value.number <= max))
        es_shape_fail(in, ES_INVALID, key, "%g is not between %g and %g", value.number, min, max);
    return in->status == ES_OK ? value.number : 0;
}
