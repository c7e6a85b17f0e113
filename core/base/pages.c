/* Big anonymous memory. */
#include "base/pages.h"

#include "base/size.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SOME_PAGES = 4096 };

uint8_t *es_pages_take(size_t bytes)
{
    void *pages =
        mmap(NULL, es_size_max(bytes, 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return NULL;
    (void)madvise(pages, bytes, MADV_HUGEPAGE); /* a wish: without huge pages it is only slower */
    return pages;
}

void es_pages_clear(uint8_t *pages, size_t bytes)
{
    (void)madvise(pages, es_size_max(bytes, 1), MADV_DONTNEED);
}

void es_pages_give(uint8_t *pages, size_t bytes)
{
    if (pages != NULL) munmap(pages, es_size_max(bytes, 1));
}

double es_pages_cached_share(const uint8_t *at, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), cached = 0, all = 0;
    uintptr_t first = (uintptr_t)at / page * page, end = es_size_align((uintptr_t)at + bytes, page);
    while (first < end) {
        unsigned char in[SOME_PAGES];
        size_t some = es_size_min((end - first) / page, SOME_PAGES);
        if (mincore((void *)first, some * page, in) != 0) break;
        for (size_t i = 0; i < some; i++) cached += in[i] & 1;
        all += some;
        first += some * page;
    }
    return all == 0 ? 0 : (double)cached / (double)all;
}

double es_pages_huge_share(const uint8_t *at)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    if (maps == NULL) return 0;
    char line[4352], name[32];
    uintptr_t wanted = (uintptr_t)at;
    unsigned long first, end, kilobytes;
    bool here = false;
    size_t resident = 0, huge = 0;
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &first, &end) == 2)
            here = first <= wanted && wanted < end;
        else if (here && sscanf(line, "%31[^:]: %lu kB", name, &kilobytes) == 2) {
            if (strcmp(name, "Rss") == 0) resident = kilobytes;
            if (strcmp(name, "AnonHugePages") == 0 || strcmp(name, "FilePmdMapped") == 0) huge += kilobytes;
        }
    }
    fclose(maps);
    return resident == 0 ? 0 : (double)huge / (double)resident;
}
