/* On the machine of the day: only what holds on any. */
#include "numa/os.h"

#include <criterion/criterion.h>

#include "tests/numa/machine_setup.h"
#include "tests/status.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct pld_os *const os = &pld_os_linux;

static char *reserved(size_t nbytes)
{
        char *at = os->reserve(nbytes + PLD_HUGE_BYTES);
        cr_assert(at);
        return (char *)pld_round_up((uintptr_t)at, PLD_HUGE_BYTES);
}

static int a_node(void)
{
        struct pld_node_set set;
        if (os->nodes_with_memory(&set) != 0)
                cr_skip_test("the kernel has no NUMA");
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (pld_node_set_has(&set, id))
                        return id;
        return -1;
}

Test(os_linux, some_node_has_memory_and_is_allowed)
{
        struct pld_node_set allowed;
        int id = a_node();
        cr_assert(id >= 0);
        cr_assert(os->nodes_allowed(&allowed) == 0);
        cr_expect(!pld_node_set_is_empty(&allowed));
}

Test(os_linux, a_node_is_ten_from_itself)
{
        uint8_t row[PLD_NODE_IDS];
        int id = a_node();
        if (os->distances(id, row) != 0)
                cr_skip_test("no distances here");
        cr_expect(row[id] == 10);
}

Test(os_linux, the_caller_runs_on_an_allowed_cpu_of_its_node)
{
        cpu_set_t allowed, of_node;
        int cpu, id = os->node_here(&cpu);
        cr_assert(id >= 0);
        cr_assert(os->cpus_allowed(&allowed) == 0);
        cr_expect(CPU_ISSET((size_t)cpu, &allowed));
        cr_expect(os->cpu() >= 0);
        if (os->cpus_of_node(id, &of_node) == 0)
                cr_expect(CPU_ISSET((size_t)cpu, &of_node));
}

Test(os_linux, memory_is_some_and_available_is_no_more_than_all)
{
        struct pld_os_memory whole, node;
        cr_assert(os->memory(-1, &whole) == 0);
        cr_expect(whole.total > 0);
        cr_expect(whole.available <= whole.total);
        int id = a_node();
        cr_assert(os->memory(id, &node) == 0);
        cr_expect(node.total > 0);
        cr_expect(node.available <= node.total);
}

Test(os_linux, a_thread_without_policy_is_local)
{
        struct pld_os_policy policy;
        a_node();
        if (os->policy(&policy) != 0)
                cr_skip_test("asking for the policy is forbidden");
        cr_expect(policy.kind == PLD_POLICY_LOCAL || !pld_node_set_is_empty(&policy.nodes));
}

Test(os_linux, closed_memory_cannot_be_read)
{
        char *at = reserved(PLD_HUGE_BYTES);
        cr_expect(!can_be_read(at));
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        cr_expect(can_be_read(at));
        cr_assert(os->close(at, PLD_HUGE_BYTES) == 0);
        cr_expect(!can_be_read(at));
}

Test(os_linux, opened_memory_is_zero_and_faults_are_counted)
{
        size_t faults;
        char *at = reserved(PLD_HUGE_BYTES);
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        os->advise(at, PLD_HUGE_BYTES, false);
        cr_assert(os->populate(at, PLD_HUGE_BYTES, &faults) == 0);
        cr_expect(faults == PLD_HUGE_BYTES / (size_t)sysconf(_SC_PAGESIZE));
        cr_expect(at[0] == 0 && !memcmp(at, at + 1, PLD_HUGE_BYTES - 1));
}

Test(os_linux, a_huge_page_takes_one_fault)
{
        size_t faults;
        if (!os->supports(PLD_BACKING_THP))
                cr_skip_test("no transparent huge pages here");
        char *at = reserved(PLD_HUGE_BYTES);
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        cr_assert(os->advise(at, PLD_HUGE_BYTES, true) == 0);
        cr_assert(os->populate(at, PLD_HUGE_BYTES, &faults) == 0);
        if (faults != 1)
                cr_skip_test("the kernel had no huge page");
        cr_expect(os->collapse(at, PLD_HUGE_BYTES) != -ENOMEM);
}

