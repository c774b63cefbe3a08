/* cancel.c: threads are cancelled at any moment, and what they used goes on.
 *
 * No call of Polder's is a cancellation point: whoever is to be cancelled leaves Polder
 * first. Cancelled asynchronously a thread may be outside of Polder and in blocking
 * sections, and nowhere else. */
#include "tests/life/life.h"

#include <polder/arena.h>

enum { VICTIMS = 4 };

static int quiet[2]; /* a pipe that nobody writes into */
static _Thread_local volatile bool inside; /* a call of Polder's */

/* ---- What threads do ---------------------------------------------------------------- */

static void *give_back(void *arg)
{
        return arg;
}

static void finalize(void *object, void *arg)
{
        CHECK(((struct life_node *)object)->check == ~((struct life_node *)object)->value);
        (void)arg;
}

static void use_malloc(struct pld_random *random)
{
        size_t nbytes = pld_random_below(random, 40) ? pld_random_below(random, 2000)
                                                     : pld_random_below(random, 4 << 20);
        char *block = polder_malloc(nbytes + 1);
        CHECK(block);
        block[nbytes] = 7;
        block = polder_realloc(block, nbytes + pld_random_below(random, 1000) + 1);
        CHECK(block && block[nbytes] == 7);
        polder_free(block);
}

static void use_records(struct pld_random *random)
{
        struct life_node *node = life_node_new(NULL, pld_random_next(random));
        struct polder_weak *weak = polder_weak_new(node);
        CHECK(weak && polder_weak_get(weak) == node);
        CHECK(polder_finalizer_set(node, finalize, weak) == 0);
        CHECK(polder_pin(node) == 0);
        polder_safepoint();
        CHECK(polder_unpin(node) == 0);
        struct life_node *slot[2] = { node, NULL };
        CHECK(polder_root_add(slot, sizeof slot) == 0);
        CHECK(polder_root_remove(slot) == 0);
        CHECK(polder_ephemeron_get(polder_ephemeron_new(node, weak), node) == weak);
}

static void use_rarely(struct pld_random *random)
{
        uintptr_t thread;
        switch (pld_random_below(random, 8)) {
        case 0:
                CHECK(polder_collect(POLDER_STOP_THE_WORLD) == 0);
                break;
        case 1:
                CHECK(polder_collect(POLDER_CONCURRENT) == 0);
                break;
        case 2:
                CHECK(polder_new_leaf(pld_random_below(random, 4 << 20) + 1));
                break;
        case 3:
                polder_release();
                break;
        case 4:
                polder_thread_detach();
                CHECK(polder_thread_attach() == 0);
                break;
        case 5:
                CHECK(polder_thread_create(&thread, give_back, life_node_new(NULL, 1)) == 0);
                pthread_detach((pthread_t)thread);
                break;
        default:
                CHECK(polder_collect_start() == 0);
        }
}

static void use_polder(struct pld_random *random)
{
        uint32_t what = pld_random_below(random, 200);
        inside = true;
        if (what == 0)
                use_rarely(random);
        else if (what < 10)
                use_records(random);
        else if (what < 80)
                use_malloc(random);
        else if (what < 90)
                polder_blocking_call(give_back, NULL);
        else
                life_churn(random);
        inside = false;
}

/* A cleanup handler uses the heap as anybody does. */
static void churn_at_the_end(void *random)
{
        CHECK(!inside);
        for (int i = 0; i < 50; i++)
                life_churn(random);
}

/* ---- Rounds ---------------------------------------------------------------------------- */

struct victim {
        pthread_t thread;
        struct pld_random random;
        _Atomic bool ready;
};

static void cancel_all(struct victim *victims, struct pld_random *random)
{
        for (int k = 0; k < VICTIMS; k++) {
                void *result;
                while (!pld_load_acquire(&victims[k].ready))
                        sched_yield();
                life_nap(pld_random_below(random, 3000));
                CHECK(pthread_cancel(victims[k].thread) == 0);
                CHECK(pthread_join(victims[k].thread, &result) == 0);
                CHECK(result == PTHREAD_CANCELED);
        }
}

static void run_rounds(int nrounds, void *(*live)(void *))
{
        struct pld_random random = pld_random_seeded(1);
        life_start("concurrent", "verify");
        life_fill(20000);
        CHECK(pipe(quiet) == 0);
        pthread_t collector = life_collector_start();
        for (int i = 0; i < nrounds; i++) {
                struct victim victims[VICTIMS];
                for (int k = 0; k < VICTIMS; k++) {
                        victims[k].random = pld_random_seeded(pld_random_next(&random));
                        victims[k].ready = false;
                        CHECK(pthread_create(&victims[k].thread, NULL, live, &victims[k]) == 0);
                }
                cancel_all(victims, &random);
                life_churn(&random);
        }
        life_collector_stop(collector);
}

/* ---- Deferred -------------------------------------------------------------------------- */

static void *wait_in_the_open(void *arg)
{
        struct victim *self = arg;
        char byte;
        CHECK(polder_thread_attach() == 0);
        pthread_cleanup_push(churn_at_the_end, &self->random);
        pld_store_release(&self->ready, true);
        for (;;)
                if (read(quiet[0], &byte, 1) < 0)
                        CHECK(errno == EINTR);
        pthread_cleanup_pop(0);
}

/* A thread in read() can be cancelled by a signal, also while the handler of the one that
 * stops it runs on top of read(). */
