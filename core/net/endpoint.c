/* Where a socket binds or connects. */
#include "net/endpoint.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { NAME_MAX_BYTES = 255 };

/* The two halves of "host:port". */
typedef struct halves {
    char host[NAME_MAX_BYTES + 1];
    uint16_t port;
} halves;

static es_status parse_port(const char *text, const char *digits, uint16_t *ret_port, es_err *err)
{
    unsigned port = 0;
    size_t length = strlen(digits);
    bool number = length >= 1 && length <= 5;
    for (size_t i = 0; i < length && number; i++) {
        number = digits[i] >= '0' && digits[i] <= '9';
        port = port * 10 + (unsigned)(digits[i] - '0');
    }
    if (!number || port > 65535)
        return es_err_set(err, ES_INVALID, "endpoint \"%s\": port is not 0 to 65535", text);
    *ret_port = (uint16_t)port;
    return ES_OK;
}

static es_status split(const char *text, halves *ret_halves, es_err *err)
{
    static const char SCHEME[] = "tcp://";
    const char *host = strncmp(text, SCHEME, sizeof SCHEME - 1) == 0 ? text + sizeof SCHEME - 1 : text;
    const char *colon = strrchr(host, ':');
    if (colon == NULL) return es_err_set(err, ES_INVALID, "endpoint \"%s\": write host:port", text);
    size_t length = (size_t)(colon - host);
    bool bracketed = length >= 2 && host[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        host++;
        length -= 2;
    } else if (memchr(host, ':', length) != NULL) {
        return es_err_set(err, ES_INVALID, "endpoint \"%s\": write a v6 address as [address]:port", text);
    }
    if (length < 1 || length > NAME_MAX_BYTES || memchr(host, '/', length) != NULL)
        return es_err_set(err, ES_INVALID, "endpoint \"%s\": write host:port", text);
    memcpy(ret_halves->host, host, length);
    ret_halves->host[length] = '\0';
    return parse_port(text, colon + 1, &ret_halves->port, err);
}

static void set_v4(const struct in_addr *address, es_endpoint *endpoint)
{
    endpoint->v6 = false;
    endpoint->loopback = ntohl(address->s_addr) >> 24 == 127;
    inet_ntop(AF_INET, address, endpoint->host, sizeof endpoint->host);
}

static void set_v6(const struct in6_addr *address, es_endpoint *endpoint)
{
    endpoint->v6 = true;
    endpoint->loopback = IN6_IS_ADDR_LOOPBACK(address);
    inet_ntop(AF_INET6, address, endpoint->host, sizeof endpoint->host);
}

static bool set_numeric(const char *host, es_endpoint *endpoint)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &v4) == 1)
        set_v4(&v4, endpoint);
    else if (inet_pton(AF_INET6, host, &v6) == 1)
        set_v6(&v6, endpoint);
    else
        return false;
    return true;
}

/* The first address that a look-up found. */
static bool set_found(const struct addrinfo *found, es_endpoint *endpoint)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (found->ai_family == AF_INET && found->ai_addrlen == sizeof v4) {
        memcpy(&v4, found->ai_addr, sizeof v4);
        set_v4(&v4.sin_addr, endpoint);
    } else if (found->ai_family == AF_INET6 && found->ai_addrlen == sizeof v6) {
        memcpy(&v6, found->ai_addr, sizeof v6);
        set_v6(&v6.sin6_addr, endpoint);
    } else {
        return false;
    }
    return true;
}

es_status es_endpoint_parse_bind(const char *text, es_endpoint *ret_endpoint, es_err *err)
{
    halves parts;
    es_status status = split(text, &parts, err);
    if (status != ES_OK) return status;
    *ret_endpoint = (es_endpoint){.port = parts.port};
    if (!set_numeric(strcmp(parts.host, "*") == 0 ? "0.0.0.0" : parts.host, ret_endpoint))
        return es_err_set(err, ES_INVALID,
                          "endpoint \"%s\": to listen, give a numeric address, localhost or *", text);
    return ES_OK;
}

static es_status split_connect(const char *text, halves *ret_halves, es_err *err)
{
    es_status status = split(text, ret_halves, err);
    if (status != ES_OK || ret_halves->port != 0) return status;
    return es_err_set(err, ES_INVALID, "endpoint \"%s\": port 0 is nowhere to connect to", text);
}

es_status es_endpoint_check_connect(const char *text, es_err *err)
{
    halves parts;
    return split_connect(text, &parts, err);
}

es_status es_endpoint_parse_connect(const char *text, es_endpoint *ret_endpoint, es_err *err)
{
    halves parts;
    es_status status = split_connect(text, &parts, err);
    if (status != ES_OK) return status;
    *ret_endpoint = (es_endpoint){.port = parts.port};
    if (set_numeric(parts.host, ret_endpoint)) return ES_OK;
    struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int failed = getaddrinfo(parts.host, NULL, &hints, &found);
    if (failed != 0)
        return es_err_set(err, ES_NOT_FOUND, "endpoint \"%s\": %s: %s", text, parts.host,
                          gai_strerror(failed));
    bool usable = set_found(found, ret_endpoint);
    freeaddrinfo(found);
    return usable ? ES_OK
                  : es_err_set(err, ES_NOT_FOUND, "endpoint \"%s\": %s has no address", text, parts.host);
}

void es_endpoint_format(const es_endpoint *endpoint, char ret_text[ES_ENDPOINT_TEXT_MAX])
{
    snprintf(ret_text, ES_ENDPOINT_TEXT_MAX, endpoint->v6 ? "tcp://[%s]:%u" : "tcp://%s:%u", endpoint->host,
             (unsigned)endpoint->port);
}
