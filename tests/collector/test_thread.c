#include "tests/collector/collector_test.h"

#include "collector/thread.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

static unsigned count_threads(void)
{
        pld_threads_lock();
        unsigned n = pld_threads_count_locked();
        pld_threads_unlock();
        return n;
}

/* ---- Coming and going ------------------------------------------------------------------ */

static void *attach_by_hand(void *out)
{
        cr_assert_null(pld_thread_self());
        cr_assert_eq(polder_thread_attach(), 0);
        cr_assert_eq(polder_thread_attach(), 0, "twice is no error");
        *(unsigned *)out = count_threads();
        polder_thread_detach();
        polder_thread_detach();
        cr_assert_null(pld_thread_self());
        cr_assert_eq(polder_thread_attach(), 0, "it may come again");
        return NULL;
}

Test(thread, a_thread_attaches_and_detaches_by_hand)
{
        unsigned during;
        collected_start();
        unsigned before = count_threads();
        on_a_thread(attach_by_hand, &during);
        cr_expect_eq(during, before + 1);
        cr_expect_eq(count_threads(), before, "the end of a thread detaches it");
}

static void *allocate_one(void *unused)
{
        (void)unused;
        cr_assert_not_null(polder_new_leaf(8));
        cr_assert_not_null(pld_thread_self());
        return NULL;
}

static void *store_one(void *unused)
{
        static struct node dummy;
        (void)unused;
        polder_store(&roots[1], &dummy);
        cr_assert_not_null(pld_thread_self());
        cr_assert_eq(roots[1], &dummy);
        return NULL;
}

static void *exchange_one(void *unused)
{
        struct node *expected = roots[1];
        (void)unused;
        cr_assert(polder_compare_exchange(&roots[1], &expected, NULL));
        cr_assert_not_null(pld_thread_self());
        return NULL;
}

static void *clear_one(void *unused)
{
        (void)unused;
        polder_clear(&roots[1], sizeof roots[1]);
        cr_assert_not_null(pld_thread_self());
        return NULL;
}

Test(thread, allocating_and_storing_attach)
{
        collected_start();
        unsigned before = count_threads();
        on_a_thread(allocate_one, NULL);
        on_a_thread(store_one, NULL);
        on_a_thread(exchange_one, NULL);
        on_a_thread(clear_one, NULL);
        cr_expect_eq(count_threads(), before);
}

static void *collect_unattached(void *unused)
{
        (void)unused;
        collect_both_ways();
        return NULL;
}

Test(thread, an_unattached_thread_may_collect, .timeout = 60)
{
        collected_start();
        on_a_thread(collect_unattached, NULL);
}

static __attribute__((unused)) void *wait_to_be_cancelled(void *arg)
{
        struct gang *gang = arg;
        int ends[2];
        char byte;
        cr_assert_eq(pipe(ends), 0);
        cr_assert_eq(polder_thread_attach(), 0);
        polder_blocking_begin();
        pld_add_release(&gang->nready, 1);
        ssize_t got = read(ends[0], &byte, 1);
        (void)got;
        return NULL;
}

#if !defined(__SANITIZE_ADDRESS__) /* which stumbles over its own end of a thread then */
Test(thread, a_cancelled_thread_detaches, .timeout = 60)
{
        struct gang gang;
        collected_start();
        unsigned before = count_threads();
        gang_start(&gang, 4, wait_to_be_cancelled);
        cr_expect_eq(count_threads(), before + 4);
        for (unsigned i = 0; i < gang.n; i++)
                pthread_cancel(gang.thread[i]);
        gang_stop(&gang);
        cr_expect_eq(count_threads(), before);
        collect_both_ways();
}
#endif

static pthread_key_t late_key;

static void use_polder_late(void *round)
{
        cr_assert_not_null(polder_new_leaf(16));
        if ((uintptr_t)round < 8)
                pthread_setspecific(late_key, (void *)((uintptr_t)round + 1));
}

static void *end_slowly(void *first)
{
        pthread_setspecific(late_key, first);
        return NULL;
}

