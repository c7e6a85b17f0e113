/* Parts of a placement, and placements as ranges. */
#include "essaim/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 4, EXPERTS_MAX = 40 };

static es_shape shape_of(size_t experts)
{
    return (es_shape){.layers = LAYERS, .dense_layers = 1, .moe_layer_freq = 1, .experts = experts};
}

static void parts_cover_every_expert_once_for_any_count(void **state)
{
    (void)state;
    for (size_t experts = 1; experts <= EXPERTS_MAX; experts++) {
        es_shape shape = shape_of(experts);
        for (size_t parts = 1; parts <= experts; parts++) {
            uint8_t total[LAYERS * EXPERTS_MAX] = {0}, held[LAYERS * EXPERTS_MAX];
            for (size_t part = 0; part < parts; part++) {
                es_err err;
                assert_int_equal(es_placement_part(&shape, part, parts, held, &err), ES_OK);
                size_t own = 0;
                for (size_t i = 0; i < LAYERS * experts; i++) {
                    total[i] = (uint8_t)(total[i] + held[i]);
                    own += held[i];
                }
                assert_in_range(own, 3 * (experts / parts), 3 * (experts / parts + 1));
            }
            for (size_t i = 0; i < LAYERS * experts; i++) assert_int_equal(total[i], i >= experts);
        }
    }
}

static void parts_that_cannot_be_are_refused(void **state)
{
    (void)state;
    es_shape shape = shape_of(8);
    uint8_t held[LAYERS * 8];
    es_err err;
    assert_int_equal(es_placement_part(&shape, 0, 9, held, &err), ES_INVALID);
    assert_string_equal(err.text, "placement: 9 parts, but a layer has 8 experts");
    assert_int_equal(es_placement_part(&shape, 0, 0, held, &err), ES_INVALID);
    assert_int_equal(es_placement_part(&shape, 4, 4, held, &err), ES_INVALID);
}

static void a_part_is_written_from_one(void **state)
{
    (void)state;
    size_t part, parts;
    es_err err;
    assert_int_equal(es_placement_parse_part("2/4", &part, &parts, &err), ES_OK);
    assert_int_equal(part, 1);
    assert_int_equal(parts, 4);
    static const char *const BAD[] = {"",     "/",    "1/",   "/4",   "0/4", "5/4",
                                      "1/4x", "x1/4", "1 /4", "-1/4", "1/0", "9999999/9999999"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(es_placement_parse_part(BAD[i], &part, &parts, &err), ES_INVALID);
        assert_non_null(strstr(err.text, BAD[i]));
    }
}

static void ranges_name_what_is_held(void **state)
{
    (void)state;
    es_shape shape = shape_of(8);
    uint8_t held[LAYERS * 8] = {0};
    es_units units[4];
    size_t count;
    es_err err;
    held[8 + 0] = held[8 + 1] = held[8 + 7] = held[24 + 7] = 1;
    assert_int_equal(es_placement_units(&shape, held, units, 4, &count, &err), ES_OK);
    assert_int_equal(count, 3);
    assert_memory_equal(&units[0], (&(es_units){1, 0, 2, 0, 1}), sizeof units[0]);
    assert_memory_equal(&units[1], (&(es_units){1, 7, 1, 0, 1}), sizeof units[0]);
    assert_memory_equal(&units[2], (&(es_units){3, 7, 1, 0, 1}), sizeof units[0]);
    assert_int_equal(es_placement_units(&shape, held, units, 2, &count, &err), ES_NO_MEMORY);
}

static void slices_are_the_expert_cut_at_chunks(void **state)
{
    (void)state;
    static const size_t WIDTHS[] = {1, 255, 256, 257, 640, 2048, 2049, 524288};
    for (size_t i = 0; i < sizeof WIDTHS / sizeof WIDTHS[0]; i++) {
        size_t all = es_chunks_of(WIDTHS[i]);
        assert_in_range(all, 1, ES_CHUNKS_MAX);
        for (uint32_t slices = 1; slices <= all; slices++) {
            uint32_t next = 0;
            for (uint32_t slice = 0; slice < slices; slice++) {
                es_chunks c = es_chunks_of_slice(WIDTHS[i], slice, slices);
                assert_int_equal(c.first, next);
                assert_true(c.count == all / slices || c.count == all / slices + 1);
                next += c.count;
                es_chunks again = es_chunks_decode(es_chunks_code(c));
                assert_memory_equal(&again, &c, sizeof c);
            }
            assert_int_equal(next, all);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_cover_every_expert_once_for_any_count),
        cmocka_unit_test(parts_that_cannot_be_are_refused),
        cmocka_unit_test(a_part_is_written_from_one),
        cmocka_unit_test(ranges_name_what_is_held),
        cmocka_unit_test(slices_are_the_expert_cut_at_chunks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
