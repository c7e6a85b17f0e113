/* What the doctor says of one thing: how it stands, what was measured, what it costs and how to mend it. */
#ifndef ES_DOCTOR_FINDING_H
#define ES_DOCTOR_FINDING_H

#include <stdbool.h>
#include <stddef.h>

typedef enum es_finding_state {
    ES_FINDING_OK,
    ES_FINDING_WARN,
    ES_FINDING_BAD,
    ES_FINDING_UNKNOWN, /* it could not be found out */
    ES_FINDING_STATE_COUNT
} es_finding_state;

/* "ok", "warn", "bad", "unknown". */
const char *es_finding_state_name(es_finding_state state);

typedef struct es_finding {
    es_finding_state state;
    char id[64];     /* "memory.read", "link.host1:5700.round_trip": for scripts, stable */
    double number;   /* what was measured; NaN: no number */
    char unit[16];   /* of number; "" */
    char value[256]; /* the same for people */
    char cost[256];  /* what it costs; "" */
    char mend[256];  /* what to do, a command where there is one; "" */
} es_finding;

enum { ES_FINDINGS_MAX = 1024 };

typedef struct es_findings {
    es_finding *items; /* [ES_FINDINGS_MAX] */
    size_t count;
} es_findings;

/* False when memory is short. */
bool es_findings_init(es_findings *findings);
void es_findings_fini(es_findings *findings);

/* Adds one; beyond the last, the last is written over. value is a format. Never NULL. */
es_finding *es_findings_add(es_findings *findings, es_finding_state state, const char *id, double number,
                            const char *unit, const char *value, ...) __attribute__((format(printf, 6, 7)));
void es_finding_cost(es_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));
void es_finding_mend(es_finding *finding, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* How many are in this state. */
size_t es_findings_of(const es_findings *findings, es_finding_state state);

/* The one with this id, or NULL. */
const es_finding *es_findings_get(const es_findings *findings, const char *id);

#endif
