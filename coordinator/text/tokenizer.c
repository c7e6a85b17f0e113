/* Byte-level BPE: added tokens are cut out first, the rest is cut into words, and each word is merged. */
#include "text/tokenizer.h"

#include "base/file.h"
#include "base/size.h"
#include "base/utf8.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/buffer.h"
#include "text/byte_level.h"
#include "text/pretokenize.h"

#include <stdlib.h>
#include <string.h>

enum { QUOTED_MAX = 80, CACHED_WORD_MAX_BYTES = 48, CACHE_MIN_SLOTS = 64, CACHE_MAX_SLOTS = 32 * 1024 };

struct es_tokenizer {
    es_vocabulary vocabulary;
    es_bpe_model bpe;
    es_added_tokens plain_added;      /* matched in the text as given */
    es_added_tokens normalized_added; /* matched in what those leave, which the (empty) normalizer has seen */
    es_pretokenizer *pretokenizer;
    size_t longest_token_bytes;
    bool ignore_merges;
};

/* A word met before in the same call: its ids stand in the output already. */
typedef struct cached_word {
    uint32_t text_at, bytes; /* bytes 0: empty slot */
    uint32_t out_at, count;
} cached_word;

/* One call of es_tokenizer_encode. */
typedef struct encoding {
    const es_tokenizer *tokenizer;
    es_token_list *out;
    es_pretokenizer_scratch *cut;
    es_bpe_scratch bpe;
    es_buffer spelled;
    cached_word *cache;
    size_t cache_mask;
    const es_text_span *quoted; /* [quoted_count]: no added tokens there */
    size_t quoted_count;
    size_t tokens_max; /* beyond them the rest does not matter */
    bool more;         /* there are */
} encoding;

static int quoted(size_t bytes)
{
    return (int)es_size_min(bytes, QUOTED_MAX);
}

static es_status check_token(const es_token_spec *token, es_err *err)
{
    if (token->id < 0 || token->id >= ES_TOKENIZER_VOCABULARY_MAX)
        return es_err_set(err, ES_CORRUPT, "\"%.*s\": id %lld is outside 0 to %d", quoted(token->bytes),
                          token->text, (long long)token->id, ES_TOKENIZER_VOCABULARY_MAX - 1);
    if (token->bytes > ES_TOKENIZER_JSON_MAX)
        return es_err_set(err, ES_CORRUPT, "id %lld: %zu bytes of text", (long long)token->id, token->bytes);
    return ES_OK;
}

/* Checks every id and makes a vocabulary that has room for all tokens. */
static es_status size_vocabulary(const es_tokenizer_spec *spec, es_tokenizer *made, es_err *err)
{
    size_t size = 0, text_bytes = 0;
    for (size_t i = 0; i < spec->token_count; i++) {
        es_status status = check_token(&spec->tokens[i], err);
        if (status != ES_OK) {
            es_err_prefix(err, "model.vocab");
            return status;
        }
        size = es_size_max(size, (size_t)spec->tokens[i].id + 1);
        text_bytes += spec->tokens[i].bytes;
    }
    for (size_t i = 0; i < spec->added_count; i++) {
        const es_token_spec *token = &spec->added[i].token;
        es_status status = check_token(token, err);
        if (status == ES_OK && (token->bytes == 0 || token->bytes > ES_ADDED_TOKEN_MAX_BYTES))
            status = es_err_set(err, ES_UNSUPPORTED, "content of %zu bytes, not 1 to %d", token->bytes,
                                (int)ES_ADDED_TOKEN_MAX_BYTES);
        if (status != ES_OK) {
            es_err_prefix(err, "added_tokens[%zu]", i);
            return status;
        }
        size = es_size_max(size, (size_t)token->id + 1);
        text_bytes += token->bytes;
    }
    return es_vocabulary_init(&made->vocabulary, size, spec->token_count + spec->added_count, text_bytes,
                              err);
}

