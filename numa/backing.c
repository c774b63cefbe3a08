/* backing.c: the chain of kinds of memory, and the recipe for one piece.
 *
 * Recipe: see that there is memory, make the piece accessible, bind it, populate
 * it so that trouble is an error and not a signal, see that its pages are what was
 * asked for and lie where they were asked for. Else the piece is closed again and
 * the next kind is tried, with the reason counted.
 *
 * Populating memory that is bound to a full node ends in the OOM killer and not in
 * an error, so a node that is nearly full is refused beforehand, and so is what would pass
 * the limit of a control group. `pending` holds
 * what other threads have been granted by that check and not yet populated.
 *
 * Whether a piece became huge is told by the faults it took: at least one a huge
 * page, and exactly one each if each of them was populated whole. That costs two
 * getrusage() calls, needs no privilege and no new kernel; smaps, pagemap and
 * PAGEMAP_SCAN each lack one of these. A signal handler that faults meanwhile
 * makes it ask MADV_COLLAPSE, which answers for sure, so errors are on the slow
 * side only.
 *
 * 1G pages come before traffic only, as they have to be free in one piece and take
 * long to be zeroed: pld_back_1g() is for the reserve, and pld_back() skips them.
 *
 * B1  homes[i] is 0 where huge page i of the range is not backed, else the index of
 *     the node that was asked for, with POPULATED, LAZY or LOCKED (and populated);
 *     only the piece's owner writes it.
 * B2  bytes[n][k] is the sum over the backed pieces of node n and kind k.
 * B3  after a refusal the piece is as before: reserved, no access, no memory.
 * B4  the chain is one word, so it is either the old or the new one.
 * B5  lazy[n] is what is backed lazily on node n (LAZY in homes): an upper bound of what
 *     may yet be touched. Where there are other nodes to go to, a lazy piece needs room for
 *     all of that, or it is populated at once: a touch has no way out.
 * B6  a piece is opened after it was bound and advised, because what is opened under
 *     mlockall() is populated there and then.
 * No lock is taken. The page heap calls pld_back() and pld_unback() outside its
 * lock, with the piece marked busy. errno is kept, for the sake of free(). */
#include "numa/backing.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "numa/machine.h"
#include "numa/os.h"
#include "numa/range.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
        TAKEN = -1,        /* a step's answer beside the reasons */
        KIND_BITS = 4,     /* of a kind in the chain's word */
        KIND_MASK = (1 << KIND_BITS) - 1,
        POPULATED = 1 << 6, LAZY = 2 << 6, LOCKED = 3 << 6, HOW_MASK = 3 << 6, /* B1 */
        TABLE_BYTES = 4096, /* of homes are opened at a time */
        VERIFY_BATCH = 64, /* addresses asked for at once; they are on the stack */
        VERIFY_STRIDE = 4096,
        COLLAPSE_REST = 31 /* pieces of a node that go without, after it failed for one */
};
static_assert(PLD_BACKING_KINDS * KIND_BITS <= 32, "a chain fits in a word");
static_assert((int)PLD_MAX_NODES <= (int)POPULATED, "a home fits in a byte");

/* A node keeps this much, within the bounds, for what others allocate meanwhile. */
#define SPARSE_SHARE 8 /* so much of a huge page may be untouched when it is made one */
#define LAZY_SHARE 16 /* of what a node has left is granted to lazy pieces unasked */
#define MARGIN_SHARE 32
#define MARGIN_LEAST (16 * PLD_MIB)
#define MARGIN_MOST (512 * PLD_MIB)
#define CGROUP_MARGIN_MOST (64 * PLD_MIB)

/* Slices have 1 TiB at most, and there is one more than nodes. */
#define HUGE_MOST ((PLD_MAX_NODES + 1) * (1024 * PLD_GIB >> PLD_HUGE_SHIFT))
#define TABLE_WORDS ((HUGE_MOST / TABLE_BYTES + 63) / 64)

struct piece {
        char *at;
        size_t nbytes;
        unsigned node;
};

static _Atomic uint32_t chain; /* B4: the first kind in the lowest bits; NONE ends it */
static _Atomic bool supported[PLD_BACKING_KINDS];
static _Atomic(uint8_t *) homes; /* B1 */
static _Atomic uint64_t homes_open[TABLE_WORDS]; /* a bit for TABLE_BYTES of homes */
static _Atomic size_t bytes[PLD_MAX_NODES][PLD_BACKING_KINDS]; /* B2 */
static _Atomic size_t locked[PLD_MAX_NODES][PLD_BACKING_KINDS];
static _Atomic bool locking, refusal_said;
static _Atomic size_t pending[PLD_MAX_NODES];
static _Atomic size_t lazy[PLD_MAX_NODES];    /* B5 */
static _Atomic size_t granted; /* to lazy pieces to come on the only node; a hint */
static _Atomic unsigned collapse_rest[PLD_MAX_NODES];
static _Atomic uint64_t fallbacks[PLD_BACKING_KINDS][PLD_REASONS];
static _Atomic uint64_t misplaced;
static _Atomic size_t meta_bytes;

