/* Random models as one GGUF file of architecture deepseek2, in the layout that latent attention is computed
 * from (attn_k_b and attn_v_b), with a byte-level vocabulary. The weights are those of shards of the same
 * seed. */
#include "weights/synth.h"

#include "base/file.h"
#include "base/size.h"
#include "weights/gguf.h"
#include "weights/shard.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { VERSION = 3, ALIGNMENT = 32, CHUNK_BYTES = 4 << 20, MARGIN_BYTES = 16 << 20, BYTES = 256 };
enum { TOKEN_NORMAL = 1, TOKEN_CONTROL = 3, TOKEN_UNUSED = 5, GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };
enum { PROJECTIONS = 3, NAME_BYTES = 2 * ES_FIELD_NAME_BYTES };

/* A field's tensor, or one projection of all experts of a layer. Pieces follow each other in it: heads,
 * experts. */
typedef struct tensor {
    char name[NAME_BYTES];
    es_field field;
    es_format format;
    bool experts;
    size_t layer, part, pieces;
    uint64_t bytes;
} tensor;

typedef struct output {
    es_synth *synth;
    const char *path;
    FILE *file; /* NULL while values are counted */
    uint64_t values;
    tensor *tensors;
    size_t count;
    uint64_t done, total;
    es_progress_fn *progress;
    void *context;
} output;

/* Names of fields, with or without "layers.N." before them; those of a feed-forward have a suffix in MoE
 * layers. */
static const struct {
    const char *field, *tensor;
} NAMES[] = {{"embedding", "token_embd.weight"},
             {"final_norm", "output_norm.weight"},
             {"head", "output.weight"},
             {"attention_norm", "attn_norm.weight"},
             {"q", "attn_q.weight"},
             {"q_a", "attn_q_a.weight"},
             {"q_a_norm", "attn_q_a_norm.weight"},
             {"q_b", "attn_q_b.weight"},
             {"kv_a", "attn_kv_a_mqa.weight"},
             {"kv_a_norm", "attn_kv_a_norm.weight"},
             {"k_absorb", "attn_k_b.weight"},
             {"v_up", "attn_v_b.weight"},
             {"o", "attn_output.weight"},
             {"ffn_norm", "ffn_norm.weight"},
             {"router", "ffn_gate_inp.weight"},
             {"router_bias", "exp_probs_b.bias"}};

static void name_tensor(const es_field *field, bool experts, size_t layer, char out[NAME_BYTES])
{
    const char *last = strrchr(field->name, '.');
    last = last == NULL ? field->name : last + 1;
    bool in_layer = last != field->name || experts;
    const char *suffix = experts ? "_exps" : field->weight == ES_WEIGHT_SHARED ? "_shexp" : "";
    char prefix[32] = "";
    if (in_layer) snprintf(prefix, sizeof prefix, "blk.%zu.", layer);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (strcmp(last, NAMES[i].field) != 0) continue;
        snprintf(out, NAME_BYTES, "%s%s", prefix, NAMES[i].tensor);
        return;
    }
    snprintf(out, NAME_BYTES, "%sffn_%s%s.weight", prefix, last, suffix);
}

static void add_tensor(output *o, const es_field *field, bool experts, size_t layer, size_t part)
{
    const es_shape *s = &o->synth->base.shape;
    tensor *t = &o->tensors[o->count++];
    *t = (tensor){.field = *field, .experts = experts, .layer = layer, .part = part, .pieces = field->count};
    t->format = field->kind == ES_FIELD_VALUES ? ES_FORMAT_F32 : es_synth_format(o->synth, field);
    if (experts) t->pieces = s->experts;
    t->bytes = (uint64_t)t->pieces * field->rows * es_format_row_bytes(t->format, field->cols);
    o->total += es_size_align((size_t)t->bytes, ALIGNMENT);
    name_tensor(field, experts, layer, t->name);
}

static es_status list_tensors(output *o, es_err *err)
{
    const es_shape *s = &o->synth->base.shape;
    es_field fields[ES_FIELDS_MAX];
    es_model model = {0};
    es_layer layer = {0};
    es_ffn expert = {0};
    o->tensors = calloc((s->layers + 1) * (ES_FIELDS_MAX + PROJECTIONS), sizeof *o->tensors);
    if (o->tensors == NULL) return es_err_set(err, ES_NO_MEMORY, "list of tensors");
    size_t count = es_fields_of_ends(s, &model, fields);
    for (size_t i = 0; i < count; i++)
        if (!s->tied || fields[i].weight != ES_WEIGHT_HEAD) add_tensor(o, &fields[i], false, 0, 0);
    for (size_t l = 0; l < s->layers; l++) {
        count = es_fields_of_layer(s, l, &layer, fields);
        for (size_t i = 0; i < count; i++) add_tensor(o, &fields[i], false, l, 0);
        if (!es_shape_layer_is_moe(s, l)) continue;
        count = es_fields_of_expert(s, &expert, fields);
        for (size_t i = 0; i < count; i++) add_tensor(o, &fields[i], true, l, i);
    }
    return ES_OK;
}

