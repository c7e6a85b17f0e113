/* Whoever else may come to an expert node's sockets: strangers, and allowed ones that send what no
 * coordinator does. Usage: peer HOST:PORT SERVER_KEY|- KEY_FILE|- COMMAND [N]; "-": without. knock      "up",
 * "refused" (the handshake failed) or "nobody" stats      the node's statistics as JSON throw N    N messages
 * of random frames and bytes huge N     one frame of N MiB: "cut" when the connection ends, "taken" when it
 * does not endless N  a message of at most N frames of 1 MiB that never ends: "cut after M MiB", or "taken"
 *     stale N    hello; then LOAD under epoch N, under N - 1, and DROP under N - 1: each answer's status
 * One line on stdout. */
#include "base/clock.h"
#include "net/channel.h"
#include "net/control.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { WAIT_MS = 5000, FRAME_MAX = 3000, MIB = 1 << 20, COORDINATOR = 4711 };

typedef struct visit {
    void *context, *socket, *monitor;
    es_control_memory *memory;
    uint8_t frame[ES_CONTROL_FRAME_MAX];
} visit;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "peer: %s: %s\n", what, why);
    exit(2);
}

static void must(int result, const char *what)
{
    if (result < 0) fail(what, zmq_strerror(zmq_errno()));
}

static void use_keys(void *socket, const char *server_key, const char *key_file)
{
    es_keys keys;
    es_err err;
    if (strcmp(key_file, "-") == 0) return;
    if (es_keys_load(key_file, &keys, &err) != ES_OK) fail(key_file, err.text);
    must(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, keys.secret, ES_KEY_TEXT_BYTES), "secret key");
    must(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, keys.public_key, ES_KEY_TEXT_BYTES), "public key");
    must(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, ES_KEY_TEXT_BYTES), "server key");
}

static void open_link(visit *l, const char *where, const char *server_key, const char *key_file)
{
    char at[300];
    int linger = 0, queue = 4, once = -1;
    es_err err;
    if (es_control_memory_create(&l->memory, &err) != ES_OK) fail("memory", err.text);
    l->context = zmq_ctx_new();
    l->socket = zmq_socket(l->context, ZMQ_DEALER);
    l->monitor = zmq_socket(l->context, ZMQ_PAIR);
    must(zmq_setsockopt(l->socket, ZMQ_LINGER, &linger, sizeof linger), "linger");
    must(zmq_setsockopt(l->socket, ZMQ_SNDHWM, &queue, sizeof queue), "queue");
    must(zmq_setsockopt(l->socket, ZMQ_RECONNECT_IVL, &once, sizeof once), "reconnect");
    use_keys(l->socket, server_key, key_file);
    must(zmq_socket_monitor(l->socket, "inproc://monitor", ZMQ_EVENT_ALL), "monitor");
    must(zmq_connect(l->monitor, "inproc://monitor"), "monitor");
    snprintf(at, sizeof at, "tcp://%s", where);
    must(zmq_connect(l->socket, at), where);
}

static void close_link(visit *l)
{
    zmq_close(l->socket);
    zmq_close(l->monitor);
    zmq_ctx_term(l->context);
    es_control_memory_destroy(&l->memory);
}

/* The next event of the connection, 0: none within ms. */
static int next_event(visit *l, int ms)
{
    zmq_pollitem_t item = {l->monitor, 0, ZMQ_POLLIN, 0};
    uint8_t frame[6];
    char where[256];
    uint16_t event;
    if (zmq_poll(&item, 1, ms) != 1 || zmq_recv(l->monitor, frame, sizeof frame, 0) != (int)sizeof frame)
        return 0;
    zmq_recv(l->monitor, where, sizeof where, 0);
    memcpy(&event, frame, sizeof event);
    return event;
}

/* A server that refuses a key closes the connection, as one that ends does: what follows a connection and is
 * no success is a refusal. */
