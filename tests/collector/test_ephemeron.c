#include "tests/collector/collector_test.h"

#include "collector/thread.h"
#include "collector/tie.h"

static struct polder_ephemeron *ephemerons[64]; /* a root after start() */

static void start_as(const char *debug)
{
        collected_start_as("off", debug);
        cr_assert_eq(polder_root_add(ephemerons, sizeof ephemerons), 0);
}

static void start(void)
{
        start_as("verify");
}

/* An ephemeron in slot i whose key is in roots[i]; the key, the value and it are watched. */
static void *make(void *arg)
{
        uintptr_t i = (uintptr_t)arg;
        struct node *key = node_new(NULL, i), *value = node_new(NULL, 1000 + i);
        struct polder_ephemeron *ephemeron = polder_ephemeron_new(key, value);
        cr_assert_not_null(ephemeron);
        polder_store(&roots[i], key);
        polder_store(&ephemerons[i], ephemeron);
        watch(3 * (unsigned)i, key);
        watch(3 * (unsigned)i + 1, value);
        watch(3 * (unsigned)i + 2, ephemeron);
        return NULL;
}

static void *get(void *arg)
{
        uintptr_t i = (uintptr_t)arg;
        struct node *value = polder_ephemeron_get(ephemerons[i], roots[i]);
        return (void *)(value ? value->value : 0);
}

Test(ephemeron, a_value_lives_as_long_as_key_and_ephemeron, .timeout = 60)
{
        start();
        for (uintptr_t i = 0; i < 3; i++)
                on_a_thread(make, (void *)i);
        for (int round = 0; round < 3; round++) {
                collect_both_ways();
                for (uintptr_t i = 0; i < 3; i++)
                        cr_expect_eq((uintptr_t)on_a_thread(get, (void *)i), 1000 + i);
        }
        polder_store(&roots[0], NULL);
        polder_store(&ephemerons[1], NULL);
        collect_both_ways();
        cr_expect_not(is_alive(0), "an ephemeron does not keep its key");
        cr_expect_not(is_alive(1), "the key is gone");
        cr_expect(is_alive(2));
        cr_expect(is_alive(3));
        cr_expect_not(is_alive(4), "the ephemeron is gone");
        cr_expect_not(is_alive(5));
        cr_expect(is_alive(6) && is_alive(7) && is_alive(8));
        cr_expect_eq((uintptr_t)on_a_thread(get, (void *)2), 1002);
}

static void *make_cycle(void *arg)
{
        (void)arg;
        struct node *key = node_new(NULL, 1), *value = node_new(key, 2);
        polder_store(&key->other, value); /* both ways */
        struct polder_ephemeron *ephemeron = polder_ephemeron_new(key, value);
        polder_store(&ephemerons[0], ephemeron);
        watch(0, key);
        watch(1, value);
        return NULL;
}

Test(ephemeron, a_key_that_only_its_own_value_refers_to_dies, .timeout = 60)
{
        start();
        make_and_collect(make_cycle);
        cr_expect_not(is_alive(0) || is_alive(1));
}

enum { LINKS = 100000 };

/* Each value is the next one's key; the ephemerons are kept by a list of their own. */
static void *make_chain(void *backwards)
{
        struct node *keys[2] = { NULL, NULL };
        struct node *first = NULL, *list = NULL;
        for (uintptr_t i = 0; i < LINKS; i++) {
                struct node *fresh = node_new(NULL, i);
                if (!first)
                        first = fresh;
                struct node *key = backwards ? fresh : keys[0];
                struct node *value = backwards ? keys[0] : fresh;
                if (key && value) {
                        struct polder_ephemeron *ephemeron = polder_ephemeron_new(key, value);
                        cr_assert_not_null(ephemeron);
                        list = node_new(list, i);
                        polder_store((struct polder_ephemeron **)&list->other, ephemeron);
                }
                keys[0] = fresh;
        }
        polder_store(&roots[0], list);
        polder_store(&roots[1], backwards ? keys[0] : first);
        watch(0, backwards ? first : keys[0]);
        return NULL;
}

