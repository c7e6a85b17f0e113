/* The placement document: which node holds which cells, under one epoch. A cell is one slice of one expert of
 * one layer, the unit that is placed, moved and loaded. */
#ifndef ES_CLUSTER_DOCUMENT_H
#define ES_CLUSTER_DOCUMENT_H

#include "base/arena.h"
#include "essaim/placement.h"
#include "net/control.h"

#include <jansson.h>

enum {
    ES_DOCUMENT_NODES_MAX = 1024,
    ES_DOCUMENT_LAYERS_MAX = 1024,
    ES_DOCUMENT_CELLS_MAX = 4 * 1024 * 1024, /* layers * experts * slices */
    ES_DOCUMENT_BYTES_MAX = 32 * 1024 * 1024,
    ES_COPIES_MAX = 16,
    ES_SUM_BYTES = 32, /* BLAKE2b-256 of an expert's bytes, as a shard's manifest states it */
    ES_EPOCH_TEXT_MAX = 24,
    ES_SIGNER_KEY_BYTES = 32, /* Ed25519: cluster/signature.h */
    ES_SIGNATURE_BYTES = 64,
};

/* Which placement is the newer one. The generation is raised by hand after a registry was restored from a
 * backup or begun anew: its own revisions go backwards then. {0, 0} is before every placement. */
typedef struct es_epoch {
    uint32_t generation, counter;
} es_epoch;

/* As it travels in messages; ordered as epochs are. */
static inline uint64_t es_epoch_number(es_epoch epoch)
{
    return (uint64_t)epoch.generation << 32 | epoch.counter;
}

static inline es_epoch es_epoch_of_number(uint64_t number)
{
    return (es_epoch){(uint32_t)(number >> 32), (uint32_t)number};
}

/* "1.7", and back: ES_INVALID quotes what is none. */
void es_epoch_format(es_epoch epoch, char ret_text[ES_EPOCH_TEXT_MAX]);
es_status es_epoch_parse(const char *text, es_epoch *ret_epoch, es_err *err);

/* Group: neighbours together, so that a token's groups of experts are on few nodes. Stripe: every group over
 * all nodes. Replicate: hot experts first, loads evened out by heat. Slice: every expert over many nodes. */
typedef enum es_placement_mode {
    ES_PLACE_GROUP,
    ES_PLACE_STRIPE,
    ES_PLACE_REPLICATE,
    ES_PLACE_SLICE,
    ES_PLACE_COUNT
} es_placement_mode;

/* The modes' names, then NULL. */
extern const char *const ES_PLACEMENT_MODES[ES_PLACE_COUNT + 1];

typedef struct es_document_node {
    char name[ES_NAME_MAX + 1];
    const es_units *units; /* ascending by layer, slice, expert; no cell twice */
    size_t unit_count;     /* up to ES_UNITS_MAX; 0: it holds nothing */
} es_document_node;

/* Immutable once made. Everything lives in its arena. */
typedef struct es_document {
    es_arena *arena;
    es_epoch epoch;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES]; /* of the model it places */
    es_placement_mode mode;
    size_t copies;          /* of each cell, at most; in every mode but replicate exactly */
    size_t experts, slices; /* in every layer, and of every expert */
    size_t layer_count;
    const uint32_t *layers; /* [layer_count] those with routed experts, ascending */
    size_t node_count;
    const es_document_node *nodes; /* [node_count], ascending by name */
    const uint8_t *sums;           /* [layer_count][experts][ES_SUM_BYTES], or NULL: not stated */
    const uint8_t *formats; /* [layer_count][experts][ES_EXPERT_PARTS], es_format of the bytes that sums are
                               of; NULL: not stated, or written before version 2 */
    bool is_signed;         /* what follows was stated; es_document_verify says whether it holds */
    uint8_t signer[ES_SIGNER_KEY_BYTES];
    uint8_t signature[ES_SIGNATURE_BYTES];
} es_document;

void es_document_destroy(es_document **document);

/* Reads a document strictly: ES_CORRUPT names the field that is unknown, missing or beyond its maximum, the
 * cell that nobody holds or that more nodes hold than copies says, ES_UNSUPPORTED a later version. where
 * names the text in errors. */
es_status es_document_parse(const char *where, const char *text, size_t bytes, es_document **ret_document,
                            es_err *err);

/* The document as JSON, malloc'd and yours; NULL when memory is short. The same document gives the same
 * bytes.
 */
char *es_document_write(const es_document *document, size_t *ret_bytes);

/* Fingerprint, layers and experts are those of this model; ES_MISMATCH says which is not. */
es_status es_document_check(const es_document *document, const es_shape *shape, const uint8_t *fingerprint,
                            es_err *err);

/* NULL when it is not named. */
const es_document_node *es_document_find(const es_document *document, const char *name);

static inline size_t es_document_cells(const es_document *document)
{
    return document->layer_count * document->experts * document->slices;
}

/* The cell of an expert's slice; layer_index counts the document's layers, not the model's. */
static inline size_t es_document_cell(const es_document *document, size_t layer_index, size_t expert,
                                      size_t slice)
{
    return (layer_index * document->experts + expert) * document->slices + slice;
}

/* The index of a layer of the model in the document's layers; layer_count when it is none of them. */
size_t es_document_layer(const es_document *document, uint32_t layer);

/* Copies the checksums of every expert of units [count], which are ranges of the document, in their order,
 * and their formats where they are stated: what a LOAD states. ret_formats: [sums_max][ES_EXPERT_PARTS].
 * Returns how many; 0 when the document has none, or they are more than sums_max. */
size_t es_document_sums_of(const es_document *document, const es_units *units, size_t count,
                           uint8_t *ret_sums, uint8_t *ret_formats, size_t sums_max);

/* What would be gone with a node. */
typedef struct es_document_loss {
    size_t experts;         /* that no other node has whole; 0: nothing */
    size_t all;             /* of the placement */
    uint32_t layer, expert; /* the first of those */
} es_document_loss;

/* The experts of which the placement gives name a part that it gives to no node that stands; stands
 * [node_count] is in the order of nodes, and name's own is not asked. */
es_status es_document_find_loss(const es_document *document, const char *name, const bool *stands,
                                es_document_loss *ret_loss, es_err *err);

/* Marks in held [es_document_cells] (overwritten) what a node's units hold. */
void es_document_held(const es_document *document, const es_document_node *node, uint8_t *held);

#endif
