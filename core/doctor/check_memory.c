/* Free memory against what is to be held, swap, huge pages; limits of this process. */
#include "doctor/checks.h"
#include "planner/cost.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double GB = 1e9, PROCESS_BYTES = 1e9;
enum { FILES_WANTED = 4096, SWAP_USED_MAX = 64 << 20 };

/* Bytes that a token reads of what the subject holds here. */
static double bytes_a_token(const es_doctor_subject *s)
{
    es_cost_model model;
    if (es_cost_model_make(&s->shape, s->format, 2, &model, NULL) != ES_OK || model.experts_bytes <= 0)
        return (double)s->backbone_bytes;
    double share = fmin((double)s->experts_bytes / model.experts_bytes, 1);
    return (double)s->backbone_bytes +
           share * (double)(s->shape.experts_per_token * model.moe_layers) * model.expert.bytes;
}

static void check_free(const es_doctor_source *source, const es_doctor_subject *subject, double disk,
                       es_findings *findings)
{
    uint64_t total, available;
    if (!es_source_meminfo(source, "MemTotal", &total) ||
        !es_source_meminfo(source, "MemAvailable", &available)) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "memory.free", NAN, "", "not told here");
        return;
    }
    double free_bytes = (double)available;
    if (subject == NULL) {
        es_findings_add(findings, ES_FINDING_OK, "memory.free", free_bytes / GB, "GB", "%.1f of %.1f GB",
                        free_bytes / GB, (double)total / GB);
        return;
    }
    double holds = (double)(subject->experts_bytes + subject->backbone_bytes);
    double missing = holds + PROCESS_BYTES - free_bytes;
    es_finding *f =
        es_findings_add(findings, missing > 0 ? ES_FINDING_BAD : ES_FINDING_OK, "memory.free",
                        free_bytes / GB, "GB", "%.1f of %.1f GB; weights are %.3g GB, and 1 GB beside",
                        free_bytes / GB, (double)total / GB, holds / GB);
    if (missing <= 0) return;
    double lost = fmin(missing, holds) / holds * bytes_a_token(subject);
    if (disk > 0)
        es_finding_cost(f, "about %.3g GB of each token come from the disk instead: %.2f s", lost / GB,
                        lost / disk);
    else
        es_finding_cost(f, "about %.3g GB of each token come from the disk instead", lost / GB);
    es_finding_mend(f, "hold less here: more nodes (essaim plan), fewer bits (essaim shard --format)");
}

static void check_swap(const es_doctor_source *source, es_findings *findings)
{
    uint64_t total, unused;
    if (!es_source_meminfo(source, "SwapTotal", &total) || !es_source_meminfo(source, "SwapFree", &unused)) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "memory.swap", NAN, "", "not told here");
        return;
    }
    double used = total > unused ? (double)(total - unused) : 0;
    bool bad = used > SWAP_USED_MAX;
    es_finding *f = total == 0 ? es_findings_add(findings, ES_FINDING_OK, "memory.swap", 0, "GB", "none")
                               : es_findings_add(findings, bad ? ES_FINDING_WARN : ES_FINDING_OK,
                                                 "memory.swap", used / GB, "GB", "%.2f of %.2f GB in use",
                                                 used / GB, (double)total / GB);
    if (!bad) return;
    es_finding_cost(f, "this machine has been short of memory; a page that comes back takes a disk's time");
    es_finding_mend(f, "swapoff -a && swapon -a after making room; --lock-memory keeps weights out of it");
}

