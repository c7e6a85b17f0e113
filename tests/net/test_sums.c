/* Integer sums at each width, to their edges. */
#include "net/sums.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const int64_t LIMIT = INT64_C(1) << ES_SUM_LIMIT_LOG2;

static void the_width_is_the_smallest_that_holds_all(void **state)
{
    (void)state;
    static const struct {
        int64_t value;
        size_t width;
    } CASES[] = {{0, 3},           {-1, 3},          {8388607, 3},    {8388608, 4},
                 {-8388608, 3},    {-8388609, 4},    {2147483647, 4}, {2147483648, 8},
                 {-2147483648, 4}, {-2147483649, 8}, {INT64_MAX, 8},  {INT64_MIN, 8}};
    assert_int_equal(es_sums_width(NULL, 0), 3);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int64_t sum[5] = {1, -2, 3, CASES[i].value, 0};
        assert_int_equal(es_sums_width(sum, 5), CASES[i].width);
    }
}

static void values_come_back_at_every_width(void **state)
{
    (void)state;
    static const int64_t EDGE[] = {0,
                                   1,
                                   -1,
                                   127,
                                   -128,
                                   255,
                                   256,
                                   -8388608,
                                   8388607,
                                   8388608,
                                   -2147483648,
                                   2147483647,
                                   2147483648,
                                   -2147483649,
                                   INT64_C(1) << 52,
                                   -(INT64_C(1) << 52)};
    enum { COUNT = sizeof EDGE / sizeof EDGE[0] };
    for (size_t first = 0; first < COUNT; first++)
        for (size_t count = 1; first + count <= COUNT; count++) {
            uint8_t bytes[COUNT * 8 + 1];
            int64_t stored[COUNT] = {0}, added[COUNT];
            size_t width = es_sums_width(EDGE + first, count);
            memset(bytes, 0xaa, sizeof bytes);
            es_sums_pack(EDGE + first, count, width, bytes);
            assert_int_equal(bytes[count * width], 0xaa);
            for (size_t i = 0; i < count; i++) added[i] = 1000 - (int64_t)i;
            assert_true(es_sums_within_limit(bytes, count, width));
            es_sums_add(bytes, count, width, stored);
            es_sums_add(bytes, count, width, added);
            for (size_t i = 0; i < count; i++) {
                assert_true(stored[i] == EDGE[first + i]);
                assert_true(added[i] == EDGE[first + i] + 1000 - (int64_t)i);
            }
        }
}

static void bytes_are_little_endian(void **state)
{
    (void)state;
    const int64_t sum[2] = {0x030201, -2};
    uint8_t bytes[16];
    es_sums_pack(sum, 2, 3, bytes);
    assert_memory_equal(bytes, "\x01\x02\x03\xfe\xff\xff", 6);
    es_sums_pack(sum, 2, 8, bytes);
    assert_memory_equal(bytes, "\x01\x02\x03\0\0\0\0\0\xfe\xff\xff\xff\xff\xff\xff\xff", 16);
}

static void values_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    const int64_t bad[] = {LIMIT + 1, -LIMIT - 1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < 4; i++) {
        const int64_t sum[3] = {1, bad[i], 2};
        uint8_t bytes[24];
        es_sums_pack(sum, 3, 8, bytes);
        assert_false(es_sums_within_limit(bytes, 3, 8));
    }
    assert_true(es_sums_width_valid(3) && es_sums_width_valid(4) && es_sums_width_valid(8));
    assert_false(es_sums_width_valid(0) || es_sums_width_valid(5) || es_sums_width_valid(16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_width_is_the_smallest_that_holds_all),
        cmocka_unit_test(values_come_back_at_every_width),
        cmocka_unit_test(bytes_are_little_endian),
        cmocka_unit_test(values_beyond_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
