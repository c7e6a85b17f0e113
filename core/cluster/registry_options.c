/* Where the registry is. */
#include "cluster/registry_options.h"

#include "base/clock.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANSWER_MS = 10000, PASSWORD_MAX = 1024 };

const es_option ES_REGISTRY_OPTIONS[ES_REGISTRY_OPTION_COUNT] = {
    {.name = "--registry",
     .kind = ES_OPTION_TEXT,
     .argument = "FOLDER",
     .at = offsetof(es_registry_options, folder),
     .help = "the coordinator's own registry, on its machine"},
    {.name = "--etcd",
     .kind = ES_OPTION_TEXT,
     .argument = "URL,...",
     .at = offsetof(es_registry_options, etcd),
     .help = "or etcd's endpoints; http only on this machine"},
    {.name = "--etcd-prefix",
     .kind = ES_OPTION_TEXT,
     .argument = "TEXT",
     .at = offsetof(es_registry_options, prefix),
     .fallback = "essaim/",
     .help = "what all keys begin with"},
    {.name = "--etcd-user",
     .kind = ES_OPTION_TEXT,
     .argument = "NAME",
     .at = offsetof(es_registry_options, user),
     .help = "log in as this user"},
    {.name = "--etcd-password-file",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_registry_options, password_file),
     .help = "whose first line is the password"},
    {.name = "--etcd-ca",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_registry_options, ca),
     .fallback = "the system's",
     .help = "certificate of the authority that signed etcd's"},
    {.name = "--etcd-cert",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_registry_options, cert),
     .help = "our certificate, with --etcd-key"},
    {.name = "--etcd-key",
     .kind = ES_OPTION_TEXT,
     .argument = "FILE",
     .at = offsetof(es_registry_options, key),
     .help = "its key"},
};

es_status es_registry_options_check(const es_registry_options *o, es_err *err)
{
    if (o->folder != NULL && o->etcd != NULL)
        return es_err_set(err, ES_INVALID, "give --registry or --etcd, one of the two");
    if (o->etcd == NULL && (o->prefix != NULL || o->user != NULL || o->password_file != NULL ||
                            o->ca != NULL || o->cert != NULL || o->key != NULL))
        return es_err_set(err, ES_INVALID, "the --etcd-... options go with --etcd");
    if ((o->user == NULL) != (o->password_file == NULL))
        return es_err_set(err, ES_INVALID, "--etcd-user and --etcd-password-file go together");
    return ES_OK;
}

static es_status wait_for_answer(es_registry *registry, es_err *err)
{
    uint64_t deadline_ns = es_clock_now_ns() + ANSWER_MS * 1000000ull;
    for (;;) {
        es_registry_view *view;
        es_status status = es_registry_view_get(registry, &view, err);
        if (status != ES_OK) return status;
        bool frozen = view->frozen;
        uint64_t version = view->version;
        es_registry_view_destroy(&view);
        if (!frozen) return ES_OK;
        if (es_clock_now_ns() >= deadline_ns)
            return es_err_set(err, ES_TIMEOUT, "the registry does not answer (tried for %d s)",
                              ANSWER_MS / 1000);
        es_registry_wait(registry, version, deadline_ns);
    }
}

static es_status open_etcd(const es_registry_options *o, es_registry **ret_registry, es_err *err)
{
    char *password = NULL;
    size_t bytes = 0;
    es_status status = ES_OK;
    if (o->password_file != NULL)
        status = es_file_read(o->password_file, PASSWORD_MAX, &password, &bytes, err);
    if (status != ES_OK) return status;
    if (password != NULL) password[strcspn(password, "\r\n")] = '\0';
    const es_etcd_options options = {.endpoints = o->etcd,
                                     .prefix = o->prefix,
                                     .user = o->user,
                                     .password = password,
                                     .ca = o->ca,
                                     .cert = o->cert,
                                     .key = o->key};
    status = es_registry_open_etcd(&options, ret_registry, err);
    if (password != NULL) explicit_bzero(password, bytes);
    free(password);
    return status;
}

es_status es_registry_begin(const es_registry_options *o, es_registry **ret_registry, es_err *err)
{
    *ret_registry = NULL;
    if (o->folder == NULL && o->etcd == NULL)
        return es_err_set(err, ES_INVALID, "which registry? --registry FOLDER or --etcd URL");
    return o->etcd != NULL ? open_etcd(o, ret_registry, err)
                           : es_registry_open_embedded(o->folder, 0, ret_registry, err);
}

es_status es_registry_open_or_create(const es_registry_options *o, es_registry **ret_registry, es_err *err)
{
    es_status status = es_registry_begin(o, ret_registry, err);
    if (status == ES_OK) status = wait_for_answer(*ret_registry, err);
    if (status != ES_OK) es_registry_close(ret_registry);
    return status;
}

static es_status find_folder(const char *folder, es_err *err)
{
    char path[4096];
    es_status status = es_file_join(path, sizeof path, folder, "registry.json", err);
    if (status != ES_OK || access(path, F_OK) == 0) return status;
    if (errno != ENOENT && errno != ENOTDIR)
        return es_err_set(err, ES_IO, "%.400s: %s", folder, strerror(errno));
    return es_err_set(err, ES_NOT_FOUND,
                      "%.400s: there is no registry here: is it the folder that the coordinator's --registry "
                      "names? It makes one when it starts",
                      folder);
}

es_status es_registry_open(const es_registry_options *o, es_registry **ret_registry, es_err *err)
{
    *ret_registry = NULL;
    es_status status = o->folder != NULL ? find_folder(o->folder, err) : ES_OK;
    return status == ES_OK ? es_registry_open_or_create(o, ret_registry, err) : status;
}
