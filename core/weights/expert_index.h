/* Which shard at hand has which expert. */
#ifndef ES_WEIGHTS_EXPERT_INDEX_H
#define ES_WEIGHTS_EXPERT_INDEX_H

#include "weights/expert_store.h"
#include "weights/shard.h"

typedef struct es_expert_index es_expert_index;

/* True when path is a shard, or a folder with any. */
bool es_expert_index_takes(const char *path);

/* Maps every shard of experts among paths (files, or folders of them; a coordinator's shard is passed over)
 * and lists its units. ES_NOT_FOUND when there is none, ES_MISMATCH names two of different models. */
es_status es_expert_index_open(const char *const *paths, size_t path_count, es_expert_index **ret_index,
                               es_err *err);

/* Maps one more, of the same model. What was found before stays where it is. */
es_status es_expert_index_add(es_expert_index *index, const char *path, es_err *err);
void es_expert_index_close(es_expert_index **index);

const es_shape *es_expert_index_shape(const es_expert_index *index);
const uint8_t *es_expert_index_fingerprint(const es_expert_index *index);

/* As es_expert_store_find. Of several shards that have the first chunk, the one that reaches furthest; of
 * these the one whose unit is smallest. */
es_status es_expert_index_find(const es_expert_index *index, size_t layer, size_t expert, es_chunks chunks,
                               es_expert_offer *ret_offer, es_err *err);

typedef struct es_index_unit {
    const es_shard_unit *unit;
    const uint8_t *data; /* mapped, at a page's beginning */
    es_chunks chunks;    /* absolute: count is not 0 */
} es_index_unit;

/* Whole experts only; SIZE_MAX: none has this sum. */
size_t es_expert_index_by_sum(const es_expert_index *index, const uint8_t sum[ES_SHARD_SUM_BYTES]);

/* Reads count bytes of entry at, beginning with from, out of its file, not the map: the caller waits for the
 * disk, nobody else. ES_INVALID when the entry has not so many there. */
es_status es_expert_index_read(const es_expert_index *index, size_t at, uint64_t from, uint8_t *ret_bytes,
                               size_t count, es_err *err);

/* Which expert an entry is; chunks absolute. */
es_shard_expert es_expert_index_expert(const es_expert_index *index, size_t at);

es_index_unit es_expert_index_unit(const es_expert_index *index, size_t at);

/* Holds an entry's bytes, or a copy of them, against the manifest's checksum. copy may be NULL. */
es_status es_expert_index_verify(const es_expert_index *index, size_t at, const uint8_t *copy, es_err *err);

#endif
