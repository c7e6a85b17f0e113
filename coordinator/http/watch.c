/* The connections there are. */
#include "http/watch.h"

#include "base/clock.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, KEPT_S = 75, BYTES_A_SECOND = 32 * 1024, TICK_MS = 1000 };

static const uint64_t SECOND_NS = 1000000000;

typedef struct connection {
    struct MHD_Connection *mhd; /* NULL: the place is free */
    uint32_t generation;
    int fd;
    es_http_phase phase;
    bool gone, cut;
    uint64_t deadline_ns; /* of HEAD, UPLOAD and KEPT */
    size_t next_free;
} connection;

struct es_http_watch {
    pthread_t thread;
    bool started;
    int epoll_fd, stop_fd;
    atomic_bool stopping;
    uint64_t timeout_ns;
    es_http_tick_fn *tick;
    void *context;

    pthread_mutex_t lock; /* of what follows. MHD takes its own locks inside, and calls us with none held */
    bool all_gone;
    size_t capacity, count, first_free;
    uint64_t cut_count;
    connection *place; /* [capacity] */
};

static es_http_link link_of(const es_http_watch *w, const connection *c)
{
    return (uint64_t)c->generation << 32 | ((uint64_t)(c - w->place) + 1);
}

/* The connection, or NULL when it left. Under the lock. */
static connection *find(es_http_watch *w, es_http_link link)
{
    size_t index = (size_t)(link & UINT32_MAX) - 1;
    if (link == 0 || index >= w->capacity) return NULL;
    connection *c = &w->place[index];
    return c->mhd != NULL && c->generation == link >> 32 ? c : NULL;
}

/* An answer that waits looks whether there is more for it, or nobody to take it. */
static void rouse(connection *c)
{
    if (c->phase == ES_HTTP_ANSWER) MHD_resume_connection(c->mhd);
}

/* One that left sends no more than what it has sent. */
static void set_deadline(const es_http_watch *w, connection *c)
{
    uint64_t ns = c->phase == ES_HTTP_KEPT ? KEPT_S * SECOND_NS : w->timeout_ns;
    c->deadline_ns = es_clock_now_ns() + (c->gone ? SECOND_NS : ns);
}

static void notice_gone(es_http_watch *w, es_http_link link)
{
    pthread_mutex_lock(&w->lock);
    connection *c = find(w, link);
    if (c != NULL) {
        c->gone = true;
        set_deadline(w, c);
        rouse(c);
    }
    pthread_mutex_unlock(&w->lock);
}

/* A connection that is shut down is closed by MHD, as one whose client left. */
static void cut_if_late(es_http_watch *w, connection *c, uint64_t now_ns)
{
    if (c->phase == ES_HTTP_ANSWER || c->cut || now_ns < c->deadline_ns) return;
    if (c->phase != ES_HTTP_KEPT && !c->gone) w->cut_count++;
    c->cut = true;
    shutdown(c->fd, SHUT_RDWR);
}

static void look_at_all(es_http_watch *w)
{
    uint64_t now_ns = es_clock_now_ns();
    pthread_mutex_lock(&w->lock);
    for (size_t i = 0; i < w->capacity; i++) {
        connection *c = &w->place[i];
        if (c->mhd == NULL) continue;
        rouse(c);
        cut_if_late(w, c, now_ns);
    }
    pthread_mutex_unlock(&w->lock);
}

static void *watch_main(void *arg)
{
    es_http_watch *w = arg;
    uint64_t tick_ns = es_clock_now_ns() + SECOND_NS;
    while (!atomic_load(&w->stopping)) {
        struct epoll_event event[EVENTS];
        int count = epoll_wait(w->epoll_fd, event, EVENTS, es_clock_left_ms(tick_ns));
        for (int i = 0; i < count; i++)
            if (event[i].data.u64 != 0) notice_gone(w, event[i].data.u64);
        if (es_clock_left_ms(tick_ns) > 0) continue;
        tick_ns = es_clock_now_ns() + SECOND_NS;
        look_at_all(w);
        w->tick(w->context);
    }
    return NULL;
}

static es_status start(es_http_watch *w, es_err *err)
{
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event stop = {.events = EPOLLIN, .data = {.u64 = 0}};
    if (w->place == NULL || w->epoll_fd < 0 || w->stop_fd < 0 ||
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->stop_fd, &stop) != 0)
        return es_err_set(err, ES_NO_MEMORY, "%zu connections", w->capacity);
    for (size_t i = 0; i < w->capacity; i++) w->place[i].next_free = i + 1;
    w->started = pthread_create(&w->thread, NULL, watch_main, w) == 0;
    return w->started ? ES_OK : es_err_set(err, ES_NO_MEMORY, "thread that watches connections");
}

