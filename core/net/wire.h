/* The headers of the data sockets: bytes to checked C structs and back. Payload frames stand beside them,
 * raw. */
#ifndef ES_NET_WIRE_H
#define ES_NET_WIRE_H

#include "essaim/experts.h"
#include "essaim/placement.h"
#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ES_PROTOCOL = 3,
    ES_WIRE_HEADER_MAX = 480 * 1024, /* the largest request header: every row with every pair */
    ES_WIRE_COLS_MAX = 1 << 20,
    ES_WIRE_REQUESTS_MAX = 512,
};

/* What ties a reply to its request. coordinator is a random number other than 0. */
typedef struct es_wire_ids {
    uint64_t coordinator, step, epoch;
    uint32_t layer, attempt;
} es_wire_ids;

/* "Compute these rows' experts of one layer." */
typedef struct es_wire_request {
    es_wire_ids ids;
    es_row_format row_format;
    size_t rows, cols, pairs;
    const uint32_t *pairs_per_row; /* [rows], each 1 to ES_PAIRS_PER_ROW_MAX, their sum is pairs */
    const uint32_t *expert;        /* [pairs] */
    const float *weight;           /* [pairs], finite */
    const uint32_t *chunks;        /* [pairs], es_chunks_code; NULL: whole experts */
    uint32_t payload_crc32c;
    const char
        *requests; /* whose rows these are, for the node's log: ids joined by commas, at most
                      ES_WIRE_REQUESTS_MAX bytes; "" or NULL: the same as before. Unpacked never NULL */
} es_wire_request;

/* "Here are their sums", or why not. */
typedef struct es_wire_reply {
    es_wire_ids ids;
    es_status status;
    const char *text;  /* never NULL; "" unless status is an error */
    size_t failed_row; /* of the request: what the error is about; SIZE_MAX: no row, or status is ES_OK */
    size_t rows, cols;
    size_t width; /* bytes of one value; 0 unless status is ES_OK */
    uint32_t payload_crc32c;
    uint64_t compute_ns;
} es_wire_reply;

/* Letters, digits and ".,_:-" only: what a list of requests may consist of. */
bool es_wire_requests_valid(const char *requests);

/* The memory headers are decoded into: fixed at creation, so a hostile header cannot ask for more. One
 * thread's own. */
typedef struct es_wire_memory es_wire_memory;
es_status es_wire_memory_create(es_wire_memory **ret_memory, es_err *err);
void es_wire_memory_destroy(es_wire_memory **memory);

/* Writes a header into out [out_bytes]; ES_WIRE_HEADER_MAX always suffices. The struct keeps its stated
 * maxima. */
size_t es_wire_request_pack(const es_wire_request *request, uint8_t *out, size_t out_bytes);
size_t es_wire_reply_pack(const es_wire_reply *reply, uint8_t *out, size_t out_bytes);

/* Decodes and checks a header; the result's arrays and text live in memory until its next use. ES_CORRUPT
 * when the bytes are no header, ES_MISMATCH for another protocol version, ES_INVALID for a count or value
 * beyond its maximum, naming the field. After an error ids tells who asked, and its coordinator is 0 when
 * that is not known. */
es_status es_wire_request_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                                 es_wire_request *ret_request, es_err *err);
es_status es_wire_reply_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                               es_wire_reply *ret_reply, es_err *err);

/* Checks a payload frame against its header: its size is rows * row_bytes (for a reply cols * width) and its
 * checksum holds. ES_CORRUPT names what differs. */
es_status es_wire_payload_check(size_t rows, size_t row_bytes, uint32_t crc32c, const uint8_t *payload,
                                size_t bytes, es_err *err);

/* Checks that rows from a peer hold what our own quantisation makes: every d and x finite, d not negative, no
 * q of -128 (a code that kernels need not handle). ES_NUMERIC names the row. */
es_status es_wire_rows_check(const es_rows *rows, es_err *err);

#endif
