/* A mapped file that is gone, told by name. */
#include "base/bus_error.h"

#include "base/log.h"
#include "base/program.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = PATH_MAX + 128 };

/* A line of /proc/self/maps, "first-end rwxp offset device inode   path": the path, if address is within. */
static const char *path_at(const char *line, uintptr_t address)
{
    char *end;
    uintptr_t first = strtoull(line, &end, 16);
    if (*end != '-' || address < first || address >= strtoull(end + 1, NULL, 16)) return NULL;
    return strchr(line, '/');
}

/* Reads without stdio, whose memory and locks may be what another thread has. False: not of a file. */
static bool find_file(uintptr_t address, char line[LINE_BYTES])
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    size_t bytes = 0;
    const char *path = NULL;
    char some[4096];
    for (ssize_t got; path == NULL && fd >= 0 && (got = read(fd, some, sizeof some)) > 0;)
        for (ssize_t i = 0; path == NULL && i < got; i++) {
            if (some[i] != '\n') {
                if (bytes + 1 < LINE_BYTES) line[bytes++] = some[i];
                continue;
            }
            line[bytes] = '\0';
            bytes = 0;
            path = path_at(line, address);
        }
    if (fd >= 0) close(fd);
    if (path != NULL) memmove(line, path, strlen(path) + 1);
    return path != NULL;
}

/* The thread was reading weights: it holds no lock of the log, which does not allocate. Threads that come
 * here while the first one tells wait for the end it brings. */
static void on_bus_error(int number, siginfo_t *info, void *context)
{
    static atomic_flag told = ATOMIC_FLAG_INIT;
    static char line[LINE_BYTES];
    (void)context;
    while (atomic_flag_test_and_set(&told)) pause();
    if (info->si_code == BUS_ADRERR && find_file((uintptr_t)info->si_addr, line)) {
        es_log(ES_LOG_ERROR, "%s: cannot be read where it is mapped: it was made shorter, or its disk fails",
               line);
        _exit(ES_EXIT_FAILED);
    }
    signal(number, SIG_DFL); /* anything else is as it would be without this handler */
    raise(number);
}

void es_bus_error_start(void)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    int refused = sigaction(SIGBUS, &action, NULL);
    ES_ASSERT(refused == 0); /* only a signal that there is none of is refused */
}
