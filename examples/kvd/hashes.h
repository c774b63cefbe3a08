/* hashes.h: hash values, and commands on them. */
#ifndef KVD_HASHES_H
#define KVD_HASHES_H

#include <stddef.h>

struct call;
struct value;

size_t hash_nbytes(const struct value *value);
void hash_drop(struct value *value); /* what hangs on it, not the value itself */

void command_hset(struct call *call);
void command_hget(struct call *call);
void command_hdel(struct call *call);
void command_hgetall(struct call *call);
void command_hlen(struct call *call);

#endif
