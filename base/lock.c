/* lock.c: a futex mutex (Drepper, "Futexes are tricky", mutex 3), with ranks.
 *
 * L1  a thread's held ranks are rising, but for equal ranks taken by address
 *     order where two locks of one kind are needed at once.
 * L2  `held` is raised before the lock is taken and lowered after it is given
 *     back, so that a signal handler never sees a held lock with held == 0. */
#include "base/lock.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/futex.h"

enum {
        DEPTH = 64,
        SPINS = 100,
        PATIENT_SPINS = 1 << 23 /* longer than an owner without a processor has to wait for one */
};

static _Atomic bool patient; /* relaxed: who sees it late makes a call more */

static _Thread_local volatile unsigned held;
static _Thread_local const struct pld_lock *chain[DEPTH];

static void check_order(const struct pld_lock *lock)
{
        if (!PLD_DEBUG || held == 1)
                return;
        const struct pld_lock *last = chain[held - 2];
        if (last->rank > lock->rank || (last->rank == lock->rank && last >= lock)) /* L1 */
                pld_die("lock of rank %u taken while one of rank %u is held", lock->rank,
                        last->rank);
}

static void enter(const struct pld_lock *lock)
{
        held++; /* L2 */
        pld_fence_signal();
        PLD_CHECK(held <= DEPTH);
        if (PLD_DEBUG)
                chain[held - 1] = lock;
}

static void leave(const struct pld_lock *lock)
{
        if (PLD_DEBUG) {
                unsigned i = held - 1;
                while (i > 0 && chain[i] != lock)
                        i--;
                PLD_ASSERT(chain[i] == lock);
                for (; i + 1 < held; i++)
                        chain[i] = chain[i + 1];
        }
        pld_fence_signal();
        held--;
}

void pld_lock_init(struct pld_lock *lock, enum pld_rank rank)
{
        pld_store_relaxed(&lock->state, 0);
        lock->rank = rank;
}

void pld_locks_be_patient(void)
{
        pld_store_relaxed(&patient, true);
}

/* Behind these locks are a few instructions, and no callback. */
static bool is_brief(const struct pld_lock *lock)
{
        return lock->rank >= PLD_RANK_CACHE && lock->rank != PLD_RANK_EXTENT;
}

static PLD_NOINLINE void lock_slow(struct pld_lock *lock)
{
        int spins = pld_load_relaxed(&patient) && is_brief(lock) ? PATIENT_SPINS : SPINS;
        for (int i = 0; i < spins; i++) {
                uint32_t free = 0;
                if (pld_load_relaxed(&lock->state) == 0 && pld_cas_acquire(&lock->state, &free, 1))
                        return;
                pld_pause();
        }
        while (pld_exchange_acquire(&lock->state, 2) != 0) /* acquire: unlock's release */
                pld_futex_wait(&lock->state, 2, 0);
}

void pld_lock(struct pld_lock *lock)
{
        enter(lock);
        check_order(lock);
        uint32_t free = 0;
        if (pld_unlikely(!pld_cas_acquire(&lock->state, &free, 1)))
                lock_slow(lock);
}

bool pld_lock_try(struct pld_lock *lock)
{
        enter(lock);
        uint32_t free = 0;
        if (pld_cas_acquire(&lock->state, &free, 1))
                return true;
        leave(lock);
        return false;
}

void pld_unlock(struct pld_lock *lock)
{
        PLD_ASSERT(pld_load_relaxed(&lock->state) != 0);
        if (pld_exchange_acq_rel(&lock->state, 0) == 2)
                pld_futex_wake(&lock->state, 1);
        leave(lock);
}

bool pld_lock_is_held(const struct pld_lock *lock)
{
        if (!PLD_DEBUG)
                return pld_load_relaxed(&lock->state) != 0;
        for (unsigned i = 0; i < held; i++)
                if (chain[i] == lock)
                        return true;
        return false;
}

unsigned pld_locks_held(void)
{
        return held;
}

void pld_lock_seize(struct pld_lock *lock)
{
        uint32_t free = 0;
        if (!pld_cas_acquire(&lock->state, &free, 1))
                lock_slow(lock);
}

void pld_lock_cede(struct pld_lock *lock)
{
        if (pld_exchange_acq_rel(&lock->state, 0) == 2)
                pld_futex_wake(&lock->state, 1);
}
