/* What is computed, to the bit: one struct of functions per instruction set, each equal to the portable set
 * byte for byte. docs/arithmetic.md is the definition. */
#ifndef ESSAIM_KERNELS_H
#define ESSAIM_KERNELS_H

#include "essaim/model.h"
#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    ES_ROW_BLOCK = 32,          /* inputs that share one d */
    ES_KV_TILE = 64,            /* absolute positions attended to at a time */
    ES_ATTEND_QUERIES_MAX = 32, /* queries that meet a tile together */
    ES_ROTARY_PAIRS_MAX = 2048, /* es_shape's rope is at most twice this */
    ES_UNIT_ROWS = 32,          /* output rows a unit of work is made of: whole panels, whole blocks of h */
    ES_PRODUCT_ROWS_MAX = 512,
    ES_FIXED_LIMIT_LOG2 = 45 /* |v| of one addend is at most 2^45 */
};

/* How activations stand: q8 (exact mode) or f32 (verification). Append only: the value travels. */
typedef enum es_row_format { ES_ROWS_Q8, ES_ROWS_F32, ES_ROWS_COUNT } es_row_format;

/* One block of 32 inputs of a q8 row as products read it; never travels. A last block that is shorter is
 * padded with q = 0. */
typedef struct es_q8_block {
    int8_t q[ES_ROW_BLOCK];
    float d;
    float s;        /* d * (float)(the sum of q) */
    int32_t bias32; /* minus 128 times the sum of q */
    int32_t bias16; /* the same of the first 16 of q */
} es_q8_block;

/* count rows of cols activations, row r at data + r * row_bytes, 4-byte aligned, in the very bytes that
 * travel. q8: q [cols] int8 padded with zeros to a multiple of 4, then d [ceil(cols / 32)] float. f32: x
 * [cols] float. */
typedef struct es_rows {
    es_row_format format;
    size_t count, cols;
    size_t row_bytes;
    uint8_t *data;
    es_q8_block
        *blocks; /* q8: beside the bytes, [count][es_rows_blocks(cols)]; NULL where rows are not multiplied */
} es_rows;

/* Bytes of one row; cols is at most 2^24. */
size_t es_rows_row_bytes(es_row_format format, size_t cols);

/* Borrowed views of one row: q8's q and d; f32's x. */
const int8_t *es_rows_q(const es_rows *rows, size_t row);
const float *es_rows_d(const es_rows *rows, size_t row);
const float *es_rows_x(const es_rows *rows, size_t row);

/* Blocks of 32 inputs in a row. */
size_t es_rows_blocks(size_t cols);

/* Fills s, bias32 and bias16 from q and d. */
void es_q8_block_sum(es_q8_block *block);

/* Fills row's blocks from its q and d (q8; rows->blocks is not NULL). */
void es_rows_make_blocks(const es_rows *rows, size_t row);

/* The power of two on which this row's feed-forward outputs are added: a value y counts as rint(y * 2^-Q). */
int es_rows_quantum(const es_rows *rows, size_t row);

/* out[t * out_stride + i] = sum over columns [col_first, col_first + col_count) of w(row_first + i, c) * x(t,
 * c), for i below row_count and t below count. w stands in panels; x[t] are the blocks of row t from its
 * first column. row_first is a multiple of 16. The range begins at a multiple of 32 columns and ends at one
 * or at w's last; for integer formats the multiple is 256. */
typedef void es_product_fn(const es_matrix *w, size_t row_first, size_t row_count, size_t col_first,
                           size_t col_count, const es_q8_block *const *x, size_t count, float *out,
                           size_t out_stride);

/* A row whose products are added up: its blocks from w's first column on, what its outputs are weighed with,
 * and the quantum they are counted on. */
typedef struct es_addend {
    const es_q8_block *x;
    float weight;
    int quantum;
    int64_t *sum; /* [row_count] */
    bool failed;  /* set when an addend passes 2^45 or is NaN: the sum is not to be used */
} es_addend;

/* rows[t].sum[i] += rint((double)y * (double)weight * 2^-quantum) for the product y of w(row_first + i, …)
 * and row t over each chunk of ES_CHUNK_COLUMNS columns, for i below row_count <= ES_UNIT_ROWS and t below
 * count. */
typedef void es_product_sum_fn(const es_matrix *w, size_t row_first, size_t row_count, es_addend *rows,
                               size_t count);

/* Running state of one head's attention over tiles: start with max = -INFINITY, sum = 0, out all 0. */
typedef struct es_attend_state {
    float max, sum;
} es_attend_state;

/* How KV entries are stored. */
typedef enum es_kv_format { ES_KV_F16, ES_KV_F32 } es_kv_format;