static void try_chain(void *backwards)
{
        start();
        on_a_thread(make_chain, backwards);
        collect_both_ways();
        cr_expect(is_alive(0), "the last value of the chain lives by its first key");
        polder_store(&roots[1], NULL);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

Test(ephemeron, a_long_chain_lives_by_its_first_key, .timeout = 120)
{
        try_chain(NULL);
}

Test(ephemeron, a_long_chain_made_from_its_end_lives_by_its_first_key, .timeout = 120)
{
        try_chain((void *)1);
}

/* Keys that are leaves, and many ephemerons of one key: lists longer than a piece. */
static void *make_many(void *arg)
{
        (void)arg;
        struct node *key = polder_new_leaf(64), *list = NULL;
        for (uintptr_t i = 0; i < 5000; i++) {
                struct node *value = node_new(NULL, i);
                struct polder_ephemeron *ephemeron = polder_ephemeron_new(key, value);
                list = node_new(list, i);
                polder_store((struct polder_ephemeron **)&list->other, ephemeron);
                if (i == 0 || i == 4999)
                        watch(i ? 1 : 0, value);
        }
        polder_store(&roots[0], list);
        polder_store(&roots[1], key);
        return NULL;
}

Test(ephemeron, one_key_may_have_many, .timeout = 60)
{
        start();
        make_and_collect(make_many);
        cr_expect(is_alive(0) && is_alive(1));
        polder_store(&roots[1], NULL);
        collect_both_ways();
        cr_expect_not(is_alive(0) || is_alive(1));
}

enum { MANY = 5000, FAR = 100000 };

/* A list so long that its end is marked after whatever else there is. */
static struct node *far_from(void *object)
{
        struct node *list = node_new(NULL, 0);
        polder_store((void **)&list->other, object);
        for (uintptr_t i = 1; i < FAR; i++)
                list = node_new(list, i);
        return list;
}

/* The value of a node in roots[0], to which the object at the far end of roots[1] leads, too. */
static struct node *(*late_get)(void *far, struct node *node);

/* Each has its node's number. */
static void *get_each(void *unused)
{
        struct node *end = roots[1];
        while (!polder_load(&end->other))
                end = polder_load(&end->next);
        for (struct node *node = roots[0]; node; node = polder_load(&node->next)) {
                struct node *value = late_get(polder_load(&end->other), node);
                cr_assert(polder_size_of(value) && value->value == node->value);
        }
        return unused;
}

static void expect_all_kept(void *(*maker)(void *), struct node *(*getter)(void *, struct node *))
{
        start();
        late_get = getter;
        make_and_collect(maker);
        on_a_thread(get_each, NULL);
}

static void *make_many_of_a_late_key(void *unused)
{
        struct node *key = node_new(NULL, 1), *list = NULL;
        for (uintptr_t i = 0; i < MANY; i++) {
                list = node_new(list, i);
                struct polder_ephemeron *ephemeron = polder_ephemeron_new(key, node_new(NULL, i));
                polder_store((struct polder_ephemeron **)&list->other, ephemeron);
        }
        polder_store(&roots[0], list);
        polder_store(&roots[1], far_from(key));
        return unused;
}

static struct node *get_of_a_late_key(void *key, struct node *node)
{
        return polder_ephemeron_get((void *)polder_load(&node->other), key);
}

Test(ephemeron, one_key_may_have_many_and_be_marked_after_all_of_them, .timeout = 120)
{
        expect_all_kept(make_many_of_a_late_key, get_of_a_late_key);
}

static void *make_many_of_a_late_table(void *unused)
{
        struct polder_weak_table *table = polder_weak_table_new();
        struct node *keys = NULL;
        for (uintptr_t i = 0; i < MANY; i++) {
                keys = node_new(keys, i);
                cr_assert_eq(polder_weak_table_put(table, keys, node_new(NULL, i)), 0);
        }
        polder_store(&roots[0], keys);
        polder_store(&roots[1], far_from(table));
        return unused;
}

static struct node *get_of_a_late_table(void *table, struct node *key)
{
        return polder_weak_table_get(table, key);
}

Test(ephemeron, one_table_may_have_many_and_be_marked_after_all_keys, .timeout = 120)
{
        expect_all_kept(make_many_of_a_late_table, get_of_a_late_table);
}

static void note_tie(const struct pld_tie *tie, void *arg)
{
        *(const struct pld_tie **)arg = tie;
}

static void *put_and_remove(void *arg)
{
        struct polder_weak_table *table = polder_weak_table_new();
        polder_store(&ephemerons[0], (struct polder_ephemeron *)table);
        polder_store(&roots[0], node_new(NULL, 1));
        polder_store(&roots[1], node_new(NULL, 2));
        cr_assert_eq(polder_weak_table_put(table, roots[0], roots[0]), 0);
        pld_ties_each((uintptr_t)roots[0], note_tie, arg);
        cr_assert_eq(polder_weak_table_remove(table, roots[0]), roots[0]);
        return NULL;
}

/* Somebody may be looking at it (T5). */
Test(ephemeron, a_tie_that_was_cut_is_used_again_after_the_next_flip_only, .timeout = 60)
{
        const struct pld_tie *cut = NULL, *fresh = NULL;
        start();
        on_a_thread(put_and_remove, &cut);
        cr_assert_not_null(cut);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0); /* its sweep cuts */
        cr_assert_eq(polder_weak_table_put((void *)ephemerons[0], roots[0], roots[0]), 0);
        pld_ties_each((uintptr_t)roots[0], note_tie, &fresh);
        cr_expect_neq(fresh, cut);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_assert_eq(polder_weak_table_put((void *)ephemerons[0], roots[1], roots[1]), 0);
        pld_ties_each((uintptr_t)roots[1], note_tie, &fresh);
        cr_expect_eq(fresh, cut);
}

