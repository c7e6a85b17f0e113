/* A node's record, announced and kept. */
#include "announce.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct es_announce {
    es_announce_options options;
    es_registry *registry;
    es_node_record record;
    bool put;
};

const es_option ES_ANNOUNCE_OPTIONS[ES_ANNOUNCE_OPTION_COUNT] = {
    {.name = "--advertise",
     .kind = ES_OPTION_TEXT,
     .argument = "HOST:PORT",
     .at = offsetof(es_announce_options, advertise),
     .fallback = "where it listens",
     .help = "with --etcd: where coordinators reach it"},
    {.name = "--rack",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(es_announce_options, rack),
     .help = "with --etcd: machines of one rack fail together"},
};

es_status es_announce_check(const es_announce_options *o, const char *listen, es_err *err)
{
    es_endpoint at;
    if (o->registry.folder != NULL)
        return es_err_set(err, ES_INVALID,
                          "--registry is a coordinator's: it keeps the lease of every node that answers it");
    es_status status = es_registry_options_check(&o->registry, err);
    if (status != ES_OK) return status;
    if (o->registry.etcd == NULL && (o->advertise != NULL || o->rack != NULL))
        return es_err_set(err, ES_INVALID, "--advertise and --rack go with --etcd");
    if (o->registry.etcd == NULL) return ES_OK;
    status = es_endpoint_parse_bind(o->advertise != NULL ? o->advertise : listen, &at, err);
    if (status != ES_OK) return es_err_prefix(err, "--advertise");
    if (strcmp(at.host, "0.0.0.0") == 0 || strcmp(at.host, "::") == 0)
        return es_err_set(err, ES_INVALID, "--etcd: others cannot reach \"%s\": say --advertise HOST:PORT",
                          listen);
    if (o->rack != NULL && strlen(o->rack) > ES_LABEL_VALUE_MAX)
        return es_err_set(err, ES_INVALID, "--rack: at most %d characters", ES_LABEL_VALUE_MAX);
    return ES_OK;
}

es_status es_announce_open(const es_announce_options *options, es_announce **ret_announce, es_err *err)
{
    *ret_announce = NULL;
    if (options->registry.etcd == NULL) return ES_OK;
    es_announce *a = calloc(1, sizeof *a);
    if (a == NULL) return es_err_set(err, ES_NO_MEMORY, "registry");
    a->options = *options;
    es_status status = es_registry_begin(&options->registry, &a->registry, err);
    if (status != ES_OK) es_announce_close(&a);
    *ret_announce = a;
    return status;
}

es_status es_announce_put(es_announce *a, const es_node_record *record, es_err *err)
{
    if (a == NULL) return ES_OK;
    es_endpoint bound, at;
    a->record = *record;
    es_status status = es_endpoint_parse_bind(record->control, &bound, err);
    if (status == ES_OK && a->options.advertise != NULL) {
        status = es_endpoint_parse_bind(a->options.advertise, &at, err);
        if (status == ES_OK && at.port == 0) at.port = bound.port;
        if (status == ES_OK) es_endpoint_format(&at, a->record.control);
    }
    if (a->options.rack != NULL) {
        strcpy(a->record.labels[0].name, "rack");
        snprintf(a->record.labels[0].value, sizeof a->record.labels[0].value, "%s", a->options.rack);
        a->record.label_count = 1;
    }
    if (status == ES_OK) status = es_registry_announce(a->registry, &a->record, err);
    a->put = status == ES_OK;
    return status;
}

void es_announce_drains(es_announce *a, bool drains)
{
    if (a == NULL || !a->put) return;
    es_member_state state = drains ? ES_MEMBER_DRAINING : ES_MEMBER_READY;
    es_err err;
    if (a->record.state == state) return;
    a->record.state = state;
    if (es_registry_announce(a->registry, &a->record, &err) != ES_OK)
        es_log(ES_LOG_WARN, "registry: %s", err.text);
}

void es_announce_close(es_announce **announce)
{
    if (*announce == NULL) return;
    es_registry_close(&(*announce)->registry);
    free(*announce);
    *announce = NULL;
}
