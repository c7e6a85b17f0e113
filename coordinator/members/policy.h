/* When the placement is to be planned anew, for whom and why. Pure. */
#ifndef ES_MEMBERS_POLICY_H
#define ES_MEMBERS_POLICY_H

#include "cluster/planner.h"

/* A node as the policy sees it. */
typedef struct es_policy_node {
    const char *name, *rack;
    uint64_t memory_bytes;
    double bandwidth;
    bool usable; /* it answers, has this model, and may be given experts */
    bool leaves; /* it is to be switched off */
    bool gone;   /* it has not answered for long enough to be replaced, or was removed */
} es_policy_node;

typedef struct es_policy_question {
    const es_policy_node *nodes; /* [node_count], and every node of the document is among them */
    size_t node_count;
    const es_document *document; /* that stands; NULL: none */
    bool automatic;              /* else only a node that leaves is a reason */
    bool mode_given;             /* else the document's mode, at first group */
    es_placement_mode mode;
    size_t copies; /* 0: the document's, at first 1; fewer when there are fewer nodes */
} es_policy_question;

typedef enum es_policy_reason {
    ES_POLICY_NOTHING,
    ES_POLICY_FIRST, /* there is none */
    ES_POLICY_LEAVES,
    ES_POLICY_GONE,
    ES_POLICY_JOINED,
    ES_POLICY_MODE,
    ES_POLICY_COPIES,
    ES_POLICY_HOT, /* heat has moved: es_policy_busiest */
    ES_POLICY_REASON_COUNT
} es_policy_reason;

/* "a node joined" */
const char *es_policy_reason_text(es_policy_reason reason);

typedef struct es_policy_verdict {
    es_policy_reason reason;
    const char *name;  /* of the node it is about, or "" */
    size_t node_count; /* to plan with */
    es_placement_mode mode;
    size_t copies;
} es_policy_verdict;

/* ret_nodes [node_count] are those that may hold experts: what answers, and what has not for a while but
 * stands in the document; without those that leave or are gone. */
es_policy_verdict es_policy_decide(const es_policy_question *question, es_planner_node *ret_nodes);

/* The share of all work that the busiest node of a document gets, when each cell's heat is spread over those
 * who hold it; 0 when nothing is hot. heat is [layer_count][experts]. */
double es_policy_busiest(const es_document *document, const double *heat);

#endif
