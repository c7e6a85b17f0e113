/* A coordinator's GET /cluster as a picture for a terminal. */
#include "cli/cluster_view.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

enum { BAR_WIDTH = 20, NAME_WIDTH = 16, HEAT_COLUMNS_MAX = 64, HEAT_LEVELS = 5, NODE_LINES_MIN = 4 };

static const json_t *at(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(at(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(at(object, key));
    return value != NULL ? value : "?";
}

/* A text of the server's without what a terminal would obey. */
static void put_clean(const char *value, size_t width, FILE *out)
{
    size_t count = 0;
    for (; value[count] != '\0' && count < width; count++)
        fputc((unsigned char)value[count] < 0x20 || value[count] == 0x7f ? '?' : value[count], out);
    for (; count < width; count++) fputc(' ', out);
}

static void put_bar(double share, FILE *out)
{
    size_t full = share <= 0 ? 0 : share >= 1 ? BAR_WIDTH : (size_t)(share * BAR_WIDTH + 0.5);
    for (size_t i = 0; i < BAR_WIDTH; i++) fputs(i < full ? "█" : "░", out);
}

static void put_duration(double seconds, FILE *out)
{
    unsigned long s = seconds > 0 ? (unsigned long)seconds : 0;
    if (s >= 86400)
        fprintf(out, "%lu d %lu h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        fprintf(out, "%lu h %lu min", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        fprintf(out, "%lu min %lu s", s / 60, s % 60);
    else
        fprintf(out, "%lu s", s);
}

static void put_engine(const cluster_view *v, const json_t *cluster, FILE *out)
{
    const json_t *model = at(cluster, "model"), *engine = at(cluster, "engine");
    double pages = number(engine, "kv_pages"), prompt = number(engine, "prompt_tokens");
    put_clean(text(model, "name"), strlen(text(model, "name")), out);
    fprintf(out, " at %s, up ", v->url);
    put_duration(number(engine, "uptime_s"), out);
    fprintf(out, "\nrequests   %.0f running, %.0f waiting, %.0f queued\n", number(engine, "running"),
            number(engine, "waiting"), number(engine, "queued"));
    fprintf(out, "tokens/s   %.1f answers, %.1f prompts\n", number(engine, "decode_tokens_per_s"),
            number(engine, "prefill_tokens_per_s"));
    fputs("KV cache   ", out);
    put_bar(pages > 0 ? number(engine, "kv_pages_used") / pages : 0, out);
    fprintf(out, " %.0f of %.0f pages; %.0f %% of prompt tokens were in it\n\n",
            number(engine, "kv_pages_used"), pages,
            prompt > 0 ? 100 * number(engine, "cache_hit_tokens") / prompt : 0);
}

/* Nodes whose median is twice that of the middle one hold everybody up. */
static int by_value(const void *left, const void *right)
{
    double l = *(const double *)left, r = *(const double *)right;
    return (l > r) - (l < r);
}

static double middle_p50(const json_t *nodes)
{
    size_t count = json_array_size(nodes), used = 0;
    double *p50 = calloc(count + 1, sizeof *p50), middle = 0;
    for (size_t i = 0; i < count && p50 != NULL; i++) {
        double value = number(at(json_array_get(nodes, i), "latency_ms"), "p50");
        if (value > 0) p50[used++] = value;
    }
    if (used > 2) {
        qsort(p50, used, sizeof *p50, by_value);
        middle = p50[used / 2];
    }
    free(p50);
    return middle;
}

/* One that has not said hello yet has no name: where it is sought, at full length. */
static void put_name(const json_t *node, FILE *out)
{
    static const char SCHEME[] = "tcp://";
    const char *name = text(node, "name"), *where = text(node, "endpoint");
    if (strncmp(where, SCHEME, sizeof SCHEME - 1) == 0) where += sizeof SCHEME - 1;
    if (name[0] != '\0')
        put_clean(name, NAME_WIDTH, out);
    else
        put_clean(where, es_size_max(strlen(where), NAME_WIDTH), out);
}

static void put_node(const cluster_view *v, const json_t *node, double middle, FILE *out)
{
    const json_t *latency = at(node, "latency_ms");
    bool up = strcmp(text(node, "state"), "up") == 0,
         late = middle > 0 && number(latency, "p50") > 2 * middle;
    if (v->colours && (!up || late)) fputs(up ? "\033[33m" : "\033[31m", out);
    put_name(node, out);
    fputc(' ', out);
    put_clean(text(node, "state"), 8, out);
    fprintf(out, "%8.0f %9.1f ", number(node, "experts"), number(node, "calls_per_s"));
    put_bar(number(node, "busy"), out);
    fprintf(out, " %8.2f %8.2f %8.2f %8.2f%s", number(latency, "p50"), number(latency, "p99"),
            number(node, "bytes_out_per_s") / 1e6, number(node, "bytes_in_per_s") / 1e6,
            late ? "  late" : "");
    fputs(v->colours && (!up || late) ? "\033[0m\n" : "\n", out);
}

static void put_nodes(const cluster_view *v, const json_t *cluster, size_t lines, FILE *out)
{
    const json_t *nodes = at(cluster, "nodes");
    size_t count = json_array_size(nodes), shown = lines > 0 && count > lines ? lines - 1 : count;
    if (count == 0) {
        fputs("no expert nodes: experts are computed in the coordinator\n", out);
        return;
    }
    double middle = middle_p50(nodes);
    fprintf(out, "%-*s %-8s%8s %9s %-*s %8s %8s %8s %8s\n", NAME_WIDTH, "node", "state", "experts", "calls/s",
            BAR_WIDTH, "busy", "p50 ms", "p99 ms", "to MB/s", "from");
    for (size_t i = 0; i < shown; i++) put_node(v, json_array_get(nodes, i), middle, out);
    if (shown < count) fprintf(out, "… and %zu more\n", count - shown);
}

/* A line for the placement, and one for each member that is not as it should be. */
static void put_membership(const json_t *cluster, FILE *out)
{
    const json_t *m = at(cluster, "membership"), *nodes = at(m, "nodes");
    if (m == NULL) return;
    fprintf(out, "\nplacement  %s in force, %s valid (%s, %.0f cop%s, %s)%s", text(m, "epoch"),
            text(m, "wanted_epoch"), text(m, "mode"), number(m, "copies"),
            number(m, "copies") == 1 ? "y" : "ies", text(m, "placement"),
            json_is_true(at(m, "frozen")) ? "; the registry does not answer" : "");
    if (json_string_length(at(m, "why")) > 0) {
        fputs(": ", out);
        put_clean(text(m, "why"), strlen(text(m, "why")), out);
    }
    fputc('\n', out);
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        if (strcmp(text(node, "phase"), "holds") == 0 && number(node, "surplus") == 0) continue;
        put_clean(text(node, "name"), NAME_WIDTH, out);
        fprintf(out, " %-8s lacks %.0f of %.0f experts, holds %.0f too many  ", text(node, "phase"),
                number(node, "missing"), number(node, "experts"), number(node, "surplus"));
        put_clean(text(node, "why"), strlen(text(node, "why")), out);
        fputc('\n', out);
    }
}

/* One layer: experts side by side, several to a column when there are many. */
static void put_heat_layer(const json_t *layer, const json_t *counts, size_t columns, FILE *out)
{
    static const char *const LEVEL[HEAT_LEVELS] = {" ", "░", "▒", "▓", "█"};
    size_t experts = json_array_size(counts), each = es_size_ceil_div(experts, columns);
    double sum[HEAT_COLUMNS_MAX] = {0}, most = 0, all = 0;
    size_t hottest = 0, used = es_size_ceil_div(experts, each);
    for (size_t e = 0; e < experts; e++) {
        double value = json_number_value(json_array_get(counts, e));
        sum[e / each] += value;
        all += value;
        if (value > json_number_value(json_array_get(counts, hottest))) hottest = e;
    }
    for (size_t c = 0; c < used; c++) most = sum[c] > most ? sum[c] : most;
    fprintf(out, "%5.0f ", json_number_value(layer));
    for (size_t c = 0; c < used; c++) {
        size_t level = most > 0 ? (size_t)(sum[c] / most * (HEAT_LEVELS - 1) + 0.5) : 0;
        fputs(LEVEL[level < HEAT_LEVELS ? level : HEAT_LEVELS - 1], out);
    }
    if (all > 0)
        fprintf(out, " %zu: %.1f %%", hottest,
                100 * json_number_value(json_array_get(counts, hottest)) / all);
    fputc('\n', out);
}

static void put_heat(const cluster_view *v, const json_t *cluster, size_t lines, FILE *out)
{
    const json_t *heat = at(cluster, "heat"), *layers = at(heat, "layers"), *counts = at(heat, "counts");
    size_t count = json_array_size(layers), shown = lines > 0 && count > lines ? lines : count;
    size_t columns = es_size_min(v->columns > 40 ? v->columns - 24 : 16, HEAT_COLUMNS_MAX);
    if (count == 0) return;
    fputs("\nlayer  where its rows went in the last minute, and its hottest expert\n", out);
    for (size_t i = 0; i < shown; i++)
        put_heat_layer(json_array_get(layers, i), json_array_get(counts, i), columns, out);
}

void cluster_view_write(const cluster_view *v, const json_t *cluster, FILE *out)
{
    size_t nodes = json_array_size(at(cluster, "nodes")), above = 7, node_lines = 0, heat_lines = 0;
    if (v->lines > 0) {
        size_t room = v->lines > above + NODE_LINES_MIN ? v->lines - above : NODE_LINES_MIN;
        node_lines = es_size_min(nodes, room);
        heat_lines = room > node_lines + 3 ? room - node_lines - 3 : 0;
    }
    put_engine(v, cluster, out);
    put_nodes(v, cluster, node_lines, out);
    if (v->lines == 0) put_membership(cluster, out);
    if (v->heat && (v->lines == 0 || heat_lines > 0)) put_heat(v, cluster, heat_lines, out);
}
