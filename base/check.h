/* check.h: three levels of checking.
 *
 * PLD_CHECK holds in every build: what it guards would corrupt memory.
 * PLD_ASSERT is compiled everywhere and evaluated in debug builds.
 * static_assert is for what the compiler can know.
 * Reporting never allocates. */
#ifndef PLD_BASE_CHECK_H
#define PLD_BASE_CHECK_H

#include "config.h"

#include <assert.h>

/* Writes one line "polder: …" to standard error, without allocating. */
void pld_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, then abort(). */
void pld_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn, cold));

#define PLD_CHECK(condition)                                                                   \
        do {                                                                                   \
                if (__builtin_expect(!(condition), 0))                                         \
                        pld_die("%s:%d: check failed: %s", __FILE__, __LINE__, #condition);    \
        } while (0)

#define PLD_ASSERT(condition)                                                                  \
        do {                                                                                   \
                if (PLD_DEBUG && __builtin_expect(!(condition), 0))                            \
                        pld_die("%s:%d: assertion failed: %s", __FILE__, __LINE__,             \
                                #condition);                                                   \
        } while (0)

#endif
