/* SIGINT and SIGTERM as a flag to look at and a descriptor to poll, SIGHUP as another; SIGPIPE ignored. */
#ifndef ES_BASE_SIGNALS_H
#define ES_BASE_SIGNALS_H

#include "essaim/status.h"

#include <pthread.h>
#include <stdbool.h>

/* Installs the handlers: called once, by main, before threads start. A second signal before the first was
 * cleared ends the program at once, as if there were no handler: a program that hangs can still be stopped.
 */
es_status es_signals_start(es_err *err);

/* True once SIGINT or SIGTERM has come. Cheap; from any thread. */
bool es_signals_stop_asked(void);

/* The signal that came last (SIGINT, SIGTERM), 0: none. */
int es_signals_number(void);

/* Readable from then on until cleared: for poll and zmq_poll beside other descriptors. Never read it; -1
 * before start. */
int es_signals_fd(void);

/* From here on SIGHUP, which otherwise ends the program, is noted too: called once, by main, before threads
 * start.
 */
es_status es_signals_watch_hangup(es_err *err);

/* Readable while a SIGHUP waits to be taken; -1: not watched. */
int es_signals_hangup_fd(void);

/* True when SIGHUP has come since the last call. */
bool es_signals_take_hangup(void);

/* pthread_create for a thread that no signal interrupts: they are for the thread that waits for them. A fault
 * of its own (SIGBUS) it keeps, as base/bus_error.h tells of it. 0, or an errno. */
int es_signals_start_thread(pthread_t *ret_thread, void *(*main)(void *), void *context);

/* Forgets the signal: an answer was cut short, the conversation goes on. */
void es_signals_clear(void);

#endif