static void in_a_system_call(void)
{
        run_rounds(60, wait_in_the_open);
}

static void *wait_long(void *unused)
{
        char byte;
        ssize_t got = read(quiet[0], &byte, 1);
        (void)got;
        return unused;
}

static void *wait_in_a_blocking_call(void *arg)
{
        struct victim *self = arg;
        CHECK(polder_thread_attach() == 0);
        pthread_cleanup_push(churn_at_the_end, &self->random);
        pld_store_release(&self->ready, true);
        polder_blocking_call(wait_long, NULL);
        pthread_cleanup_pop(0);
        return NULL;
}

static void in_a_blocking_call(void)
{
        run_rounds(60, wait_in_a_blocking_call);
}

static void *use_until_cancelled(void *arg)
{
        struct victim *self = arg;
        CHECK(polder_thread_attach() == 0); /* before the first load */
        pthread_cleanup_push(churn_at_the_end, &self->random);
        pld_store_release(&self->ready, true);
        for (;;) {
                use_polder(&self->random);
                pthread_testcancel();
        }
        pthread_cleanup_pop(0);
}

static void in_calls(void)
{
        run_rounds(80, use_until_cancelled);
}

static void *waits_to_be_cancelled_everywhere(void *unused)
{
        struct pld_random random = pld_random_seeded(3);
        pthread_cleanup_push(churn_at_the_end, &random);
        CHECK(pthread_cancel(pthread_self()) == 0);
        inside = true;
        life_start("concurrent", "verify,stagger"); /* the start is a call, too */
        inside = false;
        for (int i = 0; i < 4000; i++)
                use_polder(&random);
        for (int i = 0; i < 10; i++) {
                inside = true;
                CHECK(polder_collect(i % 2 ? POLDER_CONCURRENT : POLDER_STOP_THE_WORLD) == 0);
                inside = false;
        }
        pthread_testcancel();
        pthread_cleanup_pop(0);
        return unused;
}

/* The settings make the start say something; that is a write. */
static void by_no_call(void)
{
        setenv("POLDER_WORKERS", "many", 1);
        CHECK(life_on_a_thread(waits_to_be_cancelled_everywhere, NULL) == PTHREAD_CANCELED);
        life_collect();
}

static int write_at_extent(const struct polder_extent *extent, bool added, void *arg)
{
        CHECK(write(STDERR_FILENO, added ? "+" : "-", 1) == 1); /* a cancellation point */
        (void)extent;
        (void)arg;
        return 0;
}

static void *grow_cancelled(void *unused)
{
        CHECK(pthread_cancel(pthread_self()) == 0);
        for (int i = 0; i < 4; i++)
                polder_free(polder_malloc(32 << 20));
        polder_release();
        pthread_testcancel();
        return unused;
}

static void in_a_callback_under_a_lock(void)
{
        CHECK(polder_on_extent(write_at_extent, NULL) == 0);
        CHECK(life_on_a_thread(grow_cancelled, NULL) == PTHREAD_CANCELED);
        polder_free(polder_malloc(100 << 20));
        CHECK(polder_on_extent(NULL, NULL) == 0);
}

/* ---- Asynchronous ------------------------------------------------------------------------ */

static void set_type(int type)
{
        CHECK(pthread_setcanceltype(type, &(int){ 0 }) == 0);
}

/* The rule: asynchronously only where no call is under way. */
static void *compute_and_block(void *arg)
{
        struct victim *self = arg;
        CHECK(polder_thread_attach() == 0);
        pld_store_release(&self->ready, true);
        for (volatile unsigned n = 0;; n = n + 1) {
                life_churn(&self->random);
                if (n % 2)
                        polder_blocking_begin();
                set_type(PTHREAD_CANCEL_ASYNCHRONOUS);
                for (volatile unsigned i = 0; i < 20000; i = i + 1)
                        ;
                set_type(PTHREAD_CANCEL_DEFERRED);
                if (n % 2)
                        polder_blocking_end();
        }
        return NULL;
}

static void asynchronously_outside(void)
{
        run_rounds(60, compute_and_block);
}

/* ---- Against the rule ---------------------------------------------------------------------- */

static int exit_at_extent(const struct polder_extent *extent, bool added, void *arg)
{
        (void)extent;
        (void)added;
        pthread_exit(arg);
}

static void *grow(void *unused)
{
        polder_free(polder_malloc(64 << 20));
        return unused;
}

/* The lock would be held for ever. */
static void end_under_a_lock(void)
{
        CHECK(polder_on_extent(exit_at_extent, NULL) == 0);
        life_on_a_thread(grow, NULL);
}

static const struct life_case cases[] = {
        { "a thread in a system call outside of blocking sections", in_a_system_call, NULL },
        { "a thread in polder_blocking_call()", in_a_blocking_call, NULL },
        { "a thread in any call, at a random moment", in_calls, NULL },
        { "no call is a cancellation point", by_no_call, NULL },
        { "a callback under a lock is not cancelled", in_a_callback_under_a_lock, NULL },
        { "asynchronously: outside of calls, and in blocking sections", asynchronously_outside, NULL },
        { "pthread_exit() under a lock is named", end_under_a_lock, "ended inside of Polder" },
};

int main(int argc, char **argv)
{
        return life_main(cases, PLD_COUNT_OF(cases), argc, argv);
}
