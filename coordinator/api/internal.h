/* What the files of this room share. */
#ifndef ES_API_INTERNAL_H
#define ES_API_INTERNAL_H

#include "api/api.h"
#include "api/json_text.h"
#include "constrain/constrain.h"
#include "constrain/tool_parser.h"
#include "sched/chat_model.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum {
    API_DEPTH_MAX = 256,      /* containers inside each other in a body */
    API_CHOICES_MAX = 16,     /* answers of one call */
    API_BIAS_MAX = 1024,      /* tokens of a logit_bias */
    API_NAMES_MAX = 256,      /* unknown fields that are told apart */
    API_NAME_BYTES = 48,      /* of an unknown field's name that are kept */
    API_PLANS_MAX = 32,       /* compiled schemas and tools that are kept */
    API_PLAN_KEY_MAX = 65536, /* bytes of one that is kept */
    API_PARAM_BYTES = 64,
    API_ID_BYTES = 48,
    API_KEEP_ALIVE_MS = 5000,
    API_AHEAD_BYTES = 64 * 1024 /* of a stream that are made before anyone takes them */
};
_Static_assert((int)API_CHOICES_MAX <= (int)ES_CHOICES_MAX, "an engine takes a call's answers");

typedef struct api_names {
    pthread_mutex_t lock;
    char name[API_NAMES_MAX][API_NAME_BYTES];
    size_t count;
} api_names;

/* What answers were held to of late, by what was asked for. */
typedef struct api_plan {
    char *key; /* [bytes] */
    size_t bytes;
    es_constraint_plan *plan; /* NULL: an empty place */
    uint64_t used;
} api_plan;

typedef struct api_plans {
    pthread_mutex_t lock;
    api_plan place[API_PLANS_MAX];
    uint64_t uses;
} api_plans;

struct es_api {
    es_api_options options;
    es_chat_model chat;
    es_token_trie *trie;
    char fingerprint[16]; /* "fp_…" */
    time_t created;
    atomic_ullong chance;
    api_names unknown; /* fields that were logged */
    api_plans plans;
};

/* A number that nobody guesses and that does not come twice. */
uint64_t api_random(es_api *api);

/* prefix and 24 random characters. */
void api_make_id(es_api *api, const char *prefix, char ret_id[API_ID_BYTES]);

/* problem.c: what is wrong, as a response. */

typedef struct api_problem {
    unsigned status; /* of HTTP; 0: nothing is wrong */
    const char *code;
    char param[API_PARAM_BYTES]; /* "": none */
    char message[ES_ERR_TEXT_MAX];
    unsigned retry_after_s; /* 0: trying again does not help */
    const char *allow;      /* of 405: the method that the path has */
} api_problem;

/* The first problem stays. */
void api_problem_set(api_problem *problem, unsigned status, const char *code, const char *param,
                     const char *format, ...) __attribute__((format(printf, 5, 6)));

/* From an error of a lower room, whose text begins with the field that it is about, if any. */
void api_problem_from(api_problem *problem, es_api *api, const es_err *err);

typedef enum api_family { API_OPENAI, API_ANTHROPIC } api_family;

void api_put_problem(es_buffer *out, api_family family, const api_problem *problem);

/* body.c: from bytes to fields. */

/* NULL and a problem for what is no JSON object, is nested too deeply or has a key twice. */
json_t *api_parse(const uint8_t *body, size_t bytes, api_problem *problem);

/* Optional fields of an object: absent and null leave *value as it is; what is wrong is problem, the first
 * only, naming the key. */
void api_read_number(const json_t *body, const char *key, double low, double high, double *value,
                     api_problem *problem);
void api_read_count(const json_t *body, const char *key, size_t low, size_t high, size_t *value,
                    api_problem *problem);
void api_read_flag(const json_t *body, const char *key, bool *value, api_problem *problem);

/* Logs each field of body that none of the NULL-terminated lists has, once for its name. */
void api_note_unknown(es_api *api, const json_t *body, const char *const *known, const char *const *more);

/* ask.c: what a call asks of the engine. */

