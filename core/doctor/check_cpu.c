/* Cores, their governor, NUMA nodes, load. */
#include "base/machine.h"
#include "doctor/checks.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPU_PATH "/sys/devices/system/cpu"

typedef struct cores {
    const es_doctor_source *source;
    size_t count, governed, other; /* other: governed by another than performance */
    char governor[64];             /* the last of those */
} cores;

static void look_at_core(void *context, const char *name)
{
    cores *c = context;
    char path[PATH_MAX], governor[64];
    if (strncmp(name, "cpu", 3) != 0 || !isdigit((unsigned char)name[3])) return;
    c->count++;
    snprintf(path, sizeof path, CPU_PATH "/%s/cpufreq/scaling_governor", name);
    if (!es_source_text(c->source, path, governor, sizeof governor)) return;
    c->governed++;
    if (strcmp(governor, "performance") == 0) return;
    c->other++;
    memcpy(c->governor, governor, sizeof governor);
}

static void check_governor(const cores *c, es_findings *findings)
{
    static const char ID[] = "cpu.governor";
    if (c->governed == 0) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, ID, NAN, "",
                        "not told here: a virtual machine, or the firmware decides");
        return;
    }
    if (c->other == 0) {
        es_findings_add(findings, ES_FINDING_OK, ID, NAN, "", "performance on all %zu cores", c->governed);
        return;
    }
    es_finding *f = es_findings_add(findings, ES_FINDING_WARN, ID, NAN, "", "%s on %zu of %zu cores",
                                    c->governor, c->other, c->governed);
    es_finding_cost(f,
                    "cores that clock down between layers are late for the next, some hundred times a token");
    es_finding_mend(f, "/usr/lib/essaim/essaim-host-tuning apply");
}

static void check_numa(const es_doctor_source *source, es_findings *findings)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s%s", source->root, ES_NUMA_PATH) >= (int)sizeof path) return;
    size_t nodes = es_machine_numa_nodes(path);
    es_finding *f = es_findings_add(findings, ES_FINDING_OK, "cpu.numa", (double)nodes, "nodes",
                                    nodes == 1 ? "one node" : "%zu nodes", nodes);
    if (nodes == 1) return;
    es_finding_cost(f, "a core reads another node's memory more slowly than its own");
    es_finding_mend(f, "one expert node for each: numactl --cpunodebind=N --membind=N essaim-expert-node …");
}

static void check_load(const es_doctor_source *source, size_t cpu_count, es_findings *findings)
{
    double load;
    if (cpu_count == 0 || !es_source_number(source, "/proc/loadavg", &load)) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "cpu.load", NAN, "", "not told here");
        return;
    }
    bool busy = load > 0.25 * (double)cpu_count;
    es_finding *f = es_findings_add(findings, busy ? ES_FINDING_WARN : ES_FINDING_OK, "cpu.load", load, "",
                                    "%.2f on %zu cores in the last minute", load, cpu_count);
    if (!busy) return;
    es_finding_cost(f, "what is measured here is what is left beside that work");
    es_finding_mend(f, "top -o %%CPU shows whose it is");
}

static void check_kernels(const char *kernels, es_findings *findings)
{
    bool slow = strcmp(kernels, "ref") == 0;
    es_finding *f = es_findings_add(findings, slow ? ES_FINDING_WARN : ES_FINDING_OK, "cpu.kernels", NAN, "",
                                    "%s", kernels);
    if (slow) {
        es_finding_cost(f, "portable code: products take several times as long as with AVX2 or NEON");
        es_finding_mend(f, "a processor, or a virtual machine's model of one, with AVX2 (essaim version)");
    }
}

void es_check_cpu(const es_doctor_source *source, const char *kernels, es_findings *findings)
{
    cores c = {.source = source};
    es_source_list(source, CPU_PATH, look_at_core, &c);
    if (c.count > 0)
        es_findings_add(findings, ES_FINDING_OK, "cpu.cores", (double)c.count, "cores", "%zu", c.count);
    else
        es_findings_add(findings, ES_FINDING_UNKNOWN, "cpu.cores", NAN, "", "not told here");
    if (kernels != NULL) check_kernels(kernels, findings);
    check_governor(&c, findings);
    check_numa(source, findings);
    check_load(source, c.count, findings);
}
