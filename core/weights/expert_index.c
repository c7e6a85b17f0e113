/* Which shard at hand has which expert. */
#include "weights/expert_index.h"

#include "base/file.h"
#include "base/size.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HASH_BYTES = 4 << 20,
    FILES_MAX =
        32768, /* experts that were fetched are files of their own; below the kernel's limit of maps */
};

/* One mapped shard. */
typedef struct file {
    const char *path;
    es_file_map map;
    es_shard shard;
} file;

typedef struct entry {
    es_shard_expert expert; /* chunks absolute */
    bool whole;
    const file *file;
    const es_shard_unit *unit;
} entry;

struct es_expert_index {
    es_arena *arena;
    file **files; /* [file_count] */
    size_t file_count, file_room;
    entry *entries; /* [entry_count], in the order they were found: an entry's number stays */
    size_t entry_count, entry_room;
    size_t *order; /* [entry_count]: ascending by layer, expert, first chunk */
    size_t *first; /* [layers * experts + 1]: where an expert's entries begin in order */
};

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_shard(const char *path)
{
    uint8_t first[16];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    ssize_t got = read(fd, first, sizeof first);
    close(fd);
    return got > 0 && es_shard_is_header(first, (size_t)got);
}

/* Only names that end so are looked at in a folder. */
static int is_shard_name(const struct dirent *item)
{
    size_t bytes = strlen(item->d_name);
    return bytes > 6 && strcmp(item->d_name + bytes - 6, ".shard") == 0;
}

bool es_expert_index_takes(const char *path)
{
    if (!is_folder(path)) return is_shard(path);
    struct dirent **items;
    int count = scandir(path, &items, is_shard_name, alphasort);
    for (int i = 0; i < count; i++) free(items[i]);
    if (count >= 0) free(items);
    return count > 0;
}

static es_status no_memory(const char *path, es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "%s: shards", path);
}

/* Room for one more pointer. */
static bool grow_files(es_expert_index *index)
{
    if (index->file_count < index->file_room) return true;
    size_t room = index->file_room * 2 + 16;
    file **files = realloc(index->files, room * sizeof *files);
    if (files == NULL) return false;
    index->files = files;
    index->file_room = room;
    return true;
}

static es_status open_file(es_expert_index *index, const char *path, es_err *err)
{
    if (index->file_count == FILES_MAX)
        return es_err_set(err, ES_INVALID, "%s: more than %d shards", path, FILES_MAX);
    file *f = es_arena_take(index->arena, 1, sizeof *f);
    if (f == NULL || !grow_files(index)) return no_memory(path, err);
    f->path = es_arena_copy_text(index->arena, path);
    if (f->path == NULL) return no_memory(path, err);
    es_status status = es_file_map_open(path, &f->map, err);
    if (status != ES_OK) return status;
    status = es_shard_parse(f->path, f->map.data, f->map.bytes, index->arena, &f->shard, err);
    const file *first = index->file_count > 0 ? index->files[0] : f;
    if (status == ES_OK && f->shard.kind != ES_SHARD_COORDINATOR &&
        memcmp(f->shard.fingerprint, first->shard.fingerprint, sizeof f->shard.fingerprint) != 0)
        status = es_err_set(err, ES_MISMATCH, "%s: of another model than %s", path, first->path);
    if (status != ES_OK || f->shard.kind == ES_SHARD_COORDINATOR) {
        es_file_map_close(&f->map);
        return status;
    }
    index->files[index->file_count++] = f;
    return ES_OK;
}

static es_status open_path(es_expert_index *index, const char *path, es_err *err)
{
    if (!is_folder(path)) return open_file(index, path, err);
    struct dirent **items;
    int count = scandir(path, &items, is_shard_name, alphasort);
    if (count < 0) return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
    es_status status = ES_OK;
    for (int i = 0; i < count; i++) {
        char full[PATH_MAX];
        if (status == ES_OK) status = es_file_join(full, sizeof full, path, items[i]->d_name, err);
        if (status == ES_OK) status = open_file(index, full, err);
        free(items[i]);
    }
    free(items);
    return status;
}

static int by_expert(const void *a, const void *b, void *context)
{
    const es_expert_index *index = context;
    const es_shard_expert *p = &index->entries[*(const size_t *)a].expert,
                          *q = &index->entries[*(const size_t *)b].expert;
    if (p->layer != q->layer) return p->layer < q->layer ? -1 : 1;
    if (p->expert != q->expert) return p->expert < q->expert ? -1 : 1;
    return (p->chunks.first > q->chunks.first) - (p->chunks.first < q->chunks.first);
}

static bool grow_entries(es_expert_index *index, size_t more)
{
    size_t room = index->entry_room;
    if (more <= room - index->entry_count) return true;
    room = es_size_max(index->entry_count + more, room * 2);
    entry *entries = realloc(index->entries, room * sizeof *entries);
    if (entries == NULL) return false;
    index->entries = entries;
    size_t *order = realloc(index->order, room * sizeof *order);
    if (order == NULL) return false;
    index->order = order;
    index->entry_room = room;
    return true;
}

