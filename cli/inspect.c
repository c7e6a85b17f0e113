/* essaim inspect: what a model folder holds, from its config and headers alone. */
#include "cli/commands.h"
#include "net/control.h"
#include "weights/fingerprint.h"
#include "weights/shape_json.h"
#include "weights/shard_folder.h"
#include "weights/source.h"
#include "weights/summary.h"

#include <jansson.h>
#include <string.h>

typedef struct inspect_values {
    const char *model;
    bool json;
} inspect_values;

/* What was found; shards are none where the model is not cut. */
typedef struct inspected {
    es_shape shape;
    es_checkpoint_summary summary;
    uint8_t fingerprint[ES_FINGERPRINT_BYTES];
    es_shards shards;
} inspected;

static const char *method_name(const es_shape *s)
{
    static const char *const NAMES[] = {"greedy", "group_limited_greedy", "noaux_tc"};
    return NAMES[s->topk_method];
}

static json_t *sum_json(const es_tensor_sum *sum)
{
    return json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)sum->tensors, "parameters",
                     (json_int_t)sum->parameters, "bytes", (json_int_t)sum->bytes);
}

/* Without its folder. */
static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* "layers 3 to 60", by the names of a shard's first and last unit; "all but the routed experts". */
static const char *held_text(const es_shard *shard, char out[static 64])
{
    es_shard_expert first, last;
    if (shard->kind == ES_SHARD_COORDINATOR) return "all but the routed experts";
    if (shard->unit_count == 0 || !es_shard_parse_expert(shard->units[0].name, &first) ||
        !es_shard_parse_expert(shard->units[shard->unit_count - 1].name, &last))
        return "no expert";
    snprintf(out, 64, "experts of layers %zu to %zu", first.layer, last.layer);
    return out;
}

static json_t *shards_json(const es_shards *shards)
{
    json_t *list = json_array();
    for (size_t i = 0; i < shards->count; i++) {
        const es_shard *s = &shards->shards[i];
        bool experts = s->kind == ES_SHARD_EXPERTS;
        json_t *one = json_pack("{s:s, s:s, s:s, s:I, s:I}", "file", file_name(shards->paths[i]), "kind",
                                experts ? "experts" : "coordinator", "format", s->format, "units",
                                (json_int_t)s->unit_count, "bytes", (json_int_t)s->file_bytes);
        if (experts) {
            json_object_set_new(one, "index", json_integer((json_int_t)s->index + 1));
            json_object_set_new(one, "of", json_integer((json_int_t)s->count));
        }
        json_array_append_new(list, one);
    }
    return list;
}