static const char *const names[PLD_BACKING_KINDS] = {
        [PLD_BACKING_NONE] = "none",
        [PLD_BACKING_1G] = "1G",
        [PLD_BACKING_2M] = "2M",
        [PLD_BACKING_THP] = "thp",
        [PLD_BACKING_BASE] = "base",
};

static const char *const reasons[PLD_REASONS] = {
        [PLD_REASON_UNSUPPORTED] = "unsupported",
        [PLD_REASON_POOL_EMPTY] = "pool-empty",
        [PLD_REASON_NODE_LOW] = "node-low",
        [PLD_REASON_CGROUP_LOW] = "cgroup-low",
        [PLD_REASON_NODE_FORBIDDEN] = "node-forbidden",
        [PLD_REASON_BIND_REFUSED] = "bind-refused",
        [PLD_REASON_BIND_FORBIDDEN] = "bind-forbidden",
        [PLD_REASON_UNVERIFIED] = "unverified",
        [PLD_REASON_MAP_REFUSED] = "map-refused",
        [PLD_REASON_POPULATE_FAILED] = "populate-failed",
        [PLD_REASON_MISPLACED] = "misplaced",
        [PLD_REASON_NOT_HUGE] = "not-huge",
        [PLD_REASON_NO_PLACE] = "no-place",
        [PLD_REASON_LOCK_REFUSED] = "lock-refused",
};

const char *pld_backing_name(enum pld_backing kind)
{
        return names[kind];
}

const char *pld_reason_name(enum pld_reason reason)
{
        return reasons[reason];
}

/* --- the chain ------------------------------------------------------------------- */

static enum pld_backing kind_at(uint32_t word, unsigned i)
{
        return i * KIND_BITS >= 32 ? PLD_BACKING_NONE
                                   : (enum pld_backing)(word >> (i * KIND_BITS) & KIND_MASK);
}

static enum pld_backing kind_named(const char *name, size_t length)
{
        for (enum pld_backing kind = PLD_BACKING_NONE + 1; kind < PLD_BACKING_KINDS; kind++)
                if (strlen(names[kind]) == length && !strncasecmp(names[kind], name, length))
                        return kind;
        return PLD_BACKING_NONE;
}

static int refuse_chain(const char *pages, const char *name, size_t length, const char *because)
{
        pld_say("POLDER_PAGES=\"%s\": \"%.*s\" %s; it takes 1G, 2M, thp and base, in the order to "
                "try",
                pages, (int)length, name, because);
        return -EINVAL;
}

static int parse_chain(const char *pages, uint32_t *out)
{
        uint32_t word = 0;
        unsigned seen = 0, n = 0;
        for (const char *at = pages;; at++) {
                size_t length = strcspn(at, ",");
                enum pld_backing kind = kind_named(at, length);
                if (kind == PLD_BACKING_NONE)
                        return refuse_chain(pages, at, length, "is no kind of pages");
                if (seen >> kind & 1)
                        return refuse_chain(pages, at, length, "is there twice");
                if (kind == PLD_BACKING_1G && seen)
                        return refuse_chain(pages, at, length, "comes first or not at all");
                seen |= 1u << kind;
                word |= (uint32_t)kind << (n++ * KIND_BITS);
                at += length;
                if (*at == '\0')
                        break;
        }
        *out = word;
        return 0;
}

int pld_backing_start(const char *pages)
{
        uint32_t word;
        int error = parse_chain(pages ? pages : "thp,base", &word);
        if (error)
                return error;
        for (unsigned i = 0; kind_at(word, i) != PLD_BACKING_NONE; i++) {
                enum pld_backing kind = kind_at(word, i);
                bool has = pld_os->supports(kind);
                if (!has && pages)
                        pld_say("POLDER_PAGES=\"%s\": the kernel has no %s pages, or they are off",
                                pages, names[kind]);
                pld_store_relaxed(&supported[kind], has);
        }
        pld_store_release(&chain, word); /* pairs with pld_back()'s acquire */
        return 0;
}

void pld_backing_lock(bool on)
{
        pld_store_relaxed(&locking, on);
}

