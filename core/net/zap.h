/* Who may connect: the thread that answers libzmq's question for every CURVE handshake (ZAP 1.0, ZeroMQ RFC
 * 27). */
#ifndef ES_NET_ZAP_H
#define ES_NET_ZAP_H

#include "net/keys.h"

typedef struct es_zap es_zap;

/* Starts the thread, on context (a zmq context) and before its sockets bind; it answers from list, borrowed,
 * and has it read again when its file changes. Who is let in is known by his key, as the user id of his
 * messages. */
es_status es_zap_start(void *context, es_allow_list *list, es_zap **ret_zap, es_err *err);

/* Joins the thread, which ends when its context is shut down. */
void es_zap_join(es_zap **zap);

#endif
