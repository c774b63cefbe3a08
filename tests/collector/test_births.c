#include "tests/collector/test_thread.h"

#include "arena/sweep.h"
#include "collector/cycle.h"
#include "collector/journal.h"
#include "collector/scan.h"
#include "collector/thread.h"

#include <ucontext.h>

/* What is born while a young cycle runs is young after it.
 *
 * A holds the cycle open, armed and not yet scanned. B has been scanned, and makes the inner
 * object, black from its birth, which somebody or nobody refers to: that is, in the end, A's outer
 * object or C's, or one that is old. After the cycle B and its stack are gone. */
enum { OUTER = 7, INNER = 8, MANY = 4000 };

struct plan {
        bool is_stored;       /* into an old object, by B, */
        bool with_many;       /* and thousands of others after it */
        bool a_fills;         /* its outer object, with plain stores, before its scan, */
        bool a_is_old;        /* which is old, and was the newest at the last flip, */
        bool is_conservative; /* or has words that may be anything */
        bool c_fills;         /* its newest object, after that was traced */
        bool a_drops;         /* its outer object, after it stored into it, before its scan */
};

static struct plan plan;
static uintptr_t inner, outer; /* in disguise: what is in no variable is on no stack */
static _Atomic bool c_is_ready, is_filled, a_is_ready, is_old, b_is_inside, is_over;

static __attribute__((noinline)) void make_disguised(uintptr_t *out)
{
        char far[16 << 10]; /* what this leaves behind lies where nobody looks */
        __asm__ __volatile__("" : : "r"(far) : "memory");
        struct node *node =
            plan.is_conservative ? polder_new_conservative(sizeof *node) : polder_new(node_layout);
        node->value = 42;
        *out = ~(uintptr_t)node;
}

