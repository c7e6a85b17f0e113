/* A coordinator put together: model, kernels, pool, where experts are computed, and the forward pass over
 * them. */
#ifndef ES_COORDINATOR_H
#define ES_COORDINATOR_H

#include "base/options.h"
#include "cluster/registry_options.h"
#include "join/join.h"
#include "members/members.h"
#include "sched/engine.h"
#include "sched/session.h"

/* As the user says it; bound by the table below. Texts are borrowed for the coordinator's life. */
typedef struct es_coordinator_options {
    const char *model_dir;
    const char *nodes_file; /* more of them, as coordinator/node_list.h reads it; NULL: none */
    es_option_list nodes; /* control endpoints of expert nodes, "HOST:PORT[,KEY]"; none: experts are computed
                             in this process */
    size_t threads;       /* 0: one for each usable core */
    const char *isa;      /* NULL: the best */
    es_row_format row_format;
    es_kv_format kv_format;
    size_t context;          /* tokens of a session; 0: the model's own */
    size_t step;             /* rows of a prefill step, 1 to ES_STEP_ROWS_MAX; 0: that maximum */
    const char *join_listen; /* where new machines come; NULL: nowhere */
    const char *join_allow;  /* file of further coordinators' keys that they are to allow; NULL: none */
    size_t give_rate;        /* MB/s of experts that members are given at most; 0: as many as go */
    const char *epoch_file;  /* keeps the newest placement's epoch over a restart; NULL: none */
    const char *trust;  /* path of signing keys whose placements are followed beside our own; NULL: none */
    const char *keys;   /* path of our secret key; NULL: nodes on this machine only */
    size_t deadline_ms; /* for one layer's replies */
    size_t wait_s;      /* for a node to come back before what needs it fails */
    bool local_experts; /* hold all experts here too, and compute those that no node holds any more */
    size_t kv_mib; /* memory of the engine's KV cache; 0: four contexts, at most a quarter of the machine's */
    size_t chunk;  /* rows of prompts in a step that also serves running answers */
    size_t answers;   /* computed at once */
    size_t queue;     /* requests that may wait */
    size_t queue_key; /* of one key; 0: as many */

    es_registry_options registry; /* none: the nodes are those named above */
    int placement;                /* 0: automatic; given or not */
    bool placement_given;
    int placement_mode;
    bool placement_mode_given;
    size_t copies;          /* 0: as many as stand */
    size_t replace_after_s; /* until a node that is gone is planned without */
} es_coordinator_options;

/* The table of the options above, for every program that coordinates. */
enum { ES_COORDINATOR_OPTION_COUNT = 18 };
extern const es_option ES_COORDINATOR_OPTIONS[ES_COORDINATOR_OPTION_COUNT];

/* How a coordinator follows a registry; bound to the same struct, beside ES_REGISTRY_OPTIONS. */
enum { ES_MEMBERSHIP_OPTION_COUNT = 9 };
extern const es_option ES_MEMBERSHIP_OPTIONS[ES_MEMBERSHIP_OPTION_COUNT];

/* Nodes are named, or a registry is; what belongs to a registry comes with one. */
es_status es_coordinator_check(const es_coordinator_options *options, es_err *err);

/* Owned by the thread that opened it; it runs the steps of sessions, an engine's thread those of the engine.
 */
typedef struct es_coordinator es_coordinator;

/* Loads the model (progress may be NULL), greets the expert nodes and checks that every expert is held,
 * unless a registry says who they are: then es_coordinator_wait waits for them. The error names file, node or
 * expert.
 */
es_status es_coordinator_open(const es_coordinator_options *options, es_progress_fn *progress, void *context,
                              es_coordinator **ret_coordinator, es_err *err);
void es_coordinator_close(es_coordinator **coordinator);

/* Told what is waited for; false ends the wait. */
typedef bool es_coordinator_waits_fn(void *context, const char *what);

/* Until nodes hold every expert, when a registry says who they are; before there is an engine. ES_CANCELLED
 * when waits said so. */
es_status es_coordinator_wait(es_coordinator *coordinator, es_coordinator_waits_fn *waits, void *context,
                              es_err *err);

/* All borrowed until the coordinator closes. */
const es_model *es_coordinator_model(const es_coordinator *coordinator);
es_join *es_coordinator_join(const es_coordinator *coordinator);          /* NULL: nobody joins here */
es_membership *es_coordinator_members(const es_coordinator *coordinator); /* NULL: there is no registry */
const es_kernels *es_coordinator_kernels(const es_coordinator *coordinator);
es_trace *es_coordinator_trace(const es_coordinator *coordinator);
const es_coordinator_options *es_coordinator_get_options(const es_coordinator *coordinator);

/* An engine that serves with all of the coordinator: from here on its thread runs the steps, until the engine
 * is destroyed, before the coordinator closes. ES_INVALID when the KV cache's budget is below two pages. */
es_status es_coordinator_engine(es_coordinator *coordinator, es_engine **ret_engine, es_err *err);

/* A session with the coordinator's KV format, context and step, while there is no engine. Destroyed before
 * the coordinator closes. */
es_status es_coordinator_session(es_coordinator *coordinator, es_session **ret_session, es_err *err);

#endif