static es_status add_tokens(const es_tokenizer_spec *spec, es_tokenizer *made, es_err *err)
{
    for (size_t i = 0; i < spec->token_count; i++) {
        const es_token_spec *token = &spec->tokens[i];
        es_status status =
            es_vocabulary_add(&made->vocabulary, token->text, token->bytes, (uint32_t)token->id, err);
        if (status != ES_OK) {
            es_err_prefix(err, "model.vocab");
            return status;
        }
        made->longest_token_bytes = es_size_max(made->longest_token_bytes, token->bytes);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[ES_UTF8_MAX_BYTES];
        unsigned length = es_utf8_write(es_byte_level_character((uint8_t)byte), text);
        made->bpe.byte_ids[byte] = es_vocabulary_find(&made->vocabulary, text, length);
        if (made->bpe.byte_ids[byte] == ES_TOKEN_NONE)
            return es_err_set(err, ES_UNSUPPORTED, "model.vocab: no token for byte 0x%02X", byte);
    }
    return ES_OK;
}

/* The id of one side of a merge, or of both joined. */
static es_status find_merged(const es_tokenizer *made, const char *text, size_t bytes, uint32_t *ret_id,
                             es_err *err)
{
    *ret_id = es_vocabulary_find(&made->vocabulary, text, bytes);
    if (*ret_id != ES_TOKEN_NONE) return ES_OK;
    return es_err_set(err, ES_CORRUPT, "\"%.*s\" is not in the vocabulary", quoted(bytes), text);
}

static es_status add_merge(es_tokenizer *made, const es_merge_spec *merge, uint32_t rank, es_buffer *joined,
                           es_err *err)
{
    uint32_t left, right, both;
    es_status status = find_merged(made, merge->left, merge->left_bytes, &left, err);
    if (status == ES_OK) status = find_merged(made, merge->right, merge->right_bytes, &right, err);
    if (status != ES_OK) return status;
    joined->bytes = 0;
    es_buffer_append(joined, merge->left, merge->left_bytes);
    es_buffer_append(joined, merge->right, merge->right_bytes);
    if (joined->failed) return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    status = find_merged(made, joined->data != NULL ? joined->data : "", joined->bytes, &both, err);
    if (status != ES_OK) return status;
    if (!es_pair_map_put(&made->bpe.merges, left, right, (es_pair_value){rank, both}))
        return es_err_set(err, ES_NO_MEMORY, "not enough memory");
    return ES_OK;
}

static es_status add_merges(const es_tokenizer_spec *spec, es_tokenizer *made, es_err *err)
{
    if (spec->merge_count > ES_TOKENIZER_MERGES_MAX)
        return es_err_set(err, ES_CORRUPT, "model.merges: %zu merges, more than the %d allowed",
                          spec->merge_count, (int)ES_TOKENIZER_MERGES_MAX);
    if (!es_pair_map_init(&made->bpe.merges, spec->merge_count))
        return es_err_set(err, ES_NO_MEMORY, "model.merges: not enough memory");
    es_buffer joined = {0};
    es_status status = ES_OK;
    for (size_t i = 0; status == ES_OK && i < spec->merge_count; i++) {
        status = add_merge(made, &spec->merges[i], (uint32_t)i, &joined, err);
        if (status != ES_OK) es_err_prefix(err, "model.merges[%zu]", i);
    }
    es_buffer_fini(&joined);
    return status;
}

static es_status add_added(const es_tokenizer_spec *spec, es_tokenizer *made, es_err *err)
{
    for (size_t i = 0; i < spec->added_count; i++) {
        const es_added_token_spec *added = &spec->added[i];
        uint32_t id = (uint32_t)added->token.id;
        es_added_tokens *trie = added->normalized ? &made->normalized_added : &made->plain_added;
        es_status status =
            es_vocabulary_add(&made->vocabulary, added->token.text, added->token.bytes, id, err);
        if (status == ES_OK && !es_added_tokens_add(trie, added->token.text, added->token.bytes, id))
            status = es_err_set(err, ES_NO_MEMORY, "not enough memory");
        if (status != ES_OK) {
            es_err_prefix(err, "added_tokens[%zu]", i);
            return status;
        }
        made->vocabulary.tokens[id].added = true;
        made->vocabulary.tokens[id].special = added->special;
    }
    return ES_OK;
}

