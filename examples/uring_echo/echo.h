/* echo.h: the server: accepts connections and sends back what comes. */
#ifndef URING_ECHO_ECHO_H
#define URING_ECHO_ECHO_H

#include <liburing.h>
#include <stddef.h>

enum { ECHO_BUFFER_BYTES = 16 << 10 }; /* of each connection */

struct echo_totals {
        unsigned long connections;
        unsigned long long nbytes; /* sent back */
};

/* Serves at most `most` connections at a time of the listening socket, until
 * signals (a signalfd) has something to read; then closes them. 0 or a negative errno. */
int echo_serve(struct io_uring *ring, int listener, int signals, size_t most,
               struct echo_totals *totals);

#endif
