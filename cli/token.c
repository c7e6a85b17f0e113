/* essaim token: lets one machine in, once. */
#include "cluster/token.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cluster/registry_options.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 15000, JOIN_PORT = 5710, HOST_BYTES = 128 };

typedef struct token_values {
    es_registry_options registry;
    const char *keys, *at;
    size_t ttl_s;
    bool json;
} token_values;

/* This machine's own name, where nobody says another. */
static es_status place(const token_values *v, char ret_at[ES_TOKEN_AT_TEXT_MAX], es_err *err)
{
    char host[HOST_BYTES] = "";
    const char *colon = v->at != NULL ? strrchr(v->at, ':') : NULL;
    if (v->at != NULL && (colon == NULL || colon == v->at || colon[1] == '\0' || strchr(v->at, '@') != NULL ||
                          strlen(v->at) >= ES_TOKEN_AT_TEXT_MAX))
        return es_err_set(err, ES_INVALID, "--at \"%.120s\": not HOST:PORT", v->at);
    if (v->at == NULL && gethostname(host, sizeof host - 1) != 0)
        return es_err_set(err, ES_INVALID, "this machine has no name: say --at HOST:PORT");
    if (v->at != NULL)
        snprintf(ret_at, ES_TOKEN_AT_TEXT_MAX, "%s", v->at);
    else
        snprintf(ret_at, ES_TOKEN_AT_TEXT_MAX, "%s:%d", host, JOIN_PORT);
    return ES_OK;
}

static es_status print(const token_values *v, const es_token *token, const char *at, es_err *err)
{
    char text[ES_TOKEN_TEXT_MAX];
    es_token_format(token, text);
    if (!v->json) {
        printf("%s@%s\n", text, at);
        fflush(stdout);
        fprintf(stderr,
                "It lets one machine in, within %zu s: 'essaim join - --dir DIR' there reads it from "
                "standard input\n",
                v->ttl_s);
    } else {
        json_t *all = json_pack("{s:o, s:I}", "token", json_sprintf("%s@%s", text, at), "until",
                                (json_int_t)token->until_s);
        char *line = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
        json_decref(all);
        if (line == NULL) return es_err_set(err, ES_NO_MEMORY, "token");
        puts(line);
        sodium_memzero(line, strlen(line));
        free(line);
    }
    sodium_memzero(text, sizeof text);
    return ES_OK;
}

static es_status run(const void *arg, es_err *err)
{
    const token_values *v = arg;
    es_keys keys;
    es_token token;
    es_registry *registry = NULL;
    uint8_t hash[ES_TOKEN_HASH_BYTES];
    char at[ES_TOKEN_AT_TEXT_MAX];
    es_status status = place(v, at, err);
    if (status == ES_OK) status = es_keys_load(v->keys, &keys, err);
    if (status != ES_OK) return status;
    status = es_token_make(keys.public_key, (unsigned)v->ttl_s, &token, err);
    es_keys_wipe(&keys);
    if (status == ES_OK) status = es_registry_open(&v->registry, &registry, err);
    if (status != ES_OK) return status;
    es_token_hash(token.secret, hash);
    status = es_registry_token_add(registry, hash, (unsigned)v->ttl_s,
                                   es_clock_now_ns() + WAIT_MS * 1000000ull, err);
    if (status == ES_OK) status = print(v, &token, at, err);
    es_registry_close(&registry);
    sodium_memzero(&token, sizeof token);
    return status;
}

static es_status check(const void *arg, es_err *err)
{
    const token_values *v = arg;
    return es_registry_options_check(&v->registry, err);
}

static const es_option OPTIONS[] = {
    {.name = "--keys",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(token_values, keys),
     .required = true,
     .help = "the key pair of the coordinator that the machine will join; the token names its public half"},
    {.name = "--at",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .at = offsetof(token_values, at),
     .fallback = "this machine's name, port 5710",
     .help = "where new machines reach that coordinator's --join-listen"},
    {.name = "--ttl",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(token_values, ttl_s),
     .unit = "s",
     .min = 1,
     .max = 30 * 86400,
     .initial = "3600",
     .help = "how long it is good"},
    {.name = "--json",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(token_values, json),
     .help = "print it as JSON"},
};

static const es_option_set SETS[] = {
    {.heading = "Token", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Registry",
     .options = ES_REGISTRY_OPTIONS,
     .count = ES_REGISTRY_OPTION_COUNT,
     .at = offsetof(token_values, registry)},
};

static const es_example EXAMPLES[] = {
    {"essaim token --registry /var/lib/essaim/registry --keys head.key --at 10.0.0.1:5710",
     "print a token for one new machine, good for an hour"},
};

const es_command CLI_TOKEN = {
    .name = "token",
    .summary = "make a one-time token that lets a new machine join",
    .about = "The registry keeps a hash only: whoever has the token itself may join once, within its time, "
             "and knows by it "
             "whom to trust. Send it over a channel that you trust.",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(token_values),
    .check = check,
    .run = run,
};
