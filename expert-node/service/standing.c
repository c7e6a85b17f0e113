/* Whether this node is still one of the swarm. */
#include "service/standing.h"

#include <string.h>

es_standing_kind es_standing_of(const es_members *members, const char *name, const char *key)
{
    for (size_t i = 0; key[0] != '\0' && i < members->revoked_count; i++)
        if (strcmp(members->revoked[i], key) == 0) return ES_STANDING_REVOKED;
    for (size_t i = 0; i < members->peer_count; i++) {
        const es_peer *peer = &members->peers[i];
        if (key[0] != '\0' ? strcmp(peer->key, key) == 0 : strcmp(peer->name, name) == 0)
            return ES_STANDING_MEMBER;
    }
    return members->peer_count < ES_PEERS_MAX ? ES_STANDING_REMOVED : ES_STANDING_UNKNOWN;
}

bool es_standing_take(es_standing *standing, es_standing_kind kind)
{
    bool news = kind != ES_STANDING_UNKNOWN && kind != standing->kind &&
                (kind != ES_STANDING_MEMBER || standing->kind != ES_STANDING_UNKNOWN);
    if (kind != ES_STANDING_UNKNOWN) standing->kind = kind;
    return news;
}

bool es_standing_is_alone(es_standing *standing, uint64_t now_ns)
{
    if (standing->greeted || standing->told_alone) return false;
    if (standing->alone_ns == 0) standing->alone_ns = now_ns;
    if (now_ns - standing->alone_ns < ES_STANDING_ALONE_S * UINT64_C(1000000000)) return false;
    standing->told_alone = true;
    return true;
}
