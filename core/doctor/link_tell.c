/* What a measured link means. */
#include "doctor/link_tell.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double ROUND_TRIP_GOOD_S = 60e-6, /* of two machines on one switch */
    MUCH = 0.10,                               /* of the speed */
    CLOCK_MAX_S = 0.1, CLOCK_BAD_S = 30,       /* tokens and certificates are dated */
    THROUGHPUT_SHARE = 0.7, LATE_S = 1e-3;
enum { RESENT_MAX = 20, MTU_LEAST = 1400 };

typedef struct telling {
    const es_link_context *context;
    const char *peer;
    const es_link_report *report;
    es_findings *findings;
    char id[64];
} telling;

static const char *id_of(telling *t, const char *what)
{
    snprintf(t->id, sizeof t->id, "link.%.44s.%.12s", t->peer, what);
    return t->id;
}

static void tell_failure(telling *t, es_status status, const es_err *err)
{
    bool reached = t->report->rounds > 0;
    es_finding *f = es_findings_add(t->findings, ES_FINDING_BAD, id_of(t, reached ? "throughput" : "reach"),
                                    NAN, "", "%s", err->text);
    if (reached) {
        es_finding_cost(
            f, "single messages pass, many bytes do not: frames larger than the way takes look like this");
        es_finding_mend(
            f, "one MTU on all cards and switches: ping -M do -s 1472 HOST passes, then 8972 for jumbo");
        return;
    }
    es_finding_cost(f, "what that machine holds is not there");
    if (status == ES_MISMATCH)
        es_finding_mend(f,
                        "compare the .pub of --keys with its --allow, and its .pub with the list of nodes");
    else if (status == ES_UNSUPPORTED || status == ES_INVALID)
        es_finding_mend(f, "the same version on all machines: essaim version");
    else
        es_finding_mend(f,
                        "is it running there (systemctl status 'essaim-*', or essaim doctor --serve), and do "
                        "firewalls let it through (docs/ports.md)?");
}

static void tell_round_trip(telling *t)
{
    const es_link_report *r = t->report;
    const es_prospect *prospect = t->context->prospect;
    es_finding *f =
        es_findings_add(t->findings, ES_FINDING_OK, id_of(t, "round_trip"), 1e6 * r->round_trip_s, "us",
                        "%.0f us, best %.0f, 99 %% below %.0f; the network's part %.0f",
                        1e6 * r->round_trip_s, 1e6 * r->best_s, 1e6 * r->late_s, 1e6 * r->network_s);
    if (prospect != NULL && r->network_s > ROUND_TRIP_GOOD_S) {
        es_machine now = prospect->machine, better;
        now.round_trip_s = r->network_s;
        better = now;
        better.round_trip_s = ROUND_TRIP_GOOD_S;
        if (es_prospect_cost(prospect, &now, &better, f) >= MUCH) {
            f->state = ES_FINDING_WARN;
            es_finding_mend(f, "one switch, no wireless, no VPN between; ethtool -C CARD rx-usecs 0");
        }
    }
    bool late = r->late_s - r->round_trip_s > fmax(LATE_S, 2 * r->round_trip_s);
    f = es_findings_add(t->findings, late ? ES_FINDING_WARN : ES_FINDING_OK, id_of(t, "jitter"),
                        1e6 * r->jitter_s, "us",
                        late ? "%.0f us from one round to the next, but one in a hundred takes %.0f"
                             : "%.0f us from one round to the next",
                        1e6 * r->jitter_s, 1e6 * r->late_s);
    if (!late) return;
    es_finding_cost(f, "one call in a hundred is %.1f ms late, and a token makes hundreds of calls",
                    1e3 * (r->late_s - r->round_trip_s));
    es_finding_mend(f,
                    "what else uses that machine or link? a second copy of hot experts lets calls be hedged");
}

static void tell_throughput(telling *t)
{
    const es_link_report *r = t->report;
    double least = fmin(r->to_bytes_per_s, r->from_bytes_per_s);
    if (least <= 0) return;
    double card = t->context->card_bytes_per_s, encrypt = t->context->encrypt_bytes_per_s;
    double wanted = card > 0 && encrypt > 0 ? fmin(card, encrypt) : 0;
    bool slow = least < THROUGHPUT_SHARE * wanted;
    es_finding *f = es_findings_add(
        t->findings, slow ? ES_FINDING_WARN : ES_FINDING_OK, id_of(t, "throughput"), least * 8e-9, "Gbit/s",
        "%.3g Gbit/s there, %.3g back", r->to_bytes_per_s * 8e-9, r->from_bytes_per_s * 8e-9);
    if (t->context->prospect != NULL) {
        es_machine now = t->context->prospect->machine, better;
        now.nic_bytes_per_s = least;
        better = now;
        better.nic_bytes_per_s = 10e9 / 8;
        double lost =
            least < better.nic_bytes_per_s ? es_prospect_cost(t->context->prospect, &now, &better, f) : 0;
        if (lost >= MUCH) f->state = ES_FINDING_WARN;
    }
    if (slow)
        es_finding_mend(f, "our card is good for %.3g Gbit/s: ethtool on both sides, cable, switch port",
                        wanted * 8e-9);
    else if (f->state == ES_FINDING_WARN)
        es_finding_mend(f, "a faster card and switch; essaim plan says what 10 Gbit/s would give");
}

