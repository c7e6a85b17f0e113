/* The search for the scales and codes of weight blocks. 16 sub-blocks stand side by side, each in a lane of
 * its own; what leaves the least weighted error stays. */
#ifndef ES_KERNELS_REF_ENCODE_SEARCH_H
#define ES_KERNELS_REF_ENCODE_SEARCH_H

#include "base/f16.h"
#include "kernels/ref/lanes.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

enum { SUBS = 16, PARTS = SUBS / LANES, SUB_COLS_MAX = 32 };

/* How a format's values are made: D a c - M m, with c and a within these bounds. m is 0 to 63. */
typedef struct scheme {
    size_t sub_cols, subs; /* of a block */
    float code_low, code_high, scale_low, scale_high;
    bool has_mins;
} scheme;

/* 16 sub-blocks of weights: values by column and lane, what an error of each counts, and the scale and offset
 * that each sub-block would like: s * code - t. */
typedef struct weights {
    lanes x[PARTS][SUB_COLS_MAX], w[PARTS][SUB_COLS_MAX];
    float s[SUBS], t[SUBS];
    float sum_w[SUBS], sum_wx[SUBS];
} weights;

/* Everything that is chosen for them; d and m are their block's. The sums are what a fit to the codes needs.
 */
typedef struct choice {
    float d[SUBS], m[SUBS], a[SUBS], min[SUBS];
    float error[SUBS];
    float sum_c[SUBS], sum_cc[SUBS], sum_xc[SUBS];
    lanes code[PARTS][SUB_COLS_MAX]; /* last: see search */
} choice;

static inline lanes clamp(lanes v, float low, float high)
{
    return lanes_min(lanes_max(v, lanes_of(low)), lanes_of(high));
}

/* 0 where it would be no number. */
static inline lanes divide(float x, lanes y)
{
    lanes v = x / y;
    return lanes_select(lanes_abs(v) < INFINITY, v, lanes_of(0));
}

/* count sub-blocks of a row into lanes; fewer than 16 leave zeros. An error counts rms + |x|: those of large
 * weights more, those of small ones still. */
static void load_weights(const float *row, size_t cols, size_t count, weights *to)
{
    float at[SUB_COLS_MAX][SUBS] = {0};
    for (size_t j = 0; j < count; j++)
        for (size_t i = 0; i < cols; i++) at[i][j] = row[j * cols + i];
    for (size_t p = 0; p < PARTS; p++) {
        lanes squares = {0}, sum_w = {0}, sum_wx = {0}, rms;
        for (size_t i = 0; i < cols; i++) {
            lanes x = to->x[p][i] = lanes_load(at[i] + p * LANES);
            squares += x * x;
        }
        squares /= (float)cols;
        for (int l = 0; l < LANES; l++) rms[l] = sqrtf(squares[l]);
        for (size_t i = 0; i < cols; i++) {
            lanes w = to->w[p][i] = rms + lanes_abs(to->x[p][i]);
            sum_w += w;
            sum_wx += w * to->x[p][i];
        }
        lanes_store(to->sum_w + p * LANES, sum_w);
        lanes_store(to->sum_wx + p * LANES, sum_wx);
    }
}

/* Weighted sums over codes, of which a fit is made. */
typedef struct code_sums {
    lanes c, cc, xc;
} code_sums;

static inline void add_code(code_sums *sums, lanes w, lanes x, lanes code)
{
    lanes wc = w * code;
    sums->c += wc;
    sums->cc += wc * code;
    sums->xc += wc * x;
}

/* The scale and offset with which the codes come nearest to x, the offset not below 0, and what they take off
 * the error. Lanes that tell nothing hold no numbers. */
static inline void solve(const code_sums *sums, bool has_mins, lanes sw, lanes swx, lanes *ret_s,
                         lanes *ret_t, lanes *ret_gain)
{
    lanes s = sums->xc / sums->cc, t = {0};
    if (has_mins) {
        lanes det = sums->cc * sw - sums->c * sums->c, inverse = 1.0f / det;
        lanes offset = (sums->c * sums->xc - sums->cc * swx) * inverse;
        lane_masks both = (det > 1e-6f * sums->cc * sw) & (offset > 0);
        s = lanes_select(both, (sums->xc * sw - swx * sums->c) * inverse, s);
        t = lanes_select(both, offset, t);
    }
    *ret_s = s;
    *ret_t = t;
    *ret_gain = s * sums->xc - t * swx;
}

