/* store.h: the keyspace, shared by all workers.
 *
 * Reading takes no lock: store_get() and pointers from there on. Whoever changes
 * something locks the key's shard, and calls only the _locked functions meanwhile. */
#ifndef KVD_STORE_H
#define KVD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "examples/kvd/map.h"
#include "examples/kvd/value.h"

struct shard;

/* Once; max_nbytes 0: no bound. 0 or -errno. */
int store_start(size_t max_nbytes);

/* The value, or NULL if there is none or its time is over. */
struct value *store_get(struct name key);

struct shard *store_lock(struct name key);
void store_unlock(struct shard *shard);
struct value *store_get_locked(struct shard *shard, struct name key);
/* 0, or -ENOMEM and nothing has changed. */
int store_put_locked(struct shard *shard, struct name key, struct value *value);
bool store_remove_locked(struct shard *shard, struct name key);
void store_set_expiry_locked(struct shard *shard, struct value *value, int64_t expiry_ms);

/* A value of the shard has grown (or shrunk) in place. */
void store_charge_locked(struct shard *shard, ptrdiff_t nbytes);
/* Evicts until there is room below the bound; false when nothing is left to evict. */
bool store_make_room(void);
void store_clear(void);

size_t store_count(void);
size_t store_count_expiring(void);
size_t store_nbytes(void);
size_t store_max_nbytes(void);

/* The calling worker's clock in milliseconds, as of its last store_turn(). */
int64_t store_now_ms(void);
void store_turn(void);
/* Removes some of what has expired, from the share of the shards that is this worker's. */
void store_expire_some(unsigned worker, unsigned nworkers);

#endif
