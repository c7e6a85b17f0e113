/* A node reads from lists of members whether it is one, and says what changed once. */
#include "service/standing.h"

#include <string.h>

#include "with_cmocka.h"

static const char KEY[] = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
static const char OTHER_KEY[] = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
static es_peer peers[ES_PEERS_MAX];

static es_peer peer_of(const char *name, const char *key)
{
    es_peer peer = {.shards = ""};
    strcpy(peer.name, name);
    strcpy(peer.key, key);
    return peer;
}

static void a_list_says_who_is_a_member(void **state)
{
    (void)state;
    peers[0] = peer_of("a", KEY);
    peers[1] = peer_of("b", "");
    const es_members both = {.peers = peers, .peer_count = 2}, none = {.peers = peers};
    assert_int_equal(es_standing_of(&both, "z", KEY), ES_STANDING_MEMBER); /* by its key */
    assert_int_equal(es_standing_of(&both, "a", OTHER_KEY), ES_STANDING_REMOVED);
    assert_int_equal(es_standing_of(&both, "b", ""), ES_STANDING_MEMBER); /* without one by its name */
    assert_int_equal(es_standing_of(&both, "c", ""), ES_STANDING_REMOVED);
    assert_int_equal(es_standing_of(&none, "a", KEY), ES_STANDING_REMOVED);
    const es_members revoked = {.peers = peers,
                                .peer_count = 2,
                                .revoked = (const char(*)[ES_KEY_TEXT_BYTES])KEY,
                                .revoked_count = 1};
    assert_int_equal(es_standing_of(&revoked, "a", KEY), ES_STANDING_REVOKED);
    assert_int_equal(es_standing_of(&revoked, "b", ""), ES_STANDING_MEMBER);
    const es_members full = {.peers = peers, .peer_count = ES_PEERS_MAX}; /* it may be on what was cut off */
    assert_int_equal(es_standing_of(&full, "c", OTHER_KEY), ES_STANDING_UNKNOWN);
}

static void what_changed_is_news_once(void **state)
{
    (void)state;
    es_standing standing = {.greeted = false};
    assert_false(es_standing_take(&standing, ES_STANDING_MEMBER)); /* as it should be */
    assert_false(es_standing_take(&standing, ES_STANDING_UNKNOWN));
    assert_true(es_standing_take(&standing, ES_STANDING_REMOVED));
    assert_false(es_standing_take(&standing, ES_STANDING_REMOVED)); /* another coordinator's list */
    assert_false(es_standing_take(&standing, ES_STANDING_UNKNOWN));
    assert_true(es_standing_take(&standing, ES_STANDING_REVOKED));
    assert_true(es_standing_take(&standing, ES_STANDING_MEMBER));
    es_standing stranger = {.greeted = false};
    assert_true(es_standing_take(&stranger, ES_STANDING_REMOVED));
}

static void who_is_alone_for_a_minute_says_so_once(void **state)
{
    (void)state;
    const uint64_t second = 1000000000, start = 5 * second;
    es_standing standing = {.greeted = false}, greeted = {.greeted = false};
    assert_false(es_standing_is_alone(&standing, start));
    assert_false(es_standing_is_alone(&standing, start + (ES_STANDING_ALONE_S - 1) * second));
    assert_true(es_standing_is_alone(&standing, start + ES_STANDING_ALONE_S * second));
    assert_false(es_standing_is_alone(&standing, start + 2 * ES_STANDING_ALONE_S * second));
    assert_false(es_standing_is_alone(&greeted, start));
    greeted.greeted = true;
    assert_false(es_standing_is_alone(&greeted, start + ES_STANDING_ALONE_S * second));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_says_who_is_a_member),
        cmocka_unit_test(what_changed_is_news_once),
        cmocka_unit_test(who_is_alone_for_a_minute_says_so_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
