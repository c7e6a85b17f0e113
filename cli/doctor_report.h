/* What the doctor found, for people and for programs. */
#ifndef ES_CLI_DOCTOR_REPORT_H
#define ES_CLI_DOCTOR_REPORT_H

#include "doctor/finding.h"
#include "doctor/link.h"
#include "planner/machine.h"

#include <stdio.h>

typedef struct doctor_link {
    const char *peer; /* as the user said it */
    es_link_report report;
    bool measured;
} doctor_link;

typedef struct doctor_report {
    const es_machine *machine; /* this one; NULL: nothing was measured */
    const es_findings *findings;
    const doctor_link *links;
    size_t link_count;
} doctor_report;

void doctor_report_text(const doctor_report *report, bool colours, FILE *out);
void doctor_report_json(const doctor_report *report, FILE *out);

#endif
