/* place_moves: is memory on the node where its thread is, while threads move?
 *
 * usage: place_moves [seconds=N] [workers=N]
 * Every 10 ms each worker is sent to a CPU of another node. Workers allocate all the
 * while, small and large blocks and collected objects, and count the bytes that were
 * handed out on another node than theirs, by polder_node_of(); for some blocks the
 * kernel is asked as well. What a thread was moved in the midst of is left out.
 * Blocks are freed by whoever has them: first one thread shows that those which it
 * frees from abroad are used again at home. */
#include <polder/polder.h>

#include "tests/guest/place.h"

#include <numa.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum {
        MAX_WORKERS = 8,
        MAX_IDS = 64,
        MOVE_MS = 10,
        LIVE = 512, /* blocks that a worker has at a time */
        PAIRS = 64,
        BATCH = 128,
        SAMPLE = 128, /* for one block in so many the kernel is asked */
        ROUNDS = 60,  /* of frees from abroad */
        ROUND_BLOCKS = 2000,
        GROWTH_MOST = 8 << 20
};

enum sort { SMALL, LARGE, COLLECTED, SORTS };
static const char *const sort_names[SORTS] = { "small blocks", "large blocks",
                                               "collected objects" };

struct worker {
        pthread_t thread;
        uint64_t random;
        void *live[LIVE];
        uint64_t bytes[SORTS], wrong[SORTS]; /* handed out; on another node */
        uint64_t amid, astray, sampled, moves;
        int last_node;
};

static struct worker workers[MAX_WORKERS];
static int nworkers;
static int cpu_of[MAX_IDS], nodes[MAX_IDS], nnodes; /* nodes with a CPU, and one of each */
static _Atomic(void *) exchange[64];                /* blocks that change hands */
static atomic_bool stopping;

static uint64_t draw(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

static void find_cpus(void)
{
        struct bitmask *cpus = numa_allocate_cpumask();
        for (int node = 0; node <= numa_max_node() && nnodes < MAX_IDS; node++) {
                if (numa_node_to_cpus(node, cpus) || numa_bitmask_weight(cpus) == 0)
                        continue;
                int cpu = 0;
                while (!numa_bitmask_isbitset(cpus, (unsigned)cpu))
                        cpu++;
                nodes[nnodes] = node;
                cpu_of[nnodes++] = cpu;
        }
        numa_free_cpumask(cpus);
}

/* ---- Counting ------------------------------------------------------------------------- */

static void *get(struct worker *worker, enum sort sort, size_t nbytes)
{
        int before = place_node_of_cpu();
        void *p = sort == COLLECTED ? polder_new_leaf(nbytes) : polder_malloc(nbytes);
        int after = place_node_of_cpu();
        if (!p) {
                place_fact(false, "there is memory for %zu bytes", nbytes);
                exit(1);
        }
        worker->moves += before != worker->last_node;
        worker->last_node = before;
        if (before != after) {
                worker->amid++;
                return p;
        }
        int node = polder_node_of(p);
        worker->bytes[sort] += nbytes;
        if (node != after)
                worker->wrong[sort] += nbytes;
        memset(p, 1, nbytes < 64 ? nbytes : 64);
        if (sort != COLLECTED && draw(&worker->random) % SAMPLE == 0) {
                worker->sampled++;
                worker->astray += place_elsewhere((char *)((uintptr_t)p & ~4095ul), 1, node);
        }
        return p;
}

static size_t small_size(struct worker *worker)
{
        uint64_t r = draw(&worker->random);
        return r % 16 ? 1 + r / 16 % 1024 : 1 + r / 16 % 40000;
}

/* ---- What workers do -------------------------------------------------------------------- */

static void pairs(struct worker *worker)
{
        size_t nbytes = small_size(worker);
        for (int i = 0; i < PAIRS; i++)
                polder_free(get(worker, SMALL, nbytes));
}

static void batch(struct worker *worker)
{
        void *blocks[BATCH];
        size_t nbytes = 1 + draw(&worker->random) % 512;
        for (int i = 0; i < BATCH; i++)
                blocks[i] = get(worker, SMALL, nbytes);
        for (int i = 0; i < BATCH; i++)
                polder_free(blocks[i]);
}

static void churn(struct worker *worker)
{
        for (int i = 0; i < BATCH; i++) {
                uint64_t r = draw(&worker->random);
                void **slot = &worker->live[r % LIVE], *old = *slot;
                *slot = get(worker, SMALL, small_size(worker));
                if (r >> 32 & 1) /* someone else frees it */
                        old = atomic_exchange(&exchange[r >> 40 & 63], old);
                polder_free(old);
        }
}

static void large(struct worker *worker)
{
        size_t nbytes = 300000 + draw(&worker->random) % 1500000;
        polder_free(get(worker, LARGE, nbytes));
        void *p = get(worker, LARGE, nbytes);
        polder_free(p);
}

static void collected(struct worker *worker)
{
        for (int i = 0; i < BATCH; i++)
                get(worker, COLLECTED, 8 + draw(&worker->random) % 2000);
}

static void *work(void *arg)
{
        static void (*const ways[])(struct worker *) = { pairs, batch, churn, large, collected };
        struct worker *worker = arg;
        while (!atomic_load(&stopping))
                ways[draw(&worker->random) % (sizeof ways / sizeof ways[0])](worker);
        for (int i = 0; i < LIVE; i++)
                polder_free(worker->live[i]);
        return NULL;
}

/* ---- Moving them --------------------------------------------------------------------------- */

static void move(pthread_t thread, int at)
{
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu_of[at], &one);
        pthread_setaffinity_np(thread, sizeof one, &one);
}