es_status es_tokenizer_create(const es_tokenizer_spec *spec, es_tokenizer **ret_tokenizer, es_err *err)
{
    *ret_tokenizer = NULL;
    es_tokenizer *made = calloc(1, sizeof *made);
    if (made == NULL) return es_err_set(err, ES_NO_MEMORY, "tokenizer: not enough memory");
    made->ignore_merges = spec->ignore_merges;
    es_status status = size_vocabulary(spec, made, err);
    if (status == ES_OK) status = add_tokens(spec, made, err);
    if (status == ES_OK) status = add_merges(spec, made, err);
    if (status == ES_OK) status = add_added(spec, made, err);
    if (status == ES_OK)
        status = es_pretokenizer_create(spec->splits, spec->split_count, true, &made->pretokenizer, err);
    if (status != ES_OK) {
        es_tokenizer_destroy(&made);
        return status;
    }
    *ret_tokenizer = made;
    return ES_OK;
}

es_status es_tokenizer_open(const char *path, es_tokenizer **ret_tokenizer, es_err *err)
{
    *ret_tokenizer = NULL;
    char *json;
    size_t bytes;
    es_status status = es_file_read(path, ES_TOKENIZER_JSON_MAX, &json, &bytes, err);
    if (status != ES_OK) return status;
    status = es_tokenizer_parse(json, bytes, path, ret_tokenizer, err);
    free(json);
    return status;
}

void es_tokenizer_destroy(es_tokenizer **tokenizer)
{
    if (*tokenizer == NULL) return;
    es_vocabulary_fini(&(*tokenizer)->vocabulary);
    es_pair_map_fini(&(*tokenizer)->bpe.merges);
    es_added_tokens_fini(&(*tokenizer)->plain_added);
    es_added_tokens_fini(&(*tokenizer)->normalized_added);
    es_pretokenizer_destroy(&(*tokenizer)->pretokenizer);
    free(*tokenizer);
    *tokenizer = NULL;
}

static es_status no_memory(es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "encoding text: not enough memory");
}

/* Under ignore_merges: the id of a word that is a token as a whole. Added tokens do not count: whether they
 * are seen is parse_added_tokens' to say. */
static uint32_t find_whole_word(encoding *e, const char *word, size_t bytes)
{
    const es_vocabulary *vocabulary = &e->tokenizer->vocabulary;
    if (bytes > e->tokenizer->longest_token_bytes) return ES_TOKEN_NONE;
    e->spelled.bytes = 0;
    for (size_t i = 0; i < bytes; i++) {
        char character[ES_UTF8_MAX_BYTES];
        unsigned length = es_utf8_write(es_byte_level_character((uint8_t)word[i]), character);
        es_buffer_append(&e->spelled, character, length);
    }
    if (e->spelled.failed) return ES_TOKEN_NONE;
    uint32_t id = es_vocabulary_find(vocabulary, e->spelled.data, e->spelled.bytes);
    return id != ES_TOKEN_NONE && !vocabulary->tokens[id].added ? id : ES_TOKEN_NONE;
}

/* The slot where the word is or would be kept, or NULL for a word too long to keep. */
static cached_word *cache_slot(const encoding *e, const char *word, size_t bytes)
{
    if (bytes > CACHED_WORD_MAX_BYTES) return NULL;
    uint64_t hash = bytes;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ (unsigned char)word[i]) * 0x9E3779B97F4A7C15u;
    return &e->cache[(hash >> 32) & e->cache_mask];
}

