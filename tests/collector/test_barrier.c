#define POLDER_CHECK
#include "tests/collector/collector_test.h"

#include "collector/thread.h"

enum { NSLOTS = 40 };

/* W5: after what this thread noted has been shaded. */
static bool is_marked(const void *object)
{
        pld_shade_noted(&pld_thread_self()->marker);
        struct pld_found found = pld_find_object((uintptr_t)object);
        return pld_span_is_marked(found.span, found.index);
}

/* As if a cycle had brought this thread so far; no cycle may follow. */
static void pretend(unsigned char shading)
{
        polder_thread_.shading = shading;
}

static struct node *a, *b, *c;

static void three_nodes(unsigned char shading)
{
        collected_start();
        a = node_new(NULL, 1);
        b = node_new(NULL, 2);
        c = node_new(NULL, 3);
        pretend(shading);
}

/* ---- Shading ---------------------------------------------------------------------------- */

Test(barrier, outside_of_a_cycle_nothing_is_shaded)
{
        three_nodes(0);
        struct node *slot = a;
        polder_store(&slot, b);
        cr_expect_eq(slot, b);
        cr_expect_not(is_marked(a) || is_marked(b));
}

Test(barrier, an_armed_thread_shades_what_it_overwrites_and_what_it_stores)
{
        three_nodes(PLD_SHADE_OLD | PLD_SHADE_NEW);
        struct node *slot = a;
        polder_store(&slot, b);
        cr_expect_eq(slot, b);
        cr_expect(is_marked(a) && is_marked(b));
        cr_expect_not(is_marked(c));
}

Test(barrier, a_scanned_thread_shades_only_what_it_overwrites)
{
        three_nodes(PLD_SHADE_OLD);
        struct node *slot = a;
        polder_store(&slot, b);
        cr_expect(is_marked(a));
        cr_expect_not(is_marked(b));
}

Test(barrier, an_exchange_shades_what_comes_out)
{
        three_nodes(PLD_SHADE_OLD);
        struct node *slot = a;
        cr_expect_eq(polder_exchange(&slot, b), a);
        cr_expect_eq(slot, b);
        cr_expect(is_marked(a));
        cr_expect_not(is_marked(b));
}

Test(barrier, a_compare_exchange_shades_what_it_expects)
{
        three_nodes(PLD_SHADE_OLD);
        struct node *slot = a, *expected = a;
        cr_expect(polder_compare_exchange(&slot, &expected, b));
        cr_expect_eq(slot, b);
        cr_expect(is_marked(a));
        cr_expect_not(is_marked(b));
}

Test(barrier, an_armed_thread_shades_what_it_stores_by_whatever_operation)
{
        three_nodes(PLD_SHADE_OLD | PLD_SHADE_NEW);
        struct node *slot = NULL, *expected = a;
        polder_exchange(&slot, a);
        cr_expect(is_marked(a));
        cr_expect(polder_compare_exchange(&slot, &expected, b));
        cr_expect(is_marked(b));
        struct node *from[] = { c }, *to[] = { NULL };
        polder_move(to, from, sizeof to);
        cr_expect(is_marked(c));
}

/* W3: before it tries, and so also when it fails. */
Test(barrier, a_compare_exchange_that_fails_shades_all_the_same)
{
        three_nodes(PLD_SHADE_OLD | PLD_SHADE_NEW);
        struct node *slot = a, *expected = b;
        cr_expect_not(polder_compare_exchange(&slot, &expected, c));
        cr_expect(is_marked(b) && is_marked(c));
}

Test(barrier, a_move_and_a_clear_shade_what_they_overwrite)
{
        three_nodes(PLD_SHADE_OLD);
        struct node *from[] = { b, NULL }, *to[] = { a, c };
        polder_move(to, from, sizeof to);
        cr_expect(to[0] == b && to[1] == NULL);
        cr_expect(is_marked(a) && is_marked(c));
        cr_expect_not(is_marked(b));
        polder_clear(to, sizeof to);
        cr_expect_null(to[0]);
        cr_expect(is_marked(b));
}

Test(barrier, what_is_no_object_may_be_stored)
{
        three_nodes(PLD_SHADE_OLD | PLD_SHADE_NEW);
        int local;
        void *slot = &local;
        polder_store(&slot, (void *)1);
        polder_store(&slot, (void *)UINTPTR_MAX);
        polder_store(&slot, NULL);
        cr_expect_null(slot);
}

/* ---- What the operations do, with and without a cycle ----------------------------- */

static const unsigned char states[] = { 0, PLD_SHADE_OLD, PLD_SHADE_OLD | PLD_SHADE_NEW };

Test(barrier, a_load_gives_what_was_stored)
{
        for (size_t i = 0; i < PLD_COUNT_OF(states); i++) {
                three_nodes(states[i]);
                struct node *slot = NULL;
                polder_store(&slot, a);
                cr_expect_eq(polder_load(&slot), a);
                polder_store(&slot, NULL);
                cr_expect_null(polder_load(&slot));
                pretend(0);
        }
}

