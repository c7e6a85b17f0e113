/* Child programs. The children are /bin/sh scripts, and this program itself where it must be a parent that
 * dies. */
#include "base/process.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t in_ms(uint64_t ms)
{
    return es_clock_now_ns() + ms * 1000000u;
}

/* sh -c script sh [--ready-fd N]: in the script $2 is N. */
static es_process *start_script(const char *script, bool ready)
{
    const char *argv[] = {"/bin/sh", "-c", script, "sh", NULL};
    es_process_options options = {.argv = argv, .ready = ready};
    es_process *process;
    es_err err = {.text = ""};
    if (es_process_start(&options, &process, &err) != ES_OK) fail_msg("%s", err.text);
    return process;
}

static void a_child_says_when_it_is_ready(void **state)
{
    (void)state;
    es_process *p = start_script("echo 'listening on 5700' >&$2; exec sleep 60", true);
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_OK);
    assert_string_equal(line, "listening on 5700");
    assert_int_equal(es_process_check(p, &err), ES_OK);
    pid_t pid = es_process_id(p);
    es_process_stop(&p, 5000);
    assert_null(p);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

static void a_child_that_ends_before_it_is_ready_is_named_with_its_end(void **state)
{
    (void)state;
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    es_process *p = start_script("exit 3", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_UNAVAILABLE);
    assert_non_null(strstr(err.text, "sh (process "));
    assert_non_null(strstr(err.text, "exited with code 3 before it was ready"));
    es_process_stop(&p, 0);
    p = start_script("kill -9 $$", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_UNAVAILABLE);
    assert_non_null(strstr(err.text, "killed by signal 9 (Killed) before it was ready"));
    assert_int_equal(es_process_check(p, &err), ES_UNAVAILABLE);
    es_process_stop(&p, 0);
}

static void waiting_for_ready_ends_at_the_deadline_and_when_cancelled(void **state)
{
    (void)state;
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    es_process *p = start_script("exec sleep 60", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(30), -1, line, &err), ES_TIMEOUT);
    es_process_stop(&p, 5000);
    int cancel[2];
    assert_int_equal(pipe(cancel), 0);
    assert_int_equal(write(cancel[1], "x", 1), 1);
    p = start_script("exec sleep 60", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), cancel[0], line, &err), ES_CANCELLED);
    es_process_stop(&p, 5000);
    close(cancel[0]);
    close(cancel[1]);
}

static void a_ready_line_has_a_stated_maximum(void **state)
{
    (void)state;
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    es_process *p = start_script("printf '%02000d' 1 >&$2; exec sleep 60", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_CORRUPT);
    es_process_stop(&p, 5000);
}

static void a_child_that_says_why_it_failed_gives_its_own_error(void **state)
{
    (void)state;
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    es_process *p = start_script("echo 'failed not_found model: no such file' >&$2; exit 1", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_NOT_FOUND);
    assert_string_equal(err.text, "model: no such file");
    es_process_stop(&p, 5000);
    p = start_script("echo 'failed badly' >&$2; exit 1", true);
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_CORRUPT);
    es_process_stop(&p, 5000);
}

static void what_a_child_says_of_its_failure_is_not_told_twice(void **state)
{
    (void)state;
    int ends[2];
    char line[64] = "";
    es_err err;
    assert_int_equal(pipe(ends), 0);
    es_err_set(&err, ES_CORRUPT, "bad bytes");
    es_process_say_failed(ends[1], &err);
    assert_string_equal(err.text, "");
    assert_int_equal(read(ends[0], line, sizeof line - 1), strlen("failed corrupt bad bytes\n"));
    assert_string_equal(line, "failed corrupt bad bytes\n");
    close(ends[0]);
    es_err_set(&err, ES_CORRUPT, "bad bytes");
    es_process_say_failed(1, &err);
    assert_string_equal(err.text, "bad bytes");
}

static void a_program_that_is_not_there_is_named_at_once(void **state)
{
    (void)state;
    const char *argv[] = {"/nowhere/essaim-expert-node", NULL};
    es_process_options options = {.argv = argv, .ready = true};
    es_process *p;
    es_err err;
    assert_int_equal(es_process_start(&options, &p, &err), ES_NOT_FOUND);
    assert_null(p);
    assert_string_equal(err.text, "/nowhere/essaim-expert-node: No such file or directory");
    char path[4096];
    assert_int_equal(es_process_sibling("test_process", path, sizeof path, &err), ES_OK);
    assert_int_equal(es_process_sibling("no-such-program", path, sizeof path, &err), ES_NOT_FOUND);
    assert_non_null(strstr(err.text, "no-such-program"));
}

static void a_child_that_ignores_the_request_is_killed_after_the_grace_period(void **state)
{
    (void)state;
    es_process *p = start_script("trap '' TERM; echo up >&$2; while :; do sleep 1; done", true);
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_OK);
    uint64_t before = es_clock_now_ns();
    es_process_stop(&p, 100);
    uint64_t took_ms = (es_clock_now_ns() - before) / 1000000u;
    assert_in_range(took_ms, 100, 9000);
}

