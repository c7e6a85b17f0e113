/* The planner: shares first (planner_shares.c), then layer by layer who holds what (planner_assign.c). */
#include "cluster/planner.h"

#include "base/size.h"
#include "cluster/planner_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static es_status short_of_memory(es_err *err)
{
    return es_err_set(err, ES_NO_MEMORY, "planner");
}

static es_status check_node(const es_planner_node *node, es_err *err)
{
    if (!es_name_valid(node->name))
        return es_err_set(err, ES_INVALID, "planner: a node's name \"%.64s\" is none", node->name);
    if (!(node->bandwidth >= 0 && node->bandwidth < 1e18))
        return es_err_set(err, ES_INVALID, "planner: node %s: its bandwidth is no number", node->name);
    return ES_OK;
}

static es_status check_request(const es_planner_request *r, es_err *err)
{
    size_t cells;
    if (r->node_count < 1) return es_err_set(err, ES_INVALID, "planner: there is no node to plan for");
    if (r->node_count > ES_DOCUMENT_NODES_MAX)
        return es_err_set(err, ES_INVALID, "planner: %zu nodes, more than %d", r->node_count,
                          ES_DOCUMENT_NODES_MAX);
    if (r->layer_count < 1 || r->layer_count > ES_DOCUMENT_LAYERS_MAX || r->experts < 1 || r->slices < 1 ||
        r->slices > ES_CHUNKS_MAX || !es_size_mul(r->experts, r->slices, &cells) ||
        !es_size_mul(cells, r->layer_count, &cells) || cells > ES_DOCUMENT_CELLS_MAX)
        return es_err_set(err, ES_INVALID, "planner: %zu layers of %zu experts in %zu slices", r->layer_count,
                          r->experts, r->slices);
    if (r->slices > 1 && r->mode != ES_PLACE_SLICE)
        return es_err_set(err, ES_INVALID, "planner: mode %s does not slice experts",
                          ES_PLACEMENT_MODES[r->mode]);
    if (r->copies < 1 || r->copies > ES_COPIES_MAX)
        return es_err_set(err, ES_INVALID, "planner: %zu copies, not 1 to %d", r->copies, ES_COPIES_MAX);
    if (r->copies > r->node_count)
        return es_err_set(err, ES_INVALID, "planner: %zu copies on different nodes, but there are only %zu",
                          r->copies, r->node_count);
    for (size_t l = 0; l < r->layer_count; l++)
        if (r->cell_bytes[l] < 1 || r->cell_bytes[l] > (uint64_t)1 << 48 ||
            (l > 0 && r->layers[l] <= r->layers[l - 1]))
            return es_err_set(err, ES_INVALID, "planner: layer %zu of %zu is none", l, r->layer_count);
    es_status status = ES_OK;
    for (size_t n = 0; n < r->node_count && status == ES_OK; n++) status = check_node(&r->nodes[n], err);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const es_planner_node *const *)a)->name, (*(const es_planner_node *const *)b)->name);
}

/* Racks are numbered as they first appear; a node without one is a rack of its own. */
static void number_racks(es_planner *p)
{
    for (size_t n = 0; n < p->request->node_count; n++) {
        const char *rack = p->shares[n].node->rack;
        size_t same = 0;
        while (same < n && (rack[0] == '\0' || strcmp(p->shares[same].node->rack, rack) != 0)) same++;
        p->shares[n].rack = same < n ? p->shares[same].rack : p->rack_count++;
    }
    size_t at = 0;
    for (size_t r = 0; r < p->rack_count; r++)
        for (size_t n = 0; n < p->request->node_count; n++)
            if (p->shares[n].rack == r) p->order[at++] = n;
}

static es_status take_nodes(es_planner *p, es_err *err)
{
    const es_planner_request *r = p->request;
    const es_planner_node **sorted = es_arena_take(p->arena, r->node_count, sizeof(es_planner_node *));
    double sum = 0;
    size_t measured = 0;
    if (sorted == NULL) return short_of_memory(err);
    for (size_t n = 0; n < r->node_count; n++) {
        sorted[n] = &r->nodes[n];
        sum += r->nodes[n].bandwidth;
        measured += r->nodes[n].bandwidth > 0;
    }
    qsort(sorted, r->node_count, sizeof(es_planner_node *), by_name);
    double mean = measured > 0 ? sum / (double)measured : 1;
    for (size_t n = 0; n < r->node_count; n++) {
        if (n > 0 && strcmp(sorted[n]->name, sorted[n - 1]->name) == 0)
            return es_err_set(err, ES_INVALID, "planner: two nodes are called %s", sorted[n]->name);
        double bandwidth = sorted[n]->bandwidth > 0 ? sorted[n]->bandwidth : mean;
        p->shares[n] = (es_planner_share){
            .node = sorted[n], .weight = bandwidth / mean, .left = sorted[n]->memory_bytes};
    }
    number_racks(p);
    return ES_OK;
}

