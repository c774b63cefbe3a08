#include "tests/collector/collector_test.h"

#include "collector/layout.h"

struct eight {
        void *a, *b, *c, *d, *e, *f, *g, *h;
        uintptr_t tail;
};

static uint64_t bits_of(const struct polder_layout *layout)
{
        return layout->shape->nwords ? layout->shape->pattern[0] : 0;
}

Test(layout, equal_layouts_are_the_same_pointer)
{
        collected_start();
        const uint64_t bits[] = { 3 };
        const struct polder_layout *again = polder_layout(sizeof(struct node), bits);
        cr_expect_eq(node_layout, again);
        cr_expect_eq(again, polder_layout_of(24, (const size_t[]){ 8, 0 }, 2), "in any order");
        cr_expect_eq(again, polder_layout_of(24, (const size_t[]){ 8, 0, 8 }, 3), "and twice");
}

Test(layout, bits_behind_the_end_do_not_count)
{
        collected_start();
        const uint64_t dirty[] = { UINT64_C(0xfffffffffffffff8) | 3 };
        cr_expect_eq(node_layout, polder_layout(sizeof(struct node), dirty));
        const uint64_t last_half[] = { 3 };
        cr_expect_eq(polder_layout(12, last_half), polder_layout(12, (const uint64_t[]){ 1 }),
                     "half a word at the end is no pointer");
}

Test(layout, unequal_layouts_differ)
{
        collected_start();
        const struct polder_layout *first = polder_layout(24, (const uint64_t[]){ 1 });
        cr_expect_neq(first, node_layout);
        cr_expect_neq(first, polder_layout(24, (const uint64_t[]){ 2 }));
        cr_expect_neq(first, polder_layout(16, (const uint64_t[]){ 1 }));
        cr_expect_neq(first, polder_layout(24, NULL));
}

Test(layout, sizes_of_one_class_share_a_shape)
{
        collected_start();
        const struct polder_layout *small = polder_layout(40, (const uint64_t[]){ 5 });
        const struct polder_layout *large = polder_layout(48, (const uint64_t[]){ 5 });
        cr_expect_neq(small, large);
        cr_expect_eq(small->shape, large->shape);
        const struct polder_layout *other = polder_layout(64, (const uint64_t[]){ 5 });
        cr_expect_neq(small->shape, other->shape, "a shape is of one class");
}

Test(layout, arrays_of_all_lengths_in_a_class_share_a_shape)
{
        collected_start();
        unsigned class = pld_class_for(sizeof(struct node) * 50);
        struct pld_shape *shape = pld_layout_array_shape(node_layout, class);
        cr_assert_not_null(shape);
        cr_expect_eq(shape, pld_layout_array_shape(node_layout, class));
        cr_expect_neq(shape, node_layout->shape);
        cr_expect_eq(shape->period, 3);
        cr_expect_neq(shape, pld_layout_array_shape(node_layout, class + 1));
}

Test(layout, without_pointers_it_is_a_leaf)
{
        collected_start();
        const uint64_t none[] = { 0 };
        cr_expect_eq(polder_layout(100, NULL), polder_layout(100, none));
        cr_expect_eq(polder_layout(100, NULL), polder_layout_of(100, NULL, 0));
        cr_expect_eq(polder_layout(100, NULL)->shape, pld_leaf_shape[pld_class_for(100)]);
}

Test(layout, nothing_at_all_is_invalid)
{
        errno = 0;
        cr_expect_null(polder_layout(0, NULL));
        cr_expect_eq(errno, EINVAL);
        errno = 0;
        cr_expect_null(polder_layout_of(0, NULL, 0));
        cr_expect_eq(errno, EINVAL);
}

Test(layout, an_offset_that_is_no_slot_is_invalid)
{
        static const size_t bad[] = { 4, 24, 32, 20, SIZE_MAX - 7 };
        for (size_t i = 0; i < PLD_COUNT_OF(bad); i++) {
                errno = 0;
                cr_expect_null(polder_layout_of(24, &bad[i], 1), "offset %zu", bad[i]);
                cr_expect_eq(errno, EINVAL);
        }
        const size_t half = 8;
        cr_expect_null(polder_layout_of(12, &half, 1), "the slot must fit");
}

Test(layout, the_macro_takes_one_to_eight_fields)
{
        collected_start();
        cr_expect_eq(bits_of(POLDER_LAYOUT(struct eight, c)), 4);
        cr_expect_eq(bits_of(POLDER_LAYOUT(struct eight, b, c)), 6);
        cr_expect_eq(bits_of(POLDER_LAYOUT(struct eight, a, b, c, d, e, f, g)), 0x7f);
        cr_expect_eq(bits_of(POLDER_LAYOUT(struct eight, a, b, c, d, e, f, g, h)), 0xff);
        cr_expect_eq(POLDER_LAYOUT(struct eight, a)->nbytes, sizeof(struct eight));
}

Test(layout, a_pattern_may_be_long)
{
        collected_start();
        size_t nbytes = 100000, last = nbytes - 8;
        const struct polder_layout *layout = polder_layout_of(nbytes, &last, 1);
        cr_assert_not_null(layout);
        cr_expect_eq(layout->shape->nwords, nbytes / 8);
        cr_expect(pld_bit_get(layout->shape->pattern, last / 8));
        cr_expect_not(pld_bit_get(layout->shape->pattern, last / 8 - 1));
        static uint64_t bits[100000 / 8 / 64 + 1];
        bits[last / 8 / 64] = UINT64_C(1) << (last / 8 % 64);
        cr_expect_eq(layout, polder_layout(nbytes, bits));
}

static void *ask_for_many(void *arg)
{
        const struct polder_layout **out = arg;
        for (uint64_t i = 0; i < 500; i++)
                out[i] = polder_layout(8 * 64, &(const uint64_t){ i + 1 });
        return NULL;
}

Test(layout, threads_that_ask_at_once_get_the_same)
{
        static const struct polder_layout *got[4][500];
        pthread_t thread[4];
        collected_start();
        for (int i = 0; i < 4; i++)
                cr_assert_eq(pthread_create(&thread[i], NULL, ask_for_many, got[i]), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(thread[i], NULL);
        for (int i = 1; i < 4; i++)
                cr_expect_arr_eq(got[0], got[i], sizeof got[0]);
        for (int k = 1; k < 500; k++)
                cr_expect_neq(got[0][k], got[0][k - 1]);
}
