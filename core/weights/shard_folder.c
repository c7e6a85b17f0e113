/* Shards on disk: a folder of them as one model, or a single file. */
#include "weights/shard_folder.h"

#include "base/size.h"
#include "weights/gguf_files.h"
#include "weights/shape.h"
#include "weights/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HUGE_BYTES = 2 << 20, VERIFY_BYTES = 32 << 20 };

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool es_shards_is_path(const char *path)
{
    char file[PATH_MAX];
    uint8_t first[16];
    if (is_folder(path)) {
        char name[ES_FIELD_NAME_BYTES];
        es_shard_file_name(ES_SHARD_COORDINATOR, 0, 0, name);
        return es_file_join(file, sizeof file, path, name, NULL) == ES_OK && access(file, F_OK) == 0;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t got = read(fd, first, sizeof first);
    close(fd);
    return got > 0 && es_shard_is_header(first, (size_t)got);
}

static es_status no_memory(const char *path, es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "%s: shards", path);
}

/* Puts a copy in memory in the map's place. */
static es_status copy_to_huge_pages(const char *path, es_file_map *map, es_err *err)
{
    size_t bytes = es_size_align(map->bytes, HUGE_BYTES) + HUGE_BYTES;
    uint8_t *all =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return es_err_set(err, ES_NO_MEMORY, "%s: %zu bytes in huge pages: %s", path, bytes, strerror(errno));
    size_t skip = (HUGE_BYTES - (uintptr_t)all % HUGE_BYTES) % HUGE_BYTES;
    size_t kept = es_size_align(map->bytes, ES_SHARD_PAGE_BYTES);
    if (skip > 0) munmap(all, skip);
    munmap(all + skip + kept, bytes - skip - kept);
    madvise(all + skip, kept, MADV_HUGEPAGE); /* where the system has none, small pages do the same */
    for (size_t at = 0; at < map->bytes; at += VERIFY_BYTES)
        memcpy(all + skip + at, map->data + at, es_size_min(map->bytes - at, VERIFY_BYTES));
    size_t file_bytes = map->bytes;
    es_file_map_close(map);
    mprotect(all + skip, kept, PROT_READ);
    *map = (es_file_map){all + skip, file_bytes};
    return ES_OK;
}

static es_status open_one(const char *path, bool huge_pages, es_arena *arena, es_shards *to, es_err *err)
{
    size_t i = to->count;
    to->paths[i] = es_arena_copy_text(arena, path);
    if (to->paths[i] == NULL) return no_memory(path, err);
    es_status status = es_file_map_open(path, &to->maps[i], err);
    if (status != ES_OK) return status;
    to->count++;
    status = es_shard_parse(to->paths[i], to->maps[i].data, to->maps[i].bytes, arena, &to->shards[i], err);
    return status == ES_OK && huge_pages ? copy_to_huge_pages(path, &to->maps[i], err) : status;
}

static es_status make_lists(const char *path, size_t count, es_arena *arena, es_shards *to, es_err *err)
{
    *to = (es_shards){.shards = es_arena_take(arena, count, sizeof *to->shards),
                      .maps = es_arena_take(arena, count, sizeof *to->maps),
                      .paths = es_arena_take(arena, count, sizeof *to->paths)};
    return to->shards == NULL || to->maps == NULL || to->paths == NULL ? no_memory(path, err) : ES_OK;
}

/* One that has to stand in its place, and belong to the first. */
static es_status open_in_folder(const char *dir, es_shard_kind kind, size_t index, size_t count,
                                bool huge_pages, es_arena *arena, es_shards *to, es_err *err)
{
    char path[PATH_MAX], name[ES_FIELD_NAME_BYTES];
    es_shard_file_name(kind, index, count, name);
    es_status status = es_file_join(path, sizeof path, dir, name, err);
    if (status == ES_OK) status = open_one(path, huge_pages, arena, to, err);
    if (status != ES_OK) return status;
    const es_shard *first = &to->shards[0], *shard = &to->shards[to->count - 1];
    if (shard->kind != kind || shard->index != index || shard->count != first->count)
        return es_err_set(err, ES_CORRUPT, "%s: header: it is another shard than its name says", path);
    if (memcmp(shard->fingerprint, first->fingerprint, sizeof shard->fingerprint) != 0)
        return es_err_set(err, ES_MISMATCH, "%s: of another model than %s", path, to->paths[0]);
    return ES_OK;
}

