/* essaim status and essaim top: what a coordinator and its nodes are doing, once or all the time. */
#include "base/clock.h"
#include "base/signals.h"
#include "cli/cluster_view.h"
#include "cli/commands.h"
#include "cli/fetch.h"

#include <curl/curl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { LOOK_MS = 500 };

typedef struct status_values {
    cli_server server;
    bool json, ready, heat;
    size_t wait_s, nodes;
    double every_s;
} status_values;

/* The key of ESSAIM_API_KEY is taken in main's place: options alone would show it to everybody in the list of
 * processes. */
static cli_server server_of(const status_values *v)
{
    cli_server server = v->server;
    if (server.key == NULL) server.key = getenv("ESSAIM_API_KEY");
    return server;
}

/* GET /health: ES_UNAVAILABLE with what it says unless it takes requests. */
static es_status check_ready(const cli_server *server, es_err *err)
{
    long code = 0;
    json_t *health = NULL;
    es_status status = cli_fetch_json(server, "/health", &code, &health, err);
    if (status != ES_OK) return status;
    const char *state = json_string_value(json_object_get(health, "status"));
    double progress = json_number_value(json_object_get(health, "progress"));
    const char *reason = json_string_value(json_object_get(health, "reason"));
    if (code != 200 && reason != NULL)
        status = es_err_set(err, ES_UNAVAILABLE, "%s: %.40s: %.400s", server->url,
                            state != NULL ? state : "not ready", reason);
    else if (code != 200 && progress > 0)
        status = es_err_set(err, ES_UNAVAILABLE, "%s: %.40s, %.0f %%", server->url,
                            state != NULL ? state : "not ready", 100 * progress);
    else if (code != 200)
        status =
            es_err_set(err, ES_UNAVAILABLE, "%s: %.40s", server->url, state != NULL ? state : "not ready");
    json_decref(health);
    return status;
}

static es_status fetch_cluster(const cli_server *server, json_t **ret_cluster, es_err *err)
{
    long code = 0;
    es_status status = check_ready(server, err);
    if (status == ES_OK) status = cli_fetch_json(server, "/cluster", &code, ret_cluster, err);
    if (status != ES_OK || code == 200) return status;
    const char *message =
        json_string_value(json_object_get(json_object_get(*ret_cluster, "error"), "message"));
    status = es_err_set(err, ES_UNAVAILABLE, "%s/cluster: HTTP %ld: %.200s", server->url, code,
                        message != NULL ? message : "no reason given");
    json_decref(*ret_cluster);
    *ret_cluster = NULL;
    return status;
}

/* Nodes that hold what the placement gives them; those that answer where there is none. */
static size_t nodes_in_place(const json_t *cluster)
{
    const json_t *members = json_object_get(cluster, "membership"), *nodes, *node;
    const json_t *epoch = json_object_get(members, "epoch"),
                 *wanted = json_object_get(members, "wanted_epoch");
    size_t i, count = 0;
    if (members != NULL && !json_equal(epoch, wanted)) return 0;
    nodes = json_object_get(members != NULL ? members : cluster, "nodes");
    json_array_foreach((json_t *)(uintptr_t)nodes, i, node)
    {
        const char *state = json_string_value(json_object_get(node, members != NULL ? "phase" : "state"));
        bool good = state != NULL && strcmp(state, members != NULL ? "holds" : "up") == 0;
        if (good && json_integer_value(json_object_get(node, "experts")) > 0) count++;
    }
    return count;
}

/* It takes requests, and as many nodes as were asked for are in their places. */
static es_status check_all(const status_values *v, const cli_server *server, es_err *err)
{
    json_t *cluster = NULL;
    es_status status = v->nodes > 0 ? fetch_cluster(server, &cluster, err) : check_ready(server, err);
    size_t count = status == ES_OK && v->nodes > 0 ? nodes_in_place(cluster) : v->nodes;
    json_decref(cluster);
    if (status == ES_OK && count < v->nodes)
        status = es_err_set(err, ES_UNAVAILABLE, "%s: %zu of %zu nodes hold what the placement gives them",
                            server->url, count, v->nodes);
    return status;
}

/* Until both hold, for as long as was asked for; what it says stands on stderr meanwhile, each time it
 * changes. */
static es_status wait_until_ready(const status_values *v, const cli_server *server, es_err *err)
{
    char told[ES_ERR_TEXT_MAX] = "";
    uint64_t deadline_ns = es_clock_now_ns() + v->wait_s * 1000000000ull;
    es_status status = v->wait_s > 0 ? es_signals_start(err) : ES_OK;
    if (status != ES_OK) return status;
    while ((status = check_all(v, server, err)) == ES_UNAVAILABLE && es_clock_now_ns() < deadline_ns) {
        struct pollfd fd = {es_signals_fd(), POLLIN, 0};
        if (!v->ready && strcmp(told, err->text) != 0) fprintf(stderr, "%s\n", err->text);
        snprintf(told, sizeof told, "%s", err->text);
        poll(&fd, 1, LOOK_MS);
        if (es_signals_stop_asked()) break;
    }
    return status;
}

