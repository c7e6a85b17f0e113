/* GGUF's blocks of integer codes, taken apart. */
#include "formats/file_blocks.h"

#include <string.h>

static uint16_t read_16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t read_32(const uint8_t *bytes)
{
    return (uint32_t)read_16(bytes) | (uint32_t)read_16(bytes + 2) << 16;
}

static uint8_t bit_4(uint32_t bits, size_t index)
{
    return (uint8_t)((bits >> index & 1) << 4);
}

/* q4_0, iq4_nl, q5_0, q5_1: columns 0 to 15 in the lower halves, 16 to 31 in the upper ones; fifth bits in
 * high. */
static void read_halves(const uint8_t *low, uint32_t high, uint8_t *code)
{
    for (size_t i = 0; i < 16; i++) {
        code[i] = (uint8_t)((low[i] & 15) | bit_4(high, i));
        code[i + 16] = (uint8_t)(low[i] >> 4 | bit_4(high, i + 16));
    }
}

static void read_q8_0(const uint8_t *bytes, uint8_t *code)
{
    for (size_t i = 0; i < 32; i++) code[i] = bytes[2 + i] ^ 0x80;
}

/* 6-bit scales and mins of 8 sub-blocks in 12 bytes. */
static void read_k_scales(const uint8_t *packed, uint8_t *a, uint8_t *mins)
{
    for (size_t j = 0; j < 4; j++) {
        a[j] = packed[j] & 63;
        mins[j] = packed[j + 4] & 63;
        a[j + 4] = (uint8_t)((packed[j + 8] & 15) | packed[j] >> 6 << 4);
        mins[j + 4] = (uint8_t)(packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4);
    }
}

/* 64 columns in 32 bytes, the first 32 in the lower halves; high (NULL: none) has bit 2 c and 2 c + 1 of
 * each. */
static void read_k_codes(const uint8_t *low, const uint8_t *high, uint8_t *code)
{
    for (size_t c = 0; c < 4; c++)
        for (size_t i = 0; i < 32; i++) {
            uint32_t bits = high == NULL ? 0 : high[i];
            code[64 * c + i] = (uint8_t)((low[32 * c + i] & 15) | bit_4(bits, 2 * c));
            code[64 * c + 32 + i] = (uint8_t)(low[32 * c + i] >> 4 | bit_4(bits, 2 * c + 1));
        }
}

static void read_q6_k(const uint8_t *bytes, es_file_block *block)
{
    const uint8_t *low = bytes, *high = bytes + 128;
    for (size_t half = 0; half < 2; half++, low += 64, high += 32)
        for (size_t i = 0; i < 32; i++) {
            uint8_t *code = block->code + 128 * half + i;
            code[0] = (uint8_t)((low[i] & 15) | (high[i] & 3) << 4);
            code[32] = (uint8_t)((low[i + 32] & 15) | (high[i] >> 2 & 3) << 4);
            code[64] = (uint8_t)(low[i] >> 4 | (high[i] >> 4 & 3) << 4);
            code[96] = (uint8_t)(low[i + 32] >> 4 | high[i] >> 6 << 4);
        }
    memcpy(block->a, bytes + 192, 16);
    block->d[0] = read_16(bytes + 208);
}

static void read_k(const uint8_t *bytes, bool five, es_file_block *block)
{
    block->d[0] = read_16(bytes);
    block->m[0] = read_16(bytes + 2);
    read_k_scales(bytes + 4, block->a, block->mins);
    read_k_codes(bytes + (five ? 48 : 16), five ? bytes + 16 : NULL, block->code);
}

static void read_32_block(es_format format, const uint8_t *bytes, size_t b, es_file_block *block)
{
    uint8_t *code = block->code + 32 * b;
    block->d[b] = read_16(bytes);
    switch (format) {
    case ES_FORMAT_Q8_0:
        read_q8_0(bytes, code);
        return;
    case ES_FORMAT_Q5_0:
        read_halves(bytes + 6, read_32(bytes + 2), code);
        return;
    case ES_FORMAT_Q5_1:
        block->m[b] = read_16(bytes + 2);
        read_halves(bytes + 8, read_32(bytes + 4), code);
        return;
    default:
        ES_ASSERT(format == ES_FORMAT_Q4_0 || format == ES_FORMAT_IQ4_NL);
        read_halves(bytes + 2, 0, code);
    }
}

void es_file_block_read(es_format format, const uint8_t *bytes, size_t n, es_file_block *ret_block)
{
    if (format == ES_FORMAT_Q6_K) {
        read_q6_k(bytes, ret_block);
    } else if (format == ES_FORMAT_Q4_K || format == ES_FORMAT_Q5_K) {
        read_k(bytes, format == ES_FORMAT_Q5_K, ret_block);
    } else {
        size_t block_bytes = es_format_describe(format)->block_bytes;
        for (size_t b = 0; b < n; b++) read_32_block(format, bytes + b * block_bytes, b, ret_block);
    }
}
