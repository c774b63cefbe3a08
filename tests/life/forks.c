/* forks.c: fork() while threads allocate, store and collect. Each child goes on allocating,
 * collects both ways, makes threads of its own, and ends well.
 *
 * usage: forks [part of a case's name]; FORKS: how many (1000) */
#include "tests/life/life.h"

#include <spawn.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { NTHREADS = 3, FIBER_BYTES = 256 << 10, MINUTE = 60 };

extern char **environ;

static unsigned wanted_forks(unsigned part)
{
        const char *set = getenv("FORKS");
        unsigned n = (set ? (unsigned)atoi(set) : 1000) / part;
        return n ? n : 1;
}

/* ---- What goes on meanwhile ------------------------------------------------------------ */

static _Atomic(void *) blocks[64];

static void pass_block(struct pld_random *random)
{
        char *block = polder_malloc(pld_random_below(random, 3000) + 1);
        CHECK(block);
        block[0] = 9;
        char *other = atomic_exchange(&blocks[pld_random_below(random, 64)], block);
        CHECK(!other || other[0] == 9);
        polder_free(other);
}

static _Atomic unsigned nfinalized;

static void on_finalize(void *object, void *arg)
{
        CHECK(((struct life_node *)object)->check == ~((struct life_node *)object)->value);
        (void)arg;
        pld_add_release(&nfinalized, 1);
}

static void *churn_on(void *seed)
{
        struct pld_random random = pld_random_seeded((uintptr_t)seed);
        CHECK(polder_thread_attach() == 0);
        while (!pld_load_acquire(&life_over)) {
                for (int i = 0; i < 50; i++) {
                        life_churn(&random);
                        pass_block(&random);
                }
                CHECK(polder_finalizer_set(life_node_new(NULL, 3), on_finalize, NULL) == 0);
                life_nap(300); /* so that the forking thread gets on with two CPUs */
        }
        return NULL;
}

static void *collect_at_times(void *unused)
{
        for (int i = 0; !pld_load_acquire(&life_over); i++) {
                CHECK(polder_collect(i % 3 == 0   ? POLDER_STOP_THE_WORLD
                                     : i % 3 == 1 ? POLDER_CONCURRENT
                                                  : POLDER_YOUNG) == 0);
                life_nap(500);
        }
        return unused;
}

static pthread_t gang[NTHREADS + 1];

static void gang_start(void)
{
        CHECK(pthread_create(&gang[NTHREADS], NULL, collect_at_times, NULL) == 0);
        for (uintptr_t i = 0; i < NTHREADS; i++)
                CHECK(pthread_create(&gang[i], NULL, churn_on, (void *)i) == 0);
}

static void gang_stop(void)
{
        pld_store_release(&life_over, true);
        for (int i = 0; i <= NTHREADS; i++)
                CHECK(pthread_join(gang[i], NULL) == 0);
        life_collect();
}

/* ---- Children ------------------------------------------------------------------------------ */

static void *live_in_child(void *seed)
{
        struct pld_random random = pld_random_seeded((uintptr_t)seed);
        CHECK(polder_thread_attach() == 0);
        for (int i = 0; i < 200; i++) {
                life_churn(&random);
                pass_block(&random);
        }
        for (int i = 0; i < 20; i++)
                CHECK(polder_finalizer_set(life_node_new(NULL, 3), on_finalize, NULL) == 0);
        return seed;
}

static void be_child(void)
{
        pthread_t thread[2];
        alarm(MINUTE);
        pld_store_release(&nfinalized, 0);
        live_in_child((void *)11);
        for (uintptr_t i = 0; i < 2; i++)
                CHECK(pthread_create(&thread[i], NULL, live_in_child, (void *)i) == 0);
        life_collect();
        for (uintptr_t i = 0; i < 2; i++) {
                void *result;
                CHECK(pthread_join(thread[i], &result) == 0 && result == (void *)i);
        }
        CHECK(polder_collect(POLDER_YOUNG) == 0);
        life_collect();
        while (pld_load_acquire(&nfinalized) < 40) /* a stale word may keep some */
                life_nap(100);
        live_in_child((void *)12);
}