/* Adds a file's units; none of them when one is wrong. */
static es_status list_file(es_expert_index *index, const file *f, es_err *err)
{
    const es_shape *s = es_expert_index_shape(index);
    size_t count = index->entry_count;
    if (!grow_entries(index, f->shard.unit_count)) return no_memory(f->path, err);
    for (size_t u = 0; u < f->shard.unit_count; u++) {
        entry *e = &index->entries[count];
        if (!es_shard_check_expert(s, &f->shard.units[u], &e->expert))
            return es_err_set(err, ES_CORRUPT, "%s: %s: not an expert of this config", f->path,
                              f->shard.units[u].name);
        e->whole = e->expert.chunks.count == 0;
        if (e->whole) e->expert.chunks.count = (uint32_t)es_chunks_of(s->expert_intermediate);
        e->file = f;
        e->unit = &f->shard.units[u];
        index->order[count] = count;
        count++;
    }
    index->entry_count = count;
    return ES_OK;
}

static void sort_entries(es_expert_index *index)
{
    const es_shape *s = es_expert_index_shape(index);
    size_t experts = s->layers * s->experts;
    if (index->entry_count > 0)
        qsort_r(index->order, index->entry_count, sizeof *index->order, by_expert, index);
    memset(index->first, 0, (experts + 1) * sizeof *index->first);
    for (size_t i = 0; i < index->entry_count; i++)
        index->first[index->entries[i].expert.layer * s->experts + index->entries[i].expert.expert + 1]++;
    for (size_t x = 0; x < experts; x++) index->first[x + 1] += index->first[x];
}

static es_status list(es_expert_index *index, const char *path, es_err *err)
{
    if (index->file_count == 0)
        return es_err_set(err, ES_NOT_FOUND, "%s: no shard of experts; a coordinator's alone", path);
    const es_shape *s = es_expert_index_shape(index);
    if (s->experts == 0)
        return es_err_set(err, ES_INVALID, "%s: a model without routed experts needs no expert node", path);
    if (es_chunks_of(s->expert_intermediate) > ES_CHUNKS_MAX)
        return es_err_set(err, ES_UNSUPPORTED, "%s: experts wider than %d chunks", path, ES_CHUNKS_MAX);
    index->first = es_arena_take(index->arena, s->layers * s->experts + 1, sizeof *index->first);
    if (index->first == NULL) return no_memory(path, err);
    es_status status = ES_OK;
    for (size_t i = 0; i < index->file_count && status == ES_OK; i++)
        status = list_file(index, index->files[i], err);
    if (status == ES_OK) sort_entries(index);
    return status;
}

es_status es_expert_index_open(const char *const *paths, size_t path_count, es_expert_index **ret_index,
                               es_err *err)
{
    *ret_index = NULL;
    es_expert_index *index = calloc(1, sizeof *index);
    if (index == NULL) return no_memory(paths[0], err);
    index->arena = es_arena_create();
    es_status status = index->arena == NULL ? no_memory(paths[0], err) : ES_OK;
    for (size_t i = 0; i < path_count && status == ES_OK; i++) status = open_path(index, paths[i], err);
    if (status == ES_OK) status = list(index, paths[0], err);
    if (status != ES_OK)
        es_expert_index_close(&index);
    else
        *ret_index = index;
    return status;
}

es_status es_expert_index_add(es_expert_index *index, const char *path, es_err *err)
{
    size_t files = index->file_count;
    es_status status = open_file(index, path, err);
    if (status == ES_OK && index->file_count == files)
        status = es_err_set(err, ES_INVALID, "%s: no shard of experts", path);
    if (status == ES_OK) status = list_file(index, index->files[files], err);
    if (status == ES_OK) {
        sort_entries(index);
    } else if (index->file_count > files) {
        es_file_map_close(&index->files[files]->map);
        index->file_count = files;
    }
    return status;
}

void es_expert_index_close(es_expert_index **index_at)
{
    es_expert_index *index = *index_at;
    if (index == NULL) return;
    *index_at = NULL;
    for (size_t i = 0; i < index->file_count; i++) es_file_map_close(&index->files[i]->map);
    es_arena_destroy(&index->arena);
    free(index->files);
    free(index->entries);
    free(index->order);
    free(index);
}

const es_shape *es_expert_index_shape(const es_expert_index *index)
{
    return &index->files[0]->shard.shape;
}

const uint8_t *es_expert_index_fingerprint(const es_expert_index *index)
{
    return index->files[0]->shard.fingerprint;
}

