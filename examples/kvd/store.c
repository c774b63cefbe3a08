/* store.c: the keyspace, shared by all workers.
 *
 * The keys are spread over shards, each a map with a lock for its writers. Readers
 * take no lock and leave no trace but the time of last use, and that only when keys
 * may have to be evicted for memory.
 *
 * Expiry is told from the value (value.h). A reader treats an expired value as absent
 * and leaves it; the next writer of the key removes it, or the worker that walks
 * through the shard now and then. Eviction takes the least recently used of a few
 * keys looked at in random places, as Redis does. Both look around without the lock
 * and take it for the one key to be removed.
 *
 * Memory is counted as the bytes of keys and values; what they take beyond that (size
 * classes, garbage not yet collected) is the allocator's affair. Each worker gathers
 * its changes and adds them to the shared count now and then.
 *
 * K1  Only the holder of a shard's lock changes its map, or a hash or list in it.
 * K2  A thread holds one shard's lock at most, and does not wait for events under it.
 * K3  expiring counts the values in the map whose expiry is not 0. */
#include "examples/kvd/store.h"

#include <pthread.h>
#include <stdalign.h>
#include <time.h>

#include "examples/kvd/memory.h"
#include "examples/kvd/tally.h"

enum {
        SHARDS_LOG = 8,
        SHARDS = 1 << SHARDS_LOG,
        TICK_MS = 64,        /* of value.touched */
        EVICTION_SAMPLE = 8, /* keys, or a few more */
        EVICTION_ROOM = 16,
        EVICTION_BUCKETS = 2,   /* a shard */
        EVICTION_TRIES = 64,    /* shards */
        EXPIRY_BUCKETS = 64,    /* a shard and call */
        CHARGE_SLACK = 16 << 10 /* a worker may keep so much to itself */
};

struct shard {
        alignas(64) struct map map; /* readers; set under lock */
        _Atomic size_t expiring;    /* set under lock */
        uint32_t expiry_position;   /* the worker whose share it is */
        alignas(64) pthread_mutex_t lock;
        ptrdiff_t nbytes; /* lock */
};

static struct shard shards[SHARDS];
static size_t bound_nbytes; /* const after start */
static _Atomic ptrdiff_t total_nbytes;

static __thread int64_t now_ms;
static __thread ptrdiff_t uncounted_nbytes;
static __thread uint64_t random_state;

int store_start(size_t max_nbytes)
{
        bound_nbytes = max_nbytes;
        for (size_t i = 0; i < SHARDS; i++)
                pthread_mutex_init(&shards[i].lock, NULL);
        store_turn();
        return memory_root(shards, sizeof shards);
}

/* --- Clock and counts --------------------------------------------------------------- */

int64_t store_now_ms(void)
{
        return now_ms;
}

static void count_uncounted(void)
{
        atomic_fetch_add_explicit(&total_nbytes, uncounted_nbytes, memory_order_relaxed);
        uncounted_nbytes = 0;
}

void store_turn(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
        if (uncounted_nbytes)
                count_uncounted();
}

void store_charge_locked(struct shard *shard, ptrdiff_t nbytes)
{
        shard->nbytes += nbytes;
        uncounted_nbytes += nbytes;
        if (uncounted_nbytes > CHARGE_SLACK || uncounted_nbytes < -CHARGE_SLACK)
                count_uncounted();
}

size_t store_nbytes(void)
{
        ptrdiff_t nbytes = atomic_load_explicit(&total_nbytes, memory_order_relaxed);
        return nbytes > 0 ? (size_t)nbytes : 0;
}

size_t store_max_nbytes(void)
{
        return bound_nbytes;
}

size_t store_count(void)
{
        size_t count = 0;
        for (size_t i = 0; i < SHARDS; i++)
                count += map_count(&shards[i].map);
        return count;
}

size_t store_count_expiring(void)
{
        size_t count = 0;
        for (size_t i = 0; i < SHARDS; i++)
                count += atomic_load_explicit(&shards[i].expiring, memory_order_relaxed);
        return count;
}

