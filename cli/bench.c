/* essaim bench expert: how near one expert's feed-forward comes to the machine's limits, all measured in the
 * same run. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/fpmode.h"
#include "base/pages.h"
#include "base/pool.h"
#include "base/size.h"
#include "cli/commands.h"
#include "essaim/experts.h"
#include "essaim/panels.h"
#include "yardstick/yardstick.h"

#include <stdlib.h>
#include <string.h>

enum {
    PASSES_MAX = 4096,
    PASSES_MIN = 12,
    PANELS_DRAWN = 16, /* random panels of a matrix; the rest repeat them */
    PEAK_EVERY = 8     /* passes */
};

typedef struct bench_values {
    const char *what;
    size_t hidden, intermediate, experts, rows, threads, seconds;
    int format;
    const char *isa;
    bool json;
} bench_values;

/* Medians of one run. */
typedef struct figures {
    size_t bytes, passes;
    double pass_seconds, read_seconds; /* of bytes */
    double integer_ops, float_ops;     /* a second */
} figures;

typedef struct bench {
    const bench_values *values;
    const es_kernels *kernels, *best;
    es_pool *pool;
    es_arena *arena;
    es_expert_engine *engine;
    uint8_t *weights; /* the experts' matrices one after the other */
    size_t weights_bytes, expert_bytes;
    es_ffn *ffns;
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
    return es_err_set(err, ES_NO_MEMORY, "bench: memory for the experts");
}

/* Random codes of one float: finite and below 1 whatever the format. */
static void draw_floats(bench *b, es_format format, uint8_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word = next(b) >> 20;
        float value = ((float)(word & 0xffff) - 32768) / 65536;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        uint16_t half =
            format == ES_FORMAT_BF16 ? (uint16_t)(bits >> 16) : (uint16_t)((word & 0x83ff) | 0x2c00);
        if (format == ES_FORMAT_FP8)
            codes[i] = (uint8_t)(word & 0xb7);
        else if (format == ES_FORMAT_F32)
            memcpy(codes + 4 * i, &value, 4);
        else
            memcpy(codes + 2 * i, &half, 2);
    }
}

/* Random blocks whose f16 scales are small. */
static void draw_blocks(bench *b, es_format format, uint8_t *blocks, size_t bytes)
{
    size_t block = es_format_describe(format)->block_bytes;
    for (size_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)(next(b) >> 20);
    bool two = format == ES_FORMAT_Q5_1 || format == ES_FORMAT_Q4_K || format == ES_FORMAT_Q5_K;
    for (size_t at = 0; at < bytes; at += block)
        for (size_t k = 0; k < (two ? 2 : 1); k++) {
            uint16_t d = (uint16_t)(0x0400 | (next(b) >> 20 & 0x3ff));
            memcpy(blocks + at + (format == ES_FORMAT_Q6_K ? block - 2 : 2 * k), &d, sizeof d);
        }
}

/* A matrix in panels at *at, which moves behind it. */
static es_status draw_matrix(bench *b, size_t rows, size_t cols, uint8_t **at, es_matrix *ret_matrix,
                             es_err *err)
{
    es_format format = (es_format)b->values->format;
    size_t drawn = es_size_min(rows, PANELS_DRAWN * ES_PANEL_ROWS),
           row_bytes = es_format_row_bytes(format, cols);
    size_t panels = es_size_ceil_div(rows, ES_PANEL_ROWS), some = es_size_ceil_div(drawn, ES_PANEL_ROWS),
           bytes;
    uint8_t *codes = malloc(drawn * row_bytes);
    size_t scales = es_size_ceil_div(rows, ES_SCALE_BLOCK) * es_size_ceil_div(cols, ES_SCALE_BLOCK);
    float *grid = es_arena_take(b->arena, scales, sizeof *grid);
    if (codes == NULL || grid == NULL || !es_panels_bytes(format, rows, cols, &bytes)) {
        free(codes);
        return no_memory(err);
    }
    for (size_t i = 0; i < scales; i++) grid[i] = 0.001f;
    if (format < ES_FORMAT_FLOAT_COUNT)
        draw_floats(b, format, codes, drawn * cols);
    else
        draw_blocks(b, format, codes, drawn * row_bytes);
    es_matrix m = {.format = format, .rows = drawn, .cols = cols, .data = codes, .row_bytes = row_bytes};
    es_panels_fill(&m, 0, some, *at);
    free(codes);
    size_t panel = bytes / panels;
    for (size_t p = some; p < panels; p++) memcpy(*at + p * panel, *at + p % some * panel, panel);
    *ret_matrix = (es_matrix){.format = format,
                              .layout = ES_LAYOUT_PANELS,
                              .rows = rows,
                              .cols = cols,
                              .data = *at,
                              .row_bytes = panel,
                              .scales = grid,
                              .scale_stride = es_size_ceil_div(cols, ES_SCALE_BLOCK)};
    *at += bytes;
    return ES_OK;
}

