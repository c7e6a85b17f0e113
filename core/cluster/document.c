/* The placement document, read and written. */
#include "cluster/document.h"

#include "cluster/fields.h"
#include "weights/json.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Version 2 states formats beside checksums, and is written when they are there. */
enum { VERSION = 2 };

static const char FORMAT[] = "essaim-placement";
const char *const ES_PLACEMENT_MODES[ES_PLACE_COUNT + 1] = {"group", "stripe", "replicate", "slice", NULL};

void es_epoch_format(es_epoch epoch, char ret_text[ES_EPOCH_TEXT_MAX])
{
    snprintf(ret_text, ES_EPOCH_TEXT_MAX, "%" PRIu32 ".%" PRIu32, epoch.generation, epoch.counter);
}

/* A decimal number below 2^32 without leading zeros; NULL when there is none, else what follows it. */
static const char *parse_u32(const char *text, uint32_t *ret_value)
{
    uint64_t value = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        value = value * 10 + (uint64_t)(text[digits] - '0');
        if (value > UINT32_MAX || (digits > 0 && text[0] == '0')) return NULL;
    }
    *ret_value = (uint32_t)value;
    return digits > 0 ? text + digits : NULL;
}

es_status es_epoch_parse(const char *text, es_epoch *ret_epoch, es_err *err)
{
    const char *rest = parse_u32(text, &ret_epoch->generation);
    if (rest != NULL) rest = *rest == '.' ? parse_u32(rest + 1, &ret_epoch->counter) : NULL;
    if (rest == NULL || *rest != '\0')
        return es_err_set(err, ES_INVALID, "epoch \"%.40s\": write GENERATION.COUNTER, for example 1.7",
                          text);
    return ES_OK;
}

void es_document_destroy(es_document **document)
{
    if (*document == NULL) return;
    es_arena_destroy(&(*document)->arena);
    free(*document);
    *document = NULL;
}

size_t es_document_layer(const es_document *d, uint32_t layer)
{
    size_t low = 0, high = d->layer_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->layers[middle] < layer)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->layer_count && d->layers[low] == layer ? low : d->layer_count;
}

