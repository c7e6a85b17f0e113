/* Any text as a request's target, an origin and a host. */
#include "base/utf8.h"
#include "http/origin.h"
#include "http/path.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[ES_HTTP_PATH_MAX], *text = malloc(size + 1);
    const es_option_list none = {.count = 0};
    ES_ASSERT(text != NULL);
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    if (es_http_path_read(text, path)) {
        ES_ASSERT(path[0] == '/' && es_utf8_is_valid(path, strlen(path)));
        for (const char *c = path; *c != '\0'; c++) ES_ASSERT((unsigned char)*c >= 0x20 && *c != 0x7f);
    } else {
        ES_ASSERT(path[0] == '\0');
    }
    ES_ASSERT(es_http_path_label_index(path) < es_http_path_label_count());
    es_http_origin_allowed(&none, text, path);
    es_http_host_is_local(text);
    free(text);
    return 0;
}
