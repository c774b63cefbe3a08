/* ends.c: threads that end where it is least expected, and processes that end while
 * collections run. */
#include "tests/life/life.h"

enum { NTHREADS = 6 };

static _Atomic unsigned ncalls;

/* ---- pthread_exit() in callbacks ------------------------------------------------------ */

static void exit_in_finalizer(void *object, void *arg)
{
        CHECK(((struct life_node *)object)->check == ~((struct life_node *)object)->value);
        pld_add_release(&ncalls, 1);
        pthread_exit(arg);
}

static void cancel_in_finalizer(void *object, void *arg)
{
        (void)object;
        (void)arg;
        CHECK(pthread_cancel(pthread_self()) == 0);
        pthread_testcancel();
        pld_add_release(&ncalls, 1);
}

static void *make_exiting(void *fn)
{
        for (int i = 0; i < 50; i++)
                CHECK(polder_finalizer_set(life_node_new(NULL, 5), (polder_finalizer)fn, NULL) == 0);
        return NULL;
}

static void await_calls(unsigned n)
{
        while (pld_load_acquire(&ncalls) < n)
                life_nap(100);
}

static void in_finalizers(void)
{
        life_start("off", "verify");
        life_on_a_thread(make_exiting, (void *)exit_in_finalizer);
        life_collect();
        await_calls(45); /* a stale word may keep some */
        life_on_a_thread(make_exiting, (void *)cancel_in_finalizer);
        pld_store_release(&ncalls, 0);
        life_collect();
        await_calls(45);
}

static void exit_under_pressure(size_t live, size_t limit, void *arg)
{
        CHECK(live && limit);
        life_node_new(NULL, 1); /* it is attached then */
        pld_add_release(&ncalls, 1);
        pthread_exit(arg);
}

/* Whoever waits for that cycle, or asks for another, gets it. */
static void in_pressure_callbacks(void)
{
        life_start("off", "verify");
        CHECK(polder_on_pressure(exit_under_pressure, NULL) == 0);
        life_fill(100000);
        polder_set_memory_limit(1 << 20);
        for (int i = 0; i < 20; i++)
                life_collect();
        CHECK(pld_load_acquire(&ncalls) >= 20);
}

static void *exit_early(void *arg)
{
        CHECK(((struct life_node *)arg)->value == 77);
        pthread_exit(arg);
}

static void *exit_in_blocking(void *arg)
{
        pthread_exit(arg);
}

static void *block_and_exit(void *arg)
{
        polder_blocking_call(exit_in_blocking, arg);
        return NULL;
}

static void from_main_functions(void)
{
        life_start("off", "verify");
        pthread_t collector = life_collector_start();
        for (int i = 0; i < 200; i++) {
                uintptr_t thread;
                void *result;
                struct life_node *node = life_node_new(NULL, 77);
                CHECK(polder_thread_create(&thread, i % 2 ? exit_early : block_and_exit, node) == 0);
                CHECK(pthread_join((pthread_t)thread, &result) == 0);
                CHECK(result == node && node->value == 77);
        }
        life_collector_stop(collector);
}

/* ---- Destructors --------------------------------------------------------------------------- */

static pthread_key_t early_key, late_key; /* than Polder's */

static void use_in_destructor(pthread_key_t key, void *rounds)
{
        struct pld_random random = pld_random_seeded((uintptr_t)rounds);
        CHECK(polder_thread_attach() == 0);
        for (int i = 0; i < 200; i++)
                life_churn(&random);
        CHECK(polder_new_leaf(100));
        if ((uintptr_t)rounds > 1)
                pthread_setspecific(key, (void *)((uintptr_t)rounds - 1));
}

static void destroy_early(void *rounds)
{
        use_in_destructor(early_key, rounds);
}

static void destroy_late(void *rounds)
{
        use_in_destructor(late_key, rounds);
}

static void *leave_values(void *rounds)
{
        struct pld_random random = pld_random_seeded((uintptr_t)rounds);
        CHECK(polder_thread_attach() == 0);
        life_churn(&random);
        pthread_setspecific(early_key, rounds);
        pthread_setspecific(late_key, rounds);
        return NULL;
}

static void *churn_on(void *seed)
{
        struct pld_random random = pld_random_seeded((uintptr_t)seed);
        CHECK(polder_thread_attach() == 0);
        while (!pld_load_acquire(&life_over))
                life_churn(&random);
        return NULL;
}