Test(thread, destructors_of_thread_specific_values_may_use_polder, .timeout = 60)
{
        cr_assert_eq(pthread_key_create(&late_key, use_polder_late), 0);
        collected_start();
        unsigned before = count_threads();
        on_a_thread(end_slowly, (void *)8);
        cr_expect_eq(count_threads(), before);
        collect_both_ways();
}

static void *bring_late_key(void *unused)
{
        (void)unused;
        cr_assert_eq(pthread_key_create(&late_key, use_polder_late), 0);
        return NULL;
}

/* A key that is older than Polder's, and one that is younger. */
Test(thread, destructors_that_use_polder_up_to_the_third_round_leave_no_thread_behind,
     .timeout = 60)
{
        collected_start();
        bring_late_key(NULL);
        unsigned before = count_threads();
        on_a_thread(end_slowly, (void *)8);
        on_a_thread(end_slowly, (void *)7);
        on_a_thread(end_slowly, (void *)6);
        cr_expect_eq(count_threads(), before);
        collect_both_ways();
}

static void *come_and_go(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                struct node *node = node_new(polder_load(&roots[2]), 1);
                polder_store(&node->next, NULL);
                polder_store(&roots[2], node);
                polder_thread_detach();
        }
        return NULL;
}

Test(thread, threads_may_come_and_go_in_every_phase, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 4, come_and_go);
        for (int i = 0; i < 60; i++)
                collect_both_ways();
        gang_stop(&gang);
}

static void *live_shortly(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < 100; i++)
                cr_assert_not_null(node_new(NULL, i));
        return NULL;
}

Test(thread, many_threads_live_and_die_while_cycles_run, .timeout = 120)
{
        pthread_t thread[16];
        collected_start();
        unsigned before = count_threads();
        for (int round = 0; round < 30; round++) {
                for (unsigned i = 0; i < PLD_COUNT_OF(thread); i++)
                        cr_assert_eq(pthread_create(&thread[i], NULL, live_shortly, NULL), 0);
                polder_collect_start();
                for (unsigned i = 0; i < PLD_COUNT_OF(thread); i++)
                        pthread_join(thread[i], NULL);
        }
        cr_expect_eq(count_threads(), before);
}

/* ---- polder_thread_create ------------------------------------------------------------------ */

static void *collect_and_look(void *arg)
{
        for (int i = 0; i < 3; i++)
                collect_both_ways();
        cr_assert_not_null(polder_weak_get(weaks[0]));
        return (void *)((struct node *)arg)->value;
}

static void *create_with_object(void *out)
{
        struct node *node = node_new(NULL, 42);
        watch(0, node);
        cr_assert_eq(polder_thread_create(out, collect_and_look, node), 0);
        return NULL;
}

Test(thread, create_keeps_the_argument_alive_until_start_has_it, .timeout = 60)
{
        uintptr_t thread;
        void *result;
        collected_start();
        on_a_thread(create_with_object, &thread);
        cr_assert_eq(pthread_join((pthread_t)thread, &result), 0);
        cr_expect_eq((uintptr_t)result, 42);
        collect_both_ways();
        cr_expect_not(is_alive(0), "and not longer");
}

static void *same(void *arg)
{
        cr_assert_not_null(pld_thread_self(), "attached from the start");
        return arg;
}

Test(thread, create_passes_any_argument_as_it_is)
{
        uintptr_t thread;
        void *result;
        char local;
        collected_start();
        char *object = polder_new_leaf(64);
        void *const args[] = { NULL, &local, (void *)1, object + 13 };
        for (size_t i = 0; i < PLD_COUNT_OF(args); i++) {
                cr_assert_eq(polder_thread_create(&thread, same, args[i]), 0);
                cr_assert_eq(pthread_join((pthread_t)thread, &result), 0);
                cr_expect_eq(result, args[i]);
        }
        cr_expect_eq(polder_unpin(object), -ENOENT, "no pin stays behind");
}

static __attribute__((unused)) void *create_in_vain(void *unused)
{
        (void)unused;
        struct node *node = node_new(NULL, 42);
        uintptr_t thread = 4711;
        watch(0, node);
        struct rlimit limit = { 1 << 20, RLIM_INFINITY };
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        int error = polder_thread_create(&thread, collect_and_look, node);
        limit.rlim_cur = RLIM_INFINITY;
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        cr_assert_eq(error, -EAGAIN);
        cr_assert_eq(thread, 4711);
        cr_assert_eq(polder_unpin(node), -ENOENT);
        return NULL;
}

