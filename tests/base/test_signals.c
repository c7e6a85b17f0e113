/* Signals as a flag and a descriptor. */
#include "base/signals.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int readable(void)
{
    struct pollfd fd = {es_signals_fd(), POLLIN, 0};
    return poll(&fd, 1, 0);
}

static void a_signal_sets_the_flag_until_it_is_cleared(void **state)
{
    (void)state;
    static const int NUMBERS[] = {SIGINT, SIGTERM, SIGINT};
    for (int i = 0; i < 3; i++) {
        assert_false(es_signals_stop_asked());
        assert_int_equal(readable(), 0);
        raise(NUMBERS[i]);
        assert_true(es_signals_stop_asked());
        assert_int_equal(es_signals_number(), NUMBERS[i]);
        assert_int_equal(readable(), 1);
        assert_int_equal(readable(), 1);
        es_signals_clear();
    }
}

static void a_closed_pipe_does_not_kill(void **state)
{
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    close(fd[0]);
    assert_int_equal(write(fd[1], "x", 1), -1);
    close(fd[1]);
}

static void a_second_signal_ends_a_program_that_hangs(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        raise(SIGINT);
        raise(SIGINT);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
}

static void a_hangup_is_taken_once_and_stops_nothing(void **state)
{
    (void)state;
    es_err err;
    assert_int_equal(es_signals_hangup_fd(), -1);
    assert_int_equal(es_signals_watch_hangup(&err), ES_OK);
    struct pollfd fd = {es_signals_hangup_fd(), POLLIN, 0};
    assert_false(es_signals_take_hangup());
    raise(SIGHUP);
    raise(SIGHUP);
    assert_int_equal(poll(&fd, 1, 0), 1);
    assert_true(es_signals_take_hangup());
    assert_false(es_signals_take_hangup());
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_false(es_signals_stop_asked());
}

static int start(void **state)
{
    (void)state;
    es_err err;
    return es_signals_start(&err) != ES_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signal_sets_the_flag_until_it_is_cleared),
        cmocka_unit_test(a_closed_pipe_does_not_kill),
        cmocka_unit_test(a_hangup_is_taken_once_and_stops_nothing),
        cmocka_unit_test(a_second_signal_ends_a_program_that_hangs),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
