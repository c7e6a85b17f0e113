/* Byte-level BPE: text to token ids, equal to the Hugging Face library's for the files it supports.
 *
 * A tokenizer is read-only once made: any number of threads may use one at the same time without locks. What
 * a call needs beyond it lives in that call. */
#ifndef ES_TEXT_TOKENIZER_H
#define ES_TEXT_TOKENIZER_H

#include "essaim/status.h"
#include "text/token_list.h"
#include "text/vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ES_TOKENIZER_JSON_MAX = 128 * 1024 * 1024,     /* bytes of a tokenizer.json */
    ES_TOKENIZER_VOCABULARY_MAX = 4 * 1024 * 1024, /* ids are below this */
    ES_TOKENIZER_MERGES_MAX = 16 * 1024 * 1024,
    ES_TOKENIZER_TEXT_MAX = 64 * 1024 * 1024 /* bytes of text in one call */
};

typedef struct es_tokenizer es_tokenizer;

/* Reads a tokenizer.json. Errors name the file and the field: ES_NOT_FOUND, ES_IO, ES_CORRUPT for a file that
 * contradicts itself, ES_UNSUPPORTED for one that asks for what this reader does not do (it never guesses).
 */
es_status es_tokenizer_open(const char *path, es_tokenizer **ret_tokenizer, es_err *err);

/* The same from json[bytes] in memory; name stands for the file in errors. */
es_status es_tokenizer_parse(const char *json, size_t bytes, const char *name, es_tokenizer **ret_tokenizer,
                             es_err *err);

void es_tokenizer_destroy(es_tokenizer **tokenizer);

/* Appends the ids of text[bytes] to out (zero-initialised, or with ids in it that stay); on error out is as
 * it was.
 *
 * parse_added_tokens: added tokens spelled out in the text ("<｜User｜>") become their ids, as in Hugging
 * Face's encode with add_special_tokens=false; false takes them for ordinary text, which is right for what a
 * user typed. Nothing is ever added. Bytes that are not UTF-8 become U+FFFD, one for each longest start of a
 * character, as in a lossy decode; so does no text fail for its bytes. ES_INVALID above
 * ES_TOKENIZER_TEXT_MAX, ES_NO_MEMORY; ES_UNSUPPORTED or ES_TIMEOUT when the file's own patterns are too
 * costly to match. */
es_status es_tokenizer_encode(const es_tokenizer *tokenizer, const char *text, size_t bytes,
                              bool parse_added_tokens, es_token_list *out, es_err *err);

/* A part of a text: its bytes from start up to end. */
typedef struct es_text_span {
    size_t start, end;
} es_text_span;

/* The same for a text laid out by us around the words of others: added tokens become their ids except within
 * quoted [quoted_count], parts in ascending order that do not overlap. So nobody's words can pass for the
 * layout's. Stops when more than tokens_max ids are in out: then *ret_more is true and out->count says no
 * more than that, so that a text much too long costs little. ES_INVALID too for text that is not UTF-8. */
es_status es_tokenizer_encode_quoted(const es_tokenizer *tokenizer, const char *text, size_t bytes,
                                     const es_text_span *quoted, size_t quoted_count, size_t tokens_max,
                                     es_token_list *out, bool *ret_more, es_err *err);

/* The largest id + 1; ids below it may be unused. */
size_t es_tokenizer_vocabulary_size(const es_tokenizer *tokenizer);

/* The id of the token that the file spells text[bytes] (byte-level characters; added tokens as they are), or
 * ES_TOKEN_NONE. */
uint32_t es_tokenizer_find(const es_tokenizer *tokenizer, const char *text, size_t bytes);

/* The token of an id, or NULL when it has none: its spelling, the bytes it decodes to, whether it is added or
 * special. Lives as long as the tokenizer. */
const es_vocabulary_token *es_tokenizer_token(const es_tokenizer *tokenizer, uint32_t id);

/* What a tokenizer is made of, for readers of other formats. Everything is borrowed until es_tokenizer_create
 * returns. */
typedef struct es_token_spec {
    const char *text;
    size_t bytes;
    int64_t id;
} es_token_spec;

typedef struct es_added_token_spec {
    es_token_spec token; /* may also stand in the vocabulary, with the same id */
    bool special;
    bool normalized; /* matched after those that are not */
} es_added_token_spec;

typedef struct es_merge_spec {
    const char *left, *right;
    size_t left_bytes, right_bytes;
} es_merge_spec;

typedef struct es_split_spec {
    const char *pattern;
    size_t bytes;
    bool literal; /* plain text, not a regular expression */
} es_split_spec;

typedef struct es_tokenizer_spec {
    const es_token_spec *tokens; /* holds all 256 byte-level characters */
    const es_added_token_spec *added;
    const es_merge_spec *merges; /* in order of rank */
    const es_split_spec *splits; /* applied in order, behaviour Isolated */
    size_t token_count, added_count, merge_count, split_count;
    bool ignore_merges; /* a word that is a token as a whole is not merged */
} es_tokenizer_spec;

es_status es_tokenizer_create(const es_tokenizer_spec *spec, es_tokenizer **ret_tokenizer, es_err *err);

#endif
