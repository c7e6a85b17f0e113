/* Which nodes of a coordinator's GET /cluster are ready for work, and what is in the way of the others. */
#ifndef ES_CLI_READINESS_H
#define ES_CLI_READINESS_H

#include <jansson.h>

/* {"ready": 2, "in_force": true, "why": "", "not_ready": [{"node": "n3", "why": "…"}]}, yours to
 * json_decref; NULL when memory is short. A node is ready when it holds all that the placement gives it, that
 * is something, and answers the coordinator's calls; in_force: the valid placement has come true (without a
 * registry always), why says what keeps it. What is missing or of another type in cluster counts as not
 * ready. */
json_t *cli_readiness_of(const json_t *cluster);

#endif
