/* place_numa.c: floor 1 on a machine with several nodes: does memory lie where it
 * was asked for, by the kernel's own word?
 *
 * usage: place_numa nodes=0,1 policy=local here=cpu [pages=2M,thp,base] [pool=0:8]
 *                   [cpuset=DIR] [setting=0,1] [forbid=mbind] [fill=1] [want=thp]
 *   nodes    kernel ids that the machine must have
 *   policy   local, bind, preferred or interleave: what must be read from numactl
 *   here     where a thread is to allocate: cpu (its own node), stripe, or an id
 *   pool     the one node that has 2M pages, and how many
 *   cpuset   a cgroup that this process is in; the last node is taken away from it
 *   setting  what POLDER_NODES would say
 *   forbid   mbind is refused as by a container's filter: all must work as one node
 *   want     the kind that everything must be of, with no fallback at all
 *   fill     the last node is filled up: it must end in a refusal, not in a kill */
#include "tests/guest/place.h"

#include "base/bits.h"
#include "base/parse.h"
#include "numa/backing.h"
#include "numa/machine.h"
#include "numa/range.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { PIECES = 6 };

static const char *const policies[] = { "local", "bind", "preferred", "interleave" };

static char *huge_at(unsigned slice, size_t i)
{
        return (char *)pld_range_slice_at(slice) + (i << PLD_HUGE_SHIFT);
}

static int id_of(unsigned node)
{
        return pld_machine.node[node].id;
}

/* Backs, writes, and asks the kernel for every page. */
static enum pld_backing back_checked(char *at, size_t nhuge, unsigned node)
{
        enum pld_backing kind = PLD_BACKING_NONE;
        size_t nbytes = nhuge << PLD_HUGE_SHIFT;
        int error = pld_back(at, nbytes, node, &kind);
        if (!place_fact(error == 0, "node %d backs %zu huge pages: %d", id_of(node), nhuge, error))
                return PLD_BACKING_NONE;
        memset(at, 0x5a, nbytes);
        size_t elsewhere = place_elsewhere(at, nbytes, id_of(node));
        place_fact(elsewhere == 0, "%zu base pages of %s for node %d lie elsewhere", elsewhere,
                   pld_backing_name(kind), id_of(node));
        return kind;
}

/* --- what the machine is */

static void check_machine(const char *nodes, const char *policy)
{
        uint64_t wanted[16] = { 0 }, found[16] = { 0 };
        place_fact(pld_parse_set(nodes, wanted, 1024) == 0, "nodes=%s is a list", nodes);
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                pld_bit_set(found, (size_t)id_of(i));
        place_fact(!memcmp(wanted, found, sizeof wanted), "the nodes are %s", nodes);
        place_fact(!strcmp(policies[pld_machine.policy], policy), "the policy is %s, not %s",
                   policy, policies[pld_machine.policy]);
}

static void check_here(const char *here)
{
        cpu_set_t all;
        sched_getaffinity(0, sizeof all, &all);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
                if (!CPU_ISSET((size_t)cpu, &all) || !place_run_on(cpu))
                        continue;
                unsigned got = pld_machine_here();
                if (!strcmp(here, "stripe")) {
                        place_fact(got == pld_machine.nnodes, "CPU %d allocates striped", cpu);
                        continue;
                }
                if (!place_fact(got < pld_machine.nnodes, "CPU %d has a node", cpu))
                        continue;
                int id = strcmp(here, "cpu") ? atoi(here) : place_node_of_cpu();
                if (pld_machine_index_of(id) >= 0) /* else any may be the nearest */
                        place_fact(id_of(got) == id, "CPU %d allocates on node %d, not %d", cpu,
                                   id, id_of(got));
        }
        sched_setaffinity(0, sizeof all, &all);
}

/* --- placement */

static size_t pool_on(const char *pool, unsigned node)
{
        if (!pool || atoi(pool) != id_of(node))
                return 0;
        return (size_t)atoi(strchr(pool, ':') + 1);
}

