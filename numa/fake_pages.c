/* fake_pages.c: the fake machine's addresses and pages.
 *
 * Pages are remembered by huge page, in one table that is searched from the end: tests map
 * tens of them, not thousands. A page's entry goes with it when a pool mapping is moved.
 * Addresses are real ones, of ordinary memory.
 *
 * fake.c has the invariants. */
#include "numa/fake_inside.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"

#include <errno.h>
#include <string.h>

enum { MAX_PAGES = 1 << 16, MAX_BINDINGS = 4096, MAX_POOLS = 64 };

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

static struct fake_page pages[MAX_PAGES];
static size_t npages;
static struct fake_binding bindings[MAX_BINDINGS];
static size_t nbindings;
static struct fake_pool pools[MAX_POOLS]; /* nbytes 0: free */
static unsigned nastray;
static int astray_id;
static size_t locked_bytes;
static const char *disaster;
static void (*before_populate)(void);

/* --- the books: the caller has the lock --------------------------------------------- */

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

static struct fake_binding *binding_of(uintptr_t at)
{
        for (size_t i = nbindings; i-- > 0;)
                if (at - bindings[i].at < bindings[i].end - bindings[i].at)
                        return &bindings[i];
        return NULL;
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

static void forget_page(const struct fake_page *page)
{
        struct pld_fake_node *node = &pld_fake.nodes[page->id];
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

static int node_for(uintptr_t at)
{
        int cpu;
        struct fake_binding *binding = binding_of(at);
        if (nastray > 0) {
                nastray--;
                return astray_id;
        }
        return binding ? binding->id : pld_fake_node_here(&cpu);
}

/* One huge page; the faults it took, 0: there is no memory. */
static size_t populate_page(uintptr_t at, enum pld_backing pool)
{
        enum { FAULTS_BASE = 512 };
        int id = node_for(at);
        if (id < 0)
                return 0;
        struct pld_fake_node *node = &pld_fake.nodes[id];
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

/* One huge page to a node; false: there is no room for it. */
static bool rebind_page(struct fake_page *page, int id)
{
        struct pld_fake_node *from = &pld_fake.nodes[page->id], *to = &pld_fake.nodes[id];
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

/* --- setting up, and looking --------------------------------------------------------- */

void pld_fake_pages_reset(void)
{
        memset(pools, 0, sizeof pools);
        npages = nbindings = locked_bytes = 0;
        nastray = 0;
        disaster = NULL;
        before_populate = NULL;
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

size_t pld_fake_locked_bytes(void)
{
        return locked_bytes;
}

const char *pld_fake_disaster(void)
{
        return disaster;
}

int pld_fake_node_of(const void *at)
{
        pld_lock(&pld_fake.lock);
        struct fake_page *page = page_at((uintptr_t)at);
        struct fake_binding *binding = binding_of((uintptr_t)at);
        int id = page ? page->id : binding ? binding->id : -ENOENT;
        pld_unlock(&pld_fake.lock);
        return id;
}

/* --- the calls ------------------------------------------------------------------------ */

static size_t fake_reserve_limit(void)
{
        return SIZE_MAX;
}

static void *fake_reserve(size_t nbytes)
{
        if (nbytes > pld_fake.reserve_limit)
                return NULL;
        return pld_fake_trip_pointer(PLD_FAKE_RESERVE, pld_os_linux.reserve, nbytes);
}

static void *fake_map(size_t nbytes)
{
        return pld_fake_trip_pointer(PLD_FAKE_MAP, pld_os_linux.map, nbytes);
}

static void *fake_map_sparse(size_t nbytes)
{
        return pld_fake_trip_pointer(PLD_FAKE_MAP, pld_os_linux.map_sparse, nbytes);
}

static int fake_open_sparse(void *at, size_t nbytes)
{
        int error = pld_fake_trip(PLD_FAKE_OPEN_SPARSE);
        return error ? error : pld_os_linux.open_sparse(at, nbytes);
}

/* As in the kernel: a reservation asks whether the pool has enough on any node. */
static void *fake_map_pool(size_t nbytes, enum pld_backing kind)
{
        size_t n, page_bytes = pld_backing_unit_bytes(kind);
        pld_fake_pool_free(-1, kind, &n);
        if (n * page_bytes < nbytes) {
                errno = ENOMEM;
                return NULL;
        }
        char *raw = pld_fake_trip_pointer(PLD_FAKE_MAP_POOL, pld_os_linux.reserve,
                                          nbytes + page_bytes);
        if (!raw)
                return NULL;
        char *at = (char *)pld_round_up((uintptr_t)raw, page_bytes);
        if (at > raw)
                pld_os_linux.unmap(raw, (size_t)(at - raw));
        pld_os_linux.unmap(at + nbytes, page_bytes - (size_t)(at - raw));
        pld_lock(&pld_fake.lock);
        struct fake_pool *pool = pool_of(0); /* a free one */
        PLD_CHECK(pool);
        *pool = (struct fake_pool){ (uintptr_t)at, nbytes, kind };
        pld_unlock(&pld_fake.lock);
        return at;
}

static void forget(uintptr_t at, size_t nbytes)
{
        pld_lock(&pld_fake.lock);
        forget_pages(at, nbytes);
        forget_bindings(at, nbytes);
        pld_unlock(&pld_fake.lock);
}

/* A hugetlb page is taken apart by nothing. */
static bool cuts_gigantic(uintptr_t at, size_t nbytes)
{
        bool cuts = false;
        pld_lock(&pld_fake.lock);
        for (size_t i = 0; i < npages && !cuts; i++)
                cuts = pages[i].pool == PLD_BACKING_1G && pages[i].at - at < nbytes &&
                       (at | nbytes) % PLD_GIB;
        if (cuts)
                disaster = "a part of a 1G page was to be given back";
        pld_unlock(&pld_fake.lock);
        return cuts;
}

static int fake_unmap(void *at, size_t nbytes)
{
        forget((uintptr_t)at, nbytes);
        pld_lock(&pld_fake.lock);
        forget_pool((uintptr_t)at);
        pld_unlock(&pld_fake.lock);
        return pld_os_linux.unmap(at, nbytes);
}

static int fake_open(void *at, size_t nbytes)
{
        int error = pld_fake_trip(PLD_FAKE_OPEN);
        return error ? error : pld_os_linux.open(at, nbytes);
}

static int fake_close(void *at, size_t nbytes)
{
        int error = pld_fake_trip(PLD_FAKE_CLOSE);
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
        pld_lock(&pld_fake.lock);
        if (nbytes >= PLD_HUGE_BYTES) /* a part of one is not in the books */
                forget_pages((uintptr_t)at, nbytes);
        pld_unlock(&pld_fake.lock);
        return pld_os_linux.drop(at, nbytes);
}

/* The real memory at both places is ordinary: only the books are moved. */
static int fake_move(void *from, void *to, size_t nbytes)
{
        int error = pld_fake_trip(PLD_FAKE_MOVE);
        if (!error)
                error = pld_os_linux.open(to, nbytes);
        if (error)
                return error;
        pld_lock(&pld_fake.lock);
        for (size_t i = 0; i < npages; i++)
                if (pages[i].at - (uintptr_t)from < nbytes)
                        pages[i].at += (uintptr_t)to - (uintptr_t)from;
        forget_bindings((uintptr_t)from, nbytes);
        forget_pool((uintptr_t)from);
        pld_unlock(&pld_fake.lock);
        return pld_os_linux.unmap(from, nbytes);
}

static bool is_allowed(int id)
{
        return pld_fake.nodes[id].total > 0 &&
               (pld_fake.all_nodes || pld_node_set_has(&pld_fake.allowed, id));
}

static int fake_bind(void *raw, size_t nbytes, int id)
{
        int error = pld_fake_trip(PLD_FAKE_BIND);
        if (error)
                return error;
        if (!pld_fake.has_numa)
                return -ENOSYS;
        if (!is_allowed(id))
                return -EINVAL;
        uintptr_t at = (uintptr_t)raw;
        pld_lock(&pld_fake.lock);
        struct fake_binding *old = binding_of(at);
        if (old && old->at == at && old->end == at + nbytes)
                old->id = id;
        else if (nbindings < MAX_BINDINGS)
                bindings[nbindings++] = (struct fake_binding){ at, at + nbytes, id };
        else
                error = -ENOMEM;
        pld_unlock(&pld_fake.lock);
        return error;
}

/* As in the kernel: after -EIO all is bound, and some of it has been moved. */
static int fake_rebind(void *raw, size_t nbytes, int id)
{
        int injected = pld_fake_trip(PLD_FAKE_REBIND);
        if (injected && injected != -EIO)
                return injected;
        if (!is_allowed(id))
                return -EINVAL;
        uintptr_t at = (uintptr_t)raw;
        int error = injected;
        pld_lock(&pld_fake.lock);
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
        pld_unlock(&pld_fake.lock);
        return error;
}

static int fake_advise(void *at, size_t nbytes, bool huge)
{
        (void)at;
        (void)nbytes;
        (void)huge;
        return pld_fake_trip(PLD_FAKE_ADVISE);
}

static int fake_populate(void *raw, size_t nbytes, size_t *faults)
{
        int error = pld_fake_trip(PLD_FAKE_POPULATE);
        if (error)
                return error;
        void (*fn)(void) = before_populate;
        before_populate = NULL;
        if (fn)
                fn();
        uintptr_t at = (uintptr_t)raw;
        pld_lock(&pld_fake.lock);
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
        pld_unlock(&pld_fake.lock);
        return error;
}

/* Real addresses: what a test touched is there. */
static int fake_resident(void *at, size_t nbytes, size_t *out)
{
        return pld_os_linux.resident(at, nbytes, out);
}

static int fake_collapse(void *raw, size_t nbytes)
{
        int error = pld_fake_trip(PLD_FAKE_COLLAPSE);
        pld_lock(&pld_fake.lock);
        for (size_t i = 0; i < nbytes && !error; i += PLD_HUGE_BYTES) {
                uintptr_t at = (uintptr_t)raw + i;
                if (!page_at(at)) /* it came by a touch that nobody saw */
                        populate_page(at, PLD_BACKING_NONE);
                struct fake_page *page = page_at(at);
                if (!page)
                        error = -ENOMEM;
                else if (!page->is_huge && pld_fake.nodes[page->id].collapsible == 0)
                        error = -ENOMEM;
                else if (!page->is_huge) {
                        pld_fake.nodes[page->id].collapsible--;
                        page->is_huge = true;
                }
        }
        pld_unlock(&pld_fake.lock);
        return error;
}

static int fake_lock(void *raw, size_t nbytes)
{
        int error = pld_fake_trip(PLD_FAKE_LOCK);
        pld_lock(&pld_fake.lock);
        if (!error && nbytes > pld_fake.lock_limit - locked_bytes)
                error = -ENOMEM;
        for (size_t i = 0; i < nbytes && !error; i += PLD_HUGE_BYTES) {
                struct fake_page *page = page_at((uintptr_t)raw + i);
                if (page && !page->is_locked)
                        locked_bytes += PLD_HUGE_BYTES;
                if (page)
                        page->is_locked = true;
        }
        pld_unlock(&pld_fake.lock);
        return error;
}

static size_t fake_lock_limit(void)
{
        return pld_fake.lock_limit;
}

static int fake_nodes_of(void **at, size_t n, int *ids)
{
        int error = pld_fake_trip(PLD_FAKE_NODES_OF);
        if (error)
                return error;
        for (size_t i = 0; i < n; i++)
                ids[i] = pld_fake_node_of(at[i]);
        return 0;
}

void pld_fake_pages_fill(struct pld_os *os)
{
        os->reserve_limit = fake_reserve_limit;
        os->reserve = fake_reserve;
        os->unmap = fake_unmap;
        os->open = fake_open;
        os->close = fake_close;
        os->drop = fake_drop;
        os->map = fake_map;
        os->map_sparse = fake_map_sparse;
        os->open_sparse = fake_open_sparse;
        os->map_pool = fake_map_pool;
        os->move = fake_move;
        os->bind = fake_bind;
        os->rebind = fake_rebind;
        os->advise = fake_advise;
        os->populate = fake_populate;
        os->collapse = fake_collapse;
        os->resident = fake_resident;
        os->lock = fake_lock;
        os->lock_limit = fake_lock_limit;
        os->nodes_of = fake_nodes_of;
}