/* What fails is told once, by ferror. */
static void put(const output *o, const void *bytes, size_t size)
{
    if (o->file != NULL) (void)fwrite(bytes, 1, size, o->file);
}

static void put_32(const output *o, uint32_t value)
{
    put(o, &value, sizeof value);
}

static void put_64(const output *o, uint64_t value)
{
    put(o, &value, sizeof value);
}

static void put_text(const output *o, const char *text)
{
    put_64(o, strlen(text));
    put(o, text, strlen(text));
}

static void put_key(output *o, const char *key, es_gguf_type type)
{
    o->values++;
    put_text(o, key);
    put_32(o, type);
}

static void put_size(output *o, const char *key, size_t value)
{
    put_key(o, key, ES_GGUF_U32);
    put_32(o, (uint32_t)value);
}

static void put_number(output *o, const char *key, double value)
{
    float number = (float)value;
    put_key(o, key, ES_GGUF_F32);
    put(o, &number, sizeof number);
}

static void put_word(output *o, const char *key, const char *value)
{
    put_key(o, key, ES_GGUF_TEXT);
    put_text(o, value);
}

static void put_array(output *o, const char *key, es_gguf_type type, size_t items)
{
    put_key(o, key, ES_GGUF_ARRAY);
    put_32(o, type);
    put_64(o, items);
}

static void put_attention(output *o, const es_shape *s)
{
    put_size(o, "deepseek2.attention.head_count", s->heads);
    put_size(o, "deepseek2.attention.head_count_kv", 1);
    put_number(o, "deepseek2.attention.layer_norm_rms_epsilon", (double)s->rms_eps);
    if (s->q_lora > 0) put_size(o, "deepseek2.attention.q_lora_rank", s->q_lora);
    put_size(o, "deepseek2.attention.kv_lora_rank", s->kv_lora);
    put_size(o, "deepseek2.attention.key_length", s->kv_lora + s->rope);
    put_size(o, "deepseek2.attention.value_length", s->kv_lora);
    put_size(o, "deepseek2.attention.key_length_mla", s->nope + s->rope);
    put_size(o, "deepseek2.attention.value_length_mla", s->v);
    put_size(o, "deepseek2.rope.dimension_count", s->rope);
    put_number(o, "deepseek2.rope.freq_base", s->rope_theta);
    if (s->yarn.factor == 0) return;
    put_word(o, "deepseek2.rope.scaling.type", "yarn");
    put_number(o, "deepseek2.rope.scaling.factor", s->yarn.factor);
    put_size(o, "deepseek2.rope.scaling.original_context_length", (size_t)s->yarn.original_context);
    put_number(o, "deepseek2.rope.scaling.yarn_log_multiplier", 0.1 * s->yarn.mscale_all_dim);
    put_number(o, "deepseek2.rope.scaling.yarn_beta_fast", s->yarn.beta_fast);
    put_number(o, "deepseek2.rope.scaling.yarn_beta_slow", s->yarn.beta_slow);
}

static void put_experts(output *o, const es_shape *s)
{
    if (s->experts == 0) return;
    put_size(o, "deepseek2.leading_dense_block_count", s->dense_layers);
    put_size(o, "deepseek2.expert_count", s->experts);
    put_size(o, "deepseek2.expert_used_count", s->experts_per_token);
    put_size(o, "deepseek2.expert_feed_forward_length", s->expert_intermediate);
    put_size(o, "deepseek2.expert_shared_count", s->shared_experts);
    put_number(o, "deepseek2.expert_weights_scale", (double)s->routed_scale);
    uint8_t norm = s->norm_topk ? 1 : 0;
    put_key(o, "deepseek2.expert_weights_norm", ES_GGUF_BOOL);
    put(o, &norm, 1);
    put_size(o, "deepseek2.expert_gating_func",
             s->score_fn == ES_SCORE_SIGMOID ? GATING_SIGMOID : GATING_SOFTMAX);
    /* Groups of which all are kept limit nothing, and llama.cpp ends at a file that states them. */
    bool limits = s->groups_kept < s->groups;
    put_size(o, "deepseek2.expert_group_count", limits ? s->groups : 1);
    put_size(o, "deepseek2.expert_group_used_count", limits ? s->groups_kept : 1);
}

static bool is_control(const es_shape *s, size_t id)
{
    bool found = id == s->bos;
    for (size_t i = 0; i < s->eos_count; i++) found = found || id == s->eos[i];
    return found;
}

