/* admin.h: commands on the connection and the server. */
#ifndef KVD_ADMIN_H
#define KVD_ADMIN_H

struct call;

void command_ping(struct call *call);
void command_echo(struct call *call);
void command_select(struct call *call);
void command_quit(struct call *call);
void command_hello(struct call *call);
void command_client(struct call *call);
void command_config(struct call *call);
void command_info(struct call *call);
void command_memory(struct call *call);

#endif