static void move_all_for(int seconds)
{
        int at[MAX_WORKERS] = { 0 };
        uint64_t random = 88172645463325252u;
        struct timespec now, pause = { .tv_nsec = MOVE_MS * 1000000 };
        clock_gettime(CLOCK_MONOTONIC, &now);
        for (time_t end = now.tv_sec + seconds; now.tv_sec < end;) {
                for (int i = 0; i < nworkers; i++) {
                        at[i] =
                            (at[i] + 1 + (int)(draw(&random) % (uint64_t)(nnodes - 1))) % nnodes;
                        move(workers[i].thread, at[i]);
                }
                nanosleep(&pause, NULL);
                clock_gettime(CLOCK_MONOTONIC, &now);
        }
}

static void roam(int seconds)
{
        for (int i = 0; i < nworkers; i++) {
                workers[i].random = 0x9e3779b97f4a7c15u * (uint64_t)(i + 1);
                pthread_create(&workers[i].thread, NULL, work, &workers[i]);
        }
        move_all_for(seconds);
        atomic_store(&stopping, true);
        struct worker sum = { 0 };
        for (int i = 0; i < nworkers; i++) {
                pthread_join(workers[i].thread, NULL);
                for (int sort = 0; sort < SORTS; sort++) {
                        sum.bytes[sort] += workers[i].bytes[sort];
                        sum.wrong[sort] += workers[i].wrong[sort];
                }
                sum.amid += workers[i].amid;
                sum.moves += workers[i].moves;
                sum.astray += workers[i].astray;
                sum.sampled += workers[i].sampled;
        }
        for (int i = 0; i < 64; i++)
                polder_free(exchange[i]);
        printf("  %d nodes, %llu moves, %llu allocations in the midst of one\n", nnodes,
               (unsigned long long)sum.moves, (unsigned long long)sum.amid);
        place_fact(sum.moves >= 20, "threads moved: %llu times", (unsigned long long)sum.moves);
        for (int sort = 0; sort < SORTS; sort++) {
                printf("  %s: %llu bytes, on another node %llu\n", sort_names[sort],
                       (unsigned long long)sum.bytes[sort], (unsigned long long)sum.wrong[sort]);
                place_fact(sum.bytes[sort] > 0 && sum.wrong[sort] <= sum.bytes[sort] / 1000,
                           "99.9 %% of the bytes of %s are on the thread's node", sort_names[sort]);
        }
        place_fact(sum.sampled > 0 && sum.astray == 0,
                   "the kernel agrees about where %llu blocks lie, but for %llu",
                   (unsigned long long)sum.sampled, (unsigned long long)sum.astray);
}

/* ---- Freed from abroad ------------------------------------------------------------------------
 */

static size_t resident(void)
{
        struct polder_stats stats = { .struct_size = sizeof stats };
        polder_stats_read(&stats);
        return stats.resident_bytes;
}

static void *free_from_abroad(void *arg)
{
        static void *blocks[ROUND_BLOCKS];
        size_t early = 0;
        bool here = true;
        (void)arg;
        for (int round = 0; round < ROUNDS; round++) {
                int home = round % nnodes;
                move(pthread_self(), home);
                for (int i = 0; i < ROUND_BLOCKS; i++) {
                        blocks[i] = polder_malloc(16 + (size_t)(i % 1500));
                        here &= blocks[i] && polder_node_of(blocks[i]) == nodes[home];
                }
                move(pthread_self(), (round + 1) % nnodes);
                for (int i = 0; i < ROUND_BLOCKS; i++)
                        polder_free(blocks[i]);
                if (round == ROUNDS / 4)
                        early = resident();
        }
        place_fact(here, "each block is on the node that its thread has just come to");
        place_fact(resident() <= early + GROWTH_MOST,
                   "blocks freed from abroad are used again at home: %zu bytes, then %zu", early,
                   resident());
        return NULL;
}

int main(int argc, char **argv)
{
        const char *seconds = place_argument(argv + 1, "seconds");
        const char *number = place_argument(argv + 1, "workers");
        pthread_t thread;
        (void)argc;
        nworkers = number ? atoi(number) : 3;
        find_cpus();
        if (nnodes < 2 || nworkers < 1 || nworkers > MAX_WORKERS) {
                place_fact(false, "there are several nodes, and up to %d workers", MAX_WORKERS);
                return place_done();
        }
        pthread_create(&thread, NULL, free_from_abroad, NULL);
        pthread_join(thread, NULL);
        roam(seconds ? atoi(seconds) : 6);
        return place_done();
}
