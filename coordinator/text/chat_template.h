/* Messages to the text that a model of the DeepSeek family was trained on: the layouts of R1 and V3, in our
 * own code. */
#ifndef ES_TEXT_CHAT_TEMPLATE_H
#define ES_TEXT_CHAT_TEMPLATE_H

#include "essaim/status.h"
#include "text/tokenizer.h"

#include <jansson.h>

typedef enum es_chat_style {
    ES_CHAT_R1, /* the last system message counts; past answers lose their reasoning; an answer begins with
                   <think>; rounds of tool calls and outputs are each closed */
    ES_CHAT_V3, /* system messages are joined; answers stay whole; tool calls and their outputs */
    ES_CHAT_STYLE_COUNT
} es_chat_style;

enum { ES_CHAT_TOKEN_BYTES = 256, ES_CHAT_CONFIG_MAX = 4 * 1024 * 1024 };

/* A value. Tokens are NUL-terminated. */
typedef struct es_chat_format {
    es_chat_style style;
    char bos[ES_CHAT_TOKEN_BYTES]; /* begins every rendered text */
    char eos[ES_CHAT_TOKEN_BYTES]; /* the model's own end token: where generation stops */
} es_chat_format;

/* "r1" or "v3"; ES_INVALID names the choices. */
es_status es_chat_style_parse(const char *name, es_chat_style *ret_style, es_err *err);
const char *es_chat_style_name(es_chat_style style);

/* Tells the style from a model's own chat template (Jinja source, chat_template[bytes]):
 * both layouts name <｜User｜> and <｜Assistant｜>;
 * R1's cuts past answers at </think> and its generation prompt is <｜Assistant｜><think> and a newline;
 * V3's speaks of neither <think> nor </think>.
 * ES_UNSUPPORTED for any other, naming the --style option: a wrong guess would not fail, only answer worse.
 */
es_status es_chat_style_detect(const char *chat_template, size_t bytes, es_chat_style *ret_style,
                               es_err *err);

/* Reads what a model folder says: bos_token, eos_token and chat_template of tokenizer_config.json, or
 * chat_template.jinja where the former has none. style_name (NULL: detect) overrides; then the files may be
 * missing and DeepSeek's tokens stand in. Errors name the file; a style that cannot be told is an error that
 * names the --style option. */
es_status es_chat_format_open(const char *model_dir, const char *style_name, es_chat_format *ret_format,
                              es_err *err);

/* How a rendered conversation ends. */
typedef enum es_chat_opening {
    ES_CHAT_OPEN_NOTHING,   /* behind the last message */
    ES_CHAT_OPEN_ANSWER,    /* where the layout lets an answer begin: R1's inside a thought */
    ES_CHAT_OPEN_UNTHOUGHT, /* the same behind an empty thought, where the layout opens one */
    ES_CHAT_OPEN_CONTINUED  /* inside the last message, an assistant's: its reasoning_content when it has one
                               and no content yet, else its content */
} es_chat_opening;

typedef struct es_chat_layout {
    const json_t *messages; /* as es_chat_render's */
    es_chat_opening opening;
    const char *tools; /* told at the end of the system prompt; NULL: nothing */
    size_t tools_bytes;
    size_t tools_quoted_bytes; /* of them: others' words, which come first */
} es_chat_layout;

/* A conversation as text, with the parts that are others' words: for es_tokenizer_encode_quoted. */
typedef struct es_chat_text {
    char *text; /* NUL-terminated; contents may hold NULs */
    size_t bytes;
    es_text_span *quoted;
    size_t quoted_count;
} es_chat_text;

/* ES_INVALID names what makes no sense; ES_UNSUPPORTED what the layout does not define (images). */
es_status es_chat_lay_out(const es_chat_format *format, const es_chat_layout *layout, es_chat_text *ret_text,
                          es_err *err);
void es_chat_text_fini(es_chat_text *text);

/* Renders messages, an array of {"role": "system" | "user" | "assistant" | "tool", "content": string, null or
 * a list of
 * {"type": "text", "text": string}, "tool_calls": [{"type", "function": {"name", "arguments": string}}]}.
 * *ret_text is malloc'd, NUL-terminated, yours; contents may hold NULs: *ret_bytes counts. Borrows messages.
 * Errors as es_chat_lay_out's. */
es_status es_chat_render(const es_chat_format *format, const json_t *messages, bool add_generation_prompt,
                         char **ret_text, size_t *ret_bytes, es_err *err);

/* The same for {"messages": […], "add_generation_prompt": bool (false when absent)}. */
es_status es_chat_render_request(const es_chat_format *format, const json_t *request, char **ret_text,
                                 size_t *ret_bytes, es_err *err);

#endif