#if !defined(__SANITIZE_ADDRESS__) /* which needs address space of its own */
Test(thread, create_that_fails_keeps_nothing, .timeout = 60)
{
        collected_start();
        collect_both_ways();
        on_a_thread(create_in_vain, NULL);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}
#endif

/* ---- Stacks and registers --------------------------------------------------------- */

static PLD_NOINLINE void *make_deeper(unsigned number)
{
        struct node *node = node_new(NULL, 1);
        watch(number, node);
        return (void *)~(uintptr_t)node;
}

/* A node that nothing refers to, its address in disguise. It is made far down, since
 * the next thread gets this one's stack, with what its frames leave behind. */
static void *make_hidden(void *number)
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
};

static void *holder_thread(void *arg)
{
        struct hold *hold = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        hold->how(hold);
        return NULL;
}

/* The object lives while the thread holds it in that way, and dies afterwards: so
 * it was the way that kept it. */
static void expect_kept(void (*how)(struct hold *hold))
{
        struct hold hold = { .how = how };
        pthread_t thread;
        hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        cr_assert_eq(pthread_create(&thread, NULL, holder_thread, &hold), 0);
        while (!pld_load_acquire(&hold.ready))
                sched_yield();
        for (int i = 0; i < 3; i++)
                collect_both_ways();
        bool kept = is_alive(0);
        pld_store_release(&hold.done, 1);
        pthread_join(thread, NULL);
        cr_expect(kept);
        collect_both_ways();
        cr_expect_not(is_alive(0));
}

static void hold_on_stack(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                polder_safepoint();
        cr_assert_not_null(here[1]);
}

Test(thread, a_stack_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_stack);
}

static void hold_interior(struct hold *hold)
{
        void *volatile here[2] = { NULL, (char *)~hold->hidden + sizeof(struct node) - 1 };
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                polder_safepoint();
        cr_assert_not_null(here[1]);
}

Test(thread, an_interior_pointer_on_a_stack_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_interior);
}

/* node's class has 32 bytes, where the end is another object or none. */
static void hold_the_end(struct hold *hold)
{
        void *volatile here[2] = { NULL,
                                   (char *)~hold->hidden + polder_size_of((void *)~hold->hidden) };
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                polder_safepoint();
        cr_assert_not_null(here[1]);
}

Test(thread, a_pointer_to_the_end_on_a_stack_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_the_end);
}

#if defined(__x86_64__)
/* No call, no memory: the pointer is in one register while it lasts. */
#define SPIN_WITH(constraint, hold)                                                                \
        do {                                                                                       \
                uintptr_t word_ = (hold)->hidden;                                                  \
                __asm__ __volatile__("notq %0\n\t"                                                 \
                                     "movb $1, %1\n\t"                                             \
                                     "1: pause\n\t"                                                \
                                     "cmpb $0, %2\n\t"                                             \
                                     "je 1b\n\t"                                                   \
                                     "notq %0"                                                     \
                                     : "+" constraint(word_), "=m"((hold)->ready)                  \
                                     : "m"((hold)->done)                                           \
                                     : "memory", "cc");                                            \
        } while (0)

static void hold_in_rax(struct hold *hold)
{
        SPIN_WITH("a", hold);
}

static void hold_in_rbx(struct hold *hold)
{
        SPIN_WITH("b", hold);
}

Test(thread, a_register_of_a_thread_that_never_polls_keeps_an_object, .timeout = 60)
{
        collected_start();
        uint64_t before = pld_thread_wakeups();
        expect_kept(hold_in_rax);
        expect_kept(hold_in_rbx);
        cr_expect_gt(pld_thread_wakeups(), before, "it was stopped by signals");
}