/* From every node, while the caller runs wherever it happens to. */
static void check_node(unsigned node, const char *pool)
{
        size_t in_pool = 0, wanted = pool_on(pool, node);
        uint64_t empty = pld_backing_fallbacks(PLD_BACKING_2M, PLD_REASON_POOL_EMPTY);
        for (size_t i = 0; i < PIECES; i++)
                in_pool += back_checked(huge_at(node, i), 1, node) == PLD_BACKING_2M;
        back_checked(huge_at(node, PIECES), 4, node);
        if (!pool)
                return;
        size_t expected = wanted < PIECES ? wanted : PIECES;
        place_fact(in_pool == expected, "%zu pieces of node %d are of its pool, not %zu", expected,
                   id_of(node), in_pool);
        uint64_t left = pld_backing_fallbacks(PLD_BACKING_2M, PLD_REASON_POOL_EMPTY) - empty;
        place_fact(left == PIECES + 1 - in_pool, "a fallback is counted for each other piece: %zu",
                   (size_t)left);
}

static void check_stripe(void)
{
        size_t seen[PLD_MAX_NODES] = { 0 }, n = 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                n += pld_machine.node[i].striped;
        for (size_t i = 0; i < 4 * n; i++) {
                unsigned node = pld_machine_stripe_node(i);
                back_checked(huge_at(pld_machine.nnodes, i), 1, node);
                seen[node]++;
        }
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                place_fact(seen[i] == (pld_machine.node[i].striped ? 4u : 0u),
                           "node %d has its share of the stripe: %zu", id_of(i), seen[i]);
}

static void check_books(const char *want)
{
        place_fact(pld_backing_misplaced() == 0, "nothing was misplaced");
        if (want)
                place_fact(pld_backing_fallbacks_total() == 0, "%d fallbacks",
                           (int)pld_backing_fallbacks_total());
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                size_t nbytes = 0;
                for (int kind = 0; kind < PLD_BACKING_KINDS; kind++)
                        if (!want || !strcmp(want, pld_backing_name((enum pld_backing)kind)))
                                nbytes += pld_backing_bytes(i, (enum pld_backing)kind);
                place_fact(nbytes >= (PIECES + 4) * PLD_HUGE_BYTES, "node %d has %zu bytes",
                           id_of(i), nbytes);
        }
}

static void fill_node(unsigned node)
{
        enum pld_backing kind;
        size_t n = 0, most = ((size_t)1 << pld_range.slice_shift) >> PLD_HUGE_SHIFT;
        uint64_t low = pld_backing_fallbacks(PLD_BACKING_BASE, PLD_REASON_NODE_LOW);
        while (64 + n < most && pld_back(huge_at(node, 64 + n), PLD_HUGE_BYTES, node, &kind) == 0)
                n++;
        place_fact(n > 32, "the node had memory: %zu huge pages", n);
        place_fact(pld_backing_fallbacks(PLD_BACKING_BASE, PLD_REASON_NODE_LOW) > low,
                   "it was refused because the node ran low");
        size_t elsewhere = place_elsewhere(huge_at(node, 64), n << PLD_HUGE_SHIFT, id_of(node));
        place_fact(elsewhere == 0, "%zu base pages lie elsewhere", elsewhere);
        for (size_t i = 0; i < 16; i++)
                pld_unback(huge_at(node, 64 + i), PLD_HUGE_BYTES, kind);
        place_fact(pld_back(huge_at(node, 64), PLD_HUGE_BYTES, node, &kind) == 0,
                   "what was given back can be had again");
}

/* --- a cpuset that shrinks */

static void set_mems(const char *cgroup, const char *list)
{
        char path[256];
        snprintf(path, sizeof path, "%s/cpuset.mems", cgroup);
        FILE *file = fopen(path, "w");
        bool done = file && fputs(list, file) >= 0 && fclose(file) == 0;
        place_fact(done, "%s takes %s", path, list);
}

