/* Expert nodes as a file lists them. */
#include "coordinator/node_list.h"

#include "base/file.h"
#include "net/endpoint.h"
#include "net/keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_BYTES_MAX = 1024 * 1024, ENDPOINT_BYTES_MAX = 300 };

static const char BLANKS[] = " \t\r";

/* One line, which is cut into words. */
static es_status add_line(char *line, es_arena *arena, es_option_list *list, es_err *err)
{
    char *rest;
    const char *endpoint = strtok_r(line, BLANKS, &rest);
    if (endpoint == NULL || endpoint[0] == '#') return ES_OK;
    const char *key = strtok_r(NULL, BLANKS, &rest);
    if (key != NULL && strtok_r(NULL, BLANKS, &rest) != NULL)
        return es_err_set(err, ES_INVALID, "more than HOST:PORT and KEY");
    if (strlen(endpoint) > ENDPOINT_BYTES_MAX)
        return es_err_set(err, ES_INVALID, "HOST:PORT of more than %d bytes", ENDPOINT_BYTES_MAX);
    es_status status = es_endpoint_check_connect(endpoint, err);
    if (status != ES_OK) return status;
    if (key != NULL && !es_key_valid(key))
        return es_err_set(err, ES_INVALID, "what follows %.64s is no public key", endpoint);
    if (list->count == ES_OPTION_LIST_MAX)
        return es_err_set(err, ES_INVALID, "more than %d nodes", ES_OPTION_LIST_MAX);
    size_t bytes = strlen(endpoint) + ES_KEY_TEXT_BYTES + 1;
    char *text = es_arena_take(arena, bytes, 1);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "list of nodes");
    snprintf(text, bytes, key != NULL ? "%s,%s" : "%s", endpoint, key);
    list->item[list->count] = text;
    list->count++;
    return ES_OK;
}

es_status es_node_list_read(const char *path, es_arena *arena, es_option_list *list, es_err *err)
{
    char *text;
    size_t bytes, before = list->count;
    es_status status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    char *line = text;
    for (size_t number = 1; line != NULL && status == ES_OK; number++) {
        char *end = strchr(line, '\n');
        if (end != NULL) *end++ = '\0';
        status = add_line(line, arena, list, err);
        if (status != ES_OK) es_err_prefix(err, "%s: line %zu", path, number);
        line = end;
    }
    free(text);
    if (status == ES_OK && list->count == before)
        return es_err_set(err, ES_INVALID, "%s: names no node", path);
    return status;
}
