/* extent.c: the record of what is backed, and who is told of its changes.
 *
 * A program that registers memory with a device must know of it before the memory is used,
 * and that it goes before it does. So the page heap says both here, while the huge
 * pages belong to it alone, and the listener is called before it goes on. The record
 * is the page heap's knowledge as far as it was told: what a listener has to be told
 * when it comes, and what neighbours make one extent.
 *
 * E1  a huge page's entry is its kind and node while it is told as added, else 0. It
 *     changes and the listener is called under one lock; a listener comes and goes
 *     under it, too. So each one is told everything once, and in order.
 * E2  that lock is held through a callback. It ranks before the page heaps', of which
 *     none is held here: a callback may wait, but must not come back for memory, and
 *     dies if it tries (pld_extent_check_outside()).
 * E3  entries at or beyond a slice's end are 0; the end only rises.
 * E4  while there is a listener, what is backed keeps the physical pages that it has: a
 *     device may have been told of them.
 * Called by the pieces of the page heap: row.c, shed.c, moved.c. */
#include "arena/extent.h"

#include "arena/page_heap.h"
#include "base/atomic.h"
#include "base/check.h"
#include "base/lock.h"
#include "numa/machine.h"
#include "numa/meta_map.h"
#include "numa/range.h"

#include <polder/extent.h>

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

enum { NODE_SHIFT = 8 };

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_EXTENT);
static uint16_t *entries;            /* const after start; what they say: lock, E1 */
static size_t ends[PLD_MAX_SLICES];  /* lock: E3 */
static polder_extent_visit listener; /* lock */
static void *listener_arg;           /* lock */
static _Atomic bool watched;         /* lock to write */
_Thread_local bool pld_extent_telling;

PLD_NOINLINE void pld_extent_die(void)
{
        pld_die("a callback of polder_on_extent() allocated, freed, or forked");
}

static size_t index_of(uintptr_t at)
{
        return (at - pld_range.base) >> PLD_HUGE_SHIFT;
}

static size_t page_bytes_of(enum pld_backing kind)
{
        switch (kind) {
        case PLD_BACKING_1G:
                return PLD_GIB;
        case PLD_BACKING_2M:
        case PLD_BACKING_THP:
                return PLD_HUGE_BYTES;
        default:
                return (size_t)sysconf(_SC_PAGESIZE);
        }
}

/* n huge pages whose entries are all that of the first. */
static struct polder_extent extent_of(size_t first, size_t n)
{
        unsigned node = entries[first] >> NODE_SHIFT;
        enum pld_backing kind = entries[first] & ((1 << NODE_SHIFT) - 1);
        return (struct polder_extent){ .start =
                                           (void *)(pld_range.base + (first << PLD_HUGE_SHIFT)),
                                       .nbytes = n << PLD_HUGE_SHIFT,
                                       .page_bytes = page_bytes_of(kind),
                                       .node = pld_machine.node[node].id };
}

static size_t length_locked(size_t first, size_t end)
{
        size_t i = first + 1;
        while (i < end && entries[i] == entries[first])
                i++;
        return i - first;
}

/* The first extent from *at on, which becomes its end; false: there is none. */
static bool next_locked(size_t *at, struct polder_extent *out)
{
        unsigned shift = pld_range.slice_shift - PLD_HUGE_SHIFT;
        for (unsigned slice = 0; entries && slice < pld_range.nslices; slice++) {
                size_t i = (size_t)slice << shift;
                if (i < *at)
                        i = *at;
                while (i < ends[slice] && !entries[i])
                        i++;
                if (i >= ends[slice])
                        continue;
                size_t n = length_locked(i, ends[slice]);
                *out = extent_of(i, n);
                *at = i + n;
                return true;
        }
        return false;
}

/* ---- Changes ---------------------------------------------------------------------------- */

static int tell_locked(polder_extent_visit visit, const struct polder_extent *extent, bool added,
                       void *arg)
{
        int state;
        pld_extent_telling = true; /* E2 */
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* the lock is held */
        int result = visit(extent, added, arg);
        pthread_setcancelstate(state, NULL);
        pld_extent_telling = false;
        return result;
}

static void tell_change_locked(size_t first, size_t n, bool added)
{
        if (!listener)
                return;
        struct polder_extent extent = extent_of(first, n);
        tell_locked(listener, &extent, added, listener_arg);
}