static void tell_path(telling *t)
{
    const es_link_report *r = t->report;
    if (r->path_mtu > 0) {
        bool small = r->path_mtu < MTU_LEAST;
        es_finding *f = es_findings_add(t->findings, small ? ES_FINDING_WARN : ES_FINDING_OK, id_of(t, "mtu"),
                                        r->path_mtu, "bytes", "%u bytes on the whole way", r->path_mtu);
        if (small) es_finding_mend(f, "a tunnel or VPN is on the way: tracepath HOST shows where");
    }
    bool many = r->resent > RESENT_MAX;
    es_finding *f = es_findings_add(t->findings, many ? ES_FINDING_WARN : ES_FINDING_OK, id_of(t, "resent"),
                                    r->resent, "segments", "%u segments sent again", r->resent);
    if (!many) return;
    es_finding_cost(f, "each makes a layer wait for a timer, 0.2 s at worst");
    es_finding_mend(f, "ethtool -S CARD | grep -i err; cable, switch port, flow control");
}

static void tell_clock(telling *t)
{
    double ahead = t->report->clock_ahead_s, beyond = fabs(ahead) - t->report->clock_error_s;
    es_finding_state state = beyond > CLOCK_BAD_S   ? ES_FINDING_BAD
                             : beyond > CLOCK_MAX_S ? ES_FINDING_WARN
                                                    : ES_FINDING_OK;
    es_finding *f = es_findings_add(t->findings, state, id_of(t, "clock"), 1e3 * ahead, "ms",
                                    "%.3f ms %s ours, give or take %.3f", 1e3 * fabs(ahead),
                                    ahead < 0 ? "behind" : "ahead of", 1e3 * t->report->clock_error_s);
    if (state == ES_FINDING_OK) return;
    es_finding_cost(f, "no speed; logs do not line up, certificates and tokens may be refused");
    es_finding_mend(f, "timedatectl set-ntp true on both, after apt install systemd-timesyncd");
}

void es_version_tell(const char *id, const char *theirs, es_findings *findings)
{
    bool same = strcmp(theirs, ESSAIM_VERSION) == 0;
    es_finding *f = es_findings_add(findings, same ? ES_FINDING_OK : ES_FINDING_WARN, id, NAN, "",
                                    same ? "%s" : "%s there, %s here", theirs, ESSAIM_VERSION);
    if (same) return;
    es_finding_cost(f, "none while both speak one protocol; then they refuse each other");
    es_finding_mend(f, "apt install ./essaim_VERSION_amd64.deb on the older one");
}

void es_model_tell(const es_doctor_subject *subject, const char *id,
                   const uint8_t theirs[ES_FINGERPRINT_BYTES], es_findings *findings)
{
    char here[ES_FINGERPRINT_TEXT_MAX], there[ES_FINGERPRINT_TEXT_MAX];
    es_fingerprint_format(theirs, there);
    if (subject == NULL) {
        es_findings_add(findings, ES_FINDING_UNKNOWN, id, NAN, "", "%s; --shard says what ours is", there);
        return;
    }
    es_fingerprint_format(subject->fingerprint, here);
    bool same = strcmp(here, there) == 0;
    es_finding *f = es_findings_add(findings, same ? ES_FINDING_OK : ES_FINDING_BAD, id, NAN, "",
                                    same ? "%s" : "%s there, %s here", there, here);
    if (same) return;
    es_finding_cost(f, "coordinator and node refuse each other: other weights, or another quantisation");
    es_finding_mend(f,
                    "shards of one cut on all machines: essaim shard --verify FOLDER, essaim inspect FOLDER");
}

void es_link_tell(const es_link_context *context, const char *peer, const es_link_report *report,
                  es_status status, const es_err *err, es_findings *findings)
{
    telling t = {.context = context, .peer = peer, .report = report, .findings = findings};
    if (report->rounds > 0) {
        tell_round_trip(&t);
        tell_clock(&t);
    }
    if (status != ES_OK) {
        tell_failure(&t, status, err);
        return;
    }
    tell_throughput(&t);
    tell_path(&t);
    es_version_tell(id_of(&t, "version"), report->peer.version, findings);
    if (report->peer.has_model)
        es_model_tell(context->subject, id_of(&t, "model"), report->peer.fingerprint, findings);
}
