/* The experts that a machine has on its disks. */
#include "weights/expert_store.h"

#include "base/pages.h"
#include "base/size.h"
#include "essaim/panels.h"
#include "weights/bind.h"
#include "weights/check.h"
#include "weights/chunks.h"
#include "weights/expert_index.h"
#include "weights/fingerprint.h"
#include "weights/shard_folder.h"
#include "weights/source.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = ES_SHARD_PAGE_BYTES, READ_BYTES = 4 << 20 };

struct es_expert_store {
    es_expert_store_options options;
    es_shape shape;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    es_expert_index *index; /* shards; NULL: a checkpoint */

    es_checkpoint *checkpoint;
    es_arena *layer_arena; /* a layer's experts in file rows: the last one that was asked for */
    size_t layer;
    const es_ffn *rows; /* [experts] of that layer; NULL: none yet */
};

static es_status open_checkpoint(es_expert_store *store, const char *path, es_err *err)
{
    es_status status = es_source_open(path, &store->shape, &store->checkpoint, err);
    if (status == ES_OK) es_fingerprint(&store->shape, store->checkpoint, store->fingerprint);
    return status;
}

es_status es_expert_store_open(const es_expert_store_options *options, es_expert_store **ret_store,
                               es_err *err)
{
    *ret_store = NULL;
    ES_ASSERT(options->path_count > 0);
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    es_expert_store *store = calloc(1, sizeof *store);
    if (store == NULL) return es_err_set(err, ES_NO_MEMORY, "store of experts");
    store->options = *options;
    const char *first = options->paths[0];
    es_status status;
    if (es_expert_index_takes(first))
        status = es_expert_index_open(options->paths, options->path_count, &store->index, err);
    else if (options->path_count > 1)
        status = es_err_set(err, ES_INVALID, "%s: no shard: several paths are several shards", first);
    else
        status = open_checkpoint(store, first, err);
    if (status == ES_OK && store->index != NULL) {
        store->shape = *es_expert_index_shape(store->index);
        memcpy(store->fingerprint, es_expert_index_fingerprint(store->index), sizeof store->fingerprint);
    }
    store->options.paths = NULL;
    if (status != ES_OK)
        es_expert_store_close(&store);
    else
        *ret_store = store;
    return status;
}

es_status es_expert_store_add(es_expert_store *store, const char *path, es_err *err)
{
    if (store->index == NULL) return es_err_set(err, ES_INVALID, "%s: no shards are used here", path);
    return es_expert_index_add(store->index, path, err);
}

void es_expert_store_close(es_expert_store **store_at)
{
    es_expert_store *store = *store_at;
    if (store == NULL) return;
    *store_at = NULL;
    es_expert_index_close(&store->index);
    es_checkpoint_close(&store->checkpoint);
    es_arena_destroy(&store->layer_arena);
    free(store);
}

const es_shape *es_expert_store_shape(const es_expert_store *store)
{
    return &store->shape;
}

const uint8_t *es_expert_store_fingerprint(const es_expert_store *store)
{
    return store->fingerprint;
}

/* Layer, expert and chunks are of this model. */
static bool fits(const es_shape *s, size_t layer, size_t expert, es_chunks chunks)
{
    return layer < s->layers && es_shape_layer_is_moe(s, layer) && expert < s->experts && chunks.count > 0 &&
           (size_t)chunks.first + chunks.count <= es_chunks_of(s->expert_intermediate);
}

bool es_expert_store_has(const es_expert_store *store, size_t layer, size_t expert, uint32_t chunk)
{
    es_expert_offer offer;
    const es_chunks one = {chunk, 1};
    return fits(&store->shape, layer, expert, one) &&
           (store->index == NULL ||
            es_expert_index_find(store->index, layer, expert, one, &offer, NULL) == ES_OK);
}

/* Binds a layer's experts in file rows; those of the layer before are forgotten. */
static es_status enter_layer(es_expert_store *store, size_t layer, es_err *err)
{
    if (store->rows != NULL && store->layer == layer) return ES_OK;
    store->rows = NULL;
    es_arena_destroy(&store->layer_arena);
    es_checkpoint_forget(store->checkpoint);
    store->layer_arena = es_arena_create();
    if (store->layer_arena == NULL) return es_err_set(err, ES_NO_MEMORY, "layer %zu", layer);
    es_layer bound = {.is_moe = true};
    es_status status =
        es_bind_experts_rows(store->checkpoint, &store->shape, layer, store->layer_arena, &bound, err);
    if (status != ES_OK) return status;
    store->rows = bound.experts;
    store->layer = layer;
    return ES_OK;
}

static es_shard_part part_of(const es_matrix *from)
{
    return (es_shard_part){.format = from->format,
                           .layout = ES_LAYOUT_PANELS,
                           .rows = from->rows,
                           .cols = from->cols,
                           .row_phase = from->format == ES_FORMAT_FP8 ? from->row_phase : 0,
                           .col_phase = from->format == ES_FORMAT_FP8 ? from->col_phase : 0};
}

