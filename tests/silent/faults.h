/* faults.h: the page faults of this process, of every thread: how many, by
 * getrusage(), and, where perf events are allowed, which. From the main thread. */
#ifndef TESTS_SILENT_FAULTS_H
#define TESTS_SILENT_FAULTS_H

#include <stdbool.h>

/* Before any thread is made: they inherit it. False: faults can only be counted. */
bool faults_watch(void);
/* From here on. No system call later but getrusage(), read() and write(). */
void faults_begin(void);
long faults_count(void);
/* A line for each that was recorded before the last count. Takes faults itself. */
void faults_print(void);

#endif
