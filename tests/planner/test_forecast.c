/* What fits, and how predictions move with the machines. */
#include "planner/forecast.h"
#include "planner/known_model.h"
#include "with_cmocka.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static es_shape shape;
static es_machine machines[16];
static es_forecast forecast;

static es_forecast_question ask(size_t count, es_format format)
{
    es_err err;
    assert_int_equal(es_known_model("deepseek-r1", &shape, &err), ES_OK);
    for (size_t i = 0; i < count; i++) {
        machines[i] = (es_machine){.memory_bytes = 96000000000,
                                   .read_bytes_per_s = 50e9,
                                   .int_ops_per_s = 3e12,
                                   .float_ops_per_s = 1e12,
                                   .cores = 16,
                                   .nic_bytes_per_s = 1.25e9,
                                   .round_trip_s = 1e-4};
        snprintf(machines[i].name, sizeof machines[i].name, "m%zu", i);
        memcpy(machines[i].host, machines[i].name, sizeof machines[i].host);
    }
    return (es_forecast_question){.shape = &shape,
                                  .format = format,
                                  .kv_value_bytes = 2,
                                  .machines = machines,
                                  .machine_count = count,
                                  .any_mode = true,
                                  .copies = 2,
                                  .context = 1024,
                                  .kv_streams = 1,
                                  .coordinators = 1};
}

static void the_bytes_of_r1_are_those_of_the_table_in_the_readme(void **state)
{
    (void)state;
    es_err err;
    es_cost_model q4, q8;
    (void)ask(1, ES_FORMAT_Q4_K);
    assert_int_equal(es_cost_model_make(&shape, ES_FORMAT_Q4_K, 2, &q4, &err), ES_OK);
    assert_int_equal(es_cost_model_make(&shape, ES_FORMAT_Q8_0, 2, &q8, &err), ES_OK);
    assert_true(fabs(q8.experts_bytes - 695e9) < 1e9);
    assert_true(q4.experts_bytes > 368e9 && q4.experts_bytes < 368e9 * 1.04); /* panels: scales are bytes */
    assert_true(fabs(q8.backbone_bytes - 18.5e9) < 0.5e9);
    assert_true(q8.kv_bytes_per_token * 61 == 70272);
}

static void a_model_that_does_not_fit_says_what_is_missing(void **state)
{
    (void)state;
    es_err err;
    es_forecast_question q = ask(3, ES_FORMAT_Q4_K);
    assert_int_equal(es_forecast_make(&q, &forecast, &err), ES_OK);
    assert_false(forecast.fits);
    assert_non_null(strstr(forecast.why, "2 machines beside the coordinator have room for 186.2 GB: "));
    q = ask(6, ES_FORMAT_Q4_K);
    q.any_mode = false;
    q.mode = ES_MODE_REPLICATE;
    assert_int_equal(es_forecast_make(&q, &forecast, &err), ES_OK);
    assert_non_null(strstr(forecast.why, "the experts' copies need"));
    q = ask(3, ES_FORMAT_Q4_K);
    machines[0].memory_bytes = machines[1].memory_bytes = machines[2].memory_bytes = 8000000000;
    assert_int_equal(es_forecast_make(&q, &forecast, &err), ES_OK);
    assert_non_null(strstr(forecast.why, "the coordinator needs"));
}

static void no_machine_needs_more_than_it_has(void **state)
{
    (void)state;
    es_err err;
    for (size_t count = 5; count <= 16; count++) {
        es_forecast_question q = ask(count, ES_FORMAT_Q4_K);
        machines[1].memory_bytes /= 2;
        assert_int_equal(es_forecast_make(&q, &forecast, &err), ES_OK);
        for (size_t i = 0; i < count && forecast.fits; i++)
            assert_true(forecast.machine[i].needs_bytes <= (double)machines[i].memory_bytes);
        assert_true(forecast.fits == (count > 5));
    }
}

static double speed_of(const es_forecast_question *q)
{
    es_err err;
    assert_int_equal(es_forecast_make(q, &forecast, &err), ES_OK);
    assert_true(forecast.fits);
    return forecast.speed[0].tokens_per_s;
}

