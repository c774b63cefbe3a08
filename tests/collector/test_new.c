#include "tests/collector/collector_test.h"

#include "arena/cache.h"
#include "collector/cycle.h"
#include "collector/pacer.h"
#include "collector/scan.h"
#include "collector/thread.h"
#include "collector/tie.h"

static bool is_zero(const void *at, size_t nbytes)
{
        const unsigned char *byte = at;
        for (size_t i = 0; i < nbytes; i++)
                if (byte[i])
                        return false;
        return true;
}

static void check_object(void *object, size_t nbytes)
{
        cr_assert_not_null(object, "%zu bytes", nbytes);
        cr_assert_eq((uintptr_t)object % (nbytes < 16 ? 8 : 16), 0, "%zu bytes", nbytes);
        cr_assert(is_zero(object, nbytes), "%zu bytes", nbytes);
        size_t room = polder_size_of(object);
        cr_assert_geq(room, nbytes);
        cr_assert_leq(room, nbytes + (nbytes < 120 ? 16 : nbytes / 8 + 1), "%zu takes %zu", nbytes,
                      room);
        cr_assert_eq(polder_size_of((char *)object + nbytes - 1), room);
        memset(object, 0xff, nbytes); /* for whoever gets the cell next */
}

static void *dirty_all_sizes(void *unused)
{
        static const uint64_t first_word[PLD_SMALL_MAX / 8 / 64] = { 1 };
        (void)unused;
        for (size_t nbytes = 1; nbytes <= PLD_SMALL_MAX; nbytes += nbytes / 16 + 1) {
                check_object(polder_new_leaf(nbytes), nbytes);
                check_object(polder_new_conservative(nbytes), nbytes);
                /* A precise object's slots may not hold rubbish. */
                void *object = polder_new(polder_layout(nbytes, first_word));
                cr_assert(is_zero(object, nbytes));
                if (nbytes > 8)
                        memset((char *)object + 8, 0xff, nbytes - 8);
        }
        return NULL;
}

Test(new, objects_of_every_size_are_zero_and_aligned_also_the_second_time)
{
        collected_start();
        for (int round = 0; round < 3; round++)
                make_and_collect(dirty_all_sizes);
}

static void *dirty_large_sizes(void *unused)
{
        static const size_t sizes[] = { PLD_SMALL_MAX + 1, 40000, 65536, 1 << 20, (5 << 20) + 3 };
        (void)unused;
        for (size_t i = 0; i < PLD_COUNT_OF(sizes); i++) {
                void *object = polder_new_leaf(sizes[i]);
                cr_assert_not_null(object);
                cr_assert_eq((uintptr_t)object % 16, 0);
                cr_assert(is_zero(object, sizes[i]));
                cr_assert_geq(polder_size_of(object), sizes[i]);
                cr_assert_eq(polder_size_of((char *)object + sizes[i] - 1), polder_size_of(object));
                memset(object, 0xff, sizes[i]);
        }
        return NULL;
}

Test(new, large_objects_are_zero_also_the_second_time)
{
        collected_start();
        for (int round = 0; round < 3; round++)
                make_and_collect(dirty_large_sizes);
}

/* Some live, so that runs are short; the others' cells are full of ones. */
static void *dirty_and_keep_some(void *arg)
{
        struct node **kept = arg;
        const struct polder_layout *first_word = polder_layout(64, (const uint64_t[]){ 1 });
        for (int i = 0; i < 50000; i++) {
                struct node *node = polder_new(first_word);
                cr_assert(is_zero(node, 64), "object %d", i);
                memset(&node->other, 0xff, 56);
                if (i % 7 == 0) {
                        polder_store(&node->next, *kept);
                        polder_store(kept, node);
                }
        }
        return NULL;
}

Test(new, objects_between_live_ones_are_zero_while_cycles_run)
{
        collected_start_as("concurrent", "stagger");
        for (int round = 0; round < 10; round++) {
                polder_store(&roots[0], NULL);
                on_a_thread(dirty_and_keep_some, &roots[0]);
                cr_assert_eq(polder_collect_start(), 0);
                on_a_thread(dirty_and_keep_some, &roots[round % 2]);
        }
}

