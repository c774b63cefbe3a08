/* value.c: what a key or a field stands for. */
#include "examples/kvd/value.h"

#include <string.h>

#include "examples/kvd/hashes.h"
#include "examples/kvd/lists.h"
#include "examples/kvd/memory.h"

struct string *string_new(const char *data, size_t len)
{
        struct string *string = memory_new_bytes(sizeof *string + len);
        if (string == NULL)
                return NULL;
        string->value = (struct value){
                .kind = VALUE_STRING,
                .len = len & (2 * VALUE_MAX_LEN - 1),
        };
        if (data)
                memcpy(string->bytes, data, len);
        return string;
}

const char *value_kind_name(const struct value *value)
{
        static const char *const names[] = {
                [VALUE_STRING] = "string",
                [VALUE_HASH] = "hash",
                [VALUE_LIST] = "list",
        };
        return names[value->kind];
}

size_t value_nbytes(const struct value *value)
{
        switch (value->kind) {
        case VALUE_HASH:
                return hash_nbytes(value);
        case VALUE_LIST:
                return list_nbytes(value);
        default:
                return sizeof(struct string) + value->len;
        }
}

void value_drop(struct value *value)
{
        if (MEMORY_COLLECTS || value == NULL)
                return;
        if (value->kind == VALUE_HASH)
                hash_drop(value);
        else if (value->kind == VALUE_LIST)
                list_drop(value);
        memory_retire(value);
}