/* Candidates for the scale of a sub-block: its extreme stands at the format's outermost code and a few tenths
 * inside or outside of it, where outside means that it is cut. Chosen by measuring: of the range inside, most
 * is gained by few coarse steps. */
enum { SCALE_FIRST = -1, SCALE_LAST = 8, AFFINE_FIRST = -2, AFFINE_LAST = 7 };
static const float SCALE_STEP = 0.5f, AFFINE_STEP = 0.3f;

/* s for codes low to high, low the farther from 0; its sign is free. */
static void fit_scale(const scheme *f, weights *of, size_t p)
{
    const lanes *x = of->x[p], *w = of->w[p];
    lanes extreme = {0}, best = {0}, best_gain = {0}, s, t, gain;
    for (size_t i = 0; i < f->sub_cols; i++)
        extreme = lanes_select(lanes_abs(x[i]) > lanes_abs(extreme), x[i], extreme);
    lanes over = divide(1, extreme);
    for (int step = SCALE_FIRST; step <= SCALE_LAST; step++) {
        lanes inverse = (f->code_low + SCALE_STEP * (float)step) * over;
        code_sums sums = {0};
        for (size_t i = 0; i < f->sub_cols; i++)
            add_code(&sums, w[i], x[i], lanes_nearest(clamp(x[i] * inverse, f->code_low, f->code_high)));
        solve(&sums, false, lanes_of(0), lanes_of(0), &s, &t, &gain);
        lane_masks better = (sums.cc > 0) & (gain > best_gain);
        best_gain = lanes_select(better, gain, best_gain);
        best = lanes_select(better, s, best);
    }
    lanes_store(of->s + p * LANES, best);
    lanes_store(of->t + p * LANES, lanes_of(0));
}

/* s and t, neither below 0, for codes 0 to high. */
static void fit_affine(const scheme *f, weights *of, size_t p)
{
    const lanes *x = of->x[p], *w = of->w[p];
    lanes low = {0}, high = x[0], sw = lanes_load(of->sum_w + p * LANES),
          swx = lanes_load(of->sum_wx + p * LANES);
    for (size_t i = 0; i < f->sub_cols; i++) {
        low = lanes_min(x[i], low);
        high = lanes_max(x[i], high);
    }
    lanes range = lanes_max(high - low, lanes_of(0)), best_s = range / f->code_high, best_t = -low,
          best_gain = lanes_of(-INFINITY), over = divide(1, range), s, t, gain;
    for (int step = AFFINE_FIRST; step <= AFFINE_LAST; step++) {
        lanes inverse = (f->code_high - AFFINE_STEP * (float)step) * over;
        code_sums sums = {0};
        for (size_t i = 0; i < f->sub_cols; i++)
            add_code(&sums, w[i], x[i],
                     lanes_nearest(lanes_min((x[i] - low) * inverse, lanes_of(f->code_high))));
        solve(&sums, true, sw, swx, &s, &t, &gain);
        lane_masks better = (sums.cc > 0) & (s >= 0) & (gain > best_gain);
        best_gain = lanes_select(better, gain, best_gain);
        best_s = lanes_select(better, s, best_s);
        best_t = lanes_select(better, t, best_t);
    }
    lanes_store(of->s + p * LANES, best_s);
    lanes_store(of->t + p * LANES, best_t);
}

/* Of x in values scale * code - offset, inverse being the scale's: a scale of 0 makes every code 0. */
static inline lanes code_of(const scheme *f, lanes x, lanes offset, lanes inverse)
{
    return lanes_nearest(clamp((x + offset) * inverse, f->code_low, f->code_high));
}

/* The error that scale and offset leave in a part. */
static inline lanes error_of(const scheme *f, const weights *of, size_t p, lanes scale, lanes offset)
{
    lanes inverse = divide(1, scale), error = {0};
    for (size_t i = 0; i < f->sub_cols; i++) {
        lanes x = of->x[p][i], miss = x + offset - scale * code_of(f, x, offset, inverse);
        error += of->w[p][i] * miss * miss;
    }
    return error;
}

