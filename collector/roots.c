/* roots.c: what is alive because somebody said so.
 *
 * Ranges are scanned conservatively, in pieces that any marker may claim. Pins
 * are a hash table from object to count.
 *
 * R1  a word that leaves the roots while a cycle is under way is shaded first:
 *     it was reachable when the cycle began.
 * R2  a range or pin that takes the place of a removed one is shaded, too: the
 *     scan may have passed its new place already.
 * R3  a range among a library's variables is there as long as the dynamic linker says so;
 *     it is asked before each piece, which takes no lock.
 * R4  a thread that can't be attached, as it is about to be no more, shades nothing: what it
 *     frees leaves the roots between two cycles. */
#include "collector/roots.h"

#include "arena/malloc.h"
#include "arena/meta.h"
#include "base/check.h"
#include "base/loaded.h"
#include "base/lock.h"
#include "collector/request.h"
#include "collector/safepoint.h"
#include "collector/settings.h"
#include "collector/thread.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE_BYTES = 128 << 10 };

struct range {
        uintptr_t from, to;
        bool is_loaded; /* of the program's variables or of a library's */
};

struct pin {
        uintptr_t object;    /* 0: free */
        uint32_t count;
        bool uncollectable;  /* one of the count is polder_new_uncollectable's */
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_ROOTS);
static struct range *ranges;         /* lock */
static size_t nranges, ranges_room;  /* lock */
static struct pin *pins;             /* lock */
static size_t npins, pins_room;      /* lock; a power of two */
static size_t scan_range, scan_pin;  /* lock: where the cycle's scan is */
static uintptr_t scan_at;            /* lock: within the range */
static bool scanning;                /* lock */

/* A grown copy; the old one stays where it is, as all metadata does. */
static void *grown(const void *old, size_t nbytes, size_t to_nbytes)
{
        void *fresh = pld_meta_alloc(to_nbytes);
        if (fresh && nbytes)
                memcpy(fresh, old, nbytes);
        return fresh;
}

static bool is_marking(const struct pld_thread *self)
{
        return self && (self->tls->shading & (PLD_SHADE_OLD | PLD_SHADE_NEW));
}

/* A range may be a fiber's stack: not for AddressSanitizer. */
__attribute__((no_sanitize("address"))) static void
shade_range(struct pld_marker *marker, uintptr_t from, uintptr_t to)
{
        for (uintptr_t at = from; at + sizeof(uintptr_t) <= to; at += sizeof(uintptr_t))
                pld_shade_word(marker, __atomic_load_n((uintptr_t *)at, __ATOMIC_ACQUIRE));
}

/* ---- Ranges -------------------------------------------------------------------- */

int polder_root_add(void *start, size_t nbytes)
{
        uintptr_t from = pld_round_up((uintptr_t)start, sizeof(uintptr_t));
        uintptr_t to = pld_round_down((uintptr_t)start + nbytes, sizeof(uintptr_t));
        if (!start || to <= from)
                return -EINVAL;
        struct pld_thread *self = pld_thread_attach();
        if (!self)
                return -ENOMEM;
        int error = 0;
        pld_enter();
        pld_lock(&lock);
        if (nranges == ranges_room) {
                size_t room = ranges_room ? 2 * ranges_room : 64;
                struct range *more = grown(ranges, nranges * sizeof *ranges, room * sizeof *more);
                if (!more) {
                        error = -ENOMEM;
                        goto out;
                }
                ranges = more;
                ranges_room = room;
        }
        ranges[nranges++] = (struct range){ from, to, pld_is_loaded(from, to - from) };
        if (is_marking(self))
                shade_range(&self->marker, from, to);
out:
        pld_unlock(&lock);
        pld_leave();
        return error;
}

int polder_root_remove(void *start)
{
        uintptr_t from = pld_round_up((uintptr_t)start, sizeof(uintptr_t));
        struct pld_thread *self = pld_thread_attach();
        if (!self)
                return -ENOENT;
        int error = -ENOENT;
        pld_enter();
        pld_lock(&lock);
        for (size_t i = 0; i < nranges; i++) {
                if (ranges[i].from != from)
                        continue;
                error = 0;
                struct range last = ranges[--nranges];
                if (is_marking(self)) {
                        shade_range(&self->marker, from, ranges[i].to); /* R1 */
                        if (i < nranges)
                                shade_range(&self->marker, last.from, last.to); /* R2 */
                }
                ranges[i] = last;
                break;
        }
        pld_unlock(&lock);
        pld_leave();
        return error;
}

size_t pld_roots_bytes(void)
{
        size_t nbytes = 0;
        pld_lock(&lock);
        for (size_t i = 0; i < nranges; i++)
                nbytes += ranges[i].to - ranges[i].from;
        pld_unlock(&lock);
        return nbytes;
}

