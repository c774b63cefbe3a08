#include "tests/collector/test_thread.h"

#include "collector/generation.h"
#include "collector/journal.h"
#include "collector/pacer.h"
#include "collector/request.h"
#include "collector/thread.h"

#include <stdio.h>

static void generations_start(const char *setting)
{
        setenv("POLDER_GENERATIONS", setting, 1);
        collected_start();
}

static void collect_full(void)
{
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
}

/* One that is young indeed. */
static void collect_young(void)
{
        uint64_t before = stats_now().young_cycles;
        cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        cr_assert_eq(stats_now().young_cycles, before + 1);
}

/* roots[0] holds an object that has grown old. */
static void *make_old(void *unused)
{
        (void)unused;
        polder_store(&roots[0], node_new(NULL, 1));
        return NULL;
}

static void start_with_an_old_object(void)
{
        generations_start("1");
        on_a_thread(make_old, NULL);
        collect_full();
}

/* ---- What goes and what stays ------------------------------------------------------------ */

static void *make_watched(void *which)
{
        watch((unsigned)(uintptr_t)which, node_new(NULL, 2));
        return NULL;
}

Test(generation, a_young_cycle_frees_young_garbage, .timeout = 30)
{
        start_with_an_old_object();
        on_a_thread(make_watched, (void *)0);
        collect_young();
        cr_expect_not(is_alive(0));
}

static void *drop_old(void *unused)
{
        (void)unused;
        watch(1, polder_load(&roots[0]));
        polder_store(&roots[0], NULL);
        return NULL;
}

Test(generation, old_garbage_waits_for_a_full_cycle, .timeout = 30)
{
        start_with_an_old_object();
        on_a_thread(drop_old, NULL);
        collect_young();
        cr_expect(is_alive(1));
        collect_full();
        cr_expect_not(is_alive(1));
}

Test(generation, what_lives_through_a_young_cycle_is_old, .timeout = 30)
{
        generations_start("1");
        collect_full();
        on_a_thread(make_old, NULL);
        uint64_t promoted = stats_now().promoted_bytes;
        collect_young();
        cr_expect_geq(stats_now().promoted_bytes - promoted, sizeof(struct node));
        promoted = stats_now().promoted_bytes;
        on_a_thread(drop_old, NULL);
        collect_young();
        cr_expect(is_alive(1), "dropped when it was old already");
        cr_expect_lt(stats_now().promoted_bytes - promoted, 4096);
}

static void *make_large(void *unused)
{
        (void)unused;
        watch(2, polder_new_array(node_layout, 100000));
        return NULL;
}

Test(generation, a_young_cycle_frees_large_objects, .timeout = 30)
{
        start_with_an_old_object();
        uint64_t swept = stats_now().swept_bytes;
        on_a_thread(make_large, NULL);
        collect_young();
        cr_expect_not(is_alive(2));
        cr_expect_geq(stats_now().swept_bytes - swept, 100000 * sizeof(struct node));
}

/* ---- The journal --------------------------------------------------------------------------- */

static void *store_into_old(void *how)
{
        struct node *old = polder_load(&roots[0]), *young = node_new(NULL, 3), *expected = NULL;
        struct node *both[2] = { young, young };
        watch(3, young);
        switch (*(const char *)how) {
        case 's':
                polder_store(&old->next, young);
                break;
        case 'e':
                polder_exchange(&old->next, young);
                break;
        case 'c':
                cr_assert(polder_compare_exchange(&old->next, &expected, young));
                break;
        case 'm':
                polder_move(&old->next, both, sizeof both);
        }
        return NULL;
}

static void expect_kept_by_old(const char *how)
{
        start_with_an_old_object();
        on_a_thread(store_into_old, (void *)(uintptr_t)how); /* its thread's journal outlives it */
        collect_young();
        cr_expect(is_alive(3));
        collect_young();
        cr_expect(is_alive(3));
        collect_full();
        cr_expect(is_alive(3));
}

