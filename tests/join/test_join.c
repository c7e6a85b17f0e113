/* From nothing to a node that holds its share: real programs on loopback, this process the coordinator. */
#include "base/clock.h"
#include "base/log.h"
#include "base/process.h"
#include "cluster/token.h"
#include "join/join.h"
#include "net/control.h"
#include "units/store_fixture.h"
#include "weights/expert_index.h"
#include "with_cmocka.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 30000, EXPERTS = 8, LAYERS = 2, ALL = EXPERTS * LAYERS, OUTPUT = 8192, LONG_MS = 60000 };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

/* The coordinator's side. */
typedef struct scene {
    char folder[TEST_PATH_MAX], shards[TEST_PATH_MAX], registry_dir[TEST_PATH_MAX], keys_file[TEST_PATH_MAX];
    char at[64]; /* of the join server */
    es_keys keys, other;
    es_registry *registry;
    es_expert_index *index;
    uint8_t sums[ALL][ES_CONTENT_SUM_BYTES], formats[ALL][ES_EXPERT_PARTS];
    uint64_t bytes;
    es_join *join;
} scene;

/* A machine. */
typedef struct machine {
    char dir[TEST_PATH_MAX], listen[32], name[16];
    pid_t pid;
    es_net *net;
    es_channel *control;
    es_control_memory *memory;
    es_peer self; /* where it gives its shards */
} machine;

static uint8_t frame[ES_CONTROL_FRAME_MAX];

static void start_join(scene *s, uint64_t bytes_per_s)
{
    es_endpoint at;
    const es_join_options options = {.listen = "127.0.0.1:0",
                                     .keys = &s->keys,
                                     .registry = s->registry,
                                     .shape = es_expert_index_shape(s->index),
                                     .fingerprint = es_expert_index_fingerprint(s->index),
                                     .model = s->shards,
                                     .bytes_per_s = bytes_per_s};
    MUST(es_join_start(&options, &s->join, &must_err));
    at = es_join_endpoint(s->join);
    snprintf(s->at, sizeof s->at, "127.0.0.1:%u", at.port);
}

static int enter(void **state)
{
    static scene s;
    const char *path = s.shards;
    folder_make(s.folder);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 1, s.folder, s.shards);
    snprintf(s.registry_dir, sizeof s.registry_dir, "%.200s/registry", s.folder);
    snprintf(s.keys_file, sizeof s.keys_file, "%.200s/head.key", s.folder);
    MUST(es_keys_generate(s.keys_file, &s.keys, &must_err));
    assert_int_equal(zmq_curve_keypair(s.other.public_key, s.other.secret), 0);
    MUST(es_registry_open_embedded(s.registry_dir, LONG_MS, &s.registry, &must_err));
    MUST(es_expert_index_open(&path, 1, &s.index, &must_err));
    const es_shape *shape = es_expert_index_shape(s.index);
    for (size_t i = 0; i < ALL; i++) {
        es_expert_offer offer;
        const es_chunks whole = {0, (uint32_t)es_chunks_of(shape->expert_intermediate)};
        MUST(es_expert_index_find(s.index, 1 + i / EXPERTS, i % EXPERTS, whole, &offer, &must_err));
        const es_shard_unit *unit = es_expert_index_unit(s.index, offer.entry).unit;
        memcpy(s.sums[i], unit->sum, ES_CONTENT_SUM_BYTES);
        for (size_t p = 0; p < ES_EXPERT_PARTS; p++) s.formats[i][p] = (uint8_t)unit->parts[p].format;
        s.bytes += offer.bytes;
    }
    start_join(&s, 0);
    *state = &s;
    return 0;
}

static int leave(void **state)
{
    scene *s = *state;
    es_join_stop(&s->join);
    es_registry_close(&s->registry);
    es_expert_index_close(&s->index);
    folder_remove(s->folder);
    return 0;
}