es_status es_shards_open(const char *path, bool experts, bool huge_pages, es_arena *arena,
                         es_shards *ret_shards, es_err *err)
{
    *ret_shards = (es_shards){0};
    if (sodium_init() < 0) return es_err_set(err, ES_UNSUPPORTED, "libsodium does not start on this machine");
    es_status status = make_lists(path, 1 + ES_SHARDS_MAX, arena, ret_shards, err);
    if (status != ES_OK) return status;
    if (!is_folder(path)) return open_one(path, huge_pages, arena, ret_shards, err);
    status = open_in_folder(path, ES_SHARD_COORDINATOR, 0, 0, huge_pages, arena, ret_shards, err);
    size_t count = status == ES_OK && experts ? ret_shards->shards[0].count : 0;
    for (size_t i = 0; i < count && status == ES_OK; i++)
        status = open_in_folder(path, ES_SHARD_EXPERTS, i, count, huge_pages, arena, ret_shards, err);
    return status;
}

void es_shards_close(es_shards *shards)
{
    for (size_t i = 0; i < shards->count; i++) es_file_map_close(&shards->maps[i]);
    *shards = (es_shards){0};
}

static es_status check_held(const es_shards *shards, const es_model_parts *parts, const es_model *model,
                            es_err *err)
{
    const es_shape *s = &model->shape;
    bool single = shards->shards[0].kind == ES_SHARD_EXPERTS;
    for (size_t l = 0; l < s->layers; l++)
        for (size_t e = 0; model->layers[l].is_moe && e < s->experts; e++) {
            bool wanted = parts->experts != NULL ? parts->experts[l * s->experts + e] != 0
                                                 : parts->all_experts && !single;
            const es_ffn *held = model->layers[l].experts;
            if (wanted && (held == NULL || held[e].gate.data == NULL))
                return es_err_set(err, ES_NOT_FOUND, "%s: layer %zu: expert %zu: in no shard",
                                  shards->paths[0], l, e);
        }
    return ES_OK;
}

es_status es_shards_bind(const es_shards *shards, const es_model_parts *parts, es_arena *arena,
                         es_model *model, es_err *err)
{
    const es_shard *first = &shards->shards[0];
    model->shape = first->shape;
    memcpy(model->fingerprint, first->fingerprint, sizeof model->fingerprint);
    if (parts->backbone && first->kind != ES_SHARD_COORDINATOR)
        return es_err_set(err, ES_INVALID,
                          "%s: a shard of experts: the coordinator's is needed, or the folder",
                          shards->paths[0]);
    model->layers = es_arena_take(arena, model->shape.layers, sizeof *model->layers);
    if (model->layers == NULL) return no_memory(shards->paths[0], err);
    for (size_t l = 0; l < model->shape.layers; l++)
        model->layers[l].is_moe = es_shape_layer_is_moe(&model->shape, l);
    es_status status = ES_OK;
    for (size_t i = 0; i < shards->count && status == ES_OK; i++) {
        bool backbone = shards->shards[i].kind == ES_SHARD_COORDINATOR;
        if (backbone ? !parts->backbone : !parts->all_experts && parts->experts == NULL) continue;
        const uint8_t *wanted = parts->all_experts ? NULL : parts->experts;
        status = es_shard_bind(&shards->shards[i], shards->paths[i], shards->maps[i].data, wanted, arena,
                               model, err);
    }
    model->has_backbone = status == ES_OK && parts->backbone;
    return status == ES_OK ? check_held(shards, parts, model, err) : status;
}

static bool unit_is_right(const es_shard_unit *unit, const uint8_t *file)
{
    uint8_t is[ES_SHARD_SUM_BYTES];
    crypto_generichash(is, sizeof is, file + unit->offset, unit->bytes, NULL, 0);
    return memcmp(is, unit->sum, sizeof is) == 0;
}

es_status es_shards_verify(const es_shards *shards, es_progress_fn *progress, void *context, es_err *err)
{
    uint64_t total = 0, done = 0, read = 0;
    for (size_t i = 0; i < shards->count; i++) total += shards->shards[i].data_bytes;
    for (size_t i = 0; i < shards->count; i++)
        for (size_t u = 0; u < shards->shards[i].unit_count; u++) {
            const es_shard_unit *unit = &shards->shards[i].units[u];
            if (!unit_is_right(unit, shards->maps[i].data))
                return es_err_set(err, ES_CORRUPT, "%s: %s: its checksum does not match", shards->paths[i],
                                  unit->name);
            done += unit->bytes;
            read += unit->bytes;
            if (read > VERIFY_BYTES) {
                es_file_map_forget(&shards->maps[i]);
                read = 0;
            }
            if (progress != NULL) progress(context, done, total);
        }
    return ES_OK;
}

