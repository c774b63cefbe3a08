/* strings.c: commands on strings.
 *
 * GET, MGET and STRLEN follow pointers and copy what they find into the reply; they
 * take no lock, enter no epoch and count no reference. Those that write make a new
 * string, exchange it for the old one under the shard's lock, and drop the old one.
 * APPEND and INCR are no different, so appending to a long string copies it.
 *
 * MSET is atomic for each key, not over all of them. */
#include "examples/kvd/strings.h"

#include <string.h>

#include "examples/kvd/command.h"
#include "examples/kvd/store.h"

static bool is_string(const struct value *value)
{
        return value->kind == VALUE_STRING;
}

static void reply_string(struct reply *reply, struct value *value)
{
        reply_bulk(reply, value_string(value)->bytes, value->len);
}

/* --- Reading -------------------------------------------------------------------------- */

void command_get(struct call *call)
{
        struct value *value = store_get(call_name(call, 1));
        if (value == NULL)
                reply_nil(call->reply);
        else if (is_string(value))
                reply_string(call->reply, value);
        else
                reply_wrong_type(call->reply);
}

void command_mget(struct call *call)
{
        reply_array(call->reply, call->argc - 1);
        for (size_t i = 1; i < call->argc; i++) {
                struct value *value = store_get(call_name(call, i));
                if (value && is_string(value))
                        reply_string(call->reply, value);
                else
                        reply_nil(call->reply);
        }
}

void command_strlen(struct call *call)
{
        struct value *value = store_get(call_name(call, 1));
        if (value && !is_string(value))
                reply_wrong_type(call->reply);
        else
                reply_integer(call->reply, value ? value->len : 0);
}

/* --- SET ------------------------------------------------------------------------------ */

enum set_when { SET_ALWAYS, SET_IF_ABSENT, SET_IF_PRESENT };
enum set_result { SET_DONE, SET_REFUSED, SET_HEAP_FULL };

static enum set_result set(struct name key, struct arg data, enum set_when when, int64_t expiry_ms)
{
        struct string *string = string_new(data.data, data.len);
        if (string == NULL)
                return SET_HEAP_FULL;
        value_set_expiry(&string->value, expiry_ms);

        enum set_result result = SET_DONE;
        struct shard *shard = store_lock(key);
        if (when != SET_ALWAYS &&
            (store_get_locked(shard, key) != NULL) != (when == SET_IF_PRESENT))
                result = SET_REFUSED;
        else if (store_put_locked(shard, key, &string->value) != 0)
                result = SET_HEAP_FULL;
        store_unlock(shard);
        if (result != SET_DONE)
                value_drop(&string->value);
        return result;
}

struct set_options {
        enum set_when when;
        int64_t expiry_ms;
};

/* The expiry from the argument at `at`; false when it is none, and the error is replied. */
static bool parse_expiry(struct call *call, size_t at, int64_t unit_ms, int64_t *expiry_ms)
{
        int64_t duration;
        if (!call_integer(call, at, &duration))
                return false;
        if (duration <= 0 || duration > (INT64_MAX - store_now_ms()) / unit_ms) {
                reply_error(call->reply, "ERR invalid expire time in 'set' command");
                return false;
        }
        *expiry_ms = store_now_ms() + duration * unit_ms;
        return true;
}

/* False when they make no sense, and the error is replied. */
static bool parse_options(struct call *call, struct set_options *options)
{
        for (size_t i = 3; i < call->argc; i++) {
                struct arg word = call->args[i];
                bool more = i + 1 < call->argc;
                if (arg_is(word, "NX") && options->when != SET_IF_PRESENT) {
                        options->when = SET_IF_ABSENT;
                } else if (arg_is(word, "XX") && options->when != SET_IF_ABSENT) {
                        options->when = SET_IF_PRESENT;
                } else if (arg_is(word, "EX") && more && options->expiry_ms == 0) {
                        if (!parse_expiry(call, ++i, 1000, &options->expiry_ms))
                                return false;
                } else if (arg_is(word, "PX") && more && options->expiry_ms == 0) {
                        if (!parse_expiry(call, ++i, 1, &options->expiry_ms))
                                return false;
                } else {
                        reply_syntax_error(call->reply);
                        return false;
                }
        }
        return true;
}