/* For a and min as they are: codes, error and sums. */
static void choose_codes(const scheme *f, const weights *of, size_t p, choice *c)
{
    size_t at = p * LANES;
    lanes scale = lanes_load(c->d + at) * lanes_load(c->a + at),
          offset = lanes_load(c->m + at) * lanes_load(c->min + at), inverse = divide(1, scale), error = {0};
    code_sums sums = {0};
    for (size_t i = 0; i < f->sub_cols; i++) {
        lanes x = of->x[p][i], w = of->w[p][i], code = code_of(f, x, offset, inverse);
        lanes miss = x + offset - scale * code;
        error += w * miss * miss;
        add_code(&sums, w, x, code);
        c->code[p][i] = code;
    }
    lanes_store(c->error + at, error);
    lanes_store(c->sum_c + at, sums.c);
    lanes_store(c->sum_cc + at, sums.cc);
    lanes_store(c->sum_xc + at, sums.xc);
}

/* The error that scale and offset leave with codes as they are, less what no fit changes. */
static inline lanes error_of_codes(const weights *of, size_t p, const choice *c, lanes scale, lanes offset)
{
    size_t at = p * LANES;
    return scale * (scale * lanes_load(c->sum_cc + at) - 2 * lanes_load(c->sum_xc + at)) +
           offset * (offset * lanes_load(of->sum_w + at) + 2 * lanes_load(of->sum_wx + at)) -
           2 * scale * offset * lanes_load(c->sum_c + at);
}

/* For d and m as they are: the integers around the scale s and offset t that leave the least error, with
 * codes chosen anew or as they are. */
static inline __attribute__((always_inline)) void
choose_integers(const scheme *f, const weights *of, size_t p, lanes s, lanes t, bool anew, choice *c)
{
    size_t at = p * LANES;
    lanes d = lanes_load(c->d + at), m = lanes_load(c->m + at), best = lanes_of(INFINITY), best_a = {0},
          best_min = {0};
    lanes a = lanes_select(d != 0, lanes_nearest(clamp(s / d, f->scale_low, f->scale_high)), lanes_of(0));
    lanes min = lanes_select(m != 0, lanes_nearest(clamp(t / m, 0, 63)), lanes_of(0));
    int around = f->has_mins ? 1 : 0;
    for (int i = -around; i <= around; i++)
        for (int k = -1; k <= 1; k++) {
            if (i * k < 0) continue; /* a larger scale wants a larger offset */
            lanes try_a = clamp(a + (float)k, f->scale_low, f->scale_high);
            lanes try_min = clamp(min + (float)i, 0, 63);
            lanes error = anew ? error_of(f, of, p, d * try_a, m * try_min)
                               : error_of_codes(of, p, c, d * try_a, m * try_min);
            lane_masks better = error < best;
            best = lanes_select(better, error, best);
            best_a = lanes_select(better, try_a, best_a);
            best_min = lanes_select(better, try_min, best_min);
        }
    lanes_store(c->a + at, best_a);
    lanes_store(c->min + at, best_min);
}

/* The integers that fit codes as they are, then codes that fit these. */
static void refine(const scheme *f, const weights *of, size_t p, choice *c)
{
    size_t at = p * LANES;
    const code_sums sums = {lanes_load(c->sum_c + at), lanes_load(c->sum_cc + at),
                            lanes_load(c->sum_xc + at)};
    lanes s, t, gain;
    solve(&sums, f->has_mins, lanes_load(of->sum_w + at), lanes_load(of->sum_wx + at), &s, &t, &gain);
    lane_masks told = lanes_abs(s) < INFINITY;
    s = lanes_select(told, s, lanes_load(c->d + at) * lanes_load(c->a + at));
    t = lanes_select(told, t, lanes_load(c->m + at) * lanes_load(c->min + at));
    choose_integers(f, of, p, s, t, false, c);
    choose_codes(f, of, p, c);
}

/* What an f16 field will hold; false when it cannot. */
static bool to_half(float x, float *ret_rounded)
{
    if (!(fabsf(x) < 65520.0f)) return false;
    *ret_rounded = es_f16_to_float(es_f16_of_float(x));
    return true;
}

