/* Machines as a planner sees them: memory, bandwidth, arithmetic, network. */
#include "planner/machine.h"

#include "base/file.h"
#include "weights/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20 };

/* What a process takes beside weights and cache. */
const double ES_PROCESS_BYTES = 1.0e9, ES_SCRATCH_SHARE = 0.02;

/* What a core is taken to do when nobody measured: AVX2 without VNNI at 3 GHz. */
static const double INT_OPS_PER_CORE = 150e9, FLOAT_OPS_PER_CORE = 75e9;

/* A number that a machine's object may have. */
typedef struct number {
    const char *key;
    double unit, initial, min, max; /* initial < 0: required. In the file's unit */
    size_t at;                      /* of a double in es_machine; SIZE_MAX: not a double */
} number;

enum { NUMBER_MEMORY, NUMBER_CORES, NUMBER_COUNT, NUMBER_EXPERTS, NUMBERS = 11 };

static const number NUMBER[NUMBERS] = {
    {"memory_gb", 1e9, -1, 0.001, 1e6, SIZE_MAX},
    {"cores", 1, -1, 1, 4096, SIZE_MAX},
    {"count", 1, 1, 1, ES_MACHINES_MAX, SIZE_MAX},
    {"experts_gb", 1e9, 0, 0, 1e6, SIZE_MAX},
    {"read_gb_per_s", 1e9, -1, 0.01, 1e5, offsetof(es_machine, read_bytes_per_s)},
    {"int8_gop_per_s", 1e9, 0, 0, 1e7, offsetof(es_machine, int_ops_per_s)},
    {"float_gflop_per_s", 1e9, 0, 0, 1e7, offsetof(es_machine, float_ops_per_s)},
    {"nic_gbit_per_s", 1e9 / 8, 1, 0.001, 1e5, offsetof(es_machine, nic_bytes_per_s)},
    {"round_trip_us", 1e-6, 150, 1, 1e7, offsetof(es_machine, round_trip_s)},
    {"attend_share", 1, 0, 0, 1, offsetof(es_machine, attend_share)},
    {"encrypt_gb_per_s", 1e9, 0, 0, 1000, offsetof(es_machine, encrypt_bytes_per_s)},
};

static const char *const ROLES[] = {"any", "coordinator", "experts"};

/* Keys of the form that `essaim placement` alone once read. */
static const char *const OLD_KEYS[][2] = {{"memory", "memory_gb, in 10^9 bytes"},
                                          {"bandwidth", "read_gb_per_s, in 10^9 bytes a second"}};

static es_status read_number(const json_t *object, const char *file, const char *name, const number *n,
                             double *ret_value, es_err *err)
{
    const json_t *value = json_object_get(object, n->key);
    *ret_value = n->initial;
    if (value == NULL && n->initial < 0)
        return es_err_set(err, ES_INVALID, "%s: machine %s: %s is missing", file, name, n->key);
    if (value == NULL) return ES_OK;
    *ret_value = json_number_value(value);
    if (!json_is_number(value) || !(*ret_value >= n->min && *ret_value <= n->max))
        return es_err_set(err, ES_INVALID, "%s: machine %s: %s is not a number between %g and %g", file, name,
                          n->key, n->min, n->max);
    return ES_OK;
}

static es_status read_text(const json_t *object, const char *file, const char *key, const char *initial,
                           char *out, es_err *err)
{
    const json_t *value = json_object_get(object, key);
    const char *text = value == NULL ? initial : json_string_value(value);
    if (text == NULL || text[0] == '\0' || strlen(text) > ES_MACHINE_NAME_MAX)
        return es_err_set(err, ES_INVALID, "%s: a machine's %s is a text of 1 to %d bytes", file, key,
                          ES_MACHINE_NAME_MAX);
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return es_err_set(err, ES_INVALID, "%s: a machine's %s has a control character", file, key);
    memcpy(out, text, strlen(text) + 1);
    return ES_OK;
}

