/* Opening a model: shape, files, fields, values, fingerprint, in this order, so that cheap errors come before
 * long reads. */
#include "essaim/model.h"

#include "base/size.h"
#include "essaim/quant.h"
#include "weights/bind.h"
#include "weights/check.h"
#include "weights/fingerprint.h"
#include "weights/shard_folder.h"
#include "weights/source.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "weights are used as files hold them: little-endian");

enum { PROGRESS_BYTES = 64 << 20 };

struct es_model_storage {
    es_arena *arena;           /* the model, this struct, and all that was not mapped */
    es_checkpoint *checkpoint; /* or shards */
    es_shards shards;
};

/* Disks like their files read in order. Tensors of one file share its path's address. */
static int by_place(const void *a, const void *b)
{
    const es_bound_piece *p = a, *q = b;
    const es_tensor *x = p->tensor, *y = q->tensor;
    if (x == y) return (p->first > q->first) - (p->first < q->first);
    uintptr_t x_at = (uintptr_t)x->data, y_at = (uintptr_t)y->data;
    int file = x->file == y->file ? 0 : strcmp(x->file, y->file);
    return file != 0 ? file : (x_at > y_at) - (x_at < y_at);
}

typedef struct progress {
    es_progress_fn *fn;
    void *context;
    uint64_t done, told, total;
    bool (*stop_asked)(void);
} progress;

static void tell(progress *p, uint64_t more)
{
    p->done += more;
    if (p->fn == NULL || (p->done - p->told < PROGRESS_BYTES && p->done != p->total)) return;
    p->told = p->done;
    p->fn(p->context, p->done, p->total);
}

/* element is the first of its block, where the type has blocks. */
static es_status not_finite(const es_tensor *tensor, size_t element, es_err *err)
{
    size_t cols = tensor->dims > 0 ? tensor->shape[tensor->dims - 1] : 1;
    const char *what = es_format_is_quant(es_dtype_format(tensor->dtype)) ? "begins a block whose scale" : "";
    const char *space = *what != '\0' ? " " : "";
    if (tensor->dims < 2)
        return es_err_set(err, ES_NUMERIC, "%s: %s: [%zu]%s%s is NaN or infinite", tensor->file, tensor->name,
                          element, space, what);
    return es_err_set(err, ES_NUMERIC, "%s: %s: [%zu, %zu]%s%s is NaN or infinite", tensor->file,
                      tensor->name, element / cols, element % cols, space, what);
}

static es_status check_piece(const es_bound_piece *piece, progress *p, es_err *err)
{
    const es_tensor *tensor = piece->tensor;
    const es_format_info *info = es_format_describe(es_dtype_format(tensor->dtype));
    const uint8_t *data = tensor->data + piece->first * info->block_bytes;
    size_t at_once = PROGRESS_BYTES / info->block_bytes;
    for (size_t at = 0; at < piece->count; at += at_once) {
        size_t some = es_size_min(piece->count - at, at_once);
        size_t bad = es_check_finite(tensor->dtype, data + at * info->block_bytes, some);
        if (bad < some) return not_finite(tensor, (piece->first + at + bad) * info->block_cols, err);
        tell(p, some * info->block_bytes);
        if (p->stop_asked != NULL && p->stop_asked())
            return es_err_set(err, ES_CANCELLED, "stopped while the model was being loaded");
    }
    return ES_OK;
}

static es_status check_values(es_bound *bound, progress *p, es_err *err)
{
    if (bound->count > 1) qsort(bound->pieces, bound->count, sizeof *bound->pieces, by_place);
    for (size_t i = 0; i < bound->count; i++) {
        const es_format_info *info = es_format_describe(es_dtype_format(bound->pieces[i].tensor->dtype));
        p->total += bound->pieces[i].count * info->block_bytes;
    }
    es_status status = ES_OK;
    for (size_t i = 0; i < bound->count && status == ES_OK; i++)
        status = check_piece(&bound->pieces[i], p, err);
    return status;
}

static es_status open_checkpoint(const char *path, const es_model_parts *parts, progress *p, es_model *model,
                                 es_err *err)
{
    struct es_model_storage *storage = model->storage;
    es_bound bound;
    es_status status = es_source_open(path, &model->shape, &storage->checkpoint, err);
    if (status == ES_OK) status = es_bind(storage->checkpoint, parts, storage->arena, model, &bound, err);
    if (status == ES_OK) status = check_values(&bound, p, err);
    if (status == ES_OK) es_fingerprint(&model->shape, storage->checkpoint, model->fingerprint);
    return status;
}

/* Values were checked when the shards were cut. */
static es_status open_shards(const char *path, const es_model_parts *parts, es_model *model, es_err *err)
{
    struct es_model_storage *storage = model->storage;
    bool experts = parts->all_experts || parts->experts != NULL;
    es_status status =
        es_shards_open(path, experts, parts->huge_pages, storage->arena, &storage->shards, err);
    return status == ES_OK ? es_shards_bind(&storage->shards, parts, storage->arena, model, err) : status;
}

es_status es_model_open(const char *path, const es_model_parts *parts, es_progress_fn *progress_fn,
                        void *context, es_model **ret_model, es_err *err)
{
    *ret_model = NULL;
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    es_arena *arena = es_arena_create();
    es_model *model = arena == NULL ? NULL : es_arena_take(arena, 1, sizeof *model);
    struct es_model_storage *storage = model == NULL ? NULL : es_arena_take(arena, 1, sizeof *storage);
    if (storage == NULL) {
        es_arena_destroy(&arena);
        return es_err_set(err, ES_NO_MEMORY, "%s: model", path);
    }
    storage->arena = arena;
    model->storage = storage;
    progress p = {.fn = progress_fn, .context = context, .stop_asked = parts->stop_asked};
    es_status status = es_shards_is_path(path) ? open_shards(path, parts, model, err)
                                               : open_checkpoint(path, parts, &p, model, err);
    if (status != ES_OK)
        es_model_close(&model);
    else
        *ret_model = model;
    return status;
}

void es_model_close(es_model **model)
{
    if (*model == NULL) return;
    struct es_model_storage *storage = (*model)->storage;
    *model = NULL;
    es_checkpoint_close(&storage->checkpoint);
    es_shards_close(&storage->shards);
    es_arena *arena = storage->arena; /* model and storage live in it */
    es_arena_destroy(&arena);
}
