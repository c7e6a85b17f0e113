/* What figures mean: findings from reports, their cost by the planner, and files that the planner reads. */
#include "doctor/checks.h"
#include "doctor/link_tell.h"
#include "doctor/measure.h"
#include "doctor/save.h"
#include "planner/known_model.h"
#include "with_cmocka.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static es_shape shape;
static es_prospect prospect;
static es_findings findings;

static const es_machine MACHINE = {.name = "m",
                                   .host = "m",
                                   .memory_bytes = 64000000000,
                                   .cores = 8,
                                   .read_bytes_per_s = 50e9,
                                   .int_ops_per_s = 1200e9,
                                   .float_ops_per_s = 600e9,
                                   .nic_bytes_per_s = 1.25e9,
                                   .round_trip_s = 80e-6};

static int begin(void **state)
{
    (void)state;
    es_err err;
    return es_findings_init(&findings) && es_known_model("deepseek-r1", &shape, &err) == ES_OK &&
                   es_prospect_make(&shape, "deepseek-r1", ES_FORMAT_Q4_K, &MACHINE, &prospect, &err) == ES_OK
               ? 0
               : -1;
}

static int end(void **state)
{
    (void)state;
    es_findings_fini(&findings);
    return 0;
}

static const es_finding *get(const char *id)
{
    const es_finding *f = es_findings_get(&findings, id);
    if (f == NULL) fail_msg("no finding %s", id);
    return f;
}

static es_link_report good_link(void)
{
    es_link_report r = {
        .rounds = 100,
        .round_trip_s = 110e-6,
        .best_s = 90e-6,
        .late_s = 200e-6,
        .jitter_s = 5e-6,
        .network_s = 50e-6,
        .to_bytes_per_s = 0.7e9,
        .from_bytes_per_s = 0.7e9,
        .path_mtu = 1500,
        .peer = {.name = "n1", .version = ESSAIM_VERSION, .kernels = "avx2", .has_model = true}};
    return r;
}

static void tell(const es_link_report *r, es_status status, const es_doctor_subject *subject)
{
    const es_link_context context = {&prospect, subject, 1.25e9, 0.7e9};
    es_err err = {.status = status, .text = "what went wrong"};
    findings.count = 0;
    es_link_tell(&context, "host:1", r, status, &err, &findings);
}

static void a_good_link_has_no_complaint(void **state)
{
    (void)state;
    es_doctor_subject subject = {.fingerprint = {0}};
    es_link_report r = good_link();
    tell(&r, ES_OK, &subject);
    assert_int_equal(es_findings_of(&findings, ES_FINDING_OK), findings.count);
    assert_int_equal(findings.count, 8);
}

static void a_slow_link_costs_tokens(void **state)
{
    (void)state;
    es_link_report r = good_link();
    r.to_bytes_per_s = 1e6;
    r.network_s = r.round_trip_s = 5e-3;
    r.late_s = 50e-3;
    r.resent = 500;
    r.path_mtu = 1200;
    r.clock_ahead_s = -100;
    tell(&r, ES_OK, NULL);
    assert_int_equal(get("link.host:1.throughput")->state, ES_FINDING_WARN);
    assert_non_null(strstr(get("link.host:1.throughput")->cost, "% of the speed"));
    assert_int_equal(get("link.host:1.round_trip")->state, ES_FINDING_WARN);
    assert_non_null(strstr(get("link.host:1.round_trip")->cost, "tokens/s"));
    assert_int_equal(get("link.host:1.jitter")->state, ES_FINDING_WARN);
    assert_int_equal(get("link.host:1.resent")->state, ES_FINDING_WARN);
    assert_int_equal(get("link.host:1.mtu")->state, ES_FINDING_WARN);
    assert_int_equal(get("link.host:1.clock")->state, ES_FINDING_BAD);
    assert_int_equal(get("link.host:1.model")->state, ES_FINDING_UNKNOWN);
}

static void another_model_or_version_is_named_with_both(void **state)
{
    (void)state;
    es_doctor_subject subject = {.fingerprint = {0xab}};
    es_link_report r = good_link();
    r.peer.fingerprint[0] = 0xcd;
    strcpy(r.peer.version, "9.9");
    tell(&r, ES_OK, &subject);
    const es_finding *model = get("link.host:1.model");
    assert_int_equal(model->state, ES_FINDING_BAD);
    assert_true(strstr(model->value, "cd00") != NULL && strstr(model->value, "ab00") != NULL);
    assert_string_equal(get("link.host:1.version")->value, "9.9 there, " ESSAIM_VERSION " here");
}

static void a_link_that_only_carries_little_is_told_apart_from_none(void **state)
{
    (void)state;
    es_link_report r = good_link();
    tell(&r, ES_TIMEOUT, NULL);
    assert_int_equal(get("link.host:1.throughput")->state, ES_FINDING_BAD);
    assert_non_null(strstr(get("link.host:1.throughput")->mend, "MTU"));
    r.rounds = 0;
    tell(&r, ES_MISMATCH, NULL);
    assert_int_equal(get("link.host:1.reach")->state, ES_FINDING_BAD);
    assert_non_null(strstr(get("link.host:1.reach")->mend, "--allow"));
}

static void too_little_memory_costs_a_disk_s_time(void **state)
{
    (void)state;
    es_doctor_subject subject = {.shape = shape, .format = ES_FORMAT_Q4_K, .experts_bytes = UINT64_MAX / 4};
    const es_doctor_source here = {""};
    findings.count = 0;
    es_check_memory(&here, &subject, 1e9, &findings);
    assert_int_equal(get("memory.free")->state, ES_FINDING_BAD);
    assert_non_null(strstr(get("memory.free")->cost, "come from the disk"));
}

