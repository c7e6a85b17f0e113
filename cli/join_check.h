/* What a machine needs to become a node, tried before its token is spent. */
#ifndef ES_CLI_JOIN_CHECK_H
#define ES_CLI_JOIN_CHECK_H

#include "cli/join_state.h"

/* The program is there; the three ports from that of state->listen on are free; dir and shards (made when it
 * is not there) can be written. The error says which is not, and that the token is still good. A disk that
 * cannot hold as much as memory is told on stderr. keys are this machine's. */
es_status cli_join_check(const char *dir, const char *shards, const cli_join_state *state,
                         const es_keys *keys, es_err *err);

#endif
