/* essaim shard: a model cut into files that nodes map and compute from. */
#include "base/progress.h"
#include "cli/commands.h"
#include "cli/placement_file.h"
#include "essaim/kernels.h"
#include "weights/shard_cut.h"
#include "weights/shard_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct shard_values {
    const char *model, *out, *placement, *verify;
    size_t nodes, threads;
    bool nodes_given, format_given, quiet;
    int format;
} shard_values;

/* Formats that a model can be cut to, in the order of the choices. */
static const char *const FORMATS[] = {"as-is", "q8_0", "q6_k", "q4_k", NULL};
static const es_format FORMAT_OF[] = {ES_FORMAT_COUNT, ES_FORMAT_Q8_0, ES_FORMAT_Q6_K, ES_FORMAT_Q4_K};

static es_status check_values(const void *arg, es_err *err)
{
    const shard_values *v = arg;
    if (v->verify != NULL &&
        (v->model != NULL || v->out != NULL || v->placement != NULL || v->nodes_given || v->format_given))
        return es_err_set(err, ES_INVALID, "--verify goes alone");
    if (v->verify != NULL) return ES_OK;
    if (v->model == NULL || v->out == NULL)
        return es_err_set(err, ES_INVALID, "--model and --out are needed, or --verify");
    if (v->nodes_given == (v->placement != NULL))
        return es_err_set(err, ES_INVALID, "give --nodes or --placement, one of the two");
    return ES_OK;
}

