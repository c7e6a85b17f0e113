/* Real etcd servers on loopback. */
#include "cluster/etcd_fixture.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "with_cmocka.h"

enum { START_MS = 30000, PAIRS_MAX = 64, GATE_BYTES = 65536 };

static const char ETCD[] = "/usr/bin/etcd";

bool etcd_installed(void)
{
    if (access(ETCD, X_OK) == 0) return true;
    fprintf(stderr, "SKIPPED: %s is not there: apt-get install etcd-server\n", ETCD);
    return false;
}

static int listen_anywhere(int *ret_port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &bytes), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* Ports that were free a moment ago. */
static void choose_ports(etcd_cluster *cluster)
{
    int fd[2 * ETCD_MEMBERS_MAX];
    for (size_t m = 0; m < cluster->count; m++) {
        fd[2 * m] = listen_anywhere(&cluster->members[m].client_port);
        fd[2 * m + 1] = listen_anywhere(&cluster->members[m].peer_port);
    }
    for (size_t i = 0; i < 2 * cluster->count; i++) close(fd[i]);
}

static pid_t start(char *const *argv)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    int quiet = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++) dup2(quiet, fd);
    execv(argv[0], argv);
    _exit(127);
}

static void run_shell(const char *folder, const char *script)
{
    char command[4096];
    snprintf(command, sizeof command, "cd %s && { %s; } >certificates.log 2>&1", folder, script);
    assert_int_equal(system(command), 0);
}

static void make_certificates(const char *folder)
{
    run_shell(folder,
              "set -e; make() { openssl req -newkey rsa:2048 -nodes -keyout $1.key -out $1.csr -subj /CN=$1; "
              "printf '%s' \"$2\" > $1.ext; openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key "
              "-CAcreateserial -out "
              "$1.pem -days 2 -extfile $1.ext; }; "
              "for ca in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -keyout $ca.key -out $ca.pem "
              "-days 2 "
              "-subj /CN=$ca; done; "
              "make server subjectAltName=IP:127.0.0.1 ca; make client extendedKeyUsage=clientAuth ca; "
              "make stranger extendedKeyUsage=clientAuth other");
}

void etcd_restart(etcd_cluster *cluster, size_t member)
{
    static char text[ETCD_ARGS_MAX][256];
    char *argv[ETCD_ARGS_MAX] = {NULL};
    size_t count = 0;
    const char *scheme = cluster->tls ? "https" : "http", *folder = cluster->folder;
    const etcd_member *m = &cluster->members[member];
#define ADD(...) (snprintf(text[count], sizeof text[0], __VA_ARGS__), argv[count] = text[count], count++)
    ADD("%s", ETCD);
    ADD("--name=m%zu", member);
    ADD("--data-dir=%s/m%zu", folder, member);
    ADD("--listen-client-urls=%s://127.0.0.1:%d", scheme, m->client_port);
    ADD("--advertise-client-urls=%s://127.0.0.1:%d", scheme, m->client_port);
    ADD("--listen-peer-urls=http://127.0.0.1:%d", m->peer_port);
    ADD("--initial-advertise-peer-urls=http://127.0.0.1:%d", m->peer_port);
    ADD("--heartbeat-interval=50");
    ADD("--election-timeout=500");
    ADD("--initial-cluster=");
    for (size_t i = 0; i < cluster->count; i++) {
        size_t at = strlen(argv[count - 1]);
        snprintf(argv[count - 1] + at, sizeof text[0] - at, "%sm%zu=http://127.0.0.1:%d", i > 0 ? "," : "", i,
                 cluster->members[i].peer_port);
    }
    if (cluster->tls) {
        ADD("--cert-file=%s/server.pem", folder);
        ADD("--key-file=%s/server.key", folder);
        ADD("--trusted-ca-file=%s/ca.pem", folder);
        ADD("--client-cert-auth");
    }
#undef ADD
    cluster->members[member].pid = start(argv);
}

void etcd_start(etcd_cluster *cluster, size_t count, bool tls)
{
    *cluster = (etcd_cluster){.count = count, .tls = tls, .folder = "etcd-XXXXXX"};
    assert_non_null(mkdtemp(cluster->folder));
    choose_ports(cluster);
    if (tls) make_certificates(cluster->folder);
    for (size_t m = 0; m < count; m++) etcd_restart(cluster, m);
    for (size_t m = 0; m < count && !tls; m++) etcd_wait(cluster, m);
}

