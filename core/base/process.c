/* Child programs: fork, exec, ready line, stop. Between fork and exec only async-signal-safe calls are made.
 */
#include "base/process.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { KILL_WAIT_MS = 10000, END_WAIT_MS = 2000, LOWEST_FD = 3 };

struct es_process {
    pid_t pid;
    bool ended;
    int wait_status; /* when ended */
    int ready_fd;    /* -1: none, or its line was taken */
    int stdin_fd, stdout_fd;
    char name[64]; /* the program's file name */
};

typedef struct pipe_ends {
    int read, write;
} pipe_ends;

/* What the child needs between fork and exec. */
typedef struct child_plan {
    char *const *argv;
    pid_t parent;
    int stdin_fd, stdout_fd; /* -1: leave */
    int ready_fd;            /* -1: none */
    int exec_failed_fd;      /* gets errno; closed by a successful exec */
} child_plan;

static void close_fd(int *fd)
{
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

static void close_pipe(pipe_ends *ends)
{
    close_fd(&ends->read);
    close_fd(&ends->write);
}

/* Moves fd away from 0, 1 and 2, which a parent may have closed and the child will redirect. */
static int raise_fd(int fd)
{
    if (fd >= LOWEST_FD) return fd;
    int raised = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_FD);
    close(fd);
    return raised;
}

static es_status open_pipe(pipe_ends *ends, es_err *err)
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) != 0) return es_err_set(err, ES_IO, "pipe: %s", strerror(errno));
    *ends = (pipe_ends){raise_fd(fd[0]), raise_fd(fd[1])};
    if (ends->read >= 0 && ends->write >= 0) return ES_OK;
    close_pipe(ends);
    return es_err_set(err, ES_IO, "pipe: %s", strerror(EMFILE));
}

static void keep_open(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC);
}

_Noreturn static void become(const child_plan *plan)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != plan->parent) _exit(127); /* the parent died before prctl: nobody would tell us */
    setpgid(0, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (plan->stdin_fd >= 0) dup2(plan->stdin_fd, STDIN_FILENO);
    if (plan->stdout_fd >= 0) dup2(plan->stdout_fd, STDOUT_FILENO);
    if (plan->ready_fd >= 0) keep_open(plan->ready_fd);
    execv(plan->argv[0], plan->argv);
    int reason = errno;
    ssize_t written = write(plan->exec_failed_fd, &reason, sizeof reason);
    (void)written; /* the parent sees the end of the pipe and the exit code at least */
    _exit(127);
}

/* How the child ended, for people. */
static es_status tell_end(const es_process *process, const char *when, es_err *err)
{
    int status = process->wait_status;
    if (WIFSIGNALED(status)) {
        const char *text = sigdescr_np(WTERMSIG(status));
        return es_err_set(err, ES_UNAVAILABLE, "%s (process %d): killed by signal %d (%s)%s", process->name,
                          (int)process->pid, WTERMSIG(status), text != NULL ? text : "unknown", when);
    }
    return es_err_set(err, ES_UNAVAILABLE, "%s (process %d): exited with code %d%s", process->name,
                      (int)process->pid, WEXITSTATUS(status), when);
}

/* Reaps it if it has ended. */
static bool has_ended(es_process *process)
{
    if (process->ended) return true;
    int status;
    pid_t got = waitpid(process->pid, &status, WNOHANG);
    if (got == 0 || (got < 0 && errno == EINTR)) return false;
    process->ended = true;
    process->wait_status = got == process->pid ? status : 0;
    return true;
}

/* True when it ended before deadline_ns. */
static bool wait_for_end(es_process *process, uint64_t deadline_ns)
{
    long nap_ns = 500000;
    while (!has_ended(process)) {
        if (es_clock_left_ms(deadline_ns) == 0) return false;
        nanosleep(&(struct timespec){0, nap_ns}, NULL);
        if (nap_ns < 16000000) nap_ns *= 2;
    }
    return true;
}

