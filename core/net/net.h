/* What channels need of their net. */
#ifndef ES_NET_NET_H
#define ES_NET_NET_H

#include "net/channel.h"

void *es_net_context(const es_net *net);

/* Our own keys, or NULL. */
const es_keys *es_net_keys(const es_net *net);

/* A number that no other call on this net gets: names of inproc endpoints. (An address would come back too
 * early: libzmq unbinds in the background.) */
uint64_t es_net_next_number(es_net *net);

/* Who may connect, as a thread answers for it; NULL: nothing that needs keys can be bound. */
es_allow_list *es_net_allowed(const es_net *net);

#endif
