/* test_handshake.c: a thread that has done a step meets one that has not.
 *
 * A thread inside Polder does no step (safepoint.c, T2): so a test holds a handshake open
 * for as long as it likes, and between two of them knows who stands where. */
#include "tests/collector/test_thread.h"

#include "collector/cycle.h"
#include "collector/mark.h"
#include "collector/scan.h"

/* ---- Tracing waits for the last scan ---------------------------------------------------
 * Were it not for that: B is scanned, and a stale word on its stack leads to an object
 * that A, not yet scanned, has just made; it is traced, while empty. A fills it in, with
 * a plain store as it may (rule 3), and what it stored lets go of. A's own scan finds the
 * object marked, and what is in it is lost. (Found by the model, tests/model.) */

static struct {
        _Atomic bool was_kept;
        uintptr_t inner, outer; /* in disguise */
} hidden;

/* Far down, where no scan of A's comes across what the frames leave behind. Between
 * the two lies a third: a word at an object's start keeps the one before, too. */
static PLD_NOINLINE void make_inner(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        struct node *inner = polder_new(node_layout);
        inner->value = 42;
        hidden.inner = ~(uintptr_t)inner;
        cr_assert_not_null(polder_new(node_layout));
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

static PLD_NOINLINE void fill_outer(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        struct node *outer = (struct node *)~hidden.outer;
        outer->next = (struct node *)~hidden.inner;
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

static void run_a(struct hold *hold)
{
        pld_store_release(&hold->ready, true);
        while (!(polder_thread_.shading & PLD_SHADE_NEW))
                polder_safepoint();
        make_inner(); /* B holds the arming open, so nobody asks for a scan yet */
        struct node *volatile outer = polder_new(node_layout);
        polder_enter_();
        hidden.outer = ~(uintptr_t)outer;
        meet_and(fill_outer);
        struct node *inner = polder_load(&outer->next);
        struct pld_found found = pld_find_object((uintptr_t)inner);
        pld_store_release(&hidden.was_kept, found.span && inner->value == 42);
}

static void run_b(struct hold *hold)
{
        polder_enter_();
        pld_store_release(&hold->ready, true);
        spin_until(&meeting.a_is_armed);
        volatile uintptr_t stale[2] = { 0, ~hidden.outer + 8 };
        leave_and_be_scanned();
        cr_assert_neq(stale[1], 0);
}

Test(handshake, what_one_scan_found_is_not_traced_before_the_last_one, .timeout = 60)
{
        struct hold a = { .how = run_a }, b = { .how = run_b };
        collected_start();
        hold_start(&a);
        hold_start(&b);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        pld_store_release(&meeting.is_over, true);
        hold_end(&a);
        hold_end(&b);
        cr_expect(hidden.was_kept);
}

/* ---- The stop asks once more --------------------------------------------------------------
 * B notes a white object that it has taken out of the heap. Each thread is asked to flush, A
 * first; then A, which has seen that object, takes another one out of it. By the time B flushes it
 * has given away what it noted, as an assist does, and that is traced: so nobody has had anything.
 * Only the stop finds what A has noted (mark, M5). (The model's "stop trusts the last round".) */

static struct {
        uintptr_t outer; /* in disguise */
        _Atomic(struct node *) taken_from;
} last_round;

static PLD_NOINLINE void make_chain(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        struct node *inner = node_new(node_new(NULL, 3), 2);
        watch(0, inner);
        watch(1, inner->next);
        polder_store(&roots[0], node_new(node_new(inner, 1), 0));
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

static void *make_chain_thread(void *unused)
{
        make_chain();
        return unused;
}

static PLD_NOINLINE void take_outer(void)
{
        last_round.outer = ~(uintptr_t)polder_exchange(&roots[0]->next, NULL);
}

static PLD_NOINLINE void take_inner(void)
{
        struct node *outer = (struct node *)~last_round.outer;
        pld_store_release(&last_round.taken_from, outer);
        struct node *inner = polder_exchange(&outer->next, NULL);
        polder_store(&roots[0]->other, inner);
}

static void be_flushed_first(struct hold *hold)
{
        volatile bool *had_work = &pld_thread_self()->had_work;
        pld_store_release(&hold->ready, true);
        while (!(polder_thread_.shading & PLD_SHADE_NEW))
                polder_safepoint();
        polder_enter_();
        *had_work = true; /* until it has flushed */
        pld_store_release(&meeting.a_is_armed, true);
        spin_until(&meeting.b_is_scanned);
        polder_leave_(); /* and is scanned */
        while (*had_work)
                polder_safepoint();
        take_inner();
        poll_until(&meeting.is_over);
}

static void await_inner_taken(void)
{
        spin_until(&last_round.taken_from);
        struct node *from = pld_load_acquire(&last_round.taken_from);
        while (polder_load(&from->next))
                pld_pause();
}

static void give_away_all(struct pld_marker *marker)
{
        do {
                pld_shade_noted(marker);
                while (pld_mark_some(marker, UINT32_MAX))
                        ;
                pld_marker_flush(marker);
        } while (pld_load_acquire(&pld_grey_credits) != 0);
}

static void be_flushed_last(struct hold *hold)
{
        polder_enter_();
        pld_store_release(&hold->ready, true);
        spin_until(&meeting.a_is_armed);
        polder_leave_();
        while (!pld_thread_self()->black)
                polder_safepoint();
        take_outer(); /* A holds the scan open, so nothing is traced yet */
        polder_enter_();
        pld_store_release(&meeting.b_is_scanned, true);
        await_inner_taken();
        give_away_all(&pld_thread_self()->marker);
        polder_leave_(); /* and flushes */
        poll_until(&meeting.is_over);
}

Test(handshake, the_stop_finds_what_was_noted_after_the_last_flush, .timeout = 60)
{
        struct hold a = { .how = be_flushed_first }, b = { .how = be_flushed_last };
        collected_start();
        on_a_thread(make_chain_thread, NULL);
        hold_start(&a);
        hold_start(&b);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        pld_store_release(&meeting.is_over, true);
        hold_end(&a);
        hold_end(&b);
        cr_expect(is_alive(0));
        cr_expect(is_alive(1));
}

/* ---- A stop that is given up ---------------------------------------------------------------
 * What was read once, roots and records, is not read again because a thread was late for the stop:
 * what leaves them is shaded. A plain store into a root, which is against the rules, tells. */

static void be_late_once(struct hold *hold)
{
        bool was_late = false;
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done)) {
                polder_enter_();
                while (!polder_flag_(&polder_thread_.asked) && !pld_load_acquire(&hold->done))
                        pld_pause();
                uint32_t stop = pld_load_acquire(&pld_stopping);
                if (stop % 2 && !was_late) {
                        __atomic_store_n(&roots[0], (struct node *)~hold->hidden, __ATOMIC_RELEASE);
                        was_late = true;
                        while (pld_load_acquire(&pld_stopping) == stop)
                                pld_pause();
                }
                polder_leave_();
        }
}

Test(handshake, who_is_late_for_the_stop_has_nobody_read_the_roots_again, .timeout = 60)
{
        struct hold hold = { .how = be_late_once };
        collected_start_as("off", ""); /* verify would complain of the store */
        hold_start(&hold);
        do { /* the stop may find it on its way from one handshake to the next */
                hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        } while (!__atomic_load_n(&roots[0], __ATOMIC_ACQUIRE));
        __atomic_store_n(&roots[0], NULL, __ATOMIC_RELEASE);
        hold_end(&hold);
        cr_expect_not(is_alive(0));
}

/* ---- Steps ------------------------------------------------------------------------------ */

enum { NCOUNTS = 8 };
static struct {
        struct pld_thread *_Atomic thread;
        _Atomic unsigned n;
} counts[NCOUNTS];

static void count_step(struct pld_thread *thread)
{
        for (unsigned i = 0; i < NCOUNTS; i++)
                if (pld_load_acquire(&counts[i].thread) == thread)
                        pld_add_release(&counts[i].n, 1);
}

/* The calling thread's steps are counted there from now on. */
static void be_counted(unsigned i)
{
        cr_assert_eq(polder_thread_attach(), 0);
        pld_store_release(&counts[i].thread, pld_thread_self());
}

/* By a thread that is no mutator. */
static void shake_hands(enum pld_need need)
{
        pld_threads_lock();
        pld_threads_handshake_locked(count_step, need);
        pld_threads_unlock();
}

static void *live_in_some_way(void *arg)
{
        struct gang *gang = arg;
        static _Atomic unsigned n;
        unsigned way = pld_add_relaxed(&n, 1);
        be_counted(way);
        pld_add_release(&gang->nready, 1);
        switch (way) {
        case 0:
                poll_until(&gang->done);
                break;
        case 1:
                spin_until(&gang->done);
                break;
        case 2:
                polder_blocking_begin();
                await(&gang->done);
                polder_blocking_end();
                break;
        default: /* it may serve itself just before it blocks */
                while (!pld_load_acquire(&gang->done)) {
                        polder_safepoint();
                        polder_blocking_begin();
                        polder_blocking_end();
                }
        }
        return NULL;
}

/* T1: by itself at a poll or on a signal, or by the asker, but once. */
static void shake_many_hands(enum pld_need need)
{
        enum { ROUNDS = 600 };
        struct gang gang;
        collected_start();
        polder_thread_detach();
        gang_start(&gang, 6, live_in_some_way);
        for (unsigned round = 1; round <= ROUNDS; round++) {
                shake_hands(need);
                for (unsigned i = 0; i < gang.n; i++)
                        cr_assert_eq(pld_load_acquire(&counts[i].n), round, "thread %u", i);
        }
        gang_stop(&gang);
        for (unsigned i = 0; i < gang.n; i++)
                cr_expect_eq(counts[i].n, ROUNDS);
}

Test(handshake, each_thread_does_a_step_once, .timeout = 120)
{
        shake_many_hands(PLD_NEEDS_STACK);
}

/* T7: or also for one that runs. */
Test(handshake, each_thread_does_a_step_once_that_needs_no_stack, .timeout = 120)
{
        shake_many_hands(PLD_NEEDS_STATE);
}

static _Atomic unsigned done_too_early;

/* Signals have come by now, but for a step that is done already none are sent. */
static void await_signals(uint64_t n)
{
        uint64_t before = pld_thread_wakeups();
        while (pld_thread_wakeups() < before + n && !pld_load_acquire(&counts[0].n))
                pld_pause();
        pld_store_release(&done_too_early, pld_load_acquire(&counts[0].n));
}

static void be_inside(struct hold *hold)
{
        be_counted(0);
        polder_enter_();
        pld_store_release(&hold->ready, true);
        await_signals(3);
        polder_leave_();
}

static void hold_a_lock(struct hold *hold)
{
        static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
        be_counted(0);
        pld_lock(&lock);
        pld_store_release(&hold->ready, true);
        await_signals(3);
        pld_unlock(&lock);
        poll_until(&counts[0].n);
}

/* T2: signals come, and nothing happens until the thread is out. */
static void expect_waiting(void (*how)(struct hold *hold))
{
        struct hold hold = { .how = how };
        collected_start();
        polder_thread_detach();
        hold_start(&hold);
        shake_hands(PLD_NEEDS_STACK);
        cr_expect_eq(counts[0].n, 1);
        hold_end(&hold);
        cr_expect_eq(done_too_early, 0);
        cr_expect_eq(counts[0].n, 1);
}

Test(handshake, a_thread_inside_polder_does_no_step, .timeout = 60)
{
        expect_waiting(be_inside);
}

Test(handshake, a_thread_that_holds_a_lock_does_no_step, .timeout = 60)
{
        expect_waiting(hold_a_lock);
}

/* ---- Stops ------------------------------------------------------------------------------ */

static _Atomic bool late_may_leave, late_has_left;
static _Atomic unsigned ticks;

static void be_late(struct hold *hold)
{
        be_counted(0);
        polder_enter_();
        pld_store_release(&hold->ready, true);
        spin_until(&late_may_leave);
        polder_leave_();
        polder_safepoint();
        pld_store_release(&late_has_left, true);
        poll_until(&hold->done);
}

static void tick(struct hold *hold)
{
        be_counted(1);
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done)) {
                pld_add_relaxed(&ticks, 1);
                polder_safepoint();
        }
}

