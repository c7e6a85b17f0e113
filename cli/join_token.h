/* Where `essaim join` has its token from. */
#ifndef ES_CLI_JOIN_TOKEN_H
#define ES_CLI_JOIN_TOKEN_H

#include "cluster/token.h"

enum { CLI_JOIN_TOKEN_MAX = ES_TOKEN_AT_TEXT_MAX + ES_TOKEN_TEXT_MAX };

/* "TOKEN@HOST:PORT": word itself, or, where word is "-", the first line of input (a descriptor), waited for
 * up to wait_ms; or the first line of file. One of word and file is not NULL. The caller wipes ret_text.
 * ES_INVALID shows nothing of what was read. */
es_status cli_join_token_read(const char *word, const char *file, int input, unsigned wait_ms,
                              char ret_text[CLI_JOIN_TOKEN_MAX], es_err *err);

#endif