typedef struct api_ask {
    const char *model; /* as the client calls it; lives as long as the api */
    bool thinks;       /* by model, thinking or reasoning_effort */
    es_token_list prompt[API_CHOICES_MAX];
    size_t prompts;
    bool too_long;   /* one is longer than api_tokens_max: what is there is a part */
    bool in_thought; /* the prompt ends in one */
    bool continued;  /* the prompt ends within an answer */
    bool splits;     /* reasoning and calls are told from the text */
    size_t choices;  /* of each prompt */
    size_t max_tokens;
    es_sampling sampling;
    es_stop_string stop[ES_STOP_STRINGS_MAX]; /* borrowed from the body */
    size_t stops;
    uint32_t stop_token[ES_STOP_TOKENS_MAX];
    size_t stop_tokens;
    es_logit_bias *bias;
    size_t biases;
    bool logprobs;
    size_t top_logprobs;
    es_constrain_request form; /* borrowed from the body */
    bool stream, include_usage, token_ids, ignores_eos;
    bool echo; /* of completions */
} api_ask;

extern const char *const API_SAMPLING_FIELDS[];

/* The model that a name means; a problem (404) when it is another. */
void api_read_model(es_api *api, const json_t *body, api_ask *ask, api_problem *problem);

/* Everything but model, prompt and form: sampling, limits, stops, bias, stream. */
void api_read_sampling(es_api *api, const json_t *body, api_ask *ask, api_problem *problem);

void api_ask_fini(api_ask *ask);

/* Tokens of a prompt that are looked at: beyond the context, so that it can be told how many there are when
 * it is not by much. */
size_t api_tokens_max(const es_api *api);

/* A prompt of which only a part was looked at: a problem. */
void api_check_length(es_api *api, const api_ask *ask, const char *param, api_problem *problem);

/* A prompt that leaves no room: a problem with both numbers. */
void api_check_context(es_api *api, const api_ask *ask, const char *param, api_problem *problem);

/* conversation.c: messages to a prompt. */

/* Reads all of a chat completion's body. */
void api_read_chat(es_api *api, const json_t *body, api_ask *ask, api_problem *problem);

/* The conversation of body as text in the model's layout. */
void api_lay_out(es_api *api, const json_t *body, api_ask *ask, es_chat_text *ret_text, api_problem *problem);

/* The same as tokens. */
void api_encode_chat(es_api *api, const json_t *body, api_ask *ask, api_problem *problem);

/* plans.c: what answers are held to, compiled once while it is in use. */

/* For ask's form; *ret_plan is yours to release. */
es_status api_plan_get(es_api *api, const api_ask *ask, es_constraint_plan **ret_plan, es_err *err);
void api_plans_fini(api_plans *plans);

/* choice.c: one answer, from tokens to pieces of text. */

typedef enum api_piece_kind {
    API_REASONING,
    API_CONTENT,
    API_TOOL_BEGIN,
    API_TOOL_ARGUMENTS,
    API_TOOL_END
} api_piece_kind;

typedef struct api_piece {
    api_piece_kind kind;
    const char *text; /* [bytes]: whole characters */
    size_t bytes;
    size_t index;          /* of a tool's call */
    const char *id, *name; /* TOOL_BEGIN */
} api_piece;

typedef struct api_tool_call {
    char id[ES_TOOL_ID_BYTES], name[ES_TOOL_NAME_MAX + 1];
    es_buffer arguments;
} api_tool_call;

typedef struct api_choice {
    es_api_call *call;
    uint32_t index;
    bool splits;           /* thoughts and calls are told from the text */
    bool in_thought, lead; /* lead: nothing but line ends came so far */
    size_t held_newlines;  /* of the thought, perhaps its last */
    es_detokenizer words;  /* of thoughts, and of text where nothing is split */
    es_tool_parser tools;
    bool has_tools;
    es_stop_matcher stop;
    bool stopped;
    size_t stop_found; /* which string, or ES_STOP_NONE */
    size_t tokens, reasoning_tokens, calls;
    bool over;
    const char *finish; /* static; NULL until over */

    /* Plain answers: all of it. */
    es_buffer reasoning, content;
    api_tool_call *call_list; /* [calls] */

    /* JSON list items of the tokens since they were last written. */
    es_buffer token_ids, logprobs, reasoning_logprobs;
    es_buffer legacy[3]; /* of completions: tokens, token_logprobs, top_logprobs */
    es_buffer offsets;
    size_t text_offset;

    size_t block; /* blocks or items of the output that were begun */
    int open;     /* the kind of the open one, -1: none */
} api_choice;

es_status api_choice_init(api_choice *choice, es_api_call *call, uint32_t index, const api_ask *ask,
                          es_err *err);
void api_choice_fini(api_choice *choice);

/* The next token. True: a stop string is complete, the answer is to end. */
bool api_choice_take(api_choice *choice, const es_event *event);

