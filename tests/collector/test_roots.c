#include "tests/collector/collector_test.h"

#include "collector/roots.h"

#include "arena/meta.h"
#include "collector/thread.h"

static void *area[70000];

static void *store_in_area(void *at)
{
        struct node *node = node_new(NULL, 1);
        watch(0, node);
        polder_store((void **)at, (void *)node);
        return NULL;
}

Test(roots, a_range_keeps_what_it_holds_until_it_is_removed)
{
        collected_start();
        cr_assert_eq(polder_root_add(area, sizeof area), 0);
        on_a_thread(store_in_area, &area[0]);
        collect_both_ways();
        cr_expect(is_alive(0));
        on_a_thread(store_in_area, &area[PLD_COUNT_OF(area) - 1]);
        collect_both_ways();
        cr_expect(is_alive(0), "the last word counts");
        cr_expect_eq(polder_root_remove(area), 0);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

Test(roots, what_lies_beside_a_range_keeps_nothing)
{
        collected_start();
        cr_assert_eq(polder_root_add(&area[1], 8), 0);
        on_a_thread(store_in_area, &area[2]);
        collect_both_ways();
        cr_expect_not(is_alive(0));
        on_a_thread(store_in_area, &area[0]);
        collect_both_ways();
        cr_expect_not(is_alive(0));
        on_a_thread(store_in_area, &area[1]);
        collect_both_ways();
        cr_expect(is_alive(0));
}

static void *store_interior(void *at)
{
        char *leaf = polder_new_leaf(100);
        watch(0, leaf);
        polder_store((void **)at, (void *)(leaf + 50));
        return NULL;
}

Test(roots, an_interior_pointer_in_a_range_keeps_an_object)
{
        collected_start();
        cr_assert_eq(polder_root_add(area, 64), 0);
        on_a_thread(store_interior, &area[3]);
        collect_both_ways();
        cr_expect(is_alive(0));
}

Test(roots, a_range_that_cannot_be_is_refused)
{
        collected_start();
        cr_expect_eq(polder_root_add(NULL, 100), -EINVAL);
        cr_expect_eq(polder_root_add(area, 0), -EINVAL);
        cr_expect_eq(polder_root_add((char *)area + 1, 7), -EINVAL, "no whole word");
        cr_expect_eq(polder_root_add(area, SIZE_MAX), -EINVAL);
        cr_expect_eq(polder_root_remove(area), -ENOENT);
}

Test(roots, ranges_may_be_many_and_go_in_any_order)
{
        enum { N = 1000 };
        collected_start();
        size_t before = pld_roots_bytes();
        for (size_t i = 0; i < N; i++)
                cr_assert_eq(polder_root_add(&area[2 * i], 8), 0);
        cr_expect_eq(pld_roots_bytes(), before + 8 * N);
        on_a_thread(store_in_area, &area[2 * 777]);
        for (size_t i = 0; i < N; i++) {
                size_t k = i * 7 % N;
                if (k != 777)
                        cr_assert_eq(polder_root_remove(&area[2 * k]), 0);
        }
        collect_both_ways();
        cr_expect(is_alive(0));
        cr_expect_eq(pld_roots_bytes(), before + 8);
}

Test(roots, a_range_added_twice_is_removed_twice)
{
        collected_start();
        cr_assert_eq(polder_root_add(area, 64), 0);
        cr_assert_eq(polder_root_add(area, 64), 0);
        on_a_thread(store_in_area, &area[0]);
        cr_assert_eq(polder_root_remove(area), 0);
        collect_both_ways();
        cr_expect(is_alive(0));
        cr_assert_eq(polder_root_remove(area), 0);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

static bool is_marked(const void *object)
{
        struct pld_found found = pld_find_object((uintptr_t)object);
        return pld_span_is_marked(found.span, found.index);
}

/* As if a cycle had scanned this thread; no cycle may follow. */
Test(roots, what_leaves_or_enters_the_roots_during_a_cycle_is_shaded)
{
        collected_start();
        struct node *nodes[5];
        for (size_t i = 0; i < PLD_COUNT_OF(nodes); i++)
                nodes[i] = node_new(NULL, i);
        cr_assert_eq(polder_root_add(&nodes[0], 8), 0);
        cr_assert_eq(polder_root_add(&nodes[1], 8), 0);
        cr_assert_eq(polder_pin(nodes[2]), 0);
        polder_thread_.shading = PLD_SHADE_OLD;
        cr_expect_eq(polder_root_remove(&nodes[0]), 0);
        cr_expect(is_marked(nodes[0]), "removed");
        cr_expect(is_marked(nodes[1]), "moved to the other's place");
        cr_expect_eq(polder_unpin(nodes[2]), 0);
        cr_expect(is_marked(nodes[2]), "unpinned");
        cr_expect_eq(polder_pin(nodes[3]), 0);
        cr_expect(is_marked(nodes[3]), "pinned");
        cr_expect_eq(polder_root_add(&nodes[4], 8), 0);
        cr_expect(is_marked(nodes[4]), "added");
        polder_thread_.shading = 0;
}

static _Atomic bool stop_shifting;

/* Moves one pointer from range to range, each registered only while it is held. */
static void *shift_ranges(void *unused)
{
        (void)unused;
        unsigned at = 0;
        while (!pld_load_acquire(&stop_shifting)) {
                unsigned next = (at + 1) % 50;
                cr_assert_eq(polder_root_add(&area[next], 8), 0);
                polder_store(&area[next], area[at]);
                cr_assert_eq(((struct node *)area[next])->value, 1);
                polder_store(&area[at], NULL);
                cr_assert_eq(polder_root_remove(&area[at]), 0);
                at = next;
        }
        return NULL;
}

Test(roots, ranges_may_come_and_go_while_cycles_run, .timeout = 120)
{
        pthread_t thread;
        collected_start();
        cr_assert_eq(polder_root_add(&area[0], 8), 0);
        for (int i = 100; i < 400; i++)
                cr_assert_eq(polder_root_add(&area[i], 8), 0);
        on_a_thread(store_in_area, &area[0]);
        cr_assert_eq(pthread_create(&thread, NULL, shift_ranges, NULL), 0);
        for (int i = 0; i < 100; i++)
                collect_both_ways();
        cr_expect(is_alive(0));
        pld_store_release(&stop_shifting, true);
        pthread_join(thread, NULL);
}

/* ---- Pins ---------------------------------------------------------------------------------- */

static void *pin_twice(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 1);
        watch(0, node);
        cr_assert_eq(polder_pin(node), 0);
        cr_assert_eq(polder_pin((char *)node + 9), 0, "inside is as good");
        return NULL;
}

static void *unpin_watched(void *expected)
{
        struct node *node = polder_weak_get(weaks[0]);
        cr_assert_eq(polder_unpin(node), *(int *)expected);
        return NULL;
}

Test(roots, a_pin_is_counted)
{
        collected_start();
        make_and_collect(pin_twice);
        cr_expect(is_alive(0));
        on_a_thread(unpin_watched, &(int){ 0 });
        collect_both_ways();
        cr_expect(is_alive(0), "one is left");
        on_a_thread(unpin_watched, &(int){ 0 });
        on_a_thread(unpin_watched, &(int){ -ENOENT });
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

Test(roots, what_is_no_object_cannot_be_pinned)
{
        int local;
        collected_start();
        void *block = polder_malloc(10);
        cr_expect_eq(polder_pin(NULL), -EINVAL);
        cr_expect_eq(polder_pin(&local), -EINVAL);
        cr_expect_eq(polder_pin(block), -EINVAL);
        cr_expect_eq(polder_unpin(&local), -ENOENT);
        cr_expect_eq(polder_unpin(polder_new_leaf(8)), -ENOENT);
        polder_free(block);
}

enum { NPINS = 20000 };

static void *pin_many(void *unused)
{
        (void)unused;
        struct node **all = polder_malloc(NPINS * sizeof *all);
        for (size_t i = 0; i < NPINS; i++) {
                cr_assert_not_null(all[i] = node_new(NULL, i));
                cr_assert_eq(polder_pin(all[i]), 0);
        }
        for (size_t i = 0; i < NPINS; i++)
                if (i % 200)
                        cr_assert_eq(polder_unpin(all[i]), 0);
        for (size_t i = 0; i < NPINS; i++)
                cr_assert_eq(polder_unpin(all[i]), i % 200 ? -ENOENT : 0);
        for (size_t i = 0; i < NWEAKS; i++) {
                cr_assert_eq(polder_pin(all[i * 71]), 0);
                watch((unsigned)i, all[i * 71]);
        }
        polder_free(all);
        return NULL;
}

Test(roots, many_pins_are_all_found_again)
{
        collected_start();
        make_and_collect(pin_many);
        for (unsigned i = 0; i < NWEAKS; i++)
                cr_assert(is_alive(i), "pin %u", i);
}

Test(roots, pinning_and_unpinning_for_ever_takes_no_memory)
{
        collected_start();
        struct node *array = polder_new_array(node_layout, 1000);
        for (int i = 0; i < 100; i++)
                cr_assert_eq(polder_pin(array), 0);
        for (int i = 0; i < 100; i++)
                cr_assert_eq(polder_unpin(array), 0);
        size_t before = 0;
        for (int i = 0; i < 20000; i++) {
                if (i == 5000)
                        before = pld_meta_bytes();
                void *object = polder_new_leaf(16);
                cr_assert_eq(polder_pin(object), 0);
                cr_assert_eq(polder_unpin(object), 0);
        }
        cr_expect_leq(pld_meta_bytes() - before, 64 << 10, "%zu bytes", pld_meta_bytes() - before);
}

static _Atomic bool stop_pinning;

/* The last pin is what keeps each of them. */
static void *pass_pins(void *unused)
{
        uintptr_t hidden[64] = { 0 };
        (void)unused;
        for (unsigned i = 0; !pld_load_acquire(&stop_pinning); i++) {
                uintptr_t *slot = &hidden[i * 31 % 64];
                if (*slot) {
                        struct node *node = (struct node *)~*slot;
                        cr_assert_eq(node->value, 77);
                        cr_assert_eq(polder_unpin(node), 0);
                }
                struct node *node = node_new(NULL, 77);
                cr_assert_eq(polder_pin(node), 0);
                *slot = ~(uintptr_t)node;
        }
        return NULL;
}

Test(roots, pins_may_come_and_go_while_cycles_run, .timeout = 120)
{
        pthread_t thread;
        collected_start();
        cr_assert_eq(pthread_create(&thread, NULL, pass_pins, NULL), 0);
        for (int i = 0; i < 200; i++)
                collect_both_ways();
        pld_store_release(&stop_pinning, true);
        pthread_join(thread, NULL);
}

/* ---- Uncollectable ---------------------------------------------------------------- */

static void *make_uncollectable(void *unused)
{
        (void)unused;
        struct node **object = polder_new_uncollectable(64);
        cr_assert_not_null(object);
        struct node *node = node_new(NULL, 1);
        polder_store(&object[7], node);
        watch(0, object);
        watch(1, node);
        return NULL;
}

static void *free_watched(void *unused)
{
        (void)unused;
        errno = 4711;
        polder_free(polder_weak_get(weaks[0]));
        cr_assert_eq(errno, 4711);
        return NULL;
}

Test(roots, an_uncollectable_object_and_what_it_holds_live_until_it_is_freed)
{
        collected_start();
        make_and_collect(make_uncollectable);
        cr_expect(is_alive(0) && is_alive(1));
        on_a_thread(unpin_watched, &(int){ -ENOENT }); /* that pin is not the program's */
        make_and_collect(free_watched);
        cr_expect_not(is_alive(0) || is_alive(1));
}

static void *pin_and_free(void *unused)
{
        (void)unused;
        void *object = polder_weak_get(weaks[0]);
        cr_assert_eq(polder_pin(object), 0);
        polder_free(object);
        return NULL;
}

Test(roots, a_freed_uncollectable_object_lives_on_while_it_is_pinned)
{
        collected_start();
        on_a_thread(make_uncollectable, NULL);
        make_and_collect(pin_and_free);
        cr_expect(is_alive(0));
        on_a_thread(unpin_watched, &(int){ 0 });
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

static pthread_key_t late_key;
static void *block;
static uint64_t stops_before, stops_after;

static void free_when_it_is_late(void *unused)
{
        (void)unused;
        pthread_setspecific(late_key, &late_key);
        if (!polder_thread_attach())
                return;
        stops_before = stats_now().stops;
        polder_free(block);
        stops_after = stats_now().stops;
        block = NULL;
}

static void *end_slowly(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 1);
        watch(0, node);
        block = polder_new_uncollectable(64);
        polder_store((struct node **)block, node);
        pthread_setspecific(late_key, &late_key);
        return NULL;
}

/* In the last round of its destructors a thread is attached no more: it could not tell a cycle
 * that is under way what left the roots. */
Test(roots, a_thread_that_cannot_be_attached_frees_between_two_cycles, .timeout = 60)
{
        collected_start();
        polder_thread_detach(); /* first: so its key comes before ours */
        cr_assert_eq(pthread_key_create(&late_key, free_when_it_is_late), 0);
        on_a_thread(end_slowly, NULL);
        cr_assert_null(block, "it was freed");
        cr_expect_eq(stops_after, stops_before + 1);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}