static void print_json(const inspected *in)
{
    const es_checkpoint_summary *summary = &in->summary;
    char fingerprint[ES_FINGERPRINT_TEXT_MAX];
    json_t *parts = json_object(), *types = json_object();
    for (int p = 0; p < ES_PART_COUNT; p++)
        json_object_set_new(parts, es_part_name((es_part)p), sum_json(&summary->parts[p]));
    for (size_t t = 0; t < summary->type_count; t++)
        json_object_set_new(types, summary->types[t].name, sum_json(&summary->types[t].sum));
    es_fingerprint_format(in->fingerprint, fingerprint);
    json_t *all = json_pack("{s:o, s:s, s:I, s:o, s:o, s:o}", "shape", es_shape_json(&in->shape),
                            "fingerprint", fingerprint, "files", (json_int_t)summary->files, "total",
                            sum_json(&summary->total), "parts", parts, "types", types);
    if (in->shards.count > 0) json_object_set_new(all, "shards", shards_json(&in->shards));
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void print_shape(const es_shape *s)
{
    size_t moe = 0;
    for (size_t layer = 0; layer < s->layers; layer++) moe += es_shape_layer_is_moe(s, layer);
    printf("%s: %zu layers (%zu dense, %zu MoE), hidden %zu, vocabulary %zu, context %zu\n", s->model_type,
           s->layers, s->layers - moe, moe, s->hidden, s->vocab, s->context);
    printf("experts    %zu of width %zu, %zu a token (%s), %zu shared; dense width %zu\n", s->experts,
           s->expert_intermediate, s->experts_per_token, method_name(s), s->shared_experts,
           s->dense_intermediate);
    printf("attention  %zu heads, latent %zu, query rank %zu, head %zu + %zu rotary, value %zu\n", s->heads,
           s->kv_lora, s->q_lora, s->nope, s->rope, s->v);
    printf("KV cache   %zu bytes a token in f16\n", 2 * es_shape_kv_width(s) * s->layers);
    if (s->mtp_layers > 0)
        printf("MTP        %zu layer%s, read past by this version\n", s->mtp_layers,
               s->mtp_layers == 1 ? "" : "s");
    putchar('\n');
}

static void print_sum(const char *name, const es_tensor_sum *sum)
{
    if (sum->tensors == 0) return;
    printf("%-16s %10llu %18llu %18llu\n", name, (unsigned long long)sum->tensors,
           (unsigned long long)sum->parameters, (unsigned long long)sum->bytes);
}

static void print_shards(const es_shards *shards)
{
    char text[64];
    printf("\n%-32s %-30s %8s %18s\n", "shard", "holds", "units", "bytes");
    for (size_t i = 0; i < shards->count; i++)
        printf("%-32s %-30s %8zu %18llu\n", file_name(shards->paths[i]), held_text(&shards->shards[i], text),
               shards->shards[i].unit_count, (unsigned long long)shards->shards[i].file_bytes);
    printf("cut %s%s\n", strcmp(shards->shards[0].format, "as-is") == 0 ? "" : "to ",
           shards->shards[0].format);
}

static void print_text(const inspected *in)
{
    const es_checkpoint_summary *summary = &in->summary;
    char fingerprint[ES_FINGERPRINT_TEXT_MAX];
    print_shape(&in->shape);
    printf("%-16s %10s %18s %18s\n", "part", "tensors", "parameters", "bytes");
    for (int p = 0; p < ES_PART_COUNT; p++) print_sum(es_part_name((es_part)p), &summary->parts[p]);
    print_sum("all", &summary->total);
    printf("\n%-16s %10s %18s %18s\n", "type", "tensors", "parameters", "bytes");
    for (size_t t = 0; t < summary->type_count; t++)
        print_sum(summary->types[t].name, &summary->types[t].sum);
    if (in->shards.count > 0) print_shards(&in->shards);
    es_fingerprint_format(in->fingerprint, fingerprint);
    printf("\n%zu weight file%s, fingerprint %s\n", summary->files, summary->files == 1 ? "" : "s",
           fingerprint);
}

static es_status inspect_source(const char *path, inspected *ret, es_err *err)
{
    es_checkpoint *checkpoint = NULL;
    es_status status = es_source_open(path, &ret->shape, &checkpoint, err);
    if (status != ES_OK) return status;
    es_checkpoint_summarise(checkpoint, &ret->shape, &ret->summary);
    es_fingerprint(&ret->shape, checkpoint, ret->fingerprint);
    es_checkpoint_close(&checkpoint);
    return ES_OK;
}

static es_status inspect_shards(const char *path, es_arena *arena, inspected *ret, es_err *err)
{
    es_status status = es_shards_open(path, true, false, arena, &ret->shards, err);
    if (status != ES_OK) return status;
    ret->shape = ret->shards.shards[0].shape;
    memcpy(ret->fingerprint, ret->shards.shards[0].fingerprint, sizeof ret->fingerprint);
    es_shards_summarise(&ret->shards, &ret->summary);
    return ES_OK;
}

static es_status run(const void *arg, es_err *err)
{
    const inspect_values *values = arg;
    inspected i = {.shards = {0}};
    es_arena *arena = es_arena_create();
    if (arena == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", values->model);
    es_status status = es_shards_is_path(values->model) ? inspect_shards(values->model, arena, &i, err)
                                                        : inspect_source(values->model, &i, err);
    if (status == ES_OK && values->json)
        print_json(&i);
    else if (status == ES_OK)
        print_text(&i);
    es_shards_close(&i.shards);
    es_arena_destroy(&arena);
    return status;
}

static const es_option OPTIONS[] = {
    {.name = "--model",
     .kind = ES_OPTION_TEXT,
     .argument = "MODEL",
     .at = offsetof(inspect_values, model),
     .required = true,
     .help = "a checkpoint folder as published, a GGUF file, a shard or a folder of shards"},
    {.name = "--json", .kind = ES_OPTION_FLAG, .at = offsetof(inspect_values, json), .help = "print JSON"},
};

static const es_option_set SETS[] = {
    {.heading = "Model", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]}};
static const es_example EXAMPLES[] = {{"essaim inspect --model models/tiny-r1", NULL}};

const es_command CLI_INSPECT = {
    .name = "inspect",
    .summary = "what a model folder holds: shapes, sizes by part and type",
    .sets = SETS,
    .set_count = 1,
    .examples = EXAMPLES,
    .example_count = 1,
    .values_bytes = sizeof(inspect_values),
    .run = run,
};
