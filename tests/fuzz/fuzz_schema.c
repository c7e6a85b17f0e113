/* Any bytes as a JSON Schema, and choices of what to write: it is refused with a reason, or whatever its
 * masks allow can be written, ends, and is JSON. Input: a schema, NUL, one byte for each choice. */
#include "../constrain/constraint_of.h"
#include "base/utf8.h"
#include "text/buffer.h"
#include "text/byte_level.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BYTES = 256, END = 260, WIDTH = 261, STEPS_MAX = 200, WORDS = (WIDTH + 63) / 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All bytes, a few longer tokens, and an end. Made once. */
static es_token_trie *make_trie(void)
{
    static const char *const LONGER[] = {"{\"", "\":", "\"},", "e\xC3"};
    static const uint32_t ENDS[] = {END};
    static char texts[END][16];
    static es_token_spec tokens[END];
    size_t count = 0;
    for (; count < END; count++) {
        const char byte = (char)count, *raw = count < BYTES ? &byte : LONGER[count - BYTES];
        size_t bytes = count < BYTES ? 1 : strlen(raw), at = 0;
        for (size_t i = 0; i < bytes; i++)
            at += es_utf8_write(es_byte_level_character((uint8_t)raw[i]), texts[count] + at);
        tokens[count] = (es_token_spec){texts[count], at, (int64_t)count};
    }
    const es_added_token_spec end = {.token = {"<end>", 5, END}, .special = true};
    const es_tokenizer_spec spec = {.tokens = tokens, .token_count = count, .added = &end, .added_count = 1};
    es_tokenizer *tokenizer;
    es_token_trie *trie;
    es_err err;
    ES_ASSERT(es_tokenizer_create(&spec, &tokenizer, &err) == ES_OK);
    ES_ASSERT(es_token_trie_create(tokenizer, WIDTH, ENDS, 1, &trie, &err) == ES_OK);
    return trie;
}

/* The allowed token that a choice falls on. */
static uint32_t choose(const uint64_t mask[WORDS], uint8_t choice)
{
    uint32_t allowed[WIDTH], count = 0;
    for (uint32_t id = 0; id < WIDTH; id++)
        if (mask[id / 64] >> id % 64 & 1) allowed[count++] = id;
    ES_ASSERT(count > 0); /* nothing leads to where nothing may follow */
    return allowed[choice % count];
}

static void check_is_json(const es_buffer *out)
{
    const char *text = out->data;
    size_t bytes = out->bytes;
    ES_ASSERT(!out->failed && bytes > 0 && es_utf8_is_valid(text, bytes));
    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ES_ASSERT(value != NULL);
    json_decref(value);
}

static void walk(const es_token_trie *trie, es_constraint *c, const uint8_t *choices, size_t count)
{
    es_buffer out = {0};
    es_err err;
    for (size_t i = 0; i < count && i < STEPS_MAX; i++) {
        uint64_t mask[WORDS];
        es_status status = es_constraint_fill_mask(c, mask, &err);
        uint32_t token = status == ES_OK ? choose(mask, choices[i]) : END;
        if (status == ES_OK) status = es_constraint_accept(c, token, &err);
        ES_ASSERT(status == ES_OK || status == ES_UNSUPPORTED || status == ES_NO_MEMORY);
        if (status != ES_OK) break;
        if (token == END) {
            check_is_json(&out);
            break;
        }
        size_t bytes;
        const char *text = es_token_trie_text(trie, token, &bytes);
        es_buffer_append(&out, text, bytes);
    }
    es_buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static es_token_trie *trie;
    if (trie == NULL) trie = make_trie();
    const uint8_t *nul = size > 0 ? memchr(data, '\0', size) : NULL;
    size_t json_bytes = nul != NULL ? (size_t)(nul - data) : size;
    json_t *schema = json_loadb((const char *)data, json_bytes, JSON_DECODE_ANY, NULL);
    if (schema == NULL) return 0;
    for (int lenient = 0; lenient < 2; lenient++) {
        es_constrain_request request = {
            .form = ES_ANSWER_JSON_SCHEMA, .schema = schema, .schema_lenient = lenient != 0};
        es_constraint *c;
        es_err err = {0};
        es_status status = constraint_of(trie, &request, ES_TOKEN_NONE, &c, &err);
        ES_ASSERT(status == err.status && (status == ES_OK) == (c != NULL));
        if (c != NULL && nul != NULL) walk(trie, c, nul + 1, size - json_bytes - 1);
        es_constraint_destroy(&c);
    }
    json_decref(schema);
    return 0;
}