void etcd_kill(etcd_cluster *cluster, size_t member)
{
    if (cluster->members[member].pid == 0) return;
    kill(cluster->members[member].pid, SIGKILL);
    waitpid(cluster->members[member].pid, NULL, 0);
    cluster->members[member].pid = 0;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

void etcd_stop(etcd_cluster *cluster)
{
    for (size_t m = 0; m < cluster->count; m++) etcd_kill(cluster, m);
    nftw(cluster->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void etcd_endpoints(const etcd_cluster *cluster, char ret_text[256])
{
    size_t at = 0;
    for (size_t m = 0; m < cluster->count; m++)
        at += (size_t)snprintf(ret_text + at, 256 - at, "%s%s://127.0.0.1:%d", m > 0 ? "," : "",
                               cluster->tls ? "https" : "http", cluster->members[m].client_port);
}

json_t *etcd_post(const etcd_cluster *cluster, size_t member, const char *path, const char *body)
{
    return etcd_post_as(cluster, member, NULL, NULL, path, body);
}

json_t *etcd_post_as(const etcd_cluster *cluster, size_t member, const char *user, const char *password,
                     const char *path, const char *body)
{
    char endpoint[64];
    static es_registry nobody;        /* whose counts nobody reads */
    static const es_registry_ops OPS; /* none */
    es_etcd *etcd;
    es_etcd_link *link;
    json_t *reply;
    es_err err;
    if (nobody.view == NULL) assert_int_equal(es_registry_init(&nobody, &OPS, &err), ES_OK);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", cluster->members[member].client_port);
    const es_etcd_options options = {.endpoints = endpoint, .user = user, .password = password};
    assert_int_equal(es_etcd_create(&options, &nobody, &etcd, &err), ES_OK);
    assert_int_equal(es_etcd_link_create(etcd, &link, &err), ES_OK);
    json_t *json = json_loads(body, 0, NULL);
    assert_non_null(json);
    es_etcd_call(link, path, json, es_clock_now_ns() + 3000000000ull, &reply, &err);
    es_etcd_link_destroy(&link);
    es_etcd_destroy(&etcd);
    return reply;
}

void etcd_wait(const etcd_cluster *cluster, size_t member)
{
    uint64_t deadline_ns = es_clock_now_ns() + START_MS * 1000000ull;
    for (;;) { /* a range that needs a quorum */
        json_t *reply = etcd_post(cluster, member, "/v3/kv/range", "{\"key\": \"YQ==\"}");
        json_decref(reply);
        if (reply != NULL) return;
        assert_true(es_clock_now_ns() < deadline_ns);
        usleep(50000);
    }
}

struct gate {
    pthread_t thread;
    int listening, to_port;
    atomic_int state;
    atomic_bool stopping;
    int ends[PAIRS_MAX][2]; /* connected to each other; -1: free */
};

static void drop(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) close(pair[i]);
        pair[i] = -1;
    }
}

static void let_in(gate *g)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)g->to_port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = accept4(g->listening, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    size_t at = 0;
    while (at < PAIRS_MAX && g->ends[at][0] >= 0) at++;
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (at == PAIRS_MAX || atomic_load(&g->state) == GATE_SHUT ||
        connect(other, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        close(other);
        return;
    }
    g->ends[at][0] = fd;
    g->ends[at][1] = other;
}

/* False: one end is gone, or what comes is not let through. */
static bool pass(int state, int from, int to)
{
    static const char KEYS[] = "POST /v3/kv/";
    static char bytes[GATE_BYTES]; /* one gate at a time */
    ssize_t got = read(from, bytes, sizeof bytes);
    if (state == GATE_NO_KEYS && got > 0 && memmem(bytes, (size_t)got, KEYS, sizeof KEYS - 1) != NULL)
        return false;
    for (ssize_t done = 0; done < got;) {
        ssize_t wrote = write(to, bytes + done, (size_t)(got - done));
        if (wrote <= 0) return false;
        done += wrote;
    }
    return got > 0;
}

static void *gate_main(void *context)
{
    gate *g = context;
    while (!atomic_load(&g->stopping)) {
        struct pollfd items[1 + 2 * PAIRS_MAX];
        int state = atomic_load(&g->state);
        items[0] = (struct pollfd){g->listening, state == GATE_MUTE ? 0 : POLLIN, 0};
        for (size_t p = 0; p < PAIRS_MAX; p++) {
            if (state == GATE_SHUT) drop(g->ends[p]);
            for (size_t e = 0; e < 2; e++)
                items[1 + 2 * p + e] = (struct pollfd){state == GATE_MUTE ? -1 : g->ends[p][e], POLLIN, 0};
        }
        if (poll(items, 1 + 2 * PAIRS_MAX, 5) <= 0) continue;
        if (items[0].revents != 0) let_in(g);
        for (size_t p = 0; p < PAIRS_MAX; p++)
            for (size_t e = 0; e < 2; e++)
                if (items[1 + 2 * p + e].fd >= 0 && items[1 + 2 * p + e].revents != 0 && g->ends[p][0] >= 0 &&
                    !pass(state, g->ends[p][e], g->ends[p][1 - e]))
                    drop(g->ends[p]);
    }
    return NULL;
}

gate *gate_open(int to_port, int *ret_port)
{
    gate *g = calloc(1, sizeof *g);
    assert_non_null(g);
    signal(SIGPIPE, SIG_IGN);
    g->to_port = to_port;
    g->listening = listen_anywhere(ret_port);
    memset(g->ends, 0xff, sizeof g->ends);
    assert_int_equal(pthread_create(&g->thread, NULL, gate_main, g), 0);
    return g;
}

void gate_set(gate *g, gate_state state)
{
    atomic_store(&g->state, (int)state);
}

void gate_close(gate *g)
{
    atomic_store(&g->stopping, true);
    pthread_join(g->thread, NULL);
    for (size_t p = 0; p < PAIRS_MAX; p++) drop(g->ends[p]);
    close(g->listening);
    free(g);
}
