/* What a measured link means: findings, each named after the peer. */
#ifndef ES_DOCTOR_LINK_TELL_H
#define ES_DOCTOR_LINK_TELL_H

#include "doctor/finding.h"
#include "doctor/link.h"
#include "doctor/prospect.h"
#include "doctor/subject.h"

/* What a link is held against. */
typedef struct es_link_context {
    const es_prospect *prospect;      /* NULL: none */
    const es_doctor_subject *subject; /* NULL: no model is known here */
    double card_bytes_per_s;          /* our fastest card; 0: not known */
    double encrypt_bytes_per_s;       /* 0: not known */
} es_link_context;

/* peer is what the user called it; status and err are the measurement's. */
void es_link_tell(const es_link_context *context, const char *peer, const es_link_report *report,
                  es_status status, const es_err *err, es_findings *findings);

/* Two fingerprints, ours and what the other side (coordinator or node) holds. */
void es_model_tell(const es_doctor_subject *subject, const char *id,
                   const uint8_t theirs[ES_FINGERPRINT_BYTES], es_findings *findings);
void es_version_tell(const char *id, const char *theirs, es_findings *findings);

#endif