/* Whichever of them the functions of a poll push themselves, others they don't. */
#define DEFINE_HOLD_WHILE_POLLING(name)                                                            \
        static void hold_while_polling_##name(struct hold *hold)                                   \
        {                                                                                          \
                register uintptr_t word __asm__(#name) = hold->hidden;                             \
                __asm__ __volatile__("notq %0" : "+r"(word));                                      \
                pld_store_release(&hold->ready, true);                                             \
                while (!pld_load_acquire(&hold->done)) {                                           \
                        polder_safepoint();                                                        \
                        __asm__ __volatile__("" : "+r"(word));                                     \
                }                                                                                  \
                __asm__ __volatile__("notq %0" : "+r"(word));                                      \
        }
DEFINE_HOLD_WHILE_POLLING(rbx)
DEFINE_HOLD_WHILE_POLLING(r12)
DEFINE_HOLD_WHILE_POLLING(r13)
DEFINE_HOLD_WHILE_POLLING(r14)
DEFINE_HOLD_WHILE_POLLING(r15)

Test(thread, each_register_of_a_thread_that_polls_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_while_polling_rbx);
        expect_kept(hold_while_polling_r12);
        expect_kept(hold_while_polling_r13);
        expect_kept(hold_while_polling_r14);
        expect_kept(hold_while_polling_r15);
}

/* All that dead frames left below the caller's, to the last word. */
static inline __attribute__((always_inline)) void overwrite_stack(void)
{
        uintptr_t at, left = 512;
        __asm__ __volatile__("movq %%rsp, %0\n\t"
                             "1: subq $8, %0\n\t"
                             "movq $0, (%0)\n\t"
                             "decq %1\n\t"
                             "jnz 1b"
                             : "=&r"(at), "+r"(left)
                             :
                             : "memory", "cc");
}

/* polder_blocking_begin() pushes some of them itself, and its frame is soon gone. */
#define DEFINE_HOLD_WHILE_BLOCKING(name)                                                           \
        static void hold_while_blocking_##name(struct hold *hold)                                  \
        {                                                                                          \
                register uintptr_t word __asm__(#name) = hold->hidden;                             \
                __asm__ __volatile__("notq %0" : "+r"(word));                                      \
                polder_blocking_begin();                                                           \
                overwrite_stack();                                                                 \
                __asm__ __volatile__("" : "+r"(word));                                             \
                pld_store_release(&hold->ready, true);                                             \
                while (!pld_load_acquire(&hold->done))                                             \
                        pld_pause();                                                               \
                polder_blocking_end();                                                             \
                __asm__ __volatile__("notq %0" : "+r"(word));                                      \
        }
DEFINE_HOLD_WHILE_BLOCKING(rbx)
DEFINE_HOLD_WHILE_BLOCKING(r12)
DEFINE_HOLD_WHILE_BLOCKING(r13)
DEFINE_HOLD_WHILE_BLOCKING(r14)
DEFINE_HOLD_WHILE_BLOCKING(r15)

Test(thread, each_register_of_a_blocking_thread_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_while_blocking_rbx);
        expect_kept(hold_while_blocking_r12);
        expect_kept(hold_while_blocking_r13);
        expect_kept(hold_while_blocking_r14);
        expect_kept(hold_while_blocking_r15);
}

static PLD_NOINLINE void nest_with_other_registers(void)
{
        register uintptr_t other __asm__("r12") = 0;
        char far[1024]; /* what was pushed above it is not saved with the frame */
        __asm__ __volatile__("" : "+r"(other) : "r"(far) : "memory");
        polder_blocking_begin();
        polder_blocking_end();
        __asm__ __volatile__("" : "+r"(other));
}

static void hold_around_a_nested_section(struct hold *hold)
{
        register uintptr_t word __asm__("r12") = hold->hidden;
        __asm__ __volatile__("notq %0" : "+r"(word));
        polder_blocking_begin();
        nest_with_other_registers();
        overwrite_stack();
        __asm__ __volatile__("" : "+r"(word));
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                pld_pause();
        polder_blocking_end();
        __asm__ __volatile__("" : "+r"(word));
        __asm__ __volatile__("notq %0" : "+r"(word));
}

Test(thread, what_the_outer_blocking_section_saved_survives_a_nested_one, .timeout = 60)
{
        collected_start();
        expect_kept(hold_around_a_nested_section);
}
#endif

