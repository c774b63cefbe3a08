/* threads.c: threads that come and go, and leave blocks behind. */
#include "bench/workloads/workload.h"

#include <pthread.h>
#include <semaphore.h>

static uint32_t sizes[SIZES];
static void **slots;

/* --- A server after Larson and Krishnan: each thread replaces blocks in its lane's slots for
 * a while, then starts its successor, which inherits the slots, and ends -------------------- */

enum { REPLACEMENTS = 50000 };

struct lane {
        void **slots;
        size_t count;
        uint64_t generations;
        struct random random;
        sem_t done;
};

static void begin_generation(struct lane *lane);

static void *serve(void *argument)
{
        struct lane *lane = argument;
        struct random random = lane->random;
        for (int i = 0; i < REPLACEMENTS; i++) {
                void **slot = &lane->slots[random_below(&random, lane->count)];
                put(*slot);
                *slot = get(any_of(sizes, &random));
        }
        lane->random = random;
        if (--lane->generations)
                begin_generation(lane);
        else
                sem_post(&lane->done);
        return NULL;
}

static void begin_generation(struct lane *lane)
{
        pthread_attr_t detached;
        pthread_t thread;
        pthread_attr_init(&detached);
        pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &detached, serve, lane))
                give_up("pthread_create");
        pthread_attr_destroy(&detached);
}

/* An operation: free, malloc. */
uint64_t run_larson(const struct setting *setting)
{
        static struct lane lanes[MAX_THREADS];
        size_t count = setting->blocks / setting->threads;
        uint64_t generations = setting->operations / setting->threads / REPLACEMENTS;
        generations = generations ? generations : 1;
        fill_sizes(sizes, setting->low, setting->high, 19);
        slots = own_array(setting->blocks, sizeof *slots);
        for (size_t i = 0; i < setting->blocks; i++)
                slots[i] = get(sizes[i % SIZES]);
        for (unsigned i = 0; i < setting->threads; i++) {
                lanes[i] = (struct lane){
                        slots + i * count, count, generations, random_of(300 + i), { { 0 } }
                };
                sem_init(&lanes[i].done, 0, 0);
        }
        for (unsigned i = 0; i < setting->threads; i++)
                begin_generation(&lanes[i]);
        for (unsigned i = 0; i < setting->threads; i++)
                sem_wait(&lanes[i].done);
        return generations * REPLACEMENTS * setting->threads;
}

/* --- Short lives: a thread frees what its predecessor left, and leaves as much ------------- */

struct life {
        const struct setting *setting;
        void **slots;
        uint64_t number;
};

static void *live(void *argument)
{
        const struct life *life = argument;
        for (size_t i = 0; i < life->setting->blocks; i++) {
                put(life->slots[i]);
                life->slots[i] = get(sizes[(life->number + 2 * i) % SIZES]);
                put(get(sizes[(life->number + 2 * i + 1) % SIZES]));
        }
        return NULL;
}

static void one_after_another(const struct setting *setting, unsigned index)
{
        struct life life = { setting, slots + index * setting->blocks, 0 };
        uint64_t lives = setting->operations / setting->threads / (2 * setting->blocks);
        for (; life.number < lives; life.number++) {
                pthread_t thread;
                if (pthread_create(&thread, NULL, live, &life))
                        give_up("pthread_create");
                pthread_join(thread, NULL);
        }
}

/* An operation: malloc, free; half of them of a block that stays for the successor, blocks
 * in number. As many threads live at once as are asked for. */
uint64_t run_lives(const struct setting *setting)
{
        fill_sizes(sizes, setting->low, setting->high, 23);
        slots = own_array(setting->threads * setting->blocks, sizeof *slots);
        in_threads(setting, one_after_another);
        return setting->operations;
}
