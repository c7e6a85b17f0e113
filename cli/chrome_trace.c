/* Spans from JSON, and out again for the viewer. */
#include "cli/chrome_trace.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

enum {
    SPANS_MAX = 8 * 1024 * 1024,
    FIELDS = 7,
    COORDINATOR = 1, /* processes: the coordinator, then the nodes */
    LANES = 8,       /* a node's calls that overlap */
    SLOWEST = 3,
    LAYERS_MAX = 65536
};

static es_status make_room(chrome_trace *t, size_t more, es_err *err)
{
    size_t needed = t->count + more;
    if (needed <= t->room) return ES_OK;
    if (needed > SPANS_MAX)
        return es_err_set(err, ES_NO_MEMORY, "more than %d spans; ask for fewer seconds", SPANS_MAX);
    size_t room = es_size_max(2 * t->room, needed);
    es_span *spans = realloc(t->spans, room * sizeof *spans);
    if (spans == NULL) return es_err_set(err, ES_NO_MEMORY, "%zu spans", room);
    t->spans = spans;
    t->room = room;
    return ES_OK;
}

/* [stage, start_ns, duration_ns, step, layer or rows, node or answers, compute_ns] */
static bool read_span(const json_t *list, size_t nodes, es_span *ret_span)
{
    uint64_t value[FIELDS];
    if (json_array_size(list) != FIELDS) return false;
    for (size_t i = 0; i < FIELDS; i++) {
        const json_t *number = json_array_get(list, i);
        if (!json_is_integer(number) || json_integer_value(number) < 0) return false;
        value[i] = (uint64_t)json_integer_value(number);
    }
    bool step = value[0] == ES_STAGE_STEP;
    *ret_span = (es_span){.stage = (uint8_t)value[0],
                          .start_ns = value[1],
                          .duration_ns = value[2],
                          .step = value[3],
                          .compute_ns = value[6] < value[2] ? value[6] : value[2]};
    if (step) {
        ret_span->rows = (uint32_t)value[4];
        ret_span->answers = (uint32_t)value[5];
    } else {
        ret_span->layer = (uint16_t)value[4];
        ret_span->node = (uint16_t)value[5];
    }
    return value[0] < ES_STAGE_COUNT && value[4] <= UINT16_MAX && value[5] <= UINT16_MAX &&
           (value[0] != ES_STAGE_CALL || value[5] < nodes);
}

static es_status read_nodes(chrome_trace *t, const json_t *list, es_err *err)
{
    size_t count = es_size_min(json_array_size(list), ES_TRACE_NODES_MAX);
    if (count <= t->node_count) return ES_OK;
    void *nodes = realloc(t->nodes, count * sizeof *t->nodes);
    if (nodes == NULL) return es_err_set(err, ES_NO_MEMORY, "%zu nodes", count);
    t->nodes = nodes;
    for (; t->node_count < count; t->node_count++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, t->node_count), "name"));
        snprintf(t->nodes[t->node_count], ES_TRACE_NODE_TEXT, "%s", name != NULL ? name : "?");
    }
    return ES_OK;
}

es_status chrome_trace_add(chrome_trace *t, const json_t *answer, uint64_t *ret_next, size_t *ret_some,
                           es_err *err)
{
    const json_t *spans = json_object_get(answer, "spans"), *next = json_object_get(answer, "next");
    size_t count = json_array_size(spans);
    if (!json_is_array(spans) || !json_is_integer(next))
        return es_err_set(err, ES_CORRUPT, "the answer is no trace: another version's server?");
    es_status status = read_nodes(t, json_object_get(answer, "nodes"), err);
    if (status == ES_OK) status = make_room(t, count, err);
    for (size_t i = 0; i < count && status == ES_OK; i++)
        if (read_span(json_array_get(spans, i), t->node_count, &t->spans[t->count]))
            t->count++;
        else
            status =
                es_err_set(err, ES_CORRUPT, "span %zu of the trace is none: another version's server?", i);
    *ret_next = (uint64_t)json_integer_value(next);
    *ret_some = count;
    t->lost += (uint64_t)json_integer_value(json_object_get(answer, "lost"));
    t->left_out = (uint64_t)json_integer_value(json_object_get(answer, "left_out"));
    return status;
}

