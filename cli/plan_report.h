/* A forecast for people: as text, as JSON, as a picture. */
#ifndef ES_CLI_PLAN_REPORT_H
#define ES_CLI_PLAN_REPORT_H

#include "planner/forecast.h"

#include <stdio.h>

/* All borrowed. */
typedef struct plan_report {
    const char *model; /* as the user named it */
    const es_forecast_question *question;
    const es_forecast *forecast;
    const es_advice *advice; /* [advice_count], best first */
    size_t advice_count;
} plan_report;

void plan_report_text(const plan_report *report, FILE *out);
void plan_report_json(const plan_report *report, FILE *out);

/* An SVG document. */
void plan_report_svg(const plan_report *report, FILE *out);

#endif