static const char *knock(visit *l)
{
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * UINT64_C(1000000);
    bool connected = false;
    while (es_clock_now_ns() < until_ns) {
        int event = next_event(l, 100);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return "up";
        if (event == ZMQ_EVENT_CONNECTED) connected = true;
        bool over = event == ZMQ_EVENT_DISCONNECTED || event == ZMQ_EVENT_CLOSED ||
                    event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ||
                    event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL;
        if (over && connected) return "refused";
    }
    return connected ? "refused" : "nobody";
}

static void must_be_up(visit *l)
{
    if (strcmp(knock(l), "up") != 0) fail("connection", "refused");
}

/* True when the connection ended within ms. */
static bool cut(visit *l, int ms)
{
    uint64_t until_ns = es_clock_now_ns() + (uint64_t)ms * 1000000;
    do {
        int event = next_event(l, ms == 0 ? 0 : 50);
        if (event == ZMQ_EVENT_DISCONNECTED || event == ZMQ_EVENT_CLOSED) return true;
        if (event == 0 && ms == 0) return false;
    } while (es_clock_now_ns() < until_ns);
    return false;
}

static es_control_reply ask(visit *l, const es_control_request *request)
{
    static uint8_t answer[ES_CONTROL_FRAME_MAX];
    zmq_pollitem_t item = {l->socket, 0, ZMQ_POLLIN, 0};
    es_control_reply reply;
    es_err err = {.text = ""};
    must(zmq_send(l->socket, l->frame, es_control_request_pack(l->memory, request, l->frame), 0), "request");
    if (zmq_poll(&item, 1, WAIT_MS) != 1) fail("request", "no answer");
    int bytes = zmq_recv(l->socket, answer, sizeof answer, 0);
    must(bytes, "answer");
    if (es_control_reply_unpack(l->memory, answer, (size_t)bytes, &reply, &err) != ES_OK)
        fail("answer", err.text);
    return reply;
}

static void tell_stats(visit *l)
{
    es_control_reply reply =
        ask(l, &(es_control_request){.coordinator = COORDINATOR, .kind = ES_CONTROL_STATS});
    const es_node_stats *s = &reply.stats;
    uint64_t errors = 0;
    for (size_t i = 0; i < ES_STATUS_COUNT; i++) errors += s->errors[i];
    printf("{\"calls\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"malformed\": %" PRIu64
           ", \"unsent\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n",
           s->calls, errors, s->malformed, s->unsent, s->refused);
}

static void throw_frames(visit *l, unsigned long messages)
{
    unsigned seed = (unsigned)messages;
    for (unsigned long m = 0; m < messages; m++) {
        int frames = rand_r(&seed) % 6 + 1;
        for (int i = 0; i < frames; i++) {
            uint8_t bytes[FRAME_MAX];
            size_t count = (size_t)rand_r(&seed) % FRAME_MAX;
            for (size_t b = 0; b < count; b++) bytes[b] = (uint8_t)rand_r(&seed);
            zmq_pollitem_t item = {l->socket, 0, ZMQ_POLLOUT, 0};
            if (zmq_poll(&item, 1, WAIT_MS) != 1) fail("throw", "the node takes nothing any more");
            must(zmq_send(l->socket, bytes, count, i + 1 < frames ? ZMQ_SNDMORE : 0), "throw");
        }
    }
    cut(l, 300); /* LINGER is 0: what was thrown has to leave first */
    puts("thrown");
}

static void send_huge(visit *l, unsigned long mib)
{
    zmq_msg_t message;
    must(zmq_msg_init_size(&message, mib * MIB), "huge");
    memset(zmq_msg_data(&message), 1, mib * MIB);
    must(zmq_msg_send(&message, l->socket, 0), "huge");
    puts(cut(l, WAIT_MS) ? "cut" : "taken");
}

