/* journal.c: which slots of old objects lead to young ones.
 *
 * The generations' record (a sequential store buffer, as in Appel's collector, of slots).
 * Each thread notes into a chunk of its own, which it hands over when full, when it is
 * scanned, and when it ends. A small table of the slots that it noted last, found by
 * address, keeps a slot that is written again and again from filling chunks; what is
 * noted twice all the same is only looked at twice. There are no cards to clear, and so
 * no race of a store with their clearing.
 *
 * J1  from a flip that keeps the marks until the thread is armed for the next cycle, a
 *     slot of an old object that leads to a young one is noted, or its thread is inside
 *     the store (the model's M6).
 * J2  a thread that is armed notes nothing: what it stores is shaded, and old after the
 *     flip.
 * J3  a thread's newest object at the flip is noted as a whole: it is old, and the thread
 *     may yet fill it with plain stores.
 * J4  the journal is read after *all* threads are scanned: before, such a plain store
 *     might still come from a stack that then forgets the reference (found by the model).
 * J5  slots stay slots until it is read: an old object goes in a full cycle only, which
 *     drops the journal.
 * J6  `seen` names slots that are in the journal: it is emptied with the hand-over.
 * The lock is a leaf; stores take it for a full chunk only. */
#include "collector/journal.h"

#include "base/check.h"
#include "base/lock.h"

#include <string.h>

enum {
        OBJECT = 1,        /* the low bit of an item: all slots of the object */
        MAX_CHUNKS = 8192, /* then a full cycle costs no more */
        AHEAD = 8          /* slots are asked for so many before they are read */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static struct pld_grey_chunk *handed_over; /* lock */
static size_t nhanded_over;                /* lock: chunks */
static _Atomic bool is_void;

bool pld_journal_is_void(void)
{
        return pld_load_relaxed(&is_void);
}

static void hand_over_chunk(struct pld_grey_chunk *chunk)
{
        pld_lock(&lock);
        bool taken = nhanded_over < MAX_CHUNKS;
        if (taken) {
                chunk->next = handed_over;
                handed_over = chunk;
                nhanded_over++;
        }
        pld_unlock(&lock);
        if (taken)
                return;
        pld_store_relaxed(&is_void, true);
        pld_grey_chunk_free(chunk);
}

static PLD_NOINLINE bool next_chunk_slow(struct pld_journal *journal)
{
        if (journal->slots)
                hand_over_chunk(journal->slots);
        journal->slots = pld_journal_is_void() ? NULL : pld_grey_chunk_new();
        if (!journal->slots)
                pld_store_relaxed(&is_void, true);
        return journal->slots != NULL;
}

static inline void put(struct pld_journal *journal, uintptr_t item)
{
        struct pld_grey_chunk *chunk = journal->slots;
        if (pld_unlikely(!chunk || chunk->n == PLD_GREY_ITEMS)) {
                if (!next_chunk_slow(journal))
                        return;
                chunk = journal->slots;
        }
        chunk->item[chunk->n++] = item;
}

/* Marked, if it is a collected object's at all; `otherwise` if it is none. */
static inline bool is_old(uintptr_t at, bool otherwise)
{
        struct pld_place place = pld_place_of_word(at);
        if (pld_place_kind(place) != PLD_KIND_COLLECTED)
                return otherwise;
        struct pld_span *span = pld_place_span(place);
        return pld_span_is_marked(span, pld_span_index(span, at));
}

void pld_journal_note(struct pld_journal *journal, void **slot, void *value)
{
        if (!value || !is_old((uintptr_t)slot, false) || is_old((uintptr_t)value, true))
                return;
        uintptr_t *seen = &journal->seen[(uintptr_t)slot / sizeof *slot % PLD_JOURNAL_SEEN];
        if (*seen == (uintptr_t)slot)
                return; /* J6 */
        *seen = (uintptr_t)slot;
        put(journal, (uintptr_t)slot);
}

void pld_journal_note_nowhere(void)
{
        pld_store_relaxed(&is_void, true);
}

void pld_journal_flip(struct pld_journal *journal, const void *newest)
{
        PLD_ASSERT(!journal->slots); /* J2 */
        journal->newest = (uintptr_t)newest; /* J3 */
}

void pld_journal_hand_over(struct pld_journal *journal)
{
        if (journal->newest)
                put(journal, journal->newest | OBJECT);
        journal->newest = 0;
        if (!journal->slots)
                return;
        hand_over_chunk(journal->slots);
        journal->slots = NULL;
        memset(journal->seen, 0, sizeof journal->seen); /* J6 */
}

/* ---- The cycle ------------------------------------------------------------------------ */

static struct pld_grey_chunk *take_all(void)
{
        pld_lock(&lock);
        struct pld_grey_chunk *first = handed_over;
        handed_over = NULL;
        nhanded_over = 0;
        pld_unlock(&lock);
        return first;
}

static void shade_item(struct pld_marker *marker, uintptr_t item)
{
        PLD_ASSERT(is_old(item, false)); /* J5 */
        if (item & OBJECT)
                pld_marker_queue(marker, item - OBJECT);
        else /* Acquire: pairs with polder_store's release. */
                pld_shade_word(marker, __atomic_load_n((uintptr_t *)item, __ATOMIC_ACQUIRE));
}

static void shade_chunk(struct pld_marker *marker, const struct pld_grey_chunk *chunk)
{
        for (size_t i = 0; i < chunk->n; i++) {
                if (i + AHEAD < chunk->n)
                        __builtin_prefetch((void *)(chunk->item[i + AHEAD] & ~(uintptr_t)OBJECT));
                shade_item(marker, chunk->item[i]);
        }
}

size_t pld_journal_shade(struct pld_marker *marker)
{
        size_t n = 0;
        pld_store_relaxed(&is_void, false);
        for (struct pld_grey_chunk *chunk = take_all(), *next; chunk; chunk = next) {
                next = chunk->next;
                shade_chunk(marker, chunk);
                n += chunk->n;
                pld_grey_chunk_free(chunk);
        }
        return n;
}

void pld_journal_drop(void)
{
        for (struct pld_grey_chunk *chunk = take_all(), *next; chunk; chunk = next) {
                next = chunk->next;
                pld_grey_chunk_free(chunk);
        }
        pld_store_relaxed(&is_void, false);
}

/* ---- fork() --------------------------------------------------------------------------- */

void pld_journal_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_journal_fork_done(void)
{
        pld_lock_cede(&lock);
}

/* What other threads had noted is lost. */
void pld_journal_fork_child(void)
{
        pld_store_relaxed(&is_void, true);
        pld_lock_cede(&lock);
}
