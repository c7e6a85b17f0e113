/* essaim drain: a node is made ready to be switched off. */
#include "base/clock.h"
#include "base/signals.h"
#include "cli/commands.h"
#include "cli/fetch.h"
#include "net/control.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { LOOK_MS = 250 };

typedef struct drain_values {
    const char *node;
    cli_server server;
    size_t wait_s;
    bool quiet;
} drain_values;

static es_status refused(const cli_server *server, long code, const json_t *answer, es_err *err)
{
    const char *message = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    es_status status = code == 404 ? ES_NOT_FOUND : ES_UNAVAILABLE;
    return es_err_set(err, status, "%s: HTTP %ld: %.300s", server->url, code,
                      message != NULL ? message : "no reason given");
}

static es_status order(const cli_server *server, const char *node, es_err *err)
{
    char body[ES_NAME_MAX + 32];
    long code = 0;
    json_t *answer = NULL;
    snprintf(body, sizeof body, "{\"node\": \"%s\"}", node);
    es_status status = cli_post_json(server, "/cluster/drain", body, &code, &answer, err);
    if (status == ES_OK && code != 202) status = refused(server, code, answer, err);
    json_decref(answer);
    return status;
}

static const json_t *find_node(const json_t *cluster, const char *name)
{
    const json_t *nodes = json_object_get(json_object_get(cluster, "membership"), "nodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *node = json_array_get(nodes, i);
        const char *own = json_string_value(json_object_get(node, "name"));
        if (own != NULL && strcmp(own, name) == 0) return node;
    }
    return NULL;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* One look. *ret_over: it may be switched off, or never will be, which is the error. */
static es_status look(const drain_values *v, const cli_server *server, bool *ret_over, char *told,
                      size_t told_bytes, es_err *err)
{
    long code = 0;
    json_t *cluster = NULL;
    char line[512];
    es_status status = cli_fetch_json(server, "/cluster", &code, &cluster, err);
    *ret_over = status != ES_OK;
    if (status != ES_OK) return status;
    const json_t *membership = json_object_get(cluster, "membership"), *node = find_node(cluster, v->node);
    const char *phase = text_of(node, "phase"), *why = text_of(node, "why");
    if (strncmp(why, "cannot be drained", 17) == 0)
        status = es_err_set(err, ES_UNAVAILABLE, "%s %.300s", v->node, why);
    else if (membership == NULL)
        status =
            es_err_set(err, ES_UNAVAILABLE, "%s: it is still loading, or follows no registry", server->url);
    else if (node == NULL)
        status = es_err_set(err, ES_NOT_FOUND, "%s: it is no member any more", v->node);
    *ret_over = status != ES_OK || strcmp(phase, "drained") == 0;
    snprintf(line, sizeof line,
             "%s: %s, holds %lld experts that others take over; placement %s of %s%s%.200s", v->node, phase,
             (long long)json_integer_value(json_object_get(node, "surplus")), text_of(membership, "epoch"),
             text_of(membership, "wanted_epoch"), text_of(membership, "why")[0] != '\0' ? "; " : "",
             text_of(membership, "why"));
    if (status == ES_OK && !v->quiet && strcmp(line, told) != 0) {
        fprintf(stderr, "%s\n", line);
        snprintf(told, told_bytes, "%s", line);
    }
    json_decref(cluster);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const drain_values *v = arg;
    char told[512] = "";
    bool over = false;
    uint64_t deadline_ns = es_clock_now_ns() + v->wait_s * 1000000000u;
    es_status status = es_signals_start(err);
    if (status == ES_OK) status = order(&v->server, v->node, err);
    while (status == ES_OK && !over) {
        struct pollfd fd = {es_signals_fd(), POLLIN, 0};
        poll(&fd, 1, LOOK_MS); /* the order is taken up before the first look */
        status = look(v, &v->server, &over, told, sizeof told, err);
        if (over || status != ES_OK) break;
        if (es_signals_stop_asked())
            return es_err_set(err, ES_CANCELLED, "not waited for; %s goes on draining", v->node);
        if (es_clock_now_ns() > deadline_ns)
            status = es_err_set(err, ES_TIMEOUT, "%s is not drained after %zu s, and goes on draining",
                                v->node, v->wait_s);
    }
    if (status == ES_OK) printf("%s is drained and may be switched off\n", v->node);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const drain_values *v = arg;
    if (es_name_valid(v->node)) return ES_OK;
    return es_err_set(err, ES_INVALID, "\"%.64s\" is no node's name", v->node);
}

static const es_option OPTIONS[] = {
    {.name = "NODE",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(drain_values, node),
     .positional = true,
     .required = true,
     .help = "the node's name, as essaim status shows it"},
    {.name = "--wait",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(drain_values, wait_s),
     .unit = "s",
     .min = 1,
     .max = 7 * 86400,
     .initial = "3600",
     .help = "until it gives up waiting; the node goes on draining"},
    {.name = "--quiet",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(drain_values, quiet),
     .help = "no progress on stderr"},
};

static const es_option_set SETS[] = {
    {.heading = "What", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Server",
     .options = CLI_SERVER_OPTIONS,
     .count = CLI_SERVER_OPTION_COUNT,
     .at = offsetof(drain_values, server)},
};
static const es_example EXAMPLES[] = {
    {"essaim drain n3 --url http://head:8080 && ssh n3 systemctl restart essaim-expert-node",
     "one step of a rolling restart"}};

const es_command CLI_DRAIN = {
    .name = "drain",
    .summary = "have a node's experts taken over, and wait until it may be switched off",
    .about = "Exit code 0: it may be switched off. A drain for which the others have no memory is called "
             "off, and says so. A "
             "node that is started again is a member as before.",
    .sets = SETS,
    .set_count = 2,
    .examples = EXAMPLES,
    .example_count = 1,
    .values_bytes = sizeof(drain_values),
    .check = check,
    .run = run,
};
