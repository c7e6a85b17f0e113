/* Lists of public keys as files. */
#include "net/key_file.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 1024 * 1024 };

es_status es_key_file_read(const char *path, char (*ret_keys)[ES_KEY_TEXT_BYTES], size_t keys_max,
                           size_t *ret_count, es_err *err)
{
    char *text, *rest;
    size_t bytes;
    *ret_count = 0;
    es_status status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status == ES_NOT_FOUND) return ES_OK;
    if (status != ES_OK) return status;
    for (char *line = strtok_r(text, "\r\n", &rest); line != NULL && status == ES_OK;
         line = strtok_r(NULL, "\r\n", &rest)) {
        if (line[0] == '#' && strlen(line) != ES_KEY_TEXT_BYTES - 1) continue;
        if (!es_key_valid(line))
            status = es_err_set(err, ES_INVALID, "%s: \"%.50s\" is no public key", path, line);
        else if (*ret_count == keys_max)
            status = es_err_set(err, ES_INVALID, "%s: more than %zu keys", path, keys_max);
        else
            memcpy(ret_keys[(*ret_count)++], line, ES_KEY_TEXT_BYTES);
    }
    free(text);
    return status;
}

es_status es_key_file_write(const char *path, const char *comment, const char (*keys)[ES_KEY_TEXT_BYTES],
                            size_t count, es_err *err)
{
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return es_err_set(err, ES_INVALID, "%s: path too long", path);
    FILE *file = fopen(part, "we");
    if (file == NULL) return es_err_set(err, ES_IO, "%s: %s", part, strerror(errno));
    bool good = fprintf(file, "# %s\n", comment) > 0;
    for (size_t i = 0; i < count && good; i++) good = fprintf(file, "%s\n", keys[i]) > 0;
    good = good && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int cause = errno;
    if (fclose(file) == 0 && good && rename(part, path) == 0) return ES_OK;
    if (good) cause = errno;
    unlink(part);
    return es_err_set(err, ES_IO, "%s: %s", path, strerror(cause));
}
