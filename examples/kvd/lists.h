/* lists.h: list values, and commands on them. */
#ifndef KVD_LISTS_H
#define KVD_LISTS_H

#include <stddef.h>

struct call;
struct value;

size_t list_nbytes(const struct value *value);
void list_drop(struct value *value); /* what hangs on it, not the value itself */

void command_lpush(struct call *call);
void command_rpush(struct call *call);
void command_lpop(struct call *call);
void command_rpop(struct call *call);
void command_lrange(struct call *call);
void command_llen(struct call *call);

#endif
