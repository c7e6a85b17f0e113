/* What a machine needs to become a node. */
#include "cli/join_check.h"

#include "base/file.h"
#include "base/process.h"
#include "net/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PROBE_BYTES = 256 * 1024 }; /* more than the small files that a join writes */

static es_status check_ports(const cli_join_state *state, const es_keys *keys, es_err *err)
{
    static const char *const FOR[] = {"coordinators", "rows", "shards"};
    const es_channel_limits limits = {1024, 1};
    es_net *net = NULL;
    es_allow_list *nobody = NULL;
    es_endpoint at, bound;
    es_status status = es_endpoint_parse_bind(state->listen, &at, err);
    if (status == ES_OK) status = es_allow_list_create(false, &nobody, err);
    if (status != ES_OK) return status;
    const es_net_options options = {keys, nobody};
    status = es_net_open(&options, &net, err);
    for (size_t i = 0; i < sizeof FOR / sizeof FOR[0] && status == ES_OK; i++, at.port++) {
        es_channel *channel = NULL;
        status = es_channel_bind(net, &at, &limits, &channel, &bound, err);
        if (status != ES_OK)
            es_err_prefix(err, "port %u, for %s, cannot be had: choose three others with --listen", at.port,
                          FOR[i]);
        es_channel_close(&channel);
    }
    if (net != NULL) es_net_close(&net);
    es_allow_list_destroy(&nobody);
    return status;
}

/* A file of some size can be written there, and comes to lie on the disk. */
static es_status check_folder(const char *dir, es_err *err)
{
    static const char BYTES[PROBE_BYTES];
    char path[PATH_MAX];
    es_status status = es_file_join(path, sizeof path, dir, ".join", err);
    if (status != ES_OK) return status;
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return es_err_set(err, ES_IO, "%.400s: %s", dir, strerror(errno));
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return es_err_set(err, ES_IO, "%.400s: %s", path, strerror(errno));
    errno = ENOSPC; /* where less was written than asked */
    if (write(fd, BYTES, sizeof BYTES) != (ssize_t)sizeof BYTES || fsync(fd) != 0)
        status = es_err_set(err, ES_IO, "%.400s: %s", dir, strerror(errno));
    close(fd);
    unlink(path);
    return status;
}

static void tell_of_disk(const char *shards, uint64_t memory_bytes)
{
    struct statvfs disk;
    if (statvfs(shards, &disk) != 0) return;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (free_bytes < memory_bytes)
        fprintf(
            stderr,
            "%s: %.1f GB are free, and this machine offers %.1f GB of memory: should it get as many experts "
            "as that holds, it fetches no more when the disk is full\n",
            shards, (double)free_bytes * 1e-9, (double)memory_bytes * 1e-9);
}

es_status cli_join_check(const char *dir, const char *shards, const cli_join_state *state,
                         const es_keys *keys, es_err *err)
{
    char program[PATH_MAX];
    es_status status = es_process_sibling("essaim-expert-node", program, sizeof program, err);
    if (status == ES_OK) status = check_folder(dir, err);
    if (status == ES_OK) status = check_folder(shards, err);
    if (status == ES_OK) status = check_ports(state, keys, err);
    if (status == ES_OK) {
        tell_of_disk(shards, state->memory_bytes);
        return ES_OK;
    }
    char text[ES_ERR_TEXT_MAX];
    snprintf(text, sizeof text, "%s", err->text);
    return es_err_set(err, status, "%.560s (the token is not spent)", text);
}
