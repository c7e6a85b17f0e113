/* A coordinator's GET /cluster as a picture for a terminal. */
#ifndef ES_CLI_CLUSTER_VIEW_H
#define ES_CLI_CLUSTER_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

typedef struct cluster_view {
    const char *url;
    size_t columns, lines; /* of the terminal; lines 0: as many as it takes */
    bool colours, heat;
} cluster_view;

/* What is missing or of another type in cluster shows as zero or "?": another version's server may be asked.
 */
void cluster_view_write(const cluster_view *view, const json_t *cluster, FILE *out);

#endif
