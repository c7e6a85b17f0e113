/* One routed expert as a shard of its own. */
#include "weights/unit_file.h"

#include "base/file.h"
#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, MARGIN_BYTES = 16 << 20, NAME_BYTES = ES_FIELD_NAME_BYTES + 16 };

static const char FORMAT[] = "fetched";
static const char EMPTY_NAME[] = "model.shard";

struct es_unit_file {
    es_unit_plan plan;
    es_shard_unit unit;
    char name[ES_FIELD_NAME_BYTES];
    char path[PATH_MAX], part[PATH_MAX];
    char dir[PATH_MAX];
    int fd;
    uint64_t done;
    crypto_generichash_state hash;
};

static es_status io_failed(const char *path, es_err *err)
{
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
}

es_status es_unit_plan_lay_out(es_unit_plan *plan, es_err *err)
{
    char name[ES_FIELD_NAME_BYTES];
    const es_shape *s = plan->shape;
    es_shard_expert which = {.layer = plan->layer, .expert = plan->expert}, read;
    es_shard_expert_name(&which, name);
    es_shard_unit unit = {.name = name, .parts = plan->parts, .part_count = 3};
    for (size_t i = 0; i < 3; i++) {
        size_t rows = i < 2 ? s->expert_intermediate : s->hidden,
               cols = i < 2 ? s->hidden : s->expert_intermediate;
        if (plan->formats[i] >= ES_FORMAT_COUNT ||
            cols % es_format_describe((es_format)plan->formats[i])->block_cols != 0)
            return es_err_set(err, ES_INVALID, "%s: %zu columns do not stand in the format it is to have",
                              name, cols);
        /* a whole expert's FP8 blocks begin at its first row and column */
        plan->parts[i] = (es_shard_part){
            .format = (es_format)plan->formats[i], .layout = ES_LAYOUT_PANELS, .rows = rows, .cols = cols};
    }
    if (!es_shard_lay_out(&unit) || !es_shard_check_expert(s, &unit, &read))
        return es_err_set(err, ES_INVALID, "%s: not an expert of this model", name);
    plan->bytes = unit.bytes;
    return ES_OK;
}

static es_status write_all(int fd, const char *path, const void *bytes, size_t count, uint64_t offset,
                           es_err *err)
{
    const uint8_t *at = bytes;
    while (count > 0) {
        ssize_t some = pwrite(fd, at, count, (off_t)offset);
        if (some < 0 && errno == EINTR) continue;
        if (some <= 0) return io_failed(path, err);
        at += some;
        count -= (size_t)some;
        offset += (uint64_t)some;
    }
    return ES_OK;
}

/* Writes manifest and header, and gives part its name. */
static es_status complete(int fd, const es_shape *shape, const uint8_t *fingerprint, es_shard_unit *units,
                          size_t count, const char *part, const char *path, es_err *err)
{
    es_shard shard = {
        .kind = ES_SHARD_EXPERTS, .count = 1, .shape = *shape, .units = units, .unit_count = count};
    uint8_t header[ES_SHARD_PAGE_BYTES] = {0};
    size_t bytes;
    memcpy(shard.format, FORMAT, sizeof FORMAT);
    memcpy(shard.fingerprint, fingerprint, sizeof shard.fingerprint);
    if (!es_shard_place_units(&shard))
        return es_err_set(err, ES_CORRUPT, "%s: larger than a file can be", part);
    char *manifest = es_shard_manifest(&shard, &bytes);
    if (manifest == NULL) return es_err_set(err, ES_NO_MEMORY, "%s: manifest", part);
    es_shard_header(&shard, manifest, bytes, header);
    es_status status = write_all(fd, part, manifest, bytes, shard.data_bytes, err);
    free(manifest);
    if (status == ES_OK) status = write_all(fd, part, header, sizeof header, 0, err);
    if (status != ES_OK) return status;
    if (ftruncate(fd, (off_t)(shard.data_bytes + bytes)) != 0 || fdatasync(fd) != 0 ||
        rename(part, path) != 0)
        return io_failed(part, err);
    return ES_OK;
}

es_status es_unit_file_write_empty(const char *dir, const es_shape *shape, const uint8_t *fingerprint,
                                   es_err *err)
{
    char path[PATH_MAX], part[PATH_MAX], name[NAME_BYTES];
    snprintf(name, sizeof name, "%s.part", EMPTY_NAME);
    es_status status = es_file_join(path, sizeof path, dir, EMPTY_NAME, err);
    if (status == ES_OK) status = es_file_join(part, sizeof part, dir, name, err);
    if (status != ES_OK) return status;
    int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return io_failed(part, err);
    status = complete(fd, shape, fingerprint, NULL, 0, part, path, err);
    close(fd);
    return status;
}

bool es_unit_file_find(const char *dir, size_t layer, size_t expert, char *ret_path, size_t path_bytes)
{
    char name[ES_FIELD_NAME_BYTES], file[NAME_BYTES];
    es_shard_expert_name(&(es_shard_expert){.layer = layer, .expert = expert}, name);
    snprintf(file, sizeof file, "%s.shard", name);
    return es_file_join(ret_path, path_bytes, dir, file, NULL) == ES_OK && access(ret_path, F_OK) == 0;
}

