/* cmocka and what must stand before it. */
#ifndef ES_TESTS_WITH_CMOCKA_H
#define ES_TESTS_WITH_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* cmocka 1.1 does not say that who fails does not come back: compilers and clang-tidy shall know. */
__attribute__((noreturn)) void _fail(const char *file, int line);

#endif
