/* Will it fit, and how fast will it be: a model on a list of machines. */
#include "planner/forecast.h"

#include "planner/routing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t STREAMS[ES_FORECAST_SPEEDS] = {1, 8, 64}, PROMPT[ES_FORECAST_PROMPTS] = {1024, 8192};
enum { STEP_ROWS = 512 };

/* A loopback's round trip, and its bytes. */
static const double HOST_ROUND_TRIP_S = 60e-6, HOST_BYTES_PER_S = 4e9;

const char *es_bottleneck_name(es_bottleneck bottleneck)
{
    static const char *const NAMES[] = {"the coordinator's memory and arithmetic",
                                        "the expert nodes' memory and arithmetic", "the network"};
    return NAMES[bottleneck];
}

/* A question being answered: the nodes are the machines that hold experts, without their coordinator's
 * memory. */
typedef struct work {
    const es_forecast_question *q;
    es_cost_model model;
    size_t coordinator;
    size_t nodes, index[ES_MACHINES_MAX];
    es_machine node[ES_MACHINES_MAX];
    double weight[ES_MACHINES_MAX], room[ES_MACHINES_MAX];
    es_planner_layout layout;
    es_routing_load load;
    size_t drawn_rows; /* that load is for; 0: for none */
} work;

static double kv_bytes(const work *w)
{
    const es_forecast_question *q = w->q;
    return w->model.kv_bytes_per_token * (double)q->shape->layers * (double)q->context *
           (double)q->kv_streams / (double)q->coordinators;
}

static double coordinator_needs(const work *w)
{
    return w->model.backbone_bytes * (1 + ES_SCRATCH_SHARE) + kv_bytes(w) + ES_PROCESS_BYTES;
}

/* Bytes that a machine has left for experts when other processes of its host took theirs. */
static void find_nodes(work *w)
{
    const es_forecast_question *q = w->q;
    const es_machine *own = &q->machines[w->coordinator];
    w->nodes = 0;
    for (size_t i = 0; i < q->machine_count; i++) {
        const es_machine *m = &q->machines[i];
        bool alone = q->machine_count == 1;
        if (m->role == ES_ROLE_COORDINATOR || (i == w->coordinator && !alone)) continue;
        size_t alike = 0;
        for (size_t k = 0; k < q->machine_count; k++)
            alike += strcmp(q->machines[k].host, m->host) == 0 &&
                     q->machines[k].role != ES_ROLE_COORDINATOR && (k != w->coordinator || alone);
        double taken = strcmp(m->host, own->host) == 0 ? coordinator_needs(w) : 0;
        w->index[w->nodes] = i;
        w->node[w->nodes] = *m;
        w->weight[w->nodes] = m->read_bytes_per_s / (double)alike;
        w->room[w->nodes++] = es_machine_room(m, taken, alike);
    }
}

static bool same_host(const es_machine *a, const es_machine *b)
{
    return strcmp(a->host, b->host) == 0;
}

/* Seconds that a layer's rows and sums are on their way, and the round trip. */
static double network_s(const work *w, const es_machine *own, const es_routing_load *load)
{
    double bytes_row = es_cost_row_bytes(w->q->shape) + es_cost_sum_bytes(w->q->shape);
    double remote_share = 0, slowest = own->nic_bytes_per_s, trip = HOST_ROUND_TRIP_S;
    double own_cipher = es_cost_encrypt_s(own), node_cipher = 0;
    for (size_t n = 0; n < w->nodes; n++) {
        if (same_host(&w->node[n], own)) continue;
        remote_share += w->layout.share[n];
        slowest = fmin(slowest, w->node[n].nic_bytes_per_s * (double)w->nodes);
        trip = fmax(trip, w->node[n].round_trip_s);
        node_cipher = fmax(node_cipher, es_cost_encrypt_s(&w->node[n]));
    }
    /* What one end encrypts the other decrypts, and neither waits for less than the whole; the coordinator
     * does that for all nodes, each node for itself. */
    double cipher = own_cipher + node_cipher / fmax(load->nodes, 1);
    double bytes = load->row_copies * bytes_row;
    double seconds = trip + ES_COST_RATES.call_s * load->nodes +
                     bytes * (remote_share / slowest + (1 - remote_share) / HOST_BYTES_PER_S);
    return seconds + (w->q->encrypted ? bytes * remote_share * cipher : 0);
}

