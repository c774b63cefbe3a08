#include "tests/arena/arena_test.h"

#include "arena/malloc.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t sizes[] = { 0,    1,    16,    17,    100,    1024,    1025,    4096,
                                8192, 8193, 32768, 32769, 100000, 2097152, 5000000 };

Test(malloc, the_first_call_starts_the_arena)
{
        arena_test_machine(1);
        void *p = polder_malloc(10);
        cr_expect_not_null(p);
        cr_expect(pld_arena_is_started());
}

Test(malloc, a_large_or_aligned_first_call_starts_it_too)
{
        arena_test_machine(1);
        void *p = polder_aligned_alloc(4096, 100);
        cr_assert_not_null(p);
        cr_expect_eq((uintptr_t)p % 4096, 0);
        cr_expect_not_null(polder_malloc(1000000));
}

Test(malloc, blocks_are_aligned_and_as_large_as_asked_for)
{
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++) {
                char *p = polder_malloc(sizes[i]);
                cr_assert_not_null(p);
                cr_assert_eq((uintptr_t)p % 16, 0);
                size_t usable = polder_malloc_usable_size(p);
                cr_assert(usable >= sizes[i] && usable >= 16);
                memset(p, 0xa5, usable);
                polder_free(p);
        }
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(malloc, calloc_gives_zeroes_where_there_were_others)
{
        arena_test_start(1);
        for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++) {
                for (unsigned round = 0; round < 2; round++) {
                        unsigned char *p = polder_calloc(1, sizes[i]);
                        for (size_t k = 0; k < sizes[i]; k++)
                                cr_assert_eq(p[k], 0);
                        memset(p, 0xff, sizes[i]);
                        polder_free(p);
                }
        }
        arena_test_nothing_left();
}

Test(malloc, products_that_overflow_are_refused)
{
        arena_test_start(1);
        errno = 0;
        cr_expect_null(polder_calloc(SIZE_MAX / 2, 3));
        cr_expect_eq(errno, ENOMEM);
        void *p = polder_malloc(10);
        errno = 0;
        cr_expect_null(polder_reallocarray(p, SIZE_MAX / 2, 3));
        cr_expect_eq(errno, ENOMEM);
        polder_free(p);
}

Test(malloc, what_no_memory_could_hold_is_refused)
{
        arena_test_start(1);
        static const size_t large[] = { SIZE_MAX, SIZE_MAX - 4096, (size_t)PTRDIFF_MAX + 1,
                                        PTRDIFF_MAX, (size_t)1 << 50 };
        for (unsigned i = 0; i < PLD_COUNT_OF(large); i++) {
                errno = 0;
                cr_assert_null(polder_malloc(large[i]));
                cr_assert_eq(errno, ENOMEM);
                cr_assert_null(polder_calloc(1, large[i]));
                cr_assert_null(polder_aligned_alloc(64, large[i]));
                cr_assert_null(polder_malloc_onnode(large[i], arena_test_id(0)));
                cr_assert_null(polder_realloc(NULL, large[i]));
        }
        cr_expect_null(polder_aligned_alloc((size_t)1 << 62, 1));
        cr_expect_not_null(polder_malloc(1));
}

