/* How a layer's rows would spread over the machines: drawn, since shares of a random choice have no simple
 * formula. */
#ifndef ES_PLANNER_ROUTING_H
#define ES_PLANNER_ROUTING_H

#include "planner/cost.h"
#include "planner/layout.h"

/* Of one layer's call, averages over draws. */
typedef struct es_routing_load {
    double busiest_s;            /* of the host that computes longest */
    double nodes;                /* contacted */
    double row_copies;           /* rows sent, each node's counted */
    double expert_bytes_busiest; /* read there */
    double node_s[ES_MACHINES_MAX];
} es_routing_load;

/* Rows choose experts as the shape's router would if all were equally liked: groups first. machines
 * [layout->nodes] are the nodes'; those of one host take turns. own_host_s is what the coordinator computes
 * meanwhile on host own_host (its seconds are added there). The draws are the same in every run. */
void es_routing_draw(const es_cost_model *model, const es_planner_layout *layout, const es_machine *machines,
                     size_t rows, const char *own_host, double own_host_s, es_routing_load *ret_load);

#endif
