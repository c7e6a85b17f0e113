/* A GGUF model on disk: one file, or all the parts of one that was split. */
#ifndef ES_WEIGHTS_GGUF_FILES_H
#define ES_WEIGHTS_GGUF_FILES_H

#include "base/file.h"
#include "weights/gguf.h"

enum { ES_GGUF_FILES_MAX = 4096 };

/* Immutable once opened. */
typedef struct es_gguf_files {
    es_file_map *maps; /* [count] */
    es_gguf *parts;    /* [count]; the first holds the model's metadata */
    size_t count;
} es_gguf_files;

/* True when path is named as a GGUF file is, by its ending, or is a file that begins as one. */
bool es_gguf_is_path(const char *path);

/* Maps and parses path, which may be any part of NAME-00001-of-00003.gguf and so on: all are opened then.
 * Lists go to the arena. Errors name the file: ES_NOT_FOUND a part that is missing, ES_CORRUPT parts that do
 * not belong together, else as es_gguf_parse. What was opened before an error is closed by
 * es_gguf_files_close all the same. */
es_status es_gguf_files_open(const char *path, es_arena *arena, es_gguf_files *ret_files, es_err *err);
void es_gguf_files_close(es_gguf_files *files);

#endif
