/* What is told of pages in memory. */
#include "base/pages.h"
#include "with_cmocka.h"

#include <unistd.h>

static void pages_come_when_they_are_touched(void **state)
{
    (void)state;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *pages = es_pages_take(4 * page);
    assert_non_null(pages);
    assert_true(es_pages_cached_share(pages, 4 * page) == 0);
    pages[page] = 1;
    assert_true(es_pages_cached_share(pages, 4 * page) == 0.25);
    /* Bytes that begin and end within pages. */
    assert_true(es_pages_cached_share(pages + page / 2, page) == 0.5);
    es_pages_clear(pages, 4 * page);
    assert_true(es_pages_cached_share(pages, 4 * page) == 0);
    assert_int_equal(pages[page], 0);
    es_pages_give(pages, 4 * page);
}

static void huge_pages_are_a_share_of_what_is_in_memory(void **state)
{
    (void)state;
    const size_t bytes = 16 << 20;
    uint8_t *pages = es_pages_take(bytes);
    assert_non_null(pages);
    assert_true(es_pages_huge_share(pages) == 0);
    for (size_t i = 0; i < bytes; i += 4096) pages[i] = 1;
    double share = es_pages_huge_share(pages + bytes / 2);
    assert_true(share >= 0 && share <= 1);
    es_pages_give(pages, bytes);
    assert_true(es_pages_huge_share(NULL) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_when_they_are_touched),
        cmocka_unit_test(huge_pages_are_a_share_of_what_is_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