Test(generation, an_old_object_keeps_what_was_stored_into_it, .timeout = 30)
{
        expect_kept_by_old("store");
}

Test(generation, an_old_object_keeps_what_was_exchanged_into_it, .timeout = 30)
{
        expect_kept_by_old("exchange");
}

Test(generation, an_old_object_keeps_what_was_compared_and_exchanged_into_it, .timeout = 30)
{
        expect_kept_by_old("compare_exchange");
}

Test(generation, an_old_object_keeps_what_was_moved_into_it, .timeout = 30)
{
        expect_kept_by_old("move");
}

static void *store_twice(void *unused)
{
        struct node *old = polder_load(&roots[0]);
        (void)unused;
        for (unsigned i = 4; i < 6; i++) {
                struct node *young = node_new(NULL, i);
                watch(i, young);
                polder_store(&old->next, young);
        }
        return NULL;
}

Test(generation, what_was_overwritten_in_an_old_object_is_garbage, .timeout = 30)
{
        start_with_an_old_object();
        on_a_thread(store_twice, NULL);
        collect_young();
        cr_expect_not(is_alive(4));
        cr_expect(is_alive(5));
}

static struct node outside[64];

static void *make_old_array(void *unused)
{
        (void)unused;
        polder_store(&roots[5], polder_new_array(polder_layout(sizeof(void *), &(uint64_t){ 1 }), 64));
        return NULL;
}

static void *store_often(void *unused)
{
        struct node *old = polder_load(&roots[0]), **array = (void *)polder_load(&roots[5]);
        (void)unused;
        for (unsigned i = 0; i < 10000; i++) {
                struct node *young = node_new(polder_load(&roots[1]), i); /* into a young one */
                polder_store(&old->next, young);
                polder_store(&young->other, old);                        /* an old value */
                polder_store(&array[i % 64], &outside[i % 64]);          /* of no object */
                polder_store(&roots[1], young);                          /* no object at all */
        }
        polder_store(&roots[1], NULL);
        return NULL;
}

Test(generation, only_slots_of_old_objects_that_lead_to_young_ones_are_noted_and_once, .timeout = 30)
{
        start_with_an_old_object();
        on_a_thread(make_old_array, NULL);
        collect_full();
        uint64_t before = stats_now().noted_slots;
        on_a_thread(store_often, NULL);
        collect_young();
        uint64_t noted = stats_now().noted_slots - before;
        cr_expect(noted >= 1 && noted < 20, "%llu", (unsigned long long)noted);
}

static struct node *newest; /* not a root */
static _Atomic unsigned step;

static void await_step(unsigned n)
{
        while (pld_load_acquire(&step) < n)
                polder_safepoint();
}

static __attribute__((noinline)) void fill_newest(void)
{
        newest->other = polder_load(&roots[2]); /* not its first slot */
}

