/* Gives experts to other machines, and hears who wants to join. */
#include "fetch/server.h"

#include "base/background.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "net/crc32c.h"
#include "net/flood.h"
#include "weights/expert_index.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TICK_MS = 100,
    QUEUE_MESSAGES = 16,
    JOINS_BURST = 20, /* that may come at once; then one each JOIN_NS */
    ADDRESS_BYTES = 64,
};

static const uint64_t JOIN_NS = 250000000;

struct es_shard_server {
    es_shard_server_options options;
    es_net *net;
    es_channel *channel;
    es_flood_guard *guard;
    es_endpoint endpoint;
    es_wire_memory *memory;
    uint8_t *header; /* [ES_SHARD_HEADER_MAX] */
    uint8_t *bytes;  /* [ES_SHARD_READ_MAX] */
    pthread_t thread;
    bool running;
    atomic_bool stop;
    uint64_t free_ns;  /* when the rate allows the next bytes */
    uint64_t joins_ns; /* when the last of the joins so far would have come at their steady pace */
    uint64_t ticked_ns;
    pthread_mutex_t lock;   /* around what follows */
    es_expert_index *index; /* NULL: nothing to give */
    es_shard_server_stats stats;
};

static void count(es_shard_server *server, uint64_t *what, uint64_t more)
{
    pthread_mutex_lock(&server->lock);
    *what += more;
    pthread_mutex_unlock(&server->lock);
}

/* Who sent it, by the key of his link; "": the link is plain. */
static const char *key_of(es_message *message)
{
    const char *user = zmq_msg_gets(&message->frame[message->count - 1], "User-Id");
    return user != NULL ? user : "";
}

static es_status check_member(es_shard_server *server, const char *text, es_err *err)
{
    uint8_t key[ES_KEY_BYTES];
    if (server->options.keys == NULL || server->options.members == NULL) return ES_OK;
    if (es_key_valid(text) && zmq_z85_decode(key, text) != NULL &&
        es_allow_list_has(server->options.members, key))
        return ES_OK;
    count(server, &server->stats.strangers, 1);
    return es_err_set(err, ES_MISMATCH, "experts are for members of the swarm, and this key is none's");
}

static es_status not_found(es_err *err)
{
    return es_err_set(err, ES_NOT_FOUND, "no shard here has it");
}

/* Under the lock. */
static es_status find(const es_shard_server *server, const es_shard_request *request,
                      es_shard_found *ret_found, es_err *err)
{
    size_t entry = server->index == NULL ? SIZE_MAX : es_expert_index_by_sum(server->index, request->sum);
    if (entry == SIZE_MAX) return not_found(err);
    es_shard_expert which = es_expert_index_expert(server->index, entry);
    const es_shard_unit *unit = es_expert_index_unit(server->index, entry).unit;
    *ret_found = (es_shard_found){
        .layer = (uint32_t)which.layer, .expert = (uint32_t)which.expert, .bytes = unit->bytes};
    return ES_OK;
}

/* Under the lock. */
static es_status read_some(es_shard_server *server, const es_shard_request *request, es_err *err)
{
    size_t entry = server->index == NULL ? SIZE_MAX : es_expert_index_by_sum(server->index, request->sum);
    if (entry == SIZE_MAX) return not_found(err);
    return es_expert_index_read(server->index, entry, request->offset, server->bytes, request->count, err);
}

static es_status give(es_shard_server *server, const es_shard_request *request, const char *key,
                      es_shard_reply *reply, es_err *err)
{
    es_status status = check_member(server, key, err);
    if (status != ES_OK) return status;
    bool find_only = request->ask == ES_SHARD_FIND;
    pthread_mutex_lock(&server->lock);
    status = find_only ? find(server, request, &reply->found, err) : read_some(server, request, err);
    if (find_only) server->stats.finds++;
    if (!find_only && status == ES_OK) {
        server->stats.reads++;
        server->stats.given_bytes += request->count;
    }
    pthread_mutex_unlock(&server->lock);
    if (find_only || status != ES_OK) return status;
    reply->offset = request->offset;
    reply->payload_crc32c = es_crc32c(server->bytes, request->count);
    uint64_t now_ns = es_clock_now_ns(), rate = server->options.bytes_per_s;
    if (server->free_ns < now_ns) server->free_ns = now_ns;
    if (rate > 0) server->free_ns += request->count * 1000000000u / rate;
    return ES_OK;
}

