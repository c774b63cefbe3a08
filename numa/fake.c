/* fake.c: the contract of os.h, by tables.
 *
 * Real memory comes from os_linux.c; everything else is made up. Pages are
 * remembered by huge page, in one table that is searched from the end: tests map
 * tens of them, not thousands. A page's entry goes with it when a pool mapping
 * is moved.
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

#include <errno.h>
#include <pthread.h>
#include <limits.h>
#include <string.h>

enum { MAX_PAGES = 1 << 16, MAX_BINDINGS = 4096, MAX_POOLS = 64 };

struct fake_node {
        bool exists;
        size_t total, nfree, pool, gigantic, huge, collapsible;
        unsigned weight, first_cpu, ncpus;
        uint8_t distance[PLD_NODE_IDS];
};

struct fake_page { /* one populated huge page */
        uintptr_t at;
        int id;
        enum pld_backing pool; /* NONE: it is from free memory */
        bool is_huge, is_locked;
};

struct fake_binding {
        uintptr_t at, end;
        int id;
};

struct fake_pool { /* a mapping of pool pages, not yet moved into place */
        uintptr_t at;
        size_t nbytes;
        enum pld_backing kind;
};

struct failure {
        unsigned calls, skip, times;
        int error;
};

static struct pld_lock lock = PLD_LOCK_INIT(PLD_RANK_LEAF);
static struct fake_node nodes[PLD_NODE_IDS];
static struct fake_page pages[MAX_PAGES];
static size_t npages;
static struct fake_binding bindings[MAX_BINDINGS];
static size_t nbindings;
static struct fake_pool pools[MAX_POOLS]; /* nbytes 0: free */
static struct failure failures[PLD_FAKE_CALLS];
static struct pld_os_policy policy;
static struct pld_node_set allowed;
static cpu_set_t cpus;
static bool has_numa, all_nodes, supports[PLD_BACKING_KINDS];
static unsigned ncpus, nastray;
static int astray_id;
static _Atomic size_t cgroup_limit;
static size_t reserve_limit, lock_limit, locked_bytes;
static const char *disaster;
static void (*before_populate)(void);
static _Thread_local _Atomic uint32_t current_cpu;
static bool hides_cpu;

/* --- setting it up ---------------------------------------------------------------- */

static void parse_into(const char *list, uint64_t *words, size_t nbits)
{
        PLD_CHECK(pld_parse_set(list, words, nbits) == 0);
}

void pld_fake_reset(void)
{
        memset(nodes, 0, sizeof nodes);
        memset(failures, 0, sizeof failures);
        memset(pools, 0, sizeof pools);
        npages = nbindings = 0;
        policy = (struct pld_os_policy){ .kind = PLD_POLICY_LOCAL };
        has_numa = false;
        all_nodes = true;
        ncpus = nastray = 0;
        CPU_ZERO(&cpus);
        reserve_limit = 64 * PLD_GIB;
        pld_store_relaxed(&cgroup_limit, 0);
        lock_limit = SIZE_MAX;
        locked_bytes = 0;
        disaster = NULL;
        before_populate = NULL;
        pld_store_relaxed(&current_cpu, 0);
        hides_cpu = false;
        for (int kind = 0; kind < PLD_BACKING_KINDS; kind++)
                supports[kind] = true;
}

void pld_fake_add_node(int id, unsigned n, size_t nbytes)
{
        struct fake_node *node = &nodes[id];
        *node = (struct fake_node){ .exists = true,
                                    .total = nbytes,
                                    .nfree = nbytes,
                                    .huge = SIZE_MAX,
                                    .weight = 1,
                                    .first_cpu = ncpus,
                                    .ncpus = n };
        for (int other = 0; other < PLD_NODE_IDS; other++) {
                node->distance[other] = other == id ? 10 : 20;
                nodes[other].distance[id] = node->distance[other];
        }
        for (unsigned i = 0; i < n; i++)
                CPU_SET(ncpus + i, &cpus);
        ncpus += n;
        has_numa = true;
}