Test(os_linux, populated_memory_lies_on_a_node)
{
        size_t faults;
        int node, id = a_node();
        char *at = reserved(PLD_HUGE_BYTES);
        void *page = at;
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        if (os->bind(at, PLD_HUGE_BYTES, id) != 0)
                cr_skip_test("binding is forbidden");
        cr_assert(os->populate(at, PLD_HUGE_BYTES, &faults) == 0);
        cr_assert(os->nodes_of(&page, 1, &node) == 0);
        cr_expect(node == id);
}

Test(os_linux, binding_to_a_node_that_is_not_there_is_refused)
{
        char *at = reserved(PLD_HUGE_BYTES);
        cr_expect(os->bind(at, PLD_HUGE_BYTES, PLD_NODE_IDS - 1) < 0);
}

Test(os_linux, dropped_memory_is_zero_again)
{
        char *at = reserved(PLD_HUGE_BYTES);
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        at[5] = 7;
        cr_assert(os->drop(at, PLD_HUGE_BYTES) == 0);
        cr_expect(at[5] == 0);
}

Test(os_linux, an_empty_pool_is_an_error)
{
        size_t nfree;
        if (os->pool_free(-1, PLD_BACKING_2M, &nfree) != 0 || nfree > 0)
                cr_skip_test("there is a pool");
        errno = 0;
        if (os->map_pool(1024 * PLD_HUGE_BYTES, PLD_BACKING_2M) != NULL)
                cr_skip_test("there is overcommit");
        cr_expect(errno == ENOMEM);
}

/* Populated; without a pool the test is skipped. */
static char *pool_page(void)
{
        size_t nfree, faults;
        if (!os->supports(PLD_BACKING_2M) || os->pool_free(-1, PLD_BACKING_2M, &nfree) != 0 ||
            nfree == 0)
                cr_skip_test("no pool of huge pages here");
        char *at = os->map_pool(PLD_HUGE_BYTES, PLD_BACKING_2M);
        cr_assert(at);
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        cr_assert(os->populate(at, PLD_HUGE_BYTES, &faults) == 0);
        return at;
}

Test(os_linux, a_pool_page_is_moved_into_place)
{
        char *from = pool_page(), *to = reserved(PLD_HUGE_BYTES);
        from[9] = 9;
        cr_assert(os->move(from, to, PLD_HUGE_BYTES) == 0);
        cr_expect(to[9] == 9);
        cr_assert(os->close(to, PLD_HUGE_BYTES) == 0);
}

/* What a server with huge pages meets when it forks: the parent goes on writing. */
Test(os_linux, the_parent_keeps_its_pool_page_after_a_fork)
{
        char *from = pool_page(), *to = reserved(PLD_HUGE_BYTES);
        cr_assert(os->move(from, to, PLD_HUGE_BYTES) == 0);
        int ends[2];
        cr_assert(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
                char byte;
                ssize_t ignored = read(ends[0], &byte, 1);
                (void)ignored;
                _exit(0);
        }
        to[0] = 1; /* copy on write */
        cr_expect(to[0] == 1);
        cr_assert(write(ends[1], "", 1) == 1);
        waitpid(child, NULL, 0);
}

Test(os_linux, a_gigantic_pool_page_is_moved_into_place)
{
        size_t nfree, faults, nbytes = PLD_GIGANTIC_BYTES;
        if (!os->supports(PLD_BACKING_1G) || os->pool_free(-1, PLD_BACKING_1G, &nfree) != 0 ||
            nfree == 0)
                cr_skip_test("no pool of gigantic pages here");
        char *from = os->map_pool(nbytes, PLD_BACKING_1G);
        char *room = os->reserve(2 * nbytes);
        cr_assert(from && room);
        char *to = (char *)pld_round_up((uintptr_t)room, nbytes);
        cr_assert(os->open(from, nbytes) == 0);
        cr_assert(os->populate(from, nbytes, &faults) == 0);
        cr_expect(faults == 1, "%zu", faults);
        from[nbytes - 1] = 9;
        cr_assert(os->move(from, to, nbytes) == 0);
        cr_expect(to[nbytes - 1] == 9);
        cr_expect(os->close(to, PLD_HUGE_BYTES) != 0, "a part of it cannot go");
        cr_assert(os->close(to, nbytes) == 0);
}

/* --- locking */

