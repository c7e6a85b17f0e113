/* From a body's bytes to its fields. */
#include "api/internal.h"
#include "base/log.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Whether brackets outside of strings are nested deeper than a reader that calls itself should go. */
static bool is_too_deep(const uint8_t *body, size_t bytes)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < bytes; i++) {
        uint8_t byte = body[i];
        if (in_string) {
            if (byte == '\\') i++;
            if (byte == '"') in_string = false;
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '{' || byte == '[') {
            if (++depth > API_DEPTH_MAX) return true;
        } else if ((byte == '}' || byte == ']') && depth > 0) {
            depth--;
        }
    }
    return false;
}

json_t *api_parse(const uint8_t *body, size_t bytes, api_problem *problem)
{
    json_error_t error;
    if (is_too_deep(body, bytes)) {
        api_problem_set(problem, 400, "invalid_json", NULL, "the body is nested deeper than %d",
                        API_DEPTH_MAX);
        return NULL;
    }
    if (!es_utf8_is_valid((const char *)body, bytes)) {
        api_problem_set(problem, 400, "invalid_json", NULL, "the body is not UTF-8");
        return NULL;
    }
    json_t *json = json_loadb((const char *)body, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (json == NULL) {
        api_problem_set(problem, 400, "invalid_json", NULL, "the body is not JSON: line %d, column %d: %s",
                        error.line, error.column, error.text);
    } else if (!json_is_object(json)) {
        api_problem_set(problem, 400, "invalid_json", NULL, "the body is not a JSON object");
        json_decref(json);
        json = NULL;
    }
    return json;
}

/* The field, or NULL when there is nothing to read. */
static const json_t *find(const json_t *body, const char *key, const api_problem *problem)
{
    const json_t *field = json_object_get(body, key);
    return problem->status != 0 || field == NULL || json_is_null(field) ? NULL : field;
}

void api_read_number(const json_t *body, const char *key, double low, double high, double *value,
                     api_problem *problem)
{
    const json_t *field = find(body, key, problem);
    if (field == NULL) return;
    double number = json_number_value(field);
    if (!json_is_number(field))
        api_problem_set(problem, 400, "invalid_type", key, "%s: not a number", key);
    else if (!(number >= low && number <= high))
        api_problem_set(problem, 400, "invalid_value", key, "%s: %.15g is not between %.15g and %.15g", key,
                        number, low, high);
    else
        *value = number;
}

void api_read_count(const json_t *body, const char *key, size_t low, size_t high, size_t *value,
                    api_problem *problem)
{
    const json_t *field = find(body, key, problem);
    if (field == NULL) return;
    double number = json_number_value(field);
    if (!json_is_number(field) || (json_is_real(field) && number != floor(number)))
        api_problem_set(problem, 400, "invalid_type", key, "%s: not a whole number", key);
    else if (!(number >= (double)low && number <= (double)high))
        api_problem_set(problem, 400, "invalid_value", key, "%s: %.15g is not between %zu and %zu", key,
                        number, low, high);
    else
        *value = (size_t)number;
}

void api_read_flag(const json_t *body, const char *key, bool *value, api_problem *problem)
{
    const json_t *field = find(body, key, problem);
    if (field == NULL) return;
    if (!json_is_boolean(field))
        api_problem_set(problem, 400, "invalid_type", key, "%s: not true or false", key);
    else
        *value = json_is_true(field);
}

static bool has(const char *const *list, const char *name)
{
    for (; list != NULL && *list != NULL; list++)
        if (strcmp(*list, name) == 0) return true;
    return false;
}

/* Whether name was not noted before; only so many are told apart. */
static bool note(api_names *names, const char *name)
{
    char kept[API_NAME_BYTES];
    snprintf(kept, sizeof kept, "%.*s", API_NAME_BYTES - 1, name);
    pthread_mutex_lock(&names->lock);
    bool is_new = names->count < API_NAMES_MAX;
    for (size_t i = 0; i < names->count && is_new; i++) is_new = strcmp(names->name[i], kept) != 0;
    if (is_new) memcpy(names->name[names->count++], kept, sizeof kept);
    pthread_mutex_unlock(&names->lock);
    return is_new;
}

void api_note_unknown(es_api *api, const json_t *body, const char *const *known, const char *const *more)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)body, name, value)
    {
        if (has(known, name) || has(more, name) || !note(&api->unknown, name)) continue;
        es_err shown; /* a name may hold anything: this makes it printable */
        es_err_set(&shown, ES_INVALID, "%.*s", API_NAME_BYTES - 1, name);
        es_log(ES_LOG_WARN, "a request has the field \"%s\", which is ignored (said once)", shown.text);
    }
}
