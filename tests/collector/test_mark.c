#include "tests/collector/collector_test.h"

#include "collector/mark.h"
#include "collector/roots.h"
#include "collector/scan.h"
#include "collector/thread.h"
#include "collector/worker.h"

#include <sys/resource.h>

/* ---- Through layouts ---------------------------------------------------------------- */

enum { CHAIN = 100000 };

static void *make_chain(void *unused)
{
        (void)unused;
        for (uintptr_t i = 0; i < CHAIN; i++)
                polder_store(&roots[0], node_new(roots[0], i));
        return NULL;
}

static void expect_chain(void)
{
        uintptr_t n = 0;
        for (struct node *node = polder_load(&roots[0]); node; node = polder_load(&node->next), n++)
                cr_assert_eq(node->value, CHAIN - 1 - n);
        cr_expect_eq(n, CHAIN);
}

Test(mark, a_long_chain_is_followed_to_its_end)
{
        collected_start();
        make_and_collect(make_chain);
        expect_chain();
        cr_expect_geq(stats_now().live_bytes, CHAIN * sizeof(struct node));
}

static void *make_pointer_in_a_leaf(void *unused)
{
        (void)unused;
        struct node **leaf = polder_new_leaf(64);
        struct node *node = node_new(NULL, 0);
        *leaf = node;
        watch(0, node);
        watch(1, leaf);
        polder_store(&roots[0], (struct node *)leaf);
        return NULL;
}

Test(mark, a_leaf_keeps_nothing)
{
        collected_start();
        make_and_collect(make_pointer_in_a_leaf);
        cr_expect(is_alive(1));
        cr_expect_not(is_alive(0));
}

static void *make_pointer_in_a_number(void *unused)
{
        (void)unused;
        struct node *dead = node_new(NULL, 0);
        struct node *holder = node_new(NULL, (uintptr_t)dead);
        watch(0, dead);
        polder_store(&roots[0], holder);
        return NULL;
}

Test(mark, a_word_that_the_layout_does_not_name_keeps_nothing)
{
        collected_start();
        make_and_collect(make_pointer_in_a_number);
        cr_expect_not(is_alive(0));
}

static void *make_interior_pointers(void *unused)
{
        (void)unused;
        char **holder = polder_new_conservative(64);
        char *small = polder_new_leaf(100), *large = polder_new_leaf(1 << 20);
        watch(0, small);
        watch(1, large);
        polder_store(&holder[3], small + 99);
        polder_store(&holder[7], large + (1 << 20) - 1);
        polder_store(&roots[0], (struct node *)holder);
        return NULL;
}

Test(mark, a_conservative_object_keeps_what_it_points_into)
{
        collected_start();
        make_and_collect(make_interior_pointers);
        cr_expect(is_alive(0));
        cr_expect(is_alive(1));
}

/* ---- Arrays --------------------------------------------------------------------------- */

static size_t array_count;

static void *make_array(void *conservative)
{
        size_t n = array_count;
        struct node *array = conservative ? polder_new_conservative(n * sizeof *array)
                                          : polder_new_array(node_layout, n);
        cr_assert_not_null(array);
        polder_store(&roots[0], array);
        /* Every element of few, or a spread of many with the last ones. */
        for (size_t i = 0; i < NWEAKS / 2; i++) {
                size_t at = n <= NWEAKS / 2 ? i % n : i < 8 ? n - 1 - i : n / (NWEAKS / 2) * i;
                struct node *first = node_new(NULL, at), *second = node_new(NULL, at);
                polder_store(&array[at].next, first);
                polder_store(&array[at].other, second);
                watch((unsigned)(2 * i), first);
                watch((unsigned)(2 * i + 1), second);
        }
        return NULL;
}

