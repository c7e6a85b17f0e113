/* Which nodes of a coordinator's GET /cluster are ready for work, and what is in the way of the others. */
#include "cli/readiness.h"

#include <stdbool.h>
#include <string.h>

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL ? value : "";
}

/* Nodes are known by their place: an operator may have given one another name than its own. */
static const char *place(const json_t *node)
{
    const char *endpoint = text(node, "endpoint");
    return strncmp(endpoint, "tcp://", 6) == 0 ? endpoint + 6 : endpoint;
}

/* As the coordinator's calls find it. */
static const char *call_trouble(const json_t *node)
{
    const char *state = text(node, "state");
    if (node == NULL) return "the coordinator has not greeted it yet";
    if (strcmp(state, "up") == 0) return "";
    return strcmp(state, "probing") == 0 ? "is tried out before it gets work" : "does not answer calls";
}

/* What a member's phase says; "" when it holds what it is to hold. */
static const char *phase_trouble(const json_t *member)
{
    static const struct {
        const char *phase, *trouble;
    } PHASES[] = {
        {"gone", "does not answer"}, {"refused", "is refused"}, {"loading", "loads its experts"},
        {"leaving", "drains"},       {"drained", "is drained"},
    };
    const char *phase = text(member, "phase");
    for (size_t i = 0; i < sizeof PHASES / sizeof PHASES[0]; i++)
        if (strcmp(phase, PHASES[i].phase) == 0) return PHASES[i].trouble;
    return strcmp(phase, "holds") == 0 ? "" : "is in a phase that is not known here";
}

static const json_t *find_place(const json_t *nodes, const json_t *member)
{
    for (size_t i = 0; i < json_array_size(nodes); i++)
        if (strcmp(place(json_array_get(nodes, i)), place(member)) == 0) return json_array_get(nodes, i);
    return NULL;
}

/* What is in the way of a node, NULL when it is ready. calls: the same node as the coordinator's calls find
 * it; member: its record speaks of a placement. */
static json_t *judge(const json_t *node, const json_t *calls, bool member)
{
    const char *trouble = member ? phase_trouble(node) : "",
               *why = trouble[0] != '\0' ? text(node, "why") : "";
    if (trouble[0] == '\0' && json_integer_value(json_object_get(node, "experts")) == 0)
        trouble = "has no experts to hold";
    else if (trouble[0] == '\0')
        trouble = call_trouble(calls);
    if (trouble[0] == '\0') return NULL;
    return json_pack("{s:s, s:s++}", "node", text(node, "name"), "why", trouble, why[0] != '\0' ? ": " : "",
                     why);
}

json_t *cli_readiness_of(const json_t *cluster)
{
    const json_t *members = json_object_get(cluster, "membership"),
                 *called = json_object_get(cluster, "nodes");
    const json_t *nodes = members != NULL ? json_object_get(members, "nodes") : called;
    const json_t *epoch = json_object_get(members, "epoch"),
                 *wanted = json_object_get(members, "wanted_epoch");
    json_t *others = json_array();
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        json_t *trouble = judge(node, members != NULL ? find_place(called, node) : node, members != NULL);
        if (trouble != NULL) json_array_append_new(others, trouble);
    }
    json_int_t ready = (json_int_t)(json_array_size(nodes) - json_array_size(others));
    return json_pack("{s:I, s:b, s:s, s:o}", "ready", ready, "in_force",
                     members == NULL || (epoch != NULL && json_equal(epoch, wanted)), "why",
                     text(members, "why"), "not_ready", others);
}
