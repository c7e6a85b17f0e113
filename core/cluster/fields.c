/* Strict reading of JSON objects. */
#include "cluster/fields.h"

#include <sodium.h>
#include <stdbool.h>
#include <string.h>

static bool is_known(const char *key, const char *const *keys)
{
    for (; *keys != NULL; keys++)
        if (strcmp(*keys, key) == 0) return true;
    return false;
}

es_fields es_fields_of(const char *where, const json_t *value, const char *const *keys, es_err *err)
{
    es_fields fields = {where, value, ES_OK, err};
    const char *key;
    json_t *item;
    if (!json_is_object(value)) {
        fields.status = es_err_set(err, ES_CORRUPT, "%s: not an object", where);
        return fields;
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, item) if (!is_known(key, keys))
    {
        fields.status = es_err_set(err, ES_CORRUPT, "%s: %.*s: not known", where, ES_FIELDS_SHOWN_MAX, key);
        return fields;
    }
    return fields;
}

es_status es_fields_complain(es_fields *fields, const char *key, const char *what)
{
    if (fields->status == ES_OK)
        fields->status = es_err_set(fields->err, ES_CORRUPT, "%s: %s: %s", fields->where, key, what);
    return fields->status;
}

uint64_t es_fields_number(es_fields *fields, const char *key, uint64_t min, uint64_t max)
{
    const json_t *value = json_object_get(fields->object, key);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < min || (uint64_t)number > max) {
        es_fields_complain(fields, key, value == NULL ? "missing" : "not a whole number within its bounds");
        return min;
    }
    return (uint64_t)number;
}

void es_fields_text(es_fields *fields, const char *key, char *ret_text, size_t bytes_max)
{
    const json_t *value = json_object_get(fields->object, key);
    const char *text = json_string_value(value);
    size_t length = json_string_length(value);
    ret_text[0] = '\0';
    if (text == NULL || length >= bytes_max || strlen(text) != length)
        es_fields_complain(fields, key, value == NULL ? "missing" : "not a text, or too long");
    else
        memcpy(ret_text, text, length + 1);
}

size_t es_fields_choice(es_fields *fields, const char *key, const char *const *names)
{
    const char *text = json_string_value(json_object_get(fields->object, key));
    for (size_t i = 0; text != NULL && names[i] != NULL; i++)
        if (strcmp(names[i], text) == 0) return i;
    es_fields_complain(fields, key, text == NULL ? "missing, or not a text" : "not one of its values");
    return 0;
}

void es_fields_hex(es_fields *fields, const char *key, uint8_t *ret_bytes, size_t bytes)
{
    const json_t *value = json_object_get(fields->object, key);
    const char *text = json_string_value(value);
    size_t length = json_string_length(value), read = 0;
    memset(ret_bytes, 0, bytes);
    if (text == NULL || length != 2 * bytes || strspn(text, "0123456789abcdef") != length ||
        sodium_hex2bin(ret_bytes, bytes, text, length, NULL, &read, NULL) != 0 || read != bytes)
        es_fields_complain(fields, key, value == NULL ? "missing" : "not hexadecimal of its length");
}

const json_t *es_fields_array(es_fields *fields, const char *key, size_t max)
{
    const json_t *value = json_object_get(fields->object, key);
    if (!json_is_array(value) || json_array_size(value) > max) {
        es_fields_complain(fields, key, value == NULL ? "missing" : "not a list, or too long");
        return NULL;
    }
    return value;
}