const es_document_node *es_document_find(const es_document *d, const char *name)
{
    size_t low = 0, high = d->node_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(d->nodes[middle].name, name);
        if (order == 0) return &d->nodes[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

void es_document_held(const es_document *d, const es_document_node *node, uint8_t *held)
{
    memset(held, 0, es_document_cells(d));
    for (size_t u = 0; u < node->unit_count; u++) {
        const es_units *units = &node->units[u];
        size_t layer = es_document_layer(d, units->layer);
        for (size_t e = 0; e < units->expert_count; e++)
            held[es_document_cell(d, layer, units->expert_first + e, units->slice)] = 1;
    }
}

es_status es_document_find_loss(const es_document *d, const char *name, const bool *stands,
                                es_document_loss *ret_loss, es_err *err)
{
    const es_document_node *node = es_document_find(d, name);
    size_t cells = es_document_cells(d);
    *ret_loss = (es_document_loss){.all = d->layer_count * d->experts};
    if (node == NULL) return ES_OK;
    uint8_t *held = malloc(cells), *other = malloc(cells);
    if (held == NULL || other == NULL) {
        free(held);
        free(other);
        return es_err_set(err, ES_NO_MEMORY, "placement");
    }
    es_document_held(d, node, held);
    for (size_t n = 0; n < d->node_count; n++) {
        if (&d->nodes[n] == node || !stands[n]) continue;
        es_document_held(d, &d->nodes[n], other);
        for (size_t c = 0; c < cells; c++) held[c] &= (uint8_t)!other[c];
    }
    for (size_t x = 0; x < ret_loss->all; x++) {
        if (memchr(held + x * d->slices, 1, d->slices) == NULL) continue;
        if (ret_loss->experts++ > 0) continue;
        ret_loss->layer = d->layers[x / d->experts];
        ret_loss->expert = (uint32_t)(x % d->experts);
    }
    free(held);
    free(other);
    return ES_OK;
}

size_t es_document_sums_of(const es_document *d, const es_units *units, size_t count, uint8_t *ret_sums,
                           uint8_t *ret_formats, size_t sums_max)
{
    size_t done = 0;
    for (size_t u = 0; u < count && d->sums != NULL; u++) {
        size_t layer = es_document_layer(d, units[u].layer), some = units[u].expert_count;
        ES_ASSERT(layer < d->layer_count && units[u].expert_first + some <= d->experts);
        if (some > sums_max - done) return 0;
        size_t first = layer * d->experts + units[u].expert_first;
        memcpy(ret_sums + done * ES_SUM_BYTES, d->sums + first * ES_SUM_BYTES, some * ES_SUM_BYTES);
        if (d->formats != NULL)
            memcpy(ret_formats + done * ES_EXPERT_PARTS, d->formats + first * ES_EXPERT_PARTS,
                   some * ES_EXPERT_PARTS);
        done += some;
    }
    return done;
}

/* A document being read. */
typedef struct reader {
    es_fields fields;
    es_document *d;
    uint8_t *holders; /* [cells]: how many nodes hold it */
} reader;

static es_status no_memory(es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "placement document");
}

static void read_layers(reader *in)
{
    es_document *d = in->d;
    const json_t *list = es_fields_array(&in->fields, "layers", ES_DOCUMENT_LAYERS_MAX);
    size_t count = json_array_size(list);
    uint32_t *layers = es_arena_take(d->arena, count + 1, sizeof *layers);
    if (layers == NULL) {
        in->fields.status = no_memory(in->fields.err);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        json_int_t layer = json_integer_value(json_array_get(list, i));
        if (!json_is_integer(json_array_get(list, i)) || layer < 0 || layer > UINT32_MAX ||
            (i > 0 && layer <= (json_int_t)layers[i - 1])) {
            es_fields_complain(&in->fields, "layers", "not ascending numbers of layers");
            return;
        }
        layers[i] = (uint32_t)layer;
    }
    d->layers = layers;
    d->layer_count = count;
    if (count == 0) es_fields_complain(&in->fields, "layers", "none");
}

static void read_head(reader *in)
{
    es_document *d = in->d;
    es_fields *f = &in->fields;
    char epoch[ES_EPOCH_TEXT_MAX];
    es_fields_text(f, "epoch", epoch, sizeof epoch);
    if (f->status == ES_OK && es_epoch_parse(epoch, &d->epoch, NULL) != ES_OK)
        es_fields_complain(f, "epoch", "not GENERATION.COUNTER");
    es_fields_hex(f, "fingerprint", d->fingerprint, sizeof d->fingerprint);
    d->mode = (es_placement_mode)es_fields_choice(f, "mode", ES_PLACEMENT_MODES);
    d->copies = (size_t)es_fields_number(f, "copies", 1, ES_COPIES_MAX);
    d->experts = (size_t)es_fields_number(f, "experts", 1, ES_EXPERTS_MAX);
    d->slices = (size_t)es_fields_number(f, "slices", 1, ES_CHUNKS_MAX);
    if (f->status == ES_OK) read_layers(in);
    if (f->status == ES_OK && d->layer_count * d->experts * d->slices > ES_DOCUMENT_CELLS_MAX)
        es_fields_complain(f, "slices", "too many cells");
    if (f->status == ES_OK && d->slices > 1 && d->mode != ES_PLACE_SLICE)
        es_fields_complain(f, "slices", "more than 1, but the mode is not slice");
}

/* True when range b stands behind range a, in the order of documents, and shares no cell with it. */
static bool stands_behind(const es_units *a, const es_units *b)
{
    if (a->layer != b->layer) return b->layer > a->layer;
    if (a->slice != b->slice) return b->slice > a->slice;
    return b->expert_first >= a->expert_first + a->expert_count;
}

/* "[layer, first, count]", and behind them the slice when experts are cut. */
static const char *read_range(const es_document *d, const json_t *list, es_units *ret_units)
{
    uint32_t value[4] = {0};
    size_t count = d->slices > 1 ? 4 : 3;
    if (json_array_size(list) != count) return "a range has not its numbers";
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t number = json_integer_value(item);
        if (!json_is_integer(item) || number < 0 || number > UINT32_MAX) return "a range has not its numbers";
        value[i] = (uint32_t)number;
    }
    *ret_units = (es_units){value[0], value[1], value[2], value[3], (uint32_t)d->slices};
    if (es_document_layer(d, value[0]) == d->layer_count) return "a range's layer is none";
    if (value[1] >= d->experts || value[2] < 1 || value[2] > d->experts - value[1])
        return "a range's experts are none";
    return value[3] >= d->slices ? "a range's slice is none" : NULL;
}

static const char *count_cells(reader *in, const es_units *units)
{
    const es_document *d = in->d;
    size_t layer = es_document_layer(d, units->layer);
    for (size_t e = 0; e < units->expert_count; e++) {
        uint8_t *holders = &in->holders[es_document_cell(d, layer, units->expert_first + e, units->slice)];
        if (*holders == d->copies) return "a cell has more holders than copies says";
        ++*holders;
    }
    return NULL;
}

