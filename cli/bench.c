/* essaim bench expert: how near one expert's feed-forward comes to the machine's limits, all measured in the
 * same run. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/fpmode.h"
#include "base/pages.h"
#include "base/pool.h"
#include "base/size.h"
#include "cli/bench_weights.h"
#include "cli/commands.h"
#include "essaim/experts.h"
#include "yardstick/yardstick.h"

#include <stdlib.h>
#include <string.h>

enum {
    PASSES_MAX = 4096,
    PASSES_MIN = 12,
    PEAK_EVERY = 8, /* passes */
    FORMAT_NAME_BYTES = 64
};

typedef struct bench_values {
    const char *what;
    size_t hidden, intermediate, experts, rows, threads, seconds;
    int format;
    const char *isa, *shard;
    bool hidden_given, intermediate_given, format_given, json;
} bench_values;

/* Medians of one run. */
typedef struct figures {
    size_t bytes, passes;
    double pass_seconds, read_seconds; /* of bytes */
    double copy_seconds;               /* --shard: a pass on the copies */
    double best_seconds; /* the quickest pass: what a machine that others use shows of an idle one */
    double integer_ops, float_ops; /* a second */
} figures;

typedef struct bench {
    const bench_values *values;
    const es_kernels *kernels, *best;
    es_pool *pool;
    es_arena *arena;
    es_expert_engine *engine;
    es_bench_weights weights;
    es_rows rows;
    uint32_t *pair_first, *expert;
    float *weight;
    int64_t *sum;
    uint64_t seed;
} bench;

static uint64_t next(bench *b)
{
    b->seed ^= b->seed << 13;
    b->seed ^= b->seed >> 7;
    b->seed ^= b->seed << 17;
    return b->seed;
}

static es_status no_memory(es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "memory for the experts");
}

/* Rows that arrive as they travel, each for one expert with weight 1. */
static es_status draw_rows(bench *b, es_err *err)
{
    const bench_values *v = b->values;
    size_t hidden = b->weights.hidden, padded = es_size_align(hidden, 4);
    b->rows = (es_rows){ES_ROWS_Q8, v->rows, hidden, es_rows_row_bytes(ES_ROWS_Q8, hidden), NULL, NULL};
    b->rows.data = es_arena_take(b->arena, v->rows, b->rows.row_bytes);
    b->pair_first = es_arena_take(b->arena, v->rows + 1, sizeof *b->pair_first);
    b->expert = es_arena_take(b->arena, v->rows, sizeof *b->expert);
    b->weight = es_arena_take(b->arena, v->rows, sizeof *b->weight);
    b->sum = es_arena_take(b->arena, v->rows * hidden, sizeof *b->sum);
    float *x = es_arena_take(b->arena, hidden, sizeof *x);
    if (b->rows.data == NULL || b->pair_first == NULL || b->expert == NULL || b->weight == NULL ||
        b->sum == NULL || x == NULL)
        return no_memory(err);
    for (size_t r = 0; r < v->rows; r++) {
        uint8_t *row = b->rows.data + r * b->rows.row_bytes;
        for (size_t i = 0; i < hidden; i++) x[i] = (float)((int)(next(b) >> 20 & 0xffff) - 32768) / 32768;
        b->kernels->quantise(x, hidden, (int8_t *)row, (float *)(void *)(row + padded));
        b->pair_first[r + 1] = (uint32_t)(r + 1);
        b->weight[r] = 1;
    }
    return ES_OK;
}

static es_status run_pass(bench *b, const es_ffn *ffns, size_t pass, double *ret_seconds, es_err *err)
{
    const bench_values *v = b->values;
    for (size_t r = 0; r < v->rows; r++) b->expert[r] = (uint32_t)(pass % b->weights.count);
    memset(b->sum, 0, v->rows * b->weights.hidden * sizeof *b->sum);
    b->rows.blocks = NULL;
    const es_expert_batch batch = {&b->rows, b->pair_first, b->expert, b->weight};
    uint64_t start = es_clock_now_ns();
    es_status status = es_expert_engine_run(b->engine, ffns, b->weights.count, &batch, b->sum, err);
    *ret_seconds = (double)(es_clock_now_ns() - start) * 1e-9;
    return status;
}

