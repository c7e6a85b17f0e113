/* Which pages may use the server. */
#include "http/origin.h"
#include "with_cmocka.h"

static void without_a_list_pages_of_this_machine_may(void **state)
{
    (void)state;
    const es_option_list none = {.count = 0};
    static const char *const MAY[] = {
        "http://localhost",      "http://localhost:3000", "https://LOCALHOST:3",
        "http://127.0.0.1:5173", "http://[::1]:80",       "http://chat.localhost:1",
        "app://obsidian.md",     "vscode-webview://1a2b", "tauri://localhost"};
    static const char *const MAY_NOT[] = {"null",
                                          "",
                                          "https://evil.example",
                                          "http://localhost.evil.example",
                                          "http://127.0.0.1.evil.example",
                                          "http://evillocalhost",
                                          "app",
                                          "http://",
                                          "http://:80",
                                          "xapp://x"};
    for (size_t i = 0; i < sizeof MAY / sizeof MAY[0]; i++)
        assert_true(es_http_origin_allowed(&none, MAY[i], "h:1"));
    for (size_t i = 0; i < sizeof MAY_NOT / sizeof MAY_NOT[0]; i++)
        assert_false(es_http_origin_allowed(&none, MAY_NOT[i], "h:1"));
}

static void a_list_is_all_there_is_beside_its_own_pages(void **state)
{
    (void)state;
    const es_option_list list = {.item = {"https://chat.example", "http://two:8"}, .count = 2};
    const es_option_list any = {.item = {"*"}, .count = 1};
    assert_true(es_http_origin_allowed(&list, "https://chat.example", "h:1"));
    assert_true(es_http_origin_allowed(&list, "http://two:8", "h:1"));
    assert_false(es_http_origin_allowed(&list, "http://two:80", "h:1"));
    assert_false(es_http_origin_allowed(&list, "http://localhost", "h:1"));
    assert_true(es_http_origin_allowed(&list, "https://server.example:8443", "server.example:8443"));
    assert_false(es_http_origin_allowed(&list, "null", ""));
    assert_true(es_http_origin_allowed(&any, "null", ""));
}

static void names_of_this_machine_are_told_from_others(void **state)
{
    (void)state;
    static const char *const LOCAL[] = {"localhost", "localhost:80", "a.localhost:1", "127.0.0.1:8080",
                                        "192.0.2.7", "[::1]:80",     "[2001:db8::1]"};
    static const char *const OTHER[] = {"", ":80", "evil.example", "localhost.evil.example:80",
                                        "127.0.0.1.evil.example"};
    for (size_t i = 0; i < sizeof LOCAL / sizeof LOCAL[0]; i++) assert_true(es_http_host_is_local(LOCAL[i]));
    for (size_t i = 0; i < sizeof OTHER / sizeof OTHER[0]; i++) assert_false(es_http_host_is_local(OTHER[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_list_pages_of_this_machine_may),
        cmocka_unit_test(a_list_is_all_there_is_beside_its_own_pages),
        cmocka_unit_test(names_of_this_machine_are_told_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
