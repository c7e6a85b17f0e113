/* What /metrics shows. Names are a promise to dashboards: docs/metrics.md lists them. */
#include "http/exposition.h"
#include "http/internal.h"

#include "base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const unsigned CODES[] = {200, 204, 304, 400, 401, 403, 404, 405, 408,
                                 409, 413, 422, 429, 431, 499, 500, 503};
enum { CODE_COUNT = sizeof CODES / sizeof CODES[0] }; /* and one more for all others */
_Static_assert(sizeof CODES / sizeof CODES[0] < (size_t)ES_HTTP_CODES_MAX,
               "a count for each code and one more");

void es_http_counts_init(es_http_counts *c)
{
    ES_ASSERT(es_http_path_label_count() <= ES_HTTP_LABELS_MAX);
    pthread_mutex_init(&c->lock, NULL);
    for (size_t i = 0; i < ES_HTTP_LABELS_MAX; i++) c->seconds[i].bounds = &ES_BOUNDS_SECONDS;
}

void es_http_counts_add(es_http_counts *c, const char *path, unsigned status, double seconds)
{
    size_t label = es_http_path_label_index(path), code = 0;
    while (code < CODE_COUNT && CODES[code] != status) code++;
    pthread_mutex_lock(&c->lock);
    c->requests[label][code]++;
    es_histogram_add(&c->seconds[label], seconds);
    pthread_mutex_unlock(&c->lock);
}

/* Families of one value without labels. */
static void gauge(es_buffer *out, const char *name, const char *help, double value)
{
    es_metric_family(out, name, "gauge", help);
    es_metric_value(out, name, NULL, value);
}

static void counter(es_buffer *out, const char *name, const char *help, double value)
{
    es_metric_family(out, name, "counter", help);
    es_metric_value(out, name, NULL, value);
}

static void histogram(es_buffer *out, const char *name, const char *help, const es_histogram *h)
{
    es_metric_family(out, name, "histogram", help);
    es_metric_histogram(out, name, NULL, h);
}

static void write_requests(es_http *http, es_buffer *out)
{
    static const char REQUESTS[] = "essaim_http_requests_total", SECONDS[] = "essaim_http_request_seconds";
    es_http_counts *c = &http->counts;
    pthread_mutex_lock(&c->lock);
    es_metric_family(out, REQUESTS, "counter",
                     "Requests by path and status; 499: the client left, 408: it was too slow.");
    for (size_t label = 0; label < es_http_path_label_count(); label++)
        for (size_t code = 0; code <= CODE_COUNT; code++) {
            char text[8] = "other";
            if (code < CODE_COUNT) snprintf(text, sizeof text, "%u", CODES[code]);
            const es_metric_label labels[] = {
                {"path", es_http_path_label_at(label)}, {"code", text}, {NULL, NULL}};
            if (c->requests[label][code] > 0)
                es_metric_value(out, REQUESTS, labels, (double)c->requests[label][code]);
        }
    es_metric_family(out, SECONDS, "histogram", "From a request's first line to the end of its answer.");
    for (size_t label = 0; label < es_http_path_label_count(); label++) {
        const es_metric_label labels[] = {{"path", es_http_path_label_at(label)}, {NULL, NULL}};
        if (c->seconds[label].count > 0) es_metric_histogram(out, SECONDS, labels, &c->seconds[label]);
    }
    pthread_mutex_unlock(&c->lock);
    gauge(out, "essaim_http_requests_in_flight", "Requests being received or answered.",
          (double)atomic_load(&http->in_flight));
    gauge(out, "essaim_http_calls_in_flight", "Calls of the API being answered.",
          (double)atomic_load(&http->calls));
    gauge(out, "essaim_http_connections", "Open connections.", (double)es_http_watch_count(http->watch));
    counter(out, "essaim_http_connections_cut_total",
            "Connections closed because their request came too slowly.",
            (double)es_http_watch_cut_count(http->watch));
    gauge(out, "essaim_http_body_bytes", "Memory held by bodies being received.",
          (double)atomic_load(&http->budget.held));
}