static void expect_elements_kept(size_t count, bool conservative)
{
        array_count = count;
        collected_start();
        on_a_thread(make_array, conservative ? &array_count : NULL);
        collect_both_ways();
        size_t from = count <= NWEAKS / 2 ? (NWEAKS / 2 - count) : 0; /* overwritten ones may go */
        for (size_t i = 2 * from; i < NWEAKS; i++)
                cr_assert(is_alive((unsigned)i), "array of %zu, pointer %zu", count, i);
        polder_store(&roots[0], NULL);
        collect_both_ways();
        for (unsigned i = 0; i < NWEAKS; i++)
                cr_assert_not(is_alive(i), "array of %zu, pointer %u", count, i);
}

Test(mark, each_element_of_a_small_array_is_scanned)
{
        expect_elements_kept(100, false);
}

Test(mark, each_element_of_an_array_of_one_is_scanned)
{
        expect_elements_kept(1, false);
}

Test(mark, a_huge_array_is_scanned_in_pieces_to_its_end)
{
        expect_elements_kept(1000001, false);
}

Test(mark, a_huge_conservative_object_is_scanned_in_pieces_to_its_end)
{
        expect_elements_kept(1000001, true);
}

static void *make_array_of_huge_elements(void *unused)
{
        (void)unused;
        size_t words = 40000, at[] = { 0, (words - 1) * 8 };
        const struct polder_layout *element = polder_layout_of(words * 8, at, 2);
        void **array = polder_new_array(element, 5);
        cr_assert_not_null(array);
        polder_store(&roots[0], (struct node *)array);
        for (unsigned i = 0; i < 5; i++) {
                void *first = node_new(NULL, i), *last = node_new(NULL, i);
                polder_store(&array[i * words], first);
                polder_store(&array[(i + 1) * words - 1], last);
                watch(2 * i, first);
                watch(2 * i + 1, last);
        }
        return NULL;
}

Test(mark, elements_longer_than_a_piece_are_scanned_whole)
{
        collected_start();
        make_and_collect(make_array_of_huge_elements);
        for (unsigned i = 0; i < 10; i++)
                cr_expect(is_alive(i), "pointer %u", i);
}

static void *make_large_precise(void *unused)
{
        (void)unused;
        size_t at = 400000 - 8;
        void **object = polder_new(polder_layout_of(400000, &at, 1));
        void *node = node_new(NULL, 0);
        polder_store(&object[at / 8], node);
        watch(0, node);
        polder_store(&roots[0], (struct node *)object);
        return NULL;
}

Test(mark, the_last_slot_of_a_large_precise_object_is_scanned)
{
        collected_start();
        make_and_collect(make_large_precise);
        cr_expect(is_alive(0));
}

/* ---- Words that may be anything ------------------------------------------------------------ */

Test(mark, a_cell_that_is_not_yet_born_is_no_object)
{
        collected_start();
        char *object = polder_new_leaf(48);
        cr_expect_not_null(pld_find_object((uintptr_t)object).span);
        cr_expect_not_null(pld_find_object((uintptr_t)object + 47).span);
        cr_expect_null(pld_find_object((uintptr_t)object + 48).span);
        cr_expect_null(pld_find_object((uintptr_t)&object).span);
        cr_expect_null(pld_find_object(0).span);
        cr_expect_null(pld_find_object(UINTPTR_MAX).span);
        char *block = polder_malloc(48);
        cr_expect_null(pld_find_object((uintptr_t)block).span);
        char *large = polder_new_leaf(100000);
        cr_expect_not_null(pld_find_object((uintptr_t)large + polder_size_of(large) - 1).span);
}

static bool is_marked(const void *object)
{
        struct pld_found found = pld_find_object((uintptr_t)object);
        return pld_span_is_marked(found.span, found.index);
}

