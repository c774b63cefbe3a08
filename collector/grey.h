/* grey.h: objects that are marked and not yet scanned.
 *
 * They travel in chunks: a marker fills one of its own and gives it away when
 * full. There is one queue a node; an object is scanned by a worker of its home
 * node as long as that one keeps up. */
#ifndef PLD_COLLECTOR_GREY_H
#define PLD_COLLECTOR_GREY_H

#include "base/atomic.h"
#include "base/bits.h"

enum { PLD_GREY_ITEMS = 253 };

/* An item is an address; its high bits are those of a page map's entry for it (form.h).
 * Low bits: an object is at least 8-byte aligned. */
enum {
        PLD_GREY_SCAN,      /* marked; to be scanned from its first byte on */
        PLD_GREY_REST,      /* the rest of a large object, from this address on */
        PLD_GREY_CANDIDATE, /* a pointer to another node's object: not yet marked */
        PLD_GREY_TIED,      /* a marked object that may be a key or an owner (tie.h) */
        PLD_GREY_KEYED,     /* no object: a tie, from which on those of its key are looked at */
        PLD_GREY_OWNED,     /* the same, those of its owner */
        PLD_GREY_TAGS = 7
};

#define PLD_GREY_ADDRESS (((uintptr_t)1 << 48) - 1 - PLD_GREY_TAGS)

struct pld_grey_chunk {
        struct pld_grey_chunk *next;
        uint64_t n;
        uintptr_t item[PLD_GREY_ITEMS];
};

/* Chunks queued plus markers at work: 0 when nothing is left to do. A marker that
 * takes a chunk takes over its credit, and gives it back when it runs dry. */
extern _Atomic int64_t pld_grey_credits;
/* A chunk could not be had: some marked object is in no chunk. */
extern _Atomic bool pld_grey_overflow;

/* An empty chunk, or NULL. */
struct pld_grey_chunk *pld_grey_chunk_new(void);
void pld_grey_chunk_free(struct pld_grey_chunk *chunk);
/* Queues a chunk that is not empty. */
void pld_grey_put(unsigned node, struct pld_grey_chunk *chunk);
/* From this node, else from the others, nearest first. The caller must give its
 * credit back by pld_grey_done(). NULL: all queues are empty. */
struct pld_grey_chunk *pld_grey_take(unsigned node);
void pld_grey_done(void);
/* Sleeps until there is no credit, at most timeout_ns. */
void pld_grey_await_dry(uint64_t timeout_ns);
/* Waits until something is queued, at most timeout_ns; may_spin: for a moment without sleeping. */
void pld_grey_wait(uint64_t timeout_ns, bool may_spin);
/* Somebody waits, and that node's queue has nothing to wake him for. */
bool pld_grey_is_wanted(unsigned node);
void pld_grey_wake(void);
void pld_grey_start(void);
void pld_grey_fork_prepare(void);
void pld_grey_fork_done(void);
void pld_grey_fork_child(void);

#endif
