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
 * J2  from then on, what is stored is shaded, and old after the flip, unless it was born in the
 *     cycle. Births of full cycles are old. In a young cycle, when it ends, whatever leads from
 *     something else to what was born in it is noted for the next: stores note their slots,
 *     which covers old objects; a thread's newest object is noted as a whole when the thread
 *     is scanned; and what was filled by plain stores before is traced after the last scan, or
 *     is in the journal (J3), so who reads it finds such a reference, and notes the object that
 *     it leads to. (That stores and newest objects do not suffice was found by the model.)
 * J3  a thread's newest object at the flip is noted as a whole: it is old, and the thread
 *     may yet fill it with plain stores.
 * J4  the journal is read after *all* threads are scanned: before, such a plain store
 *     might still come from a stack that then forgets the reference (found by the model).
 * J5  a noted slot is read if its object is old by then. If it died, in the cycle that noted
 *     it, there may be anything.
 * J6  `seen` names slots that are in the journal: it is emptied with the hand-over.
 * The lock is a leaf; stores take it for a full chunk only, and markers seldom find anything
 * to note. */
#include "collector/journal.h"

#include "base/check.h"
#include "base/lock.h"

#include <string.h>

enum {
        OBJECT = 1,        /* the low bits of an item: all slots of the object; */
        WANTED = 2,        /* the object itself, by somebody older */
        TAGS = OBJECT | WANTED,
        MAX_CHUNKS = 8192, /* then a full cycle costs no more */
        AHEAD = 8          /* slots are asked for so many before they are read */
};

enum { NOW, LATER };

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
/* For the next cycle, or the one that has begun and not read it yet; and for the one after it. */
static struct handed_over {
        struct pld_grey_chunk *first; /* lock */
        size_t nchunks;               /* lock */
        _Atomic bool is_void;
} handed_over[2];
static struct pld_lock want_lock = PLD_LOCK_INIT(PLD_RANK_JOURNAL);
static struct pld_journal of_markers = { .later = true }; /* want lock */

bool pld_journal_is_void(void)
{
        return pld_load_relaxed(&handed_over[NOW].is_void);
}

static void lose(bool later)
{
        pld_store_relaxed(&handed_over[later ? LATER : NOW].is_void, true);
}

static bool hand_over_chunk_locked(struct pld_grey_chunk *chunk, bool later)
{
        struct handed_over *to = &handed_over[later ? LATER : NOW];
        if (to->nchunks == MAX_CHUNKS)
                return false;
        chunk->next = to->first;
        to->first = chunk;
        to->nchunks++;
        return true;
}

static void hand_over_chunk(struct pld_grey_chunk *chunk, bool later)
{
        pld_lock(&lock);
        bool taken = hand_over_chunk_locked(chunk, later);
        pld_unlock(&lock);
        if (taken)
                return;
        lose(later);
        pld_grey_chunk_free(chunk);
}

