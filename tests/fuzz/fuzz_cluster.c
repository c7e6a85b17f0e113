/* Whatever bytes come, membership's readers give an error or something that keeps its stated bounds and
 * survives being written and read again. The first byte chooses the reader. */
#include "cluster/embedded_file.h"
#include "cluster/embedded_seen.h"
#include "cluster/etcd_internal.h"
#include "cluster/signature.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A document that came signed is verified by the key that it names, whatever comes of it; signed by us it is
 * good, also once it has travelled, and no longer when it says something else. */
static void try_signature(es_document *document)
{
    static const es_keys keys = {.secret = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"};
    es_trust trust = {.count = 0}, own = {.count = 0};
    es_signer signer;
    es_document *read;
    es_err err;
    size_t bytes;
    if (document->is_signed) {
        ES_ASSERT(es_trust_add(&trust, document->signer, &err) == ES_OK);
        es_document_verify(document, &trust, &err);
    }
    ES_ASSERT(es_signer_derive(&keys, &signer, &err) == ES_OK);
    ES_ASSERT(es_trust_add(&own, signer.public_key, &err) == ES_OK);
    ES_ASSERT(es_document_sign(document, &signer, &err) == ES_OK);
    char *text = es_document_write(document, &bytes);
    ES_ASSERT(text != NULL && es_document_parse("fuzz", text, bytes, &read, &err) == ES_OK);
    ES_ASSERT(es_document_verify(read, &own, &err) == ES_OK);
    read->epoch.counter ^= 1;
    ES_ASSERT(es_document_verify(read, &own, &err) == ES_MISMATCH);
    es_document_destroy(&read);
    free(text);
}

static void try_document(const char *text, size_t bytes)
{
    es_document *a, *b;
    es_err err;
    if (es_document_parse("fuzz", text, bytes, &a, &err) != ES_OK) {
        ES_ASSERT(a == NULL && err.text[0] != '\0');
        return;
    }
    ES_ASSERT(es_document_cells(a) >= 1 && es_document_cells(a) <= ES_DOCUMENT_CELLS_MAX);
    ES_ASSERT(a->formats == NULL || a->sums != NULL);
    for (size_t i = 0; a->formats != NULL && i < a->layer_count * a->experts * ES_EXPERT_PARTS; i++)
        ES_ASSERT(a->formats[i] < ES_FORMAT_COUNT);
    uint8_t *held = malloc(es_document_cells(a));
    ES_ASSERT(held != NULL);
    for (size_t n = 0; n < a->node_count; n++) {
        ES_ASSERT(es_name_valid(a->nodes[n].name) && es_document_find(a, a->nodes[n].name) == &a->nodes[n]);
        es_document_held(a, &a->nodes[n], held);
    }
    free(held);
    size_t count, count_again;
    char *first = es_document_write(a, &count);
    ES_ASSERT(first != NULL && es_document_parse("fuzz", first, count, &b, &err) == ES_OK);
    char *second = es_document_write(b, &count_again);
    ES_ASSERT(second != NULL && count == count_again && memcmp(first, second, count) == 0);
    free(first);
    free(second);
    try_signature(a);
    es_document_destroy(&a);
    es_document_destroy(&b);
}

static void try_record(const char *text, size_t bytes)
{
    es_node_record a, b;
    es_err err;
    if (es_node_record_parse("fuzz", text, bytes, &a, &err) != ES_OK) return;
    char *again = es_node_record_write(&a);
    ES_ASSERT(again != NULL && es_node_record_parse("fuzz", again, strlen(again), &b, &err) == ES_OK);
    ES_ASSERT(memcmp(&a, &b, sizeof a) == 0);
    free(again);
}

static void try_seen(const char *text, size_t bytes)
{
    static es_seen seen[ES_REGISTRY_NODES_MAX];
    size_t count;
    es_err err;
    if (es_seen_parse("fuzz", text, bytes, seen, &count, &err) != ES_OK) {
        ES_ASSERT(count == 0 && err.text[0] != '\0');
        return;
    }
    ES_ASSERT(count <= ES_REGISTRY_NODES_MAX);
    for (size_t i = 0; i < count; i++) ES_ASSERT(es_name_valid(seen[i].name));
}

/* Without its checksum nothing would come further; so the text is given the one that it needs. */
static void try_file(const char *text, size_t bytes)
{
    static es_embedded_state a, b;
    es_err err;
    es_embedded_state_parse("fuzz", text, bytes, &a, &err);
    json_t *body = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    char *sorted = json_is_object(body) ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(body);
    if (sorted == NULL) return;
    uint8_t hash[32];
    char hex[65];
    es_registry_hash(sorted, strlen(sorted), hash);
    for (size_t i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    size_t room = strlen(sorted) + 128;
    char *whole = malloc(room);
    ES_ASSERT(whole != NULL);
    snprintf(whole, room, "{\"blake2b\": \"%s\", \"registry\": %s}", hex, sorted);
    if (es_embedded_state_parse("fuzz", whole, strlen(whole), &a, &err) == ES_OK) {
        char *again = es_embedded_state_write(&a);
        ES_ASSERT(again != NULL && es_embedded_state_parse("fuzz", again, strlen(again), &b, &err) == ES_OK);
        ES_ASSERT(memcmp(&a, &b, sizeof a) == 0);
        free(again);
    }
    free(whole);
    free(sorted);
}

static void try_gateway(const char *text, size_t bytes)
{
    static const char PREFIX[] = "essaim/live/";
    json_t *reply;
    es_registry_view *view;
    es_etcd_pointer pointer;
    uint64_t malformed, number;
    const char *words;
    es_err err;
    es_etcd_pointer_parse(text, bytes, &pointer, &err);
    if (es_etcd_reply_parse(text, bytes, &reply, &err) != ES_OK) return;
    es_etcd_reply_code(reply, &words);
    ES_ASSERT(words != NULL);
    es_etcd_revision(reply, &number, &err);
    if (es_etcd_view_of(PREFIX, reply, (es_epoch){0, 0}, &view, &malformed, &err) == ES_OK) {
        ES_ASSERT(view->node_count + view->revoked_count + malformed <= es_etcd_pair_count(reply));
        es_registry_view_destroy(&view);
    }
    json_decref(reply);
}

static es_status take_line(void *context, const char *line, size_t bytes, es_err *err)
{
    es_etcd_note note;
    ES_ASSERT(bytes > 0 && memchr(line, '\n', bytes) == NULL);
    *(size_t *)context += bytes;
    es_etcd_note_parse(line, bytes, &note, err);
    return ES_OK;
}

/* The first byte says how long the pieces are. */
static void try_stream(const uint8_t *data, size_t size)
{
    es_etcd_stream stream = {NULL, 0, 0};
    size_t piece = size > 0 ? 1 + data[0] : 1, given = 0;
    es_err err;
    for (size_t at = 1; at < size; at += piece) {
        size_t count = size - at < piece ? size - at : piece;
        ES_ASSERT(es_etcd_stream_feed(&stream, (const char *)data + at, count, take_line, &given, &err) ==
                  ES_OK);
    }
    ES_ASSERT(given <= size);
    es_etcd_stream_fini(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *text = (const char *)data + 1;
    switch (data[0] % 5) {
    case 0:
        try_document(text, size - 1);
        break;
    case 1:
        try_record(text, size - 1);
        try_seen(text, size - 1);
        break;
    case 2:
        try_file(text, size - 1);
        break;
    case 3:
        try_gateway(text, size - 1);
        break;
    default:
        try_stream(data + 1, size - 1);
        break;
    }
    return 0;
}