/* One step: streams sequences, rows_each rows of each. */
static void make_step(work *w, double streams, double rows_each, double context, es_forecast_step *ret_step)
{
    const es_forecast_question *q = w->q;
    const es_machine *own = &q->machines[w->coordinator];
    const es_cost_model *m = &w->model;
    double rows = streams * rows_each, layers = (double)q->shape->layers, moe = (double)m->moe_layers;
    es_forecast_step s = {0};
    double router = m->router_bytes / own->read_bytes_per_s +
                    2 * m->router_weights * rows / (own->float_ops_per_s * 0.5) + ES_COST_RATES.join_s;
    s.coordinator_s = layers * es_cost_product_s(&m->attention, rows, own, 1) +
                      (layers - moe) * es_cost_product_s(&m->dense, rows, own, 1) + moe * router +
                      es_cost_product_s(&m->head, streams, own, 1);
    s.attend_s = layers * es_cost_attend_s(m, streams, rows_each, context, own, 1);
    if (moe > 0) {
        double shared = m->shared.weights > 0 ? es_cost_product_s(&m->shared, rows, own, 1) : 0;
        size_t draw_rows = (size_t)fmax(rows, 1);
        if (w->drawn_rows != draw_rows)
            es_routing_draw(m, &w->layout, w->node, draw_rows, own->host, shared, &w->load);
        w->drawn_rows = draw_rows;
        s.shared_s = moe * shared;
        s.network_s = moe * network_s(w, own, &w->load);
        s.experts_s = moe * w->load.busiest_s;
        s.nodes_contacted = w->load.nodes;
        s.expert_bytes = w->load.expert_bytes_busiest;
    }
    /* Several coordinators: nodes serve them in turns, so a step is never shorter than all of their work. */
    double alone = s.coordinator_s + s.attend_s + fmax(s.shared_s, s.network_s + s.experts_s);
    s.seconds = fmax(alone, s.experts_s * (double)q->coordinators);
    *ret_step = s;
}

static es_bottleneck bottleneck_of(const es_forecast_step *s)
{
    double own = s->coordinator_s + s->attend_s;
    if (own >= s->experts_s && own >= s->network_s) return ES_BOTTLENECK_COORDINATOR;
    return s->experts_s >= s->network_s ? ES_BOTTLENECK_EXPERTS : ES_BOTTLENECK_NETWORK;
}

static void make_speeds(work *w, es_forecast *f)
{
    const es_forecast_question *q = w->q;
    for (size_t i = 0; i < ES_FORECAST_SPEEDS; i++) {
        es_forecast_speed *speed = &f->speed[i];
        double each = fmax(1, ceil((double)STREAMS[i] / (double)q->coordinators));
        double busy = fmin((double)STREAMS[i], each * (double)q->coordinators);
        make_step(w, each, 1, (double)q->context, &speed->step);
        speed->streams = STREAMS[i];
        speed->tokens_per_s = busy / speed->step.seconds;
        speed->tokens_per_s_each = 1 / speed->step.seconds;
        speed->bottleneck = bottleneck_of(&speed->step);
    }
    for (size_t i = 0; i < ES_FORECAST_PROMPTS; i++) {
        f->first_token_s[i] = 0;
        for (size_t done = 0; done < PROMPT[i]; done += STEP_ROWS) {
            es_forecast_step step;
            make_step(w, 1, STEP_ROWS, (double)done + STEP_ROWS / 2.0, &step);
            f->first_token_s[i] += step.seconds;
        }
    }
}

