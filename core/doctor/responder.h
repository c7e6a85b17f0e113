/* Answers probes: what `essaim doctor --serve` is on a machine where no expert node runs. */
#ifndef ES_DOCTOR_RESPONDER_H
#define ES_DOCTOR_RESPONDER_H

#include "net/channel.h"
#include "net/control.h"

/* Owned by the thread that opened it. */
typedef struct es_responder es_responder;

/* Listens; who is the answer to everybody (its clock and fill are made anew each time), copied.
 * ret_bound is the endpoint with its real port. Errors as es_channel_bind. */
es_status es_responder_open(es_net *net, const es_endpoint *listen, const es_probe_reply *who,
                            es_responder **ret_responder, es_endpoint *ret_bound, es_err *err);
void es_responder_close(es_responder **responder);

/* Answers until es_signals_stop_asked. Malformed messages are dropped, other requests refused. */
es_status es_responder_run(es_responder *responder, es_err *err);

#endif
