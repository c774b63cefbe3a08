/* last_resort.c: collecting because there is no memory.
 *
 * A stopped collection that begins after the refusal finds all that was garbage at the
 * refusal; one that was under way keeps what has died, or was born, since it began. But
 * the threads that go on after it may take what it found before this one runs again, and
 * at a limit they do. So those that were refused take turns: whoever has the turn looks
 * again, collects, and looks again; the others wait, instead of having collection follow
 * upon collection and racing for each one's harvest. It gives up when less than it wants has
 * been freed since its last look, as then what lives is too much; and after so many collections
 * that the memory may be there, but not in one piece. Threads that are not refused may win it
 * several times in a row.
 *
 * L1  `turn` is TAKEN while a thread has the turn, WANTED if others may wait for it. It is
 *     no lock of Polder's: who has it is stopped like any thread.
 * L2  who waits for the turn is in a blocking section. A collection does not wait for the
 *     turn; the callback on pressure, for which a collection may wait, is refused at once. */
#include "collector/last_resort.h"

#include "arena/heap.h"
#include "arena/manual.h"
#include "arena/sweep.h"
#include "arena/visit.h"
#include "base/futex.h"
#include "collector/cycle.h"
#include "collector/pressure.h"
#include "collector/safepoint.h"
#include "collector/thread.h"

enum { COLLECTIONS_MOST = 32 };
enum { FREE, TAKEN, WANTED };

static _Atomic uint32_t turn; /* L1; a futex */

static void await_turn(void)
{
        uint32_t was = FREE;
        if (pld_cas_acquire(&turn, &was, TAKEN))
                return;
        while (pld_exchange_acq_rel(&turn, WANTED) != FREE)
                pld_futex_wait(&turn, WANTED, 0);
}

static PLD_NOINLINE void take_turn(struct pld_last_resort *resort)
{
        struct pld_thread *self = pld_thread_self();
        pld_enter();
        pld_thread_block(self); /* L2 */
        await_turn();
        if (self)
                pld_thread_unblock(self);
        pld_leave();
        resort->has_turn = true;
}

void pld_last_resort_end(struct pld_last_resort *resort)
{
        if (resort->has_turn && pld_exchange_acq_rel(&turn, FREE) == WANTED)
                pld_futex_wake(&turn, 1);
        resort->has_turn = false;
}

void pld_last_resort_fork_child(void)
{
        pld_store_relaxed(&turn, FREE); /* who had it is not there */
}

static uint64_t swept(void)
{
        return pld_load_relaxed(&pld_swept_bytes);
}

/* True: so much was freed since the last look, whoever has it by now, by a collection that
 * began after now or by one that ended before it: where cycles run all the time, the one
 * before may have left nothing. */
static bool collect(struct pld_last_resort *resort, size_t nbytes)
{
        bool collected = polder_collect(POLDER_STOP_THE_WORLD) == 0;
        uint64_t before = resort->swept;
        resort->swept = swept();
        return collected && resort->swept - before >= nbytes;
}

bool pld_last_resort_try(struct pld_last_resort *resort, size_t nbytes)
{
        unsigned step = resort->nsteps++;
        if (pld_pressure_is_reporting())
                return false; /* L2 */
        if (step == 0) {
                take_turn(resort);
                resort->swept = swept();
                pld_manual_reclaim();
                pld_heaps_reclaim();
                return true; /* who had the turn before may have freed enough */
        }
        /* The first may free less and be enough: what ends a run, and joins its neighbours. */
        return step <= COLLECTIONS_MOST && (collect(resort, nbytes) || step == 1);
}

bool pld_last_resort_for_malloc(unsigned nbefore)
{
        struct pld_last_resort resort = { .swept = swept() };
        return nbefore < COLLECTIONS_MOST && collect(&resort, 1);
}