/* N5 */
static void *look_what_is_unpolled(void *arg)
{
        (void)arg;
        size_t most = 0;
        for (int i = 0; i < 100000; i++) {
                cr_assert_not_null(polder_new_leaf(64));
                size_t now = pld_thread_self()->unpolled;
                most = now > most ? now : most;
        }
        cr_expect_gt(most, 0);
        cr_expect_leq(most, 32 << 10);
        return NULL;
}

Test(new, a_thread_comes_the_long_way_now_and_then)
{
        collected_start();
        on_a_thread(look_what_is_unpolled, NULL);
}

Test(new, what_is_allocated_is_counted_whole)
{
        collected_start();
        polder_new_leaf(64);
        pld_pacer_flush(pld_thread_self());
        uint64_t before = stats_now().allocated_bytes;
        for (int i = 0; i < 100000; i++)
                cr_assert_not_null(polder_new_leaf(64));
        pld_pacer_flush(pld_thread_self());
        uint64_t counted = stats_now().allocated_bytes - before;
        cr_expect_geq(counted + (16 << 10), 6400000);
        cr_expect_leq(counted, 6400000 + (16 << 10));
}

/* B1: a black run's cells have their marks before they are zero. */
Test(new, what_will_be_born_black_is_not_looked_into)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *lost = node_new(NULL, 1);
        struct pld_found found = pld_find_object((uintptr_t)lost);
        char *object = polder_new_array(node_layout, 4);
        struct pld_span *span = pld_span_of((uintptr_t)object);
        uintptr_t end = pld_load_relaxed(&span->collected.run_end);
        for (uintptr_t at = pld_load_relaxed(&span->collected.run_next); at < end; at += 8)
                *(void **)at = lost; /* as if it were left there */
        pld_bump_blacken(&pld_cache_mine->bump);
        pld_store_relaxed(&pld_grey_overflow, true);
        pld_mark_recover(&marker);
        cr_expect_not(pld_span_is_marked(found.span, found.index));
}

Test(new, what_will_be_born_black_is_no_owner_of_ties)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct polder_ephemeron *owner = polder_ephemeron_new(node_new(NULL, 1), node_new(NULL, 2));
        cr_assert_not_null(owner);
        struct pld_span *span = pld_span_of((uintptr_t)owner);
        uintptr_t next = pld_load_relaxed(&span->collected.run_next);
        uintptr_t end = pld_load_relaxed(&span->collected.run_end);
        cr_assert_lt(next, end);
        memset((void *)next, 0x5a, end - next);
        pld_bump_blacken(&pld_cache_mine->bump);
        pld_ties_shade_marked(&marker); /* follows nothing */
}

Test(new, zero_bytes_are_an_object_of_its_own)
{
        collected_start();
        char *one = polder_new_leaf(0), *two = polder_new_leaf(0);
        cr_assert_not_null(one);
        cr_expect_neq(one, two);
        cr_expect_not_null(polder_new_array(node_layout, 0));
        cr_expect_gt(polder_size_of(one), 0);
}

Test(new, size_of_what_is_no_collected_object_is_0)
{
        int local = 0;
        cr_expect_eq(polder_size_of(&local), 0, "not even started");
        collected_start();
        void *block = polder_malloc(100);
        char *object = polder_new_leaf(64);
        cr_expect_eq(polder_size_of(NULL), 0);
        cr_expect_eq(polder_size_of(&local), 0);
        cr_expect_eq(polder_size_of(block), 0);
        cr_expect_eq(polder_size_of((void *)UINTPTR_MAX), 0);
        cr_expect_eq(polder_size_of(object), 64);
        cr_expect_eq(polder_size_of(object + 64), 0, "the cell behind it is not yet born");
        polder_free(block);
}

Test(new, an_array_has_room_for_all_its_elements)
{
        collected_start();
        for (size_t count = 1; count < 3000; count = count * 3 / 2 + 1) {
                struct node *array = polder_new_array(node_layout, count);
                cr_assert_not_null(array);
                cr_assert_geq(polder_size_of(array), count * sizeof *array);
                cr_assert(is_zero(array, count * sizeof *array));
        }
}

