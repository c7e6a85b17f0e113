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

/* Threads of this process, and how many of them have shorter slices than limit_ns. */
static void count_threads(uint64_t limit_ns, size_t *ret_count, size_t *ret_quick)
{
    DIR *threads = opendir("/proc/self/task");
    assert_non_null(threads);
    *ret_count = *ret_quick = 0;
    for (const struct dirent *item; (item = readdir(threads)) != NULL;) {
        long thread = strtol(item->d_name, NULL, 10);
        if (thread <= 0) continue;
        ++*ret_count;
        *ret_quick += slice_ns(thread) < limit_ns;
    }
    closedir(threads);
}

static void message_threads_ask_for_short_slices_and_nobody_else_does(void **state)
{
    (void)state;
    const es_net_options options = {.keys = NULL};
    uint64_t own_ns = slice_ns(0);
    size_t before, after, quick;
    es_net *net;
    es_err err;
    if (own_ns == 0) skip(); /* a kernel that knows no slices */
    count_threads(own_ns, &before, &quick);
    assert_int_equal(quick, 0);
    assert_int_equal(es_net_open(&options, &net, &err), ES_OK);
    assert_int_equal(slice_ns(0), own_ns);
    count_threads(own_ns, &after, &quick);
    es_net_close(&net);
    assert_true(after >= before + 2);
    assert_int_equal(quick, after - before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_threads_ask_for_short_slices_and_nobody_else_does)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