/* A guess at a token costs a place in a short queue. */
static es_status limit_joins(es_shard_server *server, es_err *err)
{
    uint64_t now_ns = es_clock_now_ns(),
             earliest_ns = now_ns > JOINS_BURST * JOIN_NS ? now_ns - JOINS_BURST * JOIN_NS : 0;
    if (server->joins_ns < earliest_ns) server->joins_ns = earliest_ns;
    if (server->joins_ns + JOIN_NS > now_ns) {
        count(server, &server->stats.limited, 1);
        return es_err_set(err, ES_BUSY, "too many want to join at once: try again in some seconds");
    }
    server->joins_ns += JOIN_NS;
    return ES_OK;
}

static es_status take_in(es_shard_server *server, const es_shard_request *request, es_message *message,
                         es_shard_reply *reply, es_err *err)
{
    if (server->options.join == NULL) return es_err_set(err, ES_UNSUPPORTED, "nobody joins here");
    es_status status = limit_joins(server, err);
    if (status != ES_OK) return status;
    const char *address = zmq_msg_gets(&message->frame[message->count - 1], "Peer-Address");
    status = server->options.join(server->options.context, key_of(message), address != NULL ? address : "",
                                  &request->join, &reply->joined, err);
    count(server, status == ES_OK ? &server->stats.joins : &server->stats.joins_refused, 1);
    return status;
}

static void answer(es_shard_server *server, es_message *message)
{
    es_err err = {.text = ""};
    es_shard_request request;
    es_message out = {.count = 0};
    static const char NONE[] = "";
    if (message->count != 2) { /* who asks, and what */
        count(server, &server->stats.malformed, 1);
        return;
    }
    es_shard_reply reply = {.text = NONE};
    reply.status = es_shard_request_unpack(server->memory, es_message_data(message, 1),
                                           es_message_bytes(message, 1), &request, &err);
    if (reply.status == ES_CORRUPT) {
        count(server, &server->stats.malformed, 1);
        return;
    }
    reply.request = request.request;
    reply.ask = request.ask;
    if (reply.status == ES_OK)
        reply.status = request.ask == ES_SHARD_JOIN ? take_in(server, &request, message, &reply, &err)
                                                    : give(server, &request, key_of(message), &reply, &err);
    if (reply.status != ES_OK) {
        reply.text = err.text;
        /* Who looks for an expert asks one holder after the other: not to have it is no event. */
        es_log_level level =
            reply.status == ES_NOT_FOUND && request.ask != ES_SHARD_JOIN ? ES_LOG_DEBUG : ES_LOG_INFO;
        es_log(level, "shards: refused %.60s: %s", key_of(message), err.text);
    }
    bool bytes = reply.status == ES_OK && request.ask == ES_SHARD_READ;
    size_t header = es_shard_reply_pack(&reply, server->header);
    if (!es_message_add(&out, es_message_data(message, 0), es_message_bytes(message, 0)) ||
        !es_message_add(&out, server->header, header) ||
        (bytes && !es_message_add(&out, server->bytes, request.count))) {
        es_message_close(&out);
        return;
    }
    (void)es_channel_send(server->channel, &out, NULL); /* who went away asks somebody else */
}

/* Until the rate allows more; a stop is noticed soon. */
static void wait_for_rate(const es_shard_server *server)
{
    uint64_t now_ns;
    while ((now_ns = es_clock_now_ns()) < server->free_ns && !atomic_load(&server->stop)) {
        uint64_t left_ns = server->free_ns - now_ns, most_ns = TICK_MS * 1000000ull;
        nanosleep(&(struct timespec){0, (long)(left_ns < most_ns ? left_ns : most_ns)}, NULL);
    }
}

static void tick(es_shard_server *server)
{
    uint64_t now_ns = es_clock_now_ns();
    if (now_ns - server->ticked_ns < TICK_MS * 1000000ull) return;
    server->ticked_ns = now_ns;
    count(server, &server->stats.malformed, es_flood_guard_check(server->guard));
    uint64_t refused = es_channel_refused(server->channel);
    pthread_mutex_lock(&server->lock);
    server->stats.refused = refused;
    pthread_mutex_unlock(&server->lock);
    if (server->options.tick != NULL) server->options.tick(server->options.context);
}