bool pld_backing_has_1g(void)
{
        return kind_at(pld_load_relaxed(&chain), 0) == PLD_BACKING_1G;
}

static bool is_of_pool(enum pld_backing kind)
{
        return kind == PLD_BACKING_1G || kind == PLD_BACKING_2M;
}

/* --- is there memory? ----------------------------------------------------------------- */

static size_t margin_of(size_t total)
{
        size_t margin = total / MARGIN_SHARE;
        return margin < MARGIN_LEAST ? MARGIN_LEAST : margin > MARGIN_MOST ? MARGIN_MOST : margin;
}

/* Where there is no other node to go to, swapping is better than a refusal. */
static bool has_room(unsigned node, size_t nbytes)
{
        struct pld_os_memory memory;
        int id = pld_machine.alone ? -1 : pld_machine.node[node].id;
        if (pld_os->memory(id, &memory) != 0)
                return true;
        size_t have = memory.available + (pld_machine.nnodes == 1 ? memory.swap : 0);
        return have >= nbytes + margin_of(memory.total);
}

static size_t pending_everywhere(void)
{
        size_t sum = 0;
        for (unsigned i = 0; i < pld_machine.nnodes; i++)
                sum += pld_load_relaxed(&pending[i]);
        return sum;
}

/* Beside all that is pending; *spare: what is left then. */
static bool cgroup_has_room(size_t nbytes, size_t *spare)
{
        struct pld_os_memory memory;
        *spare = SIZE_MAX;
        if (pld_os->cgroup_memory(&memory) != 0)
                return true;
        size_t margin = memory.total / MARGIN_SHARE;
        size_t need = nbytes + pending_everywhere();
        need += margin < CGROUP_MARGIN_MOST ? margin : CGROUP_MARGIN_MOST;
        size_t have = memory.available + memory.swap;
        *spare = have > need ? have - need : 0;
        return have >= need;
}

static bool grant_try(unsigned node, size_t nbytes)
{
        size_t left = pld_load_relaxed(&granted);
        while (left >= nbytes)
                if (pld_cas_relaxed(&granted, &left, left - nbytes))
                        return true;
        struct pld_os_memory memory;
        size_t spare;
        if (!cgroup_has_room(nbytes, &spare))
                return false;
        int id = pld_machine.alone ? -1 : pld_machine.node[node].id;
        if (pld_os->memory(id, &memory) != 0)
                return pld_machine.nnodes == 1;
        size_t have = memory.available + (pld_machine.nnodes == 1 ? memory.swap : 0);
        size_t need = nbytes + margin_of(memory.total) + pld_load_relaxed(&pending[node]);
        if (pld_machine.nnodes > 1) /* to be asked each time */
                return have >= need + pld_load_relaxed(&lazy[node]); /* B5 */
        if (have < need)
                return false;
        spare = spare < have - need ? spare : have - need;
        pld_store_relaxed(&granted, spare / LAZY_SHARE);
        return true;
}

/* --- where is it? --------------------------------------------------------------------- */

/* How many of the huge page's pages (every `stride` bytes) lie elsewhere; -errno. */
static int count_astray(char *at, size_t stride, int id)
{
        void *pages[VERIFY_BATCH];
        int ids[VERIFY_BATCH], astray = 0;
        size_t n = 0;
        for (size_t offset = 0; offset < PLD_HUGE_BYTES; offset += stride) {
                pages[n++] = at + offset;
                if (n < VERIFY_BATCH && offset + stride < PLD_HUGE_BYTES)
                        continue;
                int error = pld_os->nodes_of(pages, n, ids);
                if (error)
                        return error;
                while (n > 0)
                        if (ids[--n] >= 0 && ids[n] != id)
                                astray++;
        }
        return astray;
}

static void count(enum pld_backing kind, enum pld_reason why)
{
        pld_add_relaxed(&fallbacks[kind][why], 1);
}

static int verify(struct piece piece, enum pld_backing kind)
{
        size_t stride = kind == PLD_BACKING_BASE ? VERIFY_STRIDE : PLD_HUGE_BYTES;
        size_t step = pld_backing_unit_bytes(kind);
        uint64_t astray = 0;
        if (!pld_machine.may_bind) /* one node by decree: there is no elsewhere */
                return TAKEN;
        for (size_t offset = 0; offset < piece.nbytes; offset += step) {
                int n = count_astray(piece.at + offset, stride, pld_machine.node[piece.node].id);
                if (n < 0) {
                        count(kind, PLD_REASON_UNVERIFIED);
                        return TAKEN;
                }
                astray += n > 0 ? step >> PLD_HUGE_SHIFT : 0;
        }
        pld_add_relaxed(&misplaced, astray);
        return astray ? PLD_REASON_MISPLACED : TAKEN;
}

