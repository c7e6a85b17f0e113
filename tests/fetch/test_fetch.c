/* Experts that come from other machines: all of them, once, and what is in the way. */
#include "base/clock.h"
#include "base/log.h"
#include "fetch/ask.h"
#include "fetch/fetcher.h"
#include "fetch/server.h"
#include "units/store_fixture.h"
#include "weights/expert_index.h"
#include "with_cmocka.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 30000, EXPERTS = 8, LAYERS = 2, FIRST_LAYER = 1, ALL = EXPERTS * LAYERS };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

/* A model's experts in one shard, and what fetching all of them means. */
typedef struct scene {
    char folder[TEST_PATH_MAX], shards[TEST_PATH_MAX], file[TEST_PATH_MAX + 32];
    es_expert_index *index;
    const es_shape *shape;
    es_fetch_order orders[ALL];
    uint64_t bytes; /* of all experts */
    es_keys server_keys, node_keys, other_keys;
} scene;

static void make_keys(es_keys *keys)
{
    assert_int_equal(zmq_curve_keypair(keys->public_key, keys->secret), 0);
}

/* What fetching this expert means. Returns its bytes. */
static uint64_t order_of(es_expert_index *index, size_t layer, size_t expert, es_fetch_order *ret_order)
{
    es_expert_offer offer;
    const es_chunks whole = {0, (uint32_t)es_chunks_of(es_expert_index_shape(index)->expert_intermediate)};
    MUST(es_expert_index_find(index, layer, expert, whole, &offer, &must_err));
    const es_shard_unit *unit = es_expert_index_unit(index, offer.entry).unit;
    *ret_order = (es_fetch_order){.layer = layer, .expert = expert};
    memcpy(ret_order->sum, unit->sum, sizeof ret_order->sum);
    for (size_t p = 0; p < ES_EXPERT_PARTS; p++) ret_order->formats[p] = (uint8_t)unit->parts[p].format;
    return offer.bytes;
}

static int enter(void **state)
{
    static scene s;
    folder_make(s.folder);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 1, s.folder, s.shards);
    snprintf(s.file, sizeof s.file, "%s/experts-01-of-01.shard", s.shards);
    const char *path = s.file;
    MUST(es_expert_index_open(&path, 1, &s.index, &must_err));
    s.shape = es_expert_index_shape(s.index);
    for (size_t i = 0; i < ALL; i++)
        s.bytes += order_of(s.index, FIRST_LAYER + i / EXPERTS, i % EXPERTS, &s.orders[i]);
    make_keys(&s.server_keys);
    make_keys(&s.node_keys);
    make_keys(&s.other_keys);
    *state = &s;
    return 0;
}

/* A model of its own, in bf16. */
static void open_model(scene *s, size_t hidden, size_t width)
{
    char model[TEST_PATH_MAX];
    folder_make(s->folder);
    model_make(s->folder, hidden, width, model);
    shards_cut(model, ES_FORMAT_COUNT, 1, s->folder, s->shards);
    const char *path = s->shards;
    MUST(es_expert_index_open(&path, 1, &s->index, &must_err));
    s->shape = es_expert_index_shape(s->index);
}

static int leave(void **state)
{
    scene *s = *state;
    es_expert_index_close(&s->index);
    folder_remove(s->folder);
    return 0;
}

static es_shard_server *serve(const char *path, uint64_t bytes_per_s, const es_keys *keys,
                              es_allow_list *guests, es_allow_list *members)
{
    es_shard_server *server;
    es_shard_server_options options = {.keys = keys,
                                       .guests = guests,
                                       .members = members,
                                       .paths = &path,
                                       .path_count = 1,
                                       .bytes_per_s = bytes_per_s};
    MUST(es_endpoint_parse_bind("127.0.0.1:0", &options.listen, &must_err));
    MUST(es_shard_server_start(&options, &server, &must_err));
    return server;
}

static es_peer peer_of(const char *name, const es_shard_server *server, const es_keys *keys)
{
    es_peer peer = {.name = ""};
    es_endpoint at = es_shard_server_endpoint(server);
    snprintf(peer.name, sizeof peer.name, "%s", name);
    es_endpoint_format(&at, peer.shards);
    if (keys != NULL) strcpy(peer.key, keys->public_key);
    return peer;
}

