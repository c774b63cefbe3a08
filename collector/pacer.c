/* pacer.c: the heap's goal, the cycle's start, and the mutators' share.
 *
 * After Go's pacer (mgcpacer.go). The *goal* is the heap at which a cycle should
 * have ended: what was live plus a share of it, and of the roots. The *trigger* is
 * below the goal by what mutators will allocate while the cycle runs, as learnt
 * from the cycles before. If they allocate more, they *assist*: each reserved byte
 * owes so many bytes of scanning that the work is done when the goal is reached;
 * what workers have scanned is credit that pays first. Where that is not enough,
 * as when the collector's threads do not get a processor, mutators that allocate
 * give way for a moment at a time. A memory limit pulls the
 * goal down, until collecting would take half of the processors: then the limit
 * gives way, since a program that only collects is of no use (Go's leaky bucket).
 *
 * What was born while a cycle marked is taken for live without being looked at, and
 * much of it may be dead already. So the goal goes by what was marked alone: at a steady
 * live heap the process stays at a fixed multiple of it, however long the cycles take.
 * What was born has to fit in the growth, of which it leaves a half.
 *
 * Young cycles come between: whenever a part of the room below the trigger has been
 * allocated. What they promote stays, so the next full cycle comes at the same heap as
 * without them, and later.
 *
 * K1  heap = live at the last flip + allocated since; both only approximate, as
 *     threads tell what they allocated a little late.
 * K2  trigger <= goal; and live <= trigger, unless young cycles have promoted more.
 * K3  goal and trigger are the last full cycle's, and do not move with young ones. */
#include "collector/pacer.h"

#include "arena/ahead.h"
#include "arena/stall.h"
#include "base/clock.h"
#include "base/check.h"
#include "base/futex.h"
#include "collector/cycle.h"
#include "collector/roots.h"
#include "collector/settings.h"
#include "collector/start.h"

#include <errno.h>

