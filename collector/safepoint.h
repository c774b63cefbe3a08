/* safepoint.h: into Polder and out of it, and what a thread does there for who asks. */
#ifndef PLD_COLLECTOR_SAFEPOINT_H
#define PLD_COLLECTOR_SAFEPOINT_H

#include "collector/stack.h"
#include "collector/thread.h"

int pld_safepoint_start(void);

/* Around waiting inside Polder: like a blocking section. The registers are
 * those of the function it stands in. thread NULL: nothing happens. */
#define pld_thread_block(thread)                                                               \
        do {                                                                                   \
                struct pld_thread *blocked_ = (thread);                                        \
                if (blocked_) {                                                                \
                        if (blocked_->blocking_depth == 0) { /* T5 */                          \
                                pld_registers_save(&blocked_->registers);                      \
                                pld_stack_stand(blocked_, pld_stack_pointer());               \
                        }                                                                      \
                        pld_thread_block_saved(blocked_);                                      \
                }                                                                              \
        } while (0)
void pld_thread_block_saved(struct pld_thread *thread);
void pld_thread_unblock(struct pld_thread *thread);

/* The calling thread is one of Polder's that is attached: it takes no signals but the one
 * that stops it, and those that it causes itself. */
void pld_thread_admit_stops(void);

/* ---- Between who asks and who is asked (handshake.c) ------------------------------------ */

extern _Atomic uint32_t pld_answers;      /* changes when a step is done */
extern _Atomic uint32_t pld_asker_sleeps;
extern _Atomic uint32_t pld_stopping;     /* odd while threads are held */
extern pld_step pld_stop_step;            /* threads lock; const while stopping */

/* A hint to look at `asked`, which is where the step travels. */
void pld_flag_set(struct pld_thread *thread, unsigned char up);
/* The step that a stop asks for: the stop's own, and then waiting. */
void pld_step_hold(struct pld_thread *thread);
/* By who did the step. */
void pld_step_answer(struct pld_thread *thread);
/* By the asker: the thread that runs elsewhere may enter again. */
void pld_thread_come_back(struct pld_thread *thread);
/* By the asker; not 0: it could not be sent. */
int pld_thread_signal(const struct pld_thread *thread);

/* ---- In and out ---------------------------------------------------------------------------- */

void pld_enter_slow(void);

/* Inside; waits while somebody serves for the thread as for one that is outside (T7). */
static inline void pld_look_up(void)
{
        if (pld_unlikely(polder_flag_(&polder_thread_.asked)))
                pld_enter_slow();
        pld_fence_acquire(); /* pld_flag_set()'s release; no instruction on x86-64 */
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
