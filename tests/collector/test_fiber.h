/* test_fiber.h: a thread that goes on another stack for a while. */
#ifndef TESTS_COLLECTOR_TEST_FIBER_H
#define TESTS_COLLECTOR_TEST_FIBER_H

#include "tests/collector/test_thread.h"

#include <sys/mman.h>
#include <ucontext.h>

enum { FIBER_BYTES = 256 << 10 };

static struct fiber {
        ucontext_t main, fiber;
        struct hold *hold;
        void (*how)(struct hold *hold);
} fiber;

static inline void run_fiber(void)
{
        fiber.how(fiber.hold);
}

/* At both sides of the thread's own stack, wherever mmap puts it. */
static inline void switch_to_fiber(struct hold *hold, void (*how)(struct hold *hold), bool registered)
{
        char *stack =
            mmap(NULL, FIBER_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(stack, MAP_FAILED);
        if (registered)
                cr_assert_eq(polder_root_add(stack, FIBER_BYTES), 0);
        fiber.hold = hold;
        fiber.how = how;
        getcontext(&fiber.fiber);
        fiber.fiber.uc_stack.ss_sp = stack;
        fiber.fiber.uc_stack.ss_size = FIBER_BYTES;
        fiber.fiber.uc_link = &fiber.main;
        makecontext(&fiber.fiber, run_fiber, 0);
        swapcontext(&fiber.main, &fiber.fiber);
        if (registered)
                cr_assert_eq(polder_root_remove(stack), 0);
        munmap(stack, FIBER_BYTES);
}

#endif
