/* How far another machine is, who answers there, and how much its link carries. */
#include "doctor/link.h"

#include "base/clock.h"

#include <linux/tcp.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    QUEUE_MESSAGES = 8, /* as expert nodes have: an answer for which theirs has no room is dropped */
    WINDOW = 5, /* libzmq learns of every fourth answer that left: five wait, and three may still count */
    CHUNK_MIN = 8 * 1024,
    FIRST_CHUNK = 32 * 1024,
    CONNECT_MS = 3000,
    ANSWER_MS = 2000,
    WARM_ROUNDS = 5,
    PAUSE_MS = 2
};

/* A chunk takes about this long, so that five of them end in time on slow links. */
static const double CHUNK_S = 0.02;

struct es_prober {
    const es_link_options *options;
    es_channel *channel;
    es_control_memory *memory;
    uint8_t *frame;    /* [ES_CONTROL_FRAME_MAX] */
    uint64_t until_ns; /* to be connected */
    uint64_t asked;    /* requests so far */
    int fd;            /* libzmq's, of the last answer */
    bool loopback;
    es_control_reply reply;
};

static uint64_t in_ms(uint64_t ms)
{
    return es_clock_now_ns() + ms * 1000000u;
}

static es_status refused(const es_prober *l, es_err *err)
{
    return es_err_set(err, ES_MISMATCH,
                      l->options->server_key != NULL
                          ? "refuses us: its public key is another, or ours is not on its --allow list"
                          : "refuses us: it wants keys, or is no expert node and no doctor");
}

static es_status wait_up(es_prober *l, es_err *err)
{
    for (es_link state; (state = es_channel_link(l->channel)) != ES_LINK_UP;) {
        int left_ms = es_clock_left_ms(l->until_ns);
        if (state == ES_LINK_REFUSED) return refused(l, err);
        if (left_ms == 0 || state == ES_LINK_LOST)
            return es_err_set(err, ES_UNAVAILABLE, "nobody answers there");
        zmq_pollitem_t item = {es_channel_monitor(l->channel), 0, ZMQ_POLLIN, 0};
        zmq_poll(&item, 1, left_ms);
    }
    return ES_OK;
}

static es_status ask(es_prober *l, size_t fill_bytes, size_t want_bytes, es_err *err)
{
    const es_control_request request = {
        .coordinator = 1, .request = ++l->asked, .kind = ES_CONTROL_PROBE, .probe = {fill_bytes, want_bytes}};
    es_message message = {.count = 0};
    size_t bytes = es_control_request_pack(l->memory, &request, l->frame);
    if (!es_message_add(&message, l->frame, bytes)) return es_err_set(err, ES_NO_MEMORY, "probe");
    return es_channel_send(l->channel, &message, err);
}

static es_status take(es_prober *l, es_message *message, es_err *err)
{
    es_status status = message->count == 1
                           ? es_control_reply_unpack(l->memory, es_message_data(message, 0),
                                                     es_message_bytes(message, 0), &l->reply, err)
                           : es_err_set(err, ES_CORRUPT, "an answer of %zu frames", message->count);
    l->fd = message->count > 0 ? zmq_msg_get(&message->frame[0], ZMQ_SRCFD) : -1;
    if (status == ES_OK && l->reply.status != ES_OK)
        status = es_err_set(err, l->reply.status, "%s", l->reply.text);
    if (status == ES_OK && l->reply.kind != ES_CONTROL_PROBE)
        status = es_err_set(err, ES_CORRUPT, "answered something else than a probe");
    return status;
}