static __attribute__((noinline)) void fill_outer(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        ((struct node *)~outer)->next = (struct node *)~inner;
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

/* As a store does, but stays inside. */
static __attribute__((noinline)) void store_into_outer(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        struct node *node = (struct node *)~outer;
        pld_journal_note_birth(&pld_thread_self()->journal, (void **)&node->next, (void *)~inner);
        node->next = (struct node *)~inner;
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

static __attribute__((noinline)) void give_birth(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        make_disguised(&inner);
        watch(INNER, (void *)~inner);
        struct node **old = (struct node **)(void *)polder_load(&roots[0]);
        if (plan.is_stored)
                polder_store(&old[0], (struct node *)~inner);
        for (unsigned i = 1; plan.with_many && i < MANY; i++)
                polder_store(&old[i], (struct node *)polder_new(node_layout));
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

/* As if it had made another object since. */
static void forget_newest(void)
{
        polder_thread_.self[PLD_SELF_NEWEST] = NULL;
}

static void act_while_b_is_scanned(void)
{
        if (plan.a_fills)
                fill_outer();
        if (plan.a_drops)
                store_into_outer();
        forget_newest();
}

static void *be_scanned_last(void *unused)
{
        (void)unused;
        struct node *volatile mine = NULL;
        cr_assert_eq(polder_thread_attach(), 0);
        if (plan.a_fills || plan.a_drops) {
                make_disguised(&outer);
                mine = (struct node *)~outer;
                if (plan.a_drops)
                        watch(OUTER, (void *)~outer);
        }
        pld_store_release(&a_is_ready, true);
        if (plan.a_is_old)
                poll_until(&is_old);
        while (!(polder_thread_.shading & PLD_SHADE_NEW) || !pld_load_acquire(&b_is_inside))
                polder_safepoint();
        polder_enter_();
        pld_store_release(&meeting.a_is_armed, true);
        spin_until(&meeting.b_is_scanned);
        act_while_b_is_scanned();
        if (plan.a_drops)
                mine = NULL;
        polder_leave_(); /* and is scanned */
        if (plan.c_fills) {
                while (!pld_thread_self()->black)
                        polder_safepoint();
                polder_enter_(); /* no flip comes */
                spin_until(&is_filled);
                polder_leave_();
        }
        poll_until(&is_over);
        return mine;
}

static void *be_scanned_first(void *give_births)
{
        cr_assert_eq(polder_thread_attach(), 0);
        polder_enter_();
        pld_store_release(&b_is_inside, true);
        spin_until(&meeting.a_is_armed);
        polder_leave_();
        while (!pld_thread_self()->black)
                polder_safepoint();
        ((void (*)(void))give_births)();
        pld_store_release(&meeting.b_is_scanned, true);
        poll_until(&meeting.is_over);
        return NULL;
}

/* As an assist does. */
static void trace_what_the_scan_found(void)
{
        struct pld_marker *marker = &pld_thread_self()->marker;
        polder_enter_();
        while (pld_mark_some(marker, 1 << 20))
                ;
        pld_marker_flush(marker);
        polder_leave_();
}

static void *fill_when_scanned(void *unused)
{
        (void)unused;
        make_disguised(&outer);
        struct node *volatile mine = (struct node *)~outer;
        pld_store_release(&c_is_ready, true);
        while (pld_load_acquire(&pld_phase) != PLD_PHASE_MARKING)
                polder_safepoint();
        trace_what_the_scan_found();
        fill_outer();
        forget_newest();
        usleep(1); /* no register knows any more what it was filled with */
        pld_store_release(&is_filled, true);
        poll_until(&is_over);
        return mine;
}

static void *make_old(void *unused)
{
        (void)unused;
        const struct polder_layout *slot = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        polder_store(&roots[0], polder_new_array(slot, MANY));
        return NULL;
}

static void *fill_what_died(void *unused)
{
        fill_outer();
        return unused;
}

static void collect_young(void)
{
        uint64_t before = stats_now().young_cycles;
        cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        cr_assert_eq(stats_now().young_cycles, before + 1);
}

/* Is the inner object there after the young cycle that comes after the one it was born in? */
static bool lives_on(struct plan what)
{
        pthread_t a, b, c;
        plan = what;
        setenv("POLDER_GENERATIONS", "1", 1);
        collected_start();
        on_a_thread(make_old, NULL);
        if (!plan.a_is_old)
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_assert_eq(pthread_create(&a, NULL, be_scanned_last, NULL), 0);
        await(&a_is_ready);
        if (plan.a_is_old)
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        pld_store_release(&is_old, true);
        if (plan.c_fills) {
                cr_assert_eq(pthread_create(&c, NULL, fill_when_scanned, NULL), 0);
                await(&c_is_ready);
        }
        cr_assert_eq(pthread_create(&b, NULL, be_scanned_first, (void *)give_birth), 0);
        await(&b_is_inside);
        collect_young();
        pld_store_release(&meeting.is_over, true);
        pthread_join(b, NULL);
        cr_expect(is_alive(INNER), "born black");
        if (plan.a_drops) {
                cr_expect_not(is_alive(OUTER));
                on_a_thread(fill_what_died, NULL); /* as whatever gets the cell next may do */
        }
        collect_young();
        bool lives = is_alive(INNER);
        collect_young();
        cr_expect_eq(is_alive(INNER), lives, "old by now, or gone");
        pld_store_release(&is_over, true);
        pthread_join(a, NULL);
        if (plan.c_fills)
                pthread_join(c, NULL);
        return lives;
}

Test(births, what_dies_goes_with_the_next_young_cycle, .timeout = 30)
{
        cr_expect_not(lives_on((struct plan){ .is_stored = false }));
}

Test(births, what_is_stored_into_an_old_object_stays, .timeout = 30)
{
        cr_expect(lives_on((struct plan){ .is_stored = true }));
}

Test(births, what_is_noted_in_time_is_not_read_too_early, .timeout = 30)
{
        cr_expect(lives_on((struct plan){ .is_stored = true, .with_many = true }));
}

Test(births, what_is_in_a_conservative_object_that_was_traced_stays, .timeout = 30)
{
        cr_expect(lives_on((struct plan){ .a_fills = true, .is_conservative = true }));
}

Test(births, what_is_in_the_newest_object_of_a_scanned_thread_stays, .timeout = 30)
{
        cr_expect(lives_on((struct plan){ .c_fills = true }));
}

Test(births, what_is_in_an_object_that_was_traced_stays, .timeout = 30)
{
        cr_expect(lives_on((struct plan){ .a_fills = true }));
}

Test(births, what_was_filled_into_an_object_that_is_old_already_stays, .timeout = 30)
{
        cr_expect(lives_on((struct plan){ .a_fills = true, .a_is_old = true }));
}

/* J5 */
Test(births, what_only_an_object_leads_to_that_died_with_its_slot_noted_goes, .timeout = 30)
{
        cr_expect_not(lives_on((struct plan){ .a_drops = true }));
}

/* ---- Between the flip and the sweep -------------------------------------------------------- */

static void *make_for_the_root(void *slot)
{
        polder_store(&roots[(uintptr_t)slot], node_new(NULL, 1));
        return NULL;
}

Test(births, what_was_born_is_not_old_before_it_is_swept_nor_after, .timeout = 30)
{
        setenv("POLDER_GENERATIONS", "1", 1);
        collected_start();
        on_a_thread(make_old, NULL);
        on_a_thread(make_for_the_root, (void *)1);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        static struct pld_journal journal;
        void **old = (void **)polder_load(&roots[0]), *other = polder_load(&roots[1]);
        pld_journal_note(&journal, &old[0], other);
        cr_expect_null(journal.slots, "it is old, too");
        struct pld_found found = pld_find_object((uintptr_t)other);
        pld_or_relaxed(&pld_span_born(found.span)[found.index / 64], UINT64_C(1) << found.index % 64);
        found.span->collected.born = true;
        pld_journal_note(&journal, &old[0], other);
        cr_assert_not_null(journal.slots);
        cr_expect_eq(journal.slots->n, 1);
        pld_sweep_flip();
        pld_span_sweep(found.span);
        cr_expect_not(pld_span_is_old(found.span, found.index));
        cr_expect_not(pld_span_is_marked(found.span, found.index));
        cr_expect_not(pld_span_is_born(found.span, found.index));
        pld_journal_note(&journal, &old[1], other);
        cr_expect_eq(journal.slots->n, 2);
}

/* The processor's trap flag brings a signal after each instruction. The journal notes the slots of
 * what it takes for old. */
#if defined(__x86_64__)
enum { TRAP_FLAG = 0x100 };
static struct {
        struct pld_span *span;
        void **slot, *value;
        struct pld_journal journal;
        volatile unsigned steps, nnoted;
} between;

static void set_trap(bool on)
{
        uint64_t flags = __builtin_ia32_readeflags_u64() & ~(uint64_t)TRAP_FLAG;
        __builtin_ia32_writeeflags_u64(on ? flags | TRAP_FLAG : flags);
}

/* All that the span has is born in a cycle, and survives it. */
static void bear_again(void)
{
        struct pld_span *span = between.span;
        for (size_t i = 0; i < span->nwords; i++) {
                uint64_t all = pld_load_relaxed(&pld_span_allocated(span)[i]);
                pld_store_release(&pld_span_born(span)[i], all);
                pld_store_release(&pld_span_marks(span)[i].all, all);
        }
        span->collected.born = true;
        pld_sweep_flip();
}

static void look(void)
{
        pld_journal_note(&between.journal, between.slot, between.value);
}

static void start_between(void (*on_trap)(int, siginfo_t *, void *))
{
        struct sigaction trap = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
        setenv("POLDER_GENERATIONS", "1", 1);
        collected_start();
        on_a_thread(make_for_the_root, (void *)0);
        on_a_thread(make_for_the_root, (void *)1);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_assert_eq(sigaction(SIGTRAP, &trap, NULL), 0);
        between.slot = (void **)polder_load(&roots[0]);
        between.value = polder_load(&roots[1]);
        between.span = pld_find_object((uintptr_t)between.slot).span;
}

static void sweep_in_time(int number, siginfo_t *info, void *context)
{
        (void)number;
        (void)info;
        if (--between.steps > 0)
                return;
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        pld_span_sweep(between.span);
}

Test(births, what_was_born_is_not_old_if_it_is_swept_while_somebody_looks, .timeout = 60)
{
        start_between(sweep_in_time);
        unsigned at = 0;
        do {
                bear_again();
                between.steps = ++at;
                set_trap(true);
                look();
                set_trap(false);
        } while (between.steps == 0);
        cr_expect_gt(at, 20, "of its instructions");
        cr_expect_null(between.journal.slots);
}

static void look_at_once(int number, siginfo_t *info, void *context)
{
        (void)number;
        (void)info;
        (void)context;
        between.steps++;
        look();
}

Test(births, what_was_born_is_not_old_while_it_is_swept, .timeout = 60)
{
        start_between(look_at_once);
        bear_again();
        set_trap(true);
        pld_span_sweep(between.span);
        set_trap(false);
        cr_expect_gt(between.steps, 20, "instructions");
        cr_expect_null(between.journal.slots);
}

/* All that the span has was marked with the pen; the value is young, and elsewhere. */
static void mark_again_with_the_pen(void)
{
        struct pld_span *span = between.span;
        for (size_t i = 0; i < span->nwords; i++) {
                pld_store_release(&pld_span_marks(span)[i].pen,
                                  pld_load_relaxed(&pld_span_allocated(span)[i]));
                pld_store_release(&pld_span_marks(span)[i].all, 0);
        }
        pld_sweep_flip();
}

/* What is noted is not noted again. */
static void forget_what_was_noted(void)
{
        memset(between.journal.seen, 0, sizeof between.journal.seen);
        if (between.journal.slots)
                between.journal.slots->n = 0;
}

static bool is_noted(void)
{
        return between.journal.slots && between.journal.slots->n == 1;
}

static void look_at_once_again(int number, siginfo_t *info, void *context)
{
        forget_what_was_noted();
        look_at_once(number, info, context);
        between.nnoted += is_noted();
}

Test(births, what_is_old_stays_old_if_it_is_swept_while_somebody_looks, .timeout = 60)
{
        start_between(sweep_in_time);
        between.value = polder_new_leaf(200);
        unsigned at = 0;
        do {
                mark_again_with_the_pen();
                forget_what_was_noted();
                between.steps = ++at;
                set_trap(true);
                look();
                set_trap(false);
                cr_assert(is_noted(), "swept after %u instructions", at);
        } while (between.steps == 0);
        cr_expect_gt(at, 20, "of its instructions");
        polder_keep_alive(between.value);
}

Test(births, what_is_old_stays_old_while_it_is_swept, .timeout = 60)
{
        start_between(look_at_once_again);
        between.value = polder_new_leaf(200);
        mark_again_with_the_pen();
        set_trap(true);
        pld_span_sweep(between.span);
        set_trap(false);
        cr_expect_gt(between.steps, 20, "instructions");
        cr_expect_eq(between.nnoted, between.steps);
        polder_keep_alive(between.value);
}
#endif

/* ---- Spans ------------------------------------------------------------------------------- */

/* Large ones, and spans that nobody uses any more when the next young cycle comes. */
static void make_large_and_small(void)
{
        watch(1, polder_new_array(node_layout, 100000));
        for (int i = 0; i < 1000; i++)
                node_new(NULL, 1);
        watch(2, node_new(NULL, 1));
}

Test(births, spans_that_hold_some_are_swept_again, .timeout = 30)
{
        pthread_t a, b;
        setenv("POLDER_GENERATIONS", "1", 1);
        collected_start();
        on_a_thread(make_old, NULL);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        pthread_create(&a, NULL, be_scanned_last, NULL);
        await(&a_is_ready);
        pthread_create(&b, NULL, be_scanned_first, (void *)make_large_and_small);
        await(&b_is_inside);
        collect_young();
        pld_store_release(&meeting.is_over, true);
        pthread_join(b, NULL);
        cr_expect(is_alive(1) && is_alive(2), "born black");
        uint64_t swept = stats_now().swept_bytes;
        collect_young();
        cr_expect_not(is_alive(1));
        cr_expect_not(is_alive(2));
        cr_expect_geq(stats_now().swept_bytes - swept, 101000 * sizeof(struct node));
        pld_store_release(&is_over, true);
        pthread_join(a, NULL);
}