static void set_block(const scheme *f, size_t first, float d, float m, choice *c)
{
    for (size_t j = first; j < first + f->subs; j++) {
        c->d[j] = d;
        c->m[j] = m;
    }
}

/* d and m with which the largest scale and offset of a block's sub-blocks can be had. False when they are
 * beyond the format. */
static bool start_block(const scheme *f, const weights *of, size_t first, choice *c)
{
    float scale = 0, offset = 0, d, m;
    for (size_t j = first; j < first + f->subs; j++) {
        if (fabsf(of->s[j]) > fabsf(scale)) scale = of->s[j];
        if (of->t[j] > offset) offset = of->t[j];
    }
    if (!to_half(scale / (f->has_mins ? f->scale_high : f->scale_low), &d) || !to_half(offset / 63, &m))
        return false;
    set_block(f, first, d, m, c);
    return true;
}

/* d and m that fit a block's codes and integers as they are; they stay where none can be told or stored. */
static void fit_block(const scheme *f, const weights *of, size_t first, choice *c)
{
    float pp = 0, pq = 0, qq = 0, xp = 0, xq = 0, d, m;
    for (size_t j = first; j < first + f->subs; j++) {
        float a = c->a[j], min = c->min[j];
        pp += a * a * c->sum_cc[j];
        pq += a * min * c->sum_c[j];
        qq += min * min * of->sum_w[j];
        xp += a * c->sum_xc[j];
        xq += min * of->sum_wx[j];
    }
    float s = xp / pp, t = 0, det = pp * qq - pq * pq;
    if (f->has_mins && det > 1e-6f * pp * qq && pq * xp - pp * xq > 0) {
        s = (xp * qq - xq * pq) / det;
        t = (pq * xp - pp * xq) / det;
    }
    if (f->has_mins && !(s >= 0)) return;
    if (pp > 0 && to_half(s, &d) && to_half(t, &m)) set_block(f, first, d, m, c);
}

/* Takes over those blocks of next that are better. */
static void keep_better(const scheme *f, const choice *next, choice *c)
{
    float better[SUBS];
    for (size_t first = 0; first < SUBS; first += f->subs) {
        float is = 0, was = 0;
        for (size_t j = first; j < first + f->subs; j++) {
            is += next->error[j];
            was += c->error[j];
        }
        for (size_t j = first; j < first + f->subs; j++) better[j] = is < was ? 1 : 0;
    }
    for (size_t p = 0; p < PARTS; p++) {
        lane_masks mask = lanes_load(better + p * LANES) > 0;
        for (size_t i = 0; i < f->sub_cols; i++)
            c->code[p][i] = lanes_select(mask, next->code[p][i], c->code[p][i]);
    }
    for (size_t j = 0; j < SUBS; j++) {
        if (better[j] == 0) continue;
        c->d[j] = next->d[j];
        c->m[j] = next->m[j];
        c->a[j] = next->a[j];
        c->min[j] = next->min[j];
    }
}

/* Chooses everything for count sub-blocks of whole blocks. False when a scale is beyond the format. */
static bool search(const scheme *f, const float *row, size_t count, choice *c)
{
    weights of;
    load_weights(row, f->sub_cols, count, &of);
    for (size_t p = 0; p < PARTS; p++) (f->has_mins ? fit_affine : fit_scale)(f, &of, p);
    for (size_t first = 0; first < SUBS; first += f->subs)
        if (!start_block(f, &of, first, c)) return false;
    for (size_t p = 0; p < PARTS; p++) {
        lanes s = lanes_load(of.s + p * LANES), t = lanes_load(of.t + p * LANES);
        choose_integers(f, &of, p, s, t, true, c);
        choose_codes(f, &of, p, c);
    }
    if (f->subs == 1) return true;
    choice next;
    memcpy(&next, c, offsetof(choice, code)); /* new codes come with refine */
    for (size_t first = 0; first < SUBS; first += f->subs) fit_block(f, &of, first, &next);
    for (size_t p = 0; p < PARTS; p++) refine(f, &of, p, &next);
    keep_better(f, &next, c);
    return true;
}

#endif
