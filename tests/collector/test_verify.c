#include "collector/handshake.h"
#include "collector/thread.h"
#include "tests/collector/collector_test.h"

#include "arena/sweep.h"
#include "collector/mark.h"
#include "collector/verify.h"

/* Marks everything that is there, but for one object. */
static uintptr_t left_out;

static void mark_all(struct pld_span *span, void *unused)
{
        (void)unused;
        for (size_t i = 0; i < span->count; i++)
                if (pld_span_has_object(span, i) && pld_span_object(span, i) != left_out)
                        pld_span_mark(span, i);
}

static void do_nothing(struct pld_thread *thread)
{
        (void)thread;
}

/* As in the terminating stop. */
static void verify_now(void)
{
        polder_blocking_begin();
        pld_threads_lock();
        pld_threads_stop_locked(do_nothing, PLD_NEEDS_STACK, 0);
        pld_collected_each(mark_all, NULL);
        pld_verify_marks_locked();
        pld_threads_resume_locked();
        pld_threads_unlock();
        polder_blocking_end();
}

static void *hang_on_root(void *conservative)
{
        struct node *inner = node_new(NULL, 2);
        struct node *outer = conservative ? polder_new_conservative(64) : polder_new(node_layout);
        polder_store(&outer->next, inner);
        polder_store(&roots[0], outer);
        left_out = (uintptr_t)inner;
        return NULL;
}

static void verify_with_all_marked(void)
{
        collected_start();
        on_a_thread(hang_on_root, NULL);
        left_out = 0;
        verify_now();
}

static void verify_with_a_field_missed(void)
{
        collected_start();
        on_a_thread(hang_on_root, NULL);
        verify_now();
}

static void verify_with_a_word_missed(void)
{
        collected_start();
        on_a_thread(hang_on_root, &left_out);
        verify_now();
}

static void verify_with_a_root_missed(void)
{
        collected_start();
        on_a_thread(hang_on_root, NULL);
        left_out = (uintptr_t)roots[0];
        verify_now();
}

static void verify_with_a_pin_missed(void)
{
        collected_start();
        left_out = (uintptr_t)polder_new_leaf(8);
        polder_pin((void *)left_out);
        verify_now();
}

static void ignore(void *object, void *arg)
{
        (void)object, (void)arg;
}

static void *set_finalizer(void *unused)
{
        (void)unused;
        struct node *inner = node_new(NULL, 1);
        left_out = (uintptr_t)inner;
        polder_finalizer_set(node_new(inner, 1), ignore, NULL);
        return NULL;
}

static void verify_with_a_finalizers_field_missed(void)
{
        collected_start();
        on_a_thread(set_finalizer, NULL);
        verify_now();
}

static void *make_garbage(void *unused)
{
        (void)unused;
        left_out = (uintptr_t)node_new(NULL, 1);
        return NULL;
}

static void verify_with_garbage_unmarked(void)
{
        collected_start();
        on_a_thread(make_garbage, NULL);
        verify_now();
}

static void verify_with_a_stack_word(void)
{
        collected_start();
        on_a_thread(make_garbage, NULL);
        void *volatile stale = (void *)left_out;
        verify_now();
        if (!stale)
                _exit(1);
}

static void expect_quiet(void (*fn)(void))
{
        char said[2048];
        int status = in_a_child(fn, said, sizeof said);
        cr_expect_eq(status, 0, "%x: %s", status, said);
        cr_expect_str_eq(said, "");
}

Test(verify, is_quiet_when_all_is_marked)
{
        expect_quiet(verify_with_all_marked);
}

Test(verify, does_not_complain_of_garbage_nor_of_what_only_stacks_lead_to)
{
        expect_quiet(verify_with_garbage_unmarked);
        expect_quiet(verify_with_a_stack_word);
}

Test(verify, dies_when_a_mark_is_missing)
{
        expect_death(verify_with_a_field_missed, "verify: the mark missed object");
        expect_death(verify_with_a_field_missed, "verify: 1 reachable objects were not marked");
        expect_death(verify_with_a_word_missed, "verify: the mark missed object");
        expect_death(verify_with_a_root_missed, "verify: the mark missed object");
        expect_death(verify_with_a_pin_missed, "verify: the mark missed object");
        expect_death(verify_with_a_finalizers_field_missed, "verify: the mark missed object");
}

Test(verify, names_the_object_its_kind_and_the_slot)
{
        char said[2048], object[32], kind[32], slot[32], holder[32];
        size_t nbytes;
        in_a_child(verify_with_a_field_missed, said, sizeof said);
        cr_assert_eq(sscanf(said,
                            "polder: verify: the mark missed object %31s (%31[a-z], %zu bytes); "
                            "slot %31s of %31s refers to it",
                            object, kind, &nbytes, slot, holder),
                     5, "%s", said);
        cr_expect_str_eq(kind, "precise");
        cr_expect_eq(nbytes, 32);
        cr_expect_str_eq(slot, holder, "the first field");
        cr_expect_str_neq(object, holder);
}

/* A pointer that the barrier never saw. */
static void lose_an_object(void)
{
        collected_start();
        on_a_thread(hang_on_root, NULL);
        polder_collect(POLDER_CONCURRENT);
        struct node *plain = roots[0];
        struct node *hidden = plain->next;
        (void)hidden;
        polder_collect(POLDER_CONCURRENT);
}

Test(verify, a_sound_program_passes_whole_cycles)
{
        expect_quiet(lose_an_object);
}
