/* memory.c: how much memory is kept when the program has changed its mind?
 *
 * shift: the live bytes stay the same, and their sizes change from phase to phase; of each
 * phase some blocks survive at random, and lie between what comes later. shrink: much is
 * allocated, most of it freed; a tenth survives in runs, or a hundredth at random; then the
 * program does a little work now and then, as a server at night, for as long as a setting
 * says, so that those that give memory back from within a call come to do it. tiny: what
 * does a program pay that wants almost nothing, alone or in many threads?
 *
 * Each prints samples of what is resident beside what is alive. */
#include "bench/workloads/workload.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

/* What get() wrote into the block. */
static size_t nbytes_of(const void *block)
{
        return *(const uint32_t *)block;
}

static void rest(double seconds)
{
        struct timespec time = { (time_t)seconds,
                                 (long)((seconds - (double)(time_t)seconds) * 1e9) };
        nanosleep(&time, NULL);
}

/* --- shift ------------------------------------------------------------------------------- */

struct heap {
        void **blocks;
        size_t count, live, most;
};

static void add(struct heap *heap, size_t nbytes)
{
        if (heap->count == heap->most)
                give_up("more blocks than there is room for");
        heap->blocks[heap->count++] = get(nbytes);
        heap->live += nbytes;
}

/* Frees one of the first `among` blocks; the last of them takes its place, and the last of
 * all the place of that. */
static void drop_one(struct heap *heap, size_t among, struct random *random)
{
        size_t chosen = random_below(random, among);
        heap->live -= nbytes_of(heap->blocks[chosen]);
        put(heap->blocks[chosen]);
        heap->blocks[chosen] = heap->blocks[among - 1];
        heap->blocks[among - 1] = heap->blocks[--heap->count];
}

/* Replaces all but a sixteenth of what is alive by blocks of about this size. */
static void phase(struct heap *heap, size_t limit, size_t about, struct random *random)
{
        size_t old = heap->count, made = 0;
        while (made < limit / 16 * 15) {
                size_t nbytes = about / 2 + random_below(random, about);
                while (heap->live + nbytes > limit && old)
                        drop_one(heap, old--, random);
                add(heap, nbytes);
                made += nbytes;
        }
        while (heap->live > limit && old)
                drop_one(heap, old--, random);
}

/* An operation: malloc, free. `bytes` stay alive. */
uint64_t run_shift(const struct setting *setting)
{
        static const size_t sizes[] = { 48,  700, 40,  3000, 160, 9000, 80,    20000,
                                        320, 56,  120, 5000, 64,  1600, 30000, 240 };
        struct random random = random_of(29);
        struct heap heap = { .most = setting->nbytes / 16 };
        uint64_t done = 0;
        heap.blocks = own_array(heap.most, sizeof *heap.blocks);
        for (size_t i = 0; done < setting->operations; i++) {
                size_t about = sizes[i % (sizeof sizes / sizeof *sizes)];
                phase(&heap, setting->nbytes, about, &random);
                done += setting->nbytes / 16 * 15 / about;
                sample(heap.live);
        }
        return done;
}

/* --- shrink ------------------------------------------------------------------------------ */

enum { RUN = 1000, RUNS = 10, ONE_IN = 100 };

static bool survives(const struct setting *setting, size_t i, struct random *random)
{
        if (!strcmp(setting->pattern, "clustered"))
                return i / RUN % RUNS == 0;
        return random_below(random, ONE_IN) == 0;
}

/* A little of everything, then a rest. */
static void nights_work(void *blocks[], size_t n, const uint32_t *sizes, struct random *random)
{
        for (size_t i = 0; i < n; i++)
                blocks[i] = get(any_of(sizes, random));
        for (size_t i = 0; i < n; i++)
                put(blocks[i]);
        rest(0.01);
}

static void decay(const struct setting *setting, const uint32_t *sizes, size_t live)
{
        struct random random = random_of(37);
        void **blocks = own_array(setting->blocks, sizeof *blocks);
        struct timespec from, now;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (double passed = 0, next = 0.5; passed < setting->seconds;) {
                nights_work(blocks, setting->blocks, sizes, &random);
                clock_gettime(CLOCK_MONOTONIC, &now);
                passed =
                    (double)(now.tv_sec - from.tv_sec) + (double)(now.tv_nsec - from.tv_nsec) / 1e9;
                if (passed >= next) {
                        sample(live);
                        next += 0.5;
                }
        }
}

/* An operation: malloc. Pattern: clustered or scattered; blocks: of a night's work. */
uint64_t run_shrink(const struct setting *setting)
{
        static uint32_t sizes[SIZES];
        struct random random = random_of(31);
        size_t live = 0, count = setting->operations;
        void **blocks = own_array(count, sizeof *blocks);
        fill_sizes(sizes, setting->low, setting->high, 31);
        for (size_t i = 0; i < count; i++) {
                size_t nbytes = any_of(sizes, &random);
                blocks[i] = get(nbytes);
                live += nbytes;
                if (i % (count / 8) == 0)
                        sample(live);
        }
        sample(live);
        for (size_t i = 0; i < count; i++) {
                if (survives(setting, i, &random))
                        continue;
                live -= nbytes_of(blocks[i]);
                put(blocks[i]);
        }
        end_own_array(blocks, count, sizeof *blocks);
        sample(live);
        decay(setting, sizes, live);
        return count;
}

/* --- tiny -------------------------------------------------------------------------------- */

static pthread_barrier_t all_here;

/* A few blocks of a few sizes, the sizes doubling from `low` to `high`. */
static void hold_few(const struct setting *setting, unsigned index)
{
        void *few[64];
        size_t count = 0;
        for (size_t nbytes = setting->low; nbytes <= setting->high && count < 64; nbytes *= 2)
                few[count++] = get(nbytes);
        pthread_barrier_wait(&all_here);
        if (!index)
                sample(0);
        pthread_barrier_wait(&all_here);
        while (count)
                put(few[--count]);
}

/* With one thread, no other is started. */
uint64_t run_tiny(const struct setting *setting)
{
        pthread_barrier_init(&all_here, NULL, setting->threads);
        if (setting->threads > 1)
                in_threads(setting, hold_few);
        else
                hold_few(setting, 0);
        return setting->threads;
}
