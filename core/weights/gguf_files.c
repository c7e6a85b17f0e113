/* A GGUF model on disk: one file, or all the parts of one that was split. */
#include "weights/gguf_files.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char ENDING[] = ".gguf";

/* "-00001-of-00003.gguf" */
enum { PART_ENDING_BYTES = 20 };

/* Stores of downloads keep files under names without an ending. */
static bool begins_as_gguf(const char *path)
{
    char magic[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    bool is = read(fd, magic, sizeof magic) == sizeof magic && memcmp(magic, "GGUF", sizeof magic) == 0;
    close(fd);
    return is;
}

bool es_gguf_is_path(const char *path)
{
    size_t bytes = strlen(path), ending = strlen(ENDING);
    return (bytes > ending && strcmp(path + bytes - ending, ENDING) == 0) || begins_as_gguf(path);
}

/* The non-negative integer under key, or absent when it is not there. */
static es_status read_count(const es_gguf *part, const char *key, int64_t absent, int64_t *ret, es_err *err)
{
    const es_gguf_value *value = es_gguf_find(part, key);
    *ret = value == NULL ? absent : value->integer;
    bool is_integer = value == NULL || (value->type != ES_GGUF_F32 && value->type != ES_GGUF_F64 &&
                                        value->type != ES_GGUF_BOOL && value->type != ES_GGUF_TEXT &&
                                        value->type != ES_GGUF_ARRAY);
    if (is_integer && *ret >= 0) return ES_OK;
    return es_err_set(err, ES_CORRUPT, "%s: %s: not an integer from 0 up", part->file, key);
}

static es_status open_part(es_gguf_files *files, size_t index, const char *path, es_arena *arena, es_err *err)
{
    const char *file = es_arena_copy_text(arena, path);
    if (file == NULL) return es_err_set(err, ES_NO_MEMORY, "%s: path", path);
    es_status status = es_file_map_open(file, &files->maps[index], err);
    if (status != ES_OK) return status;
    return es_gguf_parse(files->maps[index].data, files->maps[index].bytes, file, arena, &files->parts[index],
                         err);
}

/* Which part a file says it is, of how many: 0 of 1 where it says nothing. */
static es_status read_place(const es_gguf *part, int64_t *ret_number, int64_t *ret_count, es_err *err)
{
    es_status status = read_count(part, "split.count", 1, ret_count, err);
    if (status == ES_OK) status = read_count(part, "split.no", 0, ret_number, err);
    if (status != ES_OK) return status;
    if (*ret_count == 0) *ret_count = 1;
    if (*ret_count > ES_GGUF_FILES_MAX)
        return es_err_set(err, ES_UNSUPPORTED, "%s: split.count: %lld files, at most %d are supported",
                          part->file, (long long)*ret_count, ES_GGUF_FILES_MAX);
    if (*ret_number >= *ret_count)
        return es_err_set(err, ES_CORRUPT, "%s: split.no: %lld of %lld files", part->file,
                          (long long)*ret_number, (long long)*ret_count);
    return ES_OK;
}

static void name_part(char out[static PART_ENDING_BYTES + 16], int64_t number, int64_t count)
{
    snprintf(out, PART_ENDING_BYTES + 16, "-%05d-of-%05d%s", (int)number + 1, (int)count, ENDING);
}

/* Opens the other parts beside the one that path names, which is probe and stays where it is in the list. */
static es_status open_parts(const char *path, int64_t number, es_arena *arena, es_gguf_files *files,
                            es_err *err)
{
    char wanted[PART_ENDING_BYTES + 16], other[PATH_MAX];
    size_t bytes = strlen(path);
    name_part(wanted, number, (int64_t)files->count);
    if (bytes <= strlen(wanted) || strcmp(path + bytes - strlen(wanted), wanted) != 0)
        return es_err_set(err, ES_INVALID,
                          "%s: is part %lld of %zu by its metadata, so its name has to end in %s", path,
                          (long long)number + 1, files->count, wanted);
    for (size_t i = 0; i < files->count; i++) {
        if (i == (size_t)number) continue;
        name_part(wanted, (int64_t)i, (int64_t)files->count);
        int written = snprintf(other, sizeof other, "%.*s%s", (int)(bytes - strlen(wanted)), path, wanted);
        if (written < 0 || (size_t)written >= sizeof other)
            return es_err_set(err, ES_INVALID, "%s: too long a path", path);
        int64_t its_number = 0, its_count = 0;
        es_status status = open_part(files, i, other, arena, err);
        if (status == ES_OK) status = read_place(&files->parts[i], &its_number, &its_count, err);
        if (status != ES_OK) return status;
        if (its_number != (int64_t)i || its_count != (int64_t)files->count)
            return es_err_set(err, ES_CORRUPT, "%s: split.no: says it is part %lld of %lld", other,
                              (long long)its_number + 1, (long long)its_count);
    }
    return ES_OK;
}

es_status es_gguf_files_open(const char *path, es_arena *arena, es_gguf_files *ret_files, es_err *err)
{
    es_gguf_files probe = {es_arena_take(arena, 1, sizeof *probe.maps),
                           es_arena_take(arena, 1, sizeof *probe.parts), 0};
    *ret_files = probe;
    if (probe.maps == NULL || probe.parts == NULL)
        return es_err_set(err, ES_NO_MEMORY, "%s: list of files", path);
    ret_files->count = 1;
    int64_t number, count;
    es_status status = open_part(ret_files, 0, path, arena, err);
    if (status == ES_OK) status = read_place(&ret_files->parts[0], &number, &count, err);
    if (status != ES_OK || count == 1) return status;
    es_gguf_files all = {es_arena_take(arena, (size_t)count, sizeof *all.maps),
                         es_arena_take(arena, (size_t)count, sizeof *all.parts), (size_t)count};
    if (all.maps == NULL || all.parts == NULL)
        return es_err_set(err, ES_NO_MEMORY, "%s: list of files", path);
    all.maps[number] = ret_files->maps[0];
    all.parts[number] = ret_files->parts[0];
    *ret_files = all;
    return open_parts(path, number, arena, ret_files, err);
}

void es_gguf_files_close(es_gguf_files *files)
{
    for (size_t i = 0; i < files->count; i++) es_file_map_close(&files->maps[i]);
    *files = (es_gguf_files){NULL, NULL, 0};
}
