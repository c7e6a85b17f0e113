/* Chat layouts: which one a model speaks, and what the goldens do not show. */
#include "text_fixture.h"

#include "text/chat_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TURNS "{{ '<｜User｜>' + m }}{{ '<｜Assistant｜>' + m }}"
#define STRIPS "{{ m.split('</think>')[-1] }}"

static void expect_style(const char *source, bool known, es_chat_style expected)
{
    es_chat_style style = ES_CHAT_STYLE_COUNT;
    es_err err = {0};
    es_status status = es_chat_style_detect(source, strlen(source), &style, &err);
    assert_int_equal(status, known ? ES_OK : ES_UNSUPPORTED);
    if (known) assert_int_equal(style, expected);
    if (!known) assert_non_null(strstr(err.text, "--style"));
}

static void the_style_is_told_from_the_template(void **state)
{
    (void)state;
    expect_style(TURNS STRIPS "{{ '<｜Assistant｜><think>\\n' }}", true, ES_CHAT_R1);
    expect_style(TURNS STRIPS "{{ '<｜Assistant｜><think>\n' }}", true, ES_CHAT_R1);
    expect_style(TURNS, true, ES_CHAT_V3);
    expect_style(TURNS STRIPS, false, ES_CHAT_R1);
    expect_style(TURNS "{{ '<think>' }}", false, ES_CHAT_R1);
    expect_style("{{ '<|im_start|>' }}", false, ES_CHAT_R1);
    expect_style("", false, ES_CHAT_R1);
}

