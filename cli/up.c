/* essaim up: a coordinator and its expert nodes on this machine, each a process of its own, serving until it
 * is stopped, or answering one question. */
#include "base/clock.h"
#include "base/line_reader.h"
#include "base/process.h"
#include "base/signals.h"
#include "cli/asker.h"
#include "cli/commands.h"
#include "cli/local_swarm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A server that is told to stop lets its answers end first. */
enum {
    PATH_BYTES_MAX = 4096,
    EVENT_MAX_BYTES = 16 * 1024 * 1024,
    STOP_GRACE_MS = 2000,
    DRAIN_GRACE_MS = 310000,
    LOOK_MS = 500
};

typedef struct up_values {
    const char *model;
    size_t experts, port;
    const char *once, *isa;
    bool quiet;
    cli_sampling_options sampling;
} up_values;

/* Loading a large model from a cold disk takes its time. */
static const uint64_t READY_DEADLINE_NS = 3600u * 1000000000ull;

/* A coordinator that runs as a program of its own, reached through its pipes. */
typedef struct program_asker {
    cli_asker base;
    cli_sampling_options sampling;
    es_process *process;
    es_line_reader reader;
} program_asker;

static es_status write_all(int fd, const char *data, size_t bytes, es_err *err)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t wrote = write(fd, data + done, bytes - done);
        if (wrote < 0 && errno != EINTR) return es_err_set(err, ES_IO, "coordinator: %s", strerror(errno));
        if (wrote > 0) done += (size_t)wrote;
    }
    return ES_OK;
}

static json_t *request_json(const cli_sampling_options *s, const json_t *messages)
{
    json_t *request = json_pack("{s:i, s:O, s:I, s:I}", "id", 1, "messages", messages, "max_tokens",
                                (json_int_t)s->max_tokens, "seed", (json_int_t)s->seed);
    if (s->temperature_given) json_object_set_new(request, "temperature", json_real(s->temperature));
    if (s->top_p_given) json_object_set_new(request, "top_p", json_real(s->top_p));
    if (s->min_p_given) json_object_set_new(request, "min_p", json_real(s->min_p));
    if (s->top_k_given) json_object_set_new(request, "top_k", json_integer((json_int_t)s->top_k));
    return request;
}

static es_status send_request(program_asker *asker, const json_t *messages, es_err *err)
{
    json_t *request = request_json(&asker->sampling, messages);
    char *line = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (line == NULL) return es_err_set(err, ES_NO_MEMORY, "request");
    es_status status = write_all(es_process_stdin(asker->process), line, strlen(line), err);
    if (status == ES_OK) status = write_all(es_process_stdin(asker->process), "\n", 1, err);
    free(line);
    return status;
}

static void read_done(const json_t *done, es_outcome *r)
{
    const char *finish = json_string_value(json_object_get(done, "finish"));
    *r = (es_outcome){.finish = ES_FINISH_STOP};
    for (int f = ES_FINISH_STOP; f <= ES_FINISH_CANCELLED && finish != NULL; f++)
        if (strcmp(finish, es_finish_name((es_finish)f)) == 0) r->finish = (es_finish)f;
    r->prompt_tokens = (size_t)json_integer_value(json_object_get(done, "prompt_tokens"));
    r->cached_tokens = (size_t)json_integer_value(json_object_get(done, "cached_tokens"));
    r->new_tokens = (size_t)json_integer_value(json_object_get(done, "completion_tokens"));
    r->prefill_seconds = json_number_value(json_object_get(done, "prefill_seconds"));
    r->decode_seconds = json_number_value(json_object_get(done, "decode_seconds"));
}

static es_status read_error(const json_t *error, es_err *err)
{
    const char *name = json_string_value(json_object_get(error, "status"));
    const char *text = json_string_value(json_object_get(error, "message"));
    es_status status = name != NULL ? es_status_named(name, strlen(name)) : ES_OK;
    return es_err_set(err, status != ES_OK ? status : ES_CORRUPT, "%s",
                      text != NULL ? text : "the coordinator's error has no text");
}

/* Once for an answer: it ends then, and its last event says so. */
static void cut_short(const program_asker *asker, bool *passed_on)
{
    if (!*passed_on) kill(es_process_id(asker->process), SIGINT);
    *passed_on = true;
}

/* The coordinator's next event. A stop signal is passed on to it as SIGINT. */
static es_status next_event(program_asker *asker, bool *passed_on, json_t **ret_event, es_err *err)
{
    char *line;
    size_t bytes;
    es_status status =
        es_line_reader_next(&asker->reader, *passed_on ? -1 : es_signals_fd(), &line, &bytes, err);
    if (status == ES_CANCELLED) {
        cut_short(asker, passed_on);
        status = es_line_reader_next(&asker->reader, -1, &line, &bytes, err);
    }
    if (status == ES_NOT_FOUND) return es_err_set(err, ES_UNAVAILABLE, "the coordinator ended");
    if (status != ES_OK) return status;
    json_error_t problem;
    *ret_event = json_loadb(line, bytes, JSON_ALLOW_NUL, &problem);
    if (*ret_event == NULL) return es_err_set(err, ES_CORRUPT, "coordinator: %s", problem.text);
    return ES_OK;
}