static void *server_main(void *context)
{
    es_shard_server *server = context;
    es_background();
    while (!atomic_load(&server->stop)) {
        es_message message;
        tick(server);
        wait_for_rate(server);
        es_status status = es_channel_receive(server->channel, &message, NULL);
        if (status == ES_OK) {
            es_flood_guard_saw(server->guard, &message);
            answer(server, &message);
            es_message_close(&message);
        } else if (status == ES_INVALID) {
            count(server, &server->stats.malformed, 1);
        } else {
            zmq_pollitem_t item = {es_channel_socket(server->channel), 0, ZMQ_POLLIN, 0};
            zmq_poll(&item, 1, TICK_MS);
        }
    }
    return NULL;
}

static es_status open_index(es_shard_server *server, const es_shard_server_options *options, es_err *err)
{
    if (options->path_count == 0) return ES_OK;
    return es_expert_index_open(options->paths, options->path_count, &server->index, err);
}

static es_status open_socket(es_shard_server *server, es_err *err)
{
    const es_shard_server_options *o = &server->options;
    const es_channel_limits limits = {ES_SHARD_FRAME_MAX, QUEUE_MESSAGES};
    es_net_options net = {o->keys, o->guests};
    es_status status = es_net_open(&net, &server->net, err);
    if (status == ES_OK)
        status = es_channel_bind(server->net, &o->listen, &limits, &server->channel, &server->endpoint, err);
    if (status == ES_OK)
        status = es_flood_guard_create(server->channel, (uint64_t)(QUEUE_MESSAGES + 2) * ES_SHARD_FRAME_MAX,
                                       &server->guard, err);
    if (status == ES_OK) status = es_shard_memory_create(&server->memory, err);
    server->header = malloc(ES_SHARD_HEADER_MAX);
    server->bytes = malloc(ES_SHARD_READ_MAX);
    if (status == ES_OK && (server->header == NULL || server->bytes == NULL))
        status = es_err_set(err, ES_NO_MEMORY, "shard server");
    return status;
}

static es_status start_thread(es_shard_server *server, es_err *err)
{
    int failed = es_signals_start_thread(&server->thread, server_main, server);
    if (failed != 0) return es_err_set(err, ES_NO_MEMORY, "shard server: %s", strerror(failed));
    server->running = true;
    return ES_OK;
}

es_status es_shard_server_start(const es_shard_server_options *options, es_shard_server **ret_server,
                                es_err *err)
{
    es_shard_server *server = *ret_server = calloc(1, sizeof *server);
    if (server == NULL) return es_err_set(err, ES_NO_MEMORY, "shard server");
    server->options = *options;
    server->options.paths = NULL;
    pthread_mutex_init(&server->lock, NULL);
    es_status status = open_index(server, options, err);
    if (status == ES_OK) status = open_socket(server, err);
    if (status == ES_OK) status = start_thread(server, err);
    if (status != ES_OK) es_shard_server_stop(ret_server);
    return status;
}

void es_shard_server_stop(es_shard_server **server_at)
{
    es_shard_server *server = *server_at;
    if (server == NULL) return;
    *server_at = NULL;
    atomic_store(&server->stop, true);
    if (server->running) pthread_join(server->thread, NULL);
    es_flood_guard_destroy(&server->guard);
    es_channel_close(&server->channel);
    es_net_close(&server->net);
    es_wire_memory_destroy(&server->memory);
    es_expert_index_close(&server->index);
    pthread_mutex_destroy(&server->lock);
    free(server->header);
    free(server->bytes);
    free(server);
}

es_endpoint es_shard_server_endpoint(const es_shard_server *server)
{
    return server->endpoint;
}

es_status es_shard_server_add(es_shard_server *server, const char *path, es_err *err)
{
    pthread_mutex_lock(&server->lock);
    es_status status = server->index != NULL ? es_expert_index_add(server->index, path, err)
                                             : es_expert_index_open(&path, 1, &server->index, err);
    pthread_mutex_unlock(&server->lock);
    return status;
}

es_shard_server_stats es_shard_server_get_stats(es_shard_server *server)
{
    pthread_mutex_lock(&server->lock);
    es_shard_server_stats stats = server->stats;
    pthread_mutex_unlock(&server->lock);
    return stats;
}
