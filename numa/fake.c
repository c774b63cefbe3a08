/* fake.c: the contract of os.h, by tables: what the machine is, and what fails.
 *
 * Real memory and threads come from os_linux.c; everything else is made up.
 *
 * F1  a node's free bytes and free pool pages never go below zero: what a real
 *     kernel answers with a signal or the OOM killer is noted as a disaster.
 * F2  an injected failure leaves everything as it was.
 * The lock is a leaf; every function takes it once. */
#include "numa/fake.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/lock.h"
#include "base/parse.h"
#include "numa/fake_inside.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

struct failure {
        unsigned calls, skip, times;
        int error;
};

struct pld_fake_machine pld_fake = { .lock = PLD_LOCK_INIT(PLD_RANK_LEAF) };
static struct failure failures[PLD_FAKE_CALLS];
static _Thread_local _Atomic uint32_t current_cpu;

/* --- setting it up ---------------------------------------------------------------- */

static void parse_into(const char *list, uint64_t *words, size_t nbits)
{
        PLD_CHECK(pld_parse_set(list, words, nbits) == 0);
}

void pld_fake_reset(void)
{
        memset(pld_fake.nodes, 0, sizeof pld_fake.nodes);
        memset(failures, 0, sizeof failures);
        pld_fake_pages_reset();
        pld_fake.policy = (struct pld_os_policy){ .kind = PLD_POLICY_LOCAL };
        pld_fake.has_numa = false;
        pld_fake.all_nodes = true;
        pld_fake.ncpus = 0;
        CPU_ZERO(&pld_fake.cpus);
        pld_fake.reserve_limit = 64 * PLD_GIB;
        pld_store_relaxed(&pld_fake.cgroup_limit, 0);
        pld_fake.lock_limit = SIZE_MAX;
        pld_store_relaxed(&current_cpu, 0);
        pld_fake.hides_cpu = false;
        for (int kind = 0; kind < PLD_BACKING_KINDS; kind++)
                pld_fake.supports[kind] = true;
}

void pld_fake_add_node(int id, unsigned n, size_t nbytes)
{
        struct pld_fake_node *node = &pld_fake.nodes[id];
        *node = (struct pld_fake_node){ .exists = true,
                                    .total = nbytes,
                                    .nfree = nbytes,
                                    .huge = SIZE_MAX,
                                    .weight = 1,
                                    .first_cpu = pld_fake.ncpus,
                                    .ncpus = n };
        for (int other = 0; other < PLD_NODE_IDS; other++) {
                node->distance[other] = other == id ? 10 : 20;
                pld_fake.nodes[other].distance[id] = node->distance[other];
        }
        for (unsigned i = 0; i < n; i++)
                CPU_SET(pld_fake.ncpus + i, &pld_fake.cpus);
        pld_fake.ncpus += n;
        pld_fake.has_numa = true;
}

void pld_fake_set_distance(int id, int other, uint8_t distance)
{
        pld_fake.nodes[id].distance[other] = pld_fake.nodes[other].distance[id] = distance;
}

void pld_fake_allow_nodes(const char *list)
{
        pld_fake.all_nodes = !list;
        if (list)
                parse_into(list, pld_fake.allowed.words, PLD_NODE_IDS);
}

void pld_fake_allow_cpus(const char *list)
{
        uint64_t words[CPU_SETSIZE / 64];
        parse_into(list, words, CPU_SETSIZE);
        memcpy(&pld_fake.cpus, words, sizeof pld_fake.cpus);
}

void pld_fake_set_policy(enum pld_policy kind, const char *list)
{
        pld_fake.policy.kind = kind;
        if (list)
                parse_into(list, pld_fake.policy.nodes.words, PLD_NODE_IDS);
}

void pld_fake_set_weight(int id, unsigned weight)
{
        pld_fake.nodes[id].weight = weight;
        pld_fake.policy.weighted = true;
}

void pld_fake_set_pool(int id, size_t n)
{
        pld_fake.nodes[id].pool = n;
}

void pld_fake_set_gigantic(int id, size_t n)
{
        pld_fake.nodes[id].gigantic = n;
}

void pld_fake_set_free(int id, size_t nbytes)
{
        pld_fake.nodes[id].nfree = nbytes;
}

void pld_fake_set_huge(int id, size_t nfree, size_t ncollapsible)
{
        pld_fake.nodes[id].huge = nfree;
        pld_fake.nodes[id].collapsible = ncollapsible;
}