/* Starts a program; its output comes out of *ret_out, both streams of it when both. */
static pid_t start(const char *const *argv, bool both, int *ret_out)
{
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing running */
        dup2(pipe_fds[1], STDOUT_FILENO);
        if (both) dup2(pipe_fds[1], STDERR_FILENO);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipe_fds[1]);
    *ret_out = pipe_fds[0];
    return pid;
}

/* Reads to the end, or to a line that begins with `until`. */
static void read_output(int fd, const char *until, char text[OUTPUT])
{
    size_t bytes = 0;
    ssize_t got;
    text[0] = '\0';
    while (bytes < OUTPUT - 1 && (got = read(fd, text + bytes, OUTPUT - 1 - bytes)) > 0) {
        bytes += (size_t)got;
        text[bytes] = '\0';
        const char *line = until != NULL ? strstr(text, until) : NULL;
        if (line != NULL && strchr(line, '\n') != NULL) break;
    }
}

/* Runs `essaim …` to its end; its code, and what it said. */
static int essaim(const char *const *words, char text[OUTPUT])
{
    const char *argv[32] = {ESSAIM_PROGRAM};
    size_t n = 1;
    int out, how;
    for (; *words != NULL; words++) argv[n++] = *words;
    pid_t pid = start(argv, true, &out);
    read_output(out, NULL, text);
    close(out);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

static void get_token(const scene *s, const char *ttl, char token[OUTPUT])
{
    const char *words[] = {"token", "--registry", s->registry_dir, "--keys", s->keys_file,
                           "--at",  s->at,        "--ttl",         ttl,      NULL};
    assert_int_equal(essaim(words, token), 0);
    token[strcspn(token, "\n")] = '\0';
}

/* The server is another one now, with the same keys. */
static void move_token(const scene *s, char token[OUTPUT])
{
    char *at = strchr(token, '@');
    assert_non_null(at);
    snprintf(at, (size_t)(token + OUTPUT - at), "@%s", s->at);
}

/* The first of three ports that nobody has. */
static uint16_t free_ports(void)
{
    for (uint16_t port = (uint16_t)(20000 + getpid() % 20000);; port = (uint16_t)(port + 3)) {
        bool all = true;
        for (uint16_t p = port; p < port + 3 && all; p++) {
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(p)};
            at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            all = bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
            close(fd);
        }
        if (all) return port;
    }
}

static void name_machine(const scene *s, const char *name, machine *m)
{
    *m = (machine){.pid = -1};
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->dir, sizeof m->dir, "%.200s/%s", s->folder, name);
    snprintf(m->listen, sizeof m->listen, "127.0.0.1:%u", free_ports());
}

static void connect_to(const scene *s, machine *m)
{
    char key_file[TEST_PATH_MAX + 32];
    es_keys keys;
    es_endpoint at;
    const es_channel_limits limits = {ES_CONTROL_FRAME_MAX, 8};
    const es_net_options options = {&s->keys, NULL};
    snprintf(key_file, sizeof key_file, "%s/node.key", m->dir);
    MUST(es_keys_load(key_file, &keys, &must_err));
    MUST(es_net_open(&options, &m->net, &must_err));
    MUST(es_endpoint_parse_connect(m->listen, &at, &must_err));
    MUST(es_channel_connect(m->net, &at, keys.public_key, &limits, &m->control, &must_err));
    MUST(es_control_memory_create(&m->memory, &must_err));
    strcpy(m->self.name, m->name);
    strcpy(m->self.key, keys.public_key);
    snprintf(m->self.shards, sizeof m->self.shards, "tcp://127.0.0.1:%u", at.port + 2);
}

/* Starts the machine: with a token it joins first. */
static void start_machine(const scene *s, machine *m, const char *token)
{
    char text[OUTPUT];
    int out;
    const char *first[] = {ESSAIM_PROGRAM, "join",    token,      "--dir", m->dir,      "--name", m->name,
                           "--listen",     m->listen, "--memory", "1G",    "--threads", "1",      NULL};
    const char *later[] = {ESSAIM_PROGRAM, "join", "--dir", m->dir, "--threads", "1", NULL};
    m->pid = start(token != NULL ? first : later, false, &out);
    read_output(out, "ready control=", text);
    close(out);
    if (strstr(text, "ready control=") == NULL) fail_msg("%s: %s", m->name, text);
    connect_to(s, m);
}

