/* What can go wrong and how it is told: a status for programs, an es_err for people. */
#ifndef ESSAIM_STATUS_H
#define ESSAIM_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum es_status {
    ES_OK = 0,
    ES_INVALID,     /* the caller's or user's words make no sense: option, request, config value */
    ES_NOT_FOUND,   /* a file, tensor, node or model that is not there */
    ES_CORRUPT,     /* bytes that contradict themselves or their checksum */
    ES_UNSUPPORTED, /* well formed, and not something this build does */
    ES_IO,          /* the operating system said no */
    ES_NO_MEMORY,   /* memory or a stated budget is exhausted */
    ES_TIMEOUT,     /* a deadline passed */
    ES_UNAVAILABLE, /* a peer is gone or not ready; another try may succeed */
    ES_NOT_HERE,    /* this node does not hold the expert asked for */
    ES_MISMATCH,    /* two sides hold different models, versions or keys */
    ES_CANCELLED,   /* the asker went away */
    ES_NUMERIC,     /* NaN, infinity or a value beyond its stated range */
    ES_BUSY,        /* too many ask at once: a queue is full */
    ES_STALE,       /* asked for by a placement that another has followed */
    ES_STATUS_COUNT
} es_status;

/* One row for each status: its text, the HTTP code it becomes and whether trying again can help.
 * The wire code is the enum's value: append only. */
typedef struct es_status_info {
    const char *name;
    const char *text;
    int http_code;
    bool retry_helps;
} es_status_info;

/* Never NULL; an unknown value gives the row of ES_CORRUPT. */
const es_status_info *es_status_describe(es_status status);

/* The error whose name is the length bytes at name; ES_OK when none has it, or it is "ok". */
es_status es_status_named(const char *name, size_t length);

enum { ES_ERR_TEXT_MAX = 640 };

/* An error as a value: nobody frees it. The deepest cause stays at the end of text; callers prefix where:
 * "layer 12: expert 77: node n3: deadline passed". */
typedef struct es_err {
    es_status status;
    char text[ES_ERR_TEXT_MAX];
} es_err;

/* Fills err (which may be NULL) and returns status, so that "return es_err_set(...)" reads well. Control
 * characters and bytes that are no UTF-8, which come with hostile names, are replaced by '?': an error is
 * always one printable line. */
es_status es_err_set(es_err *err, es_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__
/* Tells the analyzer what it cannot see from here: the status that goes in comes out. */
#define es_err_set(err, status, ...) ((es_err_set)(err, status, __VA_ARGS__), (status))
#endif

/* Puts "where: " before the text and returns err's status (ES_OK when err is NULL: keep the status yourself
 * then). */
es_status es_err_prefix(es_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As es_err_set with "where: " before the text, for functions that take a format themselves. */
es_status es_err_set_at(es_err *err, es_status status, const char *where, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));

/* Stops the program on a bug of our own; never for input, memory or the network. On in release too. */
#define ES_ASSERT(condition) ((condition) ? (void)0 : es_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void es_assert_failed(const char *condition, const char *file, int line);

#endif
