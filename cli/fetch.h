/* Questions to a coordinator's HTTP server. */
#ifndef ES_CLI_FETCH_H
#define ES_CLI_FETCH_H

#include "base/options.h"

#include <jansson.h>

typedef struct cli_server {
    const char *url;     /* "http://HOST:PORT" */
    const char *key;     /* sent as a bearer key; NULL: what ESSAIM_API_KEY holds; "": none */
    const char *ca_file; /* whose certificates are trusted beside the system's; NULL: no others */
} cli_server;

/* --url, --api-key and --ca, bound to a cli_server. The key may stand in the environment, since options show
 * it to everybody in the list of processes. */
enum { CLI_SERVER_OPTION_COUNT = 3 };
extern const es_option CLI_SERVER_OPTIONS[CLI_SERVER_OPTION_COUNT];

/* GETs path and parses the answer, one JSON object, yours to json_decref. *ret_code is the HTTP status, also
 * of answers that are errors in JSON; ES_UNAVAILABLE says why nobody answered within five seconds, ES_CORRUPT
 * that the answer is no JSON, ES_INVALID that another key is needed, or one at all. At most 64 MiB. */
es_status cli_fetch_json(const cli_server *server, const char *path, long *ret_code, json_t **ret_object,
                         es_err *err);

/* The same with a POST of a JSON text. */
es_status cli_post_json(const cli_server *server, const char *path, const char *post, long *ret_code,
                        json_t **ret_object, es_err *err);

#endif
