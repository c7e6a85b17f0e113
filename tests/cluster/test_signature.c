/* Who answers for a placement: what is signed is what is read, and by whom. */
#include "cluster/signature.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "with_cmocka.h"

#define MUST(call)                                                                                           \
    do {                                                                                                     \
        es_err must_err = {.text = ""};                                                                      \
        if ((call) != ES_OK) fail_msg("%s", must_err.text);                                                  \
    } while (0)

/* One layer of two experts on one node, with checksums: 64 bytes, "AAAA…" with the last of them as given. */
static es_document *make(const char *nodes, char last)
{
    char sums[89], text[1024];
    memset(sums, 'A', 86);
    memcpy(sums + 86, "==", 3);
    sums[84] = last;
    snprintf(text, sizeof text,
             "{\"format\":\"essaim-placement\",\"version\":1,\"epoch\":\"1.7\",\"fingerprint\":"
             "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",\"mode\":\"group\","
             "\"copies\":1,\"slices\":1,\"experts\":2,\"layers\":[1],\"nodes\":%s,\"sums\":{\"1\":\"%s\"}}",
             nodes, sums);
    es_document *d;
    MUST(es_document_parse("doc", text, strlen(text), &d, &must_err));
    return d;
}

static es_document *read_again(const es_document *d)
{
    size_t bytes;
    es_document *again;
    char *text = es_document_write(d, &bytes);
    assert_non_null(text);
    MUST(es_document_parse("again", text, bytes, &again, &must_err));
    free(text);
    return again;
}

static es_signer make_signer(void)
{
    es_keys keys;
    es_signer signer, same;
    assert_int_equal(zmq_curve_keypair(keys.public_key, keys.secret), 0);
    MUST(es_signer_derive(&keys, &signer, &must_err));
    MUST(es_signer_derive(&keys, &same, &must_err));
    assert_memory_equal(&signer, &same, sizeof signer);
    return signer;
}

static void expect(const es_document *d, const es_trust *trust, const char *complaint)
{
    es_err err = {.text = ""};
    assert_int_equal(es_document_verify(d, trust, &err), complaint == NULL ? ES_OK : ES_MISMATCH);
    if (complaint != NULL && strstr(err.text, complaint) == NULL) fail_msg("%s", err.text);
}

static void a_signature_outlives_writing_and_reading(void **state)
{
    (void)state;
    es_signer signer = make_signer(), other = make_signer();
    es_trust trust = {.count = 0}, others = {.count = 0};
    MUST(es_trust_add(&trust, signer.public_key, &must_err));
    MUST(es_trust_add(&trust, signer.public_key, &must_err));
    assert_int_equal(trust.count, 1);
    MUST(es_trust_add(&others, other.public_key, &must_err));
    es_document *d = make("{\"a\":[[1,0,2]]}", 'A');
    expect(d, &trust, "placement 1.7 is not signed");
    MUST(es_document_sign(d, &signer, &must_err));
    es_document *again = read_again(d);
    expect(d, &trust, NULL);
    expect(again, &trust, NULL);
    expect(again, &others, "which is not trusted here");
    expect(again, &(es_trust){.count = 0}, "which is not trusted here");
    MUST(es_document_sign(again, &other, &must_err)); /* the former signature goes */
    expect(again, &others, NULL);
    es_document_destroy(&again);
    es_document_destroy(&d);
}

