/* machine.c: the nodes that this process may use, and which of them is near.
 *
 * Read once, from the kernel's tables and the policy of the starting thread; a
 * program that was started under numactl gets what it asked for. What is asked
 * often (where am I?) is a load from a table indexed by CPU.
 *
 * N1  node[] is sorted by kernel id; an index never changes its meaning.
 * N2  order[i] and preferred[] are permutations of 0 to nnodes - 1.
 * N3  `allowed` has only bits below nnodes; it is all that changes after start,
 *     and an answer that is out of date costs a refused bind, nothing more.
 * N4  home_of_cpu[c] is UNKNOWN or what here_slow() would say on that CPU.
 * N5  a node without any CPU is a slower tier, however near: it comes after all others,
 *     unless it is preferred, asked for by name, striped, or there are no others.
 * N6  of the first n huge pages of a stripe each node has its weight's share, to within one
 *     huge page, for any n: a round is a fair order, not all of a node's pages in a row
 *     (Tijdeman, "The chairman assignment problem", 1980).
 * Start is under the lock; everything else reads without. */
#include "numa/machine.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/parse.h"
#include "numa/os.h"

#include <errno.h>
#include <string.h>

enum { UNKNOWN = UINT8_MAX, MAX_ROUND = PLD_MAX_NODES * UINT8_MAX };
static_assert((int)PLD_MAX_NODES < (int)UNKNOWN, "an index fits in a byte beside UNKNOWN");
static_assert(PLD_MAX_NODES <= 64, "`allowed` is one word");

struct pld_machine pld_machine;

static struct pld_lock start_lock = PLD_LOCK_INIT(PLD_RANK_BACKING);
static _Atomic bool is_started;
static _Atomic uint64_t allowed;                 /* N3; a bit an index */
static _Atomic uint8_t home_of_cpu[CPU_SETSIZE]; /* N4 */
static uint8_t distance[PLD_MAX_NODES][PLD_MAX_NODES];
static uint64_t preferred_set;                   /* under a preferring policy */
static unsigned round_length;                    /* sum of the striped nodes' weights */
static uint8_t stripe_round[MAX_ROUND];          /* N6; const after start */

/* --- which nodes ------------------------------------------------------------------ */

static bool is_forbidden(int error)
{
        return error == -EPERM || error == -ENOSYS || error == -EACCES;
}

/* Whether the process may bind memory at all, tried on some that is not used. */
static bool probe_bind(int id)
{
        size_t nbytes = 64 * PLD_KIB;
        void *at = pld_os->reserve(nbytes);
        if (!at)
                return true;
        bool may = !is_forbidden(pld_os->bind(at, nbytes, id));
        pld_os->unmap(at, nbytes);
        return may;
}

static void add_node(int id, const cpu_set_t *process)
{
        struct pld_node *node = &pld_machine.node[pld_machine.nnodes++];
        struct pld_os_memory memory;
        memset(node, 0, sizeof *node);
        node->id = id;
        node->weight = 1;
        if (pld_os->cpus_of_node(id, &node->cpus) == 0) {
                node->far = CPU_COUNT(&node->cpus) == 0;
                CPU_AND(&node->cpus, &node->cpus, process);
        }
        node->ncpus = (unsigned)CPU_COUNT(&node->cpus);
        if (pld_os->memory(pld_machine.alone ? -1 : id, &memory) == 0)
                node->nbytes = memory.total;
}

/* The whole machine as one node: there is no other, or no way to place anything. */
static void add_whole(int id, const cpu_set_t *process)
{
        pld_machine.alone = true;
        add_node(id, process);
        pld_machine.node[0].cpus = *process;
        pld_machine.node[0].ncpus = (unsigned)CPU_COUNT(process);
}

static int first_of(const struct pld_node_set *set)
{
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (pld_node_set_has(set, id))
                        return id;
        return -ENOENT;
}

static unsigned count_of(const struct pld_node_set *set)
{
        unsigned n = 0;
        for (int i = 0; i < PLD_NODE_IDS / 64; i++)
                n += pld_popcount(set->words[i]);
        return n;
}

/* What may be used: has memory, allowed by the cpuset, by a binding policy and by
 * the setting. */
static int find_usable(const char *setting, const struct pld_os_policy *policy,
                       struct pld_node_set *out)
{
        struct pld_node_set other;
        if (pld_os->nodes_allowed(&other) == 0)
                pld_node_set_keep(out, &other);
        if (policy->kind == PLD_POLICY_BIND)
                pld_node_set_keep(out, &policy->nodes);
        if (!setting)
                return pld_node_set_is_empty(out) ? -EINVAL : 0;
        if (pld_parse_set(setting, other.words, PLD_NODE_IDS) != 0) {
                pld_say("POLDER_NODES=\"%s\" is not understood: it takes node numbers such as "
                        "0,2-3",
                        setting);
                return -EINVAL;
        }
        pld_node_set_keep(out, &other);
        if (!pld_node_set_is_empty(out))
                return 0;
        pld_say("POLDER_NODES=\"%s\": no such node has memory that this process may use", setting);
        return -EINVAL;
}