static void read_node(reader *in, const char *name, const json_t *ranges, es_document_node *node)
{
    es_document *d = in->d;
    size_t count = json_array_size(ranges);
    const char *complaint = NULL;
    if (!es_name_valid(name) || !json_is_array(ranges) || count > ES_UNITS_MAX) {
        es_fields_complain(&in->fields, "nodes", "a node's name is none, or its ranges are");
        return;
    }
    memcpy(node->name, name, strlen(name) + 1);
    es_units *units = es_arena_take(d->arena, count + 1, sizeof *units);
    if (units == NULL) {
        in->fields.status = no_memory(in->fields.err);
        return;
    }
    for (size_t i = 0; i < count && complaint == NULL; i++) {
        complaint = read_range(d, json_array_get(ranges, i), &units[i]);
        if (complaint == NULL && i > 0 && !stands_behind(&units[i - 1], &units[i]))
            complaint = "a range does not stand behind the one before it";
        if (complaint == NULL) complaint = count_cells(in, &units[i]);
    }
    node->units = units;
    node->unit_count = count;
    if (complaint != NULL) es_fields_complain(&in->fields, name, complaint);
}

static int by_node_name(const void *a, const void *b)
{
    return strcmp(((const es_document_node *)a)->name, ((const es_document_node *)b)->name);
}

static void read_nodes(reader *in)
{
    es_document *d = in->d;
    json_t *object = json_object_get(in->fields.object, "nodes");
    size_t count = json_object_size(object), at = 0;
    const char *name;
    json_t *ranges;
    if (!json_is_object(object) || count < 1 || count > ES_DOCUMENT_NODES_MAX) {
        es_fields_complain(&in->fields, "nodes", "missing, empty or too many");
        return;
    }
    es_document_node *nodes = es_arena_take(d->arena, count, sizeof *nodes);
    if (nodes == NULL) {
        in->fields.status = no_memory(in->fields.err);
        return;
    }
    json_object_foreach(object, name, ranges)
    {
        if (in->fields.status == ES_OK) read_node(in, name, ranges, &nodes[at++]);
    }
    if (in->fields.status != ES_OK) return;
    qsort(nodes, count, sizeof *nodes, by_node_name);
    d->nodes = nodes;
    d->node_count = count;
}

/* Nobody's cell is an answer that can never come; fewer copies than stated is a promise not kept. */
static void check_holders(reader *in)
{
    const es_document *d = in->d;
    for (size_t l = 0; l < d->layer_count; l++)
        for (size_t e = 0; e < d->experts; e++)
            for (size_t s = 0; s < d->slices; s++) {
                size_t holders = in->holders[es_document_cell(d, l, e, s)];
                if (holders == d->copies || (holders > 0 && d->mode == ES_PLACE_REPLICATE)) continue;
                in->fields.status =
                    es_err_set(in->fields.err, ES_CORRUPT,
                               "%s: layer %" PRIu32 ": expert %zu, slice %zu: %zu holders, not %zu",
                               in->fields.where, d->layers[l], e, s, holders, d->copies);
                return;
            }
}

/* NAME: {"LAYER": base64 of so many bytes of every expert}; NULL when it is not there. */
static const uint8_t *read_of_experts(reader *in, const char *name, size_t expert_bytes)
{
    es_document *d = in->d;
    json_t *object = json_object_get(in->fields.object, name);
    if (object == NULL) return NULL;
    size_t row = d->experts * expert_bytes, got;
    uint8_t *all = es_arena_take(d->arena, d->layer_count, row);
    if (all == NULL) {
        in->fields.status = no_memory(in->fields.err);
        return NULL;
    }
    for (size_t l = 0; l < d->layer_count; l++) {
        char key[16];
        snprintf(key, sizeof key, "%" PRIu32, d->layers[l]);
        const json_t *text = json_object_get(object, key);
        if (!json_is_string(text) ||
            sodium_base642bin(all + l * row, row, json_string_value(text), json_string_length(text), NULL,
                              &got, NULL, sodium_base64_VARIANT_ORIGINAL) != 0 ||
            got != row) {
            es_fields_complain(&in->fields, name, "a layer's are missing, or not base64 of their length");
            return NULL;
        }
    }
    if (json_object_size(object) != d->layer_count)
        es_fields_complain(&in->fields, name, "of layers that are not placed");
    return all;
}

