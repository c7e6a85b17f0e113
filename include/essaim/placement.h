/* Which node holds which experts. */
#ifndef ESSAIM_PLACEMENT_H
#define ESSAIM_PLACEMENT_H

#include "essaim/model.h"
#include "essaim/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    ES_UNITS_MAX = 16384, /* ranges one node can announce */
    ES_CHUNKS_MAX = 2048, /* of ES_CHUNK_COLUMNS that an expert is wide, at most; no more slices either */
};

/* A stretch of an expert's intermediate columns, counted in chunks of ES_CHUNK_COLUMNS; the expert's last
 * chunk may be narrower. It is what a slice holds and what a pair of a request asks for. count 0: the whole
 * expert. */
typedef struct es_chunks {
    uint32_t first, count;
} es_chunks;

/* How many an expert has. */
static inline size_t es_chunks_of(size_t intermediate)
{
    return (intermediate + ES_CHUNK_COLUMNS - 1) / ES_CHUNK_COLUMNS;
}

/* Slice `slice` of `slices` of an expert: chunks floor(slice * all / slices) to floor((slice + 1) * all /
 * slices), so that all slices together are the expert and none is empty. slices is 1 to
 * es_chunks_of(intermediate), which is at most ES_CHUNKS_MAX. */
static inline es_chunks es_chunks_of_slice(size_t intermediate, uint32_t slice, uint32_t slices)
{
    size_t all = es_chunks_of(intermediate);
    uint32_t first = (uint32_t)(slice * all / slices);
    return (es_chunks){first, (uint32_t)((slice + 1) * all / slices) - first};
}

/* As they travel: first * 4096 + count. */
static inline uint32_t es_chunks_code(es_chunks chunks)
{
    return chunks.first << 12 | chunks.count;
}

static inline es_chunks es_chunks_decode(uint32_t code)
{
    return (es_chunks){code >> 12, code & 0xfff};
}

/* Slice `slice` of `slices` (whole experts: 0 of 1) of experts [expert_first, expert_first + expert_count) of
 * one layer. */
typedef struct es_units {
    uint32_t layer;
    uint32_t expert_first, expert_count;
    uint32_t slice, slices;
} es_units;

/* Marks in held [layers][experts] (the caller's; overwritten) what part `part` of `parts` equal shares holds,
 * counted from 0: in every MoE layer the experts e with floor(e * parts / experts) == part, a contiguous
 * group. ES_INVALID unless part < parts and parts is 1 to experts. */
es_status es_placement_part(const es_shape *shape, size_t part, size_t parts, uint8_t *held, es_err *err);

/* Reads "I/N", counted from 1 as people do: "2/4" gives part 1 of 4. ES_INVALID quotes the text. */
es_status es_placement_parse_part(const char *text, size_t *ret_part, size_t *ret_parts, es_err *err);

/* Writes held [layers][experts] as ranges in ascending order. ES_NO_MEMORY when there are more than
 * units_max. */
es_status es_placement_units(const es_shape *shape, const uint8_t *held, es_units *ret_units,
                             size_t units_max, size_t *ret_count, es_err *err);

#endif
