/* The body of POST /cluster/drain. */
#include "http/drain_order.h"

#include "weights/json.h"

#include <string.h>

enum { BYTES_MAX = 4096 };

es_status es_http_drain_order_parse(const char *text, size_t bytes, char ret_name[ES_NAME_MAX + 1],
                                    es_err *err)
{
    json_t *body;
    const es_json_text from = {"the request's body", text, bytes};
    ret_name[0] = '\0';
    if (bytes > BYTES_MAX) return es_err_set(err, ES_INVALID, "the body is too long");
    es_status status = es_json_parse(&from, &body, err);
    if (status != ES_OK) return es_err_set(err, ES_INVALID, "the body is not {\"node\": NAME}");
    const char *name = json_string_value(json_object_get(body, "node"));
    if (json_object_size(body) != 1 || name == NULL || !es_name_valid(name))
        status = es_err_set(err, ES_INVALID, "the body is not {\"node\": NAME}");
    else
        strcpy(ret_name, name);
    json_decref(body);
    return status;
}
