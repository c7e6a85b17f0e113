/* SIGINT and SIGTERM as a flag and an eventfd, SIGHUP as another: state of the whole process, as signals are.
 */
#include "base/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static atomic_int signal_number;
static atomic_int event_fd = -1, hangup_fd = -1;

static void on_signal(int number)
{
    int saved_errno = errno;
    if (atomic_exchange(&signal_number, number) != 0) {
        signal(number, SIG_DFL);
        raise(number);
    }
    uint64_t one = 1;
    ssize_t written = write(atomic_load(&event_fd), &one, sizeof one);
    (void)written; /* full means readable already */
    errno = saved_errno;
}

static void on_hangup(int number)
{
    (void)number;
    int saved_errno = errno;
    uint64_t one = 1;
    ssize_t written = write(atomic_load(&hangup_fd), &one, sizeof one);
    (void)written;
    errno = saved_errno;
}

es_status es_signals_start(es_err *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return es_err_set(err, ES_IO, "eventfd: %s", strerror(errno));
    atomic_store(&event_fd, fd);
    struct sigaction stop = {.sa_handler = on_signal}; /* no SA_RESTART: waits return and look at the flag */
    sigemptyset(&stop.sa_mask);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGINT, &stop, NULL) != 0 || sigaction(SIGTERM, &stop, NULL) != 0 ||
        sigaction(SIGPIPE, &ignore, NULL) != 0)
        return es_err_set(err, ES_IO, "sigaction: %s", strerror(errno));
    return ES_OK;
}

bool es_signals_stop_asked(void)
{
    return atomic_load_explicit(&signal_number, memory_order_relaxed) != 0;
}

es_status es_signals_watch_hangup(es_err *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) return es_err_set(err, ES_IO, "eventfd: %s", strerror(errno));
    atomic_store(&hangup_fd, fd);
    struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    sigemptyset(&hangup.sa_mask);
    if (sigaction(SIGHUP, &hangup, NULL) != 0)
        return es_err_set(err, ES_IO, "sigaction: %s", strerror(errno));
    return ES_OK;
}

int es_signals_hangup_fd(void)
{
    return atomic_load(&hangup_fd);
}

bool es_signals_take_hangup(void)
{
    uint64_t count;
    return read(atomic_load(&hangup_fd), &count, sizeof count) == (ssize_t)sizeof count;
}

int es_signals_number(void)
{
    return atomic_load(&signal_number);
}

int es_signals_fd(void)
{
    return atomic_load(&event_fd);
}

void es_signals_clear(void)
{
    uint64_t count;
    ssize_t got = read(atomic_load(&event_fd), &count, sizeof count);
    (void)got; /* empty is as good */
    atomic_store(&signal_number, 0);
}

int es_signals_start_thread(pthread_t *ret_thread, void *(*main)(void *), void *context)
{
    sigset_t others, before;
    sigfillset(&others);
    sigdelset(&others, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &others, &before);
    int failed = pthread_create(ret_thread, NULL, main, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}