/* An expert's three matrices laid out as a shard has them: one order of bytes for both kinds of store. */
static es_status lay_out(const es_ffn *from, es_shard_part parts[3], es_shard_unit *ret_unit, es_err *err)
{
    parts[0] = part_of(&from->gate);
    parts[1] = part_of(&from->up);
    parts[2] = part_of(&from->down);
    *ret_unit = (es_shard_unit){.name = "expert", .parts = parts, .part_count = 3};
    return es_shard_lay_out(ret_unit) ? ES_OK
                                      : es_err_set(err, ES_UNSUPPORTED, "larger than this machine can name");
}

es_status es_expert_store_find(es_expert_store *store, size_t layer, size_t expert, es_chunks chunks,
                               es_expert_offer *ret_offer, es_err *err)
{
    if (!fits(&store->shape, layer, expert, chunks))
        return es_err_set(err, ES_INVALID, "layer %zu: expert %zu: chunks %u to %u: not of this model", layer,
                          expert, chunks.first, chunks.first + chunks.count - 1);
    if (store->index != NULL)
        return es_expert_index_find(store->index, layer, expert, chunks, ret_offer, err);
    es_shard_part parts[3];
    es_shard_unit unit;
    es_status status = enter_layer(store, layer, err);
    if (status != ES_OK) return status;
    const es_ffn from = es_ffn_chunks(&store->rows[expert], 0, chunks);
    status = lay_out(&from, parts, &unit, err);
    *ret_offer = (es_expert_offer){.chunks = chunks, .bytes = unit.bytes};
    return status;
}

/* Names the tensor whose block at `at` is bad. */
static es_status not_finite(const es_expert_store *store, const uint8_t *at, es_err *err)
{
    for (size_t i = 0; i < es_checkpoint_count(store->checkpoint); i++) {
        const es_tensor *tensor = es_checkpoint_at(store->checkpoint, i);
        uintptr_t offset = (uintptr_t)at - (uintptr_t)tensor->data;
        if ((uintptr_t)at < (uintptr_t)tensor->data || offset >= tensor->bytes) continue;
        const es_format_info *info = es_format_describe(es_dtype_format(tensor->dtype));
        size_t element = offset / info->block_bytes * info->block_cols,
               cols = tensor->shape[tensor->dims - 1];
        return es_err_set(err, ES_NUMERIC, "%s: %s: [%zu, %zu] %sis NaN or infinite", tensor->file,
                          tensor->name, element / cols, element % cols,
                          info->block_cols > 1 ? "begins a block whose scale " : "");
    }
    return es_err_set(err, ES_NUMERIC, "a weight is NaN or infinite");
}

/* Rows are checked before they are converted: a NaN never gets into memory. */
static es_status check_rows(const es_expert_store *store, const es_matrix *w, es_err *err)
{
    const es_format_info *info = es_format_describe(w->format);
    size_t blocks = w->cols / info->block_cols;
    for (size_t r = 0; r < w->rows; r++) {
        const uint8_t *row = w->data + r * w->row_bytes;
        size_t bad = es_check_finite((es_dtype)(w->format + 1), row, blocks);
        if (bad < blocks) return not_finite(store, row + bad * info->block_bytes, err);
    }
    return ES_OK;
}

static es_status convert(const es_expert_store *store, const es_matrix *from, const es_shard_part *part,
                         uint8_t *to, es_err *err)
{
    es_status status = check_rows(store, from, err);
    if (status != ES_OK) return status;
    es_panels_fill(from, 0, es_size_ceil_div(from->rows, ES_PANEL_ROWS), to + part->at);
    if (from->format != ES_FORMAT_FP8) return ES_OK;
    size_t row_bytes = es_shard_scale_cols(part) * sizeof(float);
    for (size_t r = 0; r < es_shard_scale_rows(part); r++)
        memcpy(to + part->scales_at + r * row_bytes, from->scales + r * from->scale_stride, row_bytes);
    return ES_OK;
}

static es_status no_memory(uint64_t bytes, es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "%.1f MB: %s", (double)bytes * 1e-6, strerror(errno));
}

static es_status take_converted(es_expert_store *store, es_stored_expert *to, es_err *err)
{
    es_shard_part parts[3];
    es_shard_unit unit;
    es_status status = enter_layer(store, to->layer, err);
    if (status != ES_OK) return status;
    const es_ffn from = es_ffn_chunks(&store->rows[to->expert], 0, to->offer.chunks);
    status = lay_out(&from, parts, &unit, err);
    if (status != ES_OK) return status;
    to->page_bytes = (size_t)unit.bytes;
    to->pages = es_pages_take(to->page_bytes);
    if (to->pages == NULL) return no_memory(unit.bytes, err);
    status = convert(store, &from.gate, &parts[0], to->pages, err);
    if (status == ES_OK) status = convert(store, &from.up, &parts[1], to->pages, err);
    if (status == ES_OK) status = convert(store, &from.down, &parts[2], to->pages, err);
    if (status == ES_OK) to->ffn = es_shard_unit_ffn(&unit, to->pages);
    return status;
}

