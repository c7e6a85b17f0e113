/* One GGUF file, from memory: its metadata, and which tensors stand where. */
#include "weights/gguf.h"

#include "base/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT_DEFAULT = 32, ALIGNMENT_MAX = 1 << 20, VALUE_BYTES_MIN = 13, TENSOR_BYTES_MIN = 24 };

static const size_t TYPE_BYTES[ES_GGUF_TYPE_COUNT] = {
    [ES_GGUF_U8] = 1,   [ES_GGUF_I8] = 1,  [ES_GGUF_U16] = 2, [ES_GGUF_I16] = 2,
    [ES_GGUF_U32] = 4,  [ES_GGUF_I32] = 4, [ES_GGUF_F32] = 4, [ES_GGUF_U64] = 8,
    [ES_GGUF_BOOL] = 1, [ES_GGUF_I64] = 8, [ES_GGUF_F64] = 8,
};

/* Types of tensors as files number them: elements and bytes of one block. */
static const struct tensor_type {
    const char *name;
    size_t block, bytes;
    es_dtype dtype;
} TENSOR_TYPES[] = {
    [0] = {"F32", 1, 4, ES_DTYPE_F32},           [1] = {"F16", 1, 2, ES_DTYPE_F16},
    [2] = {"Q4_0", 32, 18, ES_DTYPE_Q4_0},       [3] = {"Q4_1", 32, 20, ES_DTYPE_OTHER},
    [6] = {"Q5_0", 32, 22, ES_DTYPE_Q5_0},       [7] = {"Q5_1", 32, 24, ES_DTYPE_Q5_1},
    [8] = {"Q8_0", 32, 34, ES_DTYPE_Q8_0},       [9] = {"Q8_1", 32, 36, ES_DTYPE_OTHER},
    [10] = {"Q2_K", 256, 84, ES_DTYPE_OTHER},    [11] = {"Q3_K", 256, 110, ES_DTYPE_OTHER},
    [12] = {"Q4_K", 256, 144, ES_DTYPE_Q4_K},    [13] = {"Q5_K", 256, 176, ES_DTYPE_Q5_K},
    [14] = {"Q6_K", 256, 210, ES_DTYPE_Q6_K},    [15] = {"Q8_K", 256, 292, ES_DTYPE_OTHER},
    [16] = {"IQ2_XXS", 256, 66, ES_DTYPE_OTHER}, [17] = {"IQ2_XS", 256, 74, ES_DTYPE_OTHER},
    [18] = {"IQ3_XXS", 256, 98, ES_DTYPE_OTHER}, [19] = {"IQ1_S", 256, 50, ES_DTYPE_OTHER},
    [20] = {"IQ4_NL", 32, 18, ES_DTYPE_IQ4_NL},  [21] = {"IQ3_S", 256, 110, ES_DTYPE_OTHER},
    [22] = {"IQ2_S", 256, 82, ES_DTYPE_OTHER},   [23] = {"IQ4_XS", 256, 136, ES_DTYPE_OTHER},
    [24] = {"I8", 1, 1, ES_DTYPE_OTHER},         [25] = {"I16", 1, 2, ES_DTYPE_OTHER},
    [26] = {"I32", 1, 4, ES_DTYPE_OTHER},        [27] = {"I64", 1, 8, ES_DTYPE_OTHER},
    [28] = {"F64", 1, 8, ES_DTYPE_OTHER},        [29] = {"IQ1_M", 256, 56, ES_DTYPE_OTHER},
    [30] = {"BF16", 1, 2, ES_DTYPE_BF16},        [34] = {"TQ1_0", 256, 54, ES_DTYPE_OTHER},
    [35] = {"TQ2_0", 256, 66, ES_DTYPE_OTHER},   [39] = {"MXFP4", 32, 17, ES_DTYPE_OTHER},
};

uint32_t es_gguf_number_of(es_format format)
{
    uint32_t number = 0;
    while (TENSOR_TYPES[number].name == NULL || TENSOR_TYPES[number].dtype != (es_dtype)(format + 1)) {
        number++;
        ES_ASSERT(number < sizeof TENSOR_TYPES / sizeof TENSOR_TYPES[0]);
    }
    return number;
}

