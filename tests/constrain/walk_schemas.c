/* Writes random values as masks allow them, with the real tokenizer: one line of JSON for each, to be judged
 * by check_walks.py. Prints the time that masks took as its last line. */
#include "base/file.h"
#include "constraint_of.h"
#include "text/buffer.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STEPS_MAX = 400, SHORT_AFTER = 60, PATH_MAX_BYTES = 4096 };

static uint64_t chance;
static uint64_t slowest_ns, total_ns, masks;

/* The thread's own time: other programs run beside. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t draw(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static void stop(const char *name, const es_err *err)
{
    fprintf(stderr, "%s: %s\n", name, err->text);
    exit(1);
}

/* An allowed token at random; -1 when there is none. Of several ends comes first when the walk should get
 * short; then tokens that close something. */
static int64_t choose(const es_token_trie *trie, const uint64_t *mask, size_t words, bool hurry)
{
    static const char CLOSING[] = "\"]},0123456789";
    for (size_t i = 0; hurry && i < trie->end_count; i++)
        if (mask[trie->ends[i] / 64] >> trie->ends[i] % 64 & 1) return trie->ends[i];
    size_t count = 0, closing = 0;
    int64_t chosen = -1, closes = -1;
    for (size_t w = 0; w < words; w++)
        for (uint64_t bits = mask[w]; bits != 0; bits &= bits - 1) {
            uint32_t id = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits);
            if (draw() % ++count == 0) chosen = id;
            size_t bytes;
            const char *text = hurry ? es_token_trie_text(trie, id, &bytes) : NULL;
            bool close = text != NULL && strchr("]}\"", text[0]) != NULL && bytes == 1;
            close =
                close || (text != NULL && bytes == 1 && strchr(CLOSING, text[0]) != NULL && draw() % 4 == 0);
            if (close && draw() % ++closing == 0) closes = id;
        }
    return hurry && closes >= 0 && draw() % 8 != 0 ? closes : chosen;
}

/* One value; false when it did not end within STEPS_MAX tokens. */
static bool walk(const es_token_trie *trie, es_constraint *c, const char *name, es_buffer *out)
{
    size_t words = es_constraint_mask_words(c);
    uint64_t *mask = malloc(words * sizeof *mask);
    es_err err;
    for (size_t step = 0; step < STEPS_MAX; step++) {
        uint64_t before = cpu_ns();
        if (mask == NULL || es_constraint_fill_mask(c, mask, &err) != ES_OK) stop(name, &err);
        uint64_t took = cpu_ns() - before;
        slowest_ns = took > slowest_ns ? took : slowest_ns;
        total_ns += took;
        masks++;
        int64_t token = choose(trie, mask, words, step >= SHORT_AFTER || draw() % 16 == 0);
        if (token < 0) {
            fprintf(stderr, "%s: nothing may come after %.*s\n", name, (int)out->bytes, out->data);
            exit(1);
        }
        if (es_constraint_accept(c, (uint32_t)token, &err) != ES_OK) stop(name, &err);
        size_t bytes;
        const char *text = es_token_trie_text(trie, (uint32_t)token, &bytes);
        if (bytes == 0) {
            free(mask);
            return true;
        }
        es_buffer_append(out, text, bytes);
    }
    free(mask);
    return false;
}

static void print_walk(const char *name, const es_buffer *out, bool ended)
{
    json_t *line = json_pack("{s:s, s:b, s:o}", "schema", name, "ended", ended, "text",
                             json_stringn_nocheck(out->bytes > 0 ? out->data : "", out->bytes));
    char *text = json_dumps(line, 0);
    json_decref(line);
    if (text != NULL) puts(text);
    free(text);
}

static void walk_schema(const es_token_trie *trie, const char *corpus, const char *name, size_t walks)
{
    char path[PATH_MAX_BYTES], *json;
    size_t bytes;
    es_err err;
    snprintf(path, sizeof path, "%s/%s/expected", corpus, name);
    if (es_file_read(path, 1 << 20, &json, &bytes, &err) == ES_OK) { /* one that is refused */
        free(json);
        return;
    }
    snprintf(path, sizeof path, "%s/%s/schema.json", corpus, name);
    if (es_file_read(path, 1 << 20, &json, &bytes, &err) != ES_OK) stop(name, &err);
    json_t *schema = json_loadb(json, bytes, JSON_DECODE_ANY, NULL);
    es_constrain_request request = {.form = ES_ANSWER_JSON_SCHEMA, .schema = schema};
    es_constraint *first, *c;
    if (constraint_of(trie, &request, ES_TOKEN_NONE, &first, &err) != ES_OK) stop(name, &err);
    for (size_t i = 0; i < walks; i++) {
        es_buffer out = {0};
        if (es_constraint_clone(first, &c, &err) != ES_OK) stop(name, &err);
        bool ended = walk(trie, c, name, &out);
        print_walk(name, &out, ended);
        es_buffer_fini(&out);
        es_constraint_destroy(&c);
    }
    es_constraint_destroy(&first);
    json_decref(schema);
    free(json);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: walk_schemas TOKENIZER.json CORPUS WALKS SEED\n");
        return 2;
    }
    static const uint32_t ENDS[] = {1};
    es_tokenizer *tokenizer;
    es_token_trie *trie;
    es_err err;
    chance = strtoull(argv[4], NULL, 10) * 2 + 1;
    if (es_tokenizer_open(argv[1], &tokenizer, &err) != ES_OK) stop(argv[1], &err);
    uint64_t before = cpu_ns();
    if (es_token_trie_create(tokenizer, 129280, ENDS, 1, &trie, &err) != ES_OK) stop(argv[1], &err);
    double trie_ms = (double)(cpu_ns() - before) / 1e6;
    struct dirent **entries;
    int count = scandir(argv[2], &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.')
            walk_schema(trie, argv[2], entries[i]->d_name, strtoul(argv[3], NULL, 10));
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    printf("{\"masks\": %" PRIu64
           ", \"mean_ms\": %.4f, \"slowest_ms\": %.3f, \"trie_nodes\": %zu, \"trie_ms\": %.1f}\n",
           masks, (double)total_ns / 1e6 / (double)(masks > 0 ? masks : 1), (double)slowest_ns / 1e6,
           trie->node_count, trie_ms);
    es_token_trie_destroy(&trie);
    es_tokenizer_destroy(&tokenizer);
    return 0;
}
