/* essaim trace: where a coordinator's steps spend their time, for Chrome's trace viewer. */
#include "base/clock.h"
#include "base/signals.h"
#include "cli/chrome_trace.h"
#include "cli/commands.h"
#include "cli/fetch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

enum { POLL_MS = 200, FULL = 8192 };

typedef struct trace_values {
    cli_server server;
    const char *out;
    double seconds;
} trace_values;

/* after: as the server takes it. */
static es_status fetch(const cli_server *server, const char *after, chrome_trace *trace, uint64_t *ret_next,
                       size_t *ret_some, es_err *err)
{
    char path[64];
    long code = 0;
    json_t *answer = NULL;
    snprintf(path, sizeof path, "/cluster/trace?after=%s", after);
    es_status status = cli_fetch_json(server, path, &code, &answer, err);
    if (status != ES_OK) return status;
    const char *message = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    if (code != 200)
        status = es_err_set(err, ES_UNAVAILABLE, "%s/cluster/trace: HTTP %ld: %.200s", server->url, code,
                            message != NULL ? message : "no reason given");
    else
        status = chrome_trace_add(trace, answer, ret_next, ret_some, err);
    json_decref(answer);
    return status;
}

/* What there is from number next on; more is recorded meanwhile, but not as fast as it is read. */
static es_status fetch_all(const cli_server *server, uint64_t *next, chrome_trace *trace, es_err *err)
{
    size_t some = FULL;
    es_status status = ES_OK;
    while (some >= FULL && status == ES_OK && !es_signals_stop_asked()) {
        char after[24];
        snprintf(after, sizeof after, "%" PRIu64, *next);
        status = fetch(server, after, trace, next, &some, err);
    }
    return status;
}

static es_status record(const cli_server *server, double seconds, chrome_trace *trace, es_err *err)
{
    uint64_t next = 0, until_ns = es_clock_now_ns() + (uint64_t)(seconds * 1e9);
    size_t some = 0;
    es_status status = seconds > 0 ? fetch(server, "next", trace, &next, &some, err) : ES_OK;
    while (status == ES_OK && es_clock_left_ms(until_ns) > 0 && !es_signals_stop_asked()) {
        int left_ms = es_clock_left_ms(until_ns);
        poll(&(struct pollfd){es_signals_fd(), POLLIN, 0}, 1, left_ms < POLL_MS ? left_ms : POLL_MS);
        status = fetch_all(server, &next, trace, err);
    }
    return status == ES_OK && seconds == 0 ? fetch_all(server, &next, trace, err) : status;
}

static es_status write_file(const char *path, chrome_trace *trace, es_err *err)
{
    FILE *out = fopen(path, "w");
    if (out == NULL) return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
    es_status status = chrome_trace_write(trace, out, err);
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
    return status;
}

static es_status run_trace(const void *arg, es_err *err)
{
    const trace_values *v = arg;
    chrome_trace trace = {0};
    es_status status = es_signals_start(err);
    if (status == ES_OK) status = record(&v->server, v->seconds, &trace, err);
    if (status == ES_OK) status = write_file(v->out, &trace, err);
    if (status == ES_OK) {
        printf("%s: %zu spans of ", v->out, trace.count);
        chrome_trace_summarise(&trace, stdout);
    }
    chrome_trace_fini(&trace);
    return status;
}

static const es_option OPTIONS[] = {
    {.name = "--out",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .required = true,
     .at = offsetof(trace_values, out),
     .help = "write the trace there; chrome://tracing and ui.perfetto.dev open it"},
    {.name = "--seconds",
     .kind = ES_OPTION_REAL,
     .argument = "N",
     .at = offsetof(trace_values, seconds),
     .real_max = 3600,
     .initial = "0",
     .unit = "s",
     .help = "record for so long; 0: the last steps that the coordinator remembers"},
};
static const es_option_set SETS[] = {
    {.heading = "Server",
     .options = CLI_SERVER_OPTIONS,
     .count = CLI_SERVER_OPTION_COUNT,
     .at = offsetof(trace_values, server)},
    {.heading = "Options", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
};
static const es_example EXAMPLES[] = {
    {"essaim trace --url http://head:8080 --seconds 5 --out trace.json", "while something is asked"},
};

const es_command CLI_TRACE = {
    .name = "trace",
    .summary = "write where the coordinator's steps spend their time, for Chrome's trace viewer",
    .sets = SETS,
    .set_count = 2,
    .examples = EXAMPLES,
    .example_count = 1,
    .values_bytes = sizeof(trace_values),
    .run = run_trace,
};