static size_t index_of(const es_planner *p, const char *name)
{
    for (size_t n = 0; n < p->request->node_count; n++)
        if (strcmp(p->shares[n].node->name, name) == 0) return n;
    return ES_PLANNER_NOBODY;
}

/* Notes that a node that is still there held a cell. */
static void note_before(es_planner *p, size_t layer_index, size_t cell, size_t node)
{
    uint16_t *holders = p->before + (layer_index * p->cells + cell) * p->before_copies;
    for (size_t c = 0; c < p->before_copies; c++)
        if (holders[c] == ES_PLANNER_NOBODY) {
            holders[c] = (uint16_t)node;
            return;
        }
}

static void note_units(es_planner *p, const es_units *units, size_t node)
{
    const es_planner_request *r = p->request;
    size_t layer = 0;
    while (layer < r->layer_count && r->layers[layer] != units->layer) layer++;
    for (size_t e = units->expert_first;
         layer < r->layer_count && e < (size_t)units->expert_first + units->expert_count && e < r->experts;
         e++)
        note_before(p, layer, e * r->slices + units->slice, node);
}

/* What stood before, in this plan's terms; experts cut otherwise are other cells. */
static es_status take_before(es_planner *p, es_err *err)
{
    const es_document *before = p->request->before;
    if (before == NULL || before->slices != p->request->slices) return ES_OK;
    p->before_copies = before->copies;
    size_t count = p->request->layer_count * p->cells * p->before_copies;
    p->before = es_arena_take(p->arena, count, sizeof *p->before);
    if (p->before == NULL) return short_of_memory(err);
    memset(p->before, 0xff, count * sizeof *p->before);
    for (size_t d = 0; d < before->node_count; d++) {
        const es_document_node *node = &before->nodes[d];
        size_t index = index_of(p, node->name);
        for (size_t u = 0; index != ES_PLANNER_NOBODY && u < node->unit_count; u++)
            note_units(p, &node->units[u], index);
    }
    return ES_OK;
}

static es_status create(es_planner *p, es_err *err)
{
    const es_planner_request *r = p->request;
    p->cells = r->experts * r->slices;
    p->shares = es_arena_take(p->arena, r->node_count, sizeof *p->shares);
    p->order = es_arena_take(p->arena, r->node_count, sizeof *p->order);
    p->load = es_arena_take(p->arena, r->node_count, sizeof *p->load);
    p->rack_cells = es_arena_take(p->arena, r->node_count, sizeof *p->rack_cells);
    p->sequence = es_arena_take(p->arena, p->cells, sizeof *p->sequence);
    p->wanted = es_arena_take(p->arena, p->cells, sizeof *p->wanted);
    p->covered = es_arena_take(p->arena, p->cells, sizeof *p->covered);
    p->released = es_arena_take(p->arena, p->cells, sizeof *p->released);
    size_t count = r->layer_count * p->cells * r->copies;
    p->holder = es_arena_take(p->arena, count, sizeof *p->holder);
    if (p->shares == NULL || p->order == NULL || p->load == NULL || p->rack_cells == NULL ||
        p->sequence == NULL || p->wanted == NULL || p->covered == NULL || p->released == NULL ||
        p->holder == NULL)
        return short_of_memory(err);
    memset(p->holder, 0xff, count * sizeof *p->holder);
    es_status status = take_nodes(p, err);
    if (status == ES_OK) status = take_before(p, err);
    return status;
}