static void count_expiring(struct shard *shard, const struct value *before,
                           const struct value *after)
{
        size_t was = before && value_expiry(before), is = after && value_expiry(after);
        if (was == is)
                return;
        size_t count = atomic_load_explicit(&shard->expiring, memory_order_relaxed);
        atomic_store_explicit(&shard->expiring, count + is - was, memory_order_relaxed);
}

static ptrdiff_t cost(struct name key, const struct value *value)
{
        return (ptrdiff_t)(map_entry_nbytes(key.len) + value_nbytes(value));
}

/* --- Reading -------------------------------------------------------------------------- */

static struct shard *shard_of(struct name key)
{
        return &shards[key.hash >> (64 - SHARDS_LOG)];
}

static bool has_expired(const struct value *value)
{
        int64_t expiry = value_expiry(value);
        return expiry != 0 && expiry <= now_ms;
}

static void touch(struct value *value)
{
        uint32_t tick = (uint32_t)(now_ms / TICK_MS);
        if (bound_nbytes && atomic_load_explicit(&value->touched, memory_order_relaxed) != tick)
                atomic_store_explicit(&value->touched, tick, memory_order_relaxed);
}

struct value *store_get(struct name key)
{
        struct value *value = map_find(&shard_of(key)->map, key);
        if (value == NULL || has_expired(value)) {
                tally_add(TALLY_MISSES, 1);
                return NULL;
        }
        touch(value);
        tally_add(TALLY_HITS, 1);
        return value;
}

/* --- Writing -------------------------------------------------------------------------- */

struct shard *store_lock(struct name key)
{
        struct shard *shard = shard_of(key);
        pthread_mutex_lock(&shard->lock);
        return shard;
}

void store_unlock(struct shard *shard)
{
        pthread_mutex_unlock(&shard->lock);
}

struct value *store_get_locked(struct shard *shard, struct name key)
{
        struct value *value = map_find(&shard->map, key);
        if (value == NULL)
                return NULL;
        if (has_expired(value)) {
                store_remove_locked(shard, key);
                tally_add(TALLY_EXPIRED, 1);
                return NULL;
        }
        touch(value);
        return value;
}

int store_put_locked(struct shard *shard, struct name key, struct value *value)
{
        struct value *old;
        touch(value);
        int err = map_put(&shard->map, key, value, &old);
        if (err)
                return err;
        count_expiring(shard, old, value);
        store_charge_locked(shard, cost(key, value) - (old ? cost(key, old) : 0));
        value_drop(old);
        return 0;
}

bool store_remove_locked(struct shard *shard, struct name key)
{
        struct value *old = map_remove(&shard->map, key);
        if (old == NULL)
                return false;
        count_expiring(shard, old, NULL);
        store_charge_locked(shard, -cost(key, old));
        value_drop(old);
        return true;
}

void store_set_expiry_locked(struct shard *shard, struct value *value, int64_t expiry_ms)
{
        size_t was = value_expiry(value) != 0, is = expiry_ms != 0;
        size_t count = atomic_load_explicit(&shard->expiring, memory_order_relaxed);
        atomic_store_explicit(&shard->expiring, count + is - was, memory_order_relaxed);
        value_set_expiry(value, expiry_ms);
}

static void clear_shard(struct shard *shard)
{
        pthread_mutex_lock(&shard->lock);
        struct map taken = map_take(&shard->map);
        store_charge_locked(shard, -shard->nbytes);
        atomic_store_explicit(&shard->expiring, 0, memory_order_relaxed);
        pthread_mutex_unlock(&shard->lock);
        map_drop(&taken, value_drop);
}

void store_clear(void)
{
        for (size_t i = 0; i < SHARDS; i++)
                clear_shard(&shards[i]);
}

/* --- Eviction ------------------------------------------------------------------------- */

/* Marsaglia's xorshift, multiplied as by Vigna: without that the low bits of one number
 * tell those of the next, and of a chosen shard half the buckets would never be chosen. */