static es_status ask_program(cli_asker *base, const json_t *messages, es_chat_text_fn *on_text, void *context,
                             es_outcome *ret_outcome, es_err *err)
{
    program_asker *asker = (program_asker *)base;
    bool passed_on = false, done = false;
    es_status status = send_request(asker, messages, err);
    while (status == ES_OK && !done) {
        json_t *event = NULL;
        status = next_event(asker, &passed_on, &event, err);
        if (status != ES_OK) break;
        const json_t *reasoning = json_object_get(event, "reasoning"),
                     *content = json_object_get(event, "content");
        const json_t *end = json_object_get(event, "done"), *error = json_object_get(event, "error");
        if (reasoning != NULL)
            on_text(context, ES_CHAT_REASONING, json_string_value(reasoning), json_string_length(reasoning));
        if (content != NULL)
            on_text(context, ES_CHAT_ANSWER, json_string_value(content), json_string_length(content));
        if (end != NULL) read_done(end, ret_outcome);
        if (error != NULL) status = read_error(error, err);
        done = end != NULL;
        if (cli_answer_unwanted()) cut_short(asker, &passed_on);
        json_decref(event);
    }
    return status;
}

/* Starts essaim-coordinator on the swarm's nodes, with more words at its end, and waits for its ready line.
 */
static es_status start_coordinator(const up_values *values, const cli_swarm *swarm,
                                   es_process_options options, const char *const *more,
                                   char line[ES_PROCESS_LINE_MAX], es_process **ret_process, es_err *err)
{
    char program[PATH_BYTES_MAX];
    es_status status = es_process_sibling("essaim-coordinator", program, sizeof program, err);
    if (status != ES_OK) return status;
    es_option_list nodes = cli_swarm_endpoints(swarm);
    /* Nobody starts a node of this swarm again: there is not much to wait for. */
    const char *argv[2 * CLI_SWARM_MAX + 16] = {program, "--model", values->model, "--wait-for-nodes",
                                                "1",     "--isa",   values->isa};
    size_t argc = 7;
    for (size_t i = 0; i < nodes.count; i++) {
        argv[argc++] = "--node";
        argv[argc++] = nodes.item[i];
    }
    while (*more != NULL) argv[argc++] = *more++;
    argv[argc] = NULL;
    options.argv = argv;
    options.ready = true;
    status = es_process_start(&options, ret_process, err);
    if (status != ES_OK) return status;
    return es_process_wait_ready(*ret_process, es_clock_now_ns() + READY_DEADLINE_NS, es_signals_fd(), line,
                                 err);
}

static void tell_processes(const up_values *values, const cli_swarm *swarm, const es_process *coordinator)
{
    if (values->quiet) return;
    es_option_list nodes = cli_swarm_endpoints(swarm);
    fprintf(stderr, "%s on this machine:\n", values->model);
    fprintf(stderr, "  coordinator     process %d: attention, routing, shared expert, KV cache\n",
            es_process_id(coordinator));
    for (size_t i = 0; i < nodes.count; i++)
        fprintf(stderr, "  expert node n%zu  process %d: part %zu of %zu of the experts, %s\n", i + 1,
                cli_swarm_process_id(swarm, i), i + 1, nodes.count, nodes.item[i]);
}

static es_status answer_once(const up_values *values, const cli_swarm *swarm, es_err *err)
{
    static const char *const LINES[] = {"--lines", NULL};
    char line[ES_PROCESS_LINE_MAX];
    program_asker asker = {.base = {ask_program}, .sampling = values->sampling};
    const es_process_options pipes = {.pipe_stdin = true, .pipe_stdout = true};
    es_status status = start_coordinator(values, swarm, pipes, LINES, line, &asker.process, err);
    if (status == ES_OK) {
        es_line_reader_init(&asker.reader, es_process_stdout(asker.process), EVENT_MAX_BYTES);
        json_t *ready = NULL; /* its first line says so once more */
        bool passed_on = true;
        status = next_event(&asker, &passed_on, &ready, err);
        json_decref(ready);
    }
    if (status == ES_OK) tell_processes(values, swarm, asker.process);
    if (status == ES_OK) status = cli_ask_once(&asker.base, values->once, stdout, values->quiet, err);
    es_process_stop(&asker.process, STOP_GRACE_MS);
    es_line_reader_fini(&asker.reader);
    return status;
}

/* Said before anything is loaded: the coordinator would only find out then. */
static es_status check_port(size_t port, es_err *err)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) return es_err_set(err, ES_IO, "socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool bound = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0;
    int cause = errno;
    close(fd);
    if (bound) return ES_OK;
    if (cause == EADDRINUSE)
        return es_err_set(err, ES_IO, "port %zu is taken by another program; choose one with --port", port);
    return es_err_set(err, ES_IO, "port %zu: %s", port, strerror(cause));
}

