/* Files of machines. */
#include "planner/machine.h"
#include "with_cmocka.h"

#include <string.h>

static es_machine machines[ES_MACHINES_MAX];

static es_status parse(const char *text, size_t *count, es_err *err)
{
    *count = 0;
    return es_machines_parse("m.json", text, strlen(text), machines, ES_MACHINES_MAX, count, err);
}

static void alike_machines_are_numbered_and_have_hosts_of_their_own(void **state)
{
    (void)state;
    es_err err;
    size_t count;
    assert_int_equal(parse("{\"machines\": [{\"name\": \"a\", \"count\": 3, \"memory_gb\": 64, "
                           "\"read_gb_per_s\": 50, \"cores\": 8}]}",
                           &count, &err),
                     ES_OK);
    assert_int_equal(count, 3);
    assert_string_equal(machines[2].name, "a-3");
    assert_string_equal(machines[2].host, "a-3");
    assert_int_equal(machines[2].memory_bytes, 64000000000);
    assert_true(machines[2].nic_bytes_per_s == 125e6);
}

static void a_single_object_is_one_machine(void **state)
{
    (void)state;
    es_err err;
    size_t count;
    assert_int_equal(parse("{\"name\": \"a\", \"host\": \"h\", \"role\": \"experts\", \"memory_gb\": 1.5, "
                           "\"read_gb_per_s\": 50, \"cores\": 8, \"read_shares\": {\"q4_k\": 0.5}, "
                           "\"multiply_shares\": {\"fp8\": 0.25}, \"_when\": 1}",
                           &count, &err),
                     ES_OK);
    assert_int_equal(count, 1);
    assert_true(machines[0].read_share[ES_FORMAT_Q4_K] == 0.5 && machines[0].read_share[ES_FORMAT_Q8_0] == 0);
    assert_true(machines[0].multiply_share[ES_FORMAT_FP8] == 0.25 &&
                machines[0].multiply_share[ES_FORMAT_Q4_K] == 0);
    assert_string_equal(machines[0].host, "h");
    assert_int_equal(machines[0].role, ES_ROLE_EXPERTS);
}

typedef struct refusal {
    const char *text, *says;
} refusal;

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const refusal CASES[] = {
        {"[]", "m.json"},
        {"{\"machines\": 3}", "machines is not a list"},
        {"{\"machines\": [3]}", "m.json: line 1: a machine is an object"},
        {"{\"_\": [[{}], \"machines\"],\n\"machines\"\n: [\n{\"name\": \"a\\\"]{\",\n\"memory_gb\": 1,"
         "\"cores\": 1, \"read_gb_per_s\": 1}\n,\n\n {\"name\": \"b\"}]}",
         "m.json: line 8: machine b: memory_gb is missing"},
        {"{\"name\": \"a\", \"memory\": 64}",
         "machine a: write memory_gb, in 10^9 bytes in place of \"memory\""},
        {"{}", "name"},
        {"{\"name\": \"a\\u0007\"}", "control character"},
        {"{\"name\": \"a\"}", "machine a: memory_gb is missing"},
        {"{\"name\": \"a\", \"memory_gb\": \"64\"}", "machine a: memory_gb is not a number"},
        {"{\"name\": \"a\", \"memory_gb\": -1}", "memory_gb is not a number between"},
        {"{\"name\": \"a\", \"memory_gb\": 1e300}", "memory_gb is not a number between"},
        {"{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1, \"nick_gbit_per_s\": 1}",
         "nick_gbit_per_s"},
        {"{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1, \"role\": \"king\"}",
         "role is any"},
        {"{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1, \"read_shares\": 1}",
         "read_shares is no object"},
        {"{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1, \"read_shares\": {\"q9\": "
         "1}}",
         "no format \"q9\" is known"},
        {"{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1, \"read_shares\": "
         "{\"q8_0\": 1.2}}",
         "q8_0 is not a number above 0"},
        {"{\"machines\": [{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1, \"count\": "
         "200}, {\"name\": \"b\", \"memory_gb\": 1, \"cores\": 1, "
         "\"read_gb_per_s\": 1, \"count\": 57}]}",
         "more than 256 machines"},
        {"{\"machines\": [{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1}, "
         "{\"name\": \"a\", \"memory_gb\": 1, \"cores\": 1, \"read_gb_per_s\": 1}]}",
         "two machines are called a"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        es_err err;
        size_t count;
        assert_int_not_equal(parse(CASES[i].text, &count, &err), ES_OK);
        if (strstr(err.text, CASES[i].says) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, CASES[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alike_machines_are_numbered_and_have_hosts_of_their_own),
        cmocka_unit_test(a_single_object_is_one_machine),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
