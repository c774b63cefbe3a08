/* cache.c: how does a cache server fare, at full speed and at a steady rate?
 *
 * A hash table of chained nodes, a key and a value each. Four operations of five copy a
 * value out, and one replaces it by a new one of 64 to 1024 bytes. Values have no pointers. Where
 * memory is collected a reader follows pointers with plain loads, and a writer exchanges one. With
 * free that is not possible: there both hold a lock, one of many, which is seldom contended.
 *
 * At a rate, operation n of a thread is due at a time that is fixed beforehand, and its latency
 * counts from then, so that what a stall delays is counted, not left out. A thread with nothing
 * to do sleeps for 50 microseconds at least, like a server that polls its connections, or spins,
 * if told so. What did not get done in thrice the time is left; `kept` says how much was done. */
#include "bench/collectors/load.h"
#include "bench/collectors/waits.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>

enum {
        LOW = 64,
        HIGH = 1024,
        LOCKS = 1 << 12,
        QUANTUM_NS = 50000,
        LATE_NS = 100000, /* waking takes no longer on an idle machine */
};

struct value {
        uint64_t key;
        uint32_t nbytes, number;
        char bytes[];
};

struct node {
        struct node *next;
        struct value *value;
        uint64_t key;
};

static struct {
        struct node **table;
} root;

static memory_kind node_kind;
static size_t mask;
static uint32_t sizes[SIZES];
static char pattern[HIGH];
static struct {
        volatile char taken;
        char apart[63];
} locks[LOCKS];

static struct waits all_waits[MAX_THREADS];
static uint64_t began, due_end, operations_done[MAX_THREADS][8];
static bool measuring;

static size_t bucket_of(uint64_t key)
{
        key *= UINT64_C(0x9e3779b97f4a7c15);
        return (size_t)(key >> 20) & mask;
}

static void lock_bucket(size_t bucket)
{
        if (!MEMORY_IS_MANUAL)
                return;
        volatile char *taken = &locks[bucket % LOCKS].taken;
        while (__atomic_exchange_n(taken, 1, __ATOMIC_ACQUIRE))
                while (*taken)
                        own_pause();
}

static void unlock_bucket(size_t bucket)
{
        if (MEMORY_IS_MANUAL)
                __atomic_store_n(&locks[bucket % LOCKS].taken, 0, __ATOMIC_RELEASE);
}

static struct value *value_new(uint64_t key, struct random *random)
{
        uint32_t nbytes = sizes[random_next(random) % SIZES];
        struct value *value = memory_new_leaf(nbytes);
        if (!value)
                give_up("no memory");
        value->key = key;
        value->nbytes = nbytes;
        value->number = (uint32_t)key ^ nbytes;
        memcpy(value->bytes, pattern, nbytes - sizeof *value);
        return value;
}

static void check(const struct value *value, uint64_t key)
{
        uint32_t rest = value->nbytes - (uint32_t)sizeof *value;
        if (value->key != key || value->number != ((uint32_t)key ^ value->nbytes) ||
            value->nbytes > HIGH || (rest && value->bytes[rest - 1] != pattern[rest - 1]))
                give_up("a value is not what was stored");
}

static struct node *find(size_t bucket, uint64_t key)
{
        struct node *node = memory_load(&root.table[bucket]);
        while (node && node->key != key)
                node = memory_load(&node->next);
        if (!node)
                give_up("a key was lost");
        return node;
}

static void get(uint64_t key)
{
        union {
                struct value value;
                char bytes[HIGH];
        } copy;
        size_t bucket = bucket_of(key);
        lock_bucket(bucket);
        struct value *value = memory_load(&find(bucket, key)->value);
        memcpy(&copy, value, value->nbytes);
        unlock_bucket(bucket);
        __asm__ __volatile__("" : : "r"(&copy) : "memory");
        check(&copy.value, key);
}

static void set(uint64_t key, struct random *random)
{
        struct value *value = value_new(key, random);
        size_t bucket = bucket_of(key);
        lock_bucket(bucket);
        struct value *old = memory_exchange(&find(bucket, key)->value, value);
        unlock_bucket(bucket);
        memory_free(old);
}

static void operate(struct random *random, uint64_t count)
{
        uint64_t key = random_below(random, count);
        if (random_next(random) % 5)
                get(key);
        else
                set(key, random);
}

/* Each thread fills the buckets that are its own. */
static void fill(const struct setting *setting, unsigned index)
{
        struct random random = random_of(100 + index);
        for (uint64_t key = 0; key < setting->count; key++) {
                size_t bucket = bucket_of(key);
                if (bucket % setting->threads != index)
                        continue;
                struct value *value = value_new(key, &random);
                struct node *node = memory_new(node_kind);
                if (!node)
                        give_up("no memory");
                memory_fill(&node->next, root.table[bucket]);
                memory_fill(&node->value, value);
                node->key = key;
                memory_store(&root.table[bucket], node);
        }
}

static void start(void)
{
        began = now_ns();
        __atomic_store_n(&measuring, true, __ATOMIC_RELEASE);
}