Test(ephemeron, another_key_gets_nothing_and_no_object_is_no_key, .timeout = 60)
{
        int local;
        start();
        struct node *key = node_new(NULL, 1), *other = node_new(NULL, 2);
        struct polder_ephemeron *ephemeron = polder_ephemeron_new((char *)key + 8, other);
        cr_expect_eq(polder_ephemeron_get(ephemeron, key), other);
        cr_expect_eq(polder_ephemeron_get(ephemeron, (char *)key + 16), other, "from inside, too");
        cr_expect_null(polder_ephemeron_get(ephemeron, other));
        cr_expect_null(polder_ephemeron_get(ephemeron, &local));
        cr_expect_null(polder_ephemeron_get(ephemeron, NULL));
        cr_expect_null(polder_ephemeron_get(NULL, key));
        errno = 0;
        cr_expect_null(polder_ephemeron_new(&local, other));
        cr_expect_eq(errno, EINVAL);
        cr_expect_null(polder_ephemeron_new(NULL, other));
        cr_expect_eq(polder_finalizer_set(ephemeron, (polder_finalizer)(void (*)(void))abort, NULL),
                     -EINVAL);
        polder_keep_alive(key);
}

static void *make_old_key(void *arg)
{
        polder_store(&roots[0], node_new(NULL, 1));
        return arg;
}

static void *make_young_value(void *arg)
{
        (void)arg;
        struct node *value = node_new(NULL, 77);
        cr_assert_eq(polder_weak_table_put((struct polder_weak_table *)polder_load(&ephemerons[0]),
                                           polder_load(&roots[0]), value),
                     0);
        watch(0, value);
        return NULL;
}

