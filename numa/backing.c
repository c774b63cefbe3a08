/* backing.c: putting memory under a piece of the range, and taking it away.
 *
 * The recipe for a piece: see that there is memory, bind the piece, make it accessible,
 * populate it so that trouble is an error and not a signal, see that its pages are what was
 * asked for and lie where they were asked for. Else the piece is closed again and the next
 * kind of the chain is tried, with the reason counted.
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
 * B1  homes[i] (books.c) is 0 where huge page i of the range is not backed, else the index
 *     of the node that was asked for, with POPULATED, LAZY or LOCKED (and populated); only
 *     the piece's owner writes it.
 * B2  bytes[n][k] is the sum over the backed pieces of node n and kind k.
 * B3  after a refusal the piece is as before: reserved, no access, no memory.
 * B4  the chain (chain.c) is one word, so it is either the old or the new one.
 * B5  lazy[n] is what is backed lazily on node n (LAZY in homes): an upper bound of what
 *     may yet be touched. Where there are other nodes to go to, a lazy piece needs room for
 *     all of that (room.c), or it is populated at once: a touch has no way out.
 * B6  a piece is opened after it was bound and advised, because what is opened under
 *     mlockall() is populated there and then.
 * No lock is taken. The page heap calls pld_back() and pld_unback() outside its
 * lock, with the piece marked busy. errno is kept, for the sake of free(). */
#include "numa/backing.h"

#include "base/atomic.h"
#include "base/check.h"
#include "numa/books.h"
#include "numa/chain.h"
#include "numa/machine.h"
#include "numa/mlock.h"
#include "numa/os.h"
#include "numa/room.h"

#include <errno.h>
#include <unistd.h>

enum {
        TAKEN = -1,        /* a step's answer beside the reasons */
        VERIFY_BATCH = 64, /* addresses asked for at once; they are on the stack */
        VERIFY_STRIDE = 4096,
        COLLAPSE_REST = 31 /* pieces of a node that go without, after it failed for one */
};

#define SPARSE_SHARE 8 /* so much of a huge page may be untouched when it is made one */

static _Atomic unsigned collapse_rest[PLD_MAX_NODES];

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

static int verify(struct pld_piece piece, enum pld_backing kind)
{
        size_t stride = kind == PLD_BACKING_BASE ? VERIFY_STRIDE : PLD_HUGE_BYTES;
        size_t step = pld_backing_unit_bytes(kind);
        uint64_t astray = 0;
        if (!pld_machine.may_bind) /* one node by decree: there is no elsewhere */
                return TAKEN;
        for (size_t offset = 0; offset < piece.nbytes; offset += step) {
                int n = count_astray(piece.at + offset, stride, pld_machine.node[piece.node].id);
                if (n < 0) {
                        pld_books_fall_back(kind, PLD_REASON_UNVERIFIED);
                        return TAKEN;
                }
                astray += n > 0 ? step >> PLD_HUGE_SHIFT : 0;
        }
        pld_books_misplace(astray);
        return astray ? PLD_REASON_MISPLACED : TAKEN;
}

/* --- steps: each answers TAKEN or the reason ------------------------------------------- */

static int bind_piece(struct pld_piece piece, enum pld_backing kind)
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
                pld_books_fall_back(kind, PLD_REASON_BIND_FORBIDDEN);
                return TAKEN; /* verify() has the last word */
        default:
                pld_machine_reread();
                return pld_machine_is_allowed(piece.node) ? PLD_REASON_BIND_REFUSED
                                                          : PLD_REASON_NODE_FORBIDDEN;
        }
}

static int place(struct pld_piece piece, enum pld_backing kind, size_t *faults) /* B6 */
{
        int why = bind_piece(piece, kind);
        if (why != TAKEN)
                return why;
        if (!pld_backing_is_of_pool(kind))
                pld_os->advise(piece.at, piece.nbytes, kind == PLD_BACKING_THP);
        if (pld_os->open(piece.at, piece.nbytes) != 0)
                return PLD_REASON_MAP_REFUSED;
        return pld_os->populate(piece.at, piece.nbytes, faults) == 0 ? TAKEN
                                                                     : PLD_REASON_POPULATE_FAILED;
}

