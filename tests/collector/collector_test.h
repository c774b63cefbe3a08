/* collector_test.h: a collector that starts quietly, objects to lose, and threads
 * that leave no trace on their creator's stack.
 *
 * Criterion runs every test in a process of its own, so each starts the collector
 * as it likes. What shall die is made on a thread that ends: the stack of a thread
 * that lives on may keep anything. */
#ifndef TESTS_COLLECTOR_TEST_H
#define TESTS_COLLECTOR_TEST_H

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/random.h"
#include "numa/fake.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <polder/polder.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct node {
        struct node *next, *other;
        uintptr_t value;
};

static const struct polder_layout *node_layout;

enum { NWEAKS = 256 };
static struct polder_weak *weaks[NWEAKS]; /* a root after collected_start() */
static struct node *roots[64];            /* the same */

/* Automatic cycles off, marks verified: each test asks for its own cycles. */
static inline void collected_start_as(const char *gc, const char *debug)
{
        setenv("POLDER_GC", gc, 1);
        setenv("POLDER_DEBUG", debug, 1);
        node_layout = POLDER_LAYOUT(struct node, next, other);
        cr_assert_not_null(node_layout);
        cr_assert_eq(polder_root_add(weaks, sizeof weaks), 0);
        cr_assert_eq(polder_root_add(roots, sizeof roots), 0);
}

static inline void collected_start(void)
{
        collected_start_as("off", "verify");
}

/* On a machine with nodes 0, 2, 4, … */
static inline void collected_start_on(unsigned nnodes, unsigned ncpus_each)
{
        pld_fake_reset();
        for (unsigned i = 0; i < nnodes; i++)
                pld_fake_add_node((int)(2 * i), ncpus_each, 4 * PLD_GIB);
        pld_fake_install();
        collected_start();
}

static inline struct node *node_new(struct node *next, uintptr_t value)
{
        struct node *node = polder_new(node_layout);
        cr_assert_not_null(node);
        polder_store(&node->next, next);
        node->value = value;
        return node;
}

/* Until another thread has raised the flag: asleep for the most part; on a processor; and coming
 * by at safepoints. */
#define await(flag)                                                                            \
        while (!pld_load_acquire(flag))                                                        \
        sched_yield()
#define spin_until(flag)                                                                       \
        while (!pld_load_acquire(flag))                                                        \
        pld_pause()
#define poll_until(flag)                                                                       \
        while (!pld_load_acquire(flag))                                                        \
        polder_safepoint()

/* Runs fn(arg) on a thread that has ended when this returns. */
static inline void *on_a_thread(void *(*fn)(void *), void *arg)
{
        pthread_t thread;
        void *result;
        cr_assert_eq(pthread_create(&thread, NULL, fn, arg), 0);
        cr_assert_eq(pthread_join(thread, &result), 0);
        return result;
}

/* The i-th weak reference speaks of this object from now on. */
static inline void watch(unsigned i, void *object)
{
        struct polder_weak *weak = polder_weak_new(object);
        cr_assert_not_null(weak);
        polder_store(&weaks[i], weak);
}

static void *is_alive_thread(void *arg)
{
        return (void *)(uintptr_t)(polder_weak_get(weaks[(uintptr_t)arg]) != NULL);
}

/* Looks from another thread, so that this one's stack stays clean. */
static inline bool is_alive(unsigned i)
{
        return on_a_thread(is_alive_thread, (void *)(uintptr_t)i) != NULL;
}

static inline void collect_both_ways(void)
{
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_assert_eq(polder_collect(POLDER_STOP_THE_WORLD), 0);
}

/* What fn makes, on a thread that has ended since, has seen a cycle of each kind. */
static inline void *make_and_collect(void *(*fn)(void *))
{
        void *result = on_a_thread(fn, NULL);
        collect_both_ways();
        return result;
}

static inline struct polder_stats stats_now(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        cr_assert_eq(polder_stats_read(&stats), 0);
        return stats;
}

/* Runs fn in a child whose standard error is caught; the wait status. */
static inline int in_a_child(void (*fn)(void), char *out, size_t room)
{
        int ends[2];
        cr_assert_eq(pipe(ends), 0);
        fflush(NULL);
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0) {
                dup2(ends[1], STDERR_FILENO);
                close(ends[0]);
                close(ends[1]);
                signal(SIGABRT, SIG_DFL);
                fn();
                _exit(0);
        }
        close(ends[1]);
        size_t n = 0;
        char rest[256];
        for (;;) {
                ssize_t got = n + 1 < room ? read(ends[0], out + n, room - 1 - n)
                                           : read(ends[0], rest, sizeof rest);
                if (got <= 0)
                        break;
                if (n + 1 < room)
                        n += (size_t)got;
        }
        out[n] = '\0';
        close(ends[0]);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        return status;
}

static inline void expect_death(void (*fn)(void), const char *words)
{
        char said[2048];
        int status = in_a_child(fn, said, sizeof said);
        cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x, said: %s", status,
                  said);
        cr_expect_not_null(strstr(said, words), "said: %s", said);
}

static inline unsigned count_lines(const char *text)
{
        unsigned n = 0;
        for (; *text; text++)
                n += *text == '\n';
        return n;
}

/* Threads that run until told to stop. */
struct gang {
        pthread_t thread[8];
        unsigned n;
        _Atomic bool done;
        _Atomic unsigned nready;
};

static inline void gang_start(struct gang *gang, unsigned n, void *(*fn)(void *))
{
        *gang = (struct gang){ .n = n };
        for (unsigned i = 0; i < n; i++)
                cr_assert_eq(pthread_create(&gang->thread[i], NULL, fn, gang), 0);
        while (pld_load_acquire(&gang->nready) < n)
                sched_yield();
}

static inline void gang_stop(struct gang *gang)
{
        pld_store_release(&gang->done, true);
        for (unsigned i = 0; i < gang->n; i++)
                cr_assert_eq(pthread_join(gang->thread[i], NULL), 0);
}

/* So many threads run fn() while cycles are made beside them. */
static inline void collect_beside(unsigned n, void *(*fn)(void *), unsigned ncycles)
{
        struct gang gang;
        gang_start(&gang, n, fn);
        for (unsigned i = 0; i < ncycles; i++)
                collect_both_ways();
        gang_stop(&gang);
}

/* The same with young cycles, too. */
static inline void collect_every_way_beside(unsigned n, void *(*fn)(void *), unsigned ncycles)
{
        struct gang gang;
        gang_start(&gang, n, fn);
        for (unsigned i = 0; i < ncycles; i++) {
                collect_both_ways();
                cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        }
        gang_stop(&gang);
}

#endif