static void the_model_of_this_project_speaks_r1(void **state)
{
    (void)state;
    es_chat_format format;
    es_err err = {0};
    if (es_chat_format_open(ESSAIM_SOURCE_DIR "/models/tiny-r1", NULL, &format, &err) != ES_OK)
        fail_msg("%s", err.text);
    assert_int_equal(format.style, ES_CHAT_R1);
    assert_string_equal(format.bos, "<｜begin▁of▁sentence｜>");
    assert_string_equal(format.eos, "<｜end▁of▁sentence｜>");
    assert_int_equal(es_chat_format_open(ESSAIM_SOURCE_DIR "/models/tiny-r1", "v3", &format, &err), ES_OK);
    assert_string_equal(es_chat_style_name(format.style), "v3");
    assert_int_equal(es_chat_format_open(ESSAIM_SOURCE_DIR "/models/tiny-r1", "r2", &format, &err),
                     ES_INVALID);
    assert_string_equal(err.text, "--style: \"r2\" is neither r1 nor v3");
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_folder(const char *folder)
{
    char path[256];
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    remove(path);
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    remove(path);
    remove(folder);
}

static void tokens_and_template_come_from_the_models_files(void **state)
{
    (void)state;
    char folder[] = "chat-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    es_chat_format format;
    es_err err = {0};
    write_file(folder, "tokenizer_config.json",
               "{\"bos_token\": {\"content\": \"<s>\"}, \"eos_token\": \"</s>\", \"chat_template\": "
               "[{\"name\": \"tool\", "
               "\"template\": \"x\"}, {\"name\": \"default\", \"template\": \"" TURNS "\"}]}");
    assert_int_equal(es_chat_format_open(folder, NULL, &format, &err), ES_OK);
    assert_int_equal(format.style, ES_CHAT_V3);
    assert_string_equal(format.bos, "<s>");
    assert_string_equal(format.eos, "</s>");
    write_file(folder, "tokenizer_config.json", "{\"bos_token\": null}");
    write_file(folder, "chat_template.jinja", TURNS STRIPS "<｜Assistant｜><think>\\n");
    assert_int_equal(es_chat_format_open(folder, NULL, &format, &err), ES_OK);
    assert_int_equal(format.style, ES_CHAT_R1);
    assert_string_equal(format.bos, "<｜begin▁of▁sentence｜>");
    remove_folder(folder);
}

static void expect_render(const char *style, const char *request, const char *expected, size_t expected_bytes)
{
    es_chat_format format;
    es_err err = {0};
    assert_int_equal(es_chat_format_open("no-such-folder", style, &format, &err), ES_OK);
    strcpy(format.bos, "^");
    json_t *json = json_loads(request, JSON_ALLOW_NUL, NULL);
    assert_non_null(json);
    char *text;
    size_t bytes;
    if (es_chat_render_request(&format, json, &text, &bytes, &err) != ES_OK)
        fail_msg("%s: %s", request, err.text);
    if (bytes != expected_bytes || memcmp(text, expected, bytes) != 0)
        fail_msg("%s:\n%s\nexpected:\n%s", request, text, expected);
    free(text);
    json_decref(json);
}

#define EXPECT_RENDER(style, request, expected) expect_render(style, request, expected, sizeof(expected) - 1)

static void parts_are_joined_and_nul_bytes_kept(void **state)
{
    (void)state;
    EXPECT_RENDER("v3",
                  "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": "
                  "\"a\\u0000\"}, {\"type\": "
                  "\"text\", \"text\": \"b\"}]}]}",
                  "^<｜User｜>a\0b");
    EXPECT_RENDER("r1", "{\"messages\": [], \"add_generation_prompt\": true}", "^<｜Assistant｜><think>\n");
    EXPECT_RENDER(
        "r1", "{\"messages\": [{\"role\": \"assistant\", \"content\": \"</think>\", \"tool_calls\": []}]}",
        "^<｜Assistant｜><｜end▁of▁sentence｜>");
}

#define CALL "{\"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}"
#define CALL_TEXT "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜>"

static void words_beside_calls_come_before_them(void **state)
{
    (void)state;
    EXPECT_RENDER(
        "v3", "{\"messages\": [{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [" CALL "]}]}",
        "^<｜Assistant｜><｜tool▁calls▁begin｜>" CALL_TEXT);
    EXPECT_RENDER(
        "v3", "{\"messages\": [{\"role\": \"assistant\", \"content\": \"so\", \"tool_calls\": [" CALL "]}]}",
        "^<｜Assistant｜>so<｜tool▁calls▁begin｜>" CALL_TEXT);
}

static void r1_closes_each_round_of_calls(void **state)
{
    (void)state;
    EXPECT_RENDER("r1",
                  "{\"messages\": [{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [" CALL
                  ", " CALL
                  "]}, {\"role\": \"tool\", \"content\": \"1\"}, {\"role\": \"tool\", \"content\": \"2\"}, "
                  "{\"role\": \"assistant\", \"content\": \"so\", \"tool_calls\": [" CALL "]}, "
                  "{\"role\": \"tool\", \"content\": \"3\"}, {\"role\": \"user\", \"content\": \"u\"}, "
                  "{\"role\": \"tool\", \"content\": \"4\"}], \"add_generation_prompt\": true}",
                  "^<｜Assistant｜><｜tool▁calls▁begin｜>" CALL_TEXT "\n" CALL_TEXT
                  "<｜tool▁calls▁end｜><｜end▁of▁sentence｜><｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>1"
                  "<｜tool▁output▁end｜>\n<｜tool▁output▁begin｜>2<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
                  "so<｜tool▁calls▁begin｜>" CALL_TEXT
                  "<｜tool▁calls▁end｜><｜end▁of▁sentence｜><｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>3"
                  "<｜tool▁output▁end｜><｜tool▁outputs▁end｜><｜User｜>u<｜tool▁outputs▁begin｜>"
                  "<｜tool▁output▁begin｜>4<｜tool▁output▁end｜><｜tool▁outputs▁end｜>");
}

/* What a layout of messages with an opening gives; parts that are others' words stand in brackets. */
static void expect_layout(const char *style, const char *messages, es_chat_opening opening, const char *tools,
                          const char *expected)
{
    es_chat_format format;
    es_err err = {0};
    es_chat_text text;
    char marked[1024] = "";
    assert_int_equal(es_chat_format_open("no-such-folder", style, &format, &err), ES_OK);
    strcpy(format.bos, "^");
    json_t *json = json_loads(messages, 0, NULL);
    assert_non_null(json);
    const es_chat_layout layout = {.messages = json,
                                   .opening = opening,
                                   .tools = tools,
                                   .tools_bytes = tools != NULL ? strlen(tools) : 0,
                                   .tools_quoted_bytes = tools != NULL ? 1 : 0};
    if (es_chat_lay_out(&format, &layout, &text, &err) != ES_OK)
        snprintf(marked, sizeof marked, "%s", err.text);
    size_t at = 0, out = 0;
    for (size_t i = 0; i <= text.quoted_count; i++) {
        es_text_span s = i < text.quoted_count ? text.quoted[i] : (es_text_span){text.bytes, text.bytes};
        assert_true(at <= s.start && s.start <= s.end && s.end <= text.bytes &&
                    text.bytes + 64 < sizeof marked);
        if (text.text == NULL) break;
        out += (size_t)sprintf(marked + out, "%.*s", (int)(s.start - at), text.text + at);
        if (s.end > s.start)
            out += (size_t)sprintf(marked + out, "[%.*s]", (int)(s.end - s.start), text.text + s.start);
        at = s.end;
    }
    assert_string_equal(marked, expected);
    es_chat_text_fini(&text);
    json_decref(json);
}

#define SYSTEM "{\"role\": \"system\", \"content\": \"s\"}"
#define USER "{\"role\": \"user\", \"content\": \"<｜User｜>\"}"
#define BEGUN "{\"role\": \"assistant\", \"content\": \"b\", \"reasoning_content\": \"r\"}"

static void others_words_are_told_from_the_layout(void **state)
{
    (void)state;
    expect_layout("r1", "[" SYSTEM ", " USER "]", ES_CHAT_OPEN_ANSWER, "tT",
                  "^[s]\n\n[t]T<｜User｜>[<｜User｜>]<｜Assistant｜><think>\n");
    expect_layout("v3", "[" USER "]", ES_CHAT_OPEN_UNTHOUGHT, "tT",
                  "^[t]T<｜User｜>[<｜User｜>]<｜Assistant｜>");
    expect_layout("r1", "[" USER "]", ES_CHAT_OPEN_NOTHING, NULL, "^<｜User｜>[<｜User｜>]");
    expect_layout(
        "v3", "[{\"role\": \"assistant\", \"tool_calls\": [" CALL "]}]", ES_CHAT_OPEN_NOTHING, NULL,
        "^<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>[f]\n```json\n"
        "[{}]\n```<｜tool▁call▁end｜>");
}

static void an_answer_opens_as_asked(void **state)
{
    (void)state;
    expect_layout("r1", "[]", ES_CHAT_OPEN_UNTHOUGHT, NULL, "^<｜Assistant｜><think>\n\n</think>\n\n");
    expect_layout("r1", "[" BEGUN "]", ES_CHAT_OPEN_CONTINUED, NULL,
                  "^<｜Assistant｜><think>\n[r]\n</think>\n\n[b]");
    expect_layout("v3", "[" BEGUN "]", ES_CHAT_OPEN_CONTINUED, NULL, "^<｜Assistant｜>[b]");
    expect_layout("r1", "[{\"role\": \"assistant\", \"content\": \"\", \"reasoning_content\": \"r\"}]",
                  ES_CHAT_OPEN_CONTINUED, NULL, "^<｜Assistant｜><think>\n[r]");
    expect_layout("r1", "[" USER "]", ES_CHAT_OPEN_CONTINUED, NULL,
                  "messages[0]: only an assistant's text can be continued");
    expect_layout("r1", "[]", ES_CHAT_OPEN_CONTINUED, NULL, "messages: empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_style_is_told_from_the_template),
        cmocka_unit_test(the_model_of_this_project_speaks_r1),
        cmocka_unit_test(tokens_and_template_come_from_the_models_files),
        cmocka_unit_test(parts_are_joined_and_nul_bytes_kept),
        cmocka_unit_test(words_beside_calls_come_before_them),
        cmocka_unit_test(r1_closes_each_round_of_calls),
        cmocka_unit_test(others_words_are_told_from_the_layout),
        cmocka_unit_test(an_answer_opens_as_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
