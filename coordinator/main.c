/* essaim-coordinator: answers chat requests over a swarm of expert nodes. */
#include "base/log.h"
#include "base/process.h"
#include "base/program.h"
#include "base/progress.h"
#include "base/signals.h"
#include "coordinator/lines.h"
#include "coordinator/serve.h"

#include <unistd.h>

typedef struct values {
    es_serve_options serve;
    es_log_options log;
    size_t ready_fd;
    bool lines, quiet;
} values;

static const es_option OPTIONS[] = {
    {.name = "--style",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(values, serve.style),
     .fallback = "the model's own",
     .help = "chat layout: r1 or v3"},
    {.name = "--model-name",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(values, serve.model_name),
     .fallback = "its folder's",
     .help = "what clients call the model"},
    {.name = "--drain",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(values, serve.drain_s),
     .unit = "s",
     .max = 86400,
     .initial = "300",
     .help = "how long answers may go on once the server is told to stop"},
    {.name = "--lines",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(values, lines),
     .help = "no HTTP: requests as JSON lines from stdin, answers to stdout (docs/coordinator-lines.md)"},
    {.name = "--quiet",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(values, quiet),
     .help = "no line on stderr for each request: --log-level warning"},
    {.name = "--ready-fd",
     .kind = ES_OPTION_COUNT,
     .argument = "FD",
     .at = offsetof(values, ready_fd),
     .max = 1048576,
     .initial = "0",
     .help = "write one line there when ready, or why it failed, then close it; 0: nowhere"},
};

static const es_option_set SETS[] = {
    {.heading = "Model and machine",
     .options = ES_COORDINATOR_OPTIONS,
     .count = ES_COORDINATOR_OPTION_COUNT,
     .at = offsetof(values, serve.coordinator)},
    {.heading = "Registry",
     .options = ES_REGISTRY_OPTIONS,
     .count = ES_REGISTRY_OPTION_COUNT,
     .at = offsetof(values, serve.coordinator.registry)},
    {.heading = "Membership",
     .options = ES_MEMBERSHIP_OPTIONS,
     .count = ES_MEMBERSHIP_OPTION_COUNT,
     .at = offsetof(values, serve.coordinator)},
    {.heading = "HTTP",
     .options = ES_HTTP_OPTIONS,
     .count = ES_HTTP_OPTION_COUNT,
     .at = offsetof(values, serve.http)},
    {.heading = "Service", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Log", .options = ES_LOG_OPTIONS, .count = ES_LOG_OPTION_COUNT, .at = offsetof(values, log)},
};

static bool wait_quietly(void *context, const char *what)
{
    (void)context;
    (void)what;
    return !es_signals_stop_asked();
}

static es_status run_lines(const values *v, es_err *err)
{
    const es_coordinator_options *options = &v->serve.coordinator;
    es_coordinator *coordinator = NULL;
    es_chat *chat = NULL;
    es_progress progress;
    es_progress_init(&progress, options->model_dir, NULL);
    es_status status = es_coordinator_open(options, es_progress_update, &progress, &coordinator, err);
    es_progress_finish(&progress);
    if (status == ES_OK) status = es_coordinator_wait(coordinator, wait_quietly, NULL, err);
    if (status == ES_OK)
        status =
            es_chat_open(options->model_dir, v->serve.style, es_coordinator_model(coordinator), &chat, err);
    if (status == ES_OK && v->ready_fd > 0) status = es_process_say_ready((int)v->ready_fd, "ready", err);
    if (status != ES_OK) es_process_say_failed((int)v->ready_fd, err);
    if (status == ES_OK) status = es_lines_serve(coordinator, chat, STDIN_FILENO, stdout, err);
    es_chat_close(&chat);
    es_coordinator_close(&coordinator);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const values *v = arg;
    es_status status = es_coordinator_check(&v->serve.coordinator, err);
    return status == ES_OK ? es_http_check(&v->serve.http, err) : status;
}

static es_status run(const void *arg, es_err *err)
{
    const values *v = arg;
    es_log_options log = v->log;
    if (!log.level_given && (v->lines || v->quiet)) log.level = ES_LOG_WARN;
    es_log_serve("essaim-coordinator", &log);
    es_status status = es_signals_start(err);
    if (status != ES_OK) return status;
    if (v->lines) return run_lines(v, err);
    es_serve_options serve = v->serve;
    serve.ready_fd = (int)v->ready_fd;
    return es_serve(&serve, err);
}

static const es_example EXAMPLES[] = {
    {"essaim-coordinator --model models/tiny-r1 --node 127.0.0.1:5700 --node 127.0.0.1:5701",
     "serve this machine's clients with the experts of two nodes"},
    {"essaim-coordinator --model DIR --registry /var/lib/essaim/registry --copies 2 --keys essaim.key",
     "with the nodes that joined, and a placement that follows them"},
    {"essaim-coordinator --model DIR --nodes nodes --keys essaim.key --listen *:8443 --api-keys keys "
     "--tls-cert "
     "cert.pem --tls-key key.pem",
     "serve the network, over HTTPS and with API keys"},
};

static const es_command COMMAND = {
    .summary = "serve chat requests over a swarm of expert nodes",
    .about = "Answers what clients of the OpenAI API and of Anthropic's ask, and shows a chat page at /. GET "
             "/health "
             "tells whether it is ready, /metrics what Prometheus wants to know. SIGTERM and SIGINT let the "
             "answers "
             "under way end first, a second one ends them.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(values),
    .check = check,
    .run = run,
};

int main(int argc, char **argv)
{
    const es_program program = {"essaim-coordinator", ESSAIM_VERSION, COMMAND.summary, &COMMAND, 1};
    return es_program_main(&program, argc, argv);
}
