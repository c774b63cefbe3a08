/* hashes.c: hash values, and commands on them.
 *
 * A hash is a value that holds a map of its own, changed in place under the lock of
 * the shard its key is in. HGET and HLEN take no lock, the map is made for that;
 * HGETALL does, to be the picture of one moment.
 *
 * H1  A hash in the store is not empty: the command that removes the last field
 *     removes the key, and a hash is put there with its first fields in it. */
#include "examples/kvd/hashes.h"

#include "examples/kvd/command.h"
#include "examples/kvd/memory.h"
#include "examples/kvd/store.h"

struct hash {
        struct value value;
        struct map map;
        size_t nbytes; /* shard's lock: all fields */
};

static struct memory_layouts hash_layouts = { .slots = MEMORY_SLOT(struct hash, map.table) };

static struct hash *value_hash(struct value *value)
{
        return (struct hash *)value;
}

static struct hash *hash_new(void)
{
        struct hash *hash = memory_new(&hash_layouts, sizeof *hash);
        if (hash)
                hash->value.kind = VALUE_HASH;
        return hash;
}

size_t hash_nbytes(const struct value *value)
{
        return sizeof(struct hash) + ((const struct hash *)value)->nbytes;
}

void hash_drop(struct value *value)
{
        map_drop(&value_hash(value)->map, value_drop);
}

/* The hash at args[1], in *out, or NULL if there is none; false when something else is
 * there, and the error is replied. */
static bool as_hash(struct call *call, struct value *value, struct hash **out)
{
        if (value && value->kind != VALUE_HASH) {
                reply_wrong_type(call->reply);
                return false;
        }
        *out = value ? value_hash(value) : NULL;
        return true;
}

static size_t field_cost(struct name field, const struct value *value)
{
        return map_entry_nbytes(field.len) + value_nbytes(value);
}

/* 1: a new field, 0: a new value for one, -1: the heap is full. */
static int set_field(struct hash *hash, struct name field, struct arg data)
{
        struct string *string = string_new(data.data, data.len);
        struct value *old;
        if (string == NULL)
                return -1;
        if (map_put(&hash->map, field, &string->value, &old) != 0) {
                value_drop(&string->value);
                return -1;
        }
        hash->nbytes += field_cost(field, &string->value) - (old ? field_cost(field, old) : 0);
        value_drop(old);
        return old == NULL;
}

/* How many fields are new; fewer than all are set when the heap is full. */
static int64_t set_fields(struct call *call, struct hash *hash, bool *heap_full)
{
        int64_t added = 0;
        for (size_t i = 2; i < call->argc; i += 2) {
                int result = set_field(hash, call_name(call, i), call->args[i + 1]);
                if (result < 0) {
                        *heap_full = true;
                        break;
                }
                added += result;
        }
        return added;
}

static void hset_old_locked(struct call *call, struct shard *shard, struct hash *hash)
{
        size_t before = hash->nbytes;
        bool heap_full = false;
        int64_t added = set_fields(call, hash, &heap_full);
        store_charge_locked(shard, (ptrdiff_t)(hash->nbytes - before));
        if (heap_full)
                reply_heap_full(call->reply);
        else
                reply_integer(call->reply, added);
}

static void hset_new_locked(struct call *call, struct shard *shard, struct name key)
{
        struct hash *hash = hash_new();
        bool heap_full = hash == NULL;
        int64_t added = heap_full ? 0 : set_fields(call, hash, &heap_full);
        if (!heap_full)
                heap_full = store_put_locked(shard, key, &hash->value) != 0;
        if (!heap_full) {
                reply_integer(call->reply, added);
                return;
        }
        if (hash)
                value_drop(&hash->value);
        reply_heap_full(call->reply);
}

void command_hset(struct call *call)
{
        if (call->argc % 2) {
                reply_error(call->reply, "ERR wrong number of arguments for 'hset' command");
                return;
        }
        struct name key = call_name(call, 1);
        struct hash *hash;
        struct shard *shard = store_lock(key);
        if (as_hash(call, store_get_locked(shard, key), &hash)) {
                if (hash)
                        hset_old_locked(call, shard, hash);
                else
                        hset_new_locked(call, shard, key);
        }
        store_unlock(shard);
}

void command_hget(struct call *call)
{
        struct hash *hash;
        if (!as_hash(call, store_get(call_name(call, 1)), &hash))
                return;
        struct value *field = hash ? map_find(&hash->map, call_name(call, 2)) : NULL;
        if (field)
                reply_bulk(call->reply, value_string(field)->bytes, field->len);
        else
                reply_nil(call->reply);
}

static int64_t remove_fields(struct call *call, struct hash *hash)
{
        int64_t removed = 0;
        for (size_t i = 2; i < call->argc; i++) {
                struct name field = call_name(call, i);
                struct value *old = map_remove(&hash->map, field);
                if (old) {
                        hash->nbytes -= field_cost(field, old);
                        value_drop(old);
                        removed++;
                }
        }
        return removed;
}

static void hdel_locked(struct call *call, struct shard *shard, struct name key)
{
        struct hash *hash;
        int64_t removed = 0;
        if (!as_hash(call, store_get_locked(shard, key), &hash))
                return;
        if (hash) {
                size_t before = hash->nbytes;
                removed = remove_fields(call, hash);
                store_charge_locked(shard, (ptrdiff_t)(hash->nbytes - before));
                if (map_count(&hash->map) == 0)
                        store_remove_locked(shard, key); /* H1 */
        }
        reply_integer(call->reply, removed);
}

void command_hdel(struct call *call)
{
        struct name key = call_name(call, 1);
        struct shard *shard = store_lock(key);
        hdel_locked(call, shard, key);
        store_unlock(shard);
}

static void reply_field(struct entry *entry, void *arg)
{
        struct reply *reply = arg;
        struct value *value = memory_load(&entry->value);
        reply_bulk(reply, entry->key, entry->len);
        reply_bulk(reply, value_string(value)->bytes, value->len);
}

void command_hgetall(struct call *call)
{
        struct name key = call_name(call, 1);
        struct hash *hash;
        struct shard *shard = store_lock(key);
        if (as_hash(call, store_get_locked(shard, key), &hash)) {
                reply_array(call->reply, hash ? 2 * map_count(&hash->map) : 0);
                if (hash)
                        map_each(&hash->map, reply_field, call->reply);
        }
        store_unlock(shard);
}

void command_hlen(struct call *call)
{
        struct hash *hash;
        if (as_hash(call, store_get(call_name(call, 1)), &hash))
                reply_integer(call->reply, hash ? (int64_t)map_count(&hash->map) : 0);
}
