/* What the model is told of its tools: a form of our own, short, in the words of the calls it is to make. */
#include "constrain/constrain.h"
#include "text/buffer.h"
#include "text/chat_tokens.h"

#include <stdlib.h>

static void put_tool(const json_t *tool, es_buffer *out)
{
    const json_t *function = json_object_get(tool, "function");
    const json_t *description = json_object_get(function, "description");
    const json_t *parameters = json_object_get(function, "parameters");
    es_buffer_append_text(out, "\n\n### ");
    es_buffer_append_text(out, json_string_value(json_object_get(function, "name")));
    if (json_string_length(description) > 0) {
        es_buffer_append_text(out, "\n");
        es_buffer_append(out, json_string_value(description), json_string_length(description));
    }
    es_buffer_append_text(out, "\nArguments (JSON Schema): ");
    char *schema = json_is_object(parameters) ? json_dumps(parameters, 0) : NULL;
    es_buffer_append_text(out, schema != NULL ? schema : "{\"type\": \"object\", \"properties\": {}}");
    if (json_is_object(parameters) && schema == NULL) out->failed = true;
    free(schema);
}

es_status es_constrain_render_tools(const es_constrain_request *request, char **ret_text, size_t *ret_bytes,
                                    size_t *ret_quoted_bytes, es_err *err)
{
    es_buffer out = {0};
    *ret_text = NULL;
    es_buffer_append_text(&out, "## Tools\n\nYou may call these functions:");
    for (size_t i = 0; i < json_array_size(request->tools); i++)
        put_tool(json_array_get(request->tools, i), &out);
    *ret_quoted_bytes = out.bytes;
    es_buffer_append_text(&out, "\n\nA call is written in exactly this form, its arguments being one JSON "
                                "object:\n\n" CHAT_CALLS_BEGIN CHAT_CALL_BEGIN "function" CHAT_SEPARATOR
                                "NAME\n```json\n{\"argument\": \"value\"}\n"
                                "```" CHAT_CALL_END CHAT_CALLS_END);
    if (request->parallel)
        es_buffer_append_text(
            &out,
            "\n\nSeveral calls stand one after the other, each on a new line, before " CHAT_CALLS_END ".");
    *ret_text = es_buffer_take(&out, ret_bytes);
    es_buffer_fini(&out);
    return *ret_text != NULL ? ES_OK : es_err_set(err, ES_NO_MEMORY, "tools: not enough memory");
}
