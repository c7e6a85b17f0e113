/* Eight rows that share an unpacked super-block of two panels (four where each 32-block has two scales): the
 * sixteen integer sums of a 32-block stay in registers. Those products are written in assembler, because
 * compilers run out of registers for the rows' addresses and move them through the ports that multiply
 * (docs/decisions/0008-few-rows-many-rows.md). */
#ifndef ES_KERNELS_AVX512_MANY_ROWS_H
#define ES_KERNELS_AVX512_MANY_ROWS_H

#include "essaim/kernels.h"
#include "kernels/avx512/super.h"

#include <stddef.h>

/* Of eight rows that go together, those whose running values stay in registers too. */
enum { EIGHT = 8, HELD = 4, PREFETCH_BLOCKS = 4 };

/* Rows whose sums of a 32-block fill the registers. */
static inline VECTOR_INLINE int rows_together(es_format format)
{
    return format == ES_FORMAT_Q6_K ? 4 : EIGHT;
}

/* Keeps an address in a register of its own, where compilers would count it from others. */
#define KEPT(address) __asm__("" : "+r"(address))

/* What is asked for on the way through a super-block: lines of the next one of each panel, spread over the
 * blocks of all rows, because a burst would keep rows waiting that come from the second cache. */
typedef struct lookahead {
    const uint8_t *next[2];
    size_t lines, lines_a_step; /* lines: yet to be asked for */
} lookahead;

/* The next super-block, asked for in at most so many steps; beyond the first panel follow those of the next
 * pair. */
static inline VECTOR_INLINE lookahead lookahead_of(es_format format, const super_view *s, size_t steps)
{
    size_t bytes = es_panel_parts_of(format, PANEL_BLOCKS).bytes;
    lookahead a = {.lines = bytes / 64, .lines_a_step = es_size_ceil_div(bytes / 64, steps)};
    for (int k = 0; k < 2; k++) {
        a.next[k] = s->data[k] + bytes;
        if (a.next[k] >= s->end + (size_t)k * s->panel_bytes) a.next[k] += s->panel_bytes;
    }
    return a;
}

static inline VECTOR_INLINE void lookahead_step(lookahead *a)
{
    size_t lines = es_size_min(a->lines, a->lines_a_step);
    a->lines -= lines;
    for (; lines > 0; lines--)
        for (int k = 0; k < 2; k++) {
            _mm_prefetch((const char *)a->next[k], _MM_HINT_T0);
            a->next[k] += 64;
        }
}

_Static_assert(offsetof(es_q8_block, q) == 0 && offsetof(es_q8_block, d) == 32 &&
                   offsetof(es_q8_block, bias32) == 40 && offsetof(es_q8_block, bias16) == 44,
               "es_q8_block as the lines below have it");

/* Registers: sums of row r are in A##r and B##r; codes of the two panels in zmm16 and 17, or 18 and 19;
 * scales in zmm16 to 19 afterwards; what belongs to one row in zmm20. %[x##r] is where row r's block stands.
 * What the rows add to is in registers %[p##r] and %[q##r] for rows below HELD, the others' at %[rest]. */
#define A0 "%%zmm0"
#define B0 "%%zmm1"
#define A1 "%%zmm2"
#define B1 "%%zmm3"
#define A2 "%%zmm4"
#define B2 "%%zmm5"
#define A3 "%%zmm6"
#define B3 "%%zmm7"
#define A4 "%%zmm8"
#define B4 "%%zmm9"
#define A5 "%%zmm10"
#define B5 "%%zmm11"
#define A6 "%%zmm12"
#define B6 "%%zmm13"
#define A7 "%%zmm14"
#define B7 "%%zmm15"
#define X(r) "(%[x" #r "])"
#define P(r) "%[p" #r "]"
#define Q(r) "%[q" #r "]"
#define REST(r, k) "128*(" #r "-4)+64*" #k "(%[rest])"
#define ACC(r, k) "128*" #r "+64*" #k "(%[acc])"