/* --- steps: each answers TAKEN or the reason ------------------------------------------- */

static int bind_piece(struct piece piece, enum pld_backing kind)
{
        if (!pld_machine.has_numa)
                return TAKEN;
        switch (pld_os->bind(piece.at, piece.nbytes, pld_machine.node[piece.node].id)) {
        case 0:
                if (!pld_machine_is_allowed(piece.node)) /* it has been given back to us */
                        pld_machine_reread();
                return TAKEN;
        case -EPERM:
        case -EACCES:
        case -ENOSYS:
                count(kind, PLD_REASON_BIND_FORBIDDEN); /* verify() has the last word */
                return TAKEN;
        default:
                pld_machine_reread();
                return pld_machine_is_allowed(piece.node) ? PLD_REASON_BIND_REFUSED
                                                          : PLD_REASON_NODE_FORBIDDEN;
        }
}

static int place(struct piece piece, enum pld_backing kind, size_t *faults) /* B6 */
{
        int why = bind_piece(piece, kind);
        if (why != TAKEN)
                return why;
        if (!is_of_pool(kind))
                pld_os->advise(piece.at, piece.nbytes, kind == PLD_BACKING_THP);
        if (pld_os->open(piece.at, piece.nbytes) != 0)
                return PLD_REASON_MAP_REFUSED;
        return pld_os->populate(piece.at, piece.nbytes, faults) == 0 ? TAKEN
                                                                     : PLD_REASON_POPULATE_FAILED;
}

/* Populated outside of the range and then moved in (os_linux.c, O1 and O2). A move
 * is refused before it has done anything. */
static int step_pool(struct piece piece, enum pld_backing kind)
{
        size_t nfree, faults, wanted = piece.nbytes / pld_backing_unit_bytes(kind);
        int id = pld_machine.may_bind ? pld_machine.node[piece.node].id : -1;
        if (pld_os->pool_free(id, kind, &nfree) == 0 && nfree < wanted)
                return PLD_REASON_POOL_EMPTY;
        struct piece pool = piece;
        pool.at = pld_os->map_pool(piece.nbytes, kind);
        if (!pool.at)
                return errno == ENOMEM ? PLD_REASON_POOL_EMPTY : PLD_REASON_MAP_REFUSED;
        int why = place(pool, kind, &faults);
        if (why == TAKEN)
                why = verify(pool, kind);
        if (why == TAKEN && pld_os->move(pool.at, piece.at, piece.nbytes) != 0)
                why = PLD_REASON_MAP_REFUSED;
        if (why != TAKEN)
                pld_os->unmap(pool.at, pool.nbytes);
        return why;
}

/* Collapsing is dear, and where memory is in fragments it fails again and again. */
static bool collapse_try(struct piece piece)
{
        unsigned rest = pld_load_relaxed(&collapse_rest[piece.node]);
        if (rest > 0) {
                pld_store_relaxed(&collapse_rest[piece.node], rest - 1); /* roughly */
                return false;
        }
        if (pld_os->collapse(piece.at, piece.nbytes) == 0)
                return true;
        pld_store_relaxed(&collapse_rest[piece.node], COLLAPSE_REST);
        return false;
}

/* After NOT_HUGE the piece is there all the same, in base pages. */
static int step_mapped(struct piece piece, enum pld_backing kind)
{
        size_t faults;
        int why = place(piece, kind, &faults);
        if (why != TAKEN)
                return why;
        if (kind == PLD_BACKING_THP && faults != piece.nbytes >> PLD_HUGE_SHIFT &&
            !collapse_try(piece))
                return PLD_REASON_NOT_HUGE;
        return verify(piece, kind);
}

/* A node without any memory has been unplugged: no bind will be tried to tell us. */
static int low_or_gone(unsigned node)
{
        struct pld_os_memory memory;
        if (pld_os->memory(pld_machine.node[node].id, &memory) == 0 && memory.total > 0)
                return PLD_REASON_NODE_LOW;
        pld_machine_reread();
        return pld_machine_is_allowed(node) ? PLD_REASON_NODE_LOW : PLD_REASON_NODE_FORBIDDEN;
}

static int step_low(struct piece piece, enum pld_backing kind)
{
        size_t spare, all = pld_add_relaxed(&pending[piece.node], piece.nbytes) + piece.nbytes;
        int why = PLD_REASON_CGROUP_LOW;
        if (!has_room(piece.node, all))
                why = low_or_gone(piece.node);
        else if (cgroup_has_room(0, &spare)) /* beside all that is pending, and so this one */
                why = step_mapped(piece, kind);
        pld_sub_relaxed(&pending[piece.node], piece.nbytes);
        return why;
}

