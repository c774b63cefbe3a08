#include "tests/arena/arena_test.h"

#include "base/futex.h"

#include <limits.h>

enum { SMALL = 64, LARGE = 20000 /* few in a span: they can be lent */, MOST = 4096 };

/* A thread that makes blocks and sleeps, is told to make and free some more, and ends. */
struct sleeper {
        pthread_t thread;
        size_t nbytes;
        unsigned n;
        void *blocks[MOST];
        _Atomic uint32_t told, done; /* futexes: steps */
};

static void tell(struct sleeper *sleeper)
{
        pld_add_release(&sleeper->told, 1);
        pld_futex_wake(&sleeper->told, INT_MAX);
}

static void await(_Atomic uint32_t *steps, uint32_t n)
{
        for (uint32_t seen; (seen = pld_load_acquire(steps)) < n;)
                pld_futex_wait(steps, seen, 0);
}

static void note_done(struct sleeper *sleeper)
{
        pld_add_release(&sleeper->done, 1);
        pld_futex_wake(&sleeper->done, INT_MAX);
}

static void *sleep_and_wake(void *arg)
{
        struct sleeper *sleeper = arg;
        for (unsigned i = 0; i < sleeper->n; i++)
                sleeper->blocks[i] = memset(polder_malloc(sleeper->nbytes), 1, sleeper->nbytes);
        note_done(sleeper);
        await(&sleeper->told, 1);
        for (unsigned i = 0; i < sleeper->n; i++)
                sleeper->blocks[i] = memset(polder_malloc(sleeper->nbytes), 2, sleeper->nbytes);
        pld_manual_verify(pld_cache_mine);
        note_done(sleeper);
        await(&sleeper->told, 2);
        for (unsigned i = 0; i < sleeper->n; i++)
                polder_free(sleeper->blocks[i]);
        return NULL;
}

static void send_to_sleep(struct sleeper *sleeper, size_t nbytes, unsigned n)
{
        sleeper->nbytes = nbytes;
        sleeper->n = n;
        cr_assert_eq(pthread_create(&sleeper->thread, NULL, sleep_and_wake, sleeper), 0);
        await(&sleeper->done, 1);
}

static void wake_up(struct sleeper *sleeper)
{
        tell(sleeper);
        await(&sleeper->done, 2);
}

static void end(struct sleeper *sleeper)
{
        tell(sleeper);
        pthread_join(sleeper->thread, NULL);
        arena_test_nothing_left();
}

static void free_but(const struct sleeper *sleeper, unsigned stride)
{
        for (unsigned i = 0; i < sleeper->n; i++)
                if (!stride || i % stride)
                        polder_free(sleeper->blocks[i]);
        pld_bins_empty(pld_cache_get());
}

static void what_others_freed_goes(size_t nbytes, unsigned n)
{
        static struct sleeper sleeper;
        arena_test_start_bare(1);
        send_to_sleep(&sleeper, nbytes, n);
        free_but(&sleeper, 0);
        cr_expect_gt(pld_manual_bytes(), 0);
        pld_manual_reclaim();
        cr_expect_eq(pld_manual_bytes(), 0);
        wake_up(&sleeper);
        end(&sleeper);
}

Test(visit, what_others_freed_of_a_sleeping_threads_goes)
{
        what_others_freed_goes(SMALL, MOST);
}

Test(visit, so_do_blocks_that_can_be_lent)
{
        what_others_freed_goes(LARGE, 100);
}

Test(visit, what_is_in_use_stays)
{
        static struct sleeper sleeper;
        arena_test_start_bare(1);
        send_to_sleep(&sleeper, SMALL, MOST);
        free_but(&sleeper, 2);
        size_t before = pld_manual_bytes();
        pld_manual_reclaim();
        cr_expect_leq(pld_manual_bytes(), before);
        for (unsigned i = 0; i < MOST; i += 2)
                cr_assert_eq(*(char *)sleeper.blocks[i], 1);
        for (unsigned i = 0; i < MOST; i += 2)
                polder_free(sleeper.blocks[i]);
        wake_up(&sleeper);
        end(&sleeper);
}

Test(visit, a_thread_that_came_by_is_left_alone_when_the_idle_are_looked_for)
{
        static struct sleeper sleeper;
        arena_test_start_bare(1);
        send_to_sleep(&sleeper, SMALL, MOST);
        pld_manual_reclaim_idle();
        free_but(&sleeper, 0);
        size_t before = pld_manual_bytes();
        cr_expect(pld_manual_reclaim_idle(), "it was there until now: there will be work");
        cr_expect_eq(pld_manual_bytes(), before);
        cr_expect(pld_manual_reclaim_idle());
        cr_expect_eq(pld_manual_bytes(), 0);
        cr_expect_not(pld_manual_reclaim_idle());
        wake_up(&sleeper);
        end(&sleeper);
}

