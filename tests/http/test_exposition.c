/* The text of metrics, and quantiles of histograms. */
#include "http/exposition.h"
#include "http/samples.h"
#include "with_cmocka.h"

#include <math.h>
#include <stdlib.h>

static void families_values_and_labels_are_written(void **state)
{
    (void)state;
    es_buffer out = {0};
    const es_metric_label labels[] = {{"node", "a\"b\\c\nd"}, {"x", ""}, {NULL, NULL}};
    es_metric_family(&out, "m_total", "counter", "What it is.");
    es_metric_value(&out, "m_total", NULL, 3.0);
    es_metric_value(&out, "m_total", labels, 0.5);
    size_t bytes;
    char *text = es_buffer_take(&out, &bytes);
    assert_string_equal(text, "# HELP m_total What it is.\n# TYPE m_total counter\nm_total 3\n"
                              "m_total{node=\"a\\\"b\\\\c\\nd\",x=\"\"} 0.5\n");
    free(text);
}

static void buckets_are_cumulated(void **state)
{
    (void)state;
    es_buffer out = {0};
    const es_metric_label labels[] = {{"n", "1"}, {NULL, NULL}};
    const double bound[] = {0.5, 1};
    const uint64_t bucket[] = {2, 0, 5};
    es_metric_buckets(&out, "h", labels, bound, 2, bucket, 12.25);
    es_metric_buckets(&out, "g", NULL, bound, 2, bucket, 0);
    size_t bytes;
    char *text = es_buffer_take(&out, &bytes);
    assert_string_equal(
        text,
        "h_bucket{n=\"1\",le=\"0.5\"} 2\nh_bucket{n=\"1\",le=\"1\"} 2\nh_bucket{n=\"1\",le=\"+Inf\"} 7\n"
        "h_count{n=\"1\"} 7\nh_sum{n=\"1\"} 12.25\n"
        "g_bucket{le=\"0.5\"} 2\ng_bucket{le=\"1\"} 2\ng_bucket{le=\"+Inf\"} 7\ng_count 7\ng_sum 0\n");
    free(text);
}

static void quantiles_lie_between_bounds(void **state)
{
    (void)state;
    const double bound[] = {1, 2, 4};
    const uint64_t none[4] = {0}, bucket[] = {0, 10, 10, 0}, beyond[] = {0, 0, 0, 3};
    assert_true(es_histogram_quantile(bound, 3, none, 0.5) == 0.0);
    assert_true(fabs(es_histogram_quantile(bound, 3, bucket, 0.5) - 2.0) < 1e-12);
    assert_true(fabs(es_histogram_quantile(bound, 3, bucket, 0.25) - 1.5) < 1e-12);
    assert_true(fabs(es_histogram_quantile(bound, 3, bucket, 0.75) - 3.0) < 1e-12);
    assert_true(es_histogram_quantile(bound, 3, beyond, 0.5) == 4.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_values_and_labels_are_written),
        cmocka_unit_test(buckets_are_cumulated),
        cmocka_unit_test(quantiles_lie_between_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
