/* Which node computes which pairs: pairs are gathered by what they read (a slice of an expert), those with
 * the fewest holders are given out first, then the busiest node gives away what makes it less busy. */
#include "dispatch/plan.h"

#include "base/size.h"
#include "dispatch/history.h"

#include <stdlib.h>
#include <string.h>

enum {
    TIMES_SPLIT =
        6, /* how often all of a batch's pairs fit into the plan: as they come, given out, given out again */
    MOVES_MAX = 64
};

/* One slice of an expert, with the pairs that want it. */
typedef struct unit {
    uint32_t expert, chunks;
    uint32_t pairs;
    uint32_t holder_count;
    const uint16_t *holders;
    double share; /* of the expert */
    size_t node;  /* the seats' count: nobody */
} unit;

struct es_plan {
    const es_shape *shape;
    size_t rows_max, pairs_max, nodes_max;
    size_t room, used;                               /* pairs, and rows likewise */
    uint32_t *row, *pairs_per_row, *expert, *chunks; /* [room] */
    float *weight;                                   /* [room] */

    /* Of one assignment. */
    unit *units;       /* [pairs_max] */
    uint32_t *order;   /* [pairs_max]: units as they are given out */
    uint32_t *unit_of; /* [pairs_max]: of a pair */
    uint32_t *table;   /* [table_size]: hash of (expert, chunks) to 1 + unit */
    size_t table_size; /* a power of two */
    size_t *last_row;  /* [nodes_max + 1] */
    double *load_ns;   /* [nodes_max] */
    size_t unit_count;
};

static void free_rooms(es_plan *plan)
{
    free(plan->row);
    free(plan->pairs_per_row);
    free(plan->expert);
    free(plan->chunks);
    free(plan->weight);
    free(plan->units);
    free(plan->order);
    free(plan->unit_of);
    free(plan->table);
    free(plan->last_row);
    free(plan->load_ns);
}

es_status es_plan_create(const es_shape *shape, size_t rows_max, es_plan **ret_plan, es_err *err)
{
    *ret_plan = NULL;
    ES_ASSERT(rows_max <= ES_STEP_ROWS_MAX);
    es_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL) return es_err_set(err, ES_NO_MEMORY, "plan");
    *plan = (es_plan){.shape = shape, .rows_max = rows_max};
    *ret_plan = plan;
    return ES_OK;
}

void es_plan_destroy(es_plan **plan)
{
    if (*plan == NULL) return;
    free_rooms(*plan);
    free(*plan);
    *plan = NULL;
}

es_status es_plan_reserve(es_plan *plan, size_t slices_max, size_t nodes_max, es_err *err)
{
    size_t per_row = es_size_max(ES_PAIRS_PER_ROW_MAX, plan->shape->experts_per_token * slices_max);
    size_t pairs = plan->rows_max * per_row;
    if (pairs <= plan->pairs_max && nodes_max <= plan->nodes_max) return ES_OK;
    free_rooms(plan);
    *plan = (es_plan){.shape = plan->shape, .rows_max = plan->rows_max};
    plan->pairs_max = pairs;
    plan->nodes_max = nodes_max;
    plan->room = TIMES_SPLIT * pairs;
    plan->table_size = 16;
    while (plan->table_size < 2 * pairs) plan->table_size *= 2;
    plan->row = calloc(plan->room, sizeof *plan->row);
    plan->pairs_per_row = calloc(plan->room, sizeof *plan->pairs_per_row);
    plan->expert = calloc(plan->room, sizeof *plan->expert);
    plan->chunks = calloc(plan->room, sizeof *plan->chunks);
    plan->weight = calloc(plan->room, sizeof *plan->weight);
    plan->units = calloc(pairs, sizeof *plan->units);
    plan->order = calloc(pairs, sizeof *plan->order);
    plan->unit_of = calloc(pairs, sizeof *plan->unit_of);
    plan->table = calloc(plan->table_size, sizeof *plan->table);
    plan->last_row = calloc(nodes_max + 1, sizeof *plan->last_row);
    plan->load_ns = calloc(nodes_max, sizeof *plan->load_ns);
    if (plan->row != NULL && plan->pairs_per_row != NULL && plan->expert != NULL && plan->chunks != NULL &&
        plan->weight != NULL && plan->units != NULL && plan->order != NULL && plan->unit_of != NULL &&
        plan->table != NULL && plan->last_row != NULL && plan->load_ns != NULL)
        return ES_OK;
    free_rooms(plan);
    *plan = (es_plan){.shape = plan->shape, .rows_max = plan->rows_max};
    return es_err_set(err, ES_NO_MEMORY, "plan for %zu rows in %zu slices on %zu nodes", plan->rows_max,
                      slices_max, nodes_max);
}

