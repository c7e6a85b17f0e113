/* essaim keygen: a machine's key pair for encrypted links. */
#include "cli/commands.h"
#include "cluster/signature.h"
#include "net/keys.h"

#include <stdio.h>

typedef struct keygen_values {
    const char *out;
    bool signer;
} keygen_values;

/* What others put into --trust. */
static es_status show_signer(const char *path, es_err *err)
{
    es_keys keys;
    es_signer signer;
    char text[ES_SIGNER_TEXT_BYTES];
    es_status status = es_keys_load(path, &keys, err);
    if (status == ES_OK) status = es_signer_derive(&keys, &signer, err);
    if (status != ES_OK) return status;
    es_signer_format(signer.public_key, text);
    puts(text);
    es_signer_wipe(&signer);
    es_keys_wipe(&keys);
    return ES_OK;
}

static es_status run(const void *arg, es_err *err)
{
    const keygen_values *values = arg;
    es_keys keys;
    if (values->signer) return show_signer(values->out, err);
    es_status status = es_keys_generate(values->out, &keys, err);
    if (status != ES_OK) return status;
    printf("%s\n", keys.public_key);
    fflush(stdout);
    fprintf(stderr,
            "%s holds the secret key and stays on this machine; %s.pub, printed above, goes into the others' "
            "lists.\n",
            values->out, values->out);
    es_keys_wipe(&keys);
    return ES_OK;
}

static const es_option OPTIONS[] = {
    {.name = "FILE",
     .kind = ES_OPTION_TEXT,
     .at = offsetof(keygen_values, out),
     .positional = true,
     .required = true,
     .help = "where the secret key goes; the public key goes beside it as FILE.pub"},
    {.name = "--signer",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(keygen_values, signer),
     .help =
         "make nothing: print the public key that a FILE made earlier signs placements with, for --trust"},
};

static const es_option_set SETS[] = {{.heading = "Output", .options = OPTIONS, .count = 2}};
static const es_example EXAMPLES[] = {
    {"essaim keygen node1.key", "makes node1.key and node1.key.pub, prints the public key"},
    {"essaim keygen --signer head.key >> trusted", "whose placements others are to follow"}};

const es_command CLI_KEYGEN = {
    .name = "keygen",
    .summary = "make a machine's key pair for encrypted links",
    .sets = SETS,
    .set_count = 1,
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(keygen_values),
    .run = run,
};
