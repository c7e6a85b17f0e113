/* Whole files: mapped read-only when large, read into memory when small. */
#ifndef ES_BASE_FILE_H
#define ES_BASE_FILE_H

#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

/* A read-only mapping of a whole regular file. data is NULL when bytes is 0. */
typedef struct es_file_map {
    const uint8_t *data;
    size_t bytes;
} es_file_map;

/* ES_NOT_FOUND or ES_IO; the error names the path. A mapped file that is truncated later raises SIGBUS,
 * which ends the program (base/bus_error.h): weights are not to be edited in place. */
es_status es_file_map_open(const char *path, es_file_map *ret_map, es_err *err);
void es_file_map_close(es_file_map *map);

/* Lets go of the memory that reading the map has filled; what is read again comes from the file again. */
void es_file_map_forget(const es_file_map *map);

/* Reads a small file (config, tokenizer, keys; "-" is not special). *ret_text is malloc'd, NUL-terminated,
 * yours; *ret_bytes excludes that NUL. ES_INVALID when it is larger than bytes_max. */
es_status es_file_read(const char *path, size_t bytes_max, char **ret_text, size_t *ret_bytes, es_err *err);

/* Makes dir/name, or replaces it, with these bytes. ES_IO names the path. */
es_status es_file_write(const char *dir, const char *name, const void *bytes, size_t size, es_err *err);

/* Writes dir, '/' and name into out; ES_INVALID when it does not fit. */
es_status es_file_join(char *out, size_t out_bytes, const char *dir, const char *name, es_err *err);

#endif