/* The next answer. ES_TIMEOUT at until_ns. */
static es_status await(es_prober *l, uint64_t until_ns, es_err *err)
{
    es_message message;
    for (;;) {
        es_status status = es_channel_receive(l->channel, &message, err);
        if (status == ES_OK) {
            status = take(l, &message, err);
            es_message_close(&message);
            return status;
        }
        if (status != ES_TIMEOUT) return status;
        int left_ms = es_clock_left_ms(until_ns);
        if (left_ms == 0) return es_err_set(err, ES_TIMEOUT, "stopped answering");
        if (es_channel_link(l->channel) == ES_LINK_LOST)
            return es_err_set(err, ES_UNAVAILABLE, "the link was lost");
        zmq_pollitem_t items[] = {{es_channel_socket(l->channel), 0, ZMQ_POLLIN, 0},
                                  {es_channel_monitor(l->channel), 0, ZMQ_POLLIN, 0}};
        zmq_poll(items, 2, left_ms);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void summarise(double *rounds, size_t count, es_link_report *r)
{
    double steps[ES_LINK_ROUNDS_MAX];
    for (size_t i = 0; i + 1 < count; i++) steps[i] = fabs(rounds[i + 1] - rounds[i]);
    if (count > 1) {
        qsort(steps, count - 1, sizeof *steps, by_value);
        r->jitter_s = steps[(count - 1) / 2];
    }
    qsort(rounds, count, sizeof *rounds, by_value);
    r->rounds = count;
    r->round_trip_s = rounds[count / 2];
    r->best_s = rounds[0];
    r->late_s = rounds[(count * 99 + 99) / 100 - 1];
}

/* Layers call nodes with milliseconds between: threads sleep meanwhile, and waking them is part of the way.
 */
static void pause_as_layers_do(uint64_t until_ns)
{
    if (es_clock_now_ns() + 2000000ull * PAUSE_MS < until_ns) zmq_poll(NULL, 0, PAUSE_MS);
}

/* There and back, one after the other; the quickest tells the clocks apart best. */
static es_status measure_rounds(es_prober *l, es_link_report *r, es_err *err)
{
    double rounds[ES_LINK_ROUNDS_MAX], best = INFINITY;
    size_t count = 0, warm = 0;
    uint64_t until_ns = es_clock_now_ns() + l->options->rounds_ns;
    es_status status = ES_OK;
    while (status == ES_OK && count < l->options->rounds && (count == 0 || es_clock_now_ns() < until_ns)) {
        pause_as_layers_do(until_ns);
        uint64_t wall_ns = es_clock_wall_ns(), start_ns = es_clock_now_ns();
        status = ask(l, 0, 0, err);
        if (status == ES_OK) status = await(l, in_ms(ANSWER_MS), err);
        if (status != ES_OK) return status;
        double took = (double)(es_clock_now_ns() - start_ns) * 1e-9;
        if (warm < WARM_ROUNDS && count == 0 && took * WARM_ROUNDS * 1e9 < (double)l->options->rounds_ns) {
            warm++;
            continue;
        }
        rounds[count++] = took;
        if (took < best) {
            best = took;
            r->clock_ahead_s = ((double)l->reply.probe.clock_ns - (double)wall_ns) * 1e-9 - took / 2;
            r->clock_error_s = took / 2;
        }
    }
    r->peer = l->reply.probe;
    summarise(rounds, count, r);
    return ES_OK;
}

/* How long one chunk takes tells how large they may be. */
static es_status choose_chunk(es_prober *l, bool there, double round_trip_s, size_t *ret_chunk, es_err *err)
{
    uint64_t start_ns = es_clock_now_ns();
    es_status status = ask(l, there ? FIRST_CHUNK : 0, there ? 0 : FIRST_CHUNK, err);
    if (status == ES_OK) status = await(l, in_ms(ANSWER_MS), err);
    double took = fmax((double)(es_clock_now_ns() - start_ns) * 1e-9 - round_trip_s, 1e-6);
    double chunk = FIRST_CHUNK * CHUNK_S / took;
    *ret_chunk = chunk > ES_PROBE_FILL_MAX ? ES_PROBE_FILL_MAX
                 : chunk < CHUNK_MIN       ? CHUNK_MIN
                                           : (size_t)chunk;
    return status;
}

/* Five chunks at a time; the rate is that of the chunks behind the first, so that neither the way there nor
 * the way back of the first counts. */
static es_status measure_bulk(es_prober *l, bool there, double round_trip_s, double *ret_bytes_per_s,
                              es_err *err)
{
    size_t chunk;
    es_status status = choose_chunk(l, there, round_trip_s, &chunk, err);
    uint64_t start_ns = es_clock_now_ns(), first_ns = 0, last_ns = 0, sent = 0, got = 0;
    while (status == ES_OK) {
        bool more =
            sent * chunk < l->options->bulk_bytes && es_clock_now_ns() - start_ns < l->options->bulk_ns;
        if (more && sent - got < WINDOW) {
            status = ask(l, there ? chunk : 0, there ? 0 : chunk, err);
            if (status == ES_OK) sent++;
            if (status != ES_TIMEOUT) continue;
            status = ES_OK; /* the queue is full: an answer makes room */
        }
        if (got == sent) break;
        status = await(l, in_ms(ANSWER_MS), err);
        last_ns = es_clock_now_ns();
        if (got++ == 0) first_ns = last_ns;
    }
    if (status == ES_OK && got > 1)
        *ret_bytes_per_s = (double)((got - 1) * chunk) * 1e9 / (double)(last_ns - first_ns);
    return status;
}

/* What the kernel knows of the connection. */
static void ask_kernel(int fd, es_link_report *r)
{
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    memset(&info, 0, sizeof info);
    if (fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) == 0) {
        r->path_mtu = info.tcpi_pmtu;
        r->resent = info.tcpi_total_retrans;
        r->network_s = info.tcpi_min_rtt == UINT32_MAX ? 0 : (double)info.tcpi_min_rtt * 1e-6;
    }
}

es_status es_link_open(es_net *net, const es_endpoint *endpoint, const es_link_options *options,
                       es_prober **ret_link, es_err *err)
{
    static const es_channel_limits LIMITS = {ES_CONTROL_FRAME_MAX, QUEUE_MESSAGES};
    ES_ASSERT(options->rounds >= 1 && options->rounds <= ES_LINK_ROUNDS_MAX);
    es_prober *l = *ret_link = calloc(1, sizeof *l);
    if (l == NULL) return es_err_set(err, ES_NO_MEMORY, "probes");
    *l = (es_prober){.options = options,
                     .frame = malloc(ES_CONTROL_FRAME_MAX),
                     .until_ns = in_ms(CONNECT_MS),
                     .fd = -1,
                     .loopback = endpoint->loopback};
    es_status status = l->frame == NULL ? es_err_set(err, ES_NO_MEMORY, "probes") : ES_OK;
    if (status == ES_OK) status = es_control_memory_create(&l->memory, err);
    if (status == ES_OK)
        status = es_channel_connect(net, endpoint, options->server_key, &LIMITS, &l->channel, err);
    if (status != ES_OK) es_link_close(ret_link);
    return status;
}

void es_link_close(es_prober **link)
{
    if (*link == NULL) return;
    es_channel_close(&(*link)->channel);
    es_control_memory_destroy(&(*link)->memory);
    free((*link)->frame);
    free(*link);
    *link = NULL;
}

es_status es_link_measure(es_prober *link, es_link_report *ret_report, es_err *err)
{
    *ret_report = (es_link_report){.loopback = link->loopback};
    es_status status = wait_up(link, err);
    if (status == ES_OK) status = measure_rounds(link, ret_report, err);
    for (int way = 0; way < 2 && status == ES_OK && link->options->bulk_bytes > 0; way++) {
        status = measure_bulk(link, way == 0, ret_report->round_trip_s,
                              way == 0 ? &ret_report->to_bytes_per_s : &ret_report->from_bytes_per_s, err);
        if (status != ES_OK) es_err_prefix(err, way == 0 ? "many bytes there" : "many bytes back");
    }
    if (link->fd >= 0) ask_kernel(link->fd, ret_report);
    return status;
}