void pld_fake_unplug(int id)
{
        pld_fake.nodes[id].total = pld_fake.nodes[id].nfree = pld_fake.nodes[id].pool = 0;
}

void pld_fake_set_support(enum pld_backing kind, bool has)
{
        pld_fake.supports[kind] = has;
}

void pld_fake_set_cgroup(size_t nbytes)
{
        pld_store_relaxed(&pld_fake.cgroup_limit, nbytes);
}

void pld_fake_set_reserve_limit(size_t nbytes)
{
        pld_fake.reserve_limit = nbytes;
}

void pld_fake_set_lock_limit(size_t nbytes)
{
        pld_fake.lock_limit = nbytes;
}

void pld_fake_run_on(int cpu)
{
        pld_store_relaxed(&current_cpu, (uint32_t)cpu);
}

void pld_fake_hide_cpu(void)
{
        pld_fake.hides_cpu = true;
}

int pld_fake_cpu(void)
{
        return (int)pld_load_relaxed(&current_cpu);
}

void pld_fake_fail(enum pld_fake_call call, unsigned skip, unsigned times, int error)
{
        failures[call].skip = skip;
        failures[call].times = times;
        failures[call].error = error;
}

void pld_fake_forbid(enum pld_fake_call call, int error)
{
        pld_fake_fail(call, 0, UINT_MAX, error);
}

/* --- looking at it ---------------------------------------------------------------- */

unsigned pld_fake_calls(enum pld_fake_call call)
{
        return failures[call].calls;
}

size_t pld_fake_free_bytes(int id)
{
        return pld_fake.nodes[id].nfree;
}

size_t pld_fake_pool(int id)
{
        return pld_fake.nodes[id].pool;
}

size_t pld_fake_gigantic(int id)
{
        return pld_fake.nodes[id].gigantic;
}

/* --- the machinery of failing ----------------------------------------------------- */

int pld_fake_trip(enum pld_fake_call call)
{
        struct failure *failure = &failures[call];
        int error = 0;
        pld_lock(&pld_fake.lock);
        failure->calls++;
        if (failure->skip > 0)
                failure->skip--;
        else if (failure->times > 0)
                error = -failure->error;
        if (error && failure->times != UINT_MAX)
                failure->times--;
        pld_unlock(&pld_fake.lock);
        return error;
}

void *pld_fake_trip_pointer(enum pld_fake_call call, void *(*real)(size_t), size_t nbytes)
{
        int error = pld_fake_trip(call);
        if (!error)
                return real(nbytes);
        errno = -error;
        return NULL;
}

/* --- what the machine is ---------------------------------------------------------- */

static int fake_nodes_with_memory(struct pld_node_set *out)
{
        if (!pld_fake.has_numa)
                return -ENOSYS;
        *out = (struct pld_node_set){ { 0 } };
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (pld_fake.nodes[id].exists && pld_fake.nodes[id].total > 0)
                        pld_node_set_add(out, id);
        return 0;
}

static int fake_nodes_allowed(struct pld_node_set *out)
{
        int error = pld_fake_trip(PLD_FAKE_NODES_ALLOWED);
        if (error || !pld_fake.has_numa)
                return error ? error : -ENOSYS;
        if (pld_fake.all_nodes)
                return fake_nodes_with_memory(out);
        *out = pld_fake.allowed;
        return 0;
}

static int fake_policy(struct pld_os_policy *out)
{
        int error = pld_fake_trip(PLD_FAKE_POLICY);
        if (error || !pld_fake.has_numa)
                return error ? error : -ENOSYS;
        *out = pld_fake.policy;
        return 0;
}

static int fake_cpus_of_node(int id, cpu_set_t *out)
{
        if (!pld_fake.nodes[id].exists)
                return -ENOENT;
        CPU_ZERO(out);
        for (unsigned i = 0; i < pld_fake.nodes[id].ncpus; i++)
                CPU_SET(pld_fake.nodes[id].first_cpu + i, out);
        return 0;
}

static int fake_cpus_allowed(cpu_set_t *out)
{
        *out = pld_fake.cpus;
        return 0;
}

static int fake_distances(int id, uint8_t row[PLD_NODE_IDS])
{
        int error = pld_fake_trip(PLD_FAKE_DISTANCES);
        if (error)
                return error;
        for (int other = 0; other < PLD_NODE_IDS; other++)
                row[other] = pld_fake.nodes[other].exists ? pld_fake.nodes[id].distance[other] : 0;
        return 0;
}

static unsigned fake_weight(int id)
{
        return pld_fake.nodes[id].weight;
}

