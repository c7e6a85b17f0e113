/* Which web pages may use the server. */
#include "http/origin.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

enum { HOST_MAX = 255 };

/* Copies "name" of "name", "name:port" or "[v6]:port"; false when it is none. */
static bool host_name(const char *host, char name[HOST_MAX + 1])
{
    bool bracketed = host[0] == '[';
    if (bracketed) host++;
    size_t length = strcspn(host, bracketed ? "]" : ":");
    if (length == 0 || length > HOST_MAX) return false;
    memcpy(name, host, length);
    name[length] = '\0';
    return true;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcasecmp(text + length - tail, end) == 0;
}

static bool is_localhost(const char *name)
{
    return strcasecmp(name, "localhost") == 0 || ends_with(name, ".localhost");
}

bool es_http_host_is_local(const char *host)
{
    char name[HOST_MAX + 1];
    struct in6_addr address;
    if (!host_name(host, name)) return false;
    return is_localhost(name) || inet_pton(AF_INET, name, &address) == 1 ||
           inet_pton(AF_INET6, name, &address) == 1;
}

/* Pages from this machine's own servers, and from programs that show pages of their own. */
static bool is_of_this_machine(const char *origin)
{
    static const char *const SCHEMES[] = {"app", "file", "tauri", "vscode-file", "vscode-webview"};
    const char *rest = strstr(origin, "://");
    char name[HOST_MAX + 1];
    if (rest == NULL) return false;
    size_t scheme = (size_t)(rest - origin);
    for (size_t i = 0; i < sizeof SCHEMES / sizeof SCHEMES[0]; i++)
        if (strlen(SCHEMES[i]) == scheme && strncasecmp(origin, SCHEMES[i], scheme) == 0) return true;
    return host_name(rest + 3, name) &&
           (is_localhost(name) || strcmp(name, "127.0.0.1") == 0 || strcmp(name, "::1") == 0);
}

bool es_http_origin_allowed(const es_option_list *list, const char *origin, const char *host)
{
    const char *rest = strstr(origin, "://");
    if (rest != NULL && host[0] != '\0' && strcasecmp(rest + 3, host) == 0) return true;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i], "*") == 0 || strcasecmp(list->item[i], origin) == 0) return true;
    return list->count == 0 && is_of_this_machine(origin);
}