/* Writes one pair of a batch, for each slice of its expert, from pair at on. Returns where the next one goes.
 */
static size_t put_slices(es_plan *plan, const es_holders *holders, size_t layer, uint32_t expert,
                         float weight, size_t at)
{
    uint32_t slices = (uint32_t)es_size_max(es_holders_slices(holders, layer, expert), 1);
    for (uint32_t s = 0; s < slices; s++, at++) {
        plan->expert[at] = expert;
        plan->weight[at] = weight;
        plan->chunks[at] =
            slices == 1 ? 0 : es_chunks_code(es_chunks_of_slice(plan->shape->expert_intermediate, s, slices));
    }
    return at;
}

es_status es_plan_begin(es_plan *plan, const es_holders *holders, size_t layer, const es_expert_batch *batch,
                        es_work *ret_all, es_err *err)
{
    ES_ASSERT(layer < plan->shape->layers && es_shape_layer_is_moe(plan->shape, layer));
    size_t count = batch->rows->count, pairs = 0, rows = 0;
    if (count < 1 || count > plan->rows_max)
        return es_err_set(err, ES_INVALID, "batch of %zu rows, not 1 to %zu", count, plan->rows_max);
    for (size_t r = 0; r < count; r++) {
        size_t first = pairs;
        if (batch->pair_first[r + 1] - batch->pair_first[r] > ES_PAIRS_PER_ROW_MAX)
            return es_err_set(err, ES_INVALID, "batch: row %zu has more than %d pairs", r,
                              ES_PAIRS_PER_ROW_MAX);
        for (size_t p = batch->pair_first[r]; p < batch->pair_first[r + 1]; p++) {
            ES_ASSERT(batch->expert[p] < plan->shape->experts);
            if (es_holders_slices(holders, layer, batch->expert[p]) > plan->pairs_max - pairs)
                return es_err_set(err, ES_INVALID, "batch: more than %zu slices of experts", plan->pairs_max);
            pairs = put_slices(plan, holders, layer, batch->expert[p], batch->weight[p], pairs);
        }
        if (pairs == first) continue;
        plan->row[rows] = (uint32_t)r;
        plan->pairs_per_row[rows++] = (uint32_t)(pairs - first);
    }
    plan->used = pairs;
    *ret_all = (es_work){.rows = rows,
                         .pairs = pairs,
                         .row = plan->row,
                         .pairs_per_row = plan->pairs_per_row,
                         .expert = plan->expert,
                         .chunks = plan->chunks,
                         .weight = plan->weight};
    return ES_OK;
}

/* How the chunks of a pair are cut by the slices that its expert is held in: writes the stretches to
 * ret_chunks [slices] unless that is NULL; returns how many, 1 when they need no cut. */
static size_t cut_pair(const es_plan *plan, const es_holders *holders, size_t layer, uint32_t expert,
                       uint32_t chunks, uint32_t *ret_chunks)
{
    size_t width = plan->shape->expert_intermediate, holders_count, pieces = 0;
    size_t slices = es_holders_slices(holders, layer, expert);
    es_holders_find(holders, layer, expert, chunks, &holders_count);
    if (holders_count > 0 || slices < 2) {
        if (ret_chunks != NULL) *ret_chunks = chunks;
        return 1;
    }
    es_chunks all = es_chunks_decode(chunks);
    if (all.count == 0) all.count = (uint32_t)es_chunks_of(width);
    for (uint32_t s = 0; s < slices; s++) {
        es_chunks slice = es_chunks_of_slice(width, s, (uint32_t)slices);
        size_t first = es_size_max(slice.first, all.first);
        size_t end = es_size_min(slice.first + slice.count, all.first + all.count);
        if (first >= end) continue;
        if (ret_chunks != NULL)
            ret_chunks[pieces] = es_chunks_code((es_chunks){(uint32_t)first, (uint32_t)(end - first)});
        pieces++;
    }
    return pieces;
}

es_status es_plan_recut(es_plan *plan, const es_holders *holders, size_t layer, const es_work *work,
                        es_work *ret_work, es_err *err)
{
    size_t pairs = 0, at = plan->used;
    *ret_work = *work;
    for (size_t p = 0; p < work->pairs; p++)
        pairs += cut_pair(plan, holders, layer, work->expert[p], work->chunks[p], NULL);
    if (pairs == work->pairs) return ES_OK;
    if (pairs > plan->pairs_max || pairs > plan->room - plan->used)
        return es_err_set(err, ES_NO_MEMORY, "its work was given out too often");
    for (size_t r = 0, p = 0, to = at; r < work->rows; r++) {
        size_t first = to;
        for (size_t end = p + work->pairs_per_row[r]; p < end; p++) {
            size_t pieces =
                cut_pair(plan, holders, layer, work->expert[p], work->chunks[p], plan->chunks + to);
            for (size_t i = 0; i < pieces; i++, to++) {
                plan->expert[to] = work->expert[p];
                plan->weight[to] = work->weight[p];
            }
        }
        plan->row[at + r] = work->row[r];
        plan->pairs_per_row[at + r] = (uint32_t)(to - first);
    }
    plan->used += pairs;
    *ret_work = (es_work){.rows = work->rows,
                          .pairs = pairs,
                          .row = plan->row + at,
                          .pairs_per_row = plan->pairs_per_row + at,
                          .expert = plan->expert + at,
                          .chunks = plan->chunks + at,
                          .weight = plan->weight + at,
                          .sliced = true,
                          .cost = work->cost};
    return ES_OK;
}

