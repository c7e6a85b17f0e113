/* A model as the rest of the house sees it: its shape, and its weights bound once to named fields. One struct
 * serves the whole family (DeepSeek-V2, V3, R1): what a member lacks is zero or NULL, and forward passes look
 * only here. */
#ifndef ESSAIM_MODEL_H
#define ESSAIM_MODEL_H

#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    ES_ARITHMETIC_VERSION = 1, /* of docs/arithmetic.md: part of every fingerprint */
    ES_SCALE_BLOCK = 128,      /* FP8 weights have one scale a 128 x 128 block */
    ES_CHUNK_COLUMNS = 256,    /* a down product restarts here: docs/arithmetic.md */
    ES_FINGERPRINT_BYTES = 32,
    ES_EOS_MAX = 8,
};

/* How a weight matrix is stored. Append only: the value is part of fingerprints. */
typedef enum es_format {
    ES_FORMAT_F32,
    ES_FORMAT_F16,
    ES_FORMAT_BF16,
    ES_FORMAT_FP8,
    ES_FORMAT_FLOAT_COUNT, /* those above hold one weight a code; those below blocks of integer codes, as GGUF
                              lays them out */
    ES_FORMAT_Q8_0 = ES_FORMAT_FLOAT_COUNT,
    ES_FORMAT_Q4_0,
    ES_FORMAT_Q5_0,
    ES_FORMAT_Q5_1,
    ES_FORMAT_Q4_K,
    ES_FORMAT_Q5_K,
    ES_FORMAT_Q6_K,
    ES_FORMAT_IQ4_NL,
    ES_FORMAT_COUNT
} es_format;

/* A format's name ("fp8", "q4_k"), the columns that stand in one block of a file's row, and that block's
 * bytes. */
typedef struct es_format_info {
    const char *name;
    size_t block_cols, block_bytes;
} es_format_info;

const es_format_info *es_format_describe(es_format format);

/* Bytes of cols weights of one row as files store them; cols is a multiple of the format's block. */
size_t es_format_row_bytes(es_format format, size_t cols);

/* Where a matrix's codes stand. Rows: as files store them, row after row at any alignment, to be looked up by
 * row. Panels: 16 rows side by side, 64-byte aligned, to be multiplied (essaim/panels.h). */
typedef enum es_layout { ES_LAYOUT_ROWS, ES_LAYOUT_PANELS } es_layout;

/* A weight matrix [rows][cols] that is borrowed: rows are outputs, cols are inputs.
 * FP8: the value of (r, c) is e4m3(code) * scales[(row_phase + r) / 128 * scale_stride + (col_phase + c) /
 * 128]; the phases say where (0, 0) stands within its block, so that a part of a matrix is a matrix. Both are
 * 0 to 127. */
typedef struct es_matrix {
    es_format format;
    es_layout layout;
    size_t rows, cols;
    const uint8_t *data; /* NULL: not held by this process */
    size_t row_bytes;    /* of a row, or of a panel of 16 rows */
    const float *scales; /* FP8 only */
    size_t scale_stride;
    size_t row_phase, col_phase;
} es_matrix;

typedef enum es_score_fn { ES_SCORE_SIGMOID, ES_SCORE_SOFTMAX } es_score_fn;
typedef enum es_topk_method { ES_TOPK_GREEDY, ES_TOPK_GROUP_LIMITED, ES_TOPK_NOAUX } es_topk_method;

/* YaRN of config.json's rope_scaling; factor 0 means plain rotary embedding. */
typedef struct es_yarn {
    double factor;
    double original_context;
    double beta_fast, beta_slow;
    double mscale, mscale_all_dim;
} es_yarn;

/* config.json, validated. Names are the field's; the config's key stands behind where it differs. */
typedef struct es_shape {
    char model_type[32];
    size_t vocab;  /* vocab_size */
    size_t hidden; /* hidden_size */
    size_t layers; /* num_hidden_layers */
    size_t
        dense_layers; /* first_k_dense_replace; layer l is MoE when l >= this and l % moe_layer_freq == 0 */
    size_t moe_layer_freq;
    size_t mtp_layers;          /* num_nextn_predict_layers */
    size_t dense_intermediate;  /* intermediate_size */
    size_t expert_intermediate; /* moe_intermediate_size */
    size_t experts;             /* n_routed_experts; 0: no MoE layer at all */
    size_t shared_experts;      /* n_shared_experts: one expert of this times the width; 0: none */
    size_t experts_per_token;   /* num_experts_per_tok */
    size_t groups;              /* n_group */
    size_t groups_kept;         /* topk_group */
    es_score_fn score_fn;       /* scoring_func */
    es_topk_method topk_method;
    bool norm_topk;     /* norm_topk_prob */
    float routed_scale; /* routed_scaling_factor */
    size_t heads;       /* num_attention_heads */
    size_t q_lora;      /* q_lora_rank; 0: the query has one full projection */
    size_t kv_lora;     /* kv_lora_rank: the latent */
    size_t nope, rope;  /* qk_nope_head_dim, qk_rope_head_dim (even) */
    size_t v;           /* v_head_dim */
    float rms_eps;      /* rms_norm_eps */
    double rope_theta;
    size_t context; /* max_position_embeddings */
    es_yarn yarn;
    bool tied; /* tie_word_embeddings: the head is the embedding */
    uint32_t bos;
    uint32_t eos[ES_EOS_MAX];
    size_t eos_count;
} es_shape;

