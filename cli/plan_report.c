/* A forecast for people: as text and as JSON. */
#include "cli/plan_report.h"

#include <jansson.h>
#include <math.h>

static const double GB = 1e9;

static void print_machines(const plan_report *r, FILE *out)
{
    const es_forecast_question *q = r->question;
    fprintf(out, "%-20s %-22s %10s %10s %12s\n", "machine", "role", "needs", "has", "experts");
    for (size_t i = 0; i < q->machine_count; i++) {
        const es_forecast_machine *m = &r->forecast->machine[i];
        const char *role = m->coordinates && m->experts > 0 ? "coordinator, experts"
                           : m->coordinates                 ? "coordinator"
                           : m->experts > 0                 ? "experts"
                                                            : "not needed";
        fprintf(out, "%-20s %-22s %7.1f GB %7.1f GB", q->machines[i].name, role, m->needs_bytes / GB,
                (double)q->machines[i].memory_bytes / GB);
        if (m->experts > 0)
            fprintf(out, " %6.*f of %zu", m->experts == floor(m->experts) ? 0 : 1, m->experts,
                    q->shape->experts);
        fputc('\n', out);
    }
}

static void print_speeds(const plan_report *r, FILE *out)
{
    fprintf(out, "\n%-8s %12s %12s   %s\n", "streams", "tokens/s", "each",
            "a step: coordinator + attention + max(shared expert, network + experts)");
    for (size_t i = 0; i < ES_FORECAST_SPEEDS; i++) {
        const es_forecast_speed *s = &r->forecast->speed[i];
        fprintf(out, "%-8zu %12.2f %12.2f   %.1f ms: %.1f + %.1f + max(%.1f, %.1f + %.1f)\n", s->streams,
                s->tokens_per_s, s->tokens_per_s_each, 1e3 * s->step.seconds, 1e3 * s->step.coordinator_s,
                1e3 * s->step.attend_s, 1e3 * s->step.shared_s, 1e3 * s->step.network_s,
                1e3 * s->step.experts_s);
    }
    fprintf(out, "first token: %.1f s for a prompt of 1,024 tokens, %.1f s for 8,192\n",
            r->forecast->first_token_s[0], r->forecast->first_token_s[1]);
    for (size_t i = 0; i < ES_FORECAST_SPEEDS; i++) {
        bool said = i > 0 && r->forecast->speed[i].bottleneck == r->forecast->speed[i - 1].bottleneck;
        if (!said)
            fprintf(out, "bottleneck at %zu stream%s: %s\n", r->forecast->speed[i].streams,
                    r->forecast->speed[i].streams == 1 ? "" : "s",
                    es_bottleneck_name(r->forecast->speed[i].bottleneck));
    }
}

void plan_report_text(const plan_report *r, FILE *out)
{
    const es_forecast_question *q = r->question;
    const es_forecast *f = r->forecast;
    fprintf(out, "%s as %s on %zu machine%s, %zu stream%s of %zu tokens kept\n\n", r->model,
            es_format_describe(q->format)->name, q->machine_count, q->machine_count == 1 ? "" : "s",
            q->kv_streams, q->kv_streams == 1 ? "" : "s", q->context);
    if (!f->fits) {
        fprintf(out, "it does not fit: %s\n", f->why);
    } else {
        fprintf(out, "it fits: %.1f GB of %.1f GB; experts in mode %s%s\n\n", f->total_needs_bytes / GB,
                f->total_has_bytes / GB, es_layout_mode_name(f->mode),
                q->any_mode ? ", the fastest here" : "");
        print_machines(r, out);
        print_speeds(r, out);
    }
    if (r->advice_count > 0)
        fprintf(out, "\n%s\n",
                f->fits ? "what to change first (tokens/s at 1, 8, 64 streams):"
                        : "what would make it fit (tokens/s at 1, 8, 64 streams):");
    for (size_t i = 0; i < r->advice_count; i++)
        fprintf(out, "  %-72s %8.2f %8.2f %8.2f\n", r->advice[i].change, r->advice[i].tokens_per_s[0],
                r->advice[i].tokens_per_s[1], r->advice[i].tokens_per_s[2]);
}

static json_t *step_json(const es_forecast_step *s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "seconds", s->seconds, "coordinator_s",
                     s->coordinator_s, "attend_s", s->attend_s, "shared_s", s->shared_s, "network_s",
                     s->network_s, "experts_s", s->experts_s, "nodes_contacted", s->nodes_contacted,
                     "busiest_node_bytes", s->expert_bytes);
}

static json_t *machines_json(const plan_report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->question->machine_count; i++) {
        const es_forecast_machine *m = &r->forecast->machine[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:b, s:f, s:f, s:f, s:f}", "name", r->question->machines[i].name,
                            "host", r->question->machines[i].host, "coordinates", m->coordinates,
                            "experts_per_layer", m->experts, "weights_bytes", m->weights_bytes, "needs_bytes",
                            m->needs_bytes, "memory_bytes", (double)r->question->machines[i].memory_bytes));
    }
    return list;
}

void plan_report_json(const plan_report *r, FILE *out)
{
    const es_forecast *f = r->forecast;
    json_t *all = json_pack("{s:s, s:s, s:b, s:f, s:f}", "model", r->model, "format",
                            es_format_describe(r->question->format)->name, "fits", f->fits, "needs_bytes",
                            f->total_needs_bytes, "has_bytes", f->total_has_bytes);
    if (!f->fits) json_object_set_new(all, "why", json_string(f->why));
    if (f->fits) {
        json_t *speeds = json_array(),
               *prompts = json_pack("{s:f, s:f}", "1024", f->first_token_s[0], "8192", f->first_token_s[1]);
        for (size_t i = 0; i < ES_FORECAST_SPEEDS; i++)
            json_array_append_new(speeds, json_pack("{s:I, s:f, s:f, s:s, s:o}", "streams",
                                                    (json_int_t)f->speed[i].streams, "tokens_per_s",
                                                    f->speed[i].tokens_per_s, "tokens_per_s_each",
                                                    f->speed[i].tokens_per_s_each, "bottleneck",
                                                    es_bottleneck_name(f->speed[i].bottleneck), "step",
                                                    step_json(&f->speed[i].step)));
        json_object_set_new(all, "mode", json_string(es_layout_mode_name(f->mode)));
        json_object_set_new(all, "coordinator", json_string(r->question->machines[f->coordinator].name));
        json_object_set_new(all, "machines", machines_json(r));
        json_object_set_new(all, "speeds", speeds);
        json_object_set_new(all, "first_token_s", prompts);
    }
    json_t *advice = json_array();
    for (size_t i = 0; i < r->advice_count; i++)
        json_array_append_new(advice, json_pack("{s:s, s:[f, f, f]}", "change", r->advice[i].change,
                                                "tokens_per_s", r->advice[i].tokens_per_s[0],
                                                r->advice[i].tokens_per_s[1], r->advice[i].tokens_per_s[2]));
    json_object_set_new(all, "advice", advice);
    json_dumpf(all, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    fputc('\n', out);
    json_decref(all);
}
