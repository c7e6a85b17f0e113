/* CRC-32C against RFC 3720's vectors and a bit-by-bit division. */
#include "net/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void published_vectors_hold(void **state)
{
    (void)state;
    uint8_t bytes[32];
    assert_int_equal(es_crc32c("", 0), 0);
    assert_int_equal(es_crc32c("123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(es_crc32c(bytes, sizeof bytes), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(es_crc32c(bytes, sizeof bytes), 0x62a8ab43u);
    for (uint8_t i = 0; i < 32; i++) bytes[i] = i;
    assert_int_equal(es_crc32c(bytes, sizeof bytes), 0x46dd794eu);
    for (uint8_t i = 0; i < 32; i++) bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(es_crc32c(bytes, sizeof bytes), 0x113fdb5cu);
}

static uint32_t by_bits(const uint8_t *bytes, size_t count)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = (crc & 1u) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static void every_length_and_alignment_agrees_with_division(void **state)
{
    (void)state;
    uint8_t bytes[80];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 + 11);
    for (size_t start = 0; start < 8; start++)
        for (size_t count = 0; count + start <= sizeof bytes; count++) {
            assert_int_equal(es_crc32c(bytes + start, count), by_bits(bytes + start, count));
            assert_int_equal(es_crc32c_sliced(bytes + start, count), by_bits(bytes + start, count));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_hold),
        cmocka_unit_test(every_length_and_alignment_agrees_with_division),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