/* A machine without any expert. */
static void make_empty(const scene *s, const char *name, char ret_path[TEST_PATH_MAX])
{
    snprintf(ret_path, TEST_PATH_MAX, "%.200s/%.40s", s->folder, name);
    assert_int_equal(mkdir(ret_path, 0700), 0);
    MUST(es_unit_file_write_empty(ret_path, s->shape, es_expert_index_fingerprint(s->index), &must_err));
}

static es_fetcher *start_patient(const scene *s, const char *dir, const es_keys *keys, const es_peer *last,
                                 uint32_t patience_ms)
{
    es_fetcher *fetcher;
    const es_fetcher_options options = {.dir = dir,
                                        .shape = s->shape,
                                        .fingerprint = es_expert_index_fingerprint(s->index),
                                        .keys = keys,
                                        .name = "me",
                                        .last = last,
                                        .last_count = last != NULL ? 1 : 0,
                                        .patience_ms = patience_ms};
    MUST(es_fetcher_start(&options, &fetcher, &must_err));
    return fetcher;
}

static es_fetcher *start(const scene *s, const char *dir, const es_keys *keys, const es_peer *last)
{
    return start_patient(s, dir, keys, last, 0);
}

/* Waits until count were fetched, and adds them to index when that is not NULL. */
static void take(es_fetcher *fetcher, size_t count, es_expert_index *index)
{
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (count > 0) {
        es_fetched fetched;
        if (es_fetcher_take(fetcher, &fetched)) {
            if (index != NULL) MUST(es_expert_index_add(index, fetched.path, &must_err));
            count--;
            continue;
        }
        es_fetcher_state state;
        es_fetcher_get_state(fetcher, &state);
        if (es_clock_now_ns() > until_ns) fail_msg("%zu are not fetched: %s", count, state.failure);
        usleep(2000);
    }
}

static es_fetcher_state state_of(es_fetcher *fetcher)
{
    es_fetcher_state state;
    es_fetcher_get_state(fetcher, &state);
    return state;
}

static void wait_for_failure(es_fetcher *fetcher, const char *words)
{
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (strstr(state_of(fetcher).failure, words) == NULL) {
        if (es_clock_now_ns() > until_ns) fail_msg("it says: %s", state_of(fetcher).failure);
        usleep(2000);
    }
}

static void all_are_fetched_once_and_give_the_same_sums(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX];
    const char *path = dir;
    make_empty(s, "once", dir);
    es_expert_index *index;
    MUST(es_expert_index_open(&path, 1, &index, &must_err));
    es_allow_list *guests;
    MUST(es_allow_list_create(false, &guests, &must_err));
    MUST(es_allow_list_set(guests, (const char(*)[ES_KEY_TEXT_BYTES]) & s->node_keys.public_key, 1,
                           &must_err));
    es_shard_server *server = serve(s->file, 0, &s->server_keys, guests, NULL);
    es_peer peers[] = {peer_of("me", server, NULL), peer_of("them", server, &s->server_keys)};
    es_fetcher *fetcher = start(s, dir, &s->node_keys, NULL);
    MUST(es_fetcher_want(fetcher, s->orders, ALL, &must_err));
    wait_for_failure(fetcher, "nobody is known here who could have it");
    MUST(es_fetcher_peers(fetcher, peers, 2, &must_err));
    take(fetcher, ALL, index);
    assert_int_equal(state_of(fetcher).left, 0);
    assert_true(state_of(fetcher).fetched_bytes == s->bytes);
    assert_true(es_shard_server_get_stats(server).given_bytes == s->bytes);
    es_fetcher_stop(&fetcher);
    /* asked for again, they are there; and the next start finds them all */
    fetcher = start(s, dir, &s->node_keys, NULL);
    MUST(es_fetcher_want(fetcher, s->orders, ALL, &must_err));
    take(fetcher, ALL, NULL);
    assert_true(state_of(fetcher).fetched_bytes == 0);
    es_fetcher_stop(&fetcher);
    es_expert_index_close(&index);
    const char *old = s->file;
    es_expert_store *before = store_open(&old, 1), *after = store_open(&path, 1);
    int64_t *a = store_sums(before, 2, 1), *b = store_sums(after, 2, 1);
    assert_memory_equal(a, b, STORE_ROWS * s->shape->hidden * sizeof *a);
    free(a);
    free(b);
    es_expert_store_close(&before);
    es_expert_store_close(&after);
    es_shard_server_stop(&server);
    es_allow_list_destroy(&guests);
}

