/* Files that list expert nodes. */
#include "with_cmocka.h"

#include "coordinator/node_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"

static char path[] = "node-list-XXXXXX";
static es_arena *arena;
static es_option_list list;
static es_err err;

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    close(fd);
    arena = es_arena_create();
    return arena == NULL;
}

static int remove_file(void **state)
{
    (void)state;
    es_arena_destroy(&arena);
    return unlink(path);
}

static es_status read_text(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return es_node_list_read(path, arena, &list, &err);
}

static void lines_become_nodes_behind_those_there(void **state)
{
    (void)state;
    list = (es_option_list){.item = {"first:1"}, .count = 1};
    assert_int_equal(
        read_text("# the fleet\n\nhost1:5700 " KEY "\r\n\t[::1]:5701\n  #host3:1\nhost4:5702  " KEY " \t"),
        ES_OK);
    const char *const wanted[] = {"first:1", "host1:5700," KEY, "[::1]:5701", "host4:5702," KEY};
    assert_int_equal(list.count, 4);
    for (size_t i = 0; i < 4; i++) assert_string_equal(list.item[i], wanted[i]);
}

static void expect_error(const char *text, const char *wanted)
{
    list.count = 0;
    assert_int_equal(read_text(text), ES_INVALID);
    assert_non_null(strstr(err.text, path));
    if (strstr(err.text, wanted) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, wanted);
}

static void bad_lines_are_named(void **state)
{
    (void)state;
    expect_error("a:1 " KEY "\nb:2 " KEY " more\n", ": line 2: more than HOST:PORT and KEY");
    expect_error("a:1\n\nb:2 KEY\n", ": line 3: what follows b:2 is no public key");
    expect_error("a:1\nb\n", ": line 2: ");
    expect_error("a:70000\n", ": line 1: ");
    expect_error("# nobody\n\n", "names no node");
    expect_error("", "names no node");
    char line[600] = {0};
    memset(line, 'x', sizeof line - 1);
    expect_error(line, ": line 1: HOST:PORT of more than");
    char many[(ES_OPTION_LIST_MAX + 1) * 4 + 1] = "";
    for (size_t i = 0; i <= ES_OPTION_LIST_MAX; i++) memcpy(many + 4 * i, "h:1\n", 5);
    expect_error(many, ": line 257: more than 256 nodes");
}

static void a_missing_file_is_told(void **state)
{
    (void)state;
    assert_int_equal(es_node_list_read("no-such-file", arena, &list, &err), ES_NOT_FOUND);
    assert_non_null(strstr(err.text, "no-such-file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_become_nodes_behind_those_there),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(a_missing_file_is_told),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