/* Whether the ids with those of so many more bytes are surely more than tokens_max. */
static bool has_more(encoding *e, size_t bytes)
{
    size_t longest = es_size_max(e->tokenizer->longest_token_bytes, 1);
    e->more = e->out->count > e->tokens_max || bytes / longest > e->tokens_max - e->out->count;
    return e->more;
}

static es_status encode_word(void *context, const char *text, size_t start, size_t end, es_err *err)
{
    encoding *e = context;
    const char *word = text + start;
    size_t bytes = end - start;
    if (has_more(e, bytes)) return ES_CANCELLED;
    cached_word *slot = cache_slot(e, word, bytes);
    if (slot != NULL && slot->bytes == bytes && memcmp(text + slot->text_at, word, bytes) == 0) {
        if (!es_token_list_reserve(e->out, slot->count)) return no_memory(err);
        memcpy(e->out->ids + e->out->count, e->out->ids + slot->out_at, slot->count * sizeof *e->out->ids);
        e->out->count += slot->count;
        return ES_OK;
    }
    size_t out_at = e->out->count;
    uint32_t whole = e->tokenizer->ignore_merges ? find_whole_word(e, word, bytes) : ES_TOKEN_NONE;
    bool done = whole != ES_TOKEN_NONE ? es_token_list_append(e->out, whole)
                                       : es_bpe_encode(&e->tokenizer->bpe, &e->bpe, word, bytes, e->out);
    if (!done || e->spelled.failed) return no_memory(err);
    if (slot != NULL && e->out->count <= UINT32_MAX)
        *slot = (cached_word){(uint32_t)start, (uint32_t)bytes, (uint32_t)out_at,
                              (uint32_t)(e->out->count - out_at)};
    return ES_OK;
}

static es_status encode_plain(encoding *e, const char *text, size_t start, size_t end, es_err *err)
{
    return es_pretokenizer_cut(e->tokenizer->pretokenizer, e->cut, text, start, end, encode_word, e, err);
}