/* A deadline for each expert that would be asked of it first is what it must not cost. */
static void who_does_not_answer_is_asked_last(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX];
    make_empty(s, "silent", dir);
    es_shard_server *gone = serve(s->file, 0, NULL, NULL, NULL),
                    *server = serve(s->file, 0, NULL, NULL, NULL);
    es_peer peers[] = {peer_of("gone", gone, NULL), peer_of("them", server, NULL)};
    es_shard_server_stop(&gone);
    uint64_t begun_ns = es_clock_now_ns();
    es_fetcher *fetcher = start_patient(s, dir, NULL, NULL, 2000);
    MUST(es_fetcher_peers(fetcher, peers, 2, &must_err));
    MUST(es_fetcher_want(fetcher, s->orders, ALL, &must_err));
    take(fetcher, ALL, NULL);
    assert_true(es_clock_now_ns() - begun_ns <
                6000000000ull); /* one time of patience, not one each of eight */
    es_fetcher_stop(&fetcher);
    es_shard_server_stop(&server);
}

/* A peer that is connected to and then sends a byte of its answer now and then. */
typedef struct trickler {
    int listener;
    es_peer peer;
    pthread_t thread;
    atomic_bool stop;
    atomic_uint sent;
} trickler;

static void *trickle(void *context)
{
    /* greeting of ZMTP 3.0 without encryption, READY as a ROUTER, and a frame of 32 KiB that begins */
    static const uint8_t GREETING[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    static const uint8_t READY[] = "\x04\x1c\5READY\13Socket-Type\0\0\0\6ROUTER\x02\0\0\0\0\0\0\x80\0";
    trickler *t = context;
    int fd = accept(t->listener, NULL, NULL);
    bool open = send(fd, GREETING, sizeof GREETING, MSG_NOSIGNAL) == (ssize_t)sizeof GREETING &&
                send(fd, READY, sizeof READY - 1, MSG_NOSIGNAL) == (ssize_t)sizeof READY - 1;
    for (; open && !atomic_load(&t->stop); atomic_fetch_add(&t->sent, 1)) {
        open = send(fd, "x", 1, MSG_NOSIGNAL) == 1;
        usleep(20000);
    }
    close(fd);
    return NULL;
}

static void trickler_open(trickler *t)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof at;
    *t = (trickler){.listener = socket(AF_INET, SOCK_STREAM, 0), .peer = {.name = "trickler"}};
    assert_int_equal(bind(t->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(t->listener, 4), 0);
    assert_int_equal(getsockname(t->listener, (struct sockaddr *)&at, &bytes), 0);
    snprintf(t->peer.shards, sizeof t->peer.shards, "tcp://127.0.0.1:%u", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&t->thread, NULL, trickle, t), 0);
}

static void trickler_close(trickler *t)
{
    atomic_store(&t->stop, true);
    pthread_join(t->thread, NULL);
    close(t->listener);
}

/* One is slow in bytes, the other in messages; what a slow one gave is not asked for again. */
static void who_is_slow_is_given_up_for_another(void **unused)
{
    (void)unused;
    enum { FEW = 4 };
    scene s = {.folder = ""};
    char dir[TEST_PATH_MAX];
    trickler t;
    open_model(&s, 256, 1024); /* experts of several reads */
    for (size_t i = 0; i < FEW; i++) s.bytes += order_of(s.index, s.shape->dense_layers, i, &s.orders[i]);
    make_empty(&s, "slow", dir);
    trickler_open(&t);
    es_shard_server *slow = serve(s.shards, 20000, NULL, NULL, NULL), /* 13 s between two answers */
        *server = serve(s.shards, 0, NULL, NULL, NULL);
    es_peer peers[] = {t.peer, peer_of("slow", slow, NULL), peer_of("them", server, NULL)};
    /* alone, it is said to be slow */
    es_fetcher *fetcher = start_patient(&s, dir, NULL, NULL, 1500);
    MUST(es_fetcher_peers(fetcher, &peers[1], 1, &must_err));
    MUST(es_fetcher_want(fetcher, s.orders, 1, &must_err));
    wait_for_failure(fetcher, "too slow, others are asked");
    uint64_t kept = state_of(fetcher).fetched_bytes;
    assert_true(kept > 0);
    es_fetcher_stop(&fetcher);
    /* beside others, it keeps nobody waiting: each is met once, by whichever expert begins with it */
    uint64_t begun_ns = es_clock_now_ns();
    fetcher = start_patient(&s, dir, NULL, NULL, 1500);
    MUST(es_fetcher_peers(fetcher, peers, 3, &must_err));
    MUST(es_fetcher_want(fetcher, s.orders, FEW, &must_err));
    take(fetcher, FEW, NULL);
    assert_true(es_clock_now_ns() - begun_ns < 6000000000ull);
    assert_true(kept + state_of(fetcher).fetched_bytes == s.bytes);
    /* and whoever is never heard of again by that is asked in the end, when there is nobody else */
    MUST(es_fetcher_peers(fetcher, peers, 1, &must_err));
    es_fetch_order unknown = s.orders[0];
    unknown.expert = FEW;
    MUST(es_fetcher_want(fetcher, &unknown, 1, &must_err));
    wait_for_failure(fetcher, "trickler");
    assert_true(atomic_load(&t.sent) > 0);
    es_fetcher_stop(&fetcher);
    es_shard_server_stop(&slow);
    es_shard_server_stop(&server);
    trickler_close(&t);
    es_expert_index_close(&s.index);
    folder_remove(s.folder);
}

