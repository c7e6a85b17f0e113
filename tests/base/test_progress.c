/* What the progress line says. */
#include "base/progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void the_line_tells_percent_rate_and_time_left(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        uint64_t done, total, elapsed_ms;
        const char *text;
    } CASES[] = {
        {NULL, 12000000000, 34100000000, 10000, "work: 35 % of 34 GB, 1.2 GB/s, 18 s left"},
        {NULL, 1500, 3000, 1000, "work: 50 % of 3 kB, 1.5 kB/s, 1 s left"},
        {"tokens", 30, 400, 10000, "work: 7 % of 400 tokens, 3 tokens/s, 2 min 03 s left"},
        {"tokens", 25, 0, 10000, "work: 25 tokens, 2.5 tokens/s"},
        {"tokens", 1, 10000, 1000, "work: 0 % of 10000 tokens, 1 tokens/s, 2 h 46 min left"},
        {NULL, 0, 1000, 0, "work: 0 % of 1 kB"},
        {NULL, 2000, 1000, 1000, "work: 100 % of 1 kB, 2 kB/s, 0 s left"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        es_progress progress;
        char text[200];
        es_progress_init(&progress, "work", CASES[i].unit);
        es_progress_format(&progress, CASES[i].done, CASES[i].total, CASES[i].elapsed_ms * 1000000u, text,
                           sizeof text);
        assert_string_equal(text, CASES[i].text);
    }
}

/* What was kept from before goes by quickly: the time left is of what comes after. */
static void the_rate_is_that_of_the_last_minute(void **state)
{
    (void)state;
    es_progress progress;
    char text[200];
    es_progress_init(&progress, "work", NULL);
    es_progress_note(&progress, 900000000, 30000000000u);
    es_progress_format(&progress, 900000000, 1000000000, 30000000000u, text, sizeof text);
    assert_string_equal(text, "work: 90 % of 1 GB, 30 MB/s, 3 s left");
    es_progress_note(&progress, 915000000, 45000000000u); /* too soon for a mark */
    es_progress_note(&progress, 930000000, 60000000000u);
    es_progress_format(&progress, 990000000, 1000000000, 90000000000u, text, sizeof text);
    assert_string_equal(text, "work: 99 % of 1 GB, 1.5 MB/s, 7 s left");
}

static void quick_work_says_nothing(void **state)
{
    (void)state;
    es_progress progress;
    es_progress_init(&progress, "work", NULL);
    es_progress_update(&progress, 1, 2);
    assert_false(progress.drawn);
    es_progress_finish(&progress);
    es_progress_finish(&progress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_tells_percent_rate_and_time_left),
        cmocka_unit_test(the_rate_is_that_of_the_last_minute),
        cmocka_unit_test(quick_work_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
