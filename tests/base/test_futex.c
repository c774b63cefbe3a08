#include "base/futex.h"

#include <criterion/criterion.h>

#include "base/atomic.h"

#include <pthread.h>

static _Atomic uint32_t word;
static _Atomic int awake;

static void *wait_for_change(void *unused)
{
        while (pld_load_acquire(&word) == 0)
                pld_futex_wait(&word, 0, 0);
        pld_add_relaxed(&awake, 1);
        return unused;
}

Test(futex, a_changed_word_is_not_waited_for)
{
        pld_store_relaxed(&word, 1);
        pld_futex_wait(&word, 0, 0); /* for ever, if it waited */
}

Test(futex, a_wait_ends_after_its_timeout)
{
        uint64_t start = pld_now_ns();
        pld_futex_wait(&word, 0, 20 * PLD_NS_PER_MS);
        cr_expect(pld_now_ns() - start >= 10 * PLD_NS_PER_MS);
}

Test(futex, all_waiters_are_woken)
{
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
                cr_assert(pthread_create(&threads[i], NULL, wait_for_change, NULL) == 0);
        pld_store_release(&word, 1);
        pld_futex_wake(&word, INT_MAX);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
        cr_expect(pld_load_relaxed(&awake) == 4);
}
