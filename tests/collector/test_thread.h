/* test_thread.h: objects that one thread alone holds, in one way or another. */
#ifndef TESTS_COLLECTOR_TEST_THREAD_H
#define TESTS_COLLECTOR_TEST_THREAD_H

#include "tests/collector/collector_test.h"

#include "collector/handshake.h"
#include "collector/safepoint.h"
#include "collector/stack.h"
#include "collector/thread.h"

static __attribute__((unused)) PLD_NOINLINE void *make_deeper(unsigned number)
{
        struct node *node = node_new(NULL, 1);
        watch(number, node);
        return (void *)~(uintptr_t)node;
}

/* A node that nothing refers to, its address in disguise. It is made far down, since
 * the next thread gets this one's stack, with what its frames leave behind. */
static inline void *make_hidden(void *number)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        void *hidden = make_deeper((unsigned)(uintptr_t)number);
        __asm__ __volatile__("" : : "r"(far) : "memory");
        return hidden;
}

struct hold {
        void (*how)(struct hold *hold);
        _Atomic unsigned char done; /* first byte: looked at by assembler */
        _Atomic bool ready;
        uintptr_t hidden;
        pthread_t thread; /* after hold_start() */
};

static inline void *holder_thread(void *arg)
{
        struct hold *hold = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        hold->how(hold);
        return NULL;
}

/* Until the thread is ready, and until it has ended. */
static inline void hold_start(struct hold *hold)
{
        cr_assert_eq(pthread_create(&hold->thread, NULL, holder_thread, hold), 0);
        await(&hold->ready);
}

static inline void hold_end(struct hold *hold)
{
        pld_store_release(&hold->done, 1);
        cr_assert_eq(pthread_join(hold->thread, NULL), 0);
}

/* The object lives while the thread holds it in that way, and dies afterwards: so
 * it was the way that kept it. */
static inline void expect_kept(void (*how)(struct hold *hold))
{
        struct hold hold = { .how = how };
        hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        hold_start(&hold);
        for (int i = 0; i < 3; i++)
                collect_both_ways();
        bool kept = is_alive(0);
        hold_end(&hold);
        cr_expect(kept);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

static inline void hold_on_stack(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        pld_store_release(&hold->ready, true);
        poll_until(&hold->done);
        cr_assert_not_null(here[1]);
}

/* ---- A meeting between two scans ---------------------------------------------------------
 * B, inside Polder, holds the arming of threads open until A is armed, and inside, too; then B
 * is scanned, and A is not. */
static struct {
        _Atomic bool a_is_armed, b_is_scanned, is_over;
} meeting;

/* By A, who has entered: what it does in time, and its own scan. */
static inline void meet_and(void (*fill)(void))
{
        pld_store_release(&meeting.a_is_armed, true);
        spin_until(&meeting.b_is_scanned);
        usleep(2000); /* were others at it, they would have the time */
        fill();
        polder_leave_(); /* and is scanned */
        poll_until(&meeting.is_over);
}

/* By B, when A is armed. */
static inline void leave_and_be_scanned(void)
{
        polder_leave_();
        while (!pld_thread_self()->black)
                polder_safepoint();
        pld_store_release(&meeting.b_is_scanned, true);
        poll_until(&meeting.is_over);
}

/* Never polls. */
static inline void spin(struct hold *hold)
{
        pld_store_release(&hold->ready, true);
        spin_until(&hold->done);
}

#endif
