/* What has to be measured on a machine: memory, arithmetic, encryption, disk. Each measurement is bounded in
 * time. */
#ifndef ES_DOCTOR_MEASURE_H
#define ES_DOCTOR_MEASURE_H

#include "base/pool.h"
#include "doctor/finding.h"
#include "doctor/held.h"
#include "doctor/prospect.h"
#include "doctor/subject.h"
#include "essaim/kernels.h"

typedef struct es_doctor_speeds {
    double read_bytes_per_s, read_spread; /* spread: of the runs, (best - worst) / median */
    double int_ops_per_s, float_ops_per_s;
    double attend_ops_per_s;                     /* attention over a cache */
    double encrypt_bytes_per_s;                  /* one core, as links do it */
    double product_bytes_per_s[ES_FORMAT_COUNT]; /* of weights, one row; 0: not measured */
    es_held_speed held; /* of the weights that are here; nothing when there are none */
} es_doctor_speeds;

/* Medians of runs (1 to ES_DOCTOR_RUNS_MAX), about 0.15 s each; products of formats [count], 0.1 s each. */
enum { ES_DOCTOR_RUNS_MAX = 15 };
es_status es_doctor_measure(const es_kernels *kernels, es_pool *pool, size_t runs, const es_format *formats,
                            size_t count, es_doctor_speeds *ret_speeds, es_err *err);

/* The machine's bandwidth, cipher, and what of bandwidth and arithmetic the kernels reach, for the planner:
 * as the weights that are here were computed from, else as the yardsticks were. Of multiplying nothing is
 * learnt where many rows took no longer than one. */
void es_doctor_learn_shares(es_doctor_speeds *speeds, es_machine *machine);
void es_doctor_tell_speeds(const es_doctor_speeds *speeds, const es_prospect *prospect,
                           es_findings *findings);

/* Of values [count], count >= 1, which are sorted. */
double es_doctor_median(double *values, size_t count);

/* Bytes a second read from file past the system's cache, four reads at a time: at most bytes_max, a second.
 * ES_UNSUPPORTED when its file system only reads through the cache, ES_INVALID when it is too small to tell.
 */
es_status es_doctor_measure_disk(const char *file, uint64_t bytes_max, double *ret_bytes_per_s, es_err *err);
/* status and err are the measurement's. */
void es_doctor_tell_disk(const es_doctor_subject *subject, double bytes_per_s, es_status status,
                         const es_err *err, es_findings *findings);

#endif