static es_part part_of(const char *name)
{
    static const struct {
        const char *ending;
        es_part part;
    } ENDINGS[] = {{"embedding", ES_PART_EMBEDDING},
                   {"head", ES_PART_HEAD},
                   {"norm", ES_PART_NORMS},
                   {"router", ES_PART_ROUTER},
                   {"router_bias", ES_PART_ROUTER}};
    size_t bytes = strlen(name);
    for (size_t i = 0; i < sizeof ENDINGS / sizeof ENDINGS[0]; i++) {
        size_t ending = strlen(ENDINGS[i].ending);
        if (bytes >= ending && strcmp(name + bytes - ending, ENDINGS[i].ending) == 0) return ENDINGS[i].part;
    }
    return ES_PART_ATTENTION;
}

static es_part part_of_unit(const es_shape *shape, const char *name)
{
    static const char *const FFN[] = {"gate", "up", "down"};
    es_shard_expert expert;
    unsigned l;
    char field[ES_FIELD_NAME_BYTES];
    if (es_shard_parse_expert(name, &expert)) return ES_PART_ROUTED_EXPERTS;
    if (sscanf(name, "layers.%5u.%40s", &l, field) != 2) return part_of(name);
    for (size_t i = 0; i < 3; i++)
        if (strcmp(field, FFN[i]) == 0)
            return es_shape_layer_is_moe(shape, l) ? ES_PART_SHARED_EXPERTS : ES_PART_DENSE_FFN;
    return part_of(field);
}

static void add_part(es_checkpoint_summary *to, es_part kind, const es_shard_part *part)
{
    const char *name = es_format_describe(part->format)->name;
    uint64_t parameters = (uint64_t)part->rows * part->cols;
    uint64_t scales = part->format == ES_FORMAT_FP8
                          ? es_shard_scale_rows(part) * es_shard_scale_cols(part) * sizeof(float)
                          : 0;
    size_t t = 0;
    while (t < to->type_count && strcmp(to->types[t].name, name) != 0) t++;
    ES_ASSERT(t < ES_SUMMARY_TYPES_MAX);
    if (t == to->type_count) {
        to->type_count++;
        snprintf(to->types[t].name, sizeof to->types[t].name, "%s", name);
    }
    es_tensor_sum *const sums[] = {&to->total, &to->parts[kind], &to->types[t].sum};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++) {
        sums[i]->tensors++;
        sums[i]->parameters += parameters;
        sums[i]->bytes += part->bytes + scales;
    }
}

void es_shards_summarise(const es_shards *shards, es_checkpoint_summary *ret_summary)
{
    *ret_summary = (es_checkpoint_summary){.files = shards->count};
    for (size_t i = 0; i < shards->count; i++) {
        const es_shard *shard = &shards->shards[i];
        for (size_t u = 0; u < shard->unit_count; u++)
            for (size_t p = 0; p < shard->units[u].part_count; p++)
                add_part(ret_summary, part_of_unit(&shard->shape, shard->units[u].name),
                         &shard->units[u].parts[p]);
    }
}

static es_status shard_shape(const char *path, es_shape *ret_shape, es_err *err)
{
    es_arena *arena = es_arena_create();
    if (arena == NULL) return no_memory(path, err);
    es_shards shards;
    es_status status = es_shards_open(path, false, false, arena, &shards, err);
    if (status == ES_OK) *ret_shape = shards.shards[0].shape;
    es_shards_close(&shards);
    es_arena_destroy(&arena);
    return status;
}

es_status es_model_shape(const char *path, es_shape *ret_shape, es_err *err)
{
    *ret_shape = (es_shape){0};
    if (es_shards_is_path(path)) return shard_shape(path, ret_shape, err);
    if (!es_gguf_is_path(path)) return es_shape_load(path, ret_shape, err);
    es_checkpoint *checkpoint;
    es_status status = es_source_open(path, ret_shape, &checkpoint, err);
    es_checkpoint_close(&checkpoint);
    return status;
}