/* Byte-level BPE writes a byte as one letter: itself where it can be printed, else 256 and up. */
static void spell_byte(size_t byte, size_t *unprintable, char out[3])
{
    bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    size_t letter = printable ? byte : BYTES + (*unprintable)++;
    out[0] = (char)(letter < 0x80 ? letter : 0xc0 | letter >> 6);
    out[1] = (char)(letter < 0x80 ? 0 : 0x80 | (letter & 0x3f));
    out[2] = 0;
}

/* All bytes, in the places that the ends leave; what is left is never said. */
static void put_tokens(output *o, const es_shape *s)
{
    put_array(o, "tokenizer.ggml.tokens", ES_GGUF_TEXT, s->vocab);
    for (size_t id = 0, byte = 0, unprintable = 0; id < s->vocab; id++) {
        char text[40];
        if (is_control(s, id))
            snprintf(text, sizeof text, "<|control %zu|>", id);
        else if (byte < BYTES)
            spell_byte(byte++, &unprintable, text);
        else
            snprintf(text, sizeof text, "<|unused %zu|>", id);
        put_text(o, text);
    }
    put_array(o, "tokenizer.ggml.token_type", ES_GGUF_I32, s->vocab);
    for (size_t id = 0, byte = 0; id < s->vocab; id++)
        put_32(o, is_control(s, id) ? TOKEN_CONTROL : byte++ < BYTES ? TOKEN_NORMAL : TOKEN_UNUSED);
}

static void put_values(output *o)
{
    const es_shape *s = &o->synth->base.shape;
    put_word(o, "general.architecture", "deepseek2");
    put_word(o, "general.name", "essaim synth");
    put_size(o, "general.alignment", ALIGNMENT);
    put_size(o, "deepseek2.block_count", s->layers);
    put_size(o, "deepseek2.context_length", s->context);
    put_size(o, "deepseek2.embedding_length", s->hidden);
    put_size(o, "deepseek2.feed_forward_length", s->dense_intermediate);
    put_size(o, "deepseek2.vocab_size", s->vocab);
    put_attention(o, s);
    put_experts(o, s);
    put_word(o, "tokenizer.ggml.model", "gpt2");
    put_word(o, "tokenizer.ggml.pre", "deepseek-v3");
    put_tokens(o, s);
    put_array(o, "tokenizer.ggml.merges", ES_GGUF_TEXT, 0);
    put_size(o, "tokenizer.ggml.bos_token_id", s->bos);
    put_size(o, "tokenizer.ggml.eos_token_id", s->eos[0]);
}

/* Dimensions stand with the columns first. */
static void put_tensor_info(const output *o, const tensor *t, uint64_t offset)
{
    const es_field *f = &t->field;
    bool vector = f->kind == ES_FIELD_VALUES && f->rows == 1, deep = t->experts || f->kind == ES_FIELD_HEADS;
    put_text(o, t->name);
    put_32(o, vector ? 1 : deep ? 3 : 2);
    put_64(o, f->cols);
    if (!vector) put_64(o, f->rows);
    if (deep) put_64(o, t->pieces);
    put_32(o, es_gguf_number_of(t->format));
    put_64(o, offset);
}

