/* shrink.c: what stays in memory of a program that has freed most of what it had? Facts of
 * the kernel's: /proc/self/statm. To be run with POLDER_DECAY_MS=1000.
 *
 * usage: shrink clustered|scattered LOW HIGH MEGABYTES PERCENT EXTRA [alone]
 *
 * MEGABYTES of blocks of LOW to HIGH bytes. One in ten survives, thousands in a row, which is
 * whole spans if they are of one size; or one in a hundred, anywhere. Then the program sleeps
 * until not more than PERCENT of what is alive and EXTRA KiB are resident beyond what was at
 * the start, or it has waited long enough.
 * alone: in one thread; else there is a second one, which takes and frees a block now and
 * then, so that malloc can have a thread of its own. */
#include "tests/preload/check.h"

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

enum { RUN = 2000, RUNS = 10, ONE_IN = 100, STEP_MS = 50, PATIENCE_MS = 8000 };

struct wish {
        int clustered;
        size_t low, high, nbytes;
};

static char **blocks;
static size_t count, live;

static size_t resident_bytes(void)
{
        unsigned long total, resident;
        FILE *file = fopen("/proc/self/statm", "r");
        if (!file || fscanf(file, "%lu %lu", &total, &resident) != 2)
                abort();
        fclose(file);
        return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void rest(long ms)
{
        struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
        nanosleep(&time, NULL);
}

static void *work_a_little(void *unused)
{
        for (;;) {
                free(malloc(300000));
                rest(STEP_MS);
        }
        return unused;
}

static void grow(const struct wish *wish, unsigned *seed)
{
        for (size_t all = 0; all < wish->nbytes; count++) {
                size_t nbytes = wish->low + (size_t)rand_r(seed) % (wish->high - wish->low + 1);
                blocks[count] = malloc(nbytes);
                if (!blocks[count])
                        abort();
                memset(blocks[count], (int)count | 1, nbytes);
                all += nbytes;
        }
}

static void shrink(const struct wish *wish, unsigned *seed)
{
        for (size_t i = 0; i < count; i++) {
                if (wish->clustered ? i / RUN % RUNS == 0 : rand_r(seed) % ONE_IN == 0) {
                        live += malloc_usable_size(blocks[i]);
                        continue;
                }
                free(blocks[i]);
                blocks[i] = NULL;
        }
}

static int all_are_whole(size_t low)
{
        for (size_t i = 0; i < count; i++)
                for (size_t k = 0; blocks[i] && k < low; k += 64)
                        if (blocks[i][k] != (char)((int)i | 1))
                                return 0;
        return 1;
}

int main(int argc, char **argv)
{
        unsigned seed = 5;
        if (argc < 7)
                return 2;
        struct wish wish = { !strcmp(argv[1], "clustered"), strtoul(argv[2], NULL, 10),
                             strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10) << 20 };
        size_t percent = strtoul(argv[5], NULL, 10), extra = strtoul(argv[6], NULL, 10) << 10;
        size_t most = wish.nbytes / (wish.low + wish.high) * 3 + 1000;
        pthread_t thread;
        blocks = calloc(most, sizeof *blocks);
        memset(blocks, 0, most * sizeof *blocks);
        if (argc == 7)
                CHECK(!pthread_create(&thread, NULL, work_a_little, NULL));
        rest(1500); /* older than a decay time */
        size_t before = resident_bytes();
        grow(&wish, &seed);
        size_t peak = resident_bytes() - before;
        shrink(&wish, &seed);
        size_t allowed = live / 100 * percent + extra, after = 0;
        for (int waited = 0; waited < PATIENCE_MS; waited += STEP_MS) {
                rest(STEP_MS);
                after = resident_bytes() - before;
                if (after <= allowed)
                        break;
        }
        printf("%s %s-%s: peak %zu KiB, live %zu KiB, resident %zu KiB, %.2f of what lives\n",
               argv[1], argv[2], argv[3], peak >> 10, live >> 10, after >> 10,
               (double)after / (double)live);
        CHECK(peak > live * 5);
        CHECK(after <= allowed);
        CHECK(all_are_whole(wish.low));
        return report();
}
