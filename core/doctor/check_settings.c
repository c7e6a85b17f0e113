/* The kernel's settings that decoding feels: those that deploy/host/essaim-host-tuning sets. A test holds
 * both lists together. */
#include "doctor/checks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct setting {
    const char *path, *name;
    const char *wanted;
    bool at_least; /* else exactly */
    const char *cost;
} setting;

static const setting SETTINGS[] = {
    {"/sys/kernel/mm/transparent_hugepage/enabled", "transparent_hugepage", "madvise", false,
     "experts in memory of huge pages are read 5 to 10 % faster"},
    {"/proc/sys/kernel/numa_balancing", "kernel.numa_balancing", "0", false,
     "pages of weights are moved about while they are read"},
    {"/proc/sys/vm/swappiness", "vm.swappiness", "1", false,
     "weights that were swapped out take seconds to come back"},
    {"/proc/sys/vm/max_map_count", "vm.max_map_count", "262144", true,
     "a node maps every expert of its shard"},
    {"/proc/sys/net/core/rmem_max", "net.core.rmem_max", "8388608", true,
     "a layer's rows and sums arrive in one burst, and wait for room"},
    {"/proc/sys/net/core/wmem_max", "net.core.wmem_max", "8388608", true,
     "a layer's rows and sums leave in one burst, and wait for room"},
    {"/proc/sys/net/core/somaxconn", "net.core.somaxconn", "4096", true,
     "of many clients at once some are refused"},
    {"/proc/sys/net/ipv4/tcp_slow_start_after_idle", "net.ipv4.tcp_slow_start_after_idle", "0", false,
     "links are idle between layers: each begins slowly again"},
};

void es_check_settings(const es_doctor_source *source, es_findings *findings)
{
    for (size_t i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0]; i++) {
        const setting *s = &SETTINGS[i];
        char id[64], value[64];
        if (!es_source_choice(source, s->path, value, sizeof value))
            continue; /* not every machine has each */
        snprintf(id, sizeof id, "setting.%s", s->name);
        bool met =
            s->at_least ? strtod(value, NULL) >= strtod(s->wanted, NULL) : strcmp(value, s->wanted) == 0;
        es_finding *f = es_findings_add(findings, met ? ES_FINDING_OK : ES_FINDING_WARN, id, NAN, "",
                                        met           ? "%s"
                                        : s->at_least ? "%s, better %s or more"
                                                      : "%s, better %s",
                                        value, s->wanted);
        if (met) continue;
        es_finding_cost(f, "%s", s->cost);
        es_finding_mend(f, "/usr/lib/essaim/essaim-host-tuning apply, or: echo %s > %s", s->wanted, s->path);
    }
}
