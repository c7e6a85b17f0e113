/* A request's target, as the calls are named. */
#include "http/path.h"

#include "base/utf8.h"

#include <string.h>
#include <strings.h>

static const char *const LABELS[] = {
    "other",
    "page",
    "/health",
    "/metrics",
    "/cluster",
    "/cluster/trace",
    "/chat/completions",
    "/completions",
    "/models",
    "/messages",
    "/messages/count_tokens",
    "/responses",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/embeddings",
    "/props",
    "/version",
    "/api/tags",
    "/api/chat",
    "/api/generate",
};
enum { LABEL_COUNT = sizeof LABELS / sizeof LABELS[0], LABEL_PAGE = 1, LABEL_FIRST_PATH = 2 };

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Where the path begins; NULL when the target has none. */
static const char *skip_authority(const char *target)
{
    static const char *const SCHEMES[] = {"http://", "https://"};
    if (target[0] == '/') return target;
    for (size_t i = 0; i < sizeof SCHEMES / sizeof SCHEMES[0]; i++) {
        size_t length = strlen(SCHEMES[i]);
        if (strncasecmp(target, SCHEMES[i], length) != 0) continue;
        const char *path = target + length + strcspn(target + length, "/?#");
        return *path == '/' ? path : "/";
    }
    return NULL;
}

static bool is_text(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
    return es_utf8_is_valid(text, bytes);
}

/* Decodes up to the query; ES_HTTP_PATH_MAX when it cannot be. */
static size_t decode(const char *at, char *out)
{
    size_t bytes = 0;
    for (; *at != '\0' && *at != '?' && *at != '#'; at++) {
        char c = *at;
        if (c == '%') {
            int high = hex_value(at[1]), low = high < 0 ? -1 : hex_value(at[2]);
            if (low < 0) return ES_HTTP_PATH_MAX;
            c = (char)(high * 16 + low);
            at += 2;
        }
        if (bytes == ES_HTTP_PATH_MAX - 1) return ES_HTTP_PATH_MAX;
        out[bytes++] = c;
    }
    return bytes;
}

bool es_http_path_read(const char *target, char *ret_path)
{
    const char *at = skip_authority(target);
    size_t bytes = at != NULL ? decode(at, ret_path) : ES_HTTP_PATH_MAX;
    bool is_path = bytes < ES_HTTP_PATH_MAX && is_text(ret_path, bytes);
    ret_path[is_path ? bytes : 0] = '\0';
    if (!is_path) return false;
    if (strcmp(ret_path, "/v1") == 0 || strncmp(ret_path, "/v1/", 4) == 0)
        memmove(ret_path, ret_path + 3, bytes - 3 + 1);
    if (ret_path[0] == '\0') memcpy(ret_path, "/", 2);
    return true;
}

size_t es_http_path_label_count(void)
{
    return LABEL_COUNT;
}

const char *es_http_path_label_at(size_t index)
{
    return LABELS[index];
}

size_t es_http_path_label_index(const char *path)
{
    static const char MODEL[] = "/models/";
    if (strncmp(path, MODEL, sizeof MODEL - 1) == 0) path = "/models";
    for (size_t i = LABEL_FIRST_PATH; i < LABEL_COUNT; i++)
        if (strcmp(path, LABELS[i]) == 0) return i;
    return strcmp(path, "/") == 0 ? LABEL_PAGE : 0;
}
