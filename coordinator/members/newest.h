/* The newest placement that was followed, in a file: an older one that is put back while the coordinator is
 * away is known for what it is when it starts again. */
#ifndef ES_MEMBERS_NEWEST_H
#define ES_MEMBERS_NEWEST_H

#include "cluster/document.h"

/* {0, 0} when there is no such file yet. ES_INVALID: it has something else in it. */
es_status es_newest_load(const char *path, es_epoch *ret_epoch, es_err *err);

/* The file says it, or what it said before, whenever the machine stops. */
es_status es_newest_save(const char *path, es_epoch epoch, es_err *err);

#endif