const char *es_gguf_types(char ret_text[static ES_GGUF_TYPES_BYTES])
{
    size_t at = 0;
    for (size_t i = 0; i < sizeof TENSOR_TYPES / sizeof TENSOR_TYPES[0]; i++)
        if (TENSOR_TYPES[i].dtype != ES_DTYPE_OTHER && at < ES_GGUF_TYPES_BYTES)
            at += (size_t)snprintf(ret_text + at, ES_GGUF_TYPES_BYTES - at, "%s%s", at == 0 ? "" : ", ",
                                   TENSOR_TYPES[i].name);
    return ret_text;
}

/* What is still to be read. The first failure stays; later reads give zero. */
typedef struct reader {
    const uint8_t *begin, *at, *end;
    const char *file;
    es_arena *arena;
    es_status status;
    es_err *err;
} reader;

static void fail(reader *in, es_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void fail(reader *in, es_status status, const char *format, ...)
{
    if (in->status != ES_OK) return;
    va_list args;
    va_start(args, format);
    in->status = es_err_set_at(in->err, status, in->file, format, args);
    va_end(args);
}

static size_t left(const reader *in)
{
    return (size_t)(in->end - in->at);
}

/* The next bytes, stepped over; NULL when the file ends before them. */
static const uint8_t *take(reader *in, uint64_t bytes, const char *what)
{
    if (in->status == ES_OK && bytes > left(in))
        fail(in, ES_CORRUPT, "%s: the file ends within it, at byte %zu", what, (size_t)(in->end - in->begin));
    if (in->status != ES_OK) return NULL;
    const uint8_t *at = in->at;
    in->at += bytes;
    return at;
}

static uint64_t little_endian(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint64_t read_unsigned(reader *in, size_t bytes, const char *what)
{
    const uint8_t *at = take(in, bytes, what);
    return at == NULL ? 0 : little_endian(at, bytes);
}

static es_gguf_text read_text(reader *in, const char *what)
{
    uint64_t size = read_unsigned(in, 8, what);
    const uint8_t *at = take(in, size, what);
    return at == NULL ? (es_gguf_text){"", 0} : (es_gguf_text){(const char *)at, (size_t)size};
}

/* A key or a tensor's name, copied; "" after a failure. */
static const char *read_name(reader *in, const char *what)
{
    es_gguf_text text = read_text(in, what);
    if (in->status != ES_OK) return "";
    if (text.size == 0 || text.size > ES_GGUF_NAME_MAX || memchr(text.bytes, '\0', text.size) != NULL) {
        fail(in, ES_CORRUPT, "%s: %zu bytes, not 1 to %d that are not 0", what, text.size, ES_GGUF_NAME_MAX);
        return "";
    }
    char *copy = es_arena_take(in->arena, text.size + 1, 1);
    if (copy == NULL) {
        fail(in, ES_NO_MEMORY, "%s", what);
        return "";
    }
    memcpy(copy, text.bytes, text.size);
    return copy;
}

/* n of an integer or boolean type of these bytes, its sign extended. */
static int64_t integer_of(uint64_t n, es_gguf_type type)
{
    switch (type) {
    case ES_GGUF_I8:
        return (int8_t)n;
    case ES_GGUF_I16:
        return (int16_t)n;
    case ES_GGUF_I32:
        return (int32_t)n;
    default:
        return (int64_t)n;
    }
}

/* The shortest decimal that is this binary32, as a binary64: what the file's writer had in mind. */
static double decimal_of(float value)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if ((float)strtod(text, NULL) == value) break;
    }
    return strtod(text, NULL);
}

static void read_scalar(reader *in, es_gguf_value *value)
{
    uint64_t n = read_unsigned(in, TYPE_BYTES[value->type], value->key);
    if (value->type == ES_GGUF_F32) {
        uint32_t bits = (uint32_t)n;
        float number;
        memcpy(&number, &bits, sizeof number);
        value->number = decimal_of(number);
    } else if (value->type == ES_GGUF_F64) {
        memcpy(&value->number, &n, sizeof n);
    } else if (value->type == ES_GGUF_U64 && n > INT64_MAX) {
        fail(in, ES_UNSUPPORTED, "%s: %llu is too large a number", value->key, (unsigned long long)n);
    } else if (value->type == ES_GGUF_BOOL && n > 1) {
        fail(in, ES_CORRUPT, "%s: %llu is neither true nor false", value->key, (unsigned long long)n);
    } else {
        value->integer = integer_of(n, value->type);
    }
}

static es_gguf_type read_type(reader *in, const char *key)
{
    uint64_t type = read_unsigned(in, 4, key);
    if (type >= ES_GGUF_TYPE_COUNT)
        fail(in, ES_CORRUPT, "%s: type %llu is none of GGUF's", key, (unsigned long long)type);
    return in->status == ES_OK ? (es_gguf_type)type : ES_GGUF_U8;
}

