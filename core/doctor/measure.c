/* What has to be measured on a machine. */
#include "doctor/measure.h"

#include "base/clock.h"
#include "base/size.h"
#include "essaim/quant.h"
#include "yardstick/yardstick.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ENCRYPT_BYTES = 64 * 1024,
    ENCRYPT_NS = 20000000,
    READ_BYTES = 4 << 20, /* of the disk at a time */
    READERS = 4,
    READS_MIN = 8,
    DISK_ALIGNMENT = 4096
};

static const double GB = 1e9, SPREAD_MAX = 0.25, LOADING_MAX_S = 300, SHARE_MIN = 0.5;
static const uint64_t DISK_NS = 1000000000;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double es_doctor_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

/* The cipher of CURVE, on one core. */
static double measure_encryption(void)
{
    static uint8_t plain[ENCRYPT_BYTES], sealed[ENCRYPT_BYTES + crypto_box_MACBYTES];
    static const uint8_t key[crypto_box_BEFORENMBYTES] = {1}, nonce[crypto_box_NONCEBYTES] = {2};
    uint64_t start_ns = es_clock_now_ns(), took_ns = 0, bytes = 0;
    if (sodium_init() < 0) return 0;
    for (; took_ns < ENCRYPT_NS; took_ns = es_clock_now_ns() - start_ns) {
        if (crypto_box_easy_afternm(sealed, plain, sizeof plain, nonce, key) != 0) return 0;
        bytes += sizeof plain;
    }
    return (double)bytes * 1e9 / (double)took_ns;
}

es_status es_doctor_measure(const es_kernels *kernels, es_pool *pool, size_t runs, const es_format *formats,
                            size_t count, es_doctor_speeds *ret_speeds, es_err *err)
{
    double reads[ES_DOCTOR_RUNS_MAX], integers[ES_DOCTOR_RUNS_MAX], floats[ES_DOCTOR_RUNS_MAX];
    double products[ES_FORMAT_COUNT];
    ES_ASSERT(runs >= 1 && runs <= ES_DOCTOR_RUNS_MAX && count <= ES_FORMAT_COUNT);
    if (!es_yardstick_read_often(kernels, pool, runs, reads) ||
        !es_yardstick_products(kernels, pool, formats, count, products))
        return es_err_set(err, ES_NO_MEMORY, "memory to measure its bandwidth");
    for (size_t i = 0; i < runs; i++) {
        integers[i] = es_yardstick_integer_ops(kernels, pool);
        floats[i] = es_yardstick_float_ops(kernels, pool);
    }
    *ret_speeds = (es_doctor_speeds){.read_bytes_per_s = es_doctor_median(reads, runs),
                                     .int_ops_per_s = es_doctor_median(integers, runs),
                                     .float_ops_per_s = es_doctor_median(floats, runs),
                                     .attend_ops_per_s = es_yardstick_attend_ops(kernels, pool),
                                     .encrypt_bytes_per_s = measure_encryption()};
    for (size_t i = 0; i < count; i++) ret_speeds->product_bytes_per_s[formats[i]] = products[i];
    ret_speeds->read_spread =
        (reads[runs - 1] - reads[0]) / ret_speeds->read_bytes_per_s; /* sorted by median */
    return ES_OK;
}

void es_doctor_learn_shares(es_doctor_speeds *s, es_machine *machine)
{
    const es_held_speed *held = &s->held;
    es_format format = held->format;
    /* Who disturbs a measurement makes it slower: of two medians the faster is nearer to the machine. */
    s->read_bytes_per_s = fmax(s->read_bytes_per_s, held->read_bytes_per_s);
    if (held->bytes_per_s > 0)
        s->product_bytes_per_s[format] = held->bytes_per_s / held->read_bytes_per_s * s->read_bytes_per_s;
    machine->read_bytes_per_s = s->read_bytes_per_s;
    for (int f = 0; f < ES_FORMAT_COUNT; f++)
        machine->read_share[f] = s->product_bytes_per_s[f] / s->read_bytes_per_s;
    machine->attend_share = s->attend_ops_per_s / s->float_ops_per_s;
    machine->encrypt_bytes_per_s = s->encrypt_bytes_per_s;
    if (held->ops_per_s <= 0) return;
    /* Seconds a weight: of one row, of many rows; between them stands what multiplying takes. */
    double one = held->bytes_per_weight / held->bytes_per_s, many = 2.0 * ES_HELD_ROWS / held->ops_per_s;
    double multiply = sqrt((many * many - one * one) / (ES_HELD_ROWS * ES_HELD_ROWS - 1.0));
    double peak = es_format_is_quant(format) ? s->int_ops_per_s : s->float_ops_per_s;
    if (many > one) machine->multiply_share[format] = 2 / (multiply * peak);
}