Test(os_linux, locked_memory_is_counted_by_the_kernel_and_can_be_dropped)
{
        size_t faults;
        char *at = reserved(PLD_HUGE_BYTES);
        if (os->lock_limit() < PLD_HUGE_BYTES)
                cr_skip_test("so little may be locked");
        cr_assert(os->open(at, PLD_HUGE_BYTES) == 0);
        cr_assert(os->populate(at, PLD_HUGE_BYTES, &faults) == 0);
        size_t before = status_bytes("VmLck:");
        cr_assert(os->lock(at, PLD_HUGE_BYTES) == 0);
        cr_expect(status_bytes("VmLck:") == before + PLD_HUGE_BYTES);
        at[5] = 5;
        cr_expect(os->drop(at, PLD_HUGE_BYTES) == 0);
        cr_expect(at[5] == 0);
        cr_assert(os->close(at, PLD_HUGE_BYTES) == 0);
        cr_expect(status_bytes("VmLck:") == before);
}

/* O4: what the program locks, before or after, is what is used. */
static void lock_all_and_look(bool before)
{
        size_t nbytes = 256 * PLD_MIB;
        char *table = before ? NULL : os->map_sparse(nbytes);
        if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
                cr_skip_test("mlockall() is refused here");
        if (before)
                table = os->map_sparse(nbytes);
        cr_assert(table);
        cr_expect(table[nbytes / 2] == 0, "it can be read");
        cr_expect(status_bytes("VmRSS:") < nbytes / 2);
        cr_assert(os->open_sparse(table, PLD_MIB) == 0);
        table[PLD_MIB - 1] = 1;
        cr_expect(status_bytes("VmRSS:") < nbytes / 2);
        munlockall();
}

Test(os_linux, a_sparse_table_stays_away_when_all_is_locked_later)
{
        lock_all_and_look(false);
}

Test(os_linux, a_sparse_table_stays_away_when_all_was_locked_before)
{
        lock_all_and_look(true);
}

Test(os_linux, a_weighted_policy_is_an_interleaving_one)
{
        enum { WEIGHTED_INTERLEAVE = 6 };
        unsigned long mask = 1;
        struct pld_os_policy policy;
        if (syscall(SYS_set_mempolicy, WEIGHTED_INTERLEAVE, &mask, 64) != 0)
                cr_skip_test("no weighted interleave here (Linux 6.9)");
        cr_assert(os->policy(&policy) == 0);
        cr_expect(policy.kind == PLD_POLICY_INTERLEAVE && policy.weighted);
        cr_expect(pld_node_set_has(&policy.nodes, 0));
        cr_expect(os->weight(0) >= 1);
        cr_expect(os->weight(PLD_NODE_IDS - 1) == 1, "where there is none");
}

static void *be_prompt(void *unused)
{
        setpriority(PRIO_PROCESS, 0, 5);
        pld_os_linux.thread_be_prompt();
        cr_expect_eq(prctl(PR_GET_TIMERSLACK), 1);
        cr_expect_eq(getpriority(PRIO_PROCESS, 0), 5, "its share of the CPU is what it was");
        cr_expect_eq(sched_getscheduler(0), SCHED_OTHER);
        return unused;
}

static void *be_patient(void *unused)
{
        setpriority(PRIO_PROCESS, 0, 5);
        pld_os_linux.thread_be_patient();
        cr_expect_eq(getpriority(PRIO_PROCESS, 0), 5, "its share of the CPU is what it was");
        cr_expect_eq(sched_getscheduler(0), SCHED_BATCH);
        return unused;
}

Test(os_linux, a_thread_may_let_others_go_first_and_keeps_its_share)
{
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, be_patient, NULL), 0);
        pthread_join(thread, NULL);
}

Test(os_linux, a_barrier_for_all_threads_is_had_again_in_a_child)
{
        int status, had = pld_os_linux.barrier_everywhere();
        cr_expect(had == 0 || had == -ENOSYS);
        pid_t child = fork();
        if (child == 0)
                _exit(pld_os_linux.barrier_everywhere() != had);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(os_linux, a_thread_may_ask_for_short_slices_and_keeps_its_share)
{
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, be_prompt, NULL), 0);
        pthread_join(thread, NULL);
}