static void add_nodes(const struct pld_node_set *usable, const cpu_set_t *process)
{
        for (int id = 0; id < PLD_NODE_IDS && pld_machine.nnodes < PLD_MAX_NODES; id++)
                if (pld_node_set_has(usable, id))
                        add_node(id, process); /* N1 */
}

/* There is no second tier without a first (N5). */
static void set_tiers(void)
{
        bool all = true;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                all &= pld_machine.node[i].far;
        for (unsigned i = 0; all && i < pld_machine.nnodes; i++)
                pld_machine.node[i].far = false;
}

/* --- distances and orders ----------------------------------------------------------- */

/* Distances from any kernel node to ours; what is not known is 10 here, 20 there. */
static void read_distances(int id, uint8_t out[PLD_MAX_NODES])
{
        uint8_t row[PLD_NODE_IDS];
        bool known = pld_os->distances(id, row) == 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                int to = pld_machine.node[i].id;
                out[i] = known && row[to] ? row[to] : to == id ? 10 : 20;
        }
}

/* Whether x is to be asked before y, starting at node `from`. Nodes at equal
 * distance take turns, so that not everyone's second choice is the same. */
static bool is_before(unsigned from, unsigned x, unsigned y)
{
        bool prefers_x = preferred_set >> x & 1, prefers_y = preferred_set >> y & 1;
        if ((x == from) != (y == from))
                return x == from;
        if (prefers_x != prefers_y)
                return prefers_x;
        if (pld_machine.node[x].far != pld_machine.node[y].far) /* N5 */
                return pld_machine.node[y].far;
        if (distance[from][x] != distance[from][y])
                return distance[from][x] < distance[from][y];
        unsigned n = pld_machine.nnodes;
        return (x + n - from) % n < (y + n - from) % n;
}

static void sort_order(unsigned from, uint8_t order[PLD_MAX_NODES]) /* N2 */
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                unsigned at = i;
                for (; at > 0 && is_before(from, i, order[at - 1]); at--)
                        order[at] = order[at - 1];
                order[at] = (uint8_t)i;
        }
}

static bool is_nearer(const uint8_t row[PLD_MAX_NODES], unsigned x, unsigned y)
{
        bool far_x = pld_machine.node[x].far, far_y = pld_machine.node[y].far;
        return far_x != far_y ? far_y : row[x] < row[y]; /* N5 */
}

static unsigned nearest_to(int id)
{
        uint8_t row[PLD_MAX_NODES];
        read_distances(id, row);
        uint64_t among = preferred_set ? preferred_set : ~UINT64_C(0);
        unsigned best = UNKNOWN;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                if (among >> i & 1 && (best == UNKNOWN || is_nearer(row, i, best)))
                        best = i;
        return best;
}

static void set_orders(void)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                read_distances(pld_machine.node[i].id, distance[i]);
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                sort_order(i, pld_machine.order[i]);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                pld_store_relaxed(&home_of_cpu[cpu], UNKNOWN);
}

/* --- policy --------------------------------------------------------------------------- */

static uint64_t indices_of(const struct pld_node_set *set)
{
        uint64_t indices = 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                if (pld_node_set_has(set, pld_machine.node[i].id))
                        indices |= UINT64_C(1) << i;
        return indices;
}

/* Whose is the n-th huge page (from 1 on), when given[] says who has those before it? Of
 * the nodes that are behind their share by 1/slack of a page, the one that would soonest
 * be behind by a page less that much. In parts of a page, so that all is whole numbers. */
static unsigned next_of_round(unsigned n, uint64_t slack, const unsigned given[PLD_MAX_NODES])
{
        unsigned best = UNKNOWN;
        uint64_t best_due = 0, best_weight = 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                const struct pld_node *node = &pld_machine.node[i];
                uint64_t share = slack * n * node->weight;
                uint64_t has = slack * given[i] * round_length;
                if (!node->striped || share < has + round_length)
                        continue;
                uint64_t due = has + (slack - 1) * round_length; /* over the weight: when */
                if (best != UNKNOWN && due * best_weight >= best_due * node->weight)
                        continue;
                best = i;
                best_due = due;
                best_weight = node->weight;
        }
        return best;
}

static void order_round(void) /* N6 */
{
        unsigned given[PLD_MAX_NODES] = { 0 }, nstriped = 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                nstriped += pld_machine.node[i].striped;
        for (unsigned n = 0; n < round_length; n++) {
                unsigned i = next_of_round(n + 1, nstriped > 1 ? 2 * nstriped - 2 : 2, given);
                PLD_CHECK(i != UNKNOWN);
                given[i]++;
                stripe_round[n] = (uint8_t)i;
        }
}

static void set_stripes(uint64_t striped, bool weighted)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++) {
                struct pld_node *node = &pld_machine.node[i];
                node->striped = striped >> i & 1;
                if (weighted)
                        node->weight = (uint8_t)pld_os->weight(node->id);
                if (node->striped)
                        round_length += node->weight;
        }
        order_round();
}