static void tell_products(const es_doctor_speeds *s, es_findings *findings)
{
    for (int format = 0; format < ES_FORMAT_COUNT; format++) {
        double share = s->product_bytes_per_s[format] / s->read_bytes_per_s;
        char id[64];
        if (share <= 0) continue;
        snprintf(id, sizeof id, "kernels.%s", es_format_describe((es_format)format)->name);
        bool noisy = s->read_spread > SPREAD_MAX, slow = share < SHARE_MIN && !noisy;
        es_finding_state state = noisy ? ES_FINDING_UNKNOWN : slow ? ES_FINDING_WARN : ES_FINDING_OK;
        es_finding *f = es_findings_add(findings, state, id, share, "",
                                        "%.1f GB/s of weights with one row, %.2f of what is read",
                                        s->product_bytes_per_s[format] / GB, share);
        if (!slow) continue;
        es_finding_cost(f, "%.0f %% of the speed that this memory allows: arithmetic holds it back",
                        100 * (1 - share));
        es_finding_mend(f,
                        "another format (essaim shard --format), or a processor with more or better vectors");
    }
}

void es_doctor_tell_speeds(const es_doctor_speeds *s, const es_prospect *prospect, es_findings *findings)
{
    bool noisy = s->read_spread > SPREAD_MAX;
    es_finding *f = es_findings_add(
        findings, noisy ? ES_FINDING_WARN : ES_FINDING_OK, "memory.read", s->read_bytes_per_s / GB, "GB/s",
        "%.1f GB/s on all cores, %.0f %% between runs", s->read_bytes_per_s / GB, 100 * s->read_spread);
    if (noisy) {
        es_finding_cost(f, "up to %.0f %% of the speed, now and then: something else uses this memory",
                        100 * fmin(s->read_spread, 1));
        es_finding_mend(
            f, "stop it (top), or measure again when it is quiet; a virtual machine's host counts too");
    } else if (prospect != NULL && prospect->machines > 0) {
        char name[128];
        es_prospect_name(prospect, name, sizeof name);
        es_finding_cost(f, "%s: %.2f tokens/s predicted, one stream", name,
                        es_prospect_speed(prospect, &prospect->machine));
    }
    tell_products(s, findings);
    es_findings_add(findings, ES_FINDING_OK, "cpu.int8", s->int_ops_per_s * 1e-9, "GOP/s", "%.0f GOP/s",
                    s->int_ops_per_s * 1e-9);
    es_findings_add(findings, ES_FINDING_OK, "cpu.float", s->float_ops_per_s * 1e-9, "GFLOP/s",
                    "%.0f GFLOP/s", s->float_ops_per_s * 1e-9);
    es_findings_add(findings, ES_FINDING_OK, "cpu.attention", s->attend_ops_per_s * 1e-9, "GFLOP/s",
                    "%.0f GFLOP/s of attention over a cache", s->attend_ops_per_s * 1e-9);
    es_findings_add(findings, s->encrypt_bytes_per_s > 0 ? ES_FINDING_OK : ES_FINDING_UNKNOWN, "cpu.encrypt",
                    s->encrypt_bytes_per_s / GB, "GB/s",
                    "%.2f GB/s (%.1f Gbit/s) on one core: the most that one link carries",
                    s->encrypt_bytes_per_s / GB, s->encrypt_bytes_per_s * 8e-9);
}

