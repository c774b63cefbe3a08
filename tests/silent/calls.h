/* calls.h: the system calls of this process. Those with which threads wait and wake
 * are allowed and counted; those with which the main thread reports are allowed to it
 * alone. Each other one is forbidden, and told. From the main thread. */
#ifndef TESTS_SILENT_CALLS_H
#define TESTS_SILENT_CALLS_H

enum call {
        CALL_WAIT,       /* on a futex, for as long as it takes */
        CALL_TIMED_WAIT, /* on a futex, for so long at most */
        CALL_WAKE,
        CALL_NAP,
        CALL_RESTART, /* the rest of a timed wait or a nap */
        CALL_YIELD,
        CALL_SIGNAL,
        CALL_BARE_SIGNAL,
        CALL_SIGNAL_RETURN,
        CALL_BARRIER,
        CALL_USAGE, /* from here on: the main thread's only */
        CALL_READ,
        CALL_WRITE,
        NCALLS,
        ANY_CALL = -1
};

/* Before any thread is made, which inherit a counter of the kernel's. */
void calls_watch(void);
/* Makes the thread that counts. Before threads_note(); 0, or -errno. */
int calls_start(void);
/* 0, or -errno: there is no seccomp. */
int calls_forbid(void);
/* What comes later is not counted. */
void calls_end(void);

long calls_forbidden(void);
/* By threads whose names begin so, NULL: all but the main one. -1: not counted. */
long calls_of(const char *name, enum call call);
void calls_print(long ncycles);

#endif
