/* buffers.h: Polder's memory, made known to an io_uring.
 *
 * The kernel looks up and pins the pages of a fixed buffer once, when it is registered,
 * instead of at every read and write. So all that is backed is registered at the
 * start, and whatever is allocated from then on lies in a fixed buffer already. */
#ifndef URING_ECHO_BUFFERS_H
#define URING_ECHO_BUFFERS_H

#include <liburing.h>
#include <stddef.h>

/* Registers all memory that Polder has now. 0 or a negative errno. */
int buffers_register(struct io_uring *ring);
/* The fixed buffer in which all of [at, at + nbytes) lies; -1: in none. */
int buffers_find(const char *at, size_t nbytes);
unsigned buffers_count(void);
size_t buffers_nbytes(void);

#endif
