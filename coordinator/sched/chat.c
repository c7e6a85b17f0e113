/* Messages in, an answer out. */
#include "sched/chat.h"

#include "sched/chat_model.h"
#include "text/detokenizer.h"

#include <stdlib.h>

enum { LOOK_MS = 100 };

struct es_chat {
    es_chat_model model;
};

es_status es_chat_open(const char *model_path, const char *style_name, const es_model *model,
                       es_chat **ret_chat, es_err *err)
{
    *ret_chat = NULL;
    es_chat *chat = calloc(1, sizeof *chat);
    if (chat == NULL) return es_err_set(err, ES_NO_MEMORY, "chat");
    es_status status = es_chat_model_open(model_path, style_name, model, &chat->model, err);
    if (status != ES_OK) {
        free(chat);
        return status;
    }
    *ret_chat = chat;
    return ES_OK;
}

void es_chat_close(es_chat **chat)
{
    if (*chat == NULL) return;
    es_chat_model_fini(&(*chat)->model);
    free(*chat);
    *chat = NULL;
}

es_sampling es_chat_sampling(const es_chat *chat)
{
    return chat->model.sampling;
}

typedef struct answer {
    const es_chat_model *model;
    es_detokenizer detokenizer;
    es_buffer text;
    es_chat_part part;
    es_chat_text_fn *on_text;
    void *context;
} answer;

static void give_text(answer *a)
{
    if (a->text.bytes > 0) a->on_text(a->context, a->part, a->text.data, a->text.bytes);
    a->text.bytes = 0;
}

/* The tags are single tokens: they end a part and are no text of it. */
static void take_token(answer *a, uint32_t token)
{
    bool opens = token == a->model->think && a->part == ES_CHAT_ANSWER;
    bool closes = token == a->model->think_end && a->part == ES_CHAT_REASONING;
    if (token != ES_TOKEN_NONE && (opens || closes)) {
        es_detokenizer_flush(&a->detokenizer, &a->text);
        give_text(a);
        a->part = opens ? ES_CHAT_REASONING : ES_CHAT_ANSWER;
        return;
    }
    es_detokenizer_feed(&a->detokenizer, token, &a->text);
    give_text(a);
}

/* Takes events until the answer is over. */
static es_status follow(answer *a, es_request *request, es_cancel_fn *cancel, es_outcome *ret_outcome,
                        es_err *err)
{
    for (;;) {
        es_event event;
        bool came = es_request_wait(request, LOOK_MS, &event);
        if (cancel != NULL && cancel()) es_request_cancel(request);
        if (!came) continue;
        if (event.kind == ES_EVENT_TOKEN) take_token(a, event.token);
        if (event.kind == ES_EVENT_DONE) *ret_outcome = event.outcome;
        if (event.kind == ES_EVENT_FAILED) *err = *event.err;
        if (event.kind != ES_EVENT_TOKEN) return event.kind == ES_EVENT_DONE ? ES_OK : err->status;
    }
}

es_status es_chat_answer(es_chat *chat, es_engine *engine, const es_chat_request *request,
                         es_chat_text_fn *on_text, void *context, es_outcome *ret_outcome, es_err *err)
{
    es_chat_tokens prompt = {0};
    es_request *asked = NULL;
    answer a = {.model = &chat->model, .on_text = on_text, .context = context};
    const es_chat_layout layout = {.messages = request->messages, .opening = ES_CHAT_OPEN_ANSWER};
    es_status status = es_chat_model_encode(&chat->model, &layout, SIZE_MAX, &prompt, err);
    if (status == ES_OK) {
        const es_request_options options = {.prompt = prompt.list.ids,
                                            .prompt_count = prompt.list.count,
                                            .max_tokens = request->max_tokens,
                                            .stop = chat->model.stop,
                                            .stop_count = chat->model.stop_count,
                                            .sampling = request->sampling};
        status = es_engine_submit(engine, &options, &asked, err);
    }
    if (status == ES_OK) {
        a.part = prompt.thinking ? ES_CHAT_REASONING : ES_CHAT_ANSWER;
        es_detokenizer_init(&a.detokenizer, chat->model.tokenizer, true);
        status = follow(&a, asked, request->cancel, ret_outcome, err);
        es_detokenizer_flush(&a.detokenizer, &a.text);
        give_text(&a);
        if (a.text.failed && status == ES_OK) status = es_err_set(err, ES_NO_MEMORY, "answer's text");
    }
    es_request_close(&asked);
    es_buffer_fini(&a.text);
    es_token_list_fini(&prompt.list);
    return status;
}
