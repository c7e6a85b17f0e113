/* One event, one line, on stderr: as text or as JSON. Nothing secret is ever given to it: no prompts, no
 * keys, no tokens. What it is given may be hostile: a line stays one line, and shows every byte for what it
 * is. */
#ifndef ES_BASE_LOG_H
#define ES_BASE_LOG_H

#include "base/options.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum es_log_level { ES_LOG_ERROR, ES_LOG_WARN, ES_LOG_INFO, ES_LOG_DEBUG } es_log_level;

typedef enum es_log_format {
    ES_LOG_TEXT, /* TIME PROGRAM/ROOM: LEVEL: MESSAGE name=value … */
    ES_LOG_JSON, /* {"time", "level", "program", "room", "message", …fields} */
    ES_LOG_PLAIN /* PROGRAM: LEVEL: MESSAGE, for people at a terminal; what is not configured writes this */
} es_log_format;

/* --log and --log-level, for programs that serve. */
typedef struct es_log_options {
    es_log_format format;
    es_log_level level;
    bool level_given;
} es_log_options;
enum { ES_LOG_OPTION_COUNT = 2 };
extern const es_option ES_LOG_OPTIONS[ES_LOG_OPTION_COUNT];

/* Set once by main before threads start, as plain lines or as the options say. program is borrowed for good
 * ("essaim-expert-node"). */
void es_log_configure(const char *program, es_log_level level);
void es_log_serve(const char *program, const es_log_options *options);
es_log_format es_log_get_format(void);

/* Whether an event of this level is written: for those whose making costs something. */
bool es_log_wants(es_log_level level);

/* A named value beside the message. Names are letters and '_', at most 20, static. */
typedef struct es_log_field {
    const char *name;
    enum { ES_LOG_VALUE_TEXT, ES_LOG_VALUE_COUNT, ES_LOG_VALUE_REAL } kind;
    const char *text;
    uint64_t count;
    double real;
} es_log_field;
enum { ES_LOG_FIELDS_MAX = 12, ES_LOG_LINE_MAX = 4096 };

static inline es_log_field es_log_text(const char *name, const char *text)
{
    return (es_log_field){.name = name, .kind = ES_LOG_VALUE_TEXT, .text = text};
}

static inline es_log_field es_log_count(const char *name, uint64_t count)
{
    return (es_log_field){.name = name, .kind = ES_LOG_VALUE_COUNT, .count = count};
}

/* Three digits after the point. */
static inline es_log_field es_log_real(const char *name, double real)
{
    return (es_log_field){.name = name, .kind = ES_LOG_VALUE_REAL, .real = real};
}

/* Writes an event in one write of at most ES_LOG_LINE_MAX bytes, which a pipe keeps whole; from any thread,
 * without allocating. Long messages and texts are cut and end in "…"; texts that are NULL or empty are left
 * out. fields [count <= ES_LOG_FIELDS_MAX]. */
void es_log_event(es_log_level level, const char *room, const es_log_field *fields, size_t count,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

/* The room that a source belongs to, set for it by the build. */
#ifndef ES_ROOM
#define ES_ROOM "main"
#endif
#define es_log(level, ...) es_log_event(level, ES_ROOM, NULL, 0, __VA_ARGS__)
#define es_log_with(level, fields, ...)                                                                      \
    es_log_event(level, ES_ROOM, fields, sizeof(fields) / sizeof((fields)[0]), __VA_ARGS__)

/* Keeps events that others can cause at will from filling a disk: so many a second. Caller's storage, start
 * with all zero; one thread's. */
typedef struct es_log_limit {
    uint64_t second;
    unsigned written;
    uint64_t left_out; /* since one was written */
} es_log_limit;

/* Whether one more may be written now; *ret_left_out: how many were not since the last one. */
bool es_log_limit_take(es_log_limit *limit, uint64_t now_ns, unsigned a_second, uint64_t *ret_left_out);

#endif