static void start_two(struct hold holds[2])
{
        collected_start();
        polder_thread_detach();
        hold_start(&holds[0]);
        hold_start(&holds[1]);
}

static void end_two(struct hold holds[2])
{
        hold_end(&holds[0]);
        hold_end(&holds[1]);
}

/* The other was held meanwhile; the late one never does the step that was taken back. */
Test(handshake, a_stop_that_one_is_late_for_is_given_up, .timeout = 60)
{
        struct hold holds[2] = { { .how = be_late }, { .how = tick } };
        start_two(holds);
        pld_threads_lock();
        while (pld_load_acquire(&counts[1].n) == 0) {
                cr_expect_not(pld_threads_stop_locked(count_step, PLD_NEEDS_STACK, 1000000));
                if (pld_load_acquire(&counts[1].n)) {
                        unsigned before = pld_load_relaxed(&ticks);
                        usleep(2000);
                        cr_expect_eq(pld_load_relaxed(&ticks), before, "held");
                }
                pld_threads_resume_locked();
        }
        pld_threads_unlock();
        pld_store_release(&late_may_leave, true);
        await(&late_has_left);
        cr_expect_eq(counts[0].n, 0);
        unsigned other = pld_load_acquire(&counts[1].n);
        shake_hands(PLD_NEEDS_STACK);
        cr_expect_eq(counts[0].n, 1, "but the next one");
        cr_expect_eq(counts[1].n, other + 1);
        end_two(holds);
}

static _Atomic bool may_end, has_ended;

static void end_a_section(struct hold *hold)
{
        be_counted(0);
        polder_blocking_begin();
        pld_store_release(&hold->ready, true);
        await(&may_end);
        polder_blocking_end();
        pld_store_release(&has_ended, true);
        poll_until(&hold->done);
}

Test(handshake, a_blocking_section_does_not_end_during_a_stop, .timeout = 60)
{
        struct hold holds[2] = { { .how = end_a_section }, { .how = tick } };
        start_two(holds);
        pld_threads_lock();
        cr_expect(pld_threads_stop_locked(count_step, PLD_NEEDS_STACK, 0));
        cr_expect_eq(counts[0].n, 1, "done for it");
        pld_store_release(&may_end, true);
        usleep(5000);
        cr_expect_not(pld_load_acquire(&has_ended));
        pld_threads_resume_locked();
        pld_threads_unlock();
        await(&has_ended);
        end_two(holds);
}
