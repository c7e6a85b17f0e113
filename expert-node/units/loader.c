/* The service's side of the loader. */
#include "units/loader.h"

#include "base/clock.h"
#include "base/machine.h"
#include "base/signals.h"
#include "base/size.h"
#include "cluster/document.h"
#include "units/loader_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void wake(void *context)
{
    es_loader *loader = context;
    uint64_t one = 1;
    atomic_store(&loader->woken, true);
    ssize_t bytes = write(loader->wake_fd, &one, sizeof one);
    (void)bytes; /* full: it is readable already */
}

/* The thread has something to look at. */
static void poke(void *context)
{
    es_loader *loader = context;
    es_queue_poke(loader->commands);
}

static es_status start_thread(es_loader *loader, es_err *err)
{
    int failed = es_signals_start_thread(&loader->id, es_loader_main, loader);
    if (failed != 0) return es_err_set(err, ES_NO_MEMORY, "loader: %s", strerror(failed));
    loader->running = true;
    return ES_OK;
}

es_status es_loader_create(const es_loader_options *options, es_loader **ret_loader, es_err *err)
{
    *ret_loader = NULL;
    es_loader *loader = calloc(1, sizeof *loader);
    if (loader == NULL) return es_err_set(err, ES_NO_MEMORY, "loader");
    const es_shape *shape = es_expert_store_shape(options->store);
    loader->options = *options;
    loader->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    es_status status = loader->wake_fd < 0 ? es_err_set(err, ES_IO, "eventfd: %s", strerror(errno)) : ES_OK;
    if (status == ES_OK) status = es_chunk_set_init(&loader->thread.wanted, shape, err);
    if (status == ES_OK) status = es_chunk_set_init(&loader->thread.held, shape, err);
    if (status == ES_OK)
        status = es_queue_create(sizeof(command), COMMANDS_MAX, NULL, NULL, &loader->commands, err);
    if (status == ES_OK)
        status = es_queue_create(sizeof(report), REPORTS_MAX, wake, loader, &loader->reports, err);
    if (status == ES_OK) status = es_holding_create(shape, 0, &loader->holding, err);
    loader->thread.sums = calloc(shape->layers * shape->experts, ES_CONTENT_SUM_BYTES);
    loader->thread.formats = malloc(shape->layers * shape->experts * ES_EXPERT_PARTS);
    loader->thread.ordered = calloc(shape->layers, shape->experts);
    if (status == ES_OK &&
        (loader->thread.sums == NULL || loader->thread.formats == NULL || loader->thread.ordered == NULL))
        status = es_err_set(err, ES_NO_MEMORY, "checksums of experts");
    if (status == ES_OK)
        memset(loader->thread.formats, ES_FORMAT_COUNT, shape->layers * shape->experts * ES_EXPERT_PARTS);
    if (status == ES_OK) status = start_thread(loader, err);
    if (status == ES_OK && loader->options.fetcher != NULL)
        es_fetcher_on_wake(loader->options.fetcher, poke, loader);
    if (status != ES_OK) es_loader_destroy(&loader);
    *ret_loader = loader;
    return status;
}

static void give_back(es_loader *loader, es_holding *holding)
{
    const command c = {.kind = COMMAND_RETURN, .holding = holding};
    bool pushed = es_queue_push(loader->commands, &c);
    ES_ASSERT(pushed); /* there is room for all holdings beside all changes */
}

void es_loader_destroy(es_loader **loader_at)
{
    es_loader *loader = *loader_at;
    if (loader == NULL) return;
    *loader_at = NULL;
    if (loader->options.fetcher != NULL) es_fetcher_on_wake(loader->options.fetcher, NULL, NULL);
    if (loader->running) {
        const command stop = {.kind = COMMAND_STOP};
        bool pushed = es_queue_push(loader->commands, &stop);
        ES_ASSERT(pushed); /* there is room for one beside all changes and holdings */
        pthread_join(loader->id, NULL);
        es_loader_give_all(loader);
    }
    es_holding_destroy(&loader->holding);
    es_queue_destroy(&loader->commands);
    es_queue_destroy(&loader->reports);
    es_chunk_set_fini(&loader->thread.wanted);
    es_chunk_set_fini(&loader->thread.held);
    free(loader->thread.pieces);
    free(loader->thread.sums);
    free(loader->thread.formats);
    free(loader->thread.ordered);
    if (loader->wake_fd >= 0) close(loader->wake_fd);
    free(loader);
}

void es_loader_free_command(command *c)
{
    free(c->units);
    free(c->sums);
    free(c->formats);
}

static es_status post(es_loader *loader, command *c, es_err *err)
{
    if (loader->posted - loader->settled >= CHANGES_MAX || !es_queue_push(loader->commands, c)) {
        es_loader_free_command(c);
        return es_err_set(err, ES_UNAVAILABLE, "%d changes were asked for and are not done yet", CHANGES_MAX);
    }
    loader->posted++;
    loader->failed = ES_OK;
    loader->failure[0] = '\0';
    return ES_OK;
}