static void write_answers(const es_engine_stats *s, es_buffer *out)
{
    static const char ANSWERS[] = "essaim_answers_total";
    const struct {
        const char *name;
        uint64_t count;
    } outcome[] = {
        {"stop", s->stopped}, {"length", s->length}, {"cancelled", s->cancelled}, {"failed", s->failed}};
    es_metric_family(out, ANSWERS, "counter", "Answers by how they ended.");
    for (size_t i = 0; i < sizeof outcome / sizeof outcome[0]; i++) {
        const es_metric_label labels[] = {{"outcome", outcome[i].name}, {NULL, NULL}};
        es_metric_value(out, ANSWERS, labels, (double)outcome[i].count);
    }
    counter(out, "essaim_requests_refused_total", "Requests for which the queue had no room.",
            (double)s->refused);
    gauge(out, "essaim_requests_queued", "Requests that wait for their first step.", (double)s->queued);
    gauge(out, "essaim_answers_waiting", "Answers that wait for their turn or for memory.",
          (double)s->waiting);
    gauge(out, "essaim_answers_running", "Answers being computed.", (double)s->running);
    counter(out, "essaim_preemptions_total", "Answers that gave their memory back for a while.",
            (double)s->preemptions);
}

static void write_engine(const es_engine_stats *s, es_buffer *out)
{
    counter(out, "essaim_steps_total", "Forward passes.", (double)s->steps);
    counter(out, "essaim_prefill_tokens_total", "Tokens of prompts computed.", (double)s->prefill_tokens);
    counter(out, "essaim_decode_tokens_total", "Tokens of answers computed.", (double)s->decode_tokens);
    counter(out, "essaim_prompt_tokens_total", "Tokens of prompts that began.", (double)s->prompt_tokens);
    counter(out, "essaim_cache_hit_tokens_total", "Tokens of prompts found in the prefix cache.",
            (double)s->cache_hit_tokens);
    gauge(out, "essaim_kv_pages", "Pages of the KV cache.", (double)s->kv_pages);
    gauge(out, "essaim_kv_pages_used", "Pages held by answers and by the prefix cache.",
          (double)s->kv_pages_used);
    gauge(out, "essaim_kv_pages_idle", "Pages that the prefix cache alone holds.", (double)s->kv_pages_idle);
    gauge(out, "essaim_kv_page_bytes", "Bytes of a page.", (double)s->kv_page_bytes);
    histogram(out, "essaim_queue_seconds", "From a request's arrival to its first step.", &s->queue_seconds);
    histogram(out, "essaim_time_to_first_token_seconds", "From a request's arrival to its first token.",
              &s->first_token_seconds);
    histogram(out, "essaim_time_per_token_seconds", "Between a token and the next of one answer.",
              &s->token_seconds);
    histogram(out, "essaim_step_seconds", "A forward pass.", &s->step_seconds);
    histogram(out, "essaim_step_rows", "Rows of a forward pass.", &s->step_rows);
    histogram(out, "essaim_step_decode_rows", "Rows of running answers in a forward pass that has any.",
              &s->decode_rows);
    histogram(out, "essaim_step_prefill_rows", "Rows of prompts in a forward pass that has any.",
              &s->prefill_rows);
}

/* One family of all nodes. */
typedef struct node_family {
    const char *name, *type, *help;
    double (*value)(const es_swarm_node_info *node);
} node_family;

static double node_up(const es_swarm_node_info *n)
{
    return n->state == ES_SWARM_NODE_UP;
}

static double node_experts(const es_swarm_node_info *n)
{
    return (double)n->experts;
}

static double node_calls(const es_swarm_node_info *n)
{
    return (double)n->calls;
}

static double node_compute(const es_swarm_node_info *n)
{
    return (double)n->compute_ns * 1e-9;
}

static double node_in(const es_swarm_node_info *n)
{
    return (double)n->bytes_in;
}

static double node_out(const es_swarm_node_info *n)
{
    return (double)n->bytes_out;
}

static void write_nodes(const es_swarm_node_info *node, size_t count, es_buffer *out)
{
    static const char LATENCY[] = "essaim_node_call_seconds";
    static const node_family FAMILIES[] = {
        {"essaim_node_up", "gauge", "1 while the node answers.", node_up},
        {"essaim_node_experts", "gauge", "Experts that the node holds, of all layers.", node_experts},
        {"essaim_node_calls_total", "counter", "Calls that the node answered.", node_calls},
        {"essaim_node_compute_seconds_total", "counter", "Time that the node computed for these calls.",
         node_compute},
        {"essaim_node_received_bytes_total", "counter", "Bytes that came from the node.", node_in},
        {"essaim_node_sent_bytes_total", "counter", "Bytes that went to the node.", node_out},
    };
    for (size_t f = 0; f < sizeof FAMILIES / sizeof FAMILIES[0]; f++) {
        es_metric_family(out, FAMILIES[f].name, FAMILIES[f].type, FAMILIES[f].help);
        for (size_t i = 0; i < count; i++) {
            const es_metric_label labels[] = {
                {"node", node[i].name}, {"endpoint", node[i].endpoint}, {NULL, NULL}};
            es_metric_value(out, FAMILIES[f].name, labels, FAMILIES[f].value(&node[i]));
        }
    }
    es_metric_family(out, LATENCY, "histogram", "From sending a call to the node until its reply is there.");
    for (size_t i = 0; i < count; i++) {
        const es_metric_label labels[] = {
            {"node", node[i].name}, {"endpoint", node[i].endpoint}, {NULL, NULL}};
        es_metric_buckets(out, LATENCY, labels, ES_SWARM_LATENCY_BOUND, ES_SWARM_LATENCY_BOUNDS,
                          node[i].latency_bucket, node[i].latency_seconds);
    }
}