static double read_expert(bench *b, size_t expert)
{
    size_t bytes = b->weights.expert_bytes;
    return es_yardstick_read_s(b->best, b->pool, b->weights.memory + expert * bytes, bytes);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Of each turn, or of some: seconds, or operations a second. */
typedef struct turns {
    double pass[PASSES_MAX], copy[PASSES_MAX], read[PASSES_MAX], integer[PASSES_MAX], real[PASSES_MAX];
} turns;

/* A pass on the mapped experts and one on their copies: which comes first changes, as it may matter. */
static es_status run_both(bench *b, size_t n, turns *t, es_err *err)
{
    const es_bench_weights *w = &b->weights;
    bool copy_first = w->copies != NULL && n % 2 == 1;
    es_status status = ES_OK;
    if (copy_first) status = run_pass(b, w->copies, 2 * n + 1, &t->copy[n], err);
    if (status == ES_OK) status = run_pass(b, w->ffns, 2 * n + 1, &t->pass[n], err);
    if (status == ES_OK && w->copies != NULL && !copy_first)
        status = run_pass(b, w->copies, 2 * n + 1, &t->copy[n], err);
    return status;
}

/* Passes and yardsticks in turns, so that a noisy machine disturbs all alike. */
static es_status measure(bench *b, figures *ret_figures, es_err *err)
{
    turns *t = es_arena_take(b->arena, 1, sizeof *t);
    if (t == NULL) return no_memory(err);
    const es_bench_weights *w = &b->weights;
    size_t n = 0, peaks = 0;
    double unused;
    es_status status = run_pass(b, w->ffns, 0, &unused, err);
    uint64_t start = es_clock_now_ns(), length = (uint64_t)b->values->seconds * 1000000000u;
    while (status == ES_OK && n < PASSES_MAX && (n < PASSES_MIN || es_clock_now_ns() - start < length)) {
        status = run_both(b, n, t, err);
        t->read[n] = read_expert(b, (2 * n + 2) % w->count);
        if (n % PEAK_EVERY == 0) {
            t->integer[peaks] = es_yardstick_integer_ops(b->best, b->pool);
            t->real[peaks++] = es_yardstick_float_ops(b->best, b->pool);
        }
        n++;
    }
    if (status != ES_OK) return status;
    *ret_figures = (figures){.bytes = w->expert_bytes,
                             .passes = n,
                             .pass_seconds = median(t->pass, n),
                             .read_seconds = median(t->read, n),
                             .copy_seconds = median(t->copy, n),
                             .integer_ops = median(t->integer, peaks),
                             .float_ops = median(t->real, peaks)};
    ret_figures->best_seconds = t->pass[0]; /* the median has put them in order */
    return ES_OK;
}

/* What mapping did, and how near it comes to anonymous memory. */
static void print_shard(const bench *b, const figures *f)
{
    const es_bench_weights *w = &b->weights;
    double mapped = es_pages_huge_share(w->ffns[0].gate.data), copied = es_pages_huge_share(w->memory);
    printf(
        b->values->json
            ? ", \"layer\": %zu, \"warm_share\": %.3f, \"read_ahead_ms\": %.1f, "
              "\"huge_share\": %.3f, \"anonymous_huge_share\": %.3f, "
              "\"anonymous_ms_per_pass\": %.4f, \"shard_over_anonymous\": %.3f"
            : "layer               %zu\nwarm before         %.3f of the pages\n"
              "reading ahead       %.1f ms\nin huge pages       %.3f of what is mapped, %.3f of the copies\n"
              "the same, copied    %.4f ms a pass\nmapped over copied  %.3f\n",
        w->layer, w->warm_share, w->read_seconds * 1e3, mapped, copied, f->copy_seconds * 1e3,
        f->pass_seconds / f->copy_seconds);
}

static bool all_integer(const es_ffn *ffn)
{
    return ffn->gate.format >= ES_FORMAT_FLOAT_COUNT && ffn->up.format >= ES_FORMAT_FLOAT_COUNT &&
           ffn->down.format >= ES_FORMAT_FLOAT_COUNT;
}

/* A shard's matrices may differ: files mix formats. */
static void name_formats(const es_ffn *ffn, char ret_name[FORMAT_NAME_BYTES])
{
    const char *gate = es_format_describe(ffn->gate.format)->name;
    const char *up = es_format_describe(ffn->up.format)->name,
               *down = es_format_describe(ffn->down.format)->name;
    if (ffn->gate.format == ffn->up.format && ffn->up.format == ffn->down.format)
        snprintf(ret_name, FORMAT_NAME_BYTES, "%s", gate);
    else
        snprintf(ret_name, FORMAT_NAME_BYTES, "%s, %s and %s", gate, up, down);
}

static void print_figures(const bench *b, const figures *f)
{
    const bench_values *v = b->values;
    const es_bench_weights *w = &b->weights;
    double rate = (double)f->bytes / f->pass_seconds, read = (double)f->bytes / f->read_seconds;
    double ops = 6.0 * (double)w->hidden * (double)w->intermediate * (double)v->rows / f->pass_seconds;
    double share_of_peak = ops / (all_integer(w->ffns) ? f->integer_ops : f->float_ops);
    char formats[FORMAT_NAME_BYTES];
    name_formats(w->ffns, formats);
    const char *format =
        v->json ? "{\"bench\": \"expert\", \"format\": \"%s\", \"isa\": \"%s\", \"hidden\": %zu, "
                  "\"intermediate\": %zu, \"experts\": %zu, \"rows\": %zu, \"threads\": %zu, "
                  "\"passes\": %zu, \"bytes_per_pass\": %zu, \"ms_per_pass\": %.4f, \"best_ms_per_pass\": "
                  "%.4f, \"gb_per_s\": %.3f, "
                  "\"gflop_per_s\": %.2f, \"rows_per_s\": %.2f, \"read_gb_per_s\": %.3f, "
                  "\"integer_peak_gop_per_s\": %.1f, \"float_peak_gflop_per_s\": %.1f, "
                  "\"share_of_bandwidth\": %.3f, \"share_of_peak\": %.3f"
                : "format              %s, %s\nexpert              %zu x %zu, %zu of them\n"
                  "rows                %zu, %zu threads, %zu passes\nbytes a pass        %zu\n"
                  "time a pass         %.4f ms, the quickest %.4f ms\nweights             %.3f GB/s\n"
                  "arithmetic          %.2f GFLOP/s\nrows                %.2f a second\n"
                  "machine reads       %.3f GB/s\ninteger peak        %.1f GOP/s\n"
                  "float peak          %.1f GFLOP/s\nshare of bandwidth  %.3f\nshare of peak       %.3f\n";
    printf(format, formats, b->kernels->name, w->hidden, w->intermediate, w->count, v->rows,
           es_pool_threads(b->pool), f->passes, f->bytes, f->pass_seconds * 1e3, f->best_seconds * 1e3,
           rate * 1e-9, ops * 1e-9, (double)v->rows / f->pass_seconds, read * 1e-9, f->integer_ops * 1e-9,
           f->float_ops * 1e-9, rate / read, share_of_peak);
    if (w->copies != NULL) print_shard(b, f);
    if (v->json) printf("}\n");
}

static es_status check(const void *arg, es_err *err)
{
    const bench_values *v = arg;
    size_t block = es_format_describe((es_format)v->format)->block_cols;
    if (strcmp(v->what, "expert") != 0)
        return es_err_set(err, ES_INVALID, "\"%s\" is not among: expert", v->what);
    if (v->shard != NULL && (v->hidden_given || v->intermediate_given || v->format_given))
        return es_err_set(err, ES_INVALID, "--shard states its own sizes and format: leave out %s",
                          v->hidden_given         ? "--hidden"
                          : v->intermediate_given ? "--intermediate"
                                                  : "--format");
    if (v->shard == NULL && (v->hidden % block != 0 || v->intermediate % block != 0))
        return es_err_set(err, ES_INVALID,
                          "--hidden and --intermediate have to be multiples of %zu, the block of %s", block,
                          es_format_describe((es_format)v->format)->name);
    return ES_OK;
}

static es_status prepare(bench *b, es_err *err)
{
    const bench_values *v = b->values;
    b->arena = es_arena_create();
    if (b->arena == NULL) return no_memory(err);
    es_status status = es_kernels_select(v->isa, &b->kernels, err);
    if (status == ES_OK) status = es_kernels_select(NULL, &b->best, err);
    if (status == ES_OK) status = es_pool_create(v->threads, &b->pool, err);
    if (status != ES_OK) return status;
    status = v->shard != NULL ? es_bench_map(v->shard, v->experts, b->arena, &b->weights, err)
                              : es_bench_draw((es_format)v->format, v->hidden, v->intermediate, v->experts,
                                              b->arena, &b->weights, err);
    if (status != ES_OK) return status;
    const es_expert_engine_options options = {.kernels = b->kernels,
                                              .pool = b->pool,
                                              .row_format = ES_ROWS_Q8,
                                              .hidden = b->weights.hidden,
                                              .intermediate_max = b->weights.intermediate,
                                              .rows_max = v->rows,
                                              .pairs_per_row_max = 1};
    status = es_expert_engine_create(&options, &b->engine, err);
    if (status == ES_OK) status = draw_rows(b, err);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    bench b = {.values = arg, .seed = 88172645463325252u};
    figures f = {0};
    es_status status = prepare(&b, err);
    if (status == ES_OK) status = measure(&b, &f, err);
    if (status == ES_OK) print_figures(&b, &f);
    es_expert_engine_destroy(&b.engine);
    es_pool_destroy(&b.pool);
    es_bench_weights_free(&b.weights);
    es_arena_destroy(&b.arena);
    return status;
}

/* In the order of es_format. */
static const char *const FORMATS[] = {"f32",  "f16",  "bf16", "fp8",  "q8_0",   "q4_0", "q5_0",
                                      "q5_1", "q4_k", "q5_k", "q6_k", "iq4_nl", NULL};
_Static_assert(sizeof FORMATS / sizeof FORMATS[0] == ES_FORMAT_COUNT + 1, "a name for every format");

static const es_option OPTIONS[] = {
    {.name = "WHAT",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(bench_values, what),
     .positional = true,
     .required = true,
     .help = "what to measure: expert"},
    {.name = "--hidden",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(bench_values, hidden),
     .given_at = offsetof(bench_values, hidden_given),
     .min = 32,
     .max = 1 << 20,
     .initial = "7168",
     .help = "width of a row"},
    {.name = "--intermediate",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(bench_values, intermediate),
     .given_at = offsetof(bench_values, intermediate_given),
     .min = 32,
     .max = 1 << 20,
     .initial = "2048",
     .help = "width of the expert"},
    {.name = "--experts",
     .kind = ES_OPTION_COUNT,
     .argument = "E",
     .at = offsetof(bench_values, experts),
     .min = 1,
     .max = 4096,
     .initial = "8",
     .help = "experts to go through, so that none is in a cache"},
    {.name = "--format",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(bench_values, format),
     .given_at = offsetof(bench_values, format_given),
     .choices = FORMATS,
     .initial = "q8_0",
     .help = "how weights are stored"},
    {.name = "--shard",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(bench_values, shard),
     .help = "experts of this shard, mapped as a node maps them, in turns with copies in anonymous memory; "
             "sizes and format are the file's"},
    {.name = "--rows",
     .kind = ES_OPTION_COUNT,
     .argument = "R",
     .at = offsetof(bench_values, rows),
     .min = 1,
     .max = ES_STEP_ROWS_MAX,
     .initial = "1",
     .help = "rows in a pass, all for one expert"},
    {.name = "--threads",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(bench_values, threads),
     .max = 1024,
     .initial = "0",
     .help = "threads that compute; 0 is one for each core"},
    {.name = "--isa",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(bench_values, isa),
     .fallback = "the best",
     .help = "kernel set: ref, avx2, avx512, neon"},
    {.name = "--seconds",
     .kind = ES_OPTION_COUNT,
     .argument = "S",
     .at = offsetof(bench_values, seconds),
     .min = 1,
     .max = 600,
     .initial = "4",
     .unit = "s",
     .help = "how long to measure"},
    {.name = "--json", .kind = ES_OPTION_FLAG, .at = offsetof(bench_values, json), .help = "print JSON"},
};

static const es_option_set SETS[] = {
    {.heading = "Bench", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]}};
static const es_example EXAMPLES[] = {
    {"essaim bench expert --format q4_k --rows 4 --json", "one expert of DeepSeek-R1's size, four rows"},
    {"essaim bench expert --shard r1/experts-01-of-08.shard --experts 24", "what a node computes from"},
};

const es_command CLI_BENCH = {
    .name = "bench",
    .summary = "measure one expert's feed-forward against this machine's limits",
    .about = "A pass is one expert's whole feed-forward: gate, up, SiLU, down and the sum in fixed point. "
             "Between passes the same "
             "threads read as many bytes and do multiply-adds from registers: shares are ratios of medians "
             "of one run.",
    .sets = SETS,
    .set_count = 1,
    .examples = EXAMPLES,
    .example_count = 2,
    .values_bytes = sizeof(bench_values),
    .check = check,
    .run = run,
};
