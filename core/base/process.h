/* Child programs that die with their parent, say when they are ready, and are stopped and reaped. */
#ifndef ES_BASE_PROCESS_H
#define ES_BASE_PROCESS_H

#include "essaim/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ES_PROCESS_ARGS_MAX = 512, ES_PROCESS_LINE_MAX = 1024, ES_PROCESS_GROUP_MAX = 64 };

/* One child. Owned by one thread; where the child's death matters that is the thread that started it (see
 * start). */
typedef struct es_process es_process;

typedef struct es_process_options {
    const char *const *argv; /* argv[0] is the program's path (PATH is not searched), NULL at the end; below
                                ES_PROCESS_ARGS_MAX */
    bool ready;              /* appends "--ready-fd N": the child writes one line there when it can be used */
    bool pipe_stdin;  /* es_process_stdin writes to the child; otherwise it reads nothing (/dev/null) */
    bool pipe_stdout; /* es_process_stdout reads from the child; otherwise inherited */
} es_process_options;

/* Starts argv in a process group of its own (a terminal's Ctrl-C reaches the parent alone, who decides),
 * stderr inherited. The kernel kills it with SIGKILL when the calling thread ends: call from main's thread,
 * before large memory is mapped. ES_NOT_FOUND or ES_IO when the program cannot be executed; the error names
 * it. */
es_status es_process_start(const es_process_options *options, es_process **ret_process, es_err *err);

/* Waits for the child's ready line until deadline_ns (base/clock.h); cancel_fd (or -1) readable means
 * ES_CANCELLED. ret_line [ES_PROCESS_LINE_MAX] gets the line without its newline. ES_UNAVAILABLE names the
 * exit code or signal of a child that ended before it was ready; a child that says why it failed
 * (es_process_say_failed) gives its own status and text; ES_TIMEOUT, ES_CORRUPT for a line that is
 * too long. Once, and only with options.ready. */
es_status es_process_wait_ready(es_process *process, uint64_t deadline_ns, int cancel_fd, char *ret_line,
                                es_err *err);

/* ES_OK while it runs; ES_UNAVAILABLE names the program and how it ended. Never waits. */
es_status es_process_check(es_process *process, es_err *err);

/* The pipe's end, owned by process, or -1. Closing stdin tells the child that there is no more. */
int es_process_stdin(const es_process *process);
int es_process_stdout(const es_process *process);
void es_process_close_stdin(es_process *process);

int es_process_id(const es_process *process);

/* SIGTERM; SIGKILL to it and its process group when it has not ended after grace_ms; reaps and frees.
 * Nothing happens when *process is NULL. */
void es_process_stop(es_process **process, int grace_ms);

/* Children that are stopped together, so that the grace periods run side by side. Start with all zero. */
typedef struct es_process_group {
    es_process *item[ES_PROCESS_GROUP_MAX];
    size_t count;
} es_process_group;

/* Takes *process into the group. ES_INVALID (and nothing taken) when it is full. */
es_status es_process_group_add(es_process_group *group, es_process **process, es_err *err);

void es_process_group_stop(es_process_group *group, int grace_ms);

/* Writes the path of a program that stands beside the running one: "essaim-expert-node". ES_NOT_FOUND names
 * where it was sought. */
es_status es_process_sibling(const char *name, char *out, size_t out_bytes, es_err *err);

/* The child's side when it cannot be used: writes err's status and text to fd, closes it and empties the
 * text, for the parent tells it now, or has given up before. Nothing happens, and the text stays, when fd is
 * a standard stream. */
void es_process_say_failed(int fd, es_err *err);

/* The child's side of ready: writes line and a newline to fd and closes it. ES_UNAVAILABLE, without a text,
 * when nobody reads there any more. */
es_status es_process_say_ready(int fd, const char *line, es_err *err);

#endif