static void stop_machine(machine *m, int signal)
{
    int how;
    es_channel_close(&m->control);
    es_net_close(&m->net);
    es_control_memory_destroy(&m->memory);
    kill(m->pid, signal);
    assert_int_equal(waitpid(m->pid, &how, 0), m->pid);
}

/* Asks over the control link; false when nothing came within ms. */
static bool try_ask(machine *m, const es_control_request *request, int ms, es_control_reply *ret_reply)
{
    es_message out = {.count = 0}, in;
    static char text[ES_ERR_TEXT_MAX];
    assert_true(es_message_add(&out, frame, es_control_request_pack(m->memory, request, frame)));
    zmq_pollitem_t item = {es_channel_socket(m->control), 0, ZMQ_POLLOUT, 0};
    if (zmq_poll(&item, 1, ms) != 1 || es_channel_send(m->control, &out, NULL) != ES_OK) {
        es_message_close(&out);
        return false;
    }
    item.events = ZMQ_POLLIN;
    if (zmq_poll(&item, 1, ms) != 1) return false;
    MUST(es_channel_receive(m->control, &in, &must_err));
    MUST(es_control_reply_unpack(m->memory, es_message_data(&in, 0), es_message_bytes(&in, 0), ret_reply,
                                 &must_err));
    snprintf(text, sizeof text, "%s", ret_reply->text);
    ret_reply->text = text;
    es_message_close(&in);
    return true;
}

static es_control_reply ask(machine *m, const es_control_request *request)
{
    es_control_reply reply = {.status = ES_TIMEOUT, .text = "no answer"};
    try_ask(m, request, WAIT_MS, &reply);
    if (reply.status != ES_OK) fail_msg("%s: %s", m->name, reply.text);
    return reply;
}

static void greet(const scene *s, machine *m)
{
    es_control_request hello = {.coordinator = 7, .kind = ES_CONTROL_HELLO, .hello = {.name = "head"}};
    memcpy(hello.hello.fingerprint, es_expert_index_fingerprint(s->index), ES_FINGERPRINT_BYTES);
    es_control_reply reply = ask(m, &hello);
    char where[ES_ENDPOINT_TEXT_MAX];
    snprintf(where, sizeof where, "tcp://127.0.0.1:%u", reply.hello.shard_port);
    assert_string_equal(where, m->self.shards);
}

static es_node_state state_of(machine *m)
{
    return ask(m, &(es_control_request){.coordinator = 7, .kind = ES_CONTROL_STATE}).state;
}

static void load_all(const scene *s, machine *m, uint64_t epoch)
{
    const es_units units[] = {{1, 0, EXPERTS, 0, 1}, {2, 0, EXPERTS, 0, 1}};
    ask(m, &(es_control_request){.coordinator = 7,
                                 .kind = ES_CONTROL_LOAD,
                                 .change = {epoch, units, LAYERS, s->sums[0], ALL, s->formats[0]}});
}

static es_node_state wait_until_ready(machine *m)
{
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    for (;;) {
        es_node_state state = state_of(m);
        if (state.phase == ES_NODE_READY) return state;
        if (es_clock_now_ns() > until_ns) fail_msg("%s is not ready: %s", m->name, state.failure);
        usleep(5000);
    }
}

static void tell_members(machine *m, const es_peer *peers, size_t count,
                         const char (*revoked)[ES_KEY_TEXT_BYTES], size_t revoked_count)
{
    ask(m, &(es_control_request){.coordinator = 7,
                                 .kind = ES_CONTROL_MEMBERS,
                                 .members = {peers, count, revoked, revoked_count}});
}

