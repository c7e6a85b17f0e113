/* What a finding costs, in tokens a second. */
#include "doctor/prospect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MACHINES_MAX = 64, CONTEXT = 4096, COPIES = 2 };

static const double WORTH_SAYING = 0.01;

/* A forecast of count machines like machine, the first of them the coordinator. */
static es_status forecast(const es_prospect *p, const es_machine *machine, size_t count,
                          es_forecast *ret_forecast, es_err *err)
{
    es_machine *machines = calloc(count, sizeof *machines);
    if (machines == NULL) return es_err_set(err, ES_NO_MEMORY, "forecast");
    for (size_t i = 0; i < count; i++) {
        machines[i] = *machine;
        snprintf(machines[i].name, sizeof machines[i].name, "m%zu", i);
        memcpy(machines[i].host, machines[i].name, sizeof machines[i].host);
        machines[i].role = i == 0 ? ES_ROLE_COORDINATOR : ES_ROLE_EXPERTS;
    }
    const es_forecast_question question = {.shape = p->shape,
                                           .format = p->format,
                                           .kv_value_bytes = 2,
                                           .machines = machines,
                                           .machine_count = count,
                                           .any_mode = true,
                                           .copies = COPIES,
                                           .context = CONTEXT,
                                           .kv_streams = 1,
                                           .coordinators = 1,
                                           .encrypted = true};
    es_status status = es_forecast_make(&question, ret_forecast, err);
    free(machines);
    return status;
}

es_status es_prospect_make(const es_shape *shape, const char *model, es_format format,
                           const es_machine *machine, es_prospect *ret_prospect, es_err *err)
{
    es_forecast *f = calloc(1, sizeof *f);
    es_status status = f == NULL ? es_err_set(err, ES_NO_MEMORY, "forecast") : ES_OK;
    *ret_prospect = (es_prospect){.shape = shape, .format = format, .machine = *machine};
    snprintf(ret_prospect->model, sizeof ret_prospect->model, "%s", model);
    for (size_t count = 2; count <= MACHINES_MAX && status == ES_OK && ret_prospect->machines == 0;
         count *= 2) {
        status = forecast(ret_prospect, machine, count, f, err);
        if (status == ES_OK && f->fits) ret_prospect->machines = count;
    }
    free(f);
    return status;
}

double es_prospect_speed(const es_prospect *prospect, const es_machine *machine)
{
    es_forecast *f = calloc(1, sizeof *f);
    double speed = 0;
    if (f != NULL && prospect->machines > 0 &&
        forecast(prospect, machine, prospect->machines, f, NULL) == ES_OK && f->fits)
        speed = f->speed[0].tokens_per_s;
    free(f);
    return speed;
}

void es_prospect_name(const es_prospect *prospect, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%s as %s on %zu machines like this", prospect->model,
             es_format_describe(prospect->format)->name, prospect->machines);
}

double es_prospect_cost(const es_prospect *prospect, const es_machine *machine, const es_machine *better,
                        es_finding *finding)
{
    double now = es_prospect_speed(prospect, machine), then = es_prospect_speed(prospect, better);
    double lost = now > 0 && then > now ? 1 - now / then : 0;
    char name[128];
    es_prospect_name(prospect, name, sizeof name);
    if (lost >= WORTH_SAYING)
        es_finding_cost(finding, "%.0f %% of the speed: %.2f tokens/s of %.2f (%s, one stream)", 100 * lost,
                        now, then, name);
    return lost;
}