Test(new, an_array_that_overflows_is_invalid)
{
        collected_start();
        errno = 0;
        cr_expect_null(polder_new_array(node_layout, SIZE_MAX / 8));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_new_array(node_layout, (size_t)PTRDIFF_MAX / 24 + 1));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        const struct polder_layout *leaf = polder_layout(1, NULL);
        cr_expect_null(polder_new_array(leaf, SIZE_MAX));
        cr_expect_eq(errno, EINVAL);
}

Test(new, elements_whose_pointers_would_not_be_aligned_are_invalid)
{
        collected_start();
        const struct polder_layout *odd = polder_layout(12, (const uint64_t[]){ 1 });
        errno = 0;
        cr_expect_null(polder_new_array(odd, 2));
        cr_expect_eq(errno, EINVAL);
        cr_expect_not_null(polder_new_array(polder_layout(12, NULL), 2), "leaves may be anything");
}

Test(new, sizes_that_no_memory_could_hold_are_refused)
{
        collected_start();
        errno = 0;
        cr_expect_null(polder_new_leaf(SIZE_MAX));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_new_conservative((size_t)1 << 62));
        cr_expect_eq(errno, ENOMEM);
        errno = 0;
        cr_expect_null(polder_new_uncollectable(SIZE_MAX));
        cr_expect_eq(errno, EINVAL);
}

Test(new, an_allocation_that_succeeds_leaves_errno_alone)
{
        collected_start();
        errno = 4711;
        for (int i = 0; i < 20000; i++)
                cr_assert_not_null(polder_new_leaf(64));
        cr_assert_not_null(polder_new_leaf(1 << 20));
        cr_expect_eq(errno, 4711);
}

Test(new, onnode_gives_that_node_or_refuses)
{
        pld_fake_reset();
        pld_fake_add_node(2, 2, PLD_GIB);
        pld_fake_add_node(5, 2, PLD_GIB);
        pld_fake_install();
        collected_start();
        const struct polder_layout *large = polder_layout(100000, NULL);
        for (int i = 0; i < 300; i++) {
                cr_assert_eq(polder_node_of(polder_new_onnode(node_layout, 2)), 2);
                cr_assert_eq(polder_node_of(polder_new_onnode(node_layout, 5)), 5);
        }
        cr_expect_eq(polder_node_of(polder_new_onnode(large, 2)), 2);
        cr_expect_eq(polder_node_of(polder_new_onnode(large, 5)), 5);
        static const int bad[] = { 0, 1, 3, -1, 4096 };
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++) {
                errno = 0;
                cr_expect_null(polder_new_onnode(node_layout, bad[i]));
                cr_expect_eq(errno, EINVAL, "node %d", bad[i]);
        }
}

/* Allocates until NULL; keeps a list in roots[0]. */
static size_t fill(size_t nbytes)
{
        size_t n = 0;
        for (;; n++) {
                errno = 0;
                struct node *node = polder_new_conservative(nbytes);
                if (!node)
                        break;
                polder_store(&node->next, roots[0]);
                polder_store(&roots[0], node);
                cr_assert_lt(n, 10000000);
        }
        cr_expect_eq(errno, ENOMEM);
        return n;
}

static void *fill_small(void *out)
{
        *(size_t *)out = fill(1000);
        return NULL;
}

static void *fill_large(void *out)
{
        *(size_t *)out = fill(300000);
        return NULL;
}

static void expect_recovery(void *(*filler)(void *))
{
        size_t first, second;
        on_a_thread(filler, &first);
        cr_expect_gt(first, 10);
        polder_store(&roots[0], NULL);
        on_a_thread(filler, &second); /* the collection comes by itself */
        cr_expect_geq(second, first * 9 / 10, "%zu, then %zu", first, second);
}