es_status es_loader_change(es_loader *loader, const es_units_change *change, bool load, es_err *err)
{
    if (change->epoch < loader->epoch) {
        char asked[ES_EPOCH_TEXT_MAX], here[ES_EPOCH_TEXT_MAX];
        es_epoch_format(es_epoch_of_number(change->epoch), asked);
        es_epoch_format(es_epoch_of_number(loader->epoch), here);
        return es_err_set(err, ES_STALE, "epoch %s: this node follows epoch %s", asked, here);
    }
    es_status status = es_chunk_set_check(loader->holding->shape, change->units, change->unit_count, err);
    if (status != ES_OK) return status;
    command c = {.kind = load ? COMMAND_LOAD : COMMAND_DROP,
                 .units = malloc((change->unit_count + 1) * sizeof *c.units),
                 .unit_count = change->unit_count};
    size_t sums = load ? change->sum_count : 0, formats = sums > 0 && change->formats != NULL ? sums : 0;
    c.sums = sums > 0 ? malloc(sums * ES_CONTENT_SUM_BYTES) : NULL;
    c.formats = formats > 0 ? malloc(formats * ES_EXPERT_PARTS) : NULL;
    if (c.units == NULL || (c.sums == NULL && sums > 0) || (c.formats == NULL && formats > 0)) {
        es_loader_free_command(&c);
        return es_err_set(err, ES_NO_MEMORY, "units");
    }
    if (sums > 0) memcpy(c.sums, change->sums, sums * ES_CONTENT_SUM_BYTES);
    if (formats > 0) memcpy(c.formats, change->formats, formats * ES_EXPERT_PARTS);
    memcpy(c.units, change->units, change->unit_count * sizeof *c.units);
    status = post(loader, &c, err);
    if (status == ES_OK) loader->epoch = change->epoch;
    return status;
}

es_status es_loader_load_all(es_loader *loader, es_err *err)
{
    command c = {.kind = COMMAND_LOAD_ALL};
    return post(loader, &c, err);
}

const es_holding *es_loader_holding(const es_loader *loader)
{
    return loader->holding;
}

uint64_t es_loader_epoch(const es_loader *loader)
{
    return loader->epoch;
}

void es_loader_poll(es_loader *loader)
{
    report r;
    uint64_t count;
    if (!atomic_exchange(&loader->woken, false)) return;
    while (read(loader->wake_fd, &count, sizeof count) > 0) continue;
    while (es_queue_pop(loader->reports, &r)) {
        loader->settled = r.settled;
        if (r.handled == loader->posted) { /* of an earlier change nobody asks any more */
            loader->failed = r.failed;
            memcpy(loader->failure, r.failure, sizeof loader->failure);
        }
        if (r.holding == NULL) continue;
        give_back(loader, loader->holding);
        loader->holding = r.holding;
    }
}

bool es_loader_settled(const es_loader *loader)
{
    return loader->posted == loader->settled && loader->failed == ES_OK;
}

es_status es_loader_failure(const es_loader *loader, es_err *err)
{
    return loader->failed == ES_OK ? ES_OK : es_err_set(err, loader->failed, "%s", loader->failure);
}

int es_loader_fd(const es_loader *loader)
{
    return loader->wake_fd;
}

void es_loader_state(const es_loader *loader, es_node_state *ret_state)
{
    es_machine_memory memory = {0, 0};
    uint64_t limit = loader->options.memory_bytes_max, mapped = atomic_load(&loader->mapped_bytes);
    if (es_machine_memory_read(loader->options.meminfo, &memory, NULL) != ES_OK)
        memory = (es_machine_memory){0, 0};
    *ret_state = (es_node_state){.phase = es_loader_settled(loader) ? ES_NODE_READY : ES_NODE_LOADING,
                                 .epoch = loader->epoch,
                                 .wanted_bytes = atomic_load(&loader->wanted_bytes),
                                 .mapped_bytes = mapped,
                                 .verified_bytes = atomic_load(&loader->verified_bytes),
                                 .memory_bytes = limit > 0 ? limit : memory.total_bytes,
                                 .memory_free_bytes = memory.available_bytes};
    uint64_t left = limit > mapped ? limit - mapped : 0;
    if (loader->options.fetcher != NULL) {
        es_fetcher_state fetching;
        es_fetcher_get_state(loader->options.fetcher, &fetching);
        ret_state->fetched_bytes = fetching.fetched_bytes;
        ret_state->fetch_experts = fetching.left;
    }
    if (limit > 0 && left < ret_state->memory_free_bytes) ret_state->memory_free_bytes = left;
    memcpy(ret_state->failure, loader->failure, sizeof ret_state->failure);
}