static void fill_locked(size_t first, size_t n, unsigned value)
{
        for (size_t i = first; i < first + n; i++) {
                PLD_ASSERT(!entries[i] != !value);
                entries[i] = (uint16_t)value;
        }
}

void pld_extent_added(uintptr_t at, size_t nbytes, unsigned node, enum pld_backing kind)
{
        unsigned slice = pld_range_slice_of(at);
        size_t first = index_of(at), n = nbytes >> PLD_HUGE_SHIFT;
        pld_extent_check_outside();
        pld_lock(&lock);
        fill_locked(first, n, (unsigned)kind | node << NODE_SHIFT);
        if (ends[slice] < first + n)
                ends[slice] = first + n;
        tell_change_locked(first, n, true);
        pld_unlock(&lock);
}

void pld_extent_removed(uintptr_t at, size_t nbytes)
{
        size_t first = index_of(at), n = nbytes >> PLD_HUGE_SHIFT;
        pld_extent_check_outside();
        pld_lock(&lock);
        PLD_ASSERT(length_locked(first, first + n) == n);
        tell_change_locked(first, n, false);
        fill_locked(first, n, 0);
        pld_unlock(&lock);
}

bool pld_extent_is_watched(void)
{
        return pld_load_relaxed(&watched);
}

bool pld_extent_unless_watched(bool (*alter)(void *arg), void *arg) /* E4 */
{
        pld_extent_check_outside();
        pld_lock(&lock);
        bool result = !listener && alter(arg);
        pld_unlock(&lock);
        return result;
}

void pld_extent_split_locked(uintptr_t at)
{
        PLD_ASSERT(pld_lock_is_held(&lock));
        uint16_t *entry = &entries[index_of(at)];
        *entry = (uint16_t)(*entry >> NODE_SHIFT << NODE_SHIFT | PLD_BACKING_BASE);
}

/* ---- Listening ---------------------------------------------------------------------------- */

int polder_extents(polder_extent_visit visit, void *arg)
{
        struct polder_extent extent;
        size_t at = 0;
        if (pld_extent_telling)
                return -EDEADLK;
        for (;;) {
                pld_lock(&lock);
                bool found = next_locked(&at, &extent);
                pld_unlock(&lock);
                int result = found ? visit(&extent, true, arg) : 0;
                if (!found || result)
                        return result;
        }
}

static int tell_all_locked(polder_extent_visit visit, void *arg)
{
        struct polder_extent extent;
        int result = 0;
        for (size_t at = 0; !result && next_locked(&at, &extent);)
                result = tell_locked(visit, &extent, true, arg);
        return result;
}

static void set_listener_locked(polder_extent_visit visit, void *arg)
{
        listener = visit;
        listener_arg = arg;
        pld_store_relaxed(&watched, visit != NULL);
}

static int listen_locked(polder_extent_visit visit, void *arg)
{
        if (listener)
                return -EBUSY;
        set_listener_locked(visit, arg); /* first: what is told is watched */
        int result = tell_all_locked(visit, arg);
        if (result)
                set_listener_locked(NULL, NULL);
        return result;
}

int polder_on_extent(polder_extent_visit visit, void *arg)
{
        int result = 0;
        if (pld_extent_telling)
                return -EDEADLK;
        pld_lock(&lock);
        if (visit)
                result = listen_locked(visit, arg);
        else
                set_listener_locked(NULL, NULL);
        pld_unlock(&lock);
        return result;
}

/* ---- Start and fork ------------------------------------------------------------------------ */

int pld_extent_start(void)
{
        uint16_t *fresh = pld_meta_map((pld_range.nbytes >> PLD_HUGE_SHIFT) * sizeof *fresh);
        if (!fresh)
                return -ENOMEM;
        unsigned shift = pld_range.slice_shift - PLD_HUGE_SHIFT;
        pld_lock(&lock); /* a listener may be there already */
        for (unsigned slice = 0; slice < pld_range.nslices; slice++)
                ends[slice] = (size_t)slice << shift;
        entries = fresh;
        pld_unlock(&lock);
        return 0;
}

void pld_extent_fork_prepare(void)
{
        pld_extent_check_outside();
        pld_lock_seize(&lock);
}

void pld_extent_fork_done(void)
{
        pld_lock_cede(&lock);
}

/* What the parent registered is not the child's: its ranges are copies. */
void pld_extent_fork_child(void)
{
        set_listener_locked(NULL, NULL);
}
