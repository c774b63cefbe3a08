/* arena_test.h: an arena on a made-up machine. Every test is a process of its
 * own (Criterion forks), so that it starts as it likes. */
#ifndef TESTS_ARENA_TEST_H
#define TESTS_ARENA_TEST_H

#include "arena/arena.h"
#include "arena/cache.h"
#include "numa/fake.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>

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
