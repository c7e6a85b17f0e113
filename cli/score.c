/* essaim score: feeds tokens, writes logits, tells how surprised the model was. */
#include "base/file.h"
#include "base/size.h"
#include "cli/commands.h"
#include "cli/engine.h"
#include "cli/stage_times.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_FILE_MAX = 64 * 1024 * 1024 };

typedef struct score_values {
    cli_engine_options engine;
    const char *tokens;
    const char *logits;
    bool json;
} score_values;

static const es_option OPTIONS[] = {
    {.name = "--tokens",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(score_values, tokens),
     .required = true,
     .help = "a JSON array of token ids"},
    {.name = "--logits",
     .kind = ES_OPTION_TEXT,
     .argument = "OUT",
     .at = offsetof(score_values, logits),
     .help = "write the logits here: little-endian float32 [tokens][vocabulary]"},
    {.name = "--json",
     .kind = ES_OPTION_FLAG,
     .at = offsetof(score_values, json),
     .help = "print the result as JSON"},
};

/* Reads a JSON array of ids. *ret_tokens is malloc'd. */
static es_status read_tokens(const char *path, uint32_t **ret_tokens, size_t *ret_count, es_err *err)
{
    char *text;
    size_t bytes;
    es_status status = es_file_read(path, TOKENS_FILE_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    json_error_t problem;
    json_t *array = json_loadb(text, bytes, 0, &problem);
    free(text);
    if (array == NULL) return es_err_set(err, ES_CORRUPT, "%s:%d: %s", path, problem.line, problem.text);
    size_t count = json_array_size(array);
    if (!json_is_array(array) || count == 0) {
        json_decref(array);
        return es_err_set(err, ES_INVALID, "%s: not an array of at least one token id", path);
    }
    uint32_t *tokens = calloc(count, sizeof *tokens);
    if (tokens == NULL) status = es_err_set(err, ES_NO_MEMORY, "%s: %zu tokens", path, count);
    for (size_t i = 0; i < count && status == ES_OK; i++) {
        json_t *id = json_array_get(array, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > UINT32_MAX)
            status = es_err_set(err, ES_INVALID, "%s: token %zu is no id", path, i);
        else
            tokens[i] = (uint32_t)value;
    }
    json_decref(array);
    if (status != ES_OK) {
        free(tokens);
        return status;
    }
    *ret_tokens = tokens;
    *ret_count = count;
    return ES_OK;
}

static es_status check_tokens(const char *path, const uint32_t *tokens, size_t count, size_t vocab,
                              es_err *err)
{
    for (size_t i = 0; i < count; i++)
        if (tokens[i] >= vocab)
            return es_err_set(err, ES_INVALID, "%s: token %zu: id %u is not below the vocabulary of %zu",
                              path, i, (unsigned)tokens[i], vocab);
    return ES_OK;
}

/* -ln of the probability that logits [vocab] give to token. */
static double surprise(const float *logits, size_t vocab, uint32_t token)
{
    double max = -INFINITY, sum = 0.0;
    for (size_t i = 0; i < vocab; i++) max = fmax(max, (double)logits[i]);
    for (size_t i = 0; i < vocab; i++) sum += exp((double)logits[i] - max);
    return log(sum) + max - (double)logits[token];
}

/* The sum over all tokens but the first; where the steps' time went. */
typedef struct score_result {
    double nll;
    stage_times *times;
} score_result;

/* Feeds all tokens [count >= 1], step by step, so that memory holds one step's logits only. result->times is
 * there. */
static es_status score_tokens(const cli_engine *engine, const uint32_t *tokens, size_t count, FILE *out,
                              const char *out_path, score_result *result, es_err *err)
{
    size_t vocab = es_coordinator_model(engine->coordinator)->shape.vocab;
    size_t step = es_size_min(es_coordinator_get_options(engine->coordinator)->step, count);
    ES_ASSERT(step >= 1);
    es_session *session = NULL;
    es_status status = es_coordinator_session(engine->coordinator, &session, err);
    if (status != ES_OK) return status;
    float *logits = calloc(step * vocab, sizeof *logits);
    if (logits == NULL) status = es_err_set(err, ES_NO_MEMORY, "logits: %zu rows of %zu", step, vocab);
    for (size_t done = 0; done < count && status == ES_OK;) {
        size_t rows = es_size_min(step, count - done);
        stage_times_begin(result->times);
        status = es_session_feed(session, tokens + done, rows, logits, err);
        if (status != ES_OK) break;
        stage_times_end(result->times, rows);
        for (size_t r = 0; r < rows && done + r + 1 < count; r++)
            result->nll += surprise(logits + r * vocab, vocab, tokens[done + r + 1]);
        if (out != NULL && fwrite(logits, vocab * sizeof *logits, rows, out) != rows)
            status = es_err_set(err, ES_IO, "%s: %s", out_path, strerror(errno));
        done += rows;
    }
    free(logits);
    es_session_destroy(&session);
    return status;
}

/* stages_ms: medians of the steps. */
static void print_score(bool json, size_t count, const score_result *result)
{
    double mean = count > 1 ? result->nll / (double)(count - 1) : 0.0;
    if (!json) {
        printf("tokens      %zu\nmean nll    %.6f\nperplexity  %.6f\n", count, mean, exp(mean));
        return;
    }
    printf("{\"tokens\": %zu, \"mean_nll\": %.9g, \"perplexity\": %.9g, \"stages_ms\": ", count, mean,
           exp(mean));
    stage_times_print_json(result->times, stdout);
    printf("}\n");
}

static es_status check(const void *values, es_err *err)
{
    return cli_engine_check(&((const score_values *)values)->engine, err);
}

/* Scores with an engine that is open. The file of logits is made only now, when little can go wrong. */
static es_status write_score(const score_values *values, const cli_engine *engine, const uint32_t *tokens,
                             size_t count, es_err *err)
{
    FILE *out = NULL;
    score_result result = {0};
    es_status status = check_tokens(values->tokens, tokens, count,
                                    es_coordinator_model(engine->coordinator)->shape.vocab, err);
    if (status != ES_OK) return status;
    if (values->logits != NULL) {
        out = fopen(values->logits, "wb");
        if (out == NULL) return es_err_set(err, ES_IO, "%s: %s", values->logits, strerror(errno));
    }
    result.times = stage_times_create(es_coordinator_trace(engine->coordinator), count);
    status = result.times == NULL ? es_err_set(err, ES_NO_MEMORY, "times of %zu steps", count)
                                  : score_tokens(engine, tokens, count, out, values->logits, &result, err);
    if (out != NULL && fclose(out) != 0 && status == ES_OK)
        status = es_err_set(err, ES_IO, "%s: %s", values->logits, strerror(errno));
    if (status == ES_OK) print_score(values->json, count, &result);
    stage_times_destroy(&result.times);
    return status;
}

static es_status run(const void *arg, es_err *err)
{
    const score_values *values = arg;
    cli_engine engine = {0};
    uint32_t *tokens = NULL;
    size_t count = 0;
    es_status status = read_tokens(values->tokens, &tokens, &count, err);
    if (status == ES_OK) status = cli_engine_open(&values->engine, &engine, err);
    if (status == ES_OK) status = write_score(values, &engine, tokens, count, err);
    free(tokens);
    cli_engine_close(&engine);
    return status;
}

static const es_option_set SETS[] = {
    {.heading = "Scoring", .options = OPTIONS, .count = sizeof OPTIONS / sizeof OPTIONS[0]},
    {.heading = "Local swarm",
     .options = CLI_ENGINE_OPTIONS,
     .count = CLI_ENGINE_OPTION_COUNT,
     .at = offsetof(score_values, engine)},
    {.heading = "Model and machine",
     .options = ES_COORDINATOR_OPTIONS,
     .count = ES_COORDINATOR_OPTION_COUNT,
     .at = offsetof(score_values, engine.coordinator)},
};

static const es_example EXAMPLES[] = {
    {"essaim score --model models/tiny-r1 --experts 4 --tokens tokens.json --logits out.f32",
     "logits of a file of token ids, experts on four local nodes"},
};

const es_command CLI_SCORE = {
    .name = "score",
    .summary = "feed token ids, write logits, print perplexity",
    .sets = SETS,
    .set_count = sizeof SETS / sizeof SETS[0],
    .examples = EXAMPLES,
    .example_count = sizeof EXAMPLES / sizeof EXAMPLES[0],
    .values_bytes = sizeof(score_values),
    .check = check,
    .run = run,
};
