/* Targets of requests as the calls are named. */
#include "http/path.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <string.h>

static void targets_become_paths(void **state)
{
    (void)state;
    static const char *const CASES[][2] = {
        {"/", "/"},
        {"/v1", "/"},
        {"/v1/", "/"},
        {"/v1?x", "/"},
        {"/v1/models", "/models"},
        {"/models?a=1&b=%zz", "/models"},
        {"/v1/models/deepseek-r1%2Fq4#there", "/models/deepseek-r1/q4"},
        {"/v1/v1/models", "/v1/models"},
        {"/v10/models", "/v10/models"},
        {"/%76%31/models", "/models"},
        {"http://host:80/v1/health", "/health"},
        {"HTTPS://host", "/"},
        {"http://host?x=/y", "/"},
        {"/mod%C3%A8le", "/mod\xC3\xA8le"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char path[ES_HTTP_PATH_MAX];
        assert_true(es_http_path_read(CASES[i][0], path));
        assert_string_equal(path, CASES[i][1]);
    }
}

static void what_is_no_path_is_refused(void **state)
{
    (void)state;
    static const char *const CASES[] = {"",     "*",          "v1/models", "ftp://host/x", "/%",
                                        "/%4",  "/%4g",       "/%00",      "/a%0Ab",       "/%7F",
                                        "/%C3", "/%ED%A0%80", "/\x01x",    "/\xFF",        "host:443"};
    char path[ES_HTTP_PATH_MAX], longest[ES_HTTP_PATH_MAX + 8];
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        assert_false(es_http_path_read(CASES[i], path));
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[ES_HTTP_PATH_MAX - 1] = '\0';
    assert_true(es_http_path_read(longest, path));
    assert_string_equal(path, longest);
    longest[ES_HTTP_PATH_MAX - 1] = 'x';
    longest[ES_HTTP_PATH_MAX] = '\0';
    assert_false(es_http_path_read(longest, path));
}

static const char *label(const char *path)
{
    size_t index = es_http_path_label_index(path);
    assert_true(index < es_http_path_label_count());
    return es_http_path_label_at(index);
}

static void paths_are_counted_under_few_labels(void **state)
{
    (void)state;
    assert_string_equal(label("/chat/completions"), "/chat/completions");
    assert_string_equal(label("/models/anything/at/all"), "/models");
    assert_string_equal(label("/"), "page");
    assert_string_equal(label("/other"), "other");
    assert_string_equal(label("page"), "other");
    assert_string_equal(label(""), "other");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_become_paths),
        cmocka_unit_test(what_is_no_path_is_refused),
        cmocka_unit_test(paths_are_counted_under_few_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
