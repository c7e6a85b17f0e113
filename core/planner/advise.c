/* What to change first: the same question with one thing changed. */
#include "planner/forecast.h"

#include "essaim/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double WORTH = 1.03;

typedef struct advisor {
    const es_forecast_question *question;
    const es_forecast *now;
    es_machine *machines; /* [ES_MACHINES_MAX] of a changed question */
    es_forecast *then;
    es_advice *advice;
    size_t count;
} advisor;

static double gain_of(const advisor *a)
{
    if (!a->now->fits) return 0;
    double sum = 0;
    for (size_t i = 0; i < ES_FORECAST_SPEEDS; i++)
        sum += log(a->then->speed[i].tokens_per_s / a->now->speed[i].tokens_per_s);
    return exp(sum / ES_FORECAST_SPEEDS);
}

/* Asks the changed question and keeps the answer when it helps. */
static es_status consider(advisor *a, const es_forecast_question *changed, const char *change, es_err *err)
{
    es_status status = es_forecast_make(changed, a->then, err);
    if (status != ES_OK || !a->then->fits || a->count == ES_ADVICE_MAX) return status;
    double gain = gain_of(a);
    if (a->now->fits && gain < WORTH) return ES_OK;
    es_advice *advice = &a->advice[a->count++];
    *advice = (es_advice){.fits = true, .gain = gain};
    snprintf(advice->change, sizeof advice->change, "%s", change);
    for (size_t i = 0; i < ES_FORECAST_SPEEDS; i++) advice->tokens_per_s[i] = a->then->speed[i].tokens_per_s;
    return ES_OK;
}

static es_status try_machine(advisor *a, es_err *err)
{
    es_forecast_question q = *a->question;
    if (q.machine_count == ES_MACHINES_MAX) return ES_OK;
    size_t largest = 0;
    for (size_t i = 1; i < q.machine_count; i++)
        if (q.machines[i].memory_bytes > q.machines[largest].memory_bytes) largest = i;
    memcpy(a->machines, q.machines, q.machine_count * sizeof *a->machines);
    char change[160];
    for (size_t more = 1; more <= 64 && q.machine_count < ES_MACHINES_MAX; more *= 2) {
        while (q.machine_count < a->question->machine_count + more && q.machine_count < ES_MACHINES_MAX) {
            es_machine *added = &a->machines[q.machine_count];
            *added = q.machines[largest];
            added->role = ES_ROLE_EXPERTS;
            snprintf(added->name, sizeof added->name, "added-%zu", q.machine_count);
            memcpy(added->host, added->name, sizeof added->host);
            q.machine_count++;
        }
        q.machines = a->machines;
        size_t before = a->count;
        snprintf(change, sizeof change, "%zu more machine%s like %s for experts", more, more == 1 ? "" : "s",
                 a->question->machines[largest].name);
        es_status status = consider(a, &q, change, err);
        if (status != ES_OK || a->now->fits || a->count > before) return status;
    }
    return ES_OK;
}

static es_status try_network(advisor *a, es_err *err)
{
    es_forecast_question q = *a->question;
    memcpy(a->machines, q.machines, q.machine_count * sizeof *a->machines);
    q.machines = a->machines;
    double slowest = INFINITY;
    for (size_t i = 0; i < q.machine_count; i++) slowest = fmin(slowest, q.machines[i].nic_bytes_per_s);
    for (size_t i = 0; i < q.machine_count; i++)
        a->machines[i].nic_bytes_per_s = fmax(a->machines[i].nic_bytes_per_s, 10 * slowest);
    char change[160];
    snprintf(change, sizeof change, "network cards of at least %.3g Gbit/s in every machine",
             80 * slowest / 1e9);
    return consider(a, &q, change, err);
}

/* The memory's speed is the coordinator's, so a better machine for that one alone. */
static es_status try_coordinator(advisor *a, es_err *err)
{
    es_forecast_question q = *a->question;
    if (!a->now->fits) return ES_OK;
    memcpy(a->machines, q.machines, q.machine_count * sizeof *a->machines);
    q.machines = a->machines;
    es_machine *own = &a->machines[a->now->coordinator];
    own->read_bytes_per_s *= 2;
    own->int_ops_per_s *= 2;
    own->float_ops_per_s *= 2;
    char change[160];
    snprintf(change, sizeof change, "a coordinator with twice the memory bandwidth and cores of %.63s",
             own->name);
    return consider(a, &q, change, err);
}

static es_status try_formats(advisor *a, es_err *err)
{
    static const es_format SMALLER[] = {ES_FORMAT_Q8_0, ES_FORMAT_Q6_K, ES_FORMAT_Q4_K};
    es_status status = ES_OK;
    double bytes = (double)es_format_row_bytes(a->question->format, 256);
    for (size_t i = 0; i < 3 && status == ES_OK; i++) {
        es_forecast_question q = *a->question;
        if ((double)es_format_row_bytes(SMALLER[i], 256) >= bytes) continue;
        q.format = SMALLER[i];
        char change[160];
        snprintf(change, sizeof change, "a smaller quantisation: %s instead of %s",
                 es_format_describe(q.format)->name, es_format_describe(a->question->format)->name);
        status = consider(a, &q, change, err);
    }
    return status;
}

static es_status try_second(advisor *a, es_err *err)
{
    es_forecast_question q = *a->question;
    if (!a->now->fits) return ES_OK;
    q.coordinators++;
    char change[160];
    snprintf(change, sizeof change, "one more coordinator (%zu), a machine like %.63s, for the same experts",
             q.coordinators, q.machines[a->now->coordinator].name);
    return consider(a, &q, change, err);
}

static int by_gain(const void *left, const void *right)
{
    const es_advice *l = left, *r = right;
    return (l->gain < r->gain) - (l->gain > r->gain);
}

es_status es_forecast_advise(const es_forecast_question *question, const es_forecast *now,
                             es_advice *ret_advice, size_t *ret_count, es_err *err)
{
    advisor a = {question,   now, calloc(ES_MACHINES_MAX, sizeof(es_machine)), calloc(1, sizeof(es_forecast)),
                 ret_advice, 0};
    es_status status = a.machines == NULL || a.then == NULL ? es_err_set(err, ES_NO_MEMORY, "plan") : ES_OK;
    if (status == ES_OK) status = try_machine(&a, err);
    if (status == ES_OK) status = try_network(&a, err);
    if (status == ES_OK) status = try_coordinator(&a, err);
    if (status == ES_OK) status = try_formats(&a, err);
    if (status == ES_OK) status = try_second(&a, err);
    if (a.count > 1) qsort(ret_advice, a.count, sizeof *ret_advice, by_gain);
    *ret_count = a.count;
    free(a.machines);
    free(a.then);
    return status;
}