/* No cycle follows in the tests below: what they mark would not be cleared. */
Test(mark, a_word_at_an_objects_start_keeps_also_the_object_before)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        char *a = polder_new_leaf(64), *b = polder_new_leaf(64), *c = polder_new_leaf(64);
        cr_assert(b == a + 64 && c == b + 64, "bumped");
        uintptr_t words[] = { (uintptr_t)b };
        pld_shade_stack(&marker, (uintptr_t)words, (uintptr_t)(words + 1));
        cr_expect(is_marked(a) && is_marked(b));
        cr_expect_not(is_marked(c));
        words[0] = (uintptr_t)c + 1;
        pld_shade_stack(&marker, (uintptr_t)words, (uintptr_t)(words + 1));
        cr_expect(is_marked(c));
        cr_expect(pld_marker_is_empty(&marker), "leaves are never queued");
}

/* It may hold anything: cells are zeroed shortly before they are born (bump.c, B1). */
Test(mark, a_stale_word_to_a_cell_that_is_not_yet_born_marks_nothing)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *node = node_new(NULL, 1);
        uintptr_t unborn = (uintptr_t)node + polder_size_of(node);
        struct pld_span *span = pld_span_of(unborn);
        size_t i = pld_span_index(span, unborn);
        cr_assert(pld_load_relaxed(&span->collected.run_next) == unborn, "of the same run");
        uintptr_t words[] = { unborn + 8 };
        pld_shade_stack(&marker, (uintptr_t)words, (uintptr_t)(words + 1));
        cr_expect_not(pld_span_is_marked(span, i));
        cr_expect(pld_marker_is_empty(&marker));
        cr_expect_eq(polder_pin((void *)unborn), -EINVAL);
}

Test(mark, an_object_with_pointers_is_queued_once)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *node = node_new(NULL, 1);
        pld_shade_exact(&marker, (uintptr_t)node);
        pld_shade_exact(&marker, (uintptr_t)node);
        pld_shade_word(&marker, (uintptr_t)node + 9);
        cr_assert_not_null(marker.grey);
        cr_expect_eq(marker.grey->n, 1);
        cr_expect_eq(marker.marked_bytes, polder_size_of(node));
        pld_shade_exact(&marker, 0);
        cr_expect_eq(marker.grey->n, 1, "NULL is no object");
}

/* M5. */
Test(mark, what_is_noted_is_in_hand_until_it_is_flushed)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *node = node_new(NULL, 1);
        char *leaf = polder_new_leaf(64);
        pld_note_word(&marker, 0);
        pld_note_word(&marker, (uintptr_t)&marker);
        cr_expect(pld_marker_is_empty(&marker), "what lies elsewhere is not noted");
        pld_note_word(&marker, (uintptr_t)leaf + 9);
        cr_expect_not(pld_marker_is_empty(&marker));
        cr_expect_not(pld_marker_flush(&marker), "leaves are never queued");
        cr_expect(is_marked(leaf));
        cr_expect(pld_marker_is_empty(&marker));
        pld_note_word(&marker, (uintptr_t)node);
        cr_expect(pld_marker_flush(&marker));
        cr_expect(is_marked(node));
        cr_expect(pld_marker_is_empty(&marker));
}

Test(mark, a_full_group_of_what_is_noted_is_shaded)
{
        struct pld_marker marker;
        struct node *nodes[PLD_MARK_GROUP];
        collected_start();
        pld_marker_init(&marker, 0, false);
        for (unsigned i = 0; i < PLD_MARK_GROUP; i++) {
                cr_expect_eq(marker.nnoted, i);
                nodes[i] = node_new(NULL, i);
                pld_note_word(&marker, (uintptr_t)nodes[i]);
        }
        cr_expect_eq(marker.nnoted, 0);
        for (unsigned i = 0; i < PLD_MARK_GROUP; i++)
                cr_expect(is_marked(nodes[i]));
        cr_expect_eq(marker.grey->n, PLD_MARK_GROUP);
}

