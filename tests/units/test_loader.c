/* What a node holds changes as it is told, and what is in use stays where it is. */
#include "base/clock.h"
#include "units/loader.h"
#include "units/store_fixture.h"
#include "with_cmocka.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { WAIT_MS = 20000 };

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

/* wide-v3 in shards of slices, and a loader that is told of a machine's memory by a file. */
typedef struct fixture {
    char folder[TEST_PATH_MAX], shards[TEST_PATH_MAX], meminfo[TEST_PATH_MAX + 16];
    es_expert_store *store;
    es_loader *loader;
} fixture;

static void state_memory(const fixture *f, unsigned long kilobytes)
{
    FILE *file = fopen(f->meminfo, "we");
    assert_non_null(file);
    fprintf(file, "MemTotal:       16000000 kB\nMemFree:  12 kB\nMemAvailable:   %lu kB\n", kilobytes);
    fclose(file);
}

static void open_loader(fixture *f, uint64_t memory_bytes_max)
{
    const char *paths[] = {f->shards};
    folder_make(f->folder);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 3, f->folder, f->shards);
    snprintf(f->meminfo, sizeof f->meminfo, "%s/meminfo", f->folder);
    state_memory(f, 8000000);
    f->store = store_open(paths, 1);
    const es_loader_options options = {
        .store = f->store, .memory_bytes_max = memory_bytes_max, .meminfo = f->meminfo};
    MUST(es_loader_create(&options, &f->loader, &must_err));
}

static void close_loader(fixture *f)
{
    es_loader_destroy(&f->loader);
    es_expert_store_close(&f->store);
    folder_remove(f->folder);
}

/* Waits as a service does, until the loader has nothing left to do or has failed. */
static es_node_state settle(const fixture *f)
{
    uint64_t until_ns = es_clock_now_ns() + (uint64_t)WAIT_MS * 1000000;
    es_node_state state;
    for (;;) {
        es_loader_poll(f->loader);
        es_loader_state(f->loader, &state);
        if (state.phase == ES_NODE_READY || state.failure[0] != '\0') return state;
        if (es_clock_now_ns() > until_ns) fail_msg("not settled within %d ms", WAIT_MS);
        struct pollfd item = {es_loader_fd(f->loader), POLLIN, 0};
        poll(&item, 1, es_clock_left_ms(until_ns));
    }
}

static void change(const fixture *f, uint64_t epoch, es_units units, bool load)
{
    MUST(es_loader_change(f->loader, &(es_units_change){epoch, &units, 1, NULL, 0, NULL}, load, &must_err));
}

static void check_held(const fixture *f, const es_units *want, size_t count)
{
    const es_holding *holding = es_loader_holding(f->loader);
    assert_int_equal(holding->unit_count, count);
    assert_memory_equal(holding->units, want, count * sizeof *want);
}

static void units_come_and_go(void **unused)
{
    (void)unused;
    fixture f;
    open_loader(&f, 0);
    es_loader_poll(f.loader);
    assert_true(es_loader_settled(f.loader));
    assert_int_equal(es_loader_holding(f.loader)->unit_count, 0);
    change(&f, 4, (es_units){1, 0, 4, 0, 1}, true);
    assert_false(es_loader_settled(f.loader));
    es_node_state state = settle(&f);
    check_held(&f, (es_units[]){{1, 0, 4, 0, 1}}, 1);
    assert_int_equal(state.epoch, 4);
    assert_true(state.wanted_bytes > 0 && state.mapped_bytes == state.wanted_bytes);
    uint64_t four = state.mapped_bytes;
    change(&f, 5, (es_units){1, 2, 6, 2, 3}, true);
    state = settle(&f);
    assert_int_equal(state.verified_bytes,
                     state.mapped_bytes - four); /* what it began with was not read first */
    check_held(&f, (es_units[]){{1, 0, 4, 0, 1}, {1, 4, 4, 2, 3}}, 2);
    change(&f, 5, (es_units){1, 1, 3, 1, 3}, false);
    settle(&f);
    check_held(&f, (es_units[]){{1, 0, 1, 0, 1}, {1, 1, 3, 0, 3}, {1, 1, 3, 2, 3}, {1, 4, 4, 2, 3}}, 4);
    change(&f, 6, (es_units){1, 0, 8, 0, 1}, false);
    state = settle(&f);
    assert_int_equal(es_loader_holding(f.loader)->unit_count, 0);
    assert_int_equal(state.mapped_bytes, 0);
    assert_int_equal(state.wanted_bytes, 0);
    assert_int_equal(state.verified_bytes, 0);
    close_loader(&f);
}

