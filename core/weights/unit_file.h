/* One routed expert as a shard of its own, filled front to back with bytes that come from elsewhere. */
#ifndef ES_WEIGHTS_UNIT_FILE_H
#define ES_WEIGHTS_UNIT_FILE_H

#include "weights/shard.h"

/* What it is to be. Texts and parts are borrowed until it is open. */
typedef struct es_unit_plan {
    const es_shape *shape;      /* borrowed while it is open */
    const uint8_t *fingerprint; /* [ES_FINGERPRINT_BYTES] */
    size_t layer, expert;
    uint8_t formats[3]; /* es_format of gate, up and down */
    uint8_t sum[ES_SHARD_SUM_BYTES];
    es_shard_part parts[3]; /* these two by es_unit_plan_lay_out */
    uint64_t bytes;
} es_unit_plan;

/* The matrices that shape and formats make, and the plan's bytes. ES_INVALID: no expert of this shape stands
 * in these formats. */
es_status es_unit_plan_lay_out(es_unit_plan *plan, es_err *err);

/* A shard with no expert in it: the model's shape and fingerprint, for a folder that is to be filled.
 * Replaces a file of this name. */
es_status es_unit_file_write_empty(const char *dir, const es_shape *shape, const uint8_t *fingerprint,
                                   es_err *err);

/* Whether dir has a finished one of this expert; its path goes into ret_path [path_bytes]. */
bool es_unit_file_find(const char *dir, size_t layer, size_t expert, char *ret_path, size_t path_bytes);

/* Owned by one thread. */
typedef struct es_unit_file es_unit_file;

/* Opens the file's beginnings in dir, "layers.3.experts.17.shard.part", and takes up what an earlier one has
 * put there. ES_IO says what the disk lacks, before anything is written: room for this one and `more_bytes`.
 */
es_status es_unit_file_open(const char *dir, const es_unit_plan *plan, uint64_t more_bytes,
                            es_unit_file **ret_file, es_err *err);

/* How many of plan->bytes are there. */
uint64_t es_unit_file_done(const es_unit_file *file);

/* Appends; no more than is missing. */
es_status es_unit_file_put(es_unit_file *file, const void *bytes, size_t count, es_err *err);

/* Once all is there: checks the sum, writes manifest and header, and gives the file its name, which goes into
 * ret_path [path_bytes]. ES_CORRUPT when the bytes are not those of the sum: then what was put is removed. */
es_status es_unit_file_finish(es_unit_file *file, char *ret_path, size_t path_bytes, es_err *err);

/* What was put and not finished stays, for the next one. */
void es_unit_file_close(es_unit_file **file);

#endif
