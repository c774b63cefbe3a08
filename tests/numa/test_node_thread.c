#include "numa/node_thread.h"

#include <criterion/criterion.h>

#include "base/atomic.h"
#include "tests/numa/machine_setup.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

static _Atomic unsigned ran, where_sum;
static char name_seen[32];
static sigset_t mask_seen;
static cpu_set_t affinity_seen;
static int cpu_seen;

static void *look(void *arg)
{
        prctl(PR_GET_NAME, name_seen);
        pthread_sigmask(SIG_BLOCK, NULL, &mask_seen);
        sched_getaffinity(0, sizeof affinity_seen, &affinity_seen);
        cpu_seen = pld_fake_cpu();
        return arg;
}

static void start_and_join(unsigned node, const char *name)
{
        pthread_t thread;
        void *result = NULL;
        int here = 0;
        cr_assert(pld_node_thread_start(&thread, node, name, look, &here) == 0);
        pthread_join(thread, &result);
        cr_expect(result == &here);
}

static void note(unsigned node, void *arg)
{
        (void)arg;
        cr_assert(pld_fake_cpu() / 2 == (int)node);
        pld_add_relaxed(&ran, 1);
        pld_or_relaxed(&where_sum, 1u << node);
}

static void note_anywhere(unsigned node, void *arg)
{
        (void)arg;
        pld_add_relaxed(&ran, 1);
        pld_or_relaxed(&where_sum, 1u << node);
}

Test(node_thread, runs_on_the_nodes_cpus)
{
        setup_nodes(3);
        cr_assert(pld_machine_start(NULL) == 0);
        start_and_join(2, "x");
        cr_expect(cpu_seen == 4);
}

Test(node_thread, without_cpus_of_its_own_runs_on_any_allowed)
{
        setup_nodes(2);
        pld_fake_add_node(2, 0, PLD_GIB);
        pld_fake_allow_cpus("1-3");
        cr_assert(pld_machine_start(NULL) == 0);
        start_and_join(2, "x");
        cr_expect(cpu_seen == 1);
}

Test(node_thread, has_a_name_and_no_signals)
{
        setup_nodes(1);
        cr_assert(pld_machine_start(NULL) == 0);
        start_and_join(0, "polder-with-a-long-name");
        cr_expect_str_eq(name_seen, "polder-with-a-l");
        cr_expect(sigismember(&mask_seen, SIGTERM) == 1);
        cr_expect(sigismember(&mask_seen, SIGUSR1) == 1);
        sigset_t mine;
        pthread_sigmask(SIG_BLOCK, NULL, &mine);
        cr_expect(sigismember(&mine, SIGTERM) == 0, "the caller's are as before");
}

Test(node_thread, a_refused_thread_is_an_error)
{
        pthread_t thread;
        setup_nodes(1);
        cr_assert(pld_machine_start(NULL) == 0);
        pld_fake_fail(PLD_FAKE_THREAD_CREATE, 0, 1, EAGAIN);
        cr_expect(pld_node_thread_start(&thread, 0, "x", look, NULL) == -EAGAIN);
}

Test(node_thread, each_node_is_called_once_and_there)
{
        struct pld_each job;
        setup_nodes(5);
        cr_assert(pld_machine_start(NULL) == 0);
        cr_expect(pld_each_node(note, NULL, &job) == 0);
        pld_each_wait(&job);
        cr_expect(pld_load_relaxed(&ran) == 5);
        cr_expect(pld_load_relaxed(&where_sum) == 31);
        pld_each_wait(&job); /* once more returns at once */
}

Test(node_thread, each_falls_back_to_the_caller)
{
        struct pld_each job;
        setup_nodes(4);
        cr_assert(pld_machine_start(NULL) == 0);
        pld_fake_fail(PLD_FAKE_THREAD_CREATE, 1, 2, EAGAIN);
        cr_expect(pld_each_node(note_anywhere, NULL, &job) == 2);
        pld_each_wait(&job);
        cr_expect(pld_load_relaxed(&where_sum) == 15);
        cr_expect(pld_load_relaxed(&ran) == 4);
}

Test(node_thread, the_real_machine_has_threads_on_its_nodes)
{
        cr_assert(pld_machine_start(NULL) == 0);
        start_and_join(0, "real");
        if (pld_machine.node[0].ncpus > 0)
                cr_expect(CPU_EQUAL(&affinity_seen, &pld_machine.node[0].cpus));
}
