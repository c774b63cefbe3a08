/* arena_test.h: an arena on a made-up machine. Every test is a process of its
 * own (Criterion forks), so that it starts as it likes. */
#ifndef TESTS_ARENA_TEST_H
#define TESTS_ARENA_TEST_H

#include "arena/arena.h"
#include "arena/cache.h"
#include "arena/visit.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "numa/fake.h"

#include <criterion/criterion.h>
#include <polder/arena.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Kernel ids that are not dense, as machines have them. */
static inline int arena_test_id(unsigned node)
{
        return (int)(2 * node + 1);
}

/* Nodes of 8 GiB, two CPUs each: node i has the CPUs 2i and 2i + 1. */
static inline void arena_test_machine(unsigned nnodes)
{
        pld_fake_reset();
        for (unsigned i = 0; i < nnodes; i++)
                pld_fake_add_node(arena_test_id(i), 2, 8 * PLD_GIB);
        pld_fake_install();
}

static inline struct pld_arena_settings arena_test_settings(void)
{
        return (struct pld_arena_settings){ .decay_ms = -1 };
}

static inline void arena_test_start_as(unsigned nnodes, const struct pld_arena_settings *settings)
{
        arena_test_machine(nnodes);
        cr_assert_eq(pld_arena_start(settings), 0);
}

static inline void arena_test_start(unsigned nnodes)
{
        struct pld_arena_settings settings = arena_test_settings();
        arena_test_start_as(nnodes, &settings);
}

/* For what bins, outboxes and kept spans would hide. */
static inline void arena_test_start_bare(unsigned nnodes)
{
        pld_bins_are_used = false;
        arena_test_start(nnodes);
}

/* Runs fn(arg) on a thread that has ended when this returns. */
static inline void *arena_test_thread(void *(*fn)(void *), void *arg)
{
        pthread_t thread;
        void *result;
        cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
        cr_assert_eq(pthread_join(thread, &result), 0);
        return result;
}

static _Atomic unsigned arena_test_nbusy; /* told by the threads, once each */
static _Atomic bool arena_test_over;      /* told to them */

/* So many threads run fn(arg); when all are at it, so many children are forked, one after
 * another, and each must come to 0. */
static inline void arena_test_fork_beside(unsigned nthreads, void *(*fn)(void *), unsigned nforks,
                                          int (*child)(void *), void *arg)
{
        pthread_t threads[8];
        cr_assert_leq(nthreads, PLD_COUNT_OF(threads));
        for (unsigned i = 0; i < nthreads; i++)
                cr_assert_eq(pthread_create(&threads[i], NULL, fn, arg), 0);
        while (pld_load_relaxed(&arena_test_nbusy) < nthreads)
                usleep(1000);
        for (unsigned i = 0; i < nforks; i++) {
                pid_t pid = fork();
                if (pid == 0)
                        _exit(child(arg));
                int status;
                cr_assert_eq(waitpid(pid, &status, 0), pid);
                cr_assert_eq(status, 0);
        }
        pld_store_relaxed(&arena_test_over, true);
        for (unsigned i = 0; i < nthreads; i++)
                cr_assert_eq(pthread_join(threads[i], NULL), 0);
}

/* This thread has a cache; all others are over the limit. */
static inline void arena_test_start_one_cache(void)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.max_caches = 1;
        arena_test_start_as(1, &settings);
        polder_free(polder_malloc(1));
}

/* After all was freed: the thread's cache goes, and nothing is left. */
static inline void arena_test_nothing_left(void)
{
        pld_cache_drop();
        pld_manual_reclaim();
        pld_page_heap_verify();
        cr_expect_eq(pld_spans_live(), 0);
        cr_expect_eq(pld_page_heap_used_bytes(), 0);
        cr_expect_eq(pld_manual_bytes(), 0);
}

#endif
