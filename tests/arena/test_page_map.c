#include "tests/arena/arena_test.h"

#include "arena/page_map.h"
#include "arena/span.h"

#include <sys/mman.h>
#include <unistd.h>

static bool is_entry_there(uintptr_t at)
{
        uintptr_t page = (uintptr_t)getpagesize();
        uintptr_t entry = (uintptr_t)&pld_page_map[(at - pld_range.base) >> PLD_PAGE_SHIFT];
        unsigned char there;
        cr_assert_eq(mincore((void *)(entry / page * page), page, &there), 0);
        return there & 1;
}

static struct pld_span *publish(unsigned slice)
{
        struct pld_span_wish wish = { .kind = PLD_KIND_COLLECTED,
                                      .class = pld_class_of(100),
                                      .slice = slice };
        struct pld_span *span = pld_span_new(&wish);
        cr_assert_not_null(span);
        pld_span_publish(span);
        return span;
}

Test(page_map, a_word_leads_to_the_span_that_it_points_into)
{
        arena_test_start(2);
        for (unsigned slice = 0; slice < 2; slice++) {
                struct pld_span *span = publish(slice);
                uintptr_t end = span->start + (span->npages << PLD_PAGE_SHIFT);
                cr_expect_eq(pld_place_span(pld_place_of_word(span->start)), span);
                cr_expect_eq(pld_place_span(pld_place_of_word(end - 1)), span);
                cr_expect_eq(pld_place_of_word(end).bits, 0);
        }
}

Test(page_map, a_word_beyond_all_spans_touches_no_entry)
{
        arena_test_start(2);
        size_t slice_bytes = (size_t)1 << pld_range.slice_shift;
        publish(1);
        for (unsigned slice = 0; slice < pld_range.nslices; slice++) {
                uintptr_t beyond = pld_range_slice_at(slice) + slice_bytes / 2;
                cr_expect_eq(pld_place_of_word(beyond).bits, 0);
                cr_expect_not(is_entry_there(beyond), "slice %u", slice);
                cr_expect_eq(pld_place_of(beyond).bits, 0);
                cr_expect(is_entry_there(beyond), "slice %u: it would be seen", slice);
        }
}

Test(page_map, entries_that_were_touched_are_looked_at)
{
        arena_test_start(1);
        size_t nbytes = 64 * PLD_HUGE_BYTES;
        uintptr_t at = pld_range_slice_at(0), end = at + nbytes;
        pld_page_map_touch(at, nbytes);
        cr_expect(is_entry_there(end - 1));
        cr_expect_eq(pld_page_map_end[0], end);
        pld_page_map_touch(at, PLD_HUGE_BYTES);
        cr_expect_eq(pld_page_map_end[0], end, "it only rises");
}

Test(page_map, words_outside_the_range_lead_nowhere)
{
        arena_test_start(1);
        cr_expect_eq(pld_place_of_word(0).bits, 0);
        cr_expect_eq(pld_place_of_word(UINTPTR_MAX).bits, 0);
        cr_expect_eq(pld_place_of_word(pld_range.base - 1).bits, 0);
        cr_expect_eq(pld_place_of_word(pld_range.base + pld_range.nbytes).bits, 0);
}
