/* Who is let in: a peer without a key, with a key that nobody allowed, with one that was revoked.
 * faults.md 22. */
#include "base/clock.h"
#include "base/log.h"
#include "net/channel.h"
#include "net/flood.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "with_cmocka.h"

enum { WAIT_MS = 10000, QUIET_MS = 300 };
static const es_channel_limits LIMITS = {4096, 8};

/* A server with a list, and three machines' keys. */
typedef struct scene {
    char folder[32], list_path[64];
    es_keys server_keys, friend, other;
    es_allow_list *list;
    es_net *net;
    es_channel *router;
    es_flood_guard *guard; /* as a node has one: it must not take away what is counted */
    es_endpoint at;
} scene;

/* One who connects. */
typedef struct peer {
    es_net *net;
    es_channel *dealer;
} peer;

static void write_list(const scene *s, const es_keys *first, const es_keys *second)
{
    char part[80];
    snprintf(part, sizeof part, "%s.part", s->list_path);
    FILE *file = fopen(part, "w");
    assert_non_null(file);
    fprintf(file, "# who may connect\n%s\n%s\n", first->public_key, second != NULL ? second->public_key : "");
    fclose(file);
    assert_int_equal(rename(part, s->list_path), 0);
}

static void make_keys(const scene *s, const char *name, es_keys *ret_keys)
{
    char path[80];
    es_err err = {.text = ""};
    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    if (es_keys_generate(path, ret_keys, &err) != ES_OK) fail_msg("%s", err.text);
    unlink(path);
    strcat(path, ".pub");
    unlink(path);
}