Test(new, at_the_span_limit_it_is_null_and_recovers)
{
        setenv("POLDER_MAX_SPANS", "40", 1);
        collected_start();
        expect_recovery(fill_small);
        cr_expect_leq(pld_spans_live(), 40);
}

Test(new, large_objects_count_for_the_span_limit)
{
        setenv("POLDER_MAX_SPANS", "40", 1);
        collected_start();
        expect_recovery(fill_large);
}

Test(new, at_a_hard_memory_limit_it_is_null_and_recovers)
{
        setenv("POLDER_MEMORY_LIMIT", "32M,hard", 1);
        collected_start();
        expect_recovery(fill_small);
        polder_store(&roots[0], NULL);
        expect_recovery(fill_large);
        cr_expect_leq(stats_now().resident_bytes, 32 * PLD_MIB);
}

/* ---- Garbage of others, at the limit ------------------------------------------------- */

enum { EACH = 60 };
static _Atomic unsigned nrefused;
static size_t each_nbytes;

/* Drops each object at once; the newest few of each thread live all the same. */
static void *drop_many(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        while (pld_load_acquire(&gang->nready) < gang->n)
                sched_yield();
        for (unsigned i = 0; i < EACH * (each_nbytes > PLD_MIB ? 1 : 200); i++)
                if (!polder_new_leaf(each_nbytes))
                        pld_add_relaxed(&nrefused, 1);
        return NULL;
}

static void expect_all_served(const char *gc, const char *limit, size_t nbytes)
{
        struct gang gang;
        setenv("POLDER_MEMORY_LIMIT", limit, 1);
        each_nbytes = nbytes;
        collected_start_as(gc, "");
        gang_start(&gang, 8, drop_many);
        gang_stop(&gang);
        cr_expect_eq(nrefused, 0);
        cr_expect_gt(stats_now().cycles, 3);
}

/* Without the last resort's turns each refused thread collects once, and finds that the
 * others have taken what was found. */
Test(new, threads_that_only_drop_garbage_are_never_refused, .timeout = 120)
{
        expect_all_served("off", "100M,hard", 4 << 20);
}

Test(new, nor_are_they_while_concurrent_cycles_run, .timeout = 120)
{
        expect_all_served("concurrent", "100M,hard", 4 << 20);
}

Test(new, nor_if_their_objects_are_small, .timeout = 120)
{
        expect_all_served("off", "16M,hard", 5000);
}

static void *keep_40_mib(void *unused)
{
        for (int k = 0; k < 8; k++) {
                struct node *node = polder_new_conservative(5 << 20);
                cr_assert_not_null(node, "object %d", k);
                polder_store(&node->next, roots[0]);
                polder_store(&roots[0], node);
        }
        return unused;
}

static void *drop_all(void *unused)
{
        polder_store(&roots[0], NULL);
        return unused;
}

static void *take_30_mib(void *unused)
{
        cr_expect_not_null(polder_new_leaf(30 << 20));
        return unused;
}

/* All of it dies while a cycle marks that has seen it alive, and keeps it. */
Test(new, what_died_since_a_cycle_began_is_found_before_null, .timeout = 120)
{
        setenv("POLDER_MEMORY_LIMIT", "64M,hard", 1);
        collected_start_as("off", "");
        for (int i = 0; i < 10; i++) {
                on_a_thread(keep_40_mib, NULL);
                uint64_t ncycles = stats_now().cycles;
                cr_assert_eq(polder_collect_start(), 0);
                while (!pld_cycle_is_marking() && stats_now().cycles == ncycles)
                        sched_yield();
                on_a_thread(drop_all, NULL); /* who stores has seen the old value */
                on_a_thread(take_30_mib, NULL);
        }
}

static _Atomic int pressed;

static void allocate_much(size_t live, size_t limit, void *arg)
{
        (void)live, (void)limit, (void)arg;
        while (polder_new_leaf(3 << 20))
                ;
        pld_store_release(&pressed, 1);
}

static void *press(void *arg)
{
        for (int i = 0; i < 1000 && !pld_load_acquire(&pressed); i++)
                polder_new_leaf(3 << 20);
        return arg;
}

