/* CRC-32C by the machine's own instruction. */
#ifndef ES_NET_CRC32C_QUICK_H
#define ES_NET_CRC32C_QUICK_H

#include <stddef.h>
#include <stdint.h>

typedef uint32_t es_crc32c_fn(const void *bytes, size_t count);

/* NULL: this machine has none. */
es_crc32c_fn *es_crc32c_quick(void);

#endif