enum {
        TELL_BYTES = 32 << 10,
        MIN_GOAL_BYTES = 4 << 20, /* times the percentage */
        SLACK_BYTES = 4 << 20,    /* past the goal, before mutators give way */
        GIVE_WAY_NS = 100000,
        ASSIST_BYTES = 32 << 10,  /* of scanning in one assist, at most, */
        ASSIST_BITE = 2 << 10,    /* so much at a time, */
        ASSIST_NS = 100000,       /* until then */
        YOUNG_PART = 4,           /* of the room, to be allocated between young cycles */
        MIN_YOUNG_BYTES = 4 << 20,
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static _Atomic size_t live;             /* marked by the last cycle */
static _Atomic size_t full_live;        /* K3: live after the last full cycle */
static _Atomic size_t grown_up;         /* of that, what was there before it */
static _Atomic size_t since;            /* allocated after the last flip */
static _Atomic size_t goal, trigger;
static _Atomic size_t young_trigger;    /* of `since` */
static _Atomic uint64_t allocated_ever;
static _Atomic int percent;
static _Atomic size_t limit;
static _Atomic double debt_per_byte;    /* 0: nobody assists */
static _Atomic int64_t credit;          /* scanned by workers, not yet used by assists */
static _Atomic uint64_t scanned, marked;  /* by this cycle */
static _Atomic uint64_t cycle_cpu_ns, total_cpu_ns;
static _Atomic uint64_t nassists;

/* Of full and of young cycles: */
static double expected_scan[2];     /* lock: bytes, smoothed */
static double expected_runway[2];   /* lock: bytes allocated while marking, smoothed */
static bool young;                  /* the cycle's: it is one */
static size_t since_at_begin, since_at_mark; /* the cycle's */
static uint64_t last_end_ns;        /* the cycle's */
static double limiter = 0;          /* the cycle's: CPU time above one half, ns */
static bool limit_gives_way;        /* the cycle's */
static _Atomic bool under_pressure; /* after the last cycle, and not yet reported */
static __thread bool reporting;

static polder_pressure pressure_fn; /* lock */
static void *pressure_arg;          /* lock */

/* ---- Goal and trigger ---------------------------------------------------------------- */

static size_t other_bytes(size_t heap)
{
        size_t backed = pld_page_heap_backed_bytes();
        size_t idle = pld_page_heap_idle_bytes();
        return backed > heap + idle ? backed - heap - idle : 0;
}

static size_t wanted_goal(size_t base)
{
        int p = pld_load_relaxed(&percent);
        if (p < 0 || pld_settings.gc == POLDER_GC_OFF)
                return SIZE_MAX;
        size_t certain = pld_load_relaxed(&grown_up);
        size_t grow = (size_t)((double)(certain + pld_roots_bytes()) * p / 100);
        size_t least = (size_t)((double)MIN_GOAL_BYTES * p / 100);
        size_t by_certain = certain + grow, by_all = base + grow / 2;
        size_t to = by_certain > by_all ? by_certain : by_all;
        return to > least ? to : least;
}

static size_t headroom_of(size_t bound)
{
        size_t wanted = bound / 32 > PLD_MIB ? bound / 32 : PLD_MIB;
        return wanted < bound ? wanted : bound;
}

/* The highest heap that keeps the process within the limit. */
static size_t limit_goal(size_t base)
{
        size_t bound = pld_load_relaxed(&limit);
        if (!bound || limit_gives_way)
                return SIZE_MAX;
        size_t taken = other_bytes(base) + headroom_of(bound);
        size_t most = bound > taken ? bound - taken : 0;
        return most > base + PLD_MIB ? most : base + PLD_MIB;
}

/* What may be allocated until a young cycle is due. */
static size_t young_room(size_t base, size_t full_trigger)
{
        size_t room = full_trigger > base ? full_trigger - base : 0;
        size_t least = room / 2 < MIN_YOUNG_BYTES ? room / 2 : MIN_YOUNG_BYTES;
        return room / YOUNG_PART > least ? room / YOUNG_PART : least;
}

static void set_goal(void)
{
        size_t base = pld_load_relaxed(&full_live);
        size_t by_percent = wanted_goal(base), by_limit = limit_goal(pld_load_relaxed(&live));
        size_t to = by_percent < by_limit ? by_percent : by_limit;
        if (to < base)
                to = base;
        pld_store_relaxed(&goal, to);
        pld_store_relaxed(&young_trigger, SIZE_MAX);
        if (to == SIZE_MAX) {
                pld_store_relaxed(&trigger, SIZE_MAX);
                return;
        }
        pld_lock(&lock);
        double room = (double)(to - base);
        double runway = expected_runway[false];
        pld_unlock(&lock);
        if (runway > 0.6 * room)
                runway = 0.6 * room;
        if (runway < 0.1 * room)
                runway = 0.1 * room;
        pld_store_relaxed(&trigger, to - (size_t)runway); /* K2 */
        if (pld_generation_has_marks() && by_percent <= by_limit)
                pld_store_relaxed(&young_trigger, young_room(base, to - (size_t)runway));
}

bool pld_pacer_wants_full_cycle(void)
{
        size_t heap = pld_load_relaxed(&live) + pld_load_relaxed(&since);
        return heap >= pld_load_relaxed(&trigger);
}

bool pld_pacer_wants_cycle(void)
{
        return pld_pacer_wants_full_cycle() ||
               pld_load_relaxed(&since) >= pld_load_relaxed(&young_trigger);
}

bool pld_pacer_is_late(void)
{
        size_t heap = pld_load_relaxed(&live) + pld_load_relaxed(&since);
        size_t end = pld_load_relaxed(&goal), start = pld_load_relaxed(&trigger);
        return heap > start + (end - start) / 2;
}

/* ---- Mutators ---------------------------------------------------------------------------- */

static void tell(struct pld_thread *self)
{
        pld_add_relaxed(&since, self->allocated);
        pld_add_relaxed(&allocated_ever, self->allocated);
        self->allocated = 0;
}

void pld_pacer_note(struct pld_thread *self, size_t nbytes)
{
        self->allocated += nbytes;
        self->assist_debt += (double)nbytes * pld_load_relaxed(&debt_per_byte);
        if (self->allocated < TELL_BYTES)
                return;
        tell(self);
        if (pld_pacer_wants_cycle())
                pld_cycle_request_automatic();
}

void pld_pacer_flush(struct pld_thread *self)
{
        tell(self);
        pld_pacer_add_work(self->marker.scanned_bytes, self->marker.marked_bytes, 0);
        self->marker.scanned_bytes = self->marker.marked_bytes = 0;
}

static bool pay_from_credit(struct pld_thread *self)
{
        int64_t there = pld_load_relaxed(&credit);
        while (there > 0) {
                int64_t want = (int64_t)self->assist_debt + ASSIST_BYTES; /* a little ahead */
                int64_t take = want < there ? want : there;
                if (!pld_cas_acq_rel(&credit, &there, there - take))
                        continue;
                self->assist_debt -= (double)take;
                return self->assist_debt <= 0;
        }
        return false;
}

/* The heap is well past its goal: the cycle is there, but does not get far enough. */
static bool is_far_over_goal(void)
{
        size_t end = pld_load_relaxed(&goal);
        size_t slack = end / 8 > SLACK_BYTES ? end / 8 : SLACK_BYTES;
        return pld_load_relaxed(&live) + pld_load_relaxed(&since) > end + slack && end < SIZE_MAX;
}

/* Leaves the processor to the collector for a moment, in a blocking section. */
static PLD_NOINLINE void give_way(struct pld_thread *self)
{
        static _Atomic uint32_t never_woken; /* a sleep that is no cancellation point */
        uint64_t start_ns = pld_now_ns();
        pld_enter();
        pld_thread_block(self);
        pld_futex_wait(&never_woken, 0, GIVE_WAY_NS);
        pld_thread_unblock(self);
        pld_leave();
        pld_stall_note(PLD_STALL_PACE, pld_now_ns() - start_ns);
}

/* How long a byte takes depends on what it refers to: so the clock is looked at, too. */
static void mark_a_while(struct pld_thread *self, uint64_t until_ns)
{
        for (unsigned i = 0; i < ASSIST_BYTES / ASSIST_BITE; i++)
                if (!pld_mark_some(&self->marker, ASSIST_BITE) || pld_now_ns() >= until_ns)
                        break;
}

void pld_pacer_assist(struct pld_thread *self)
{
        pld_cycle_run_due(self);
        if (pld_unlikely(is_far_over_goal()))
                give_way(self);
        if (!pld_cycle_is_marking()) {
                self->assist_debt = 0;
                return;
        }
        if (self->assist_debt < ASSIST_BYTES || pay_from_credit(self))
                return;
        uint64_t start_ns = pld_now_ns();
        uint64_t before = self->marker.scanned_bytes;
        pld_enter();
        if (pld_cycle_is_marking()) { /* no flip can come now */
                mark_a_while(self, start_ns + ASSIST_NS);
                pld_marker_flush(&self->marker);
        }
        uint64_t done = self->marker.scanned_bytes - before;
        uint64_t took_ns = pld_now_ns() - start_ns;
        pld_pacer_add_work(self->marker.scanned_bytes, self->marker.marked_bytes, took_ns);
        self->marker.scanned_bytes = self->marker.marked_bytes = 0;
        pld_leave();
        /* What is not paid by now is let go in part: an assist is short, whatever
         * the debt, and the goal may be passed. */
        self->assist_debt -= (double)done;
        if (self->assist_debt > 4 * ASSIST_BYTES)
                self->assist_debt = 4 * ASSIST_BYTES;
        if (done == 0)
                self->assist_debt = 0;
        pld_add_relaxed(&nassists, 1);
        pld_stall_note(PLD_STALL_ASSIST, took_ns);
}

/* ---- The cycle ------------------------------------------------------------------------------- */

void pld_pacer_cycle_begins(bool is_young)
{
        young = is_young;
        since_at_begin = pld_load_relaxed(&since);
        pld_store_relaxed(&scanned, 0);
        pld_store_relaxed(&marked, 0);
        pld_store_relaxed(&cycle_cpu_ns, 0);
        pld_store_relaxed(&credit, 0);
}

void pld_pacer_marking_begins(void)
{
        since_at_mark = pld_load_relaxed(&since);
        pld_pacer_update();
}

void pld_pacer_add_work(uint64_t scanned_bytes, uint64_t marked_bytes, uint64_t cpu_ns)
{
        pld_add_relaxed(&scanned, scanned_bytes);
        pld_add_relaxed(&marked, marked_bytes);
        pld_add_relaxed(&cycle_cpu_ns, cpu_ns);
        pld_add_relaxed(&total_cpu_ns, cpu_ns);
        pld_add_relaxed(&credit, (int64_t)scanned_bytes);
}

void pld_pacer_update(void)
{
        size_t target = pld_load_relaxed(&goal);
        size_t heap = pld_load_relaxed(&live) + pld_load_relaxed(&since);
        pld_lock(&lock);
        double left = expected_scan[young] - (double)pld_load_relaxed(&scanned);
        double least = 0.05 * expected_scan[young];
        pld_unlock(&lock);
        if (target == SIZE_MAX || (left <= 0 && least <= 0)) {
                pld_store_relaxed(&debt_per_byte, 0);
                return;
        }
        if (left < least)
                left = least;
        double room = target > heap ? (double)(target - heap) : 0;
        double floor = 0.02 * (double)target;
        pld_store_relaxed(&debt_per_byte, left / (room > floor ? room : floor));
}

double pld_pacer_expects(void)
{
        pld_lock(&lock);
        double bytes = expected_scan[young];
        pld_unlock(&lock);
        return bytes;
}

static double smoothed(double old, double fresh)
{
        return old == 0 ? fresh : 0.5 * old + 0.5 * fresh;
}

void pld_pacer_marking_ends(void)
{
        /* Mutators are held. What was allocated while marking was born black. */
        size_t total = pld_load_relaxed(&since);
        size_t born = total - since_at_begin;
        pld_store_relaxed(&debt_per_byte, 0);
        size_t found = pld_load_relaxed(&marked);
        pld_store_relaxed(&live, (young ? pld_load_relaxed(&live) : 0) + found + born);
        if (!young) {
                pld_store_relaxed(&full_live, found + born);
                pld_store_relaxed(&grown_up, found);
        }
        pld_store_relaxed(&since, 0);
        pld_lock(&lock);
        expected_scan[young] = smoothed(expected_scan[young], (double)pld_load_relaxed(&scanned));
        expected_runway[young] = smoothed(expected_runway[young], 1.2 * (double)born);
        pld_unlock(&lock);
}

struct pld_survey pld_pacer_survey(size_t nslots)
{
        size_t end = pld_load_relaxed(&trigger), now = pld_load_relaxed(&live);
        size_t room = young_room(pld_load_relaxed(&full_live), end);
        double part = pld_load_relaxed(&percent) / 100.0;
        return (struct pld_survey){
                .young = young,
                .before = since_at_begin,
                .marked = pld_load_relaxed(&marked),
                .live = now,
                .nslots = nslots,
                .is_full_due = young && end != SIZE_MAX && now + room > end,
                .reference = part < 0.25 ? 0.25 : part > 4 ? 4 : part,
        };
}

/* CPU time of collecting above one half of what there is, kept as in a bucket. */
static void fill_bucket(void)
{
        uint64_t now_ns = pld_now_ns();
        double span = last_end_ns ? (double)(now_ns - last_end_ns) * pld_machine.ncpus : 0;
        last_end_ns = now_ns;
        limiter += (double)pld_load_relaxed(&cycle_cpu_ns) - 0.5 * span;
        double most = (double)PLD_NS_PER_S * pld_machine.ncpus;
        if (limiter < 0)
                limiter = 0;
        if (limiter > most)
                limiter = most;
        limit_gives_way = limiter >= 0.5 * most;
}

void pld_pacer_cycle_ends(void)
{
        size_t bound = pld_load_relaxed(&limit);
        size_t base = pld_load_relaxed(&live);
        fill_bucket();
        set_goal();
        size_t room = bound / 32 > PLD_MIB ? bound / 32 : PLD_MIB;
        pld_store_relaxed(&under_pressure, bound && (limit_gives_way ||
                                                     base + other_bytes(base) + room > bound));
}

void pld_pacer_report_pressure(void)
{
        if (reporting || !pld_exchange_relaxed(&under_pressure, false))
                return;
        pld_lock(&lock);
        polder_pressure fn = pressure_fn;
        void *arg = pressure_arg;
        pld_unlock(&lock);
        if (!fn)
                return;
        bool was_attached = pld_thread_self() != NULL;
        reporting = true;
        fn(pld_load_relaxed(&live), pld_load_relaxed(&limit), arg);
        reporting = false;
        if (!was_attached)
                polder_thread_detach(); /* the collector's thread must not wait for itself */
}

bool pld_pacer_is_reporting(void)
{
        return reporting;
}

void pld_pacer_fork_prepare(void)
{
        pld_lock_seize(&lock);
}

void pld_pacer_fork_done(void)
{
        pld_lock_cede(&lock);
}

/* ---- Settings and questions -------------------------------------------------------------------- */

static size_t set_limit(size_t nbytes)
{
        size_t former = pld_exchange_relaxed(&limit, nbytes);
        pld_ahead_set_limit(nbytes ? nbytes - headroom_of(nbytes) + 1 : 0); /* 0: none */
        set_goal();
        return former;
}

void pld_pacer_start(void)
{
        pld_store_relaxed(&percent, pld_settings.gc_percent);
        set_limit(pld_settings.memory_limit);
}

int polder_set_gc_percent(int value)
{
        if (pld_start())
                return 100;
        int former = pld_exchange_relaxed(&percent, value);
        set_goal();
        return former;
}

size_t polder_set_memory_limit(size_t nbytes)
{
        if (pld_start())
                return 0;
        size_t former = set_limit(nbytes);
        if (pld_settings.memory_limit_hard)
                pld_page_heap_set_limit(nbytes);
        return former;
}

int polder_on_pressure(polder_pressure fn, void *arg)
{
        int error = pld_start();
        if (error)
                return error;
        pld_lock(&lock);
        pressure_fn = fn;
        pressure_arg = arg;
        pld_unlock(&lock);
        return 0;
}

struct pld_pace pld_pacer_read(void)
{
        size_t base = pld_load_relaxed(&live);
        return (struct pld_pace){
                .live = base,
                .heap = base + pld_load_relaxed(&since),
                .goal = pld_load_relaxed(&goal),
                .trigger = pld_load_relaxed(&trigger),
                .allocated = pld_load_relaxed(&allocated_ever),
                .assists = pld_load_relaxed(&nassists),
                .mark_ns = pld_load_relaxed(&total_cpu_ns),
                .cycle_mark_ns = pld_load_relaxed(&cycle_cpu_ns),
        };
}
