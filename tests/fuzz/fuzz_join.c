/* Whatever bytes come: messages of the shard socket in both directions, the text of a join token, and an
 * order to drain. What is accepted keeps the stated maxima and survives being written and read again. The
 * first byte chooses the reader. */
#include "cluster/token.h"
#include "http/drain_order.h"
#include "net/shard_wire.h"

#include <stdlib.h>
#include <string.h>

static es_wire_memory *memory;
static uint8_t frame[ES_SHARD_HEADER_MAX];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    ES_ASSERT(es_shard_memory_create(&memory, NULL) == ES_OK);
    return 0;
}

static void try_request(const uint8_t *data, size_t size)
{
    static es_shard_request a, b;
    es_err err;
    if (es_shard_request_unpack(memory, data, size, &a, &err) != ES_OK) {
        ES_ASSERT(err.text[0] != '\0');
        return;
    }
    es_endpoint at;
    ES_ASSERT(a.ask != ES_SHARD_READ || (a.count >= 1 && a.count <= ES_SHARD_READ_MAX));
    if (a.ask == ES_SHARD_JOIN)
        ES_ASSERT(es_name_valid(a.join.name) && es_endpoint_parse_bind(a.join.control, &at, &err) == ES_OK &&
                  at.port != 0);
    size_t bytes = es_shard_request_pack(&a, frame);
    ES_ASSERT(bytes <= sizeof frame && es_shard_request_unpack(memory, frame, bytes, &b, &err) == ES_OK);
    ES_ASSERT(memcmp(&a, &b, sizeof a) == 0);
}

static void check_joined(const es_joined *joined)
{
    ES_ASSERT(es_name_valid(joined->name) && joined->coordinator_count >= 1 &&
              joined->coordinator_count <= ES_JOIN_COORDINATORS_MAX);
    for (size_t i = 0; i < joined->coordinator_count; i++) ES_ASSERT(es_key_valid(joined->coordinators[i]));
    ES_ASSERT(strlen(joined->config) <= ES_JOIN_CONFIG_MAX && strlen(joined->etcd) <= ES_JOIN_ETCD_MAX &&
              strlen(joined->etcd_prefix) <= ES_JOIN_PREFIX_MAX);
}

static void try_reply(const uint8_t *data, size_t size)
{
    static es_shard_reply a, b;
    es_err err;
    if (es_shard_reply_unpack(memory, data, size, &a, &err) != ES_OK) {
        ES_ASSERT(err.text[0] != '\0');
        return;
    }
    ES_ASSERT(a.text != NULL && a.status < ES_STATUS_COUNT);
    if (a.status != ES_OK) return;
    if (a.ask == ES_SHARD_JOIN) check_joined(&a.joined);
    a.text = "";
    size_t bytes = es_shard_reply_pack(&a, frame);
    ES_ASSERT(bytes <= sizeof frame && es_shard_reply_unpack(memory, frame, bytes, &b, &err) == ES_OK);
    ES_ASSERT(a.request == b.request && a.ask == b.ask && memcmp(&a.found, &b.found, sizeof a.found) == 0 &&
              memcmp(&a.joined, &b.joined, sizeof a.joined) == 0);
}

/* Mutations hardly ever meet the checksum, so bytes are also made a token that is one. */
static void try_token(const char *text, const uint8_t *data, size_t size)
{
    char at[ES_TOKEN_AT_TEXT_MAX], again[ES_TOKEN_TEXT_MAX + ES_TOKEN_AT_TEXT_MAX];
    es_token token, same;
    es_err err;
    if (es_token_parse(text, &token, at, &err) == ES_OK) {
        ES_ASSERT(at[0] != '\0');
        es_token_format(&token, again);
        ES_ASSERT(strncmp(again, text, strlen(again)) == 0 && text[strlen(again)] == '@');
    } else {
        ES_ASSERT(at[0] == '\0' && err.text[0] != '\0');
    }
    token = (es_token){.until_s = size};
    memcpy(token.secret, data, size < sizeof token.secret ? size : sizeof token.secret);
    es_token_format(&token, again);
    strcat(again, "@head:5710");
    ES_ASSERT(es_token_parse(again, &same, at, &err) == ES_OK && strcmp(at, "head:5710") == 0);
    ES_ASSERT(same.until_s == token.until_s && memcmp(same.secret, token.secret, sizeof same.secret) == 0);
    size_t letter = size > 0 ? data[size - 1] % strlen(again) : 0;
    if (letter >= strlen(again) - strlen("@head:5710")) return;
    again[letter] =
        again[letter] == 'A' ? 'B' : 'A'; /* the last letter has bits to spare, and they must be 0 */
    ES_ASSERT(es_token_parse(again, &same, at, &err) != ES_OK);
}

static void try_drain(const char *text, size_t size)
{
    char name[ES_NAME_MAX + 1];
    es_err err;
    if (es_http_drain_order_parse(text, size, name, &err) == ES_OK)
        ES_ASSERT(es_name_valid(name));
    else
        ES_ASSERT(err.status == ES_INVALID && name[0] == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    char *text = malloc(size); /* what follows the first byte, and a NUL */
    ES_ASSERT(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    switch (data[0] % 4) {
    case 0:
        try_request(data + 1, size - 1);
        break;
    case 1:
        try_reply(data + 1, size - 1);
        break;
    case 2:
        try_token(text, data + 1, size - 1);
        break;
    default:
        try_drain((const char *)data + 1, size - 1);
        break;
    }
    free(text);
    return 0;
}