static es_status verify(const shard_values *v, es_err *err)
{
    es_arena *arena = es_arena_create();
    if (arena == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", v->verify);
    es_progress progress;
    es_progress_init(&progress, "verifying", NULL);
    es_shards shards = {0};
    es_status status = es_shards_is_path(v->verify)
                           ? es_shards_open(v->verify, true, false, arena, &shards, err)
                           : es_err_set(err, ES_NOT_FOUND, "%s: holds no shards", v->verify);
    if (status == ES_OK)
        status = es_shards_verify(&shards, v->quiet ? NULL : es_progress_update, &progress, err);
    es_progress_finish(&progress);
    size_t units = 0;
    for (size_t i = 0; i < shards.count; i++) units += shards.shards[i].unit_count;
    if (status == ES_OK)
        printf("%s: %zu shard%s, %zu units as they were made\n", v->verify, shards.count,
               shards.count == 1 ? "" : "s", units);
    es_shards_close(&shards);
    es_arena_destroy(&arena);
    return status;
}

static void print_errors(const es_weight_error *errors, size_t units_kept)
{
    bool any = false;
    for (int k = 0; k < ES_WEIGHT_COUNT; k++) any = any || errors[k].weights > 0;
    if (!any) return;
    printf("\n%-18s %18s %24s\n", "quantised", "weights", "relative RMS error");
    for (int k = 0; k < ES_WEIGHT_COUNT; k++) {
        const es_weight_error *e = &errors[k];
        if (e->weights == 0) continue;
        double relative = e->square_sum > 0 ? sqrt(e->error_square_sum / e->square_sum) : 0;
        printf("%-18s %18llu %22.3f %%\n", es_weight_kind_name((es_weight_kind)k),
               (unsigned long long)e->weights, 100 * relative);
    }
    if (units_kept > 0) printf("(of what was written now, not of the %zu units kept)\n", units_kept);
}

static void print_result(const shard_values *v, size_t nodes, const es_cut_result *result)
{
    printf("%s: coordinator.shard of %.3f GB, %zu expert shard%s of %.3f GB in all, %zu units", v->out,
           (double)result->coordinator_bytes * 1e-9, nodes, nodes == 1 ? "" : "s",
           (double)result->experts_bytes * 1e-9, result->units);
    if (result->units_kept > 0) printf(" (%zu kept from before)", result->units_kept);
    putchar('\n');
}

static es_status cut(const shard_values *v, es_pool *pool, es_err *err)
{
    es_model_source *source = NULL;
    cli_shares shares = {0};
    es_cut_result result;
    es_progress progress;
    if (es_shards_is_path(v->model))
        return es_err_set(err, ES_UNSUPPORTED, "%s: cut already: cut its source again", v->model);
    const es_kernels *kernels;
    es_status status = es_kernels_select(NULL, &kernels, err);
    if (status == ES_OK)
        status = es_model_source_open(v->model, FORMAT_OF[v->format], kernels, pool, &source, err);
    if (status != ES_OK) return status;
    const es_cut_source *base = es_model_source_get(source);
    es_cut_options options = {.out = v->out,
                              .pool = pool,
                              .progress = v->quiet ? NULL : es_progress_update,
                              .progress_context = &progress,
                              .texts = es_cut_texts,
                              .texts_context = v->model};
    status = v->placement != NULL ? cli_shares_read(v->placement, &base->shape, &shares, err)
                                  : cli_shares_equal(&base->shape, v->nodes, &shares, err);
    options.nodes = shares.nodes;
    options.shares = shares.shares;
    es_progress_init(&progress, "cutting", NULL);
    if (status == ES_OK) status = es_cut(base, &options, &result, err);
    es_progress_finish(&progress);
    if (status == ES_OK) print_result(v, options.nodes, &result);
    if (status == ES_OK) print_errors(es_model_source_errors(source), result.units_kept);
    cli_shares_fini(&shares);
    es_model_source_close(&source);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const shard_values *v = arg;
    if (v->verify != NULL) return verify(v, err);
    es_pool *pool = NULL;
    es_status status = es_pool_create(v->threads, &pool, err);
    if (status == ES_OK) status = cut(v, pool, err);
    es_pool_destroy(&pool);
    return status;
}

static const es_option OPTIONS[] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "DIR|GGUF",
     .at = offsetof(shard_values, model),
     .help = "a checkpoint folder as published, or a GGUF file"},
    {.name = "--out",
     .kind = ES_OPTION_TEXT,
     .argument = "DIR",
     .at = offsetof(shard_values, out),
     .help = "where the shards go; the folder is made when it is not there"},
    {.name = "--nodes",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(shard_values, nodes),
     .given_at = offsetof(shard_values, nodes_given),
     .min = 1,
     .max = ES_SHARDS_MAX,
     .fallback = "--placement",
     .help = "expert shards, with equal shares of every layer's experts"},
    {.name = "--placement",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(shard_values, placement),
     .help = "expert shards as a JSON file says: {\"shares\": [2, 1, 1]}, or {\"slices\": 4}: a slice of "
             "every expert for "
             "each node"},
    {.name = "--format",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(shard_values, format),
     .given_at = offsetof(shard_values, format_given),
     .choices = FORMATS,
     .initial = "as-is",
     .help = "quantise float weights to this format"},
    {.name = "--verify",
     .kind = ES_OPTION_TEXT,
     .argument = "DIR|FILE",
     .at = offsetof(shard_values, verify),
     .help = "instead of cutting, hold every unit of shards against its checksum"},
    {.name = "--threads",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(shard_values, threads),
     .max = 1024,
     .initial = "0",
     .help = "threads that compute; 0 is one for each core"},
    {.name = "--quiet",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(shard_values, quiet),
     .help = "no progress on stderr"},
};

static const es_option_set SETS[] = {
    {.heading = "Options", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]}};

static const es_example EXAMPLES[] = {
    {"essaim shard --model models/tiny-r1 --out shards --nodes 2",
     "a coordinator's shard and two of experts"},
    {"essaim shard --model /data/r1 --out /data/r1-q4_k --nodes 8 --format q4_k", "quantised on the way"},
    {"essaim shard --verify /data/r1-q4_k", "after the files were copied"},
};

const es_command CLI_SHARD = {
    .name = "shard",
    .summary = "cut a model into files that nodes map and compute from",
    .about = "Writes coordinator.shard (everything but the routed experts), experts-I-of-N.shard, and the "
             "model's config and tokenizer. A "
             "run that was killed is taken up where it stopped by the same command.",
    .sets = SETS,
    .set_count = 1,
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(shard_values),
    .check = check_values,
    .run = run,
};