Test(malloc, realloc_keeps_the_contents_over_every_size)
{
        arena_test_start(1);
        for (unsigned from = 1; from < PLD_COUNT_OF(sizes); from++) {
                for (unsigned to = 1; to < PLD_COUNT_OF(sizes); to++) {
                        size_t less = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
                        unsigned char *p = polder_malloc(sizes[from]);
                        for (size_t k = 0; k < less; k += 1 + less / 100)
                                p[k] = (unsigned char)(k * 7);
                        p = polder_realloc(p, sizes[to]);
                        cr_assert_not_null(p);
                        cr_assert(polder_malloc_usable_size(p) >= sizes[to]);
                        for (size_t k = 0; k < less; k += 1 + less / 100)
                                cr_assert_eq(p[k], (unsigned char)(k * 7));
                        memset(p, 1, sizes[to]);
                        polder_free(p);
                }
        }
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(malloc, realloc_of_null_allocates_and_to_zero_frees)
{
        arena_test_start(1);
        void *p = polder_realloc(NULL, 100);
        cr_assert_not_null(p);
        cr_expect_null(polder_realloc(p, 0));
        cr_expect_eq(polder_malloc(100), p);
        polder_free(p);
        polder_free(NULL);
        cr_expect_eq(polder_malloc_usable_size(NULL), 0);
}

Test(malloc, a_large_block_grows_and_shrinks_where_it_is)
{
        arena_test_start(1);
        char *p = polder_malloc(600000);
        cr_expect_eq(polder_realloc(p, 1500000), p);
        cr_expect_eq(pld_span_of((uintptr_t)p + 1499999), pld_span_of((uintptr_t)p));
        cr_expect_geq(polder_malloc_usable_size(p), 1500000);
        memset(p, 1, 1500000);
        size_t used = pld_page_heap_used_bytes();
        cr_expect_eq(polder_realloc(p, 400000), p);
        cr_expect_leq(pld_page_heap_used_bytes() + 1000000, used, "the rest was given back");
        cr_expect_null(pld_span_of((uintptr_t)p + 1499999));
        polder_free(p);
        arena_test_nothing_left();
}

Test(malloc, a_failed_realloc_leaves_the_block)
{
        arena_test_start(1);
        char *p = polder_malloc(100);
        strcpy(p, "still here");
        cr_expect_null(polder_realloc(p, PTRDIFF_MAX));
        cr_expect_str_eq(p, "still here");
        polder_free(p);
        arena_test_nothing_left();
}

Test(malloc, every_power_of_two_is_an_alignment)
{
        arena_test_start(1);
        for (size_t align = 1; align <= 4 * PLD_MIB; align *= 2) {
                for (unsigned i = 0; i < PLD_COUNT_OF(sizes); i++) {
                        char *p = polder_aligned_alloc(align, sizes[i]);
                        cr_assert_not_null(p);
                        cr_assert_eq((uintptr_t)p % align, 0);
                        cr_assert_geq(polder_malloc_usable_size(p), sizes[i]);
                        memset(p, 1, sizes[i]);
                        p = polder_realloc(p, sizes[i] + 100);
                        polder_free(p);
                }
        }
        pld_manual_verify(pld_cache_mine);
        arena_test_nothing_left();
}

Test(malloc, alignments_that_are_none_are_refused_as_c_and_posix_have_it)
{
        arena_test_start(1);
        void *p = &p;
        errno = 0;
        cr_expect_null(polder_aligned_alloc(24, 48));
        cr_expect_eq(errno, EINVAL);
        cr_expect_null(polder_aligned_alloc(0, 48));
        errno = 77;
        cr_expect_eq(polder_posix_memalign(&p, 24, 48), EINVAL);
        cr_expect_eq(polder_posix_memalign(&p, 4, 48), EINVAL);
        cr_expect_eq(polder_posix_memalign(&p, 16, SIZE_MAX - 100), ENOMEM);
        cr_expect_eq(p, &p, "out is written on success only");
        cr_expect_eq(errno, 77, "and errno not at all");
        cr_expect_eq(polder_posix_memalign(&p, 32, 48), 0);
        cr_expect_eq((uintptr_t)p % 32, 0);
        polder_free(p);
}

Test(malloc, a_free_leaves_errno_alone)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.decay_ms = 0;
        arena_test_start_as(1, &settings);
        void *p = polder_malloc(PLD_HUGE_BYTES), *q = polder_malloc(10);
        errno = 77;
        polder_free(p);
        polder_free(q);
        polder_free(NULL);
        cr_expect_eq(errno, 77);
        errno = 77;
        cr_expect_not_null(polder_malloc(1000000));
        cr_expect_eq(errno, 77);
}

Test(malloc, memory_is_on_the_node_that_it_is_asked_for)
{
        static const size_t some[] = { 10, 5000, 100000 };
        arena_test_start(3);
        for (unsigned node = 0; node < 3; node++) {
                for (unsigned i = 0; i < PLD_COUNT_OF(some); i++) {
                        void *p = polder_malloc_onnode(some[i], arena_test_id(node));
                        cr_assert_not_null(p);
                        cr_assert_eq(polder_node_of(p), arena_test_id(node));
                        cr_assert_eq(pld_fake_node_of(p), arena_test_id(node));
                        polder_free(p);
                }
        }
        arena_test_nothing_left();
}

