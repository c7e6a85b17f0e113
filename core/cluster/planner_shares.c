/* How much each machine gets: bandwidth decides, memory and failure domains cap. */
#include "cluster/planner_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* More halvings than a double has bits: the level is exact to rounding. */
enum { HALVINGS = 200 };

/* Bytes of one copy of everything. */
static double all_bytes(const es_planner *p)
{
    double sum = 0;
    for (size_t l = 0; l < p->request->layer_count; l++)
        sum += (double)p->request->cell_bytes[l] * (double)p->cells;
    return sum;
}

/* What a node can hold: its memory in whole cells when all are of one size, and at most one copy of
 * everything.
 */
static double room_of(const es_planner *p, const es_planner_share *share, double all)
{
    const uint64_t *bytes = p->request->cell_bytes;
    uint64_t memory = share->left;
    bool same = true;
    for (size_t l = 1; l < p->request->layer_count; l++) same = same && bytes[l] == bytes[0];
    if (same) memory -= memory % bytes[0];
    return fmin((double)memory, all);
}

/* What cells of different sizes may leave unused: two of the largest on each node. */
static double room_lost(const es_planner *p)
{
    uint64_t least = UINT64_MAX, most = 0;
    for (size_t l = 0; l < p->request->layer_count; l++) {
        uint64_t bytes = p->request->cell_bytes[l];
        least = bytes < least ? bytes : least;
        most = bytes > most ? bytes : most;
    }
    return least == most ? 0 : 2 * (double)most * (double)p->request->node_count;
}

/* Bytes a rack takes at a level: each node level times its weight, but no more than its room. */
static double rack_at(const es_planner *p, const double *room, size_t rack, double level)
{
    double sum = 0;
    for (size_t n = 0; n < p->request->node_count; n++)
        if (p->shares[n].rack == rack) sum += fmin(room[n], level * p->shares[n].weight);
    return sum;
}

/* The level at which a rack takes `limit` bytes; top when it never takes as much. */
static double rack_level(const es_planner *p, const double *room, size_t rack, double limit, double top)
{
    double low = 0, high = top;
    if (rack_at(p, room, rack, top) <= limit) return top;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = low + (high - low) / 2;
        if (rack_at(p, room, rack, middle) > limit)
            high = middle;
        else
            low = middle;
    }
    return low;
}

/* What every node takes when nobody is above `level`, nor above its rack's own. */
static double take_at(const es_planner *p, const double *room, const double *rack_top, double level,
                      double *ret_taken)
{
    double sum = 0;
    for (size_t n = 0; n < p->request->node_count; n++) {
        const es_planner_share *share = &p->shares[n];
        double own = rack_top == NULL ? level : fmin(level, rack_top[share->rack]);
        ret_taken[n] = fmin(room[n], own * share->weight);
        sum += ret_taken[n];
    }
    return sum;
}

/* The level at which every node is full. */
static double top_level(const es_planner *p, const double *room)
{
    double top = 0;
    for (size_t n = 0; n < p->request->node_count; n++) top = fmax(top, room[n] / p->shares[n].weight);
    return top * 2 + 1;
}

/* Pours `bytes` over the nodes; sets part. False when they do not go in. */
static bool pour(es_planner *p, const double *room, const double *rack_top, double bytes, double *taken)
{
    double low = 0, high = top_level(p, room);
    /* Sums of doubles differ in their last bits with the order of addition. */
    double enough = bytes * (1 - 1e-12);
    if (take_at(p, room, rack_top, high, taken) < enough) return false;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = low + (high - low) / 2;
        if (take_at(p, room, rack_top, middle, taken) < enough)
            low = middle;
        else
            high = middle;
    }
    double sum = take_at(p, room, rack_top, high, taken);
    for (size_t n = 0; n < p->request->node_count; n++) p->shares[n].part = taken[n] / sum;
    return true;
}

