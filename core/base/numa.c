/* NUMA nodes, from /sys, and staying on one. */
#include "base/numa.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_BYTES_MAX = 16 * 1024, PATH_BYTES_MAX = 512, NUMBERS_BYTES_MAX = 128 };

/* A number below limit at *text, which moves behind it. */
static bool read_number(const char **text, size_t limit, size_t *ret_number)
{
    size_t number = 0;
    if (!isdigit((unsigned char)**text)) return false;
    for (; isdigit((unsigned char)**text); (*text)++) {
        number = number * 10 + (size_t)(**text - '0');
        if (number >= limit) return false;
    }
    *ret_number = number;
    return true;
}

bool es_numa_parse_processors(const char *list, es_numa_node *ret_node)
{
    ret_node->processor_count = 0;
    memset(ret_node->processor, 0, sizeof ret_node->processor);
    if (*list == '\0' || *list == '\n') return true;
    for (;; list++) {
        size_t first, last;
        if (!read_number(&list, ES_NUMA_PROCESSORS_MAX, &first)) return false;
        last = first;
        if (*list == '-') {
            list++;
            if (!read_number(&list, ES_NUMA_PROCESSORS_MAX, &last) || last < first) return false;
        }
        for (size_t p = first; p <= last; p++) {
            ret_node->processor_count += !ret_node->processor[p];
            ret_node->processor[p] = true;
        }
        if (*list != ',') break;
    }
    return *list == '\0' || (*list == '\n' && list[1] == '\0');
}

es_status es_numa_read(const char *path, unsigned number, es_numa_node *ret_node, es_err *err)
{
    char file[PATH_BYTES_MAX], text[LIST_BYTES_MAX];
    int bytes = snprintf(file, sizeof file, "%s/node%u/cpulist", path, number);
    if (bytes < 0 || (size_t)bytes >= sizeof file)
        return es_err_set(err, ES_INVALID, "%s: the path is too long", path);
    es_status status = es_machine_read_text(file, text, sizeof text, err);
    if (status != ES_OK) return status;
    ret_node->number = number;
    return es_numa_parse_processors(text, ret_node)
               ? ES_OK
               : es_err_set(err, ES_CORRUPT, "%s: not a list of processors", file);
}

/* Of the processors that this thread may use, those of node; how many. */
static int common_processors(const es_numa_node *node, cpu_set_t *ret_set)
{
    if (sched_getaffinity(0, sizeof *ret_set, ret_set) != 0) CPU_ZERO(ret_set);
    for (size_t p = 0; p < CPU_SETSIZE; p++)
        if (!node->processor[p]) CPU_CLR(p, ret_set);
    return CPU_COUNT(ret_set);
}

static int by_number(const void *a, const void *b)
{
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

size_t es_numa_list(const char *path, unsigned ret_numbers[ES_NUMA_NODES_MAX])
{
    DIR *folder = opendir(path);
    size_t count = 0;
    if (folder == NULL) return 0;
    for (const struct dirent *item; (item = readdir(folder)) != NULL && count < ES_NUMA_NODES_MAX;) {
        const char *text = item->d_name + 4;
        size_t number;
        es_numa_node node;
        cpu_set_t set;
        if (strncmp(item->d_name, "node", 4) != 0 || !read_number(&text, 1 << 20, &number) || *text != '\0')
            continue;
        if (es_numa_read(path, (unsigned)number, &node, NULL) == ES_OK && common_processors(&node, &set) > 0)
            ret_numbers[count++] = (unsigned)number;
    }
    closedir(folder);
    qsort(ret_numbers, count, sizeof *ret_numbers, by_number);
    return count;
}

static es_status no_such_node(const char *path, unsigned number, es_err *err)
{
    unsigned numbers[ES_NUMA_NODES_MAX];
    char text[NUMBERS_BYTES_MAX] = "";
    size_t count = es_numa_list(path, numbers), at = 0;
    for (size_t i = 0; i < count && at + 16 < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%u", i == 0 ? "" : ", ", numbers[i]);
    return es_err_set(err, ES_INVALID, "NUMA node %u has no processor for this process; those that have: %s",
                      number, count == 0 ? "none" : text);
}

es_status es_numa_stay_on(const char *path, unsigned number, es_err *err)
{
    es_numa_node node;
    es_status status = es_numa_read(path, number, &node, err);
    cpu_set_t set;
    if (status == ES_NOT_FOUND || (status == ES_OK && common_processors(&node, &set) == 0))
        return no_such_node(path, number, err);
    if (status != ES_OK) return status;
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        return es_err_set(err, ES_UNAVAILABLE, "NUMA node %u: sched_setaffinity: %s", number,
                          strerror(errno));
    return ES_OK;
}