/* A policy none of whose nodes can be used is as good as none. */
static void set_policy(const struct pld_os_policy *policy)
{
        uint64_t indices = indices_of(&policy->nodes);
        pld_machine.policy = indices ? policy->kind : PLD_POLICY_LOCAL;
        if (pld_machine.policy == PLD_POLICY_PREFERRED)
                preferred_set = indices;
        if (pld_machine.policy == PLD_POLICY_INTERLEAVE)
                set_stripes(indices, policy->weighted);
}

/* After the orders: the preferred node that is nearest to the caller leads. */
static void set_preferred(void)
{
        int cpu, id = pld_os->node_here(&cpu);
        unsigned first = nearest_to(id < 0 ? pld_machine.node[0].id : id);
        pld_machine.npreferred = pld_popcount(preferred_set);
        memcpy(pld_machine.preferred, pld_machine.order[first], sizeof pld_machine.preferred);
}

/* --- start ------------------------------------------------------------------------------ */

static int find_nodes(const char *setting, struct pld_os_policy *policy)
{
        struct pld_node_set usable = { { 0 } };
        cpu_set_t process;
        CPU_ZERO(&process);
        pld_os->cpus_allowed(&process);
        pld_machine.ncpus = (unsigned)CPU_COUNT(&process);
        pld_machine.has_numa = pld_os->nodes_with_memory(&usable) == 0;
        if (!pld_machine.has_numa)
                pld_node_set_add(&usable, 0);
        pld_machine.alone = count_of(&usable) == 1;
        int error = find_usable(setting, policy, &usable);
        if (error)
                return error;
        pld_machine.may_bind = pld_machine.has_numa && probe_bind(first_of(&usable));
        if (pld_machine.may_bind)
                add_nodes(&usable, &process);
        else
                add_whole(first_of(&usable), &process);
        set_tiers();
        return 0;
}

static int start_locked(const char *setting)
{
        struct pld_os_policy policy = { .kind = PLD_POLICY_LOCAL };
        memset(&pld_machine, 0, sizeof pld_machine);
        if (pld_os->policy(&policy) != 0)
                policy.kind = PLD_POLICY_LOCAL;
        int error = find_nodes(setting, &policy);
        if (error)
                return error;
        preferred_set = 0;
        round_length = 0;
        set_policy(&policy);
        set_orders();
        set_preferred();
        pld_machine.roams = pld_machine.nnodes > 1 && pld_machine.policy != PLD_POLICY_INTERLEAVE;
        pld_store_relaxed(&allowed, pld_mask(0, pld_machine.nnodes));
        return 0;
}

int pld_machine_start(const char *nodes)
{
        if (pld_load_acquire(&is_started)) /* pairs with the release below */
                return 0;
        pld_lock(&start_lock);
        int error = pld_load_relaxed(&is_started) ? 0 : start_locked(nodes);
        if (!error)
                pld_store_release(&is_started, true);
        pld_unlock(&start_lock);
        return error;
}

/* --- questions ------------------------------------------------------------------------------ */

int pld_machine_index_of(int kernel_id)
{
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                if (pld_machine.node[i].id == kernel_id)
                        return (int)i;
        return -ENOENT;
}

bool pld_machine_is_allowed(unsigned node)
{
        return pld_load_relaxed(&allowed) >> node & 1; /* N3: may be out of date */
}

void pld_machine_reread(void)
{
        struct pld_node_set now;
        if (pld_os->nodes_allowed(&now) == 0)
                pld_store_relaxed(&allowed, indices_of(&now));
}

/* The node itself, or in its stead the first of its order that is allowed. */
static unsigned allowed_for(unsigned node)
{
        uint64_t now = pld_load_relaxed(&allowed);
        if (pld_likely(now >> node & 1))
                return node;
        for (unsigned i = 1; i < pld_machine.nnodes; i++)
                if (now >> pld_machine.order[node][i] & 1)
                        return pld_machine.order[node][i];
        return node;
}

/* Two threads may both fill in a table entry: they write the same. */
static PLD_NOINLINE unsigned here_slow(void)
{
        int cpu, id = pld_os->node_here(&cpu);
        if (id < 0 || id >= PLD_NODE_IDS)
                return pld_machine.preferred[0];
        unsigned home = nearest_to(id);
        if (cpu < CPU_SETSIZE)
                pld_store_relaxed(&home_of_cpu[cpu], (uint8_t)home); /* N4 */
        return home;
}

unsigned pld_machine_here(void)
{
        if (pld_machine.policy == PLD_POLICY_INTERLEAVE)
                return pld_machine.nnodes;
        if (pld_machine.nnodes == 1)
                return 0;
        int cpu = pld_os->cpu();
        unsigned home = UNKNOWN;
        if (pld_likely(cpu >= 0 && cpu < CPU_SETSIZE))
                home = pld_load_relaxed(&home_of_cpu[cpu]);
        if (pld_unlikely(home == UNKNOWN))
                home = here_slow();
        return allowed_for(home);
}

unsigned pld_machine_stripe_node(size_t huge_index)
{
        PLD_ASSERT(pld_machine.policy == PLD_POLICY_INTERLEAVE);
        return allowed_for(stripe_round[huge_index % round_length]);
}