Test(ephemeron, a_young_cycle_keeps_a_young_value_of_an_old_key, .timeout = 60)
{
        setenv("POLDER_GENERATIONS", "1", 1);
        start();
        polder_store(&ephemerons[0], (struct polder_ephemeron *)polder_weak_table_new());
        on_a_thread(make_old_key, NULL);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        on_a_thread(make_young_value, NULL);
        for (int i = 0; i < 3; i++)
                cr_assert_eq(polder_collect(POLDER_YOUNG), 0);
        cr_expect(is_alive(0));
        polder_store(&roots[0], NULL);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

/* A is scanned first, and makes key and table: they are born black, and never queued. B, not yet
 * scanned, ties a value to them, and has forgotten it when it is scanned (T2, T7). */
static struct {
        uintptr_t value; /* hidden by complement */
        _Atomic bool a_is_inside, b_is_attached, b_is_inside, a_has_made, is_over;
} meeting;

static void *make_black_ends(void *unused)
{
        polder_thread_attach();
        polder_enter_();
        pld_store_release(&meeting.a_is_inside, true);
        spin_until(&meeting.b_is_inside); /* so long nobody asks for a scan */
        polder_leave_();
        while (!pld_thread_self()->black)
                polder_safepoint();
        polder_store(&roots[0], node_new(NULL, 1));
        polder_store(&ephemerons[0], (struct polder_ephemeron *)polder_weak_table_new());
        pld_store_release(&meeting.a_has_made, true);
        poll_until(&meeting.is_over);
        return unused;
}

/* What these two leave behind lies where nobody looks. */
static __attribute__((noinline)) void make_hidden_value(void)
{
        char far[16 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        meeting.value = ~(uintptr_t)node_new(NULL, 42);
        polder_thread_.self[PLD_SELF_NEWEST] = NULL;
}

static __attribute__((noinline)) void tie_hidden_value(void)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        uintptr_t value = ~meeting.value;
        cr_assert_eq(pld_tie_change(pld_thread_self(), pld_owner_of(ephemerons[0]),
                                    pld_find_object((uintptr_t)roots[0]), PLD_TIE_SET, &value),
                     0);
        __asm__ __volatile__("" : : "r"(far) : "memory");
}

static void *tie_and_forget(void *unused)
{
        polder_thread_attach();
        pld_store_release(&meeting.b_is_attached, true);
        while (!(polder_thread_.shading & PLD_SHADE_NEW))
                polder_safepoint();
        make_hidden_value();
        polder_enter_();
        pld_store_release(&meeting.b_is_inside, true);
        spin_until(&meeting.a_has_made);
        tie_hidden_value();
        polder_leave_(); /* and is scanned */
        poll_until(&meeting.is_over);
        return unused;
}

static void *get_from_table(void *unused)
{
        (void)unused;
        return polder_weak_table_get((struct polder_weak_table *)polder_load(&ephemerons[0]),
                                     polder_load(&roots[0]));
}

Test(ephemeron, a_value_is_kept_that_was_tied_to_what_is_born_black_and_then_forgotten, .timeout = 60)
{
        pthread_t a, b;
        start();
        pthread_create(&a, NULL, make_black_ends, NULL);
        spin_until(&meeting.a_is_inside);
        pthread_create(&b, NULL, tie_and_forget, NULL);
        spin_until(&meeting.b_is_attached); /* nobody attaches while a handshake waits for a */
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        pld_store_release(&meeting.is_over, true);
        pthread_join(a, NULL);
        pthread_join(b, NULL);
        struct node *value = on_a_thread(get_from_table, NULL);
        cr_expect(polder_size_of(value) && value->value == 42);
}

/* Keys and values change all the time; whoever holds a key must find its value whole. */
static void *churn(void *arg)
{
        struct gang *gang = arg;
        struct pld_random random;
        polder_thread_attach();
        random = pld_random_seeded(pld_add_relaxed(&gang->nready, 1) + 1);
        while (!pld_load_acquire(&gang->done)) {
                unsigned i = pld_random_below(&random, 16);
                struct node *key = polder_load(&roots[i]);
                struct polder_ephemeron *ephemeron = polder_load(&ephemerons[i]);
                struct node *value = key && ephemeron ? polder_ephemeron_get(ephemeron, key) : NULL;
                if (value) {
                        cr_assert_eq(value->value, key->value + 1);
                        cr_assert_eq(polder_load(&value->other), key);
                        cr_assert_eq(polder_load(&value->next)->value, 4711);
                }
                if (pld_random_below(&random, 4))
                        continue;
                uintptr_t id = 2 * pld_random_below(&random, 1000000);
                key = node_new(NULL, id);
                value = node_new(node_new(NULL, 4711), id + 1);
                polder_store(&value->other, key);
                ephemeron = polder_ephemeron_new(key, value);
                bool key_first = pld_random_below(&random, 2);
                if (key_first)
                        polder_store(&roots[i], key);
                polder_store(&ephemerons[i], ephemeron);
                if (!key_first)
                        polder_store(&roots[i], key);
        }
        return NULL;
}

static void churn_as(const char *debug, const char *generations)
{
        setenv("POLDER_GENERATIONS", generations, 1);
        start_as(debug);
        collect_every_way_beside(3, churn, 12);
}

Test(ephemeron, no_value_of_a_live_key_is_lost_while_all_change, .timeout = 120)
{
        churn_as("verify", "0");
}

Test(ephemeron, nor_where_threads_come_to_a_handshake_at_different_times, .timeout = 120)
{
        churn_as("verify,stagger", "0");
}

Test(ephemeron, nor_with_generations, .timeout = 120)
{
        churn_as("verify,stagger", "1");
}
