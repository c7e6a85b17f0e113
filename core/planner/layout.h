/* Which machine would hold which experts of a layer, in each mode: the shape of a placement, for predicting.
 */
#ifndef ES_PLANNER_LAYOUT_H
#define ES_PLANNER_LAYOUT_H

#include "essaim/experts.h"
#include "planner/machine.h"

enum { ES_LAYOUT_COPIES_MAX = 4 };

typedef enum es_layout_mode {
    ES_MODE_GROUP,
    ES_MODE_STRIPE,
    ES_MODE_REPLICATE,
    ES_MODE_SLICE,
    ES_MODE_COUNT
} es_layout_mode;

/* "group", "stripe", "replicate", "slice". */
const char *es_layout_mode_name(es_layout_mode mode);

/* All MoE layers alike. */
typedef struct es_planner_layout {
    es_layout_mode mode;
    size_t nodes, experts, copies;
    double share[ES_MACHINES_MAX];                         /* of all experts' work, sums to 1 */
    double held[ES_MACHINES_MAX];                          /* experts of a layer, whole or in parts */
    uint16_t holder[ES_EXPERTS_MAX][ES_LAYOUT_COPIES_MAX]; /* [copies]; not for slice */
} es_planner_layout;

/* Shares follow bandwidth, bounded by what room [nodes] bytes hold of expert_bytes (one expert in all MoE
 * layers). False when the experts, copies times, do not fit. weight [nodes] is bandwidth. nodes is 1 to
 * ES_MACHINES_MAX; copies is 1 unless mode is replicate. */
bool es_layout_make(es_layout_mode mode, size_t experts, size_t nodes, size_t copies, const double *weight,
                    const double *room, double expert_bytes, es_planner_layout *ret_layout);

#endif