static es_status draw_experts(bench *b, es_err *err)
{
    const bench_values *v = b->values;
    size_t gate, down;
    if (!es_panels_bytes((es_format)v->format, v->intermediate, v->hidden, &gate) ||
        !es_panels_bytes((es_format)v->format, v->hidden, v->intermediate, &down) ||
        !es_size_mul(2 * gate + down, v->experts, &b->weights_bytes))
        return no_memory(err);
    b->expert_bytes = 2 * gate + down;
    b->weights = es_pages_take(b->weights_bytes);
    b->ffns = es_arena_take(b->arena, v->experts, sizeof *b->ffns);
    if (b->weights == NULL || b->ffns == NULL) return no_memory(err);
    uint8_t *at = b->weights;
    es_status status = ES_OK;
    for (size_t e = 0; e < v->experts && status == ES_OK; e++) {
        es_ffn *ffn = &b->ffns[e];
        status = draw_matrix(b, v->intermediate, v->hidden, &at, &ffn->gate, err);
        if (status == ES_OK) status = draw_matrix(b, v->intermediate, v->hidden, &at, &ffn->up, err);
        if (status == ES_OK) status = draw_matrix(b, v->hidden, v->intermediate, &at, &ffn->down, err);
    }
    return status;
}

/* Rows that arrive as they travel, each for one expert with weight 1. */
static es_status draw_rows(bench *b, es_err *err)
{
    const bench_values *v = b->values;
    size_t padded = es_size_align(v->hidden, 4);
    b->rows = (es_rows){ES_ROWS_Q8, v->rows, v->hidden, es_rows_row_bytes(ES_ROWS_Q8, v->hidden), NULL, NULL};
    b->rows.data = es_arena_take(b->arena, v->rows, b->rows.row_bytes);
    b->pair_first = es_arena_take(b->arena, v->rows + 1, sizeof *b->pair_first);
    b->expert = es_arena_take(b->arena, v->rows, sizeof *b->expert);
    b->weight = es_arena_take(b->arena, v->rows, sizeof *b->weight);
    b->sum = es_arena_take(b->arena, v->rows * v->hidden, sizeof *b->sum);
    float *x = es_arena_take(b->arena, v->hidden, sizeof *x);
    if (b->rows.data == NULL || b->pair_first == NULL || b->expert == NULL || b->weight == NULL ||
        b->sum == NULL || x == NULL)
        return no_memory(err);
    for (size_t r = 0; r < v->rows; r++) {
        uint8_t *row = b->rows.data + r * b->rows.row_bytes;
        for (size_t i = 0; i < v->hidden; i++) x[i] = (float)((int)(next(b) >> 20 & 0xffff) - 32768) / 32768;
        b->kernels->quantise(x, v->hidden, (int8_t *)row, (float *)(void *)(row + padded));
        b->pair_first[r + 1] = (uint32_t)(r + 1);
        b->weight[r] = 1;
    }
    return ES_OK;
}

static es_status run_pass(bench *b, size_t pass, double *ret_seconds, es_err *err)
{
    const bench_values *v = b->values;
    for (size_t r = 0; r < v->rows; r++) b->expert[r] = (uint32_t)(pass % v->experts);
    memset(b->sum, 0, v->rows * v->hidden * sizeof *b->sum);
    b->rows.blocks = NULL;
    const es_expert_batch batch = {&b->rows, b->pair_first, b->expert, b->weight};
    uint64_t start = es_clock_now_ns();
    es_status status = es_expert_engine_run(b->engine, b->ffns, v->experts, &batch, b->sum, err);
    *ret_seconds = (double)(es_clock_now_ns() - start) * 1e-9;
    return status;
}