/* One instruction. */
#define OP(...) __VA_ARGS__ "\n\t"

/* Sums begin with what codes of a bias of 128 add too much, as the bits of MAGIC, at zero. */
#define START_BIASED(r)                                                                                      \
    OP("vpbroadcastd 40" X(r) ", " A##r)                                                                     \
    OP("vmovdqa64 " A##r ", " B##r)
#define START_MAGIC(r)                                                                                       \
    OP("vmovdqa64 %[magic], " A##r)                                                                          \
    OP("vmovdqa64 %[magic], " B##r)
#define START_ZERO(r)                                                                                        \
    OP("vpxord " A##r ", " A##r ", " A##r)                                                                   \
    OP("vpxord " B##r ", " B##r ", " B##r)

#define LOAD_CODES(g, u, v)                                                                                  \
    OP("vmovdqu64 64*" #g "(%[w0]), %%" #u)                                                                  \
    OP("vmovdqu64 64*" #g "(%[w1]), %%" #v)

/* The sums += group g of row r times the codes in u and v. */
#define DOT(g, r, a, b, u, v)                                                                                \
    OP("vpbroadcastd 4*" #g X(r) ", %%zmm20")                                                                \
    OP("vpdpbusd %%zmm20, %%" #u ", " a)                                                                     \
    OP("vpdpbusd %%zmm20, %%" #v ", " b)

/* Group g of eight rows; next loads the codes that follow. */
#define DOT_EIGHT(g, u, v, next)                                                                             \
    DOT(g, 0, A0, B0, u, v)                                                                                  \
    DOT(g, 1, A1, B1, u, v)                                                                                  \
    DOT(g, 2, A2, B2, u, v)                                                                                  \
    DOT(g, 3, A3, B3, u, v)                                                                                  \
    next DOT(g, 4, A4, B4, u, v) DOT(g, 5, A5, B5, u, v) DOT(g, 6, A6, B6, u, v) DOT(g, 7, A7, B7, u, v)

#define DOT_BLOCK                                                                                            \
    LOAD_CODES(0, zmm16, zmm17)                                                                              \
    DOT_EIGHT(0, zmm16, zmm17, LOAD_CODES(1, zmm18, zmm19))                                                  \
    DOT_EIGHT(1, zmm18, zmm19, LOAD_CODES(2, zmm16, zmm17))                                                  \
    DOT_EIGHT(2, zmm16, zmm17, LOAD_CODES(3, zmm18, zmm19))                                                  \
    DOT_EIGHT(3, zmm18, zmm19, LOAD_CODES(4, zmm16, zmm17))                                                  \
    DOT_EIGHT(4, zmm16, zmm17, LOAD_CODES(5, zmm18, zmm19))                                                  \
    DOT_EIGHT(5, zmm18, zmm19, LOAD_CODES(6, zmm16, zmm17))                                                  \
    DOT_EIGHT(6, zmm16, zmm17, LOAD_CODES(7, zmm18, zmm19))                                                  \
    DOT_EIGHT(7, zmm18, zmm19, "")

/* A row's sums, scaled, are added to what it holds, or to what stands in memory. */
#define ADD_HELD(r, a, b, u, v)                                                                              \
    OP("vfmadd231ps " u ", " a ", " P(r))                                                                    \
    OP("vfmadd231ps " v ", " b ", " Q(r))
#define ADD_REST(r, a, b, u, v)                                                                              \
    OP("vfmadd213ps " REST(r, 0) ", " u ", " a)                                                              \
    OP("vfmadd213ps " REST(r, 1) ", " v ", " b)                                                              \
    OP("vmovaps " a ", " REST(r, 0))                                                                         \
    OP("vmovaps " b ", " REST(r, 1))

#define LOAD_FOUR(from)                                                                                      \
    OP("vmovaps (%[" #from "]), %%zmm16")                                                                    \
    OP("vmovaps 64(%[" #from "]), %%zmm17")                                                                  \
    OP("vmovaps 128(%[" #from "]), %%zmm18")                                                                 \
    OP("vmovaps 192(%[" #from "]), %%zmm19")

/* Row r of a format of 32 columns: acc = fma(D, P, acc) with P = fma((float)A, d, +0), D in zmm16 and 17. */
#define BLOCK_PRODUCT(r)                                                                                     \
    OP("vcvtdq2ps " A##r ", " A##r)                                                                          \
    OP("vcvtdq2ps " B##r ", " B##r)                                                                          \
    OP("vbroadcastss 32" X(r) ", %%zmm20")                                                                   \
    OP("vfmadd132ps %%zmm20, %[zero], " A##r)                                                                \
    OP("vfmadd132ps %%zmm20, %[zero], " B##r)
#define CLOSE_HELD(r) BLOCK_PRODUCT(r) ADD_HELD(r, A##r, B##r, "%%zmm16", "%%zmm17")
#define CLOSE_REST(r) BLOCK_PRODUCT(r) ADD_REST(r, A##r, B##r, "%%zmm16", "%%zmm17")

/* Row r of a K format with mins: part = fma((float)A, d, part). (float)A = (MAGIC + sum) * a - MAGIC * a,
 * where every step is exact; a is in zmm16 and 17, MAGIC * a in zmm18 and 19. */
#define BLOCK_SUM(r)                                                                                         \
    OP("vfmsub132ps %%zmm16, %%zmm18, " A##r)                                                                \
    OP("vfmsub132ps %%zmm17, %%zmm19, " B##r)                                                                \
    OP("vbroadcastss 32" X(r) ", %%zmm20")
#define CLOSE_K_HELD(r) BLOCK_SUM(r) ADD_HELD(r, A##r, B##r, "%%zmm20", "%%zmm20")
#define CLOSE_K_REST(r) BLOCK_SUM(r) ADD_REST(r, A##r, B##r, "%%zmm20", "%%zmm20")

/* R of row r += its min of 32-block j, in zmm16 and 17; %[x##r] is where the super-block ended. */
#define ADD_MIN(j, r)                                                                                        \
    OP("vbroadcastss 36-48*8+48*" #j X(r) ", %%zmm20")                                                       \
    OP("vfmadd231ps %%zmm20, %%zmm16, " A##r)                                                                \
    OP("vfmadd231ps %%zmm20, %%zmm17, " B##r)
#define ADD_MINS(j)                                                                                          \
    OP("vmovaps 128*" #j "(%[min]), %%zmm16")                                                                \
    OP("vmovaps 128*" #j "+64(%[min]), %%zmm17")                                                             \
    ADD_MIN(j, 0)                                                                                            \
    ADD_MIN(j, 1) ADD_MIN(j, 2) ADD_MIN(j, 3) ADD_MIN(j, 4) ADD_MIN(j, 5) ADD_MIN(j, 6) ADD_MIN(j, 7)
/* acc = fma(-M, R, fma(D, part, acc)), with D in zmm16 and 17, M in zmm18 and 19. */
#define CLOSE_SUPER(r, part0, part1)                                                                         \
    OP("vmovaps " ACC(r, 0) ", %%zmm20")                                                                     \
    OP("vmovaps " ACC(r, 1) ", %%zmm21")                                                                     \
    OP("vfmadd231ps " part0 ", %%zmm16, %%zmm20")                                                            \
    OP("vfmadd231ps " part1 ", %%zmm17, %%zmm21")                                                            \
    OP("vfnmadd231ps " A##r ", %%zmm18, %%zmm20")                                                            \
    OP("vfnmadd231ps " B##r ", %%zmm19, %%zmm21")                                                            \
    OP("vmovaps %%zmm20, " ACC(r, 0))                                                                        \
    OP("vmovaps %%zmm21, " ACC(r, 1))
#define CLOSE_SUPER_HELD(r) CLOSE_SUPER(r, P(r), Q(r))
#define CLOSE_SUPER_REST(r) CLOSE_SUPER(r, REST(r, 0), REST(r, 1))

/* A format whose halves of a 32-block have scales of their own, for four rows: A0 to B3 are the first half's
 * sums, A4 to B7 the second's, taken in turns so that no sum waits for itself. */
#define START_HALVES(r, a, b, c, d)                                                                          \
    OP("vpbroadcastd 44" X(r) ", " a)                                                                        \
    OP("vmovdqa64 " a ", " b)                                                                                \
    OP("vpbroadcastd 40" X(r) ", " c)                                                                        \
    OP("vpsubd " a ", " c ", " c)                                                                            \
    OP("vmovdqa64 " c ", " d)
#define DOT_HALVES(g, h)                                                                                     \
    DOT(g, 0, A0, B0, zmm16, zmm17)                                                                          \
    DOT(g, 1, A1, B1, zmm16, zmm17)                                                                          \
    DOT(g, 2, A2, B2, zmm16, zmm17)                                                                          \
    DOT(g, 3, A3, B3, zmm16, zmm17)                                                                          \
    DOT(h, 0, A4, B4, zmm18, zmm19)                                                                          \
    DOT(h, 1, A5, B5, zmm18, zmm19)                                                                          \
    DOT(h, 2, A6, B6, zmm18, zmm19)                                                                          \
    DOT(h, 3, A7, B7, zmm18, zmm19)
#define DOT_BLOCK_OF_HALVES                                                                                  \
    LOAD_CODES(0, zmm16, zmm17)                                                                              \
    LOAD_CODES(4, zmm18, zmm19)                                                                              \
    DOT_HALVES(0, 4)                                                                                         \
    LOAD_CODES(1, zmm16, zmm17)                                                                              \
    LOAD_CODES(5, zmm18, zmm19)                                                                              \
    DOT_HALVES(1, 5)                                                                                         \
    LOAD_CODES(2, zmm16, zmm17)                                                                              \
    LOAD_CODES(6, zmm18, zmm19)                                                                              \
    DOT_HALVES(2, 6)                                                                                         \
    LOAD_CODES(3, zmm16, zmm17)                                                                              \
    LOAD_CODES(7, zmm18, zmm19)                                                                              \
    DOT_HALVES(3, 7)

/* part = fma((float)A, d, part), with the first half's scales in zmm16 and 17, the second's in zmm18 and 19.
 */
#define CLOSE_HALVES(r, a, b, c, d)                                                                          \
    OP("vcvtdq2ps " a ", " a)                                                                                \
    OP("vcvtdq2ps " b ", " b)                                                                                \
    OP("vcvtdq2ps " c ", " c)                                                                                \
    OP("vcvtdq2ps " d ", " d)                                                                                \
    OP("vmulps %%zmm16, " a ", " a)                                                                          \
    OP("vmulps %%zmm17, " b ", " b)                                                                          \
    OP("vfmadd231ps %%zmm18, " c ", " a)                                                                     \
    OP("vfmadd231ps %%zmm19, " d ", " b)                                                                     \
    OP("vbroadcastss 32" X(r) ", %%zmm20")                                                                   \
    ADD_HELD(r, a, b, "%%zmm20", "%%zmm20")

#define OF_FIRST(m) m(0) m(1) m(2) m(3)
#define OF_LAST(m) m(4) m(5) m(6) m(7)
#define OF_EIGHT(m) OF_FIRST(m) OF_LAST(m)
#define OF_FOUR_HALVES(m) m(0, A0, B0, A4, B4) m(1, A1, B1, A5, B5) m(2, A2, B2, A6, B6) m(3, A3, B3, A7, B7)

#define FOUR_ROWS(x) [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [x3] "r"(x[3])
#define EIGHT_ROWS(x) FOUR_ROWS(x), [x4] "r"(x[4]), [x5] "r"(x[5]), [x6] "r"(x[6]), [x7] "r"(x[7])
#define CODES(w) [w0] "r"((w)[0]), [w1] "r"((w)[1])
#define HELD_VALUES(v)                                                                                       \
    [p0] "+v"(v[0][0]), [q0] "+v"(v[0][1]), [p1] "+v"(v[1][0]), [q1] "+v"(v[1][1]), [p2] "+v"(v[2][0]),      \
        [q2] "+v"(v[2][1]), [p3] "+v"(v[3][0]), [q3] "+v"(v[3][1])
#define WRITTEN                                                                                              \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",        \
        "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "memory"

/* 32-block b of rows_together() rows, which stands at x, and whose codes of panel k begin at w[k]: held and
 * rest are acc, in K formats part. */
static inline VECTOR_INLINE void add_shared_block(es_format format, const super_codes *codes, size_t b,
                                                  const es_q8_block *const *x, const uint8_t *const *w,
                                                  row_values *held, row_values *rest)
{
    if (format == ES_FORMAT_Q6_K)
        __asm__ volatile(OF_FOUR_HALVES(START_HALVES) DOT_BLOCK_OF_HALVES LOAD_FOUR(a)
                             OF_FOUR_HALVES(CLOSE_HALVES)
                         : HELD_VALUES(held)
                         : FOUR_ROWS(x), CODES(w), [a] "r"(codes->a[b])
                         : WRITTEN);
    else if (panel_is_k(format))
        __asm__ volatile(
            OF_EIGHT(START_MAGIC) DOT_BLOCK LOAD_FOUR(a) OF_FIRST(CLOSE_K_HELD) OF_LAST(CLOSE_K_REST)
            : HELD_VALUES(held)
            : EIGHT_ROWS(x),
              CODES(w), [a] "r"(codes->a[b]), [rest] "r"(rest), [magic] "v"(_mm512_set1_epi32(MAGIC_BITS))
            : WRITTEN);
    else
        __asm__ volatile(
            OF_EIGHT(START_BIASED) DOT_BLOCK LOAD_FOUR(d) OF_FIRST(CLOSE_HELD) OF_LAST(CLOSE_REST)
            : HELD_VALUES(held)
            : EIGHT_ROWS(x), CODES(w), [d] "r"(codes->d[b]), [rest] "r"(rest), [zero] "v"(_mm512_setzero_ps())
            : WRITTEN);
}

/* acc += D of a K format's super-block times its part, which held and rest are, less M times its mins; the
 * rows' blocks of the super-block end where x points. */
static inline VECTOR_INLINE void close_shared_super(es_format format, const super_codes *codes,
                                                    const es_q8_block *const *x, row_values *held,
                                                    const row_values *rest, row_values *acc)
{
    if (panel_has_mins(format))
        __asm__ volatile(
            OF_EIGHT(START_ZERO) OF_EIGHT(ADD_MINS) LOAD_FOUR(d) OF_FIRST(CLOSE_SUPER_HELD)
                OF_LAST(CLOSE_SUPER_REST)
            : HELD_VALUES(held)
            : EIGHT_ROWS(x), [min] "r"(codes->min), [d] "r"(codes->d[0]), [rest] "r"(rest), [acc] "r"(acc)
            : WRITTEN);
    else
        for (int r = 0; r < HELD; r++)
            for (int k = 0; k < 2; k++) acc[r][k] = _mm512_fmadd_ps(codes->d[0][0][k], held[r][k], acc[r][k]);
}

/* A super-block of n 32-blocks taken apart whole. */
static inline VECTOR_INLINE void unpack_super(es_format format, const super_view *s, size_t n,
                                              super_codes *codes)
{
    const bool moved = format != ES_FORMAT_IQ4_NL && !(panel_is_k(format) && panel_has_mins(format));
    const __m512i bias = _mm512_set1_epi8((char)(128 - panel_bias(format)));
    size_t columns = panel_is_k(format) ? 1 : n;
    for (size_t b = 0; b < n && format != ES_FORMAT_Q8_0; b++)
        for (int g = 0; g < GROUPS; g++)
            for (int k = 0; k < 2; k++) {
                __m512i w = unpack_group(format, s->data[k], &s->at, b, g);
                codes->w[k][b][g] = moved ? _mm512_add_epi8(w, bias) : w;
            }
    for (size_t b = 0; b < columns; b++)
        for (int k = 0; k < 2; k++) {
            codes->d[b][0][k] = load_f16(s->data[k] + s->at.d + b * 32);
            if (panel_has_mins(format)) codes->d[b][1][k] = load_f16(s->data[k] + s->at.m + b * 32);
        }
    for (size_t b = 0; b < n && panel_is_k(format); b++)
        for (int k = 0; k < 2; k++) {
            codes->a[b][0][k] = scales_of(format, s, k, b, 0);
            if (format == ES_FORMAT_Q6_K) codes->a[b][1][k] = scales_of(format, s, k, b, 1);
            if (!panel_has_mins(format)) continue;
            codes->a[b][1][k] = _mm512_mul_ps(codes->a[b][0][k], _mm512_set1_ps(MAGIC));
            codes->min[b][k] = mins_of(s, k, b);
        }
}

/* acc += a super-block of n 32-blocks for as many rows as share it at once, whose first blocks are
 * x[r][index]. */
static inline VECTOR_INLINE void add_together(es_format format, const super_view *s, const super_codes *codes,
                                              lookahead *ahead, size_t n, const es_q8_block *const *x,
                                              size_t index, row_values *acc)
{
    const int rows = rows_together(format);
    const bool k_format = panel_is_k(format);
    const es_q8_block *at[EIGHT];
    const uint8_t *w[2];
    row_values held[HELD], part[EIGHT - HELD];
    row_values *rest = k_format ? part : acc + HELD;
    for (int r = 0; r < rows; r++) at[r] = x[r] + index;
    for (int k = 0; k < 2; k++) {
        for (int r = 0; r < HELD; r++) held[r][k] = k_format ? _mm512_setzero_ps() : acc[r][k];
        for (int r = 0; r < EIGHT - HELD && k_format; r++) part[r][k] = _mm512_setzero_ps();
    }
    for (int k = 0; k < 2; k++)
        w[k] = format == ES_FORMAT_Q8_0 ? s->data[k] + s->at.low : (const uint8_t *)codes->w[k];
    for (size_t b = 0; b < n; b++) {
        lookahead_step(ahead);
        /* Rows are more than the first cache holds, and weights pass through it. */
        for (int r = 0; r < rows; r++) _mm_prefetch((const char *)(at[r] + PREFETCH_BLOCKS), _MM_HINT_T0);
        add_shared_block(format, codes, b, at, w, held, rest);
        for (int r = 0; r < rows && format == ES_FORMAT_Q5_1; r++) {
            __m512 of_sum = _mm512_add_ps(_mm512_set1_ps(at[r]->s), _mm512_setzero_ps());
            __m512 *to = r < HELD ? held[r] : rest[r - HELD];
            for (int k = 0; k < 2; k++) to[k] = _mm512_fmadd_ps(codes->d[b][1][k], of_sum, to[k]);
        }
        for (int r = 0; r < rows; r++) {
            at[r]++;
            KEPT(at[r]);
        }
        for (int k = 0; k < 2; k++) {
            w[k] += sizeof codes->w[k][b];
            KEPT(w[k]);
        }
    }
    for (int r = 0; r < HELD && !k_format; r++)
        for (int k = 0; k < 2; k++) acc[r][k] = held[r][k];
    if (k_format) close_shared_super(format, codes, at, held, rest, acc);
}

#endif
