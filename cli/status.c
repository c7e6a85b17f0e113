/* essaim status and essaim top: what a coordinator and its nodes are doing, once or all the time. */
#include "base/clock.h"
#include "base/signals.h"
#include "cli/cluster_view.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "cli/readiness.h"

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

/* As many nodes as were asked for are ready, and the valid placement has come true. */
static es_status check_nodes(const char *url, size_t nodes, const json_t *readiness, es_err *err)
{
    const json_t *others = json_object_get(readiness, "not_ready");
    json_int_t ready = json_integer_value(json_object_get(readiness, "ready"));
    const char *why = json_string_value(json_object_get(readiness, "why"));
    char text[ES_ERR_TEXT_MAX] = "";
    if (!json_is_true(json_object_get(readiness, "in_force")))
        snprintf(text, sizeof text, "; the placement has not come true yet%s%.300s",
                 why != NULL && why[0] != '\0' ? ": " : "", why != NULL ? why : "");
    else if ((size_t)ready >= nodes)
        return ES_OK;
    for (size_t i = 0; i < json_array_size(others); i++) {
        const json_t *other = json_array_get(others, i);
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "; %.64s %.200s",
                 json_string_value(json_object_get(other, "node")),
                 json_string_value(json_object_get(other, "why")));
    }
    return es_err_set(err, ES_UNAVAILABLE, "%s: %lld of %zu nodes ready%s", url, (long long)ready, nodes,
                      text);
}

/* One look: it takes requests, and so many nodes are ready as were asked for. *ret_cluster is NULL, or what
 * GET /cluster says and who is ready, with an error too when nodes are what is missing. */
static es_status look(const status_values *v, json_t **ret_cluster, es_err *err)
{
    *ret_cluster = NULL;
    if (v->ready && v->nodes == 0) return check_ready(&v->server, err);
    es_status status = fetch_cluster(&v->server, ret_cluster, err);
    json_t *readiness = status == ES_OK ? cli_readiness_of(*ret_cluster) : NULL;
    if (status == ES_OK && json_object_set_new(*ret_cluster, "readiness", readiness) != 0)
        return es_err_set(err, ES_NO_MEMORY, "%s/cluster", v->server.url);
    return status == ES_OK && v->nodes > 0 ? check_nodes(v->server.url, v->nodes, readiness, err) : status;
}

/* Until all of it is as it should be, for as long as was asked for; what it says stands on stderr meanwhile,
 * each time it changes. */
static es_status wait_until_ready(const status_values *v, json_t **ret_cluster, es_err *err)
{
    char told[ES_ERR_TEXT_MAX] = "";
    uint64_t deadline_ns = es_clock_now_ns() + v->wait_s * 1000000000ull;
    *ret_cluster = NULL;
    es_status status = v->wait_s > 0 ? es_signals_start(err) : ES_OK;
    if (status != ES_OK) return status;
    while ((status = look(v, ret_cluster, err)) == ES_UNAVAILABLE && es_clock_now_ns() < deadline_ns) {
        struct pollfd fd = {es_signals_fd(), POLLIN, 0};
        if (!v->ready && strcmp(told, err->text) != 0) fprintf(stderr, "%s\n", err->text);
        snprintf(told, sizeof told, "%s", err->text);
        poll(&fd, 1, LOOK_MS);
        if (es_signals_stop_asked()) break;
        json_decref(*ret_cluster);
    }
    return status;
}

static es_status run_status(const void *arg, es_err *err)
{
    const status_values *v = arg;
    json_t *cluster = NULL;
    es_status status = wait_until_ready(v, &cluster, err);
    const cluster_view view = {v->server.url, 100, 0, isatty(STDOUT_FILENO) == 1, v->heat};
    if (cluster != NULL && v->json && !v->ready) {
        json_dumpf(cluster, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (cluster != NULL && !v->ready) {
        cluster_view_write(&view, cluster, stdout);
    }
    json_decref(cluster);
    return status;
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
        draw(&v->server, heat);
        if (poll(fds, 2, (int)(v->every_s * 1000)) <= 0 || fds[1].revents == 0) continue;
        ended = read(STDIN_FILENO, &key, 1) != 1 || key == 'q';
        heat ^= key == 'h';
    }
    fputs("\033[?25h\033[?1049l", stdout);
    if (keys) tcsetattr(STDIN_FILENO, TCSANOW, &before);
    return ES_OK;
}

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
     .help = "for that long, until it is as it should be"},
    {.name = "--nodes",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(status_values, nodes),
     .max = 1024,
     .initial = "0",
     .help = "and so many nodes are ready: they hold what the placement gives them and answer calls"},
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
     .options = CLI_SERVER_OPTIONS,
     .count = CLI_SERVER_OPTION_COUNT,
     .at = offsetof(status_values, server)},
    {.heading = "Output",
     .options = STATUS_OPTIONS,
     .count = sizeof STATUS_OPTIONS / sizeof STATUS_OPTIONS[0]},
};
static const es_option_set TOP_SETS[] = {
    {.heading = "Server",
     .options = CLI_SERVER_OPTIONS,
     .count = CLI_SERVER_OPTION_COUNT,
     .at = offsetof(status_values, server)},
    {.heading = "Picture", .options = TOP_OPTIONS, .count = sizeof TOP_OPTIONS / sizeof TOP_OPTIONS[0]},
};
static const es_example STATUS_EXAMPLES[] = {
    {"essaim status --url http://head:8080 --heat", NULL},
    {"essaim status --wait 600 --nodes 4 --ready", "until the coordinator and four nodes are ready"},
};

const es_command CLI_STATUS = {
    .name = "status",
    .summary = "what a coordinator and its nodes are doing",
    .about = "Exit code 0: the coordinator takes requests and, with --nodes, so many nodes are ready; 1: "
             "not, and stderr says "
             "which is not and why. --json has the same as readiness.",
    .sets = STATUS_SETS,
    .set_count = 2,
    .examples = STATUS_EXAMPLES,
    .example_count = 2,
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