static void what_was_half_fetched_is_taken_up(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX];
    make_empty(s, "resumed", dir);
    es_shard_server *server = serve(s->file, s->bytes / 2, NULL, NULL, NULL); /* two seconds for all */
    es_peer peer = peer_of("them", server, NULL);
    uint64_t fetched = 0, taken = 0;
    for (int run = 0; taken < ALL; run++) {
        es_fetched one;
        es_fetcher *fetcher = start(s, dir, NULL, &peer);
        /* the finished ones of earlier runs are not asked for: a store has them */
        MUST(es_fetcher_want(fetcher, s->orders + taken, ALL - taken, &must_err));
        uint64_t until_ns = es_clock_now_ns() + (run < 3 ? 330000000ull : WAIT_MS * 1000000ull);
        while (es_clock_now_ns() < until_ns && taken < ALL) {
            if (es_fetcher_take(fetcher, &one)) taken++;
            usleep(1000);
        }
        MUST(es_fetcher_want(fetcher, NULL, 0, &must_err)); /* it gives up in the middle of one */
        usleep(200000);
        while (es_fetcher_take(fetcher, &one)) taken++;
        fetched += state_of(fetcher).fetched_bytes;
        es_fetcher_stop(&fetcher);
        if (run > 10) fail_msg("%d runs", run);
    }
    assert_true(fetched == s->bytes);
    es_shard_server_stop(&server);
}

static void who_lies_is_not_believed(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX], bad[TEST_PATH_MAX + 32], command[1024];
    make_empty(s, "lied", dir);
    snprintf(bad, sizeof bad, "%.200s/bad.shard", s->folder);
    snprintf(command, sizeof command, "cp %s %s", s->file, bad);
    assert_int_equal(system(command), 0);
    int fd = open(bad, O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 4096 + 77), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, 4096 + 77), 1);
    close(fd);
    es_shard_server *liar = serve(bad, 0, NULL, NULL, NULL), *honest = serve(s->file, 0, NULL, NULL, NULL);
    es_peer last = peer_of("head", honest, NULL), peer = peer_of("liar", liar, NULL);
    es_fetcher *fetcher = start(s, dir, NULL, NULL);
    MUST(es_fetcher_peers(fetcher, &peer, 1, &must_err));
    MUST(es_fetcher_want(fetcher, s->orders, 1, &must_err));
    wait_for_failure(fetcher, "nobody is known here"); /* the only one is not asked again */
    es_fetcher_stop(&fetcher);
    fetcher = start(s, dir, NULL, &last);
    MUST(es_fetcher_peers(fetcher, &peer, 1, &must_err));
    MUST(es_fetcher_want(fetcher, s->orders, 1, &must_err));
    take(fetcher, 1, NULL);
    es_fetcher_stop(&fetcher);
    /* a sum that nobody has, and what is not wanted any more */
    es_fetch_order unknown = s->orders[1];
    unknown.sum[5] ^= 1;
    fetcher = start(s, dir, NULL, &last);
    MUST(es_fetcher_want(fetcher, &unknown, 1, &must_err));
    wait_for_failure(fetcher, "layer 1: expert 1: not fetched yet: head: no shard here has it");
    /* an expert under the sum of another */
    unknown = s->orders[1];
    unknown.expert = 2;
    MUST(es_fetcher_want(fetcher, &unknown, 1, &must_err));
    wait_for_failure(fetcher, "it has another expert under this checksum");
    MUST(es_fetcher_want(fetcher, NULL, 0, &must_err));
    wait_for_failure(fetcher, "");
    es_fetcher_stop(&fetcher);
    es_shard_server_stop(&liar);
    es_shard_server_stop(&honest);
}