static uint32_t find_unit(es_plan *plan, size_t mask, uint32_t expert, uint32_t chunks)
{
    size_t at = (expert * 0x9e3779b1u ^ chunks * 0x85ebca6bu) & mask;
    for (;; at = (at + 1) & mask) {
        if (plan->table[at] == 0) {
            plan->units[plan->unit_count] = (unit){.expert = expert, .chunks = chunks};
            plan->table[at] = (uint32_t)++plan->unit_count;
        }
        const unit *u = &plan->units[plan->table[at] - 1];
        if (u->expert == expert && u->chunks == chunks) return plan->table[at] - 1;
    }
}

static void gather_units(es_plan *plan, const es_holders *holders, size_t layer, const es_work *work,
                         size_t nobody)
{
    double chunks_all = (double)es_chunks_of(plan->shape->expert_intermediate);
    size_t size = 16;
    while (size < 2 * work->pairs) size *= 2;
    memset(plan->table, 0, size * sizeof *plan->table);
    plan->unit_count = 0;
    for (size_t p = 0; p < work->pairs; p++) {
        plan->unit_of[p] = find_unit(plan, size - 1, work->expert[p], work->chunks[p]);
        plan->units[plan->unit_of[p]].pairs++;
    }
    for (size_t i = 0; i < plan->unit_count; i++) {
        unit *u = &plan->units[i];
        size_t count;
        u->holders = es_holders_find(holders, layer, u->expert, u->chunks, &count);
        u->holder_count = (uint32_t)count;
        u->share = u->chunks == 0 ? 1 : es_chunks_decode(u->chunks).count / chunks_all;
        u->node = nobody;
    }
}

static double unit_cost(const unit *u)
{
    return u->share * es_history_cost(1, u->pairs);
}

static double unit_ns(const unit *u, const es_seat *seat)
{
    return unit_cost(u) * seat->cost_ns + u->pairs * seat->pair_ns;
}

/* Whether a is given out before b: fewer choices first, then the dearer. */
static bool comes_first(const unit *a, const unit *b)
{
    if (a->holder_count != b->holder_count) return a->holder_count < b->holder_count;
    return a->share * a->pairs > b->share * b->pairs;
}

/* Shell's sort, with Ciura's gaps. */
static void order_units(es_plan *plan)
{
    static const size_t GAPS[] = {701, 301, 132, 57, 23, 10, 4, 1};
    for (size_t i = 0; i < plan->unit_count; i++) plan->order[i] = (uint32_t)i;
    for (size_t g = 0; g < sizeof GAPS / sizeof GAPS[0]; g++)
        for (size_t i = GAPS[g]; i < plan->unit_count; i++) {
            uint32_t moved = plan->order[i];
            size_t at = i;
            for (; at >= GAPS[g] && comes_first(&plan->units[moved], &plan->units[plan->order[at - GAPS[g]]]);
                 at -= GAPS[g])
                plan->order[at] = plan->order[at - GAPS[g]];
            plan->order[at] = moved;
        }
}

/* When node would be done if it got this unit too. */
static double done_ns(const es_plan *plan, const es_seat *seats, size_t node, const unit *u)
{
    double load_ns = plan->load_ns[node] > 0 ? plan->load_ns[node] : seats[node].base_ns;
    return load_ns + unit_ns(u, &seats[node]);
}

static void give_out(es_plan *plan, const es_seat *seats)
{
    for (size_t i = 0; i < plan->unit_count; i++) {
        unit *u = &plan->units[plan->order[i]];
        es_seat_rank rank = ES_SEAT_NONE;
        double best_ns = 0;
        for (size_t h = 0; h < u->holder_count; h++) {
            size_t n = u->holders[h];
            if (seats[n].rank == ES_SEAT_NONE || seats[n].rank < rank) continue;
            double ns = done_ns(plan, seats, n, u);
            if (seats[n].rank == rank && ns >= best_ns) continue;
            rank = seats[n].rank;
            best_ns = ns;
            u->node = n;
        }
        if (rank != ES_SEAT_NONE) plan->load_ns[u->node] = best_ns;
    }
}

