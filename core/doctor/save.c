/* Measured machines as a file for the planner. */
#include "doctor/save.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

enum { DIGITS = 4 }; /* more than a second measurement would confirm */

static void put(json_t *object, const char *key, double value)
{
    if (value <= 0) return;
    bool whole = value == floor(value) && value < 1e15;
    json_object_set_new(object, key, whole ? json_integer((json_int_t)value) : json_real(value));
}

static bool is_taken(const es_machine *machines, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(machines[i].name, name) == 0) return true;
    return false;
}

static void put_shares(json_t *object, const char *key, const double *share)
{
    json_t *shares = json_object();
    for (int format = 0; format < ES_FORMAT_COUNT; format++)
        put(shares, es_format_describe((es_format)format)->name, fmin(share[format], 1));
    if (json_object_size(shares) > 0) json_object_set(object, key, shares);
    json_decref(shares);
}

static json_t *describe(const es_machine *machines, size_t i)
{
    static const char *const ROLES[] = {"any", "coordinator", "experts"};
    const es_machine *m = &machines[i];
    char name[ES_MACHINE_NAME_MAX + 1];
    snprintf(name, sizeof name, "%s", m->name);
    if (is_taken(machines, i, name)) snprintf(name, sizeof name, "%.40s-%zu", m->name, i + 1);
    json_t *object = json_pack("{s:s}", "name", name);
    if (m->host[0] != '\0' && strcmp(m->host, name) != 0)
        json_object_set_new(object, "host", json_string(m->host));
    if (m->rack[0] != '\0') json_object_set_new(object, "rack", json_string(m->rack));
    if (m->role != ES_ROLE_ANY) json_object_set_new(object, "role", json_string(ROLES[m->role]));
    put(object, "memory_gb", (double)m->memory_bytes / 1e9);
    put(object, "experts_gb", (double)m->experts_bytes / 1e9);
    put(object, "cores", (double)m->cores);
    put(object, "read_gb_per_s", m->read_bytes_per_s / 1e9);
    put(object, "int8_gop_per_s", m->int_ops_per_s / 1e9);
    put(object, "float_gflop_per_s", m->float_ops_per_s / 1e9);
    put(object, "attend_share", fmin(m->attend_share, 1));
    put(object, "encrypt_gb_per_s", m->encrypt_bytes_per_s / 1e9);
    put_shares(object, "read_shares", m->read_share);
    put_shares(object, "multiply_shares", m->multiply_share);
    put(object, "nic_gbit_per_s", m->nic_bytes_per_s * 8e-9);
    put(object, "round_trip_us", m->round_trip_s > 0 && m->round_trip_s < 1e-6 ? 1 : m->round_trip_s * 1e6);
    return object;
}

es_status es_machines_save(const char *path, const es_machine *machines, size_t count, es_err *err)
{
    for (size_t i = 0; i < count; i++)
        if (machines[i].memory_bytes == 0 || machines[i].read_bytes_per_s <= 0 || machines[i].cores == 0)
            return es_err_set(err, ES_INVALID, "%s: %s: its memory, bandwidth or cores are not known", path,
                              machines[i].name);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, describe(machines, i));
    json_t *all = count == 1 ? json_incref(json_array_get(list, 0)) : json_pack("{s:O}", "machines", list);
    FILE *out = fopen(path, "w");
    es_status status = out == NULL ? es_err_set(err, ES_IO, "%s: %s", path, strerror(errno)) : ES_OK;
    if (out != NULL) {
        bool failed = json_dumpf(all, out, JSON_INDENT(2) | JSON_REAL_PRECISION(DIGITS)) != 0;
        failed = fputc('\n', out) < 0 || failed;
        failed = fclose(out) != 0 || failed;
        if (failed) status = es_err_set(err, ES_IO, "%s: could not be written", path);
    }
    json_decref(all);
    json_decref(list);
    return status;
}