es_status es_expert_index_find(const es_expert_index *index, size_t layer, size_t expert, es_chunks chunks,
                               es_expert_offer *ret_offer, es_err *err)
{
    size_t at = layer * es_expert_index_shape(index)->experts + expert;
    uint32_t wanted_end = chunks.first + chunks.count, best_end = 0;
    const entry *best = NULL;
    for (size_t i = index->first[at]; i < index->first[at + 1]; i++) {
        const entry *e = &index->entries[index->order[i]];
        uint32_t end = e->expert.chunks.first + e->expert.chunks.count;
        if (e->expert.chunks.first > chunks.first || end <= chunks.first) continue;
        if (end > wanted_end) end = wanted_end;
        if (best != NULL && (end < best_end || (end == best_end && e->unit->bytes >= best->unit->bytes)))
            continue;
        best = e;
        best_end = end;
    }
    if (best == NULL)
        return es_err_set(err, ES_NOT_FOUND, "layer %zu: expert %zu: chunk %u: in no shard here", layer,
                          expert, chunks.first);
    uint32_t count = best_end - chunks.first;
    uint64_t bytes = best->unit->bytes / best->expert.chunks.count * count;
    if (count == best->expert.chunks.count) bytes = best->unit->bytes;
    *ret_offer = (es_expert_offer){{chunks.first, count}, bytes, (size_t)(best - index->entries)};
    return ES_OK;
}

es_index_unit es_expert_index_unit(const es_expert_index *index, size_t at)
{
    ES_ASSERT(at < index->entry_count);
    const entry *e = &index->entries[at];
    return (es_index_unit){e->unit, e->file->map.data + e->unit->offset, e->expert.chunks};
}

size_t es_expert_index_by_sum(const es_expert_index *index, const uint8_t sum[ES_SHARD_SUM_BYTES])
{
    for (size_t i = 0; i < index->entry_count; i++)
        if (index->entries[i].whole && memcmp(index->entries[i].unit->sum, sum, ES_SHARD_SUM_BYTES) == 0)
            return i;
    return SIZE_MAX;
}

es_shard_expert es_expert_index_expert(const es_expert_index *index, size_t at)
{
    ES_ASSERT(at < index->entry_count);
    return index->entries[at].expert;
}

static bool read_at(int fd, uint8_t *to, size_t count, uint64_t offset)
{
    while (fd >= 0 && count > 0) {
        ssize_t got = pread(fd, to, count, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        count -= (size_t)got;
        offset += (uint64_t)got;
    }
    return fd >= 0;
}

es_status es_expert_index_read(const es_expert_index *index, size_t at, uint64_t from, uint8_t *ret_bytes,
                               size_t count, es_err *err)
{
    ES_ASSERT(at < index->entry_count);
    const entry *e = &index->entries[at];
    if (from > e->unit->bytes || count > e->unit->bytes - from)
        return es_err_set(err, ES_INVALID, "%s: %zu bytes from %llu on: it has %llu", e->unit->name, count,
                          (unsigned long long)from, (unsigned long long)e->unit->bytes);
    int fd = open(e->file->path, O_RDONLY | O_CLOEXEC);
    bool whole = read_at(fd, ret_bytes, count, e->unit->offset + from);
    if (fd >= 0) close(fd);
    return whole ? ES_OK : es_err_set(err, ES_IO, "%s: %s: cannot be read", e->file->path, e->unit->name);
}

/* Through read, not the map: a slice's pages are in memory, the rest of its unit need not be. */
static bool hash_file(const entry *e, crypto_generichash_state *hash)
{
    uint8_t *some = malloc(HASH_BYTES);
    int fd = open(e->file->path, O_RDONLY | O_CLOEXEC);
    uint64_t done = 0;
    while (some != NULL && fd >= 0 && done < e->unit->bytes) {
        size_t count = e->unit->bytes - done < HASH_BYTES ? (size_t)(e->unit->bytes - done) : HASH_BYTES;
        if (!read_at(fd, some, count, e->unit->offset + done)) break;
        crypto_generichash_update(hash, some, count);
        done += (uint64_t)count;
    }
    if (fd >= 0) close(fd);
    free(some);
    return done == e->unit->bytes;
}

es_status es_expert_index_verify(const es_expert_index *index, size_t at, const uint8_t *copy, es_err *err)
{
    const entry *e = &index->entries[at];
    uint8_t is[ES_SHARD_SUM_BYTES];
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, sizeof is);
    bool whole = true;
    if (copy != NULL)
        crypto_generichash_update(&hash, copy, e->unit->bytes);
    else
        whole = hash_file(e, &hash);
    if (!whole) return es_err_set(err, ES_IO, "%s: %s: cannot be read", e->file->path, e->unit->name);
    crypto_generichash_final(&hash, is, sizeof is);
    if (memcmp(is, e->unit->sum, sizeof is) == 0) return ES_OK;
    return es_err_set(err, ES_CORRUPT, "%s: %s: its checksum does not match", e->file->path, e->unit->name);
}