/* Moves one unit away from the busiest node when that makes the two less busy. */
static bool move_one(es_plan *plan, const es_seat *seats, size_t nodes)
{
    size_t busiest = 0, to = 0;
    unit *moved = NULL;
    for (size_t n = 1; n < nodes; n++)
        if (plan->load_ns[n] > plan->load_ns[busiest]) busiest = n;
    double best_ns = plan->load_ns[busiest];
    for (size_t i = 0; i < plan->unit_count; i++) {
        unit *u = &plan->units[i];
        if (u->node != busiest) continue;
        for (size_t h = 0; h < u->holder_count; h++) {
            size_t n = u->holders[h];
            if (n == busiest || seats[n].rank < seats[busiest].rank) continue;
            double ns = done_ns(plan, seats, n, u);
            if (ns >= best_ns) continue;
            best_ns = ns;
            moved = u;
            to = n;
        }
    }
    if (moved == NULL) return false;
    plan->load_ns[busiest] -= unit_ns(moved, &seats[busiest]);
    plan->load_ns[to] = best_ns;
    moved->node = to;
    return true;
}

/* Counts rows and pairs of each node, then gives each its stretch of the plan's room. */
static es_status lay_out(es_plan *plan, const es_work *work, size_t nodes, es_work *works, es_err *err)
{
    for (size_t n = 0; n <= nodes; n++) {
        works[n] = (es_work){.rows = 0};
        plan->last_row[n] = SIZE_MAX;
    }
    for (size_t r = 0, p = 0; r < work->rows; r++)
        for (size_t end = p + work->pairs_per_row[r]; p < end; p++) {
            size_t n = plan->units[plan->unit_of[p]].node;
            works[n].pairs++;
            works[n].rows += plan->last_row[n] != r;
            plan->last_row[n] = r;
        }
    if (work->pairs > plan->room - plan->used)
        return es_err_set(err, ES_NO_MEMORY, "its work was given out too often");
    for (size_t n = 0; n <= nodes; n++) {
        size_t at = plan->used;
        works[n].row = plan->row + at;
        works[n].pairs_per_row = plan->pairs_per_row + at;
        works[n].expert = plan->expert + at;
        works[n].chunks = plan->chunks + at;
        works[n].weight = plan->weight + at;
        plan->used += works[n].pairs;
        works[n].rows = works[n].pairs = 0;
        plan->last_row[n] = SIZE_MAX;
    }
    return ES_OK;
}

static es_status fill(es_plan *plan, const es_work *work, size_t nodes, es_work *works, es_err *err)
{
    for (size_t r = 0, p = 0; r < work->rows; r++)
        for (size_t end = p + work->pairs_per_row[r]; p < end; p++) {
            const unit *u = &plan->units[plan->unit_of[p]];
            es_work *w = &works[u->node];
            uint32_t *row = plan->row + (w->row - plan->row),
                     *per_row = plan->pairs_per_row + (w->row - plan->row);
            if (plan->last_row[u->node] != r) {
                row[w->rows] = work->row[r];
                per_row[w->rows++] = 0;
                plan->last_row[u->node] = r;
            }
            if (++per_row[w->rows - 1] > ES_PAIRS_PER_ROW_MAX && u->node < nodes)
                return es_err_set(err, ES_UNSUPPORTED, "more than %d slices of one row on one node",
                                  ES_PAIRS_PER_ROW_MAX);
            size_t at = (size_t)(w->expert - plan->expert) + w->pairs++;
            plan->expert[at] = work->expert[p];
            plan->chunks[at] = work->chunks[p];
            plan->weight[at] = work->weight[p];
            w->sliced |= work->chunks[p] != 0;
        }
    for (size_t i = 0; i < plan->unit_count; i++)
        works[plan->units[i].node].cost += unit_cost(&plan->units[i]);
    return ES_OK;
}

es_status es_plan_assign(es_plan *plan, const es_holders *holders, size_t layer, const es_work *work,
                         const es_seat *seats, size_t nodes, es_work *ret_works, es_err *err)
{
    ES_ASSERT(nodes <= plan->nodes_max && work->pairs <= plan->pairs_max);
    gather_units(plan, holders, layer, work, nodes);
    order_units(plan);
    memset(plan->load_ns, 0, nodes * sizeof *plan->load_ns);
    give_out(plan, seats);
    for (int moves = 0; nodes > 1 && moves < MOVES_MAX && move_one(plan, seats, nodes); moves++) continue;
    es_status status = lay_out(plan, work, nodes, ret_works, err);
    if (status == ES_OK) status = fill(plan, work, nodes, ret_works, err);
    return status;
}