/* A shard of one expert, sound in itself, whose manifest gives other formats of the same size. */
static void misname(const scene *s, const es_fetch_order *o, const char *dir, char ret_path[TEST_PATH_MAX])
{
    es_unit_plan plan = {.shape = s->shape,
                         .fingerprint = es_expert_index_fingerprint(s->index),
                         .layer = o->layer,
                         .expert = o->expert,
                         .formats = {ES_FORMAT_F16, ES_FORMAT_F16, ES_FORMAT_F16}};
    es_unit_file *file;
    memcpy(plan.sum, o->sum, sizeof plan.sum);
    MUST(es_unit_plan_lay_out(&plan, &must_err));
    uint8_t *bytes = malloc(plan.bytes);
    assert_non_null(bytes);
    MUST(es_expert_index_read(s->index, es_expert_index_by_sum(s->index, o->sum), 0, bytes, plan.bytes,
                              &must_err));
    MUST(es_unit_file_open(dir, &plan, 0, &file, &must_err));
    MUST(es_unit_file_put(file, bytes, plan.bytes, &must_err));
    MUST(es_unit_file_finish(file, ret_path, TEST_PATH_MAX, &must_err));
    es_unit_file_close(&file);
    free(bytes);
}

/* Its bytes are right, and so is their checksum: what they mean is not for it to say. */
static void who_has_the_bytes_does_not_say_their_formats(void **unused)
{
    (void)unused;
    scene s = {.folder = ""};
    char lied[TEST_PATH_MAX], dir[TEST_PATH_MAX], path[TEST_PATH_MAX];
    const char *at = dir;
    open_model(&s, 64, 64);
    for (size_t i = 0; i < 2; i++) order_of(s.index, s.shape->dense_layers, i, &s.orders[i]);
    make_empty(&s, "misnamed", lied);
    make_empty(&s, "told", dir);
    assert_int_equal(s.orders[0].formats[0], ES_FORMAT_BF16);
    misname(&s, &s.orders[0], lied, path);
    es_shard_server *liar = serve(path, 0, NULL, NULL, NULL), *honest = serve(s.shards, 0, NULL, NULL, NULL);
    es_peer lying = peer_of("liar", liar, NULL), other = peer_of("honest", honest, NULL);
    es_fetcher *fetcher = start(&s, dir, NULL, NULL);
    es_expert_index *index;
    MUST(es_expert_index_open(&at, 1, &index, &must_err));
    MUST(es_fetcher_peers(fetcher, &lying, 1, &must_err));
    MUST(es_fetcher_want(fetcher, s.orders, 1, &must_err));
    take(fetcher, 1, index);
    const es_shard_unit *unit =
        es_expert_index_unit(index, es_expert_index_by_sum(index, s.orders[0].sum)).unit;
    for (size_t p = 0; p < ES_EXPERT_PARTS; p++) assert_int_equal(unit->parts[p].format, ES_FORMAT_BF16);
    /* an order for formats of other sizes, or that these rows cannot have, is nobody's lie */
    es_fetch_order wrong = s.orders[1];
    MUST(es_fetcher_peers(fetcher, &other, 1, &must_err));
    wrong.formats[1] = ES_FORMAT_F32;
    MUST(es_fetcher_want(fetcher, &wrong, 1, &must_err));
    wait_for_failure(fetcher, "bytes under this checksum, its matrices make");
    wrong.formats[1] = ES_FORMAT_Q4_K;
    MUST(es_fetcher_want(fetcher, &wrong, 1, &must_err));
    wait_for_failure(fetcher, "64 columns do not stand in the format it is to have");
    MUST(es_fetcher_want(fetcher, s.orders + 1, 1, &must_err));
    take(fetcher, 1, NULL);
    es_fetcher_stop(&fetcher);
    es_expert_index_close(&index);
    es_shard_server_stop(&liar);
    es_shard_server_stop(&honest);
    es_expert_index_close(&s.index);
    folder_remove(s.folder);
}

