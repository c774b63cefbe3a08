#include "tests/collector/test_fiber.h"

#include "arena/sweep.h"
#include "collector/mark.h"
#include "numa/meta_map.h"

#include <stdarg.h>
#include <stdio.h>

static struct node *hook;      /* a root of one word after start() */
static uintptr_t hidden[8];    /* addresses of what was made, in disguise */
static char said[64 << 10];

/* Known to nobody before it runs: so that no register holds what comes close to an address. */
static volatile uintptr_t mask = UINTPTR_MAX;

static void start(void)
{
        collected_start();
        cr_assert_eq(polder_root_add(&hook, sizeof hook), 0);
}

static PLD_NOINLINE void *far_down(void *maker)
{
        char far[64 << 10];
        __asm__ __volatile__("" : : "r"(far) : "memory");
        ((void (*)(void))maker)();
        __asm__ __volatile__("" : : "r"(far) : "memory");
        return NULL;
}

/* Runs a maker on a thread that has ended since, on a stack that no other thread gets, since
 * much is left on it. */
static void make(void (*maker)(void))
{
        static _Alignas(64) char stack[1 << 20];
        pthread_attr_t attributes;
        pthread_t thread;
        pthread_attr_init(&attributes);
        cr_assert_eq(pthread_attr_setstack(&attributes, stack, sizeof stack), 0);
        cr_assert_eq(pthread_create(&thread, &attributes, far_down, (void *)maker), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        pthread_attr_destroy(&attributes);
}

static void start_with(void (*maker)(void))
{
        start();
        make(maker);
}

static void hide(unsigned i, const void *object)
{
        hidden[i] = ~(uintptr_t)object;
}

/* The address is in the frames below, and nowhere else. */
static PLD_NOINLINE int ask_here(uintptr_t disguised, size_t offset)
{
        memset(said, 0, sizeof said);
        FILE *to = fmemopen(said, sizeof said - 1, "w");
        cr_assert_not_null(to);
        int error = polder_why((char *)(disguised ^ mask) + offset, to);
        fclose(to);
        return error;
}

static void *ask_attached(void *i)
{
        cr_assert_eq(polder_thread_attach(), 0);
        return (void *)(intptr_t)ask_here(hidden[(uintptr_t)i], 0);
}

static void *ask_not_attached(void *i)
{
        return (void *)(intptr_t)ask_here(hidden[(uintptr_t)i], 0);
}

/* What it says of hidden[i] to a thread that holds nothing. This one may hold anything, so
 * it is not looked at. */
static int ask(unsigned i)
{
        polder_thread_detach();
        return (int)(intptr_t)on_a_thread(ask_attached, (void *)(uintptr_t)i);
}

static __attribute__((format(printf, 1, 2))) bool says(const char *format, ...)
{
        char words[512];
        va_list list;
        va_start(list, format);
        vsnprintf(words, sizeof words, format, list);
        va_end(list);
        return strstr(said, words) != NULL;
}

static unsigned nlines(void)
{
        return count_lines(said);
}

#define EXPECT_SAID(...) cr_expect(says(__VA_ARGS__), "%s", said)

/* Code with Address Sanitizer in it has the address in a register while it asks. */
#ifdef __SANITIZE_ADDRESS__
#define LOOSE_REGISTERS true
#else
#define LOOSE_REGISTERS false
#endif
#define SHOWN (void *)~

/* ---- Roots ------------------------------------------------------------------------ */

static PLD_NOINLINE void make_list(void)
{
        struct node *last = node_new(NULL, 3), *middle = node_new(NULL, 2);
        polder_store(&middle->other, last);
        struct node *first = node_new(middle, 1);
        polder_store(&roots[5], first);
        hide(0, first);
        hide(1, middle);
        hide(2, last);
}

Test(why, a_chain_goes_from_a_word_of_a_range_through_slots_to_the_object, .timeout = 60)
{
        start_with(make_list);
        cr_expect_eq(ask(2), 0);
        cr_expect_eq(nlines(), 5, "%s", said);
        EXPECT_SAID("polder: what keeps %p:\n  root %p, %zu bytes", SHOWN hidden[2],
                    (void *)roots, sizeof roots);
        EXPECT_SAID(": its word at +40\n"
                    "  object %p, 32 bytes, precise: its slot at +0\n"
                    "  object %p, 32 bytes, precise: its slot at +8\n"
                    "  object %p, 32 bytes, precise\n",
                    SHOWN hidden[0], SHOWN hidden[1], SHOWN hidden[2]);
        cr_expect_eq((intptr_t)on_a_thread(ask_not_attached, (void *)1), 0, "by anyone");
        cr_expect_eq(nlines(), 4, "%s", said);
}

static PLD_NOINLINE void pin_it(void)
{
        struct node *node = node_new(node_new(NULL, 2), 1);
        polder_pin(node);
        polder_pin(node);
        hide(0, node->next);
        char *block = polder_new_uncollectable(100);
        void *leaf = polder_new_leaf(24);
        polder_store((void **)(block + 16), (void *)((char *)leaf + 8));
        hide(1, leaf);
}

Test(why, pins_and_uncollectable_memory_are_roots, .timeout = 60)
{
        start_with(pin_it);
        cr_expect_eq(ask(0), 0);
        EXPECT_SAID(":\n  pinned, 2 times\n  object ");
        cr_expect_eq(ask(1), 0);
        EXPECT_SAID(":\n  uncollectable until polder_free()\n  object ");
        EXPECT_SAID("112 bytes, conservative: its slot at +16 (8 bytes into the next)\n"
                    "  object %p, 32 bytes, leaf\n", SHOWN hidden[1]);
}

/* What ask() says while a thread holds the object in that way. */
static void ask_while(void (*how)(struct hold *hold), int *error, pid_t *id)
{
        struct hold hold = { .how = how };
        hold.hidden = hidden[0] = (uintptr_t)on_a_thread(make_hidden, (void *)0);
        hold_start(&hold);
        *error = ask(0);
        *id = 0;
        sscanf(strstr(said, "thread ") ? strstr(said, "thread ") : "", "thread %d", id);
        hold_end(&hold);
}

static pid_t holder_id;

static void hold_known(struct hold *hold)
{
        holder_id = gettid();
        hold_on_stack(hold);
}

static void hold_the_end(struct hold *hold)
{
        void *volatile here[2] = { NULL, (void *)((hold->hidden - 32) ^ mask) };
        spin(hold);
        cr_assert_not_null(here[1]);
}

static void hold_blocked(struct hold *hold)
{
        register uintptr_t word __asm__("rbx") = hold->hidden;
        __asm__ __volatile__("notq %0" : "+r"(word));
        polder_blocking_begin();
        pld_store_release(&hold->ready, true);
        while (!pld_load_acquire(&hold->done)) {
                __asm__ __volatile__("" : "+r"(word));
                sched_yield();
        }
        polder_blocking_end();
        __asm__ __volatile__("notq %0" : "+r"(word));
}

static PLD_NOINLINE void make_newest(void)
{
        hide(0, polder_new(node_layout));
}

static void hold_newest(struct hold *hold)
{
        far_down((void *)make_newest);
        polder_blocking_begin();
        spin(hold);
        polder_blocking_end();
}

Test(why, stacks_and_registers_of_threads_are_roots_with_the_threads_number, .timeout = 60)
{
        pid_t id;
        int error;
        start();
        ask_while(hold_known, &error, &id);
        cr_expect_eq(error, 0);
        cr_expect(id > 0 && id == holder_id, "%s", said);
        EXPECT_SAID(":\n  thread %d: its stack, at 0x", id);
        cr_expect_not(says("into the next"), "%s", said);
        cr_expect_eq(nlines(), 3, "%s", said);
        ask_while(hold_the_end, &error, &id);
        cr_expect_eq(error, 0);
        EXPECT_SAID(":\n  thread %d: its stack, at 0x", id);
        EXPECT_SAID(" (the end of the next)\n");
        ask_while(hold_newest, &error, &id);
        cr_expect_eq(error, 0);
        EXPECT_SAID(":\n  thread %d: its newest object\n", id);
#if defined(__x86_64__)
        ask_while(hold_blocked, &error, &id);
        cr_expect_eq(error, 0);
        EXPECT_SAID(":\n  thread %d: its registers\n", id);
#endif
}

static PLD_NOINLINE void make_two(void)
{
        hide(0, polder_new(node_layout));
        hide(1, polder_new(node_layout));
}

static void hold_newest_of_two(struct hold *hold)
{
        far_down((void *)make_two);
        polder_blocking_begin();
        spin(hold);
        polder_blocking_end();
}

/* It is known to be an object's first byte, unlike a word of a stack. */
Test(why, the_newest_object_keeps_not_the_one_before_it, .timeout = 60, .disabled = LOOSE_REGISTERS)
{
        pid_t id;
        int error;
        start();
        ask_while(hold_newest_of_two, &error, &id);
        cr_assert_eq(~hidden[1], ~hidden[0] + polder_size_of((void *)~hidden[1]));
        cr_expect_eq(error, -ENOENT, "%s", said);
}

static void hold_on_a_fiber(struct hold *hold)
{
        switch_to_fiber(hold, hold_known, true);
}

Test(why, a_fibers_stack_is_the_threads_while_that_stands_on_it, .timeout = 60)
{
        pid_t id;
        int error;
        start();
        ask_while(hold_on_a_fiber, &error, &id);
        cr_expect_eq(error, 0);
        cr_expect(id > 0 && id == holder_id, "%s", said);
        EXPECT_SAID(":\n  thread %d: its other stack that it stands on, at 0x", id);
}

static PLD_NOINLINE void leave_below(struct hold *hold)
{
        void *volatile far[512];
        for (size_t i = 0; i < PLD_COUNT_OF(far); i++)
                far[i] = (void *)~hold->hidden;
}

static void hold_on_a_fiber_and_below(struct hold *hold)
{
        leave_below(hold);
        hold_known(hold);
}

static void hold_on_a_fiber_twice(struct hold *hold)
{
        switch_to_fiber(hold, hold_on_a_fiber_and_below, true);
}

Test(why, so_it_is_where_words_below_its_frames_lead_there_too, .timeout = 60)
{
        pid_t id;
        int error;
        start();
        ask_while(hold_on_a_fiber_twice, &error, &id);
        cr_expect_eq(error, 0);
        EXPECT_SAID(":\n  thread %d: its other stack that it stands on, at 0x", id);
}

/* ---- The asker -------------------------------------------------------------------- */

static void *ask_with_it_at_hand(void *i)
{
        cr_assert_eq(polder_thread_attach(), 0);
        void *volatile here[2] = { NULL, (void *)~hidden[(uintptr_t)i] };
        int error = ask_here(hidden[(uintptr_t)i], 0);
        cr_assert_not_null(here[1]);
        return (void *)(intptr_t)error;
}

Test(why, the_askers_own_stack_counts_when_nothing_else_does, .timeout = 60)
{
        start_with(make_list);
        cr_expect_eq((intptr_t)on_a_thread(ask_with_it_at_hand, (void *)2), 0);
        EXPECT_SAID("  root %p", (void *)roots);
        cr_expect_not(says("calling thread"), "%s", said);
        polder_store(&roots[5], NULL);
        cr_expect_eq((intptr_t)on_a_thread(ask_with_it_at_hand, (void *)2), 0);
        EXPECT_SAID(":\n  calling thread ");
        EXPECT_SAID(": its stack, at 0x");
        EXPECT_SAID("; nothing else leads there\n  object %p, 32 bytes, precise\n",
                    SHOWN hidden[2]);
}

static void *ask_with_its_holder_at_hand(void *i)
{
        cr_assert_eq(polder_thread_attach(), 0);
        void *volatile here[3] = { (char *)~hidden[0] + 8, NULL, (void *)~hidden[(uintptr_t)i] };
        int error = ask_here(hidden[(uintptr_t)i], 0);
        cr_assert(here[0] && here[2]);
        return (void *)(intptr_t)error;
}

Test(why, a_holder_on_the_askers_stack_tells_more_than_the_object_there, .timeout = 60)
{
        start_with(make_list);
        polder_store(&roots[5], NULL);
        cr_expect_eq((intptr_t)on_a_thread(ask_with_its_holder_at_hand, (void *)2), 0);
        cr_expect_eq(nlines(), 5, "%s", said);
        EXPECT_SAID("; nothing else leads there (8 bytes into the next)\n  object %p,",
                    SHOWN hidden[0]);
}

#if defined(__x86_64__)
static void *ask_with_a_register(void *i)
{
        cr_assert_eq(polder_thread_attach(), 0);
        FILE *to = fmemopen(said, sizeof said - 1, "w");
        register uintptr_t word __asm__("rbx") = hidden[(uintptr_t)i];
        __asm__ __volatile__("notq %0" : "+r"(word));
        int error = polder_why((void *)(hidden[(uintptr_t)i] ^ mask), to);
        __asm__ __volatile__("notq %0" : "+r"(word));
        fclose(to);
        return (void *)(intptr_t)error;
}

Test(why, the_askers_registers_count_as_its_stack_does, .timeout = 60)
{
        start_with(make_list);
        polder_store(&roots[5], NULL);
        cr_expect_eq((intptr_t)on_a_thread(ask_with_a_register, (void *)2), 0);
        EXPECT_SAID(": its registers; nothing else leads there\n");
}
#endif

static void ask_on_fiber(struct hold *hold)
{
        hold->done = (unsigned char)-ask_here(hidden[2], 0);
}

static void *ask_from_a_fiber(void *unused)
{
        struct hold hold = { .done = 0 };
        (void)unused;
        cr_assert_eq(polder_thread_attach(), 0);
        switch_to_fiber(&hold, ask_on_fiber, true);
        return (void *)(intptr_t)-hold.done;
}

Test(why, an_asker_on_a_fiber_does_not_keep_the_object_by_asking, .timeout = 60,
     .disabled = LOOSE_REGISTERS)
{
        start_with(make_list);
        cr_expect_eq((intptr_t)on_a_thread(ask_from_a_fiber, NULL), 0);
        EXPECT_SAID("  root %p", (void *)roots);
        polder_store(&roots[5], NULL);
        cr_expect_eq((intptr_t)on_a_thread(ask_from_a_fiber, NULL), -ENOENT, "%s", said);
}

/* ---- Records and ties --------------------------------------------------------------- */

static _Atomic bool finalizer_runs, finalizer_may_end;

static void linger(void *object, void *arg)
{
        (void)object, (void)arg;
        pld_store_release(&finalizer_runs, true);
        await(&finalizer_may_end);
}

static PLD_NOINLINE void make_finalizable(void)
{
        struct node *kept = node_new(NULL, 2), *arg = node_new(NULL, 3);
        struct node *node = node_new(kept, 1);
        polder_finalizer_set(node, linger, arg);
        hide(0, node);
        hide(1, kept);
        hide(2, arg);
}

static PLD_NOINLINE void make_two_finalizable(void)
{
        make_finalizable();
        hidden[3] = hidden[0];
        make_finalizable();
}

Test(why, a_finalizer_keeps_its_argument_and_what_its_object_refers_to, .timeout = 60,
     .disabled = LOOSE_REGISTERS)
{
        start_with(make_finalizable);
        cr_expect_eq(ask(1), 0);
        EXPECT_SAID(":\n  object %p, which has a finalizer: its slot at +0\n  object %p,",
                    SHOWN hidden[0], SHOWN hidden[1]);
        cr_expect_eq(ask(2), 0);
        EXPECT_SAID(":\n  argument of the finalizer of object %p\n  object %p,", SHOWN hidden[0],
                    SHOWN hidden[2]);
        cr_expect_eq(ask(0), -ENOENT, "the object itself is not kept");
        EXPECT_SAID("  nothing: the next full collection takes it, after its finalizer was called\n");
        polder_store(&hook, (struct node *)~hidden[0]);
        cr_expect_eq(ask(1), 0);
        cr_expect(says("  root %p, 8 bytes", (void *)&hook), "what keeps the object tells more: %s",
                  said);
        pld_store_release(&finalizer_may_end, true);
}

Test(why, an_object_whose_finalizer_is_due_is_kept_for_it, .timeout = 60)
{
        start_with(make_two_finalizable);
        polder_collect(POLDER_STOP_THE_WORLD);
        await(&finalizer_runs);
        cr_expect_eq(ask(0), 0);
        bool first_waits = says(":\n  finalizer that is about to be called\n  object %p,",
                                SHOWN hidden[0]);
        bool first_runs = says(":\n  thread ");
        cr_expect_eq(ask(3), 0);
        bool second_waits = says(":\n  finalizer that is about to be called\n  object %p,",
                                 SHOWN hidden[3]);
        bool second_runs = says(":\n  thread ");
        cr_expect((first_waits && second_runs) || (first_runs && second_waits), "%s", said);
        pld_store_release(&finalizer_may_end, true);
}

static PLD_NOINLINE void make_weak(void)
{
        struct node *node = node_new(NULL, 1);
        struct polder_weak *weak = polder_weak_new(node);
        hide(0, node);
        hide(1, weak);
}

Test(why, a_weak_reference_keeps_nothing_and_is_kept_as_long_as_its_object, .timeout = 60,
     .disabled = LOOSE_REGISTERS)
{
        start_with(make_weak);
        cr_expect_eq(ask(1), 0);
        EXPECT_SAID(":\n  weak reference, which stays as long as its object %p\n", SHOWN hidden[0]);
        cr_expect_eq(ask(0), -ENOENT);
        EXPECT_SAID("  nothing: the next full collection takes it, a weak reference is cleared\n");
        polder_collect(POLDER_CONCURRENT);
        cr_expect_eq(ask(0), -EINVAL, "it said so");
}

static struct polder_weak_table *table;

/* hidden: key, value, owner. */
static PLD_NOINLINE void make_tie(void)
{
        struct node *key = node_new(NULL, 1), *value = node_new(NULL, 2);
        struct polder_ephemeron *ephemeron = polder_ephemeron_new(key, value);
        struct node *holder = node_new(NULL, 3);
        polder_store(&holder->next, (struct node *)ephemeron);
        polder_store(&roots[2], holder);
        polder_store(&roots[1], key);
        hide(0, key);
        hide(1, value);
        hide(2, ephemeron);
}

/* The same with a table, to which the way is shorter than to the key. */
static PLD_NOINLINE void make_entry(void)
{
        struct node *key = node_new(NULL, 1), *value = node_new(NULL, 2);
        polder_store(&table, polder_weak_table_new());
        polder_weak_table_put(table, key, value);
        polder_store(&roots[1], node_new(node_new(key, 1), 1));
        hide(0, key);
        hide(1, value);
        hide(2, table);
}

Test(why, a_tied_value_is_kept_by_whichever_of_owner_and_key_is_farther, .timeout = 60)
{
        start_with(make_tie);
        cr_expect_eq(ask(1), 0);
        EXPECT_SAID(", leaf, ephemeron or weak table: its value for key %p\n  object %p,",
                    SHOWN hidden[0], SHOWN hidden[1]);
        cr_assert_eq(polder_root_add(&table, sizeof table), 0);
        make(make_entry);
        cr_expect_eq(ask(1), 0);
        EXPECT_SAID("  object %p, 32 bytes, precise: the key of a value in ephemeron or weak table "
                    "%p\n  object %p,", SHOWN hidden[0], SHOWN hidden[2], SHOWN hidden[1]);
}

Test(why, a_tied_value_is_not_kept_without_its_key, .timeout = 60,
     .disabled = LOOSE_REGISTERS)
{
        start_with(make_tie);
        polder_store(&roots[1], NULL);
        cr_expect_eq(ask(1), -ENOENT, "%s", said);
        EXPECT_SAID("  nothing: the next full collection takes it\n");
        cr_expect_eq(ask(2), 0);
}

/* ---- The chain ---------------------------------------------------------------------- */

enum { MANY = 1000000 };

static PLD_NOINLINE void make_long_list(void)
{
        struct node *node = NULL;
        for (uintptr_t i = 0; i < MANY; i++) {
                node = node_new(node, i);
                if (i == 0)
                        hide(0, node);
                if (i == MANY / 2)
                        hide(1, node);
        }
        hide(2, node);
        polder_store(&hook, node);
}

Test(why, a_list_of_a_million_objects_is_told_in_a_few_lines, .timeout = 120)
{
        start_with(make_long_list);
        cr_expect_eq(ask(0), 0);
        cr_expect_eq(nlines(), 6, "%s", said);
        EXPECT_SAID(": its word at +0\n  object %p, 32 bytes, precise: its slot at +0\n"
                    "  ... and %d more like it\n  object ", SHOWN hidden[2], MANY - 3);
        EXPECT_SAID("  object %p, 32 bytes, precise\n", SHOWN hidden[0]);
        polder_store(&roots[0], (struct node *)~hidden[1]);
        cr_expect_eq(ask(0), 0);
        cr_expect(says("  root %p", (void *)roots), "the shorter one: %s", said);
        EXPECT_SAID("  ... and %d more like it\n", MANY / 2 - 2);
}

static PLD_NOINLINE void make_wide(void)
{
        struct node **array = polder_new_array(polder_layout(8, &(uint64_t){ 1 }), MANY);
        polder_store(&hook, (struct node *)array);
        hide(0, array);
        for (uintptr_t i = 0; i < MANY; i++)
                polder_store(&array[i], node_new(NULL, i));
        hide(1, array[MANY - 1]);
        struct node *node = node_new(NULL, 1);
        polder_store(&array[MANY - 1]->next, node);
        polder_store(&array[MANY - 2]->other, node);
        hide(2, node);
        hide(3, array[MANY - 2]);
}

Test(why, an_object_among_a_million_others_is_found_by_its_slot, .timeout = 120)
{
        start_with(make_wide);
        cr_expect_eq(ask(1), 0);
        cr_expect_eq(nlines(), 4, "%s", said);
        EXPECT_SAID("  object %p, %zu bytes, precise: its slot at +%zu\n  object %p,",
                    SHOWN hidden[0], polder_size_of(SHOWN hidden[0]), (size_t)(MANY - 1) * 8,
                    SHOWN hidden[1]);
        cr_expect_eq(ask(2), 0);
        EXPECT_SAID("  object %p, 32 bytes, precise: its slot at +8\n", SHOWN hidden[3]);
}

static PLD_NOINLINE void *ask_inside(void *unused)
{
        (void)unused;
        return (void *)(intptr_t)ask_here(hidden[2], 17);
}

Test(why, any_address_inside_an_object_asks_about_it, .timeout = 60)
{
        start_with(make_list);
        cr_expect_eq((intptr_t)on_a_thread(ask_inside, NULL), 0);
        EXPECT_SAID("polder: what keeps %p, in which %p lies:\n", SHOWN hidden[2],
                    (void *)(~hidden[2] + 17));
}

static PLD_NOINLINE void make_pair(void)
{
        struct node *node = node_new(NULL, 2);
        polder_store(&roots[0], node_new(node, 1));
        hide(0, node);
}

Test(why, what_only_dead_old_objects_lead_to_is_kept_by_nothing, .timeout = 60,
     .disabled = LOOSE_REGISTERS)
{
        setenv("POLDER_GENERATIONS", "1", 1);
        start_with(make_pair);
        polder_collect(POLDER_YOUNG);
        polder_collect(POLDER_YOUNG);
        cr_expect_eq(ask(0), 0);
        polder_store(&roots[0], NULL);
        polder_collect(POLDER_YOUNG);
        int error = ask(0);
        cr_expect(error == -ENOENT || error == -EINVAL, "%d", error);
}

/* ---- Refusals ----------------------------------------------------------------------- */

Test(why, what_is_no_collected_object_is_refused, .timeout = 60)
{
        int local = 0;
        cr_expect_eq(polder_why(&local, stderr), -EINVAL, "before Polder has started");
        start();
        void *block = polder_malloc(100);
        cr_expect_eq(polder_why(NULL, stderr), -EINVAL);
        cr_expect_eq(polder_why(&local, stderr), -EINVAL);
        cr_expect_eq(polder_why(block, stderr), -EINVAL);
        cr_expect_eq(polder_why((void *)UINTPTR_MAX, stderr), -EINVAL);
        make(make_list);
        cr_expect_eq(polder_why(roots[5], NULL), -EINVAL);
        polder_free(block);
}

Test(why, without_memory_nothing_is_written_and_nothing_is_lost, .timeout = 60)
{
        pld_fake_reset();
        pld_fake_add_node(0, 2, 4 * PLD_GIB);
        pld_fake_install();
        start_with(make_long_list);
        size_t before = pld_meta_mapped_bytes();
        for (unsigned skip = 0;; skip++) {
                pld_fake_fail(PLD_FAKE_MAP, skip, 1, ENOMEM);
                int error = ask(0);
                pld_fake_fail(PLD_FAKE_MAP, 0, 0, ENOMEM);
                cr_expect_eq(pld_meta_mapped_bytes(), before);
                if (!error) {
                        cr_expect_gt(skip, 20);
                        break;
                }
                cr_expect_eq(error, -ENOMEM);
                cr_expect_str_eq(said, "");
        }
}

Test(why, an_error_in_writing_is_told, .timeout = 60)
{
        start_with(make_list);
        FILE *full = fopen("/dev/full", "w");
        cr_assert_not_null(full);
        cr_expect_eq(polder_why(roots[5], full), -EIO);
        fclose(full);
}

/* ---- Beside everything else --------------------------------------------------------- */

static void *collect_once(void *unused)
{
        (void)unused;
        collect_both_ways();
        return NULL;
}

static ssize_t collect_and_write(void *cookie, const char *bytes, size_t n)
{
        (void)bytes;
        on_a_thread(collect_once, NULL); /* for ever, if anything were held */
        ++*(unsigned *)cookie;
        return (ssize_t)n;
}

Test(why, nothing_is_held_while_it_writes, .timeout = 60)
{
        start_with(make_list);
        unsigned nwrites = 0;
        FILE *to = fopencookie(&nwrites, "w",
                               (cookie_io_functions_t){ .write = collect_and_write });
        cr_assert_not_null(to);
        cr_expect_eq(polder_why(roots[5], to), 0);
        fclose(to);
        cr_expect_gt(nwrites, 0);
}

struct census {
        uint64_t objects, marked, sum;
};

static void count_span(struct pld_span *span, void *arg)
{
        struct census *census = arg;
        for (size_t i = 0; i < span->count; i++) {
                uintptr_t object = pld_span_object(span, i);
                if (!pld_span_has_object(span, i))
                        continue;
                census->objects++;
                census->marked += pld_span_is_marked(span, i);
                census->sum += object * (1 + 2 * (uint64_t)pld_span_is_marked(span, i));
        }
}

static struct census census_now(void)
{
        struct census census = { 0 };
        pld_collected_each(count_span, &census);
        return census;
}

/* Marks that stay from cycle to cycle, weak references, ties: all is as it was. */
Test(why, asking_changes_nothing, .timeout = 120,
     .disabled = LOOSE_REGISTERS)
{
        setenv("POLDER_GENERATIONS", "1", 1);
        start_with(make_long_list);
        make(make_tie);
        polder_collect(POLDER_YOUNG);
        make(make_list);
        make(make_weak);
        struct census before = census_now();
        struct polder_stats stats = stats_now();
        cr_assert(before.marked > 0 && before.marked < before.objects);
        cr_expect_eq(ask(1), 0);
        cr_expect_eq(ask(0), -ENOENT);
        struct census after = census_now();
        cr_expect_eq(after.objects, before.objects);
        cr_expect_eq(after.marked, before.marked);
        cr_expect_eq(after.sum, before.sum);
        cr_expect_eq(stats_now().cycles, stats.cycles);
        cr_expect_eq(stats_now().stops, stats.stops + 2, "each asking is a stop");
        polder_collect(POLDER_YOUNG); /* verified */
        collect_both_ways();
        cr_expect_eq(ask(1), -EINVAL);
}

static void *churn_and_ask(void *arg)
{
        struct gang *gang = arg;
        cr_assert_eq(polder_thread_attach(), 0);
        FILE *to = fopen("/dev/null", "w");
        pld_add_release(&gang->nready, 1);
        for (uintptr_t n = 0; !pld_load_acquire(&gang->done); n++) {
                struct node **slot = &roots[n % PLD_COUNT_OF(roots)];
                polder_store(slot, node_new(node_new(polder_load(slot), n), n));
                if (n % 64 == 0)
                        polder_store(slot, NULL);
                struct node *node = polder_load(&roots[n * 7 % PLD_COUNT_OF(roots)]);
                if (n % 128 == 5 && node)
                        cr_assert_eq(polder_why(node->next, to), 0);
        }
        fclose(to);
        return NULL;
}

Test(why, threads_may_ask_while_others_run_and_cycles_come_and_go, .timeout = 120)
{
        struct gang gang;
        collected_start_as("concurrent", "verify");
        gang_start(&gang, 4, churn_and_ask);
        for (int i = 0; i < 20; i++)
                collect_both_ways();
        gang_stop(&gang);
}
