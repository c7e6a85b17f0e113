/* One line: an epoch. */
#include "members/newest.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

es_status es_newest_load(const char *path, es_epoch *ret_epoch, es_err *err)
{
    char *text;
    size_t bytes;
    *ret_epoch = (es_epoch){0, 0};
    if (access(path, F_OK) != 0 && errno == ENOENT) return ES_OK;
    es_status status = es_file_read(path, ES_EPOCH_TEXT_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    text[strcspn(text, "\n")] = '\0';
    status = es_epoch_parse(text, ret_epoch, err);
    free(text);
    return status == ES_OK ? ES_OK : es_err_prefix(err, "%s", path);
}

es_status es_newest_save(const char *path, es_epoch epoch, es_err *err)
{
    char text[ES_EPOCH_TEXT_MAX], part[PATH_MAX];
    es_epoch_format(epoch, text);
    if ((size_t)snprintf(part, sizeof part, "%s.part", path) >= sizeof part)
        return es_err_set(err, ES_INVALID, "%s: path too long", path);
    FILE *file = fopen(part, "we");
    bool good =
        file != NULL && fprintf(file, "%s\n", text) > 0 && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int cause = errno;
    if (file != NULL && fclose(file) != 0 && good) {
        cause = errno;
        good = false;
    }
    if (good && rename(part, path) == 0) return ES_OK;
    if (good) cause = errno;
    unlink(part);
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(cause));
}
