/* Where the registry is, as every command that needs it says it. */
#ifndef ES_CLUSTER_REGISTRY_OPTIONS_H
#define ES_CLUSTER_REGISTRY_OPTIONS_H

#include "base/options.h"
#include "cluster/registry.h"

typedef struct es_registry_options {
    const char *folder;                               /* embedded */
    const char *etcd, *prefix, *user, *password_file; /* etcd */
    const char *ca, *cert, *key;
} es_registry_options;

enum { ES_REGISTRY_OPTION_COUNT = 8 };
extern const es_option ES_REGISTRY_OPTIONS[ES_REGISTRY_OPTION_COUNT];

/* At most one of the two is named, and what belongs to etcd comes with it. */
es_status es_registry_options_check(const es_registry_options *options, es_err *err);

/* ES_INVALID when none is named. Does not wait for etcd: the view is frozen until it has answered. */
es_status es_registry_begin(const es_registry_options *options, es_registry **ret_registry, es_err *err);

/* With etcd it waits until that has answered. A folder that holds no registry is ES_NOT_FOUND, which names
 * it, and stays as it is: a name mistyped makes no second registry that nobody follows. */
es_status es_registry_open(const es_registry_options *options, es_registry **ret_registry, es_err *err);

/* The same, and where there is none it is made: for the coordinator, whose own it is, and for who said so. */
es_status es_registry_open_or_create(const es_registry_options *options, es_registry **ret_registry,
                                     es_err *err);

#endif
