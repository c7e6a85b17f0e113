/* Sets of chunks: ranges in, ranges out. */
#include "cluster/chunk_set.h"
#include "with_cmocka.h"

#include <string.h>

enum { LAYERS = 3, EXPERTS = 8 };

static es_shape shape_of(size_t width)
{
    return (es_shape){.layers = LAYERS,
                      .dense_layers = 1,
                      .moe_layer_freq = 1,
                      .experts = EXPERTS,
                      .expert_intermediate = width};
}

static void check_units(const es_chunk_set *set, uint32_t slices, const es_units *want, size_t want_count)
{
    es_units units[64];
    size_t count;
    es_err err = {.text = ""};
    assert_int_equal(es_chunk_set_units(set, slices, units, 64, &count, &err), ES_OK);
    assert_int_equal(count, want_count);
    assert_memory_equal(units, want, count * sizeof *want);
}

static void ranges_come_back_in_the_fewest_slices(void **state)
{
    (void)state;
    es_shape shape = shape_of(2048);
    es_chunk_set set;
    assert_int_equal(es_chunk_set_init(&set, &shape, NULL), ES_OK);
    es_chunk_set_change(&set, &(es_units){1, 2, 3, 0, 1}, 1, true);
    es_chunk_set_change(&set, &(es_units){1, 5, 1, 1, 2}, 1, true);
    es_chunk_set_change(&set, &(es_units){2, 0, 8, 3, 4}, 1, true);
    check_units(&set, 0, (es_units[]){{1, 2, 3, 0, 1}, {1, 5, 1, 1, 2}, {2, 0, 8, 3, 4}}, 3);
    es_chunk_set_change(&set, &(es_units){2, 0, 8, 2, 4}, 1, true);
    check_units(&set, 0, (es_units[]){{1, 2, 3, 0, 1}, {1, 5, 1, 1, 2}, {2, 0, 8, 1, 2}}, 3);
    es_chunk_set_change(&set, &(es_units){1, 3, 1, 0, 1}, 1, false);
    check_units(&set, 0, (es_units[]){{1, 2, 1, 0, 1}, {1, 4, 1, 0, 1}, {1, 5, 1, 1, 2}, {2, 0, 8, 1, 2}}, 4);
    es_units units[3];
    size_t count;
    assert_int_equal(es_chunk_set_units(&set, 0, units, 3, &count, NULL), ES_NO_MEMORY);
    es_chunk_set_fini(&set);
}

/* Chunks 2 to 5 of 8 are no slice of any number, but two of four. */
static void ranges_are_told_in_the_terms_asked_for(void **state)
{
    (void)state;
    es_shape shape = shape_of(2048);
    es_chunk_set set;
    assert_int_equal(es_chunk_set_init(&set, &shape, NULL), ES_OK);
    es_chunk_set_put(&set, 1, 7, (es_chunks){2, 4}, true);
    check_units(&set, 4, (es_units[]){{1, 7, 1, 1, 4}, {1, 7, 1, 2, 4}}, 2);
    check_units(&set, 3, (es_units[]){{1, 7, 1, 2, 8}, {1, 7, 1, 3, 8}, {1, 7, 1, 4, 8}, {1, 7, 1, 5, 8}}, 4);
    es_chunk_set_put(&set, 1, 7, (es_chunks){7, 1}, true);
    check_units(&set, 4, (es_units[]){{1, 7, 1, 1, 4}, {1, 7, 1, 2, 4}, {1, 7, 1, 7, 8}}, 3);
    es_chunk_set_fini(&set);
}

/* For every number of slices and every width up to seven chunks, the slices of any subset come back as that
 * set. */
static void any_set_of_slices_comes_back_as_itself(void **state)
{
    (void)state;
    for (size_t width = 1; width <= 7 * 256; width += 255) {
        es_shape shape = shape_of(width);
        uint32_t chunks = (uint32_t)es_chunks_of(width);
        for (uint32_t slices = 1; slices <= chunks; slices++)
            for (uint32_t subset = 0; subset < 1u << slices; subset++) {
                es_chunk_set set, again;
                es_units units[64];
                size_t count;
                assert_int_equal(es_chunk_set_init(&set, &shape, NULL), ES_OK);
                assert_int_equal(es_chunk_set_init(&again, &shape, NULL), ES_OK);
                for (uint32_t i = 0; i < slices; i++)
                    if ((subset >> i & 1) != 0)
                        es_chunk_set_change(&set, &(es_units){2, 1, 2, i, slices}, 1, true);
                assert_int_equal(es_chunk_set_units(&set, slices, units, 64, &count, NULL), ES_OK);
                assert_int_equal(es_chunk_set_check(&shape, units, count, NULL), ES_OK);
                es_chunk_set_change(&again, units, count, true);
                assert_memory_equal(again.bits, set.bits, LAYERS * EXPERTS * set.words * sizeof *set.bits);
                es_chunk_set_fini(&set);
                es_chunk_set_fini(&again);
            }
    }
}

static void ranges_that_are_none_are_refused(void **state)
{
    (void)state;
    es_shape shape = shape_of(608);
    static const struct {
        es_units units;
        const char *text;
    } CASES[] = {
        {{0, 0, 1, 0, 1}, "range 1: layer 0 experts 0 to 0, which this model does not have"},
        {{3, 0, 1, 0, 1}, "layer 3 experts 0 to 0"},
        {{1, 8, 1, 0, 1}, "layer 1 experts 8 to 8"},
        {{1, 7, 2, 0, 1}, "layer 1 experts 7 to 8"},
        {{1, 0, 0, 0, 1}, "layer 1 experts 0 to"},
        {{1, 1, UINT32_MAX, 0, 1}, "layer 1 experts 1 to 4294967295"},
        {{1, 0, 1, 0, 0}, "slice 0 of 0: an expert of 608 columns has 1 to 3"},
        {{1, 0, 1, 0, 4}, "slice 0 of 4: an expert of 608 columns has 1 to 3"},
        {{1, 0, 1, 3, 3}, "slice 3 of 3"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const es_units both[] = {{1, 0, 8, 2, 3}, CASES[i].units};
        es_err err = {.text = ""};
        assert_int_equal(es_chunk_set_check(&shape, both, 2, &err), ES_INVALID);
        if (strstr(err.text, CASES[i].text) == NULL) fail_msg("%s", err.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_come_back_in_the_fewest_slices),
        cmocka_unit_test(ranges_are_told_in_the_terms_asked_for),
        cmocka_unit_test(any_set_of_slices_comes_back_as_itself),
        cmocka_unit_test(ranges_that_are_none_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
