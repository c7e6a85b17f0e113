/* One GGUF file, from memory: its metadata, and which tensors stand where. Format: github.com/ggml-org/ggml,
 * docs/gguf.md; versions 2 and 3, little-endian. */
#ifndef ES_WEIGHTS_GGUF_H
#define ES_WEIGHTS_GGUF_H

#include "base/arena.h"
#include "weights/tensor.h"

enum {
    ES_GGUF_VALUES_MAX = 1 << 16,
    ES_GGUF_TENSORS_MAX = 1 << 20,
    ES_GGUF_NAME_MAX = 255, /* bytes of a tensor's name, and of a key */
    ES_GGUF_DIMS_MAX = 4,
    ES_GGUF_DEPTH_MAX = 4, /* arrays within arrays */
    ES_GGUF_TYPES_BYTES = 128
};

/* As files number them. */
typedef enum es_gguf_type {
    ES_GGUF_U8,
    ES_GGUF_I8,
    ES_GGUF_U16,
    ES_GGUF_I16,
    ES_GGUF_U32,
    ES_GGUF_I32,
    ES_GGUF_F32,
    ES_GGUF_BOOL,
    ES_GGUF_TEXT,
    ES_GGUF_ARRAY,
    ES_GGUF_U64,
    ES_GGUF_I64,
    ES_GGUF_F64,
    ES_GGUF_TYPE_COUNT
} es_gguf_type;

/* Borrowed bytes, not NUL-terminated, of any content. */
typedef struct es_gguf_text {
    const char *bytes;
    size_t size;
} es_gguf_text;

/* One key and its value. What the fields of other types hold is zero. */
typedef struct es_gguf_value {
    const char *key;
    es_gguf_type type;
    int64_t integer; /* integers and booleans; a U64 beyond INT64_MAX is refused at parsing */
    double number;   /* F32 and F64; an F32 as the decimal it was written as: 0.1f is 0.1 */
    es_gguf_text text;
    es_gguf_type item_type; /* ARRAY: what its items are */
    uint64_t items;         /* their count, */
    const uint8_t *at;      /* and where they begin: read with es_gguf_next_* */
} es_gguf_value;

typedef struct es_gguf {
    const char *file; /* path, for errors */
    uint32_t version;
    const es_gguf_value *values; /* [value_count], ascending by key */
    size_t value_count;
    es_tensor *tensors; /* [tensor_count], ascending by name */
    size_t tensor_count;
    const uint8_t *bytes; /* the file, */
    size_t values_end;    /* and where its metadata ends */
} es_gguf;

/* Reads the header of a whole file of size bytes. Keys, names, values and tensors go to the arena; data and
 * texts point into bytes; file is borrowed as long. ES_CORRUPT names file and key or tensor: counts, lengths
 * and offsets that do not fit the file, keys or names that come twice, tensors that overlap. ES_UNSUPPORTED
 * for other versions and byte orders, and for types of tensors that this build has never heard of, whose
 * sizes it cannot know. */
es_status es_gguf_parse(const uint8_t *bytes, size_t size, const char *file, es_arena *arena,
                        es_gguf *ret_gguf, es_err *err);

/* A GGUF file of the same metadata and no tensors, whole though this was a part of one that was split:
 * malloc'd, yours. */
es_status es_gguf_metadata(const es_gguf *gguf, uint8_t **ret_bytes, size_t *ret_size, es_err *err);

/* The number under which files name a format of weights; ES_FORMAT_FP8 has none. */
uint32_t es_gguf_number_of(es_format format);

/* The types that weights may have, listed for people: "F32, F16, Q4_0, …". Returns ret_text. */
const char *es_gguf_types(char ret_text[static ES_GGUF_TYPES_BYTES]);

/* The value under key, or NULL. */
const es_gguf_value *es_gguf_find(const es_gguf *gguf, const char *key);

/* The tensor called name, or NULL. */
const es_tensor *es_gguf_tensor(const es_gguf *gguf, const char *name);

/* A walk over an array's items; begin with {value->at}. Each call gives one item and steps on; at most
 * value->items calls. */
typedef struct es_gguf_walk {
    const uint8_t *at;
} es_gguf_walk;

/* Of an array of texts. */
es_gguf_text es_gguf_next_text(es_gguf_walk *walk);

/* Of an array of integers or booleans of this item_type. */
int64_t es_gguf_next_integer(es_gguf_walk *walk, es_gguf_type item_type);

#endif
