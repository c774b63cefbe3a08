/* stress_malloc.c: many threads allocate, hand blocks to each other, free what
 * others allocated, and end. A plain main(), so that every sanitizer can watch.
 *
 * usage: stress_malloc [seed [rounds]] */
#include "arena/arena.h"
#include "arena/cache.h"
#include "arena/shed_spans.h"
#include "arena/visit.h"
#include "base/random.h"

#include <polder/arena.h>
#include <polder/region.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NTHREADS = 4, NSLOTS = 512, STEPS = 20000, SMALL = 256, HUGE = 300000, STRIDE = 2048 };

struct item { /* at the start of every block */
        size_t nbytes;
        unsigned char fill;
};

static _Atomic(struct item *) slots[NSLOTS];
static _Atomic unsigned ncorrupt;
static unsigned npassed, nfailed;

static size_t random_size(struct pld_random *random)
{
        uint32_t kind = pld_random_below(random, 1000);
        size_t extra = kind < 900 ? pld_random_below(random, SMALL)
                       : kind < 990 ? pld_random_below(random, 20000)
                                    : pld_random_below(random, HUGE);
        return sizeof(struct item) + extra;
}

static struct item *make(struct pld_random *random)
{
        size_t nbytes = random_size(random);
        struct item *item;
        switch (pld_random_below(random, 8)) {
        case 0:
                item = polder_calloc(1, nbytes);
                for (size_t i = 0; i < nbytes; i += 97)
                        if (((unsigned char *)item)[i])
                                pld_add_relaxed(&ncorrupt, 1);
                break;
        case 1:
                item = polder_aligned_alloc((size_t)16 << pld_random_below(random, 9), nbytes);
                break;
        case 2:
                item = polder_realloc(polder_malloc(nbytes / 3), nbytes);
                break;
        case 3:
                item = polder_malloc_onnode(nbytes, pld_machine.node[0].id);
                break;
        default:
                item = polder_malloc(nbytes);
        }
        unsigned char fill = (unsigned char)pld_random_next(random);
        memset(item, fill, nbytes);
        *item = (struct item){ .nbytes = nbytes, .fill = fill };
        return item;
}

static void destroy(struct item *item)
{
        if (!item)
                return;
        const unsigned char *bytes = (const unsigned char *)item;
        bool whole = item->nbytes <= sizeof *item || bytes[item->nbytes - 1] == item->fill;
        for (size_t i = sizeof *item; i < item->nbytes; i += STRIDE)
                whole &= bytes[i] == item->fill;
        if (!whole)
                pld_add_relaxed(&ncorrupt, 1);
        polder_free(item);
}

static void use_scratch(struct pld_random *random)
{
        polder_scratch_mark mark = polder_scratch_begin();
        for (uint32_t n = pld_random_below(random, 20); n > 0; n--) {
                size_t nbytes = pld_random_below(random, 5000) + 1;
                memset(polder_scratch_alloc(nbytes), 1, nbytes);
        }
        polder_scratch_end(mark);
}

static void *trade(void *arg)
{
        struct pld_random random = pld_random_seeded((uintptr_t)arg);
        for (unsigned i = 0; i < STEPS; i++) {
                unsigned slot = pld_random_below(&random, NSLOTS);
                struct item *item = pld_random_below(&random, 4) ? make(&random) : NULL;
                destroy(pld_exchange_acq_rel(&slots[slot], item));
                if (i % 512 == 0) {
                        use_scratch(&random);
                        if (pld_cache_mine != &pld_cache_none)
                                pld_manual_verify(pld_cache_mine);
                }
        }
        return NULL;
}

/* Allocates whole spans full and hands them over: full bits and revival. */
static _Atomic(void *) mailbox;

static void *produce(void *arg)
{
        unsigned n = (unsigned)(uintptr_t)arg;
        void **head = NULL;
        for (unsigned i = 0; i < n; i++) {
                void **block = polder_malloc(48);
                *block = head;
                head = block;
                if (i % 3000 == 2999) {
                        void *empty = NULL;
                        while (!pld_cas_acq_rel(&mailbox, &empty, (void *)head)) {
                                empty = NULL;
                                usleep(50);
                        }
                        head = NULL;
                }
        }
        while (head) {
                void **next = *head;
                polder_free(head);
                head = next;
        }
        return NULL;
}

static void *consume(void *arg)
{
        unsigned n = (unsigned)(uintptr_t)arg, got = 0;
        while (got < n) {
                void **head = pld_exchange_acq_rel(&mailbox, NULL);
                while (head) {
                        void **next = *head;
                        polder_free(head);
                        head = next;
                        got++;
                }
        }
        return NULL;
}

static void run(void *(*fn[NTHREADS])(void *), const uintptr_t arg[NTHREADS], unsigned nthreads)
{
        pthread_t threads[NTHREADS];
        for (unsigned i = 0; i < nthreads; i++)
                if (pthread_create(&threads[i], NULL, fn[i], (void *)arg[i]))
                        abort();
        for (unsigned i = 0; i < nthreads; i++)
                pthread_join(threads[i], NULL);
}

static void check(bool holds, const char *fact)
{
        if (holds) {
                npassed++;
                return;
        }
        nfailed++;
        printf("FAILED: %s\n", fact);
}

/* Gives back what is free in spans and huge pages, and visits the others, while they go on. */
static _Atomic bool traded;

static void *shed(void *ngiven)
{
        while (!pld_load_acquire(&traded)) {
                *(size_t *)ngiven += pld_spans_shed(false);
                pld_manual_reclaim();
                pld_page_heap_shed(UINT64_MAX, true);
                usleep(100);
        }
        return NULL;
}

static void trade_round(uint64_t seed)
{
        pthread_t shedder;
        size_t ngiven = 0;
        void *(*fn[NTHREADS])(void *) = { trade, trade, trade, trade };
        uintptr_t arg[NTHREADS];
        for (unsigned i = 0; i < NTHREADS; i++)
                arg[i] = seed * NTHREADS + i;
        pld_store_release(&traded, false);
        if (pthread_create(&shedder, NULL, shed, &ngiven))
                abort();
        run(fn, arg, NTHREADS);
        pld_store_release(&traded, true);
        pthread_join(shedder, NULL);
        check(ngiven > 0, "free blocks of spans in use gave pages back");
}

static void hand_over_round(void)
{
        enum { N = 30000 };
        void *(*fn[NTHREADS])(void *) = { produce, consume };
        uintptr_t arg[NTHREADS] = { N, N };
        run(fn, arg, 2);
}

int main(int argc, char **argv)
{
        uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
        unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 5;
        printf("seed %llu, %u rounds\n", (unsigned long long)seed, rounds);
        polder_free(polder_malloc(1));
        for (unsigned i = 0; i < rounds; i++) {
                trade_round(seed + i);
                hand_over_round();
                pld_page_heap_verify();
                check(pld_load_relaxed(&ncorrupt) == 0, "no block was written to by another");
        }
        for (unsigned i = 0; i < NSLOTS; i++)
                destroy(pld_exchange_acq_rel(&slots[i], NULL));
        pld_cache_drop();
        pld_manual_reclaim();
        check(pld_caches_live() == 0, "every cache was given back");
        check(pld_spans_live() == 0, "every span was given back");
        check(pld_page_heap_used_bytes() == 0, "every page was given back");
        check(pld_manual_bytes() == 0, "the count of malloc's bytes is back at 0");
        polder_release();
        check(pld_page_heap_backed_bytes() == 0, "every huge page was given back");
        pld_page_heap_verify();
        printf("%u passed, %u failed\n", npassed, nfailed);
        return nfailed != 0;
}
