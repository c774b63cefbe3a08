/* keys.h: commands on keys, whatever they stand for, and on the server. */
#ifndef KVD_KEYS_H
#define KVD_KEYS_H

struct call;

void command_del(struct call *call);
void command_exists(struct call *call);
void command_expire(struct call *call);
void command_pexpire(struct call *call);
void command_ttl(struct call *call);
void command_pttl(struct call *call);
void command_persist(struct call *call);
void command_type(struct call *call);
void command_dbsize(struct call *call);
void command_flushall(struct call *call);

#endif
