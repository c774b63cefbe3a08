/* race: how many operations does a map do a second?
 *
 * usage: race KEYS THREADS READS SECONDS | race KEYS THREADS READS =OPERATIONS
 *
 * READS: of a hundred operations so many look up a key, evenly chosen, and read its whole
 * value. Of the others, where READS is above 50, all replace a value; else one half sets and
 * the other erases, so that half of the keys are there. With =OPERATIONS each thread does so
 * many, to be counted. Prints one line. */
#include "bench/maps/map.h"

#include "base/clock.h"
#include "base/random.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { TURN = 64, MOST_THREADS = 64 };

static uint64_t keys, most = UINT64_MAX;
static uint32_t reads;
static atomic_bool over;
static _Atomic uint64_t noperations, nfound, nbad;
static pthread_barrier_t barrier;

static uint64_t any_key(struct pld_random *random)
{
        return pld_random_below(random, (uint32_t)keys) + 1;
}

static void set(struct pld_random *random, uint64_t key)
{
        map_set(key, LEAST_WORDS + pld_random_below(random, MOST_WORDS - LEAST_WORDS + 1));
}

static void fill(void)
{
        struct pld_random random = pld_random_seeded(1);
        map_thread_begin();
        for (uint64_t key = 1; key <= keys; key++) {
                if (reads > 50 || key % 2)
                        set(&random, key);
                if (key % TURN == 0)
                        map_turn();
        }
        map_thread_end();
}

static void operate(struct pld_random *random, uint64_t *found, uint64_t *bad)
{
        uint64_t key = any_key(random);
        uint32_t choice = pld_random_below(random, 100);
        if (choice < reads) {
                uint64_t sum = map_look_up(key);
                *found += sum != 0;
                *bad += sum % key != 0;
        } else if (reads > 50 || choice % 2) {
                set(random, key);
        } else {
                map_erase(key);
        }
}

static void *work(void *arg)
{
        struct pld_random random = pld_random_seeded((uintptr_t)arg + 7);
        uint64_t n = 0, found = 0, bad = 0;
        map_thread_begin();
        pthread_barrier_wait(&barrier);
        while (!atomic_load_explicit(&over, memory_order_relaxed) && n < most) {
                for (int i = 0; i < TURN; i++, n++)
                        operate(&random, &found, &bad);
                map_turn();
        }
        map_thread_end();
        atomic_fetch_add(&noperations, n);
        atomic_fetch_add(&nfound, found);
        atomic_fetch_add(&nbad, bad);
        return NULL;
}

static uint64_t resident_bytes(void)
{
        unsigned long all = 0, resident = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        if (file && fscanf(file, "%lu %lu", &all, &resident) != 2)
                resident = 0;
        if (file)
                fclose(file);
        return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

int main(int argc, char **argv)
{
        int nthreads = argc == 5 ? atoi(argv[2]) : 0;
        if (nthreads < 1 || nthreads > MOST_THREADS) {
                fputs("usage: race KEYS THREADS READS SECONDS|=OPERATIONS\n", stderr);
                return 2;
        }
        keys = strtoull(argv[1], NULL, 10);
        reads = (uint32_t)atoi(argv[3]);
        if (*argv[4] == '=')
                most = strtoull(argv[4] + 1, NULL, 10);
        map_start(keys);
        fill();

        pthread_t threads[MOST_THREADS];
        pthread_barrier_init(&barrier, NULL, (unsigned)nthreads + 1);
        for (intptr_t i = 0; i < nthreads; i++)
                pthread_create(&threads[i], NULL, work, (void *)i);
        pthread_barrier_wait(&barrier);
        uint64_t start_ns = pld_now_ns(), start_cpu_ns = pld_clock_read(CLOCK_PROCESS_CPUTIME_ID);
        uint64_t resident = 0;
        if (most == UINT64_MAX) {
                uint64_t end_ns = start_ns + (uint64_t)(atof(argv[4]) * 1e9);
                while (pld_now_ns() < end_ns) {
                        usleep(20000);
                        uint64_t now = resident_bytes();
                        resident = now > resident ? now : resident;
                }
        }
        atomic_store(&over, most == UINT64_MAX);
        for (int i = 0; i < nthreads; i++)
                pthread_join(threads[i], NULL);
        double seconds = (double)(pld_now_ns() - start_ns) / 1e9;
        double cpu = (double)(pld_clock_read(CLOCK_PROCESS_CPUTIME_ID) - start_cpu_ns) / 1e9;
        double live = (double)keys * (reads > 50 ? 1 : 0.5) *
                      (2 * sizeof(void *) + sizeof(struct content) +
                       (LEAST_WORDS + MOST_WORDS) / 2.0 * sizeof(uint64_t));
        printf("map=%s threads=%d reads=%u mops=%.3f cpu_ns=%.0f found=%.3f bad=%" PRIu64
               " live_mib=%.0f peak_rss_mib=%.0f\n",
               map_name, nthreads, reads, (double)noperations / seconds / 1e6,
               cpu * 1e9 / (double)noperations, (double)nfound / (double)noperations, nbad,
               live / 1048576, (double)resident / 1048576);
        return nbad != 0;
}