static void put_padding(const output *o, uint64_t bytes)
{
    static const uint8_t ZEROS[ALIGNMENT];
    put(o, ZEROS, (size_t)((ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT));
}

static es_status put_header(output *o, es_err *err)
{
    FILE *file = o->file;
    o->file = NULL;
    put_values(o);
    uint64_t values = o->values, offset = 0;
    o->file = file;
    put(o, "GGUF", 4);
    put_32(o, VERSION);
    put_64(o, o->count);
    put_64(o, values);
    put_values(o);
    for (size_t i = 0; i < o->count; i++) {
        put_tensor_info(o, &o->tensors[i], offset);
        offset += es_size_align((size_t)o->tensors[i].bytes, ALIGNMENT);
    }
    long at = ftell(o->file);
    if (at < 0) return es_err_set(err, ES_IO, "%s: %s", o->path, strerror(errno));
    put_padding(o, (uint64_t)at);
    return ES_OK;
}

static es_status put_floats(const output *o, const tensor *t, es_err *err)
{
    const es_field *f = &t->field;
    float *values = calloc(f->rows * f->cols, sizeof *values);
    if (values == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", t->name);
    es_synth_values(o->synth, f->name, f->rows, f->cols, values);
    put(o, values, f->rows * f->cols * sizeof *values);
    free(values);
    return ES_OK;
}

/* One expert's matrix, one head's, or the whole. */
static es_status put_piece(const output *o, const tensor *t, size_t piece, es_err *err)
{
    const es_field *f = &t->field;
    char unit[ES_FIELD_NAME_BYTES];
    snprintf(unit, sizeof unit, "%s", f->name);
    const es_shard_expert expert = {.layer = t->layer, .expert = piece};
    if (t->experts) es_shard_expert_name(&expert, unit);
    const es_cut_part part = {unit, f, t->experts ? t->part : piece};
    const es_matrix form = {.format = t->format, .rows = f->rows, .cols = f->cols};
    size_t row_bytes = es_format_row_bytes(t->format, f->cols);
    size_t at_once = es_size_max(CHUNK_BYTES / row_bytes, 1);
    es_status status = ES_OK;
    for (size_t r = 0; r < f->rows && status == ES_OK; r += at_once) {
        size_t some = es_size_min(f->rows - r, at_once);
        const uint8_t *rows;
        status = o->synth->base.rows(o->synth, &part, &form, t->format, r, some, &rows, err);
        if (status == ES_OK) put(o, rows, some * row_bytes);
    }
    return status;
}

static es_status put_tensor(output *o, const tensor *t, es_err *err)
{
    es_status status = t->field.kind == ES_FIELD_VALUES ? put_floats(o, t, err) : ES_OK;
    for (size_t i = 0; i < t->pieces && t->field.kind != ES_FIELD_VALUES && status == ES_OK; i++) {
        status = put_piece(o, t, i, err);
        if (status == ES_OK && ferror(o->file))
            status = es_err_set(err, ES_IO, "%s: %s", o->path, strerror(errno));
    }
    put_padding(o, t->bytes);
    o->done += t->bytes;
    if (o->progress != NULL) o->progress(o->context, o->done, o->total);
    return status;
}

/* What a GGUF cannot say of a shape, or has no room for. */
static es_status check(const output *o, const char *dir, es_err *err)
{
    const es_shape *s = &o->synth->base.shape;
    if (o->synth->format == ES_FORMAT_FP8) return es_err_set(err, ES_INVALID, "fp8: GGUF has no such type");
    if (s->experts > 0 && s->moe_layer_freq != 1)
        return es_err_set(err, ES_INVALID, "moe_layer_freq %zu: a GGUF cannot say so", s->moe_layer_freq);
    if (s->vocab < BYTES + 1 + s->eos_count)
        return es_err_set(err, ES_INVALID, "vocab_size %zu: a byte-level vocabulary needs %zu", s->vocab,
                          BYTES + 1 + s->eos_count);
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        return es_err_set(err, ES_IO, "%s: %s", dir, strerror(errno));
    struct statvfs disk;
    if (statvfs(dir, &disk) != 0) return es_err_set(err, ES_IO, "%s: %s", dir, strerror(errno));
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (o->total + MARGIN_BYTES <= free_bytes) return ES_OK;
    return es_err_set(err, ES_IO, "%s: the model needs %.1f MB and the disk has %.1f MB free", dir,
                      (double)(o->total + MARGIN_BYTES) * 1e-6, (double)free_bytes * 1e-6);
}

static es_status write_file(output *o, es_err *err)
{
    o->file = fopen(o->path, "wbe");
    if (o->file == NULL) return es_err_set(err, ES_IO, "%s: %s", o->path, strerror(errno));
    es_status status = put_header(o, err);
    for (size_t i = 0; i < o->count && status == ES_OK; i++) status = put_tensor(o, &o->tensors[i], err);
    bool failed = ferror(o->file) != 0;
    if (fclose(o->file) != 0) failed = true;
    if (status == ES_OK && failed) status = es_err_set(err, ES_IO, "%s: %s", o->path, strerror(errno));
    return status;
}

/* The file that out asks for, and its folder. */
static es_status find_place(const char *out, char path[PATH_MAX], char dir[PATH_MAX], es_err *err)
{
    static const char ENDING[] = ".gguf";
    size_t bytes = strlen(out), ending = sizeof ENDING - 1;
    if (bytes + 1 > PATH_MAX) return es_err_set(err, ES_INVALID, "%s: path too long", out);
    memcpy(dir, out, bytes + 1);
    if (bytes <= ending || strcmp(out + bytes - ending, ENDING) != 0)
        return es_file_join(path, PATH_MAX, dir, "model.gguf", err);
    memcpy(path, out, bytes + 1);
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        strcpy(dir, ".");
    else
        slash[slash == dir] = '\0';
    return ES_OK;
}

es_status es_synth_write_gguf(es_synth *synth, const char *out, es_progress_fn *progress, void *context,
                              es_err *err)
{
    char path[PATH_MAX], dir[PATH_MAX];
    output o = {.synth = synth, .path = path, .progress = progress, .context = context};
    es_status status = find_place(out, path, dir, err);
    if (status == ES_OK) status = list_tensors(&o, err);
    if (status == ES_OK) status = check(&o, dir, err);
    if (status == ES_OK) status = write_file(&o, err);
    free(o.tensors);
    return status;
}
