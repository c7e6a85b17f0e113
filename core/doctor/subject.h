/* What this machine is to hold: shards, or a model's own files. Headers are read, weights are not. */
#ifndef ES_DOCTOR_SUBJECT_H
#define ES_DOCTOR_SUBJECT_H

#include "essaim/model.h"

#include <limits.h>

typedef struct es_doctor_subject {
    es_shape shape;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    es_format format;        /* that most of the weights have */
    uint64_t experts_bytes;  /* routed experts that are here */
    uint64_t backbone_bytes; /* all else that is here */
    uint64_t units;          /* maps that they take */
    char file[PATH_MAX];     /* the largest of its files */
} es_doctor_subject;

/* paths [count]: shards or folders of them, or one model of another kind. ES_MISMATCH names two that are of
 * different models. */
es_status es_subject_read(const char *const *paths, size_t count, es_doctor_subject *ret_subject,
                          es_err *err);

#endif