static void await_child(pid_t child)
{
        int status;
        CHECK(child > 0);
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static pid_t fork_child(void (*be)(void))
{
        pid_t child = fork();
        if (child == 0) {
                be();
                exit(0);
        }
        return child;
}

/* ---- From all kinds of places --------------------------------------------------------------- */

static void *fork_now(void *unused)
{
        await_child(fork_child(be_child));
        return unused;
}

static void *fork_attached(void *unused)
{
        CHECK(polder_thread_attach() == 0);
        return fork_now(unused);
}

static void *fork_blocking(void *unused)
{
        CHECK(polder_thread_attach() == 0);
        polder_blocking_begin();
        pid_t child = fork();
        polder_blocking_end();
        if (child == 0) {
                be_child();
                exit(0);
        }
        await_child(child);
        return unused;
}

static void be_grandparent(void)
{
        be_child();
        await_child(fork_child(be_child));
        be_child();
}

static void *fork_twice(void *unused)
{
        await_child(fork_child(be_grandparent));
        return unused;
}

static ucontext_t main_context, fiber_context;

static void run_fiber(void)
{
        fork_now(NULL);
}

static void *fork_in_fiber(void *unused)
{
        char *stack = mmap(NULL, FIBER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(stack != MAP_FAILED);
        CHECK(polder_root_add(stack, FIBER_BYTES) == 0);
        getcontext(&fiber_context);
        fiber_context.uc_stack.ss_sp = stack;
        fiber_context.uc_stack.ss_size = FIBER_BYTES;
        fiber_context.uc_link = &main_context;
        makecontext(&fiber_context, run_fiber, 0);
        swapcontext(&main_context, &fiber_context);
        CHECK(polder_root_remove(stack) == 0);
        CHECK(munmap(stack, FIBER_BYTES) == 0);
        return unused;
}

/* A cycle is under way, or will be. */
static void *fork_in_cycle(void *unused)
{
        CHECK(polder_collect_start() == 0);
        return fork_now(unused);
}

static void fork_often(unsigned n, void *(*how)(void *))
{
        life_start("concurrent", "verify");
        gang_start();
        for (unsigned i = 0; i < n; i++)
                life_on_a_thread(how, NULL);
        gang_stop();
}

static void often(void)
{
        setenv("POLDER_GENERATIONS", "1", 1);
        life_start("concurrent", "verify");
        gang_start();
        time_t end = time(NULL) + MINUTE; /* on a busy machine so many as there is time for */
        unsigned n = 0;
        while (n < wanted_forks(1) && time(NULL) < end) {
                fork_now(NULL);
                n++;
        }
        fprintf(stderr, "%u forks\n", n);
        gang_stop();
}

static void by_an_unattached_thread(void)
{
        fork_often(wanted_forks(20), fork_now);
}

static void by_an_attached_thread(void)
{
        fork_often(wanted_forks(20), fork_attached);
}

static void in_a_blocking_section(void)
{
        fork_often(wanted_forks(20), fork_blocking);
}

static void on_a_fiber(void)
{
        fork_often(wanted_forks(20), fork_in_fiber);
}

static void during_a_cycle(void)
{
        fork_often(wanted_forks(20), fork_in_cycle);
}

static void again_in_the_child(void)
{
        fork_often(wanted_forks(40), fork_twice);
}

/* Nobody else is there, and Polder may not have been used. */
static void before_its_first_use(void)
{
        life_start("concurrent", "verify");
        await_child(fork_child(be_grandparent));
        be_child();
}

/* ---- Without a copy ----------------------------------------------------------------------------- */

static void *spawn_one(void *unused)
{
        static char *const argv[] = { (char *)"true", NULL };
        pid_t child;
        CHECK(polder_thread_attach() == 0);
        CHECK(posix_spawnp(&child, "true", NULL, NULL, argv, environ) == 0);
        await_child(child);
        child = vfork();
        if (child == 0) {
                execvp("true", argv);
                _exit(1);
        }
        await_child(child);
        return unused;
}

static void by_spawn_and_vfork(void)
{
        fork_often(wanted_forks(10), spawn_one);
}

static const struct life_case cases[] = {
        { "a thousand forks", often, NULL },
        { "by a thread that is not attached", by_an_unattached_thread, NULL },
        { "by one that is", by_an_attached_thread, NULL },
        { "in a blocking section", in_a_blocking_section, NULL },
        { "on a fiber", on_a_fiber, NULL },
        { "during a cycle", during_a_cycle, NULL },
        { "again in the child", again_in_the_child, NULL },
        { "before anything else", before_its_first_use, NULL },
        { "posix_spawn() and vfork()", by_spawn_and_vfork, NULL },
};

int main(int argc, char **argv)
{
        return life_main(cases, PLD_COUNT_OF(cases), argc, argv);
}
