/* Whole files: mapped read-only when large, read into memory when small. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static es_status failed(es_err *err, const char *path, const char *what)
{
    es_status status = errno == ENOENT || errno == ENOTDIR ? ES_NOT_FOUND : ES_IO;
    return es_err_set(err, status, "%s: %s%s%s", path, what, what[0] ? ": " : "", strerror(errno));
}

/* Opens a regular file; its descriptor and size. Never waits: a pipe would be waited on for its writer. */
static es_status open_regular(const char *path, int *ret_fd, size_t *ret_bytes, es_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return failed(err, path, "");
    struct stat info;
    if (fstat(fd, &info) != 0) {
        es_status status = failed(err, path, "stat");
        close(fd);
        return status;
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return es_err_set(err, ES_INVALID, "%s: not a regular file", path);
    }
    *ret_fd = fd;
    *ret_bytes = (size_t)info.st_size;
    return ES_OK;
}

es_status es_file_map_open(const char *path, es_file_map *ret_map, es_err *err)
{
    *ret_map = (es_file_map){NULL, 0};
    int fd;
    size_t bytes;
    es_status status = open_regular(path, &fd, &bytes, err);
    if (status != ES_OK) return status;
    if (bytes > 0) {
        void *data = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            status = failed(err, path, "mmap");
            close(fd);
            return status;
        }
        *ret_map = (es_file_map){data, bytes};
    }
    close(fd);
    return ES_OK;
}

void es_file_map_close(es_file_map *map)
{
    if (map->data != NULL) munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (es_file_map){NULL, 0};
}

void es_file_map_forget(const es_file_map *map)
{
    if (map->data != NULL) madvise((void *)(uintptr_t)map->data, map->bytes, MADV_DONTNEED);
}

es_status es_file_read(const char *path, size_t bytes_max, char **ret_text, size_t *ret_bytes, es_err *err)
{
    *ret_text = NULL;
    int fd;
    size_t bytes;
    es_status status = open_regular(path, &fd, &bytes, err);
    if (status != ES_OK) return status;
    if (bytes > bytes_max) {
        close(fd);
        return es_err_set(err, ES_INVALID, "%s: %zu bytes, more than the %zu allowed", path, bytes,
                          bytes_max);
    }
    char *text = malloc(bytes + 1);
    if (text == NULL) {
        close(fd);
        return es_err_set(err, ES_NO_MEMORY, "%s: %zu bytes", path, bytes);
    }
    size_t done = 0;
    while (done < bytes) {
        ssize_t got = read(fd, text + done, bytes - done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            status = failed(err, path, "read");
            break;
        }
        if (got == 0) break;
        done += (size_t)got;
    }
    close(fd);
    if (status != ES_OK) {
        free(text);
        return status;
    }
    text[done] = '\0';
    *ret_text = text;
    *ret_bytes = done;
    return ES_OK;
}

es_status es_file_write(const char *dir, const char *name, const void *bytes, size_t size, es_err *err)
{
    char path[PATH_MAX];
    es_status status = es_file_join(path, sizeof path, dir, name, err);
    if (status != ES_OK) return status;
    FILE *file = fopen(path, "wbe");
    bool good = file != NULL && fwrite(bytes, 1, size, file) == size;
    int cause = errno;
    if (file != NULL && fclose(file) != 0 && good) {
        good = false;
        cause = errno;
    }
    return good ? ES_OK : es_err_set(err, ES_IO, "%s: %s", path, strerror(cause));
}

es_status es_file_join(char *out, size_t out_bytes, const char *dir, const char *name, es_err *err)
{
    int length = snprintf(out, out_bytes, "%s/%s", dir, name);
    if (length < 0 || (size_t)length >= out_bytes)
        return es_err_set(err, ES_INVALID, "%s/%s: path too long", dir, name);
    return ES_OK;
}
