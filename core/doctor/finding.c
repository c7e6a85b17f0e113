/* What the doctor says of one thing. */
#include "doctor/finding.h"

#include "essaim/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *es_finding_state_name(es_finding_state state)
{
    static const char *const NAMES[ES_FINDING_STATE_COUNT] = {"ok", "warn", "bad", "unknown"};
    ES_ASSERT((unsigned)state < ES_FINDING_STATE_COUNT);
    return NAMES[state];
}

bool es_findings_init(es_findings *findings)
{
    *findings = (es_findings){.items = calloc(ES_FINDINGS_MAX, sizeof *findings->items)};
    return findings->items != NULL;
}

void es_findings_fini(es_findings *findings)
{
    free(findings->items);
    *findings = (es_findings){.count = 0};
}

/* Texts come from files and peers: what could change a terminal is not printed. */
static void write_text(char *out, size_t bytes, const char *format, va_list arguments)
{
    vsnprintf(out, bytes, format, arguments);
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7f) *c = '?';
}

es_finding *es_findings_add(es_findings *findings, es_finding_state state, const char *id, double number,
                            const char *unit, const char *value, ...)
{
    if (findings->count < ES_FINDINGS_MAX) findings->count++;
    es_finding *f = &findings->items[findings->count - 1];
    *f = (es_finding){.state = state, .number = number};
    snprintf(f->id, sizeof f->id, "%s", id);
    snprintf(f->unit, sizeof f->unit, "%s", unit);
    va_list arguments;
    va_start(arguments, value);
    write_text(f->value, sizeof f->value, value, arguments);
    va_end(arguments);
    return f;
}

void es_finding_cost(es_finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_text(finding->cost, sizeof finding->cost, format, arguments);
    va_end(arguments);
}

void es_finding_mend(es_finding *finding, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    write_text(finding->mend, sizeof finding->mend, format, arguments);
    va_end(arguments);
}

size_t es_findings_of(const es_findings *findings, es_finding_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < findings->count; i++) count += findings->items[i].state == state;
    return count;
}

const es_finding *es_findings_get(const es_findings *findings, const char *id)
{
    for (size_t i = 0; i < findings->count; i++)
        if (strcmp(findings->items[i].id, id) == 0) return &findings->items[i];
    return NULL;
}