static double read_expert(bench *b, size_t expert)
{
    return es_yardstick_read_s(b->best, b->pool, b->weights + expert * b->expert_bytes, b->expert_bytes);
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

/* Passes and yardsticks in turns, so that a noisy machine disturbs all alike. */
static es_status measure(bench *b, figures *ret_figures, es_err *err)
{
    double *times = es_arena_take(b->arena, 4 * PASSES_MAX, sizeof *times);
    if (times == NULL) return no_memory(err);
    double *reads = times + PASSES_MAX, *integers = reads + PASSES_MAX, *floats = integers + PASSES_MAX;
    size_t experts = b->values->experts, n = 0, peaks = 0;
    uint64_t start = es_clock_now_ns(), length = (uint64_t)b->values->seconds * 1000000000u;
    double unused;
    es_status status = run_pass(b, 0, &unused, err);
    while (status == ES_OK && n < PASSES_MAX && (n < PASSES_MIN || es_clock_now_ns() - start < length)) {
        status = run_pass(b, 2 * n + 1, &times[n], err);
        reads[n] = read_expert(b, (2 * n + 2) % experts);
        if (n % PEAK_EVERY == 0) {
            integers[peaks] = es_yardstick_integer_ops(b->best, b->pool);
            floats[peaks++] = es_yardstick_float_ops(b->best, b->pool);
        }
        n++;
    }
    if (status != ES_OK) return status;
    *ret_figures =
        (figures){b->expert_bytes,      n, median(times, n), median(reads, n), median(integers, peaks),
                  median(floats, peaks)};
    return ES_OK;
}

static void print_figures(const bench *b, const figures *f)
{
    const bench_values *v = b->values;
    bool integer = v->format >= ES_FORMAT_FLOAT_COUNT;
    double rate = (double)f->bytes / f->pass_seconds, read = (double)f->bytes / f->read_seconds;
    double ops = 6.0 * (double)v->hidden * (double)v->intermediate * (double)v->rows / f->pass_seconds;
    double share_of_peak = ops / (integer ? f->integer_ops : f->float_ops);
    const char *format =
        v->json ? "{\"bench\": \"expert\", \"format\": \"%s\", \"isa\": \"%s\", \"hidden\": %zu, "
                  "\"intermediate\": %zu, \"experts\": %zu, \"rows\": %zu, \"threads\": %zu, "
                  "\"passes\": %zu, \"bytes_per_pass\": %zu, \"ms_per_pass\": %.4f, \"gb_per_s\": %.3f, "
                  "\"gflop_per_s\": %.2f, \"rows_per_s\": %.2f, \"read_gb_per_s\": %.3f, "
                  "\"integer_peak_gop_per_s\": %.1f, \"float_peak_gflop_per_s\": %.1f, "
                  "\"share_of_bandwidth\": %.3f, \"share_of_peak\": %.3f}\n"
                : "format              %s, %s\nexpert              %zu x %zu, %zu of them\n"
                  "rows                %zu, %zu threads, %zu passes\nbytes a pass        %zu\n"
                  "time a pass         %.4f ms\nweights             %.3f GB/s\n"
                  "arithmetic          %.2f GFLOP/s\nrows                %.2f a second\n"
                  "machine reads       %.3f GB/s\ninteger peak        %.1f GOP/s\n"
                  "float peak          %.1f GFLOP/s\nshare of bandwidth  %.3f\nshare of peak       %.3f\n";
    printf(format, es_format_describe((es_format)v->format)->name, b->kernels->name, v->hidden,
           v->intermediate, v->experts, v->rows, es_pool_threads(b->pool), f->passes, f->bytes,
           f->pass_seconds * 1e3, rate * 1e-9, ops * 1e-9, (double)v->rows / f->pass_seconds, read * 1e-9,
           f->integer_ops * 1e-9, f->float_ops * 1e-9, rate / read, share_of_peak);
}

static es_status check(const void *arg, es_err *err)
{
    const bench_values *v = arg;
    size_t block = es_format_describe((es_format)v->format)->block_cols;
    if (strcmp(v->what, "expert") != 0)
        return es_err_set(err, ES_INVALID, "bench: \"%s\" is not among: expert", v->what);
    if (v->hidden % block != 0 || v->intermediate % block != 0)
        return es_err_set(err, ES_INVALID, "bench: sizes are no multiples of %zu, the block of %s", block,
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
    const es_expert_engine_options options = {b->kernels,      b->pool, ES_ROWS_Q8, v->hidden,
                                              v->intermediate, v->rows, 1};
    status = es_expert_engine_create(&options, &b->engine, err);
    if (status == ES_OK) status = draw_experts(b, err);
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
    es_arena_destroy(&b.arena);
    es_pages_give(b.weights, b.weights_bytes);
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
     .min = 32,
     .max = 1 << 20,
     .initial = "7168",
     .help = "width of a row"},
    {.name = "--intermediate",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(bench_values, intermediate),
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
     .choices = FORMATS,
     .initial = "q8_0",
     .help = "how weights are stored"},
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
     .help = "kernel set: ref, avx2, avx512"},
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
    .example_count = 1,
    .values_bytes = sizeof(bench_values),
    .check = check,
    .run = run,
};
