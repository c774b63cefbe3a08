#include "tests/collector/collector_test.h"

static struct polder_weak_table *tables[2]; /* a root after start() */

static void start_as(const char *debug)
{
        collected_start_as("off", debug);
        cr_assert_eq(polder_root_add(tables, sizeof tables), 0);
        for (int i = 0; i < 2; i++)
                polder_store(&tables[i], polder_weak_table_new());
}

static void start(void)
{
        start_as("verify");
}

Test(weak_table, what_was_put_is_there_until_it_is_removed, .timeout = 60)
{
        start();
        struct polder_weak_table *table = tables[0];
        struct node *key = node_new(NULL, 1);
        struct node *value = node_new(NULL, 2), *other = node_new(NULL, 3);
        cr_expect_null(polder_weak_table_get(table, key));
        cr_expect_eq(polder_weak_table_put(table, key, value), 0);
        cr_expect_eq(polder_weak_table_get(table, key), value);
        cr_expect_eq(polder_weak_table_get(table, (char *)key + 8), value, "from inside, too");
        cr_expect_null(polder_weak_table_get(tables[1], key), "another table");
        cr_expect_null(polder_weak_table_get(table, other), "another key");
        cr_expect_eq(polder_weak_table_put(table, key, other), 0);
        cr_expect_eq(polder_weak_table_get(table, key), other);
        cr_expect_eq(polder_weak_table_count(table), 1);
        cr_expect_eq(polder_weak_table_add(table, key, value), other, "somebody was first");
        cr_expect_eq(polder_weak_table_remove(table, key), other);
        cr_expect_null(polder_weak_table_remove(table, key));
        cr_expect_eq(polder_weak_table_count(table), 0);
        cr_expect_eq(polder_weak_table_add(table, key, value), value);
        cr_expect_eq(polder_weak_table_put(table, key, NULL), 0, "NULL removes");
        cr_expect_null(polder_weak_table_get(table, key));
        cr_expect_eq(polder_weak_table_count(table), 0);
        collect_both_ways();
        cr_expect_null(polder_weak_table_get(table, key));
        polder_keep_alive(key);
}

Test(weak_table, what_is_no_object_is_no_key, .timeout = 60)
{
        int local;
        start();
        cr_expect_eq(polder_weak_table_put(tables[0], &local, &local), -EINVAL);
        cr_expect_null(polder_weak_table_get(tables[0], &local));
        errno = 0;
        cr_expect_null(polder_weak_table_add(tables[0], &local, &local));
        cr_expect_eq(errno, EINVAL);
        cr_expect_null(polder_weak_table_remove(tables[0], NULL));
        cr_expect_eq(polder_finalizer_set(tables[0], (polder_finalizer)(void (*)(void))abort, NULL),
                     -EINVAL);
}

enum { NENTRIES = 20000, KEPT = 64 };

/* Values refer to their keys; some keys are kept. */
static void *fill(void *arg)
{
        (void)arg;
        for (uintptr_t i = 0; i < NENTRIES; i++) {
                struct node *key = i % 7 ? node_new(NULL, i) : polder_new_leaf(i % 3 ? 24 : 5000);
                struct node *value = node_new(key, i + 1);
                key->value = i;
                cr_assert_eq(polder_weak_table_put(tables[i % 2], key, value), 0);
                if (i >= NENTRIES - KEPT)
                        polder_store(&roots[i - (NENTRIES - KEPT)], key);
        }
        size_t n = polder_weak_table_count(tables[0]) + polder_weak_table_count(tables[1]);
        cr_assert(n >= NENTRIES && n <= NENTRIES + KEPT + 4, "those of before may be unswept");
        return NULL;
}

static void *look(void *arg)
{
        (void)arg;
        for (uintptr_t i = 0; i < KEPT; i++) {
                struct node *key = polder_load(&roots[i]);
                struct node *value = polder_weak_table_get(tables[key->value % 2], key);
                cr_assert_not_null(value);
                cr_assert_eq(value->value, key->value + 1);
                cr_assert_eq(value->next, key);
        }
        return NULL;
}

Test(weak_table, entries_go_with_their_keys_and_not_before, .timeout = 120)
{
        start();
        for (int round = 0; round < 3; round++) {
                make_and_collect(fill);
                on_a_thread(look, NULL);
                cr_expect_leq(polder_weak_table_count(tables[0]) + polder_weak_table_count(tables[1]),
                              KEPT + 4, "and what a stack or a newest object may still lead to");
                polder_clear(roots, sizeof roots);
        }
        collect_both_ways();
        cr_expect_leq(polder_weak_table_count(tables[0]) + polder_weak_table_count(tables[1]), 4);
}

