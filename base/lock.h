/* lock.h: mutexes with a place in the project's one lock order.
 *
 * A thread takes locks in rising rank only; debug builds check it (the idea is
 * jemalloc's witness). A release build counts how many locks the thread holds,
 * because a thread that holds one must not be stopped by a signal: whoever
 * stops it might need the same lock. */
#ifndef PLD_BASE_LOCK_H
#define PLD_BASE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The whole lock order, outermost first. */
enum pld_rank {
        PLD_RANK_COLLECTOR_START, /* starting the collector, which starts the arena */
        PLD_RANK_START,     /* starting the arena */
        PLD_RANK_CYCLE,     /* one collection at a time */
        PLD_RANK_THREADS,   /* the list of attached threads; held through a handshake */
        PLD_RANK_ROOTS,     /* root ranges, pins */
        PLD_RANK_RECORDS,   /* weak references and finalizers */
        PLD_RANK_LAYOUTS,   /* the table of layouts */
        PLD_RANK_HEAPS,     /* the list of heaps, and of what they are made of */
        PLD_RANK_CACHE,     /* the list of thread caches; one shard of a heap */
        PLD_RANK_CENTRAL,   /* one central's span lists */
        PLD_RANK_EXTENT,    /* the record of what is backed; held through a callback */
        PLD_RANK_PAGE_HEAP, /* one node's page heap */
        PLD_RANK_JOURNAL,   /* what markers have noted down */
        PLD_RANK_MARK,      /* mark queues */
        PLD_RANK_BACKING,   /* counters and the machine's state */
        PLD_RANK_META,      /* the metadata allocator */
        PLD_RANK_LEAF       /* anything that takes no further lock */
};

struct pld_lock {
        _Atomic uint32_t state; /* 0 free, 1 held, 2 held and waited for */
        uint32_t rank;          /* const after init */
};

#define PLD_LOCK_INIT(rank_) { .state = 0, .rank = (rank_) }

void pld_lock_init(struct pld_lock *lock, enum pld_rank rank);
void pld_lock(struct pld_lock *lock);
bool pld_lock_try(struct pld_lock *lock);
void pld_unlock(struct pld_lock *lock);
/* For assertions: somebody holds it (in debug builds: this thread does). */
bool pld_lock_is_held(const struct pld_lock *lock);
/* From now on who finds one of the arena's locks held waits for it without a system
 * call, even where its owner has lost the processor: for programs that are to make
 * none. Before there are threads. */
void pld_locks_be_patient(void);
/* How many locks the calling thread holds; safe in a signal handler. */
unsigned pld_locks_held(void);
/* Around fork(): takes the lock for the whole process, outside of every rank
 * and count, and gives it back, in the parent as in the child. */
void pld_lock_seize(struct pld_lock *lock);
void pld_lock_cede(struct pld_lock *lock);

#endif
