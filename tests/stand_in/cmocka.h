/* What the kernels' tests use of cmocka, for cross compilers, whose libraries a machine lacks: the first
 * failure is told and ends the process. */
#ifndef ES_TESTS_STAND_IN_CMOCKA_H
#define ES_TESTS_STAND_IN_CMOCKA_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

#define cmocka_unit_test(function)                                                                           \
    {                                                                                                        \
#function, function                                                                                  \
    }

#define fail_msg(...)                                                                                        \
    do {                                                                                                     \
        fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                                      \
        fprintf(stderr, __VA_ARGS__);                                                                        \
        fputc('\n', stderr);                                                                                 \
        exit(EXIT_FAILURE);                                                                                  \
    } while (0)

#define stand_in_check(holds, text)                                                                          \
    do {                                                                                                     \
        if (!(holds)) fail_msg("%s", text);                                                                  \
    } while (0)

#define assert_true(c) stand_in_check(c, #c)
#define assert_false(c) stand_in_check(!(c), "not: " #c)
#define assert_null(p) stand_in_check((p) == NULL, #p " is NULL")
#define assert_non_null(p) stand_in_check((p) != NULL, #p " is not NULL")
#define assert_ptr_equal(a, b) stand_in_check((const void *)(a) == (const void *)(b), #a " is " #b)
#define assert_int_equal(a, b) stand_in_check((long long)(a) == (long long)(b), #a " == " #b)
#define assert_int_not_equal(a, b) stand_in_check((long long)(a) != (long long)(b), #a " != " #b)
#define assert_string_equal(a, b) stand_in_check(strcmp(a, b) == 0, #a " is the text " #b)
#define assert_memory_equal(a, b, n) stand_in_check(memcmp(a, b, n) == 0, #a " holds the bytes of " #b)

typedef int stand_in_fixture(void **state);

static inline int stand_in_run(const struct CMUnitTest *tests, size_t count, stand_in_fixture *setup,
                               stand_in_fixture *teardown)
{
    void *state = NULL;
    if (setup != NULL && setup(&state) != 0) fail_msg("the tests' setup failed");
    for (size_t i = 0; i < count; i++) tests[i].run(&state);
    if (teardown != NULL && teardown(&state) != 0) fail_msg("the tests' teardown failed");
    printf("%zu tests\n", count);
    return EXIT_SUCCESS;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                                       \
    stand_in_run(tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)

#endif
