/* A thread that is to step back before whoever computes. */
#include "base/background.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NICE = 10, IO_CLASS_BEST_EFFORT = 2, IO_LOWEST = 7, IO_CLASS_SHIFT = 13, IO_WHO_PROCESS = 1 };

void es_background(void)
{
    pid_t self = (pid_t)syscall(SYS_gettid);
    (void)setpriority(PRIO_PROCESS, (id_t)self, NICE);
    (void)syscall(SYS_ioprio_set, IO_WHO_PROCESS, self, IO_CLASS_BEST_EFFORT << IO_CLASS_SHIFT | IO_LOWEST);
}
