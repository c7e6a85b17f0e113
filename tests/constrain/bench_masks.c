/* How long masks take with the real tokenizer, computed anew and remembered: prints JSON. The time is the
 * thread's own, since other programs may run beside. Fails when a mask takes longer than the step of a model
 * may. */
#include "constraint_of.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIMIT_MS = 50, ROUNDS = 200 };

typedef struct probe {
    const char *name, *schema, *written; /* the mask behind written is measured */
} probe;

static const probe PROBES[] = {
    {"inside of a string", "{\"type\": \"string\"}", "\"a"},
    {"string with a length", "{\"type\": \"string\", \"maxLength\": 60}", "\"a"},
    {"string with a pattern", "{\"type\": \"string\", \"pattern\": \"^(?:[a-z]+ )*[A-Z]\\\\w{3,9}$\"}",
     "\"a"},
    {"number", "{\"type\": \"number\"}", "1"},
    {"any value", "{}", "{\"a\": "},
    {"behind a brace", "{\"type\": \"object\", \"properties\": {\"name\": {}, \"age\": {}}}", "{"},
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void stop(const char *name, const es_err *err)
{
    fprintf(stderr, "%s: %s\n", name, err->text);
    exit(1);
}

/* Milliseconds of the first mask at a place, and of a further one. */
static double measure(const es_tokenizer *tokenizer, const es_token_trie *trie, const probe *p,
                      double *ret_again)
{
    es_err err;
    json_t *schema = json_loads(p->schema, 0, NULL);
    es_constrain_request request = {.form = ES_ANSWER_JSON_SCHEMA, .schema = schema};
    es_constraint *c;
    if (constraint_of(trie, &request, ES_TOKEN_NONE, &c, &err) != ES_OK) stop(p->name, &err);
    json_decref(schema);
    es_token_list ids = {0};
    for (size_t i = 0; p->written[i] != '\0'; i++) { /* a character a token */
        if (es_tokenizer_encode(tokenizer, p->written + i, 1, false, &ids, &err) != ES_OK)
            stop(p->name, &err);
        if (es_constraint_accept(c, ids.ids[i], &err) != ES_OK) stop(p->name, &err);
    }
    uint64_t *mask = malloc(es_constraint_mask_words(c) * sizeof *mask);
    double before = cpu_ms();
    if (mask == NULL || es_constraint_fill_mask(c, mask, &err) != ES_OK) stop(p->name, &err);
    double first = cpu_ms() - before;
    before = cpu_ms();
    for (size_t i = 0; i < ROUNDS; i++)
        if (es_constraint_fill_mask(c, mask, &err) != ES_OK) stop(p->name, &err);
    *ret_again = (cpu_ms() - before) / ROUNDS;
    free(mask);
    es_token_list_fini(&ids);
    es_constraint_destroy(&c);
    return first;
}

int main(int argc, char **argv)
{
    static const uint32_t ENDS[] = {1};
    es_tokenizer *tokenizer;
    es_token_trie *trie;
    es_err err;
    if (argc != 2) {
        fprintf(stderr, "usage: bench_masks TOKENIZER.json\n");
        return 2;
    }
    if (es_tokenizer_open(argv[1], &tokenizer, &err) != ES_OK) stop(argv[1], &err);
    double before = cpu_ms(), slowest = 0;
    if (es_token_trie_create(tokenizer, 129280, ENDS, 1, &trie, &err) != ES_OK) stop(argv[1], &err);
    printf("{\"trie_ms\": %.1f, \"trie_nodes\": %zu", cpu_ms() - before, trie->node_count);
    for (size_t i = 0; i < sizeof PROBES / sizeof *PROBES; i++) {
        double again, first = measure(tokenizer, trie, &PROBES[i], &again);
        slowest = first > slowest ? first : slowest;
        printf(", \"%s\": {\"first_ms\": %.3f, \"again_ms\": %.4f}", PROBES[i].name, first, again);
    }
    puts("}");
    es_token_trie_destroy(&trie);
    es_tokenizer_destroy(&tokenizer);
    return slowest > LIMIT_MS;
}
