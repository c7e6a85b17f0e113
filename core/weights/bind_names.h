/* How each kind of source names a model's tensors, and what is bound alike whatever the names. */
#ifndef ES_WEIGHTS_BIND_NAMES_H
#define ES_WEIGHTS_BIND_NAMES_H

#include "weights/binder.h"

typedef struct es_ffn_names {
    const char *gate, *up, *down;
} es_ffn_names;

/* Matrices without ".weight", which all of them end in. Names within a layer follow its prefix. */
typedef struct es_names {
    const char *config; /* es_binder's */
    const char *embedding, *head, *final_norm;
    const char *layers; /* a layer's prefix is this, its number and a point */
    const char *attention_norm, *ffn_norm;
    const char *q, *q_a, *q_a_norm, *q_b, *kv_a, *kv_a_norm, *o;
    const char *router, *router_bias;
    es_ffn_names dense, shared;
    /* The heads' key and value parts. */
    es_status (*bind_kv_b)(const es_binder *b, const char *prefix, es_attention *to);
    /* wanted [experts], nonzero: bind it; NULL: all of them. */
    es_status (*bind_experts)(const es_binder *b, const char *prefix, const uint8_t *wanted, es_layer *to);
} es_names;

extern const es_names ES_NAMES_PUBLISHED, ES_NAMES_GGUF;

/* Embedding, head and the norm before it. */
es_status es_bind_ends(const es_binder *b, const es_names *names, es_model *model);

/* Everything of a layer but its routed experts; to->is_moe is set. */
es_status es_bind_layer(const es_binder *b, const es_names *names, size_t layer, es_layer *to);

/* Those of its routed experts that are wanted [experts]; NULL: all of them. */
es_status es_bind_experts(const es_binder *b, const es_names *names, size_t layer, const uint8_t *wanted,
                          es_layer *to);

/* A feed-forward of width intermediate values. */
es_status es_bind_ffn(const es_binder *b, const char *prefix, const es_ffn_names *names, size_t width,
                      es_ffn *to);

#endif
