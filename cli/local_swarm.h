/* Expert nodes as child processes on loopback: started together, stopped together, gone when their parent is.
 */
#ifndef ES_CLI_LOCAL_SWARM_H
#define ES_CLI_LOCAL_SWARM_H

#include "base/options.h"

enum { CLI_SWARM_MAX = 64 };

typedef struct cli_swarm cli_swarm;

/* Starts count nodes of the program that stands beside this one, node i with part i of the experts, and waits
 * until all are ready. isa may be NULL. The error names the node; nothing is left running then. */
es_status cli_swarm_start(const char *model_dir, size_t count, const char *isa, cli_swarm **ret_swarm,
                          es_err *err);
void cli_swarm_stop(cli_swarm **swarm);

/* The nodes' control endpoints; texts are borrowed until the swarm stops. */
es_option_list cli_swarm_endpoints(const cli_swarm *swarm);

/* Node i's process id, for people to see. */
int cli_swarm_process_id(const cli_swarm *swarm, size_t node);

/* ES_OK while node i runs; ES_UNAVAILABLE says how it ended. */
es_status cli_swarm_check(const cli_swarm *swarm, size_t node, es_err *err);

#endif
