/* GGUF's blocks of integer codes, taken apart: every format becomes codes, scales and mins of one shape. */
#ifndef ES_FORMATS_FILE_BLOCKS_H
#define ES_FORMATS_FILE_BLOCKS_H

#include "essaim/panels.h"

/* Up to 256 columns of one row. Fields that a format lacks are not written. */
typedef struct es_file_block {
    uint8_t code[ES_PANEL_COLS];
    uint16_t d[8], m[8]; /* f16: one a 32-block, or the first alone */
    uint8_t a[16], mins[8];
} es_file_block;

/* Takes n 32-blocks apart that begin at bytes: n file blocks of 32 columns, or one of 256 (n is 8). Format:
 * GGUF's ggml-common.h. */
void es_file_block_read(es_format format, const uint8_t *bytes, size_t n, es_file_block *ret_block);

#endif
