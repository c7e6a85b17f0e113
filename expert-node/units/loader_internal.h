/* What the loader's two sides share. */
#ifndef ES_UNITS_LOADER_INTERNAL_H
#define ES_UNITS_LOADER_INTERNAL_H

#include "base/queue.h"
#include "units/loader.h"

#include <pthread.h>
#include <stdatomic.h>

enum { COMMANDS_MAX = 64, CHANGES_MAX = 16, REPORTS_MAX = 4 };

typedef enum command_kind {
    COMMAND_LOAD,
    COMMAND_DROP,
    COMMAND_LOAD_ALL,
    COMMAND_RETURN,
    COMMAND_STOP
} command_kind;

typedef struct command {
    command_kind kind;
    es_units *units; /* malloc'd, the receiver's */
    size_t unit_count;
    uint8_t *sums;       /* malloc'd likewise: of every expert of units; NULL: not stated */
    uint8_t *formats;    /* likewise */
    es_holding *holding; /* COMMAND_RETURN: the service has done with it */
} command;

/* What the thread tells. */
typedef struct report {
    es_holding *holding; /* NULL: as before */
    uint64_t handled;    /* changes that it knows of */
    uint64_t settled;    /* of them, that are done, or failed */
    es_status failed;    /* with this status and these words; ES_OK: they may tell what is waited for */
    char failure[ES_NODE_FAILURE_MAX];
} report;

/* One expert's bytes, and who looks at them. They are held while a piece of the thread's list does, retired
 * while only holdings do. */
typedef struct es_loaded {
    es_stored_expert stored;
    size_t pieces, holdings;
    bool verified;
} es_loaded;

typedef struct loaded_piece {
    size_t layer, expert;
    es_chunks chunks;
    es_loaded *loaded;
    bool read; /* its pages were read */
} loaded_piece;

/* The thread's own. */
typedef struct loader_thread {
    es_chunk_set wanted, held;
    loaded_piece *pieces;
    size_t piece_count, piece_room;
    size_t read_cursor; /* the first piece that may not have been read */
    size_t load_cursor; /* the first expert, of all layers, that may lack something */
    uint64_t held_bytes, retired_bytes;
    uint64_t handled; /* changes */
    uint64_t told;    /* of them, in the latest report */
    uint64_t published_ns;
    uint32_t slices;  /* of the latest change: ranges are told in these terms */
    bool changed;     /* the pieces, since the latest holding */
    bool waits_anew;  /* waits_for is another than was told */
    es_status failed; /* not ES_OK: nothing more is loaded before the next change */
    uint8_t *sums;    /* [layers][experts][ES_CONTENT_SUM_BYTES]; zero: not known */
    uint8_t *formats; /* [layers][experts][ES_EXPERT_PARTS] es_format; ES_FORMAT_COUNT: not known */
    uint8_t *ordered; /* [layers][experts]: it is being fetched */
    size_t ordered_count;
    bool started; /* the first change is done: from then on the thread steps back */
    char failure[ES_NODE_FAILURE_MAX];
    char waits_for[ES_NODE_FAILURE_MAX]; /* what is in the way of fetching */
} loader_thread;

/* Frees what comes with a change. */
void es_loader_free_command(command *c);

struct es_loader {
    es_loader_options options;
    pthread_t id;
    bool running;
    es_queue *commands, *reports;
    int wake_fd;
    atomic_bool woken;
    _Atomic uint64_t wanted_bytes, mapped_bytes, verified_bytes;

    /* The service's. */
    es_holding *holding;
    uint64_t epoch, posted, settled;
    es_status failed;
    char failure[ES_NODE_FAILURE_MAX];

    loader_thread thread;
};

/* The thread's function; context is the es_loader. */
void *es_loader_main(void *context);

/* After the thread has ended: gives back all that it held, what queues hold among it. */
void es_loader_give_all(es_loader *loader);

#endif
