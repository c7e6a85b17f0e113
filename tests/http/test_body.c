/* Bodies within their budget. */
#include "http/body.h"
#include "with_cmocka.h"

#include <string.h>

enum { MOST = 10000 };

static char data[MOST + 1];

static void a_body_is_what_came(void **state)
{
    (void)state;
    es_http_budget budget = {.most = 20000};
    es_http_body body = {0};
    for (int i = 0; i < MOST; i++) data[i] = (char)('a' + i % 26);
    size_t at = 0;
    for (size_t piece = 1; at < MOST; piece = piece * 3 + 1) {
        size_t bytes = at + piece < MOST ? piece : MOST - at;
        assert_int_equal(es_http_body_feed(&body, &budget, MOST, data + at, bytes), ES_HTTP_STORED);
        at += bytes;
    }
    assert_int_equal(body.bytes, MOST);
    assert_memory_equal(body.data, data, MOST);
    assert_true(atomic_load(&budget.held) >= MOST && atomic_load(&budget.held) <= budget.most);
    assert_int_equal(es_http_body_feed(&body, &budget, MOST, data, 1), ES_HTTP_TOO_LARGE);
    assert_int_equal(body.bytes, 0);
    assert_int_equal(body.came, MOST + 1);
    assert_int_equal(atomic_load(&budget.held), 0);
}

static void one_body_too_large_is_refused_at_once(void **state)
{
    (void)state;
    es_http_budget budget = {.most = 20000};
    es_http_body body = {0};
    assert_int_equal(es_http_body_feed(&body, &budget, MOST, data, MOST + 1), ES_HTTP_TOO_LARGE);
    assert_int_equal(atomic_load(&budget.held), 0);
}

static void all_bodies_together_stay_within_their_budget(void **state)
{
    (void)state;
    es_http_budget budget = {.most = 3 * MOST};
    es_http_body body[4] = {{0}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(es_http_body_feed(&body[i], &budget, MOST, data, MOST), ES_HTTP_STORED);
    assert_int_equal(es_http_body_feed(&body[3], &budget, MOST, data, 1), ES_HTTP_NO_ROOM);
    es_http_body_drop(&body[1], &budget);
    assert_int_equal(es_http_body_feed(&body[3], &budget, MOST, data, MOST), ES_HTTP_STORED);
    assert_int_equal(atomic_load(&budget.held), 3 * MOST);
    for (int i = 0; i < 4; i++) es_http_body_drop(&body[i], &budget);
    assert_int_equal(atomic_load(&budget.held), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_what_came),
        cmocka_unit_test(one_body_too_large_is_refused_at_once),
        cmocka_unit_test(all_bodies_together_stay_within_their_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