Test(mark, what_is_noted_may_be_no_object_or_an_unborn_one)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *node = node_new(NULL, 1);
        uintptr_t unborn = (uintptr_t)node + polder_size_of(node);
        struct pld_span *span = pld_span_of(unborn);
        void *block = polder_malloc(64);
        pld_note_word(&marker, unborn);
        pld_note_word(&marker, (uintptr_t)block);
        cr_expect_not(pld_marker_flush(&marker));
        cr_expect_not(pld_span_is_marked(span, pld_span_index(span, unborn)));
        cr_expect_eq(marker.marked_bytes, 0);
        polder_free(block);
}

Test(mark, marking_returns_false_and_no_credit_when_all_is_done)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *last = node_new(NULL, 1), *first = node_new(last, 2);
        pld_shade_exact(&marker, (uintptr_t)first);
        cr_expect_not(is_marked(last));
        cr_expect_not(pld_mark_some(&marker, 1 << 20));
        cr_expect(is_marked(last));
        cr_expect_not(pld_marker_flush(&marker));
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
}

Test(mark, what_a_marker_gives_away_another_finds)
{
        struct pld_marker one, two;
        collected_start();
        pld_marker_init(&one, 0, false);
        pld_marker_init(&two, 0, false);
        struct node *last = node_new(NULL, 1), *first = node_new(last, 2);
        pld_shade_exact(&one, (uintptr_t)first);
        cr_expect(pld_marker_flush(&one));
        cr_expect(pld_marker_is_empty(&one));
        cr_expect_not(pld_mark_some(&two, 1 << 20));
        cr_expect(is_marked(last));
        pld_marker_flush(&two);
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
}

/* An array that leads to each node twice, and nodes that lead to a common one, too. */
enum { TANGLE = 4000 };

static struct node **make_tangle(void)
{
        const struct polder_layout *slot = polder_layout(sizeof(void *), &(uint64_t){ 1 });
        struct node **array = polder_new_array(slot, 2 * TANGLE), *common = node_new(NULL, 0);
        for (uintptr_t i = 0; i < TANGLE; i++) {
                struct node *node = node_new(i ? array[2 * i - 1] : common, i);
                polder_store(&node->other, common);
                polder_store(&array[2 * i], node);
                polder_store(&array[2 * i + 1], node);
        }
        return array;
}

static void expect_tangle_marked_once(const struct pld_marker *marker, struct node **array)
{
        size_t nbytes = (TANGLE + 1) * polder_size_of(array[0]) +
                        pld_span_of((uintptr_t)array)->nbytes;
        for (size_t i = 0; i < TANGLE; i++)
                cr_assert(is_marked(array[2 * i]));
        cr_expect_eq(marker->scanned_bytes, nbytes, "each object is scanned, and once");
        cr_expect_eq(marker->marked_bytes, nbytes);
        cr_expect(pld_marker_is_empty(marker));
}

Test(mark, each_object_is_scanned_once_whatever_the_budget)
{
        struct pld_marker marker;
        struct pld_random random = pld_random_seeded(1);
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node **array = make_tangle();
        pld_shade_exact(&marker, (uintptr_t)array);
        while (pld_mark_some(&marker, 1 + pld_random_below(&random, 3000)))
                if (pld_random_below(&random, 2))
                        pld_marker_flush(&marker);
        expect_tangle_marked_once(&marker, array);
        pld_marker_flush(&marker);
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
}

/* ---- The pen (M6) ----------------------------------------------------------------------- */

Test(mark, one_marker_at_a_time_has_the_pen)
{
        struct pld_marker one, two;
        collected_start();
        pld_marker_init(&one, 0, false);
        pld_marker_init(&two, 0, false);
        pld_marker_take_pen_try(&one);
        pld_marker_take_pen_try(&two);
        cr_expect(one.has_pen);
        cr_expect_not(two.has_pen);
        pld_marker_lay_down_pen(&two);
        pld_marker_take_pen_try(&two);
        cr_expect_not(two.has_pen, "who has none can lay down none");
        pld_marker_lay_down_pen(&one);
        cr_expect_not(one.has_pen);
        pld_marker_take_pen_try(&two);
        cr_expect(two.has_pen);
        pld_workers_fork_child();
        pld_marker_take_pen_try(&one);
        cr_expect(one.has_pen, "in a forked child nobody has it");
}