/* The first quoted part that ends behind at. */
static size_t find_quoted(const encoding *e, size_t at)
{
    size_t low = 0, high = e->quoted_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (e->quoted[middle].end > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* es_added_tokens_find outside of what is quoted. */
static bool find_added(const encoding *e, const es_added_tokens *added, const char *text, size_t start,
                       size_t end, size_t *ret_start, size_t *ret_end, uint32_t *ret_id)
{
    for (size_t q = find_quoted(e, start); start < end; q++) {
        size_t limit = q < e->quoted_count ? es_size_min(end, e->quoted[q].start) : end;
        if (start < limit && es_added_tokens_find(added, text, start, limit, ret_start, ret_end, ret_id))
            return true;
        if (q == e->quoted_count) return false;
        start = e->quoted[q].end;
    }
    return false;
}

/* Encodes text[start..end): the added tokens of this pass as their ids, what lies between them by the next
 * pass. */
static es_status encode_pass(encoding *e, unsigned pass, const char *text, size_t start, size_t end,
                             es_err *err)
{
    const es_added_tokens *passes[] = {&e->tokenizer->plain_added, &e->tokenizer->normalized_added};
    if (pass == sizeof passes / sizeof *passes) return encode_plain(e, text, start, end, err);
    size_t token_start, token_end;
    uint32_t id;
    while (find_added(e, passes[pass], text, start, end, &token_start, &token_end, &id)) {
        es_status status = encode_pass(e, pass + 1, text, start, token_start, err);
        if (status != ES_OK) return status;
        if (!es_token_list_append(e->out, id)) return no_memory(err);
        start = token_end;
    }
    return encode_pass(e, pass + 1, text, start, end, err);
}

static es_status encode_valid(encoding *e, const char *text, size_t bytes, bool parse_added_tokens,
                              es_err *err)
{
    size_t slots = CACHE_MIN_SLOTS;
    while (slots < CACHE_MAX_SLOTS && slots < bytes / 8) slots *= 2;
    e->cache = calloc(slots, sizeof *e->cache);
    e->cache_mask = slots - 1;
    e->cut = es_pretokenizer_scratch_create(bytes);
    if (e->cache == NULL || e->cut == NULL) return no_memory(err);
    return parse_added_tokens ? encode_pass(e, 0, text, 0, bytes, err) : encode_plain(e, text, 0, bytes, err);
}

/* text with U+FFFD for what is not UTF-8; malloc'd, the caller's. */
static char *mend(const char *text, size_t bytes, size_t *ret_bytes)
{
    es_buffer mended = {0};
    for (size_t at = 0; at < bytes;) {
        es_utf8_step step = es_utf8_read(text + at, bytes - at);
        if (step.kind == ES_UTF8_CHARACTER)
            es_buffer_append(&mended, text + at, step.bytes);
        else
            es_buffer_append(&mended, ES_UTF8_REPLACEMENT, ES_UTF8_REPLACEMENT_BYTES);
        at += step.bytes;
    }
    return es_buffer_take(&mended, ret_bytes);
}

/* Encodes valid UTF-8; out is as it was on error. */
static es_status encode_all(encoding *e, const char *text, size_t bytes, bool parse_added_tokens, es_err *err)
{
    size_t count = e->out->count;
    es_status status = encode_valid(e, text, bytes, parse_added_tokens, err);
    if (e->more) status = ES_OK;
    if (status != ES_OK) e->out->count = count;
    es_pretokenizer_scratch_destroy(&e->cut);
    es_bpe_scratch_fini(&e->bpe);
    es_buffer_fini(&e->spelled);
    free(e->cache);
    return status;
}

static es_status check_length(size_t bytes, es_err *err)
{
    if (bytes <= ES_TOKENIZER_TEXT_MAX) return ES_OK;
    return es_err_set(err, ES_INVALID, "text of %zu bytes, more than the %d allowed", bytes,
                      (int)ES_TOKENIZER_TEXT_MAX);
}

es_status es_tokenizer_encode(const es_tokenizer *tokenizer, const char *text, size_t bytes,
                              bool parse_added_tokens, es_token_list *out, es_err *err)
{
    es_status status = check_length(bytes, err);
    if (status != ES_OK || bytes == 0) return status;
    char *mended = NULL;
    if (!es_utf8_is_valid(text, bytes)) {
        mended = mend(text, bytes, &bytes);
        if (mended == NULL) return no_memory(err);
    }
    encoding e = {.tokenizer = tokenizer, .out = out, .tokens_max = SIZE_MAX};
    status = encode_all(&e, mended != NULL ? mended : text, bytes, parse_added_tokens, err);
    free(mended);
    return status;
}

es_status es_tokenizer_encode_quoted(const es_tokenizer *tokenizer, const char *text, size_t bytes,
                                     const es_text_span *quoted, size_t quoted_count, size_t tokens_max,
                                     es_token_list *out, bool *ret_more, es_err *err)
{
    es_status status = check_length(bytes, err);
    *ret_more = false;
    if (status != ES_OK || bytes == 0) return status;
    if (!es_utf8_is_valid(text, bytes)) return es_err_set(err, ES_INVALID, "text is not UTF-8");
    encoding e = {.tokenizer = tokenizer,
                  .out = out,
                  .quoted = quoted,
                  .quoted_count = quoted_count,
                  .tokens_max = tokens_max};
    status = encode_all(&e, text, bytes, true, err);
    *ret_more = status == ES_OK && (e.more || out->count > tokens_max);
    return status;
}

size_t es_tokenizer_vocabulary_size(const es_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.size;
}

uint32_t es_tokenizer_find(const es_tokenizer *tokenizer, const char *text, size_t bytes)
{
    return es_vocabulary_find(&tokenizer->vocabulary, text, bytes);
}

const es_vocabulary_token *es_tokenizer_token(const es_tokenizer *tokenizer, uint32_t id)
{
    return es_vocabulary_at(&tokenizer->vocabulary, id);
}