static int connect_raw(const char *where)
{
    /* How a peer of ZMTP 3.0 without encryption begins: greeting, then READY as a DEALER. */
    static const uint8_t GREETING[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    static const uint8_t READY[] = "\x04\x1c\5READY\13Socket-Type\0\0\0\6DEALER";
    char host[64];
    unsigned port;
    if (sscanf(where, "%63[^:]:%u", host, &port) != 2) fail(where, "is no HOST:PORT");
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = {.tv_sec = 5}; /* who was cut off with a full window may not hear of it at once */
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        send(fd, GREETING, sizeof GREETING, MSG_NOSIGNAL) != (ssize_t)sizeof GREETING ||
        send(fd, READY, sizeof READY - 1, MSG_NOSIGNAL) != (ssize_t)sizeof READY - 1)
        fail(where, "no connection");
    return fd;
}

static void send_endless(const char *where, unsigned long mib)
{
    /* Frames below what one may hold; long, and more follow. */
    static uint8_t frame[9 + MIB / 4] = {3, 0, 0, 0, 0, 0, (MIB / 4) >> 16, 0, 0};
    int fd = connect_raw(where);
    bool open = true;
    unsigned long sent = 0;
    for (; open && sent < 4 * mib; sent++)
        for (size_t at = 0; open && at < sizeof frame;) {
            ssize_t some = send(fd, frame + at, sizeof frame - at, MSG_NOSIGNAL);
            open = some > 0;
            at += open ? (size_t)some : 0;
        }
    if (open)
        puts("taken");
    else
        printf("cut after %lu MiB\n", sent / 4);
    close(fd);
}

/* The fingerprint of a node's model, as it tells who greets it with another. */
static void learn_fingerprint(const char *text, uint8_t fingerprint[ES_FINGERPRINT_BYTES])
{
    static const char BEFORE[] = "its fingerprint is ";
    const char *at = strstr(text, BEFORE);
    if (at == NULL) fail("hello", text);
    at += sizeof BEFORE - 1;
    for (size_t i = 0; i < ES_FINGERPRINT_BYTES; i++) {
        unsigned byte;
        if (sscanf(at + 2 * i, "%2x", &byte) != 1) fail("hello", text);
        fingerprint[i] = (uint8_t)byte;
    }
}

static void change(visit *l, es_control_kind kind, uint64_t epoch)
{
    static const es_units ONE = {.layer = 1, .expert_first = 0, .expert_count = 1, .slice = 0, .slices = 1};
    es_control_reply reply =
        ask(l, &(es_control_request){.coordinator = COORDINATOR,
                                     .kind = kind,
                                     .change = {.epoch = epoch, .units = &ONE, .unit_count = 1}});
    printf("%s%s", reply.status == ES_OK ? "ok" : reply.text, kind == ES_CONTROL_DROP ? "\n" : "; ");
}

static void be_stale(visit *l, uint64_t epoch)
{
    es_control_request hello = {
        .coordinator = COORDINATOR, .kind = ES_CONTROL_HELLO, .hello = {.name = "stale"}};
    learn_fingerprint(ask(l, &hello).text, hello.hello.fingerprint);
    es_control_reply reply = ask(l, &hello);
    if (reply.status != ES_OK) fail("hello", reply.text);
    change(l, ES_CONTROL_LOAD, epoch);
    change(l, ES_CONTROL_LOAD, epoch - 1);
    change(l, ES_CONTROL_DROP, epoch - 1);
}

int main(int argc, char **argv)
{
    static visit l;
    if (argc < 5 || argc > 6) fail("usage", "peer HOST:PORT SERVER_KEY|- KEY_FILE|- COMMAND [N]");
    const char *command = argv[4];
    unsigned long n = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;
    if (strcmp(command, "endless") == 0) {
        send_endless(argv[1], n);
        return 0;
    }
    open_link(&l, argv[1], argv[2], argv[3]);
    if (strcmp(command, "knock") == 0) {
        puts(knock(&l));
    } else {
        must_be_up(&l);
        if (strcmp(command, "stats") == 0) tell_stats(&l);
        if (strcmp(command, "throw") == 0) throw_frames(&l, n);
        if (strcmp(command, "huge") == 0) send_huge(&l, n);
        if (strcmp(command, "stale") == 0) be_stale(&l, n);
    }
    close_link(&l);
    return 0;
}