static void a_disk_is_read_past_the_cache_or_says_why_not(void **state)
{
    (void)state;
    char path[] = "doctor-disk-XXXXXX", block[1 << 20];
    int fd = mkstemp(path);
    double rate = 0;
    es_err err = {.text = ""};
    assert_true(fd >= 0);
    assert_int_equal(es_doctor_measure_disk(path, 1 << 30, &rate, &err) == ES_OK, false);
    memset(block, 7, sizeof block);
    for (int i = 0; i < 40; i++) assert_int_equal(write(fd, block, sizeof block), sizeof block);
    fsync(fd);
    close(fd);
    es_status status = es_doctor_measure_disk(path, 1 << 30, &rate, &err);
    unlink(path);
    assert_true((status == ES_OK && rate > 1e6) ||
                (status == ES_UNSUPPORTED && strstr(err.text, "cache") != NULL));
    assert_int_equal(es_doctor_measure_disk(path, 1, &rate, &err), ES_IO);
}

static void saved_machines_are_read_by_the_planner(void **state)
{
    (void)state;
    static es_machine read[ES_MACHINES_MAX];
    es_machine two[2] = {MACHINE, MACHINE};
    char path[] = "doctor-machines-XXXXXX";
    size_t count = 0;
    es_err err = {.text = ""};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    two[1].int_ops_per_s = two[1].float_ops_per_s = 0; /* an expert node does not tell */
    strcpy(two[1].host, "other");
    two[0].read_share[ES_FORMAT_FP8] = 0.75;
    two[0].multiply_share[ES_FORMAT_FP8] = 1.01; /* two measurements may say so */
    for (size_t n = 1; n <= 2; n++) {
        count = 0;
        assert_int_equal(es_machines_save(path, two, n, &err), ES_OK);
        if (es_machines_read(path, read, ES_MACHINES_MAX, &count, &err) != ES_OK) fail_msg("%s", err.text);
        assert_int_equal(count, n);
    }
    assert_string_equal(read[0].name, "m");
    assert_true(read[0].read_share[ES_FORMAT_FP8] == 0.75 && read[0].multiply_share[ES_FORMAT_FP8] == 1);
    assert_true(read[0].read_share[ES_FORMAT_Q4_K] == 0);
    assert_string_equal(read[1].name, "m-2");
    assert_string_equal(read[1].host, "other");
    assert_true(read[0].memory_bytes == MACHINE.memory_bytes && read[0].cores == 8);
    assert_true(read[0].read_bytes_per_s == MACHINE.read_bytes_per_s &&
                read[0].int_ops_per_s == MACHINE.int_ops_per_s);
    assert_true(read[0].nic_bytes_per_s == MACHINE.nic_bytes_per_s && read[1].int_ops_per_s == 8 * 150e9);
    assert_true(read[0].round_trip_s > 79.9e-6 && read[0].round_trip_s < 80.1e-6);
    two[1].read_bytes_per_s = 0;
    assert_int_equal(es_machines_save(path, two, 2, &err), ES_INVALID);
    unlink(path);
}

/* A machine reads 20 GB/s; what is here was computed from at 12 GB/s while it read 16, and with 64 rows at
 * speeds that the planner's two limits give: both have to come back from them. */
static void the_planner_gets_the_shares_that_were_measured(void **state)
{
    (void)state;
    const double bytes = 12e9, peak = 1e12, share = 0.5, per_weight = 1.0625;
    double one_row = per_weight / bytes, multiply = 2 / (peak * share);
    double many_rows = sqrt(one_row * one_row + multiply * multiply * (ES_HELD_ROWS * ES_HELD_ROWS - 1));
    es_doctor_speeds s = {.read_bytes_per_s = 20e9,
                          .int_ops_per_s = peak,
                          .product_bytes_per_s = {[ES_FORMAT_Q8_0] = 19e9, [ES_FORMAT_BF16] = 18e9},
                          .held = {.bytes_per_s = bytes,
                                   .read_bytes_per_s = 16e9,
                                   .ops_per_s = 2 * ES_HELD_ROWS / many_rows,
                                   .bytes_per_weight = per_weight,
                                   .format = ES_FORMAT_Q8_0}};
    es_machine machine = {.read_bytes_per_s = 20e9};
    es_doctor_learn_shares(&s, &machine);
    assert_true(fabs(machine.read_share[ES_FORMAT_Q8_0] - 0.75) < 1e-9);
    assert_true(fabs(machine.read_share[ES_FORMAT_BF16] - 0.9) < 1e-9);
    assert_true(fabs(machine.multiply_share[ES_FORMAT_Q8_0] - share) < 1e-9);
    assert_true(machine.multiply_share[ES_FORMAT_BF16] == 0 && machine.read_share[ES_FORMAT_Q4_K] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_link_has_no_complaint),
        cmocka_unit_test(a_slow_link_costs_tokens),
        cmocka_unit_test(another_model_or_version_is_named_with_both),
        cmocka_unit_test(a_link_that_only_carries_little_is_told_apart_from_none),
        cmocka_unit_test(too_little_memory_costs_a_disk_s_time),
        cmocka_unit_test(a_disk_is_read_past_the_cache_or_says_why_not),
        cmocka_unit_test(saved_machines_are_read_by_the_planner),
        cmocka_unit_test(the_planner_gets_the_shares_that_were_measured),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
