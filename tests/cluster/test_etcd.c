/* The etcd registry against real servers: one, three, killed, hung, compacted, with logins and with TLS. */
#include "base/clock.h"
#include "base/log.h"
#include "cluster/etcd_fixture.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "with_cmocka.h"

static const char KEY[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
static const char OTHER_KEY[] = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
static const uint64_t SECOND = 1000000000;

static uint64_t in_seconds(unsigned seconds)
{
    return es_clock_now_ns() + seconds * SECOND;
}

static es_registry *open_at(const char *endpoints, unsigned ttl_ms)
{
    es_registry *registry;
    es_err err = {.text = ""};
    const es_etcd_options options = {.endpoints = endpoints, .ttl_ms = ttl_ms, .try_ms = 1000};
    if (es_registry_open_etcd(&options, &registry, &err) != ES_OK) fail_msg("%s", err.text);
    return registry;
}

static es_registry *open_registry(const etcd_cluster *cluster, unsigned ttl_ms)
{
    char endpoints[256];
    etcd_endpoints(cluster, endpoints);
    return open_at(endpoints, ttl_ms);
}

static es_node_record record_of(const char *name, const char *key)
{
    es_node_record record = {.memory_bytes = 1000, .state = ES_MEMBER_READY};
    strcpy(record.name, name);
    strcpy(record.control, "tcp://127.0.0.1:5700");
    strcpy(record.key, key);
    return record;
}

typedef bool holds_fn(const es_registry_view *view, const char *word);

static bool has_node(const es_registry_view *view, const char *name)
{
    return !view->frozen && es_registry_view_find(view, name) != NULL;
}

static bool lacks_node(const es_registry_view *view, const char *name)
{
    return !view->frozen && es_registry_view_find(view, name) == NULL;
}

static bool is_frozen(const es_registry_view *view, const char *name)
{
    return view->frozen && (name[0] == '\0' || es_registry_view_find(view, name) != NULL);
}

static bool has_epoch(const es_registry_view *view, const char *epoch)
{
    char text[ES_EPOCH_TEXT_MAX];
    es_epoch_format(view->epoch, text);
    return !view->frozen && strcmp(text, epoch) == 0;
}

static bool has_revoked(const es_registry_view *view, const char *key)
{
    for (size_t i = 0; i < view->revoked_count; i++)
        if (strcmp(view->revoked[i], key) == 0) return true;
    return false;
}

/* Waits until the view is as it should; fails after `seconds`. */
static void wait_until(es_registry *registry, holds_fn *holds, const char *word, unsigned seconds)
{
    uint64_t deadline_ns = in_seconds(seconds), version = UINT64_MAX;
    for (;;) {
        es_registry_view *view;
        es_err err;
        assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
        bool now = holds(view, word);
        version = view->version;
        es_registry_view_destroy(&view);
        if (now) return;
        if (es_clock_now_ns() > deadline_ns) fail_msg("still not so after %u s: %s", seconds, word);
        es_registry_wait(registry, version, deadline_ns);
    }
}

static void wait_until_own(es_registry *registry, es_status wanted, unsigned seconds)
{
    uint64_t deadline_ns = in_seconds(seconds);
    es_err err = {.text = ""};
    while (es_registry_own(registry, &err) != wanted) {
        if (es_clock_now_ns() > deadline_ns) fail_msg("own record: %s", err.text);
        usleep(20000);
    }
}

static void announce(es_registry *registry, const char *name, const char *key)
{
    es_node_record record = record_of(name, key);
    es_err err = {.text = ""};
    if (es_registry_announce(registry, &record, &err) != ES_OK) fail_msg("%s", err.text);
}

/* layers 1, 2, …; with checksums when it is to be large. */
static es_document *document_of(es_epoch epoch, size_t layers, size_t experts, bool sums)
{
    size_t row = sodium_base64_encoded_len(experts * ES_SUM_BYTES, sodium_base64_VARIANT_ORIGINAL);
    uint8_t *bytes = calloc(experts, ES_SUM_BYTES);
    char *base64 = malloc(row), number[ES_EPOCH_TEXT_MAX], key[16];
    es_epoch_format(epoch, number);
    json_t *list = json_array(), *ranges = json_array(), *all_sums = json_object();
    for (size_t l = 1; l <= layers; l++) {
        json_array_append_new(list, json_integer((json_int_t)l));
        json_array_append_new(ranges, json_pack("[I, i, I]", (json_int_t)l, 0, (json_int_t)experts));
        for (size_t i = 0; i < experts * ES_SUM_BYTES; i++)
            bytes[i] = (uint8_t)(i * 31 + l * 7 + epoch.counter);
        sodium_bin2base64(base64, row, bytes, experts * ES_SUM_BYTES, sodium_base64_VARIANT_ORIGINAL);
        snprintf(key, sizeof key, "%zu", l);
        json_object_set_new(all_sums, key, json_string(base64));
    }
    json_t *all = json_pack("{s:s, s:i, s:s, s:s, s:s, s:i, s:i, s:I, s:o, s:{s:o}}", "format",
                            "essaim-placement", "version", 1, "epoch", number, "fingerprint",
                            "0000000000000000000000000000000000000000000000000000000000000000", "mode",
                            "group", "copies", 1, "slices", 1, "experts", (json_int_t)experts, "layers", list,
                            "nodes", "a", ranges);
    if (sums) json_object_set(all, "sums", all_sums);
    char *text = json_dumps(all, JSON_COMPACT);
    es_document *document;
    es_err err = {.text = ""};
    if (es_document_parse("test", text, strlen(text), &document, &err) != ES_OK) fail_msg("%s", err.text);
    json_decref(all);
    json_decref(all_sums);
    free(text);
    free(base64);
    free(bytes);
    return document;
}

static es_status swap_to(es_registry *registry, uint32_t from, uint32_t to, unsigned seconds, es_err *err)
{
    es_document *document = document_of((es_epoch){from == 0 && to == 0 ? 0 : 1, to}, 2, 2, false);
    es_status status =
        es_registry_swap(registry, (es_epoch){from > 0, from}, document, in_seconds(seconds), err);
    es_document_destroy(&document);
    return status;
}

static void nodes_come_change_and_go(void **state)
{
    (void)state;
    etcd_cluster cluster;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    es_registry *watching = open_registry(&cluster, 0), *node = open_registry(&cluster, 2000);
    announce(node, "a", KEY);
    wait_until(watching, has_node, "a", 5);
    wait_until_own(node, ES_OK, 5);
    es_node_record draining = record_of("a", KEY);
    draining.state = ES_MEMBER_DRAINING;
    es_registry_view *view;
    assert_int_equal(es_registry_announce(node, &draining, &err), ES_OK);
    for (uint64_t deadline_ns = in_seconds(5);;) {
        assert_int_equal(es_registry_view_get(watching, &view, &err), ES_OK);
        bool seen = es_registry_view_find(view, "a")->state == ES_MEMBER_DRAINING;
        es_registry_view_destroy(&view);
        if (seen) break;
        assert_true(es_clock_now_ns() < deadline_ns);
        usleep(10000);
    }
    sleep(5); /* more than two lives of the lease */
    wait_until(watching, has_node, "a", 1);
    assert_int_equal(es_registry_get_stats(node).lease_grants, 1);

    /* Another machine cannot have the name; the same machine, started again, can at once. */
    es_registry *thief = open_registry(&cluster, 2000), *again = open_registry(&cluster, 2000);
    announce(thief, "a", OTHER_KEY);
    wait_until_own(thief, ES_MISMATCH, 5);
    announce(again, "a", KEY);
    wait_until_own(again, ES_OK, 5);

    assert_int_equal(es_registry_withdraw(again, in_seconds(5), &err), ES_OK);
    assert_int_equal(es_registry_own(again, &err), ES_NOT_FOUND);
    wait_until_own(thief, ES_OK, 5); /* and then the name is free */
    assert_int_equal(es_registry_remove(watching, "a", in_seconds(5), &err), ES_OK);
    wait_until(watching, lacks_node, "a", 5);
    assert_int_equal(es_registry_remove(watching, "a", in_seconds(5), &err), ES_NOT_FOUND);
    es_registry_close(&thief);
    es_registry_close(&again);
    es_registry_close(&node);
    es_registry_close(&watching);
    etcd_stop(&cluster);
}

static void placements_are_swapped_whole_or_not_at_all(void **state)
{
    (void)state;
    etcd_cluster cluster;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    es_registry *one = open_registry(&cluster, 0), *two = open_registry(&cluster, 0);
    es_document *read;
    assert_int_equal(es_registry_placement(one, in_seconds(5), &read, &err), ES_NOT_FOUND);
    if (swap_to(one, 0, 1, 5, &err) != ES_OK) fail_msg("%s", err.text);
    wait_until(two, has_epoch, "1.1", 5);
    assert_int_equal(swap_to(two, 0, 1, 5, &err), ES_MISMATCH);
    assert_string_equal(err.text, "placement: epoch 1.1 is valid, not 0.0: somebody else changed it");
    /* Larger than any one request may be. */
    es_document *large = document_of((es_epoch){1, 2}, 60, 1024, true);
    if (es_registry_swap(two, (es_epoch){1, 1}, large, in_seconds(20), &err) != ES_OK)
        fail_msg("%s", err.text);
    wait_until(one, has_epoch, "1.2", 5);
    if (es_registry_placement(one, in_seconds(20), &read, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(read->sums, large->sums, 60 * 1024 * ES_SUM_BYTES);
    es_document_destroy(&read);
    es_document_destroy(&large);
    assert_int_equal(swap_to(one, 2, 3, 5, &err), ES_OK);
    assert_int_equal(swap_to(one, 3, 4, 5, &err), ES_OK); /* now the large one's chunks are gone */
    json_t *chunks =
        etcd_post(&cluster, 0, "/v3/kv/range",
                  "{\"key\": \"ZXNzYWltL2NodW5rcy8=\", \"range_end\": \"ZXNzYWltL2NodW5rczA=\"}");
    assert_int_equal(es_etcd_pair_count(chunks), 2); /* of what stands, and of what stood before */
    json_decref(chunks);

    assert_int_equal(es_registry_revoke(one, KEY, true, in_seconds(5), &err), ES_OK);
    wait_until(two, has_revoked, KEY, 5);
    assert_int_equal(es_registry_revoke(two, "no key", true, in_seconds(5), &err), ES_INVALID);
    const uint8_t hash[ES_TOKEN_HASH_BYTES] = {1, 2}, other[ES_TOKEN_HASH_BYTES] = {3};
    assert_int_equal(es_registry_token_add(one, hash, 60, in_seconds(5), &err), ES_OK);
    assert_int_equal(es_registry_token_take(two, other, in_seconds(5), &err), ES_NOT_FOUND);
    assert_int_equal(es_registry_token_take(two, hash, in_seconds(5), &err), ES_OK);
    assert_int_equal(es_registry_token_take(one, hash, in_seconds(5), &err), ES_NOT_FOUND);
    es_registry_close(&one);
    es_registry_close(&two);
    etcd_stop(&cluster);
}

/* A key's bytes in etcd, put under another key as they are, or with `from` made `to`. */
static void put_other(const etcd_cluster *cluster, const char *key, const char *to_key, const char *from,
                      const char *to)
{
    char body[4096], text[2048], other[2048] = "";
    es_etcd_pair pair;
    es_err err;
    json_t *name = es_etcd_bytes(key, strlen(key));
    snprintf(body, sizeof body, "{\"key\": \"%s\"}", json_string_value(name));
    json_decref(name);
    json_t *reply = etcd_post(cluster, 0, "/v3/kv/range", body);
    assert_int_equal(es_etcd_pair_count(reply), 1);
    assert_int_equal(es_etcd_pair_get(reply, 0, &pair, &err), ES_OK);
    snprintf(text, sizeof text, "%.*s", (int)pair.value_bytes, (const char *)pair.value);
    free(pair.value);
    json_decref(reply);
    const char *at = from != NULL ? strstr(text, from) : NULL;
    assert_true(from == NULL || at != NULL);
    if (at != NULL) snprintf(other, sizeof other, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    const char *value = at != NULL ? other : text;
    name = es_etcd_bytes(to_key, strlen(to_key));
    json_t *bytes = es_etcd_bytes(value, strlen(value));
    snprintf(body, sizeof body, "{\"key\": \"%s\", \"value\": \"%s\"}", json_string_value(name),
             json_string_value(bytes));
    json_decref(name);
    json_decref(bytes);
    json_decref(etcd_post(cluster, 0, "/v3/kv/put", body));
}

/* Who can write etcd and has no key: an old document, whose signature would hold, under a new number. */
static void an_old_placement_under_a_new_number_is_no_placement(void **state)
{
    (void)state;
    static const char POINTER[] = "essaim/live/placement";
    etcd_cluster cluster;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    es_registry *registry = open_registry(&cluster, 0);
    es_document *read;
    if (swap_to(registry, 0, 1, 5, &err) != ES_OK) fail_msg("%s", err.text);
    wait_until(registry, has_epoch, "1.1", 5);
    json_t *reply = etcd_post(&cluster, 0, "/v3/kv/range",
                              "{\"key\": \"ZXNzYWltL2NodW5rcy8=\", \"range_end\": \"ZXNzYWltL2NodW5rczA=\"}");
    es_etcd_pair pair;
    char chunk[ES_ETCD_KEY_MAX + 1], renamed[ES_ETCD_KEY_MAX + 64];
    assert_int_equal(es_etcd_pair_get(reply, 0, &pair, &err), ES_OK);
    memcpy(chunk, pair.key, sizeof chunk);
    free(pair.value);
    json_decref(reply);
    snprintf(renamed, sizeof renamed, "essaim/chunks/0000000900000009%s", strchr(chunk, '-'));
    put_other(&cluster, chunk, renamed, NULL, NULL);
    put_other(&cluster, POINTER, POINTER, "\"1.1\"", "\"9.9\"");
    wait_until(registry, has_epoch, "9.9", 5);
    assert_int_equal(es_registry_placement(registry, in_seconds(5), &read, &err), ES_CORRUPT);
    assert_string_equal(err.text, "placement: the registry calls it 9.9, and it is 1.1");
    assert_null(read);
    es_registry_close(&registry);
    etcd_stop(&cluster);
}

/* faults.md 14 and 15: gone for a while, then there again. */
static void a_restart_freezes_membership_and_loses_no_lease(void **state)
{
    (void)state;
    etcd_cluster cluster;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    es_registry *watching = open_registry(&cluster, 0), *node = open_registry(&cluster, 10000);
    announce(node, "a", KEY);
    wait_until(watching, has_node, "a", 5);
    etcd_kill(&cluster, 0);
    wait_until(watching, is_frozen, "a", 10);
    wait_until(node, is_frozen, "", 10);
    uint64_t start_ns = es_clock_now_ns();
    assert_int_equal(swap_to(watching, 0, 1, 1, &err), ES_UNAVAILABLE);
    assert_true(es_clock_now_ns() - start_ns < 3 * SECOND);
    etcd_restart(&cluster, 0);
    wait_until(watching, has_node, "a", 10);
    wait_until(node, has_node, "a", 10);
    es_registry *second = open_registry(&cluster, 0);
    announce(second, "b", OTHER_KEY);
    wait_until(watching, has_node, "b", 10); /* the watch has resumed */
    sleep(4);
    assert_int_equal(es_registry_get_stats(node).lease_grants, 1);
    assert_int_equal(es_registry_get_stats(node).lease_losses, 0);
    assert_true(es_registry_get_stats(watching).watches > 1);
    es_registry_close(&second);
    es_registry_close(&watching);
    es_registry_close(&node);
    etcd_stop(&cluster);
}

/* The same when nothing answers but nothing is refused either. */
static void a_silent_etcd_blocks_nobody(void **state)
{
    (void)state;
    etcd_cluster cluster;
    char endpoint[64];
    int port;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    gate *g = gate_open(cluster.members[0].client_port, &port);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", port);
    es_registry *registry = open_at(endpoint, 2000);
    announce(registry, "a", KEY);
    wait_until(registry, has_node, "a", 5);
    gate_set(g, GATE_MUTE);
    uint64_t start_ns = es_clock_now_ns();
    es_registry_view *view;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
        assert_int_equal(view->node_count, 1);
        es_registry_view_destroy(&view);
    }
    assert_true(es_clock_now_ns() - start_ns < SECOND);
    start_ns = es_clock_now_ns();
    assert_int_equal(es_registry_revoke(registry, KEY, true, in_seconds(1), &err), ES_TIMEOUT);
    assert_true(es_clock_now_ns() - start_ns < 2 * SECOND);
    wait_until(registry, is_frozen, "a", 10);
    sleep(3); /* the lease ends */
    gate_set(g, GATE_OPEN);
    wait_until_own(registry, ES_OK, 10);
    wait_until(registry, has_node, "a", 10);
    assert_int_equal(es_registry_get_stats(registry).lease_losses, 1);
    gate_set(g, GATE_MUTE);
    start_ns = es_clock_now_ns();
    es_registry_close(&registry);
    assert_true(es_clock_now_ns() - start_ns < 4 * SECOND);
    gate_close(g);
    etcd_stop(&cluster);
}

/* faults.md 17. */
static void a_lease_that_is_lost_is_taken_again(void **state)
{
    (void)state;
    etcd_cluster cluster;
    etcd_start(&cluster, 1, false);
    es_registry *watching = open_registry(&cluster, 0), *node = open_registry(&cluster, 2000);
    announce(node, "a", KEY);
    wait_until(watching, has_node, "a", 5);
    json_t *leases = etcd_post(&cluster, 0, "/v3/lease/leases", "{}");
    const char *id =
        json_string_value(json_object_get(json_array_get(json_object_get(leases, "leases"), 0), "ID"));
    char body[64];
    assert_non_null(id);
    snprintf(body, sizeof body, "{\"ID\": \"%s\"}", id);
    json_decref(leases);
    json_t *reply = etcd_post(&cluster, 0, "/v3/lease/revoke", body);
    assert_non_null(reply);
    json_decref(reply);
    wait_until(watching, lacks_node, "a", 5);
    wait_until(watching, has_node, "a", 5);
    wait_until_own(node, ES_OK, 5);
    assert_int_equal(es_registry_get_stats(node).lease_losses, 1);
    assert_int_equal(es_registry_get_stats(node).lease_grants, 2);
    es_registry_close(&watching);
    es_registry_close(&node);
    etcd_stop(&cluster);
}

static void compact(const etcd_cluster *cluster)
{
    json_t *reply = etcd_post(cluster, 0, "/v3/kv/range", "{\"key\": \"YQ==\"}");
    uint64_t revision;
    char body[64];
    es_err err;
    assert_int_equal(es_etcd_revision(reply, &revision, &err), ES_OK);
    json_decref(reply);
    snprintf(body, sizeof body, "{\"revision\": %llu, \"physical\": true}", (unsigned long long)revision);
    reply = etcd_post(cluster, 0, "/v3/kv/compaction", body);
    assert_non_null(reply);
    json_decref(reply);
}

/* faults.md 16: while the watch is cut off, things change and their history is thrown away. */
static void a_compaction_in_a_gap_leaves_nothing_stale(void **state)
{
    (void)state;
    etcd_cluster cluster;
    char endpoint[64];
    int port;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    gate *g = gate_open(cluster.members[0].client_port, &port);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", port);
    es_registry *watching = open_at(endpoint, 0), *beside = open_registry(&cluster, 0);
    assert_int_equal(swap_to(beside, 0, 1, 5, &err), ES_OK);
    wait_until(watching, has_epoch, "1.1", 5);
    gate_set(g, GATE_SHUT);
    wait_until(watching, is_frozen, "", 10);
    for (uint32_t counter = 1; counter < 4; counter++)
        assert_int_equal(swap_to(beside, counter, counter + 1, 5, &err), ES_OK);
    compact(&cluster);
    /* The watch resumes behind what it saw last, and that history is gone. */
    gate_set(g, GATE_NO_KEYS);
    for (uint64_t deadline_ns = in_seconds(20); es_registry_get_stats(watching).compactions == 0;) {
        assert_true(es_clock_now_ns() < deadline_ns);
        usleep(10000);
    }
    gate_set(g, GATE_OPEN);
    wait_until(watching, has_epoch, "1.4", 10);
    assert_int_equal(swap_to(beside, 4, 5, 5, &err), ES_OK);
    wait_until(watching, has_epoch, "1.5", 5); /* and it watches again */
    es_registry_close(&watching);
    es_registry_close(&beside);
    gate_close(g);
    etcd_stop(&cluster);
}

static void a_member_may_die_and_a_quorum_may_be_lost(void **state)
{
    (void)state;
    etcd_cluster cluster;
    es_err err = {.text = ""};
    etcd_start(&cluster, 3, false);
    es_registry *watching = open_registry(&cluster, 0), *node = open_registry(&cluster, 10000);
    announce(node, "a", KEY);
    wait_until(watching, has_node, "a", 5);
    uint32_t counter = 0;
    /* Each in turn, so that the leader is among them. */
    for (size_t m = 0; m < 3; m++) {
        char epoch[ES_EPOCH_TEXT_MAX];
        etcd_kill(&cluster, m);
        if (swap_to(watching, counter, counter + 1, 10, &err) != ES_OK) fail_msg("%s", err.text);
        counter++;
        es_epoch_format((es_epoch){1, counter}, epoch);
        wait_until(node, has_epoch, epoch, 10);
        wait_until(watching, has_node, "a", 10);
        etcd_restart(&cluster, m);
        etcd_wait(&cluster, m);
    }
    assert_true(es_registry_get_stats(watching).failovers > 0);
    etcd_kill(&cluster, 0);
    etcd_kill(&cluster, 1);
    wait_until(watching, is_frozen, "a", 15);
    wait_until(node, is_frozen, "a", 15);
    es_status status = swap_to(watching, counter, counter + 1, 2, &err);
    assert_true(status == ES_TIMEOUT || status == ES_UNAVAILABLE);
    etcd_restart(&cluster, 0);
    wait_until(watching, has_node, "a", 15);
    wait_until_own(node, ES_OK, 15);
    assert_int_equal(es_registry_get_stats(node).lease_grants, 1);
    es_registry_close(&watching);
    es_registry_close(&node);
    etcd_stop(&cluster);
}

static void must_post(const etcd_cluster *cluster, const char *path, const char *body)
{
    json_t *reply = etcd_post(cluster, 0, path, body);
    if (reply == NULL) fail_msg("%s %s", path, body);
    json_decref(reply);
}

static void a_login_is_renewed_when_it_has_expired(void **state)
{
    (void)state;
    etcd_cluster cluster;
    char endpoint[256];
    es_registry *registry, *stranger;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, false);
    must_post(&cluster, "/v3/auth/user/add", "{\"name\": \"root\", \"password\": \"secret\"}");
    must_post(&cluster, "/v3/auth/role/add", "{\"name\": \"root\"}");
    must_post(&cluster, "/v3/auth/user/grant", "{\"user\": \"root\", \"role\": \"root\"}");
    must_post(&cluster, "/v3/auth/enable", "{}");
    etcd_endpoints(&cluster, endpoint);
    es_etcd_options options = {
        .endpoints = endpoint, .user = "root", .password = "wrong", .ttl_ms = 5000, .try_ms = 1000};
    assert_int_equal(es_registry_open_etcd(&options, &stranger, &err), ES_OK);
    assert_int_equal(swap_to(stranger, 0, 1, 3, &err), ES_MISMATCH);
    assert_string_equal(err.text, "etcd: login refused");
    es_registry_close(&stranger);
    options.password = "secret";
    assert_int_equal(es_registry_open_etcd(&options, &registry, &err), ES_OK);
    announce(registry, "a", KEY);
    wait_until(registry, has_node, "a", 5);
    uint64_t logins = es_registry_get_stats(registry).logins;
    /* A changed password makes an end of the user's tokens. */
    json_t *reply = etcd_post_as(&cluster, 0, "root", "secret", "/v3/auth/user/changepw",
                                 "{\"name\": \"root\", \"password\": \"secret\"}");
    assert_non_null(reply);
    json_decref(reply);
    if (swap_to(registry, 0, 1, 5, &err) != ES_OK) fail_msg("%s", err.text);
    wait_until(registry, has_epoch, "1.1", 5);
    assert_true(es_registry_get_stats(registry).logins > logins);
    es_registry_close(&registry);
    etcd_stop(&cluster);
}

static void tls_lets_in_whom_it_should(void **state)
{
    (void)state;
    etcd_cluster cluster;
    char endpoint[256], ca[96], cert[96], key[96];
    es_registry *registry;
    es_err err = {.text = ""};
    etcd_start(&cluster, 1, true);
    etcd_endpoints(&cluster, endpoint);
    snprintf(ca, sizeof ca, "%s/ca.pem", cluster.folder);
    snprintf(cert, sizeof cert, "%s/client.pem", cluster.folder);
    snprintf(key, sizeof key, "%s/client.key", cluster.folder);
    es_etcd_options options = {.endpoints = endpoint, .ca = ca, .cert = cert, .key = key, .try_ms = 1000};
    assert_int_equal(es_registry_open_etcd(&options, &registry, &err), ES_OK);
    announce(registry, "a", KEY);
    wait_until(registry, has_node, "a", 15);
    if (swap_to(registry, 0, 1, 5, &err) != ES_OK) fail_msg("%s", err.text);
    wait_until(registry, has_epoch, "1.1", 5);
    es_registry_close(&registry);
    snprintf(cert, sizeof cert, "%s/stranger.pem", cluster.folder);
    snprintf(key, sizeof key, "%s/stranger.key", cluster.folder);
    assert_int_equal(es_registry_open_etcd(&options, &registry, &err), ES_OK);
    assert_int_equal(swap_to(registry, 1, 2, 2, &err), ES_UNAVAILABLE);
    es_registry_close(&registry);
    snprintf(ca, sizeof ca, "%s/other.pem", cluster.folder); /* the server's is not of this authority */
    assert_int_equal(es_registry_open_etcd(&options, &registry, &err), ES_OK);
    assert_int_equal(swap_to(registry, 1, 2, 2, &err), ES_UNAVAILABLE);
    assert_non_null(strstr(err.text, "SSL"));
    es_registry_close(&registry);
    etcd_stop(&cluster);
}

static void options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    es_registry *registry;
    es_err err = {.text = ""};
    static const struct {
        es_etcd_options options;
        const char *text;
    } CASES[] = {
        {{.endpoints = NULL}, "etcd: no endpoints"},
        {{.endpoints = "http://10.0.0.1:2379"},
         "etcd: endpoint \"http://10.0.0.1:2379\": without https only a loopback address is talked to"},
        {{.endpoints = "ftp://localhost:1"}, "etcd: endpoint \"ftp://localhost:1\": write https://HOST:PORT"},
        {{.endpoints = "https://a:1/v3"},
         "etcd: endpoint \"https://a:1/v3\": nothing may stand behind HOST:PORT, nor a name before it"},
        {{.endpoints = "http://localhost:1,"}, "etcd: endpoints: empty, too long, or more than 16"},
        {{.endpoints = "http://localhost:1", .user = "a"}, "etcd: a user and a password go together"},
        {{.endpoints = "http://localhost:1", .cert = "a"}, "etcd: a certificate and its key go together"},
        {{.endpoints = "http://localhost:1", .prefix = "essaim"},
         "etcd: prefix \"essaim\": 1 to 127 characters and a '/'"},
        {{.endpoints = "http://localhost:1", .ttl_ms = 5}, "etcd: a lease of 5 ms, less than 1000"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(es_registry_open_etcd(&CASES[i].options, &registry, &err), ES_INVALID);
        assert_string_equal(err.text, CASES[i].text);
        assert_null(registry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(nodes_come_change_and_go),
        cmocka_unit_test(placements_are_swapped_whole_or_not_at_all),
        cmocka_unit_test(an_old_placement_under_a_new_number_is_no_placement),
        cmocka_unit_test(a_restart_freezes_membership_and_loses_no_lease),
        cmocka_unit_test(a_silent_etcd_blocks_nobody),
        cmocka_unit_test(a_lease_that_is_lost_is_taken_again),
        cmocka_unit_test(a_compaction_in_a_gap_leaves_nothing_stale),
        cmocka_unit_test(a_member_may_die_and_a_quorum_may_be_lost),
        cmocka_unit_test(a_login_is_renewed_when_it_has_expired),
        cmocka_unit_test(tls_lets_in_whom_it_should),
    };
    if (!etcd_installed()) return 77;
    es_log_configure("test", ES_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