static void from_nothing_to_all_that_it_is_to_hold(void **state)
{
    scene *s = *state;
    machine a, b;
    char token[OUTPUT], text[OUTPUT];
    name_machine(s, "n1", &a);
    get_token(s, "600", token);
    start_machine(s, &a, token);
    es_registry_view *view;
    MUST(es_registry_view_get(s->registry, &view, &must_err));
    const es_node_record *record = es_registry_view_find(view, "n1");
    assert_non_null(record);
    assert_string_equal(record->key, a.self.key);
    assert_int_equal(record->memory_bytes, 1u << 30);
    assert_string_equal(record->control + strlen("tcp://"), a.listen);
    es_registry_view_destroy(&view);
    greet(s, &a);
    load_all(s, &a, 1);
    es_node_state now = wait_until_ready(&a); /* from the coordinator: there is nobody else */
    assert_true(now.fetched_bytes == s->bytes && now.mapped_bytes == s->bytes && now.fetch_experts == 0);
    assert_true(es_join_get_stats(s->join).shards.given_bytes == s->bytes);
    /* the same token again, by somebody else */
    name_machine(s, "n9", &b);
    const char *again[] = {"join", token, "--dir", b.dir, "--name", "n9", "--listen", b.listen, NULL};
    assert_int_equal(essaim(again, text), 1);
    assert_non_null(strstr(text, "the token was used already, by n1"));
    assert_int_equal(es_join_get_stats(s->join).used, 1);
    /* the second machine takes all from the first; and the first, started again, has all */
    name_machine(s, "n2", &b);
    get_token(s, "600", token);
    start_machine(s, &b, token);
    greet(s, &b);
    tell_members(&a, &b.self, 1, NULL, 0);
    tell_members(&b, (es_peer[]){a.self, b.self}, 2, NULL, 0);
    load_all(s, &b, 1);
    assert_true(wait_until_ready(&b).fetched_bytes == s->bytes);
    assert_true(es_join_get_stats(s->join).shards.given_bytes == s->bytes);
    stop_machine(&a, SIGTERM);
    start_machine(s, &a, NULL);
    greet(s, &a);
    load_all(s, &a, 2);
    now = wait_until_ready(&a);
    assert_true(now.fetched_bytes == 0 && now.mapped_bytes == s->bytes);
    stop_machine(&a, SIGTERM);
    stop_machine(&b, SIGTERM);
}

static void who_is_killed_while_fetching_takes_up_where_he_was(void **state)
{
    scene *s = *state;
    machine m;
    char token[OUTPUT];
    es_join_stop(&s->join);
    start_join(s, s->bytes / 2); /* two seconds for all */
    name_machine(s, "n3", &m);
    get_token(s, "600", token);
    start_machine(s, &m, token);
    greet(s, &m);
    load_all(s, &m, 1);
    uint64_t fetched;
    while ((fetched = state_of(&m).fetched_bytes) < s->bytes / 3) usleep(5000);
    assert_int_equal(state_of(&m).phase, ES_NODE_LOADING);
    stop_machine(&m, SIGKILL);
    start_machine(s, &m, NULL);
    greet(s, &m);
    load_all(s, &m, 1);
    es_node_state now = wait_until_ready(&m);
    assert_true(now.mapped_bytes == s->bytes);
    assert_true(now.fetched_bytes <= s->bytes - fetched); /* nothing of what was there */
    stop_machine(&m, SIGTERM);
    es_join_stop(&s->join);
    start_join(s, 0);
}

static void expect_refusal(const scene *s, const char *token, const char *name, const char *complaint)
{
    machine m;
    char text[OUTPUT];
    name_machine(s, "refused", &m);
    const char *words[] = {"join",     token,    "--dir",    m.dir, "--name", name,
                           "--listen", m.listen, "--memory", "1G",  NULL};
    if (essaim(words, text) != 1 || strstr(text, complaint) == NULL) fail_msg("%s", text);
    const char *last = strrchr(text, '\n'); /* one line says it */
    assert_true(last != NULL && last[1] == '\0');
}

