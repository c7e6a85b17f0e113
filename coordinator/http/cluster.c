/* The cluster's state at a glance, for the web page. */
#include "http/internal.h"

#include "base/clock.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

static json_t *count(size_t value)
{
    return json_integer((json_int_t)value);
}

/* Two digits after the point are enough for people. */
static json_t *real(double value)
{
    return json_real(round(value * 100.0) / 100.0);
}

static size_t moe_layers(const es_shape *s)
{
    size_t layers = 0;
    for (size_t l = 0; l < s->layers; l++) layers += es_shape_layer_is_moe(s, l);
    return layers;
}

static json_t *model_json(const es_http_service *service)
{
    const es_shape *s = &service->model->shape;
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "name", service->model_name, "architecture",
                     s->model_type, "layers", count(s->layers), "moe_layers", count(moe_layers(s)), "experts",
                     count(s->experts), "experts_per_token", count(s->experts_per_token), "context",
                     count(es_engine_context(service->engine)));
}

static json_t *engine_json(es_http *http)
{
    es_engine_stats s;
    es_engine_get_stats(http->service.engine, &s);
    es_engine_rates rates = es_http_samples_engine(http->samples);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "running", count(s.running),
                     "waiting", count(s.waiting), "queued", count(s.queued), "decode_tokens_per_s",
                     real(rates.decode_tokens), "prefill_tokens_per_s", real(rates.prefill_tokens),
                     "kv_pages", count(s.kv_pages), "kv_pages_used", count(s.kv_pages_used), "prompt_tokens",
                     count(s.prompt_tokens), "cache_hit_tokens", count(s.cache_hit_tokens), "uptime_s",
                     count((es_clock_now_ns() - http->started_ns) / 1000000000u));
}

static const char *state_name(es_swarm_node_state state)
{
    switch (state) {
    case ES_SWARM_NODE_UP:
        return "up";
    case ES_SWARM_NODE_PROBING:
        return "probing";
    case ES_SWARM_NODE_LOST:
        break;
    }
    return "lost";
}

static json_t *node_json(es_http *http, const es_swarm_node_info *node)
{
    es_node_rates r = es_http_samples_node(http->samples, node->endpoint);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o}", "name", node->name,
                     "endpoint", node->endpoint, "state", state_name(node->state), "experts",
                     count(node->experts), "threads", count(node->threads), "calls_per_s", real(r.calls),
                     "busy", real(r.busy), "latency_ms", "p50", real(r.p50_ms), "p99", real(r.p99_ms),
                     "bytes_in_per_s", real(r.bytes_in), "bytes_out_per_s", real(r.bytes_out));
}

static json_t *nodes_json(es_http *http)
{
    json_t *list = json_array();
    size_t room = es_engine_get_nodes(http->service.engine, NULL, 0);
    es_swarm_node_info *node = calloc(room > 0 ? room : 1, sizeof *node);
    if (node == NULL) return list;
    size_t there = es_engine_get_nodes(http->service.engine, node, room);
    for (size_t i = 0; i < there && i < room; i++) json_array_append_new(list, node_json(http, &node[i]));
    free(node);
    return list;
}

static json_t *heat_json(const es_http_service *service)
{
    const es_shape *s = &service->model->shape;
    json_t *layers = json_array(), *counts = json_array();
    float *heat = calloc(s->layers * s->experts + 1, sizeof *heat);
    if (heat != NULL) es_engine_get_heat(service->engine, heat);
    for (size_t l = 0; l < s->layers && heat != NULL; l++) {
        if (!es_shape_layer_is_moe(s, l)) continue;
        json_t *row = json_array();
        for (size_t e = 0; e < s->experts; e++)
            json_array_append_new(row, json_integer((json_int_t)lrintf(heat[l * s->experts + e])));
        json_array_append_new(layers, count(l));
        json_array_append_new(counts, row);
    }
    free(heat);
    return json_pack("{s:o, s:o, s:o}", "layers", layers, "experts", count(s->experts), "counts", counts);
}

char *es_http_cluster_json(es_http *http)
{
    json_t *all = json_pack("{s:o, s:o, s:o, s:o}", "model", model_json(&http->service), "engine",
                            engine_json(http), "nodes", nodes_json(http), "heat", heat_json(&http->service));
    json_t *members = es_http_members_json(http);
    if (members != NULL) json_object_set_new(all, "membership", members);
    char *text = all != NULL ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    json_decref(all);
    return text;
}
