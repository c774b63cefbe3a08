/* cycle.c: the collection, step by step.
 *
 *  1 Finish     sweep what the last cycle left; all mark bits are clear then, but for a
 *               young cycle's, where they say which objects are old.
 *  2 Arm        handshake: each thread's stores shade what they overwrite and
 *               what they store; its part of the journal is handed over.
 *  3 Scan       handshake, after all have armed: each thread's stack and registers
 *               are shaded, the rest of its runs is blackened; its new objects are
 *               born black, its stores shade only what they overwrite. Nothing is
 *               traced before every thread has been scanned.
 *  4 Mark       workers scan roots and trace, mutators assist. In a young cycle the slots
 *               in the journal are roots, too.
 *  5 Terminate  flush handshakes until nobody has anything; then a stop to prove
 *               it, and the flip: the marks become the truth.
 *  6 Sweep      here in the background, and by threads as they refill.
 *
 * A stop-the-world cycle holds all threads from 3 to 6, and needs no arming.
 *
 * Y1  pld_phase changes under the threads lock; so a thread that attaches is born
 *     as all the others are (pld_threads_set_birth).
 * Y2  an object that was reachable when all had been scanned, or was born since,
 *     is marked at the flip (the model in tests/model explores why).
 * Y3  at the flip the grey credits are 0, every mutator's marker is empty, and no
 *     chunk was lost.
 * Y4  cycles are run one at a time (request.c).
 * Y5  a young cycle is one that finds the marks of the last; what it cannot know for
 *     lack of a journal it finds by looking at every old object. */
#include "collector/cycle.h"

#include "arena/decay.h"
#include "base/check.h"
#include "base/clock.h"
#include "collector/generation.h"
#include "collector/handshake.h"
#include "collector/pacer.h"
#include "collector/records.h"
#include "collector/roots.h"
#include "collector/rules.h"
#include "collector/safepoint.h"
#include "collector/scan.h"
#include "collector/settings.h"
#include "collector/stack.h"
#include "collector/thread.h"
#include "collector/tie.h"
#include "collector/trace.h"
#include "collector/verify.h"
#include "collector/worker.h"
#include "numa/os.h"

enum {
        STOP_TRIES = 3,         /* that find something grey; then it is marked in the stop */
        LATE_TRIES = 100,       /* that some thread does not come to in time */
        STAGGERED_TRIES = 4,
        STOP_WITHIN_NS = 250000,
        SWEEP_BATCH = 64,
        OWN_BYTES = 8 << 20,    /* of scanning that whoever runs a young cycle does itself, */
        FIRST_BYTES = 64 << 10, /* and whoever runs any, before it wakes workers */
        UPDATE_NS = 1000000
};

_Atomic uint32_t pld_phase;

/* The cycle's, of which there is one at a time. */
static struct pld_marker own;    /* the marker of whoever runs it */
static bool young;               /* it is, */
static unsigned char noting;     /* and its threads note down what is born in it */
static bool asked;               /* it was, by the program */
static bool workers_are_up;      /* they have been woken for it */
static size_t nslots;            /* that were in its journal */
static struct pld_survey survey; /* what it has found */
static bool keeps_marks;         /* so the flip says */

struct pld_histogram pld_stop_times, pld_stop_cpu_times, pld_handshake_times;

/* ---- Steps of threads ---------------------------------------------------------------- */

static void step_arm(struct pld_thread *thread)
{
        pld_journal_hand_over(&thread->journal);
        thread->journal.later = true;
        thread->tls->shading = PLD_SHADE_OLD | PLD_SHADE_NEW | noting | pld_rules_shading;
}

static void shade_part(uintptr_t from, uintptr_t to, void *arg)
{
        pld_shade_stack(arg, from, to);
}

static void step_scan(struct pld_thread *thread)
{
        void *newest = thread->tls->self[PLD_SELF_NEWEST];
        pld_stack_each(thread, shade_part, &thread->marker);
        pld_shade_exact(&thread->marker, (uintptr_t)newest);
        if (thread->cache)
                pld_bump_blacken(&thread->cache->bump);
        if (noting)
                pld_journal_note_whole(&thread->journal, newest);
        thread->black = true;
        thread->tls->shading = PLD_SHADE_OLD | noting | pld_rules_shading;
}

static void step_flush(struct pld_thread *thread)
{
        thread->had_work = pld_marker_flush(&thread->marker);
        pld_pacer_flush(thread);
}

static void step_flip(struct pld_thread *thread)
{
        PLD_ASSERT(pld_marker_is_empty(&thread->marker)); /* Y3 */
        thread->tls->shading = pld_rules_shading | (keeps_marks ? PLD_SHADE_NOTE : 0);
        thread->black = thread->journal.later = false;
        if (keeps_marks)
                pld_journal_flip(&thread->journal, thread->tls->self[PLD_SELF_NEWEST]);
        if (thread->cache)
                pld_bump_close(&thread->cache->bump);
        pld_pacer_flush(thread);
}

static bool some_had_work; /* threads lock */

static void look_at_work(struct pld_thread *thread)
{
        some_had_work |= thread->had_work;
}