static void asking_again_changes_nothing_and_stale_epochs_are_refused(void **unused)
{
    (void)unused;
    fixture f;
    es_err err = {.text = ""};
    open_loader(&f, 0);
    change(&f, 7, (es_units){2, 3, 1, 0, 1}, true);
    uint64_t bytes = settle(&f).mapped_bytes;
    const es_holding *before = es_loader_holding(f.loader);
    for (int i = 0; i < 40; i++) {
        change(&f, 7, (es_units){2, 3, 1, 0, 1}, true);
        assert_int_equal(settle(&f).mapped_bytes, bytes);
    }
    assert_ptr_equal(es_loader_holding(f.loader), before);
    const es_units other = {2, 4, 1, 0, 1}, none = {0, 0, 1, 0, 1};
    assert_int_equal(es_loader_change(f.loader, &(es_units_change){6, &other, 1, NULL, 0, NULL}, true, &err),
                     ES_STALE);
    assert_string_equal(err.text, "epoch 0.6: this node follows epoch 0.7");
    assert_int_equal(es_loader_change(f.loader, &(es_units_change){6, &other, 1, NULL, 0, NULL}, false, &err),
                     ES_STALE);
    assert_int_equal(es_loader_change(f.loader, &(es_units_change){9, &none, 1, NULL, 0, NULL}, true, &err),
                     ES_INVALID);
    assert_int_equal(es_loader_epoch(f.loader), 7);
    check_held(&f, (es_units[]){{2, 3, 1, 0, 1}}, 1);
    close_loader(&f);
}

static void too_many_changes_at_once_are_refused(void **unused)
{
    (void)unused;
    fixture f;
    es_err err = {.text = ""};
    const es_units units = {1, 0, 1, 0, 1};
    open_loader(&f, 0);
    es_status status = ES_OK;
    int taken = 0;
    for (; taken < 100 && status == ES_OK; taken++)
        status =
            es_loader_change(f.loader, &(es_units_change){1, &units, 1, NULL, 0, NULL}, taken % 2 == 0, &err);
    assert_int_equal(status, ES_UNAVAILABLE);
    assert_int_equal(taken, 17);
    assert_int_equal(settle(&f).phase, ES_NODE_READY);
    close_loader(&f);
}

/* A service that computes does not poll: what its holding shows can be read whatever was dropped meanwhile.
 */
static void what_is_in_use_stays(void **unused)
{
    (void)unused;
    fixture f;
    open_loader(&f, 0);
    change(&f, 1, (es_units){1, 0, 8, 0, 1}, true);
    settle(&f);
    const es_piece *piece = es_holding_find(es_loader_holding(f.loader), 1, 6, 1);
    assert_non_null(piece);
    assert_int_equal(piece->chunks.first, 1);
    uint8_t first = piece->ffn.down.data[0];
    change(&f, 2, (es_units){1, 0, 8, 0, 1}, false);
    struct pollfd item = {es_loader_fd(f.loader), POLLIN, 0};
    assert_int_equal(poll(&item, 1, WAIT_MS), 1);
    assert_int_equal(piece->ffn.down.data[0], first);
    assert_int_equal(es_loader_holding(f.loader)->unit_count, 1);
    assert_int_equal(settle(&f).mapped_bytes, 0);
    assert_int_equal(es_loader_holding(f.loader)->piece_count, 0);
    close_loader(&f);
}

