/* The embedded registry: what it promises over restarts, beside other processes and when its file is damaged.
 */
#include "base/clock.h"
#include "cluster/embedded_seen.h"
#include "cluster/registry_options.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "with_cmocka.h"

static const char KEY[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
static const char OTHER_KEY[] = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
static char folder[] = "registry-XXXXXX", room[64];

static uint64_t soon(void)
{
    return es_clock_now_ns() + 5000000000ull;
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info;
    (void)flag;
    (void)walk;
    return remove(path);
}

static int enter(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(room, sizeof room, "%s/r", folder);
    return 0;
}

static int clear(void **state)
{
    (void)state;
    nftw(room, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static es_registry *open_registry(unsigned ttl_ms)
{
    es_registry *registry;
    es_err err = {.text = ""};
    if (es_registry_open_embedded(room, ttl_ms, &registry, &err) != ES_OK) fail_msg("%s", err.text);
    return registry;
}

static es_node_record record_of(const char *name, const char *key)
{
    es_node_record record = {.memory_bytes = 1000, .state = ES_MEMBER_READY, .holder = 7};
    strcpy(record.name, name);
    strcpy(record.control, "tcp://127.0.0.1:5700");
    strcpy(record.key, key);
    record.label_count = 1;
    strcpy(record.labels[0].name, "rack");
    strcpy(record.labels[0].value, "A 1");
    return record;
}

static size_t nodes_of(es_registry *registry)
{
    es_registry_view *view;
    es_err err;
    assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
    assert_false(view->frozen);
    size_t count = view->node_count;
    es_registry_view_destroy(&view);
    return count;
}

static es_document *document_of(es_epoch epoch)
{
    char text[512], number[ES_EPOCH_TEXT_MAX];
    es_document *document;
    es_err err = {.text = ""};
    es_epoch_format(epoch, number);
    snprintf(
        text, sizeof text,
        "{\"format\":\"essaim-placement\",\"version\":1,\"epoch\":\"%s\",\"fingerprint\":\"%064d\",\"mode\":"
        "\"group\",\"copies\":1,\"slices\":1,\"experts\":2,\"layers\":[1],\"nodes\":{\"a\":[[1,0,2]]}}",
        number, 0);
    if (es_document_parse("test", text, strlen(text), &document, &err) != ES_OK) fail_msg("%s", err.text);
    return document;
}

static void nodes_live_as_long_as_their_leases(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_registry *registry = open_registry(300);
    es_node_record a = record_of("a", KEY), b = record_of("b", OTHER_KEY);
    assert_int_equal(es_registry_renew(registry, &a, &err), ES_OK);
    assert_int_equal(es_registry_renew(registry, &b, &err), ES_OK);
    assert_int_equal(nodes_of(registry), 2);
    for (int i = 0; i < 8; i++) { /* only a is heard of */
        usleep(60000);
        assert_int_equal(es_registry_renew(registry, &a, &err), ES_OK);
    }
    assert_int_equal(nodes_of(registry), 1);
    assert_int_equal(es_registry_renew(registry, &b, &err), ES_OK);
    assert_int_equal(nodes_of(registry), 2);
    assert_int_equal(es_registry_remove(registry, "b", soon(), &err), ES_OK);
    assert_int_equal(es_registry_remove(registry, "b", soon(), &err), ES_NOT_FOUND);
    assert_int_equal(nodes_of(registry), 1);
    es_registry_close(&registry);
}

static void what_was_known_is_known_after_a_restart(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_registry *registry = open_registry(0);
    es_node_record a = record_of("a", KEY);
    es_document *document = document_of((es_epoch){1, 1}), *again;
    assert_int_equal(es_registry_renew(registry, &a, &err), ES_OK);
    assert_int_equal(es_registry_revoke(registry, OTHER_KEY, true, soon(), &err), ES_OK);
    assert_int_equal(es_registry_swap(registry, (es_epoch){0, 0}, document, soon(), &err), ES_OK);
    es_registry_close(&registry);
    registry = open_registry(0);
    es_registry_view *view;
    assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
    assert_int_equal(view->node_count, 1);
    assert_string_equal(es_node_record_label(es_registry_view_find(view, "a"), "rack"), "A 1");
    assert_int_equal(view->revoked_count, 1);
    assert_string_equal(view->revoked[0], OTHER_KEY);
    assert_int_equal(es_epoch_number(view->epoch), es_epoch_number(document->epoch));
    es_registry_view_destroy(&view);
    if (es_registry_placement(registry, soon(), &again, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(again->experts, 2);
    es_document_destroy(&again);
    assert_int_equal(es_registry_revoke(registry, OTHER_KEY, false, soon(), &err), ES_OK);
    assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
    assert_int_equal(view->revoked_count, 0);
    es_registry_view_destroy(&view);
    es_registry_close(&registry);
    es_document_destroy(&document);
}

static void our_own_record_stands_until_we_go(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_registry *registry = open_registry(50), *beside = open_registry(60000);
    es_node_record a = record_of("a", KEY);
    assert_int_equal(es_registry_own(registry, &err), ES_NOT_FOUND);
    assert_int_equal(es_registry_announce(registry, &a, &err), ES_OK);
    usleep(120000);
    assert_int_equal(nodes_of(registry), 1);
    assert_int_equal(nodes_of(beside), 1);
    assert_int_equal(es_registry_own(registry, &err), ES_OK);
    es_node_record thief = record_of("a", OTHER_KEY);
    assert_int_equal(es_registry_renew(beside, &thief, &err), ES_MISMATCH);
    assert_string_equal(err.text,
                        "registry: the name a is a node's with another key: 'essaim node remove a' frees it");
    es_registry_close(&registry);
    assert_int_equal(nodes_of(beside), 0);
    es_registry_close(&beside);
}

/* A machine that is away keeps its name, and others who come by learn since when it is. */
static void a_name_is_its_keys_until_it_is_removed(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    uint64_t seen_s[3];
    es_registry *registry = open_registry(30), *beside = open_registry(0);
    es_node_record nodes[] = {record_of("a", KEY), record_of("b", KEY), record_of("c", KEY)};
    nodes[1].state = ES_MEMBER_JOINING; /* put in, and met by nobody */
    uint64_t before_s = es_clock_wall_ns() / 1000000000u;
    assert_int_equal(es_registry_renew(registry, &nodes[0], &err), ES_OK);
    assert_int_equal(es_registry_renew(registry, &nodes[1], &err), ES_OK);
    usleep(60000);
    assert_int_equal(nodes_of(registry), 0);
    es_node_record thief = record_of("a", OTHER_KEY);
    assert_int_equal(es_registry_renew(registry, &thief, &err), ES_MISMATCH);
    if (es_registry_seen(beside, nodes, 3, seen_s, &err) != ES_OK) fail_msg("%s", err.text);
    assert_true(seen_s[0] >= before_s && seen_s[0] <= es_clock_wall_ns() / 1000000000u);
    assert_true(seen_s[1] == 0 && seen_s[2] == 0);
    assert_int_equal(es_registry_remove(registry, "a", soon(), &err), ES_OK);
    assert_int_equal(es_registry_renew(registry, &thief, &err), ES_OK);
    es_registry_close(&registry);
    es_registry_close(&beside);
}

static void a_folder_mistyped_is_no_new_registry(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_registry *registry;
    es_registry_options options = {.folder = room};
    char file[128];
    struct stat info;
    assert_int_equal(es_registry_open(&options, &registry, &err), ES_NOT_FOUND);
    assert_null(registry);
    assert_non_null(strstr(err.text, room));
    assert_non_null(strstr(err.text, "there is no registry here"));
    assert_int_equal(stat(room, &info), -1);
    assert_int_equal(mkdir(room, 0700), 0); /* a folder of something else */
    assert_int_equal(es_registry_open(&options, &registry, &err), ES_NOT_FOUND);
    snprintf(file, sizeof file, "%s/lock", room);
    assert_int_equal(stat(file, &info), -1);
    assert_int_equal(es_registry_open_or_create(&options, &registry, &err), ES_OK);
    es_registry_close(&registry);
    assert_int_equal(es_registry_open(&options, &registry, &err), ES_OK);
    es_registry_close(&registry);
}

static void notes_of_who_was_seen_are_read_strictly(void **state)
{
    (void)state;
    static const char *const BAD[] = {
        "",        "[]", "{\"a\":-1}", "{\"a\":1.5}", "{\"a b\":1}", "{\"a\":1,\"a\":2}", "{\"a\":null}",
        "{\"a\":1"};
    static es_seen notes[ES_REGISTRY_NODES_MAX];
    size_t count;
    es_err err;
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_int_equal(es_seen_parse("seen", BAD[i], strlen(BAD[i]), notes, &count, &err), ES_CORRUPT);
    assert_int_equal(es_seen_parse("seen", "{\"a\":7,\"b\":0}", 13, notes, &count, &err), ES_OK);
    assert_int_equal(count, 2);
    assert_string_equal(notes[0].name, "a");
    assert_true(notes[0].wall_s == 7 && notes[1].wall_s == 0);
}

/* Swaps as fast as it can, from whatever stands. */
typedef struct swapper {
    pthread_t thread;
    size_t won;
} swapper;

static void *swap_many(void *context)
{
    swapper *s = context;
    es_registry *registry = open_registry(0);
    es_err err;
    for (int i = 0; i < 25; i++) {
        es_registry_view *view;
        if (es_registry_view_get(registry, &view, &err) != ES_OK) break;
        es_epoch stands = view->epoch;
        es_registry_view_destroy(&view);
        es_document *next = document_of((es_epoch){1, stands.counter + 1});
        es_status status = es_registry_swap(registry, stands, next, soon(), &err);
        s->won += status == ES_OK;
        es_document_destroy(&next);
    }
    es_registry_close(&registry);
    return NULL;
}

static void of_two_who_swap_from_one_epoch_one_wins(void **state)
{
    (void)state;
    swapper swappers[3] = {0};
    es_registry *registry = open_registry(0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&swappers[i].thread, NULL, swap_many, &swappers[i]), 0);
    size_t won = 0;
    for (size_t i = 0; i < 3; i++) {
        pthread_join(swappers[i].thread, NULL);
        won += swappers[i].won;
    }
    es_document *document, *stale = document_of((es_epoch){2, 1});
    es_err err = {.text = ""};
    if (es_registry_placement(registry, soon(), &document, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(document->epoch.counter, won); /* every win is one epoch, and none was lost */
    assert_true(won >= 25);
    es_document_destroy(&document);
    assert_int_equal(es_registry_swap(registry, (es_epoch){1, 1}, stale, soon(), &err), ES_MISMATCH);
    assert_non_null(strstr(err.text, "is valid, not 1.1: somebody else changed it"));
    assert_int_equal(es_registry_swap(registry, (es_epoch){2, 1}, stale, soon(), &err), ES_INVALID);
    es_document_destroy(&stale);
    es_registry_close(&registry);
}

static void a_token_is_taken_once(void **state)
{
    (void)state;
    uint8_t hash[ES_TOKEN_HASH_BYTES] = {1, 2, 3}, lapsed[ES_TOKEN_HASH_BYTES] = {4};
    es_err err = {.text = ""};
    es_registry *registry = open_registry(0), *beside = open_registry(0);
    assert_int_equal(es_registry_token_add(registry, hash, 60, soon(), &err), ES_OK);
    assert_int_equal(es_registry_token_add(registry, lapsed, 0, soon(), &err), ES_OK);
    assert_int_equal(es_registry_token_take(beside, lapsed, soon(), &err), ES_NOT_FOUND);
    assert_int_equal(es_registry_token_take(beside, hash, soon(), &err), ES_OK);
    assert_int_equal(es_registry_token_take(registry, hash, soon(), &err), ES_NOT_FOUND);
    es_registry_close(&registry);
    es_registry_close(&beside);
}

static void overwrite(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/registry.json", room);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static char *contents(void)
{
    char path[128];
    static char text[65536];
    snprintf(path, sizeof path, "%s/registry.json", room);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static void a_damaged_file_freezes_and_is_not_replaced(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_registry_view *view;
    es_registry *registry = open_registry(0), *second;
    es_node_record a = record_of("a", KEY);
    assert_int_equal(es_registry_renew(registry, &a, &err), ES_OK);
    char *text = contents();
    char *digit = strstr(text, "1000");
    assert_non_null(digit);
    *digit = '2'; /* one bit of memory */
    overwrite(text);
    assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
    assert_true(view->frozen);
    assert_int_equal(view->node_count, 1);
    assert_int_equal(view->nodes[0].memory_bytes, 1000);
    es_registry_view_destroy(&view);
    assert_int_equal(es_registry_renew(registry, &a, &err), ES_CORRUPT);
    assert_non_null(strstr(err.text, "blake2b: the checksum does not match"));
    assert_int_equal(es_registry_open_embedded(room, 0, &second, &err), ES_CORRUPT);
    assert_null(second);
    overwrite("{\"blake2b\": 1}");
    assert_int_equal(es_registry_open_embedded(room, 0, &second, &err), ES_CORRUPT);
    overwrite("");
    assert_int_equal(es_registry_open_embedded(room, 0, &second, &err), ES_CORRUPT);
    *digit = '1';
    overwrite(text);
    assert_int_equal(nodes_of(registry), 1);
    es_registry_close(&registry);
}

static void changes_of_another_process_are_seen(void **state)
{
    (void)state;
    es_err err = {.text = ""};
    es_registry *registry = open_registry(0), *beside = open_registry(0);
    es_node_record a = record_of("a", KEY);
    es_registry_view *view;
    assert_int_equal(es_registry_view_get(registry, &view, &err), ES_OK);
    uint64_t seen = view->version;
    es_registry_view_destroy(&view);
    uint64_t start_ns = es_clock_now_ns();
    assert_int_equal(es_registry_wait(registry, seen, start_ns + 100000000ull), seen);
    assert_true(es_clock_now_ns() >= start_ns + 100000000ull);
    assert_int_equal(es_registry_renew(beside, &a, &err), ES_OK);
    assert_true(es_registry_wait(registry, seen, soon()) != seen);
    assert_int_equal(nodes_of(registry), 1);
    es_registry_close(&registry);
    es_registry_close(&beside);
}

static void records_are_read_strictly(void **state)
{
    (void)state;
    es_node_record record;
    es_err err = {.text = ""};
    es_registry *registry = open_registry(0);
    es_node_record bad = record_of("a b", KEY);
    assert_int_equal(es_registry_renew(registry, &bad, &err), ES_CORRUPT);
    bad = record_of("a", "no key"), assert_int_equal(es_registry_renew(registry, &bad, &err), ES_CORRUPT);
    bad = record_of("a", KEY), strcpy(bad.control, "somewhere:1");
    assert_int_equal(es_registry_renew(registry, &bad, &err), ES_CORRUPT);
    bad = record_of("a", KEY), strcpy(bad.labels[0].value, "\x01");
    assert_int_equal(es_registry_renew(registry, &bad, &err), ES_CORRUPT);
    assert_int_equal(nodes_of(registry), 0);
    const char *text = "{\"name\":\"a\",\"more\":1}";
    assert_int_equal(es_node_record_parse("r", text, strlen(text), &record, &err), ES_CORRUPT);
    assert_string_equal(err.text, "r: more: not known");
    es_registry_close(&registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(nodes_live_as_long_as_their_leases, clear),
        cmocka_unit_test_teardown(what_was_known_is_known_after_a_restart, clear),
        cmocka_unit_test_teardown(our_own_record_stands_until_we_go, clear),
        cmocka_unit_test_teardown(a_name_is_its_keys_until_it_is_removed, clear),
        cmocka_unit_test_teardown(a_folder_mistyped_is_no_new_registry, clear),
        cmocka_unit_test(notes_of_who_was_seen_are_read_strictly),
        cmocka_unit_test_teardown(of_two_who_swap_from_one_epoch_one_wins, clear),
        cmocka_unit_test_teardown(a_token_is_taken_once, clear),
        cmocka_unit_test_teardown(a_damaged_file_freezes_and_is_not_replaced, clear),
        cmocka_unit_test_teardown(changes_of_another_process_are_seen, clear),
        cmocka_unit_test_teardown(records_are_read_strictly, clear),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
