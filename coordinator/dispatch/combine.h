/* What came back, added up. */
#ifndef ES_DISPATCH_COMBINE_H
#define ES_DISPATCH_COMBINE_H

#include "dispatch/plan.h"
#include "net/wire.h"

/* Whether a reply (status ES_OK) and its payload [bytes] are those of this work: ES_CORRUPT says what
 * differs. */
es_status es_combine_check(const es_work *work, size_t hidden, const es_wire_reply *reply,
                           const uint8_t *payload, size_t bytes, es_err *err);

/* Adds a checked payload of values of width bytes into sum [rows of the batch][hidden]. Integers: in any
 * order, so the same bits. */
void es_combine_add(const es_work *work, size_t hidden, size_t width, const uint8_t *payload, int64_t *sum);

#endif