/* What it leaves behind lies where nobody looks. */
static __attribute__((noinline)) void fill_newest_far_down(void)
{
        char far[16 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        fill_newest();
        snprintf(far, sizeof far, "%g %s", 1.5, "nor in a register"); /* which it uses itself */
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

/* Makes an object, lets it grow old, and fills it with a plain store then (rule 3). */
static void *fill_late(void *unused)
{
        (void)unused;
        struct node *node = polder_new(node_layout);
        newest = node;
        pld_store_release(&step, 1);
        await_step(2); /* a full cycle went by */
        fill_newest_far_down();
        pld_store_release(&step, 3);
        await_step(4); /* a young one did */
        polder_keep_alive(node);
        return NULL;
}

static void *give_a_young_one(void *unused)
{
        (void)unused;
        struct node *young = node_new(NULL, 7);
        watch(6, young);
        polder_store(&roots[2], young);
        return NULL;
}

static void *take_it_back(void *unused)
{
        (void)unused;
        polder_store(&roots[2], NULL);
        return NULL;
}

Test(generation, the_newest_object_may_be_filled_after_it_has_grown_old, .timeout = 30)
{
        pthread_t thread;
        generations_start("1");
        pthread_create(&thread, NULL, fill_late, NULL);
        await_step(1);
        collect_full();
        on_a_thread(give_a_young_one, NULL);
        pld_store_release(&step, 2);
        await_step(3);
        on_a_thread(take_it_back, NULL);
        collect_young();
        cr_expect(is_alive(6));
        pld_store_release(&step, 4);
        pthread_join(thread, NULL);
}

/* A has an object that has grown old and is still its newest, and fills it, armed and not yet
 * scanned, with what nobody else refers to any more. */
static struct {
        uintptr_t outer, inner; /* in disguise: what is in no variable is on no stack */
        _Atomic bool was_kept;
} hidden;

static __attribute__((noinline)) void make_disguised(uintptr_t *out)
{
        char far[16 << 10]; /* what this leaves behind lies where nobody looks */
        __asm__ __volatile__("" : : "r"(far) : "memory");
        struct node *node = polder_new(node_layout);
        node->value = 42;
        *out = ~(uintptr_t)node;
}

static __attribute__((noinline)) void fill_hidden(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        ((struct node *)~hidden.outer)->next = (struct node *)~hidden.inner;
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

static void *fill_while_armed(void *unused)
{
        (void)unused;
        make_disguised(&hidden.outer);
        struct node *volatile outer = (struct node *)~hidden.outer;
        pld_store_release(&step, 1);
        while (!(polder_thread_.shading & PLD_SHADE_NEW) || pld_load_acquire(&step) < 2)
                polder_safepoint();
        polder_enter_(); /* B holds the arming open, so nobody asks for a scan yet */
        meet_and(fill_hidden);
        struct node *inner = polder_load(&outer->next);
        pld_store_release(&hidden.was_kept, polder_size_of(inner) && inner->value == 42);
        return NULL;
}

static void *be_scanned_first(void *unused)
{
        (void)unused;
        make_disguised(&hidden.inner);
        polder_thread_.self[PLD_SELF_NEWEST] = NULL;
        polder_enter_();
        pld_store_release(&step, 2);
        spin_until(&meeting.a_is_armed);
        leave_and_be_scanned();
        return NULL;
}

Test(generation, the_journal_is_read_after_the_last_scan, .timeout = 30)
{
        pthread_t a, b;
        generations_start("1");
        pthread_create(&a, NULL, fill_while_armed, NULL);
        await_step(1);
        collect_full();
        pthread_create(&b, NULL, be_scanned_first, NULL);
        await_step(2);
        collect_young();
        pld_store_release(&meeting.is_over, true);
        pthread_join(a, NULL);
        pthread_join(b, NULL);
        cr_expect(pld_load_acquire(&hidden.was_kept));
}

enum { MANY_SLOTS = 3 << 20 };

static void *make_wide(void *unused)
{
        (void)unused;
        const struct polder_layout *slot = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        polder_store(&roots[3], polder_new_array(slot, MANY_SLOTS));
        return NULL;
}

static void *fill_wide(void *unused)
{
        (void)unused;
        struct node **wide = (struct node **)(void *)polder_load(&roots[3]);
        struct node *young = node_new(NULL, 8);
        for (size_t i = 0; i < MANY_SLOTS; i++)
                polder_store(&wide[i], young);
        polder_store(&wide[MANY_SLOTS - 1], node_new(NULL, 9));
        watch(7, polder_load(&wide[MANY_SLOTS - 1]));
        return NULL;
}

Test(generation, more_slots_than_are_noted_make_the_next_cycle_a_full_one, .timeout = 60)
{
        generations_start("1");
        on_a_thread(make_wide, NULL);
        collect_full();
        on_a_thread(fill_wide, NULL);
        cr_expect(pld_journal_is_void());
        uint64_t before = stats_now().young_cycles;
        cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        cr_expect_eq(stats_now().young_cycles, before);
        cr_expect(is_alive(7));
        collect_young();
        cr_expect(is_alive(7));
}

/* ---- Records ----------------------------------------------------------------------------- */

static _Atomic unsigned nfinalized;

static void on_finalize(void *object, void *arg)
{
        (void)object;
        (void)arg;
        pld_add_relaxed(&nfinalized, 1);
}

static void *make_finalizable(void *unused)
{
        (void)unused;
        cr_assert_eq(polder_finalizer_set(node_new(node_new(NULL, 1), 2), on_finalize, NULL), 0);
        return NULL;
}

Test(generation, the_finalizer_of_a_young_object_runs_after_a_young_cycle, .timeout = 30)
{
        start_with_an_old_object();
        on_a_thread(make_finalizable, NULL);
        collect_young();
        for (int i = 0; i < 5000 && pld_load_acquire(&nfinalized) == 0; i++)
                usleep(1000);
        cr_expect_eq(pld_load_acquire(&nfinalized), 1);
        collect_young();
        collect_full();
}

/* ---- Which cycles are young ----------------------------------------------------------------- */

/* G2, and what the setting says. */
Test(generation, marks_are_kept_where_the_setting_wants_it_and_the_next_cycle_may_be_young)
{
        struct pld_survey large = { .live = (size_t)1 << 30 }, due = large;
        due.is_full_due = true;
        generations_start("1");
        cr_expect(pld_generation_flip(&large));
        cr_expect_not(pld_generation_flip(&due));
        cr_expect_not(pld_generation_has_marks());
}

Test(generation, marks_are_never_kept_where_the_setting_says_so)
{
        struct pld_survey large = { .live = (size_t)1 << 30 };
        generations_start("0");
        for (int i = 0; i < 100; i++)
                cr_assert_not(pld_generation_flip(&large));
}

/* Of a thread that cannot be attached (barrier.c, W4). */
Test(generation, a_store_that_nobody_can_note_makes_the_next_cycle_a_full_one, .timeout = 30)
{
        start_with_an_old_object();
        cr_assert(pld_generation_may_be_young());
        pld_journal_note_nowhere(false);
        cr_expect_not(pld_generation_may_be_young());
        uint64_t before = stats_now().young_cycles;
        cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        cr_expect_eq(stats_now().young_cycles, before);
        cr_expect(pld_generation_may_be_young(), "the full cycle has begun anew");
}

Test(generation, without_generations_every_cycle_is_a_full_one, .timeout = 30)
{
        generations_start("0");
        collect_full();
        for (int i = 0; i < 3; i++)
                cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        cr_expect_eq(stats_now().young_cycles, 0);
        cr_expect_eq(stats_now().old_bytes, 0);
}

Test(generation, a_stopped_cycle_is_a_full_one, .timeout = 30)
{
        start_with_an_old_object();
        uint64_t before = stats_now().young_cycles;
        on_a_thread(drop_old, NULL);
        cr_assert_eq(polder_collect(POLDER_STOP_THE_WORLD), 0);
        cr_expect_eq(stats_now().young_cycles, before);
        cr_expect_not(is_alive(1));
        on_a_thread(make_watched, (void *)0);
        collect_young(); /* and keeps marks as any other */
        cr_expect_not(is_alive(0));
}

static void collect_in_a_child(void)
{
        uint64_t before = stats_now().young_cycles;
        if (polder_collect(POLDER_YOUNG) || stats_now().young_cycles != before)
                _exit(1);
        if (polder_collect(POLDER_YOUNG) || stats_now().young_cycles != before + 1)
                _exit(2);
}

Test(generation, the_first_cycle_of_a_forked_child_is_a_full_one, .timeout = 60)
{
        char said[512];
        start_with_an_old_object();
        cr_expect_eq(in_a_child(collect_in_a_child, said, sizeof said), 0, "%s", said);
        collect_young();
}

/* However long the collector's thread has to wait for a processor. */
static void let_cycles_end(void)
{
        while (pld_pacer_wants_cycle()) {
                pld_request_automatic();
                polder_safepoint();
                sched_yield();
        }
}

/* An old structure of some size, and garbage beside it, with cycles as they come. */
static void *live_a_while(void *unused)
{
        struct node *list = NULL;
        (void)unused;
        for (uintptr_t i = 0; i < 1500000; i++)
                list = node_new(list, i);
        polder_store(&roots[4], list);
        list = NULL;
        for (uintptr_t i = 0; i < 20000000; i++) {
                node_new(NULL, i);
                if (i % 1024 == 0)
                        let_cycles_end();
        }
        uintptr_t n = 0;
        for (list = polder_load(&roots[4]); list; list = polder_load(&list->next))
                n++;
        return (void *)n;
}

static void expect_young_cycles_by(const char *setting)
{
        setenv("POLDER_GENERATIONS", setting, 1);
        collected_start_as("concurrent", "");
        cr_expect_eq((uintptr_t)on_a_thread(live_a_while, NULL), 1500000);
        struct polder_stats stats = stats_now();
        cr_expect_geq(stats.young_cycles, 5, "%llu of %llu", (unsigned long long)stats.young_cycles,
                      (unsigned long long)stats.cycles);
        cr_expect_lt(stats.promoted_bytes, stats.young_bytes / 4);
}

Test(generation, cycles_beside_an_old_structure_are_young_ones, .timeout = 120)
{
        expect_young_cycles_by("1");
}

Test(generation, cycles_become_young_ones_by_themselves_where_that_pays, .timeout = 120)
{
        expect_young_cycles_by("-1");
}

/* Whatever is made lives for long: a window that moves. */
static void *keep_a_window(void *unused)
{
        enum { WINDOW = 1 << 20 };
        const struct polder_layout *slot = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        (void)unused;
        polder_store(&roots[5], polder_new_array(slot, WINDOW));
        struct node **window = (struct node **)(void *)polder_load(&roots[5]);
        for (uintptr_t i = 0; i < 12000000; i++)
                polder_store(&window[i % WINDOW], node_new(NULL, i));
        return NULL;
}

Test(generation, cycles_stay_full_where_what_is_young_survives, .timeout = 120)
{
        setenv("POLDER_GENERATIONS", "-1", 1);
        collected_start_as("concurrent", "");
        on_a_thread(keep_a_window, NULL);
        struct polder_stats stats = stats_now();
        cr_expect_geq(stats.cycles, 4);
        cr_expect_leq(stats.young_cycles, 1 + stats.cycles / 3, "%llu of %llu",
                      (unsigned long long)stats.young_cycles, (unsigned long long)stats.cycles);
}

/* ---- Small and large objects, apart ---------------------------------------------------------- */

/* Of each kind so many MiB were allocated and lived; what large ones refer to is nothing. */
static bool flip_after_young(size_t small, size_t small_lived, size_t large, size_t large_lived)
{
        struct pld_survey survey = {
                .young = true,
                .before = (small + large) * PLD_MIB,
                .before_large = large * PLD_MIB,
                .marked = (small_lived + large_lived) * PLD_MIB,
                .marked_large = large_lived * PLD_MIB,
                .scanned = small_lived * PLD_MIB,
                .live = 100 * PLD_MIB,
                .reference = 1,
        };
        return pld_generation_flip(&survey);
}

static void start_with_generations(const char *setting)
{
        setenv("POLDER_GENERATIONS", setting, 1);
        collected_start();
        collect_both_ways();
}

/* A full cycle ends, until one asks for a trial of a young one. */
static void flip_until_trial(void)
{
        const struct pld_survey full = { .live = 1 << 30, .reference = 1 };
        unsigned n = 0;
        while (!pld_generation_flip(&full))
                cr_assert_lt(++n, 100);
}

Test(generation, a_trial_that_frees_little_is_the_last_for_a_while)
{
        start_with_generations("-1");
        flip_until_trial();
        cr_expect_not(flip_after_young(10, 9, 0, 0));
        flip_until_trial();
        cr_expect(flip_after_young(10, 1, 0, 0), "nine times what it cost");
        cr_expect(flip_after_young(10, 5, 0, 0), "as good as full ones");
        for (int i = 0; i < 5; i++)
                flip_after_young(10, 9, 0, 0);
        cr_expect_not(pld_generation_has_marks());
}

/* Long enough to be believed: of ten MiB of each kind so many live on. */
static void let_live(size_t small, size_t large)
{
        for (int i = 0; i < 20; i++)
                flip_after_young(10, small, 10, large);
}

static bool is_due(size_t small, size_t large, size_t room)
{
        return pld_generation_is_due((small + large) * PLD_MIB, large * PLD_MIB, room * PLD_MIB);
}

/* Else no young cycle comes any more to see that they live no longer. */
Test(generation, what_used_to_live_puts_young_cycles_off_for_a_while_only)
{
        start_with_generations("1");
        let_live(10, 0);
        cr_expect_not(is_due(11, 1, 10));
        cr_expect(is_due(10, 0, 10), "there are no others");
        const struct pld_survey full = { .live = 1 << 30, .reference = 1 };
        for (int i = 0; i < 5; i++)
                cr_assert(pld_generation_flip(&full));
        cr_expect(is_due(11, 1, 10));
}

Test(generation, large_objects_that_stay_do_not_hurry_young_cycles)
{
        start_with_generations("1");
        cr_expect(is_due(5, 5, 10), "nothing is known");
        let_live(0, 10);
        cr_expect(is_due(10, 0, 10));
        cr_expect_not(is_due(5, 5, 10));
        cr_expect(is_due(9, 9, 10));
        let_live(0, 0);
        cr_expect(is_due(5, 6, 10), "they die again");
}

Test(generation, small_objects_that_stay_do_not_hurry_them_either)
{
        start_with_generations("1");
        let_live(10, 1);
        cr_expect(is_due(0, 10, 10));
        cr_expect_not(is_due(5, 5, 10));
}

Test(generation, where_both_kinds_stay_a_cycle_is_due_as_ever)
{
        start_with_generations("1");
        let_live(10, 10);
        cr_expect(is_due(5, 5, 10));
        cr_expect_not(is_due(5, 4, 10));
}

Test(generation, large_objects_without_pointers_that_stay_do_not_turn_it_off)
{
        start_with_generations("-1");
        for (int i = 0; i < 20; i++)
                cr_expect(flip_after_young(10, 1, 40, 40), "%d", i);
        cr_expect_not(flip_after_young(10, 9, 40, 40) && flip_after_young(10, 9, 40, 40) &&
                              flip_after_young(10, 9, 40, 40),
                      "but small ones that stay do");
}

static void *make_both_kinds(void *unused)
{
        (void)unused;
        for (unsigned i = 0; i < 16; i++) {
                struct node *object = polder_new_leaf(1 << 20);
                if (i % 2)
                        object = node_new(object, i); /* half of them through another */
                polder_store(&roots[i], object);
                polder_new_leaf(1 << 20);
        }
        for (unsigned i = 0; i < 1 << 15; i++)
                node_new(NULL, i);
        return NULL;
}

Test(generation, both_kinds_are_counted_apart, .timeout = 60)
{
        start_with_generations("1");
        on_a_thread(make_both_kinds, NULL);
        cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        struct pld_survey survey = pld_pacer_survey(0);
        size_t nodes = ((size_t)1 << 15) * sizeof(struct node);
        cr_expect(survey.young);
        cr_expect_geq(survey.before_large, 32 << 20);
        cr_expect_leq(survey.before_large, 33 << 20);
        cr_expect_geq(survey.before - survey.before_large, nodes);
        cr_expect_leq(survey.before - survey.before_large, 2 * nodes);
        cr_expect_geq(survey.marked_large, 16 << 20);
        cr_expect_leq(survey.marked_large, 18 << 20, "a stack may have kept one more");
        cr_expect_leq(survey.marked - survey.marked_large, nodes / 8);
}
