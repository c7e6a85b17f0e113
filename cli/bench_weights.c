/* What a bench computes from: random experts in anonymous memory, or those of a shard that is mapped, with
 * copies of them in anonymous memory to hold them against. */
#include "cli/bench_weights.h"

#include "base/clock.h"
#include "base/pages.h"
#include "base/size.h"
#include "essaim/panels.h"
#include "weights/expert_index.h"
#include "weights/expert_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PANELS_DRAWN = 16 /* random panels of a matrix; the rest repeat them */ };

struct es_bench_shard {
    es_expert_store *store;
    es_stored_expert *experts; /* [count] */
    size_t count;
};

typedef struct drawing {
    es_format format;
    es_arena *arena;
    uint64_t seed;
} drawing;

static uint64_t next(drawing *draw)
{
    draw->seed ^= draw->seed << 13;
    draw->seed ^= draw->seed >> 7;
    draw->seed ^= draw->seed << 17;
    return draw->seed;
}

static es_status no_memory(es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "memory for the experts");
}

/* Random codes of one float: finite and below 1 whatever the format. */
static void draw_floats(drawing *draw, es_format format, uint8_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t word = next(draw) >> 20;
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
static void draw_blocks(drawing *draw, es_format format, uint8_t *blocks, size_t bytes)
{
    size_t block = es_format_describe(format)->block_bytes;
    for (size_t i = 0; i < bytes; i++) blocks[i] = (uint8_t)(next(draw) >> 20);
    bool two = format == ES_FORMAT_Q5_1 || format == ES_FORMAT_Q4_K || format == ES_FORMAT_Q5_K;
    for (size_t at = 0; at < bytes; at += block)
        for (size_t k = 0; k < (two ? 2 : 1); k++) {
            uint16_t d = (uint16_t)(0x0400 | (next(draw) >> 20 & 0x3ff));
            memcpy(blocks + at + (format == ES_FORMAT_Q6_K ? block - 2 : 2 * k), &d, sizeof d);
        }
}

/* A matrix in panels at *at, which moves behind it. */
static es_status draw_matrix(drawing *draw, size_t rows, size_t cols, uint8_t **at, es_matrix *ret_matrix,
                             es_err *err)
{
    es_format format = draw->format;
    size_t drawn = es_size_min(rows, PANELS_DRAWN * ES_PANEL_ROWS),
           row_bytes = es_format_row_bytes(format, cols);
    size_t panels = es_size_ceil_div(rows, ES_PANEL_ROWS), some = es_size_ceil_div(drawn, ES_PANEL_ROWS),
           bytes;
    uint8_t *codes = malloc(drawn * row_bytes);
    size_t scales = es_size_ceil_div(rows, ES_SCALE_BLOCK) * es_size_ceil_div(cols, ES_SCALE_BLOCK);
    float *grid = es_arena_take(draw->arena, scales, sizeof *grid);
    if (codes == NULL || grid == NULL || !es_panels_bytes(format, rows, cols, &bytes)) {
        free(codes);
        return no_memory(err);
    }
    for (size_t i = 0; i < scales; i++) grid[i] = 0.001f;
    if (format < ES_FORMAT_FLOAT_COUNT)
        draw_floats(draw, format, codes, drawn * cols);
    else
        draw_blocks(draw, format, codes, drawn * row_bytes);
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

/* Anonymous memory for count experts of expert_bytes. */
static es_status take_memory(es_bench_weights *w, es_err *err)
{
    if (!es_size_mul(w->expert_bytes, w->count, &w->memory_bytes)) return no_memory(err);
    w->memory = es_pages_take(w->memory_bytes);
    return w->memory == NULL ? no_memory(err) : ES_OK;
}

es_status es_bench_draw(es_format format, size_t hidden, size_t intermediate, size_t experts, es_arena *arena,
                        es_bench_weights *ret_weights, es_err *err)
{
    es_bench_weights *w = ret_weights;
    *w = (es_bench_weights){.hidden = hidden, .intermediate = intermediate, .count = experts};
    size_t gate, down;
    if (!es_panels_bytes(format, intermediate, hidden, &gate) ||
        !es_panels_bytes(format, hidden, intermediate, &down))
        return no_memory(err);
    w->expert_bytes = 2 * gate + down;
    es_status status = take_memory(w, err);
    if (status != ES_OK) return status;
    es_ffn *ffns = es_arena_take(arena, experts, sizeof *ffns);
    if (ffns == NULL) return no_memory(err);
    w->ffns = ffns;
    drawing draw = {format, arena, 88172645463325252u};
    uint8_t *at = w->memory;
    for (size_t e = 0; e < experts && status == ES_OK; e++) {
        status = draw_matrix(&draw, intermediate, hidden, &at, &ffns[e].gate, err);
        if (status == ES_OK) status = draw_matrix(&draw, intermediate, hidden, &at, &ffns[e].up, err);
        if (status == ES_OK) status = draw_matrix(&draw, hidden, intermediate, &at, &ffns[e].down, err);
    }
    return status;
}

/* Takes the layer's experts that the shard holds whole, up to most of them. */
static es_status take_layer(es_bench_shard *shard, size_t layer, size_t most, es_err *err)
{
    const es_shape *s = es_expert_store_shape(shard->store);
    const es_chunks whole = {0, (uint32_t)es_chunks_of(s->expert_intermediate)};
    es_status status = ES_OK;
    for (size_t e = 0; e < s->experts && shard->count < most && status == ES_OK; e++) {
        es_expert_offer offer;
        if (!es_expert_store_has(shard->store, layer, e, 0)) continue;
        status = es_expert_store_find(shard->store, layer, e, whole, &offer, err);
        if (status != ES_OK || offer.chunks.count != whole.count) continue;
        status = es_expert_store_take(shard->store, layer, e, &offer, &shard->experts[shard->count], err);
        if (status == ES_OK) shard->count++;
    }
    return status;
}

static es_status open_shard(const char *path, size_t experts, es_bench_weights *w, es_arena *arena,
                            es_err *err)
{
    if (!es_expert_index_takes(path))
        return es_err_set(err, ES_INVALID, "%s: %s", path,
                          access(path, R_OK) == 0 ? "no shard" : strerror(errno));
    es_bench_shard *shard = w->shard = es_arena_take(arena, 1, sizeof *shard);
    if (shard == NULL) return no_memory(err);
    shard->experts = es_arena_take(arena, experts, sizeof *shard->experts);
    if (shard->experts == NULL) return no_memory(err);
    const es_expert_store_options options = {.paths = &path, .path_count = 1};
    es_status status = es_expert_store_open(&options, &shard->store, err);
    if (status != ES_OK) return status;
    const es_shape *s = es_expert_store_shape(shard->store);
    for (w->layer = 0; w->layer < s->layers && status == ES_OK; w->layer++) {
        status = take_layer(shard, w->layer, experts, err);
        if (shard->count > 0) break;
    }
    if (status == ES_OK && shard->count == 0)
        status = es_err_set(err, ES_INVALID, "%s: holds no expert whole", path);
    return status;
}

/* A matrix's panels again at *at, which moves behind them. An FP8 matrix's scales stay where they are. */
static es_status copy_matrix(const es_matrix *from, uint8_t **at, es_matrix *ret_matrix, es_err *err)
{
    size_t bytes;
    if (!es_panels_bytes(from->format, from->rows, from->cols, &bytes)) return no_memory(err);
    memcpy(*at, from->data, bytes);
    *ret_matrix = *from;
    ret_matrix->data = *at;
    *at += es_size_align(bytes, ES_PANEL_ALIGNMENT);
    return ES_OK;
}

/* Of an expert's three matrices, each beginning where panels may. */
static es_status panel_bytes(const es_ffn *ffn, size_t *ret_bytes, es_err *err)
{
    size_t bytes = 0, some;
    const es_matrix *matrices[] = {&ffn->gate, &ffn->up, &ffn->down};
    for (size_t i = 0; i < 3; i++) {
        if (!es_panels_bytes(matrices[i]->format, matrices[i]->rows, matrices[i]->cols, &some))
            return no_memory(err);
        bytes += es_size_align(some, ES_PANEL_ALIGNMENT);
    }
    *ret_bytes = bytes;
    return ES_OK;
}

es_status es_bench_map(const char *path, size_t experts, es_arena *arena, es_bench_weights *ret_weights,
                       es_err *err)
{
    es_bench_weights *w = ret_weights;
    *w = (es_bench_weights){0};
    es_status status = open_shard(path, experts, w, arena, err);
    if (status != ES_OK) return status;
    const es_bench_shard *shard = w->shard;
    w->count = shard->count;
    w->hidden = es_expert_store_shape(shard->store)->hidden;
    w->intermediate = es_expert_store_shape(shard->store)->expert_intermediate;
    es_ffn *ffns = es_arena_take(arena, w->count, sizeof *ffns);
    es_ffn *copies = es_arena_take(arena, w->count, sizeof *copies);
    if (ffns == NULL || copies == NULL) return no_memory(err);
    w->ffns = ffns;
    w->copies = copies;

    double warm = 0;
    for (size_t e = 0; e < w->count; e++) {
        ffns[e] = shard->experts[e].ffn;
        size_t bytes = 0;
        status = panel_bytes(&ffns[e], &bytes, err);
        if (status != ES_OK) return status;
        w->expert_bytes = es_size_max(w->expert_bytes, bytes);
        warm += es_pages_cached_share(ffns[e].gate.data, bytes);
    }
    w->warm_share = warm / (double)w->count;
    uint64_t start = es_clock_now_ns();
    for (size_t e = 0; e < w->count && status == ES_OK; e++)
        status = es_expert_store_read(&shard->experts[e], err);
    w->read_seconds = (double)(es_clock_now_ns() - start) * 1e-9;
    if (status == ES_OK) status = take_memory(w, err);
    for (size_t e = 0; e < w->count && status == ES_OK; e++) {
        uint8_t *at = w->memory + e * w->expert_bytes;
        status = copy_matrix(&ffns[e].gate, &at, &copies[e].gate, err);
        if (status == ES_OK) status = copy_matrix(&ffns[e].up, &at, &copies[e].up, err);
        if (status == ES_OK) status = copy_matrix(&ffns[e].down, &at, &copies[e].down, err);
    }
    return status;
}

void es_bench_weights_free(es_bench_weights *weights)
{
    es_bench_shard *shard = weights->shard;
    if (shard != NULL) {
        for (size_t i = 0; i < shard->count; i++) es_expert_store_give(shard->store, &shard->experts[i]);
        es_expert_store_close(&shard->store);
    }
    es_pages_give(weights->memory, weights->memory_bytes);
    *weights = (es_bench_weights){0};
}