static es_status check_keys(const json_t *object, const char *file, const char *name, es_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        bool known = key[0] == '_' || strcmp(key, "name") == 0 || strcmp(key, "host") == 0 ||
                     strcmp(key, "role") == 0 || strcmp(key, "rack") == 0 ||
                     strcmp(key, "read_shares") == 0 || strcmp(key, "multiply_shares") == 0;
        for (size_t i = 0; i < NUMBERS && !known; i++) known = strcmp(key, NUMBER[i].key) == 0;
        for (size_t i = 0; i < sizeof OLD_KEYS / sizeof OLD_KEYS[0]; i++)
            if (strcmp(key, OLD_KEYS[i][0]) == 0)
                return es_err_set(err, ES_INVALID, "%s: machine %s: write %s in place of \"%s\"", file, name,
                                  OLD_KEYS[i][1], key);
        if (!known)
            return es_err_set(err, ES_INVALID, "%s: machine %s: no key \"%.60s\" is known", file, name, key);
    }
    return ES_OK;
}

static es_status read_role(const json_t *object, const char *file, es_machine *machine, es_err *err)
{
    const json_t *value = json_object_get(object, "role");
    const char *text = value == NULL ? ROLES[ES_ROLE_ANY] : json_string_value(value);
    for (int role = 0; text != NULL && role < 3; role++)
        if (strcmp(text, ROLES[role]) == 0) {
            machine->role = (es_machine_role)role;
            return ES_OK;
        }
    return es_err_set(err, ES_INVALID, "%s: machine %s: role is any, coordinator or experts", file,
                      machine->name);
}

/* What of its bandwidth or arithmetic the machine's kernels reach, format by format. */
static es_status read_shares(const json_t *object, const char *file, const char *name, const char *list,
                             double ret_share[ES_FORMAT_COUNT], es_err *err)
{
    json_t *shares = json_object_get(object, list), *value;
    const char *key;
    if (shares != NULL && !json_is_object(shares))
        return es_err_set(err, ES_INVALID, "%s: machine %s: %s is no object", file, name, list);
    json_object_foreach(shares, key, value)
    {
        es_format format = 0;
        while (format < ES_FORMAT_COUNT && strcmp(es_format_describe(format)->name, key) != 0) format++;
        if (format == ES_FORMAT_COUNT)
            return es_err_set(err, ES_INVALID, "%s: machine %s: %s: no format \"%.60s\" is known", file, name,
                              list, key);
        double share = json_number_value(value);
        if (!json_is_number(value) || !(share > 0 && share <= 1))
            return es_err_set(err, ES_INVALID, "%s: machine %s: %s: %s is not a number above 0, at most 1",
                              file, name, list, key);
        ret_share[format] = share;
    }
    return ES_OK;
}

static es_status read_machine(const json_t *object, const char *file, es_machine *ret_machine,
                              size_t *ret_count, es_err *err)
{
    es_machine m = {0};
    double value[NUMBERS];
    if (!json_is_object(object)) return es_err_set(err, ES_INVALID, "%s: a machine is an object", file);
    es_status status = read_text(object, file, "name", NULL, m.name, err);
    if (status == ES_OK) status = read_text(object, file, "host", m.name, m.host, err);
    if (status == ES_OK && json_object_get(object, "rack") != NULL)
        status = read_text(object, file, "rack", NULL, m.rack, err);
    if (status == ES_OK) status = check_keys(object, file, m.name, err);
    if (status == ES_OK) status = read_role(object, file, &m, err);
    if (status == ES_OK) status = read_shares(object, file, m.name, "read_shares", m.read_share, err);
    if (status == ES_OK) status = read_shares(object, file, m.name, "multiply_shares", m.multiply_share, err);
    for (size_t i = 0; i < NUMBERS && status == ES_OK; i++) {
        status = read_number(object, file, m.name, &NUMBER[i], &value[i], err);
        if (status == ES_OK && NUMBER[i].at != SIZE_MAX)
            *(double *)((char *)&m + NUMBER[i].at) = value[i] * NUMBER[i].unit;
    }
    if (status != ES_OK) return status;
    m.memory_bytes = (uint64_t)(value[NUMBER_MEMORY] * 1e9);
    m.experts_bytes = (uint64_t)(value[NUMBER_EXPERTS] * 1e9);
    m.cores = (size_t)value[NUMBER_CORES];
    if (m.int_ops_per_s <= 0) m.int_ops_per_s = INT_OPS_PER_CORE * (double)m.cores;
    if (m.float_ops_per_s <= 0) m.float_ops_per_s = FLOAT_OPS_PER_CORE * (double)m.cores;
    *ret_machine = m;
    *ret_count = (size_t)value[NUMBER_COUNT];
    return ES_OK;
}

