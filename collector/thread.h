/* thread.h: attached threads. */
#ifndef PLD_COLLECTOR_THREAD_H
#define PLD_COLLECTOR_THREAD_H

#include "arena/cache.h"
#include "base/list.h"
#include "base/registers.h"
#include "collector/journal.h"
#include "collector/mark.h"

#include <polder/collected.h>
#include <polder/thread.h>

#include <pthread.h>

/* Bits of polder_thread_.shading. */
enum {
        PLD_SHADE_OLD = 1,      /* what a store overwrites */
        PLD_SHADE_NEW = 2,      /* what it stores */
        PLD_SHADE_ATTACH = 4,   /* the thread is not attached */
        PLD_SHADE_RECORD = 8,   /* debug: slots are recorded, to find plain stores */
        PLD_SHADE_NOTE = 16     /* slots of old objects are noted down (journal.h) */
};

/* Places in polder_thread_.self. */
enum {
        PLD_SELF_THREAD, /* struct pld_thread; NULL: not attached */
        PLD_SELF_NEWEST  /* its newest object */
};

enum pld_thread_state {
        PLD_THREAD_RUNNING, /* serves its own steps */
        PLD_THREAD_BLOCKED, /* in a blocking section: others serve for it */
        PLD_THREAD_HELD,    /* someone serves for it, or it is stopped */
        PLD_THREAD_AWAY,    /* someone serves for it while it runs outside of Polder (T7) */
        PLD_THREAD_AWAITING /* the same, and it has come to enter, and waits */
};

static inline bool pld_thread_is_away(uint32_t state)
{
        return state == PLD_THREAD_AWAY || state == PLD_THREAD_AWAITING;
}

struct pld_thread;
typedef void (*pld_step)(struct pld_thread *thread);

struct pld_thread {
        struct polder_thread_ *tls;       /* const while attached */
        struct pld_cache *cache;          /* const while attached */
        struct pld_list link;             /* threads lock */
        pid_t process, id;                /* const while attached, but for fork() */
        uintptr_t stack_base;             /* const while attached: the high end */
        uintptr_t stack_low;              /* const while attached */
        _Atomic uint32_t state;           /* enum pld_thread_state */
        _Atomic(pld_step) asked;          /* set by the asker, taken by who serves */
        _Atomic bool pending;             /* set by the asker, cleared by who served */
        _Atomic uint32_t signalled;       /* a signal is on its way */
        bool held_for;                    /* threads lock: HELD or AWAY by the asker, for a stop */
        uint32_t blocking_depth;          /* owner */
        uintptr_t sp;                     /* owner, before it is BLOCKED or HELD */
        uintptr_t stack_end;              /* the same: of the stack that sp is on */
        struct pld_registers registers;   /* the same */
        struct pld_marker marker;         /* owner, or who serves for it */
        bool black;                       /* the same: its objects are born marked */
        bool had_work;                    /* the same: answer to a flush */
        uint64_t allocated;               /* owner: bytes, not yet told to the pacer, */
        uint64_t unasked;                 /* and of them, what was rounding to size classes */
        size_t unpolled;                  /* owner: bytes reserved since it last came the long way */
        double assist_debt;               /* owner: bytes of scan work owed */
        struct pld_journal journal;       /* owner, or who serves for it */
};

/* The calling thread's; NULL while it is not attached. */
static inline struct pld_thread *pld_thread_self(void)
{
        return polder_thread_.self[PLD_SELF_THREAD];
}

int pld_thread_start(void);
/* Attaches the caller; NULL: no memory. */
struct pld_thread *pld_thread_attach(void);

/* The lock is waited for in a blocking section. */
void pld_threads_lock(void);
void pld_threads_unlock(void);
bool pld_threads_are_locked(void);
extern struct pld_list pld_threads; /* threads lock: the attached ones */
/* What a thread becomes that attaches from now on; threads lock. */
void pld_threads_set_birth(unsigned char shading, bool black);
void pld_threads_each_locked(pld_step visit);
unsigned pld_threads_count_locked(void);

static inline struct pld_thread *pld_thread_at(struct pld_list *item)
{
        return pld_container_of(item, struct pld_thread, link);
}

void pld_thread_fork_prepare(void);
void pld_thread_fork_parent(void);
void pld_thread_fork_child(void);

#endif
