/* Who may connect: CURVE alone would let in anybody who knows our public key. */
#include "net/zap.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

/* Frames of a request: version, request id, domain, address, identity, mechanism, the client's key. */
enum {
    FRAME_ID = 1,
    FRAME_ADDRESS = 3,
    FRAME_MECHANISM = 5,
    FRAME_KEY = 6,
    FRAME_COUNT = 7,
    FRAME_BYTES = 256,
    LOOK_MS = 500,
    TELL_EVERY_S = 10
};

struct es_zap {
    pthread_t thread;
    void *socket; /* owned by thread once it runs */
    es_allow_list *list;
    es_log_limit told; /* the thread's */
};

typedef struct frame {
    char data[FRAME_BYTES];
    size_t bytes;
} frame;

/* Reads a whole request; *ret_whole is whether it has the frames it should. False when the context was shut
 * down. */
static bool receive(const es_zap *zap, frame frames[FRAME_COUNT], bool *ret_whole)
{
    void *socket = zap->socket;
    size_t count = 0;
    int more = 1;
    *ret_whole = true;
    while (more != 0) {
        frame ignored, *f = count < FRAME_COUNT ? &frames[count] : &ignored;
        int got = zmq_recv(socket, f->data, FRAME_BYTES, 0);
        if (got < 0 && zmq_errno() == EAGAIN) es_allow_list_refresh(zap->list);
        if (got < 0 && (zmq_errno() == EINTR || zmq_errno() == EAGAIN)) continue;
        if (got < 0) return false;
        if (got > FRAME_BYTES) *ret_whole = false;
        f->bytes = (size_t)got;
        count++;
        size_t option_bytes = sizeof more;
        if (zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &option_bytes) != 0) return false;
    }
    *ret_whole = *ret_whole && count == FRAME_COUNT;
    return true;
}

static bool is_allowed(const es_zap *zap, const frame frames[FRAME_COUNT])
{
    static const char CURVE[] = "CURVE";
    const frame *mechanism = &frames[FRAME_MECHANISM], *key = &frames[FRAME_KEY];
    return mechanism->bytes == sizeof CURVE - 1 && memcmp(mechanism->data, CURVE, sizeof CURVE - 1) == 0 &&
           key->bytes == ES_KEY_BYTES && es_allow_list_has(zap->list, (const uint8_t *)key->data);
}

/* Who is kept out, and why, as far as a handshake shows it; a stranger tries again all the time. */
static void tell_refusal(es_zap *zap, const frame frames[FRAME_COUNT])
{
    const frame *address = &frames[FRAME_ADDRESS], *key = &frames[FRAME_KEY];
    char user[ES_KEY_TEXT_BYTES] = "";
    uint64_t left_out = 0;
    if (!es_log_limit_take(&zap->told, es_clock_now_ns() / TELL_EVERY_S, 1, &left_out)) return;
    if (key->bytes == ES_KEY_BYTES) zmq_z85_encode(user, (const uint8_t *)key->data, ES_KEY_BYTES);
    const es_log_field fields[] = {es_log_text("key", user), es_log_count("left_out", left_out)};
    es_log_with(ES_LOG_WARN, fields,
                "refused a connection from %.*s: its public key is not on the list, or was revoked",
                (int)address->bytes, address->data);
}

static void answer(void *socket, const frame *id, const frame *key, bool allowed)
{
    char user[ES_KEY_TEXT_BYTES] = "";
    if (allowed) zmq_z85_encode(user, (const uint8_t *)key->data, ES_KEY_BYTES);
    zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    zmq_send(socket, id->data, id->bytes, ZMQ_SNDMORE);
    zmq_send(socket, allowed ? "200" : "400", 3, ZMQ_SNDMORE);
    zmq_send(socket, "", 0, ZMQ_SNDMORE);
    zmq_send(socket, user, strlen(user), ZMQ_SNDMORE);
    zmq_send(socket, "", 0, 0);
}

static void *zap_main(void *arg)
{
    es_zap *zap = arg;
    frame frames[FRAME_COUNT];
    bool whole;
    while (receive(zap, frames, &whole)) {
        if (!whole) frames[FRAME_ID].bytes = 0;
        es_allow_list_refresh(zap->list);
        bool allowed = whole && is_allowed(zap, frames);
        if (whole && !allowed) tell_refusal(zap, frames);
        answer(zap->socket, &frames[FRAME_ID], &frames[FRAME_KEY], allowed);
    }
    zmq_close(zap->socket);
    return NULL;
}

es_status es_zap_start(void *context, es_allow_list *list, es_zap **ret_zap, es_err *err)
{
    *ret_zap = NULL;
    es_zap *zap = calloc(1, sizeof *zap);
    if (zap == NULL) return es_err_set(err, ES_NO_MEMORY, "key checker");
    zap->list = list;
    zap->socket = zmq_socket(context, ZMQ_REP);
    int linger = 0, look_ms = LOOK_MS;
    if (zap->socket == NULL || zmq_setsockopt(zap->socket, ZMQ_RCVTIMEO, &look_ms, sizeof look_ms) != 0 ||
        zmq_setsockopt(zap->socket, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
        zmq_bind(zap->socket, "inproc://zeromq.zap.01") != 0) {
        es_status status = es_err_set(err, ES_IO, "key checker: %s", zmq_strerror(zmq_errno()));
        if (zap->socket != NULL) zmq_close(zap->socket);
        free(zap);
        return status;
    }
    int failed = es_signals_start_thread(&zap->thread, zap_main, zap);
    if (failed != 0) {
        zmq_close(zap->socket);
        free(zap);
        return es_err_set(err, ES_NO_MEMORY, "key checker: %s", strerror(failed));
    }
    *ret_zap = zap;
    return ES_OK;
}

void es_zap_join(es_zap **zap)
{
    if (*zap == NULL) return;
    pthread_join((*zap)->thread, NULL);
    free(*zap);
    *zap = NULL;
}