static void check_huge_pages(const es_doctor_source *source, es_findings *findings)
{
    char mode[64];
    uint64_t reserved = 0, unused = 0, page = 0;
    if (!es_source_choice(source, "/sys/kernel/mm/transparent_hugepage/enabled", mode, sizeof mode)) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "memory.huge_pages", NAN, "", "not told here");
        return;
    }
    es_source_meminfo(source, "HugePages_Total", &reserved);
    es_source_meminfo(source, "HugePages_Free", &unused);
    es_source_meminfo(source, "Hugepagesize", &page);
    bool never = strcmp(mode, "never") == 0;
    es_finding *f = es_findings_add(findings, never ? ES_FINDING_WARN : ES_FINDING_OK, "memory.huge_pages",
                                    NAN, "", "transparent: %s; reserved by hand: %llu, %llu of them free",
                                    mode, (unsigned long long)reserved, (unsigned long long)unused);
    if (never) {
        es_finding_cost(f, "weights in memory of small pages are read 5 to 10 %% slower");
        es_finding_mend(f, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, and --huge-pages");
    } else if (reserved > 0 && unused * page > (uint64_t)1 << 30) {
        es_finding_cost(f, "reserved pages are kept from everybody: essaim uses transparent ones");
        es_finding_mend(f, "sysctl vm.nr_hugepages=0");
    }
}

void es_check_memory(const es_doctor_source *source, const es_doctor_subject *subject, double disk,
                     es_findings *findings)
{
    check_free(source, subject, disk, findings);
    check_swap(source, findings);
    check_huge_pages(source, findings);
}

/* The soft and hard limit of a line of proc/self/limits; INFINITY: unlimited. */
static bool find_limit(const char *text, const char *name, double *ret_soft, double *ret_hard)
{
    const char *line = strstr(text, name);
    char soft[32], hard[32];
    if (line == NULL || sscanf(line + strlen(name), " %31s %31s", soft, hard) != 2) return false;
    *ret_soft = strcmp(soft, "unlimited") == 0 ? INFINITY : strtod(soft, NULL);
    *ret_hard = strcmp(hard, "unlimited") == 0 ? INFINITY : strtod(hard, NULL);
    return true;
}

static void check_locked(const char *text, const es_doctor_subject *subject, es_findings *findings)
{
    double soft, hard;
    if (!find_limit(text, "Max locked memory", &soft, &hard)) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "limits.memlock", NAN, "", "not told here");
        return;
    }
    char value[32];
    snprintf(value, sizeof value, isinf(soft) ? "unlimited" : "%.1f MB", soft / 1e6);
    double wanted = subject == NULL ? 0 : (double)(subject->experts_bytes + subject->backbone_bytes);
    bool little = soft < wanted;
    es_finding *f = es_findings_add(findings, little ? ES_FINDING_WARN : ES_FINDING_OK, "limits.memlock",
                                    isinf(soft) ? NAN : soft, "bytes", "%s in this shell", value);
    if (!little) return;
    es_finding_cost(f, "--lock-memory would be refused: %.3g GB are to be held", wanted / GB);
    es_finding_mend(f, "ulimit -l unlimited, or LimitMEMLOCK=infinity as the units have");
}

void es_check_limits(const es_doctor_source *source, const es_doctor_subject *subject, es_findings *findings)
{
    char text[ES_SOURCE_TEXT_MAX] = "";
    double soft, hard, maps;
    es_source_text(source, "/proc/self/limits", text, sizeof text);
    check_locked(text, subject, findings);
    if (!find_limit(text, "Max open files", &soft, &hard)) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "limits.files", NAN, "", "not told here");
    } else {
        bool few = hard < FILES_WANTED; /* programs raise the soft one themselves */
        es_finding *f = es_findings_add(findings, few ? ES_FINDING_WARN : ES_FINDING_OK, "limits.files",
                                        isinf(hard) ? NAN : hard, "files", "%.0f, at most %.0f", soft, hard);
        if (few) {
            es_finding_cost(f, "every client takes one, every node a few: more are turned away");
            es_finding_mend(f, "ulimit -Hn %d, or LimitNOFILE=65536 as the units have", FILES_WANTED);
        }
    }
    if (subject == NULL || !es_source_number(source, "/proc/sys/vm/max_map_count", &maps)) return;
    bool few = (double)subject->units * 2 > maps; /* others map too */
    es_finding *f = es_findings_add(findings, few ? ES_FINDING_BAD : ES_FINDING_OK, "limits.maps", maps,
                                    "maps", "%.0f; %llu experts and matrices are mapped", maps,
                                    (unsigned long long)subject->units);
    if (!few) return;
    es_finding_cost(f, "loading ends in \"Cannot allocate memory\"");
    es_finding_mend(f, "sysctl vm.max_map_count=262144");
}
