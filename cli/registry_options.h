/* Where the registry is, as every command that needs it says it. */
#ifndef ES_CLI_REGISTRY_OPTIONS_H
#define ES_CLI_REGISTRY_OPTIONS_H

#include "base/options.h"
#include "cluster/registry.h"

typedef struct cli_registry_options {
    const char *folder;                               /* embedded */
    const char *etcd, *prefix, *user, *password_file; /* etcd */
    const char *ca, *cert, *key;
} cli_registry_options;

enum { CLI_REGISTRY_OPTION_COUNT = 8 };
extern const es_option CLI_REGISTRY_OPTIONS[CLI_REGISTRY_OPTION_COUNT];

/* At most one of the two is named, and what belongs to etcd comes with it. */
es_status cli_registry_check(const cli_registry_options *options, es_err *err);

/* ES_INVALID when none is named. With etcd it waits until it has answered. */
es_status cli_registry_open(const cli_registry_options *options, es_registry **ret_registry, es_err *err);

#endif