static void check_cpuset(const char *cgroup, const char *nodes)
{
        unsigned last = pld_machine.nnodes - 1;
        enum pld_backing kind;
        set_mems(cgroup, "0");
        place_fact(pld_back(huge_at(last, 0), PLD_HUGE_BYTES, last, &kind) == -ENOMEM,
                   "a node that was taken away is refused");
        place_fact(pld_backing_fallbacks(PLD_BACKING_BASE, PLD_REASON_NODE_FORBIDDEN) == 1,
                   "and that is counted");
        place_fact(!pld_machine_is_allowed(last), "and remembered");
        cpu_set_t all;
        sched_getaffinity(0, sizeof all, &all);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET((size_t)cpu, &all) && place_run_on(cpu))
                        place_fact(pld_machine_here() == 0, "CPU %d allocates on node 0", cpu);
        sched_setaffinity(0, sizeof all, &all);
        back_checked(huge_at(0, 0), 1, 0);
        set_mems(cgroup, nodes);
        back_checked(huge_at(last, 0), 1, last);
        place_fact(pld_machine_is_allowed(last), "a node that was given back is used");
}

/* --- a filter as containers have it */

static void forbid_mbind(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mbind, 3, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_get_mempolicy, 2, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_move_pages, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        };
        struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
        place_fact(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
                   "the filter is set");
}

static void check_forbidden(void)
{
        enum pld_backing kind = PLD_BACKING_NONE;
        place_fact(pld_machine.nnodes == 1 && !pld_machine.may_bind, "all is one node");
        place_fact(pld_machine_here() == 0, "which is here");
        for (size_t i = 0; i < PIECES; i++) {
                place_fact(pld_back(huge_at(0, i), PLD_HUGE_BYTES, 0, &kind) == 0,
                           "a piece is backed");
                memset(huge_at(0, i), 1, PLD_HUGE_BYTES);
        }
        place_fact(pld_backing_fallbacks(kind, PLD_REASON_BIND_FORBIDDEN) > 0,
                   "and that it is not bound is counted");
}

/* --- all of it */

static bool start(char **argv)
{
        const char *pages = place_argument(argv, "pages");
        if (!place_fact(pld_machine_start(place_argument(argv, "setting")) == 0, "it starts"))
                return false;
        return place_fact(pld_range_reserve(pld_machine.nnodes + 1) == 0, "the range is there") &&
               place_fact(pld_backing_start(pages ? pages : "thp,base") == 0, "the chain is good");
}

static void check_placement(char **argv)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                check_node(i, place_argument(argv, "pool"));
        if (pld_machine.policy == PLD_POLICY_INTERLEAVE)
                check_stripe();
        check_books(place_argument(argv, "want"));
        if (place_argument(argv, "fill"))
                fill_node(pld_machine.nnodes - 1);
}

static void check_all(char **argv)
{
        const char *nodes = place_argument(argv, "nodes"), *cgroup = place_argument(argv, "cpuset");
        check_machine(nodes, place_argument(argv, "policy"));
        check_here(place_argument(argv, "here"));
        if (cgroup)
                check_cpuset(cgroup, nodes);
        else
                check_placement(argv);
}

int main(int argc, char **argv)
{
        bool forbid = place_argument(argv, "forbid") != NULL;
        if (!forbid && (argc < 4 || !place_argument(argv, "nodes") ||
                        !place_argument(argv, "policy") || !place_argument(argv, "here"))) {
                fputs("usage: place_numa nodes=LIST policy=NAME here=cpu|stripe|ID …\n", stderr);
                return 2;
        }
        if (forbid)
                forbid_mbind();
        if (start(argv) && forbid)
                check_forbidden();
        else if (!forbid && place_failed == 0)
                check_all(argv);
        return place_done();
}