static PLD_NOINLINE bool next_chunk_slow(struct pld_journal *journal)
{
        bool later = journal->later;
        if (journal->slots)
                hand_over_chunk(journal->slots, later);
        bool lost = pld_load_relaxed(&handed_over[later ? LATER : NOW].is_void);
        journal->slots = lost ? NULL : pld_grey_chunk_new();
        if (!journal->slots)
                lose(later);
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

static inline void put_once(struct pld_journal *journal, uintptr_t item)
{
        uintptr_t *seen = &journal->seen[item / sizeof(void *) % PLD_JOURNAL_SEEN];
        if (*seen == item)
                return; /* J6 */
        *seen = item;
        put(journal, item);
}

/* If it is a collected object's at all; `otherwise` if it is none. */
static inline bool is_old(uintptr_t at, bool otherwise)
{
        struct pld_place place = pld_place_of_word(at);
        if (pld_place_kind(place) != PLD_KIND_COLLECTED)
                return otherwise;
        struct pld_span *span = pld_place_span(place);
        return pld_span_is_old(span, pld_span_index(span, at));
}

/* The same. */
static inline bool is_born(uintptr_t at, bool otherwise)
{
        struct pld_place place = pld_place_of_word(at);
        if (pld_place_kind(place) != PLD_KIND_COLLECTED)
                return otherwise;
        struct pld_span *span = pld_place_span(place);
        return pld_span_is_born(span, pld_span_index(span, at));
}

void pld_journal_note(struct pld_journal *journal, void **slot, void *value)
{
        if (value && is_old((uintptr_t)slot, false) && !is_old((uintptr_t)value, true))
                put_once(journal, (uintptr_t)slot);
}

void pld_journal_note_birth(struct pld_journal *journal, void **slot, void *value)
{
        if (value && is_born((uintptr_t)value, false) && !is_born((uintptr_t)slot, true))
                put_once(journal, (uintptr_t)slot);
}

void pld_journal_note_nowhere(bool in_cycle)
{
        lose(false);
        if (in_cycle)
                lose(true);
}

void pld_journal_note_whole(struct pld_journal *journal, const void *newest)
{
        if (newest)
                put(journal, (uintptr_t)newest | OBJECT);
}

void pld_journal_want(uintptr_t object)
{
        pld_lock(&want_lock);
        put_once(&of_markers, object | WANTED);
        pld_unlock(&want_lock);
}

void pld_journal_flip(struct pld_journal *journal, const void *newest)
{
        journal->newest = (uintptr_t)newest; /* J3 */
}

void pld_journal_hand_over(struct pld_journal *journal)
{
        if (journal->newest)
                put(journal, journal->newest | OBJECT);
        journal->newest = 0;
        if (journal->slots)
                hand_over_chunk(journal->slots, journal->later);
        journal->slots = NULL;
        memset(journal->seen, 0, sizeof journal->seen); /* J6 */
}

/* ---- The cycle ------------------------------------------------------------------------ */

static struct pld_grey_chunk *take_all(void)
{
        struct handed_over *now = &handed_over[NOW];
        pld_store_relaxed(&now->is_void, false);
        pld_lock(&lock);
        struct pld_grey_chunk *first = now->first;
        now->first = NULL;
        now->nchunks = 0;
        pld_unlock(&lock);
        return first;
}

static void shade_item(struct pld_marker *marker, uintptr_t item)
{
        uintptr_t at = item & ~(uintptr_t)TAGS;
        if (item & WANTED)
                pld_shade_word(marker, at);
        else if (!is_old(at, false))
                return; /* J5 */
        else if (item & OBJECT)
                pld_marker_queue(marker, at);
        else /* Acquire: pairs with polder_store's release. Who stored what was born has noted that. */
                pld_shade_word(marker, __atomic_load_n((uintptr_t *)at, __ATOMIC_ACQUIRE));
}

static void shade_chunk(struct pld_marker *marker, const struct pld_grey_chunk *chunk)
{
        for (size_t i = 0; i < chunk->n; i++) {
                if (i + AHEAD < chunk->n)
                        __builtin_prefetch((void *)(chunk->item[i + AHEAD] & ~(uintptr_t)TAGS));
                shade_item(marker, chunk->item[i]);
        }
}

size_t pld_journal_shade(struct pld_marker *marker)
{
        size_t n = 0;
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
}

void pld_journal_turn(void)
{
        pld_lock(&want_lock);
        pld_journal_hand_over(&of_markers);
        pld_unlock(&want_lock);
        struct handed_over *now = &handed_over[NOW], *later = &handed_over[LATER];
        pld_lock(&lock);
        PLD_ASSERT(!now->first);
        now->first = later->first;
        now->nchunks = later->nchunks;
        if (pld_load_relaxed(&later->is_void))
                pld_store_relaxed(&now->is_void, true);
        *later = (struct handed_over){ 0 };
        pld_unlock(&lock);
}

/* ---- fork() --------------------------------------------------------------------------- */

void pld_journal_fork_prepare(void)
{
        pld_lock_seize(&want_lock);
        pld_lock_seize(&lock);
}

void pld_journal_fork_done(void)
{
        pld_lock_cede(&lock);
        pld_lock_cede(&want_lock);
}

/* What other threads had noted is lost. */
void pld_journal_fork_child(void)
{
        lose(false);
        pld_journal_fork_done();
}