static uint64_t deadline_in_ms(int ms)
{
    return es_clock_now_ns() + (uint64_t)ms * 1000000u;
}

/* Copies argv with "--ready-fd N" behind it; texts stay the caller's, but for number. */
static es_status copy_arguments(const es_process_options *options, int ready_fd, char number[16],
                                const char **out, es_err *err)
{
    size_t count = 0;
    for (; options->argv[count] != NULL; count++) {
        if (count + 4 > ES_PROCESS_ARGS_MAX)
            return es_err_set(err, ES_INVALID, "%s: more than %d arguments", options->argv[0],
                              ES_PROCESS_ARGS_MAX);
        out[count] = options->argv[count];
    }
    if (ready_fd >= 0) {
        snprintf(number, 16, "%d", ready_fd);
        out[count++] = "--ready-fd";
        out[count++] = number;
    }
    out[count] = NULL;
    return ES_OK;
}

/* Forks; returns when the child has executed its program or could not. */
static es_status spawn(es_process *process, child_plan *plan, es_err *err)
{
    pipe_ends failed;
    es_status status = open_pipe(&failed, err);
    if (status != ES_OK) return status;
    plan->parent = getpid();
    plan->exec_failed_fd = failed.write;
    process->pid = fork();
    if (process->pid == 0) become(plan);
    if (process->pid < 0) {
        status = es_err_set(err, ES_IO, "%s: fork: %s", plan->argv[0], strerror(errno));
        close_pipe(&failed);
        return status;
    }
    close_fd(&failed.write);
    int reason = 0;
    ssize_t got;
    do got = read(failed.read, &reason, sizeof reason);
    while (got < 0 && errno == EINTR);
    close_fd(&failed.read);
    if (got != (ssize_t)sizeof reason) return ES_OK;
    wait_for_end(process, deadline_in_ms(END_WAIT_MS));
    return es_err_set(err, reason == ENOENT ? ES_NOT_FOUND : ES_IO, "%s: %s", plan->argv[0],
                      strerror(reason));
}

/* The pipes of a child: its ends and ours. */
typedef struct child_pipes {
    pipe_ends ready, in, out;
} child_pipes;

static es_status open_pipes(const es_process_options *options, child_pipes *pipes, es_err *err)
{
    es_status status = ES_OK;
    if (options->ready) status = open_pipe(&pipes->ready, err);
    if (status == ES_OK && options->pipe_stdin) status = open_pipe(&pipes->in, err);
    if (status == ES_OK && !options->pipe_stdin) {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        pipes->in.read = fd >= 0 ? raise_fd(fd) : -1;
        if (pipes->in.read < 0) status = es_err_set(err, ES_IO, "/dev/null: %s", strerror(errno));
    }
    if (status == ES_OK && options->pipe_stdout) status = open_pipe(&pipes->out, err);
    return status;
}

static es_status start(es_process *process, const es_process_options *options, child_pipes *pipes,
                       es_err *err)
{
    es_status status = open_pipes(options, pipes, err);
    if (status != ES_OK) return status;
    const char *argv[ES_PROCESS_ARGS_MAX];
    char number[16];
    status = copy_arguments(options, pipes->ready.write, number, argv, err);
    if (status != ES_OK) return status;
    /* exec takes pointers to non-const for history's sake; it changes nothing. */
    child_plan plan = {
        (char *const *)(uintptr_t)argv, 0, pipes->in.read, pipes->out.write, pipes->ready.write, -1};
    return spawn(process, &plan, err);
}