static int step(struct piece piece, enum pld_backing kind)
{
        if (!pld_load_relaxed(&supported[kind])) /* ordered by the chain's acquire */
                return PLD_REASON_UNSUPPORTED;
        return is_of_pool(kind) ? step_pool(piece, kind) : step_low(piece, kind);
}

/* Whether the piece is backed by `kind` now. Base pages that were to be huge are
 * kept where base pages are the next choice. */
static bool back_by(struct piece piece, uint32_t word, unsigned i, enum pld_backing *out)
{
        enum pld_backing kind = kind_at(word, i);
        int why = step(piece, kind);
        if (why == PLD_REASON_NOT_HUGE && kind_at(word, i + 1) == PLD_BACKING_BASE) {
                count(kind, PLD_REASON_NOT_HUGE);
                kind = PLD_BACKING_BASE;
                why = verify(piece, kind);
        }
        if (why == TAKEN) {
                *out = kind;
                return true;
        }
        count(kind, (enum pld_reason)why);
        if (!is_of_pool(kind))
                pld_os->close(piece.at, piece.nbytes); /* B3 */
        return false;
}

/* --- books ----------------------------------------------------------------------------- */

static uint8_t *homes_map(void)
{
        uint8_t *table = pld_load_acquire(&homes); /* pairs with the exchange below */
        if (pld_likely(table))
                return table;
        size_t nbytes = pld_range.nbytes >> PLD_HUGE_SHIFT;
        uint8_t *fresh = pld_meta_map_sparse(nbytes);
        if (fresh && !pld_cas_acq_rel(&homes, &table, fresh)) {
                pld_meta_unmap(fresh, nbytes);
                return table;
        }
        return fresh;
}

static unsigned node_at(uint8_t home) /* B1 */
{
        return home & ~(unsigned)HOW_MASK;
}

static int how_at(uint8_t home)
{
        return home & HOW_MASK;
}

static size_t first_of(const void *at)
{
        return ((uintptr_t)at - pld_range.base) >> PLD_HUGE_SHIFT;
}

/* The table, open for the piece; NULL: refused. Two threads may open the same. */
static uint8_t *homes_get(struct piece piece)
{
        uint8_t *table = homes_map();
        size_t first = first_of(piece.at) / TABLE_BYTES;
        size_t last = first_of(piece.at + piece.nbytes - 1) / TABLE_BYTES;
        for (size_t i = first; table && i <= last; i++) {
                uint64_t bit = UINT64_C(1) << (i % 64);
                if (pld_load_relaxed(&homes_open[i / 64]) & bit)
                        continue;
                if (pld_meta_open(table + i * TABLE_BYTES, TABLE_BYTES) != 0)
                        return NULL;
                pld_or_relaxed(&homes_open[i / 64], bit);
        }
        return table;
}

/* Once: what could not be locked, and what to do about it. */
static void say_refused(int error)
{
        char limit[64] = "";
        size_t most = pld_os->lock_limit();
        if (pld_exchange_acquire(&refusal_said, true))
                return;
        if (most != SIZE_MAX)
                snprintf(limit, sizeof limit, "; the limit (RLIMIT_MEMLOCK) is %zu KiB",
                         most / PLD_KIB);
        pld_say("POLDER_LOCK: the kernel refuses to lock memory (%s)%s; raise it with ulimit -l, "
                "LimitMEMLOCK= or CAP_IPC_LOCK; going on with memory that is not locked",
                strerror(-error), limit);
}

/* The piece, which is there, is LOCKED if that is wished for and can be, or POPULATED.
 * Pool pages are never paged out. */
static int lock_piece(struct piece piece, enum pld_backing kind)
{
        if (!pld_load_relaxed(&locking) || is_of_pool(kind))
                return POPULATED;
        int error = pld_os->lock(piece.at, piece.nbytes);
        if (!error)
                return LOCKED;
        count(kind, PLD_REASON_LOCK_REFUSED);
        say_refused(error);
        return POPULATED;
}

/* how: POPULATED, LAZY or LOCKED. */
static void enter(struct piece piece, uint8_t *table, enum pld_backing kind, int how)
{
        int home = (int)piece.node | how;
        memset(table + first_of(piece.at), home, piece.nbytes >> PLD_HUGE_SHIFT); /* B1 */
        pld_add_relaxed(&bytes[piece.node][kind], piece.nbytes);                  /* B2 */
        if (how == LAZY)
                pld_add_relaxed(&lazy[piece.node], piece.nbytes); /* B5 */
        if (how == LOCKED)
                pld_add_relaxed(&locked[piece.node][kind], piece.nbytes);
}