Test(new, the_pressure_callback_is_refused_instead_of_waiting_for_its_own_cycle, .timeout = 60)
{
        setenv("POLDER_MEMORY_LIMIT", "32M,hard", 1);
        collected_start_as("concurrent", "");
        polder_on_pressure(allocate_much, NULL);
        roots[0] = NULL;
        struct node *kept = polder_new_conservative(20 << 20);
        cr_assert_not_null(kept);
        polder_store(&roots[0], kept);
        on_a_thread(press, NULL);
        cr_expect_eq(pressed, 1);
}

static void *allocate_some(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        for (int i = 0; i < 20000; i++)
                cr_assert_not_null(node_new(NULL, (uintptr_t)i));
        return NULL;
}

Test(new, over_the_limit_of_caches_it_works_too)
{
        struct gang gang;
        setenv("POLDER_MAX_CACHES", "1", 1);
        collected_start();
        roots[0] = NULL;
        polder_store(&roots[0], node_new(NULL, 7));
        gang_start(&gang, 3, allocate_some);
        collect_both_ways();
        gang_stop(&gang);
        cr_expect_leq(pld_caches_live(), 1);
        cr_expect_eq(roots[0]->value, 7);
}

static void free_a_collected_object(void)
{
        polder_free(polder_new_leaf(100));
}

Test(new, a_collected_object_must_not_be_freed)
{
        expect_death(free_a_collected_object, "which is a collected object");
}

static void free_inside_an_uncollectable_object(void)
{
        polder_free((char *)polder_new_uncollectable(100) + 8);
}

static void free_an_uncollectable_object_twice(void)
{
        void *object = polder_new_uncollectable(100);
        polder_free(object);
        polder_free(object);
}

Test(new, an_uncollectable_object_is_freed_at_its_first_byte_and_once)
{
        expect_death(free_inside_an_uncollectable_object, "free of");
        expect_death(free_an_uncollectable_object_twice, "free of");
}

/* ---- Threads that move (N4) */

enum { CPU_OF_3 = 0, CPU_OF_5 = 2 };

static void start_on_two_nodes(void)
{
        pld_fake_reset();
        pld_fake_add_node(3, 2, PLD_GIB);
        pld_fake_add_node(5, 2, PLD_GIB);
        pld_fake_install();
        collected_start();
}

Test(new, an_object_is_on_the_node_that_its_thread_has_moved_to)
{
        start_on_two_nodes();
        for (size_t i = 0; i < 400; i++) {
                pld_fake_run_on(i % 2 ? CPU_OF_5 : CPU_OF_3);
                int node = i % 2 ? 5 : 3;
                cr_assert_eq(polder_node_of(polder_new_leaf(8 + i % 300)), node);
                cr_assert_eq(polder_node_of(node_new(NULL, i)), node);
                cr_assert_eq(polder_node_of(polder_new_leaf(100000)), node);
        }
        collect_both_ways();
}

Test(new, a_block_after_an_object_after_a_move_is_there_too)
{
        start_on_two_nodes();
        polder_free(polder_malloc(64));
        pld_fake_run_on(CPU_OF_5);
        cr_expect_eq(polder_node_of(polder_new_leaf(64)), 5);
        void *p = polder_malloc(64);
        cr_expect_eq(polder_node_of(p), 5);
        polder_free(p);
}

static void *churn_and_move(void *arg)
{
        struct gang *gang = arg;
        struct node *kept[16] = { NULL };
        pld_add_release(&gang->nready, 1);
        for (uintptr_t i = 0; i < 20000; i++) {
                if (i % 64 == 0)
                        pld_fake_run_on((int)(i / 64 % 4));
                kept[i % 16] = node_new(kept[(i + 1) % 16], i);
                if (kept[i % 16]->next)
                        cr_assert_eq(kept[i % 16]->next->value % 16, (i + 1) % 16);
                polder_store(&kept[i % 16]->next, NULL);
        }
        return NULL;
}

Test(new, threads_move_while_collections_run)
{
        start_on_two_nodes();
        collect_beside(3, churn_and_move, 5);
}
