/* map_locks.c: chains under striped locks, on jemalloc. What was replaced is freed at once. */
#include "bench/maps/map.h"

#include <pthread.h>
#include <stdlib.h>

enum { NSTRIPES = 1024 };

struct entry {
        struct entry *next;
        uint64_t hash;
        struct content content;
};

struct stripe {
        _Alignas(64) pthread_mutex_t lock;
};

const char *const map_name = "locks";
/* As for the server's baseline. */
const char *malloc_conf = "thp:always,metadata_thp:auto,background_thread:true";

static struct stripe stripes[NSTRIPES];
static struct entry **buckets;
static size_t mask;

void map_start(size_t expected)
{
        size_t nbuckets = NSTRIPES;
        while (nbuckets < expected)
                nbuckets *= 2;
        mask = nbuckets - 1;
        buckets = calloc(nbuckets, sizeof *buckets);
        if (!buckets)
                abort();
        for (size_t i = 0; i < NSTRIPES; i++)
                pthread_mutex_init(&stripes[i].lock, NULL);
}

void map_thread_begin(void)
{
}

void map_thread_end(void)
{
}

void map_turn(void)
{
}

static struct entry **find(uint64_t hash, uint64_t key)
{
        struct entry **at = &buckets[hash & mask];
        while (*at && ((*at)->hash != hash || (*at)->content.key != key))
                at = &(*at)->next;
        return at;
}

static pthread_mutex_t *lock(uint64_t hash)
{
        pthread_mutex_t *mutex = &stripes[hash % NSTRIPES].lock;
        pthread_mutex_lock(mutex);
        return mutex;
}

uint64_t map_look_up(uint64_t key)
{
        uint64_t hash = map_hash(key);
        pthread_mutex_t *held = lock(hash);
        struct entry *entry = *find(hash, key);
        uint64_t sum = entry ? content_sum(&entry->content) : 0;
        pthread_mutex_unlock(held);
        return sum;
}

void map_set(uint64_t key, uint64_t nwords)
{
        uint64_t hash = map_hash(key);
        struct entry *entry = malloc(sizeof *entry + nwords * sizeof(uint64_t));
        if (!entry)
                abort();
        entry->hash = hash;
        content_fill(&entry->content, key, nwords);
        pthread_mutex_t *held = lock(hash);
        struct entry **at = find(hash, key), *old = *at;
        entry->next = old ? old->next : NULL;
        *at = entry;
        pthread_mutex_unlock(held);
        free(old);
}

void map_erase(uint64_t key)
{
        uint64_t hash = map_hash(key);
        pthread_mutex_t *held = lock(hash);
        struct entry **at = find(hash, key), *old = *at;
        if (old)
                *at = old->next;
        pthread_mutex_unlock(held);
        free(old);
}
