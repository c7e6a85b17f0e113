/* A fork-join pool. Workers spin briefly for the next job, then sleep: decode issues hundreds of small jobs a
 * token. */
#include "base/pool.h"

#include "base/fpmode.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS_MAX = 1024, SPINS = 2000, SPINS_A_TURN = 50 };

struct es_pool {
    size_t threads;
    pthread_t *workers; /* threads - 1 of them */
    size_t started;

    pthread_mutex_t lock;
    pthread_cond_t job_posted; /* generation moved, or stop */
    pthread_cond_t job_done;   /* busy fell to 0 */
    atomic_size_t generation;  /* counts jobs; written under lock */
    atomic_size_t busy;        /* workers that have not finished this generation */
    bool stop;

    es_pool_fn *fn;
    void *job;
    size_t items;
    atomic_size_t next_item;
};

typedef struct worker_start {
    es_pool *pool;
    size_t thread;
} worker_start;

/* The i-th time around. Now and then whoever shares this processor goes first: it may be the thread that is
 * waited for, which would sleep for as long as this one spins. */
static void pause_briefly(int i)
{
    if (i % SPINS_A_TURN == SPINS_A_TURN - 1) sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void work(es_pool *pool, size_t thread)
{
    for (;;) {
        size_t item = atomic_fetch_add_explicit(&pool->next_item, 1, memory_order_relaxed);
        if (item >= pool->items) return;
        pool->fn(pool->job, item, thread);
    }
}

/* Returns the generation to work on, or seen itself when the pool stops. */
static size_t wait_for_job(es_pool *pool, size_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        size_t now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen) return now;
        pause_briefly(i);
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load(&pool->generation) == seen && !pool->stop)
        pthread_cond_wait(&pool->job_posted, &pool->lock);
    size_t now = atomic_load(&pool->generation);
    pthread_mutex_unlock(&pool->lock);
    return now;
}

static void *worker_main(void *arg)
{
    worker_start start = *(worker_start *)arg;
    free(arg);
    es_pool *pool = start.pool;
    pthread_setname_np(pthread_self(), "pool"); /* for top -H */
    es_fpmode_set();
    for (size_t seen = 0;;) {
        size_t now = wait_for_job(pool, seen);
        if (now == seen) return NULL;
        seen = now;
        es_fpmode_assert();
        work(pool, start.thread);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->job_done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static size_t usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? (size_t)count : 1;
}

es_status es_pool_create(size_t threads, es_pool **ret_pool, es_err *err)
{
    *ret_pool = NULL;
    if (threads == 0) threads = usable_cores();
    if (threads > THREADS_MAX)
        return es_err_set(err, ES_INVALID, "threads: %zu is more than %d", threads, THREADS_MAX);
    es_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return es_err_set(err, ES_NO_MEMORY, "thread pool");
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->job_posted, NULL);
    pthread_cond_init(&pool->job_done, NULL);
    pool->workers = calloc(threads, sizeof *pool->workers);
    es_fpmode_set();
    for (size_t i = 1; i < threads && pool->workers != NULL; i++) {
        worker_start *start = malloc(sizeof *start);
        if (start == NULL) break;
        *start = (worker_start){pool, i};
        if (pthread_create(&pool->workers[pool->started], NULL, worker_main, start) != 0) {
            free(start);
            break;
        }
        pool->started++;
    }
    if (pool->workers == NULL || pool->started + 1 != threads) {
        es_pool_destroy(&pool);
        return es_err_set(err, ES_NO_MEMORY, "thread pool: could not start %zu threads", threads);
    }
    *ret_pool = pool;
    return ES_OK;
}

void es_pool_destroy(es_pool **pool_at)
{
    es_pool *pool = *pool_at;
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->job_posted);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->started; i++) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->job_done);
    pthread_cond_destroy(&pool->job_posted);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
    *pool_at = NULL;
}

size_t es_pool_threads(const es_pool *pool)
{
    return pool->threads;
}

void es_pool_run(es_pool *pool, size_t items, es_pool_fn *fn, void *job)
{
    if (items == 0) return;
    es_fpmode_assert();
    if (pool->threads == 1 || items == 1) {
        for (size_t item = 0; item < items; item++) fn(job, item, 0);
        return;
    }
    pool->fn = fn;
    pool->job = job;
    pool->items = items;
    atomic_store_explicit(&pool->next_item, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->busy, pool->threads - 1, memory_order_relaxed);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->job_posted);
    pthread_mutex_unlock(&pool->lock);

    work(pool, 0);
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->busy, memory_order_acquire) == 0) return;
        pause_briefly(i);
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->busy, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->job_done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
