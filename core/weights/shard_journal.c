/* What of a folder of shards is written already. */
#include "weights/shard_journal.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUM_TEXT = 2 * ES_SHARD_SUM_BYTES + 1, LINE_BYTES = 160, JOURNAL_BYTES_MAX = 1 << 28 };

static es_status io_failed(const es_shard_journal *j, es_err *err)
{
    return es_err_set(err, ES_IO, "%s: %s", j->path, strerror(errno));
}

/* A number for "the same plan": all headers and manifests, whose sums are still open. */
static es_status plan_sum(const es_shard *shards, size_t count, char ret_text[SUM_TEXT], es_err *err)
{
    uint8_t sum[ES_SHARD_SUM_BYTES], header[ES_SHARD_HEADER_BYTES];
    crypto_generichash_state hash;
    crypto_generichash_init(&hash, NULL, 0, sizeof sum);
    for (size_t i = 0; i < count; i++) {
        size_t bytes;
        char *manifest = es_shard_manifest(&shards[i], &bytes);
        if (manifest == NULL) return es_err_set(err, ES_NO_MEMORY, "plan of shards");
        es_shard_header(&shards[i], manifest, bytes, header);
        free(manifest);
        crypto_generichash_update(&hash, header, sizeof header);
    }
    crypto_generichash_final(&hash, sum, sizeof sum);
    sodium_bin2hex(ret_text, SUM_TEXT, sum, sizeof sum);
    return ES_OK;
}

static es_status add_line(const es_shard_journal *j, const char *line, es_err *err)
{
    size_t bytes = strlen(line);
    ssize_t written = write(j->fd, line, bytes);
    if (written == (ssize_t)bytes) return ES_OK;
    if (written >= 0) errno = ENOSPC;
    return io_failed(j, err);
}

/* line has no newline. */
static void tell_line(const char *line, es_shard_journal_fn *fn, void *context)
{
    size_t shard, unit, bytes = 0;
    char text[SUM_TEXT];
    uint8_t sum[ES_SHARD_SUM_BYTES];
    if (sscanf(line, "%5zu %9zu %64s", &shard, &unit, text) != 3) return;
    if (sodium_hex2bin(sum, sizeof sum, text, strlen(text), NULL, &bytes, NULL) != 0 || bytes != sizeof sum)
        return;
    fn(context, shard, unit, sum);
}

static es_status read_plan(es_shard_journal *j, const char *text, size_t size, const char *first, es_err *err)
{
    j->first_bytes = strlen(first);
    if (size < j->first_bytes) return ftruncate(j->fd, 0) != 0 ? io_failed(j, err) : add_line(j, first, err);
    if (memcmp(text, first, j->first_bytes) == 0) return ES_OK;
    return es_err_set(
        err, ES_INVALID,
        "%s: unfinished shards of another model, format or number of nodes stand here: remove them", j->path);
}

/* Keeps whole lines, for what is added must not join the rest of one. */
es_status es_shard_journal_tell(es_shard_journal *journal, es_shard_journal_fn *fn, void *context,
                                es_err *err)
{
    char *text;
    size_t size, at = journal->first_bytes;
    es_status status = es_file_read(journal->path, JOURNAL_BYTES_MAX, &text, &size, err);
    if (status != ES_OK) return status;
    for (char *end; at < size && (end = memchr(text + at, '\n', size - at)) != NULL;
         at = (size_t)(end - text) + 1) {
        *end = '\0';
        tell_line(text + at, fn, context);
    }
    free(text);
    return ftruncate(journal->fd, (off_t)at) != 0 ? io_failed(journal, err) : ES_OK;
}

/* One process at a time; one whose journal was removed meanwhile came too late to take it up. */
static es_status take_lock(const es_shard_journal *j, const char *dir, es_err *err)
{
    struct stat info;
    bool locked = flock(j->fd, LOCK_EX | LOCK_NB) == 0;
    if (!locked && errno != EWOULDBLOCK) return io_failed(j, err);
    if (locked && fstat(j->fd, &info) != 0) return io_failed(j, err);
    if (locked && info.st_nlink > 0) return ES_OK;
    return es_err_set(err, ES_UNAVAILABLE, "%s: another process is writing shards there", dir);
}

es_status es_shard_journal_open(const char *dir, const es_shard *shards, size_t count,
                                es_shard_journal *ret_journal, es_err *err)
{
    es_shard_journal *j = ret_journal;
    j->fd = -1;
    char sum[SUM_TEXT], first[LINE_BYTES], *text = NULL;
    size_t size = 0;
    es_status status = es_file_join(j->path, sizeof j->path, dir, ES_SHARD_JOURNAL_NAME, err);
    if (status == ES_OK) status = plan_sum(shards, count, sum, err);
    if (status != ES_OK) return status;
    snprintf(first, sizeof first, "essaim shards 1 %s\n", sum);
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0) return io_failed(j, err);
    status = take_lock(j, dir, err);
    if (status == ES_OK) status = es_file_read(j->path, JOURNAL_BYTES_MAX, &text, &size, err);
    if (status == ES_OK) status = read_plan(j, text, size, first, err);
    free(text);
    return status;
}

es_status es_shard_journal_add(es_shard_journal *journal, size_t shard, size_t unit, const uint8_t *sum,
                               es_err *err)
{
    char text[SUM_TEXT], line[LINE_BYTES];
    sodium_bin2hex(text, sizeof text, sum, ES_SHARD_SUM_BYTES);
    snprintf(line, sizeof line, "%zu %zu %s\n", shard, unit, text);
    return add_line(journal, line, err);
}

es_status es_shard_journal_remove(es_shard_journal *journal, es_err *err)
{
    es_status status = unlink(journal->path) != 0 ? io_failed(journal, err) : ES_OK;
    es_shard_journal_close(journal);
    return status;
}

void es_shard_journal_close(es_shard_journal *journal)
{
    if (journal->fd >= 0) close(journal->fd);
    journal->fd = -1;
}
