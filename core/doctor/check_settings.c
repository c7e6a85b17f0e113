/* The kernel's settings that decoding feels: those of deploy/host/settings. */
#include "doctor/checks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct setting {
    const char *name, *path;
    const char *wanted;
    bool at_least; /* else exactly */
    const char *cost;
} setting;

/* Made of deploy/host/settings when the build is configured. */
static const setting SETTINGS[] = {
#include "doctor/host_settings.inc"
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
