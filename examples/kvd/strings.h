/* strings.h: commands on strings. */
#ifndef KVD_STRINGS_H
#define KVD_STRINGS_H

struct call;

void command_get(struct call *call);
void command_mget(struct call *call);
void command_strlen(struct call *call);
void command_set(struct call *call);
void command_setnx(struct call *call);
void command_setex(struct call *call);
void command_mset(struct call *call);
void command_incr(struct call *call);
void command_decr(struct call *call);
void command_incrby(struct call *call);
void command_decrby(struct call *call);
void command_append(struct call *call);

#endif