Test(mark, with_the_pen_each_object_is_scanned_once)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        pld_marker_take_pen_try(&marker);
        struct node **array = make_tangle();
        pld_shade_exact(&marker, (uintptr_t)array);
        while (pld_mark_some(&marker, 3000))
                ;
        expect_tangle_marked_once(&marker, array);
        struct pld_found found = pld_find_object((uintptr_t)array[0]);
        struct pld_marks *marks = &pld_span_marks(found.span)[found.index / 64];
        cr_expect(pld_load_relaxed(&marks->pen) >> found.index % 64 & 1);
        cr_expect_not(pld_load_relaxed(&marks->all) >> found.index % 64 & 1);
        pld_marker_flush(&marker);
}

enum { MATCHES = 20000, EACH = 31 };

static struct match {
        struct pld_marks *marks;
        char *first; /* of the word's objects */
        size_t nbytes;
        _Atomic unsigned nready, round;
} match;

/* Every other object of the word, as fast as it can. */
static void mark_every_other(struct pld_marker *marker, unsigned from)
{
        for (unsigned i = 0; i < EACH; i++)
                pld_shade_exact(marker, (uintptr_t)match.first + (2 * i + from) * match.nbytes);
}

static void *mark_without_pen(void *unused)
{
        struct pld_marker marker;
        pld_marker_init(&marker, 0, false);
        for (unsigned round = 1; round <= MATCHES; round++) {
                pld_add_acq_rel(&match.nready, 1);
                while (pld_load_acquire(&match.round) != round)
                        sched_yield();
                mark_every_other(&marker, 1);
        }
        pld_add_acq_rel(&match.nready, 1);
        return unused;
}

static void await_the_other(unsigned round)
{
        while (pld_load_acquire(&match.nready) < round)
                sched_yield();
}

Test(mark, who_has_the_pen_and_who_has_not_lose_no_mark_of_each_other, .timeout = 120)
{
        pthread_t other;
        struct pld_marker marker;
        collected_start();
        char *object = polder_new_leaf(64);
        struct pld_found found = pld_find_object((uintptr_t)object);
        for (unsigned i = 0; i < 200; i++)
                polder_new_leaf(64);
        match.marks = &pld_span_marks(found.span)[1];
        match.nbytes = found.span->nbytes;
        match.first = (char *)pld_span_object(found.span, 64);
        pld_marker_init(&marker, 0, false);
        pld_marker_take_pen_try(&marker);
        pthread_create(&other, NULL, mark_without_pen, NULL);
        for (unsigned round = 1; round <= MATCHES; round++) {
                await_the_other(round);
                pld_marks_set(match.marks, 0);
                pld_store_release(&match.round, round);
                mark_every_other(&marker, 0);
                await_the_other(round + 1);
                cr_assert_eq(pld_marks_read(match.marks), (UINT64_C(1) << 2 * EACH) - 1);
        }
        pthread_join(other, NULL);
}

/* M1 */
Test(mark, with_objects_asked_for_a_marker_is_not_empty)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        for (uintptr_t i = 0; i < 3; i++)
                pld_shade_exact(&marker, (uintptr_t)node_new(NULL, i));
        cr_assert(pld_mark_some(&marker, 1));
        cr_expect_not(marker.grey && marker.grey->n > 0, "all three have been asked for");
        cr_expect_not(pld_marker_is_empty(&marker));
        cr_expect(pld_marker_flush(&marker));
        cr_expect(pld_marker_is_empty(&marker));
}

