/* What a finding costs, in tokens a second: the planner's forecast of a swarm of machines like this one, once
 * as measured and once as it should be. */
#ifndef ES_DOCTOR_PROSPECT_H
#define ES_DOCTOR_PROSPECT_H

#include "doctor/finding.h"
#include "planner/forecast.h"

typedef struct es_prospect {
    const es_shape *shape; /* borrowed */
    char model[64];        /* what it is called */
    es_format format;
    es_machine machine; /* this one, as measured so far */
    size_t machines;    /* so many alike, the fewest that hold it; 0: no 64 of them do */
} es_prospect;

/* Two machines at least, so that there is a network. */
es_status es_prospect_make(const es_shape *shape, const char *model, es_format format,
                           const es_machine *machine, es_prospect *ret_prospect, es_err *err);

/* Tokens a second of one stream if all machines were like this one; 0: not known. */
double es_prospect_speed(const es_prospect *prospect, const es_machine *machine);

/* "deepseek-r1 as q4_k on 8 machines like this". */
void es_prospect_name(const es_prospect *prospect, char *out, size_t out_bytes);

/* The share of the speed that is lost while machines are like machine and not like better; written to
 * finding as its cost unless it is less than 1 %. */
double es_prospect_cost(const es_prospect *prospect, const es_machine *machine, const es_machine *better,
                        es_finding *finding);

#endif
