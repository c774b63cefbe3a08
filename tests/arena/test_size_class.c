#include "arena/size_class.h"

#include <criterion/criterion.h>

static void start(void)
{
        pld_size_class_start();
}

TestSuite(size_class, .init = start);

Test(size_class, every_size_has_the_smallest_class_that_holds_it)
{
        for (size_t nbytes = 1; nbytes <= PLD_SMALL_MAX; nbytes++) {
                unsigned class = pld_class_of(nbytes);
                cr_assert(class < PLD_NCLASSES);
                cr_assert(pld_classes[class].nbytes >= nbytes);
                cr_assert(class == 0 || pld_classes[class - 1].nbytes < nbytes);
        }
        cr_expect_eq(pld_class_of(0), pld_class_of(1));
}

Test(size_class, no_more_than_an_eighth_or_15_bytes_is_waste)
{
        for (size_t nbytes = 1; nbytes <= PLD_SMALL_MAX; nbytes++) {
                size_t waste = pld_classes[pld_class_of(nbytes)].nbytes - nbytes;
                cr_assert(waste <= 15 || waste * 8 <= nbytes, "%zu wastes %zu", nbytes, waste);
        }
}

Test(size_class, classes_of_16_bytes_and_more_are_aligned_to_16)
{
        for (unsigned i = 1; i < PLD_NCLASSES; i++)
                cr_assert(pld_classes[i].nbytes % 16 == 0);
}

Test(size_class, the_magic_number_divides_every_offset_of_a_span)
{
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                const struct pld_class *class = &pld_classes[i];
                for (size_t at = 0; at < class->npages * PLD_PAGE_BYTES; at++)
                        cr_assert(pld_mul_high(at, class->magic) == at / class->nbytes);
        }
}

Test(size_class, sizes_beyond_the_small_ones_have_a_class_that_fits)
{
        for (size_t nbytes = PLD_SMALL_MAX + 1; nbytes <= PLD_MANUAL_MAX; nbytes += 7) {
                unsigned class = pld_class_beyond(nbytes);
                cr_assert(class >= PLD_NCLASSES_SMALL && class < PLD_NCLASSES);
                cr_assert(pld_classes[class].nbytes >= nbytes);
                cr_assert(pld_classes[class - 1].nbytes < nbytes);
        }
        cr_expect_eq(pld_class_beyond(PLD_MANUAL_MAX), PLD_NCLASSES - 1);
}

static void expect_little_waste(const struct pld_class *class, size_t npages, size_t count,
                                size_t least)
{
        size_t span = npages * PLD_PAGE_BYTES, used = count * class->nbytes;
        cr_assert(used <= span);
        cr_assert((span - used) * 8 <= span, "class of %u", class->nbytes);
        cr_assert(count >= least, "class of %u has %zu", class->nbytes, count);
        cr_assert(count <= PLD_SPAN_OBJECTS_MAX);
}

Test(size_class, spans_waste_little_at_their_end)
{
        for (unsigned i = 0; i < PLD_NCLASSES; i++) {
                const struct pld_class *class = &pld_classes[i];
                bool small = class->nbytes <= PLD_SMALL_MAX;
                expect_little_waste(class, class->npages, class->count, small ? 7 : 3);
                expect_little_waste(class, class->manual_npages, class->manual_count, small ? 5 : 3);
                cr_assert(class->manual_npages <= class->npages, "malloc's are not longer");
        }
}