static void short_memory_is_told_before_anything_is_mapped(void **unused)
{
    (void)unused;
    fixture f;
    open_loader(&f, 0);
    state_memory(&f, 65 * 1024);
    change(&f, 1, (es_units){1, 0, 8, 0, 1}, true);
    es_node_state state = settle(&f);
    assert_int_equal(state.phase, ES_NODE_LOADING);
    assert_non_null(strstr(state.failure, "GB of this machine's 16.384 GB are available: "));
    assert_non_null(strstr(state.failure, "are lacking"));
    assert_int_equal(state.mapped_bytes, 0);
    assert_true(state.wanted_bytes > 1000000);
    state_memory(&f, 8000000);
    change(&f, 1, (es_units){1, 0, 8, 0, 1}, true); /* asked again, it is tried again */
    state = settle(&f);
    assert_int_equal(state.phase, ES_NODE_READY);
    assert_int_equal(state.mapped_bytes, state.wanted_bytes);
    close_loader(&f);
}

static void a_limit_of_memory_is_kept(void **unused)
{
    (void)unused;
    fixture f;
    open_loader(&f, 1 << 20);
    change(&f, 1, (es_units){1, 0, 2, 0, 1}, true);
    es_node_state state = settle(&f);
    assert_int_equal(state.phase, ES_NODE_READY);
    assert_int_equal(state.memory_bytes, 1 << 20);
    assert_int_equal(state.memory_free_bytes, (1 << 20) - state.mapped_bytes);
    change(&f, 2, (es_units){1, 2, 6, 0, 1}, true);
    state = settle(&f);
    assert_int_equal(state.phase, ES_NODE_LOADING);
    assert_non_null(strstr(state.failure, "over --memory (0.001 GB)"));
    check_held(&f, (es_units[]){{1, 0, 2, 0, 1}}, 1);
    change(&f, 3, (es_units){1, 3, 5, 0, 1}, false); /* what remains asked for has room */
    assert_int_equal(settle(&f).phase, ES_NODE_READY);
    check_held(&f, (es_units[]){{1, 0, 3, 0, 1}}, 1);
    close_loader(&f);
}

static void damage_keeps_a_unit_out(void **unused)
{
    (void)unused;
    fixture f;
    open_loader(&f, 0);
    change(&f, 1, (es_units){2, 0, 1, 0, 1}, true);
    settle(&f);
    char file[TEST_PATH_MAX + 32];
    snprintf(file, sizeof file, "%s/experts-02-of-03.shard", f.shards);
    FILE *stream = fopen(file, "r+be");
    assert_non_null(stream);
    assert_int_equal(fseek(stream, 4096 + 10, SEEK_SET), 0);
    fwrite("damaged", 1, 7, stream);
    fclose(stream);
    change(&f, 2, (es_units){1, 0, 3, 0, 1}, true);
    es_node_state state = settle(&f);
    assert_int_equal(state.phase, ES_NODE_LOADING);
    assert_non_null(strstr(state.failure, "layers.1.experts.0.chunks.1.1: its checksum does not match"));
    assert_null(es_holding_find(es_loader_holding(f.loader), 1, 0, 1));
    assert_non_null(es_holding_find(es_loader_holding(f.loader), 2, 0, 1));
    close_loader(&f);
}

static void all_that_is_there_is_held(void **unused)
{
    (void)unused;
    fixture f;
    open_loader(&f, 0);
    MUST(es_loader_load_all(f.loader, &must_err));
    assert_int_equal(settle(&f).phase, ES_NODE_READY);
    check_held(&f, (es_units[]){{1, 0, 8, 0, 1}, {2, 0, 8, 0, 1}}, 2);
    assert_int_equal(es_loader_holding(f.loader)->piece_count, 2 * 8 * 3);
    close_loader(&f);
}

/* Changes drawn from a seed; at the end the holding is what they say, and closing in the middle of them is
 * clean. */
