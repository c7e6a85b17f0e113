/* Each folder of tests/constrain/corpus holds a schema and the texts it accepts and rejects, or its exact
 * error. */
#include "with_cmocka.h"

#include "../text/text_fixture.h"
#include "base/file.h"
#include "constraint_of.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CASES_MIN = 120, INPUT_MAX = 1024 * 1024, END = 256 };

static es_tokenizer *tokenizer;
static es_token_trie *trie;

static char *read_input(const char *name, const char *file)
{
    char path[4096], *text;
    size_t bytes;
    es_err err;
    snprintf(path, sizeof path, "%s/tests/constrain/corpus/%s/%s", ESSAIM_SOURCE_DIR, name, file);
    return es_file_read(path, INPUT_MAX, &text, &bytes, &err) == ES_OK ? text : NULL;
}

/* Whether text, byte by byte, may be written and then ended. Masks and steps must agree on every byte. */
static bool is_accepted(const es_constraint *constraint, const char *text)
{
    uint64_t mask[8];
    es_constraint *c;
    es_err err;
    assert_int_equal(es_constraint_clone(constraint, &c, &err), ES_OK);
    assert_true(es_constraint_mask_words(c) <= 8);
    bool going = true;
    for (; going && *text != '\0'; text++) {
        unsigned byte = (unsigned char)*text;
        if (es_constraint_fill_mask(c, mask, &err) != ES_OK) fail_msg("%s", err.text);
        going = es_constraint_accept(c, byte, &err) == ES_OK;
        assert_int_equal(going, mask[byte / 64] >> byte % 64 & 1);
    }
    if (going && es_constraint_fill_mask(c, mask, &err) != ES_OK) fail_msg("%s", err.text);
    bool complete = going && es_constraint_is_complete(c);
    if (going) assert_int_equal(complete, mask[END / 64] >> END % 64 & 1);
    if (going) assert_int_equal(es_constraint_accept(c, END, &err), complete ? ES_OK : ES_INVALID);
    es_constraint_destroy(&c);
    return complete;
}

/* How many lines of the file are judged otherwise than they should be. */
static size_t check_lines(const char *name, const char *file, const es_constraint *constraint, bool accepted)
{
    char *text = read_input(name, file), *rest = NULL;
    size_t wrong = 0;
    if (text == NULL) fail_msg("%s: no file %s", name, file);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (is_accepted(constraint, line) == accepted) continue;
        print_error("%s: %s is not %s\n", name, line, file);
        wrong++;
    }
    free(text);
    return wrong;
}

static size_t check_case(const char *name)
{
    char *json = read_input(name, "schema.json"), *expected = read_input(name, "expected");
    if (json == NULL) fail_msg("%s: no schema.json", name);
    json_t *schema = json_loads(json, JSON_DECODE_ANY, NULL);
    if (schema == NULL) fail_msg("%s: schema.json is not JSON", name);
    free(json);
    es_constrain_request request = {.form = ES_ANSWER_JSON_SCHEMA, .schema = schema};
    es_constraint *constraint;
    es_err err = {0};
    es_status status = constraint_of(trie, &request, ES_TOKEN_NONE, &constraint, &err);
    json_decref(schema);
    size_t wrong = 0;
    if (expected != NULL) {
        expected[strcspn(expected, "\n")] = '\0';
        const char *says = status == ES_OK ? "(accepted)" : err.text + strlen("response_format: ");
        wrong = strcmp(says, expected) != 0 || status != err.status;
        if (wrong) print_error("%s:\n  says     %s\n  expected %s\n", name, says, expected);
    } else if (status != ES_OK) {
        print_error("%s: %s\n", name, err.text);
        wrong = 1;
    } else {
        wrong = check_lines(name, "accepted", constraint, true) +
                check_lines(name, "rejected", constraint, false);
    }
    es_constraint_destroy(&constraint);
    free(expected);
    return wrong;
}

static void each_schema_is_read_as_it_is_meant(void **state)
{
    (void)state;
    DIR *dir = opendir(ESSAIM_SOURCE_DIR "/tests/constrain/corpus");
    assert_non_null(dir);
    size_t cases = 0, wrong = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        wrong += check_case(entry->d_name);
        cases++;
    }
    closedir(dir);
    assert_int_equal(wrong, 0);
    assert_true(cases >= CASES_MIN);
}

/* What is within white space cannot stand in a line of the corpus. */
static void white_space_has_bounds(void **state)
{
    (void)state;
    json_t *schema =
        json_loads("{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"array\"}}}", 0, NULL);
    es_constrain_request request = {.form = ES_ANSWER_JSON_SCHEMA, .schema = schema};
    es_constraint *c;
    es_err err = {0};
    if (constraint_of(trie, &request, ES_TOKEN_NONE, &c, &err) != ES_OK) fail_msg("%s", err.text);
    assert_true(is_accepted(c, "{\n  \"a\": [\n    1,\n    2\n  ]\n}"));
    assert_true(is_accepted(c, "\n\n{\n\t\"a\":[\n\t\t1 ]\n}"));
    assert_false(is_accepted(c, "\n\n\n{}"));
    assert_false(is_accepted(c, " {}"));
    assert_false(is_accepted(c, "{}\n"));
    assert_false(is_accepted(c, "{\n\n\"a\":[]}"));
    assert_false(is_accepted(c, "{  \"a\":[]}"));
    assert_false(is_accepted(c, "{\n \t\"a\":[]}"));
    assert_false(is_accepted(c, "{\n                                         \"a\":[]}"));
    es_constraint_destroy(&c);
    json_decref(schema);
}

static int make_trie(void **state)
{
    (void)state;
    static const uint32_t ENDS[] = {END};
    es_err err;
    tokenizer = fixture_tokenizer("", "[]", "[{\"id\": 256, \"content\": \"<e>\", \"special\": true}]",
                                  FIXTURE_NO_SPLIT);
    return es_token_trie_create(tokenizer, 300, ENDS, 1, &trie, &err) == ES_OK ? 0 : -1;
}

static int drop_trie(void **state)
{
    (void)state;
    es_token_trie_destroy(&trie);
    es_tokenizer_destroy(&tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_schema_is_read_as_it_is_meant),
        cmocka_unit_test(white_space_has_bounds),
    };
    return cmocka_run_group_tests(tests, make_trie, drop_trie);
}
