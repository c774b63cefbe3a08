/* pool_pair: how long does taking 32 objects and giving them back take, by object?
 *
 * Polder's pool in bulk and one by one, polder_malloc() and polder_free(), a heap of
 * polder_heap's, and a plain list of free objects under a lock, taken in bulk, as a
 * pool without caches would be. Rounds of all in turn, by one thread and by two at
 * once; each line has the median in nanoseconds of an object's way out and back. Every
 * object is written to, or `touch=0`, not. */
#include <polder/arena.h>
#include <polder/heap.h>
#include <polder/pool.h>

#include "base/clock.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15, BATCHES = 20000, BULK = 32, NBYTES = 256, COUNT = 16384, NTHREADS = 2 };

static struct polder_pool *pool;
static struct polder_heap *heap;

static struct {
        pthread_mutex_t lock;
        size_t n;
        void *object[COUNT];
} plain = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void pool_bulk(void *objects[], bool get)
{
        if (!get)
                polder_pool_put_bulk(pool, objects, BULK);
        else if (polder_pool_get_bulk(pool, objects, BULK))
                abort();
}

static void pool_single(void *objects[], bool get)
{
        for (int i = 0; i < BULK; i++)
                if (get)
                        objects[i] = polder_pool_get(pool);
                else
                        polder_pool_put(pool, objects[i]);
}

static void malloc_single(void *objects[], bool get)
{
        for (int i = 0; i < BULK; i++)
                if (get)
                        objects[i] = polder_malloc(NBYTES);
                else
                        polder_free(objects[i]);
}

static void heap_single(void *objects[], bool get)
{
        for (int i = 0; i < BULK; i++)
                if (get)
                        objects[i] = polder_heap_malloc(heap, NBYTES);
                else
                        polder_free(objects[i]);
}

static void plain_bulk(void *objects[], bool get)
{
        pthread_mutex_lock(&plain.lock);
        if (get)
                memcpy(objects, plain.object + (plain.n -= BULK), BULK * sizeof *objects);
        else
                memcpy(plain.object + plain.n, objects, BULK * sizeof *objects);
        plain.n += get ? 0 : BULK;
        pthread_mutex_unlock(&plain.lock);
}

static const struct contestant {
        const char *name;
        void (*move)(void *objects[], bool get);
} contestants[] = {
        { "pool-bulk", pool_bulk },          { "pool-single", pool_single },
        { "malloc", malloc_single },         { "heap", heap_single },
        { "plain-locked-bulk", plain_bulk },
};

enum { NCONTESTANTS = sizeof contestants / sizeof contestants[0] };

struct job {
        const struct contestant *contestant;
        bool touch;
        double ns;
};

static void *run(void *arg)
{
        struct job *job = arg;
        void *objects[BULK];
        uint64_t start_ns = pld_now_ns();
        for (int i = 0; i < BATCHES; i++) {
                job->contestant->move(objects, true);
                for (int k = 0; job->touch && k < BULK; k++)
                        *(volatile char *)objects[k] = 1;
                job->contestant->move(objects, false);
        }
        job->ns = (double)(pld_now_ns() - start_ns) / BATCHES / BULK;
        return NULL;
}

static double measure(const struct contestant *contestant, int nthreads, bool touch)
{
        struct job jobs[NTHREADS];
        pthread_t threads[NTHREADS];
        double ns = 0;
        for (int i = 0; i < nthreads; i++) {
                jobs[i] = (struct job){ .contestant = contestant, .touch = touch };
                if (i > 0 && pthread_create(&threads[i], NULL, run, &jobs[i]))
                        abort();
        }
        run(&jobs[0]);
        for (int i = 1; i < nthreads; i++)
                pthread_join(threads[i], NULL);
        for (int i = 0; i < nthreads; i++)
                ns += jobs[i].ns / nthreads;
        return ns;
}

static int by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static void compare(int nthreads, bool touch)
{
        static double ns[NCONTESTANTS][ROUNDS];
        for (int i = -1; i < ROUNDS; i++) /* one to warm up */
                for (int k = 0; k < NCONTESTANTS; k++) {
                        double took = measure(&contestants[k], nthreads, touch);
                        if (i >= 0)
                                ns[k][i] = took;
                }
        for (int k = 0; k < NCONTESTANTS; k++) {
                qsort(ns[k], ROUNDS, sizeof ns[k][0], by_value);
                printf("contestant=%s threads=%d touch=%d bytes=%d ns=%.2f low=%.2f high=%.2f\n",
                       contestants[k].name, nthreads, touch, NBYTES, ns[k][ROUNDS / 2], ns[k][0],
                       ns[k][ROUNDS - 1]);
        }
}

int main(void)
{
        static char objects[COUNT][NBYTES];
        pool = polder_pool_create(COUNT, NBYTES, 0, -1);
        heap = polder_heap_create(-1);
        if (!pool || !heap)
                return 1;
        for (int i = 0; i < COUNT; i++)
                plain.object[plain.n++] = objects[i];
        for (int nthreads = 1; nthreads <= NTHREADS; nthreads++)
                for (int touch = 0; touch <= 1; touch++)
                        compare(nthreads, touch);
        polder_heap_destroy(heap);
        polder_pool_destroy(pool);
        return 0;
}
