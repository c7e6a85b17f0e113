/* Expert nodes as a file lists them, one a line: HOST:PORT, a blank, and for nodes beyond this machine their
 * public key. */
#ifndef ES_COORDINATOR_NODE_LIST_H
#define ES_COORDINATOR_NODE_LIST_H

#include "base/arena.h"
#include "base/options.h"

/* Appends the file's nodes to list as "HOST:PORT" or "HOST:PORT,KEY", as --node says them; texts live in
 * arena. Lines that begin with '#' are comments. Names are not looked up. ES_INVALID names the line that is
 * no node, or says that there is none. */
es_status es_node_list_read(const char *path, es_arena *arena, es_option_list *list, es_err *err);

#endif
