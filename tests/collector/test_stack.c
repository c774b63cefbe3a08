#include "tests/collector/test_thread.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

Test(stack, a_stack_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_on_stack);
}

static void hold_interior(struct hold *hold)
{
        void *volatile here[2] = { NULL, (char *)~hold->hidden + sizeof(struct node) - 1 };
        pld_store_release(&hold->ready, true);
        poll_until(&hold->done);
        cr_assert_not_null(here[1]);
}

Test(stack, an_interior_pointer_on_a_stack_keeps_an_object, .timeout = 60)
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
        poll_until(&hold->done);
        cr_assert_not_null(here[1]);
}

Test(stack, a_pointer_to_the_end_on_a_stack_keeps_an_object, .timeout = 60)
{
        collected_start();
        expect_kept(hold_the_end);
}

/* As if it had just been made, and its address were nowhere else. */
static __attribute__((noinline)) void make_it_the_newest(struct hold *hold)
{
        polder_thread_.self[PLD_SELF_NEWEST] = (void *)~hold->hidden;
}

static void hold_as_the_newest(struct hold *hold)
{
        make_it_the_newest(hold);
        pld_store_release(&hold->ready, true);
        poll_until(&hold->done);
}

Test(stack, a_threads_newest_object_is_kept, .timeout = 60)
{
        collected_start();
        expect_kept(hold_as_the_newest);
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

Test(stack, a_register_of_a_thread_that_never_polls_keeps_an_object, .timeout = 60)
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

Test(stack, each_register_of_a_thread_that_polls_keeps_an_object, .timeout = 60)
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

Test(stack, each_register_of_a_blocking_thread_keeps_an_object, .timeout = 60)
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
        spin_until(&hold->done);
        polder_blocking_end();
        __asm__ __volatile__("" : "+r"(word));
        __asm__ __volatile__("notq %0" : "+r"(word));
}

Test(stack, what_the_outer_blocking_section_saved_survives_a_nested_one, .timeout = 60)
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
        await(&hold->done);
        cr_assert_not_null(here);
}

Test(stack, the_stack_of_a_detached_thread_keeps_nothing, .timeout = 60)
{
        struct hold hold = { .how = hold_after_detach };
        collected_start();
        hold.hidden = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        hold_start(&hold);
        collect_both_ways();
        cr_expect_not(is_alive(0));
        hold_end(&hold);
}

/* ---- Without /proc, where glibc looks up the main thread's stack ----------------------------- */

static void forbid_opening(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOENT),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { .len = PLD_COUNT_OF(filter), .filter = filter };
        cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

Test(stack, the_main_threads_stack_is_found_where_nothing_can_be_opened, .timeout = 60)
{
        collected_start();
        collect_both_ways(); /* threads are there */
        polder_thread_detach();
        forbid_opening();
        pthread_attr_t attributes;
        cr_assert_neq(pthread_getattr_np(pthread_self(), &attributes), 0);
        cr_assert_eq(polder_thread_attach(), 0);
        struct node *volatile here = node_new(NULL, 4711);
        watch(0, here);
        collect_both_ways();
        cr_expect(is_alive(0));
        cr_expect_eq(here->value, 4711);
}