/* No more tokens come. */
void api_choice_finish(api_choice *choice, es_finish finish);

/* call.c */

/* How a kind of call writes its answer. */
typedef struct api_writer {
    api_family family;
    const char *id_prefix;
    /* Of streams: before the first piece; a piece; the end of an answer; of all. */
    void (*start)(es_api_call *call);
    void (*piece)(api_choice *choice, const api_piece *piece);
    void (*finish)(api_choice *choice);
    void (*end)(es_api_call *call);
    void (*fail)(es_api_call *call, const api_problem *problem);
    bool gathers; /* a stream's end tells all of it once more */
    /* Of plain answers: the whole body. */
    void (*whole)(es_api_call *call);
    /* Notes what a token says beside its text. */
    void (*token)(api_choice *choice, const es_event *event);
} api_writer;

struct es_api_call {
    es_api *api;
    const api_writer *writer; /* NULL: the response is complete from the beginning */
    api_family family;
    es_request *request[API_CHOICES_MAX];
    size_t requests, choices_each; /* answer i is choice i % choices_each of request i / choices_each */
    api_choice *choice;            /* [choices] */
    size_t choices, live;

    unsigned status;
    const char *content_type;
    es_api_header header[ES_API_HEADERS_MAX];
    size_t headers;
    es_buffer out;
    size_t given;                           /* of out */
    bool streams, started, spoke, complete; /* started: the head is given; spoke: writer->start was called */
    uint64_t begun_ns, said_ns, first_ns;   /* first_ns: of tokens; 0: none came */

    char id[API_ID_BYTES];
    time_t created;
    const char *model;
    bool include_usage, wants_ids, logprobs;
    size_t top_logprobs;
    es_buffer stop_texts;                  /* the stop strings */
    es_buffer prompt_ids[API_CHOICES_MAX]; /* JSON list items, when wanted */
    es_buffer echo[API_CHOICES_MAX];       /* of the request, for the response */
    size_t sequence;                       /* events numbered so far */
    size_t prompt_tokens, cached_tokens;
};

/* The call's response is this problem. */
void api_call_refuse(es_api_call *call, const api_problem *problem);

/* The call's response is the JSON in call->out. */
void api_call_answer(es_api_call *call);

/* Asks the engine; from here on writer makes the response. */
void api_call_submit(es_api_call *call, const es_api_request *request, const api_ask *ask,
                     const api_writer *writer, api_problem *problem);

void api_call_header(es_api_call *call, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Begins and ends an event of a stream: "data: …\n\n"; name may be NULL. */
void api_event_begin(es_api_call *call, const char *name);
void api_event_end(es_api_call *call);

/* The kinds of calls. Each fills call's response, or sets problem. */
typedef void api_handler(es_api_call *call, const es_api_request *request, const char *rest,
                         api_problem *problem);
api_handler api_chat_completions, api_completions, api_messages, api_count_tokens, api_tokenize,
    api_detokenize, api_apply_template, api_responses, api_models, api_model, api_props, api_version,
    api_embeddings;

/* anthropic_request.c: a body of /messages as one of /chat/completions; NULL and a problem when it cannot be.
 * count: limits are not asked for. */
json_t *api_translate_messages(es_api *api, const json_t *body, bool count, api_problem *problem);

/* responses_request.c: the same for a body of /responses. */
json_t *api_translate_responses(es_api *api, const json_t *body, api_problem *problem);

/* The fields of the request that its response repeats, as members of an object. */
void api_put_repeated(es_buffer *out, const es_api *api, const json_t *body);

/* The id behind its prefix: families have prefixes of their own. */
const char *api_id_behind_prefix(const char *id);

/* chat.c: what the responses of chat and of plain completions have in common. */

/* Opens the response's object, up to its model and fingerprint. */
void api_put_head(es_api_call *call, const char *object);
/* Ends a stream: usage, when it is wanted, and [DONE]. */
void api_end_stream(es_api_call *call, const char *object);
/* A token's number is kept until the choice is written next, when numbers are wanted. */
void api_note_id(api_choice *choice, const es_event *event);
void api_put_choice_ids(api_choice *choice);

/* Shared by writers. */
void api_fail_stream(es_api_call *call, const api_problem *problem);
void api_put_usage(es_buffer *out, const es_api_call *call);
void api_put_token_text(es_buffer *out, const es_api *api, uint32_t token);
void api_put_ids(es_buffer *out, const uint32_t *ids, size_t count);

#endif
