/* What the doctor found, for people and for programs. */
#include "cli/doctor_report.h"

#include "base/size.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

enum { ID_WIDTH_MAX = 44, FEW_LINKS = 2 };

static void print_finding(const es_finding *f, int width, bool colours, FILE *out)
{
    static const char *const COLOUR[] = {"\033[32m", "\033[33m", "\033[31m", "\033[2m"};
    fprintf(out, "%s%-7s%s  %-*s  %s\n", colours ? COLOUR[f->state] : "", es_finding_state_name(f->state),
            colours ? "\033[0m" : "", width, f->id, f->value);
    if (f->cost[0] != '\0') fprintf(out, "%-*s  costs  %s\n", width + 9, "", f->cost);
    if (f->mend[0] != '\0') fprintf(out, "%-*s  mend   %s\n", width + 9, "", f->mend);
}

/* Of many links what is well stands in their table; findings tell the rest. */
static bool is_in_table(const doctor_report *r, const es_finding *f)
{
    return r->link_count > FEW_LINKS && f->state == ES_FINDING_OK && strncmp(f->id, "link.", 5) == 0;
}

static void print_rate(double bytes_per_s, FILE *out)
{
    if (bytes_per_s > 0)
        fprintf(out, " %7.3g Gb/s", bytes_per_s * 8e-9);
    else
        fprintf(out, " %12s", "-");
}

/* Links side by side: what an operator of several machines looks at first. */
static void print_links(const doctor_report *r, FILE *out)
{
    if (r->link_count == 0) return;
    fprintf(out, "\n%-28s %-14s %10s %10s %10s %12s %12s %10s\n", "link to", "name", "round trip", "99 %",
            "network", "there", "back", "clock");
    for (size_t i = 0; i < r->link_count; i++) {
        const es_link_report *l = &r->links[i].report;
        fprintf(out, "%-28.*s", (int)strcspn(r->links[i].peer, ","), r->links[i].peer);
        if (l->rounds == 0) fprintf(out, " not measured\n");
        if (l->rounds == 0) continue;
        fprintf(out, " %-14.14s %7.0f us %7.0f us %7.0f us", l->peer.name, 1e6 * l->round_trip_s,
                1e6 * l->late_s, 1e6 * l->network_s);
        print_rate(l->to_bytes_per_s, out);
        print_rate(l->from_bytes_per_s, out);
        double clock_ms = round(1e4 * l->clock_ahead_s) / 10;
        fprintf(out, fabs(clock_ms) > 0 ? " %+7.1f ms\n" : " %7.0f ms\n", fabs(clock_ms) > 0 ? clock_ms : 0);
    }
}

void doctor_report_text(const doctor_report *r, bool colours, FILE *out)
{
    size_t width = 0;
    for (size_t i = 0; i < r->findings->count; i++)
        width = es_size_max(width, es_size_min(strlen(r->findings->items[i].id), ID_WIDTH_MAX));
    for (size_t i = 0; i < r->findings->count; i++)
        if (!is_in_table(r, &r->findings->items[i]))
            print_finding(&r->findings->items[i], (int)width, colours, out);
    print_links(r, out);
    fprintf(out, "\n%zu ok, %zu to look at, %zu bad, %zu not known\n",
            es_findings_of(r->findings, ES_FINDING_OK), es_findings_of(r->findings, ES_FINDING_WARN),
            es_findings_of(r->findings, ES_FINDING_BAD), es_findings_of(r->findings, ES_FINDING_UNKNOWN));
}

static json_t *findings_json(const es_findings *findings)
{
    json_t *list = json_array();
    for (size_t i = 0; i < findings->count; i++) {
        const es_finding *f = &findings->items[i];
        json_t *object = json_pack("{s:s, s:s, s:s}", "id", f->id, "state", es_finding_state_name(f->state),
                                   "value", f->value);
        if (!isnan(f->number)) json_object_set_new(object, "number", json_real(f->number));
        if (f->unit[0] != '\0') json_object_set_new(object, "unit", json_string(f->unit));
        if (f->cost[0] != '\0') json_object_set_new(object, "cost", json_string(f->cost));
        if (f->mend[0] != '\0') json_object_set_new(object, "mend", json_string(f->mend));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *links_json(const doctor_report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->link_count; i++) {
        const es_link_report *l = &r->links[i].report;
        json_t *object = json_object();
        json_object_set_new(object, "peer", json_stringn(r->links[i].peer, strcspn(r->links[i].peer, ",")));
        json_object_set_new(object, "measured", json_boolean(r->links[i].measured));
        if (l->rounds > 0)
            json_object_update_new(
                object,
                json_pack("{s:s, s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i}",
                          "name", l->peer.name, "version", l->peer.version, "kernels", l->peer.kernels,
                          "rounds", (json_int_t)l->rounds, "round_trip_us", 1e6 * l->round_trip_s, "best_us",
                          1e6 * l->best_s, "late_us", 1e6 * l->late_s, "jitter_us", 1e6 * l->jitter_s,
                          "network_us", 1e6 * l->network_s, "clock_ahead_ms", 1e3 * l->clock_ahead_s,
                          "clock_error_ms", 1e3 * l->clock_error_s, "there_gbit_per_s",
                          l->to_bytes_per_s * 8e-9, "back_gbit_per_s", l->from_bytes_per_s * 8e-9, "path_mtu",
                          (int)l->path_mtu, "segments_resent", (int)l->resent));
        json_array_append_new(list, object);
    }
    return list;
}

void doctor_report_json(const doctor_report *r, FILE *out)
{
    json_t *all = json_pack("{s:s, s:o, s:o}", "version", ESSAIM_VERSION, "findings",
                            findings_json(r->findings), "links", links_json(r));
    for (int state = 0; state < ES_FINDING_STATE_COUNT; state++)
        json_object_set_new(all, es_finding_state_name((es_finding_state)state),
                            json_integer((json_int_t)es_findings_of(r->findings, (es_finding_state)state)));
    if (r->machine != NULL)
        json_object_set_new(
            all, "machine",
            json_pack("{s:s, s:f, s:I, s:f, s:f, s:f, s:f}", "name", r->machine->name, "memory_gb",
                      (double)r->machine->memory_bytes / 1e9, "cores", (json_int_t)r->machine->cores,
                      "read_gb_per_s", r->machine->read_bytes_per_s / 1e9, "int8_gop_per_s",
                      r->machine->int_ops_per_s / 1e9, "float_gflop_per_s", r->machine->float_ops_per_s / 1e9,
                      "nic_gbit_per_s", r->machine->nic_bytes_per_s * 8e-9));
    json_dumpf(all, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    fputc('\n', out);
    json_decref(all);
}
