/* When nodes were heard of last. */
#include "cluster/embedded_seen.h"

#include "base/file.h"
#include "cluster/embedded_file.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096, FILE_BYTES_MAX = 1024 * 1024 };

static const char FILE_NAME[] = "seen.json";

es_status es_seen_parse(const char *where, const char *text, size_t bytes, es_seen *ret_seen,
                        size_t *ret_count, es_err *err)
{
    json_t *all, *value;
    const char *name;
    *ret_count = 0;
    es_status status = es_json_parse(&(es_json_text){where, text, bytes}, &all, err);
    if (status != ES_OK) return status;
    json_object_foreach(all, name, value)
    {
        if (!es_name_valid(name) || !json_is_integer(value) || json_integer_value(value) < 0 ||
            *ret_count == ES_REGISTRY_NODES_MAX) {
            status = es_err_set(err, ES_CORRUPT, "%s: not nodes' names and times", where);
            *ret_count = 0;
            break;
        }
        es_seen *one = &ret_seen[(*ret_count)++];
        strcpy(one->name, name);
        one->wall_s = (uint64_t)json_integer_value(value);
    }
    json_decref(all);
    return status;
}

es_status es_seen_load(const char *folder, es_seen *ret_seen, size_t *ret_count, es_err *err)
{
    char path[PATH_BYTES], *text;
    size_t bytes;
    *ret_count = 0;
    es_status status = es_file_join(path, sizeof path, folder, FILE_NAME, err);
    if (status == ES_OK) status = es_file_read(path, FILE_BYTES_MAX, &text, &bytes, err);
    if (status != ES_OK) return status;
    status = es_seen_parse(path, text, bytes, ret_seen, ret_count, err);
    free(text);
    return status;
}

es_status es_seen_save(const char *folder, const es_seen *seen, size_t count, es_err *err)
{
    json_t *all = json_object();
    for (size_t i = 0; i < count && all != NULL; i++)
        json_object_set_new(all, seen[i].name, json_integer((json_int_t)seen[i].wall_s));
    char *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
    json_decref(all);
    if (text == NULL) return es_err_set(err, ES_NO_MEMORY, "%s", folder);
    es_status status = es_embedded_file_replace(folder, FILE_NAME, text, strlen(text), false, err);
    free(text);
    return status;
}