static void who_goes_on_from_a_lie_is_no_liar(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX], part[TEST_PATH_MAX + 64];
    make_empty(s, "begun", dir);
    snprintf(part, sizeof part, "%s/layers.%zu.experts.%zu.shard.part", dir, s->orders[0].layer,
             s->orders[0].expert);
    int fd = open(part, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(ftruncate(fd, ES_SHARD_PAGE_BYTES + 1000), 0); /* a beginning that is not the expert's */
    close(fd);
    es_shard_server *honest = serve(s->file, 0, NULL, NULL, NULL);
    es_peer peer = peer_of("honest", honest, NULL);
    es_fetcher *fetcher = start(s, dir, NULL, NULL);
    MUST(es_fetcher_peers(fetcher, &peer, 1, &must_err));
    MUST(es_fetcher_want(fetcher, s->orders, 2, &must_err));
    take(fetcher, 2, NULL);
    es_fetcher_stop(&fetcher);
    es_shard_server_stop(&honest);
}

static void strangers_and_revoked_members_get_nothing(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX];
    es_allow_list *guests, *members;
    const char(*node)[ES_KEY_TEXT_BYTES] = (const char(*)[ES_KEY_TEXT_BYTES]) & s->node_keys.public_key;
    make_empty(s, "strange", dir);
    MUST(es_allow_list_create(true, &guests, &must_err)); /* as one does who takes joins */
    MUST(es_allow_list_create(false, &members, &must_err));
    MUST(es_allow_list_set(members, node, 1, &must_err));
    es_shard_server *server = serve(s->file, 0, &s->server_keys, guests, members);
    es_peer head = peer_of("head", server, &s->server_keys),
            mistaken = peer_of("head", server, &s->other_keys);
    es_fetcher *fetcher = start(s, dir, &s->other_keys, &head);
    MUST(es_fetcher_want(fetcher, s->orders, 1, &must_err));
    wait_for_failure(fetcher, "experts are for members of the swarm");
    assert_true(es_shard_server_get_stats(server).strangers > 0);
    es_fetcher_stop(&fetcher);
    fetcher = start(s, dir, &s->node_keys, &mistaken);
    MUST(es_fetcher_want(fetcher, s->orders, 1, &must_err));
    wait_for_failure(fetcher, "head: tcp://127.0.0.1:"); /* another machine's key than the one that answers */
    es_fetcher_stop(&fetcher);
    fetcher = start(s, dir, &s->node_keys, &head);
    MUST(es_fetcher_want(fetcher, s->orders, 1, &must_err));
    take(fetcher, 1, NULL);
    MUST(es_allow_list_revoke(members, node, 1, &must_err));
    MUST(es_fetcher_want(fetcher, s->orders + 1, 1, &must_err));
    wait_for_failure(fetcher, "experts are for members of the swarm");
    MUST(es_allow_list_revoke(guests, node, 1, &must_err));
    es_fetcher_stop(&fetcher);
    fetcher = start(s, dir, &s->node_keys, &head);
    MUST(es_fetcher_want(fetcher, s->orders + 1, 1, &must_err));
    wait_for_failure(fetcher, "it refused the handshake");
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (es_shard_server_get_stats(server).refused == 0) {
        assert_true(es_clock_now_ns() < until_ns);
        usleep(10000);
    }
    es_fetcher_stop(&fetcher);
    es_shard_server_stop(&server);
    es_allow_list_destroy(&guests);
    es_allow_list_destroy(&members);
}

/* Sends frames as they are. */
static void send_raw(void *socket, const void *bytes, size_t count, size_t frames)
{
    for (size_t i = 0; i < frames; i++)
        assert_int_equal(zmq_send(socket, bytes, count, i + 1 < frames ? ZMQ_SNDMORE : 0), (int)count);
}

