/* Messages of the shard socket: experts that a machine lacks are fetched, and a new machine asks to be taken
 * in. */
#ifndef ES_NET_SHARD_WIRE_H
#define ES_NET_SHARD_WIRE_H

#include "net/control.h"

enum {
    ES_SHARD_READ_MAX = 256 * 1024,  /* bytes of one answer */
    ES_SHARD_FRAME_MAX = 288 * 1024, /* of any frame on this socket */
    ES_SHARD_HEADER_MAX = 32 * 1024, /* of a frame that is no bytes that were read */
    ES_JOIN_SECRET_BYTES = 32,
    ES_JOIN_CONFIG_MAX = 16 * 1024,
    ES_JOIN_COORDINATORS_MAX = 64,
    ES_JOIN_ETCD_MAX = 1023,
    ES_JOIN_PREFIX_MAX = 255,
};

typedef enum es_shard_ask { ES_SHARD_FIND, ES_SHARD_READ, ES_SHARD_JOIN } es_shard_ask;

/* "Take me in." Who asks is known by the link's key, never by what stands here. */
typedef struct es_join_request {
    uint8_t secret[ES_JOIN_SECRET_BYTES];
    char name[ES_NAME_MAX + 1];
    char control[ES_ENDPOINT_TEXT_MAX]; /* where it will listen; of every address: "tcp://0.0.0.0:5700" */
    uint64_t memory_bytes;
} es_join_request;

typedef struct es_shard_request {
    uint64_t request; /* comes back in the reply */
    es_shard_ask ask;
    uint8_t sum[ES_CONTENT_SUM_BYTES]; /* ES_SHARD_FIND, ES_SHARD_READ */
    uint64_t offset;                   /* ES_SHARD_READ */
    size_t count;                      /* 1 to ES_SHARD_READ_MAX */
    es_join_request join;              /* ES_SHARD_JOIN */
} es_shard_request;

typedef struct es_shard_found {
    uint32_t layer, expert;
    uint64_t bytes;
} es_shard_found;

typedef struct es_joined {
    char name[ES_NAME_MAX + 1];
    char control[ES_ENDPOINT_TEXT_MAX]; /* as others were told */
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    char config[ES_JOIN_CONFIG_MAX + 1]; /* the model's shape as config.json has it */
    char coordinators[ES_JOIN_COORDINATORS_MAX][ES_KEY_TEXT_BYTES];
    size_t coordinator_count;
    char etcd[ES_JOIN_ETCD_MAX + 1]; /* where it is to announce itself; "": the coordinator does that */
    char etcd_prefix[ES_JOIN_PREFIX_MAX + 1]; /* "": the usual one */
} es_joined;

typedef struct es_shard_reply {
    uint64_t request;
    es_status status;
    const char *text; /* never NULL; "" unless status is an error */
    es_shard_ask ask;
    es_shard_found found;    /* ES_OK and ES_SHARD_FIND */
    uint64_t offset;         /* ES_OK and ES_SHARD_READ: the bytes are the second frame */
    uint32_t payload_crc32c; /* likewise */
    es_joined joined;        /* ES_OK and ES_SHARD_JOIN */
} es_shard_reply;

/* Memory of the size that these messages need. */
es_status es_shard_memory_create(es_wire_memory **ret_memory, es_err *err);

/* Write into out [ES_SHARD_HEADER_MAX]. */
size_t es_shard_request_pack(const es_shard_request *request, uint8_t *out);
size_t es_shard_reply_pack(const es_shard_reply *reply, uint8_t *out);

/* Decode and check; text lives in memory until its next use. After an error request tells which, 0 when that
 * is not known. ES_CORRUPT: bytes that are none; ES_MISMATCH: another protocol; ES_INVALID names the field.
 */
es_status es_shard_request_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                                  es_shard_request *ret_request, es_err *err);
es_status es_shard_reply_unpack(es_wire_memory *memory, const uint8_t *bytes, size_t count,
                                es_shard_reply *ret_reply, es_err *err);

#endif