/* Checksums, and from version 2 on what their bytes are. */
static void read_contents(reader *in, uint64_t version)
{
    es_document *d = in->d;
    d->sums = read_of_experts(in, "sums", ES_SUM_BYTES);
    if (in->fields.status == ES_OK) d->formats = read_of_experts(in, "formats", ES_EXPERT_PARTS);
    if (in->fields.status != ES_OK) return;
    if ((d->formats != NULL) != (version >= 2))
        es_fields_complain(&in->fields, "formats", "they belong to version 2, and are all that is new there");
    else if (d->formats != NULL && d->sums == NULL)
        es_fields_complain(&in->fields, "formats", "without checksums");
    for (size_t i = 0; d->formats != NULL && i < d->layer_count * d->experts * ES_EXPERT_PARTS; i++)
        if (d->formats[i] >= ES_FORMAT_COUNT && in->fields.status == ES_OK)
            in->fields.status =
                es_err_set(in->fields.err, ES_UNSUPPORTED, "%s: formats: %u is not known here",
                           in->fields.where, d->formats[i]);
}

/* "signature": {"key": hexadecimal, "ed25519": hexadecimal}. */
static void read_signature(reader *in)
{
    static const char *const KEYS[] = {"key", "ed25519", NULL};
    es_document *d = in->d;
    const json_t *object = json_object_get(in->fields.object, "signature");
    if (object == NULL) return;
    es_fields fields = es_fields_of(in->fields.where, object, KEYS, in->fields.err);
    if (fields.status == ES_OK) es_fields_hex(&fields, "key", d->signer, sizeof d->signer);
    if (fields.status == ES_OK) es_fields_hex(&fields, "ed25519", d->signature, sizeof d->signature);
    d->is_signed = fields.status == ES_OK;
    in->fields.status = fields.status;
}

static es_status read_document(const char *where, const json_t *object, es_document *d, es_err *err)
{
    static const char *const KEYS[] = {"format", "version", "epoch",     "fingerprint", "mode",
                                       "copies", "slices",  "experts",   "layers",      "nodes",
                                       "sums",   "formats", "signature", NULL};
    const json_t *version = json_object_get(object, "version");
    if (json_is_integer(version) && json_integer_value(version) > VERSION)
        return es_err_set(err, ES_UNSUPPORTED, "%s: version: this build reads up to %d", where, VERSION);
    reader in = {.fields = es_fields_of(where, object, KEYS, err), .d = d};
    char format[sizeof FORMAT];
    es_fields_text(&in.fields, "format", format, sizeof format);
    if (in.fields.status == ES_OK && strcmp(format, FORMAT) != 0)
        es_fields_complain(&in.fields, "format", "not a placement");
    uint64_t states = (uint64_t)es_fields_number(&in.fields, "version", 1, VERSION);
    if (in.fields.status == ES_OK) read_head(&in);
    if (in.fields.status != ES_OK) return in.fields.status;
    in.holders = calloc(es_document_cells(d), 1);
    if (in.holders == NULL) return no_memory(err);
    read_nodes(&in);
    if (in.fields.status == ES_OK) check_holders(&in);
    if (in.fields.status == ES_OK) read_contents(&in, states);
    if (in.fields.status == ES_OK) read_signature(&in);
    free(in.holders);
    return in.fields.status;
}

es_status es_document_parse(const char *where, const char *text, size_t bytes, es_document **ret_document,
                            es_err *err)
{
    *ret_document = NULL;
    json_t *object;
    if (bytes > ES_DOCUMENT_BYTES_MAX)
        return es_err_set(err, ES_CORRUPT, "%s: %zu bytes, more than %d", where, bytes,
                          ES_DOCUMENT_BYTES_MAX);
    es_status status = es_json_parse(&(es_json_text){where, text, bytes}, &object, err);
    if (status != ES_OK) return status;
    es_document *d = calloc(1, sizeof *d);
    if (d != NULL) d->arena = es_arena_create();
    status = d == NULL || d->arena == NULL ? no_memory(err) : read_document(where, object, d, err);
    json_decref(object);
    if (status != ES_OK) es_document_destroy(&d);
    *ret_document = d;
    return status;
}

static json_t *node_json(const es_document *d, const es_document_node *node)
{
    json_t *ranges = json_array();
    for (size_t u = 0; u < node->unit_count; u++) {
        const es_units *units = &node->units[u];
        json_t *range = json_pack("[I, I, I]", (json_int_t)units->layer, (json_int_t)units->expert_first,
                                  (json_int_t)units->expert_count);
        if (d->slices > 1) json_array_append_new(range, json_integer((json_int_t)units->slice));
        json_array_append_new(ranges, range);
    }
    return ranges;
}