void chrome_trace_fini(chrome_trace *t)
{
    free(t->spans);
    free(t->nodes);
    *t = (chrome_trace){0};
}

/* What lasts longer comes first, so that what is within it follows. */
static int by_start(const void *a, const void *b)
{
    const es_span *p = a, *q = b;
    if (p->start_ns != q->start_ns) return p->start_ns < q->start_ns ? -1 : 1;
    return (p->duration_ns < q->duration_ns) - (p->duration_ns > q->duration_ns);
}

static void write_name(FILE *out, const char *what, size_t process, size_t thread, const char *name)
{
    json_t *text = json_string(name);
    char *quoted = text != NULL ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    fprintf(out, "{\"ph\":\"M\",\"name\":\"%s\",\"pid\":%zu,\"tid\":%zu,\"args\":{\"name\":%s}},\n", what,
            process, thread, quoted != NULL ? quoted : "\"?\"");
    free(quoted);
    json_decref(text);
}

static void write_names(const chrome_trace *t, FILE *out)
{
    write_name(out, "process_name", COORDINATOR, 0, "coordinator");
    for (size_t s = 0; s < ES_STAGE_CALL; s++)
        write_name(out, "thread_name", COORDINATOR, s + 1, ES_STAGE_NAMES[s]);
    for (size_t n = 0; n < t->node_count; n++) {
        char name[ES_TRACE_NODE_TEXT + 8];
        snprintf(name, sizeof name, "node %s", t->nodes[n]);
        write_name(out, "process_name", COORDINATOR + 1 + n, 0, name);
        write_name(out, "thread_name", COORDINATOR + 1 + n, 1, "calls");
    }
}

/* A complete event; times in microseconds since base_ns. The caller adds args. */
static void write_event(FILE *out, const char *name, size_t process, size_t thread, uint64_t start_ns,
                        uint64_t duration_ns)
{
    fprintf(out,
            "{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%zu,\"tid\":%zu,\"ts\":%.3f,\"dur\":%.3f,",
            name, process == COORDINATOR ? "stage" : "call", process, thread, (double)start_ns * 1e-3,
            (double)duration_ns * 1e-3);
}

/* The first of the node's lanes that is free by then; a lane's spans never overlap. */
static size_t lane_of(uint64_t (*ends)[LANES], const es_span *s)
{
    size_t lane = 0;
    while (lane < LANES - 1 && ends[s->node][lane] > s->start_ns) lane++;
    ends[s->node][lane] = s->start_ns + s->duration_ns;
    return lane;
}

/* The node's own clock is not ours: its computing is shown in the middle of the call. */
static void write_call(FILE *out, const es_span *s, uint64_t base_ns, size_t lane, bool last)
{
    size_t process = COORDINATOR + 1 + s->node;
    uint64_t start_ns = s->start_ns - base_ns;
    write_event(out, "call", process, lane + 1, start_ns, s->duration_ns);
    fprintf(out, "\"args\":{\"step\":%llu,\"layer\":%u}},\n", (unsigned long long)s->step,
            (unsigned)s->layer);
    write_event(out, "compute", process, lane + 1, start_ns + (s->duration_ns - s->compute_ns) / 2,
                s->compute_ns);
    fprintf(out, "\"args\":{\"step\":%llu,\"layer\":%u}}%s\n", (unsigned long long)s->step,
            (unsigned)s->layer, last ? "" : ",");
}

static void write_stage(FILE *out, const es_span *s, uint64_t base_ns, bool last)
{
    bool step = s->stage == ES_STAGE_STEP;
    write_event(out, ES_STAGE_NAMES[s->stage], COORDINATOR, s->stage + 1u, s->start_ns - base_ns,
                s->duration_ns);
    fprintf(out, "\"args\":{\"step\":%llu,", (unsigned long long)s->step);
    if (step)
        fprintf(out, "\"rows\":%u,\"answers\":%u}}", s->rows, s->answers);
    else
        fprintf(out, "\"layer\":%u}}", (unsigned)s->layer);
    fputs(last ? "\n" : ",\n", out);
}

