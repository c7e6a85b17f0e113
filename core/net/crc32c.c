/* CRC-32C, by the machine's instruction where it has one, else by slicing: eight tables turn eight bytes at a
 * time. */
#include "net/crc32c.h"

#include "net/crc32c_quick.h"

#include <pthread.h>
#include <string.h>

enum { SLICES = 8, BYTE_BITS = 8 };
static const uint32_t POLYNOMIAL = 0x82f63b78u;

static uint32_t table[SLICES][256]; /* written once, under once */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* table[s][b]: the effect of byte b followed by s zero bytes. */
static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < BYTE_BITS; bit++) crc = (crc >> 1) ^ (POLYNOMIAL & (0u - (crc & 1u)));
        table[0][byte] = crc;
    }
    for (size_t s = 1; s < SLICES; s++)
        for (size_t byte = 0; byte < 256; byte++) {
            uint32_t before = table[s - 1][byte];
            table[s][byte] = (before >> 8) ^ table[0][before & 0xffu];
        }
}

static uint64_t load_little(const uint8_t *p)
{
    uint64_t value;
    memcpy(&value, p, sizeof value);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static es_crc32c_fn *chosen; /* written once, under chosen_once */
static pthread_once_t chosen_once = PTHREAD_ONCE_INIT;

static void choose(void)
{
    chosen = es_crc32c_quick();
    if (chosen == NULL) chosen = es_crc32c_sliced;
}

uint32_t es_crc32c(const void *bytes, size_t count)
{
    pthread_once(&chosen_once, choose);
    return chosen(bytes, count);
}

uint32_t es_crc32c_sliced(const void *bytes, size_t count)
{
    pthread_once(&once, fill_table);
    const uint8_t *p = bytes;
    uint32_t crc = 0xffffffffu;
    for (; count >= 8; count -= 8, p += 8) {
        uint64_t v = load_little(p) ^ crc;
        crc = table[7][v & 0xff] ^ table[6][(v >> 8) & 0xff] ^ table[5][(v >> 16) & 0xff] ^
              table[4][(v >> 24) & 0xff] ^ table[3][(v >> 32) & 0xff] ^ table[2][(v >> 40) & 0xff] ^
              table[1][(v >> 48) & 0xff] ^ table[0][v >> 56];
    }
    for (; count > 0; count--, p++) crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xffu];
    return ~crc;
}
