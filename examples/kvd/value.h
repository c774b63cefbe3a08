/* value.h: what a key or a field stands for. */
#ifndef KVD_VALUE_H
#define KVD_VALUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_kind { VALUE_STRING, VALUE_HASH, VALUE_LIST };

/* The head of every value. The expiry is in here and not beside the key, so that a
 * SET with a time to live is one store: no reader sees the one without the other. */
struct value {
        _Atomic int64_t expiry_ms; /* on the store's clock; 0: never. Set under the shard's lock */
        _Atomic uint32_t touched;  /* tick of the last use; set by any reader */
        uint32_t kind : 2;         /* const */
        uint32_t len : 30;         /* const: bytes of a string */
};

/* A string is never changed, but replaced. */
struct string {
        struct value value;
        char bytes[];
};

#define VALUE_MAX_LEN (512u << 20)

/* NULL when the heap is full. With data NULL the bytes are the caller's to fill. */
struct string *string_new(const char *data, size_t len);

static inline struct string *value_string(struct value *value)
{
        return (struct string *)value;
}

static inline int64_t value_expiry(const struct value *value)
{
        return atomic_load_explicit(&value->expiry_ms, memory_order_relaxed);
}

static inline void value_set_expiry(struct value *value, int64_t expiry_ms)
{
        atomic_store_explicit(&value->expiry_ms, expiry_ms, memory_order_relaxed);
}

const char *value_kind_name(const struct value *value);
/* Bytes with all that hangs on it; the shard's lock is held. */
size_t value_nbytes(const struct value *value);
/* The value has been unlinked. A collected heap needs no more than that; elsewhere
 * this retires it with all that hangs on it. NULL is allowed. */
void value_drop(struct value *value);

#endif