static void *make_and_lose_table(void *arg)
{
        (void)arg;
        struct polder_weak_table *table = polder_weak_table_new();
        struct node *value = node_new(NULL, 1);
        cr_assert_eq(polder_weak_table_put(table, polder_load(&roots[0]), value), 0);
        watch(0, value);
        watch(1, table);
        return NULL;
}

Test(weak_table, values_go_with_their_table, .timeout = 60)
{
        start();
        polder_store(&roots[0], node_new(NULL, 1));
        for (int i = 0; i < 100; i++) {
                on_a_thread(make_and_lose_table, NULL);
                if (i % 10 == 9) {
                        collect_both_ways();
                        cr_expect_not(is_alive(0) || is_alive(1));
                }
        }
}

/* Threads put, add, remove and get for keys that all of them know, and for their own. */
static void *churn(void *arg)
{
        struct gang *gang = arg;
        struct pld_random random;
        polder_thread_attach();
        random = pld_random_seeded(pld_add_relaxed(&gang->nready, 1) + 1);
        while (!pld_load_acquire(&gang->done)) {
                unsigned i = pld_random_below(&random, 64);
                struct polder_weak_table *table = tables[pld_random_below(&random, 2)];
                struct node *key = polder_load(&roots[i]), *value;
                if (!key || pld_random_below(&random, 16) == 0) {
                        key = node_new(NULL, 2 * i);
                        polder_store(&roots[i], key);
                }
                switch (pld_random_below(&random, 8)) {
                case 0:
                        value = node_new(node_new(NULL, 4711), key->value + 1);
                        polder_store(&value->other, key);
                        cr_assert_eq(polder_weak_table_put(table, key, value), 0);
                        break;
                case 1:
                        value = node_new(node_new(NULL, 4711), key->value + 1);
                        polder_store(&value->other, key);
                        value = polder_weak_table_add(table, key, value);
                        cr_assert_not_null(value);
                        break;
                case 2:
                        value = polder_weak_table_remove(table, key);
                        break;
                default:
                        value = polder_weak_table_get(table, key);
                }
                if (value) {
                        cr_assert_eq(value->value, key->value + 1);
                        cr_assert_eq(polder_load(&value->other), key);
                        cr_assert_eq(polder_load(&value->next)->value, 4711);
                }
        }
        return NULL;
}

static void churn_as(const char *debug, const char *generations)
{
        setenv("POLDER_GENERATIONS", generations, 1);
        start_as(debug);
        collect_every_way_beside(3, churn, 12);
        polder_clear(roots, sizeof roots);
        collect_both_ways();
        collect_both_ways();
        cr_expect_leq(polder_weak_table_count(tables[0]) + polder_weak_table_count(tables[1]), 8);
}

Test(weak_table, threads_may_do_anything_at_once, .timeout = 120)
{
        churn_as("verify", "0");
}

Test(weak_table, and_where_threads_come_to_a_handshake_at_different_times, .timeout = 120)
{
        churn_as("verify,stagger", "0");
}

Test(weak_table, and_with_generations, .timeout = 120)
{
        churn_as("verify,stagger", "1");
}

/* Of those that add at once, one wins. */
static void *add(void *arg)
{
        struct gang *gang = arg;
        polder_thread_attach();
        pld_add_release(&gang->nready, 1);
        for (uintptr_t n = 0; !pld_load_acquire(&gang->done); n++) {
                struct node *key = polder_load(&roots[n % 64]);
                struct node *mine = node_new(NULL, 1);
                struct node *there = polder_weak_table_add(tables[0], key, mine);
                cr_assert_eq(polder_weak_table_get(tables[0], key), there);
                if (there == mine)
                        pld_add_relaxed((_Atomic uint64_t *)&key->value, 1);
        }
        return NULL;
}

Test(weak_table, of_those_that_add_at_once_one_wins, .timeout = 60)
{
        start();
        for (int i = 0; i < 64; i++)
                polder_store(&roots[i], node_new(NULL, 0));
        collect_beside(3, add, 8);
        for (int i = 0; i < 64; i++)
                cr_expect_leq(roots[i]->value, 1);
        cr_expect_eq(polder_weak_table_count(tables[0]), 64);
}