Test(barrier, a_compare_exchange_that_fails_says_what_is_there)
{
        for (size_t i = 0; i < PLD_COUNT_OF(states); i++) {
                three_nodes(states[i]);
                struct node *slot = a, *expected = b;
                cr_expect_not(polder_compare_exchange(&slot, &expected, c));
                cr_expect_eq(slot, a);
                cr_expect_eq(expected, a);
                cr_expect(polder_compare_exchange(&slot, &expected, NULL));
                cr_expect_null(slot);
                cr_expect_not(polder_compare_exchange(&slot, &expected, c));
                cr_expect_null(expected);
                cr_expect(polder_compare_exchange(&slot, &expected, c));
                cr_expect_eq(slot, c);
                pretend(0);
        }
}

static void expect_move(size_t to, size_t from, size_t n)
{
        struct node *slots[3 * NSLOTS], *want[3 * NSLOTS], *nodes[] = { NULL, a, b, c };
        for (size_t i = 0; i < PLD_COUNT_OF(slots); i++)
                slots[i] = want[i] = nodes[i * 2654435761u >> 7 & 3];
        memmove(&want[to], &want[from], n * sizeof *want);
        polder_move(&slots[to], &slots[from], n * sizeof *slots);
        cr_assert_arr_eq(slots, want, sizeof slots, "%zu slots from %zu to %zu", n, from, to);
}

Test(barrier, a_move_is_a_memmove_however_it_overlaps)
{
        for (size_t i = 0; i < PLD_COUNT_OF(states); i++) {
                three_nodes(states[i]);
                for (size_t to = 0; to <= 2 * NSLOTS; to += 7)
                        for (size_t from = 0; from <= 2 * NSLOTS; from += 3)
                                for (size_t n = 0; n <= NSLOTS; n += 13)
                                        expect_move(to, from, n);
                expect_move(1, 0, NSLOTS);
                expect_move(0, 1, NSLOTS);
                pretend(0);
        }
}

Test(barrier, a_long_move_overlaps_in_chunks_both_ways)
{
        enum { N = 5000 };
        static struct node *slots[N + 10];
        collected_start();
        struct node *array = polder_new_array(node_layout, 10);
        for (size_t i = 0; i < N; i++)
                slots[i] = &array[i % 10];
        polder_move(&slots[10], &slots[0], N * sizeof *slots);
        for (size_t i = 0; i < N; i++)
                cr_assert_eq(slots[i + 10], &array[i % 10]);
        polder_move(&slots[0], &slots[9], N * sizeof *slots);
        for (size_t i = 1; i < N; i++)
                cr_assert_eq(slots[i], &array[(i - 1) % 10]);
        polder_clear(slots, sizeof slots);
        for (size_t i = 0; i < PLD_COUNT_OF(slots); i++)
                cr_assert_null(slots[i]);
}

Test(barrier, a_clear_stops_at_its_end)
{
        three_nodes(0);
        struct node *slots[] = { a, b, c };
        polder_clear(&slots[1], sizeof slots[1]);
        cr_expect(slots[0] == a && slots[1] == NULL && slots[2] == c);
        polder_clear(slots, 0);
        cr_expect_eq(slots[0], a);
}

/* ---- Who may ---------------------------------------------------------------------- */

static void *load_unattached(void *slot)
{
        return polder_load((struct node **)slot);
}

static void load_on_a_thread(void)
{
        pthread_t thread;
        collected_start();
        polder_store(&roots[0], node_new(NULL, 1));
        pthread_create(&thread, NULL, load_unattached, &roots[0]);
        pthread_join(thread, NULL);
}

Test(barrier, with_polder_check_a_load_dies_unless_the_thread_is_attached)
{
        expect_death(load_on_a_thread, "without being attached");
}

static void *store_unattached(void *unused)
{
        (void)unused;
        polder_store(&roots[0], NULL);
        return polder_load(&roots[0]); /* POLDER_CHECK sees an attached thread */
}

Test(barrier, a_store_attaches_its_thread)
{
        collected_start();
        polder_store(&roots[0], node_new(NULL, 1));
        cr_expect_null(on_a_thread(store_unattached, NULL));
        cr_expect_null(roots[0]);
}

static void *shuffle(void *arg)
{
        struct gang *gang = arg;
        uint64_t seed = 1 + pld_add_release(&gang->nready, 1);
        struct pld_random random = pld_random_seeded(seed);
        polder_thread_attach();
        while (!pld_load_acquire(&gang->done)) {
                struct node **one = &roots[pld_random_below(&random, 32)];
                struct node **two = &roots[pld_random_below(&random, 32)];
                struct node *node = polder_load(one), *other = polder_load(two);
                switch (pld_random_below(&random, 6)) {
                case 0:
                        polder_store(one, node_new(other, 7));
                        break;
                case 1:
                        polder_store(one, polder_exchange(two, node));
                        break;
                case 2:
                        polder_compare_exchange(one, &node, other);
                        break;
                case 3:
                        polder_move(one, two, (size_t)8 * pld_random_below(&random, 5));
                        break;
                case 4:
                        if (node)
                                polder_store(&node->other, other);
                        break;
                default:
                        if (node)
                                polder_store(&node->next, NULL);
                }
                for (int i = 0; node && i < 20; i++, node = polder_load(&node->next))
                        cr_assert_eq(node->value, 7);
        }
        return NULL;
}

Test(barrier, what_threads_shuffle_while_cycles_run_stays_whole, .timeout = 120)
{
        collected_start();
        collect_beside(4, shuffle, 100);
}
