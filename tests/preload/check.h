/* check.h: facts counted, for plain programs in C and C++ that run under the
 * preload library and so can't use a framework that was built for another malloc. */
#ifndef PLD_TESTS_PRELOAD_CHECK_H
#define PLD_TESTS_PRELOAD_CHECK_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned npassed, nfailed;

static inline void count_fact(int holds, const char *fact, const char *file, int line)
{
        if (holds) {
                __atomic_add_fetch(&npassed, 1, __ATOMIC_RELAXED);
                return;
        }
        __atomic_add_fetch(&nfailed, 1, __ATOMIC_RELAXED);
        printf("FAILED %s:%d: %s\n", file, line, fact);
}

#define CHECK(condition) count_fact(!!(condition), #condition, __FILE__, __LINE__)

/* The function is the library's: without this a test would test the C library. */
static inline int is_polders(const char *name)
{
        Dl_info info;
        void *function = dlsym(RTLD_DEFAULT, name);
        return function && dladdr(function, &info) && strstr(info.dli_fname, "polder-malloc");
}

static inline int report(void)
{
        printf("%u passed, %u failed\n", npassed, nfailed);
        fflush(stdout);
        return nfailed != 0;
}

#endif