static void reply_set(struct reply *reply, enum set_result result)
{
        if (result == SET_DONE)
                reply_simple(reply, "OK");
        else if (result == SET_REFUSED)
                reply_nil(reply);
        else
                reply_heap_full(reply);
}

void command_set(struct call *call)
{
        struct set_options options = { 0 };
        if (!parse_options(call, &options))
                return;
        reply_set(call->reply,
                  set(call_name(call, 1), call->args[2], options.when, options.expiry_ms));
}

void command_setnx(struct call *call)
{
        enum set_result result = set(call_name(call, 1), call->args[2], SET_IF_ABSENT, 0);
        if (result == SET_HEAP_FULL)
                reply_heap_full(call->reply);
        else
                reply_integer(call->reply, result == SET_DONE);
}

void command_setex(struct call *call)
{
        int64_t expiry_ms;
        if (parse_expiry(call, 2, 1000, &expiry_ms))
                reply_set(call->reply,
                          set(call_name(call, 1), call->args[3], SET_ALWAYS, expiry_ms));
}

void command_mset(struct call *call)
{
        if (call->argc % 2 == 0) {
                reply_error(call->reply, "ERR wrong number of arguments for 'mset' command");
                return;
        }
        enum set_result result = SET_DONE;
        for (size_t i = 1; i < call->argc && result == SET_DONE; i += 2)
                result = set(call_name(call, i), call->args[i + 1], SET_ALWAYS, 0);
        reply_set(call->reply, result);
}

/* --- Changing what is there ------------------------------------------------------------- */

/* The new string goes where the old one was and keeps its time to live. */
static bool replace_locked(struct shard *shard, struct name key, const struct value *old,
                           struct string *string)
{
        if (string == NULL)
                return false;
        if (old)
                value_set_expiry(&string->value, value_expiry(old));
        if (store_put_locked(shard, key, &string->value) == 0)
                return true;
        value_drop(&string->value);
        return false;
}

static void add_locked(struct call *call, struct shard *shard, struct name key, int64_t by)
{
        struct value *old = store_get_locked(shard, key);
        int64_t number = 0;
        if (old && !is_string(old)) {
                reply_wrong_type(call->reply);
                return;
        }
        if (old && !resp_parse_integer(value_string(old)->bytes, old->len, &number)) {
                reply_not_integer(call->reply);
                return;
        }
        if (__builtin_add_overflow(number, by, &number)) {
                reply_error(call->reply, "ERR increment or decrement would overflow");
                return;
        }
        char digits[RESP_DIGITS];
        struct string *string = string_new(digits, resp_format_integer(digits, number));
        if (replace_locked(shard, key, old, string))
                reply_integer(call->reply, number);
        else
                reply_heap_full(call->reply);
}

static void add(struct call *call, int64_t by)
{
        struct name key = call_name(call, 1);
        struct shard *shard = store_lock(key);
        add_locked(call, shard, key, by);
        store_unlock(shard);
}

void command_incr(struct call *call)
{
        add(call, 1);
}

void command_decr(struct call *call)
{
        add(call, -1);
}

void command_incrby(struct call *call)
{
        int64_t by;
        if (call_integer(call, 2, &by))
                add(call, by);
}

void command_decrby(struct call *call)
{
        int64_t by;
        if (!call_integer(call, 2, &by))
                return;
        if (by == INT64_MIN)
                reply_error(call->reply, "ERR decrement would overflow");
        else
                add(call, -by);
}

static void append_locked(struct call *call, struct shard *shard, struct name key)
{
        struct arg tail = call->args[2];
        struct value *old = store_get_locked(shard, key);
        if (old && !is_string(old)) {
                reply_wrong_type(call->reply);
                return;
        }
        size_t before = old ? old->len : 0, len = before + tail.len;
        if (len > VALUE_MAX_LEN) {
                reply_error(call->reply, "ERR string exceeds maximum allowed size (512MB)");
                return;
        }
        struct string *string = string_new(NULL, len);
        if (string && old)
                memcpy(string->bytes, value_string(old)->bytes, before);
        if (string)
                memcpy(string->bytes + before, tail.data, tail.len);
        if (replace_locked(shard, key, old, string))
                reply_integer(call->reply, (int64_t)len);
        else
                reply_heap_full(call->reply);
}

void command_append(struct call *call)
{
        struct name key = call_name(call, 1);
        struct shard *shard = store_lock(key);
        append_locked(call, shard, key);
        store_unlock(shard);
}