void pld_fake_set_distance(int id, int other, uint8_t distance)
{
        nodes[id].distance[other] = nodes[other].distance[id] = distance;
}

void pld_fake_allow_nodes(const char *list)
{
        all_nodes = !list;
        if (list)
                parse_into(list, allowed.words, PLD_NODE_IDS);
}

void pld_fake_allow_cpus(const char *list)
{
        uint64_t words[CPU_SETSIZE / 64];
        parse_into(list, words, CPU_SETSIZE);
        memcpy(&cpus, words, sizeof cpus);
}

void pld_fake_set_policy(enum pld_policy kind, const char *list)
{
        policy.kind = kind;
        if (list)
                parse_into(list, policy.nodes.words, PLD_NODE_IDS);
}

void pld_fake_set_weight(int id, unsigned weight)
{
        nodes[id].weight = weight;
        policy.weighted = true;
}

void pld_fake_set_pool(int id, size_t n)
{
        nodes[id].pool = n;
}

void pld_fake_set_gigantic(int id, size_t n)
{
        nodes[id].gigantic = n;
}

void pld_fake_set_free(int id, size_t nbytes)
{
        nodes[id].nfree = nbytes;
}

void pld_fake_set_huge(int id, size_t nfree, size_t ncollapsible)
{
        nodes[id].huge = nfree;
        nodes[id].collapsible = ncollapsible;
}

void pld_fake_unplug(int id)
{
        nodes[id].total = nodes[id].nfree = nodes[id].pool = 0;
}

void pld_fake_set_support(enum pld_backing kind, bool has)
{
        supports[kind] = has;
}

void pld_fake_set_cgroup(size_t nbytes)
{
        pld_store_relaxed(&cgroup_limit, nbytes);
}

void pld_fake_set_reserve_limit(size_t nbytes)
{
        reserve_limit = nbytes;
}

void pld_fake_set_lock_limit(size_t nbytes)
{
        lock_limit = nbytes;
}

void pld_fake_run_on(int cpu)
{
        pld_store_relaxed(&current_cpu, (uint32_t)cpu);
}

