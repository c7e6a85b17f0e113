/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78): what guards a payload frame. */
#ifndef ES_NET_CRC32C_H
#define ES_NET_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of bytes [count] as RFC 3720 defines it; of no bytes it is 0. */
uint32_t es_crc32c(const void *bytes, size_t count);

/* The same without the machine's own instruction. */
uint32_t es_crc32c_sliced(const void *bytes, size_t count);

#endif
