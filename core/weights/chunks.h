/* A stretch of an expert as a feed-forward of its own: the same bytes, seen from another place. */
#ifndef ES_WEIGHTS_CHUNKS_H
#define ES_WEIGHTS_CHUNKS_H

#include "essaim/placement.h"

/* What computes chunks (count is not 0) of an expert of which ffn holds those from held_first on: rows of
 * gate and up, columns of down, in place, in either layout. The sums of stretches that make up an expert are
 * the expert's own, bit for bit: the down product begins afresh at every chunk. */
es_ffn es_ffn_chunks(const es_ffn *ffn, uint32_t held_first, es_chunks chunks);

#endif