static void any_order_of_changes_ends_in_what_they_say(void **unused)
{
    (void)unused;
    for (unsigned round = 0; round < 6; round++) {
        fixture f;
        es_chunk_set want;
        unsigned seed = round;
        open_loader(&f, 0);
        MUST(es_chunk_set_init(&want, es_expert_store_shape(f.store), &must_err));
        for (int i = 0; i < 60; i++) {
            uint32_t first = (uint32_t)rand_r(&seed) % 8, slices = (uint32_t)rand_r(&seed) % 3 + 1;
            const es_units units = {(uint32_t)rand_r(&seed) % 2 + 1, first,
                                    (uint32_t)rand_r(&seed) % (8 - first) + 1,
                                    (uint32_t)rand_r(&seed) % slices, slices};
            bool load = rand_r(&seed) % 2 == 0;
            const es_units_change c = {(uint64_t)i, &units, 1, NULL, 0, NULL};
            while (es_loader_change(f.loader, &c, load, NULL) == ES_UNAVAILABLE) es_loader_poll(f.loader);
            es_chunk_set_change(&want, &units, 1, load);
            if (rand_r(&seed) % 3 == 0) es_loader_poll(f.loader);
        }
        if (round % 2 == 0) {
            es_node_state state = settle(&f);
            assert_int_equal(state.mapped_bytes, state.wanted_bytes);
            const es_holding *holding = es_loader_holding(f.loader);
            for (size_t l = 1; l <= 2; l++)
                for (size_t e = 0; e < 8; e++)
                    for (uint32_t c = 0; c < 3; c++)
                        assert_int_equal(es_holding_find(holding, l, e, c) != NULL,
                                         es_chunk_set_has(&want, l, e, c));
        }
        es_chunk_set_fini(&want);
        close_loader(&f);
    }
}

/* Nothing that a peer says could make up for what the placement leaves out. */
static void what_cannot_be_fetched_says_why(void **unused)
{
    (void)unused;
    fixture f;
    es_expert_store *full;
    es_fetcher *fetcher;
    char empty[TEST_PATH_MAX + 8];
    const char *paths[] = {f.shards}, *empty_paths[] = {empty};
    folder_make(f.folder);
    shards_cut(wide_v3(), ES_FORMAT_COUNT, 1, f.folder, f.shards);
    full = store_open(paths, 1);
    snprintf(empty, sizeof empty, "%s/empty", f.folder);
    assert_int_equal(mkdir(empty, 0700), 0);
    MUST(es_unit_file_write_empty(empty, es_expert_store_shape(full), es_expert_store_fingerprint(full),
                                  &must_err));
    f.store = store_open(empty_paths, 1);
    const es_fetcher_options fetching = {.dir = empty,
                                         .shape = es_expert_store_shape(f.store),
                                         .fingerprint = es_expert_store_fingerprint(f.store),
                                         .name = "me"};
    MUST(es_fetcher_start(&fetching, &fetcher, &must_err));
    const es_loader_options options = {.store = f.store, .fetcher = fetcher};
    MUST(es_loader_create(&options, &f.loader, &must_err));
    const es_units units = {1, 0, 2, 0, 1};
    uint8_t sums[2 * ES_CONTENT_SUM_BYTES], formats[2 * ES_EXPERT_PARTS] = {0};
    memset(sums, 7, sizeof sums);
    es_units_change all = {1, &units, 1, NULL, 0, NULL};
    MUST(es_loader_change(f.loader, &all, true, &must_err));
    assert_non_null(strstr(settle(&f).failure, "for no checksum came with it"));
    all.sums = sums, all.sum_count = 2;
    MUST(es_loader_change(f.loader, &all, true, &must_err));
    assert_non_null(strstr(settle(&f).failure, "the placement was made by an earlier version"));
    all.formats = formats;
    MUST(es_loader_change(f.loader, &all, true, &must_err));
    assert_non_null(strstr(settle(&f).failure, "nobody is known here who could have it"));
    all.formats = NULL; /* what was said of one placement's bytes is not said of another's */
    MUST(es_loader_change(f.loader, &all, true, &must_err));
    assert_non_null(strstr(settle(&f).failure, "the placement was made by an earlier version"));
    es_loader_destroy(&f.loader);
    es_fetcher_stop(&fetcher);
    es_expert_store_close(&f.store);
    es_expert_store_close(&full);
    folder_remove(f.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_come_and_go),
        cmocka_unit_test(asking_again_changes_nothing_and_stale_epochs_are_refused),
        cmocka_unit_test(too_many_changes_at_once_are_refused),
        cmocka_unit_test(what_is_in_use_stays),
        cmocka_unit_test(short_memory_is_told_before_anything_is_mapped),
        cmocka_unit_test(a_limit_of_memory_is_kept),
        cmocka_unit_test(damage_keeps_a_unit_out),
        cmocka_unit_test(all_that_is_there_is_held),
        cmocka_unit_test(any_order_of_changes_ends_in_what_they_say),
        cmocka_unit_test(what_cannot_be_fetched_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
