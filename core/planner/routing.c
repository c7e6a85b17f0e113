/* How a layer's rows would spread over the machines: drawn, since shares of a random choice have no simple
 * formula. */
#include "planner/routing.h"

#include <math.h>
#include <string.h>

enum { DRAWS_ROWS = 4096, DRAWS_MAX = 128, DRAWS_MIN = 3 };

typedef struct draw {
    uint64_t seed;
    uint32_t rows_of[ES_EXPERTS_MAX]; /* rows that chose the expert */
    uint32_t seen[ES_MACHINES_MAX];   /* the last row that went to the node, counted from 1 */
    double seconds[ES_MACHINES_MAX], bytes[ES_MACHINES_MAX];
} draw;

static size_t next_below(draw *d, size_t limit)
{
    d->seed ^= d->seed << 13;
    d->seed ^= d->seed >> 7;
    d->seed ^= d->seed << 17;
    return (size_t)((d->seed >> 33) % limit);
}

/* kept of count things, at random: marks them. */
static void choose(draw *d, size_t count, size_t kept, uint8_t *chosen)
{
    memset(chosen, 0, count);
    for (size_t k = 0; k < kept && k < count;) {
        size_t i = next_below(d, count);
        if (chosen[i] != 0) continue;
        chosen[i] = 1;
        k++;
    }
}

/* The experts of one row. */
static size_t choose_experts(draw *d, const es_shape *s, uint32_t *expert)
{
    uint8_t group[ES_EXPERTS_MAX], taken[ES_EXPERTS_MAX];
    size_t groups = s->groups > 0 ? s->groups : 1, width = s->experts / groups,
           kept = s->groups_kept > 0 ? s->groups_kept : groups;
    memset(taken, 0, s->experts);
    choose(d, groups, kept, group);
    size_t count = 0, wanted = s->experts_per_token < kept * width ? s->experts_per_token : kept * width;
    while (count < wanted) {
        size_t e = next_below(d, s->experts);
        if (taken[e] != 0 || group[e / width] == 0) continue;
        taken[e] = 1;
        expert[count++] = (uint32_t)e;
    }
    return count;
}

/* The copy on the node that has least to do so far. */
static size_t choose_holder(const draw *d, const es_planner_layout *l, size_t expert)
{
    size_t best = l->holder[expert][0];
    for (size_t c = 1; c < l->copies; c++)
        if (d->seconds[l->holder[expert][c]] < d->seconds[best]) best = l->holder[expert][c];
    return best;
}

/* Seconds of one expert's pass for these rows, or of a part of it. */
static double pass_s(const es_cost_model *model, double rows, double part, const es_machine *machine)
{
    es_cost_matrices expert = model->expert;
    expert.bytes *= part;
    expert.weights *= part;
    return es_cost_product_s(&expert, rows, machine, 1);
}

static void spread(draw *d, const es_cost_model *model, const es_planner_layout *l,
                   const es_machine *machines)
{
    for (size_t e = 0; e < l->experts; e++) {
        if (d->rows_of[e] == 0) continue;
        size_t first = l->mode == ES_MODE_SLICE ? 0 : choose_holder(d, l, e),
               last = l->mode == ES_MODE_SLICE ? l->nodes : first + 1;
        for (size_t n = first; n < last; n++) {
            double part = l->mode == ES_MODE_SLICE ? l->share[n] : 1;
            if (part <= 0) continue;
            d->seconds[n] += pass_s(model, d->rows_of[e], part, &machines[n]);
            d->bytes[n] += part * model->expert.bytes;
        }
    }
}

/* Rows times nodes that they go to. */
static double count_copies(draw *d, const es_planner_layout *l, const uint32_t *expert, size_t count,
                           size_t row)
{
    double copies = 0;
    if (l->mode == ES_MODE_SLICE) return (double)l->nodes;
    for (size_t i = 0; i < count; i++) {
        size_t n = l->holder[expert[i]][0];
        copies += d->seen[n] != row + 1;
        d->seen[n] = (uint32_t)(row + 1);
    }
    return copies;
}

/* The longest of the hosts. */
static double busiest(const draw *d, const es_planner_layout *l, const es_machine *machines,
                      const char *own_host, double own_host_s, double *ret_bytes)
{
    double most = own_host_s;
    *ret_bytes = 0;
    for (size_t n = 0; n < l->nodes; n++) {
        double host_s = strcmp(machines[n].host, own_host) == 0 ? own_host_s : 0;
        for (size_t k = 0; k < l->nodes; k++)
            if (strcmp(machines[k].host, machines[n].host) == 0) host_s += d->seconds[k];
        if (host_s > most) most = host_s;
        if (d->bytes[n] > *ret_bytes) *ret_bytes = d->bytes[n];
    }
    return most;
}

void es_routing_draw(const es_cost_model *model, const es_planner_layout *layout, const es_machine *machines,
                     size_t rows, const char *own_host, double own_host_s, es_routing_load *ret_load)
{
    draw d = {.seed = 88172645463325252u};
    size_t draws = (size_t)fmin(DRAWS_MAX, fmax(DRAWS_MIN, (double)DRAWS_ROWS / (double)rows));
    *ret_load = (es_routing_load){0};
    for (size_t i = 0; i < draws; i++) {
        double copies = 0, bytes, contacted = 0;
        memset(d.rows_of, 0, sizeof d.rows_of);
        memset(d.seen, 0, sizeof d.seen);
        memset(d.seconds, 0, sizeof d.seconds);
        memset(d.bytes, 0, sizeof d.bytes);
        for (size_t row = 0; row < rows; row++) {
            uint32_t expert[ES_PAIRS_PER_ROW_MAX];
            size_t count = choose_experts(&d, model->shape, expert);
            for (size_t k = 0; k < count; k++) d.rows_of[expert[k]]++;
            copies += count_copies(&d, layout, expert, count, row);
        }
        spread(&d, model, layout, machines);
        ret_load->busiest_s += busiest(&d, layout, machines, own_host, own_host_s, &bytes) / (double)draws;
        for (size_t n = 0; n < layout->nodes; n++) {
            contacted += d.seconds[n] > 0;
            ret_load->node_s[n] += d.seconds[n] / (double)draws;
        }
        ret_load->nodes += contacted / (double)draws;
        ret_load->row_copies += copies / (double)draws;
        ret_load->expert_bytes_busiest += bytes / (double)draws;
    }
}
