/* What a model says about text: tokenizer, chat layout, sampling, and the tokens that mean something. */
#ifndef ES_SCHED_CHAT_MODEL_H
#define ES_SCHED_CHAT_MODEL_H

#include "essaim/model.h"
#include "model/sampler.h"
#include "text/model_text.h"

enum { ES_CHAT_STOPS_MAX = ES_EOS_MAX + 1 };

/* Read-only once opened: any number of threads. */
typedef struct es_chat_model {
    es_tokenizer *tokenizer;
    es_chat_format format;
    es_sampling sampling;             /* of the model's generation_config.json */
    uint32_t think, think_end;        /* ES_TOKEN_NONE in models that do not reason aloud */
    uint32_t stop[ES_CHAT_STOPS_MAX]; /* end an answer */
    size_t stop_count;
} es_chat_model;

/* style_name may be NULL: the model's own. Errors name the file; ES_INVALID when tokenizer and vocabulary do
 * not fit. After an error there is nothing to fini. */
es_status es_chat_model_open(const char *model_path, const char *style_name, const es_model *model,
                             es_chat_model *ret_chat, es_err *err);
void es_chat_model_fini(es_chat_model *chat);

/* A conversation as tokens. */
typedef struct es_chat_tokens {
    es_token_list list; /* zero-initialise; what is in it stays */
    bool thinking;      /* it ends inside an open thought */
    bool more;          /* there are more than tokens_max: what is in the list is a part */
} es_chat_tokens;

/* Appends the tokens of a conversation, others' words as plain text. */
es_status es_chat_model_encode(const es_chat_model *chat, const es_chat_layout *layout, size_t tokens_max,
                               es_chat_tokens *tokens, es_err *err);

#endif
