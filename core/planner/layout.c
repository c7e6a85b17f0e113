/* Which machine would hold which experts of a layer, in each mode. */
#include "planner/layout.h"

#include <math.h>
#include <string.h>

const char *es_layout_mode_name(es_layout_mode mode)
{
    static const char *const NAMES[ES_MODE_COUNT] = {"group", "stripe", "replicate", "slice"};
    return NAMES[mode];
}

/* Fills amount [nodes] so that they sum to total, in proportion to weight where room allows, and none above
 * most. False when there is not enough room. */
static bool pour(size_t nodes, double total, double most, const double *weight, const double *room,
                 double *amount)
{
    bool full[ES_MACHINES_MAX] = {false};
    double left = total;
    for (size_t n = 0; n < nodes; n++) amount[n] = 0;
    for (size_t round = 0; round <= nodes && left > 1e-9 * total; round++) {
        double weights = 0, spread = left;
        for (size_t n = 0; n < nodes; n++)
            if (!full[n]) weights += weight[n];
        if (weights <= 0) return false;
        for (size_t n = 0; n < nodes; n++) {
            if (full[n]) continue;
            double limit = fmin(room[n], most) - amount[n], add = fmin(spread * weight[n] / weights, limit);
            full[n] = add >= limit;
            amount[n] += fmax(add, 0);
            left -= fmax(add, 0);
        }
    }
    return left <= 1e-6 * total;
}

/* The node that is furthest below its share of what has been given out so far, and does not hold this expert
 * yet. */
static size_t neediest(const es_planner_layout *l, const double *given, const double *room, size_t expert,
                       size_t copy)
{
    size_t best = l->nodes;
    double want = -INFINITY;
    for (size_t n = 0; n < l->nodes; n++) {
        bool has = false;
        for (size_t c = 0; c < copy; c++) has = has || l->holder[expert][c] == n;
        double need = l->share[n] * (double)(l->experts * l->copies) - given[n];
        if (!has && given[n] + 1 <= room[n] + 1e-9 && need > want + 1e-9) {
            want = need;
            best = n;
        }
    }
    return best;
}

/* Contiguous runs, as long as each node's share. */
static bool give_runs(es_planner_layout *l, const double *room)
{
    size_t expert = 0;
    double until = 0;
    for (size_t n = 0; n < l->nodes; n++) {
        until += l->share[n] * (double)l->experts;
        for (double given = 0;
             expert < l->experts && (double)expert + 0.5 < until && given + 1 <= room[n] + 1e-9; given++)
            l->holder[expert++][0] = (uint16_t)n;
    }
    return expert == l->experts;
}

/* One after the other to whom it is due: neighbours stand on different nodes. */
static bool give_dealt(es_planner_layout *l, const double *room)
{
    double given[ES_MACHINES_MAX] = {0};
    for (size_t e = 0; e < l->experts; e++)
        for (size_t c = 0; c < l->copies; c++) {
            size_t n = neediest(l, given, room, e, c);
            if (n == l->nodes) return false;
            l->holder[e][c] = (uint16_t)n;
            given[n]++;
        }
    return true;
}

bool es_layout_make(es_layout_mode mode, size_t experts, size_t nodes, size_t copies, const double *weight,
                    const double *room_bytes, double expert_bytes, es_planner_layout *ret_layout)
{
    es_planner_layout *l = ret_layout;
    double room[ES_MACHINES_MAX] = {0}, amount[ES_MACHINES_MAX];
    *l = (es_planner_layout){.mode = mode, .nodes = nodes, .experts = experts, .copies = copies};
    if (copies > nodes || copies > ES_LAYOUT_COPIES_MAX || experts == 0) return false;
    for (size_t n = 0; n < nodes; n++) room[n] = fmax(room_bytes[n], 0) / expert_bytes;
    if (mode != ES_MODE_SLICE)
        for (size_t n = 0; n < nodes; n++) room[n] = floor(room[n] + 1e-9);
    double total = (double)(experts * copies);
    if (!pour(nodes, total, (double)experts, weight, room, amount)) return false;
    for (size_t n = 0; n < nodes; n++) {
        l->share[n] = amount[n] / total;
        l->held[n] = mode == ES_MODE_SLICE ? amount[n] : 0;
    }
    if (mode == ES_MODE_SLICE) return true;
    if (!(mode == ES_MODE_GROUP ? give_runs(l, room) : give_dealt(l, room))) return false;
    for (size_t e = 0; e < experts; e++)
        for (size_t c = 0; c < copies; c++) l->held[l->holder[e][c]]++;
    return true;
}