/* A thread that comes back after it was detached; others take over its cache meanwhile. */
static void in_destructors(void)
{
        CHECK(pthread_key_create(&early_key, destroy_early) == 0);
        life_start("off", "verify");
        CHECK(pthread_key_create(&late_key, destroy_late) == 0);
        pthread_t collector = life_collector_start(), churner;
        CHECK(pthread_create(&churner, NULL, churn_on, (void *)1) == 0);
        for (int i = 0; i < 40; i++) {
                pthread_t thread[NTHREADS];
                for (uintptr_t k = 0; k < NTHREADS; k++)
                        CHECK(pthread_create(&thread[k], NULL, leave_values, (void *)(k % 3 + 1)) == 0);
                for (int k = 0; k < NTHREADS; k++)
                        CHECK(pthread_join(thread[k], NULL) == 0);
        }
        life_collector_stop(collector);
        pthread_join(churner, NULL);
}

/* ---- Handshakes and ends -------------------------------------------------------------------- */

static void *live_shortly(void *seed)
{
        struct pld_random random = pld_random_seeded((uintptr_t)seed);
        CHECK(polder_thread_attach() == 0);
        for (int i = 0; i < 100; i++)
                life_churn(&random);
        pld_add_release(&ncalls, 1);
        return NULL;
}

/* Detached ones, and handshakes that reach one thread at a time. */
static void while_a_handshake_waits(void)
{
        enum { N = 600 };
        pthread_attr_t detached;
        CHECK(pthread_attr_init(&detached) == 0);
        CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
        life_start("concurrent", "verify,stagger");
        pthread_t collector = life_collector_start();
        for (uintptr_t i = 0; i < N; i++) {
                pthread_t thread;
                while (pthread_create(&thread, &detached, live_shortly, (void *)i))
                        life_nap(1000);
                while (i > pld_load_acquire(&ncalls) + 16)
                        life_nap(100);
        }
        await_calls(N);
        life_collector_stop(collector);
}

/* ---- The end of the process -------------------------------------------------------------------- */

static void finalize_for_long(void *object, void *arg)
{
        (void)arg;
        for (;;)
                CHECK(((struct life_node *)object)->value == 5);
}

static void *fill_with_finalizers(void *unused)
{
        for (int i = 0; i < 100; i++)
                CHECK(polder_finalizer_set(life_node_new(NULL, 5), finalize_for_long, NULL) == 0);
        return unused;
}

static void use_at_exit(void)
{
        struct pld_random random = pld_random_seeded(5);
        for (int i = 0; i < 500; i++)
                life_churn(&random);
}

static unsigned trial;

static void exit_in_the_middle(void)
{
        pthread_t thread;
        life_start("concurrent", trial % 2 ? "verify" : "verify,stagger");
        CHECK(atexit(use_at_exit) == 0);
        life_on_a_thread(fill_with_finalizers, NULL);
        life_collector_start();
        for (uintptr_t k = 0; k < 3; k++)
                CHECK(pthread_create(&thread, NULL, churn_on, (void *)k) == 0);
        life_nap(trial * 700);
}

static void exits_while_cycles_run(void)
{
        const struct life_case child = { "exits", exit_in_the_middle, NULL };
        for (trial = 1; trial <= 16; trial++) {
                static char said[1024];
                CHECK(life_ended_well(&child, life_fork(&child, said, sizeof said), said));
        }
}

static void *exit_process(void *unused)
{
        (void)unused;
        for (int i = 0; i < 3; i++)
                life_collect();
        exit(0);
}

/* The main thread ends first; collections go on without it. */
static void the_main_thread_ends_first(void)
{
        pthread_t thread;
        life_start("off", "verify");
        life_fill(1000);
        CHECK(pthread_create(&thread, NULL, exit_process, NULL) == 0);
        pthread_exit(NULL);
}

static const struct life_case cases[] = {
        { "finalizers may end their thread", in_finalizers, NULL },
        { "so may the callback on pressure", in_pressure_callbacks, NULL },
        { "so may the start function of polder_thread_create()", from_main_functions, NULL },
        { "destructors of thread-specific values come back up to the third round", in_destructors, NULL },
        { "detached threads end while a handshake waits for them", while_a_handshake_waits, NULL },
        { "the process exits while cycles run and finalizers hang", exits_while_cycles_run, NULL },
        { "the main thread ends first", the_main_thread_ends_first, NULL },
};

int main(int argc, char **argv)
{
        return life_main(cases, PLD_COUNT_OF(cases), argc, argv);
}