static int enter(void **state)
{
    static scene s;
    es_err err = {.text = ""};
    es_endpoint any;
    s = (scene){.folder = "allow-XXXXXX"};
    if (mkdtemp(s.folder) == NULL) return -1;
    snprintf(s.list_path, sizeof s.list_path, "%s/allowed", s.folder);
    make_keys(&s, "server", &s.server_keys);
    make_keys(&s, "friend", &s.friend);
    make_keys(&s, "other", &s.other);
    write_list(&s, &s.friend, NULL);
    if (es_allow_list_load(s.list_path, &s.list, &err) != ES_OK) fail_msg("%s", err.text);
    const es_net_options options = {&s.server_keys, s.list};
    if (es_net_open(&options, &s.net, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(es_endpoint_parse_bind("127.0.0.1:0", &any, &err), ES_OK);
    if (es_channel_bind(s.net, &any, &LIMITS, &s.router, &s.at, &err) != ES_OK) fail_msg("%s", err.text);
    if (es_flood_guard_create(s.router, 1 << 20, &s.guard, &err) != ES_OK) fail_msg("%s", err.text);
    *state = &s;
    return 0;
}

static int leave(void **state)
{
    scene *s = *state;
    es_flood_guard_destroy(&s->guard);
    es_channel_close(&s->router);
    es_net_close(&s->net);
    es_allow_list_destroy(&s->list);
    unlink(s->list_path);
    return rmdir(s->folder);
}

/* keys NULL: plain. */
static void connect_peer(const scene *s, const es_keys *keys, const char *server_key, peer *ret_peer)
{
    es_err err = {.text = ""};
    const es_net_options options = {keys, NULL};
    if (es_net_open(&options, &ret_peer->net, &err) != ES_OK) fail_msg("%s", err.text);
    if (es_channel_connect(ret_peer->net, &s->at, server_key, &LIMITS, &ret_peer->dealer, &err) != ES_OK)
        fail_msg("%s", err.text);
}

static void disconnect_peer(peer *p)
{
    es_channel_close(&p->dealer);
    es_net_close(&p->net);
}

static void wait_for_link(const peer *p, es_link wanted)
{
    uint64_t deadline_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (es_channel_link(p->dealer) != wanted) {
        if (es_clock_now_ns() > deadline_ns)
            fail_msg("link is %d, not %d", es_channel_link(p->dealer), wanted);
        zmq_pollitem_t item = {es_channel_monitor(p->dealer), 0, ZMQ_POLLIN, 0};
        zmq_poll(&item, 1, 50);
    }
}

static void wait_for_refused(const scene *s, uint64_t more_than)
{
    uint64_t deadline_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    while (es_channel_refused(s->router) <= more_than) {
        assert_true(es_clock_now_ns() < deadline_ns);
        usleep(10000);
    }
}

static void say(const peer *p, const char *word)
{
    es_message message = {.count = 0};
    es_err err = {.text = ""};
    assert_true(es_message_add(&message, word, strlen(word)));
    if (es_channel_send(p->dealer, &message, &err) != ES_OK) fail_msg("%s", err.text);
}

/* What the server makes of what comes within ms; ES_TIMEOUT: nothing came. */
static es_status hear(const scene *s, int ms)
{
    es_err err;
    zmq_pollitem_t item = {es_channel_socket(s->router), 0, ZMQ_POLLIN, 0};
    es_message message;
    if (zmq_poll(&item, 1, ms) == 0) return ES_TIMEOUT;
    es_status status = es_channel_receive(s->router, &message, &err);
    if (status == ES_OK) es_message_close(&message);
    return status;
}

static void strangers_are_refused_and_counted(void **state)
{
    const scene *s = *state;
    peer plain, unknown, mistaken;
    uint64_t before = es_channel_refused(s->router);
    connect_peer(s, NULL, NULL, &plain);
    wait_for_refused(s, before);
    assert_true(es_channel_link(plain.dealer) != ES_LINK_UP);
    disconnect_peer(&plain);
    before = es_channel_refused(s->router);
    connect_peer(s, &s->other, s->server_keys.public_key, &unknown);
    wait_for_link(&unknown, ES_LINK_REFUSED);
    wait_for_refused(s, before);
    disconnect_peer(&unknown);
    before = es_channel_refused(s->router);
    connect_peer(s, &s->friend, s->other.public_key, &mistaken); /* takes the server for somebody else */
    wait_for_refused(s, before);
    assert_true(es_channel_link(mistaken.dealer) != ES_LINK_UP);
    disconnect_peer(&mistaken);
    assert_int_equal(hear(s, QUIET_MS), ES_TIMEOUT);
}

static void a_revoked_key_is_cut_off_and_not_let_in_again(void **state)
{
    scene *s = *state;
    peer good, gone, again;
    write_list(s, &s->friend, &s->other);
    connect_peer(s, &s->friend, s->server_keys.public_key, &good);
    connect_peer(s, &s->other, s->server_keys.public_key, &gone); /* allowed without a restart */
    wait_for_link(&good, ES_LINK_UP);
    wait_for_link(&gone, ES_LINK_UP);
    say(&gone, "hello");
    assert_int_equal(hear(s, WAIT_MS), ES_OK);
    uint64_t changes = es_allow_list_changes(s->list), deadline_ns = es_clock_now_ns() + WAIT_MS * 1000000ull;
    write_list(s, &s->friend, NULL);
    while (es_allow_list_changes(s->list) ==
           changes) { /* nobody connects meanwhile: it is looked at all the same */
        assert_true(es_clock_now_ns() < deadline_ns);
        usleep(10000);
    }
    uint64_t before = es_channel_refused(s->router);
    say(&gone, "still here"); /* over the connection that stands */
    assert_int_equal(hear(s, WAIT_MS), ES_INVALID);
    assert_int_equal(es_channel_refused(s->router), before + 1);
    say(&good, "me too");
    assert_int_equal(hear(s, WAIT_MS), ES_OK);
    connect_peer(s, &s->other, s->server_keys.public_key, &again);
    wait_for_link(&again, ES_LINK_REFUSED);
    wait_for_refused(s, before + 1);
    disconnect_peer(&again);
    disconnect_peer(&gone);
    disconnect_peer(&good);
}

static void a_list_that_cannot_be_read_changes_nothing(void **state)
{
    scene *s = *state;
    peer good;
    uint64_t changes = es_allow_list_changes(s->list);
    FILE *file = fopen(s->list_path, "w");
    assert_non_null(file);
    fputs("no key\n", file);
    fclose(file);
    connect_peer(s, &s->friend, s->server_keys.public_key, &good);
    wait_for_link(&good, ES_LINK_UP);
    assert_int_equal(es_allow_list_changes(s->list), changes);
    disconnect_peer(&good);
    unlink(s->list_path);
    connect_peer(s, &s->friend, s->server_keys.public_key, &good);
    wait_for_link(&good, ES_LINK_UP);
    disconnect_peer(&good);
    assert_int_equal(es_allow_list_changes(s->list), changes);
}

static void what_is_revoked_is_refused_whatever_lists_say(void **state)
{
    scene *s = *state;
    es_err err = {.text = ""};
    es_allow_list *list;
    uint8_t friend[ES_KEY_BYTES], other[ES_KEY_BYTES];
    char one[1][ES_KEY_TEXT_BYTES];
    const char(*keys)[ES_KEY_TEXT_BYTES] = (const char(*)[ES_KEY_TEXT_BYTES])one;
    zmq_z85_decode(friend, s->friend.public_key);
    zmq_z85_decode(other, s->other.public_key);
    strcpy(one[0], s->friend.public_key);
    for (int everyone = 0; everyone < 2; everyone++) {
        assert_int_equal(es_allow_list_create(everyone == 1, &list, &err), ES_OK);
        assert_int_equal(es_allow_list_has(list, friend), everyone == 1);
        if (everyone == 0) assert_int_equal(es_allow_list_set(list, keys, 1, &err), ES_OK);
        assert_true(es_allow_list_has(list, friend));
        assert_int_equal(es_allow_list_has(list, other), everyone == 1);
        uint64_t changes = es_allow_list_changes(list);
        assert_int_equal(es_allow_list_revoke(list, keys, 1, &err), ES_OK);
        assert_int_equal(es_allow_list_changes(list), changes + 1);
        assert_int_equal(es_allow_list_revoke(list, keys, 1, &err), ES_OK); /* the same again */
        assert_int_equal(es_allow_list_changes(list), changes + 1);
        assert_false(es_allow_list_has(list, friend));
        assert_int_equal(es_allow_list_revoke(list, keys, 0, &err), ES_OK);
        assert_true(es_allow_list_has(list, friend));
        es_allow_list_destroy(&list);
    }
    /* and so it is over sockets, with a list from a file */
    peer gone;
    write_list(s, &s->friend, NULL);
    connect_peer(s, &s->friend, s->server_keys.public_key, &gone);
    wait_for_link(&gone, ES_LINK_UP);
    uint64_t before = es_channel_refused(s->router);
    assert_int_equal(es_allow_list_revoke(s->list, keys, 1, &err), ES_OK);
    say(&gone, "still here");
    assert_int_equal(hear(s, WAIT_MS), ES_INVALID);
    wait_for_refused(s, before);
    disconnect_peer(&gone);
    connect_peer(s, &s->friend, s->server_keys.public_key, &gone);
    wait_for_link(&gone, ES_LINK_REFUSED);
    disconnect_peer(&gone);
    assert_int_equal(es_allow_list_revoke(s->list, keys, 0, &err), ES_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strangers_are_refused_and_counted),
        cmocka_unit_test(a_revoked_key_is_cut_off_and_not_let_in_again),
        cmocka_unit_test(what_is_revoked_is_refused_whatever_lists_say),
        cmocka_unit_test(a_list_that_cannot_be_read_changes_nothing),
    };
    es_log_configure("test", ES_LOG_ERROR);
    return cmocka_run_group_tests(tests, enter, leave);
}