es_status chrome_trace_write(chrome_trace *t, FILE *out, es_err *err)
{
    uint64_t(*ends)[LANES] = calloc(es_size_max(t->node_count, 1), sizeof *ends);
    if (ends == NULL) return es_err_set(err, ES_NO_MEMORY, "%zu nodes", t->node_count);
    if (t->count > 1) qsort(t->spans, t->count, sizeof *t->spans, by_start);
    uint64_t base_ns = t->count > 0 ? t->spans[0].start_ns : 0;
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", out);
    write_names(t, out);
    for (size_t i = 0; i < t->count; i++) {
        const es_span *s = &t->spans[i];
        bool last = i + 1 == t->count;
        if (s->stage == ES_STAGE_CALL)
            write_call(out, s, base_ns, lane_of(ends, s), last);
        else
            write_stage(out, s, base_ns, last);
    }
    if (t->count == 0) /* the list's last comma */
        fputs("{\"ph\":\"M\",\"name\":\"process_sort_index\",\"pid\":1,\"tid\":0,\"args\":{\"sort_index\":0}}"
              "\n",
              out);
    fprintf(out, "],\"otherData\":{\"lost\":%llu,\"left_out\":%llu}}\n", (unsigned long long)t->lost,
            (unsigned long long)t->left_out);
    free(ends);
    return ES_OK;
}

static void summarise_stages(const chrome_trace *t, FILE *out)
{
    double total_ns[ES_STAGE_COUNT] = {0}, step_ns;
    size_t steps = 0;
    for (size_t i = 0; i < t->count; i++) {
        total_ns[t->spans[i].stage] += (double)t->spans[i].duration_ns;
        steps += t->spans[i].stage == ES_STAGE_STEP;
    }
    step_ns = total_ns[ES_STAGE_STEP];
    fprintf(out, "%zu steps of %.3f ms\n", steps, steps > 0 ? step_ns * 1e-6 / (double)steps : 0.0);
    for (size_t s = ES_STAGE_EMBED; s < ES_STAGE_CALL && steps > 0; s++)
        if (total_ns[s] > 0)
            fprintf(out, "  %-10s %8.3f ms a step %5.1f %%\n", ES_STAGE_NAMES[s],
                    total_ns[s] * 1e-6 / (double)steps, 100 * total_ns[s] / (step_ns > 0 ? step_ns : 1));
}

static void summarise_nodes(const chrome_trace *t, FILE *out)
{
    for (size_t n = 0; n < t->node_count; n++) {
        double calls = 0, there_ns = 0, compute_ns = 0;
        for (size_t i = 0; i < t->count; i++) {
            const es_span *s = &t->spans[i];
            if (s->stage != ES_STAGE_CALL || s->node != n) continue;
            calls++;
            there_ns += (double)s->duration_ns;
            compute_ns += (double)s->compute_ns;
        }
        if (calls > 0)
            fprintf(out, "  node %-10s %6.0f calls of %.3f ms, of which it computed %.3f ms\n", t->nodes[n],
                    calls, there_ns * 1e-6 / calls, compute_ns * 1e-6 / calls);
    }
}

static void summarise_layers(const chrome_trace *t, FILE *out)
{
    double *wait_ns = calloc(LAYERS_MAX, sizeof *wait_ns);
    if (wait_ns == NULL) return; /* the figures above stand without it */
    for (size_t i = 0; i < t->count; i++)
        if (t->spans[i].stage == ES_STAGE_WAIT) wait_ns[t->spans[i].layer] += (double)t->spans[i].duration_ns;
    for (size_t rank = 0; rank < SLOWEST; rank++) {
        size_t most = 0;
        for (size_t l = 1; l < LAYERS_MAX; l++)
            if (wait_ns[l] > wait_ns[most]) most = l;
        if (wait_ns[most] == 0) break;
        fprintf(out, "  layer %zu waited %.3f ms in all\n", most, wait_ns[most] * 1e-6);
        wait_ns[most] = 0;
    }
    free(wait_ns);
}

void chrome_trace_summarise(const chrome_trace *t, FILE *out)
{
    summarise_stages(t, out);
    summarise_nodes(t, out);
    summarise_layers(t, out);
    if (t->lost > 0)
        fprintf(out, "  %llu spans were forgotten before they were read\n", (unsigned long long)t->lost);
    if (t->left_out > 0)
        fprintf(out, "  %llu spans did not fit into their steps\n", (unsigned long long)t->left_out);
}
