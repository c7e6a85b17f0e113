/* Whole files. */
#include "base/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "essaim-test-XXXXXX";

static const char *write_file(const char *name, const char *bytes, size_t count)
{
    static char path[256];
    es_err err;
    assert_int_equal(es_file_join(path, sizeof path, dir, name, &err), ES_OK);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, count), count);
    close(fd);
    return path;
}

static void a_file_is_mapped_with_its_bytes_and_size(void **state)
{
    (void)state;
    const char *path = write_file("weights", "ab\0cd", 5);
    es_file_map map;
    es_err err;
    assert_int_equal(es_file_map_open(path, &map, &err), ES_OK);
    assert_int_equal(map.bytes, 5);
    assert_memory_equal(map.data, "ab\0cd", 5);
    es_file_map_close(&map);
    assert_null(map.data);
    unlink(path);
}

static void an_empty_file_maps_to_nothing(void **state)
{
    (void)state;
    const char *path = write_file("empty", "", 0);
    es_file_map map;
    es_err err;
    assert_int_equal(es_file_map_open(path, &map, &err), ES_OK);
    assert_null(map.data);
    assert_int_equal(map.bytes, 0);
    es_file_map_close(&map);
    char *text;
    size_t bytes;
    assert_int_equal(es_file_read(path, 10, &text, &bytes, &err), ES_OK);
    assert_string_equal(text, "");
    free(text);
    unlink(path);
}

static void a_small_file_is_read_whole_and_ended(void **state)
{
    (void)state;
    const char *path = write_file("config.json", "{}\n", 3);
    char *text;
    size_t bytes;
    es_err err;
    assert_int_equal(es_file_read(path, 3, &text, &bytes, &err), ES_OK);
    assert_int_equal(bytes, 3);
    assert_string_equal(text, "{}\n");
    free(text);
    assert_int_equal(es_file_read(path, 2, &text, &bytes, &err), ES_INVALID);
    assert_null(text);
    assert_non_null(strstr(err.text, "config.json: 3 bytes, more than the 2 allowed"));
    unlink(path);
}

static void a_file_is_written_whole_or_its_path_is_told(void **state)
{
    (void)state;
    char path[256], *text;
    size_t bytes;
    es_err err;
    assert_int_equal(es_file_write(dir, "config.json", "longer", 6, &err), ES_OK);
    assert_int_equal(es_file_write(dir, "config.json", "{}", 2, &err), ES_OK);
    assert_int_equal(es_file_join(path, sizeof path, dir, "config.json", &err), ES_OK);
    assert_int_equal(es_file_read(path, 10, &text, &bytes, &err), ES_OK);
    assert_string_equal(text, "{}");
    free(text);
    unlink(path);
    assert_int_equal(es_file_write("nowhere", "config.json", "{}", 2, &err), ES_IO);
    assert_string_equal(err.text, "nowhere/config.json: No such file or directory");
    assert_int_equal(es_file_write("/dev", "full", "{}", 2, &err), ES_IO);
    assert_string_equal(err.text, "/dev/full: No space left on device");
}

static void what_is_not_a_file_is_refused_by_name(void **state)
{
    (void)state;
    es_file_map map;
    es_err err;
    char *text;
    size_t bytes;
    assert_int_equal(es_file_map_open("nowhere/x.safetensors", &map, &err), ES_NOT_FOUND);
    assert_non_null(strstr(err.text, "nowhere/x.safetensors"));
    assert_int_equal(es_file_map_open(dir, &map, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "not a regular file"));
    assert_int_equal(es_file_read("/dev/null", 10, &text, &bytes, &err), ES_INVALID);
}

static void a_pipe_is_refused_at_once(void **state)
{
    (void)state;
    char path[256], *text;
    es_err err;
    size_t bytes;
    assert_int_equal(es_file_join(path, sizeof path, dir, "config.json", &err), ES_OK);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(10); /* ends a program that waits for somebody to write */
    assert_int_equal(es_file_read(path, 10, &text, &bytes, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "config.json: not a regular file"));
    alarm(0);
    unlink(path);
}

static void a_path_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char out[8];
    es_err err;
    assert_int_equal(es_file_join(out, sizeof out, "abc", "def", &err), ES_OK);
    assert_string_equal(out, "abc/def");
    assert_int_equal(es_file_join(out, sizeof out, "abcd", "def", &err), ES_INVALID);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_mapped_with_its_bytes_and_size),
        cmocka_unit_test(an_empty_file_maps_to_nothing),
        cmocka_unit_test(a_small_file_is_read_whole_and_ended),
        cmocka_unit_test(a_file_is_written_whole_or_its_path_is_told),
        cmocka_unit_test(what_is_not_a_file_is_refused_by_name),
        cmocka_unit_test(a_pipe_is_refused_at_once),
        cmocka_unit_test(a_path_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