static void tell_how_to_ask(const char *ready_line)
{
    static const char KEY[] = "url=";
    const char *url = strstr(ready_line, KEY);
    url = url != NULL ? url + sizeof KEY - 1 : "";
    printf(
        "%s is a chat; Ctrl-C ends it. The same from a shell:\n\n"
        "curl %s/v1/chat/completions -H 'Content-Type: application/json' -d "
        "'{\"model\": \"deepseek-reasoner\", \"messages\": [{\"role\": \"user\", \"content\": \"Add 15 and "
        "27.\"}]}'\n\n",
        url, url);
    fflush(stdout);
}

/* Until a signal comes or the coordinator ends. A node that ends is told once: the coordinator deals with it.
 */
static es_status watch_processes(const cli_swarm *swarm, es_process *coordinator, es_err *err)
{
    bool told[CLI_SWARM_MAX] = {false};
    while (!es_signals_stop_asked()) {
        struct pollfd fd = {es_signals_fd(), POLLIN, 0};
        poll(&fd, 1, LOOK_MS);
        es_status status = es_process_check(coordinator, err);
        if (status != ES_OK) return status;
        for (size_t i = 0; i < cli_swarm_endpoints(swarm).count; i++) {
            es_err ended;
            if (told[i] || cli_swarm_check(swarm, i, &ended) == ES_OK) continue;
            fprintf(stderr, "essaim up: node n%zu: %s\n", i + 1, ended.text);
            told[i] = true;
        }
    }
    return ES_OK;
}

static es_status serve(const up_values *values, const cli_swarm *swarm, es_err *err)
{
    char listen_at[32], line[ES_PROCESS_LINE_MAX];
    snprintf(listen_at, sizeof listen_at, "127.0.0.1:%zu", values->port);
    const char *const more[] = {"--listen", listen_at, values->quiet ? "--quiet" : NULL, NULL};
    es_process *coordinator = NULL;
    es_status status =
        start_coordinator(values, swarm, (es_process_options){0}, more, line, &coordinator, err);
    bool served = status == ES_OK;
    if (served) {
        tell_processes(values, swarm, coordinator);
        tell_how_to_ask(line);
        status = watch_processes(swarm, coordinator, err);
    }
    es_process_stop(&coordinator, served ? DRAIN_GRACE_MS : STOP_GRACE_MS);
    return status;
}

static es_status check(const void *values, es_err *err)
{
    return cli_sampling_check(&((const up_values *)values)->sampling, err);
}

static es_status run(const void *arg, es_err *err)
{
    const up_values *values = arg;
    cli_swarm *swarm = NULL;
    es_status status = es_signals_start(err);
    if (status == ES_OK && values->once == NULL) status = check_port(values->port, err);
    if (status == ES_OK) status = cli_swarm_start(values->model, values->experts, values->isa, &swarm, err);
    if (status != ES_OK) return status;
    status = values->once != NULL ? answer_once(values, swarm, err) : serve(values, swarm, err);
    cli_swarm_stop(&swarm);
    return status;
}

static const es_option OPTIONS[] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "MODEL",
     .at = offsetof(up_values, model),
     .initial = "models/tiny-r1",
     .help = "a checkpoint folder as published, or a GGUF file"},
    {.name = "--experts",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(up_values, experts),
     .min = 1,
     .max = CLI_SWARM_MAX,
     .initial = "4",
     .help = "expert nodes to start"},
    {.name = "--port",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(up_values, port),
     .max = 65535,
     .initial = "8080",
     .help = "where it serves on this machine; 0 is any free one"},
    {.name = "--once",
     .kind = ES_OPTION_TEXT,
     .argument = "QUESTION",
     .at = offsetof(up_values, once),
     .help = "do not serve: print the reasoning and the answer to this question, and end"},
    {.name = "--isa",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(up_values, isa),
     .initial = "auto",
     .help = "kernel set to use"},
    {.name = "--quiet",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(up_values, quiet),
     .help = "no remarks and no line for each request on stderr"},
};

static const es_option_set SETS[] = {
    {.heading = "Swarm", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Sampling of --once",
     .options = CLI_SAMPLING_OPTIONS,
     .count = CLI_SAMPLING_OPTION_COUNT,
     .at = offsetof(up_values, sampling)},
};

static const es_example EXAMPLES[] = {
    {"essaim up", "serves models/tiny-r1 over four expert nodes at http://127.0.0.1:8080"},
    {"essaim up --once \"Add 15 and 27.\"", "one answer, and nothing left running"},
};

const es_command CLI_UP = {
    .name = "up",
    .summary = "start a coordinator and expert nodes on this machine and serve",
    .about = "Every part is a process of its own on loopback, as on a LAN. They all end when this command "
             "does, however it ends. 'essaim chat' is a conversation at the terminal.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(up_values),
    .check = check,
    .run = run,
};
