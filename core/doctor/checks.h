/* What can be looked up on a machine without measuring: each check adds its findings. */
#ifndef ES_DOCTOR_CHECKS_H
#define ES_DOCTOR_CHECKS_H

#include "doctor/finding.h"
#include "doctor/prospect.h"
#include "doctor/source.h"
#include "doctor/subject.h"

/* Cores, the kernel set that they run (borrowed; NULL: not known), their governor, NUMA nodes, load. */
void es_check_cpu(const es_doctor_source *source, const char *kernels, es_findings *findings);

/* Free memory against what the subject (NULL: nothing is known) needs here, swap, huge pages. disk is the
 * bytes a second of its disk, 0: not measured. */
void es_check_memory(const es_doctor_source *source, const es_doctor_subject *subject, double disk,
                     es_findings *findings);

/* Locked memory and open files of this process. */
void es_check_limits(const es_doctor_source *source, const es_doctor_subject *subject, es_findings *findings);

/* Network cards that are up: speed, duplex, MTU. *ret_bytes_per_s is the fastest's, 0: none says. */
void es_check_cards(const es_doctor_source *source, const es_prospect *prospect, es_findings *findings,
                    double *ret_bytes_per_s);

/* The kernel's settings of deploy/host/settings, each that is there. */
void es_check_settings(const es_doctor_source *source, es_findings *findings);

/* Whether the wall clock is held by a time server. */
typedef struct es_clock_state {
    bool known, held;
    double error_s; /* at most, as the kernel believes */
} es_clock_state;
es_clock_state es_clock_state_now(void);
void es_check_clock(const es_clock_state *state, es_findings *findings);

#endif