/* What an assist does is bounded. */
Test(mark, of_a_huge_array_a_piece_is_scanned_in_one_go)
{
        struct pld_marker marker;
        enum { SLOTS = 1 << 17 };
        collected_start();
        pld_marker_init(&marker, 0, false);
        void **array = polder_new_array(polder_layout(sizeof(void *), &(uint64_t){ 1 }), SLOTS);
        struct node *last = node_new(NULL, 1);
        polder_store(&array[SLOTS - 1], last);
        pld_shade_exact(&marker, (uintptr_t)array);
        cr_assert(pld_mark_some(&marker, 1));
        cr_expect_lt(marker.scanned_bytes, SLOTS * sizeof *array / 16);
        while (pld_mark_some(&marker, 1))
                ;
        cr_expect(is_marked(last));
}

/* M4 */
Test(mark, a_reference_that_was_sent_is_marked_by_who_takes_it)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *last = node_new(NULL, 1), *first = node_new(last, 2);
        pld_marker_push(&marker, (uintptr_t)first | PLD_GREY_CANDIDATE);
        while (pld_mark_some(&marker, 1 << 20))
                ;
        cr_expect(is_marked(first) && is_marked(last));
}

/* M4: were it sent on, it would go to and fro for ever. */
Test(mark, who_takes_a_reference_that_was_sent_to_another_node_does_not_send_it_on)
{
        struct pld_marker thief;
        collected_start_on(2, 1);
        struct node *object = polder_new_onnode(node_layout, 0);
        struct node *other = polder_new_onnode(node_layout, 0);
        struct node *holder = polder_new_onnode(node_layout, 2);
        cr_assert(object && other && holder);
        polder_store(&holder->next, other);
        pld_marker_init(&thief, 1, true);
        pld_marker_push(&thief, (uintptr_t)object | PLD_GREY_CANDIDATE);
        while (pld_mark_some(&thief, 1 << 20))
                ;
        cr_expect(is_marked(object));
        cr_expect_eq(thief.sent, 0);
        pld_shade_exact(&thief, (uintptr_t)holder);
        while (pld_mark_some(&thief, 1 << 20))
                ;
        cr_expect_eq(thief.sent, 1, "what it finds itself it does send");
}

/* What is no collected object has no mark bit, and what is there instead is not touched. */
Test(mark, a_slot_may_lead_to_what_is_not_collected)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *block = polder_malloc(sizeof *block), *huge = polder_malloc(8 << 20);
        cr_assert(block && huge);
        struct node *first = node_new(block, 1), *second = node_new(huge, 2);
        polder_free(huge);
        struct node *third = node_new((struct node *)&marker, 3);
        pld_shade_exact(&marker, (uintptr_t)first);
        pld_shade_exact(&marker, (uintptr_t)second);
        pld_shade_exact(&marker, (uintptr_t)third);
        while (pld_mark_some(&marker, 1 << 20))
                ;
        cr_expect_eq(marker.marked_bytes, 3 * polder_size_of(first));
        polder_free(block);
}

Test(mark, pointers_behind_the_first_64_words_are_followed)
{
        enum { WORDS = 100, AT = 91 };
        struct pld_marker marker;
        uint64_t pattern[2] = { 1, UINT64_C(1) << (AT - 64) };
        collected_start();
        pld_marker_init(&marker, 0, false);
        void **object = polder_new(polder_layout(WORDS * sizeof *object, pattern));
        struct node *near = node_new(NULL, 1), *far = node_new(NULL, 2), *none = node_new(NULL, 3);
        polder_store(&object[0], near);
        polder_store(&object[AT], far);
        object[AT - 1] = (void *)none; /* a number, as far as the layout knows */
        pld_shade_exact(&marker, (uintptr_t)object);
        while (pld_mark_some(&marker, 1 << 20))
                ;
        cr_expect(is_marked(near) && is_marked(far));
        cr_expect_not(is_marked(none));
}