es_status es_process_start(const es_process_options *options, es_process **ret_process, es_err *err)
{
    *ret_process = NULL;
    es_process *process = calloc(1, sizeof *process);
    if (process == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", options->argv[0]);
    const char *slash = strrchr(options->argv[0], '/');
    snprintf(process->name, sizeof process->name, "%s", slash != NULL ? slash + 1 : options->argv[0]);
    child_pipes pipes = {{-1, -1}, {-1, -1}, {-1, -1}};
    es_status status = start(process, options, &pipes, err);
    close_fd(&pipes.ready.write);
    close_fd(&pipes.in.read);
    close_fd(&pipes.out.write);
    if (status != ES_OK) {
        close_pipe(&pipes.ready);
        close_pipe(&pipes.in);
        close_pipe(&pipes.out);
        free(process);
        return status;
    }
    process->ready_fd = pipes.ready.read;
    process->stdin_fd = pipes.in.write;
    process->stdout_fd = pipes.out.read;
    *ret_process = process;
    return ES_OK;
}

static const char FAILED[] = "failed ";

/* A line that begins with FAILED goes on with the status' name and the text. */
static es_status read_failure(const es_process *process, const char *line, es_err *err)
{
    if (strncmp(line, FAILED, sizeof FAILED - 1) != 0) return ES_OK;
    const char *name = line + sizeof FAILED - 1;
    size_t length = strcspn(name, " ");
    es_status status = es_status_named(name, length);
    if (status == ES_OK || name[length] == '\0')
        return es_err_set(err, ES_CORRUPT, "%s: failed with an unknown status", process->name);
    return es_err_set(err, status, "%s", name + length + 1);
}

/* Reads into line [ES_PROCESS_LINE_MAX] what there is, behind *length; *ret_done when its newline has come.
 */
static es_status read_line_part(es_process *process, char *line, size_t *length, bool *ret_done, es_err *err)
{
    *ret_done = false;
    char *end;
    ssize_t got = read(process->ready_fd, line + *length, ES_PROCESS_LINE_MAX - *length);
    if (got < 0) {
        if (errno == EINTR) return ES_OK;
        return es_err_set(err, ES_IO, "%s: ready line: %s", process->name, strerror(errno));
    }
    if (got == 0) {
        if (wait_for_end(process, deadline_in_ms(END_WAIT_MS)))
            return tell_end(process, " before it was ready", err);
        return es_err_set(err, ES_UNAVAILABLE, "%s: closed its ready line without a word", process->name);
    }
    *length += (size_t)got;
    end = memchr(line, '\n', *length);
    if (end == NULL && *length == ES_PROCESS_LINE_MAX)
        return es_err_set(err, ES_CORRUPT, "%s: ready line of more than %d bytes", process->name,
                          ES_PROCESS_LINE_MAX - 1);
    if (end != NULL) {
        *end = '\0';
        *ret_done = true;
        return read_failure(process, line, err);
    }
    return ES_OK;
}

es_status es_process_wait_ready(es_process *process, uint64_t deadline_ns, int cancel_fd, char *ret_line,
                                es_err *err)
{
    ES_ASSERT(process->ready_fd >= 0);
    size_t length = 0;
    bool done = false;
    es_status status = ES_OK;
    while (status == ES_OK && !done) {
        struct pollfd fds[2] = {{process->ready_fd, POLLIN, 0}, {cancel_fd, POLLIN, 0}};
        int left_ms = es_clock_left_ms(deadline_ns);
        int events = poll(fds, 2, left_ms);
        if (events < 0 && errno != EINTR)
            status = es_err_set(err, ES_IO, "%s: ready line: %s", process->name, strerror(errno));
        else if (events > 0 && fds[1].revents != 0)
            status = es_err_set(err, ES_CANCELLED, "%s: interrupted before it was ready", process->name);
        else if (events > 0)
            status = read_line_part(process, ret_line, &length, &done, err);
        else if (left_ms == 0)
            status = es_err_set(err, ES_TIMEOUT, "%s (process %d): not ready in time", process->name,
                                (int)process->pid);
    }
    close_fd(&process->ready_fd);
    return status;
}

es_status es_process_check(es_process *process, es_err *err)
{
    return has_ended(process) ? tell_end(process, "", err) : ES_OK;
}

int es_process_stdin(const es_process *process)
{
    return process->stdin_fd;
}

int es_process_stdout(const es_process *process)
{
    return process->stdout_fd;
}

void es_process_close_stdin(es_process *process)
{
    close_fd(&process->stdin_fd);
}

int es_process_id(const es_process *process)
{
    return (int)process->pid;
}

static void ask_to_end(es_process *process)
{
    close_fd(&process->ready_fd);
    close_fd(&process->stdin_fd);
    close_fd(&process->stdout_fd);
    if (!has_ended(process)) kill(process->pid, SIGTERM);
}

static void end_and_free(es_process **process_at, uint64_t grace_until_ns)
{
    es_process *process = *process_at;
    if (!wait_for_end(process, grace_until_ns)) {
        kill(-process->pid, SIGKILL); /* its group: what it started and did not end goes with it */
        wait_for_end(process, deadline_in_ms(KILL_WAIT_MS));
    }
    free(process);
    *process_at = NULL;
}

void es_process_stop(es_process **process, int grace_ms)
{
    if (*process == NULL) return;
    ask_to_end(*process);
    end_and_free(process, deadline_in_ms(grace_ms));
}

es_status es_process_group_add(es_process_group *group, es_process **process, es_err *err)
{
    if (group->count == ES_PROCESS_GROUP_MAX)
        return es_err_set(err, ES_INVALID, "more than %d child processes", ES_PROCESS_GROUP_MAX);
    group->item[group->count++] = *process;
    *process = NULL;
    return ES_OK;
}

void es_process_group_stop(es_process_group *group, int grace_ms)
{
    for (size_t i = 0; i < group->count; i++) ask_to_end(group->item[i]);
    uint64_t grace_until_ns = deadline_in_ms(grace_ms);
    for (size_t i = 0; i < group->count; i++) end_and_free(&group->item[i], grace_until_ns);
    group->count = 0;
}

es_status es_process_sibling(const char *name, char *out, size_t out_bytes, es_err *err)
{
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0) return es_err_set(err, ES_IO, "/proc/self/exe: %s", strerror(errno));
    self[length] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) return es_err_set(err, ES_IO, "/proc/self/exe: %s is not a path", self);
    *slash = '\0';
    int bytes = snprintf(out, out_bytes, "%s/%s", self, name);
    if (bytes < 0 || (size_t)bytes >= out_bytes)
        return es_err_set(err, ES_INVALID, "%s/%s: path too long", self, name);
    if (access(out, X_OK) != 0) return es_err_set(err, ES_NOT_FOUND, "%s: %s", out, strerror(errno));
    return ES_OK;
}

