/* Threads that carry messages are to run at once: they take microseconds, and others wait for them. */
#ifndef ES_NET_SOON_H
#define ES_NET_SOON_H

/* Starts the threads of a ZeroMQ context so that they run before threads that compute on the same core. Linux
 * 6.12 and later do that for threads that ask for short slices; elsewhere nothing changes, and a message may
 * wait for a computing thread's slice, some milliseconds. */
void es_soon_start(void *context);

#endif
