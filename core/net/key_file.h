/* Lists of public keys as files of one key a line, which programs write for each other. */
#ifndef ES_NET_KEY_FILE_H
#define ES_NET_KEY_FILE_H

#include "net/keys.h"

/* Reads at most keys_max keys; '#' begins a comment. A file that is not there holds none. ES_INVALID names
 * the line that is no key. */
es_status es_key_file_read(const char *path, char (*ret_keys)[ES_KEY_TEXT_BYTES], size_t keys_max,
                           size_t *ret_count, es_err *err);

/* Writes the file whole or not at all: whoever reads it meanwhile finds the former one. */
es_status es_key_file_write(const char *path, const char *comment, const char (*keys)[ES_KEY_TEXT_BYTES],
                            size_t count, es_err *err);

#endif
