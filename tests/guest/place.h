/* place.h: what the guest's programs share: facts that are counted, and the
 * kernel's own word on where memory lies. */
#ifndef PLD_TESTS_GUEST_PLACE_H
#define PLD_TESTS_GUEST_PLACE_H

#include <errno.h>
#include <numaif.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned place_passed, place_failed;

/* One fact. What it is about is printed when it does not hold. */
__attribute__((format(printf, 2, 3))) static inline bool place_fact(bool holds, const char *format,
                                                                    ...)
{
        va_list args;
        if (holds) {
                place_passed++;
                return true;
        }
        place_failed++;
        va_start(args, format);
        fputs("  not true: ", stdout);
        vprintf(format, args);
        putchar('\n');
        va_end(args);
        return false;
}

/* The last words of a program. */
static inline int place_done(void)
{
        printf("%u passed, %u failed\n", place_passed, place_failed);
        return place_failed > 0 || place_passed == 0;
}

/* How many base pages of the memory do not lie on the node. Every page is asked
 * for; one that is not there at all is one that does not lie there. */
static inline size_t place_elsewhere(char *at, size_t nbytes, int id)
{
        enum { BATCH = 512 };
        void *pages[BATCH];
        int status[BATCH];
        size_t page = (size_t)sysconf(_SC_PAGESIZE), elsewhere = 0;
        for (size_t i = 0; i < nbytes;) {
                size_t n = 0;
                for (; n < BATCH && i < nbytes; i += page)
                        pages[n++] = at + i;
                if (move_pages(0, n, pages, NULL, status, 0) != 0) {
                        elsewhere += n;
                        continue;
                }
                for (size_t k = 0; k < n; k++)
                        elsewhere += status[k] != id;
        }
        return elsewhere;
}

/* Puts the calling thread on one CPU; false: it can't be there. */
static inline bool place_run_on(int cpu)
{
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        return sched_setaffinity(0, sizeof one, &one) == 0;
}

static inline int place_node_of_cpu(void)
{
        unsigned cpu, node;
        return getcpu(&cpu, &node) == 0 ? (int)node : -errno;
}

/* The value of key=value among the arguments, or NULL. */
static inline const char *place_argument(char **argv, const char *key)
{
        size_t n = strlen(key);
        for (; *argv; argv++)
                if (!strncmp(*argv, key, n) && (*argv)[n] == '=')
                        return *argv + n + 1;
        return NULL;
}

#endif