Test(visit, without_a_barrier_nobody_visits)
{
        static struct sleeper sleeper;
        arena_test_start_bare(1);
        pld_fake_forbid(PLD_FAKE_BARRIER, ENOSYS);
        send_to_sleep(&sleeper, SMALL, MOST);
        free_but(&sleeper, 0);
        size_t before = pld_manual_bytes();
        pld_manual_reclaim_idle();
        cr_expect_not(pld_manual_reclaim_idle(), "nobody waits for what cannot be");
        pld_manual_reclaim();
        cr_expect_eq(pld_manual_bytes(), before);
        wake_up(&sleeper);
        end(&sleeper);
}

/* ---- The decay ------------------------------------------------------------------------------ */

Test(visit, the_decay_visits)
{
        static struct sleeper sleeper;
        struct pld_arena_settings settings = arena_test_settings();
        settings.decay_ms = 20;
        pld_bins_are_used = false;
        arena_test_start_as(1, &settings);
        send_to_sleep(&sleeper, SMALL, MOST);
        free_but(&sleeper, 0);
        for (unsigned i = 0; i < 20000 && pld_manual_bytes() > 0; i++)
                usleep(1000);
        cr_expect_eq(pld_manual_bytes(), 0);
        wake_up(&sleeper);
        end(&sleeper);
}

/* ---- Guests who must go --------------------------------------------------------------------- */

static unsigned patience;

static bool once_more(struct pld_cache *cache)
{
        (void)cache;
        return patience && patience--;
}

Test(visit, who_always_has_to_go_sees_to_all_in_the_end)
{
        static struct sleeper sleeper;
        arena_test_start_bare(1);
        send_to_sleep(&sleeper, LARGE, 2000);
        struct pld_span *span = pld_span_of((uintptr_t)sleeper.blocks[0]);
        struct pld_cache *cache = pld_load_relaxed(&span->manual.owner);
        for (unsigned i = 0; i < sleeper.n; i += 4) /* none is full any more */
                polder_free(sleeper.blocks[i]);
        pld_manual_tidy(cache, NULL); /* it sleeps: so we may */
        for (unsigned i = 0; i < sleeper.n; i++)
                if (i % 4 && i / 32 % 2)
                        polder_free(sleeper.blocks[i]);
        size_t before = pld_manual_bytes();
        for (unsigned i = 0; i < 200 * PLD_NCLASSES; i++) {
                patience = 3;
                cr_assert_not(pld_manual_tidy(cache, once_more));
        }
        size_t after = pld_manual_bytes();
        cr_expect_lt(after, before);
        cr_expect(pld_manual_tidy(cache, NULL));
        cr_expect_eq(pld_manual_bytes(), after, "they had seen to all of it");
        for (unsigned i = 0; i < sleeper.n; i++)
                if (i % 4 && !(i / 32 % 2))
                        polder_free(sleeper.blocks[i]);
        wake_up(&sleeper);
        end(&sleeper);
}

/* Visited all the time, by one who is in the way as long as it is let. */
static void *visit_always(void *unused)
{
        (void)unused;
        while (!pld_load_relaxed(&arena_test_over))
                pld_manual_reclaim();
        return NULL;
}

static void *come_and_go(void *unused)
{
        (void)unused;
        polder_free(polder_malloc(SMALL));
        return NULL;
}

Test(visit, threads_and_children_come_and_go_beside_guests)
{
        static struct sleeper sleeper;
        pthread_t guest;
        arena_test_start_bare(1);
        send_to_sleep(&sleeper, SMALL, MOST);
        cr_assert_eq(pthread_create(&guest, NULL, visit_always, NULL), 0);
        for (unsigned i = 0; i < 200; i++) {
                arena_test_thread(come_and_go, NULL);
                pid_t pid = fork();
                if (pid == 0) {
                        for (unsigned k = 0; k < MOST; k++)
                                polder_free(sleeper.blocks[k]);
                        pld_manual_reclaim();
                        _exit(pld_manual_bytes() != 0);
                }
                int status;
                cr_assert_eq(waitpid(pid, &status, 0), pid);
                cr_assert_eq(status, 0, "what the sleeper had is nobody's in the child, or was busy");
        }
        pld_store_relaxed(&arena_test_over, true);
        pthread_join(guest, NULL);
        free_but(&sleeper, 0);
        wake_up(&sleeper);
        end(&sleeper);
}
