/* The wall clock. */
#include "doctor/checks.h"

#include <math.h>
#include <sys/timex.h>

es_clock_state es_clock_state_now(void)
{
    struct timex t = {.modes = 0};
    int state = adjtimex(&t);
    if (state < 0) return (es_clock_state){.known = false};
    return (es_clock_state){true, state != TIME_ERROR && (t.status & STA_UNSYNC) == 0,
                            (double)t.maxerror * 1e-6};
}

void es_check_clock(const es_clock_state *state, es_findings *findings)
{
    if (!state->known) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, "clock.server", NAN, "", "the kernel does not say");
        return;
    }
    if (state->held) {
        es_findings_add(findings, ES_FINDING_OK, "clock.server", 1e3 * state->error_s, "ms",
                        "held by a time server, within %.0f ms", 1e3 * state->error_s);
        return;
    }
    es_finding *f =
        es_findings_add(findings, ES_FINDING_WARN, "clock.server", NAN, "", "no time server holds it");
    es_finding_cost(
        f, "no speed; logs of several machines do not line up, certificates and tokens may be refused");
    es_finding_mend(f, "apt install systemd-timesyncd && timedatectl set-ntp true");
}