static bool had_work_locked(void)
{
        some_had_work = false;
        pld_threads_each_locked(look_at_work);
        return some_had_work;
}

/* ---- The cycle, in order ------------------------------------------------------------------ */

static void set_phase_locked(enum pld_phase phase, unsigned char shading, bool black)
{
        pld_store_release(&pld_phase, phase); /* Y1 */
        if (phase != PLD_PHASE_IDLE)
                shading |= noting;
        pld_threads_set_birth(shading | pld_rules_shading, black);
}

static void handshake(enum pld_phase phase, pld_step step, enum pld_need need,
                      unsigned char shading, bool black, bool *had_work)
{
        pld_threads_lock();
        uint64_t start_ns = pld_now_ns();
        set_phase_locked(phase, shading, black);
        pld_threads_handshake_locked(step, need);
        pld_histogram_add(&pld_handshake_times, pld_now_ns() - start_ns);
        if (had_work)
                *had_work = had_work_locked();
        pld_threads_unlock();
}

static void finish(void)
{
        pld_sweep_finish();
        if (!young && pld_generation_has_marks())
                pld_marks_clear();
        noting = young ? PLD_SHADE_NOTE : 0;
        pld_store_relaxed(&pld_sweep_births_are_young, young);
        pld_pacer_cycle_begins(young, asked);
        pld_marker_init(&own, 0, false);
        nslots = 0;
}

static void arm(void)
{
        handshake(PLD_PHASE_ARMED, step_arm, PLD_NEEDS_STACK, PLD_SHADE_OLD | PLD_SHADE_NEW, false,
                  NULL);
}

static void scan(void)
{
        /* Still ARMED: nobody assists before mark() says so. */
        handshake(PLD_PHASE_ARMED, step_scan, PLD_NEEDS_STACK, PLD_SHADE_OLD, true, NULL);
}

/* The slots of old objects that lead to young ones; all old objects, if there is no
 * telling which (Y5). */
static void begin_with_old(void)
{
        bool is_void = pld_journal_is_void();
        if (young) {
                nslots += pld_journal_shade(&own);
                pld_ties_shade_marked(&own); /* old keys, whose values may be young */
        } else {
                pld_journal_drop();
        }
        if (young && is_void)
                pld_store_relaxed(&pld_grey_overflow, true);
}

/* Roots and records, under a credit, so that nobody takes the marking for done. */
static void begin_marking(void)
{
        uint64_t start_ns = pld_now_ns();
        pld_marker_take_credit(&own);
        pld_roots_begin();
        pld_records_shade(&own);
        begin_with_old();
        pld_pacer_add_work(&own, pld_now_ns() - start_ns);
        pld_pacer_marking_begins();
        workers_are_up = false;
        pld_marker_flush(&own);
}

/* A young cycle has little to mark, mostly, and is the better the sooner it is over: what is
 * born meanwhile grows old unseen. */
static uint64_t own_share(void)
{
        if (pld_workers_count() == 0 || (young && pld_pacer_expects() <= OWN_BYTES))
                return UINT64_MAX;
        return FIRST_BYTES;
}

/* Where all processors are taken, workers wait for their turn, and mutators that allocate would
 * soon wait for them: so workers are woken for what is worth it only. */
static void await_dry(void)
{
        if (!workers_are_up) {
                if (pld_mark_dry_try(&own, own_share()))
                        return;
                workers_are_up = true;
                pld_workers_wake();
        }
        while (pld_load_acquire(&pld_grey_credits) != 0) {
                pld_pacer_update();
                pld_grey_await_dry(UPDATE_NS);
        }
}

/* Until nobody has anything. */
static void mark_on(void)
{
        for (bool had_work = true; had_work;) {
                await_dry();
                handshake(PLD_PHASE_MARKING, step_flush, PLD_NEEDS_STATE, PLD_SHADE_OLD, true,
                          &had_work);
                had_work |= pld_load_acquire(&pld_grey_credits) != 0;
        }
}

static void mark(void)
{
        pld_threads_lock();
        set_phase_locked(PLD_PHASE_MARKING, PLD_SHADE_OLD, true);
        pld_threads_unlock();
        begin_marking();
        mark_on();
}

/* With all held: marks by all there are until nothing grey is left (Y3). */
static void mark_stopped_locked(void)
{
        set_phase_locked(PLD_PHASE_STOPPED, PLD_SHADE_OLD, true);
        pld_workers_wake();
        do {
                do {
                        pld_mark_dry(&own);
                } while (pld_load_acquire(&pld_grey_credits) != 0);
                pld_mark_recover(&own);
        } while (!pld_marker_is_empty(&own) || pld_load_acquire(&pld_grey_credits) != 0);
}

static void flip_locked(void)
{
        if (pld_settings.verify)
                pld_verify_marks_locked();
        if (pld_rules_shading)
                pld_rules_check_locked();
        pld_ties_flip_locked();
        pld_pacer_marking_ends();
        survey = pld_pacer_survey(nslots);
        keeps_marks = pld_generation_flip(&survey);
        pld_threads_each_locked(step_flip);
        pld_store_relaxed(&pld_sweep_keeps_marks, keeps_marks);
        pld_store_relaxed(&pld_sweep_spares_old, keeps_marks && young);
        pld_journal_turn();
        pld_sweep_flip();
        set_phase_locked(PLD_PHASE_IDLE, keeps_marks ? PLD_SHADE_NOTE : 0, false);
}