static void what_was_changed_afterwards_is_refused(void **state)
{
    (void)state;
    es_signer signer = make_signer();
    es_trust trust = {.count = 0};
    MUST(es_trust_add(&trust, signer.public_key, &must_err));
    es_document *d = make("{\"a\":[[1,0,2]]}", 'A');
    MUST(es_document_sign(d, &signer, &must_err));
    es_document *const changed[] = {make("{\"a\":[[1,0,1]],\"b\":[[1,1,1]]}", 'A'),
                                    make("{\"a\":[[1,0,2]]}", 'B')}; /* another holder; another checksum */
    for (size_t i = 0; i < 2; i++) {
        changed[i]->is_signed = true;
        memcpy(changed[i]->signer, d->signer, sizeof d->signer);
        memcpy(changed[i]->signature, d->signature, sizeof d->signature);
        expect(changed[i], &trust, "was changed after");
    }
    d->epoch.counter++;
    expect(d, &trust, "was changed after");
    d->epoch.counter--;
    expect(d, &trust, NULL);
    d->signature[9] ^= 1;
    expect(d, &trust, "was changed after");
    es_document_destroy(&d);
    for (size_t i = 0; i < 2; i++) {
        es_document *gone = changed[i];
        es_document_destroy(&gone);
    }
}

static void the_checksums_of_units_are_the_documents(void **state)
{
    (void)state;
    uint8_t sums[2 * ES_SUM_BYTES], formats[2 * ES_EXPERT_PARTS] = {9, 9, 9, 9, 9, 9};
    static const uint8_t FORMATS[] = {0, 1, 2, 3, 4, 5};
    const es_units units[] = {{1, 1, 1, 0, 1}, {1, 0, 1, 0, 1}};
    es_document *d = make("{\"a\":[[1,0,2]]}", 'B');
    assert_int_equal(es_document_sums_of(d, units, 2, sums, formats, 1), 0);
    assert_int_equal(es_document_sums_of(d, units, 2, sums, formats, 2), 2);
    assert_int_equal(formats[0], 9);
    d->formats = FORMATS;
    assert_int_equal(es_document_sums_of(d, units, 2, sums, formats, 2), 2);
    assert_memory_equal(formats, ((const uint8_t[]){3, 4, 5, 0, 1, 2}), sizeof formats);
    assert_memory_equal(sums, d->sums + ES_SUM_BYTES, ES_SUM_BYTES);
    assert_memory_equal(sums + ES_SUM_BYTES, d->sums, ES_SUM_BYTES);
    d->sums = NULL;
    assert_int_equal(es_document_sums_of(d, units, 2, sums, formats, 2), 0);
    es_document_destroy(&d);
}

static void a_file_says_who_is_trusted(void **state)
{
    (void)state;
    char path[] = "trust-XXXXXX", text[ES_SIGNER_TEXT_BYTES], lines[256];
    es_signer signer = make_signer();
    uint8_t back[ES_SIGNER_KEY_BYTES];
    es_err err = {.text = ""};
    es_signer_format(signer.public_key, text);
    assert_int_equal(strlen(text), ES_SIGNER_TEXT_BYTES - 1);
    assert_true(es_signer_parse(text, back));
    assert_memory_equal(back, signer.public_key, sizeof back);
    assert_false(es_signer_parse("ed25519:short", back));
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    int bytes = snprintf(lines, sizeof lines, "# the head\n\n%s head\n", text);
    assert_int_equal(write(fd, lines, (size_t)bytes), bytes);
    es_trust trust = {.count = 0};
    MUST(es_trust_load(path, &trust, &must_err));
    assert_int_equal(trust.count, 1);
    assert_memory_equal(trust.key[0], signer.public_key, sizeof back);
    assert_int_equal(write(fd, "ed25519:x\n", 10), 10);
    assert_int_equal(es_trust_load(path, &trust, &err), ES_INVALID);
    assert_non_null(strstr(err.text, ": line 4: no signing key"));
    assert_int_equal(ftruncate(fd, 11), 0);
    assert_int_equal(es_trust_load(path, &trust, &err), ES_INVALID);
    assert_non_null(strstr(err.text, "names no signing key"));
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signature_outlives_writing_and_reading),
        cmocka_unit_test(what_was_changed_afterwards_is_refused),
        cmocka_unit_test(the_checksums_of_units_are_the_documents),
        cmocka_unit_test(a_file_says_who_is_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
