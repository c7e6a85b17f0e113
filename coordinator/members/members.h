/* The swarm as the registry says it: who is a member, what the placement gives to whom, and how far that has
 * come true. One control thread asks the nodes for it; the data path is right whatever it does. */
#ifndef ES_MEMBERS_MEMBERS_H
#define ES_MEMBERS_MEMBERS_H

#include "cluster/registry.h"
#include "cluster/signature.h"
#include "dispatch/swarm.h"

enum { ES_MEMBER_WHY_MAX = 320, ES_MEMBERS_REPLACE_AFTER_S = 120 };

/* Pointers are borrowed for its life, texts too. */
typedef struct es_membership_options {
    es_registry *registry;
    bool embedded;   /* leases are kept here, for nodes that answer */
    es_swarm *swarm; /* is told the nodes, and tells what it has seen of them */
    const es_shape *shape;
    const uint8_t *fingerprint;
    const char *model; /* where the model lies: for sizes and checksums, when a placement is planned */
    es_row_format row_format;
    const es_keys *keys;    /* NULL: loopback only, and placements are not signed */
    const es_trust *trust;  /* with keys: whose placements are followed */
    const char *epoch_file; /* keeps the newest placement's epoch over a restart; NULL: memory does */
    bool automatic;         /* plans when nodes come, leave, are gone or drain; else only when one drains */
    bool mode_given;
    es_placement_mode mode;
    size_t copies;            /* 0: as many as stand, at first 1 */
    unsigned replace_after_s; /* until a node that does not answer is planned without */
} es_membership_options;

typedef struct es_membership es_membership;

/* Starts the thread. */
es_status es_membership_create(const es_membership_options *options, es_membership **ret_members,
                               es_err *err);

/* Ends it, within a moment unless the registry keeps it waiting, and then within its deadline. */
void es_membership_destroy(es_membership **members);

/* Any thread: the node called name is to be switched off. It is marked in the registry, planned without, and
 * told once nothing needs it; es_membership_get says how far that is. ES_NOT_FOUND; ES_BUSY: too many ask at
 * once. */
es_status es_membership_drain(es_membership *members, const char *name, es_err *err);

/* Any thread: how often each expert was chosen of late, [layers][experts] of the model. */
void es_membership_take_heat(es_membership *members, const float *heat);

typedef enum es_member_phase {
    ES_MEMBER_GONE,    /* does not answer */
    ES_MEMBER_REFUSED, /* another model, other keys, or its key was revoked */
    ES_MEMBER_LOADING, /* does not hold all that the placement gives it */
    ES_MEMBER_HOLDS,   /* holds it */
    ES_MEMBER_LEAVING, /* drains: others take over what it holds */
    ES_MEMBER_DRAINED, /* may be switched off */
    ES_MEMBER_PHASE_COUNT
} es_member_phase;

const char *es_member_phase_name(es_member_phase phase);

/* One node, for people. A value. */
typedef struct es_member_info {
    char name[ES_NAME_MAX + 1];
    char endpoint[ES_ENDPOINT_TEXT_MAX];
    es_member_state state; /* in the registry */
    bool registered;       /* its lease holds */
    es_member_phase phase;
    es_epoch epoch;          /* the latest that it was told */
    size_t experts;          /* of all layers, that the placement gives it (slices count as part) */
    size_t missing, surplus; /* experts that it lacks; that it still holds and is not to */
    uint64_t memory_bytes, wanted_bytes, mapped_bytes;
    uint64_t refused, malformed; /* at all its sockets: handshakes and messages of strangers; that are none */
    char why[ES_MEMBER_WHY_MAX]; /* what is in the way; "": nothing */
} es_member_info;

/* All of them. A value. */
typedef struct es_membership_info {
    bool embedded, automatic, frozen; /* frozen: the registry does not answer */
    es_epoch wanted, in_force;        /* the registry's; the latest that all its nodes had reached */
    es_placement_mode mode;           /* of wanted */
    size_t copies, slices;
    uint64_t plans, swaps, lost_swaps, loads, drops; /* counters; lost_swaps: somebody else's was first */
    size_t member_count;
    char why[ES_MEMBER_WHY_MAX]; /* why wanted is not in force, or no placement is made; "": all is well */
} es_membership_info;

/* Any thread: as of a moment ago; up to room members, ascending by name. */
es_membership_info es_membership_get(es_membership *members, es_member_info *ret_members, size_t room);

#endif