/* Reads pages in, a step at a time: the kernel's lock on the address space is not held for long. */
static es_status read_in(const uint8_t *at, size_t bytes, es_err *err)
{
    uintptr_t first = (uintptr_t)at / PAGE * PAGE, end = es_size_align((uintptr_t)at + bytes, PAGE);
    for (; first < end; first += READ_BYTES) {
        size_t some = es_size_min(end - first, READ_BYTES);
        if (madvise((void *)first, some, MADV_POPULATE_READ) == 0) continue;
        if (errno != EINVAL) return es_err_set(err, ES_IO, "reading its pages: %s", strerror(errno));
        for (size_t p = 0; p < some; p += PAGE)
            (void)*(const volatile uint8_t *)(first + p); /* an older kernel */
    }
    return ES_OK;
}

/* The bytes of some columns' panels lie apart. */
static es_status read_in_matrix(const es_matrix *w, bool whole_panels, es_err *err)
{
    size_t panels = es_size_ceil_div(w->rows, ES_PANEL_ROWS), bytes = w->row_bytes;
    if (whole_panels) return read_in(w->data, panels * bytes, err);
    bool fits = es_panels_bytes(w->format, ES_PANEL_ROWS, w->cols, &bytes);
    ES_ASSERT(fits);
    es_status status = ES_OK;
    for (size_t p = 0; p < panels && status == ES_OK; p++)
        status = read_in(w->data + p * w->row_bytes, bytes, err);
    return status;
}

static es_status lock_pages(const uint8_t *at, size_t bytes, es_err *err)
{
    if (mlock(at, bytes) == 0) return ES_OK;
    return es_err_set(err, ES_NO_MEMORY, "--lock-memory: %s (see ulimit -l)", strerror(errno));
}

static es_status take_mapped(es_expert_store *store, es_stored_expert *to, es_err *err)
{
    es_index_unit unit = es_expert_index_unit(store->index, to->offer.entry);
    const uint8_t *data = unit.data;
    es_status status = ES_OK;
    if (store->options.huge_pages) {
        to->page_bytes = (size_t)unit.unit->bytes;
        to->pages = es_pages_take(to->page_bytes);
        if (to->pages == NULL) return no_memory(unit.unit->bytes, err);
        status = read_in(data, to->page_bytes, err);
        if (status == ES_OK) memcpy(to->pages, data, to->page_bytes);
        madvise((void *)(uintptr_t)data, to->page_bytes, MADV_DONTNEED);
        data = to->pages;
    }
    const es_ffn held = es_shard_unit_ffn(unit.unit, data);
    to->ffn = es_ffn_chunks(&held, unit.chunks.first, to->offer.chunks);
    if (store->options.huge_pages) return status;
    if (store->options.lock_memory) return lock_pages(data, (size_t)unit.unit->bytes, err);
    to->lazy = true;
    to->panels_are_cut = to->offer.chunks.count != unit.chunks.count;
    return status;
}

es_status es_expert_store_read(const es_stored_expert *expert, es_err *err)
{
    if (!expert->lazy) return ES_OK;
    const es_ffn *ffn = &expert->ffn;
    es_status status = read_in_matrix(&ffn->gate, true, err);
    if (status == ES_OK) status = read_in_matrix(&ffn->up, true, err);
    if (status == ES_OK) status = read_in_matrix(&ffn->down, !expert->panels_are_cut, err);
    if (status != ES_OK) es_err_prefix(err, "layer %zu: expert %zu", expert->layer, expert->expert);
    return status;
}

es_status es_expert_store_take(es_expert_store *store, size_t layer, size_t expert,
                               const es_expert_offer *offer, es_stored_expert *ret_expert, es_err *err)
{
    *ret_expert = (es_stored_expert){.layer = layer, .expert = expert, .offer = *offer};
    es_status status =
        store->index != NULL ? take_mapped(store, ret_expert, err) : take_converted(store, ret_expert, err);
    if (status == ES_OK && ret_expert->pages != NULL && store->options.lock_memory)
        status = lock_pages(ret_expert->pages, ret_expert->page_bytes, err);
    if (status == ES_OK) return ES_OK;
    es_err_prefix(err, "layer %zu: expert %zu", layer, expert);
    es_expert_store_give(store, ret_expert);
    return status;
}

es_status es_expert_store_verify(es_expert_store *store, const es_stored_expert *expert, es_err *err)
{
    return store->index == NULL
               ? ES_OK
               : es_expert_index_verify(store->index, expert->offer.entry, expert->pages, err);
}

void es_expert_store_give(es_expert_store *store, es_stored_expert *expert)
{
    if (expert->pages != NULL) {
        es_pages_give(expert->pages, expert->page_bytes);
    } else if (store->index != NULL) {
        es_index_unit unit = es_expert_index_unit(store->index, expert->offer.entry);
        void *data = (void *)(uintptr_t)unit.data;
        size_t bytes = es_size_align((size_t)unit.unit->bytes, PAGE);
        if (store->options.lock_memory) munlock(data, bytes);
        madvise(data, bytes, MADV_DONTNEED);
    }
    *expert = (es_stored_expert){0};
}