static inline bool es_shape_layer_is_moe(const es_shape *s, size_t layer)
{
    return s->experts > 0 && layer >= s->dense_layers && layer % s->moe_layer_freq == 0;
}

/* Values of one KV entry: the latent, then the rotated key. */
static inline size_t es_shape_kv_width(const es_shape *s)
{
    return s->kv_lora + s->rope;
}

/* A gated feed-forward: down(silu(gate x) * (up x)). gate and up are [intermediate][hidden], down is
 * [hidden][intermediate]. A dense layer, the shared expert and a routed expert are all one of these. */
typedef struct es_ffn {
    es_matrix gate, up, down;
} es_ffn;

/* Latent attention in its absorbed form. */
typedef struct es_attention {
    es_matrix q;               /* [heads * (nope + rope)][hidden], only when q_lora is 0 */
    es_matrix q_a;             /* [q_lora][hidden] */
    const float *q_a_norm;     /* [q_lora] */
    es_matrix q_b;             /* [heads * (nope + rope)][q_lora] */
    es_matrix kv_a;            /* [kv_lora + rope][hidden] */
    const float *kv_a_norm;    /* [kv_lora] */
    const es_matrix *k_absorb; /* [heads] of [kv_lora][nope]: kv_b's key part, transposed */
    const es_matrix *v_up;     /* [heads] of [v][kv_lora]: kv_b's value part */
    es_matrix o;               /* [hidden][heads * v] */
} es_attention;

typedef struct es_layer {
    const float *attention_norm; /* [hidden] */
    es_attention attention;
    const float *ffn_norm; /* [hidden] */
    bool is_moe;
    es_ffn ffn; /* the dense feed-forward, or an MoE layer's shared expert (data NULL: it has none) */
    const float *router;      /* [experts][hidden]; MoE only */
    const float *router_bias; /* [experts], or NULL: no e_score_correction_bias */
    const es_ffn *experts;    /* [experts]; MoE only; data is NULL in those not held; NULL: none held */
} es_layer;

/* Immutable once opened: shared by all threads without locks. */
typedef struct es_model {
    es_shape shape;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES]; /* config, weights and formats; equal on every machine that
                                                  holds this model */
    bool has_backbone;                         /* everything but the routed experts is bound */
    es_matrix embedding;                       /* [vocab][hidden] */
    const float *final_norm;                   /* [hidden] */
    es_matrix head;                            /* [vocab][hidden] */
    es_layer *layers;                          /* [layers] */
    struct es_model_storage *storage;          /* maps and memory behind the fields above */
} es_model;

/* What to bind. */
typedef struct es_model_parts {
    bool backbone;
    bool all_experts;
    const uint8_t *experts;   /* [layers][experts], nonzero: bind it; NULL: none beyond all_experts */
    bool huge_pages;          /* shards are copied to memory of huge pages instead of being mapped */
    bool (*stop_asked)(void); /* looked at while weights are read and checked: true ends that with
                                 ES_CANCELLED; may be NULL */
} es_model_parts;

/* Told while weights are read and checked: done of total bytes. Called from the opening thread. */
typedef void es_progress_fn(void *context, uint64_t done_bytes, uint64_t total_bytes);

/* Opens a published checkpoint folder (config.json, *.safetensors) or a GGUF file (a path that ends in .gguf;
 * any part of a split one): validates the config, maps the files, binds the parts asked for and checks every
 * bound weight for NaN and infinity. progress may be NULL. Errors name the file and the field or tensor. */
es_status es_model_open(const char *path, const es_model_parts *parts, es_progress_fn *progress,
                        void *context, es_model **ret_model, es_err *err);
void es_model_close(es_model **model);

#endif
