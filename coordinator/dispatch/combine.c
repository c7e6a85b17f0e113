/* What came back, added up. */
#include "dispatch/combine.h"

#include "net/sums.h"

es_status es_combine_check(const es_work *work, size_t hidden, const es_wire_reply *reply,
                           const uint8_t *payload, size_t bytes, es_err *err)
{
    if (reply->rows != work->rows || reply->cols != hidden)
        return es_err_set(err, ES_CORRUPT, "reply of %zu rows of %zu values, not %zu of %zu", reply->rows,
                          reply->cols, work->rows, hidden);
    es_status status =
        es_wire_payload_check(work->rows, hidden * reply->width, reply->payload_crc32c, payload, bytes, err);
    if (status != ES_OK) return status;
    if (!es_sums_within_limit(payload, work->rows * hidden, reply->width))
        return es_err_set(err, ES_CORRUPT, "reply: a sum beyond 2^%d", ES_SUM_LIMIT_LOG2);
    return ES_OK;
}

void es_combine_add(const es_work *work, size_t hidden, size_t width, const uint8_t *payload, int64_t *sum)
{
    for (size_t i = 0; i < work->rows; i++)
        es_sums_add(payload + i * hidden * width, hidden, width, sum + work->row[i] * hidden);
}
