/* How fast this machine computes from the weights that it is to hold. */
#include "doctor/held.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/pages.h"
#include "base/size.h"
#include "doctor/measure.h"
#include "essaim/experts.h"
#include "essaim/panels.h"
#include "weights/shard_folder.h"
#include "yardstick/yardstick.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FFNS_MAX = 1024, FILES_MAX = 32, PASSES_MAX = 4096, ROUNDS_MAX = 64 };

static const uint64_t BYTES_MAX = 1000000000, READING_NS = 5000000000, ONE_ROW_NS = 600000000,
                      MANY_ROWS_NS = 300000000;

typedef struct held_ffn {
    es_ffn ffn;
    double bytes, weights;
} held_ffn;

typedef struct held {
    es_arena *arena;
    es_shards files[FILES_MAX];
    size_t file_count;
    held_ffn ffns[FFNS_MAX];
    size_t count, hidden, widest;
    double bytes, weights;
    es_expert_engine *engine;
    es_rows rows;
    uint32_t first[ES_HELD_ROWS + 1], expert[ES_HELD_ROWS];
    float weight[ES_HELD_ROWS];
    int64_t *sum;
    double took[PASSES_MAX], read[ROUNDS_MAX]; /* seconds a byte, or an operation */
} held;

static es_status no_memory(es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "memory to measure what is held");
}

static void add_ffn(held *h, const es_ffn *ffn)
{
    const es_matrix *matrices[] = {&ffn->gate, &ffn->up, &ffn->down};
    held_ffn one = {.ffn = *ffn};
    if (ffn->gate.data == NULL || h->count == FFNS_MAX || h->bytes > (double)BYTES_MAX) return;
    for (size_t i = 0; i < 3; i++) {
        size_t bytes;
        if (!es_panels_bytes(matrices[i]->format, matrices[i]->rows, matrices[i]->cols, &bytes)) return;
        one.bytes += (double)bytes;
        one.weights += (double)matrices[i]->rows * (double)matrices[i]->cols;
    }
    h->widest = es_size_max(h->widest, ffn->gate.rows);
    h->bytes += one.bytes;
    h->weights += one.weights;
    h->ffns[h->count++] = one;
}

static es_status add_file(held *h, const char *path, es_err *err)
{
    es_model model = {.layers = NULL};
    if (h->file_count == FILES_MAX || !es_shards_is_path(path)) return ES_OK;
    es_shards *file = &h->files[h->file_count++];
    es_status status = es_shards_open(path, false, false, h->arena, file, err);
    if (status != ES_OK) return status;
    bool backbone = file->shards[0].kind == ES_SHARD_COORDINATOR;
    const es_model_parts parts = {.backbone = backbone, .all_experts = !backbone};
    status = es_shards_bind(file, &parts, h->arena, &model, err);
    h->hidden = model.shape.hidden;
    for (size_t l = 0; status == ES_OK && l < model.shape.layers; l++) {
        const es_layer *layer = &model.layers[l];
        add_ffn(h, &layer->ffn);
        for (size_t e = 0; layer->experts != NULL && e < model.shape.experts; e++)
            add_ffn(h, &layer->experts[e]);
    }
    return status;
}

static es_status add_path(held *h, const char *path, es_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) return add_file(h, path, err);
    es_status status = ES_OK;
    DIR *folder = opendir(path);
    for (const struct dirent *item; folder != NULL && status == ES_OK && (item = readdir(folder)) != NULL;) {
        char file[PATH_MAX];
        size_t length = strlen(item->d_name), ending = strlen(".shard");
        if (length <= ending || strcmp(item->d_name + length - ending, ".shard") != 0) continue;
        status = es_file_join(file, sizeof file, path, item->d_name, err);
        if (status == ES_OK) status = add_file(h, file, err);
    }
    if (folder != NULL) closedir(folder);
    return status;
}

static es_status make_engine(held *h, const es_kernels *kernels, es_pool *pool, es_err *err)
{
    const es_expert_engine_options options = {.kernels = kernels,
                                              .pool = pool,
                                              .row_format = ES_ROWS_Q8,
                                              .hidden = h->hidden,
                                              .intermediate_max = h->widest,
                                              .rows_max = ES_HELD_ROWS,
                                              .pairs_per_row_max = 1};
    size_t row_bytes = es_rows_row_bytes(ES_ROWS_Q8, h->hidden), padded = es_size_align(h->hidden, 4);
    float *x = es_arena_take(h->arena, h->hidden, sizeof *x);
    h->rows = (es_rows){ES_ROWS_Q8, ES_HELD_ROWS, h->hidden, row_bytes, NULL, NULL};
    h->rows.data = es_arena_take(h->arena, ES_HELD_ROWS, row_bytes);
    h->sum = es_arena_take(h->arena, ES_HELD_ROWS * h->hidden, sizeof *h->sum);
    if (x == NULL || h->rows.data == NULL || h->sum == NULL) return no_memory(err);
    for (size_t r = 0; r < ES_HELD_ROWS; r++) {
        uint8_t *row = h->rows.data + r * row_bytes;
        for (size_t i = 0; i < h->hidden; i++) x[i] = (float)((i * 37 + r * 11) % 101) / 101 - 0.5f;
        kernels->quantise(x, h->hidden, (int8_t *)row, (float *)(void *)(row + padded));
        h->first[r + 1] = (uint32_t)(r + 1);
        h->weight[r] = 1;
    }
    return es_expert_engine_create(&options, &h->engine, err);
}

