/* What each expert shard is to hold: equal parts, or as a file says. */
#include "cli/placement_file.h"

#include "base/file.h"
#include "weights/json.h"
#include "weights/shard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20 };

/* Room for one range a layer and node. */
static es_status make(const es_shape *shape, size_t nodes, cli_shares *to, es_err *err)
{
    *to = (cli_shares){.nodes = nodes,
                       .shares = calloc(nodes + 1, sizeof *to->shares),
                       .units = calloc(nodes * shape->layers + 1, sizeof *to->units)};
    if (to->shares == NULL || to->units == NULL) return es_err_set(err, ES_NO_MEMORY, "placement");
    for (size_t n = 0; n < nodes; n++) to->shares[n].units = to->units + n * shape->layers;
    return ES_OK;
}

/* Node n holds, of every layer with experts, what of says. */
static void give(const es_shape *shape, cli_shares *to, size_t n, es_units of)
{
    es_units *units = to->units + n * shape->layers;
    for (size_t l = 0; l < shape->layers; l++) {
        if (!es_shape_layer_is_moe(shape, l)) continue;
        of.layer = (uint32_t)l;
        units[to->shares[n].unit_count++] = of;
    }
}

es_status cli_shares_equal(const es_shape *shape, size_t nodes, cli_shares *ret_shares, es_err *err)
{
    if (shape->experts == 0) nodes = 0;
    if (nodes > shape->experts)
        return es_err_set(err, ES_INVALID, "placement: %zu parts, but a layer has %zu experts", nodes,
                          shape->experts);
    es_status status = make(shape, nodes, ret_shares, err);
    for (size_t n = 0; n < nodes && status == ES_OK; n++) {
        /* the experts e with floor(e * nodes / experts) == n, as es_placement_part has them */
        size_t first = (n * shape->experts + nodes - 1) / nodes,
               end = ((n + 1) * shape->experts + nodes - 1) / nodes;
        give(shape, ret_shares, n, (es_units){0, (uint32_t)first, (uint32_t)(end - first), 0, 1});
    }
    return status;
}

/* The first expert that node n does not hold: shares up to n of all, rounded to the nearest. */
static size_t end_of(double shares_to, double shares_all, size_t experts)
{
    return (size_t)(shares_to / shares_all * (double)experts + 0.5);
}

static es_status read_shares(const char *path, const json_t *shares, double *ret_ends, es_err *err)
{
    double sum = 0;
    for (size_t n = 0; n < json_array_size(shares); n++) {
        const json_t *share = json_array_get(shares, n);
        double value = json_number_value(share);
        if (!json_is_number(share) || !(value > 0 && value <= 1e6))
            return es_err_set(err, ES_INVALID, "%s: shares[%zu]: not a number above 0 and up to 1e6", path,
                              n);
        ret_ends[n] = sum += value;
    }
    return ES_OK;
}

static es_status place_shares(const char *path, const json_t *shares, const es_shape *shape, cli_shares *to,
                              es_err *err)
{
    double ends[ES_SHARDS_MAX] = {0};
    size_t nodes = json_array_size(shares), first = 0;
    if (!json_is_array(shares) || nodes < 1 || nodes > ES_SHARDS_MAX)
        return es_err_set(err, ES_INVALID, "%s: shares: not a list of 1 to %d numbers", path, ES_SHARDS_MAX);
    es_status status = make(shape, nodes, to, err);
    if (status == ES_OK) status = read_shares(path, shares, ends, err);
    for (size_t n = 0; n < nodes && status == ES_OK; n++) {
        size_t end = end_of(ends[n], ends[nodes - 1], shape->experts);
        if (end <= first)
            return es_err_set(err, ES_INVALID, "%s: shares[%zu]: too small for one of %zu experts", path, n,
                              shape->experts);
        give(shape, to, n, (es_units){0, (uint32_t)first, (uint32_t)(end - first), 0, 1});
        first = end;
    }
    return status;
}

static es_status place_slices(const char *path, const json_t *slices, const es_shape *shape, cli_shares *to,
                              es_err *err)
{
    size_t chunks = es_chunks_of(shape->expert_intermediate);
    json_int_t count = json_integer_value(slices);
    if (count < 1 || (size_t)count > chunks || count > ES_SHARDS_MAX)
        return es_err_set(err, ES_INVALID,
                          "%s: slices: not 1 to %zu: experts of %zu columns are cut at multiples of %d", path,
                          chunks, shape->expert_intermediate, ES_CHUNK_COLUMNS);
    size_t nodes = (size_t)count;
    es_status status = make(shape, nodes, to, err);
    for (size_t n = 0; n < nodes && status == ES_OK; n++)
        give(shape, to, n, (es_units){0, 0, (uint32_t)shape->experts, (uint32_t)n, (uint32_t)nodes});
    return status;
}

static es_status place(const char *path, json_t *object, const es_shape *shape, cli_shares *to, es_err *err)
{
    const json_t *shares = json_object_get(object, "shares"), *slices = json_object_get(object, "slices");
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) if (value != shares && value != slices) return es_err_set(
        err, ES_INVALID, "%s: %s: not known; shares and slices are", path, key);
    if ((shares == NULL) == (slices == NULL))
        return es_err_set(err, ES_INVALID, "%s: states shares or slices, one of the two", path);
    if (shape->experts == 0) return es_err_set(err, ES_INVALID, "%s: the model has no routed experts", path);
    return shares != NULL ? place_shares(path, shares, shape, to, err)
                          : place_slices(path, slices, shape, to, err);
}

es_status cli_shares_read(const char *path, const es_shape *shape, cli_shares *ret_shares, es_err *err)
{
    char *text;
    size_t bytes;
    json_t *object;
    *ret_shares = (cli_shares){0};
    es_status status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_json_parse(&(es_json_text){path, text, bytes}, &object, err);
    free(text);
    if (status != ES_OK) return status;
    status = place(path, object, shape, ret_shares, err);
    json_decref(object);
    return status;
}

void cli_shares_fini(cli_shares *shares)
{
    free(shares->shares);
    free(shares->units);
    *shares = (cli_shares){0};
}
