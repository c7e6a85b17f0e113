/* What this machine is to hold. */
#include "doctor/subject.h"

#include "weights/fingerprint.h"
#include "weights/shard_folder.h"
#include "weights/source.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static bool ends_with(const char *text, const char *end)
{
    size_t a = strlen(text), b = strlen(end);
    return a > b && strcmp(text + a - b, end) == 0;
}

/* Notes a file when it is larger than the one noted so far. */
static void note_file(es_doctor_subject *s, const char *path, uint64_t *largest)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || (uint64_t)info.st_size < *largest) return;
    *largest = (uint64_t)info.st_size;
    snprintf(s->file, sizeof s->file, "%s", path);
}

static es_status add_shard(const char *path, es_doctor_subject *s, uint64_t *largest, es_err *err)
{
    es_arena *arena = es_arena_create();
    es_shards shards = {.count = 0};
    if (arena == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", path);
    es_status status = es_shards_open(path, false, false, arena, &shards, err);
    if (status == ES_OK && s->units > 0 &&
        memcmp(s->fingerprint, shards.shards[0].fingerprint, sizeof s->fingerprint) != 0)
        status = es_err_set(err, ES_MISMATCH, "%s: a shard of another model than those before it", path);
    if (status == ES_OK) {
        const es_shard *shard = &shards.shards[0];
        bool experts = shard->kind == ES_SHARD_EXPERTS;
        *(experts ? &s->experts_bytes : &s->backbone_bytes) += shard->data_bytes;
        s->shape = shard->shape;
        memcpy(s->fingerprint, shard->fingerprint, sizeof s->fingerprint);
        s->units += shard->unit_count;
        uint64_t widest = 0;
        for (size_t u = 0; u < shard->unit_count; u++)
            for (size_t p = 0; p < shard->units[u].part_count; p++)
                if (shard->units[u].parts[p].bytes > widest) {
                    widest = shard->units[u].parts[p].bytes;
                    s->format = shard->units[u].parts[p].format;
                }
        note_file(s, path, largest);
    }
    es_shards_close(&shards);
    es_arena_destroy(&arena);
    return status;
}

static es_status add_folder(const char *path, es_doctor_subject *s, uint64_t *largest, size_t *found,
                            es_err *err)
{
    DIR *folder = opendir(path);
    es_status status = ES_OK;
    if (folder == NULL) return es_err_set(err, ES_IO, "%s: cannot be opened", path);
    for (const struct dirent *item; status == ES_OK && (item = readdir(folder)) != NULL;) {
        char file[PATH_MAX];
        if (!ends_with(item->d_name, ".shard")) continue;
        status = es_file_join(file, sizeof file, path, item->d_name, err);
        if (status == ES_OK) status = add_shard(file, s, largest, err);
        ++*found;
    }
    closedir(folder);
    return status;
}

/* "F8_E4M3" and "Q4_K" are what files say. */
static es_format format_called(const char *type)
{
    if (strncasecmp(type, "F8", 2) == 0) return ES_FORMAT_FP8;
    for (int f = 0; f < ES_FORMAT_COUNT; f++)
        if (strcasecmp(type, es_format_describe((es_format)f)->name) == 0) return (es_format)f;
    return ES_FORMAT_BF16;
}

static es_status read_source(const char *path, es_doctor_subject *s, uint64_t *largest, es_err *err)
{
    es_checkpoint *checkpoint;
    es_checkpoint_summary summary;
    es_status status = es_source_open(path, &s->shape, &checkpoint, err);
    if (status != ES_OK) return status;
    es_checkpoint_summarise(checkpoint, &s->shape, &summary);
    es_fingerprint(&s->shape, checkpoint, s->fingerprint);
    s->experts_bytes = summary.parts[ES_PART_ROUTED_EXPERTS].bytes;
    s->backbone_bytes = summary.total.bytes - s->experts_bytes;
    s->units = summary.total.tensors;
    uint64_t most = 0;
    for (size_t t = 0; t < summary.type_count; t++)
        if (summary.types[t].sum.bytes > most) {
            most = summary.types[t].sum.bytes;
            s->format = format_called(summary.types[t].name);
        }
    es_checkpoint_close(&checkpoint);
    note_file(s, path, largest);
    DIR *folder = opendir(path);
    for (const struct dirent *item; folder != NULL && (item = readdir(folder)) != NULL;) {
        char file[PATH_MAX];
        if (ends_with(item->d_name, ".safetensors") &&
            es_file_join(file, sizeof file, path, item->d_name, NULL) == ES_OK)
            note_file(s, file, largest);
    }
    if (folder != NULL) closedir(folder);
    return ES_OK;
}

es_status es_subject_read(const char *const *paths, size_t count, es_doctor_subject *ret_subject, es_err *err)
{
    uint64_t largest = 0;
    es_status status = ES_OK;
    *ret_subject = (es_doctor_subject){.format = ES_FORMAT_BF16};
    for (size_t i = 0; i < count && status == ES_OK; i++) {
        struct stat info;
        size_t found = 0;
        if (stat(paths[i], &info) != 0) return es_err_set(err, ES_NOT_FOUND, "%s: is not there", paths[i]);
        if (S_ISDIR(info.st_mode))
            status = add_folder(paths[i], ret_subject, &largest, &found, err);
        else if (es_shards_is_path(paths[i])) {
            status = add_shard(paths[i], ret_subject, &largest, err);
            found = 1;
        }
        if (status == ES_OK && found == 0 && count > 1)
            status = es_err_set(err, ES_INVALID, "%s: no shard: several paths are several shards", paths[i]);
        else if (status == ES_OK && found == 0)
            status = read_source(paths[i], ret_subject, &largest, err);
    }
    return status;
}