static es_status run(held *h, size_t ffn, size_t rows, double *ret_s, es_err *err)
{
    h->rows.count = rows;
    h->rows.blocks = NULL;
    memset(h->sum, 0, rows * h->hidden * sizeof *h->sum);
    const es_expert_batch batch = {&h->rows, h->first, h->expert, h->weight};
    uint64_t start_ns = es_clock_now_ns();
    es_status status = es_expert_engine_run(h->engine, &h->ffns[ffn].ffn, 1, &batch, h->sum, err);
    *ret_s = (double)(es_clock_now_ns() - start_ns) * 1e-9;
    return status;
}

/* The first pass brings pages; what it does not come to is not measured. */
static es_status bring(held *h, es_err *err)
{
    es_status status = ES_OK;
    uint64_t until_ns = es_clock_now_ns() + READING_NS;
    double unused;
    size_t n = 0;
    while (n < h->count && status == ES_OK && (n == 0 || es_clock_now_ns() < until_ns))
        status = run(h, n++, 1, &unused, err);
    h->count = n;
    return status;
}

/* Rounds over all of them with one row, each after reads of other memory: what they do a second. */
static es_status measure_one(held *h, const es_kernels *kernels, es_pool *pool, es_held_speed *ret_speed,
                             es_err *err)
{
    size_t others = es_yardstick_bytes(), rounds = 0, n = 0;
    uint8_t *other = es_pages_take(others);
    es_status status = other == NULL ? no_memory(err) : ES_OK;
    if (other != NULL) memset(other, 0x55, others);
    uint64_t until_ns = es_clock_now_ns() + ONE_ROW_NS;
    for (; status == ES_OK && rounds < ROUNDS_MAX && (rounds == 0 || es_clock_now_ns() < until_ns);
         rounds++) {
        h->read[rounds] = es_yardstick_read_s(kernels, pool, other, others) / (double)others;
        for (size_t i = 0; i < h->count && n < PASSES_MAX && status == ES_OK; i++, n++) {
            double took_s;
            status = run(h, i, 1, &took_s, err);
            h->took[n] = took_s / h->ffns[i].bytes;
        }
    }
    if (other != NULL) es_pages_give(other, others);
    if (status != ES_OK) return status;
    ret_speed->bytes_per_s = 1 / es_doctor_median(h->took, n);
    ret_speed->read_bytes_per_s = 1 / es_doctor_median(h->read, rounds);
    return ES_OK;
}

/* The same of many rows that meet at one of them: its weights come once, wherever from. */
static es_status measure_many(held *h, double *ret_ops_per_s, es_err *err)
{
    es_status status = ES_OK;
    uint64_t until_ns = es_clock_now_ns() + MANY_ROWS_NS;
    size_t n = 0;
    for (; n < PASSES_MAX && status == ES_OK && (n == 0 || es_clock_now_ns() < until_ns); n++) {
        double took_s;
        status = run(h, n % h->count, ES_HELD_ROWS, &took_s, err);
        h->took[n] = took_s / (2 * h->ffns[n % h->count].weights * ES_HELD_ROWS);
    }
    if (status == ES_OK) *ret_ops_per_s = 1 / es_doctor_median(h->took, n);
    return status;
}

es_status es_held_measure(const char *const *paths, size_t count, const es_kernels *kernels, es_pool *pool,
                          es_held_speed *ret_speed, es_err *err)
{
    *ret_speed = (es_held_speed){0};
    held *h = calloc(1, sizeof *h);
    if (h == NULL) return no_memory(err);
    h->arena = es_arena_create();
    es_status status = h->arena == NULL ? no_memory(err) : ES_OK;
    for (size_t i = 0; i < count && status == ES_OK; i++) status = add_path(h, paths[i], err);
    if (status == ES_OK && h->count > 0) {
        status = make_engine(h, kernels, pool, err);
        if (status == ES_OK) status = bring(h, err);
        if (status == ES_OK) status = measure_one(h, kernels, pool, ret_speed, err);
        if (status == ES_OK) status = measure_many(h, &ret_speed->ops_per_s, err);
        ret_speed->format = h->ffns[0].ffn.gate.format;
        ret_speed->bytes_per_weight = h->bytes / h->weights;
    }
    es_expert_engine_destroy(&h->engine);
    for (size_t i = 0; i < h->file_count; i++) es_shards_close(&h->files[i]);
    es_arena_destroy(&h->arena);
    free(h);
    return status;
}
