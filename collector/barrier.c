/* barrier.c: the slow half of a store, and stores of many slots.
 *
 * While a cycle marks, a store shades what it overwrites, so that everything that
 * was reachable when the threads were scanned stays so for the marker; and as
 * long as its own thread is not yet scanned, also what it stores, since the
 * scanned ones no longer look after it (Yuasa's and Dijkstra's barrier; together
 * they spare a second scan of the stacks: Go's proposal 17503).
 *
 * W1  all of this runs inside Polder: no handshake of this thread comes between
 *     the look at `shading` and the write.
 * W2  a store swaps, and shades what came out: were the old value loaded first, a
 *     thread that is not yet armed could store between the load and the write,
 *     and what it stored would vanish unseen (found by the model, tests/model).
 * W3  a compare-exchange shades what it expects and what it would store before it
 *     tries; when it fails that keeps two objects for one cycle too long.
 * W4  with generations, between cycles and in young ones, a slot that was stored into is noted
 *     down if it has to be (journal.h), after the write and before Polder is left.
 * W5  what is to be shaded is only noted, and is shaded with what is noted after it (mark.c,
 *     M5). It has been noted when Polder is left; so the flush that follows, and with it the stop
 *     before the flip, finds it. Until then nobody asks whether it is marked yet. */
#include "collector/cycle.h"
#include "collector/rules.h"
#include "collector/safepoint.h"
#include "collector/start.h"

#include "base/check.h"
#include "collector/thread.h"

#include <string.h>

/* W5. */
static void shade(struct pld_thread *self, void *value)
{
        pld_note_word(&self->marker, (uintptr_t)value);
}

/* The thread, attached now if it was not; NULL where it can't be. */
static struct pld_thread *attached(void)
{
        struct pld_thread *self = pld_thread_self();
        return pld_likely(self != NULL) ? self : pld_thread_attach();
}

/* Debugging: whether slot and shadow are locked now (rules.h). */
static bool begin_store(struct pld_thread *self, void **slot)
{
        if (pld_likely(!self || !(self->tls->shading & PLD_SHADE_RECORD)))
                return false;
        pld_rules_settle_newest(self);
        pld_rules_lock_slot(slot);
        return true;
}

/* The phase is read after the write, which is no older: if no cycle runs now, the journal that
 * the write belongs to is the next cycle's. */
static PLD_NOINLINE void note_nowhere(void)
{
        pld_fence_seq_cst();
        pld_journal_note_nowhere(pld_load_acquire(&pld_phase) != PLD_PHASE_IDLE);
}

/* W4. */
static inline void note(struct pld_thread *self, void **slot, void *value)
{
        if (pld_unlikely(!self))
                note_nowhere();
        else if (!(self->tls->shading & PLD_SHADE_NOTE))
                return;
        else if (self->tls->shading & PLD_SHADE_OLD)
                pld_journal_note_birth(&self->journal, slot, value);
        else
                pld_journal_note(&self->journal, slot, value);
}

void polder_store_slow_(void **slot, void *value)
{
        pld_look_up();
        if (pld_likely(polder_thread_.shading == PLD_SHADE_NOTE)) {
                __atomic_store_n(slot, value, __ATOMIC_RELEASE);
                pld_journal_note(&pld_thread_self()->journal, slot, value);
                return;
        }
        struct pld_thread *self = attached();
        if (self && self->tls->shading)
                polder_exchange_slow_(slot, value); /* W2 */
        else
                __atomic_store_n(slot, value, __ATOMIC_RELEASE);
        if (!self)
                note_nowhere();
}

void *polder_exchange_slow_(void **slot, void *value)
{
        pld_look_up();
        struct pld_thread *self = attached();
        bool record = begin_store(self, slot);
        if (self && self->tls->shading & PLD_SHADE_NEW)
                shade(self, value);
        void *old = __atomic_exchange_n(slot, value, __ATOMIC_ACQ_REL);
        if (self && self->tls->shading & PLD_SHADE_OLD)
                shade(self, old);
        note(self, slot, value);
        if (record)
                pld_rules_unlock_slot(slot, value);
        return old;
}

bool polder_compare_exchange_slow_(void **slot, void **expected, void *desired)
{
        pld_look_up();
        struct pld_thread *self = attached();
        bool record = begin_store(self, slot);
        if (self && self->tls->shading & PLD_SHADE_OLD)
                shade(self, *expected); /* W3 */
        if (self && self->tls->shading & PLD_SHADE_NEW)
                shade(self, desired);
        bool done = __atomic_compare_exchange_n(slot, expected, desired, false, __ATOMIC_ACQ_REL,
                                                __ATOMIC_ACQUIRE);
        if (done)
                note(self, slot, desired);
        if (record)
                pld_rules_unlock_slot(slot, done ? desired : *expected);
        return done;
}

void polder_load_check_(void)
{
        if (!pld_thread_self())
                pld_die("a thread reads the collected heap without being attached "
                        "(polder_thread_attach, man polder_thread)");
}

/* ---- Many slots ------------------------------------------------------------------ */

enum { CHUNK_WORDS = 512 }; /* between two polls */

static void store_one(void **slot, void *value)
{
        if (pld_unlikely(polder_thread_.shading))
                polder_store_slow_(slot, value);
        else
                __atomic_store_n(slot, value, __ATOMIC_RELEASE);
}

/* Words [from, to) in the order that suits an overlap. */
static void move_words(void **to, void *const *from, size_t n, bool backwards)
{
        for (size_t k = 0; k < n;) {
                pld_enter();
                size_t end = n - k < CHUNK_WORDS ? n : k + CHUNK_WORDS;
                for (; k < end; k++) {
                        size_t i = backwards ? n - 1 - k : k;
                        store_one(&to[i], __atomic_load_n(&from[i], __ATOMIC_ACQUIRE));
                }
                polder_leave_();
        }
}

void polder_move(void *to_slots, const void *from_slots, size_t nbytes)
{
        uintptr_t to = (uintptr_t)to_slots, from = (uintptr_t)from_slots;
        PLD_ASSERT(to % 8 == 0 && from % 8 == 0 && nbytes % 8 == 0);
        move_words(to_slots, (void *const *)from_slots, nbytes / 8, to > from && to < from + nbytes);
}

void polder_clear(void *slots, size_t nbytes)
{
        void **to = slots;
        PLD_ASSERT((uintptr_t)slots % 8 == 0 && nbytes % 8 == 0);
        for (size_t i = 0, n = nbytes / 8; i < n;) {
                pld_enter();
                size_t end = n - i < CHUNK_WORDS ? n : i + CHUNK_WORDS;
                for (; i < end; i++)
                        store_one(&to[i], NULL);
                polder_leave_();
        }
}