/* "name" of count alike becomes "name-1" to "name-count", each its own host unless it was given one. */
static es_status add_alike(const es_machine *machine, size_t alike, const char *file, es_machine *machines,
                           size_t room, size_t *count, es_err *err)
{
    bool own_host = strcmp(machine->name, machine->host) == 0;
    if (alike > room - *count) return es_err_set(err, ES_INVALID, "%s: more than %zu machines", file, room);
    for (size_t i = 0; i < alike; i++) {
        es_machine *m = &machines[(*count)++];
        *m = *machine;
        if (alike > 1 &&
            (size_t)snprintf(m->name, sizeof m->name, "%.55s-%zu", machine->name, i + 1) >= sizeof m->name)
            return es_err_set(err, ES_INVALID, "%s: machine %s: the name is too long", file, machine->name);
        if (own_host) memcpy(m->host, m->name, sizeof m->host);
    }
    return ES_OK;
}

static es_status check_names(const char *file, const es_machine *machines, size_t count, es_err *err)
{
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(machines[i].name, machines[k].name) == 0)
                return es_err_set(err, ES_INVALID, "%s: two machines are called %s", file, machines[i].name);
    return ES_OK;
}

double es_machine_room(const es_machine *machine, double taken_bytes, size_t alike)
{
    double room = ((double)machine->memory_bytes - taken_bytes) / (double)alike / (1 + ES_SCRATCH_SHARE) -
                  ES_PROCESS_BYTES;
    return machine->experts_bytes > 0 ? fmin(room, (double)machine->experts_bytes) : room;
}

/* The line of an entry of "machines" in a text that is JSON; 0: not found. */
static size_t line_of(const char *text, size_t bytes, size_t entry)
{
    static const char KEY[] = "machines";
    const char *string = NULL; /* that is being read */
    size_t line = 1, depth = 0, seen = 0;
    bool is_key = false, in_list = false;
    for (const char *c = text; c < text + bytes; c++) {
        line += *c == '\n';
        if (string != NULL) {
            if (*c == '\\')
                c++;
            else if (*c == '"') {
                is_key = (size_t)(c - string) == sizeof KEY - 1 && memcmp(string, KEY, sizeof KEY - 1) == 0;
                string = NULL;
            }
            continue;
        }
        if (in_list && depth == 2 && *c == ',')
            seen++;
        else if (in_list && depth == 2 && strchr(" \t\r\n]", *c) == NULL && seen == entry)
            return line;
        if (depth == 1 && (*c == '[' || *c == '{')) in_list = *c == '[' && is_key;
        if (*c == '"') string = c + 1;
        depth += *c == '[' || *c == '{';
        depth -= *c == ']' || *c == '}';
    }
    return 0;
}

es_status es_machines_parse(const char *file, const char *text, size_t bytes, es_machine *machines,
                            size_t room, size_t *count, es_err *err)
{
    const es_json_text json = {file, text, bytes};
    json_t *object = NULL;
    es_status status = es_json_parse(&json, &object, err);
    if (status != ES_OK) return status;
    json_t *list = json_object_get(object, "machines");
    if (list != NULL && !json_is_array(list))
        status = es_err_set(err, ES_INVALID, "%s: machines is not a list", file);
    size_t entries = list == NULL ? 1 : json_array_size(list);
    for (size_t i = 0; i < entries && status == ES_OK; i++) {
        es_machine machine;
        size_t alike = 0, line = list != NULL ? line_of(text, bytes, i) : 1;
        char place[ES_ERR_TEXT_MAX];
        snprintf(place, sizeof place, line > 0 ? "%.400s: line %zu" : "%.400s", file, line);
        status = read_machine(list == NULL ? object : json_array_get(list, i), place, &machine, &alike, err);
        if (status == ES_OK) status = add_alike(&machine, alike, place, machines, room, count, err);
    }
    json_decref(object);
    return status == ES_OK ? check_names(file, machines, *count, err) : status;
}

es_status es_machines_read(const char *path, es_machine *machines, size_t room, size_t *count, es_err *err)
{
    char *text = NULL;
    size_t bytes = 0;
    es_status status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status == ES_OK) status = es_machines_parse(path, text, bytes, machines, room, count, err);
    free(text);
    return status;
}