/* Steps over an array's items, each of which is looked at: its walk needs no checks. */
static void skip_items(reader *in, const char *key, es_gguf_type type, uint64_t items, int depth)
{
    if (in->status != ES_OK) return;
    if (type != ES_GGUF_TEXT && type != ES_GGUF_ARRAY) {
        if (items > left(in) / TYPE_BYTES[type])
            fail(in, ES_CORRUPT, "%s: %llu items do not fit the file", key, (unsigned long long)items);
        else
            in->at += items * TYPE_BYTES[type];
        return;
    }
    if (depth >= ES_GGUF_DEPTH_MAX) {
        fail(in, ES_UNSUPPORTED, "%s: arrays within arrays, more than %d deep", key, ES_GGUF_DEPTH_MAX);
        return;
    }
    /* A text takes 8 bytes at least, an array 12: a count that lies ends at the end of the file. */
    for (uint64_t i = 0; i < items && in->status == ES_OK; i++) {
        if (type == ES_GGUF_TEXT) {
            read_text(in, key);
            continue;
        }
        es_gguf_type inner = read_type(in, key);
        uint64_t inner_items = read_unsigned(in, 8, key);
        skip_items(in, key, inner, inner_items, depth + 1);
    }
}

static void read_value(reader *in, es_gguf_value *value)
{
    value->key = read_name(in, "a metadata key");
    value->type = read_type(in, value->key);
    if (value->type == ES_GGUF_TEXT) {
        value->text = read_text(in, value->key);
    } else if (value->type == ES_GGUF_ARRAY) {
        value->item_type = read_type(in, value->key);
        value->items = read_unsigned(in, 8, value->key);
        value->at = in->at;
        skip_items(in, value->key, value->item_type, value->items, 1);
    } else {
        read_scalar(in, value);
    }
}

static int value_by_key(const void *a, const void *b)
{
    return strcmp(((const es_gguf_value *)a)->key, ((const es_gguf_value *)b)->key);
}

static int tensor_by_name(const void *a, const void *b)
{
    return strcmp(((const es_tensor *)a)->name, ((const es_tensor *)b)->name);
}