static void faster_machines_and_links_predict_more_tokens(void **state)
{
    (void)state;
    es_forecast_question q = ask(8, ES_FORMAT_Q4_K);
    double base = speed_of(&q);
    for (size_t i = 0; i < 8; i++) machines[i].nic_bytes_per_s = 0.125e9;
    double slow_links = speed_of(&q);
    assert_true(slow_links < base);
    for (size_t i = 0; i < 8; i++) machines[i].read_bytes_per_s *= 2;
    assert_true(speed_of(&q) > slow_links);
    q.format = ES_FORMAT_Q8_0;
    for (size_t i = 0; i < 8; i++) machines[i].memory_bytes *= 2;
    assert_true(speed_of(&q) < base * 2);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

static void what_was_measured_replaces_the_table(void **state)
{
    (void)state;
    es_err err;
    es_cost_model model;
    es_forecast_question q = ask(1, ES_FORMAT_FP8);
    es_machine *m = &machines[0];
    assert_int_equal(es_cost_model_make(q.shape, q.format, 2, &model, &err), ES_OK);
    es_cost_matrices expert = model.expert;
    expert.products = 0;
    /* One row: reading, and almost nothing of multiplying. Many rows: the reverse. */
    m->read_share[ES_FORMAT_FP8] = 0.5;
    m->multiply_share[ES_FORMAT_FP8] = 1;
    double read_s = expert.bytes / (m->read_bytes_per_s * 0.5);
    double multiply_s = 2 * expert.weights / m->float_ops_per_s;
    assert_true(near(es_cost_product_s(&expert, 1, m, 1), read_s));
    assert_true(near(es_cost_product_s(&expert, 1e6, m, 1), 1e6 * multiply_s));
    double rows = sqrt(1 + pow(read_s / multiply_s, 2)); /* where both limits are alike */
    assert_true(near(es_cost_product_s(&expert, rows, m, 1), sqrt(2) * read_s));
    /* The cache's bytes are nothing beside 512 rows' operations. */
    double by_table = es_cost_attend_s(&model, 1, 512, 8192, m, 1);
    m->attend_share = ES_COST_RATES.attend / 2;
    assert_true(fabs(es_cost_attend_s(&model, 1, 512, 8192, m, 1) / by_table - 2) < 0.01);
    assert_true(near(es_cost_encrypt_s(m), 1 / ES_COST_RATES.encrypt_bytes_per_s));
    m->encrypt_bytes_per_s = 2e9;
    assert_true(near(es_cost_encrypt_s(m), 0.5e-9));
}

static double network_of(const es_forecast_question *q)
{
    (void)speed_of(q);
    return forecast.speed[0].step.network_s;
}

static void both_ends_of_a_link_encrypt(void **state)
{
    (void)state;
    es_forecast_question q = ask(8, ES_FORMAT_Q4_K);
    q.any_mode = false;
    q.mode = ES_MODE_SLICE; /* a row goes to all seven nodes */
    machines[0].role = ES_ROLE_COORDINATOR;
    double bytes = 58 * 7 * (es_cost_row_bytes(q.shape) + es_cost_sum_bytes(q.shape)), plain = network_of(&q);
    for (size_t i = 0; i < 8; i++) machines[i].encrypt_bytes_per_s = i == 0 ? 1e9 : 0.5e9;
    q.encrypted = true;
    /* The coordinator does it for all nodes, each node a seventh of that, twice as slowly. */
    assert_true(near(network_of(&q) - plain, bytes * (1e-9 + 2e-9 / 7)));
}

static void machines_of_one_host_are_no_faster_than_one(void **state)
{
    (void)state;
    es_forecast_question q = ask(6, ES_FORMAT_Q4_K);
    for (size_t i = 0; i < 6; i++) machines[i].memory_bytes = 600000000000;
    double apart = speed_of(&q);
    for (size_t i = 0; i < 6; i++) strcpy(machines[i].host, "one");
    assert_true(speed_of(&q) < apart);
}

static void advice_is_sorted_and_helps(void **state)
{
    (void)state;
    es_err err;
    es_forecast_question q = ask(6, ES_FORMAT_Q4_K);
    es_advice advice[ES_ADVICE_MAX];
    size_t count;
    assert_int_equal(es_forecast_make(&q, &forecast, &err), ES_OK);
    assert_int_equal(es_forecast_advise(&q, &forecast, advice, &count, &err), ES_OK);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(advice[i].gain >= 1.03);
        assert_true(i == 0 || advice[i].gain <= advice[i - 1].gain);
    }
    q = ask(2, ES_FORMAT_Q4_K);
    assert_int_equal(es_forecast_make(&q, &forecast, &err), ES_OK);
    assert_false(forecast.fits);
    assert_int_equal(es_forecast_advise(&q, &forecast, advice, &count, &err), ES_OK);
    assert_true(count == 1 && strstr(advice[0].change, "more machines like m0") != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_r1_are_those_of_the_table_in_the_readme),
        cmocka_unit_test(a_model_that_does_not_fit_says_what_is_missing),
        cmocka_unit_test(no_machine_needs_more_than_it_has),
        cmocka_unit_test(faster_machines_and_links_predict_more_tokens),
        cmocka_unit_test(what_was_measured_replaces_the_table),
        cmocka_unit_test(both_ends_of_a_link_encrypt),
        cmocka_unit_test(machines_of_one_host_are_no_faster_than_one),
        cmocka_unit_test(advice_is_sorted_and_helps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
