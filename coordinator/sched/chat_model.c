/* What a model says about text. */
#include "sched/chat_model.h"

#include "sched/generation_config.h"
#include "sched/request.h"

#include <string.h>

_Static_assert((int)ES_CHAT_STOPS_MAX <= (int)ES_STOP_TOKENS_MAX, "an engine takes a chat's stop tokens");

static void add_stop(es_chat_model *chat, uint32_t token)
{
    for (size_t i = 0; i < chat->stop_count; i++)
        if (chat->stop[i] == token) return;
    chat->stop[chat->stop_count++] = token;
}

static es_status open_text(es_chat_model *chat, const char *model_path, const char *style_name,
                           const es_model *model, es_err *err)
{
    es_status status = es_model_tokenizer_open(model_path, &chat->tokenizer, err);
    if (status != ES_OK) return status;
    size_t tokens = es_tokenizer_vocabulary_size(chat->tokenizer);
    if (tokens > model->shape.vocab)
        return es_err_set(err, ES_INVALID, "%s: %zu tokens do not fit the model's vocabulary of %zu",
                          model_path, tokens, model->shape.vocab);
    status = es_model_chat_format_open(model_path, style_name, &chat->format, err);
    if (status == ES_OK) status = es_generation_config_read(model_path, &chat->sampling, err);
    return status;
}

static uint32_t find(const es_chat_model *chat, const char *text)
{
    return es_tokenizer_find(chat->tokenizer, text, strlen(text));
}

es_status es_chat_model_open(const char *model_path, const char *style_name, const es_model *model,
                             es_chat_model *ret_chat, es_err *err)
{
    *ret_chat = (es_chat_model){0};
    es_status status = open_text(ret_chat, model_path, style_name, model, err);
    if (status != ES_OK) {
        es_chat_model_fini(ret_chat);
        return status;
    }
    ret_chat->think = find(ret_chat, "<think>");
    ret_chat->think_end = find(ret_chat, "</think>");
    for (size_t i = 0; i < model->shape.eos_count; i++) add_stop(ret_chat, model->shape.eos[i]);
    uint32_t eos = find(ret_chat, ret_chat->format.eos);
    if (eos != ES_TOKEN_NONE) add_stop(ret_chat, eos);
    return ES_OK;
}

void es_chat_model_fini(es_chat_model *chat)
{
    es_tokenizer_destroy(&chat->tokenizer);
}

es_status es_chat_model_encode(const es_chat_model *chat, const es_chat_layout *layout, size_t tokens_max,
                               es_chat_tokens *tokens, es_err *err)
{
    es_chat_text text;
    es_token_list *list = &tokens->list;
    size_t before = list->count;
    es_status status = es_chat_lay_out(&chat->format, layout, &text, err);
    if (status != ES_OK) return status;
    status = es_tokenizer_encode_quoted(chat->tokenizer, text.text, text.bytes, text.quoted,
                                        text.quoted_count, tokens_max, list, &tokens->more, err);
    es_chat_text_fini(&text);
    tokens->thinking = false;
    for (size_t i = before; i < list->count; i++) {
        if (list->ids[i] == chat->think) tokens->thinking = true;
        if (list->ids[i] == chat->think_end) tokens->thinking = false;
    }
    return status;
}