Test(malloc, unknown_nodes_are_refused)
{
        arena_test_start(2);
        static const int unknown[] = { -1, 0, 2, 64, 100000 };
        for (unsigned i = 0; i < PLD_COUNT_OF(unknown); i++) {
                errno = 0;
                cr_assert_null(polder_malloc_onnode(10, unknown[i]));
                cr_assert_eq(errno, EINVAL);
        }
        int local;
        cr_expect_eq(polder_node_of(&local), -ENOENT);
}

Test(malloc, a_full_node_gives_nothing_rather_than_anothers_memory)
{
        arena_test_start(2);
        void *p = polder_malloc(64);
        pld_fake_set_free(arena_test_id(1), 0);
        errno = 0;
        cr_expect_null(polder_malloc_onnode(64, arena_test_id(1)));
        cr_expect_eq(errno, ENOMEM);
        pld_fake_set_free(arena_test_id(0), 0);
        pld_fake_set_free(arena_test_id(1), PLD_GIB * 4);
        void *q = polder_malloc(3 * PLD_MIB);
        cr_expect_eq(polder_node_of(q), arena_test_id(1), "without a wish, the nearest will do");
        polder_free(p);
        polder_free(q);
        arena_test_nothing_left();
}

Test(malloc, at_the_limit_there_is_enomem_and_afterwards_memory_again)
{
        enum { N = 200 };
        void *blocks[N];
        unsigned n = 0;
        struct pld_arena_settings settings = arena_test_settings();
        settings.limit = 8 * PLD_MIB;
        arena_test_start_as(1, &settings);
        errno = 0;
        while (n < N && (blocks[n] = polder_malloc(100000)))
                n++;
        cr_assert(n > 50 && n < N);
        cr_expect_eq(errno, ENOMEM);
        polder_free(blocks[--n]);
        blocks[n] = polder_malloc(100000);
        cr_expect_not_null(blocks[n++]);
        cr_expect_leq(pld_page_heap_backed_bytes(), settings.limit);
        while (n > 0)
                polder_free(blocks[--n]);
        arena_test_nothing_left();
}

Test(malloc, at_the_limit_on_spans_there_is_enomem_and_afterwards_memory_again)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.max_spans = 2;
        arena_test_start_as(1, &settings);
        void *a = polder_malloc(100000), *b = polder_malloc(10);
        errno = 0;
        cr_expect_null(polder_malloc(5000));
        cr_expect_eq(errno, ENOMEM);
        polder_free(b);
        void *c = polder_malloc(5000);
        cr_expect_not_null(c, "the empty span was reclaimed for it");
        polder_free(a);
        polder_free(c);
        arena_test_nothing_left();
}

static unsigned nresorts, nneeded;

static bool last_resort(unsigned nbefore)
{
        cr_expect_eq(nbefore, nresorts);
        if (++nresorts == nneeded)
                pld_page_heap_set_limit(0);
        return nresorts <= nneeded;
}

static void expect_resorts(unsigned n)
{
        struct pld_arena_settings settings = arena_test_settings();
        settings.limit = PLD_HUGE_BYTES;
        arena_test_start_as(1, &settings);
        pld_manual_last_resort = last_resort;
        nneeded = n;
        cr_expect_not_null(polder_malloc(2 * PLD_HUGE_BYTES));
        cr_expect_eq(nresorts, n);
}

Test(malloc, a_last_collection_is_asked_for_before_enomem)
{
        expect_resorts(1);
}

Test(malloc, while_collections_free_something_there_are_more_before_enomem)
{
        expect_resorts(3);
}

/* ---- Misuse ---------------------------------------------------------------------- */

Test(malloc, a_double_free_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        void *p = polder_malloc(40);
        polder_malloc(40);
        polder_free(p);
        polder_free(p);
}

Test(malloc, a_double_free_of_16_bytes_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        void *p = polder_malloc(1), *q = polder_malloc(1);
        polder_free(p);
        polder_free(q);
        polder_free(p);
}

Test(malloc, a_double_free_of_a_large_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        void *p = polder_malloc(100000);
        polder_free(p);
        polder_free(p);
}

static void *free_it(void *p)
{
        polder_free(p);
        return NULL;
}

Test(malloc, a_double_free_by_two_threads_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        void *p = polder_malloc(40);
        arena_test_thread(free_it, p);
        polder_free(p);
}

Test(malloc, a_free_behind_the_last_block_of_a_span_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        struct pld_span *span = pld_span_of((uintptr_t)polder_malloc(48));
        cr_assert_gt((span->npages << PLD_PAGE_SHIFT) % 48, 0, "there is something");
        polder_free((void *)(span->start + span->count * span->nbytes));
}

