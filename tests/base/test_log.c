/* What lands on stderr, byte for byte. */
#include "base/log.h"

#include "base/utf8.h"
#include "with_cmocka.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int pipe_fd[2], own_stderr;
static char said[4 * ES_LOG_LINE_MAX];

/* What was written since the last call. Every event fits into the pipe. */
static const char *hear(void)
{
    ssize_t count = read(pipe_fd[0], said, sizeof said - 1);
    said[count > 0 ? count : 0] = '\0';
    return said;
}

static int take_stderr(void **state)
{
    (void)state;
    own_stderr = dup(STDERR_FILENO);
    return pipe(pipe_fd) == 0 && dup2(pipe_fd[1], STDERR_FILENO) >= 0 && own_stderr >= 0 ? 0 : -1;
}

static int give_stderr_back(void **state)
{
    (void)state;
    dup2(own_stderr, STDERR_FILENO);
    close(pipe_fd[0]);
    return close(pipe_fd[1]);
}

static void serve(es_log_format format, es_log_level level)
{
    es_log_serve("essaim-test", &(es_log_options){.format = format, .level = level});
}

static void plain_lines_are_for_people(void **state)
{
    (void)state;
    const es_log_field fields[] = {es_log_count("layer", 3)};
    es_log_configure("essaim", ES_LOG_WARN);
    es_log_with(ES_LOG_WARN, fields, "node %s is lost", "n2");
    assert_string_equal(hear(), "essaim: warning: node n2 is lost\n");
    assert_false(es_log_wants(ES_LOG_INFO));
}

static void text_has_time_room_level_and_fields(void **state)
{
    (void)state;
    unsigned year, month, day, hour, minute, second, ms;
    const es_log_field fields[] = {es_log_text("request", "req-1"), es_log_text("key", NULL),
                                   es_log_text("path", "a b"), es_log_count("layer", 3),
                                   es_log_real("ms", 1.5)};
    serve(ES_LOG_TEXT, ES_LOG_INFO);
    es_log_with(ES_LOG_INFO, fields, "called \"%s\"", "it");
    const char *line = hear();
    assert_int_equal(
        sscanf(line, "%4u-%2u-%2uT%2u:%2u:%2u.%3uZ", &year, &month, &day, &hour, &minute, &second, &ms), 7);
    assert_true(year >= 2020 && month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24);
    assert_string_equal(
        line + strlen("2026-01-01T00:00:00.000Z"),
        " essaim-test/main: info: called \"it\" request=req-1 path=\"a b\" layer=3 ms=1.500\n");
}

static void json_is_one_object_a_line(void **state)
{
    (void)state;
    const es_log_field fields[] = {es_log_text("request", "req-1"), es_log_count("layer", UINT64_MAX),
                                   es_log_real("ms", 0.25)};
    serve(ES_LOG_JSON, ES_LOG_INFO);
    es_log_with(ES_LOG_ERROR, fields, "no \"room\" left");
    const char *line = hear();
    assert_memory_equal(line, "{\"time\":\"", 9);
    assert_string_equal(
        line + strlen("{\"time\":\"2026-01-01T00:00:00.000Z"),
        "\",\"level\":\"error\",\"program\":\"essaim-test\",\"room\":\"main\",\"message\":\"no "
        "\\\"room\\\" left\",\"request\":\"req-1\",\"layer\":18446744073709551615,\"ms\":0.250}\n");
}

/* Whatever is given, a line ends once, has no control character and is UTF-8. */
static void check_line(const char *line)
{
    size_t bytes = strlen(line);
    assert_true(bytes > 1 && bytes <= ES_LOG_LINE_MAX && line[bytes - 1] == '\n');
    assert_true(es_utf8_is_valid(line, bytes));
    for (size_t i = 0; i + 1 < bytes; i++) assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
}

static void hostile_text_stays_in_its_place(void **state)
{
    (void)state;
    static const char *const EVIL[] = {"a\n2026-01-01T00:00:00.000Z essaim-test/main: error: forged",
                                       "\x1b[2J\x1b[31mred",
                                       "\",\"level\":\"debug\",\"x\":\"",
                                       "\xff\xfe\xc0\xaf \xed\xa0\x80 \xf5",
                                       "back\\slash\\",
                                       "\xe2\x80\xaetxt.exe \xc2\x85 \xe2\x80\xa8",
                                       "\r\t\x7f"};
    for (int format = ES_LOG_TEXT; format <= ES_LOG_JSON; format++) {
        serve((es_log_format)format, ES_LOG_INFO);
        for (size_t i = 0; i < sizeof EVIL / sizeof EVIL[0]; i++) {
            const es_log_field fields[] = {es_log_text("request", EVIL[i]), es_log_text("node", EVIL[i])};
            es_log_with(ES_LOG_WARN, fields, "%s", EVIL[i]);
            check_line(hear());
            if (i == 0) assert_non_null(strstr(said, "a\\u000a2026"));
            if (i == 2) assert_non_null(strstr(said, "\\\",\\\"level"));
            if (i == 4) assert_non_null(strstr(said, "back\\\\slash\\\\"));
            if (i == 5) assert_non_null(strstr(said, "\\u202etxt.exe \\u0085 \\u2028"));
        }
    }
}

static void every_byte_and_every_length_makes_a_whole_line(void **state)
{
    (void)state;
    static char text[3000];
    unsigned draw = 7;
    for (int format = ES_LOG_TEXT; format <= ES_LOG_JSON; format++) {
        serve((es_log_format)format, ES_LOG_INFO);
        for (size_t length = 0; length < sizeof text; length += length < 300 ? 1 : 97) {
            for (size_t i = 0; i < length; i++) {
                draw = draw * 1664525u + 1013904223u;
                text[i] = (char)(draw >> 24 != 0 ? draw >> 24 : 1);
            }
            text[length] = '\0';
            es_log_field fields[ES_LOG_FIELDS_MAX];
            for (size_t i = 0; i < ES_LOG_FIELDS_MAX; i++)
                fields[i] = es_log_text("twenty_letters_long_", text);
            es_log_with(ES_LOG_WARN, fields, "%s", text);
            check_line(hear());
        }
    }
    memset(text, '\n', sizeof text - 1);
    es_log(ES_LOG_WARN, "%s", text);
    assert_non_null(strstr(hear(), "…\"}"));
}

static void so_many_lines_a_second_and_the_rest_is_counted(void **state)
{
    (void)state;
    es_log_limit limit = {0};
    uint64_t second = 1000000000, left_out = 99;
    for (unsigned i = 0; i < 5; i++) assert_true(es_log_limit_take(&limit, 7 * second + i, 5, &left_out));
    assert_int_equal(left_out, 0);
    for (unsigned i = 0; i < 3; i++) assert_false(es_log_limit_take(&limit, 7 * second + 9, 5, &left_out));
    assert_true(es_log_limit_take(&limit, 8 * second, 5, &left_out));
    assert_int_equal(left_out, 3);
    assert_true(es_log_limit_take(&limit, 8 * second, 5, &left_out));
    assert_int_equal(left_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lines_are_for_people),
        cmocka_unit_test(text_has_time_room_level_and_fields),
        cmocka_unit_test(json_is_one_object_a_line),
        cmocka_unit_test(hostile_text_stays_in_its_place),
        cmocka_unit_test(every_byte_and_every_length_makes_a_whole_line),
        cmocka_unit_test(so_many_lines_a_second_and_the_rest_is_counted),
    };
    return cmocka_run_group_tests(tests, take_stderr, give_stderr_back);
}
