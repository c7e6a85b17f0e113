/* Lists of processors, folders as /sys has them, and staying on a node. */
#include "base/numa.h"
#include "with_cmocka.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static es_numa_node node;

static void lists_of_processors_are_read(void **state)
{
    (void)state;
    assert_true(es_numa_parse_processors("0-3,8-11\n", &node));
    assert_int_equal(node.processor_count, 8);
    assert_true(node.processor[0] && node.processor[3] && node.processor[8] && node.processor[11]);
    assert_false(node.processor[4] || node.processor[7] || node.processor[12]);
    assert_true(es_numa_parse_processors("5", &node));
    assert_int_equal(node.processor_count, 1);
    assert_true(es_numa_parse_processors("1-2,2-3", &node));
    assert_int_equal(node.processor_count, 3);
    assert_true(es_numa_parse_processors("\n", &node));
    assert_int_equal(node.processor_count, 0);
    static const char *const BAD[] = {
        "a", "1-", "3-1", "1,", ",1", "1 2", "-1", "4096", "0-99999999999999999999", "1\n2"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_false(es_numa_parse_processors(BAD[i], &node));
}

/* A folder node<number> with this list of processors. */
static void make_node(const char *path, unsigned number, const char *list)
{
    char name[256];
    snprintf(name, sizeof name, "%s/node%u", path, number);
    assert_int_equal(mkdir(name, 0755), 0);
    snprintf(name, sizeof name, "%s/node%u/cpulist", path, number);
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    fputs(list, file);
    fclose(file);
}

static void remove_nodes(const char *path, const unsigned *numbers, size_t count)
{
    char name[256];
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s/node%u/cpulist", path, numbers[i]);
        unlink(name);
        snprintf(name, sizeof name, "%s/node%u", path, numbers[i]);
        rmdir(name);
    }
    rmdir(path);
}

static void a_machine_is_read_and_stayed_on(void **state)
{
    (void)state;
    static const unsigned NUMBERS[] = {0, 2, 10, 3, 4};
    char path[] = "numa-XXXXXX", mine[32];
    cpu_set_t before, after;
    assert_non_null(mkdtemp(path));
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    size_t last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &before)) last--;
    snprintf(mine, sizeof mine, "%zu,2000-2003\n", last);
    make_node(path, 10, mine);
    make_node(path, 0, mine);
    make_node(path, 2, "\n");     /* memory alone */
    make_node(path, 3, "3000\n"); /* not ours */
    make_node(path, 4, "x\n");

    unsigned numbers[ES_NUMA_NODES_MAX];
    assert_int_equal(es_numa_list(path, numbers), 2);
    assert_int_equal(numbers[0], 0);
    assert_int_equal(numbers[1], 10);
    es_err err;
    assert_int_equal(es_numa_read(path, 10, &node, &err), ES_OK);
    assert_int_equal(node.processor_count, 5);

    assert_int_equal(es_numa_stay_on(path, 1, &err), ES_INVALID);
    assert_string_equal(err.text, "NUMA node 1 has no processor for this process; those that have: 0, 10");
    assert_int_equal(es_numa_stay_on(path, 2, &err), ES_INVALID);
    assert_int_equal(es_numa_stay_on(path, 3, &err), ES_INVALID);
    assert_int_equal(es_numa_stay_on(path, 4, &err), ES_CORRUPT);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&before, &after));

    assert_int_equal(es_numa_stay_on(path, 10, &err), ES_OK);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_int_equal(CPU_COUNT(&after), 1);
    assert_true(CPU_ISSET(last, &after));
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);

    remove_nodes(path, NUMBERS, sizeof NUMBERS / sizeof NUMBERS[0]);
    assert_int_equal(es_numa_list(path, numbers), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_processors_are_read),
        cmocka_unit_test(a_machine_is_read_and_stayed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