static void cross_out(void *at, size_t nbytes, enum pld_backing kind) /* B1, B2, B5 */
{
        uint8_t *table = pld_load_acquire(&homes);
        size_t first = first_of(at);
        for (size_t i = first; i < first + (nbytes >> PLD_HUGE_SHIFT); i++) {
                unsigned node = node_at(table[i]);
                PLD_ASSERT(table[i]);
                pld_sub_relaxed(&bytes[node][kind], PLD_HUGE_BYTES);
                if (how_at(table[i]) == LAZY)
                        pld_sub_relaxed(&lazy[node], PLD_HUGE_BYTES);
                if (how_at(table[i]) == LOCKED)
                        pld_sub_relaxed(&locked[node][kind], PLD_HUGE_BYTES);
                table[i] = 0;
        }
}

static bool is_piece(const void *at, size_t nbytes)
{
        uintptr_t from = (uintptr_t)at;
        return nbytes > 0 && (from | nbytes) % PLD_HUGE_BYTES == 0 && pld_range_has(from) &&
               pld_range_has(from + nbytes - 1);
}

/* --- the two verbs ------------------------------------------------------------------------ */

void pld_unback(void *at, size_t nbytes, enum pld_backing kind)
{
        PLD_ASSERT(is_piece(at, nbytes) && kind != PLD_BACKING_NONE);
        int saved = errno;
        cross_out(at, nbytes, kind);
        if (pld_os->close(at, nbytes) != 0) /* too many mappings: give back the pages alone */
                pld_os->drop(at, nbytes);
        errno = saved;
}

int pld_back(void *at, size_t nbytes, unsigned node, enum pld_backing *out)
{
        PLD_ASSERT(is_piece(at, nbytes) && node < pld_machine.nnodes);
        struct piece piece = { .at = at, .nbytes = nbytes, .node = node };
        int saved = errno, error = -ENOMEM;
        uint8_t *table = homes_get(piece);
        uint32_t word = pld_load_acquire(&chain); /* pairs with pld_backing_start() */
        PLD_ASSERT(word != 0);
        for (unsigned i = 0; table && error && kind_at(word, i) != PLD_BACKING_NONE; i++) {
                if (kind_at(word, i) == PLD_BACKING_1G || !back_by(piece, word, i, out))
                        continue;
                enter(piece, table, *out, lock_piece(piece, *out));
                error = 0;
        }
        errno = saved;
        return error;
}

int pld_back_1g(void *at, unsigned node)
{
        PLD_ASSERT(is_piece(at, PLD_GIGANTIC_BYTES) && (uintptr_t)at % PLD_GIGANTIC_BYTES == 0);
        struct piece piece = { .at = at, .nbytes = PLD_GIGANTIC_BYTES, .node = node };
        enum pld_backing kind;
        int saved = errno, error = -ENOMEM;
        uint8_t *table = homes_get(piece);
        if (table && pld_backing_has_1g() &&
            back_by(piece, pld_load_acquire(&chain), 0, &kind)) { /* as in pld_back() */
                enter(piece, table, kind, POPULATED);
                error = 0;
        }
        errno = saved;
        return error;
}

void pld_back_1g_missed(void)
{
        count(PLD_BACKING_1G, PLD_REASON_NO_PLACE);
}

/* The first of the chain that there is. */
static enum pld_backing kind_wanted(uint32_t word)
{
        unsigned i = kind_at(word, 0) == PLD_BACKING_1G;
        while (kind_at(word, i) != PLD_BACKING_NONE && !pld_load_relaxed(&supported[kind_at(word, i)]))
                i++;
        return kind_at(word, i);
}

static bool has_kind(uint32_t word, enum pld_backing kind)
{
        for (unsigned i = 0; kind_at(word, i) != PLD_BACKING_NONE; i++)
                if (kind_at(word, i) == kind)
                        return true;
        return false;
}

/* Where the only node with memory is ours, pages need no binding. */
static bool open_lazily(struct piece piece, enum pld_backing kind) /* B6 */
{
        bool bind = pld_machine.has_numa && !pld_machine.alone;
        pld_os->advise(piece.at, piece.nbytes, kind == PLD_BACKING_THP);
        if ((!bind || !pld_os->bind(piece.at, piece.nbytes, pld_machine.node[piece.node].id)) &&
            pld_os->open(piece.at, piece.nbytes) == 0)
                return true;
        pld_os->close(piece.at, piece.nbytes); /* B3 */
        return false;
}