static void hold_after_detach(struct hold *hold)
{
        void *volatile here = (void *)~hold->hidden;
        polder_thread_detach();
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                sched_yield();
        cr_assert_not_null(here);
}

Test(thread, the_stack_of_a_detached_thread_keeps_nothing, .timeout = 60)
{
        struct hold hold = { .how = hold_after_detach };
        pthread_t thread;
        collected_start();
        hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        cr_assert_eq(pthread_create(&thread, NULL, holder_thread, &hold), 0);
        while (!pld_load_acquire(&hold.ready))
                sched_yield();
        collect_both_ways();
        cr_expect_not(is_alive(0));
        pld_store_release(&hold.done, 1);
        pthread_join(thread, NULL);
}

/* ---- Other stacks
 * --------------------------------------------------------------------------------- */

enum { FIBER_BYTES = 256 << 10 };

static struct fiber {
        ucontext_t main, fiber;
        struct hold *hold;
        void (*how)(struct hold *hold);
} fiber;

static void run_fiber(void)
{
        fiber.how(fiber.hold);
}

/* At both sides of the thread's own stack, wherever mmap puts it. */
static void switch_to_fiber(struct hold *hold, void (*how)(struct hold *hold), bool registered)
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

static void hold_on_fiber(struct hold *hold)
{
        switch_to_fiber(hold, hold_on_stack, true);
}

Test(thread, a_fiber_that_polls_keeps_what_its_stack_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_fiber);
}

static void spin(struct hold *hold)
{
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                pld_pause();
}

static void hold_spinning(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        spin(hold);
        cr_assert_not_null(here[1]);
}

static void hold_on_spinning_fiber(struct hold *hold)
{
        switch_to_fiber(hold, hold_spinning, true);
}

Test(thread, a_fiber_that_never_polls_is_stopped_and_keeps_what_its_stack_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_spinning_fiber);
}

static void hold_below_spinning_fiber(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        switch_to_fiber(hold, spin, true);
        cr_assert_not_null(here[1]);
}

Test(thread, the_own_stack_of_a_thread_on_a_fiber_keeps_what_it_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_below_spinning_fiber);
}

static void hold_blocking(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        polder_blocking_begin();
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done))
                sched_yield();
        polder_blocking_end();
        cr_assert_not_null(here[1]);
}

static void hold_on_blocking_fiber(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        switch_to_fiber(hold, hold_blocking, true);
        cr_assert_not_null(here[1]);
}

Test(thread, a_fiber_may_block, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_blocking_fiber);
}

static struct hold *on_signal_hold;

static void on_alternate_stack(int number)
{
        (void)number;
        hold_spinning(on_signal_hold);
}

static void with_alternate_stack(struct hold *hold, void (*fn)(int))
{
        stack_t stack = { .ss_sp = malloc(64 << 10), .ss_size = 64 << 10 };
        struct sigaction action = { .sa_handler = fn, .sa_flags = SA_ONSTACK };
        cr_assert_eq(sigaltstack(&stack, NULL), 0);
        cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
        on_signal_hold = hold;
        pthread_kill(pthread_self(), SIGUSR1);
        void *block = stack.ss_sp;
        stack.ss_flags = SS_DISABLE;
        sigaltstack(&stack, NULL);
        free(block);
}

static void hold_on_alternate_stack(struct hold *hold)
{
        with_alternate_stack(hold, on_alternate_stack);
}

Test(thread, an_alternate_signal_stack_keeps_what_it_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_alternate_stack);
}

static void spin_on_signal(int number)
{
        (void)number;
        spin(on_signal_hold);
}

static void hold_below_alternate_stack(struct hold *hold)
{
        void *volatile here[4] = { NULL, (void *)~hold->hidden };
        with_alternate_stack(hold, spin_on_signal);
        cr_assert_not_null(here[1]);
}

Test(thread, what_a_signal_on_an_alternate_stack_interrupted_keeps_what_it_holds, .timeout = 60)
{
        collected_start();
        expect_kept(hold_below_alternate_stack);
}