uintptr_t pld_roots_end_of(uintptr_t at)
{
        uintptr_t end = 0;
        pld_lock(&lock);
        for (size_t i = 0; i < nranges && !end; i++)
                if (at >= ranges[i].from && at < ranges[i].to)
                        end = ranges[i].to;
        pld_unlock(&lock);
        return end;
}

/* ---- Pins ------------------------------------------------------------------------- */

static size_t hash_of(uintptr_t object)
{
        return (size_t)((object >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
}

static struct pin *find_pin_locked(uintptr_t object)
{
        if (!pins_room)
                return NULL;
        for (size_t i = hash_of(object);; i++) {
                struct pin *pin = &pins[i & (pins_room - 1)];
                if (pin->object == object)
                        return pin;
                if (pin->object == 0)
                        return NULL;
        }
}

static void place_pin_locked(struct pin pin)
{
        for (size_t i = hash_of(pin.object);; i++) {
                struct pin *slot = &pins[i & (pins_room - 1)];
                if (slot->object)
                        continue;
                *slot = pin;
                npins++;
                return;
        }
}

static bool make_room_locked(void)
{
        if (2 * (npins + 1) <= pins_room)
                return true;
        size_t room = pins_room ? 2 * pins_room : 64;
        struct pin *old = pins, *fresh = pld_meta_alloc(room * sizeof *fresh);
        size_t nold = pins_room;
        if (!fresh)
                return false;
        pins = fresh;
        pins_room = room;
        npins = 0;
        scan_pin = 0; /* the order changed: a scan starts over */
        for (size_t i = 0; i < nold; i++)
                if (old[i].object)
                        place_pin_locked(old[i]);
        return true;
}

/* Those behind it move up, so that each is found without a hole on the way (Knuth's
 * algorithm R). */
static void remove_pin_locked(struct pld_thread *self, struct pin *pin)
{
        size_t mask = pins_room - 1, hole = (size_t)(pin - pins);
        npins--;
        for (size_t i = hole + 1; pins[i & mask].object; i++) {
                size_t wanted = hash_of(pins[i & mask].object);
                if (((i - wanted) & mask) < ((i - hole) & mask))
                        continue; /* it would stand before its own place */
                if (is_marking(self))
                        pld_shade_word(&self->marker, pins[i & mask].object); /* R2 */
                pins[hole & mask] = pins[i & mask];
                hole = i;
        }
        pins[hole & mask].object = 0;
}

/* The first byte of the object, or 0. */
static uintptr_t object_start(const void *at)
{
        struct pld_found found = pld_find_object((uintptr_t)at);
        return found.span ? pld_span_object(found.span, found.index) : 0;
}

static int add_pin(struct pld_thread *self, uintptr_t object, bool uncollectable)
{
        int error = 0;
        pld_lock(&lock);
        struct pin *pin = find_pin_locked(object);
        if (pin) {
                pin->count++;
                pin->uncollectable |= uncollectable;
        } else if (make_room_locked()) {
                place_pin_locked((struct pin){ object, 1, uncollectable });
        } else {
                error = -ENOMEM;
        }
        if (is_marking(self))
                pld_shade_word(&self->marker, object);
        pld_unlock(&lock);
        return error;
}

/* only_uncollectable: for polder_free(). */
static int drop_pin(struct pld_thread *self, uintptr_t object, bool only_uncollectable)
{
        int error = 0;
        pld_lock(&lock);
        struct pin *pin = find_pin_locked(object);
        if (!pin || (only_uncollectable ? !pin->uncollectable
                                        : pin->count == (uint32_t)pin->uncollectable)) {
                error = -ENOENT;
                goto out;
        }
        if (is_marking(self))
                pld_shade_word(&self->marker, object); /* R1 */
        if (only_uncollectable)
                pin->uncollectable = false;
        if (--pin->count == 0)
                remove_pin_locked(self, pin);
out:
        pld_unlock(&lock);
        return error;
}

int polder_pin(const void *at)
{
        struct pld_thread *self = pld_thread_attach();
        if (!self)
                return -ENOMEM;
        pld_enter();
        uintptr_t object = object_start(at);
        int error = object ? add_pin(self, object, false) : -EINVAL;
        pld_leave();
        return error;
}

int polder_unpin(const void *at)
{
        struct pld_thread *self = pld_thread_attach();
        if (!self)
                return -ENOENT;
        pld_enter();
        uintptr_t object = object_start(at);
        int error = object ? drop_pin(self, object, false) : -ENOENT;
        pld_leave();
        return error;
}

int pld_pin_uncollectable(const void *object)
{
        return add_pin(pld_thread_self(), (uintptr_t)object, true);
}

struct release {
        uintptr_t object;
        int error;
};

static void release_in_stop(void *arg)
{
        struct release *release = arg;
        release->error = drop_pin(NULL, release->object, true);
}

/* polder_free() of a collected object: right for uncollectable ones only. */
static void free_collected(void *at)
{
        struct release release = { .object = (uintptr_t)at };
        struct pld_thread *self = pld_thread_attach();
        if (self) {
                pld_enter();
                release.error = drop_pin(self, release.object, true);
                pld_leave();
        } else {
                pld_request_hold(release_in_stop, &release); /* R4 */
        }
        if (release.error)
                pld_die("free of %p, which is a collected object: drop the pointers to it instead", at);
}

void pld_roots_start(void)
{
        pld_free_collected = free_collected;
}

/* ---- Whether ranges are still there ------------------------------------------------------ */

static PLD_NOINLINE void die_of_range(struct range range, const char *why)
{
        pld_die("the root range %p of %zu bytes is not there any more: it should have been removed "
                "by polder_root_remove() before %s", (void *)range.from, range.to - range.from, why);
}

/* R3. */
static void check_loaded(struct range range)
{
        if (pld_unlikely(range.is_loaded && !pld_is_loaded(range.from, range.to - range.from)))
                die_of_range(range, "its library was unloaded");
}

/* Debugging, for it asks the kernel. */
static void check_mapped(struct range range)
{
        enum { NASKED = 256 };
        unsigned char there[NASKED];
        uintptr_t page = (uintptr_t)getpagesize();
        for (uintptr_t at = pld_round_down(range.from, page); at < range.to; at += NASKED * page) {
                uintptr_t left = pld_round_up(range.to - at, page);
                size_t nbytes = left < NASKED * page ? left : NASKED * page;
                if (mincore((void *)at, nbytes, there) && errno == ENOMEM)
                        die_of_range(range, "it was unmapped");
        }
}

static void check_all_locked(void)
{
        for (size_t i = 0; i < nranges; i++) {
                check_loaded(ranges[i]);
                check_mapped(ranges[i]);
        }
}

/* ---- The cycle's scan ------------------------------------------------------------------ */

void pld_roots_begin(void)
{
        pld_lock(&lock);
        scan_range = 0;
        scan_at = 0;
        scan_pin = 0;
        scanning = true;
        if (pld_settings.verify)
                check_all_locked();
        pld_unlock(&lock);
        pld_add_relaxed(&pld_grey_credits, 1);
}

static bool scan_range_piece_locked(struct pld_marker *marker)
{
        if (scan_range >= nranges)
                return false;
        struct range range = ranges[scan_range];
        check_loaded(range);
        uintptr_t from = scan_at >= range.from && scan_at < range.to ? scan_at : range.from;
        uintptr_t to = range.to - from > PIECE_BYTES ? from + PIECE_BYTES : range.to;
        shade_range(marker, from, to);
        scan_at = to;
        if (to == range.to) {
                scan_range++;
                scan_at = 0;
        }
        return true;
}

static bool scan_pins_piece_locked(struct pld_marker *marker)
{
        size_t end = scan_pin + 4096 < pins_room ? scan_pin + 4096 : pins_room;
        if (scan_pin >= end)
                return false;
        for (; scan_pin < end; scan_pin++)
                if (pins[scan_pin].object)
                        pld_shade_word(marker, pins[scan_pin].object);
        return true;
}

bool pld_roots_scan_some(struct pld_marker *marker)
{
        pld_lock(&lock);
        if (scanning)
                pld_marker_take_credit(marker);
        bool more = scanning &&
                    (scan_range_piece_locked(marker) || scan_pins_piece_locked(marker));
        bool finished = scanning && !more;
        if (finished)
                scanning = false;
        pld_unlock(&lock);
        if (finished)
                pld_grey_done(); /* the roots'; the marker's own is still there */
        return more;
}

__attribute__((no_sanitize("address"))) static void each_word(struct range range, pld_root_visit visit,
                                                             void *arg)
{
        struct pld_root root = { .kind = PLD_ROOT_RANGE,
                                 .holder = range.from,
                                 .nbytes = range.to - range.from };
        for (root.slot = range.from; root.slot < range.to; root.slot += sizeof(uintptr_t)) {
                root.word = *(uintptr_t *)root.slot;
                visit(&root, arg);
        }
}

void pld_roots_each(pld_root_visit visit, void *arg)
{
        pld_lock(&lock);
        for (size_t i = 0; i < nranges; i++)
                each_word(ranges[i], visit, arg);
        for (size_t i = 0; i < pins_room; i++) {
                struct pld_root root = { .kind = pins[i].uncollectable ? PLD_ROOT_UNCOLLECTABLE
                                                                       : PLD_ROOT_PIN,
                                         .exact = true,
                                         .count = pins[i].count,
                                         .word = pins[i].object };
                if (root.word)
                        visit(&root, arg);
        }
        pld_unlock(&lock);
}

void pld_roots_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_roots_fork_done(void)
{
        pld_lock_cede(&lock);
}