/* Whether the coordinator's part and, in this mode, the experts fit; then the speeds. */
static bool try_mode(work *w, es_layout_mode mode, es_forecast *f)
{
    const es_forecast_question *q = w->q;
    size_t copies = mode == ES_MODE_REPLICATE ? q->copies : 1;
    double expert_bytes = (double)w->model.moe_layers * w->model.expert.bytes;
    if (w->model.moe_layers > 0 &&
        (w->nodes == 0 || !es_layout_make(mode, q->shape->experts, w->nodes, copies, w->weight, w->room,
                                          expert_bytes, &w->layout)))
        return false;
    w->drawn_rows = 0;
    f->fits = true;
    f->mode = mode;
    f->coordinator = w->coordinator;
    for (size_t i = 0; i < q->machine_count; i++) {
        es_forecast_machine *m = &f->machine[i];
        *m = (es_forecast_machine){.coordinates = i == w->coordinator};
        if (m->coordinates) {
            m->weights_bytes = w->model.backbone_bytes;
            m->needs_bytes = coordinator_needs(w);
        }
    }
    for (size_t n = 0; n < w->nodes && w->model.moe_layers > 0; n++) {
        es_forecast_machine *m = &f->machine[w->index[n]];
        double bytes = w->layout.held[n] * expert_bytes;
        m->experts = w->layout.held[n];
        m->weights_bytes += bytes;
        m->needs_bytes += bytes * (1 + ES_SCRATCH_SHARE) + ES_PROCESS_BYTES;
    }
    make_speeds(w, f);
    return true;
}

/* How good an answer is: the speed of one stream counts as much as that of many. */
static double merit(const es_forecast *f)
{
    return f->fits
               ? log(f->speed[0].tokens_per_s) + log(f->speed[1].tokens_per_s) + log(f->speed[2].tokens_per_s)
               : -INFINITY;
}

static bool modes_of(const es_forecast_question *q, es_layout_mode mode)
{
    if (!q->any_mode) return mode == q->mode;
    return mode != ES_MODE_REPLICATE || q->machine_count > q->copies;
}

/* Whether a machine may coordinate: where some are named for it, they alone. */
static bool may_coordinate(const es_forecast_question *q, size_t machine)
{
    bool wanted = false;
    for (size_t i = 0; i < q->machine_count; i++)
        wanted = wanted || q->machines[i].role == ES_ROLE_COORDINATOR;
    return q->machines[machine].role == (wanted ? ES_ROLE_COORDINATOR : ES_ROLE_ANY);
}

/* What is missing, with the largest of those that may coordinate as the coordinator. */
static void say_why(work *w, es_forecast *f)
{
    const es_forecast_question *q = w->q;
    size_t largest = 0;
    while (!may_coordinate(q, largest)) largest++; /* there is one: the question was checked */
    for (size_t i = largest; i < q->machine_count; i++)
        if (may_coordinate(q, i) && q->machines[i].memory_bytes > q->machines[largest].memory_bytes)
            largest = i;
    w->coordinator = largest;
    find_nodes(w);
    const es_machine *own = &q->machines[largest];
    double needs = coordinator_needs(w), has = (double)own->memory_bytes, room = 0;
    size_t copies = !q->any_mode && q->mode == ES_MODE_REPLICATE ? q->copies : 1;
    double experts = w->model.experts_bytes * (double)copies;
    for (size_t n = 0; n < w->nodes; n++) room += fmax(w->room[n], 0);
    if (has < needs)
        snprintf(f->why, sizeof f->why, "the coordinator needs %.1f GB, %s has %.1f GB: %.1f GB are missing",
                 needs / 1e9, own->name, has / 1e9, (needs - has) / 1e9);
    else if (room < experts)
        snprintf(f->why, sizeof f->why,
                 "the experts%s need %.1f GB, %zu machine%s beside the coordinator ha%s room for %.1f GB: "
                 "%.1f GB are missing",
                 copies > 1 ? "' copies" : "", experts / 1e9, w->nodes, w->nodes == 1 ? "" : "s",
                 w->nodes == 1 ? "s" : "ve", room / 1e9, (experts - room) / 1e9);
    else
        snprintf(f->why, sizeof f->why,
                 "the experts%s need %.1f GB of %.1f GB, but %s%s lays them out so that every machine's part "
                 "fits",
                 copies > 1 ? "' copies" : "", experts / 1e9, room / 1e9,
                 q->any_mode ? "no mode" : "not mode ", q->any_mode ? "" : es_layout_mode_name(q->mode));
}