int pld_back_lazily(void *at, size_t nbytes, unsigned node, enum pld_backing *out)
{
        PLD_ASSERT(is_piece(at, nbytes) && node < pld_machine.nnodes);
        struct piece piece = { .at = at, .nbytes = nbytes, .node = node };
        int saved = errno, error = -EAGAIN;
        uint8_t *table = homes_get(piece);
        uint32_t word = pld_load_acquire(&chain); /* pairs with pld_backing_start() */
        enum pld_backing kind = kind_wanted(word);
        if (kind == PLD_BACKING_THP && has_kind(word, PLD_BACKING_BASE))
                kind = PLD_BACKING_BASE;
        bool may = (kind == PLD_BACKING_THP || kind == PLD_BACKING_BASE) &&
                   pld_machine_is_allowed(node) && table && !pld_load_relaxed(&locking);
        if (may && grant_try(node, nbytes) && open_lazily(piece, kind)) {
                enter(piece, table, kind, LAZY);
                *out = kind;
                error = 0;
        }
        errno = saved;
        return error;
}

int pld_populate(void *at, size_t nbytes)
{
        size_t faults, mask = (size_t)sysconf(_SC_PAGESIZE) - 1;
        uintptr_t from = (uintptr_t)at & ~mask, end = ((uintptr_t)at + nbytes + mask) & ~mask;
        int saved = errno;
        int error = pld_os->populate((void *)from, end - from, &faults);
        errno = saved;
        return error ? -ENOMEM : 0;
}

int pld_drop(void *at, size_t nbytes)
{
        int saved = errno;
        int error = pld_os->drop(at, nbytes);
        errno = saved;
        return error;
}

bool pld_make_huge(void *at, bool now, bool *done)
{
        size_t there;
        uint32_t word = pld_load_acquire(&chain);
        int saved = errno;
        bool may = has_kind(word, PLD_BACKING_THP) && pld_load_relaxed(&supported[PLD_BACKING_THP]) &&
                   pld_os->resident(at, PLD_HUGE_BYTES, &there) == 0 &&
                   there >= PLD_HUGE_BYTES - PLD_HUGE_BYTES / SPARSE_SHARE &&
                   pld_os->advise(at, PLD_HUGE_BYTES, true) == 0;
        *done = may && now && pld_os->collapse(at, PLD_HUGE_BYTES) == 0; /* else khugepaged may */
        errno = saved;
        return may;
}

void pld_make_small(void *at)
{
        int saved = errno;
        pld_os->advise(at, PLD_HUGE_BYTES, false);
        errno = saved;
}

void pld_book_huge(void *at, bool huge)
{
        PLD_ASSERT(is_piece(at, PLD_HUGE_BYTES));
        enum pld_backing from = huge ? PLD_BACKING_BASE : PLD_BACKING_THP;
        enum pld_backing to = huge ? PLD_BACKING_THP : PLD_BACKING_BASE;
        uint8_t *table = pld_load_acquire(&homes);
        uint8_t home = table[first_of(at)];
        unsigned node = node_at(home);
        pld_sub_relaxed(&bytes[node][from], PLD_HUGE_BYTES); /* B2 */
        pld_add_relaxed(&bytes[node][to], PLD_HUGE_BYTES);
        if (how_at(home) == LOCKED) {
                pld_sub_relaxed(&locked[node][from], PLD_HUGE_BYTES);
                pld_add_relaxed(&locked[node][to], PLD_HUGE_BYTES);
        }
}

int pld_break(void *at)
{
        int saved = errno;
        int error = pld_os->advise(at, PLD_HUGE_BYTES, false);
        errno = saved;
        if (!error)
                pld_book_huge(at, false);
        return error;
}

/* --- moving it ---------------------------------------------------------------------------- */

/* A pool page may come from the pool, or the kernel makes one of free memory. */
static bool has_room_to_move(struct piece piece, enum pld_backing kind, size_t all)
{
        size_t nfree;
        int id = pld_machine.node[piece.node].id;
        if (kind == PLD_BACKING_2M && pld_os->pool_free(id, kind, &nfree) == 0 &&
            nfree >= piece.nbytes >> PLD_HUGE_SHIFT)
                return true;
        return has_room(piece.node, all);
}

static int rebind_piece(struct piece piece, enum pld_backing kind)
{
        size_t stride = kind == PLD_BACKING_2M ? PLD_HUGE_BYTES : VERIFY_STRIDE;
        int id = pld_machine.node[piece.node].id;
        int error = pld_os->rebind(piece.at, piece.nbytes, id);
        if (error == -EINVAL)
                pld_machine_reread();
        if (error)
                return error == -EIO ? -EBUSY : error;
        for (size_t offset = 0; offset < piece.nbytes; offset += PLD_HUGE_BYTES)
                if (count_astray(piece.at + offset, stride, id) > 0)
                        return -EBUSY;
        return 0;
}