/* The main thread's stack is mapped as far as it was used, and no further. */
Test(thread, the_main_thread_may_run_a_fiber, .timeout = 60)
{
        struct hold hold = { .done = 1 };
        collected_start();
        hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        void *volatile here[4] = { NULL, (void *)~hold.hidden };
        void (*collect)(struct hold *) = (void (*)(struct hold *))collect_both_ways;
        switch_to_fiber(&hold, collect, true);
        cr_expect(is_alive(0));
        cr_expect_not_null(here[1]);
}

static void poll_on_unknown_stack(void)
{
        struct hold hold = { .done = 0 };
        collected_start();
        void (*collect)(struct hold *) = (void (*)(struct hold *))collect_both_ways;
        switch_to_fiber(&hold, collect, false);
}

Test(thread, a_stack_that_polder_does_not_know_is_named)
{
        expect_death(poll_on_unknown_stack, "polder_root_add");
}

/* ---- Blocking sections
 * ----------------------------------------------------------------------------- */

static int silent[2];

static void *poll_for_long(void *arg)
{
        struct gang *gang = arg;
        struct pollfd fd = { .fd = silent[0], .events = POLLIN };
        cr_assert_eq(polder_thread_attach(), 0);
        polder_blocking_begin();
        pld_add_release(&gang->nready, 1);
        int n = poll(&fd, 1, -1);
        int error = errno;
        polder_blocking_end();
        cr_assert_eq(n, 1, "poll: %s", strerror(error));
        return NULL;
}

Test(thread, a_blocking_thread_is_neither_signalled_nor_waited_for, .timeout = 60)
{
        struct gang gang;
        collected_start();
        cr_assert_eq(pipe(silent), 0);
        gang_start(&gang, 3, poll_for_long);
        uint64_t before = pld_thread_wakeups();
        for (int i = 0; i < 50; i++)
                collect_both_ways();
        cr_expect_eq(pld_thread_wakeups(), before);
        cr_assert_eq(write(silent[1], "", 1), 1);
        gang_stop(&gang);
}

static _Atomic unsigned ninterrupted, npolls;

static void *poll_often(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        for (unsigned i = 0; !pld_load_acquire(&gang->done); i++) {
                struct node *node = node_new(NULL, i);
                polder_store(&roots[3], node);
                polder_blocking_begin();
                if (poll(NULL, 0, i % 2 ? 1 : 0) < 0)
                        pld_add_relaxed(&ninterrupted, 1);
                polder_blocking_end();
                pld_add_relaxed(&npolls, 1);
                cr_assert_eq(node->value, i);
                for (volatile unsigned k = 0; k < i % 64 * 100; k++)
                        ; /* be caught outside, too */
        }
        return NULL;
}

Test(thread, no_signal_reaches_into_a_blocking_section, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 3, poll_often);
        for (int i = 0; i < 200; i++)
                collect_both_ways();
        gang_stop(&gang);
        cr_expect_gt(npolls, 0);
        cr_expect_eq(ninterrupted, 0, "%u of %u", ninterrupted, npolls);
}

static void *flutter(void *arg)
{
        struct gang *gang = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                polder_blocking_begin();
                polder_blocking_end();
        }
        return NULL;
}

Test(thread, threads_may_enter_and_leave_blocking_sections_at_any_moment, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 4, flutter);
        for (int i = 0; i < 200; i++)
                collect_both_ways();
        gang_stop(&gang);
}

static void *return_arg(void *arg)
{
        pld_threads_lock();
        uint32_t state = pld_load_relaxed(&pld_thread_self()->state);
        pld_threads_unlock();
        cr_assert_eq(state, PLD_THREAD_BLOCKED);
        return arg;
}

Test(thread, blocking_call_calls_in_a_section_and_returns_the_result)
{
        int local;
        collected_start();
        cr_expect_eq(polder_blocking_call(return_arg, &local), &local);
        cr_expect_eq(pld_load_relaxed(&pld_thread_self()->state), PLD_THREAD_RUNNING);
}

Test(thread, sections_nest)
{
        collected_start();
        polder_blocking_begin();
        polder_blocking_begin();
        polder_blocking_end();
        cr_expect_eq(pld_load_relaxed(&pld_thread_self()->state), PLD_THREAD_BLOCKED);
        polder_blocking_end();
        cr_expect_eq(pld_load_relaxed(&pld_thread_self()->state), PLD_THREAD_RUNNING);
        polder_blocking_end();
        cr_expect_not_null(polder_new_leaf(8), "one end too many is ignored");
}