/* ES_UNAVAILABLE, without a text, when nobody reads any more: whoever started us has given up, and tells why.
 */
static es_status write_line(int fd, const char *line, es_err *err)
{
    char text[ES_PROCESS_LINE_MAX];
    int bytes = snprintf(text, sizeof text, "%s\n", line);
    ES_ASSERT(bytes > 0 && (size_t)bytes < sizeof text);
    ssize_t written;
    do written = write(fd, text, (size_t)bytes);
    while (written < 0 && errno == EINTR);
    if (written < 0 && errno == EPIPE) {
        if (err != NULL) *err = (es_err){.status = ES_UNAVAILABLE};
        return ES_UNAVAILABLE;
    }
    if (written != bytes) return es_err_set(err, ES_IO, "--ready-fd %d: %s", fd, strerror(errno));
    close(fd);
    return ES_OK;
}

void es_process_say_failed(int fd, es_err *err)
{
    if (fd <= STDERR_FILENO) return;
    char line[ES_PROCESS_LINE_MAX];
    snprintf(line, sizeof line, "%s%s %s", FAILED, es_status_describe(err->status)->name, err->text);
    es_status told = write_line(fd, line, NULL);
    if (told == ES_OK || told == ES_UNAVAILABLE) err->text[0] = '\0';
}

es_status es_process_say_ready(int fd, const char *line, es_err *err)
{
    return write_line(fd, line, err);
}