typedef struct es_kernels {
    const char *name;

    /* x [n] to q [n] and d [ceil(n / 32)]. False when x holds NaN or infinity. */
    bool (*quantise)(const float *x, size_t n, int8_t *q, float *d);

    es_product_fn *product[ES_FORMAT_COUNT];
    es_product_sum_fn *product_sum;

    /* out[i * out_stride + k] = the 16-lane sum (fma) of vectors i of a and k of b, n values each. */
    void (*dots)(const float *a, size_t a_stride, size_t a_count, const float *b, size_t b_stride,
                 size_t b_count, size_t n, float *out, size_t out_stride);

    /* The 16-lane sum of a[i], and the norm built on that of squares: out = x / rms(x) * weight. out may be
     * x. */
    float (*sum)(const float *a, size_t n);
    void (*rmsnorm)(const float *x, const float *weight, float eps, size_t n, float *out);

    /* h = g / (1 + exp(-g)) * u, elementwise. h may be g or u. */
    void (*swiglu)(const float *g, const float *u, size_t n, float *h);

    /* y = exp(x), elementwise, in place allowed; the definition's own exp: +0 below -87, clamped above 88. */
    void (*exp)(const float *x, size_t n, float *y);

    /* y = 1 / (1 + exp(-x)), elementwise, in place allowed. */
    void (*sigmoid)(const float *x, size_t n, float *y);

    /* Rotates the pairs (x0, x1), (x2, x3), … in place by angles whose cos and sin are given [pairs]. */
    void (*rotate)(float *x, const float *cos, const float *sin, size_t pairs);

    /* Rounds x [n] to f16 codes, to nearest even. False when a value is NaN or beyond f16's range. */
    bool (*to_f16)(const float *x, size_t n, uint16_t *out);

    /* Finite f16 codes to binary32, exactly. */
    void (*widen_f16)(const uint16_t *codes, size_t n, float *out);

    /* One tile of attention for queries [up to ES_ATTEND_QUERIES_MAX][width]: entries [count <= 64][width];
     * scores are the 16-lane sums of query and entry, times scale; a query's out [latent] gathers the
     * entries' first latent values. A query's bits do not depend on the others. */
    void (*attend_tile)(const float *q, size_t queries, const float *entries, size_t count, size_t width,
                        size_t latent, float scale, es_attend_state *states, float *out);

    /* sum[i] += rint((double)y[i] * (double)weight * 2^-quantum). False when an addend passes 2^45 (or is
     * NaN): the row failed and its sum is not to be used. */
    bool (*accumulate)(const float *y, size_t n, float weight, int quantum, int64_t *sum);

    /* out[i] = (float)((double)sum[i] * 2^quantum). */
    void (*fixed_to_float)(const int64_t *sum, size_t n, int quantum, float *out);

    /* Encodes a row of cols floats (a multiple of the format's block) to out [es_format_row_bytes], for the
     * formats of es_quant_encodes. False when a value is NaN, infinite or beyond what the block's f16 scale
     * reaches: out then holds nothing of use. */
    bool (*encode)(es_format format, const float *row, size_t cols, uint8_t *out);

    /* Yardsticks: what the kernels above are measured against. Reads n bytes (a multiple of 4096, 64-byte
     * aligned) as fast as this set can; returns some sum of them. */
    uint64_t (*read_bytes)(const uint8_t *bytes, size_t n);
    /* int8 multiply-adds, and fused binary32 ones, from registers alone; return how many multiplications and
     * additions. */
    uint64_t (*integer_ops)(size_t rounds);
    uint64_t (*float_ops)(size_t rounds);
} es_kernels;

/* The portable set: plain loops, the specification. */
const es_kernels *es_kernels_ref(void);

/* The set to use on this machine: the named one, or the best when name is NULL or "auto". ES_UNSUPPORTED
 * names the sets this build and processor have. */
es_status es_kernels_select(const char *name, const es_kernels **ret_kernels, es_err *err);

/* Widens w's row r, columns [col_first, col_first + col_count), to float: the value with one rounding. For
 * either layout. */
void es_matrix_widen_row(const es_matrix *w, size_t r, size_t col_first, size_t col_count, float *out);

/* The same sums for rows of either format: q8, whose blocks are made, through the set's product; f32 through
 * OpenBLAS on widened weights. scratch is es_product_scratch_floats(w->cols) floats, this thread's own, used
 * by f32 only. At most ES_PRODUCT_ROWS_MAX rows. */
void es_product(const es_kernels *kernels, const es_matrix *w, size_t row_first, size_t row_count,
                size_t col_first, size_t col_count, const es_rows *x, float *scratch, float *out,
                size_t out_stride);
size_t es_product_scratch_floats(size_t cols);

/* Once at start when f32 rows are used: pins OpenBLAS to one thread, checks one known product, and gives the
 * core it chose (borrowed for good). ES_UNSUPPORTED when it computes wrongly on this machine. */
es_status es_blas_start(const char **ret_core, es_err *err);

/* Rotary embedding of one model, YaRN included: the pairs' inverse frequencies and the factor of cos and sin.
 * A value. */
typedef struct es_rotary {
    size_t pairs; /* rope / 2 */
    double magnitude;
    float frequency[ES_ROTARY_PAIRS_MAX];
} es_rotary;

void es_rotary_init(const es_shape *shape, es_rotary *ret_rotary);

/* cos and sin [pairs] of the angles at a position. */
void es_rotary_at(const es_rotary *rotary, uint32_t position, float *cos, float *sin);

/* The softmax scale of attention: (nope + rope)^-0.5, times YaRN's square of mscale. */
float es_attention_scale(const es_shape *shape);

#endif
