#include "tests/arena/arena_test.h"

#include "arena/form.h"
#include "arena/span.h"

static size_t index_by_form(uintptr_t at)
{
        struct pld_place place = pld_place_of(at);
        return pld_place_offset(place, at) * pld_form_magic[pld_place_form(place)] >> PLD_FORM_SHIFT;
}

Test(form, an_index_by_the_page_map_alone_is_that_of_the_span)
{
        arena_test_start(1);
        for (unsigned class = 0; class < PLD_NCLASSES_SMALL; class ++) {
                struct pld_span_wish wish = { .kind = PLD_KIND_COLLECTED, .class = class };
                struct pld_span *span = pld_span_new(&wish);
                cr_assert_not_null(span);
                pld_span_publish(span);
                for (size_t i = 0; i < span->count; i++) {
                        uintptr_t at = pld_span_object(span, i);
                        cr_assert_eq(index_by_form(at), i);
                        cr_assert_eq(index_by_form(at + span->nbytes - 1), i);
                        cr_assert_eq(pld_place_span(pld_place_of(at)), span);
                }
                pld_span_release(span);
        }
}

Test(form, any_address_in_a_large_object_is_of_index_0)
{
        arena_test_start(1);
        struct pld_span_wish wish = { .kind = PLD_KIND_COLLECTED,
                                      .class = PLD_CLASS_LARGE,
                                      .nbytes = 3 * PLD_MIB + 5 };
        struct pld_span *span = pld_span_new(&wish);
        cr_assert_not_null(span);
        pld_span_publish(span);
        for (size_t at = 0; at < 3 * PLD_MIB + 5; at += 4093)
                cr_assert_eq(index_by_form(span->start + at), 0);
        cr_expect_eq(pld_forms[span->form].nbytes, 0);
}

Test(form, when_there_are_no_more_that_of_the_class_serves)
{
        arena_test_start(1);
        unsigned class = pld_class_of(48), all = pld_form_for(class, PLD_FORM_PRECISE), made = 0;
        unsigned first = pld_form_new(class, 5), form = first;
        cr_expect_eq(pld_forms[first].pattern, 5);
        cr_expect_eq(pld_forms[first].reach, 16);
        cr_expect_eq(pld_form_magic[first], pld_form_magic[all]);
        for (; form != all && made <= PLD_NFORMS; made++)
                form = pld_form_new(class, made + 1);
        cr_expect_leq(made, PLD_NFORMS);
        cr_expect_eq(pld_forms[all].pattern, 0, "marking asks the span");
        cr_expect_eq(pld_forms[all].kind, PLD_FORM_PRECISE);
        cr_expect_eq(pld_form_new(PLD_CLASS_LARGE, 1),
                     pld_form_for(PLD_CLASS_LARGE, PLD_FORM_PRECISE));
}

Test(form, pointers_that_follow_each_other_are_a_run)
{
        arena_test_start(1);
        unsigned class = pld_class_of(512);
        cr_expect_eq(pld_forms[pld_form_new(class, 1)].run, 1);
        cr_expect_eq(pld_forms[pld_form_new(class, 0x3c)].run, 4);
        cr_expect_eq(pld_forms[pld_form_new(class, UINT64_C(1) << 63)].run, 1);
        cr_expect_eq(pld_forms[pld_form_new(class, UINT64_MAX)].run, 64);
        cr_expect_eq(pld_forms[pld_form_new(class, 5)].run, 0);
        cr_expect_eq(pld_forms[pld_form_new(class, UINT64_MAX - 2)].run, 0);
}