/* Where a cell stands in the sequence. */
static size_t rank_of(const es_planner *p, size_t cell)
{
    const es_planner_request *r = p->request;
    size_t expert = cell / r->slices, slice = cell % r->slices;
    if (r->mode == ES_PLACE_GROUP) return expert;
    size_t groups = r->groups > 1 && r->experts % r->groups == 0 ? r->groups : 1;
    size_t in_group = r->experts / groups;
    size_t spread = expert % in_group * groups + expert / in_group;
    if (groups == 1) { /* nobody says which go together: neighbours apart */
        size_t steps = es_size_min(r->node_count, r->experts);
        ES_ASSERT(steps > 0); /* the request was checked */
        size_t lane = expert % steps;
        spread = lane * (r->experts / steps) + es_size_min(lane, r->experts % steps) + expert / steps;
    }
    return slice * r->experts + spread;
}

typedef struct hot_cell {
    double heat;
    size_t rank, cell;
} hot_cell;

static int hotter_first(const void *a, const void *b)
{
    const hot_cell *x = a, *y = b;
    if (x->heat != y->heat) return x->heat > y->heat ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* By rank, or with heat counted in mode replicate the hottest first. */
static void set_sequence(es_planner *p, size_t layer_index, hot_cell *scratch)
{
    const es_planner_request *r = p->request;
    bool by_heat = r->mode == ES_PLACE_REPLICATE && r->heat != NULL;
    for (size_t c = 0; c < p->cells; c++) {
        double heat = by_heat ? r->heat[layer_index * r->experts + c / r->slices] : 0;
        scratch[c] = (hot_cell){isfinite(heat) && heat > 0 ? heat : 0, rank_of(p, c), c};
    }
    qsort(scratch, p->cells, sizeof *scratch, hotter_first);
    for (size_t c = 0; c < p->cells; c++) p->sequence[c] = scratch[c].cell;
}

/* How many copies each cell of the layer gets: as many as fit, and one more of the first in the sequence. */
static size_t set_wanted(es_planner *p)
{
    p->copies_owed += p->copies * (double)p->cells;
    size_t least = (size_t)floor(p->copies + 1e-9), total = (size_t)floor(p->copies_owed + 1e-6);
    total = es_size_min(es_size_max(total, least * p->cells), p->request->copies * p->cells);
    p->copies_owed -= (double)total;
    for (size_t i = 0; i < p->cells; i++) p->wanted[p->sequence[i]] = least + (i < total - least * p->cells);
    p->short_cells += p->request->copies * p->cells - total;
    return total;
}

static void count_before(es_planner *p, size_t layer_index)
{
    for (size_t n = 0; n < p->request->node_count; n++) p->shares[n].held_before = 0;
    if (p->before == NULL) return;
    const uint16_t *holders = p->before + layer_index * p->cells * p->before_copies;
    for (size_t i = 0; i < p->cells * p->before_copies; i++)
        if (holders[i] != ES_PLANNER_NOBODY) p->shares[holders[i]].held_before++;
}

static es_status plan_layers(es_planner *p, es_err *err)
{
    hot_cell *scratch = es_arena_take(p->arena, p->cells, sizeof *scratch);
    if (scratch == NULL) return short_of_memory(err);
    es_status status = es_planner_divide(p, err);
    for (size_t l = 0; l < p->request->layer_count && status == ES_OK; l++) {
        count_before(p, l);
        set_sequence(p, l, scratch);
        status = es_planner_set_quotas(p, l, set_wanted(p), err);
        if (status == ES_OK) es_planner_assign(p, l);
    }
    return status;
}

/* Writes one node's cells as ranges; NULL out: only counts them. */
static size_t write_units(const es_planner *p, const uint8_t *held, es_units *out)
{
    const es_planner_request *r = p->request;
    size_t count = 0;
    for (size_t l = 0; l < r->layer_count; l++)
        for (size_t s = 0; s < r->slices; s++)
            for (size_t e = 0; e < r->experts;) {
                const uint8_t *row = held + l * p->cells + s;
                size_t end = e;
                while (end < r->experts && row[end * r->slices] != 0) end++;
                if (end > e && out != NULL)
                    out[count] = (es_units){r->layers[l], (uint32_t)e, (uint32_t)(end - e), (uint32_t)s,
                                            (uint32_t)r->slices};
                count += end > e;
                e = end > e ? end : e + 1;
            }
    return count;
}

static void mark_held(const es_planner *p, size_t node, uint8_t *held)
{
    size_t all = p->request->layer_count * p->cells, copies = p->request->copies;
    for (size_t cell = 0; cell < all; cell++) {
        held[cell] = 0;
        for (size_t c = 0; c < copies; c++) held[cell] |= p->holder[cell * copies + c] == node;
    }
}

static es_status fill_document(const es_planner *p, es_document *d, es_err *err)
{
    const es_planner_request *r = p->request;
    uint32_t *layers = es_arena_take(d->arena, r->layer_count, sizeof *layers);
    es_document_node *nodes = es_arena_take(d->arena, r->node_count, sizeof *nodes);
    uint8_t *held = es_arena_take(p->arena, r->layer_count, p->cells);
    if (layers == NULL || nodes == NULL || held == NULL) return short_of_memory(err);
    memcpy(layers, r->layers, r->layer_count * sizeof *layers);
    memcpy(d->fingerprint, r->fingerprint, sizeof d->fingerprint);
    for (size_t n = 0; n < r->node_count; n++) {
        mark_held(p, n, held);
        size_t count = write_units(p, held, NULL);
        if (count > ES_UNITS_MAX)
            return es_err_set(err, ES_NO_MEMORY, "planner: node %s: %zu ranges of experts, more than %d",
                              p->shares[n].node->name, count, ES_UNITS_MAX);
        es_units *units = es_arena_take(d->arena, count + 1, sizeof *units);
        if (units == NULL) return short_of_memory(err);
        memcpy(nodes[n].name, p->shares[n].node->name, sizeof nodes[n].name);
        nodes[n].units = units;
        nodes[n].unit_count = write_units(p, held, units);
    }
    d->epoch = r->epoch;
    d->mode = r->mode;
    d->copies = r->copies;
    d->experts = r->experts;
    d->slices = r->slices;
    d->layers = layers;
    d->layer_count = r->layer_count;
    d->nodes = nodes;
    d->node_count = r->node_count;
    return ES_OK;
}

static es_status make_document(const es_planner *p, es_document **ret_document, es_err *err)
{
    es_document *d = calloc(1, sizeof *d);
    if (d == NULL) return short_of_memory(err);
    d->arena = es_arena_create();
    es_status status = d->arena == NULL ? short_of_memory(err) : fill_document(p, d, err);
    if (status != ES_OK) es_document_destroy(&d);
    *ret_document = d;
    return status;
}

es_status es_planner_plan(const es_planner_request *request, es_document **ret_document,
                          es_planner_report *ret_report, es_err *err)
{
    *ret_document = NULL;
    es_status status = check_request(request, err);
    if (status != ES_OK) return status;
    es_planner p = {.request = request, .arena = es_arena_create()};
    if (p.arena == NULL) return short_of_memory(err);
    status = create(&p, err);
    if (status == ES_OK) status = plan_layers(&p, err);
    if (status == ES_OK) status = make_document(&p, ret_document, err);
    *ret_report = (es_planner_report){p.apart, p.short_cells, p.share_error};
    es_arena_destroy(&p.arena);
    return status;
}

es_status es_planner_compare(const es_document *before, const es_document *after, const uint64_t *cell_bytes,
                             es_planner_change *ret_changes, es_err *err)
{
    size_t cells = es_document_cells(after);
    bool same = before != NULL && before->slices == after->slices && before->experts == after->experts &&
                before->layer_count == after->layer_count;
    uint8_t *was = calloc(cells, 1), *is = calloc(cells, 1);
    for (size_t n = 0; n < after->node_count && was != NULL && is != NULL; n++) {
        const es_document_node *old = before != NULL ? es_document_find(before, after->nodes[n].name) : NULL;
        ret_changes[n] = (es_planner_change){0};
        memset(was, 0, cells);
        if (same && old != NULL) es_document_held(before, old, was);
        for (size_t u = 0; !same && old != NULL && u < old->unit_count; u++)
            ret_changes[n].drops += old->units[u].expert_count;
        es_document_held(after, &after->nodes[n], is);
        for (size_t cell = 0; cell < cells; cell++) {
            if (is[cell] != 0 && was[cell] == 0) {
                ret_changes[n].gains++;
                ret_changes[n].gain_bytes += cell_bytes[cell / (after->experts * after->slices)];
            }
            ret_changes[n].drops += was[cell] != 0 && is[cell] == 0;
        }
    }
    bool enough = was != NULL && is != NULL;
    free(was);
    free(is);
    return enough ? ES_OK : short_of_memory(err);
}
