/* Threads that carry messages run at once. */
#include "net/net.h"
#include "with_cmocka.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct kernel_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
} kernel_sched_attr;

static uint64_t slice_ns(long thread)
{
    kernel_sched_attr attr = {.size = sizeof attr};
    return syscall(SYS_sched_getattr, thread, &attr, sizeof attr, 0) == 0 ? attr.runtime_ns : 0;
}

static void message_threads_ask_for_short_slices_and_nobody_else_does(void **state)
{
    (void)state;
    const es_net_options options = {.keys = NULL};
    uint64_t own_ns = slice_ns(0);
    es_net *net;
    es_err err;
    if (own_ns == 0) skip(); /* a kernel that knows no slices */
    assert_int_equal(es_net_open(&options, &net, &err), ES_OK);
    assert_int_equal(slice_ns(0), own_ns);
    DIR *threads = opendir("/proc/self/task");
    size_t quick = 0, count = 0;
    assert_non_null(threads);
    for (const struct dirent *item; (item = readdir(threads)) != NULL;) {
        long thread = strtol(item->d_name, NULL, 10);
        if (thread <= 0) continue;
        count++;
        quick += slice_ns(thread) < own_ns;
    }
    closedir(threads);
    es_net_close(&net);
    assert_true(count >= 3); /* ours, and two of the context at least */
    assert_int_equal(quick, count - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_threads_ask_for_short_slices_and_nobody_else_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
