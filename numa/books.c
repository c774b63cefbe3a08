/* books.c: what is backed, on which node and how; and what was not backed as it was asked for.
 *
 * A byte for each huge page of the range, in a table that is opened as it comes into use, and
 * sums of that. Of a piece only its owner writes; sums are relaxed counters, so each value
 * was true once. */
#include "numa/books.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "base/check.h"
#include "numa/machine.h"
#include "numa/meta_map.h"
#include "numa/range.h"

#include <string.h>

enum { TABLE_BYTES = 4096 /* of homes are opened at a time */ };
static_assert((int)PLD_MAX_NODES <= (int)PLD_HOW_POPULATED, "a home fits in a byte");

/* Slices have 1 TiB at most, and there is one more than nodes. */
#define HUGE_MOST ((PLD_MAX_NODES + 1) * (1024 * PLD_GIB >> PLD_HUGE_SHIFT))
#define TABLE_WORDS ((HUGE_MOST / TABLE_BYTES + 63) / 64)

static _Atomic(uint8_t *) homes;                 /* B1 */
static _Atomic uint64_t homes_open[TABLE_WORDS]; /* a bit for TABLE_BYTES of homes */
static _Atomic size_t bytes[PLD_MAX_NODES][PLD_BACKING_KINDS]; /* B2 */
static _Atomic size_t locked[PLD_MAX_NODES][PLD_BACKING_KINDS];
static _Atomic size_t lazy[PLD_MAX_NODES]; /* B5 */
static _Atomic uint64_t fallbacks[PLD_BACKING_KINDS][PLD_REASONS];
static _Atomic uint64_t misplaced;

bool pld_books_is_piece(const void *at, size_t nbytes)
{
        uintptr_t from = (uintptr_t)at;
        return nbytes > 0 && (from | nbytes) % PLD_HUGE_BYTES == 0 && pld_range_has(from) &&
               pld_range_has(from + nbytes - 1);
}

/* --- the table (B1) ------------------------------------------------------------------------ */

static size_t first_of(const void *at)
{
        return ((uintptr_t)at - pld_range.base) >> PLD_HUGE_SHIFT;
}

/* Of what has been opened. */
static uint8_t *home_of(const void *at)
{
        return pld_load_acquire(&homes) + first_of(at); /* pairs with the exchange below */
}

static unsigned node_at(uint8_t home)
{
        return home & ~(unsigned)PLD_HOW_MASK;
}

static enum pld_how how_at(uint8_t home)
{
        return (enum pld_how)(home & PLD_HOW_MASK);
}

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

/* Two threads may open the same part of the table. */
bool pld_books_open(struct pld_piece piece)
{
        uint8_t *table = homes_map();
        size_t first = first_of(piece.at) / TABLE_BYTES;
        size_t last = first_of(piece.at + piece.nbytes - 1) / TABLE_BYTES;
        for (size_t i = first; table && i <= last; i++) {
                uint64_t bit = UINT64_C(1) << (i % 64);
                if (pld_load_relaxed(&homes_open[i / 64]) & bit)
                        continue;
                if (pld_meta_open(table + i * TABLE_BYTES, TABLE_BYTES) != 0)
                        return false;
                pld_or_relaxed(&homes_open[i / 64], bit);
        }
        return table;
}

/* --- entries ------------------------------------------------------------------------------- */

void pld_books_enter(struct pld_piece piece, enum pld_backing kind, enum pld_how how)
{
        int home = (int)piece.node | (int)how;
        memset(home_of(piece.at), home, piece.nbytes >> PLD_HUGE_SHIFT); /* B1 */
        pld_add_relaxed(&bytes[piece.node][kind], piece.nbytes);         /* B2 */
        if (how == PLD_HOW_LAZY)
                pld_add_relaxed(&lazy[piece.node], piece.nbytes); /* B5 */
        if (how == PLD_HOW_LOCKED)
                pld_add_relaxed(&locked[piece.node][kind], piece.nbytes);
}

static void cross_out_one(uint8_t *home, enum pld_backing kind) /* B1, B2, B5 */
{
        unsigned node = node_at(*home);
        PLD_ASSERT(*home);
        pld_sub_relaxed(&bytes[node][kind], PLD_HUGE_BYTES);
        if (how_at(*home) == PLD_HOW_LAZY)
                pld_sub_relaxed(&lazy[node], PLD_HUGE_BYTES);
        if (how_at(*home) == PLD_HOW_LOCKED)
                pld_sub_relaxed(&locked[node][kind], PLD_HUGE_BYTES);
        *home = 0;
}

void pld_books_cross_out(void *at, size_t nbytes, enum pld_backing kind)
{
        uint8_t *home = home_of(at);
        for (size_t i = 0; i < nbytes >> PLD_HUGE_SHIFT; i++)
                cross_out_one(&home[i], kind);
}

void pld_books_rehome(struct pld_piece piece, enum pld_backing kind)
{
        uint8_t *home = home_of(piece.at);
        for (size_t i = 0; i < piece.nbytes >> PLD_HUGE_SHIFT; i++) {
                char *at = piece.at + (i << PLD_HUGE_SHIFT);
                enum pld_how how = how_at(home[i]);
                cross_out_one(&home[i], kind);
                pld_books_enter((struct pld_piece){ at, PLD_HUGE_BYTES, piece.node }, kind, how);
        }
}

void pld_book_huge(void *at, bool huge)
{
        PLD_ASSERT(pld_books_is_piece(at, PLD_HUGE_BYTES));
        enum pld_backing from = huge ? PLD_BACKING_BASE : PLD_BACKING_THP;
        enum pld_backing to = huge ? PLD_BACKING_THP : PLD_BACKING_BASE;
        uint8_t home = *home_of(at);
        unsigned node = node_at(home);
        pld_sub_relaxed(&bytes[node][from], PLD_HUGE_BYTES); /* B2 */
        pld_add_relaxed(&bytes[node][to], PLD_HUGE_BYTES);
        if (how_at(home) == PLD_HOW_LOCKED) {
                pld_sub_relaxed(&locked[node][from], PLD_HUGE_BYTES);
                pld_add_relaxed(&locked[node][to], PLD_HUGE_BYTES);
        }
}

void pld_books_fall_back(enum pld_backing left, enum pld_reason why)
{
        pld_add_relaxed(&fallbacks[left][why], 1);
}

void pld_books_misplace(size_t nhuge)
{
        pld_add_relaxed(&misplaced, nhuge);
}

/* --- reading them -------------------------------------------------------------------------- */

unsigned pld_books_node(const void *at)
{
        return node_at(*home_of(at));
}

size_t pld_books_lazy_bytes(unsigned node)
{
        return pld_load_relaxed(&lazy[node]);
}

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
        return pld_backing_is_of_pool(kind) ? pld_backing_bytes(node, kind)
                                : pld_load_relaxed(&locked[node][kind]);
}