static void pipes_carry_the_childs_input_and_output(void **state)
{
    (void)state;
    const char *argv[] = {"/bin/cat", NULL};
    es_process_options options = {.argv = argv, .pipe_stdin = true, .pipe_stdout = true};
    es_process *p;
    es_err err;
    assert_int_equal(es_process_start(&options, &p, &err), ES_OK);
    assert_int_equal(write(es_process_stdin(p), "hello", 5), 5);
    es_process_close_stdin(p);
    char text[16];
    size_t length = 0;
    for (ssize_t got; (got = read(es_process_stdout(p), text + length, sizeof text - length)) > 0;)
        length += (size_t)got;
    assert_int_equal(length, 5);
    assert_memory_equal(text, "hello", 5);
    es_process_stop(&p, 5000);
}

static void a_group_is_stopped_within_one_grace_period(void **state)
{
    (void)state;
    es_process_group group = {.count = 0};
    char line[ES_PROCESS_LINE_MAX];
    es_err err;
    for (int i = 0; i < 6; i++) {
        es_process *p = start_script("trap '' TERM; echo up >&$2; while :; do sleep 1; done", true);
        assert_int_equal(es_process_wait_ready(p, in_ms(20000), -1, line, &err), ES_OK);
        assert_int_equal(es_process_group_add(&group, &p, &err), ES_OK);
        assert_null(p);
    }
    assert_int_equal(es_process_check(group.item[4], &err), ES_OK);
    kill(es_process_id(group.item[4]), SIGKILL);
    while (es_process_check(group.item[4], &err) == ES_OK) usleep(1000);
    assert_non_null(strstr(err.text, "killed by signal 9"));
    uint64_t before = es_clock_now_ns();
    es_process_group_stop(&group, 400);
    assert_in_range((es_clock_now_ns() - before) / 1000000u, 400, 2300);
    assert_int_equal(group.count, 0);
}

/* The parent that dies: starts a child that would live for a minute, tells its id, and is killed. */
static int play_parent(int ready_fd)
{
    const char *argv[] = {"/bin/sleep", "60", NULL};
    es_process_options options = {.argv = argv};
    es_process *child;
    es_err err;
    if (es_process_start(&options, &child, &err) != ES_OK) return 1;
    char line[32];
    snprintf(line, sizeof line, "%d", es_process_id(child));
    if (es_process_say_ready(ready_fd, line, &err) != ES_OK) return 1;
    for (;;) pause();
}

static bool is_alive(pid_t pid)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) return false;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    const char *after = strrchr(text, ')'); /* "pid (name) state …": a zombie waits for an absent reaper */
    return after != NULL && after[2] != 'Z' && after[2] != 'X';
}

static void a_child_dies_when_its_parent_is_killed(void **state)
{
    (void)state;
    const char *argv[] = {"/proc/self/exe", "play-parent", NULL};
    es_process_options options = {.argv = argv, .ready = true};
    es_process *parent;
    char line[ES_PROCESS_LINE_MAX];
    es_err err = {.text = ""};
    assert_int_equal(es_process_start(&options, &parent, &err), ES_OK);
    if (es_process_wait_ready(parent, in_ms(20000), -1, line, &err) != ES_OK) fail_msg("%s", err.text);
    pid_t child = atoi(line);
    assert_true(child > 1 && is_alive(child));
    kill(es_process_id(parent), SIGKILL);
    uint64_t deadline = in_ms(10000);
    while (is_alive(child) && es_clock_left_ms(deadline) > 0) usleep(2000);
    assert_false(is_alive(child));
    es_process_stop(&parent, 0);
}

static void a_child_whose_starter_gave_up_says_nothing(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* as every program of ours does */
    es_err ready = {.text = "old"}, failed = {.status = ES_CORRUPT, .text = "a reason"};
    for (int round = 0; round < 2; round++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        close(ends[0]);
        if (round == 0)
            assert_int_equal(es_process_say_ready(ends[1], "ready", &ready), ES_UNAVAILABLE);
        else
            es_process_say_failed(ends[1], &failed);
        close(ends[1]);
    }
    assert_string_equal(ready.text, "");
    assert_string_equal(failed.text, "");
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "play-parent") == 0 && strcmp(argv[2], "--ready-fd") == 0)
        return play_parent(atoi(argv[3]));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_says_when_it_is_ready),
        cmocka_unit_test(a_child_that_ends_before_it_is_ready_is_named_with_its_end),
        cmocka_unit_test(waiting_for_ready_ends_at_the_deadline_and_when_cancelled),
        cmocka_unit_test(a_ready_line_has_a_stated_maximum),
        cmocka_unit_test(a_child_that_says_why_it_failed_gives_its_own_error),
        cmocka_unit_test(what_a_child_says_of_its_failure_is_not_told_twice),
        cmocka_unit_test(a_program_that_is_not_there_is_named_at_once),
        cmocka_unit_test(a_child_that_ignores_the_request_is_killed_after_the_grace_period),
        cmocka_unit_test(pipes_carry_the_childs_input_and_output),
        cmocka_unit_test(a_group_is_stopped_within_one_grace_period),
        cmocka_unit_test(a_child_dies_when_its_parent_is_killed),
        cmocka_unit_test(a_child_whose_starter_gave_up_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
