/* One line on stderr that tells how far long work has come. */
#ifndef ES_BASE_PROGRESS_H
#define ES_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Caller's storage; one thread at a time. On a terminal the line appears after half a second and is redrawn
 * in place; elsewhere a line is written every ten seconds (an event where the log is configured), so that a
 * log of quick work holds none. */
typedef struct es_progress {
    const char *what; /* "loading models/tiny-r1"; borrowed until finish */
    const char *unit; /* "tokens"; NULL: bytes */
    uint64_t start_ns, drawn_ns;
    bool terminal, drawn;

    /* How far it was half a minute ago or more, at most a whole one, and since: what a rate is measured from,
     * for work that is taken up goes through what is there at another pace. Zero: the start. */
    struct es_progress_mark {
        uint64_t elapsed_ns, done;
    } from, next;
} es_progress;

void es_progress_init(es_progress *progress, const char *what, const char *unit);

/* Shaped like es_progress_fn (essaim/model.h): context is the es_progress. total 0: not known. */
void es_progress_update(void *context, uint64_t done, uint64_t total);

/* Takes the line off the terminal; may be called without any update, and twice. */
void es_progress_finish(es_progress *progress);

/* Notes that so much is done after elapsed_ns: rates are of the last half to whole minute. */
void es_progress_note(es_progress *progress, uint64_t done, uint64_t elapsed_ns);

/* What the line says when done of total took elapsed_ns: "loading x: 35 % of 34.1 GB, 1.2 GB/s, 18 s left".
 */
void es_progress_format(const es_progress *progress, uint64_t done, uint64_t total, uint64_t elapsed_ns,
                        char *out, size_t out_bytes);

#endif
