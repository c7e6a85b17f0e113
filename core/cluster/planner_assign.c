/* Which cells each machine gets of a layer. Nodes fill up one after the other along a sequence that the mode
 * chooses, least covered cells first; so copies come round to other nodes, and because nodes of one rack
 * stand together and get no more than one copy of the layer, to other racks. What was placed before is kept
 * first. A node that finds only cells it must not take swaps: there always is a swap (see swap_in). */
#include "cluster/planner_internal.h"

#include <math.h>
#include <string.h>

static const double NO_HEAT = 1e-9;

static bool holds(const es_planner *p, const uint16_t *holders, size_t covered, size_t node)
{
    size_t rack = p->shares[node].rack;
    for (size_t c = 0; c < covered; c++)
        if (holders[c] == node || (p->apart && p->shares[holders[c]].rack == rack)) return true;
    return false;
}

static bool may_take(const es_planner *p, size_t layer, size_t cell, size_t node)
{
    return p->covered[cell] < p->wanted[cell] &&
           !holds(p, es_planner_holders(p, layer, cell), p->covered[cell], node);
}

static void place(es_planner *p, size_t layer, size_t cell, size_t node)
{
    es_planner_holders(p, layer, cell)[p->covered[cell]++] = (uint16_t)node;
    p->shares[node].quota--;
}

static bool held_before(const es_planner *p, size_t layer, size_t cell, size_t node)
{
    if (p->before == NULL) return false;
    const uint16_t *holders = p->before + (layer * p->cells + cell) * p->before_copies;
    for (size_t c = 0; c < p->before_copies && holders[c] != ES_PLANNER_NOBODY; c++)
        if (holders[c] == node) return true;
    return false;
}

/* Keeps what the node held, up to its quota; cells that others let go of too are the last it lets go of, so
 * that a newcomer can take them all. */
static void keep(es_planner *p, size_t layer, size_t node)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < p->cells; i++) {
            size_t cell = p->sequence[i];
            if ((p->released[cell] > 0) != (pass == 0) || !held_before(p, layer, cell, node)) continue;
            if (p->shares[node].quota > 0 && may_take(p, layer, cell, node))
                place(p, layer, cell, node);
            else if (pass == 1)
                p->released[cell]++;
        }
}

/* Replaces m by node among the holders of `taken`, and gives m the cell `given` instead. */
static void swap_holders(es_planner *p, size_t layer, size_t taken, size_t copy, size_t given, size_t node)
{
    uint16_t *holder = &es_planner_holders(p, layer, taken)[copy];
    uint16_t other = *holder;
    *holder = (uint16_t)node;
    es_planner_holders(p, layer, given)[p->covered[given]++] = other;
    p->shares[node].quota--;
}

/* What a swap would move beyond the least: 0 or 1 for what is taken from the other node, and for what it
 * gets. */
static int swap_cost(const es_planner *p, size_t layer, size_t taken, uint16_t other, size_t given,
                     size_t node)
{
    return held_before(p, layer, taken, other) + !held_before(p, layer, given, other) +
           !held_before(p, layer, taken, node);
}

/* Every cell u that needs a copy is held in the node's domain already. Takes from another node m, whose
 * domain has no u, a cell w that the node's domain has not, and gives m the cell u. With as many copies
 * wanted of all cells it always finds one: the node's quota is not reached, so its domain lacks some w; w is
 * fully covered (else the node could take it); if all its holders' domains had u, u would have more holders
 * than w and need no copy. */
static bool swap_in(es_planner *p, size_t layer, size_t node)
{
    size_t best_given = 0, best_taken = 0, best_copy = 0;
    int best = 4;
    for (size_t u = 0; u < p->cells && best > 0; u++) {
        if (p->covered[u] >= p->wanted[u]) continue;
        for (size_t w = 0; w < p->cells && best > 0; w++) {
            const uint16_t *holders = es_planner_holders(p, layer, w);
            if (holds(p, holders, p->covered[w], node)) continue;
            for (size_t c = 0; c < p->covered[w]; c++) {
                if (holds(p, es_planner_holders(p, layer, u), p->covered[u], holders[c])) continue;
                int cost = swap_cost(p, layer, w, holders[c], u, node);
                if (cost >= best) continue;
                best = cost;
                best_given = u;
                best_taken = w;
                best_copy = c;
            }
        }
    }
    if (best < 4) swap_holders(p, layer, best_taken, best_copy, best_given, node);
    return best < 4;
}

/* Fills the node along the sequence, cells with the fewest copies first. */
static void fill(es_planner *p, size_t layer, size_t node)
{
    for (size_t level = 0; level < p->request->copies && p->shares[node].quota > 0; level++)
        for (size_t i = 0; i < p->cells && p->shares[node].quota > 0; i++) {
            size_t cell = p->sequence[i];
            if (p->covered[cell] == level && may_take(p, layer, cell, node)) place(p, layer, cell, node);
        }
    while (p->shares[node].quota > 0 && swap_in(p, layer, node)) {
    }
    p->short_cells += p->shares[node].quota;
    p->shares[node].quota = 0;
}

static double heat_of(const es_planner *p, size_t layer, size_t cell)
{
    double heat = p->request->heat[layer * p->request->experts + cell / p->request->slices];
    return (heat > 0 ? heat : 0) + NO_HEAT;
}

/* The node that this cell burdens least; node_count when none may take it. */
static size_t coolest(const es_planner *p, size_t layer, size_t cell, const double *load)
{
    size_t best = p->request->node_count;
    double least = INFINITY;
    for (size_t i = 0; i < p->request->node_count; i++) {
        size_t node = p->order[i];
        const es_planner_share *share = &p->shares[node];
        if (share->quota == 0 || !may_take(p, layer, cell, node)) continue;
        double burden = (load[node] + heat_of(p, layer, cell)) / share->weight;
        if (burden < least) {
            least = burden;
            best = node;
        }
    }
    return best;
}

/* Hot cells first, each copy where it burdens least. */
static void fill_by_heat(es_planner *p, size_t layer)
{
    double *load = p->load;
    memset(load, 0, p->request->node_count * sizeof *load);
    for (size_t cell = 0; cell < p->cells; cell++)
        for (size_t c = 0; c < p->covered[cell]; c++)
            load[es_planner_holders(p, layer, cell)[c]] += heat_of(p, layer, cell) / (double)p->wanted[cell];
    for (size_t i = 0; i < p->cells; i++) {
        size_t cell = p->sequence[i];
        while (p->covered[cell] < p->wanted[cell]) {
            size_t node = coolest(p, layer, cell, load);
            if (node == p->request->node_count) break;
            load[node] += heat_of(p, layer, cell) / (double)p->wanted[cell];
            place(p, layer, cell, node);
        }
    }
}

void es_planner_assign(es_planner *p, size_t layer)
{
    memset(p->covered, 0, p->cells * sizeof *p->covered);
    memset(p->released, 0, p->cells * sizeof *p->released);
    for (size_t i = 0; p->before != NULL && i < p->request->node_count; i++) keep(p, layer, p->order[i]);
    if (p->request->mode == ES_PLACE_REPLICATE && p->request->heat != NULL) fill_by_heat(p, layer);
    for (size_t i = 0; i < p->request->node_count; i++) fill(p, layer, p->order[i]);
}