/* NULL when memory is short. */
static json_t *of_experts_json(const es_document *d, const uint8_t *all, size_t expert_bytes)
{
    size_t row = d->experts * expert_bytes,
           chars = sodium_base64_encoded_len(row, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(chars);
    json_t *object = text == NULL ? NULL : json_object();
    for (size_t l = 0; l < d->layer_count && object != NULL; l++) {
        char key[16];
        snprintf(key, sizeof key, "%" PRIu32, d->layers[l]);
        sodium_bin2base64(text, chars, all + l * row, row, sodium_base64_VARIANT_ORIGINAL);
        json_object_set_new(object, key, json_string(text));
    }
    free(text);
    return object;
}

static json_t *signature_json(const es_document *d)
{
    char key[2 * ES_SIGNER_KEY_BYTES + 1], signature[2 * ES_SIGNATURE_BYTES + 1];
    sodium_bin2hex(key, sizeof key, d->signer, sizeof d->signer);
    sodium_bin2hex(signature, sizeof signature, d->signature, sizeof d->signature);
    return json_pack("{s:s, s:s}", "key", key, "ed25519", signature);
}

char *es_document_write(const es_document *d, size_t *ret_bytes)
{
    char epoch[ES_EPOCH_TEXT_MAX], fingerprint[ES_FINGERPRINT_TEXT_MAX];
    es_epoch_format(d->epoch, epoch);
    es_fingerprint_format(d->fingerprint, fingerprint);
    json_t *layers = json_array(), *nodes = json_object();
    for (size_t l = 0; l < d->layer_count; l++)
        json_array_append_new(layers, json_integer((json_int_t)d->layers[l]));
    for (size_t n = 0; n < d->node_count; n++)
        json_object_set_new(nodes, d->nodes[n].name, node_json(d, &d->nodes[n]));
    json_t *all =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:o, s:o}", "format", FORMAT, "version",
                  d->formats != NULL ? 2 : 1, "epoch", epoch, "fingerprint", fingerprint, "mode",
                  ES_PLACEMENT_MODES[d->mode], "copies", (json_int_t)d->copies, "slices",
                  (json_int_t)d->slices, "experts", (json_int_t)d->experts, "layers", layers, "nodes", nodes);
    bool whole = all != NULL;
    if (whole && d->sums != NULL)
        whole = json_object_set_new(all, "sums", of_experts_json(d, d->sums, ES_SUM_BYTES)) == 0;
    if (whole && d->formats != NULL)
        whole = json_object_set_new(all, "formats", of_experts_json(d, d->formats, ES_EXPERT_PARTS)) == 0;
    if (whole && d->is_signed) whole = json_object_set_new(all, "signature", signature_json(d)) == 0;
    char *text = whole ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    *ret_bytes = text == NULL ? 0 : strlen(text);
    return text;
}

es_status es_document_check(const es_document *d, const es_shape *shape, const uint8_t *fingerprint,
                            es_err *err)
{
    if (memcmp(d->fingerprint, fingerprint, ES_FINGERPRINT_BYTES) != 0) {
        char theirs[ES_FINGERPRINT_TEXT_MAX], ours[ES_FINGERPRINT_TEXT_MAX];
        es_fingerprint_format(d->fingerprint, theirs);
        es_fingerprint_format(fingerprint, ours);
        return es_err_set(err, ES_MISMATCH, "placement: of the model with fingerprint %s, ours is %s", theirs,
                          ours);
    }
    size_t at = 0;
    for (size_t l = 0; l < shape->layers; l++) {
        if (!es_shape_layer_is_moe(shape, l)) continue;
        if (at == d->layer_count || d->layers[at] != l)
            return es_err_set(err, ES_MISMATCH, "placement: has no layer %zu", l);
        at++;
    }
    if (at != d->layer_count || d->experts != shape->experts)
        return es_err_set(err, ES_MISMATCH, "placement: %zu layers of %zu experts, the model has %zu of %zu",
                          d->layer_count, d->experts, at, shape->experts);
    if (d->slices > es_chunks_of(shape->expert_intermediate))
        return es_err_set(err, ES_MISMATCH, "placement: %zu slices of experts that have %zu chunks",
                          d->slices, es_chunks_of(shape->expert_intermediate));
    return ES_OK;
}