static void rehome_books(struct piece piece, enum pld_backing kind) /* B1, B2 */
{
        uint8_t *table = pld_load_acquire(&homes);
        size_t first = first_of(piece.at), n = piece.nbytes >> PLD_HUGE_SHIFT;
        for (size_t i = 0; i < n; i++) {
                struct piece one = { piece.at + (i << PLD_HUGE_SHIFT), PLD_HUGE_BYTES, piece.node };
                int how = how_at(table[first + i]);
                cross_out(one.at, one.nbytes, kind);
                enter(one, table, kind, how);
        }
}

int pld_rehome(void *at, size_t nbytes, unsigned node, enum pld_backing kind)
{
        PLD_ASSERT(is_piece(at, nbytes) && node < pld_machine.nnodes);
        struct piece piece = { .at = at, .nbytes = nbytes, .node = node }, back = piece;
        if (!pld_machine.may_bind)
                return -EPERM;
        int saved = errno, error = -ENOMEM;
        back.node = node_at(pld_load_acquire(&homes)[first_of(at)]);
        size_t all = pld_add_relaxed(&pending[node], nbytes) + nbytes;
        if (has_room_to_move(piece, kind, all)) {
                error = rebind_piece(piece, kind);
                if (error) /* there is room: some of it has just left */
                        pld_os->rebind(at, nbytes, pld_machine.node[back.node].id);
        }
        pld_sub_relaxed(&pending[node], nbytes);
        if (!error)
                rehome_books(piece, kind);
        errno = saved;
        return error;
}

/* --- counters, and memory for structures ----------------------------------------------------- */

uint64_t pld_backing_fallbacks(enum pld_backing left, enum pld_reason why)
{
        return pld_load_relaxed(&fallbacks[left][why]);
}

uint64_t pld_backing_fallbacks_total(void)
{
        uint64_t total = 0;
        for (int kind = 0; kind < PLD_BACKING_KINDS; kind++)
                for (int why = 0; why < PLD_REASONS; why++)
                        total += pld_load_relaxed(&fallbacks[kind][why]);
        return total;
}

uint64_t pld_backing_misplaced(void)
{
        return pld_load_relaxed(&misplaced);
}

size_t pld_backing_bytes(unsigned node, enum pld_backing kind)
{
        return pld_load_relaxed(&bytes[node][kind]);
}

size_t pld_backing_locked_bytes(unsigned node, enum pld_backing kind)
{
        return is_of_pool(kind) ? pld_backing_bytes(node, kind)
                                : pld_load_relaxed(&locked[node][kind]);
}

static void *map_meta(void *(*map)(size_t), size_t nbytes)
{
        int saved = errno;
        void *at = map(nbytes);
        errno = saved;
        if (at)
                pld_add_relaxed(&meta_bytes, nbytes);
        return at;
}

void *pld_meta_map(size_t nbytes)
{
        return map_meta(pld_os->map, nbytes);
}

void *pld_meta_map_huge(size_t nbytes)
{
        int saved = errno;
        void *at = pld_meta_map(nbytes);
        if (at && has_kind(pld_load_relaxed(&chain), PLD_BACKING_THP))
                pld_os->advise(at, nbytes, true);
        errno = saved;
        return at;
}

void *pld_meta_map_sparse(size_t nbytes)
{
        return map_meta(pld_os->map_sparse, nbytes);
}

void pld_meta_lock(void *at, size_t nbytes)
{
        int error = pld_load_relaxed(&locking) ? pld_os->lock(at, nbytes) : 0;
        if (error)
                say_refused(error);
}

int pld_meta_open(void *at, size_t nbytes)
{
        int saved = errno;
        uintptr_t page = (uintptr_t)getpagesize();
        uintptr_t from = pld_round_down((uintptr_t)at, page);
        uintptr_t end = pld_round_up((uintptr_t)at + nbytes, page);
        int error = pld_os->open_sparse((void *)from, end - from);
        if (!error)
                pld_meta_lock((void *)from, end - from);
        errno = saved;
        return error;
}

void pld_meta_unmap(void *at, size_t nbytes)
{
        int saved = errno;
        pld_os->unmap(at, nbytes);
        errno = saved;
        pld_sub_relaxed(&meta_bytes, nbytes);
}

size_t pld_meta_mapped_bytes(void)
{
        return pld_load_relaxed(&meta_bytes);
}