/* A port that is taken, a folder that cannot be one, a token that cannot be read: the token stays good. */
static void what_fails_here_fails_first(const scene *s, const char *token)
{
    machine m;
    char text[OUTPUT], path[TEST_PATH_MAX + 32];
    name_machine(s, "blocked", &m);
    struct sockaddr_in at = {.sin_family = AF_INET};
    at.sin_port = htons((uint16_t)(strtoul(strchr(m.listen, ':') + 1, NULL, 10) + 1));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int taken = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(taken, (const struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(taken, 1), 0);
    const char *words[] = {"join",     token,    "--dir",    m.dir, "--name", "n5",
                           "--listen", m.listen, "--memory", "1G",  NULL};
    if (essaim(words, text) != 1 || strstr(text, ", for rows, cannot be had") == NULL ||
        strstr(text, "(the token is not spent)") == NULL)
        fail_msg("%s", text);
    close(taken);
    snprintf(path, sizeof path, "%s/shards", m.dir); /* made by the first try */
    assert_int_equal(rmdir(path), 0);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    if (essaim(words, text) != 1 || strstr(text, "Not a directory") == NULL ||
        strstr(text, "(the token is not spent)") == NULL)
        fail_msg("%s", text);
    const char *both[] = {"join", token, "--token-file", path, "--dir", m.dir, NULL};
    if (essaim(both, text) != 2 || strstr(text, "one of the two") == NULL) fail_msg("%s", text);
    const char *empty[] = {"join", "--token-file", path, "--dir", m.dir, NULL};
    if (essaim(empty, text) != 1 || strstr(text, "no token is on its first line") == NULL)
        fail_msg("%s", text);
}

static void tokens_that_let_nobody_in(void **state)
{
    scene *s = *state;
    char token[OUTPUT], text[ES_TOKEN_TEXT_MAX], whole[OUTPUT];
    es_token other;
    get_token(s, "1", token);
    MUST(es_token_make(s->keys.public_key, 600, &other, &must_err)); /* nobody put it into the registry */
    es_token_format(&other, text);
    snprintf(whole, sizeof whole, "%s@%s", text, s->at);
    expect_refusal(s, whole, "n4", "the token is not known here, or has lapsed");
    MUST(es_token_make(s->other.public_key, 600, &other, &must_err)); /* another server's */
    es_token_format(&other, text);
    snprintf(whole, sizeof whole, "%s@%s", text, s->at);
    expect_refusal(s, whole, "n4", "is not the machine that made this token");
    snprintf(whole, sizeof whole, "%s", token);
    whole[20] = whole[20] == 'x' ? 'y' : 'x';
    expect_refusal(s, whole, "n4", "the token is damaged");
    usleep(2100000);
    expect_refusal(s, token, "n4", "the token has lapsed: it was good until");
    get_token(s, "600", token);
    expect_refusal(s, token, "n1", "the name n1 is another machine's"); /* and the token is not spent */
    assert_true(es_join_get_stats(s->join).unknown >= 2);
    assert_int_equal(es_join_get_stats(s->join).names, 1);
    /* neither while its machine is away */
    es_registry *kept = s->registry;
    es_join_stop(&s->join);
    MUST(es_registry_open_embedded(s->registry_dir, 1, &s->registry, &must_err));
    start_join(s, 0);
    usleep(5000);
    es_registry_view *view;
    MUST(es_registry_view_get(s->registry, &view, &must_err));
    assert_true(view->node_count == 0 && view->lapsed_count >= 1);
    es_registry_view_destroy(&view);
    move_token(s, token);
    expect_refusal(s, token, "n1", "the name n1 is another machine's");
    assert_int_equal(es_join_get_stats(s->join).names, 1);
    es_join_stop(&s->join);
    es_registry_close(&s->registry);
    s->registry = kept;
    start_join(s, 0);
    move_token(s, token);
    what_fails_here_fails_first(s, token);
    machine m;
    name_machine(s, "n5", &m);
    start_machine(s, &m, token);
    stop_machine(&m, SIGTERM);
}

static void a_revoked_machine_is_shut_out(void **state)
{
    scene *s = *state;
    machine m, other;
    char token[OUTPUT], text[OUTPUT];
    es_control_reply reply;
    es_join_stop(&s->join);
    start_join(s, s->bytes / 8); /* it is not done before the revocation is known here */
    name_machine(s, "n6", &m);
    get_token(s, "600", token);
    start_machine(s, &m, token);
    greet(s, &m);
    load_all(s, &m, 1);
    const char *words[] = {"revoke", "n6", "--registry", s->registry_dir, NULL};
    if (essaim(words, text) != 0 || strstr(text, m.self.key) == NULL) fail_msg("%s", text);
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (es_join_get_stats(s->join).shards.refused + es_join_get_stats(s->join).shards.strangers == 0) {
        assert_true(es_clock_now_ns() < until_ns); /* it asks for experts, and does not get them */
        usleep(20000);
    }
    assert_true(state_of(&m).fetched_bytes < s->bytes);
    assert_int_equal(state_of(&m).phase, ES_NODE_LOADING);
    stop_machine(&m, SIGTERM);
    /* nor may it join again: with its old keys and a new token */
    name_machine(s, "n7", &other);
    assert_int_equal(mkdir(other.dir, 0700), 0);
    char copy[1024];
    snprintf(copy, sizeof copy, "cp -p %s/node.key %s/node.key", m.dir, other.dir);
    assert_int_equal(system(copy), 0);
    get_token(s, "600", token);
    const char *again[] = {"join", token, "--dir", other.dir, "--name", "n7", "--listen", other.listen, NULL};
    if (essaim(again, text) != 1 || strstr(text, "revoked") == NULL) fail_msg("%s", text);
    /* a coordinator that others revoked is heard no more, after a restart either */
    name_machine(s, "n8", &m);
    start_machine(s, &m, token);
    greet(s, &m);
    tell_members(&m, NULL, 0, (const char(*)[ES_KEY_TEXT_BYTES]) & s->keys.public_key, 1);
    assert_false(try_ask(&m, &(es_control_request){.coordinator = 7, .kind = ES_CONTROL_STATE}, 700, &reply));
    stop_machine(&m, SIGTERM);
    start_machine(s, &m, NULL);
    assert_false(try_ask(&m, &(es_control_request){.coordinator = 7, .kind = ES_CONTROL_STATE}, 700, &reply));
    stop_machine(&m, SIGTERM);
}

static void who_is_removed_gets_no_experts_any_more(void **state)
{
    scene *s = *state;
    machine m;
    char token[OUTPUT], text[OUTPUT];
    name_machine(s, "n9", &m);
    get_token(s, "600", token);
    start_machine(s, &m, token);
    greet(s, &m);
    usleep(600000); /* the coordinator has seen it in the registry */
    uint64_t before = es_join_get_stats(s->join).shards.strangers;
    const char *words[] = {"node", "remove", "n9", "--registry", s->registry_dir, NULL};
    if (essaim(words, text) != 0) fail_msg("%s", text);
    usleep(600000);
    load_all(s, &m, 1);
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (es_join_get_stats(s->join).shards.strangers == before) {
        assert_true(es_clock_now_ns() < until_ns);
        usleep(20000);
    }
    assert_int_equal(state_of(&m).fetched_bytes, 0);
    assert_non_null(strstr(state_of(&m).failure, "this key is none's"));
    stop_machine(&m, SIGTERM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_nothing_to_all_that_it_is_to_hold),
        cmocka_unit_test(who_is_killed_while_fetching_takes_up_where_he_was),
        cmocka_unit_test(tokens_that_let_nobody_in),
        cmocka_unit_test(a_revoked_machine_is_shut_out),
        cmocka_unit_test(who_is_removed_gets_no_experts_any_more),
    };
    es_log_configure("test", ES_LOG_ERROR);
    return cmocka_run_group_tests(tests, enter, leave);
}