static es_status check(const es_forecast_question *q, es_err *err)
{
    if (q->machine_count < 1 || q->machine_count > ES_MACHINES_MAX)
        return es_err_set(err, ES_INVALID, "%zu machines: 1 to %d are planned for", q->machine_count,
                          ES_MACHINES_MAX);
    if (q->copies < 2 || q->copies > ES_LAYOUT_COPIES_MAX)
        return es_err_set(err, ES_INVALID, "%zu copies: 2 to %d are planned for", q->copies,
                          ES_LAYOUT_COPIES_MAX);
    if (q->coordinators < 1 || q->context < 1 || q->kv_streams < 1)
        return es_err_set(err, ES_INVALID, "coordinators, context and streams are at least 1");
    if (q->shape->experts > ES_EXPERTS_MAX || q->shape->experts_per_token > ES_PAIRS_PER_ROW_MAX)
        return es_err_set(err, ES_INVALID, "%zu experts, %zu a token: too many", q->shape->experts,
                          q->shape->experts_per_token);
    for (size_t i = 0; i < q->machine_count; i++)
        if (q->machines[i].role != ES_ROLE_EXPERTS) return ES_OK;
    return es_err_set(err, ES_INVALID, "no machine may be the coordinator: every role is experts");
}

/* As a coordinator it would do what an earlier machine of the list does. */
static bool seen_before(const es_forecast_question *q, size_t machine)
{
    es_machine m = q->machines[machine];
    bool own_host = strcmp(m.name, m.host) == 0;
    for (size_t i = 0; i < machine; i++) {
        const es_machine *other = &q->machines[i];
        bool hosts = strcmp(m.host, other->host) == 0 || (own_host && strcmp(other->name, other->host) == 0);
        if (hosts && m.role == other->role && m.memory_bytes == other->memory_bytes &&
            m.experts_bytes == other->experts_bytes && m.cores == other->cores &&
            m.read_bytes_per_s == other->read_bytes_per_s && m.int_ops_per_s == other->int_ops_per_s &&
            m.float_ops_per_s == other->float_ops_per_s && m.nic_bytes_per_s == other->nic_bytes_per_s &&
            m.round_trip_s == other->round_trip_s)
            return true;
    }
    return false;
}

es_status es_forecast_make(const es_forecast_question *q, es_forecast *ret_forecast, es_err *err)
{
    es_status status = check(q, err);
    if (status != ES_OK) return status;
    work *w = calloc(1, sizeof *w);
    es_forecast *try = calloc(1, sizeof *try);
    *ret_forecast = (es_forecast){0};
    if (w == NULL || try == NULL)
        status = es_err_set(err, ES_NO_MEMORY, "plan");
    else {
        w->q = q;
        status = es_cost_model_make(q->shape, q->format, q->kv_value_bytes, &w->model, err);
    }
    for (size_t c = 0; c < q->machine_count && status == ES_OK; c++) {
        w->coordinator = c;
        if (!may_coordinate(q, c) || seen_before(q, c)) continue;
        if ((double)q->machines[c].memory_bytes < coordinator_needs(w)) continue;
        find_nodes(w);
        for (int mode = 0; mode < ES_MODE_COUNT; mode++)
            if (modes_of(q, (es_layout_mode)mode) && try_mode(w, (es_layout_mode)mode, try) &&
                merit(try) > merit(ret_forecast) + 1e-9)
                *ret_forecast = *try;
    }
    if (status == ES_OK) {
        for (size_t i = 0; i < q->machine_count; i++) {
            bool first = true;
            for (size_t k = 0; k < i; k++) first = first && !same_host(&q->machines[i], &q->machines[k]);
            if (first) ret_forecast->total_has_bytes += (double)q->machines[i].memory_bytes;
        }
        ret_forecast->total_needs_bytes =
            coordinator_needs(w) + w->model.experts_bytes * (1 + ES_SCRATCH_SHARE) +
            (double)(q->machine_count > 1 ? q->machine_count - 1 : 1) * ES_PROCESS_BYTES;
        if (!ret_forecast->fits) say_why(w, ret_forecast);
    }
    free(w);
    free(try);
    return status;
}
