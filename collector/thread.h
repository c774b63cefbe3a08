/* thread.h: attached threads, and how a collection gets at them. */
#ifndef PLD_COLLECTOR_THREAD_H
#define PLD_COLLECTOR_THREAD_H

#include "arena/cache.h"
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
        bool held_for;                    /* threads lock: HELD by the asker, for a stop */
        uint32_t blocking_depth;          /* owner */
        uintptr_t sp;                     /* owner, before it is BLOCKED or HELD */
        uintptr_t stack_end;              /* the same: of the stack that sp is on */
        struct pld_registers registers;   /* the same */
        struct pld_marker marker;         /* owner, or who serves for it */
        bool black;                       /* the same: its objects are born marked */
        bool had_work;                    /* the same: answer to a flush */
        uint64_t allocated;               /* owner: bytes, not yet told to the pacer */
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

/* What a thread becomes that attaches from now on; threads lock. */
void pld_threads_set_birth(unsigned char shading, bool black);
void pld_threads_lock(void);
void pld_threads_unlock(void);
/* What a step needs of its thread. */
enum pld_need {
        PLD_NEEDS_STACK, /* its stack and registers: it stands still */
        PLD_NEEDS_STATE  /* what is written inside of Polder only: it may run elsewhere (T7) */
};
/* Every attached thread does the step once, by itself, or it is done for it.
 * Threads lock held; the caller is no mutator, or is in a blocking section. */
void pld_threads_handshake_locked(pld_step step, enum pld_need need);
/* Holds every thread, each after having done the step; until resumed. One that is held
 * by PLD_NEEDS_STATE may run, but not enter Polder. False: some
 * did not come within within_ns (0: as long as it takes); the others are held all
 * the same, and must be resumed. */
bool pld_threads_stop_locked(pld_step step, enum pld_need need, uint64_t within_ns);
/* Returns when they could go on. */
uint64_t pld_threads_resume_locked(void);
void pld_threads_each_locked(pld_step visit);
unsigned pld_threads_count_locked(void);

/* Inside a step or while the thread is held: every word of its stack and
 * registers that may be a pointer. Of one that runs elsewhere: none. */
typedef void (*pld_stack_visit)(uintptr_t from, uintptr_t to, void *arg);
void pld_thread_stack_each(struct pld_thread *thread, pld_stack_visit visit, void *arg);

/* The calling thread's stack is to be scanned from there on. Dies where that is on
 * no stack that Polder knows. */
void pld_thread_stand(struct pld_thread *self, uintptr_t sp);
/* Around waiting inside Polder: like a blocking section. The registers are
 * those of the function it stands in. thread NULL: nothing happens. */
#define pld_thread_block(thread)                                                               \
        do {                                                                                   \
                struct pld_thread *blocked_ = (thread);                                        \
                if (blocked_) {                                                                \
                        if (blocked_->blocking_depth == 0) { /* T5 */                          \
                                pld_registers_save(&blocked_->registers);                      \
                                pld_thread_stand(blocked_, pld_stack_pointer());               \
                        }                                                                      \
                        pld_thread_block_saved(blocked_);                                      \
                }                                                                              \
        } while (0)
void pld_thread_block_saved(struct pld_thread *thread);
void pld_thread_unblock(struct pld_thread *thread);

/* The calling thread is one of Polder's that is attached: it takes no signals but the one
 * that stops it, and those that it causes itself. */
void pld_thread_admit_stops(void);
uint64_t pld_thread_wakeups(void); /* signals sent, ever */
void pld_thread_fork_prepare(void);
void pld_thread_fork_parent(void);
void pld_thread_fork_child(void);

void pld_enter_slow(void);

/* Inside; waits while somebody serves for the thread as for one that is outside (T7). */
static inline void pld_look_up(void)
{
        if (pld_unlikely(polder_flag_(&polder_thread_.asked)))
                pld_enter_slow();
        pld_fence_acquire(); /* raise_flag()'s release; no instruction on x86-64 */
}

static inline void pld_enter(void)
{
        polder_enter_();
        pld_look_up();
}

static inline void pld_leave(void)
{
        polder_leave_();
}

#endif
