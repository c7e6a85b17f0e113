/* Placement documents: what is read is exactly what was written, and what is wrong is named. */
#include "cluster/document.h"

#include <stdlib.h>
#include <string.h>

#include "with_cmocka.h"

static const char PRINT[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/* Two layers of four experts on two nodes; each %s is what a case replaces. */
static const char LAYOUT[] =
    "{\"format\":\"essaim-placement\",\"version\":%s,\"epoch\":%s,\"fingerprint\":\"%s\","
    "\"mode\":%s,\"copies\":%s,\"slices\":1,\"experts\":4,\"layers\":%s,\"nodes\":%s%s}";

typedef struct words {
    const char *version, *epoch, *print, *mode, *copies, *layers, *nodes, *more;
} words;

static words honest(void)
{
    return (words){
        "1", "\"1.7\"", PRINT, "\"group\"", "1", "[1,3]", "{\"a\":[[1,0,2],[3,0,4]],\"b\":[[1,2,2]]}", ""};
}

static es_status parse(const words *w, es_document **ret_document, es_err *err)
{
    char text[2048];
    snprintf(text, sizeof text, LAYOUT, w->version, w->epoch, w->print, w->mode, w->copies, w->layers,
             w->nodes, w->more);
    return es_document_parse("doc", text, strlen(text), ret_document, err);
}

static void expect(const words *w, es_status status, const char *complaint)
{
    es_document *d;
    es_err err = {.text = ""};
    assert_int_equal(parse(w, &d, &err), status);
    if (status != ES_OK) assert_string_equal(err.text, complaint);
    es_document_destroy(&d);
}

static void a_document_says_who_holds_what(void **state)
{
    (void)state;
    es_document *d;
    es_err err = {.text = ""};
    words w = honest();
    if (parse(&w, &d, &err) != ES_OK) fail_msg("%s", err.text);
    assert_int_equal(es_epoch_number(d->epoch), (1ull << 32) + 7);
    assert_int_equal(es_document_cells(d), 8);
    assert_int_equal(es_document_layer(d, 3), 1);
    assert_int_equal(es_document_layer(d, 2), 2);
    assert_null(es_document_find(d, "c"));
    uint8_t held[8];
    es_document_held(d, es_document_find(d, "b"), held);
    assert_memory_equal(held, ((const uint8_t[]){0, 0, 1, 1, 0, 0, 0, 0}), 8);
    es_document_destroy(&d);
}

/* a: layer 1 experts 0 to 2, all of layer 3; b: the rest and half of that again; c: nothing. */
static void what_would_be_gone_with_a_node_is_counted(void **state)
{
    (void)state;
    es_document *d;
    es_document_loss loss;
    es_err err = {.text = ""};
    words w = honest();
    w.mode = "\"replicate\"", w.copies = "2";
    w.nodes = "{\"a\":[[1,0,3],[3,0,4]],\"b\":[[1,2,2],[3,0,2]],\"c\":[]}";
    if (parse(&w, &d, &err) != ES_OK) fail_msg("%s", err.text);
    const bool all[] = {true, true, true}, alone[] = {true, false, true}, none[] = {false, false, false};
    assert_int_equal(es_document_find_loss(d, "a", all, &loss, &err), ES_OK);
    assert_true(loss.experts == 4 && loss.all == 8 && loss.layer == 1 && loss.expert == 0);
    assert_int_equal(es_document_find_loss(d, "a", alone, &loss, &err), ES_OK);
    assert_true(loss.experts == 7); /* what is on b too counts when b is away */
    assert_int_equal(es_document_find_loss(d, "b", all, &loss, &err), ES_OK);
    assert_true(loss.experts == 1 && loss.layer == 1 && loss.expert == 3);
    assert_int_equal(es_document_find_loss(d, "c", none, &loss, &err), ES_OK);
    assert_int_equal(loss.experts, 0);
    assert_int_equal(es_document_find_loss(d, "who", none, &loss, &err), ES_OK);
    assert_int_equal(loss.experts, 0);
    es_document_destroy(&d);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    words w = honest();
    expect(&w, ES_OK, "");
    w.version = "3", expect(&w, ES_UNSUPPORTED, "doc: version: this build reads up to 2");
    w.version = "2",
    expect(&w, ES_CORRUPT, "doc: formats: they belong to version 2, and are all that is new there");
    w = honest(), w.epoch = "\"1.07\"", expect(&w, ES_CORRUPT, "doc: epoch: not GENERATION.COUNTER");
    w = honest(), w.epoch = "\"1.4294967296\"", expect(&w, ES_CORRUPT, "doc: epoch: not GENERATION.COUNTER");
    w = honest(), w.epoch = "7", expect(&w, ES_CORRUPT, "doc: epoch: not a text, or too long");
    w = honest(), w.print = "00", expect(&w, ES_CORRUPT, "doc: fingerprint: not hexadecimal of its length");
    w = honest(), w.mode = "\"heap\"", expect(&w, ES_CORRUPT, "doc: mode: not one of its values");
    w = honest(), w.copies = "0", expect(&w, ES_CORRUPT, "doc: copies: not a whole number within its bounds");
    w = honest(), w.copies = "1.0",
    expect(&w, ES_CORRUPT, "doc: copies: not a whole number within its bounds");
    w = honest(), w.copies = "2", expect(&w, ES_CORRUPT, "doc: layer 1: expert 0, slice 0: 1 holders, not 2");
    w.mode = "\"replicate\"", expect(&w, ES_OK, "");
    w = honest(), w.layers = "[3,1]", expect(&w, ES_CORRUPT, "doc: layers: not ascending numbers of layers");
    w = honest(), w.layers = "[]", expect(&w, ES_CORRUPT, "doc: layers: none");
    w = honest(), w.layers = "[1]", expect(&w, ES_CORRUPT, "doc: a: a range's layer is none");
    w = honest(), w.more = ",\"x\":1", expect(&w, ES_CORRUPT, "doc: x: not known");
    w = honest(), w.more = ",\"mode\":\"group\"";
    es_document *d;
    es_err err;
    assert_int_equal(parse(&w, &d, &err), ES_CORRUPT); /* a key twice */
    assert_int_equal(es_document_parse("doc", "[]", 2, &d, &err), ES_CORRUPT);
    assert_int_equal(es_document_parse("doc", "", 0, &d, &err), ES_CORRUPT);
}

static void ranges_stand_in_order_and_cover(void **state)
{
    (void)state;
    words w = honest();
    w.nodes = "{\"a\":[[1,0,4]]}",
    expect(&w, ES_CORRUPT, "doc: layer 3: expert 0, slice 0: 0 holders, not 1");
    w.nodes = "{\"a\":[[1,0,4],[1,3,1],[3,0,4]]}";
    expect(&w, ES_CORRUPT, "doc: a: a range does not stand behind the one before it");
    w.nodes = "{\"a\":[[3,0,4],[1,0,4]]}";
    expect(&w, ES_CORRUPT, "doc: a: a range does not stand behind the one before it");
    w.nodes = "{\"a\":[[1,0,4],[3,0,4]],\"b\":[[1,0,1]]}";
    expect(&w, ES_CORRUPT, "doc: b: a cell has more holders than copies says");
    w.nodes = "{\"a\":[[1,0,5]]}", expect(&w, ES_CORRUPT, "doc: a: a range's experts are none");
    w.nodes = "{\"a\":[[1,3,4294967295]]}", expect(&w, ES_CORRUPT, "doc: a: a range's experts are none");
    w.nodes = "{\"a\":[[1,0,0]]}", expect(&w, ES_CORRUPT, "doc: a: a range's experts are none");
    w.nodes = "{\"a\":[[1,0,4,0]]}", expect(&w, ES_CORRUPT, "doc: a: a range has not its numbers");
    w.nodes = "{\"a b\":[]}", expect(&w, ES_CORRUPT, "doc: nodes: a node's name is none, or its ranges are");
    w.nodes = "{}", expect(&w, ES_CORRUPT, "doc: nodes: missing, empty or too many");
}

static void checksums_stand_for_every_expert_or_not_at_all(void **state)
{
    (void)state;
    es_document *d, *again;
    es_err err = {.text = ""};
    uint8_t sums[2 * 4 * ES_SUM_BYTES];
    for (size_t i = 0; i < sizeof sums; i++) sums[i] = (uint8_t)(i * 7);
    words w = honest();
    assert_int_equal(parse(&w, &d, &err), ES_OK);
    d->sums = sums;
    size_t bytes;
    char *text = es_document_write(d, &bytes);
    d->sums = NULL;
    if (es_document_parse("doc", text, bytes, &again, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(again->sums, sums, sizeof sums);
    es_document_destroy(&again);
    free(text);
    es_document_destroy(&d);
    w.more = ",\"sums\":{\"1\":\"AAAA\"}";
    expect(&w, ES_CORRUPT, "doc: sums: a layer's are missing, or not base64 of their length");
}

static void formats_stand_beside_checksums_from_version_2_on(void **state)
{
    (void)state;
    static const char SUMS[] = "\"sums\":{\"1\":\"%s\",\"3\":\"%s\"}";
    es_document *d, *again;
    es_err err = {.text = ""};
    char row[173], sums[512], more[1024];
    memset(row, 'A', 172);
    memcpy(row + 171, "=", 2); /* 128 bytes */
    snprintf(sums, sizeof sums, SUMS, row, row);
    words w = honest();
    w.version = "2", w.more = more;
    snprintf(more, sizeof more, ",%s,\"formats\":{\"1\":\"AwMDBAUGBwgJCgsA\",\"3\":\"AwMDBAUGBwgJCgsL\"}",
             sums);
    if (parse(&w, &d, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(d->formats, "\3\3\3\4\5\6\7\x8\x9\xa\xb\0", 12);
    size_t bytes;
    char *text = es_document_write(d, &bytes);
    if (es_document_parse("doc", text, bytes, &again, &err) != ES_OK) fail_msg("%s", err.text);
    assert_memory_equal(again->formats, d->formats, 2 * 4 * ES_EXPERT_PARTS);
    es_document_destroy(&again);
    free(text);
    d->formats = NULL; /* as an earlier version wrote it, and read again */
    text = es_document_write(d, &bytes);
    assert_non_null(strstr(text, "\"version\":1"));
    if (es_document_parse("doc", text, bytes, &again, &err) != ES_OK) fail_msg("%s", err.text);
    assert_null(again->formats);
    es_document_destroy(&again);
    free(text);
    es_document_destroy(&d);
    w.version = "1";
    expect(&w, ES_CORRUPT, "doc: formats: they belong to version 2, and are all that is new there");
    w.version = "2", w.more = ",\"formats\":{\"1\":\"AwMDBAUGBwgJCgsA\",\"3\":\"AwMDBAUGBwgJCgsL\"}";
    expect(&w, ES_CORRUPT, "doc: formats: without checksums");
    w.more = more;
    snprintf(more, sizeof more, ",%s,\"formats\":{\"1\":\"AwMDBAUGBwgJCgsA\",\"3\":\"AwMDBAUGBwgJCgsM\"}",
             sums);
    expect(&w, ES_UNSUPPORTED, "doc: formats: 12 is not known here");
    snprintf(more, sizeof more, ",%s,\"formats\":{\"1\":\"AwMDBAUGBwgJCgsA\",\"3\":\"AwMD\"}", sums);
    expect(&w, ES_CORRUPT, "doc: formats: a layer's are missing, or not base64 of their length");
}

static void another_model_is_refused_with_both_fingerprints(void **state)
{
    (void)state;
    es_document *d;
    es_err err = {.text = ""};
    words w = honest();
    es_shape shape = {
        .layers = 4, .dense_layers = 1, .moe_layer_freq = 2, .experts = 4, .expert_intermediate = 256};
    assert_int_equal(parse(&w, &d, &err), ES_OK);
    uint8_t print[ES_FINGERPRINT_BYTES];
    memcpy(print, d->fingerprint, sizeof print);
    d->layer_count--; /* the model of `shape` has no MoE layer but 2 */
    assert_int_equal(es_document_check(d, &shape, print, &err), ES_MISMATCH);
    assert_string_equal(err.text, "placement: has no layer 2");
    d->layer_count++;
    shape.moe_layer_freq = 1, shape.layers = 2;
    assert_int_equal(es_document_check(d, &shape, print, &err), ES_MISMATCH);
    assert_string_equal(err.text, "placement: 2 layers of 4 experts, the model has 1 of 4");
    print[0] ^= 1;
    assert_int_equal(es_document_check(d, &shape, print, &err), ES_MISMATCH);
    assert_non_null(strstr(err.text, "fingerprint 00112233"));
    assert_non_null(strstr(err.text, "ours is 01112233"));
    es_document_destroy(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_says_who_holds_what),
        cmocka_unit_test(what_would_be_gone_with_a_node_is_counted),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(ranges_stand_in_order_and_cover),
        cmocka_unit_test(checksums_stand_for_every_expert_or_not_at_all),
        cmocka_unit_test(formats_stand_beside_checksums_from_version_2_on),
        cmocka_unit_test(another_model_is_refused_with_both_fingerprints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