/* Populated outside of the range and then moved in (os_linux.c, O1 and O2). A move
 * is refused before it has done anything. */
static int step_pool(struct pld_piece piece, enum pld_backing kind)
{
        size_t nfree, faults, wanted = piece.nbytes / pld_backing_unit_bytes(kind);
        int id = pld_machine.may_bind ? pld_machine.node[piece.node].id : -1;
        if (pld_os->pool_free(id, kind, &nfree) == 0 && nfree < wanted)
                return PLD_REASON_POOL_EMPTY;
        struct pld_piece pool = piece;
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
static bool collapse_try(struct pld_piece piece)
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
static int step_mapped(struct pld_piece piece, enum pld_backing kind)
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

static int step_low(struct pld_piece piece, enum pld_backing kind)
{
        size_t all = pld_room_pend(piece.node, piece.nbytes);
        int why = PLD_REASON_CGROUP_LOW;
        if (!pld_room_on_node(piece.node, all))
                why = (int)pld_room_why_not(piece.node);
        else if (pld_room_in_cgroup())
                why = step_mapped(piece, kind);
        pld_room_settle(piece.node, piece.nbytes);
        return why;
}

static int step(struct pld_piece piece, enum pld_backing kind)
{
        if (!pld_chain_supports(kind))
                return PLD_REASON_UNSUPPORTED;
        return pld_backing_is_of_pool(kind) ? step_pool(piece, kind) : step_low(piece, kind);
}

/* Whether the piece is backed by `kind` now. Base pages that were to be huge are
 * kept where base pages are the next choice. */
static bool back_by(struct pld_piece piece, struct pld_chain chain, unsigned i,
                    enum pld_backing *out)
{
        enum pld_backing kind = pld_chain_kind(chain, i);
        int why = step(piece, kind);
        if (why == PLD_REASON_NOT_HUGE && pld_chain_kind(chain, i + 1) == PLD_BACKING_BASE) {
                pld_books_fall_back(kind, PLD_REASON_NOT_HUGE);
                kind = PLD_BACKING_BASE;
                why = verify(piece, kind);
        }
        if (why == TAKEN) {
                *out = kind;
                return true;
        }
        pld_books_fall_back(kind, (enum pld_reason)why);
        if (!pld_backing_is_of_pool(kind))
                pld_os->close(piece.at, piece.nbytes); /* B3 */
        return false;
}

/* Of the piece, which is there. Pool pages are never paged out. */
static enum pld_how lock_piece(struct pld_piece piece, enum pld_backing kind)
{
        if (!pld_mlock_is_on() || pld_backing_is_of_pool(kind))
                return PLD_HOW_POPULATED;
        if (pld_mlock_try(piece.at, piece.nbytes) == 0)
                return PLD_HOW_LOCKED;
        pld_books_fall_back(kind, PLD_REASON_LOCK_REFUSED);
        return PLD_HOW_POPULATED;
}

/* --- the two verbs ------------------------------------------------------------------------ */

void pld_unback(void *at, size_t nbytes, enum pld_backing kind)
{
        PLD_ASSERT(pld_books_is_piece(at, nbytes) && kind != PLD_BACKING_NONE);
        int saved = errno;
        pld_books_cross_out(at, nbytes, kind);
        if (pld_os->close(at, nbytes) != 0) /* too many mappings: give back the pages alone */
                pld_os->drop(at, nbytes);
        errno = saved;
}

int pld_back(void *at, size_t nbytes, unsigned node, enum pld_backing *out)
{
        PLD_ASSERT(pld_books_is_piece(at, nbytes) && node < pld_machine.nnodes);
        struct pld_piece piece = { .at = at, .nbytes = nbytes, .node = node };
        int saved = errno, error = -ENOMEM;
        bool open = pld_books_open(piece);
        struct pld_chain chain = pld_chain_now();
        PLD_ASSERT(chain.word != 0);
        for (unsigned i = 0; open && error && pld_chain_kind(chain, i) != PLD_BACKING_NONE; i++) {
                if (pld_chain_kind(chain, i) == PLD_BACKING_1G || !back_by(piece, chain, i, out))
                        continue;
                pld_books_enter(piece, *out, lock_piece(piece, *out));
                error = 0;
        }
        errno = saved;
        return error;
}

int pld_back_1g(void *at, unsigned node)
{
        PLD_ASSERT((uintptr_t)at % PLD_GIGANTIC_BYTES == 0);
        PLD_ASSERT(pld_books_is_piece(at, PLD_GIGANTIC_BYTES));
        struct pld_piece piece = { .at = at, .nbytes = PLD_GIGANTIC_BYTES, .node = node };
        enum pld_backing kind;
        int saved = errno, error = -ENOMEM;
        if (pld_books_open(piece) && pld_backing_has_1g() &&
            back_by(piece, pld_chain_now(), 0, &kind)) {
                pld_books_enter(piece, kind, PLD_HOW_POPULATED);
                error = 0;
        }
        errno = saved;
        return error;
}

void pld_back_1g_missed(void)
{
        pld_books_fall_back(PLD_BACKING_1G, PLD_REASON_NO_PLACE);
}

/* Where the only node with memory is ours, pages need no binding. */
static bool open_lazily(struct pld_piece piece, enum pld_backing kind) /* B6 */
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
        PLD_ASSERT(pld_books_is_piece(at, nbytes) && node < pld_machine.nnodes);
        struct pld_piece piece = { .at = at, .nbytes = nbytes, .node = node };
        int saved = errno, error = -EAGAIN;
        bool open = pld_books_open(piece);
        struct pld_chain chain = pld_chain_now();
        enum pld_backing kind = pld_chain_wanted(chain);
        if (kind == PLD_BACKING_THP && pld_chain_has(chain, PLD_BACKING_BASE))
                kind = PLD_BACKING_BASE;
        bool may = (kind == PLD_BACKING_THP || kind == PLD_BACKING_BASE) &&
                   pld_machine_is_allowed(node) && open && !pld_mlock_is_on();
        if (may && pld_room_grant_try(node, nbytes) && open_lazily(piece, kind)) {
                pld_books_enter(piece, kind, PLD_HOW_LAZY);
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
        int saved = errno;
        bool may = pld_chain_has(pld_chain_now(), PLD_BACKING_THP) &&
                   pld_chain_supports(PLD_BACKING_THP) &&
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
static bool has_room_to_move(struct pld_piece piece, enum pld_backing kind, size_t all)
{
        size_t nfree;
        int id = pld_machine.node[piece.node].id;
        if (kind == PLD_BACKING_2M && pld_os->pool_free(id, kind, &nfree) == 0 &&
            nfree >= piece.nbytes >> PLD_HUGE_SHIFT)
                return true;
        return pld_room_on_node(piece.node, all);
}

static int rebind_piece(struct pld_piece piece, enum pld_backing kind)
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

int pld_rehome(void *at, size_t nbytes, unsigned node, enum pld_backing kind)
{
        PLD_ASSERT(pld_books_is_piece(at, nbytes) && node < pld_machine.nnodes);
        struct pld_piece piece = { .at = at, .nbytes = nbytes, .node = node }, back = piece;
        if (!pld_machine.may_bind)
                return -EPERM;
        int saved = errno, error = -ENOMEM;
        back.node = pld_books_node(at);
        size_t all = pld_room_pend(node, nbytes);
        if (has_room_to_move(piece, kind, all)) {
                error = rebind_piece(piece, kind);
                if (error) /* there is room: some of it has just left */
                        pld_os->rebind(at, nbytes, pld_machine.node[back.node].id);
        }
        pld_room_settle(node, nbytes);
        if (!error)
                pld_books_rehome(piece, kind);
        errno = saved;
        return error;
}
