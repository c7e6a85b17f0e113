/* Expert nodes as child processes on loopback. */
#include "cli/local_swarm.h"

#include "base/clock.h"
#include "base/process.h"
#include "base/signals.h"
#include "weights/shard_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_MAX_BYTES = 4096, ARG_MAX_BYTES = 32, STOP_GRACE_MS = 2000 };

/* Loading a node's part of a large model from a cold disk takes its time. */
static const uint64_t READY_DEADLINE_NS = 600u * 1000000000ull;

struct cli_swarm {
    es_process_group nodes;
    char endpoint[CLI_SWARM_MAX][ES_PROCESS_LINE_MAX];
};

static es_status start_node(cli_swarm *swarm, const char *program, const char *model_dir, size_t node,
                            size_t count, const char *isa, es_err *err)
{
    char part[ARG_MAX_BYTES], name[ARG_MAX_BYTES], file[ES_FIELD_NAME_BYTES], shard[PATH_MAX_BYTES];
    snprintf(part, sizeof part, "%zu/%zu", node + 1, count);
    snprintf(name, sizeof name, "n%zu", node + 1);
    es_shard_file_name(ES_SHARD_EXPERTS, node, count, file);
    es_status status = es_file_join(shard, sizeof shard, model_dir, file, err);
    if (status != ES_OK) return status;
    bool cut = access(shard, F_OK) == 0; /* for as many nodes; else each takes its part of the whole */
    /* One thread each: the nodes of one machine share its cores with the coordinator. */
    const char *argv[] = {program,
                          cut ? "--shard" : "--model",
                          cut ? shard : model_dir,
                          "--listen",
                          "127.0.0.1:0",
                          "--name",
                          name,
                          "--threads",
                          "1",
                          "--log-level",
                          "warning",
                          "--isa",
                          isa != NULL ? isa : "auto",
                          cut ? NULL : "--part",
                          part,
                          NULL};
    es_process *process = NULL;
    status = es_process_start(&(es_process_options){.argv = argv, .ready = true}, &process, err);
    if (status != ES_OK) return status;
    status = es_process_group_add(&swarm->nodes, &process, err);
    if (status != ES_OK) es_process_stop(&process, 0);
    return status;
}

/* Takes "control=ENDPOINT" out of a ready line. */
static es_status read_endpoint(const char *line, char *endpoint, es_err *err)
{
    static const char KEY[] = "control=";
    const char *start = strstr(line, KEY);
    if (start == NULL) return es_err_set(err, ES_CORRUPT, "ready line without %s: %s", KEY, line);
    start += sizeof KEY - 1;
    size_t length = strcspn(start, " ");
    memcpy(endpoint, start, length);
    endpoint[length] = '\0';
    return ES_OK;
}

static es_status wait_for_nodes(cli_swarm *swarm, es_err *err)
{
    uint64_t deadline_ns = es_clock_now_ns() + READY_DEADLINE_NS;
    for (size_t i = 0; i < swarm->nodes.count; i++) {
        char line[ES_PROCESS_LINE_MAX];
        es_status status =
            es_process_wait_ready(swarm->nodes.item[i], deadline_ns, es_signals_fd(), line, err);
        if (status == ES_OK) status = read_endpoint(line, swarm->endpoint[i], err);
        if (status != ES_OK) {
            es_err_prefix(err, "node n%zu", i + 1);
            return status;
        }
    }
    return ES_OK;
}

es_status cli_swarm_start(const char *model_dir, size_t count, const char *isa, cli_swarm **ret_swarm,
                          es_err *err)
{
    *ret_swarm = NULL;
    ES_ASSERT(count >= 1 && count <= CLI_SWARM_MAX);
    char program[PATH_MAX_BYTES];
    es_status status = es_process_sibling("essaim-expert-node", program, sizeof program, err);
    if (status != ES_OK) return status;
    cli_swarm *swarm = calloc(1, sizeof *swarm);
    if (swarm == NULL) return es_err_set(err, ES_NO_MEMORY, "local swarm");
    for (size_t i = 0; i < count && status == ES_OK; i++)
        status = start_node(swarm, program, model_dir, i, count, isa, err);
    if (status == ES_OK) status = wait_for_nodes(swarm, err);
    if (status != ES_OK) {
        cli_swarm_stop(&swarm);
        return status;
    }
    *ret_swarm = swarm;
    return ES_OK;
}

void cli_swarm_stop(cli_swarm **swarm)
{
    if (*swarm == NULL) return;
    es_process_group_stop(&(*swarm)->nodes, STOP_GRACE_MS);
    free(*swarm);
    *swarm = NULL;
}

es_option_list cli_swarm_endpoints(const cli_swarm *swarm)
{
    es_option_list list = {.count = swarm->nodes.count};
    for (size_t i = 0; i < list.count; i++) list.item[i] = swarm->endpoint[i];
    return list;
}

int cli_swarm_process_id(const cli_swarm *swarm, size_t node)
{
    return es_process_id(swarm->nodes.item[node]);
}

es_status cli_swarm_check(const cli_swarm *swarm, size_t node, es_err *err)
{
    return es_process_check(swarm->nodes.item[node], err);
}