static void at_full_speed(const struct setting *setting, unsigned index, struct random random)
{
        struct waits *waits = &all_waits[index];
        uint64_t end = began + (uint64_t)(setting->seconds * 1e9), done = 0, now = began;
        for (; setting->operations && done < setting->operations; done++)
                operate(&random, setting->count); /* to count instructions by: no clock */
        while (!setting->operations && now < end) {
                operate(&random, setting->count);
                done++;
                uint64_t then = now_ns();
                waits_note(waits, then - waits->last);
                waits_alive(waits, then);
                now = then;
        }
        operations_done[index][0] = done;
}

/* Nothing is due before `due`: the time, afterwards. */
static uint64_t wait_until(const struct setting *setting, struct waits *waits, uint64_t now,
                           uint64_t due)
{
        if (setting->spin) {
                do {
                        memory_poll();
                        now = now_ns();
                        waits_alive(waits, now);
                } while (now < due);
                return now;
        }
        due = due > now + QUANTUM_NS ? due : now + QUANTUM_NS;
        struct timespec until = { (time_t)(due / 1000000000u), (long)(due % 1000000000u) };
        memory_wait_begin();
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
                ;
        memory_wait_end();
        now = now_ns();
        if (now < due + LATE_NS)
                waits->last = now;
        else
                waits->last = due;
        waits_alive(waits, now);
        return now;
}

static void at_a_rate(const struct setting *setting, unsigned index, struct random random)
{
        struct waits *waits = &all_waits[index];
        double interval = 1e9 * setting->threads / setting->rate;
        uint64_t operations = (uint64_t)(setting->seconds * 1e9 / interval), done = 0;
        uint64_t end = began + (uint64_t)(setting->seconds * 3e9), now = began;
        for (; done < operations && now < end; done++) {
                uint64_t due = began + (uint64_t)(((double)done + .5) * interval);
                if (now < due)
                        now = wait_until(setting, waits, now, due);
                operate(&random, setting->count);
                now = now_ns();
                waits_note(waits, now - due);
                waits_alive(waits, now);
        }
        operations_done[index][0] = done;
        operations_done[index][1] = operations;
}

static void serve(const struct setting *setting, unsigned index)
{
        prctl(PR_SET_TIMERSLACK, 1);
        fill(setting, index);
        meet(start);
        waits_begin(&all_waits[index], setting->rate > 0 ? 3 * setting->seconds : setting->seconds);
        if (setting->rate > 0)
                at_a_rate(setting, index, random_of(200 + index));
        else
                at_full_speed(setting, index, random_of(200 + index));
        uint64_t ended = now_ns();
        if (ended > __atomic_load_n(&due_end, __ATOMIC_RELAXED))
                __atomic_store_n(&due_end, ended, __ATOMIC_RELAXED);
}

static void sample(void)
{
        static unsigned calls;
        static uint64_t first;
        first = first ? first : now_ns();
        waits_look_at_host();
        if (calls++ % 4 == 0)
                say_line("sample seconds=%.3f rss_kib=%zu measuring=%d\n",
                         (double)(now_ns() - first) / 1e9, resident_kib(),
                         __atomic_load_n(&measuring, __ATOMIC_ACQUIRE));
}

static void *collect_always(void *argument)
{
        memory_thread_begin();
        for (;;)
                memory_collect(MEMORY_CONCURRENT);
        return argument;
}

static void verify(const struct setting *setting)
{
        uint64_t nbytes = (mask + 1) * sizeof(void *) + setting->count * sizeof(struct node);
        for (uint64_t key = 0; key < setting->count; key++) {
                struct value *value = memory_load(&find(bucket_of(key), key)->value);
                check(value, key);
                nbytes += value->nbytes;
        }
        say("live_kib=%llu", (unsigned long long)nbytes / 1024);
}

void run_cache(const struct setting *setting)
{
        uint64_t done = 0, wanted = 0;
        pthread_t collecting;
        fill_sizes(sizes, LOW, HIGH, 7);
        for (size_t i = 0; i < sizeof pattern; i++)
                pattern[i] = (char)(i * 7 + 1);
        for (mask = 1; mask < setting->count; mask *= 2)
                ;
        mask--;
        memory_root(&root, sizeof root);
        node_kind = memory_kind_of(sizeof(struct node), 2);
        memory_store(&root.table, (struct node **)memory_new_pointers(mask + 1));
        if (setting->cycles && pthread_create(&collecting, NULL, collect_always, NULL))
                give_up("pthread_create");
        in_threads(setting, setting->threads, serve, sample);
        for (unsigned i = 0; i < setting->threads; i++) {
                done += operations_done[i][0];
                wanted += operations_done[i][1];
        }
        double seconds = (double)(due_end - began) / 1e9;
        say("operations=%llu seconds=%.3f mops_s=%.4f", (unsigned long long)done, seconds,
            (double)done / seconds / 1e6);
        if (setting->rate > 0)
                say("rate=%.0f kept=%.4f", setting->rate, (double)done / (double)wanted);
        waits_say(all_waits, setting->threads);
        verify(setting);
}