static int tensor_by_place(const void *a, const void *b)
{
    const es_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static void read_values(reader *in, uint64_t count, es_gguf *gguf)
{
    if (count > ES_GGUF_VALUES_MAX || count > left(in) / VALUE_BYTES_MIN)
        fail(in, ES_CORRUPT, "%llu metadata values: more than the file holds, or than %d",
             (unsigned long long)count, ES_GGUF_VALUES_MAX);
    if (in->status != ES_OK) return;
    es_gguf_value *values = es_arena_take(in->arena, (size_t)count, sizeof *values);
    if (values == NULL) {
        fail(in, ES_NO_MEMORY, "list of metadata");
        return;
    }
    for (uint64_t i = 0; i < count && in->status == ES_OK; i++) read_value(in, &values[i]);
    if (in->status != ES_OK) return;
    if (count > 1) qsort(values, (size_t)count, sizeof *values, value_by_key);
    for (uint64_t i = 1; i < count; i++)
        if (strcmp(values[i].key, values[i - 1].key) == 0)
            fail(in, ES_CORRUPT, "%s: stands twice in the metadata", values[i].key);
    gguf->values = values;
    gguf->value_count = (size_t)count;
}

/* The file's dimensions have the contiguous one first, ours have it last. */
static void read_dims(reader *in, es_tensor *tensor)
{
    uint64_t dims = read_unsigned(in, 4, tensor->name), n[ES_GGUF_DIMS_MAX] = {0};
    if (dims > ES_GGUF_DIMS_MAX) {
        fail(in, ES_CORRUPT, "%s: %llu dimensions, at most %d are allowed", tensor->name,
             (unsigned long long)dims, ES_GGUF_DIMS_MAX);
        return;
    }
    size_t elements = 1;
    tensor->dims = (size_t)dims;
    for (size_t i = 0; i < dims; i++) n[i] = read_unsigned(in, 8, tensor->name);
    for (size_t i = 0; i < dims; i++) {
        tensor->shape[dims - 1 - i] = (size_t)n[i];
        if (!es_size_mul(elements, (size_t)n[i], &elements))
            fail(in, ES_CORRUPT, "%s: its size is too large a product", tensor->name);
    }
    tensor->elements = elements;
}

/* Fills type and bytes. */
static void read_tensor_type(reader *in, es_tensor *tensor)
{
    uint64_t number = read_unsigned(in, 4, tensor->name);
    if (in->status != ES_OK) return;
    if (number >= sizeof TENSOR_TYPES / sizeof TENSOR_TYPES[0] || TENSOR_TYPES[number].name == NULL) {
        char types[ES_GGUF_TYPES_BYTES];
        fail(in, ES_UNSUPPORTED, "%s: type %llu is not known: %s are supported", tensor->name,
             (unsigned long long)number, es_gguf_types(types));
        return;
    }
    const struct tensor_type *type = &TENSOR_TYPES[number];
    snprintf(tensor->dtype_name, sizeof tensor->dtype_name, "%s", type->name);
    tensor->dtype = type->dtype;
    size_t row = tensor->dims > 0 ? tensor->shape[tensor->dims - 1] : 1;
    if (row % type->block != 0)
        fail(in, ES_CORRUPT, "%s: rows of %zu are no multiple of the %zu in a block of %s", tensor->name, row,
             type->block, type->name);
    else if (!es_size_mul((size_t)tensor->elements / type->block, type->bytes, &tensor->bytes))
        fail(in, ES_CORRUPT, "%s: its size is too large a product", tensor->name);
}

/* Leaves the offset in ret_offset: the data begins where the list ends. */
static void read_tensor(reader *in, es_tensor *tensor, uint64_t *ret_offset)
{
    tensor->file = in->file;
    tensor->name = read_name(in, "a tensor's name");
    read_dims(in, tensor);
    read_tensor_type(in, tensor);
    *ret_offset = read_unsigned(in, 8, tensor->name);
}

/* Points tensors into the data, which begins at the next multiple of the alignment. */
static void place_tensors(reader *in, es_tensor *tensors, const uint64_t *offsets, size_t count,
                          size_t alignment)
{
    size_t header = es_size_align((size_t)(in->at - in->begin), alignment),
           size = (size_t)(in->end - in->begin);
    size_t data = header < size ? size - header : 0;
    for (size_t i = 0; i < count && in->status == ES_OK; i++) {
        es_tensor *tensor = &tensors[i];
        if (offsets[i] % alignment != 0)
            fail(in, ES_CORRUPT, "%s: offset %llu is no multiple of %zu", tensor->name,
                 (unsigned long long)offsets[i], alignment);
        else if (offsets[i] > data || tensor->bytes > data - offsets[i])
            fail(in, ES_CORRUPT, "%s: %zu bytes at offset %llu are not within the file's %zu bytes of data",
                 tensor->name, tensor->bytes, (unsigned long long)offsets[i], data);
        else
            tensor->data = in->begin + es_size_min(header, size) + offsets[i];
    }
    if (in->status != ES_OK) return;
    if (count > 1) qsort(tensors, count, sizeof *tensors, tensor_by_place);
    for (size_t i = 1; i < count; i++)
        if (tensors[i].data < tensors[i - 1].data + tensors[i - 1].bytes)
            fail(in, ES_CORRUPT, "%s: overlaps %s", tensors[i].name, tensors[i - 1].name);
}

static size_t find_alignment(reader *in, const es_gguf *gguf)
{
    const es_gguf_value *value = in->status == ES_OK ? es_gguf_find(gguf, "general.alignment") : NULL;
    if (value == NULL) return ALIGNMENT_DEFAULT;
    int64_t n = value->integer;
    if (n < 1 || n > ALIGNMENT_MAX || (n & (n - 1)) != 0) {
        fail(in, ES_CORRUPT, "general.alignment: not a power of two up to %d", ALIGNMENT_MAX);
        return ALIGNMENT_DEFAULT;
    }
    return (size_t)n;
}

static void read_tensors(reader *in, uint64_t count, es_gguf *gguf)
{
    if (count > ES_GGUF_TENSORS_MAX || count > left(in) / TENSOR_BYTES_MIN)
        fail(in, ES_CORRUPT, "%llu tensors: more than the file holds, or than %d", (unsigned long long)count,
             ES_GGUF_TENSORS_MAX);
    if (in->status != ES_OK) return;
    es_tensor *tensors = es_arena_take(in->arena, (size_t)count, sizeof *tensors);
    uint64_t *offsets = es_arena_take(in->arena, (size_t)count, sizeof *offsets);
    if (tensors == NULL || offsets == NULL) {
        fail(in, ES_NO_MEMORY, "list of tensors");
        return;
    }
    for (size_t i = 0; i < count && in->status == ES_OK; i++) read_tensor(in, &tensors[i], &offsets[i]);
    size_t alignment = find_alignment(in, gguf);
    if (in->status == ES_OK) place_tensors(in, tensors, offsets, (size_t)count, alignment);
    if (in->status != ES_OK) return;
    if (count > 1) qsort(tensors, (size_t)count, sizeof *tensors, tensor_by_name);
    for (size_t i = 1; i < count; i++)
        if (strcmp(tensors[i].name, tensors[i - 1].name) == 0)
            fail(in, ES_CORRUPT, "%s: stands twice in the file", tensors[i].name);
    gguf->tensors = tensors;
    gguf->tensor_count = (size_t)count;
}

es_status es_gguf_parse(const uint8_t *bytes, size_t size, const char *file, es_arena *arena,
                        es_gguf *ret_gguf, es_err *err)
{
    *ret_gguf = (es_gguf){.file = file};
    es_gguf gguf = *ret_gguf;
    reader in = {bytes, bytes, bytes + size, file, arena, ES_OK, err};
    if (size < 4 || memcmp(bytes, "GGUF", 4) != 0)
        return es_err_set(err, ES_CORRUPT, "%s: does not begin with GGUF", file);
    in.at += 4;
    gguf.version = (uint32_t)read_unsigned(&in, 4, "version");
    if (in.status == ES_OK && (gguf.version & 0xffffu) == 0)
        fail(&in, ES_UNSUPPORTED, "version: a big-endian file is not supported");
    else if (in.status == ES_OK && gguf.version != 2 && gguf.version != 3)
        fail(&in, ES_UNSUPPORTED, "version: %u is neither 2 nor 3", gguf.version);
    uint64_t tensors = read_unsigned(&in, 8, "tensor count");
    uint64_t values = read_unsigned(&in, 8, "metadata count");
    read_values(&in, values, &gguf);
    gguf.bytes = bytes;
    gguf.values_end = (size_t)(in.at - bytes);
    read_tensors(&in, tensors, &gguf);
    if (in.status == ES_OK) *ret_gguf = gguf;
    return in.status;
}

const es_gguf_value *es_gguf_find(const es_gguf *gguf, const char *key)
{
    const es_gguf_value wanted = {.key = key};
    if (gguf->value_count == 0) return NULL;
    return bsearch(&wanted, gguf->values, gguf->value_count, sizeof wanted, value_by_key);
}

const es_tensor *es_gguf_tensor(const es_gguf *gguf, const char *name)
{
    const es_tensor wanted = {.name = name};
    if (gguf->tensor_count == 0) return NULL;
    return bsearch(&wanted, gguf->tensors, gguf->tensor_count, sizeof wanted, tensor_by_name);
}

es_gguf_text es_gguf_next_text(es_gguf_walk *walk)
{
    size_t size = (size_t)little_endian(walk->at, 8);
    es_gguf_text text = {(const char *)walk->at + 8, size};
    walk->at += 8 + size;
    return text;
}

int64_t es_gguf_next_integer(es_gguf_walk *walk, es_gguf_type item_type)
{
    size_t bytes = TYPE_BYTES[item_type];
    int64_t value = integer_of(little_endian(walk->at, bytes), item_type);
    walk->at += bytes;
    return value;
}

es_status es_gguf_metadata(const es_gguf *gguf, uint8_t **ret_bytes, size_t *ret_size, es_err *err)
{
    static const char SPLIT[] = "\x0b\0\0\0\0\0\0\0split.count";
    enum { ALIGNMENT = 32, TENSOR_COUNT_AT = 8 };
    size_t size = (gguf->values_end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    uint8_t *bytes = calloc(1, size);
    *ret_bytes = bytes;
    *ret_size = size;
    if (bytes == NULL) return es_err_set(err, ES_NO_MEMORY, "%s: metadata", gguf->file);
    memcpy(bytes, gguf->bytes, gguf->values_end);
    memset(bytes + TENSOR_COUNT_AT, 0, sizeof(uint64_t));
    uint8_t *split = memmem(bytes, gguf->values_end, SPLIT, sizeof SPLIT - 1);
    if (split != NULL && es_gguf_find(gguf, "split.count") != NULL)
        memset(split + sizeof SPLIT - 1 + sizeof(uint32_t), 0, sizeof(uint16_t));
    return ES_OK;
}
