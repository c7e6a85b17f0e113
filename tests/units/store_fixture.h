/* What tests of stores, loaders and nodes share: models cut in every way, and the sums of an expert's
 * stretches. */
#ifndef UNITS_STORE_FIXTURE_H
#define UNITS_STORE_FIXTURE_H

#include "base/pool.h"
#include "essaim/experts.h"
#include "weights/expert_store.h"

#include <stdio.h>

enum { TEST_PATH_MAX = 256 };

/* wide-v3: experts of 608 columns, three chunks of which the last is narrower. */
const char *wide_v3(void);

/* A folder of its own that folder_remove removes with all that is in it. */
void folder_make(char ret_path[TEST_PATH_MAX]);
void folder_remove(const char *path);

/* Writes a random model of this width, published layout in bf16, below folder; returns its path in ret_path.
 */
void model_make(const char *folder, size_t hidden, size_t width, char ret_path[TEST_PATH_MAX]);

/* Cuts a model into `slices` shards, each with one slice of every expert (1: one shard of whole experts), in
 * a new folder below folder. format ES_FORMAT_COUNT: as it is. */
void shards_cut(const char *model, es_format format, size_t slices, const char *folder,
                char ret_path[TEST_PATH_MAX]);

es_expert_store *store_open(const char *const *paths, size_t count);

/* The sums [ROWS][hidden] that all experts of a layer give rows drawn from a seed, every expert taken from
 * the store in `slices` stretches, each computed by itself; yours to free. */
enum { STORE_ROWS = 21 };
int64_t *store_sums(es_expert_store *store, size_t layer, uint32_t slices);

#endif