static es_status run_status(const void *arg, es_err *err)
{
    const status_values *v = arg;
    const cli_server server = server_of(v);
    json_t *cluster = NULL;
    es_status status = wait_until_ready(v, &server, err);
    if (status != ES_OK || v->ready) return status;
    status = fetch_cluster(&server, &cluster, err);
    if (status != ES_OK) return status;
    const cluster_view view = {server.url, 100, 0, isatty(STDOUT_FILENO) == 1, v->heat};
    if (v->json) {
        json_dumpf(cluster, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        cluster_view_write(&view, cluster, stdout);
    }
    json_decref(cluster);
    return ES_OK;
}

/* One picture over the last: the cursor goes home, lines are cleared as they are written. */
static void draw(const cli_server *server, bool heat)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    const cluster_view view = {server->url, size.ws_col, size.ws_row > 2 ? size.ws_row - 2u : 1, true, heat};
    json_t *cluster = NULL;
    es_err err;
    char *picture = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&picture, &bytes);
    if (out == NULL) return;
    if (fetch_cluster(server, &cluster, &err) == ES_OK)
        cluster_view_write(&view, cluster, out);
    else
        fprintf(out, "%s\n", err.text);
    fputs("\nq ends, h shows or hides the experts' heat", out);
    fclose(out);
    fputs("\033[H", stdout);
    for (const char *c = picture; *c != '\0'; c++) {
        if (*c == '\n') fputs("\033[K", stdout);
        putchar(*c);
    }
    fputs("\033[K\033[J", stdout);
    fflush(stdout);
    free(picture);
    json_decref(cluster);
}

static es_status run_top(const void *arg, es_err *err)
{
    const status_values *v = arg;
    const cli_server server = server_of(v);
    struct termios before = {.c_lflag = 0}, raw;
    bool heat = true, keys = tcgetattr(STDIN_FILENO, &before) == 0;
    if (isatty(STDOUT_FILENO) != 1)
        return es_err_set(err, ES_INVALID, "top draws on a terminal; `essaim status` prints once");
    es_status status = es_signals_start(err);
    if (status != ES_OK) return status;
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    if (keys) tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    fputs("\033[?1049h\033[?25l", stdout);
    for (bool ended = false; !ended && !es_signals_stop_asked();) {
        struct pollfd fds[] = {{es_signals_fd(), POLLIN, 0}, {keys ? STDIN_FILENO : -1, POLLIN, 0}};
        char key = 0;
        draw(&server, heat);
        if (poll(fds, 2, (int)(v->every_s * 1000)) <= 0 || fds[1].revents == 0) continue;
        ended = read(STDIN_FILENO, &key, 1) != 1 || key == 'q';
        heat ^= key == 'h';
    }
    fputs("\033[?25h\033[?1049l", stdout);
    if (keys) tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return ES_OK;
}

static const es_option SERVER_OPTIONS[] = {
    {.name = "--url",
     .kind = ES_OPTION_TEXT,
     .argument = "URL",
     .at = offsetof(status_values, server.url),
     .initial = "http://127.0.0.1:8080",
     .help = "the coordinator's server"},
    {.name = "--api-key",
     .kind = ES_OPTION_TEXT,
     .argument = "KEY",
     .at = offsetof(status_values, server.key),
     .fallback = "what ESSAIM_API_KEY holds",
     .help = "one of its API keys"},
    {.name = "--ca",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(status_values, server.ca_file),
     .fallback = "the system's",
     .help = "certificates to trust"},
};
static const es_option STATUS_OPTIONS[] = {
    {.name = "--heat",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(status_values, heat),
     .help = "show where each layer's rows went"},
    {.name = "--ready",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(status_values, ready),
     .help = "print nothing: exit with 0 when it takes requests"},
    {.name = "--wait",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(status_values, wait_s),
     .unit = "s",
     .max = 7 * 86400,
     .initial = "0",
     .help = "for that long, until it takes requests"},
    {.name = "--nodes",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(status_values, nodes),
     .max = 1024,
     .initial = "0",
     .help = "and until so many nodes hold what the placement gives them"},
    {.name = "--json", .kind = ES_OPTION_FLAG, .at = offsetof(status_values, json), .help = "print JSON"},
};
static const es_option TOP_OPTIONS[] = {
    {.name = "--every",
     .kind = ES_OPTION_REAL,
     .argument = "N",
     .at = offsetof(status_values, every_s),
     .real_min = 0.1,
     .real_max = 3600,
     .initial = "1",
     .unit = "s",
     .help = "between pictures"},
};

static const es_option_set STATUS_SETS[] = {
    {.heading = "Server",
     .options = SERVER_OPTIONS,
     .count = sizeof SERVER_OPTIONS / sizeof SERVER_OPTIONS[0]},
    {.heading = "Output",
     .options = STATUS_OPTIONS,
     .count = sizeof STATUS_OPTIONS / sizeof STATUS_OPTIONS[0]},
};
static const es_option_set TOP_SETS[] = {
    {.heading = "Server",
     .options = SERVER_OPTIONS,
     .count = sizeof SERVER_OPTIONS / sizeof SERVER_OPTIONS[0]},
    {.heading = "Picture", .options = TOP_OPTIONS, .count = sizeof TOP_OPTIONS / sizeof TOP_OPTIONS[0]},
};
static const es_example STATUS_EXAMPLES[] = {{"essaim status --url http://head:8080 --heat", NULL}};

const es_command CLI_STATUS = {
    .name = "status",
    .summary = "what a coordinator and its nodes are doing",
    .sets = STATUS_SETS,
    .set_count = 2,
    .examples = STATUS_EXAMPLES,
    .example_count = 1,
    .values_bytes = sizeof(status_values),
    .run = run_status,
};

const es_command CLI_TOP = {
    .name = "top",
    .summary = "the same, refreshed on the terminal",
    .sets = TOP_SETS,
    .set_count = 2,
    .values_bytes = sizeof(status_values),
    .run = run_top,
};