static uint32_t random_next(void)
{
        if (random_state == 0)
                random_state = (uintptr_t)&random_state ^ (uint64_t)now_ms;
        random_state ^= random_state >> 12;
        random_state ^= random_state << 25;
        random_state ^= random_state >> 27;
        return (uint32_t)((random_state * UINT64_C(0x2545f4914f6cdd1d)) >> 32);
}

/* Of workers' clocks one may be behind another's: what was used in the future is as
 * young as can be. */
static uint32_t age_in_ticks(struct value *value)
{
        uint32_t touched = atomic_load_explicit(&value->touched, memory_order_relaxed);
        int32_t age = (int32_t)((uint32_t)(now_ms / TICK_MS) - touched);
        return age > 0 ? (uint32_t)age : 0;
}

static struct entry *least_recently_used(struct entry **entries, size_t count)
{
        struct entry *found = NULL;
        uint32_t oldest = 0;
        for (size_t i = 0; i < count; i++) {
                uint32_t age = age_in_ticks(memory_load(&entries[i]->value));
                if (found == NULL || age > oldest) {
                        found = entries[i];
                        oldest = age;
                }
        }
        return found;
}

/* The entry may have been unlinked meanwhile: its bytes name the key that goes. */
static bool remove_entry(struct entry *entry)
{
        struct name key = map_name(entry->key, entry->len);
        struct shard *shard = store_lock(key);
        bool removed = store_remove_locked(shard, key);
        store_unlock(shard);
        return removed;
}

static struct shard *random_shard_with_keys(void)
{
        size_t first = random_next() % SHARDS;
        for (size_t i = 0; i < SHARDS; i++) {
                struct shard *shard = &shards[(first + i) % SHARDS];
                if (map_count(&shard->map))
                        return shard;
        }
        return NULL;
}

/* Whole chains from a few buckets of several shards: a shard alone may have none left
 * that is old, and the first of a chain are the newest. */
static size_t sample_keys(struct entry *found[static EVICTION_ROOM])
{
        size_t count = 0;
        for (int i = 0; i < EVICTION_TRIES && count < EVICTION_SAMPLE; i++) {
                struct shard *shard = random_shard_with_keys();
                if (shard)
                        count += map_sample(&shard->map, random_next(), EVICTION_BUCKETS,
                                            &found[count], EVICTION_ROOM - count);
        }
        struct shard *shard = count ? NULL : random_shard_with_keys();
        if (shard) /* thinly spread: the next best */
                count = map_sample(&shard->map, random_next(), UINT32_MAX, found, 1);
        return count;
}

/* False when there is nothing left to evict. */
static bool evict_one(void)
{
        struct entry *found[EVICTION_ROOM];
        size_t count;
        while ((count = sample_keys(found)) > 0) {
                if (remove_entry(least_recently_used(found, count))) {
                        tally_add(TALLY_EVICTED, 1);
                        return true;
                }
        }
        return false;
}

bool store_make_room(void)
{
        if (bound_nbytes == 0)
                return true;
        while (store_nbytes() > bound_nbytes) {
                if (!evict_one())
                        return false;
                count_uncounted();
        }
        return true;
}

/* --- Expiry --------------------------------------------------------------------------- */

static void expire_some_of(struct shard *shard)
{
        struct entry *found[EXPIRY_BUCKETS];
        size_t count =
            map_sample(&shard->map, shard->expiry_position, EXPIRY_BUCKETS, found, EXPIRY_BUCKETS);
        shard->expiry_position += EXPIRY_BUCKETS;
        for (size_t i = 0; i < count; i++) {
                if (!has_expired(memory_load(&found[i]->value)))
                        continue;
                struct name key = map_name(found[i]->key, found[i]->len);
                pthread_mutex_lock(&shard->lock);
                store_get_locked(shard, key); /* looks again, and removes */
                pthread_mutex_unlock(&shard->lock);
        }
}

void store_expire_some(unsigned worker, unsigned nworkers)
{
        for (size_t i = worker; i < SHARDS; i += nworkers) {
                if (atomic_load_explicit(&shards[i].expiring, memory_order_relaxed))
                        expire_some_of(&shards[i]);
        }
}
