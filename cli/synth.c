/* essaim synth: a random model of any shape, for speeds and limits. */
#include "weights/synth.h"
#include "base/file.h"
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/placement_file.h"
#include "weights/json.h"
#include "weights/shape.h"
#include "weights/shard.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct synth_values {
    const char *config, *out;
    size_t seed, nodes, threads;
    int format, layout;
    bool quiet;
} synth_values;

enum { CONFIG_BYTES_MAX = 1 << 20 };
enum { LAYOUT_HF, LAYOUT_SHARDS, LAYOUT_GGUF };
static const char *const FORMATS[] = {"fp8", "bf16", "q8_0", "q6_k", "q4_k", NULL};
static const es_format FORMAT_OF[] = {ES_FORMAT_FP8, ES_FORMAT_BF16, ES_FORMAT_Q8_0, ES_FORMAT_Q6_K,
                                      ES_FORMAT_Q4_K};
static const char *const LAYOUTS[] = {"hf", "shards", "gguf", NULL};

static es_status check_values(const void *arg, es_err *err)
{
    const synth_values *v = arg;
    if (v->layout == LAYOUT_GGUF && FORMAT_OF[v->format] == ES_FORMAT_FP8)
        return es_err_set(err, ES_INVALID,
                          "--format fp8: --layout gguf has no such type, the other two have");
    if (v->layout == LAYOUT_HF && FORMAT_OF[v->format] >= ES_FORMAT_FLOAT_COUNT)
        return es_err_set(err, ES_INVALID,
                          "--format %s: --layout hf has fp8 and bf16; gguf and shards have it",
                          FORMATS[v->format]);
    return ES_OK;
}

/* Beside shards: the config as it was given. */
static es_status write_config(const void *config, const es_shape *shape, const char *dir, es_err *err)
{
    const es_json_text *text = config;
    (void)shape;
    return es_file_write(dir, "config.json", text->bytes, text->size, err);
}

static es_status write_shards(const synth_values *v, const es_json_text *config, es_synth *synth,
                              es_progress *progress, es_err *err)
{
    const es_shape *s = &synth->base.shape;
    cli_shares shares;
    es_status status = cli_shares_equal(s, v->nodes, &shares, err);
    const es_cut_options options = {.out = v->out,
                                    .nodes = shares.nodes,
                                    .shares = shares.shares,
                                    .pool = synth->pool,
                                    .progress = v->quiet ? NULL : es_progress_update,
                                    .progress_context = progress,
                                    .texts = write_config,
                                    .texts_context = config};
    es_cut_result result;
    if (status == ES_OK) status = es_cut(&synth->base, &options, &result, err);
    cli_shares_fini(&shares);
    return status;
}

static es_status make(const synth_values *v, const char *config, size_t bytes, es_pool *pool, es_err *err)
{
    es_shape shape;
    es_synth synth;
    es_progress progress;
    const es_json_text text = {v->config, config, bytes}, none = {.file = v->config};
    es_status status = es_shape_parse(&text, &none, &shape, err);
    if (status == ES_OK) status = es_synth_init(&shape, FORMAT_OF[v->format], v->seed, pool, &synth, err);
    if (status != ES_OK) return status;
    es_progress_init(&progress, "writing", NULL);
    if (v->layout == LAYOUT_SHARDS) {
        status = write_shards(v, &text, &synth, &progress, err);
    } else if (v->layout == LAYOUT_GGUF) {
        status = es_synth_write_gguf(&synth, v->out, v->quiet ? NULL : es_progress_update, &progress, err);
    } else {
        status = es_synth_write_hf(&synth, v->out, config, bytes, v->quiet ? NULL : es_progress_update,
                                   &progress, err);
    }
    es_progress_finish(&progress);
    es_synth_fini(&synth);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const synth_values *v = arg;
    char *config;
    size_t bytes;
    es_pool *pool = NULL;
    es_status status = es_file_read(v->config, CONFIG_BYTES_MAX, &config, &bytes, err);
    if (status != ES_OK) return status;
    status = es_pool_create(v->threads, &pool, err);
    if (status == ES_OK) status = make(v, config, bytes, pool, err);
    es_pool_destroy(&pool);
    free(config);
    return status;
}

static const es_option OPTIONS[] = {
    {.name = "--config",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(synth_values, config),
     .required = true,
     .help = "a config.json: the model's shape"},
    {.name = "--out",
     .kind = ES_OPTION_TEXT,
     .argument = "PATH",
     .at = offsetof(synth_values, out),
     .required = true,
     .help = "the model's folder, made when it is not there; of --layout gguf also the file, FILE.gguf"},
    {.name = "--format",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(synth_values, format),
     .choices = FORMATS,
     .initial = "fp8",
     .help = "how its matrices are stored"},
    {.name = "--layout",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(synth_values, layout),
     .choices = LAYOUTS,
     .initial = "hf",
     .help = "as published, shards at once, or one GGUF file, model.gguf"},
    {.name = "--nodes",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(synth_values, nodes),
     .min = 1,
     .max = ES_SHARDS_MAX,
     .initial = "1",
     .help = "expert shards of --layout shards"},
    {.name = "--seed",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(synth_values, seed),
     .initial = "0",
     .help = "another seed, another model"},
    {.name = "--threads",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(synth_values, threads),
     .max = 1024,
     .initial = "0",
     .help = "threads that compute; 0 is one for each core"},
    {.name = "--quiet",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(synth_values, quiet),
     .help = "no progress on stderr"},
};

static const es_option_set SETS[] = {
    {.heading = "Options", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]}};

static const es_example EXAMPLES[] = {
    {"essaim synth --config config.json --out random --format q4_k --layout shards --nodes 2",
     "a random model, cut for two nodes"},
};

const es_command CLI_SYNTH = {
    .name = "synth",
    .summary = "write a random model of any shape, for speeds and limits",
    .about = "Weights are random, and such that activations stay finite: it computes what a real model of "
             "this shape does, and says nothing.",
    .sets = SETS,
    .set_count = 1,
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(synth_values),
    .check = check_values,
    .run = run,
};
