/* What of a folder of shards is written already: a line for each finished unit, kept until all is there. */
#ifndef ES_WEIGHTS_SHARD_JOURNAL_H
#define ES_WEIGHTS_SHARD_JOURNAL_H

#include "weights/shard.h"

#include <limits.h>

#define ES_SHARD_JOURNAL_NAME "shards.journal"

typedef struct es_shard_journal {
    int fd;
    size_t first_bytes; /* of the line that tells the plan */
    char path[PATH_MAX];
} es_shard_journal;

/* A unit that the journal says was written, with its sum: to be checked. Indices may be anything. */
typedef void es_shard_journal_fn(void *context, size_t shard, size_t unit, const uint8_t *sum);

/* Makes dir's journal for the plan of shards [count], or opens the one that is there. ES_INVALID when it is
 * another plan's; ES_UNAVAILABLE while another process has it. */
es_status es_shard_journal_open(const char *dir, const es_shard *shards, size_t count,
                                es_shard_journal *ret_journal, es_err *err);

/* Tells the units of an earlier run. A last line that was cut short is as if it had never been there. */
es_status es_shard_journal_tell(es_shard_journal *journal, es_shard_journal_fn *fn, void *context,
                                es_err *err);
es_status es_shard_journal_add(es_shard_journal *journal, size_t shard, size_t unit, const uint8_t *sum,
                               es_err *err);

/* Removes it and closes it: all is written. */
es_status es_shard_journal_remove(es_shard_journal *journal, es_err *err);
void es_shard_journal_close(es_shard_journal *journal);

#endif