static bool pour_apart(es_planner *p, const double *room, double all, double bytes, double *taken,
                       double *top)
{
    double high = top_level(p, room);
    for (size_t r = 0; r < p->rack_count; r++) top[r] = rack_level(p, room, r, all, high);
    return pour(p, room, top, bytes, taken);
}

es_status es_planner_divide(es_planner *p, es_err *err)
{
    const es_planner_request *r = p->request;
    double *room = es_arena_take(p->arena, r->node_count, sizeof *room);
    double *taken = es_arena_take(p->arena, r->node_count, sizeof *taken);
    double *top = es_arena_take(p->arena, p->rack_count, sizeof *top);
    if (room == NULL || taken == NULL || top == NULL) return es_err_set(err, ES_NO_MEMORY, "planner");
    double all = all_bytes(p), there = 0;
    for (size_t n = 0; n < r->node_count; n++) there += room[n] = room_of(p, &p->shares[n], all);
    p->copies = (double)r->copies;
    double needed = all * p->copies;
    if (there < needed * (1 - 1e-12)) {
        if (r->mode != ES_PLACE_REPLICATE || there < all * (1 - 1e-12))
            return es_err_set(err, ES_NO_MEMORY,
                              "placement: %zu cop%s of all experts need %.3f GB, the %zu nodes hold %.3f GB",
                              r->copies, r->copies == 1 ? "y" : "ies", needed / 1e9, r->node_count,
                              there / 1e9);
        needed = fmax(there - room_lost(p), all);
        p->copies = needed / all;
    }
    p->apart = pour_apart(p, room, all, needed, taken, top);
    if (!p->apart) ES_ASSERT(pour(p, room, NULL, needed, taken));
    return ES_OK;
}

static bool has_room(const es_planner *p, const es_planner_share *share, uint64_t bytes)
{
    return share->quota < p->cells && share->left >= bytes &&
           (!p->apart || p->rack_cells[share->rack] < p->cells);
}

static void give(es_planner *p, es_planner_share *share, uint64_t bytes)
{
    share->quota++;
    share->left -= bytes;
    p->rack_cells[share->rack]++;
}

/* The node that one more cell is given to: who is owed most, and rather one that holds it already. */
static es_planner_share *next_to_get(es_planner *p, uint64_t bytes)
{
    es_planner_share *best = NULL;
    double best_owed = 0;
    for (size_t i = 0; i < p->request->node_count; i++) {
        es_planner_share *share = &p->shares[p->order[i]];
        if (!has_room(p, share, bytes)) continue;
        double owed = share->owed - (double)share->quota + (share->held_before > share->quota ? 0.5 : 0.0);
        if (best == NULL || owed > best_owed) {
            best = share;
            best_owed = owed;
        }
    }
    return best;
}

es_status es_planner_set_quotas(es_planner *p, size_t layer_index, size_t total, es_err *err)
{
    uint64_t bytes = p->request->cell_bytes[layer_index];
    size_t given = 0;
    memset(p->rack_cells, 0, p->rack_count * sizeof *p->rack_cells);
    for (size_t i = 0; i < p->request->node_count; i++) {
        es_planner_share *share = &p->shares[p->order[i]];
        share->owed += share->part * (double)total;
        share->quota = 0;
        double whole = floor(share->owed + 1e-6);
        for (; (double)share->quota < whole && given < total && has_room(p, share, bytes); given++)
            give(p, share, bytes);
    }
    for (; given < total; given++) {
        es_planner_share *share = next_to_get(p, bytes);
        if (share == NULL)
            return es_err_set(
                err, ES_NO_MEMORY,
                "placement: layer %" PRIu32 ": no node has %" PRIu64
                " bytes left for cell %zu of %zu; memory is within a few cells of what is needed",
                p->request->layers[layer_index], bytes, given + 1, total);
        give(p, share, bytes);
    }
    for (size_t n = 0; n < p->request->node_count; n++) {
        p->shares[n].owed -= (double)p->shares[n].quota;
        p->share_error = fmax(p->share_error, fabs(p->shares[n].owed));
    }
    return ES_OK;
}
