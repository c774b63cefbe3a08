#include "tests/collector/collector_test.h"

#include "collector/grey.h"

static struct pld_grey_chunk *chunk_of(uintptr_t item)
{
        struct pld_grey_chunk *chunk = pld_grey_chunk_new();
        cr_assert_not_null(chunk);
        cr_assert_eq(chunk->n, 0);
        chunk->item[chunk->n++] = item;
        return chunk;
}

Test(grey, a_chunk_is_taken_once_and_carries_a_credit)
{
        collected_start_on(2, 1);
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
        cr_expect_null(pld_grey_take(0));
        pld_grey_put(0, chunk_of(48));
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 1);
        struct pld_grey_chunk *chunk = pld_grey_take(0);
        cr_assert_not_null(chunk);
        cr_expect_eq(chunk->item[0], 48);
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 1, "it is the taker's now");
        cr_expect_null(pld_grey_take(0));
        pld_grey_done();
        cr_expect_eq(pld_load_relaxed(&pld_grey_credits), 0);
        pld_grey_chunk_free(chunk);
}

Test(grey, a_taker_looks_at_home_first_and_then_elsewhere)
{
        collected_start_on(2, 1);
        pld_grey_put(0, chunk_of(16));
        pld_grey_put(1, chunk_of(32));
        cr_expect_eq(pld_grey_take(1)->item[0], 32);
        cr_expect_eq(pld_grey_take(1)->item[0], 16);
        cr_expect_null(pld_grey_take(1));
}

Test(grey, of_many_chunks_each_is_taken_once)
{
        collected_start_on(2, 1);
        unsigned seen[16] = { 0 };
        for (uintptr_t i = 0; i < 16; i++)
                pld_grey_put(0, chunk_of(8 * i));
        for (struct pld_grey_chunk *chunk; (chunk = pld_grey_take(0));)
                seen[chunk->item[0] / 8]++;
        for (unsigned i = 0; i < 16; i++)
                cr_expect_eq(seen[i], 1);
}

Test(grey, a_freed_chunk_is_used_again)
{
        collected_start_on(2, 1);
        struct pld_grey_chunk *chunk = chunk_of(8);
        pld_grey_chunk_free(chunk);
        cr_expect_eq(pld_grey_chunk_new(), chunk);
        cr_expect_eq(chunk->n, 0);
}

Test(grey, who_waits_with_something_queued_does_not_sleep)
{
        collected_start_on(2, 1);
        pld_grey_put(1, chunk_of(8));
        pld_grey_wait(0, false); /* 0: for ever */
}

static bool may_spin;

static void *wait_for_news(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        struct pld_grey_chunk *chunk;
        while (!(chunk = pld_grey_take(0)))
                pld_grey_wait(0, may_spin);
        return NULL;
}

Test(grey, who_gave_up_waiting_wants_nothing)
{
        collected_start_on(2, 1);
        pld_add_relaxed(&pld_grey_credits, 1); /* so it is worth looking for a while */
        for (int spinning = 0; spinning < 2; spinning++) {
                pld_grey_wait(1000000, spinning);
                cr_expect_not(pld_grey_is_wanted(0));
        }
}

Test(grey, a_put_wakes_who_waits, .timeout = 60)
{
        struct gang gang;
        collected_start_on(2, 1);
        for (int i = 0; i < 200; i++) {
                may_spin = i % 2;
                gang_start(&gang, 1, wait_for_news);
                pld_grey_put(0, chunk_of(8)); /* its credit is kept */
                gang_stop(&gang);
        }
        cr_expect_not(pld_grey_is_wanted(0));
}

static void *await_dry(void *arg)
{
        struct gang *gang = arg;
        pld_add_release(&gang->nready, 1);
        while (pld_load_acquire(&pld_grey_credits) != 0)
                pld_grey_await_dry(0); /* 0: for ever */
        return NULL;
}

Test(grey, the_last_credit_given_back_wakes_who_awaits_that, .timeout = 60)
{
        struct gang gang;
        collected_start_on(2, 1);
        for (int i = 0; i < 20; i++) {
                pld_grey_put(0, chunk_of(8));
                pld_grey_put(0, chunk_of(8));
                gang_start(&gang, 1, await_dry);
                usleep(2000); /* it sleeps by now, mostly */
                for (int k = 0; k < 2; k++) {
                        pld_grey_chunk_free(pld_grey_take(0));
                        pld_grey_done();
                }
                gang_stop(&gang);
        }
}