static double node_refused(const es_swarm_node_info *n)
{
    return (double)n->refused;
}

static double node_malformed(const es_swarm_node_info *n)
{
    return (double)n->malformed;
}

/* Without a registry nobody is a member; what nodes count of themselves has the same names. */
static void write_watched(const es_swarm_node_info *node, size_t count, es_buffer *out)
{
    static const node_family FAMILIES[] = {
        {ES_METRIC_REFUSED, "counter", ES_METRIC_REFUSED_HELP, node_refused},
        {ES_METRIC_MALFORMED, "counter", ES_METRIC_MALFORMED_HELP, node_malformed},
    };
    for (size_t f = 0; f < sizeof FAMILIES / sizeof FAMILIES[0]; f++) {
        es_metric_family(out, FAMILIES[f].name, FAMILIES[f].type, FAMILIES[f].help);
        for (size_t i = 0; i < count; i++) {
            const es_metric_label labels[] = {{"node", node[i].name}, {NULL, NULL}};
            if (node[i].watched) es_metric_value(out, FAMILIES[f].name, labels, FAMILIES[f].value(&node[i]));
        }
    }
}

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    if (dir == NULL) return 0;
    for (const struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* the folder's own */
}

/* The standard names, so that everybody's dashboards fit. */
static void write_process(const es_http *http, es_buffer *out)
{
    unsigned long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%lu %lu", &pages, &resident) != 2) pages = resident = 0;
        fclose(file);
    }
    double page_bytes = (double)sysconf(_SC_PAGESIZE);
    struct rusage used;
    struct rlimit limit;
    getrusage(RUSAGE_SELF, &used);
    getrlimit(RLIMIT_NOFILE, &limit);
    counter(out, "process_cpu_seconds_total", "Time of all processors.",
            (double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec +
                (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6);
    gauge(out, "process_resident_memory_bytes", "Memory in use.", (double)resident * page_bytes);
    gauge(out, "process_virtual_memory_bytes", "Address space in use.", (double)pages * page_bytes);
    gauge(out, "process_open_fds", "Open descriptors.", (double)open_descriptors());
    gauge(out, "process_max_fds", "Descriptors that may be open.", (double)limit.rlim_cur);
    gauge(out, "process_start_time_seconds", "When the server started, in seconds since 1970.",
          (double)time(NULL) - (double)(es_clock_now_ns() - http->started_ns) * 1e-9);
}

void es_http_metrics_write(es_http *http, es_buffer *out)
{
    static const char BUILD[] = "essaim_build_info", MODEL[] = "essaim_model_info";
    const es_metric_label build[] = {{"version", ESSAIM_VERSION}, {NULL, NULL}};
    es_http_state state = (es_http_state)atomic_load(&http->state);
    es_metric_family(out, BUILD, "gauge", "Always 1; the label says what runs.");
    es_metric_value(out, BUILD, build, 1.0);
    gauge(out, "essaim_ready", "1 while requests are taken.", state == ES_HTTP_SERVING);
    write_process(http, out);
    write_requests(http, out);
    es_http_members_metrics(http, out);
    if (state == ES_HTTP_LOADING) return;
    const es_http_service *service = &http->service;
    const es_metric_label model[] = {
        {"model", service->model_name}, {"architecture", service->model->shape.model_type}, {NULL, NULL}};
    es_metric_family(out, MODEL, "gauge", "Always 1; the labels say what is served.");
    es_metric_value(out, MODEL, model, 1.0);
    es_engine_stats stats;
    es_engine_get_stats(service->engine, &stats);
    write_answers(&stats, out);
    write_engine(&stats, out);
    size_t room = es_engine_get_nodes(service->engine, NULL, 0);
    es_swarm_node_info *node = calloc(room > 0 ? room : 1, sizeof *node);
    if (node == NULL) return;
    size_t there = es_engine_get_nodes(service->engine, node, room);
    write_nodes(node, there < room ? there : room, out);
    if (atomic_load(&http->members) == NULL) write_watched(node, there < room ? there : room, out);
    free(node);
}