static int fake_memory(int id, struct pld_os_memory *out)
{
        *out = (struct pld_os_memory){ 0 };
        if (!pld_fake.has_numa)
                return -ENOSYS;
        pld_lock(&pld_fake.lock);
        for (int i = id < 0 ? 0 : id; i < (id < 0 ? PLD_NODE_IDS : id + 1); i++) {
                out->total += pld_fake.nodes[i].total;
                out->available += pld_fake.nodes[i].nfree;
        }
        pld_unlock(&pld_fake.lock);
        return 0;
}

static int fake_cgroup_memory(struct pld_os_memory *out)
{
        size_t limit = pld_load_relaxed(&pld_fake.cgroup_limit);
        if (limit == 0)
                return -ENOENT;
        pld_lock(&pld_fake.lock);
        *out = (struct pld_os_memory){ .total = limit };
        size_t used = 0;
        for (int i = 0; i < PLD_NODE_IDS; i++)
                used += pld_fake.nodes[i].total - pld_fake.nodes[i].nfree;
        out->available = used < limit ? limit - used : 0;
        pld_unlock(&pld_fake.lock);
        return 0;
}

int pld_fake_pool_free(int id, enum pld_backing kind, size_t *n)
{
        *n = 0;
        pld_lock(&pld_fake.lock);
        for (int i = id < 0 ? 0 : id; i < (id < 0 ? PLD_NODE_IDS : id + 1); i++)
                *n += kind == PLD_BACKING_1G ? pld_fake.nodes[i].gigantic : pld_fake.nodes[i].pool;
        pld_unlock(&pld_fake.lock);
        return 0;
}

static bool fake_supports(enum pld_backing kind)
{
        return pld_fake.supports[kind];
}

static const _Atomic uint32_t *fake_cpu_at(void)
{
        return pld_fake.hides_cpu ? NULL : &current_cpu;
}

int pld_fake_node_here(int *cpu)
{
        *cpu = pld_fake_cpu();
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (pld_fake.nodes[id].exists &&
                    (unsigned)*cpu - pld_fake.nodes[id].first_cpu < pld_fake.nodes[id].ncpus)
                        return id;
        return -ENOSYS;
}

/* --- threads ---------------------------------------------------------------------- */

static int fake_thread_create(pthread_t *out, size_t stack_bytes, void *(*fn)(void *), void *arg)
{
        int error = pld_fake_trip(PLD_FAKE_THREAD_CREATE);
        return error ? error : pld_os_linux.thread_create(out, stack_bytes, fn, arg);
}

static void fake_thread_be_prompt(void)
{
        pld_os_linux.thread_be_prompt();
}

static void fake_thread_be_patient(void)
{
        pld_os_linux.thread_be_patient();
}

static int fake_barrier_everywhere(void)
{
        int error = pld_fake_trip(PLD_FAKE_BARRIER);
        return error ? error : pld_os_linux.barrier_everywhere();
}

static void fake_thread_settle(const char *name, const cpu_set_t *on)
{
        cpu_set_t none;
        CPU_ZERO(&none);
        pld_os_linux.thread_settle(name, &none);
        for (size_t cpu = CPU_SETSIZE; cpu-- > 0;)
                if (CPU_ISSET(cpu, on))
                        pld_fake_run_on((int)cpu);
}

static struct pld_os fake = {
        .nodes_with_memory = fake_nodes_with_memory,
        .nodes_allowed = fake_nodes_allowed,
        .policy = fake_policy,
        .cpus_of_node = fake_cpus_of_node,
        .cpus_allowed = fake_cpus_allowed,
        .distances = fake_distances,
        .weight = fake_weight,
        .memory = fake_memory,
        .cgroup_memory = fake_cgroup_memory,
        .pool_free = pld_fake_pool_free,
        .supports = fake_supports,
        .cpu = pld_fake_cpu,
        .cpu_at = fake_cpu_at,
        .node_here = pld_fake_node_here,
        .thread_create = fake_thread_create,
        .thread_settle = fake_thread_settle,
        .thread_be_prompt = fake_thread_be_prompt,
        .thread_be_patient = fake_thread_be_patient,
        .barrier_everywhere = fake_barrier_everywhere,
};

static void seize(void)
{
        pld_lock_seize(&pld_fake.lock);
}

static void cede(void)
{
        pld_lock_cede(&pld_fake.lock);
}

void pld_fake_install(void)
{
        pld_fake_pages_fill(&fake);
        pld_os = &fake;
        pthread_atfork(seize, cede, cede); /* a child must not find it held by nobody */
}