es_status es_http_watch_create(size_t connections, unsigned timeout_s, es_http_tick_fn *tick, void *context,
                               es_http_watch **ret_watch, es_err *err)
{
    *ret_watch = NULL;
    es_http_watch *w = calloc(1, sizeof *w);
    if (w == NULL) return es_err_set(err, ES_NO_MEMORY, "connections");
    w->epoll_fd = w->stop_fd = -1;
    w->timeout_ns = timeout_s * SECOND_NS;
    w->tick = tick;
    w->context = context;
    w->capacity = connections;
    w->place = calloc(connections, sizeof *w->place);
    pthread_mutex_init(&w->lock, NULL);
    es_status status = start(w, err);
    if (status != ES_OK) es_http_watch_destroy(&w);
    *ret_watch = w;
    return status;
}

void es_http_watch_destroy(es_http_watch **watch)
{
    es_http_watch *w = *watch;
    if (w == NULL) return;
    if (w->started) {
        uint64_t one = 1;
        atomic_store(&w->stopping, true);
        ssize_t written = write(w->stop_fd, &one, sizeof one);
        (void)written; /* full is as good: the tick comes anyway */
        pthread_join(w->thread, NULL);
    }
    if (w->epoll_fd >= 0) close(w->epoll_fd);
    if (w->stop_fd >= 0) close(w->stop_fd);
    pthread_mutex_destroy(&w->lock);
    free(w->place);
    free(w);
    *watch = NULL;
}

static void set_phase(const es_http_watch *w, connection *c, es_http_phase phase)
{
    c->phase = phase;
    set_deadline(w, c);
}

es_http_link es_http_watch_join(es_http_watch *w, struct MHD_Connection *mhd, int fd)
{
    es_http_link link = 0;
    pthread_mutex_lock(&w->lock);
    if (w->first_free < w->capacity) {
        connection *c = &w->place[w->first_free];
        w->first_free = c->next_free;
        *c = (connection){.mhd = mhd, .generation = c->generation + 1, .fd = fd, .gone = w->all_gone};
        set_phase(w, c, ES_HTTP_HEAD);
        w->count++;
        link = link_of(w, c);
    }
    pthread_mutex_unlock(&w->lock);
    /* One that cannot be watched is served all the same: its writes will fail when the client leaves. */
    struct epoll_event gone = {.events = EPOLLRDHUP | EPOLLET, .data = {.u64 = link}};
    if (link != 0) epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &gone);
    return link;
}

void es_http_watch_leave(es_http_watch *w, es_http_link link)
{
    pthread_mutex_lock(&w->lock);
    connection *c = find(w, link);
    if (c != NULL) {
        epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        c->mhd = NULL;
        c->next_free = w->first_free;
        w->first_free = (size_t)(c - w->place);
        w->count--;
    }
    pthread_mutex_unlock(&w->lock);
}

void es_http_watch_enter(es_http_watch *w, es_http_link link, es_http_phase phase)
{
    pthread_mutex_lock(&w->lock);
    connection *c = find(w, link);
    if (c != NULL) set_phase(w, c, phase);
    pthread_mutex_unlock(&w->lock);
}

void es_http_watch_fed(es_http_watch *w, es_http_link link, size_t bytes)
{
    pthread_mutex_lock(&w->lock);
    connection *c = find(w, link);
    if (c != NULL && !c->gone) c->deadline_ns += bytes * (SECOND_NS / BYTES_A_SECOND);
    pthread_mutex_unlock(&w->lock);
}

bool es_http_watch_is_gone(es_http_watch *w, es_http_link link)
{
    pthread_mutex_lock(&w->lock);
    const connection *c = find(w, link);
    bool gone = c == NULL || c->gone || w->all_gone;
    pthread_mutex_unlock(&w->lock);
    return gone;
}

bool es_http_watch_is_cut(es_http_watch *w, es_http_link link)
{
    pthread_mutex_lock(&w->lock);
    const connection *c = find(w, link);
    bool cut = c != NULL && c->cut;
    pthread_mutex_unlock(&w->lock);
    return cut;
}

void es_http_watch_send_away(es_http_watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->all_gone = true;
    for (size_t i = 0; i < w->capacity; i++)
        if (w->place[i].mhd != NULL) rouse(&w->place[i]);
    pthread_mutex_unlock(&w->lock);
}

size_t es_http_watch_count(es_http_watch *w)
{
    pthread_mutex_lock(&w->lock);
    size_t count = w->count;
    pthread_mutex_unlock(&w->lock);
    return count;
}

uint64_t es_http_watch_cut_count(es_http_watch *w)
{
    pthread_mutex_lock(&w->lock);
    uint64_t count = w->cut_count;
    pthread_mutex_unlock(&w->lock);
    return count;
}
