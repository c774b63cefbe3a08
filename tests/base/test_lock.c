#include "base/lock.h"

#include <criterion/criterion.h>

#include "base/atomic.h"
#include "base/check.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

static struct pld_lock low = PLD_LOCK_INIT(PLD_RANK_START);
static struct pld_lock high = PLD_LOCK_INIT(PLD_RANK_LEAF);
static long counter;

static void *count_up(void *unused)
{
        for (int i = 0; i < 20000; i++) {
                pld_lock(&low);
                counter++;
                pld_unlock(&low);
        }
        return unused;
}

static void *try_once(void *got)
{
        *(bool *)got = pld_lock_try(&low);
        if (*(bool *)got)
                pld_unlock(&low);
        return NULL;
}

static bool another_thread_can_lock(void)
{
        pthread_t thread;
        bool got = false;
        cr_assert(pthread_create(&thread, NULL, try_once, &got) == 0);
        pthread_join(thread, NULL);
        return got;
}

Test(lock, only_one_thread_is_inside)
{
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                cr_assert(pthread_create(&threads[i], NULL, count_up, NULL) == 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        cr_expect(counter == 80000);
}

Test(lock, a_held_lock_is_refused_to_others)
{
        pld_lock(&low);
        cr_expect(!another_thread_can_lock());
        pld_unlock(&low);
        cr_expect(another_thread_can_lock());
}

Test(lock, a_sleeping_waiter_is_woken)
{
        pthread_t thread;
        pld_lock(&low);
        cr_assert(pthread_create(&thread, NULL, count_up, NULL) == 0);
        while (pld_load_relaxed(&low.state) != 2) /* it sleeps, or is about to */
                sched_yield();
        pld_unlock(&low);
        pthread_join(thread, NULL);
        cr_expect(counter == 20000);
}

Test(lock, held_locks_are_counted)
{
        cr_expect(pld_locks_held() == 0);
        pld_lock(&low);
        pld_lock(&high);
        cr_expect(pld_locks_held() == 2);
        pld_unlock(&low); /* in any order */
        cr_expect(pld_locks_held() == 1);
        pld_unlock(&high);
        cr_expect(pld_locks_held() == 0);
}

Test(lock, a_refused_try_is_not_counted)
{
        pld_lock_seize(&low);
        cr_expect(!pld_lock_try(&low));
        cr_expect(pld_locks_held() == 0);
        pld_lock_cede(&low);
        cr_expect(pld_lock_try(&low));
        pld_unlock(&low);
}

Test(lock, is_held_tells_whether)
{
        cr_expect(!pld_lock_is_held(&low));
        pld_lock(&low);
        cr_expect(pld_lock_is_held(&low));
        cr_expect(!pld_lock_is_held(&high));
        pld_unlock(&low);
        cr_expect(!pld_lock_is_held(&low));
}

Test(lock, rising_ranks_are_in_order)
{
        pld_lock(&low);
        pld_lock(&high);
        pld_unlock(&high);
        pld_unlock(&low);
}

/* In a release build there is no check; the tests abort by hand. */
Test(lock, falling_ranks_die_in_debug_builds, .signal = SIGABRT)
{
        pld_lock(&high);
        pld_lock(&low);
        if (!PLD_DEBUG)
                raise(SIGABRT);
}

Test(lock, equal_ranks_go_by_address)
{
        struct pld_lock pair[2];
        pld_lock_init(&pair[0], PLD_RANK_CENTRAL);
        pld_lock_init(&pair[1], PLD_RANK_CENTRAL);
        pld_lock(&pair[0]);
        pld_lock(&pair[1]);
        cr_expect(pld_locks_held() == 2);
}

Test(lock, equal_ranks_against_address_die_in_debug_builds, .signal = SIGABRT)
{
        struct pld_lock pair[2];
        pld_lock_init(&pair[0], PLD_RANK_CENTRAL);
        pld_lock_init(&pair[1], PLD_RANK_CENTRAL);
        pld_lock(&pair[1]);
        pld_lock(&pair[0]);
        if (!PLD_DEBUG)
                raise(SIGABRT);
}

Test(lock, a_seized_lock_is_held_by_the_process)
{
        pld_lock_seize(&low);
        cr_expect(!another_thread_can_lock());
        cr_expect(pld_locks_held() == 0);
        pld_lock_cede(&low);
        cr_expect(another_thread_can_lock());
}