Test(thread, a_collection_inside_a_blocking_section_is_no_deadlock, .timeout = 60)
{
        collected_start();
        polder_blocking_begin();
        collect_both_ways();
        polder_blocking_end();
}

static void *block_unattached(void *unused)
{
        (void)unused;
        polder_blocking_begin();
        polder_blocking_end();
        cr_assert_null(pld_thread_self());
        polder_safepoint();
        return NULL;
}

Test(thread, an_unattached_thread_may_block_and_poll)
{
        collected_start();
        on_a_thread(block_unattached, NULL);
}

/* ---- Signals and errno
 * ---------------------------------------------------------------------------------- */

static _Atomic unsigned nurgent;

static void on_urgent(int number)
{
        if (number == SIGURG)
                pld_add_relaxed(&nurgent, 1);
}

static void on_urgent_info(int number, siginfo_t *info, void *context)
{
        if (number == SIGURG && info && context)
                pld_add_relaxed(&nurgent, 1);
}

static void expect_handler_called(struct sigaction action)
{
        cr_assert_eq(sigaction(SIGURG, &action, NULL), 0);
        collected_start();
        raise(SIGURG);
        cr_expect_eq(nurgent, 1);
        struct hold hold = { .how = spin };
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, holder_thread, &hold), 0);
        while (!pld_load_acquire(&hold.ready))
                sched_yield();
        for (int i = 0; i < 10; i++)
                collect_both_ways();
        cr_expect_gt(pld_thread_wakeups(), 0);
        cr_expect_eq(nurgent, 1, "Polder's own signals are not the program's");
        pthread_kill(thread, SIGURG);
        while (pld_load_relaxed(&nurgent) < 2)
                sched_yield();
        pld_store_release(&hold.done, 1);
        pthread_join(thread, NULL);
}

Test(thread, a_handler_that_was_there_before_is_called_still, .timeout = 60)
{
        expect_handler_called((struct sigaction){ .sa_handler = on_urgent });
}

Test(thread, a_handler_with_info_that_was_there_before_is_called_still, .timeout = 60)
{
        expect_handler_called(
            (struct sigaction){ .sa_sigaction = on_urgent_info, .sa_flags = SA_SIGINFO });
}

static void *poll_with_signal_masked(void *arg)
{
        struct gang *gang = arg;
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, NULL);
        cr_assert_eq(polder_thread_attach(), 0);
        pld_add_release(&gang->nready, 1);
        while (!pld_load_acquire(&gang->done)) {
                polder_safepoint();
                polder_blocking_begin();
                polder_blocking_end();
        }
        return NULL;
}

Test(thread, a_thread_with_all_signals_masked_is_stopped_by_polls, .timeout = 60)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 2, poll_with_signal_masked);
        for (int i = 0; i < 20; i++)
                collect_both_ways();
        gang_stop(&gang);
}

static void *watch_errno(void *arg)
{
        struct gang *gang = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        pld_add_release(&gang->nready, 1);
        for (unsigned i = 0; !pld_load_acquire(&gang->done); i++) {
                errno = 4711;
                polder_safepoint();
                cr_assert_eq(errno, 4711, "safepoint: %d", errno);
                polder_store(&roots[4], roots[5]);
                cr_assert_eq(errno, 4711, "store: %d", errno);
                polder_blocking_begin();
                cr_assert_eq(errno, 4711, "begin: %d", errno);
                sched_yield();
                polder_blocking_end();
                cr_assert_eq(errno, 4711, "end: %d", errno);
                cr_assert_not_null(polder_new(node_layout));
                cr_assert_eq(errno, 4711, "new: %d", errno);
        }
        return NULL;
}

Test(thread, nothing_on_the_way_touches_errno, .timeout = 120)
{
        struct gang gang;
        collected_start();
        gang_start(&gang, 4, watch_errno);
        for (int i = 0; i < 200; i++)
                collect_both_ways();
        gang_stop(&gang);
}
