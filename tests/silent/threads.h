/* threads.h: the threads of this process by name, for reports. */
#ifndef TESTS_SILENT_THREADS_H
#define TESTS_SILENT_THREADS_H

#include <sys/types.h>

enum { MAX_THREADS = 64, NAME_BYTES = 16 };

/* Looks up all there are now; number 0 is the calling one. How many. */
int threads_note(void);
/* Its number; -1: it was not there then. */
int thread_number(pid_t id);
const char *thread_name(int number);

#endif