/* As many pointers as a form can have. */
Test(mark, objects_of_many_pointers_fill_the_candidates_again_and_again)
{
        enum { WIDE = 64, HOLDERS = 200 };
        struct pld_marker marker;
        uint64_t all = ~UINT64_C(0);
        collected_start();
        pld_marker_init(&marker, 0, false);
        const struct polder_layout *layout = polder_layout(WIDE * sizeof(void *), &all);
        void **holder[HOLDERS];
        for (unsigned k = 0; k < HOLDERS; k++) {
                holder[k] = polder_new(layout);
                for (unsigned i = 0; i < WIDE; i++)
                        polder_store(&holder[k][i], polder_new_leaf(16));
        }
        for (unsigned k = 0; k < HOLDERS; k++)
                pld_shade_exact(&marker, (uintptr_t)holder[k]);
        while (pld_mark_some(&marker, 1 << 20))
                ;
        for (unsigned k = 0; k < HOLDERS; k++)
                for (unsigned i = 0; i < WIDE; i++)
                        cr_assert(is_marked(holder[k][i]));
}

/* So many that most are scanned while others are asked for. */
Test(mark, numbers_between_pointers_keep_nothing)
{
        enum { HOLDERS = 100, WORDS = 6 };
        struct pld_marker marker;
        uint64_t pattern = 1 << 1 | 1 << 2 | 1 << 4;
        void **holder[HOLDERS];
        collected_start();
        pld_marker_init(&marker, 0, false);
        const struct polder_layout *layout = polder_layout(WORDS * sizeof(void *), &pattern);
        for (unsigned k = 0; k < HOLDERS; k++) {
                holder[k] = polder_new(layout);
                for (unsigned i = 0; i < WORDS; i++)
                        holder[k][i] = polder_new_leaf(16);
        }
        for (unsigned k = 0; k < HOLDERS; k++)
                pld_shade_exact(&marker, (uintptr_t)holder[k]);
        while (pld_mark_some(&marker, 1 << 20))
                ;
        for (unsigned k = 0; k < HOLDERS; k++)
                for (unsigned i = 0; i < WORDS; i++)
                        cr_assert_eq(is_marked(holder[k][i]), pattern >> i & 1);
        cr_expect_eq(marker.scanned_bytes, HOLDERS * polder_size_of(holder[0]));
        pld_marker_flush(&marker);
}

/* M2 */
Test(mark, who_merely_looks_for_work_takes_no_credit)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        cr_expect_not(pld_mark_some(&marker, 1 << 20));
        cr_expect_not(pld_roots_scan_some(&marker));
        cr_expect_not(marker.has_credit);
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
}

/* M2 */
Test(mark, of_many_chunks_a_marker_keeps_one_credit_until_it_is_flushed)
{
        struct pld_marker giver, taker;
        collected_start();
        pld_marker_init(&giver, 0, false);
        pld_marker_init(&taker, 0, false);
        struct node *node[3];
        for (unsigned i = 0; i < PLD_COUNT_OF(node); i++) {
                node[i] = node_new(NULL, i);
                pld_shade_exact(&giver, (uintptr_t)node[i]);
                pld_marker_flush(&giver);
                cr_expect_eq(pld_load_relaxed(&pld_grey_credits), i + 1);
        }
        cr_expect_not(pld_mark_some(&taker, 1 << 20));
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 1);
        cr_expect_not(pld_marker_flush(&taker));
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
}

static _Atomic bool has_taken;
enum { TAKEN = 4711 };

static void *take_a_chunk(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        struct pld_grey_chunk *chunk;
        while (!(chunk = pld_grey_take(0)))
                pld_grey_wait(0, false);
        for (unsigned i = 0; i < chunk->n; i++)
                ((struct node *)(chunk->item[i] & PLD_GREY_ADDRESS))->value = TAKEN;
        pld_store_release(&has_taken, true);
        pld_grey_done();
        pld_grey_chunk_free(chunk);
        return NULL;
}