typedef struct disk_job {
    int fd;
    uint8_t *buffers; /* [READERS][READ_BYTES] */
    uint64_t until_ns;
    _Atomic uint64_t bytes;
    atomic_int cause; /* errno of a read that failed */
} disk_job;

static void read_disk(void *context, size_t item, size_t thread)
{
    disk_job *job = context;
    if (es_clock_now_ns() >= job->until_ns || atomic_load(&job->cause) != 0) return;
    ssize_t got = pread(job->fd, job->buffers + thread * READ_BYTES, READ_BYTES, (off_t)(item * READ_BYTES));
    if (got < 0)
        atomic_store(&job->cause, errno);
    else
        atomic_fetch_add(&job->bytes, (uint64_t)got);
}

static es_status run_disk(const char *file, disk_job *job, size_t items, double *ret_bytes_per_s, es_err *err)
{
    es_pool *pool = NULL;
    es_status status = es_pool_create(READERS, &pool, err);
    if (status != ES_OK) return status;
    uint64_t start_ns = es_clock_now_ns();
    job->until_ns = start_ns + DISK_NS;
    es_pool_run(pool, items, read_disk, job);
    double took_s = (double)(es_clock_now_ns() - start_ns) * 1e-9;
    es_pool_destroy(&pool);
    int cause = atomic_load(&job->cause);
    if (cause == EINVAL)
        return es_err_set(err, ES_UNSUPPORTED, "%s: its file system reads through the cache only", file);
    if (cause != 0) return es_err_set(err, ES_IO, "%s: %s", file, strerror(cause));
    *ret_bytes_per_s = (double)atomic_load(&job->bytes) / took_s;
    return ES_OK;
}

es_status es_doctor_measure_disk(const char *file, uint64_t bytes_max, double *ret_bytes_per_s, es_err *err)
{
    struct stat info;
    disk_job job = {.fd = open(file, O_RDONLY | O_CLOEXEC | O_DIRECT)};
    if (job.fd < 0 && errno == EINVAL)
        return es_err_set(err, ES_UNSUPPORTED, "%s: its file system reads through the cache only", file);
    if (job.fd < 0) return es_err_set(err, ES_IO, "%s: %s", file, strerror(errno));
    es_status status = ES_OK;
    if (fstat(job.fd, &info) != 0 || info.st_size < READS_MIN * READ_BYTES)
        status = es_err_set(err, ES_INVALID, "%s: too small to measure a disk with", file);
    else
        job.buffers = aligned_alloc(DISK_ALIGNMENT, (size_t)READERS * READ_BYTES);
    if (status == ES_OK && job.buffers == NULL) status = es_err_set(err, ES_NO_MEMORY, "%s", file);
    if (status == ES_OK) {
        uint64_t bytes = (uint64_t)info.st_size < bytes_max ? (uint64_t)info.st_size : bytes_max;
        status = run_disk(file, &job, bytes / READ_BYTES, ret_bytes_per_s, err);
    }
    free(job.buffers);
    close(job.fd);
    return status;
}

void es_doctor_tell_disk(const es_doctor_subject *subject, double bytes_per_s, es_status status,
                         const es_err *err, es_findings *findings)
{
    if (status != ES_OK) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "disk.read", NAN, "", "%s", err->text);
        return;
    }
    double bytes = (double)(subject->experts_bytes + subject->backbone_bytes), seconds = bytes / bytes_per_s;
    bool slow = seconds > LOADING_MAX_S;
    es_finding *f = es_findings_add(findings, slow ? ES_FINDING_WARN : ES_FINDING_OK, "disk.read",
                                    bytes_per_s / GB, "GB/s", "%.2f GB/s", bytes_per_s / GB);
    es_finding_cost(f, "a start with cold memory reads %.3g GB: %.1f s", bytes / GB, seconds);
    if (slow) es_finding_mend(f, "bring the shards to a disk of this machine, an SSD");
}