static void garbage_is_counted_and_nothing_else(void **state)
{
    scene *s = *state;
    es_shard_server *server = serve(s->file, 0, NULL, NULL, NULL);
    es_peer head = peer_of("head", server, NULL);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    int linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(zmq_connect(socket, head.shards), 0);
    uint8_t junk[4096];
    randombytes_buf(junk, sizeof junk);
    junk[0] = 0xff; /* no tag */
    send_raw(socket, junk, sizeof junk, 1);
    send_raw(socket, junk, 9, 2);
    send_raw(socket, junk, 9, 7);
    send_raw(socket, "", 0, 1); /* a message without a protocol: answered */
    uint64_t until_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (es_shard_server_get_stats(server).malformed < 3) {
        assert_true(es_clock_now_ns() < until_ns);
        usleep(5000);
    }
    /* what is out of bounds, and who wants to join where nobody does */
    es_net *net;
    es_asker *asker;
    es_shard_reply reply;
    const uint8_t *bytes;
    size_t count;
    const es_net_options plain = {NULL, NULL};
    MUST(es_net_open(&plain, &net, &must_err));
    MUST(es_asker_open(net, head.shards, "", NULL, &asker, &must_err));
    es_shard_request requests[] = {
        {.ask = ES_SHARD_READ, .offset = UINT64_MAX, .count = 2},
        {.ask = ES_SHARD_READ, .offset = 1, .count = ES_SHARD_READ_MAX},
        {.ask = ES_SHARD_READ, .offset = 0, .count = ES_SHARD_READ_MAX + 1},
        {.ask = ES_SHARD_JOIN, .join = {.name = "x", .control = "tcp://10.0.0.1:5"}},
        {.ask = ES_SHARD_FIND}};
    const es_status expected[] = {ES_INVALID, ES_OK, ES_INVALID, ES_UNSUPPORTED, ES_OK};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        memcpy(requests[i].sum, s->orders[0].sum, sizeof requests[i].sum);
        MUST(es_asker_send(asker, &requests[i], es_clock_now_ns() + WAIT_MS * 1000000ull, &must_err));
        MUST(es_asker_receive(asker, requests[i].request, es_clock_now_ns() + WAIT_MS * 1000000ull, &reply,
                              &bytes, &count, &must_err));
        if (i == 1 && reply.status == ES_INVALID) continue; /* a model whose experts are smaller */
        if (reply.status != expected[i]) fail_msg("%zu: %s", i, reply.text);
    }
    es_asker_close(&asker);
    es_net_close(&net);
    zmq_close(socket);
    zmq_ctx_term(context);
    es_shard_server_stop(&server);
}

static void a_disk_that_is_short_is_told_before_anything_is_written(void **state)
{
    scene *s = *state;
    char dir[TEST_PATH_MAX], part[TEST_PATH_MAX + 64];
    es_err err = {.text = ""};
    es_unit_file *file;
    make_empty(s, "short", dir);
    size_t entry = es_expert_index_by_sum(s->index, s->orders[0].sum);
    const es_shard_unit *unit = es_expert_index_unit(s->index, entry).unit;
    es_unit_plan plan = {.shape = s->shape,
                         .fingerprint = es_expert_index_fingerprint(s->index),
                         .layer = s->orders[0].layer,
                         .expert = s->orders[0].expert};
    memcpy(plan.formats, s->orders[0].formats, sizeof plan.formats);
    memcpy(plan.sum, unit->sum, sizeof plan.sum);
    MUST(es_unit_plan_lay_out(&plan, &must_err));
    assert_true(plan.bytes == unit->bytes);
    assert_int_equal(es_unit_file_open(dir, &plan, (uint64_t)1 << 60, &file, &err), ES_IO);
    assert_non_null(strstr(err.text, "GB are lacking"));
    snprintf(part, sizeof part, "%s/layers.1.experts.0.shard.part", dir);
    assert_int_equal(access(part, F_OK), -1);
    plan.layer = 0; /* a dense one */
    assert_int_equal(es_unit_plan_lay_out(&plan, &err), ES_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_fetched_once_and_give_the_same_sums),
        cmocka_unit_test(who_does_not_answer_is_asked_last),
        cmocka_unit_test(who_is_slow_is_given_up_for_another),
        cmocka_unit_test(what_was_half_fetched_is_taken_up),
        cmocka_unit_test(who_lies_is_not_believed),
        cmocka_unit_test(who_has_the_bytes_does_not_say_their_formats),
        cmocka_unit_test(who_goes_on_from_a_lie_is_no_liar),
        cmocka_unit_test(strangers_and_revoked_members_get_nothing),
        cmocka_unit_test(garbage_is_counted_and_nothing_else),
        cmocka_unit_test(a_disk_that_is_short_is_told_before_anything_is_written),
    };
    es_log_configure("test", ES_LOG_ERROR);
    return cmocka_run_group_tests(tests, enter, leave);
}
