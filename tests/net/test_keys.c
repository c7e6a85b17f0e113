/* Key files and allow lists. */
#include "net/keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

static char dir[] = "net-keys-XXXXXX";
static char path[64], public_path[64];

static int enter(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL) return -1;
    snprintf(path, sizeof path, "%s/k", dir);
    snprintf(public_path, sizeof public_path, "%s/k.pub", dir);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    unlink(path);
    unlink(public_path);
    return rmdir(dir);
}

static void write_text(const char *text, mode_t mode)
{
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void a_pair_is_written_privately_and_read_back(void **state)
{
    (void)state;
    es_keys made, read;
    es_err err = {.text = ""};
    struct stat info;
    assert_int_equal(es_keys_generate(path, &made, &err), ES_OK);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(es_keys_load(path, &read, &err), ES_OK);
    assert_memory_equal(&made, &read, sizeof made);
    es_allow_list *list;
    uint8_t key[ES_KEY_BYTES];
    assert_int_equal(es_allow_list_load(public_path, &list, &err), ES_OK);
    zmq_z85_decode(key, made.public_key);
    assert_true(es_allow_list_has(list, key));
    key[0] ^= 1;
    assert_false(es_allow_list_has(list, key));
    es_allow_list_destroy(&list);

    assert_int_equal(es_keys_generate(path, &made, &err), ES_IO);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(es_keys_load(path, &read, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "chmod 600"));
    es_keys_wipe(&read);
    for (size_t i = 0; i < sizeof read; i++) assert_int_equal(((const char *)&read)[i], 0);
}

static void what_is_no_key_is_named(void **state)
{
    (void)state;
    es_keys keys;
    es_allow_list *list;
    es_err err = {.text = ""};
    write_text("# nothing here\n", 0600);
    assert_int_equal(es_keys_load(path, &keys, &err), ES_INVALID);
    assert_int_equal(es_allow_list_load(path, &list, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "holds no public key"));
    write_text("# one\n#rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7 was here "
               "once\nrq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\nshort\n",
               0600);
    assert_int_equal(es_allow_list_load(path, &list, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "line 4 is no public key"));
    assert_int_equal(es_keys_load(path, &keys, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "line 4 is no secret key"));
    write_text("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\n\nrq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7\n",
               0600);
    assert_int_equal(es_keys_load(path, &keys, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "line 3 is a second key, after line 1"));
    write_text("# essaim secret key\n\nhunter2\n", 0600);
    assert_int_equal(es_keys_load(path, &keys, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "line 3 is no secret key"));
    assert_null(strstr(err.text, "hunter2"));
    assert_int_equal(es_keys_load("no-such-file", &keys, &err), ES_NOT_FOUND);
    assert_true(es_key_valid("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"));
    assert_false(es_key_valid("rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf"));
    assert_false(
        es_key_valid("\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""));
    assert_false(es_key_valid("########################################")); /* more than 32 bits a group */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_is_written_privately_and_read_back),
        cmocka_unit_test(what_is_no_key_is_named),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
