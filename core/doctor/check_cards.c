/* Network cards. */
#include "doctor/checks.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NET_PATH "/sys/class/net"

static const double GBIT = 1e9 / 8, MUCH = 0.10; /* of the speed */
enum { MTU_LEAST = 1500 };

typedef struct cards {
    const es_doctor_source *source;
    const es_prospect *prospect;
    es_findings *findings;
    bool physical; /* look at these only */
    size_t count;
    double fastest;
} cards;

static bool has(const cards *c, const char *card, const char *what)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s" NET_PATH "/%s/%s", c->source->root, card, what);
    return length < (int)sizeof path && access(path, F_OK) == 0;
}

static bool text_of(const cards *c, const char *card, const char *what, char out[64])
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, NET_PATH "/%s/%s", card, what);
    return length < (int)sizeof path && es_source_text(c->source, path, out, 64);
}

static bool number_of(const cards *c, const char *card, const char *what, double *ret_number)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, NET_PATH "/%s/%s", card, what);
    return length < (int)sizeof path && es_source_number(c->source, path, ret_number);
}

static void check_speed(cards *c, const char *card)
{
    char id[64], duplex[64] = "";
    double mbit = 0;
    snprintf(id, sizeof id, "card.%.40s.speed", card);
    bool told = number_of(c, card, "speed", &mbit) && mbit > 0 && c->physical;
    bool wireless = has(c, card, "wireless") || has(c, card, "phy80211");
    if (wireless) {
        es_finding *f = es_findings_add(c->findings, ES_FINDING_WARN, id, NAN, "", "wireless");
        es_finding_cost(f,
                        "every layer waits for the network: its milliseconds come some sixty times a token");
        es_finding_mend(f, "a cable");
        return;
    }
    if (!told) {
        es_findings_add(c->findings, ES_FINDING_UNKNOWN, id, NAN, "", "%s",
                        c->physical ? "the driver does not say"
                                    : "a virtual card: the wire's speed is not told");
        return;
    }
    text_of(c, card, "duplex", duplex);
    bool half = strcmp(duplex, "half") == 0;
    es_finding *f = es_findings_add(c->findings, half ? ES_FINDING_BAD : ES_FINDING_OK, id, mbit / 1e3,
                                    "Gbit/s", "%g Gbit/s%s", mbit / 1e3, half ? ", half duplex" : "");
    if (half) es_finding_mend(f, "ethtool -s %.40s autoneg on; then the cable, then the switch's port", card);
    double bytes_per_s = mbit / 1e3 * GBIT;
    if (bytes_per_s > c->fastest) c->fastest = bytes_per_s;
    if (c->prospect == NULL || mbit >= 1e4) return;
    es_machine now = c->prospect->machine, better;
    now.nic_bytes_per_s = bytes_per_s;
    better = now;
    better.nic_bytes_per_s = 10 * GBIT;
    if (es_prospect_cost(c->prospect, &now, &better, f) < MUCH) return;
    if (f->state == ES_FINDING_OK) f->state = ES_FINDING_WARN;
    if (!half) es_finding_mend(f, "a 10 Gbit/s card; or ethtool %.40s, when this one should be faster", card);
}

static void check_mtu(cards *c, const char *card)
{
    char id[64];
    double mtu;
    snprintf(id, sizeof id, "card.%.40s.mtu", card);
    if (!number_of(c, card, "mtu", &mtu)) return;
    bool small = mtu < MTU_LEAST;
    es_finding *f = es_findings_add(c->findings, small ? ES_FINDING_WARN : ES_FINDING_OK, id, mtu, "bytes",
                                    "%.0f bytes", mtu);
    if (!small) return;
    es_finding_cost(f, "more packets and headers for the same rows; a tunnel or VPN is often why");
    es_finding_mend(f, "ip link set %.40s mtu 1500, unless a tunnel needs it", card);
}

static void look_at_card(void *context, const char *card)
{
    cards *c = context;
    char text[64];
    double type;
    if (!number_of(c, card, "type", &type) || type != 1) return; /* Ethernet; lo is 772 */
    if (has(c, card, "bridge") || has(c, card, "device") != c->physical) return;
    if (!text_of(c, card, "operstate", text) || (strcmp(text, "up") != 0 && strcmp(text, "unknown") != 0))
        return;
    c->count++;
    check_speed(c, card);
    check_mtu(c, card);
}

void es_check_cards(const es_doctor_source *source, const es_prospect *prospect, es_findings *findings,
                    double *ret_bytes_per_s)
{
    cards c = {.source = source, .prospect = prospect, .findings = findings, .physical = true};
    es_source_list(source, NET_PATH, look_at_card, &c);
    if (c.count == 0) {
        c.physical = false;
        es_source_list(source, NET_PATH, look_at_card, &c);
    }
    if (c.count == 0)
        es_findings_add(findings, ES_FINDING_UNKNOWN, "card", NAN, "",
                        "no network card is up here, or none is shown");
    *ret_bytes_per_s = c.fastest;
}
