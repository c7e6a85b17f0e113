/* Any bytes as a request's body, of each kind of call: the response is JSON, an error of the asker's or the
 * engine's refusal, which takes no requests here, so that all up to it is tried and nothing is computed.
 * Input: one byte for the path, then the body. */
#include "api/api.h"
#include "coordinator/coordinator.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 256, BYTES_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An API on an engine that is closing. Made once. */
static es_api *make_api(void)
{
    static es_coordinator *coordinator; /* as long as the process */
    static es_engine *engine;
    es_api *api;
    es_err err;
    const es_coordinator_options options = {.model_dir = ESSAIM_SOURCE_DIR "/models/tiny-r1",
                                            .threads = 1,
                                            .deadline_ms = 1000,
                                            .kv_mib = 1,
                                            .context = 512,
                                            .step = 16,
                                            .chunk = 16,
                                            .answers = 1,
                                            .queue = 1};
    ES_ASSERT(es_coordinator_open(&options, NULL, NULL, &coordinator, &err) == ES_OK);
    ES_ASSERT(es_coordinator_engine(coordinator, &engine, &err) == ES_OK);
    es_engine_drain(engine);
    const es_api_options with = {.engine = engine,
                                 .model = es_coordinator_model(coordinator),
                                 .model_name = "tiny-r1",
                                 .model_dir = options.model_dir};
    ES_ASSERT(es_api_create(&with, &api, &err) == ES_OK);
    return api;
}

static void wake(void *context)
{
    (void)context;
}

/* Takes the response, which is there at once, and checks that it is one. */
static void check_response(es_api_call *call)
{
    static char body[BYTES_MAX];
    size_t bytes = 0, more;
    es_api_head head;
    ES_ASSERT(es_api_call_head(call, &head) && !head.streams);
    while (es_api_call_pull(call, body + bytes, ROOM, &more) == ES_API_BYTES) {
        bytes += more;
        ES_ASSERT(more > 0 && more <= ROOM && bytes + ROOM <= sizeof body);
    }
    ES_ASSERT(bytes == head.content_bytes);
    json_t *json = json_loadb(body, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    ES_ASSERT(json_is_object(json));
    ES_ASSERT((head.status == 200) == (json_object_get(json, "error") == NULL));
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const PATHS[] = {"/chat/completions",      "/completions", "/messages",
                                        "/messages/count_tokens", "/tokenize",    "/detokenize",
                                        "/apply-template",        "/responses"};
    static es_api *api;
    if (api == NULL) api = make_api();
    if (size == 0 || size > BYTES_MAX / 16) return 0;
    const es_api_request request = {.method = "POST",
                                    .path = PATHS[data[0] % (sizeof PATHS / sizeof *PATHS)],
                                    .body = data + 1,
                                    .body_bytes = size - 1,
                                    .wake = wake};
    es_api_call *call = es_api_begin(api, &request);
    ES_ASSERT(call != NULL);
    check_response(call);
    es_api_call_close(&call);
    return 0;
}