/* Only where it is traced: to read this clock is a system call. */
static uint64_t cpu_now(void)
{
        return pld_settings.gctrace ? pld_thread_cpu_ns() : 0;
}

static uint64_t count_stop(uint64_t took_ns, uint64_t cpu_ns)
{
        pld_histogram_add(&pld_stop_times, took_ns);
        if (pld_settings.gctrace)
                pld_histogram_add(&pld_stop_cpu_times, cpu_ns);
        return took_ns;
}

enum outcome { FLIPPED, STILL_GREY, LATE };

/* One stop. A thread that is not on a CPU may be long in coming, and the others
 * must not be held for that: then it is given up, to be tried again. */
static enum outcome stop_and_flip(bool may_be_late, bool may_be_grey, uint64_t *stop_ns)
{
        enum outcome outcome = FLIPPED;
        pld_threads_lock();
        uint64_t cpu_ns = cpu_now(), start_ns = pld_now_ns();
        uint64_t within_ns = pld_settings.stagger ? 1 : STOP_WITHIN_NS; /* 1: often late */
        if (!pld_threads_stop_locked(step_flush, PLD_NEEDS_STATE, may_be_late ? within_ns : 0)) {
                outcome = LATE;
        } else if (had_work_locked() || pld_load_acquire(&pld_grey_credits) != 0 ||
                   pld_load_relaxed(&pld_grey_overflow)) {
                outcome = may_be_grey ? STILL_GREY : FLIPPED;
                if (outcome == FLIPPED)
                        mark_stopped_locked();
        }
        if (outcome == FLIPPED)
                flip_locked();
        cpu_ns = cpu_now() - cpu_ns;
        *stop_ns += count_stop(pld_threads_resume_locked() - start_ns, cpu_ns);
        pld_threads_unlock();
        return outcome;
}

static void terminate(uint64_t *stop_ns)
{
        unsigned grey = 1, late = 0;
        unsigned late_tries = pld_settings.stagger ? STAGGERED_TRIES : LATE_TRIES;
        for (;;) {
                switch (stop_and_flip(late < late_tries, grey < STOP_TRIES, stop_ns)) {
                case FLIPPED:
                        return;
                case STILL_GREY:
                        grey++;
                        break;
                case LATE:
                        late++;
                }
                mark_on(); /* roots and records are read once: what leaves them is shaded (R1) */
        }
}

static void sweep(void)
{
        while (pld_sweep_some(SWEEP_BATCH))
                ;
        pld_sweep_finish();
        pld_decay_notice();
}

static void run_concurrent(struct pld_trace *trace)
{
        finish();
        trace->begin_ns = pld_now_ns();
        arm();
        scan();
        trace->mark_ns = pld_now_ns();
        mark();
        trace->stop_ns = pld_now_ns();
        terminate(&trace->stopped_ns);
        trace->sweep_ns = pld_now_ns();
        trace->heap_after = pld_pacer_read();
        pld_pacer_cycle_ends();
        sweep();
}

static void step_stopped_scan(struct pld_thread *thread)
{
        step_arm(thread);
        step_scan(thread);
        step_flush(thread);
}

static void run_stopped(struct pld_trace *trace)
{
        finish();
        trace->begin_ns = pld_now_ns();
        pld_threads_lock();
        uint64_t cpu_ns = cpu_now();
        trace->mark_ns = trace->stop_ns = pld_now_ns();
        pld_threads_stop_locked(step_stopped_scan, PLD_NEEDS_STACK, 0);
        begin_marking();
        mark_stopped_locked();
        flip_locked();
        pld_pacer_cycle_ends();
        trace->sweep_ns = pld_now_ns();
        trace->heap_after = pld_pacer_read();
        sweep();
        cpu_ns = cpu_now() - cpu_ns;
        trace->stopped_ns = count_stop(pld_threads_resume_locked() - trace->stop_ns, cpu_ns);
        pld_threads_unlock();
}

void pld_cycle_run(struct pld_trace *trace)
{
        young = trace->young;
        asked = trace->asked;
        trace->heap_before = pld_pacer_read();
        pld_workers_start();
        if (trace->stopped)
                run_stopped(trace);
        else
                run_concurrent(trace);
        trace->end_ns = pld_now_ns();
        trace->survey = survey;
}

static void step_nothing(struct pld_thread *thread)
{
        (void)thread;
}

void pld_cycle_hold(void (*look)(void *arg), void *arg)
{
        pld_sweep_finish();
        pld_threads_lock();
        uint64_t cpu_ns = cpu_now(), start_ns = pld_now_ns();
        pld_threads_stop_locked(step_nothing, PLD_NEEDS_STACK, 0);
        look(arg);
        cpu_ns = cpu_now() - cpu_ns;
        count_stop(pld_threads_resume_locked() - start_ns, cpu_ns);
        pld_threads_unlock();
}
