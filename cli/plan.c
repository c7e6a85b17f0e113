/* essaim plan: whether a model fits on machines, how fast it would be, and what to change first. */
#include "cli/commands.h"
#include "cli/plan_report.h"
#include "planner/known_model.h"
#include "weights/shape.h"
#include "weights/shard_folder.h"
#include "weights/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct plan_values {
    const char *model;
    es_option_list machines;
    int format, mode, kv;
    size_t copies, context, streams, coordinators;
    bool plain, json;
    const char *svg;
} plan_values;

enum { MODE_BEST };

/* A model's shape: by name, or from a folder that may hold a config.json alone, a GGUF file or shards. */
static es_status read_shape(const char *model, es_shape *shape, es_err *err)
{
    struct stat info;
    if (stat(model, &info) != 0) return es_known_model(model, shape, err);
    if (es_shards_is_path(model)) {
        es_arena *arena = es_arena_create();
        if (arena == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", model);
        es_shards shards;
        es_status status = es_shards_open(model, true, false, arena, &shards, err);
        if (status == ES_OK) *shape = shards.shards[0].shape;
        es_shards_close(&shards);
        es_arena_destroy(&arena);
        return status;
    }
    if (S_ISDIR(info.st_mode)) return es_shape_load(model, shape, err);
    es_checkpoint *checkpoint = NULL;
    es_status status = es_source_open(model, shape, &checkpoint, err);
    es_checkpoint_close(&checkpoint);
    return status;
}

static es_status write_svg(const char *path, const plan_report *report, es_err *err)
{
    FILE *out = fopen(path, "w");
    if (out == NULL) return es_err_set(err, ES_IO, "%s: %s", path, strerror(errno));
    plan_report_svg(report, out);
    bool failed = ferror(out) != 0;
    failed = fclose(out) != 0 || failed;
    return failed ? es_err_set(err, ES_IO, "%s: could not be written", path) : ES_OK;
}

static es_status report(const plan_values *v, const es_forecast_question *question, es_err *err)
{
    es_forecast *forecast = calloc(1, sizeof *forecast);
    es_advice advice[ES_ADVICE_MAX];
    size_t advice_count = 0;
    es_status status =
        forecast == NULL ? es_err_set(err, ES_NO_MEMORY, "plan") : es_forecast_make(question, forecast, err);
    if (status == ES_OK) status = es_forecast_advise(question, forecast, advice, &advice_count, err);
    const plan_report r = {v->model, question, forecast, advice, advice_count};
    if (status == ES_OK && v->svg != NULL) status = write_svg(v->svg, &r, err);
    if (status == ES_OK) {
        if (v->json)
            plan_report_json(&r, stdout);
        else
            plan_report_text(&r, stdout);
        if (!forecast->fits && v->json)
            status = es_err_set(err, ES_UNAVAILABLE, "it does not fit: %s", forecast->why);
        else if (!forecast->fits)
            status = es_err_set(err, ES_UNAVAILABLE, "%s", ""); /* told */
    }
    free(forecast);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const plan_values *v = arg;
    es_machine *machines = calloc(ES_MACHINES_MAX, sizeof *machines);
    size_t count = 0;
    es_shape shape;
    es_status status =
        machines == NULL ? es_err_set(err, ES_NO_MEMORY, "plan") : read_shape(v->model, &shape, err);
    for (size_t i = 0; i < v->machines.count && status == ES_OK; i++)
        status = es_machines_read(v->machines.item[i], machines, ES_MACHINES_MAX, &count, err);
    if (status == ES_OK) {
        const es_forecast_question question = {
            .shape = &shape,
            .format = (es_format)v->format,
            .kv_value_bytes = v->kv == 0 ? 2 : 4,
            .machines = machines,
            .machine_count = count,
            .any_mode = v->mode == MODE_BEST,
            .mode = v->mode == MODE_BEST ? ES_MODE_GROUP : (es_layout_mode)(v->mode - 1),
            .copies = v->copies,
            .context = v->context,
            .kv_streams = v->streams,
            .coordinators = v->coordinators,
            .encrypted = !v->plain,
        };
        status = report(v, &question, err);
    }
    free(machines);
    return status;
}

/* In the order of es_format. */
static const char *const FORMATS[] = {"f32",  "f16",  "bf16", "fp8",  "q8_0",   "q4_0", "q5_0",
                                      "q5_1", "q4_k", "q5_k", "q6_k", "iq4_nl", NULL};
_Static_assert(sizeof FORMATS / sizeof FORMATS[0] == ES_FORMAT_COUNT + 1, "a name for every format");
static const char *const MODES[] = {"best", "group", "stripe", "replicate", "slice", NULL};
static const char *const KV_FORMATS[] = {"f16", "f32", NULL};

static const es_option OPTIONS[] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "MODEL",
     .at = offsetof(plan_values, model),
     .initial = "deepseek-r1",
     .help = "deepseek-r1, deepseek-v3, or a folder with a config.json, a GGUF file, shards"},
    {.name = "--machines",
     .kind = ES_OPTION_LIST,
     .argument = "FILE",
     .at = offsetof(plan_values, machines),
     .required = true,
     .help = "machines as JSON, or what `essaim doctor --save` wrote; again for more"},
    {.name = "--format",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(plan_values, format),
     .choices = FORMATS,
     .initial = "fp8",
     .help = "how weights are stored"},
    {.name = "--mode",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(plan_values, mode),
     .choices = MODES,
     .initial = "best",
     .help = "how experts are placed"},
    {.name = "--copies",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(plan_values, copies),
     .min = 2,
     .max = ES_LAYOUT_COPIES_MAX,
     .initial = "2",
     .help = "of each expert in mode replicate"},
    {.name = "--context",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(plan_values, context),
     .min = 1,
     .max = 1 << 24,
     .initial = "4096",
     .unit = "tokens",
     .help = "behind every stream"},
    {.name = "--streams",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(plan_values, streams),
     .min = 1,
     .max = 65536,
     .initial = "8",
     .help = "of that context that the coordinator's memory is to hold"},
    {.name = "--kv",
     .kind = ES_OPTION_CHOICE,
     .at = offsetof(plan_values, kv),
     .choices = KV_FORMATS,
     .initial = "f16",
     .help = "how the KV cache is stored"},
    {.name = "--coordinators",
     .kind = ES_OPTION_COUNT,
     .argument = "N",
     .at = offsetof(plan_values, coordinators),
     .min = 1,
     .max = 64,
     .initial = "1",
     .help = "that share the experts; beyond the first they are machines beside those listed"},
    {.name = "--plain",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(plan_values, plain),
     .help = "links that are not encrypted"},
    {.name = "--svg",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(plan_values, svg),
     .help = "write a picture of the swarm"},
    {.name = "--json", .kind = ES_OPTION_FLAG, .at = offsetof(plan_values, json), .help = "print JSON"},
};

static const es_option_set SETS[] = {
    {.heading = "Plan", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]}};
static const es_example EXAMPLES[] = {
    {"essaim plan --machines eight-servers.json --format q4_k",
     "does R1 fit on them, and how fast would it be"},
};

const es_command CLI_PLAN = {
    .name = "plan",
    .summary = "does a model fit on machines, how fast would it be, what to change first",
    .about =
        "From a model's shape and a list of machines: what each would hold, the placement mode, tokens/s, "
        "time "
        "to first token, the bottleneck. docs/planner.md has the formulas. Exit code 0: it fits; 1: it does "
        "not, and it says what is missing.",
    .sets = SETS,
    .set_count = 1,
    .examples = EXAMPLES,
    .example_count = 1,
    .values_bytes = sizeof(plan_values),
    .run = run,
};