static es_status check_disk(const es_unit_file *f, uint64_t more_bytes, es_err *err)
{
    struct statvfs disk;
    if (statvfs(f->dir, &disk) != 0) return io_failed(f->dir, err);
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize, needed = f->plan.bytes - f->done;
    if (needed + more_bytes + MARGIN_BYTES <= room) return ES_OK;
    return es_err_set(
        err, ES_IO,
        "disk: %.3f GB of experts are to be fetched, and %s has room for %.3f GB: %.3f GB are lacking",
        (double)(needed + more_bytes) * 1e-9, f->dir, (double)room * 1e-9,
        (double)(needed + more_bytes + MARGIN_BYTES - room) * 1e-9);
}

/* What an earlier file has left, as far as it goes. */
static es_status take_up(es_unit_file *f, es_err *err)
{
    struct stat info;
    if (fstat(f->fd, &info) != 0) return io_failed(f->part, err);
    uint64_t there = info.st_size > ES_SHARD_PAGE_BYTES ? (uint64_t)info.st_size - ES_SHARD_PAGE_BYTES : 0;
    if (there > f->plan.bytes) there = 0; /* of something else */
    uint8_t *some = malloc(READ_BYTES);
    if (some == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", f->part);
    while (f->done < there) {
        size_t count = there - f->done < READ_BYTES ? (size_t)(there - f->done) : READ_BYTES;
        ssize_t got = pread(f->fd, some, count, (off_t)(ES_SHARD_PAGE_BYTES + f->done));
        if (got <= 0) break;
        crypto_generichash_update(&f->hash, some, (size_t)got);
        f->done += (uint64_t)got;
    }
    free(some);
    return ES_OK;
}

static es_status open_part(es_unit_file *f, const char *dir, es_err *err)
{
    char name[NAME_BYTES];
    es_shard_expert_name(&(es_shard_expert){.layer = f->plan.layer, .expert = f->plan.expert}, f->name);
    f->unit = (es_shard_unit){.name = f->name, .parts = f->plan.parts, .part_count = 3};
    memcpy(f->unit.sum, f->plan.sum, sizeof f->unit.sum);
    f->unit.bytes = f->plan.bytes;
    snprintf(name, sizeof name, "%s.shard.part", f->name);
    es_status status = es_file_join(f->part, sizeof f->part, dir, name, err);
    if (status == ES_OK) {
        memcpy(f->path, f->part, sizeof f->path);
        f->path[strlen(f->path) - (sizeof ".part" - 1)] = '\0';
        snprintf(f->dir, sizeof f->dir, "%s", dir);
        f->fd = open(f->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (f->fd < 0) status = io_failed(f->part, err);
    }
    return status;
}

es_status es_unit_file_open(const char *dir, const es_unit_plan *plan, uint64_t more_bytes,
                            es_unit_file **ret_file, es_err *err)
{
    es_unit_file *f = *ret_file = calloc(1, sizeof *f);
    if (f == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", dir);
    f->plan = *plan;
    f->fd = -1;
    crypto_generichash_init(&f->hash, NULL, 0, ES_SHARD_SUM_BYTES);
    es_status status = open_part(f, dir, err);
    if (status == ES_OK) status = take_up(f, err);
    if (status == ES_OK) status = check_disk(f, more_bytes, err);
    if (status != ES_OK) {
        if (f->fd >= 0 && f->done == 0) unlink(f->part);
        es_unit_file_close(ret_file);
    }
    return status;
}

uint64_t es_unit_file_done(const es_unit_file *file)
{
    return file->done;
}

es_status es_unit_file_put(es_unit_file *file, const void *bytes, size_t count, es_err *err)
{
    ES_ASSERT(count <= file->plan.bytes - file->done);
    es_status status = write_all(file->fd, file->part, bytes, count, ES_SHARD_PAGE_BYTES + file->done, err);
    if (status != ES_OK) return status;
    crypto_generichash_update(&file->hash, bytes, count);
    file->done += count;
    return ES_OK;
}

es_status es_unit_file_finish(es_unit_file *file, char *ret_path, size_t path_bytes, es_err *err)
{
    uint8_t is[ES_SHARD_SUM_BYTES];
    ES_ASSERT(file->done == file->plan.bytes);
    crypto_generichash_final(&file->hash, is, sizeof is);
    if (memcmp(is, file->plan.sum, sizeof is) != 0) {
        unlink(file->part);
        return es_err_set(err, ES_CORRUPT, "%s: its bytes are not those of its checksum", file->name);
    }
    if (strlen(file->path) >= path_bytes) return es_err_set(err, ES_INVALID, "%s: path too long", file->path);
    es_status status = complete(file->fd, file->plan.shape, file->plan.fingerprint, &file->unit, 1,
                                file->part, file->path, err);
    if (status == ES_OK) strcpy(ret_path, file->path);
    return status;
}

void es_unit_file_close(es_unit_file **file)
{
    if (*file == NULL) return;
    if ((*file)->fd >= 0) close((*file)->fd);
    free(*file);
    *file = NULL;
}