Test(mark, a_marker_shares_a_chunk_that_is_not_full_with_who_waits, .timeout = 60)
{
        struct pld_marker marker;
        struct gang gang;
        collected_start();
        pld_marker_init(&marker, 0, false);
        gang_start(&gang, 1, take_a_chunk);
        static struct node *made[1 << 20]; /* each with a leaf that nobody else leads to */
        size_t nmade = 0;
        while (!pld_load_acquire(&has_taken) && nmade + 100 < PLD_COUNT_OF(made)) {
                for (uintptr_t i = 0; i < 100; i++) { /* less than a full chunk */
                        struct node *node = node_new(NULL, i);
                        polder_store((void **)&node->next, polder_new_leaf(16));
                        made[nmade++] = node;
                        pld_shade_exact(&marker, (uintptr_t)node);
                }
                pld_mark_some(&marker, 1);
                usleep(1000);
                while (pld_mark_some(&marker, 1 << 10))
                        ;
        }
        gang_stop(&gang);
        for (size_t i = 0; i < nmade; i++)
                cr_assert_eq(is_marked(made[i]->next), made[i]->value != TAKEN,
                             "each went one way");
}

static void visit_count(uintptr_t *slot, bool exact, void *arg)
{
        (void)slot;
        *(unsigned *)arg += exact ? 1 : 1000;
}

Test(mark, each_slot_of_an_object_is_visited_once)
{
        collected_start();
        struct node *array = polder_new_array(node_layout, 7);
        void *words = polder_new_conservative(64), *leaf = polder_new_leaf(64);
        unsigned n = 0;
        struct pld_span *span = pld_span_of((uintptr_t)array);
        pld_object_each(span, (uintptr_t)array, visit_count, &n);
        cr_expect_eq(n, 2 * (span->nbytes / sizeof *array));
        n = 0;
        pld_object_each(pld_span_of((uintptr_t)words), (uintptr_t)words, visit_count, &n);
        cr_expect_eq(n, 8000);
        n = 0;
        pld_object_each(pld_span_of((uintptr_t)leaf), (uintptr_t)leaf, visit_count, &n);
        cr_expect_eq(n, 0);
}

/* ---- A lost chunk --------------------------------------------------------------------------- */

Test(mark, an_overflow_is_made_good)
{
        collected_start();
        on_a_thread(make_chain, NULL);
        pld_store_relaxed(&pld_grey_overflow, true);
        cr_assert_eq(polder_collect(POLDER_CONCURRENT), 0);
        cr_expect_not(pld_load_relaxed(&pld_grey_overflow));
        expect_chain();
}

Test(mark, recovery_shades_what_marked_objects_refer_to)
{
        struct pld_marker marker;
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *last = node_new(NULL, 1), *first = node_new(last, 2);
        struct pld_found found = pld_find_object((uintptr_t)first);
        pld_span_mark(found.span, found.index); /* and nobody queued it */
        pld_mark_recover(&marker);
        cr_expect_not(is_marked(last), "there was no overflow");
        pld_store_relaxed(&pld_grey_overflow, true);
        pld_mark_recover(&marker);
        cr_expect(is_marked(last));
}

#if !defined(__SANITIZE_ADDRESS__) /* which needs address space of its own */
/* M1 */
Test(mark, where_no_chunk_can_be_had_that_is_made_good_later, .timeout = 60)
{
        struct pld_marker marker;
        struct rlimit limit = { 1 << 20, RLIM_INFINITY };
        collected_start();
        pld_marker_init(&marker, 0, false);
        struct node *last = node_new(NULL, 1), *first = node_new(last, 2);
        struct pld_grey_chunk *chunk, *all = NULL;
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        while ((chunk = pld_grey_chunk_new())) {
                chunk->next = all;
                all = chunk;
        }
        pld_shade_exact(&marker, (uintptr_t)first);
        limit.rlim_cur = RLIM_INFINITY;
        cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
        cr_assert(is_marked(first));
        cr_expect_null(marker.grey);
        cr_expect(pld_load_relaxed(&pld_grey_overflow));
        pld_grey_chunk_free(all);
        pld_mark_recover(&marker);
        cr_expect(is_marked(last));
}
#endif