void pld_fake_hide_cpu(void)
{
        hides_cpu = true;
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

void pld_fake_misplace(unsigned n, int id)
{
        nastray = n;
        astray_id = id;
}

void pld_fake_before_populate(void (*fn)(void))
{
        before_populate = fn;
}

/* --- looking at it ---------------------------------------------------------------- */

unsigned pld_fake_calls(enum pld_fake_call call)
{
        return failures[call].calls;
}

size_t pld_fake_free_bytes(int id)
{
        return nodes[id].nfree;
}

size_t pld_fake_pool(int id)
{
        return nodes[id].pool;
}

size_t pld_fake_gigantic(int id)
{
        return nodes[id].gigantic;
}

size_t pld_fake_locked_bytes(void)
{
        return locked_bytes;
}

const char *pld_fake_disaster(void)
{
        return disaster;
}

static struct fake_page *page_at(uintptr_t at)
{
        static size_t last; /* found: the next question is often about the same page */
        uintptr_t huge = pld_round_down(at, PLD_HUGE_BYTES);
        if (last < npages && pages[last].at == huge)
                return &pages[last];
        for (last = npages; last-- > 0;)
                if (pages[last].at == huge)
                        return &pages[last];
        return NULL;
}

static struct fake_binding *binding_of(uintptr_t at);

int pld_fake_node_of(const void *at)
{
        pld_lock(&lock);
        struct fake_page *page = page_at((uintptr_t)at);
        struct fake_binding *binding = binding_of((uintptr_t)at);
        int id = page ? page->id : binding ? binding->id : -ENOENT;
        pld_unlock(&lock);
        return id;
}

/* --- the machinery of failing ----------------------------------------------------- */

/* 0, or the -errno with which this call fails. */
static int trip(enum pld_fake_call call)
{
        struct failure *failure = &failures[call];
        int error = 0;
        pld_lock(&lock);
        failure->calls++;
        if (failure->skip > 0)
                failure->skip--;
        else if (failure->times > 0)
                error = -failure->error;
        if (error && failure->times != UINT_MAX)
                failure->times--;
        pld_unlock(&lock);
        return error;
}

static void *trip_pointer(enum pld_fake_call call, void *(*real)(size_t), size_t nbytes)
{
        int error = trip(call);
        if (!error)
                return real(nbytes);
        errno = -error;
        return NULL;
}

/* --- what the machine is ---------------------------------------------------------- */

static int fake_nodes_with_memory(struct pld_node_set *out)
{
        if (!has_numa)
                return -ENOSYS;
        *out = (struct pld_node_set){ { 0 } };
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (nodes[id].exists && nodes[id].total > 0)
                        pld_node_set_add(out, id);
        return 0;
}

static int fake_nodes_allowed(struct pld_node_set *out)
{
        int error = trip(PLD_FAKE_NODES_ALLOWED);
        if (error || !has_numa)
                return error ? error : -ENOSYS;
        if (all_nodes)
                return fake_nodes_with_memory(out);
        *out = allowed;
        return 0;
}

static int fake_policy(struct pld_os_policy *out)
{
        int error = trip(PLD_FAKE_POLICY);
        if (error || !has_numa)
                return error ? error : -ENOSYS;
        *out = policy;
        return 0;
}

static int fake_cpus_of_node(int id, cpu_set_t *out)
{
        if (!nodes[id].exists)
                return -ENOENT;
        CPU_ZERO(out);
        for (unsigned i = 0; i < nodes[id].ncpus; i++)
                CPU_SET(nodes[id].first_cpu + i, out);
        return 0;
}

static int fake_cpus_allowed(cpu_set_t *out)
{
        *out = cpus;
        return 0;
}

static int fake_distances(int id, uint8_t row[PLD_NODE_IDS])
{
        int error = trip(PLD_FAKE_DISTANCES);
        if (error)
                return error;
        for (int other = 0; other < PLD_NODE_IDS; other++)
                row[other] = nodes[other].exists ? nodes[id].distance[other] : 0;
        return 0;
}

static unsigned fake_weight(int id)
{
        return nodes[id].weight;
}

static int fake_memory(int id, struct pld_os_memory *out)
{
        *out = (struct pld_os_memory){ 0 };
        if (!has_numa)
                return -ENOSYS;
        pld_lock(&lock);
        for (int i = id < 0 ? 0 : id; i < (id < 0 ? PLD_NODE_IDS : id + 1); i++) {
                out->total += nodes[i].total;
                out->available += nodes[i].nfree;
        }
        pld_unlock(&lock);
        return 0;
}

static int fake_cgroup_memory(struct pld_os_memory *out)
{
        size_t limit = pld_load_relaxed(&cgroup_limit);
        if (limit == 0)
                return -ENOENT;
        pld_lock(&lock);
        *out = (struct pld_os_memory){ .total = limit };
        size_t used = 0;
        for (int i = 0; i < PLD_NODE_IDS; i++)
                used += nodes[i].total - nodes[i].nfree;
        out->available = used < limit ? limit - used : 0;
        pld_unlock(&lock);
        return 0;
}

static int fake_pool_free(int id, enum pld_backing kind, size_t *n)
{
        *n = 0;
        pld_lock(&lock);
        for (int i = id < 0 ? 0 : id; i < (id < 0 ? PLD_NODE_IDS : id + 1); i++)
                *n += kind == PLD_BACKING_1G ? nodes[i].gigantic : nodes[i].pool;
        pld_unlock(&lock);
        return 0;
}

static bool fake_supports(enum pld_backing kind)
{
        return supports[kind];
}

static const _Atomic uint32_t *fake_cpu_at(void)
{
        return hides_cpu ? NULL : &current_cpu;
}

static int fake_node_here(int *cpu)
{
        *cpu = pld_fake_cpu();
        for (int id = 0; id < PLD_NODE_IDS; id++)
                if (nodes[id].exists &&
                    (unsigned)*cpu - nodes[id].first_cpu < nodes[id].ncpus)
                        return id;
        return -ENOSYS;
}

/* --- addresses and pages ---------------------------------------------------------- */

static size_t fake_reserve_limit(void)
{
        return SIZE_MAX;
}

static void *fake_reserve(size_t nbytes)
{
        if (nbytes > reserve_limit)
                return NULL;
        return trip_pointer(PLD_FAKE_RESERVE, pld_os_linux.reserve, nbytes);
}

static void *fake_map(size_t nbytes)
{
        return trip_pointer(PLD_FAKE_MAP, pld_os_linux.map, nbytes);
}

static void *fake_map_sparse(size_t nbytes)
{
        return trip_pointer(PLD_FAKE_MAP, pld_os_linux.map_sparse, nbytes);
}

static int fake_open_sparse(void *at, size_t nbytes)
{
        int error = trip(PLD_FAKE_OPEN_SPARSE);
        return error ? error : pld_os_linux.open_sparse(at, nbytes);
}

static struct fake_pool *pool_of(uintptr_t at)
{
        for (size_t i = 0; i < MAX_POOLS; i++)
                if (at == pools[i].at || at - pools[i].at < pools[i].nbytes)
                        return &pools[i];
        return NULL;
}

static void forget_pool(uintptr_t at)
{
        struct fake_pool *pool = pool_of(at);
        if (pool)
                *pool = (struct fake_pool){ 0, 0, PLD_BACKING_NONE };
}

/* As in the kernel: a reservation asks whether the pool has enough on any node. */
static void *fake_map_pool(size_t nbytes, enum pld_backing kind)
{
        size_t n, page_bytes = kind == PLD_BACKING_1G ? PLD_GIB : PLD_HUGE_BYTES;
        fake_pool_free(-1, kind, &n);
        if (n * page_bytes < nbytes) {
                errno = ENOMEM;
                return NULL;
        }
        char *raw = trip_pointer(PLD_FAKE_MAP_POOL, pld_os_linux.reserve, nbytes + page_bytes);
        if (!raw)
                return NULL;
        char *at = (char *)pld_round_up((uintptr_t)raw, page_bytes);
        if (at > raw)
                pld_os_linux.unmap(raw, (size_t)(at - raw));
        pld_os_linux.unmap(at + nbytes, page_bytes - (size_t)(at - raw));
        pld_lock(&lock);
        struct fake_pool *pool = pool_of(0); /* a free one */
        PLD_CHECK(pool);
        *pool = (struct fake_pool){ (uintptr_t)at, nbytes, kind };
        pld_unlock(&lock);
        return at;
}

static struct fake_binding *binding_of(uintptr_t at)
{
        for (size_t i = nbindings; i-- > 0;)
                if (at - bindings[i].at < bindings[i].end - bindings[i].at)
                        return &bindings[i];
        return NULL;
}

static void forget_page(const struct fake_page *page)
{
        struct fake_node *node = &nodes[page->id];
        if (page->pool == PLD_BACKING_1G)
                node->gigantic += page->at % PLD_GIB == 0; /* the first of its 512 */
        else if (page->pool == PLD_BACKING_2M)
                node->pool++;
        else
                node->nfree += PLD_HUGE_BYTES;
        if (!page->pool && page->is_huge && node->huge != SIZE_MAX)
                node->huge++;
        locked_bytes -= page->is_locked ? PLD_HUGE_BYTES : 0;
}

static void forget_pages(uintptr_t at, size_t nbytes)
{
        for (size_t i = npages; i-- > 0;) {
                if (pages[i].at - at >= nbytes)
                        continue;
                forget_page(&pages[i]);
                pages[i] = pages[--npages];
        }
}

/* A hugetlb page is taken apart by nothing. */
static bool cuts_gigantic(uintptr_t at, size_t nbytes)
{
        bool cuts = false;
        pld_lock(&lock);
        for (size_t i = 0; i < npages && !cuts; i++)
                cuts = pages[i].pool == PLD_BACKING_1G && pages[i].at - at < nbytes &&
                       (at | nbytes) % PLD_GIB;
        if (cuts)
                disaster = "a part of a 1G page was to be given back";
        pld_unlock(&lock);
        return cuts;
}

/* Bindings are cut to what remains of them. */
static void forget_bindings(uintptr_t at, size_t nbytes)
{
        uintptr_t end = at + nbytes;
        for (size_t i = nbindings; i-- > 0;) {
                struct fake_binding *b = &bindings[i];
                if (b->end <= at || b->at >= end)
                        continue;
                if (b->at < at && b->end > end && nbindings < MAX_BINDINGS)
                        bindings[nbindings++] = (struct fake_binding){ end, b->end, b->id };
                if (b->at < at)
                        b->end = at;
                else if (b->end > end)
                        b->at = end;
                else
                        *b = bindings[--nbindings];
        }
}

static void forget(uintptr_t at, size_t nbytes)
{
        pld_lock(&lock);
        forget_pages(at, nbytes);
        forget_bindings(at, nbytes);
        pld_unlock(&lock);
}

static int fake_unmap(void *at, size_t nbytes)
{
        forget((uintptr_t)at, nbytes);
        pld_lock(&lock);
        forget_pool((uintptr_t)at);
        pld_unlock(&lock);
        return pld_os_linux.unmap(at, nbytes);
}

static int fake_open(void *at, size_t nbytes)
{
        int error = trip(PLD_FAKE_OPEN);
        return error ? error : pld_os_linux.open(at, nbytes);
}

static int fake_close(void *at, size_t nbytes)
{
        int error = trip(PLD_FAKE_CLOSE);
        if (!error && cuts_gigantic((uintptr_t)at, nbytes))
                error = -EINVAL;
        if (error)
                return error;
        forget((uintptr_t)at, nbytes);
        return pld_os_linux.close(at, nbytes);
}

static int fake_drop(void *at, size_t nbytes)
{
        if (cuts_gigantic((uintptr_t)at, nbytes))
                return -EINVAL;
        pld_lock(&lock);
        if (nbytes >= PLD_HUGE_BYTES) /* a part of one is not in the books */
                forget_pages((uintptr_t)at, nbytes);
        pld_unlock(&lock);
        return pld_os_linux.drop(at, nbytes);
}

/* The real memory at both places is ordinary: only the books are moved. */
static int fake_move(void *from, void *to, size_t nbytes)
{
        int error = trip(PLD_FAKE_MOVE);
        if (!error)
                error = pld_os_linux.open(to, nbytes);
        if (error)
                return error;
        pld_lock(&lock);
        for (size_t i = 0; i < npages; i++)
                if (pages[i].at - (uintptr_t)from < nbytes)
                        pages[i].at += (uintptr_t)to - (uintptr_t)from;
        forget_bindings((uintptr_t)from, nbytes);
        forget_pool((uintptr_t)from);
        pld_unlock(&lock);
        return pld_os_linux.unmap(from, nbytes);
}

static bool is_allowed(int id)
{
        return nodes[id].total > 0 && (all_nodes || pld_node_set_has(&allowed, id));
}

static int fake_bind(void *raw, size_t nbytes, int id)
{
        int error = trip(PLD_FAKE_BIND);
        if (error)
                return error;
        if (!has_numa)
                return -ENOSYS;
        if (!is_allowed(id))
                return -EINVAL;
        uintptr_t at = (uintptr_t)raw;
        pld_lock(&lock);
        struct fake_binding *old = binding_of(at);
        if (old && old->at == at && old->end == at + nbytes)
                old->id = id;
        else if (nbindings < MAX_BINDINGS)
                bindings[nbindings++] = (struct fake_binding){ at, at + nbytes, id };
        else
                error = -ENOMEM;
        pld_unlock(&lock);
        return error;
}

/* One huge page to a node; false: there is no room for it. */
static bool rebind_page(struct fake_page *page, int id)
{
        struct fake_node *from = &nodes[page->id], *to = &nodes[id];
        if (page->pool == PLD_BACKING_2M ? to->pool == 0 : to->nfree < PLD_HUGE_BYTES)
                return false;
        if (page->pool == PLD_BACKING_2M) {
                from->pool++;
                to->pool--;
        } else {
                from->nfree += PLD_HUGE_BYTES;
                to->nfree -= PLD_HUGE_BYTES;
        }
        page->id = id;
        return true;
}

/* As in the kernel: after -EIO all is bound, and some of it has been moved. */
static int fake_rebind(void *raw, size_t nbytes, int id)
{
        int injected = trip(PLD_FAKE_REBIND);
        if (injected && injected != -EIO)
                return injected;
        if (!is_allowed(id))
                return -EINVAL;
        uintptr_t at = (uintptr_t)raw;
        int error = injected;
        pld_lock(&lock);
        forget_bindings(at, nbytes);
        PLD_CHECK(nbindings < MAX_BINDINGS);
        bindings[nbindings++] = (struct fake_binding){ at, at + nbytes, id };
        size_t nstay = injected ? 1 : 0;
        for (size_t i = 0; i < npages; i++) {
                if (pages[i].at - at >= nbytes || pages[i].id == id)
                        continue;
                if (nstay > 0)
                        nstay--;
                else if (!rebind_page(&pages[i], id))
                        error = -EIO;
        }
        pld_unlock(&lock);
        return error;
}

static int fake_advise(void *at, size_t nbytes, bool huge)
{
        (void)at;
        (void)nbytes;
        (void)huge;
        return trip(PLD_FAKE_ADVISE);
}

static int node_for(uintptr_t at)
{
        int cpu;
        struct fake_binding *binding = binding_of(at);
        if (nastray > 0) {
                nastray--;
                return astray_id;
        }
        return binding ? binding->id : fake_node_here(&cpu);
}

/* One huge page; the faults it took, 0: there is no memory. */
static size_t populate_page(uintptr_t at, enum pld_backing pool)
{
        enum { FAULTS_BASE = 512 };
        int id = node_for(at);
        if (id < 0)
                return 0;
        struct fake_node *node = &nodes[id];
        bool first = pool == PLD_BACKING_1G && at % PLD_GIB == 0;
        if ((first && node->gigantic == 0) || (pool == PLD_BACKING_2M && node->pool == 0) ||
            (!pool && node->nfree < PLD_HUGE_BYTES)) {
                if (!pool)
                        disaster = "the OOM killer"; /* F1 */
                return 0;
        }
        PLD_CHECK(npages < MAX_PAGES);
        bool is_huge = pool || node->huge > 0;
        pages[npages++] = (struct fake_page){ at, id, pool, is_huge, false };
        if (pool == PLD_BACKING_2M)
                node->pool--;
        else if (!pool)
                node->nfree -= PLD_HUGE_BYTES;
        node->gigantic -= first;
        if (!pool && is_huge && node->huge != SIZE_MAX)
                node->huge--;
        return is_huge ? 1 : FAULTS_BASE;
}

static int fake_populate(void *raw, size_t nbytes, size_t *faults)
{
        int error = trip(PLD_FAKE_POPULATE);
        if (error)
                return error;
        void (*fn)(void) = before_populate;
        before_populate = NULL;
        if (fn)
                fn();
        uintptr_t at = (uintptr_t)raw;
        pld_lock(&lock);
        struct fake_pool *pool = pool_of(at);
        enum pld_backing kind = pool ? pool->kind : PLD_BACKING_NONE;
        *faults = 0;
        for (uintptr_t to = at & ~(PLD_HUGE_BYTES - 1); to < at + nbytes && !error;
             to += PLD_HUGE_BYTES) {
                if (page_at(to))
                        continue;
                size_t n = populate_page(to, kind);
                *faults += n;
                if (n == 0)
                        error = -EFAULT;
        }
        pld_unlock(&lock);
        return error;
}

/* Real addresses: what a test touched is there. */
static int fake_resident(void *at, size_t nbytes, size_t *out)
{
        return pld_os_linux.resident(at, nbytes, out);
}

static int fake_collapse(void *raw, size_t nbytes)
{
        int error = trip(PLD_FAKE_COLLAPSE);
        pld_lock(&lock);
        for (size_t i = 0; i < nbytes && !error; i += PLD_HUGE_BYTES) {
                uintptr_t at = (uintptr_t)raw + i;
                if (!page_at(at)) /* it came by a touch that nobody saw */
                        populate_page(at, PLD_BACKING_NONE);
                struct fake_page *page = page_at(at);
                if (!page)
                        error = -ENOMEM;
                else if (!page->is_huge && nodes[page->id].collapsible == 0)
                        error = -ENOMEM;
                else if (!page->is_huge) {
                        nodes[page->id].collapsible--;
                        page->is_huge = true;
                }
        }
        pld_unlock(&lock);
        return error;
}

static int fake_lock(void *raw, size_t nbytes)
{
        int error = trip(PLD_FAKE_LOCK);
        pld_lock(&lock);
        if (!error && nbytes > lock_limit - locked_bytes)
                error = -ENOMEM;
        for (size_t i = 0; i < nbytes && !error; i += PLD_HUGE_BYTES) {
                struct fake_page *page = page_at((uintptr_t)raw + i);
                if (page && !page->is_locked)
                        locked_bytes += PLD_HUGE_BYTES;
                if (page)
                        page->is_locked = true;
        }
        pld_unlock(&lock);
        return error;
}

static size_t fake_lock_limit(void)
{
        return lock_limit;
}

static int fake_nodes_of(void **at, size_t n, int *ids)
{
        int error = trip(PLD_FAKE_NODES_OF);
        if (error)
                return error;
        for (size_t i = 0; i < n; i++)
                ids[i] = pld_fake_node_of(at[i]);
        return 0;
}

/* --- threads ---------------------------------------------------------------------- */

static int fake_thread_create(pthread_t *out, size_t stack_bytes, void *(*fn)(void *), void *arg)
{
        int error = trip(PLD_FAKE_THREAD_CREATE);
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
        return pld_os_linux.barrier_everywhere();
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

static const struct pld_os fake = {
        .nodes_with_memory = fake_nodes_with_memory,
        .nodes_allowed = fake_nodes_allowed,
        .policy = fake_policy,
        .cpus_of_node = fake_cpus_of_node,
        .cpus_allowed = fake_cpus_allowed,
        .distances = fake_distances,
        .weight = fake_weight,
        .memory = fake_memory,
        .cgroup_memory = fake_cgroup_memory,
        .pool_free = fake_pool_free,
        .supports = fake_supports,
        .cpu = pld_fake_cpu,
        .cpu_at = fake_cpu_at,
        .node_here = fake_node_here,
        .reserve_limit = fake_reserve_limit,
        .reserve = fake_reserve,
        .unmap = fake_unmap,
        .open = fake_open,
        .close = fake_close,
        .drop = fake_drop,
        .map = fake_map,
        .map_sparse = fake_map_sparse,
        .open_sparse = fake_open_sparse,
        .map_pool = fake_map_pool,
        .move = fake_move,
        .bind = fake_bind,
        .rebind = fake_rebind,
        .advise = fake_advise,
        .populate = fake_populate,
        .collapse = fake_collapse,
        .resident = fake_resident,
        .lock = fake_lock,
        .lock_limit = fake_lock_limit,
        .nodes_of = fake_nodes_of,
        .thread_create = fake_thread_create,
        .thread_settle = fake_thread_settle,
        .thread_be_prompt = fake_thread_be_prompt,
        .thread_be_patient = fake_thread_be_patient,
        .barrier_everywhere = fake_barrier_everywhere,
};

static void seize(void)
{
        pld_lock_seize(&lock);
}

static void cede(void)
{
        pld_lock_cede(&lock);
}

void pld_fake_install(void)
{
        pld_os = &fake;
        pthread_atfork(seize, cede, cede); /* a child must not find it held by nobody */
}
