/* extent_threads: while threads take memory and give it back, listeners come and go,
 * and each is told of each change once and in order.
 *
 * A listener keeps a book of what is backed, one byte a huge page. Nothing may be added
 * that is in it, or removed that is not; when it goes, the book is what is backed. A
 * plain main(), so that every sanitizer can watch.
 *
 * usage: extent_threads [SEED [ROUNDS]] */
#include "arena/arena.h"
#include "arena/cache.h"
#include "base/random.h"

#include <polder/arena.h>
#include <polder/extent.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NTHREADS = 4, MOST_HUGE = 6, BOOK = 4096, PASSES = 20 };

static char book[BOOK]; /* of the first slice: under the lock that callbacks are under */
static _Atomic long wrong, changes, strangers;
static _Atomic int over, settled; /* settled: what is added is new */
static long rounds = 60;

static int keep_book(const struct polder_extent *extent, bool added, void *arg)
{
        (void)arg;
        size_t first = ((uintptr_t)extent->start - pld_range.base) >> PLD_HUGE_SHIFT;
        pld_add_relaxed(&changes, 1);
        sched_yield(); /* it may wait, and what others do meanwhile is to come later */
        for (size_t i = first; i < first + (extent->nbytes >> PLD_HUGE_SHIFT); i++) {
                if (i >= BOOK) {
                        pld_add_relaxed(&strangers, 1);
                        continue;
                }
                if (book[i] == added)
                        pld_add_relaxed(&wrong, 1);
                book[i] = added;
                if (added && pld_load_relaxed(&settled) &&
                    *(volatile char *)(pld_range.base + (i << PLD_HUGE_SHIFT)))
                        pld_add_relaxed(&wrong, 1); /* it was used before */
        }
        return 0;
}

static void *churn(void *arg)
{
        struct pld_random random = pld_random_seeded((uintptr_t)arg);
        while (!pld_load_relaxed(&over)) {
                size_t nbytes = (1 + pld_random_below(&random, MOST_HUGE)) * PLD_HUGE_BYTES;
                char *p = polder_malloc(nbytes);
                if (!p)
                        continue;
                for (size_t i = 0; i < nbytes; i += PLD_HUGE_BYTES)
                        p[i] = 1;
                polder_free(p);
                polder_release();
        }
        return NULL;
}

static int strike_out(const struct polder_extent *extent, bool added, void *arg)
{
        size_t first = ((uintptr_t)extent->start - pld_range.base) >> PLD_HUGE_SHIFT;
        (void)arg;
        for (size_t i = first; i < first + (extent->nbytes >> PLD_HUGE_SHIFT) && i < BOOK; i++) {
                if (book[i] != added)
                        pld_add_relaxed(&wrong, 1);
                book[i] = 0;
        }
        return 0;
}

static void listen_for_a_while(void)
{
        memset(book, 0, sizeof book);
        if (polder_on_extent(keep_book, NULL))
                pld_add_relaxed(&wrong, 1);
        pld_store_relaxed(&settled, 1);
        for (int i = 0; i < PASSES; i++) {
                char *p = polder_malloc(3 * PLD_HUGE_BYTES);
                polder_free(p);
                polder_release();
        }
        polder_on_extent(NULL, NULL);
        pld_store_relaxed(&settled, 0);
}

int main(int argc, char **argv)
{
        pthread_t threads[NTHREADS];
        uintptr_t seed = argc > 1 ? strtoul(argv[1], NULL, 0) : 1;
        if (argc > 2)
                rounds = atol(argv[2]);
        printf("extent_threads: seed %lu\n", (unsigned long)seed);
        struct pld_arena_settings settings;
        pld_arena_settings_init(&settings);
        settings.decay_ms = -1;
        if (pld_arena_start(&settings))
                return 1;
        for (uintptr_t i = 0; i < NTHREADS; i++)
                pthread_create(&threads[i], NULL, churn, (void *)(seed * NTHREADS + i));
        for (long i = 0; i < rounds; i++)
                listen_for_a_while();
        memset(book, 0, sizeof book);
        polder_on_extent(keep_book, NULL);
        pld_store_relaxed(&over, 1);
        for (int i = 0; i < NTHREADS; i++)
                pthread_join(threads[i], NULL);
        polder_on_extent(NULL, NULL);
        polder_extents(strike_out, NULL);
        for (size_t i = 0; i < BOOK; i++)
                if (book[i])
                        pld_add_relaxed(&wrong, 1);
        printf("changes=%ld wrong=%ld beyond_the_book=%ld\n", pld_load_relaxed(&changes),
               pld_load_relaxed(&wrong), pld_load_relaxed(&strangers));
        bool fine = pld_load_relaxed(&wrong) == 0 && pld_load_relaxed(&changes) > rounds;
        printf("%d passed, %d failed\n", fine, !fine);
        return !fine;
}