Test(malloc, a_free_inside_a_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        char *p = polder_malloc(40);
        polder_free(p + 16);
}

Test(malloc, a_free_inside_a_large_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        char *p = polder_malloc(100000);
        polder_free(p + 8192);
}

Test(malloc, a_free_of_what_is_not_polders_dies, .signal = SIGABRT)
{
        int local;
        arena_test_start(1);
        polder_free(&local);
}

Test(malloc, a_free_before_anything_was_allocated_dies, .signal = SIGABRT)
{
        int local;
        polder_free(&local);
}

Test(malloc, a_realloc_of_a_freed_block_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        void *p = polder_malloc(40);
        polder_free(p);
        p = polder_realloc(p, 400);
}

static char *collected(void)
{
        arena_test_start(1);
        struct pld_span *span = pld_span_new(&(struct pld_span_wish){ .kind = PLD_KIND_COLLECTED,
                                                                      .class = 5 });
        pld_span_publish(span);
        return (char *)span->start;
}

Test(malloc, a_free_of_a_collected_object_dies, .signal = SIGABRT)
{
        polder_free(collected());
}

static void *freed;

static void take_freed(void *object)
{
        freed = object;
}

Test(malloc, a_free_of_a_collected_object_goes_to_the_collector_if_it_is_there)
{
        char *p = collected();
        pld_free_collected = take_freed;
        polder_free(p);
        cr_expect_eq(freed, p);
}

Test(malloc, a_sized_free_with_more_than_the_block_has_dies, .signal = SIGABRT)
{
        arena_test_start(1);
        polder_free_sized(polder_malloc(40), 400);
        if (!PLD_DEBUG)
                abort(); /* only debug builds look */
}

Test(malloc, a_sized_free_frees)
{
        arena_test_start(1);
        polder_free_sized(polder_malloc(40), 40);
        polder_free_sized(polder_malloc(400000), 400000);
        polder_free_sized(NULL, 0);
        arena_test_nothing_left();
}

/* ---- fork() -------------------------------------------------------------------------- */

static _Atomic bool stop;
static _Atomic unsigned nbusy;

static void *busy(void *unused)
{
        for (bool first = true; !pld_load_relaxed(&stop); first = false) {
                void *a = polder_malloc(64), *b = polder_malloc(100000);
                polder_free(b);
                polder_free(a);
                if (first)
                        pld_add_relaxed(&nbusy, 1);
        }
        return unused;
}

static int child(void)
{
        void *blocks[2000];
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++) {
                blocks[i] = polder_malloc(i % 2 ? 64 : 4000);
                if (!blocks[i])
                        return 1;
                memset(blocks[i], 1, 64);
        }
        for (unsigned i = 0; i < PLD_COUNT_OF(blocks); i++)
                polder_free(blocks[i]);
        pthread_t thread;
        void *p = polder_malloc(64), *mine = p;
        if (pthread_create(&thread, NULL, free_it, p) || pthread_join(thread, NULL))
                return 2;
        pld_manual_verify(pld_cache_mine);
        return mine ? 0 : 3;
}

Test(malloc, a_forked_child_allocates_and_frees_while_others_did_in_the_parent, .timeout = 300)
{
        enum { NTHREADS = 3, FORKS = 30 };
        pthread_t threads[NTHREADS];
        arena_test_start(1);
        for (unsigned i = 0; i < NTHREADS; i++)
                pthread_create(&threads[i], NULL, busy, NULL);
        /* A thread that starts uses the C library's malloc, which under Address Sanitizer
         * no child may need after that. From here on they use Polder's only. */
        while (pld_load_relaxed(&nbusy) < NTHREADS)
                usleep(1000);
        for (unsigned i = 0; i < FORKS; i++) {
                void *p = polder_malloc(64);
                pid_t pid = fork();
                if (pid == 0) {
                        polder_free(p);
                        _exit(child());
                }
                int status;
                cr_assert_eq(waitpid(pid, &status, 0), pid);
                cr_assert_eq(status, 0);
                polder_free(p);
        }
        pld_store_relaxed(&stop, true);
        for (unsigned i = 0; i < NTHREADS; i++)
                pthread_join(threads[i], NULL);
        arena_test_nothing_left();
}
