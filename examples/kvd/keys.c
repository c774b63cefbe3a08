/* keys.c: commands on keys, whatever they stand for. */
#include "examples/kvd/keys.h"

#include "examples/kvd/command.h"
#include "examples/kvd/store.h"

void command_del(struct call *call)
{
        int64_t removed = 0;
        for (size_t i = 1; i < call->argc; i++) {
                struct name key = call_name(call, i);
                struct shard *shard = store_lock(key);
                if (store_get_locked(shard, key))
                        removed += store_remove_locked(shard, key);
                store_unlock(shard);
        }
        reply_integer(call->reply, removed);
}

void command_exists(struct call *call)
{
        int64_t count = 0;
        for (size_t i = 1; i < call->argc; i++)
                count += store_get(call_name(call, i)) != NULL;
        reply_integer(call->reply, count);
}

/* A time that is over removes the key, as in Redis. */
static void expire(struct call *call, int64_t unit_ms)
{
        int64_t duration;
        if (!call_integer(call, 2, &duration))
                return;
        if (duration > (INT64_MAX - store_now_ms()) / unit_ms) {
                reply_error(call->reply, "ERR invalid expire time in 'expire' command");
                return;
        }
        struct name key = call_name(call, 1);
        struct shard *shard = store_lock(key);
        struct value *value = store_get_locked(shard, key);
        if (value && duration <= 0)
                store_remove_locked(shard, key);
        else if (value)
                store_set_expiry_locked(shard, value, store_now_ms() + duration * unit_ms);
        store_unlock(shard);
        reply_integer(call->reply, value != NULL);
}

void command_expire(struct call *call)
{
        expire(call, 1000);
}

void command_pexpire(struct call *call)
{
        expire(call, 1);
}

/* -2: no such key; -1: it stays for ever. */
static int64_t time_left_ms(struct call *call)
{
        struct value *value = store_get(call_name(call, 1));
        if (value == NULL)
                return -2;
        int64_t expiry = value_expiry(value);
        return expiry ? expiry - store_now_ms() : -1;
}

void command_ttl(struct call *call)
{
        int64_t left = time_left_ms(call);
        reply_integer(call->reply, left < 0 ? left : (left + 500) / 1000);
}

void command_pttl(struct call *call)
{
        reply_integer(call->reply, time_left_ms(call));
}

void command_persist(struct call *call)
{
        struct name key = call_name(call, 1);
        struct shard *shard = store_lock(key);
        struct value *value = store_get_locked(shard, key);
        bool persists = value && value_expiry(value);
        if (persists)
                store_set_expiry_locked(shard, value, 0);
        store_unlock(shard);
        reply_integer(call->reply, persists);
}

void command_type(struct call *call)
{
        struct value *value = store_get(call_name(call, 1));
        reply_simple(call->reply, value ? value_kind_name(value) : "none");
}

void command_dbsize(struct call *call)
{
        reply_integer(call->reply, (int64_t)store_count());
}

void command_flushall(struct call *call)
{
        store_clear();
        reply_simple(call->reply, "OK");
}
