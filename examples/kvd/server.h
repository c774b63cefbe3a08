/* server.h: worker threads, each with a loop, a listening socket and its connections. */
#ifndef KVD_SERVER_H
#define KVD_SERVER_H

/* Listens and serves as `settings` say, and sets settings.port to the real one. When it
 * fails, 0 stays what it was and a line on standard error has said why: -errno. */
int server_start(void);
/* Closes all connections and returns when every worker has ended. */
void server_stop(void);

#endif
