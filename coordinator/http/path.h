/* A request's target, as the calls are named: "/v1/models?x=1" is "/models". */
#ifndef ES_HTTP_PATH_H
#define ES_HTTP_PATH_H

#include <stdbool.h>
#include <stddef.h>

enum { ES_HTTP_PATH_MAX = 1024 };

/* Reads the target of a request line (RFC 9112, section 3.2: origin and absolute form) into ret_path
 * [ES_HTTP_PATH_MAX]: decoded, without query, scheme, host and one leading "/v1". False, and "", when it is
 * no path, is too long, or holds bytes that are no printable text once decoded. */
bool es_http_path_read(const char *target, char *ret_path);

/* Under what paths are counted: a bounded set of labels, "other" for a path that this server does not know.
 * The index is below the count; texts are static. */
size_t es_http_path_label_index(const char *path);
size_t es_http_path_label_count(void);
const char *es_http_path_label_at(size_t index);

#endif
