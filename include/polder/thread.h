/* thread.h: the threads that use the collected heap.
 *
 * Allocating and storing attach the calling thread; one that only reads
 * attaches by hand. A thread detaches when it ends, also when cancelled.
 *
 * A collection needs each attached thread's attention now and then. It comes
 * to a thread when it calls Polder; one that does not is interrupted by a
 * signal (SIGURG, restarting system calls where the kernel can: poll() and
 * nanosleep() return EINTR). Between polder_blocking_begin() and _end() a thread
 * touches no collected object, and is neither waited for nor signalled. */
#ifndef POLDER_THREAD_H
#define POLDER_THREAD_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Like pthread_create() with default attributes. The new thread is attached and
 * arg, if it points to a collected object, is kept alive until start has it.
 * *thread: a pthread_t. Returns a negative errno of pthread_create(). */
int polder_thread_create(uintptr_t *thread, void *(*start)(void *), void *arg);
/* Calls fn(arg) inside a blocking section. */
void *polder_blocking_call(void *(*fn)(void *), void *arg);
/* 0 (also when attached already), or -ENOMEM. */
int polder_thread_attach(void);
/* The thread's stack keeps nothing alive any more. */
void polder_thread_detach(void);
void polder_blocking_begin(void);
void polder_blocking_end(void);

#ifdef __cplusplus
}
#endif

#endif
